//! From an image name to its roots: the entries of the ref engines' indexes that the name means.
//!
//! A site can name many ref engines, and each can give a large index. Therefore all indexes of a name share one limit
//! of bytes, and an index is in memory only while its entries are read, one at a time. Only the entries that the name
//! means are kept, each as a [`Descriptor`], which takes a small multiple of its text; for a pull with referrers also
//! the text of the others, if the index has a root.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use url::Url;

use super::document::{self, FetchedDocument};
use super::engine::Engine;
use super::error::DocumentError;
use super::fetch::{Fetch, FetchErrorKind};
use super::protocol::INDEX_TEMPLATE_PROTOCOL;
use super::ref_engines::RefEngines;
use super::remark::{Remark, Remarks};
use super::well_known::{DiscoverySettings, WellKnown};
use crate::json::{self, MAX_INDEX_BYTES};
use crate::name::ImageName;
use crate::oci::index::{self, IndexText};
use crate::oci::{Descriptor, media_type};
use crate::seen::{Key, key};
use crate::template::name_variables;

/// The most malformed entries of one index that are reported one by one.
const TOLD_ENTRIES: usize = 10;

/// A root: an entry of an index, with the data needed to fetch its blob.
#[derive(Clone, Debug, PartialEq)]
pub struct Root {
    /// The entry.
    pub descriptor: Descriptor,
    /// The index's URL, after redirects.
    pub uri: Arc<Url>,
    /// The `casEngines` of the ref-engines object; those of the entry are among its properties.
    pub cas_engines: Arc<[Engine]>,
}

/// The form of the Python resolver, with sorted keys.
impl Serialize for Root {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Printed<'a> {
            #[serde(skip_serializing_if = "<[Engine]>::is_empty")]
            cas_engines: &'a [Engine],
            media_type: &'static str,
            root: &'a Descriptor,
            uri: &'a str,
        }
        Printed {
            cas_engines: &self.cas_engines,
            media_type: media_type::DESCRIPTOR,
            root: &self.descriptor,
            uri: self.uri.as_str(),
        }
        .serialize(serializer)
    }
}

/// The result of a resolution.
#[derive(Debug, Default)]
pub struct Resolution {
    /// The entries that the name means, each once, in the order of the requests; empty if the name means no entry.
    pub roots: Vec<Root>,
    /// The indexes with a root; empty with [`Keep::Roots`].
    pub indexes: Vec<ResolvedIndex>,
    /// The remarks, in the order of the requests.
    pub remarks: Remarks,
}

/// The parts of an index with a root that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The roots.
    Roots,
    /// The roots, and the text of all entries.
    Entries,
}

/// Resolves a name. A resolution without roots is no error; the remarks give the reasons. The [module](super) has an
/// example.
pub fn resolve(fetch: &dyn Fetch, settings: &DiscoverySettings, name: &ImageName, keep: Keep) -> Resolution {
    let resolution = Resolution::default();
    let mut resolver = Resolver { fetch, name, keep, resolution, seen: HashSet::new(), bytes_left: MAX_INDEX_BYTES };
    resolver.local(&settings.configuration);
    resolver.well_known(settings);
    resolver.resolution
}

struct Resolver<'a> {
    fetch: &'a dyn Fetch,
    name: &'a ImageName,
    keep: Keep,
    resolution: Resolution,
    /// Keys of the roots: equal roots count once, and an index may have a great many.
    seen: HashSet<Key>,
    /// The bytes that further indexes of the name may have.
    bytes_left: u64,
}

