//! A bounded HTTP client: whatever a server does, a request ends, and what it brings fits in what was allowed.
//!
//! It is a thin layer over `ureq` that decides what a consumer of untrusted sites must decide itself:
//!
//! - **Redirects** are followed here, at most ten, only to `http` and `https`, and never from `https` to `http`. The URL
//!   that answered is kept, because relative references are resolved against it.
//! - **Time**: a connection, with its name look-up and its TLS handshake, has ten seconds. A request for a document, with its
//!   redirects and its body, has one limit in all. A blob may be of any size, so its limit grows with its size
//!   ([`Http::time_for`]): a slow link is allowed for, a server that drips a byte a second is not.
//! - **Size**: at most 64 KiB of headers; bodies are read to a limit that the caller gives, and not a byte further.
//! - **No credentials and no cookies**: user information in a URL is refused rather than sent, and nothing is stored.
//! - **No compression** is asked for: a blob's bytes are what its digest says, and the index of an image is small.
//! - **Certificates** are those the system trusts, so that a private authority works; `SSL_CERT_FILE` and `SSL_CERT_DIR` name
//!   others. A machine that has none at all, such as a minimal container, falls back to Mozilla's, which are built in.
//! - **Proxies** are taken from `ALL_PROXY`, `HTTPS_PROXY` and `HTTP_PROXY`, as every tool beside this one does on a network that
//!   needs them, with the exceptions in `NO_PROXY`; not when requests are sent to a given address ([`ConnectTo`]), which
//!   a proxy would defeat.
//! - **Addresses** that a site must not lead to are not asked (see [`Reach`]), neither directly nor through a proxy.

use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Proxy, http};
use url::Url;

use super::reach::{OutOfReach, Reach};
use crate::json::{self, JsonError};

/// Redirects followed for one request, as many as curl's and browsers' habits leave room for in practice.
const MAX_REDIRECTS: usize = 10;
/// The most bytes of status line and headers.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// The longest URL that is asked: what RFC 9110, section 4.1, asks every server to take. Longer ones come out of templates that
/// mean no good.
const MAX_URL_BYTES: usize = 8000;
/// The most time for a connection to be ready: name look-up, TCP and TLS.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// The time that a request may take unless told otherwise, besides the time for a blob's bytes.
pub const DEFAULT_TIME: Duration = Duration::from_secs(30);
/// The slowest transfer of a blob that is waited for: about half a megabit a second, below which nobody pulls images.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 * 1024;
/// Idle connections kept per host: one for each of the workers that usually fetch blobs.
const IDLE_CONNECTIONS: usize = 16;

/// How much of a URL that is refused is told.
const MAX_TOLD: usize = 200;

/// How a client is set up.
#[derive(Clone, Default)]
pub struct Options {
    /// What a request may take (see [`DEFAULT_TIME`]).
    pub time: Option<Duration>,
    /// Where the requests for some hosts really go.
    pub connect_to: Option<ConnectTo>,
    /// Where a site may lead to; none: anywhere.
    pub reach: Option<Arc<Reach>>,
    /// Hears of every request and its outcome.
    pub observer: Option<Arc<dyn Observer>>,
}

/// Sends the requests for some hosts, whatever their port, to one address. URLs, the `Host` header and the name that TLS
/// asks for stay those of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectTo {
    /// The hosts, in lower case.
    pub hosts: Vec<String>,
    /// Where to connect instead.
    pub address: Address,
}

/// A host and a port to connect to: `127.0.0.1:8080`, `[::1]:8080`, `staging.example.com:443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(http::uri::Authority);

impl std::str::FromStr for Address {
    type Err = HttpError;

    fn from_str(text: &str) -> Result<Address, HttpError> {
        let wrong = || HttpError::Address { text: text.into() };
        let authority: http::uri::Authority = text.parse().map_err(|_| wrong())?;
        let is_complete = !authority.host().is_empty() && authority.port_u16().is_some_and(|port| port > 0);
        if !is_complete || text.contains('@') {
            return Err(wrong());
        }
        Ok(Address(authority))
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
        let url = self.url.clone();
        if self.content_length().is_some_and(|length| length > limit) {
            return Err(HttpError::TooLarge { url, limit });
        }
        json::read_bounded(self.body, limit).map_err(|error| match error {
            JsonError::Read(source) => body_error(url, source),
            _ => HttpError::TooLarge { url, limit },
        })
    }

    /// The body, unbounded: the caller bounds what it reads. Errors become [`HttpError`]s through [`body_error`].
    pub fn into_reader(self) -> impl Read + Send + 'static {
        self.body
    }
}

/// The error for a body that could not be read to its end.
pub fn body_error(url: Url, source: io::Error) -> HttpError {
    match source.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        Some(ureq::Error::Timeout(_)) => HttpError::Time { url },
        _ => HttpError::Body { url, source },
    }
}

