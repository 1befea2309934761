//! A bounded HTTP client: each request ends, and each response is within limits.
//!
//! It is a thin layer over `ureq` with the decisions of a consumer of untrusted sites. [`crate::outbound`] decides
//! which addresses, URLs, redirects, proxies and rates are permitted.
//!
//! - **Redirects** are followed here, at most ten, each by the rules of [`outbound::url`](crate::outbound::url). The
//!   URL that answered is kept, because relative references are resolved against it.
//! - **Time**: a connection, with its name look-up and TLS handshake, has ten seconds. A request for a document has
//!   one limit, including redirects and body. A blob may have any size, so a blob's transfer ends when it is too slow
//!   ([`crate::outbound::pace`]).
//! - **Size**: at most 64 KiB of headers; bodies are read up to a limit that the caller gives.
//! - **No credentials and no cookies**: a URL with user information is refused, and nothing is stored.
//! - **No compression** is requested: the digest of a blob is that of its bytes, and the index of an image is small.
//! - **Certificates** are those of the system, so that a private authority works; `SSL_CERT_FILE` and `SSL_CERT_DIR`
//!   name others. A machine without any, such as a minimal container, uses Mozilla's, which are built in.
//! - **Proxies** come from `ALL_PROXY`, `HTTPS_PROXY` and `HTTP_PROXY`, with the exceptions in `NO_PROXY`; they are
//!   not used with a given address ([`ConnectTo`]), which they would defeat.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oci_discovery::discovery::{self, Fetch, FetchError, FetchErrorKind};
use ureq::http;
use url::Url;

use crate::outbound::agent::{Address, Agents, ConnectTo, NoAddress, SetupError};
use crate::outbound::pace::{self, Pace, TooSlow};
use crate::outbound::reach::{OutOfReach, Reach};
use crate::outbound::url::{check, redirected};
use oci_discovery::json::{self, JsonError};

/// The most redirects of a request.
const MAX_REDIRECTS: usize = 10;
/// The most characters of a refused URL in a message.
const MAX_TOLD: usize = 200;

/// The user's settings for all requests.
#[derive(Clone, Default)]
pub struct ClientOptions {
    pub pace: Pace,
    /// The address to which requests for the hosts of names are sent.
    pub connect_to: Option<Address>,
    /// Whether the server there has no TLS.
    pub is_plain: bool,
    /// Hosts whose private addresses are permitted, as [`canonical`](crate::outbound::address::canonical) writes them.
    pub permitted: Vec<String>,
    /// Is called for every request.
    pub observer: Option<Arc<dyn Observer>>,
}

impl ClientOptions {
    /// The addresses to which a site may lead, for a user who named these hosts (see [`Reach::new`]).
    pub fn reach(&self, named: impl IntoIterator<Item = Vec<String>>) -> Arc<Reach> {
        Arc::new(Reach::new(named, self.permitted.iter().cloned()))
    }
}

/// Observes requests, in several threads.
pub trait Observer: Send + Sync {
    /// Called after each exchange with a server. A redirected request has several.
    fn exchange(&self, method: Method, url: &Url, outcome: Result<u16, &HttpError>);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
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

#[derive(Clone, Debug)]
pub struct HttpRequest<'a> {
    pub method: Method,
    pub url: &'a Url,
    /// Headers besides those of every request.
    pub headers: Vec<(&'static str, String)>,
    /// The time limit for the whole exchange, including redirects and body. None: the client's.
    pub time: Option<Duration>,
}

impl<'a> HttpRequest<'a> {
    /// A GET without further headers.
    pub fn get(url: &'a Url) -> HttpRequest<'a> {
        HttpRequest { method: Method::Get, url, headers: Vec::new(), time: None }
    }

    /// A HEAD without further headers.
    pub fn head(url: &'a Url) -> HttpRequest<'a> {
        HttpRequest { method: Method::Head, ..HttpRequest::get(url) }
    }

    /// The same request with one more header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> HttpRequest<'a> {
        self.headers.push((name, value.into()));
        self
    }

    /// The same request with a time limit of its own.
    pub fn within(mut self, time: Duration) -> HttpRequest<'a> {
        self.time = Some(time);
        self
    }
}

/// The headers of a response, in order. Bytes that are not UTF-8 are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of a header, whose name is in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All names, in lower case, and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// A response with an unread body.
pub struct Response {
    /// The URL after redirects.
    pub url: Url,
    pub status: u16,
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
    /// `Content-Length`, if it is a number.
    pub fn content_length(&self) -> Option<u64> {
        self.headers.get("content-length")?.trim().parse().ok()
    }

    /// Reads the body, which may have at most `limit` bytes.
    ///
    /// # Errors
    /// The body is larger, which `Content-Length` may show before reading; or reading fails or takes too long.
    pub fn bytes(self, limit: u64) -> Result<Vec<u8>, HttpError> {
        self.bytes_within(&mut { limit })
    }

    /// Reads the body as [`Response::bytes`] does, and subtracts the bytes read from `left`, also after an error, so
    /// that several bodies can share a limit.
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

    /// The body without a limit, which the caller adds. [`body_error`] converts its errors.
    pub fn into_reader(self) -> impl Read + Send + 'static {
        self.body
    }
}

/// Subtracts the bytes read from `left`.
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