impl Resolver<'_> {
    fn local(&mut self, configuration: &super::xdg::Configuration) {
        for engines in configuration.matching(&self.name.to_string(), &mut self.resolution.remarks) {
            self.ask(&engines);
        }
    }

    fn well_known(&mut self, settings: &DiscoverySettings) {
        let mut candidates = WellKnown::new(self.fetch, settings, self.name);
        while self.resolution.roots.is_empty() {
            let Some(engines) = candidates.next(&mut self.resolution.remarks) else { break };
            self.ask(&engines);
        }
    }

    /// Asks every ref engine of an object.
    fn ask(&mut self, engines: &RefEngines) {
        let roots_before = self.resolution.roots.len();
        for engine in engines.ref_engines.iter().filter(|engine| engine.protocol() == INDEX_TEMPLATE_PROTOCOL) {
            match engine.expand(&name_variables(self.name)) {
                Ok(url) => self.ask_index(engines, &url),
                Err(error) => self.remark(Remark::RefEngine(error)),
            }
        }
        if self.resolution.roots.len() == roots_before {
            self.remark(Remark::NoRoot { uri: engines.uri.clone(), name: self.name.clone() });
        }
    }

    fn ask_index(&mut self, engines: &RefEngines, url: &Url) {
        if engines.uri.scheme() == "https" && url.scheme() == "http" {
            self.remark(Remark::InsecureIndex { uri: engines.uri.clone(), index: url.clone() });
        }
        if self.bytes_left == 0 {
            return self.remark(Remark::IndexLimit { url: url.clone(), limit: MAX_INDEX_BYTES });
        }
        let left = self.bytes_left;
        let remarks = &mut self.resolution.remarks;
        let found = document::get(self.fetch, url, media_type::INDEX, &mut self.bytes_left, remarks);
        match found.and_then(|document| self.select(engines, document)) {
            Ok(()) => {}
            Err(DocumentError::Fetch(error)) if error.kind == FetchErrorKind::TooLarge && left < MAX_INDEX_BYTES => {
                self.remark(Remark::IndexLimit { url: url.clone(), limit: MAX_INDEX_BYTES });
            }
            Err(error) => self.remark(Remark::NoIndex(error)),
        }
    }

    /// Reads the entries of an index.
    fn select(
        &mut self,
        engines: &RefEngines,
        FetchedDocument { url, bytes }: FetchedDocument,
    ) -> Result<(), DocumentError> {
        let index = match IndexText::parse(&bytes) {
            Ok(index) => index,
            Err(source) => return Err(DocumentError::Json { url, source }),
        };
        let origin = format!("{url} {}", json::canonical_text(&&*engines.cas_engines));
        let mut selection = Selection {
            url: Arc::new(url),
            cas_engines: engines.cas_engines.clone(),
            origin,
            entries: vec![],
            roots_before: self.resolution.roots.len(),
            refs: BTreeSet::new(),
            wrong: 0,
        };
        for (position, entry) in index.entries().enumerate() {
            self.entry(&mut selection, position, entry);
        }
        self.end(selection);
        Ok(())
    }

    /// Reads one entry, and keeps it if the name means it.
    fn entry(&mut self, selection: &mut Selection, position: usize, entry: &RawValue) {
        let descriptor = match index::descriptor(entry.get()) {
            Ok(descriptor) => descriptor,
            Err(source) => {
                selection.wrong += 1;
                if selection.wrong <= TOLD_ENTRIES {
                    self.remark(Remark::Entry { uri: selection.url.clone(), position, source });
                }
                return;
            }
        };
        if self.keep == Keep::Entries {
            selection.entries.push(entry.to_owned());
        }
        if is_meant(self.name, &descriptor) {
            if self.seen.insert(key(&[&selection.origin, descriptor.json()])) {
                let (uri, cas_engines) = (selection.url.clone(), selection.cas_engines.clone());
                self.resolution.roots.push(Root { descriptor, uri, cas_engines });
            }
        } else {
            selection.refs.extend(descriptor.ref_name().map(str::to_string));
        }
    }

    /// Reports an index without a root, and keeps the entries of one with a root.
    fn end(&mut self, selection: Selection) {
        let Selection { url, cas_engines, entries, roots_before, refs, wrong, .. } = selection;
        if wrong > TOLD_ENTRIES {
            self.remark(Remark::MoreEntries { uri: url.clone(), count: wrong - TOLD_ENTRIES });
        }
        let has_root = self.resolution.roots.len() > roots_before;
        if let Some(fragment) = fragment(self.name).filter(|_| !has_root) {
            let (fragment, found) = (fragment.to_string(), refs.into_iter().collect());
            self.remark(Remark::NoEntry { uri: url.clone(), fragment, found });
        }
        if has_root && self.keep == Keep::Entries {
            self.resolution.indexes.push(ResolvedIndex { url, cas_engines, entries });
        }
    }

    fn remark(&mut self, remark: Remark) {
        self.resolution.remarks.push(remark);
    }
}

/// The fragment of a name. An empty fragment counts as none (index-template: an absent fragment "defaults to an empty
/// string").
fn fragment(name: &ImageName) -> Option<&str> {
    name.fragment().filter(|fragment| !fragment.is_empty())
}

/// Whether a name means an entry of its index: with a fragment, the entry whose ref equals the fragment; without one,
/// every entry (index-template; image-spec, annotations, `org.opencontainers.image.ref.name`).
fn is_meant(name: &ImageName, entry: &Descriptor) -> bool {
    fragment(name).is_none_or(|fragment| entry.ref_name() == Some(fragment))
}

/// The result of one index.
struct Selection {
    url: Arc<Url>,
    cas_engines: Arc<[Engine]>,
    /// What roots have in common.
    origin: String,
    entries: Vec<Box<RawValue>>,
    /// The number of roots before this index.
    roots_before: usize,
    /// The refs of entries that the name does not mean.
    refs: BTreeSet<String>,
    /// The number of malformed entries.
    wrong: usize,
}

/// An index with a root, as served by a ref engine. Text takes the least memory for its entries.
#[derive(Clone, Debug)]
pub struct ResolvedIndex {
    /// The URL after redirects.
    pub url: Arc<Url>,
    /// The `casEngines` of the ref-engines object.
    pub cas_engines: Arc<[Engine]>,
    entries: Vec<Box<RawValue>>,
}

impl ResolvedIndex {
    /// The well-formed entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = Descriptor> {
        self.entries.iter().filter_map(|text| index::descriptor(text.get()).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Algorithm, Digest};

    #[test]
    fn a_fragment_means_the_entries_with_that_ref_and_no_fragment_means_all() {
        let entry = |reference: Option<&str>| {
            let mut entry = Descriptor::new(media_type::MANIFEST, Digest::of(Algorithm::Sha256, b""), 0);
            entry.set_ref_name(reference);
            entry
        };
        let entries = [entry(Some("1.0")), entry(Some("2.0")), entry(Some("example.com/app#1.0")), entry(None)];
        let meant = |name: &str| {
            let name = ImageName::parse(name).unwrap();
            entries.iter().map(|entry| is_meant(&name, entry)).collect::<Vec<_>>()
        };
        assert_eq!(meant("example.com/app#1.0"), [true, false, false, false]);
        assert_eq!(meant("example.com/app"), [true; 4]);
        assert_eq!(meant("example.com/app#"), [true; 4]);
    }
}
