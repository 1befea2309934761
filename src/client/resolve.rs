//! From an image name to its roots: the entries of the indexes that its ref engines give.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use url::Url;

use super::discovery::{RefEngines, Settings, WellKnown};
use super::document::{self, Document, DocumentError};
use super::engine::Engine;
use super::http::Http;
use super::remark::Remark;
use crate::digest::{Algorithm, Digest};
use crate::json::{JsonError, MAX_INDEX_BYTES};
use crate::name::ImageName;
use crate::oci::index::{self, EntryError, IndexText};
use crate::oci::{Descriptor, media_type};
use crate::site::ref_engines::INDEX_TEMPLATE_PROTOCOL;
use crate::template::name_variables;

/// How many wrong entries of one index are told one by one.
const TOLD_ENTRIES: usize = 10;

/// One root: an entry of an index, with what is needed to fetch what it points to.
#[derive(Clone, Debug, PartialEq)]
pub struct Root {
    /// The entry.
    pub descriptor: Descriptor,
    /// The index's URL, after redirects.
    pub uri: Arc<Url>,
    /// The `casEngines` of the ref-engines object that led to it; the entry's own are among its properties.
    pub cas_engines: Arc<[Engine]>,
}

/// The form that the existing Python resolver prints, with its keys sorted.
impl Serialize for Root {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Printed<'a> {
            #[serde(skip_serializing_if = "<[Engine]>::is_empty")]
            cas_engines: &'a [Engine],
            media_type: &'static str,
            root: &'a Map<String, Value>,
            uri: &'a str,
        }
        Printed {
            cas_engines: &self.cas_engines,
            media_type: media_type::DESCRIPTOR,
            root: &self.descriptor.properties,
            uri: self.uri.as_str(),
        }
        .serialize(serializer)
    }
}

/// What a name resolves to.
#[derive(Debug, Default)]
pub struct Resolution {
    /// The entries that the name means, each once, in the order in which they were found; none when it means nothing.
    pub roots: Vec<Root>,
    /// The indexes in which the roots were found.
    pub indexes: Vec<Index>,
    /// What there is to say of the way, in order.
    pub remarks: Vec<Remark>,
}

/// Resolves a name. That there are no roots is no error here: the remarks say why.
pub fn resolve(http: &Http, settings: &Settings, name: &ImageName) -> Resolution {
    let mut resolver =
        Resolver { http, name, resolution: Resolution::default(), seen: HashSet::new(), bytes_left: MAX_INDEX_BYTES };
    resolver.local(&settings.configuration);
    resolver.well_known(settings);
    resolver.resolution
}

struct Resolver<'a> {
    http: &'a Http,
    name: &'a ImageName,
    resolution: Resolution,
    /// Digests of the printed roots, since equal roots count once and an index may have a great many.
    seen: HashSet<Digest>,
    /// What is left of the memory that all indexes of the name together may take.
    bytes_left: u64,
}

