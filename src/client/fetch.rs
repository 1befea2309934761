//! From a descriptor to its bytes: CAS engines asked in order, everything checked while it streams.
//!
//! A blob is the same wherever it comes from, so what one server began another may finish: after a broken transfer the
//! rest is asked for with `Range`, first of the same server, then of the next engine's. The digest over the whole decides; if it
//! is wrong, all of it is thrown away.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use url::Url;

use super::http::{Http, HttpError, Request, Response, body_error};
use crate::outbound::pace;
use crate::progress::Part;
use oci_discovery::digest::{ContentError, Digest, Hasher};
use oci_discovery::discovery::{CAS_TEMPLATE_PROTOCOL, CasEngines, EngineError, meaning};
use oci_discovery::error::chain;
use oci_discovery::oci::verified::ReadError;
use oci_discovery::oci::{Descriptor, Verified};

/// The most URLs that are asked for one blob, whoever names them. A site has one or two.
const MAX_URLS: usize = 16;
/// The URLs of one blob share this many times the time of one URL, so that a silent server leaves time for the next.
const TIMES_OF_A_URL: u32 = 2;
/// How much is read, hashed and written at a time.
const BUFFER_BYTES: usize = 64 * 1024;
/// How often a server is asked again in a row without fruit. Each try with fruit begins anew.
const FRUITLESS_TRIES: u32 = 3;
/// What a try has to bring to bear fruit, in bytes, besides being fast enough; less would be many requests for little.
const FRUIT: u64 = 64 * 1024;
/// The wait before a server is asked again; doubled with each try without fruit.
const PAUSE: Duration = Duration::from_millis(200);

/// Where a blob's bytes go while they are not yet known to be right.
pub trait Sink: Write {
    /// Throws away all that was written.
    fn restart(&mut self) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

/// Nowhere: for who only wants to know whether the bytes are right.
impl Sink for io::Sink {
    fn restart(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first bytes of a blob that a sink already has.
#[derive(Clone, Debug)]
pub struct Begun {
    /// What has seen them.
    pub hasher: Hasher,
    /// How many there are.
    pub bytes: u64,
}

/// Why a blob could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody says where it is.
    #[error(
        "no CAS engine for {digest}: neither its index entry nor the ref-engines object has one with the protocol \
         {CAS_TEMPLATE_PROTOCOL}"
    )]
    NoEngine {
        /// The blob.
        digest: Digest,
    },
    /// No engine gave it.
    #[error("{digest} ({size} bytes) cannot be had{}{}", told(.attempts), limit(.ended_by))]
    Unavailable {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// What each engine's answer was.
        attempts: Vec<AttemptError>,
        /// Why further URLs were not asked, if there are any.
        ended_by: Option<Limit>,
    },
    /// What was received is no manifest.
    #[error(transparent)]
    Unverified {
        /// Why not.
        source: ReadError,
    },
    /// What was received could not be written.
    #[error("cannot write {digest}")]
    Sink {
        /// The blob.
        digest: Digest,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What one blob may take, over all URLs at which it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `MAX_URLS` were asked.
    Urls,
    /// The time is over.
    Time,
}

fn limit(limit: &Option<Limit>) -> String {
    let reason = match limit {
        None => return String::new(),
        Some(Limit::Urls) => format!("at most {MAX_URLS} URLs are asked for one blob"),
        Some(Limit::Time) => "the time for the blob is over; a larger --timeout waits longer".into(),
    };
    format!("; further URLs are not asked: {reason}")
}

fn told(attempts: &[AttemptError]) -> String {
    attempts.iter().map(|attempt| format!("; {}", chain(attempt))).collect()
}

/// Why one engine did not give a blob.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The engine gives no URL.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The request failed, or its body did.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The server does not have it, or does not give it.
    #[error("{url} answered with status {status}{}, expected 200", meaning(*.status))]
    Status {
        /// The URL.
        url: Url,
        /// The status.
        status: u16,
    },
    /// A compressed body.
    #[error("{url} is sent in the encoding {encoding:?}, which was not asked for: its bytes are not the blob's")]
    Encoding {
        /// The URL.
        url: Url,
        /// `Content-Encoding`.
        encoding: String,
    },
    /// Another size than the descriptor says, by the response's headers.
    #[error("{url} has {found} bytes, expected {expected}")]
    Length {
        /// The URL.
        url: Url,
        /// What the descriptor says.
        expected: u64,
        /// What the response says.
        found: u64,
    },
    /// A connection that was closed before the end.
    #[error("{url} ended after {found} bytes, expected {expected}")]
    Ended {
        /// The URL.
        url: Url,
        /// What the descriptor says.
        expected: u64,
        /// How many there were.
        found: u64,
    },
    /// Another part of the blob than was asked for.
    #[error("{url} sent another range than was asked for")]
    Range {
        /// The URL.
        url: Url,
    },
    /// The wrong bytes.
    #[error("{url} has the wrong content")]
    Content {
        /// The URL.
        url: Url,
        /// How they differ.
        #[source]
        source: ContentError,
    },
}

