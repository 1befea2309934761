//! Fetches the blob of a descriptor from its CAS engines, in order, and verifies it while it arrives.
//!
//! All servers have the same bytes for a digest. Therefore, after a broken transfer, the rest is requested with
//! `Range`, first from the same server and then from the next engine's. If the digest of the whole is wrong, all bytes
//! are discarded.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use url::Url;

use super::http::{Http, HttpError, HttpRequest, Response, body_error};
use crate::outbound::pace;
use crate::progress::Part;
use oci_discovery::digest::{ContentError, Digest, Hasher};
use oci_discovery::discovery::{CAS_TEMPLATE_PROTOCOL, CasEngines, EngineError, meaning};
use oci_discovery::error::chain;
use oci_discovery::oci::verified::ReadError;
use oci_discovery::oci::{Descriptor, Verified};

/// The most URLs that are requested for one blob. A site has one or two.
const MAX_URLS: usize = 16;
/// The time limit for all URLs of a blob, as a multiple of that for one URL. A silent server so leaves time for the
/// next.
const TIMES_OF_A_URL: u32 = 2;
/// The bytes read, hashed and written at a time.
const BUFFER_BYTES: usize = 64 * 1024;
/// The consecutive attempts with a server that may be unproductive.
const FRUITLESS_TRIES: u32 = 3;
/// The bytes that an attempt must bring, at a sufficient speed, to be productive.
const FRUIT: u64 = 64 * 1024;
/// The pause before a server is asked again, doubled after each unproductive attempt.
const PAUSE: Duration = Duration::from_millis(200);

/// The destination of a blob's bytes before they are verified.
pub trait Sink: Write {
    /// Discards all bytes.
    fn restart(&mut self) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

/// Discards all bytes, for callers that only verify.
impl Sink for io::Sink {
    fn restart(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first bytes of a blob that a sink already has.
#[derive(Clone, Debug)]
pub struct PartialBlob {
    pub hasher: Hasher,
    pub bytes: u64,
}

pub struct Destination<'a> {
    pub sink: &'a mut dyn Sink,
    /// The bytes that the sink already has. The transfer continues after them.
    pub stored: Option<PartialBlob>,
    pub part: &'a dyn Part,
}

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(
        "no CAS engine gives the URL of {digest}: expected one with the protocol {CAS_TEMPLATE_PROTOCOL} in its \
         index entry or in the ref-engines object"
    )]
    NoEngine { digest: Digest },
    #[error("cannot fetch {digest} ({size} bytes){}{}", attempt_list(.attempts), limit(.ended_by))]
    Unavailable {
        digest: Digest,
        /// In bytes.
        size: u64,
        attempts: Vec<AttemptError>,
        /// The limit that was reached before further URLs.
        ended_by: Option<Limit>,
    },
    #[error(transparent)]
    Unverified { source: ReadError },
    #[error("cannot write {digest}")]
    Sink {
        digest: Digest,
        #[source]
        source: io::Error,
    },
}

/// A limit on all URLs of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Urls,
    Time,
}

fn limit(limit: &Option<Limit>) -> String {
    let reason = match limit {
        None => return String::new(),
        Some(Limit::Urls) => format!("one blob is requested from at most {MAX_URLS} URLs"),
        Some(Limit::Time) => "the time limit of the blob is over; a larger --timeout waits longer".into(),
    };
    format!("; further URLs were not tried: {reason}")
}

fn attempt_list(attempts: &[AttemptError]) -> String {
    attempts.iter().map(|attempt| format!("; {}", chain(attempt))).collect()
}

#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{url} answered with status {status}{}, expected 200", meaning(*.status))]
    Status { url: Url, status: u16 },
    #[error(
        "the response from {url} has the content encoding {encoding:?}: expected none, because the blob must arrive \
         unchanged"
    )]
    Encoding { url: Url, encoding: String },
    #[error("{url} has {found} bytes, expected {expected}")]
    Length { url: Url, expected: u64, found: u64 },
    #[error("{url} ended after {found} bytes, expected {expected}")]
    Ended { url: Url, expected: u64, found: u64 },
    #[error("{url} sent another range than the requested one")]
    Range { url: Url },
    #[error("{url} has the wrong content")]
    Content {
        url: Url,
        #[source]
        source: ContentError,
    },
}

impl AttemptError {
    /// Whether another attempt with the server may succeed.
    fn may_pass(&self) -> bool {
        match self {
            AttemptError::Http(error) => error.may_pass(),
            AttemptError::Status { status, .. } => matches!(status, 429 | 500 | 502 | 503 | 504),
            AttemptError::Ended { .. } => true,
            _ => false,
        }
    }

