//! Where a site is read from: the files of a directory, or a live server.
//!
//! Both are asked by URL, as a consumer asks; a directory is taken for a web server that maps paths to files. So there is one
//! walk over a site, and what it finds means the same for both.

use std::io::Read;

use url::Url;

use super::finding::Finding;
use super::rule::{self, Rule};
use oci_discovery::discovery::ContentType;
use oci_discovery::name::ImageName;
use oci_discovery::seen::Key;

/// A site, to be read.
pub trait Source: Sync {
    /// The URL of the ref-engines object that a consumer of `image` finds.
    fn ref_engines_url(&self, image: &ImageName) -> Url;

    /// Whether a server answers, whose ways can be tried.
    fn is_live(&self) -> bool;

    /// Whether a URL that was found on the way to `image` is a part of the site.
    fn is_own(&self, url: &Url, image: &ImageName) -> bool;

    /// Reads a document of at most `limit` bytes; `accept` is the media type it should have.
    fn document(&self, url: &Url, accept: &str, limit: u64) -> Result<Document, Fault>;

    /// The size of what is at a URL. None: it is there, and its size is not told.
    fn size(&self, url: &Url) -> Result<Option<u64>, Fault>;

    /// Opens what is at a URL, which should have `size` bytes. An error while reading becomes a fault through
    /// [`Source::read_fault`].
    fn open(&self, url: &Url, size: u64) -> Result<Box<dyn Read + Send>, Fault>;

    /// What an error in the middle of reading means.
    fn read_fault(&self, error: std::io::Error) -> Fault {
        Fault::Unreadable(error.to_string())
    }

    /// How a person would call what is at a URL: its path on a directory, or the URL.
    fn object(&self, url: &Url) -> String;

    /// What is one object has one key, however it is asked for.
    fn key(&self, url: &Url) -> Key;

    /// What the site says of itself now (`ocisite.json`). None: it says nothing that can be read.
    fn description(&self) -> Option<Box<dyn Read + Send>>;
}

/// A document as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Where it is, after redirects.
    pub url: Url,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What the server said it is; on a directory, nobody says anything.
    pub content_type: Said,
}

/// What is said of a document's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// There is nobody who could.
    Nobody,
    /// The response had no `Content-Type`.
    Nothing,
    /// The `Content-Type`.
    Type(ContentType),
}

/// Why something was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not there.
    Absent,
    /// It is not in what is being looked at: another origin than the directories given.
    Elsewhere,
    /// Not a regular file; what it is instead.
    NotAFile(&'static str),
    /// Larger than consumers read.
    TooLarge { limit: u64 },
    /// Compressed, though nobody asked for it.
    Encoding(String),
    /// A redirect that is not followed.
    Redirect(String),
    /// No trustworthy connection.
    Tls(String),
    /// An answer that is neither "here it is" nor "there is none".
    Status(u16),
    /// There, and not to be had for another reason.
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
            Fault::Status(status) => write!(f, "status {status}"),
            Fault::Redirect(problem) | Fault::Tls(problem) | Fault::Unreadable(problem) => f.write_str(problem),
        }
    }
}

impl Fault {
    /// The finding that a fault is, where it is about `object`, and where `missing` is the rule for its absence. None: it is
    /// elsewhere, which is no fault.
    pub fn finding(&self, object: String, expected: &str, missing: &'static Rule) -> Option<Finding> {
        let (rule, expected) = match self {
            Fault::Elsewhere => return None,
            Fault::Absent => (missing, expected),
            Fault::NotAFile(_) => (&rule::NOT_A_FILE, expected),
            Fault::TooLarge { .. } => (&rule::TOO_LARGE, "a document that consumers read"),
            Fault::Encoding(_) => (&rule::CONTENT_ENCODING, "no Content-Encoding"),
            Fault::Redirect(_) => (&rule::REDIRECT_REFUSED, expected),
            Fault::Tls(_) => (&rule::TLS, expected),
            Fault::Status(_) | Fault::Unreadable(_) => (&rule::UNREADABLE, expected),
        };
        Some(Finding::new(rule, object, expected, self.to_string()))
    }
}