impl AttemptError {
    /// Whether the same server may well have the blob a moment later.
    fn may_pass(&self) -> bool {
        match self {
            AttemptError::Http(error) => error.may_pass(),
            AttemptError::Status { status, .. } => matches!(status, 429 | 500 | 502 | 503 | 504),
            AttemptError::Ended { .. } => true,
            _ => false,
        }
    }

    /// Whether what was received so far may be at fault.
    fn is_about_content(&self) -> bool {
        matches!(
            self,
            AttemptError::Content { .. } | AttemptError::Range { .. } | AttemptError::Status { status: 416, .. }
        )
    }
}

/// Fetches the bytes of `descriptor` into `sink` and verifies them. Returns the URL that had them, after redirects.
///
/// `begun` says what the sink already has; an interrupted transfer goes on from there.
///
/// # Errors
/// Then the sink may hold the first bytes of the blob, unverified: they are of no use to anyone else.
pub fn fetch(
    http: &Http,
    descriptor: &Descriptor,
    engines: &CasEngines,
    sink: &mut dyn Sink,
    begun: Option<Begun>,
    part: &dyn Part,
) -> Result<Url, FetchError> {
    let digest = || descriptor.digest.clone();
    let mut urls = engines.urls(descriptor).peekable();
    if urls.peek().is_none() {
        return Err(FetchError::NoEngine { digest: digest() });
    }
    let begun = begun.unwrap_or_else(|| Begun { hasher: Hasher::new(descriptor.digest.algorithm()), bytes: 0 });
    let deadline = pace::deadline(http.pace().time_for(descriptor.size).saturating_mul(TIMES_OF_A_URL));
    let mut transfer = Transfer { http, descriptor, deadline, sink, part, hasher: begun.hasher, received: begun.bytes };
    let (mut attempts, mut ended_by) = (Vec::new(), None);
    for url in urls {
        ended_by = transfer.limit(attempts.len());
        if ended_by.is_some() {
            break;
        }
        // All of it may be there already, if only its end was not seen.
        if let (Ok(url), true) = (&url, transfer.received == descriptor.size && descriptor.size > 0) {
            if transfer.verdict(url.clone()).is_ok() {
                return Ok(url.clone());
            }
            transfer.restart().map_err(|failure| failure.of(descriptor))?;
        }
        match url.map_err(|error| Failure::Attempt(error.into())).and_then(|url| transfer.from(&url)) {
            Ok(url) => return Ok(url),
            Err(Failure::Attempt(error)) => attempts.push(error),
            Err(failure) => return Err(failure.of(descriptor)),
        }
    }
    Err(FetchError::Unavailable { digest: digest(), size: descriptor.size, attempts, ended_by })
}

/// Fetches a blob into memory. The caller has made sure that its size is one that memory has room for.
pub fn fetch_bytes(http: &Http, descriptor: &Descriptor, engines: &CasEngines) -> Result<(Verified, Url), FetchError> {
    let mut bytes = Vec::new();
    let url = fetch(http, descriptor, engines, &mut bytes, None, &crate::progress::Silent)?;
    match Verified::read(&*bytes, descriptor) {
        Ok(verified) => Ok((verified, url)),
        Err(source) => Err(FetchError::Unverified { source }),
    }
}

/// What can end the work with one server.
enum Failure {
    /// The server's fault: another may do better.
    Attempt(AttemptError),
    /// Ours: nobody can.
    Sink(io::Error),
}

impl Failure {
    fn of(self, descriptor: &Descriptor) -> FetchError {
        let (digest, size) = (descriptor.digest.clone(), descriptor.size);
        match self {
            Failure::Attempt(error) => FetchError::Unavailable { digest, size, attempts: vec![error], ended_by: None },
            Failure::Sink(source) => FetchError::Sink { digest, source },
        }
    }
}

impl From<AttemptError> for Failure {
    fn from(error: AttemptError) -> Failure {
        Failure::Attempt(error)
    }
}

struct Transfer<'a> {
    http: &'a Http,
    descriptor: &'a Descriptor,
    /// The end of the time for all URLs together.
    deadline: Instant,
    sink: &'a mut dyn Sink,
    part: &'a dyn Part,
    /// Has seen all that the sink has.
    hasher: Hasher,
    received: u64,
}