    /// Whether the bytes received so far may be wrong.
    fn is_about_content(&self) -> bool {
        matches!(
            self,
            AttemptError::Content { .. } | AttemptError::Range { .. } | AttemptError::Status { status: 416, .. }
        )
    }
}

/// Fetches and verifies a blob. Returns the URL that had it, after redirects.
///
/// # Errors
/// The sink may then hold the first bytes of the blob, unverified.
pub fn fetch(
    http: &Http,
    descriptor: &Descriptor,
    engines: &CasEngines,
    destination: Destination<'_>,
) -> Result<Url, FetchError> {
    let digest = || descriptor.digest.clone();
    let mut urls = engines.urls(descriptor).peekable();
    if urls.peek().is_none() {
        return Err(FetchError::NoEngine { digest: digest() });
    }
    let Destination { sink, stored, part } = destination;
    let PartialBlob { hasher, bytes: received } =
        stored.unwrap_or_else(|| PartialBlob { hasher: Hasher::new(descriptor.digest.algorithm()), bytes: 0 });
    let deadline = pace::deadline(http.pace().time_for(descriptor.size).saturating_mul(TIMES_OF_A_URL));
    let mut transfer = Transfer { http, descriptor, deadline, sink, part, hasher, received };
    let (mut attempts, mut ended_by) = (Vec::new(), None);
    for url in urls {
        ended_by = transfer.limit(attempts.len());
        if ended_by.is_some() {
            break;
        }
        // The sink may have all bytes, if a former transfer broke at the end.
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

/// Fetches a blob into memory. The caller checks that its size permits this.
pub fn fetch_bytes(http: &Http, descriptor: &Descriptor, engines: &CasEngines) -> Result<(Verified, Url), FetchError> {
    let mut bytes = Vec::new();
    let destination = Destination { sink: &mut bytes, stored: None, part: &crate::progress::Silent };
    let url = fetch(http, descriptor, engines, destination)?;
    match Verified::read(&*bytes, descriptor) {
        Ok(verified) => Ok((verified, url)),
        Err(source) => Err(FetchError::Unverified { source }),
    }
}

enum Failure {
    /// The server failed; another may succeed.
    Attempt(AttemptError),
    /// This machine failed.
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
    /// Has hashed all bytes of the sink.
    hasher: Hasher,
    received: u64,
}

impl Transfer<'_> {
    /// The limit that is reached after `asked` URLs, if any.
    fn limit(&self, asked: usize) -> Option<Limit> {
        match asked {
            MAX_URLS.. => Some(Limit::Urls),
            _ => (Instant::now() >= self.deadline).then_some(Limit::Time),
        }
    }

    /// Fetches the blob, or the rest of it, from one server, in several attempts.
    fn from(&mut self, url: &Url) -> Result<Url, Failure> {
        let deadline = pace::deadline(self.http.pace().time_for(self.descriptor.size)).min(self.deadline);
        let (mut fruitless, mut has_restarted) = (0, false);
        loop {
            let (before, started) = (self.received, Instant::now());
            let error = match self.once(url, deadline) {
                Err(Failure::Attempt(error)) => error,
                other => return other,
            };
            let brought = self.received.saturating_sub(before);
            let bears_fruit = brought >= FRUIT && !self.http.pace().is_too_slow(brought, started.elapsed());
            fruitless = if bears_fruit { 0 } else { fruitless + 1 };
            if error.is_about_content() {
                self.restart()?;
                // The bytes of another server, or of a former run, may be wrong. So there is one more attempt from the
                // beginning.
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

    /// Sends one request and reads the response.
    fn once(&mut self, url: &Url, deadline: Instant) -> Result<Url, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut request = HttpRequest::get(url).with("accept", "*/*").within(left);
        if self.received > 0 && self.received < self.descriptor.size {
            request = request.with("range", format!("bytes={}-", self.received));
        }
        let response = self.http.send(&request).map_err(AttemptError::from)?;
        let url = response.url.clone();
        let skip = self.check(&response)?;
        self.read(&url, response, skip)?;
        self.verdict(url)
    }

    /// Checks the headers. Returns the number of bytes of the body that the sink already has.
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

    /// Reads a body to its end, or one byte too far. The sink already has the first `skip` bytes.
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

/// The first position of the body of a 206: `Content-Range: bytes START-END/SIZE` (RFC 9110, section 14.4).
fn content_range_start(response: &Response) -> Option<u64> {
    let range = response.headers.get("content-range")?.trim().strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}
