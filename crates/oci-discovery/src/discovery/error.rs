//! Why a document or an engine is unusable.

use url::Url;

use super::fetch::{FetchError, FetchErrorKind};
use crate::json::JsonError;
use crate::template::TemplateError;

/// What a status says beside its number (RFC 9110, 15.5.20): for messages, behind the number.
///
/// ```
/// use oci_discovery::discovery::meaning;
///
/// assert_eq!(format!("status 421{}", meaning(421)), "status 421: the server does not answer for this host");
/// assert_eq!(meaning(404), "");
/// ```
pub fn meaning(status: u16) -> &'static str {
    if status == 421 { ": the server does not answer for this host" } else { "" }
}

/// Why a document was not fetched, or is unusable.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The request failed, or its body did.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A status other than 200.
    #[error("{url} answered with status {status}{}, expected 200", meaning(*.status))]
    Status {
        /// The URL.
        url: Url,
        /// The status.
        status: u16,
    },
    /// A media type of another document.
    #[error("{url} is served as {found:?}, expected {expected}")]
    MediaType {
        /// The URL.
        url: Url,
        /// The media type asked for.
        expected: &'static str,
        /// The media type of the response.
        found: String,
    },
    /// A compressed body; a client accepts none.
    #[error("{url} has the content encoding {encoding:?}, expected none: serve the document uncompressed")]
    Encoding {
        /// The URL.
        url: Url,
        /// `Content-Encoding`.
        encoding: String,
    },
    /// Not JSON, or JSON of another form than expected.
    #[error("the content of {url} cannot be used")]
    Json {
        /// The URL.
        url: Url,
        /// The fault.
        #[source]
        source: JsonError,
    },
}

fn hint(reference: &str) -> &'static str {
    match reference.to_ascii_uppercase().contains("//%5B") {
        true => "; {host} encodes the brackets of an address, as RFC 6570 says: the site needs {+host} there",
        false => "",
    }
}

impl DocumentError {
    /// Whether a certificate was not trusted.
    pub(super) fn is_certificate(&self) -> bool {
        matches!(self, DocumentError::Fetch(error) if error.kind == FetchErrorKind::Certificate)
    }

    /// Whether the host has no address.
    pub(super) fn is_unknown_host(&self) -> bool {
        matches!(self, DocumentError::Fetch(error) if error.kind == FetchErrorKind::UnknownHost)
    }

    /// Whether no server answered.
    pub(super) fn is_no_answer(&self) -> bool {
        matches!(self, DocumentError::Fetch(error) if error.kind == FetchErrorKind::NoAnswer)
    }

    /// Whether the server answered that the document does not exist.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, DocumentError::Status { status: 404 | 410, .. })
    }
}

/// Why an engine gives no URL.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A missing template (index-template; cas-template: `uri` is required).
    #[error("an engine in {uri} has no usable \"uri\": expected a string, found {found}")]
    NoTemplate {
        /// The document.
        uri: Url,
        /// The JSON type found.
        found: &'static str,
    },
    /// The template is malformed, or cannot be expanded.
    #[error("an engine in {uri} cannot be used")]
    Template {
        /// The document.
        uri: Url,
        /// The fault.
        #[source]
        source: TemplateError,
    },
    /// The template expands to a malformed URL.
    #[error("{template:?} in {uri} expands to {reference:?}, which is not a URL ({problem}){}", hint(.reference))]
    NotAUrl {
        /// The document.
        uri: Url,
        /// The template.
        template: String,
        /// The expansion.
        reference: String,
        /// The parser's error.
        problem: url::ParseError,
    },
    /// The template leads to a scheme other than http and https.
    #[error("{template:?} in {uri} leads to {url}: only http and https are fetched")]
    Scheme {
        /// The document.
        uri: Url,
        /// The template.
        template: String,
        /// The URL.
        url: Url,
    },
}
