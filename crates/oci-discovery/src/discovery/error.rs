//! Why a document or an engine cannot be used.

use url::Url;

use super::fetch::{FetchError, FetchErrorKind};
use crate::json::JsonError;
use crate::template::TemplateError;

/// Why a document could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The request failed, or its body did.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A status other than 200.
    #[error("{url} answered with status {status}, expected 200")]
    Status {
        /// The URL.
        url: Url,
        /// The status.
        status: u16,
    },
    /// A media type that says it is something else.
    #[error("{url} is served as {found:?}, expected {expected}")]
    MediaType {
        /// The URL.
        url: Url,
        /// The media type asked for.
        expected: &'static str,
        /// The media type of the response.
        found: String,
    },
    /// A body in a compression that was not asked for.
    #[error("{url} is sent in the encoding {encoding:?}, which was not asked for: serve it as it is")]
    Encoding {
        /// The URL.
        url: Url,
        /// `Content-Encoding`.
        encoding: String,
    },
    /// No JSON, or of another form than expected.
    #[error("the content of {url} cannot be used")]
    Json {
        /// The URL.
        url: Url,
        /// What is wrong with it.
        #[source]
        source: JsonError,
    },
}

impl DocumentError {
    /// Whether a certificate was not trusted.
    pub(super) fn is_certificate(&self) -> bool {
        matches!(self, DocumentError::Fetch(error) if error.kind == FetchErrorKind::Certificate)
    }

    /// Whether there was no answer at all.
    pub(super) fn is_no_answer(&self) -> bool {
        matches!(self, DocumentError::Fetch(error) if error.kind == FetchErrorKind::NoAnswer)
    }

    /// Whether the server says that there is no such document.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, DocumentError::Status { status: 404 | 410, .. })
    }
}

/// Why an engine gives no URL.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No template where the protocol wants one.
    #[error("an engine in {uri} has no usable \"uri\": expected a string, found {found}")]
    NoTemplate {
        /// The document.
        uri: Url,
        /// What is there.
        found: &'static str,
    },
    /// The template is malformed, or cannot be expanded.
    #[error("an engine in {uri} cannot be used")]
    Template {
        /// The document.
        uri: Url,
        /// What is wrong with it.
        #[source]
        source: TemplateError,
    },
    /// What the template expands to is no URL.
    #[error("{template:?} in {uri} expands to {reference:?}, which is not a URL ({problem})")]
    NotAUrl {
        /// The document.
        uri: Url,
        /// The template.
        template: String,
        /// What it expands to.
        reference: String,
        /// What the parser said.
        problem: url::ParseError,
    },
    /// The template leads to a scheme that is not fetched.
    #[error("{template:?} in {uri} leads to {url}: only http and https are fetched")]
    Scheme {
        /// The document.
        uri: Url,
        /// The template.
        template: String,
        /// What it leads to.
        url: Url,
    },
}
