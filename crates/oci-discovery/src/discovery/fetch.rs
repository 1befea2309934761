//! How documents are asked for: the one thing that this crate leaves to its caller.

use std::error::Error;

use url::Url;

/// A client that sends GET requests.
///
/// The client follows redirects as far as it permits them, sends no credentials, and limits the time of a request.
pub trait Fetch {
    /// Sends a GET for `url` and returns when the headers have arrived.
    ///
    /// # Errors
    /// There is no response, or the client does not permit the request.
    fn get(&self, url: &Url, accept: &'static str) -> Result<Response<'_>, FetchError>;
}

/// A response whose body is not read yet.
pub struct Response<'a> {
    /// The URL that answered, after redirects: relative references are resolved against it.
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

/// Reads a body of at most as many bytes as its argument says, and subtracts the bytes that it read, also where it fails: several bodies can
/// so share one limit.
pub type ReadBody<'a> = Box<dyn FnOnce(&mut u64) -> Result<Vec<u8>, FetchError> + 'a>;

/// Why a request brought no document. Its message is that of the client's own error, which names the URL.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct FetchError {
    /// What it means for the resolution.
    pub kind: FetchErrorKind,
    /// The client's own error.
    source: Box<dyn Error + Send + Sync>,
}

impl FetchError {
    /// The error of a client.
    pub fn new(kind: FetchErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> FetchError {
        FetchError { kind, source: source.into() }
    }
}

/// What a failed request means for the resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchErrorKind {
    /// No server answered. Then a host may be asked over another protocol.
    NoAnswer,
    /// A certificate was not trusted. Then nothing more is asked over plain HTTP.
    Certificate,
    /// The body is larger than its limit.
    TooLarge,
    /// Anything else.
    Other,
}
