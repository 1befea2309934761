//! Requests to object stores.
//!
//! These carry credentials: in headers, and with a shared access signature in the URL. Therefore no redirect is
//! followed, which would send the credentials to its target, and no request has a `Referer` header. The user names the
//! store, so its address may be private.
//!
//! [`Connector`] makes all clients of the library, including those that fetch credentials.

#![allow(clippy::disallowed_methods, reason = "this module is what the others go through")]

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, LOCATION};
use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::path::Path as Key;
use quick_xml::events::Event;

use super::pace::{Meter, Pace, TooSlow};
use super::proxy;
use oci_discovery::parallel::lock;

/// The time limit of a connection, if the library sets none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit of a silent connection. A part has to be sent in this time.
const READ_TIMEOUT: Duration = Duration::from_secs(120);
/// The time limit of a request, including the body of its response: the largest blobs over slow lines.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// The most bytes of a response that is read into memory: a page of a listing, an error, credentials. Azure's pages
/// are the largest, with 5000 keys of up to 1024 characters.
const MAX_MESSAGE: u64 = 16 * 1024 * 1024;

/// Marks the requests of one read of an object, including the library's retries. Limits the bytes of all their bodies,
/// and each body to its Content-Length. Responses to other requests have at most `MAX_MESSAGE` bytes.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Mutex<Result<u64, Refused>>>);

impl Budget {
    /// A budget for one read of at most `limit` bytes.
    pub fn of(limit: u64) -> Budget {
        Budget(Arc::new(Mutex::new(Ok(limit))))
    }

    /// The bytes that are left.
    ///
    /// # Errors
    /// A body was refused, so nothing more is requested.
    fn left(&self) -> Result<u64, Refused> {
        *lock(&self.0)
    }

    fn set_left(&self, left: Result<u64, Refused>) {
        *lock(&self.0) = left;
    }
}

/// Marks a request for a page of a listing. Keys that the library cannot represent are moved from the response to
/// [`Unusable`]; the library would refuse the whole page without naming them.
#[derive(Clone, Copy, Debug)]
pub struct Listing;

/// The keys that were removed from a page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unusable(pub Vec<String>);

/// The library's settings that [`Connector`] reads.
pub const SETTINGS: [ClientConfigKey; 5] = [
    ClientConfigKey::AllowHttp,
    ClientConfigKey::AllowInvalidCertificates,
    ClientConfigKey::ConnectTimeout,
    ClientConfigKey::ProxyUrl,
    ClientConfigKey::ProxyExcludes,
];

/// Makes the clients of object stores.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let is_set = |key| options.get_config_value(&key).is_some_and(|value| is_true(&value));
        let connect_timeout = options.get_config_value(&ClientConfigKey::ConnectTimeout);
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // The library would choose another proxy from the same variables.
            .no_proxy()
            .user_agent(concat!("ocisite/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout.and_then(|text| seconds(&text)).unwrap_or(CONNECT_TIMEOUT))
            .read_timeout(READ_TIMEOUT)
            .timeout(WHOLE_TIMEOUT)
            .https_only(!is_set(ClientConfigKey::AllowHttp))
            .tls_danger_accept_invalid_certs(is_set(ClientConfigKey::AllowInvalidCertificates));
        if let Some(url) = options.get_config_value(&ClientConfigKey::ProxyUrl) {
            let excepted = options.get_config_value(&ClientConfigKey::ProxyExcludes).unwrap_or_default();
            let proxy = reqwest::Proxy::all(url).map_err(generic)?;
            builder = builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_string(&excepted)));
        } else if let Some(proxy) = proxy::from_environment().map_err(generic)? {
            let target = proxy::url(&proxy).map_err(generic)?;
            let of_url = move |url: &url::Url| proxy::applies(&proxy, url).then(|| target.clone());
            builder = builder.proxy(reqwest::Proxy::custom(of_url));
        }
        Ok(HttpClient::new(Service { client: builder.build().map_err(generic)? }))
    }
}

/// The library's settings are text.
pub fn is_true(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"].contains(&value.to_ascii_lowercase().as_str())
}

/// A duration of whole seconds, in the library's format.
fn seconds(text: &str) -> Option<Duration> {
    Some(Duration::from_secs(text.strip_suffix('s')?.parse().ok()?))
}

fn generic(error: impl std::error::Error + Send + Sync + 'static) -> object_store::Error {
    object_store::Error::Generic { store: "HTTP client", source: Box::new(error) }
}

/// A redirect that was not followed. Only its host is reported, because the URL may contain a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a redirect to {host}, which is not followed")]
pub struct Redirected {
    pub host: String,
}

