//! Requests for documents, which the caller sends.

use std::error::Error;

use url::Url;

/// A client that sends GET requests. The [front page](crate) has an implementation over HTTP.
///
/// The client decides which requests and redirects are permitted, sends no credentials, and limits the time of a
/// request.
pub trait Fetch {
    /// Sends a GET for `url` with the header `Accept`, and returns after the response headers.
    ///
    /// # Errors
    /// No response, or the client does not permit the request.
    fn get(&self, url: &Url, accept: &'static str) -> Result<Response<'_>, FetchError>;
}

/// A response with an unread body.
pub struct Response<'a> {
    /// The URL after redirects: the base of relative references (RFC 3986, 5.1.3).
    pub url: Url,
    /// The status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// Reads the body.
    pub body: ReadBody<'a>,
}

/// Reads a body of at most as many bytes as its argument, and subtracts the bytes read, also after an error: several
/// bodies can share one limit.
pub type ReadBody<'a> = Box<dyn FnOnce(&mut u64) -> Result<Vec<u8>, FetchError> + 'a>;

/// Why a request failed. Its message is that of the client's own error, which names the URL.
///
/// ```
/// use oci_discovery::discovery::{FetchError, FetchErrorKind};
///
/// let error = FetchError::new(FetchErrorKind::NoAnswer, "https://example.com/: connection refused");
/// assert_eq!(error.to_string(), "https://example.com/: connection refused");
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct FetchError {
    /// The consequence for the resolution.
    pub kind: FetchErrorKind,
    /// The client's own error.
    source: Box<dyn Error + Send + Sync>,
}

impl FetchError {
    /// Wraps the error of a client.
    pub fn new(kind: FetchErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> FetchError {
        FetchError { kind, source: source.into() }
    }
}

/// The consequence of a failed request for the resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchErrorKind {
    /// No server answered. The host may be asked over another protocol.
    NoAnswer,
    /// The name of the host has no address, so no protocol reaches it.
    UnknownHost,
    /// A certificate was not trusted. No further request goes over plain HTTP.
    Certificate,
    /// The body is larger than its limit.
    TooLarge,
    /// Another failure.
    Other,
}
