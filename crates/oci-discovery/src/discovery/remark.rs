//! Remarks: the faults of a site that do not end a resolution, and the ways that the resolution took.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::error::{DocumentError, EngineError};
use crate::error::chain;
use crate::json::JsonError;
use crate::name::ImageName;
use crate::oci::Platform;
use crate::oci::index::EntryError;

/// The severity of a remark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RemarkSeverity {
    /// No fault: the way that the resolution took.
    Note,
    /// A fault, here or of the site.
    Warning,
}

impl std::fmt::Display for RemarkSeverity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RemarkSeverity::Note => "note",
            RemarkSeverity::Warning => "warning",
        })
    }
}

/// The most remarks that are kept. A site could cause one with every few bytes that it serves, and the longest takes as
/// much as the messages about the URLs of one blob.
const MAX_REMARKS: usize = 200;

/// Remarks, in order: the first 200, and the number of further ones ([`Remark::More`]).
#[derive(Debug, Default)]
pub struct Remarks(Vec<Remark>);

impl Remarks {
    /// Adds a remark.
    pub fn push(&mut self, remark: Remark) {
        if let Some(Remark::More { count }) = self.0.last_mut() {
            *count += 1;
            return;
        }
        self.0.push(if self.0.len() < MAX_REMARKS { remark } else { Remark::More { count: 1 } });
    }
}

impl Extend<Remark> for Remarks {
    fn extend<R: IntoIterator<Item = Remark>>(&mut self, remarks: R) {
        remarks.into_iter().for_each(|remark| self.push(remark));
    }
}

impl IntoIterator for Remarks {
    type Item = Remark;
    type IntoIter = std::vec::IntoIter<Remark>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Deref for Remarks {
    type Target = [Remark];

    fn deref(&self) -> &[Remark] {
        &self.0
    }
}

/// One remark. Its message is one line, with the causes.
///
/// ```
/// use oci_discovery::discovery::{RefEngines, Remarks, RemarkSeverity};
///
/// let mut remarks = Remarks::default();
/// let object = serde_json::json!({"refEngines": [{"protocol": "docker"}, 7]});
/// RefEngines::read(&"https://example.com/".parse()?, &object, &mut remarks)?;
/// let severities: Vec<RemarkSeverity> = remarks.iter().map(|remark| remark.severity()).collect();
/// assert_eq!(severities, [RemarkSeverity::Note, RemarkSeverity::Warning]);
/// assert!(remarks[1].to_string().ends_with("skipping refEngines[1]: expected an object, found a number"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum Remark {
    /// A document with no media type, or a generic one.
    #[error("{url} is served {}, expected {expected}", served(.found))]
    MediaType {
        /// The document.
        url: Url,
        /// The expected media type.
        expected: &'static str,
        /// The media type found.
        found: Option<String>,
    },
    /// A document of the right type without `charset=utf-8`.
    #[error("{url} is served {}, expected charset=utf-8: some clients refuse it", charset(.found))]
    Charset {
        /// The document.
        url: Url,
        /// The charset found.
        found: Option<String>,
    },
    /// A ref-engines object that was not fetched, or is unusable.
    #[error("no ref-engines object: {}", chain(.0))]
    NoRefEngines(DocumentError),
    /// No host answered over https.
    #[error("no host answered over https; to use plain http, which is not protected, add --protocol http")]
    OnlyHttps,
    /// A host that is not asked over http, after a certificate failed.
    #[error("skipping {host} over http, because a certificate was not trusted")]
    Distrusted {
        /// The host.
        host: String,
    },
    /// An index that is not read: the indexes before it reached the limit of a name.
    #[error("skipping {url}: expected at most {limit} bytes in all indexes of one name, found more")]
    IndexLimit {
        /// The index.
        url: Url,
        /// The limit in bytes.
        limit: u64,
    },
    /// A ref-engines object that led to no root.
    #[error("the ref-engines object at {uri} leads to no image with the name {name}")]
    NoRoot {
        /// The URI of the object.
        uri: Arc<Url>,
        /// The name.
        name: ImageName,
    },
    /// An engine with an unsupported protocol (xdg-ref-engine-discovery, "Ref-engines objects").
    #[error("{uri}: skipping the entry {position} of {list:?}, whose protocol {protocol:?} is not supported")]
    UnknownProtocol {
        /// The document.
        uri: Arc<Url>,
        /// `refEngines` or `casEngines`.
        list: &'static str,
        /// The position in the list, from 0.
        position: usize,
        /// The protocol.
        protocol: String,
    },
    /// A malformed list of engines, or a malformed entry.
    #[error("{uri}: skipping {place}: {}", chain(.source))]
    EngineForm {
        /// The document.
        uri: Arc<Url>,
        /// The list, or the entry with its position.
        place: String,
        /// The fault.
        source: JsonError,
    },
    /// A ref engine without a usable URL.
    #[error("skipping a ref engine: {}", chain(.0))]
    RefEngine(EngineError),
    /// An index that was not fetched, or is unusable.
    #[error("no index: {}", chain(.0))]
    NoIndex(DocumentError),
    /// An index over http, of a ref-engines object over https.
    #[error("{uri} was fetched over https, but its index is at {index}, over plain http, which is not protected")]
    InsecureIndex {
        /// The ref-engines object.
        uri: Arc<Url>,
        /// The index.
        index: Url,
    },
    /// A malformed entry of an index.
    #[error("{uri}: skipping the entry {position} of \"manifests\": {}", chain(.source))]
    Entry {
        /// The index.
        uri: Arc<Url>,
        /// The position, from 0.
        position: usize,
        /// The fault.
        source: EntryError,
    },
    /// More malformed entries than are reported one by one.
    #[error("{uri}: skipping {count} more entries of \"manifests\", all malformed")]
    MoreEntries {
        /// The index.
        uri: Arc<Url>,
        /// The number of further entries.
        count: usize,
    },
    /// A list with more engines than are used.
    #[error("{uri}: {list:?} has {count} entries, of which the first {limit} are used")]
    TooManyEngines {
        /// The document.
        uri: Arc<Url>,
        /// `refEngines` or `casEngines`.
        list: &'static str,
        /// The number of engines.
        count: usize,
        /// The number of used engines.
        limit: usize,
    },
    /// An index without the ref of the name.
    #[error("{uri} has no entry for {fragment:?}{}", refs(.found))]
    NoEntry {
        /// The index.
        uri: Arc<Url>,
        /// The fragment.
        fragment: String,
        /// The refs of the index.
        found: Vec<String>,
    },
    /// A host that is malformed in a URL.
    #[error("cannot ask {host}: its URL is malformed ({problem})")]
    Host {
        /// The host, with its port.
        host: String,
        /// The fault.
        problem: String,
    },
    /// An unusable configuration file.
    #[error("ignoring the configuration {}: {problem}", .path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// The fault.
        problem: String,
    },
    /// A key of a configuration file that is not a POSIX extended regular expression.
    #[error("ignoring a key of the configuration {}: {problem}", .path.display())]
    ConfigurationKey {
        /// The file.
        path: PathBuf,
        /// The fault, with the key.
        problem: String,
    },
    /// An image for another platform than this machine's, chosen because it is the only one.
    #[error("the image is for {found}, this machine is {wanted}")]
    OtherPlatform {
        /// The image's platform.
        found: Platform,
        /// This machine's.
        wanted: Platform,
    },
    /// A non-distributable layer, or a possible referrer, that was not fetched.
    #[error("omitted: {0}")]
    LeftOut(String),
    /// More remarks than are kept.
    #[error("{count} more remarks like these")]
    More {
        /// How many more.
        count: usize,
    },
}