impl Resolver<'_> {
    fn local(&mut self, configuration: &super::xdg::Configuration) {
        for engines in configuration.matching(&self.name.to_string(), &mut self.resolution.remarks) {
            self.ask(&engines);
        }
    }

    fn well_known(&mut self, settings: &Settings) {
        let mut candidates = WellKnown::new(self.http, settings, self.name);
        while self.resolution.roots.is_empty() {
            let Some(engines) = candidates.next(&mut self.resolution.remarks) else { break };
            self.ask(&engines);
        }
    }

    /// Asks every ref engine of an object.
    fn ask(&mut self, engines: &RefEngines) {
        let known = self.resolution.roots.len();
        for engine in engines.ref_engines.iter().filter(|engine| engine.protocol() == INDEX_TEMPLATE_PROTOCOL) {
            match engine.expand(&name_variables(self.name)) {
                Ok(url) => self.ask_index(engines, &url),
                Err(error) => self.remark(Remark::RefEngine(error)),
            }
        }
        if self.resolution.roots.len() == known {
            self.remark(Remark::NoRoot { uri: engines.uri.clone(), name: self.name.clone() });
        }
    }

    fn ask_index(&mut self, engines: &RefEngines, url: &Url) {
        if engines.uri.scheme() == "https" && url.scheme() == "http" {
            self.remark(Remark::InsecureIndex { uri: engines.uri.clone(), index: url.clone() });
        }
        match fetch_index(self.http, url, engines, self.bytes_left, &mut self.resolution.remarks) {
            Ok(index) => self.select(index),
            Err(error) => self.remark(Remark::NoIndex(error)),
        }
    }

    fn select(&mut self, index: Index) {
        self.bytes_left = self.bytes_left.saturating_sub(index.bytes());
        // An empty fragment is none (oci-discovery, index template: it "defaults to an empty string").
        let fragment = self.name.fragment().filter(|fragment| !fragment.is_empty());
        let known = self.resolution.roots.len();
        let mut refs = std::collections::BTreeSet::new();
        let mut wrong = 0;
        for (position, entry) in index.entries().enumerate() {
            let descriptor = match entry {
                Ok(descriptor) => descriptor,
                Err(source) => {
                    wrong += 1;
                    if wrong <= TOLD_ENTRIES {
                        self.remark(Remark::Entry { uri: (*index.url).clone(), position, source });
                    }
                    continue;
                }
            };
            if fragment.is_none_or(|fragment| descriptor.ref_name() == Some(fragment)) {
                self.add(Root { descriptor, uri: index.url.clone(), cas_engines: index.cas_engines.clone() });
            } else {
                refs.extend(descriptor.ref_name().map(str::to_string));
            }
        }
        if wrong > TOLD_ENTRIES {
            self.remark(Remark::MoreEntries { uri: (*index.url).clone(), count: wrong - TOLD_ENTRIES });
        }
        let found = self.resolution.roots.len() > known;
        if let Some(fragment) = fragment.filter(|_| !found) {
            let found = refs.into_iter().collect();
            self.remark(Remark::NoEntry { uri: (*index.url).clone(), fragment: fragment.into(), found });
        }
        if found {
            self.resolution.indexes.push(index);
        }
    }

    fn add(&mut self, root: Root) {
        // A root is made of text and numbers, which always become JSON.
        let printed = serde_json::to_vec(&root).unwrap_or_default();
        if self.seen.insert(Digest::of(Algorithm::Sha256, &printed)) {
            self.resolution.roots.push(root);
        }
    }

    fn remark(&mut self, remark: Remark) {
        self.resolution.remarks.push(remark);
    }
}

/// An index as a ref engine served it.
///
/// Its entries are kept as text and read one at a time: an index may have hundreds of thousands, of which a name mostly means
/// one.
#[derive(Clone, Debug)]
pub struct Index {
    /// Its URL, after redirects.
    pub url: Arc<Url>,
    /// The `casEngines` of the ref-engines object that led to it.
    pub cas_engines: Arc<[Engine]>,
    entries: Vec<Box<RawValue>>,
}

impl Index {
    /// The entries in order, each a descriptor or the reason why it is none.
    pub fn entries(&self) -> impl Iterator<Item = Result<Descriptor, EntryError>> {
        self.entries.iter().map(|text| index::descriptor(text))
    }

    fn bytes(&self) -> u64 {
        self.entries.iter().map(|text| text.get().len() as u64).sum()
    }
}

fn fetch_index(
    http: &Http,
    url: &Url,
    engines: &RefEngines,
    limit: u64,
    remarks: &mut Vec<Remark>,
) -> Result<Index, DocumentError> {
    let document = document::fetch(http, url, media_type::INDEX, limit, remarks)?;
    let entries = read_entries(&document.bytes);
    let Document { url, .. } = document;
    match entries {
        Ok(entries) => Ok(Index { url: Arc::new(url), cas_engines: engines.cas_engines.clone(), entries }),
        Err(source) => Err(DocumentError::Json { url, source }),
    }
}

fn read_entries(bytes: &[u8]) -> Result<Vec<Box<RawValue>>, JsonError> {
    Ok(IndexText::parse(bytes)?.entries().map(ToOwned::to_owned).collect())
}