/// Why a request brought nothing that can be used. Every variant but the first two names the URL.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No address to connect to.
    #[error("{text:?} is not an address to connect to: expected HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080")]
    Address {
        /// What was given.
        text: String,
    },
    /// The certificates that were asked for cannot be read.
    #[error(
        "cannot read certificates from SSL_CERT_FILE or SSL_CERT_DIR ({problem}): correct the variable, or unset it"
    )]
    Certificates {
        /// What the system said.
        problem: String,
    },
    /// A URL that is not asked.
    #[error("{url} is not asked: {problem}")]
    Refused {
        /// The URL.
        url: String,
        /// Why not.
        problem: &'static str,
    },
    /// No connection, or no HTTP on it.
    #[error("no answer from {url}{}", hint(.source))]
    Exchange {
        /// The URL.
        url: Url,
        /// What went wrong.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The limit of time has passed.
    #[error("{url} took too long to answer in full; a larger --timeout waits longer")]
    Time {
        /// The URL.
        url: Url,
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

    /// Whether there was no answer at all.
    pub fn is_no_answer(&self) -> bool {
        matches!(self, HttpError::Exchange { .. } | HttpError::Time { .. })
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
        true => " over TLS (a private authority can be named in SSL_CERT_FILE; a server without TLS needs http)",
        false => "",
    }
}

/// The client. Cheap to share between threads by reference; connections are kept open and used again.
pub struct Http {
    direct: Agent,
    /// What a proxy is asked for, unless it is excepted.
    proxied: Option<(Proxy, Agent)>,
    reach: Option<Arc<Reach>>,
    time: Duration,
    observer: Option<Arc<dyn Observer>>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("time", &self.time).finish_non_exhaustive()
    }
}

impl Http {
    /// Sets a client up.
    ///
    /// # Errors
    /// The environment names certificates that cannot be read.
    pub fn new(options: Options) -> Result<Http, HttpError> {
        let time = options.time.unwrap_or(DEFAULT_TIME);
        let proxy = if options.connect_to.is_some() { None } else { Proxy::try_from_env() };
        let tls = TlsConfig::builder().root_certs(root_certificates()?).build();
        let config = |proxy| {
            Config::builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .max_response_header_size(MAX_HEADER_BYTES)
                .max_idle_connections(4 * IDLE_CONNECTIONS)
                .max_idle_connections_per_host(IDLE_CONNECTIONS)
                .timeout_connect(Some(CONNECT_TIME))
                .timeout_global(Some(time))
                .user_agent(concat!("ocisite/", env!("CARGO_PKG_VERSION")))
                .accept_encoding("identity")
                .tls_config(tls.clone())
                .proxy(proxy)
                .build()
        };
        let through = |proxy: Proxy| {
            // What is looked up for it is the proxy's own address.
            let config = config(Some(proxy.clone()));
            (proxy, Agent::with_parts(config, DefaultConnector::default(), DefaultResolver::default()))
        };
        let proxied = proxy.map(through);
        let Options { connect_to, reach, observer, .. } = options;
        let resolver = Redirector { connect_to, reach: reach.clone(), dns: DefaultResolver::default() };
        let direct = Agent::with_parts(config(None), DefaultConnector::default(), resolver);
        Ok(Http { direct, proxied, reach, time, observer })
    }

    /// What asks for a URL.
    fn agent(&self, url: &Url) -> Result<&Agent, ureq::Error> {
        let uri: http::Uri = url.as_str().parse().map_err(http::Error::from)?;
        let Some((_, agent)) = self.proxied.as_ref().filter(|(proxy, _)| !proxy.is_no_proxy(&uri)) else {
            return Ok(&self.direct);
        };
        if let Some((reach, host)) = self.reach.as_ref().zip(url.host()) {
            reach.check_for_proxy(&host).map_err(out_of_reach)?;
        }
        Ok(agent)
    }

    /// What fetching so many bytes may take.
    pub fn time_for(&self, bytes: u64) -> Duration {
        self.time + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND)
    }

    /// Sends a request and follows its redirects. Any status is a response, not an error.
    pub fn send(&self, request: &Request<'_>) -> Result<Response, HttpError> {
        let deadline = Instant::now() + request.time.unwrap_or(self.time);
        let mut url = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            check_url(&url)?;
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
        let failed = |source: ureq::Error| match source {
            ureq::Error::Timeout(_) => HttpError::Time { url: url.clone() },
            source => HttpError::Exchange { url: url.clone(), source: Box::new(source) },
        };
        let agent = self.agent(url).map_err(failed)?;
        let mut builder = match request.method {
            Method::Get => agent.get(url.as_str()),
            Method::Head => agent.head(url.as_str()),
        };
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(HttpError::Time { url: url.clone() });
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
}