impl Transfer<'_> {
    /// Which limit is reached, if any, once `asked` URLs were asked.
    fn limit(&self, asked: usize) -> Option<Limit> {
        match asked {
            MAX_URLS.. => Some(Limit::Urls),
            _ => (Instant::now() >= self.deadline).then_some(Limit::Time),
        }
    }

    /// Gets the blob, or the rest of it, from one server, which may be asked several times.
    fn from(&mut self, url: &Url) -> Result<Url, Failure> {
        let deadline = pace::deadline(self.http.pace().time_for(self.descriptor.size)).min(self.deadline);
        let (mut fruitless, mut has_restarted) = (0, false);
        loop {
            let (before, begun) = (self.received, Instant::now());
            let error = match self.once(url, deadline) {
                Err(Failure::Attempt(error)) => error,
                other => return other,
            };
            let brought = self.received.saturating_sub(before);
            let bears_fruit = brought >= FRUIT && !self.http.pace().is_too_slow(brought, begun.elapsed());
            fruitless = if bears_fruit { 0 } else { fruitless + 1 };
            if error.is_about_content() {
                self.restart()?;
                // Bytes of another server, or of an earlier run, may have been the wrong ones. So it is tried once more, and only once.
                if before > 0 && !has_restarted {
                    has_restarted = true;
                    continue;
                }
            }
            if !error.may_pass() || fruitless > FRUITLESS_TRIES {
                return Err(error.into());
            }
            std::thread::sleep(PAUSE * 2_u32.pow(fruitless));
        }
    }

    fn restart(&mut self) -> Result<(), Failure> {
        self.hasher = Hasher::new(self.descriptor.digest.algorithm());
        self.received = 0;
        self.part.at(0);
        self.sink.restart().map_err(Failure::Sink)
    }

    /// One request, and what it brings.
    fn once(&mut self, url: &Url, deadline: Instant) -> Result<Url, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut request = Request::get(url).with("accept", "*/*").within(left);
        if self.received > 0 && self.received < self.descriptor.size {
            request = request.with("range", format!("bytes={}-", self.received));
        }
        let response = self.http.send(&request).map_err(AttemptError::from)?;
        let url = response.url.clone();
        let skip = self.check(&response)?;
        self.read(&url, response, skip)?;
        self.verdict(url)
    }

    /// Checks the headers. How many bytes of the body the sink already has.
    fn check(&self, response: &Response) -> Result<u64, AttemptError> {
        let url = || response.url.clone();
        let starts_at = match response.status {
            200 => 0,
            206 if self.received > 0 => content_range_start(response).unwrap_or(u64::MAX),
            status => return Err(AttemptError::Status { url: url(), status }),
        };
        if let Some(encoding) = response.headers.get("content-encoding").filter(|encoding| *encoding != "identity") {
            return Err(AttemptError::Encoding { url: url(), encoding: encoding.into() });
        }
        let Some(skip) = self.received.checked_sub(starts_at) else {
            return Err(AttemptError::Range { url: url() });
        };
        match response.content_length().map(|length| length.saturating_add(starts_at)) {
            Some(found) if found != self.descriptor.size => {
                Err(AttemptError::Length { url: url(), expected: self.descriptor.size, found })
            }
            _ => Ok(skip),
        }
    }

    /// Reads a body to its end or one byte too far. The first `skip` bytes are passed over: the sink has them.
    fn read(&mut self, url: &Url, response: Response, mut skip: u64) -> Result<(), Failure> {
        let mut body = response.into_reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(AttemptError::from(body_error(url.clone(), error)).into()),
            };
            let skipped = skip.min(count as u64) as usize;
            skip -= skipped as u64;
            let fresh = &buffer[skipped..count];
            if fresh.len() as u64 > self.descriptor.size - self.received {
                let (digest, expected) = (self.descriptor.digest.clone(), self.descriptor.size);
                let source = ContentError::TooLong { digest, expected };
                return Err(AttemptError::Content { url: url.clone(), source }.into());
            }
            self.hasher.update(fresh);
            self.sink.write_all(fresh).map_err(Failure::Sink)?;
            self.received += fresh.len() as u64;
            self.part.at(self.received);
        }
    }

    fn verdict(&self, url: Url) -> Result<Url, Failure> {
        let (expected, found) = (self.descriptor.size, self.received);
        if found < expected {
            return Err(AttemptError::Ended { url, expected, found }.into());
        }
        let (expected, found) = (self.descriptor.digest.clone(), self.hasher.clone().finish());
        if found != expected {
            return Err(AttemptError::Content { url, source: ContentError::Mismatch { expected, found } }.into());
        }
        Ok(url)
    }
}

/// Where the body of a 206 begins: `Content-Range: bytes START-END/SIZE` (RFC 9110, section 14.4).
fn content_range_start(response: &Response) -> Option<u64> {
    let range = response.headers.get("content-range")?.trim().strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}