/// The error for a body that was not read to its end.
pub fn body_error(url: Url, source: io::Error) -> HttpError {
    if let Some(slow) = too_slow(&source) {
        return HttpError::TooSlow { url, slow };
    }
    match source.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        Some(ureq::Error::Timeout(_)) => HttpError::Time { url, left_out: None },
        _ => HttpError::Body { url, source },
    }
}

/// Finds the end of a transfer that was too slow in an I/O error, which contains the errors of the connection's
/// layers.
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

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("refused to request {url}: {problem}")]
    Refused { url: String, problem: &'static str },
    #[error("no answer from {url}{}{}", hint(.source), left_out_address(.left_out))]
    Exchange {
        url: Url,
        /// Addresses of the host that were not tried.
        left_out: Option<OutOfReach>,
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("{url} took too long to send the whole response; a larger --timeout waits longer{}", left_out_address(.left_out))]
    Time {
        url: Url,
        /// Addresses of the host that were not tried.
        left_out: Option<OutOfReach>,
    },
    #[error("{url} took too long: {slow}; to accept this speed, give a smaller --speed-limit or a larger --timeout")]
    TooSlow { url: Url, slow: TooSlow },
    #[error("{url} is redirected more than {MAX_REDIRECTS} times")]
    RedirectLoop {
        /// The first URL.
        url: Url,
    },
    #[error("{url} redirects to {location:?}, which is not followed: {problem}")]
    Redirect { url: Url, location: String, problem: &'static str },
    #[error("reading {url} failed")]
    Body {
        url: Url,
        #[source]
        source: io::Error,
    },
    #[error("{url} has more than {limit} bytes, the limit for this request")]
    TooLarge {
        url: Url,
        /// In bytes.
        limit: u64,
    },
}

impl HttpError {
    /// Whether the same request may succeed a moment later.
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

    /// Whether no connection was trustworthy: TLS or its certificate failed.
    pub fn is_tls(&self) -> bool {
        matches!(self, HttpError::Exchange { source, .. } if is_about_tls(source) && !is_without_tls(source))
    }

    /// Whether a certificate was not trusted, so that another host may have answered.
    pub fn is_certificate(&self) -> bool {
        let HttpError::Exchange { source, .. } = self else { return false };
        matches!(tls_error(source), Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
    }

    /// Whether the host has no address.
    fn is_unknown_host(&self) -> bool {
        let HttpError::Exchange { source, .. } = self else { return false };
        match &**source {
            ureq::Error::HostNotFound => true,
            ureq::Error::Io(error) => error.get_ref().is_some_and(|inner| inner.is::<NoAddress>()),
            _ => false,
        }
    }

    /// Whether there was no response.
    pub fn is_no_answer(&self) -> bool {
        matches!(self, HttpError::Exchange { .. } | HttpError::Time { .. } | HttpError::TooSlow { .. })
    }
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        _ => None,
    }
}

/// Whether the server answered with other bytes than those of TLS, as a server for plain HTTP does.
fn is_without_tls(error: &ureq::Error) -> bool {
    matches!(tls_error(error), Some(rustls::Error::InvalidMessage(_)))
}

fn is_about_tls(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
        // An error of rustls during a handshake is an I/O error of this kind, and no other error is.
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    }
}

fn hint(error: &ureq::Error) -> &'static str {
    match error {
        _ if is_without_tls(error) => {
            ": the server does not speak TLS; to use plain HTTP, add --protocol http, and --connect-to if documents lead to https"
        }
        _ if is_about_tls(error) => " over TLS (SSL_CERT_FILE can name the certificate of a private authority)",
        _ => "",
    }
}

fn left_out_address(left_out: &Option<OutOfReach>) -> String {
    left_out.as_ref().map_or(String::new(), |left_out| format!("; not tried: {left_out}"))
}

/// The client. Threads share it by reference; it keeps connections open and reuses them.
pub struct Http {
    agents: Agents,
    connect_to: Option<ConnectTo>,
    pace: Pace,
    observer: Option<Arc<dyn Observer>>,
}

impl Fetch for Http {
    fn get(&self, url: &Url, accept: &'static str) -> Result<discovery::Response<'_>, FetchError> {
        let response = self.send(&HttpRequest::get(url).with("accept", accept))?;
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
            _ if error.is_unknown_host() => FetchErrorKind::UnknownHost,
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
    /// Creates a client. Requests for `hosts` go to the address of `--connect-to`.
    ///
    /// # Errors
    /// The environment names unusable certificates or an unusable proxy.
    pub fn new(options: &ClientOptions, hosts: Vec<String>, reach: Arc<Reach>) -> Result<Http, SetupError> {
        let ClientOptions { pace, connect_to, is_plain, permitted: _, observer } = options.clone();
        let connect_to = connect_to.map(|address| ConnectTo { hosts, address, is_plain });
        Ok(Http { agents: Agents::new(pace, connect_to.clone(), reach)?, connect_to, pace, observer })
    }

    /// The limits of time and speed.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Sends a request and follows its redirects. Every status is a response, not an error.
    pub fn send(&self, request: &HttpRequest<'_>) -> Result<Response, HttpError> {
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

    fn exchange(&self, request: &HttpRequest<'_>, url: &Url, deadline: Instant) -> Result<Response, HttpError> {
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
        // ureq prepares its certificates once, on the first request without settings of its own; so requests that need
        // none have none.
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

/// The target of a redirect.
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