impl Remark {
    /// The severity.
    pub fn severity(&self) -> RemarkSeverity {
        match self {
            // A host without the document is normal: a consumer then asks its ancestors.
            Remark::NoRefEngines(error) | Remark::NoIndex(error) if error.is_absence() => RemarkSeverity::Note,
            Remark::NoRoot { .. } | Remark::UnknownProtocol { .. } | Remark::NoEntry { .. } | Remark::OnlyHttps => {
                RemarkSeverity::Note
            }
            _ => RemarkSeverity::Warning,
        }
    }
}

fn served(found: &Option<String>) -> String {
    found.as_ref().map_or("without a Content-Type".into(), |found| format!("as {found:?}"))
}

fn charset(found: &Option<String>) -> String {
    found.as_ref().map_or("without a charset".into(), |found| format!("with the charset {found:?}"))
}

/// The most refs in a message.
const LISTED_REFS: usize = 20;

fn refs(found: &[String]) -> String {
    let listed: Vec<String> = found.iter().take(LISTED_REFS).map(|name| format!("{name:?}")).collect();
    match found.len().saturating_sub(LISTED_REFS) {
        _ if found.is_empty() => "; its entries have no refs".into(),
        0 => format!("; it has {}", listed.join(", ")),
        more => format!("; it has {} and {more} more", listed.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_beyond_the_limit_are_counted() {
        let mut remarks = Remarks::default();
        remarks.extend((0..MAX_REMARKS + 3).map(|number| Remark::LeftOut(number.to_string())));
        assert_eq!(remarks.len(), MAX_REMARKS + 1);
        assert_eq!(remarks[MAX_REMARKS].to_string(), "3 more remarks like these");
    }
}
