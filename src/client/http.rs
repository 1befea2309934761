//! A bounded HTTP client: whatever a server does, a request ends, and what it brings fits in what was allowed.
//!
//! It is a thin layer over `ureq` that decides what a consumer of untrusted sites must decide itself; which addresses, URLs,
//! redirects, proxies and rates are permitted is in [`crate::outbound`].
//!
//! - **Redirects** are followed here, at most ten, each by the rules of [`outbound::url`](crate::outbound::url). The URL that
//!   answered is kept, because relative references are resolved against it.
//! - **Time**: a connection, with its name look-up and its TLS handshake, has ten seconds. A request for a document, with its
//!   redirects and its body, has one limit in all. A blob may be of any size, so it ends when it is too slow
//!   ([`crate::outbound::pace`]).
//! - **Size**: at most 64 KiB of headers; bodies are read to a limit that the caller gives, and not a byte further.
//! - **No credentials and no cookies**: user information in a URL is refused rather than sent, and nothing is stored.
//! - **No compression** is asked for: a blob's bytes are what its digest says, and the index of an image is small.
//! - **Certificates** are those the system trusts, so that a private authority works; `SSL_CERT_FILE` and `SSL_CERT_DIR` name
//!   others. A machine that has none at all, such as a minimal container, falls back to Mozilla's, which are built in.
//! - **Proxies** are taken from `ALL_PROXY`, `HTTPS_PROXY` and `HTTP_PROXY`, as every tool beside this one does on a network that
//!   needs them, with the exceptions in `NO_PROXY`; not when requests are sent to a given address ([`ConnectTo`]), which
//!   a proxy would defeat.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oci_discovery::discovery::{self, Fetch, FetchError, FetchErrorKind};
use ureq::http;
use url::Url;

use crate::outbound::agent::{Address, Agents, ConnectTo, SetupError};
use crate::outbound::pace::{self, Pace, TooSlow};
use crate::outbound::reach::{OutOfReach, Reach};
use crate::outbound::url::{check, redirected};
use oci_discovery::json::{self, JsonError};

/// Redirects followed for one request, as many as curl's and browsers' habits leave room for in practice.
const MAX_REDIRECTS: usize = 10;
/// How much of a URL that is refused is told.
const MAX_TOLD: usize = 200;

/// What the user says of all requests.
#[derive(Clone, Default)]
pub struct Options {
    /// How long a request may take, and how slow a blob may be.
    pub pace: Pace,
    /// Where the requests for the hosts of names really go.
    pub connect_to: Option<Address>,
    /// Whether the server there has no TLS.
    pub is_plain: bool,
    /// Hosts whose private addresses are permitted, as [`canonical`](crate::outbound::address::canonical) writes them.
    pub permitted: Vec<String>,
    /// Hears of every request and its outcome.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Options {
    /// Where a site may lead to, for a user who named these hosts (see [`Reach::new`]).
    pub fn reach(&self, named: impl IntoIterator<Item = Vec<String>>) -> Arc<Reach> {
        Arc::new(Reach::new(named, self.permitted.iter().cloned()))
    }
}

/// Hears of requests. Called from several threads.
pub trait Observer: Send + Sync {
    /// One exchange with a server, of which a request that is redirected makes several.
    fn exchange(&self, method: Method, url: &Url, outcome: Result<u16, &HttpError>);
}

/// What a consumer does with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read it.
    Get,
    /// Ask for its headers.
    Head,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
        })
    }
}

/// One request, as plain data.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// GET or HEAD.
    pub method: Method,
    /// What is asked for.
    pub url: &'a Url,
    /// Request headers, besides those that every request has.
    pub headers: Vec<(&'static str, String)>,
    /// What the whole exchange may take, redirects and body included; none: what the client allows.
    pub time: Option<Duration>,
}

