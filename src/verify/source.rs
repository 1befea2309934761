//! Where a site is read from: the files of a directory, or a live server.
//!
//! Both are read by URL, as a consumer does: a directory acts as a web server that maps paths to files. Therefore one
//! walk verifies both, and findings mean the same.

use std::io::Read;
use std::sync::Arc;

use url::Url;

use super::finding::Finding;
use super::rule::{self, Rule};
use oci_discovery::discovery::{ContentType, meaning};
use oci_discovery::name::ImageName;
use oci_discovery::seen::Key;

/// A readable site.
pub trait Source: Sync {
    /// The URL of the ref-engines object that a consumer of `image` finds.
    fn ref_engines_url(&self, image: &ImageName) -> Url;

    /// Whether the source is a live server, whose behaviour can be probed.
    fn is_live(&self) -> bool;

    /// Whether a URL that the walk for `image` found is a part of the site.
    fn is_own(&self, url: &Url, image: &ImageName) -> bool;

    /// Reads a document of at most `limit` bytes; `accept` is the media type it should have.
    fn document(&self, url: &Url, accept: &str, limit: u64) -> Result<SourceDocument, Fault>;

    /// The size of the object at a URL. None: it exists, and its size is unknown.
    fn size(&self, url: &Url) -> Result<Option<u64>, Fault>;

    /// Opens the object at a URL, which should have `size` bytes. [`Source::read_fault`] gives the fault for errors
    /// while reading.
    fn open(&self, url: &Url, size: u64) -> Result<Box<dyn Read + Send>, Fault>;

    /// The fault for an error while reading.
    fn read_fault(&self, error: std::io::Error) -> Fault {
        Fault::Unreadable(error.to_string())
    }

    /// The name of an object in messages: its path in a directory, or its URL.
    fn object(&self, url: &Url) -> String;

    /// The key of an object, the same for every URL of the object.
    fn key(&self, url: &Url) -> Key;

    /// The site's current `ocisite.json`. None: missing or unreadable.
    fn description(&self) -> Option<Box<dyn Read + Send>>;
}

/// A document, as read from a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDocument {
    /// The URL after redirects.
    pub url: Arc<Url>,
    pub bytes: Vec<u8>,
    /// As the source declares it.
    pub content_type: DeclaredType,
}

/// The declared type of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclaredType {
    /// A directory declares no types.
    Unavailable,
    /// The response had no `Content-Type`.
    Missing,
    /// The `Content-Type`.
    Type(ContentType),
}

/// Why something was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The object is missing.
    Absent,
    /// The object is at an origin that is not checked.
    Elsewhere,
    /// Not a regular file, but this.
    NotAFile(&'static str),
    /// Larger than consumers read.
    TooLarge {
        /// In bytes.
        limit: u64,
    },
    /// Compressed without a request for compression.
    Encoding(String),
    /// A redirect that is not followed.
    Redirect(String),
    /// No trustworthy connection.
    Tls(String),
    /// A status other than success and 404.
    Status(u16),
    /// Unreadable for another reason.
    Unreadable(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Absent => f.write_str("nothing"),
            Fault::Elsewhere => f.write_str("another origin"),
            Fault::NotAFile(what) => f.write_str(what),
            Fault::TooLarge { limit } => write!(f, "more than {limit} bytes"),
            Fault::Encoding(encoding) => write!(f, "Content-Encoding: {encoding}"),
            Fault::Status(status) => write!(f, "status {status}{}", meaning(*status)),
            Fault::Redirect(problem) | Fault::Tls(problem) | Fault::Unreadable(problem) => f.write_str(problem),
        }
    }
}

impl Fault {
    /// The finding for a fault of `object`; `missing` is the rule for an absent object. None: the object is elsewhere, which is no
    /// fault.
    pub fn finding(&self, object: String, expected: &str, missing: &'static Rule) -> Option<Finding> {
        let (rule, expected) = match self {
            Fault::Elsewhere => return None,
            Fault::Absent => (missing, expected),
            Fault::NotAFile(_) => (&rule::NOT_A_FILE, expected),
            Fault::TooLarge { .. } => (&rule::TOO_LARGE, "a document within the limits of consumers"),
            Fault::Encoding(_) => (&rule::CONTENT_ENCODING, "no Content-Encoding"),
            Fault::Redirect(_) => (&rule::REDIRECT_REFUSED, expected),
            Fault::Tls(_) => (&rule::TLS, expected),
            Fault::Status(_) | Fault::Unreadable(_) => (&rule::UNREADABLE, expected),
        };
        Some(Finding::new(rule, object, expected, self.to_string()))
    }
}