/// Why the body of a response ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("a response of more than {limit} bytes")]
    Oversized {
        /// The Content-Length of the body, or its limit.
        limit: u64,
    },
    #[error(transparent)]
    TooSlow(#[from] TooSlow),
}

impl Refused {
    fn error(self) -> HttpError {
        HttpError::new(HttpErrorKind::Decode, self)
    }
}

#[derive(Debug)]
struct Service {
    client: reqwest::Client,
}

#[async_trait::async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_listing = request.extensions().get::<Listing>().is_some();
        let budget = request.extensions().get::<Budget>().cloned().unwrap_or_else(|| Budget::of(MAX_MESSAGE));
        // The library repeats a read after any failure of its body.
        budget.left().map_err(Refused::error)?;
        let response = bounded(self.client.call(request).await?, &budget, Pace::default())?;
        let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
        if let Some(location) = location {
            let url = location.to_str().ok().and_then(|location| url::Url::parse(location).ok());
            let host = url.and_then(|url| url.host_str().map(str::to_string)).unwrap_or("another place".into());
            return Err(HttpError::new(HttpErrorKind::Unknown, Redirected { host }));
        }
        match is_listing && response.status().is_success() {
            true => without_unusable(response).await,
            false => Ok(response),
        }
    }
}

/// A response whose body fails when it is too large or too slow.
fn bounded(response: HttpResponse, budget: &Budget, pace: Pace) -> Result<HttpResponse, HttpError> {
    let (parts, body) = response.into_parts();
    // The text of an error is not a part of an object.
    let budget = if parts.status.is_success() { budget.clone() } else { Budget::of(MAX_MESSAGE) };
    let declared = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let limit = budget.left().map_err(Refused::error)?.min(declared.unwrap_or(MAX_MESSAGE));
    let bounded = Bounded { body, limit, left: limit, budget, speed: Speed::new(pace) };
    Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(bounded)))
}

/// A body with limits. It has no size hint, because the library would reserve memory for a declared size.
struct Bounded {
    body: HttpResponseBody,
    /// The limit of the body, and the bytes that remain.
    limit: u64,
    left: u64,
    budget: Budget,
    speed: Speed,
}

/// The speed at which a store sends a body. Only the time in which the program waits for the store counts, because the program
/// may take longer to write a part than the store to send the part.
struct Speed {
    meter: Meter,
    /// The beginning, moved forward by the time in which the program did not wait.
    now: Instant,
    waits_since: Option<Instant>,
}

impl Speed {
    fn new(pace: Pace) -> Speed {
        let now = Instant::now();
        Speed { meter: Meter::new(pace, now), now, waits_since: None }
    }

    fn wait(&mut self) {
        self.waits_since.get_or_insert_with(Instant::now);
    }

    fn advance(&mut self, bytes: u64) -> Result<(), TooSlow> {
        self.now += self.waits_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.meter.advance(bytes, self.now)
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, HttpError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            self.speed.wait();
            return Poll::Pending;
        };
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        match self.count(data.map_or(0, Bytes::len) as u64) {
            Ok(()) => Poll::Ready(frame),
            Err(refused) => {
                self.budget.set_left(Err(refused));
                Poll::Ready(Some(Err(refused.error())))
            }
        }
    }
}

impl Bounded {
    /// Counts received bytes.
    fn count(&mut self, bytes: u64) -> Result<(), Refused> {
        self.left = self.left.checked_sub(bytes).ok_or(Refused::Oversized { limit: self.limit })?;
        self.speed.advance(bytes)?;
        self.budget.set_left(self.budget.left().map(|budget| budget.saturating_sub(bytes)));
        Ok(())
    }
}

async fn without_unusable(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (mut parts, body) = response.into_parts();
    let (page, unusable) = usable(&body.bytes().await?);
    parts.headers.remove(CONTENT_LENGTH);
    parts.extensions.insert(Unusable(unusable));
    Ok(HttpResponse::from_parts(parts, Bytes::from(page).into()))
}