impl<'a> Request<'a> {
    /// A GET without further headers.
    pub fn get(url: &'a Url) -> Request<'a> {
        Request { method: Method::Get, url, headers: Vec::new(), time: None }
    }

    /// A HEAD without further headers.
    pub fn head(url: &'a Url) -> Request<'a> {
        Request { method: Method::Head, ..Request::get(url) }
    }

    /// The same request with one more header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Request<'a> {
        self.headers.push((name, value.into()));
        self
    }

    /// The same request with a time limit of its own.
    pub fn within(mut self, time: Duration) -> Request<'a> {
        self.time = Some(time);
        self
    }
}

/// The headers of a response, in their order; values that are not UTF-8 are read as far as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of a header; its name in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All names, in lower case, and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// A response whose body has not been read yet.
pub struct Response {
    /// The URL that answered, after redirects.
    pub url: Url,
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    body: ureq::BodyReader<'static>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Response { url, status, headers, body: _ } = self;
        f.debug_struct("Response")
            .field("url", &url.as_str())
            .field("status", status)
            .field("headers", headers)
            .finish()
    }
}

impl Response {
    /// `Content-Length`, where it is a number.
    pub fn content_length(&self) -> Option<u64> {
        self.headers.get("content-length")?.trim().parse().ok()
    }

    /// Reads the body, which must not be larger than `limit` bytes.
    ///
    /// # Errors
    /// It is larger, which `Content-Length` may tell before anything is read; or reading it fails or takes too long.
    pub fn bytes(self, limit: u64) -> Result<Vec<u8>, HttpError> {
        self.bytes_within(&mut { limit })
    }

    /// Reads the body as [`Response::bytes`] does. What was read is taken from `left`, also where the rest could not be had: several
    /// bodies can so share one limit.
    pub fn bytes_within(self, left: &mut u64) -> Result<Vec<u8>, HttpError> {
        let (url, limit) = (self.url.clone(), *left);
        if self.content_length().is_some_and(|length| length > limit) {
            return Err(HttpError::TooLarge { url, limit });
        }
        let mut counted = Counted { inner: self.body, left };
        json::read_bounded(&mut counted, limit).map_err(|error| match error {
            JsonError::Read(source) => body_error(url, source),
            _ => HttpError::TooLarge { url, limit },
        })
    }

    /// The body, unbounded: the caller bounds what it reads. Errors become [`HttpError`]s through [`body_error`].
    pub fn into_reader(self) -> impl Read + Send + 'static {
        self.body
    }
}

/// Takes what it reads from what is left.
struct Counted<'a, R> {
    inner: R,
    left: &'a mut u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        *self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

/// The error for a body that could not be read to its end.
pub fn body_error(url: Url, source: io::Error) -> HttpError {
    if let Some(slow) = too_slow(&source) {
        return HttpError::TooSlow { url, slow };
    }
    match source.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        Some(ureq::Error::Timeout(_)) => HttpError::Time { url, left_out: None },
        _ => HttpError::Body { url, source },
    }
}

/// Looks for the end of a transfer that was too slow in an I/O error, into which the layers of a connection pack others.
fn too_slow(error: &io::Error) -> Option<TooSlow> {
    let inner = error.get_ref()?;
    if let Some(slow) = inner.downcast_ref::<TooSlow>() {
        return Some(*slow);
    }
    match inner.downcast_ref::<ureq::Error>() {
        Some(ureq::Error::Io(error)) => too_slow(error),
        _ => too_slow(inner.downcast_ref::<io::Error>()?),
    }
}

