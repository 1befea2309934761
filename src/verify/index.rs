//! Verifies an index: the entries of an image, and whether a consumer can use them.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::value::RawValue;
use url::Url;

use super::finding::{Collected, Finding};
use super::rule;
use super::source::Source;
use super::templates::{self, Setting};
use oci_discovery::digest::DigestError;
use oci_discovery::discovery::CasEngines;
use oci_discovery::error::chain;
use oci_discovery::json::{self, JsonError};
use oci_discovery::name::{ImageName, is_fragment};
use oci_discovery::oci::index::{self, EntryError, IndexText};
use oci_discovery::oci::{Descriptor, DescriptorError, media_type};
use oci_discovery::seen::{Key, key};

/// The lists of CAS engines that are kept while an index is read. Most entries have the same list.
const REMEMBERED_ENGINES: usize = 64;

/// An index to verify.
pub struct IndexCheck<'a> {
    pub source: &'a dyn Source,
    pub url: &'a Arc<Url>,
    /// The name of the index in messages.
    pub object: &'a str,
    /// The name of the image; its fragment selects entries.
    pub image: &'a ImageName,
    pub engines: Arc<CasEngines>,
}

/// An entry of an index, with its CAS engines.
pub struct Entry {
    pub descriptor: Descriptor,
    pub engines: Arc<CasEngines>,
}

impl IndexCheck<'_> {
    /// Calls `visit` for each entry that the name selects, one at a time: an index can be large.
    pub fn read(&self, bytes: &[u8], findings: &mut Collected, visit: &mut dyn FnMut(Entry)) {
        let index = match self.parse(bytes) {
            Ok(index) => index,
            Err((expected, found)) => {
                findings.push(Finding::new(&rule::INDEX_FORM, self.object, expected, found));
                return;
            }
        };
        let wanted = self.image.fragment().filter(|fragment| !fragment.is_empty());
        let mut found_wanted = false;
        let mut refs = Refs::default();
        let mut remembered: HashMap<String, Arc<CasEngines>> = HashMap::new();
        let mut is_empty = true;
        for (position, text) in index.entries().enumerate() {
            is_empty = false;
            let place = format!("{}, entry {position}", self.object);
            let Some(descriptor) = self.descriptor(&place, text, findings) else { continue };
            if wanted.is_some_and(|wanted| descriptor.ref_name() != Some(wanted)) {
                continue;
            }
            found_wanted = true;
            refs.add(&place, &descriptor, findings);
            let engines = self.engines(&place, &descriptor, &mut remembered, findings);
            if engines.is_empty() && descriptor.property("urls").is_none() {
                let finding = Finding::new(&rule::CAS_ENGINE_MISSING, place, "a CAS engine", "none");
                findings.push(finding);
                continue;
            }
            visit(Entry { descriptor, engines });
        }
        match wanted {
            Some(wanted) if !found_wanted => {
                let expected = format!("an entry with the ref {wanted:?}");
                findings.push(Finding::new(&rule::REF_MISSING, self.object, expected, "none"));
            }
            None if is_empty => {
                findings.push(Finding::new(&rule::INDEX_EMPTY, self.object, "one entry or more", "none"));
            }
            _ => {}
        }
    }

    /// Parses the index. The error has what was expected and found.
    fn parse<'b>(&self, bytes: &'b [u8]) -> Result<IndexText<'b>, (String, String)> {
        let index = IndexText::parse(bytes).map_err(|error| match error {
            JsonError::Type { expected, found } => (expected, found.to_string()),
            error => ("the index to be an object".into(), chain(&error)),
        })?;
        let property = |name: &str| index.properties.get(name).map_or("nothing", |text| text.get());
        if property("schemaVersion") != "2" {
            return Err(("\"schemaVersion\" to be 2".into(), property("schemaVersion").into()));
        }
        let own = json::parse_string(property("mediaType").as_bytes());
        match own.filter(|own| own != media_type::INDEX) {
            Some(own) => Err((media_type::INDEX.into(), own)),
            None => Ok(index),
        }
    }

    fn descriptor(&self, place: &str, text: &RawValue, findings: &mut Collected) -> Option<Descriptor> {
        match index::descriptor(text.get()) {
            Ok(descriptor) => {
                if descriptor.media_type.is_empty() {
                    let finding = Finding::new(&rule::DESCRIPTOR_MEDIA_TYPE, place, "a mediaType", "none");
                    findings.push(finding);
                }
                Some(descriptor)
            }
            Err(EntryError::Descriptor(error)) => {
                findings.push(descriptor_finding(place, &error));
                None
            }
            Err(EntryError::Json(problem)) => {
                findings.push(Finding::new(&rule::DESCRIPTOR_FORM, place, "a descriptor", chain(&problem)));
                None
            }
        }
    }

    fn engines(
        &self,
        place: &str,
        descriptor: &Descriptor,
        remembered: &mut HashMap<String, Arc<CasEngines>>,
        findings: &mut Collected,
    ) -> Arc<CasEngines> {
        let Some(list) = descriptor.property("casEngines").map(|list| list.to_string()) else {
            return self.engines.clone();
        };
        if let Some(engines) = remembered.get(&list) {
            return engines.clone();
        }
        let setting = Setting { source: self.source, document: self.url, object: place, image: self.image };
        let engines = templates::engines_of(setting, descriptor, &self.engines, findings);
        if remembered.len() < REMEMBERED_ENGINES {
            remembered.insert(list, engines.clone());
        }
        engines
    }
}

/// The finding for a malformed descriptor.
pub fn descriptor_finding(place: &str, error: &DescriptorError) -> Finding {
    match error {
        DescriptorError::Digest(DigestError::UnknownAlgorithm { algorithm, .. }) => {
            Finding::new(&rule::DIGEST_ALGORITHM, place, "sha256, sha512 or blake3", algorithm.clone())
        }
        other => Finding::new(&rule::DESCRIPTOR_FORM, place, "a descriptor", format!("none: {}", chain(other))),
    }
}

/// The refs of the entries so far, with their platforms, by keys of sixteen bytes.
#[derive(Default)]
struct Refs {
    platforms: HashMap<Key, Key>,
    /// The first manifest of each ref, and the first one without a platform.
    refs: HashMap<Key, (Key, Option<Key>)>,
}

impl Refs {
    fn add(&mut self, place: &str, descriptor: &Descriptor, findings: &mut Collected) {
        let Some(reference) = descriptor.ref_name() else { return };
        if !is_fragment(reference) {
            let expected = "characters of a URI fragment (RFC 3986)";
            findings.push(Finding::new(&rule::REF_UNSPELLABLE, place, expected, format!("{reference:?}")));
        }
        let platform = descriptor.platform().map(|platform| platform.to_string());
        if self.is_ambiguous(reference, platform.as_deref(), key(&[descriptor.digest.as_str()])) {
            let platform = platform.unwrap_or("no platform".into());
            let found = format!("a second one with the ref {reference:?} and {platform}");
            findings.push(Finding::new(&rule::REF_AMBIGUOUS, place, "one entry for each ref and platform", found));
        }
    }

    /// An entry without a platform is for every platform, so its ref may have no other entry.
    fn is_ambiguous(&mut self, reference: &str, platform: Option<&str>, digest: Key) -> bool {
        let (first, without_platform) = self.refs.entry(key(&[reference])).or_insert((digest, None));
        let Some(platform) = platform else {
            without_platform.get_or_insert(digest);
            return *first != digest;
        };
        let same = *self.platforms.entry(key(&[reference, platform])).or_insert(digest);
        same != digest || without_platform.is_some_and(|other| other != digest)
    }
}