fn plain_header((name, value): (&http::HeaderName, &http::HeaderValue)) -> (String, String) {
    (name.as_str().to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Whether a URL may be asked at all.
fn check_url(url: &Url) -> Result<(), HttpError> {
    let problem = match () {
        _ if !is_web(url) => "only http and https are",
        _ if !url.username().is_empty() || url.password().is_some() => {
            "it carries user information, which is never sent"
        }
        _ if url.as_str().len() > MAX_URL_BYTES => "it is longer than 8000 bytes",
        _ => return Ok(()),
    };
    // A URL is ASCII, so it can be cut anywhere.
    Err(HttpError::Refused { url: url.as_str().chars().take(MAX_TOLD).collect(), problem })
}

/// Whether a URL's scheme is one that this client speaks.
pub fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// Where a response sends the client on to, if it does.
fn redirect(response: &Response) -> Result<Option<Url>, HttpError> {
    if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = response.headers.get("location").unwrap_or_default();
    let told: String = location.chars().take(MAX_TOLD).collect();
    let refused = |problem| HttpError::Redirect { url: response.url.clone(), location: told.clone(), problem };
    if location.is_empty() {
        return Err(refused("it has no Location"));
    }
    let next = response.url.join(location).map_err(|_| refused("it is not a URL"))?;
    if !is_web(&next) {
        return Err(refused("only http and https are"));
    }
    if response.url.scheme() == "https" && next.scheme() == "http" {
        return Err(refused("it leaves https for http"));
    }
    Ok(Some(next))
}

fn root_certificates() -> Result<RootCerts, HttpError> {
    let [file, directory] = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os);
    // Told now, because a certificate that "is not trusted" later would hide that the file is misspelled.
    if let Some(Err(error)) = file.as_ref().map(std::fs::File::open) {
        return Err(HttpError::Certificates { problem: error.to_string() });
    }
    let loaded = rustls_native_certs::load_native_certs();
    if !loaded.certs.is_empty() {
        let certificates = loaded.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
        return Ok(RootCerts::from(certificates));
    }
    match file.or(directory) {
        Some(_) => {
            let problem = loaded.errors.first().map_or("there are none".into(), ToString::to_string);
            Err(HttpError::Certificates { problem })
        }
        None => Ok(RootCerts::WebPki),
    }
}

/// The resolver of [`ConnectTo`] and [`Reach`]: a look-up of another name for some hosts, of their own for all others, and a look
/// at what was found.
#[derive(Debug)]
struct Redirector {
    connect_to: Option<ConnectTo>,
    reach: Option<Arc<Reach>>,
    dns: DefaultResolver,
}

impl Resolver for Redirector {
    fn resolve(
        &self,
        uri: &http::Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let target = self.connect_to.as_ref().filter(|connect_to| connect_to.hosts.contains(&host));
        let found = match target {
            Some(connect_to) => {
                let target =
                    http::Uri::builder().scheme("http").authority(connect_to.address.0.clone()).path_and_query("/");
                self.dns.resolve(&target.build()?, config, timeout)
            }
            None => self.dns.resolve(uri, config, timeout),
        };
        if let Some(reach) = &self.reach {
            let addresses: Vec<IpAddr> = found.iter().flatten().map(SocketAddr::ip).collect();
            reach.check(&host, &addresses).map_err(out_of_reach)?;
        }
        found
    }
}

fn out_of_reach(refused: OutOfReach) -> ureq::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, refused).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, url: &str, location: Option<&str>) -> Response {
        let headers = location.map(|location| ("location".to_string(), location.to_string()));
        let body = ureq::Body::builder().data("").into_reader();
        Response { url: url.parse().unwrap(), status, headers: Headers(headers.into_iter().collect()), body }
    }

    fn next(from: &str, location: &str) -> Result<String, String> {
        match redirect(&answer(302, from, Some(location))) {
            Ok(next) => Ok(next.unwrap().to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn redirects_stay_on_the_web_and_never_leave_https_for_http() {
        assert_eq!(next("http://example.com/a", "https://example.com/b").unwrap(), "https://example.com/b");
        assert_eq!(next("https://example.com/a/b", "../c").unwrap(), "https://example.com/c");
        assert!(next("https://example.com/", "http://example.com/").unwrap_err().contains("leaves https"));
        assert!(next("http://example.com/", "file:///etc/passwd").unwrap_err().contains("only http and https"));
        assert!(next("http://example.com/", "http://[").unwrap_err().contains("not a URL"));
        assert!(redirect(&answer(301, "http://example.com/", None)).is_err());
        assert!(redirect(&answer(200, "http://example.com/", Some("/b"))).unwrap().is_none());
    }

    #[test]
    fn user_information_and_other_schemes_are_not_asked() {
        let refused = |url: &str| check_url(&url.parse().unwrap()).unwrap_err().to_string();
        assert!(refused("https://user@example.com/").contains("user information"));
        assert!(refused("https://:secret@example.com/").contains("user information"));
        assert!(refused("ftp://example.com/").contains("only http and https"));
        let long = refused(&format!("https://example.com/{}", "x".repeat(10_000)));
        assert!(long.contains("longer than") && long.len() < 1000, "{long}");
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["127.0.0.1:8080", "[::1]:80", "staging.example.com:443"] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1",
            ":80",
            "example.com:0",
            "example.com:99999",
            "me@example.com:80",
            "http://a:80",
            "::1:80x",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_time_for_a_blob_grows_with_its_size() {
        let options = Options { time: Some(Duration::from_secs(5)), ..Options::default() };
        let http = Http::new(options).unwrap();
        assert_eq!(http.time_for(1000), Duration::from_secs(5));
        assert_eq!(http.time_for(64 * 1024 * 1024), Duration::from_secs(5 + 1024));
    }
}