/// Why a request brought nothing that can be used. Each names the URL.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// A URL that is not asked.
    #[error("{url} is not asked: {problem}")]
    Refused {
        /// The URL.
        url: String,
        /// Why not.
        problem: &'static str,
    },
    /// No connection, or no HTTP on it.
    #[error("no answer from {url}{}{}", hint(.source), told(.left_out))]
    Exchange {
        /// The URL.
        url: Url,
        /// Addresses of the host that were not tried.
        left_out: Option<OutOfReach>,
        /// What went wrong.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The limit of time has passed.
    #[error("{url} took too long to answer in full; a larger --timeout waits longer{}", told(.left_out))]
    Time {
        /// The URL.
        url: Url,
        /// Addresses of the host that were not tried.
        left_out: Option<OutOfReach>,
    },
    /// A transfer that was slower than is waited for.
    #[error("{url} took too long: {slow}; a smaller --speed-limit, or a larger --timeout, waits longer")]
    TooSlow {
        /// The URL.
        url: Url,
        /// How slow it was.
        slow: TooSlow,
    },
    /// More redirects than are followed.
    #[error("{url} is redirected more than {MAX_REDIRECTS} times")]
    RedirectLoop {
        /// The URL that was asked first.
        url: Url,
    },
    /// A redirect that is not followed.
    #[error("{url} redirects to {location:?}, which is not followed: {problem}")]
    Redirect {
        /// The URL that redirects.
        url: Url,
        /// `Location`, as it was given.
        location: String,
        /// Why not.
        problem: &'static str,
    },
    /// A body that broke off.
    #[error("reading {url} failed")]
    Body {
        /// The URL.
        url: Url,
        /// What the connection said.
        #[source]
        source: io::Error,
    },
    /// A body that is larger than is accepted.
    #[error("{url} has more than {limit} bytes, the most that is accepted there")]
    TooLarge {
        /// The URL.
        url: Url,
        /// The limit in bytes.
        limit: u64,
    },
}

impl HttpError {
    /// Whether the same request may well succeed a moment later.
    pub fn may_pass(&self) -> bool {
        match self {
            HttpError::Exchange { source, .. } => {
                let is_refused =
                    matches!(&**source, ureq::Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied);
                let is_connection = matches!(**source, ureq::Error::Io(_) | ureq::Error::ConnectionFailed);
                is_connection && !is_refused && !is_about_tls(source)
            }
            HttpError::Body { .. } => true,
            _ => false,
        }
    }

    /// Whether no connection could be trusted: TLS failed, or its certificate did.
    pub fn is_tls(&self) -> bool {
        matches!(self, HttpError::Exchange { source, .. } if is_about_tls(source))
    }

    /// Whether a certificate was not trusted. Then the server that answered may not be the host.
    pub fn is_certificate(&self) -> bool {
        let HttpError::Exchange { source, .. } = self else { return false };
        let error = match &**source {
            ureq::Error::Rustls(error) => Some(error),
            ureq::Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
            _ => None,
        };
        matches!(error, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
    }

    /// Whether there was no answer at all.
    pub fn is_no_answer(&self) -> bool {
        matches!(self, HttpError::Exchange { .. } | HttpError::Time { .. } | HttpError::TooSlow { .. })
    }
}

fn is_about_tls(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
        // What rustls says in the middle of a handshake comes as an I/O error of this kind, and nothing else does.
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    }
}

fn hint(error: &ureq::Error) -> &'static str {
    match is_about_tls(error) {
        true => {
            " over TLS (a private authority can be named in SSL_CERT_FILE; a server without TLS needs --protocol http, and \
             --connect-to where documents lead to https)"
        }
        false => "",
    }
}

fn told(left_out: &Option<OutOfReach>) -> String {
    left_out.as_ref().map_or(String::new(), |left_out| format!("; not tried: {left_out}"))
}

/// The client. Cheap to share between threads by reference; connections are kept open and used again.
pub struct Http {
    agents: Agents,
    connect_to: Option<ConnectTo>,
    pace: Pace,
    observer: Option<Arc<dyn Observer>>,
}