/// A page of a listing without the objects whose keys the library cannot represent, and these keys. The stores'
/// listings differ in the names of two elements. A page that is not XML is unchanged, and the library reports it.
fn usable(page: &[u8]) -> (Vec<u8>, Vec<String>) {
    let mut reader = quick_xml::Reader::from_reader(page);
    let (mut kept, mut unusable) = (Vec::with_capacity(page.len()), Vec::new());
    let mut copied = 0;
    let mut object_begins = None;
    let mut key = None;
    loop {
        let position = reader.buffer_position() as usize;
        match reader.read_event() {
            Ok(Event::Start(start)) if matches!(start.name().as_ref(), b"Contents" | b"Blob") => {
                (object_begins, key) = (Some(position), None);
            }
            Ok(Event::Start(start)) if object_begins.is_some() && matches!(start.name().as_ref(), b"Key" | b"Name") => {
                let Ok(text) = reader.read_text(start.name()) else { break };
                key = key.or_else(|| Some(String::from_utf8_lossy(&text).into_owned()));
            }
            Ok(Event::End(end)) if matches!(end.name().as_ref(), b"Contents" | b"Blob") => {
                if let (Some(begins), Some(Err(name))) = (object_begins.take(), key.take().map(|key| check(&key))) {
                    kept.extend_from_slice(&page[copied..begins]);
                    copied = reader.buffer_position() as usize;
                    unusable.push(name);
                }
            }
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    kept.extend_from_slice(&page[copied..]);
    (kept, unusable)
}

/// Checks that the library represents a key unchanged: it refuses some keys, and misreads others. The error is the key.
fn check(escaped: &str) -> Result<(), String> {
    let key = quick_xml::escape::unescape(escaped).map_err(|_| escaped.to_string())?;
    match Key::parse(&key) {
        Ok(parsed) if parsed.as_ref() == key => Ok(()),
        _ => Err(key.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a response whose body has a piece of `piece` bytes every 20 ms, with a pause after each piece, and returns how it ended.
    fn read(piece: usize, pieces: usize, pause: Duration) -> Result<(), Option<Refused>> {
        let pace = Pace { time: Duration::from_millis(200), speed: 10_000 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let drip = futures_util::stream::unfold(pieces, move |left| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            (left > 0).then(|| (Ok::<_, HttpError>(http_body::Frame::data(Bytes::from(vec![b' '; piece]))), left - 1))
        });
        let body = HttpResponseBody::new(http_body_util::StreamBody::new(drip));
        let budget = Budget::of(u64::MAX);
        let mut body = bounded(HttpResponse::new(body), &budget, pace).unwrap().into_body();
        while let Some(frame) = runtime.block_on(http_body_util::BodyExt::frame(&mut body)) {
            frame.map_err(|_| budget.left().err())?;
            std::thread::sleep(pause);
        }
        Ok(())
    }

    #[test]
    fn a_body_that_drips_ends_and_one_that_is_read_slowly_does_not() {
        let refused = read(1, 1000, Duration::ZERO).unwrap_err();
        assert!(matches!(refused, Some(Refused::TooSlow(_))), "{refused:?}");
        // Its speed is 500,000 bytes a second, and its reader takes less than 10,000 a second for longer than the window.
        assert_eq!(read(10_000, 2, Duration::from_millis(1100)), Ok(()));
    }

    fn page(keys: &[&str]) -> String {
        let objects: String =
            keys.iter().map(|key| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>")).collect();
        format!(
            "<?xml version=\"1.0\"?><ListBucketResult><Name>site</Name>{objects}<KeyCount>1</KeyCount></ListBucketResult>"
        )
    }

    #[test]
    fn keys_that_cannot_be_held_are_taken_out_and_told() {
        let all = page(&["a", "b//c", "d/e", "../f", "g/", "h&amp;i", "/j", "k&#1;l"]);
        let (kept, unusable) = usable(all.as_bytes());
        assert_eq!(String::from_utf8(kept).unwrap(), page(&["a", "d/e", "h&amp;i"]));
        assert_eq!(unusable, ["b//c", "../f", "g/", "/j", "k\u{1}l"]);
    }

    #[test]
    fn azure_calls_the_elements_otherwise() {
        let all = "<EnumerationResults><Blobs><Blob><Name>a//b</Name></Blob><Blob><Name>c</Name></Blob></Blobs></EnumerationResults>";
        let (kept, unusable) = usable(all.as_bytes());
        assert_eq!(kept, b"<EnumerationResults><Blobs><Blob><Name>c</Name></Blob></Blobs></EnumerationResults>");
        assert_eq!(unusable, ["a//b"]);
    }

    #[test]
    fn what_is_no_listing_stays_as_it_is() {
        for text in ["", "<", "<Contents><Key>a//b", "no XML", "<a><Key>b//c</Key></a>"] {
            assert_eq!(usable(text.as_bytes()), (text.as_bytes().to_vec(), vec![]), "{text}");
        }
    }

    #[test]
    fn the_library_s_times_are_read() {
        assert_eq!(seconds("1s"), Some(Duration::from_secs(1)));
        assert_eq!(seconds("1 s"), None);
    }
}
