//! What a consumer has to say of what it found, short of an error: resolution goes on past a site's faults, and tells them.

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

/// How much a remark matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is wrong; it tells which way was taken.
    Note,
    /// Something should be put right, here or on the site.
    Warning,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
        })
    }
}

/// The most remarks that are kept. A site could be worth one with each few bytes that it serves, and none takes more than what was said of
/// the URLs of one blob.
const MAX_REMARKS: usize = 200;

/// Remarks, in order: the first so many, and how many more there were.
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

/// One remark. Its message is complete in one line, causes included.
#[derive(Debug, thiserror::Error)]
pub enum Remark {
    /// A document of no type, or of one that says little.
    #[error("{url} is served {}, expected {expected}", served(.found))]
    MediaType {
        /// The document.
        url: Url,
        /// The media type it should have.
        expected: &'static str,
        /// The one it has.
        found: Option<String>,
    },
    /// A document of the right type without `charset=utf-8`.
    #[error("{url} is served {}, expected charset=utf-8: some clients refuse it", charset(.found))]
    Charset {
        /// The document.
        url: Url,
        /// The charset it has.
        found: Option<String>,
    },
    /// A well-known document that could not be had.
    #[error("no ref-engines object: {}", chain(.0))]
    NoRefEngines(DocumentError),
    /// No host answered over https.
    #[error("no host answered over https; --protocol http asks over http, which nothing protects on the way")]
    OnlyHttps,
    /// A host that is not asked over http.
    #[error("{host} is not asked over http, because a certificate was not trusted")]
    Distrusted {
        /// The host.
        host: String,
    },
    /// An index that is not read, because those before it had as much as is read for one name.
    #[error("{url} is not read: the indexes of one name may have {limit} bytes together")]
    IndexLimit {
        /// The index.
        url: Url,
        /// The limit in bytes.
        limit: u64,
    },
    /// A ref-engines object out of which nothing came.
    #[error("the ref-engines object at {uri} leads to no root of {name}")]
    NoRoot {
        /// Where the object came from.
        uri: Arc<Url>,
        /// The name.
        name: ImageName,
    },
    /// An engine with a protocol that this program does not speak.
    #[error("{uri}: skipping the entry {position} of {list:?}, whose protocol {protocol:?} is not supported")]
    UnknownProtocol {
        /// The document.
        uri: Arc<Url>,
        /// `refEngines` or `casEngines`.
        list: &'static str,
        /// The position in it, from 0.
        position: usize,
        /// The protocol.
        protocol: String,
    },
    /// An engine list, or an entry of one, of a wrong form.
    #[error("{uri}: skipping what is wrong in {place}: {}", chain(.source))]
    EngineForm {
        /// The document.
        uri: Arc<Url>,
        /// The list, or the entry with its position.
        place: String,
        /// What is wrong.
        source: JsonError,
    },
    /// A ref engine that cannot be asked.
    #[error("skipping a ref engine: {}", chain(.0))]
    RefEngine(EngineError),
    /// An index that could not be had.
    #[error("no index: {}", chain(.0))]
    NoIndex(DocumentError),
    /// An index that anyone on the way could have changed.
    #[error("{uri} was found over https, but sends to {index} for the index, which nothing protects on the way")]
    InsecureIndex {
        /// The ref-engines object.
        uri: Arc<Url>,
        /// The index.
        index: Url,
    },
    /// An entry of an index that is no descriptor.
    #[error("{uri}: skipping the entry {position} of \"manifests\": {}", chain(.source))]
    Entry {
        /// The index.
        uri: Arc<Url>,
        /// The position, from 0.
        position: usize,
        /// What is wrong.
        source: EntryError,
    },
    /// More wrong entries than are told one by one.
    #[error("{uri}: skipping {count} more entries of \"manifests\" that are wrong")]
    MoreEntries {
        /// The index.
        uri: Arc<Url>,
        /// How many more.
        count: usize,
    },
    /// A list with more engines than are looked at.
    #[error("{uri}: {list:?} has {count} entries, of which the first {limit} are used")]
    TooManyEngines {
        /// The document.
        uri: Arc<Url>,
        /// `refEngines` or `casEngines`.
        list: &'static str,
        /// How many there are.
        count: usize,
        /// How many are used.
        limit: usize,
    },
    /// An index without the ref that was asked for.
    #[error("{uri} has no entry for {fragment:?}{}", refs(.found))]
    NoEntry {
        /// The index.
        uri: Arc<Url>,
        /// The fragment.
        fragment: String,
        /// The refs it has.
        found: Vec<String>,
    },
    /// A host that makes no URL.
    #[error("{host} cannot be asked: no URL can be made of it ({problem})")]
    Host {
        /// The host, with its port.
        host: String,
        /// Why not.
        problem: String,
    },
    /// A configuration file that cannot be used.
    #[error("ignoring the configuration {}: {problem}", .path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A key of a configuration file that is no regular expression.
    #[error("ignoring a key of the configuration {}: {problem}", .path.display())]
    ConfigurationKey {
        /// The file.
        path: PathBuf,
        /// What is wrong, the key included.
        problem: String,
    },
    /// An image for another platform than this machine's, taken because there is no other.
    #[error("the image is for {found}, this machine is {wanted}")]
    OtherPlatform {
        /// The image's platform.
        found: Platform,
        /// This machine's.
        wanted: Platform,
    },
    /// A layer that may be left out of a layout, or what may be a referrer, that cannot be had.
    #[error("left out: {0}")]
    LeftOut(String),
    /// More remarks than are kept.
    #[error("{count} more remarks like these")]
    More {
        /// How many more.
        count: usize,
    },
}

impl Remark {
    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            // That a host has no such document is how a consumer comes to ask its ancestors.
            Remark::NoRefEngines(error) | Remark::NoIndex(error) if error.is_absence() => Severity::Note,
            Remark::NoRoot { .. } | Remark::UnknownProtocol { .. } | Remark::NoEntry { .. } | Remark::OnlyHttps => {
                Severity::Note
            }
            _ => Severity::Warning,
        }
    }
}

fn served(found: &Option<String>) -> String {
    found.as_ref().map_or("without a Content-Type".into(), |found| format!("as {found:?}"))
}

fn charset(found: &Option<String>) -> String {
    found.as_ref().map_or("without a charset".into(), |found| format!("with the charset {found:?}"))
}

/// At most so many refs are listed in a message.
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