impl Fetch for Http {
    fn get(&self, url: &Url, accept: &'static str) -> Result<discovery::Response<'_>, FetchError> {
        let response = self.send(&Request::get(url).with("accept", accept))?;
        let header = |name| response.headers.get(name).map(str::to_string);
        Ok(discovery::Response {
            url: response.url.clone(),
            status: response.status,
            content_type: header("content-type"),
            content_encoding: header("content-encoding"),
            body: Box::new(|left| Ok(response.bytes_within(left)?)),
        })
    }
}

impl From<HttpError> for FetchError {
    fn from(error: HttpError) -> FetchError {
        let kind = match &error {
            _ if error.is_certificate() => FetchErrorKind::Certificate,
            _ if error.is_no_answer() => FetchErrorKind::NoAnswer,
            HttpError::TooLarge { .. } => FetchErrorKind::TooLarge,
            _ => FetchErrorKind::Other,
        };
        FetchError::new(kind, error)
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("pace", &self.pace).finish_non_exhaustive()
    }
}

impl Http {
    /// Sets a client up. The requests for `hosts` go where the user wants them to go (`--connect-to`).
    ///
    /// # Errors
    /// The environment names certificates or a proxy that cannot be used.
    pub fn new(options: &Options, hosts: Vec<String>, reach: Arc<Reach>) -> Result<Http, SetupError> {
        let Options { pace, connect_to, is_plain, permitted: _, observer } = options.clone();
        let connect_to = connect_to.map(|address| ConnectTo { hosts, address, is_plain });
        Ok(Http { agents: Agents::new(pace, connect_to.clone(), reach)?, connect_to, pace, observer })
    }

    /// How slow a server may be.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Sends a request and follows its redirects. Any status is a response, not an error.
    pub fn send(&self, request: &Request<'_>) -> Result<Response, HttpError> {
        let deadline = pace::deadline(request.time.unwrap_or(self.pace.time));
        let mut url = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            check(&url).map_err(|problem| refused(&url, problem))?;
            let outcome = self.exchange(request, &url, deadline);
            if let Some(observer) = &self.observer {
                observer.exchange(request.method, &url, outcome.as_ref().map(|response| response.status));
            }
            let response = outcome?;
            match redirect(&response)? {
                Some(next) => url = next,
                None => return Ok(response),
            }
        }
        Err(HttpError::RedirectLoop { url: request.url.clone() })
    }

    fn exchange(&self, request: &Request<'_>, url: &Url, deadline: Instant) -> Result<Response, HttpError> {
        let failed = |source: ureq::Error| self.failed(url, source);
        let agent = self.agents.of(url).map_err(failed)?;
        let sent = self.connect_to.as_ref().map_or_else(|| url.clone(), |connect_to| connect_to.sent(url));
        let mut builder = match request.method {
            Method::Get => agent.get(sent.as_str()),
            Method::Head => agent.head(sent.as_str()),
        };
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(HttpError::Time { url: url.clone(), left_out: None });
        }
        // ureq prepares its certificates once, on the first request that has no settings of its own; so those that can
        // do without have none.
        let is_first_hop_of_a_document = request.time.is_none() && url == request.url;
        let response = match is_first_hop_of_a_document {
            true => builder.call(),
            false => builder.config().timeout_global(Some(left)).build().call(),
        };
        let (parts, body) = response.map_err(failed)?.into_parts();
        Ok(Response {
            url: url.clone(),
            status: parts.status.as_u16(),
            headers: Headers(parts.headers.iter().map(plain_header).collect()),
            body: body.into_reader(),
        })
    }

    fn failed(&self, url: &Url, source: ureq::Error) -> HttpError {
        let (url, left_out) = (url.clone(), self.agents.left_out(url));
        match source {
            ureq::Error::Timeout(_) => HttpError::Time { url, left_out },
            ureq::Error::Io(error) if too_slow(&error).is_some() => body_error(url, error),
            source => HttpError::Exchange { url, left_out, source: Box::new(source) },
        }
    }
}

fn plain_header((name, value): (&http::HeaderName, &http::HeaderValue)) -> (String, String) {
    (name.as_str().to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn refused(url: &Url, problem: &'static str) -> HttpError {
    // A URL is ASCII, so it can be cut anywhere.
    HttpError::Refused { url: url.as_str().chars().take(MAX_TOLD).collect(), problem }
}

/// Where a response sends the client on to, if it does.
fn redirect(response: &Response) -> Result<Option<Url>, HttpError> {
    if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = response.headers.get("location").unwrap_or_default();
    redirected(&response.url, location).map(Some).map_err(|problem| HttpError::Redirect {
        url: response.url.clone(),
        location: location.chars().take(MAX_TOLD).collect(),
        problem,
    })
}
