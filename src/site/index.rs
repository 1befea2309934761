//! The index of an image name: the document that a ref engine serves, and how a publish changes it.
//!
//! Entries are kept as canonical JSON text, with the parts that merging needs. An index may have tens of thousands of
//! entries, and a tree of JSON values takes many times the memory of its text. The index before and after a publish
//! share the text of common entries. Entries are sorted, so that the order of publishing does not matter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use oci_discovery::digest::Digest;
use oci_discovery::json::{self, JsonError};
use oci_discovery::name::ImageName;
use oci_discovery::oci::index::{self, EntryError, IndexText};
use oci_discovery::oci::manifest::may_hold_descriptors;
use oci_discovery::oci::referrers::{fallback_stem, fallback_subject};
use oci_discovery::oci::{Descriptor, Platform, media_type};
use oci_discovery::pool::Pool;

/// One entry of an index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// `org.opencontainers.image.ref.name`, which a fragment selects.
    pub reference: Option<Arc<str>>,
    pub platform: Option<Arc<Platform>>,
    pub digest: Digest,
    /// The whole descriptor as canonical JSON.
    pub json: Arc<str>,
    /// Whether the media type is that of a document of descriptors, which a registry serves under a tag.
    pub is_manifest: bool,
}

/// The entries of an index before and after a command.
#[derive(Debug)]
pub struct IndexChange {
    pub before: Vec<Entry>,
    pub after: Index,
}

/// An index for merging: its entries and other properties.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    entries: Vec<Entry>,
    /// The properties other than `manifests`, as JSON text.
    others: BTreeMap<String, Box<str>>,
}

/// What a publish does with existing entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Merge {
    /// Replace published refs whole, and keep other refs.
    #[default]
    ReplaceRefs,
    /// Keep entries of published refs for other platforms, too.
    Append,
    /// Replace all entries.
    ReplaceImage,
}

#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("entry {position} of \"manifests\" is malformed")]
    Entry {
        position: usize,
        #[source]
        source: EntryError,
    },
}

impl Entry {
    /// The entry of a descriptor.
    pub fn new(descriptor: &Descriptor) -> Entry {
        Entry::sharing(descriptor, descriptor.platform(), &mut Pool::default())
    }

    /// Reads an entry. The platform is taken from the value, because there may be a great many entries.
    fn parse(text: &str, platforms: &mut Pool<Platform>) -> Result<Entry, EntryError> {
        let value = json::parse(text.as_bytes())?;
        let platform = value.get("platform").and_then(Platform::from_value);
        Ok(Entry::sharing(&Descriptor::from_value(value)?, platform, platforms))
    }

    /// The entry of a descriptor and its platform, sharing equal platforms with other entries.
    fn sharing(descriptor: &Descriptor, platform: Option<Platform>, platforms: &mut Pool<Platform>) -> Entry {
        Entry {
            reference: descriptor.ref_name().map(Into::into),
            platform: platform.map(|platform| platforms.share(platform)),
            digest: descriptor.digest.clone(),
            json: descriptor.json().clone(),
            is_manifest: may_hold_descriptors(&descriptor.media_type),
        }
    }

    /// The ref and the platform, which identify an entry within a publish.
    fn place(&self) -> (Option<&str>, Option<&Platform>) {
        (self.reference.as_deref(), self.platform.as_deref())
    }

    /// The fallback tag of what it refers to by its ref ([`fallback_subject`]).
    pub fn fallback_subject(&self) -> Option<&str> {
        let tag = self.reference.as_deref().filter(|tag| fallback_stem(tag).is_some())?;
        fallback_subject(tag, &self.descriptor().ok()?.media_type)
    }

    /// Its ref, if it is a fallback tag and leads to an index: a list of referrers ([`is_fallback_list`]).
    ///
    /// [`is_fallback_list`]: oci_discovery::oci::referrers::is_fallback_list
    pub fn fallback_list(&self) -> Option<&str> {
        self.fallback_subject().filter(|tag| self.reference.as_deref() == Some(*tag))
    }

    /// The entry's descriptor, read again from its text.
    pub fn descriptor(&self) -> Result<Descriptor, IndexError> {
        index::descriptor(&self.json).map_err(|source| IndexError::Entry { position: 0, source })
    }
}

impl Index {
    /// Reads an index: an object with an array `manifests` of descriptors.
    pub fn parse(bytes: &[u8]) -> Result<Index, IndexError> {
        let parsed = IndexText::parse(bytes)?;
        let (mut entries, mut platforms) = (Vec::new(), Pool::default());
        for (position, text) in parsed.entries().enumerate() {
            let entry = Entry::parse(text.get(), &mut platforms);
            entries.push(entry.map_err(|source| IndexError::Entry { position, source })?);
        }
        let mut others = BTreeMap::new();
        for (key, text) in parsed.properties {
            let value = json::parse(text.get().as_bytes())?;
            others.insert(key, json::canonical_text(&value).into());
        }
        Ok(Index { entries, others })
    }

    /// The entries, sorted by ref, platform and digest after a merge.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether this can be the index of a name: that of a ref has entries of this ref only.
    pub fn may_be_of(&self, name: &ImageName) -> bool {
        let reference = name.fragment();
        reference.is_none() || self.entries.iter().all(|entry| entry.reference.as_deref() == reference)
    }

    /// Merges the entries of a publish.
    ///
    /// `is_referrer` tells whether an existing entry without a ref refers to another manifest. Such entries
    /// (signatures and the like) belong to images of other publishes, and are kept. The other entries without a ref
    /// are "the image without a ref", and a publish of one replaces them.
    pub fn merge<E>(
        &mut self,
        published: PublishedEntries,
        merge: Merge,
        mut is_referrer: impl FnMut(&Entry) -> Result<bool, E>,
    ) -> Result<(), E> {
        let PublishedEntries { images, referrers } = published;
        let mut kept = Vec::new();
        if merge != Merge::ReplaceImage {
            let refs: BTreeSet<Option<&str>> = images.iter().map(|entry| entry.reference.as_deref()).collect();
            let platforms: BTreeSet<(Option<&str>, Option<&Platform>)> = images.iter().map(Entry::place).collect();
            let digests: BTreeSet<&Digest> = referrers.iter().chain(&images).map(|entry| &entry.digest).collect();
            for old in std::mem::take(&mut self.entries) {
                if old.reference.is_none() && digests.contains(&old.digest) {
                    continue;
                }
                let replaced = refs.contains(&old.reference.as_deref())
                    && (old.reference.is_some() || !is_referrer(&old)?)
                    && (merge != Merge::Append || platforms.contains(&old.place()));
                if !replaced {
                    kept.push(old);
                }
            }
        }
        self.entries = kept;
        self.entries.extend(images);
        self.entries.extend(referrers);
        self.entries.sort_unstable();
        self.entries.dedup();
        Ok(())
    }

    /// The canonical bytes of an index that has only these of its entries: the index of a ref.
    pub fn bytes_of(&self, entries: &[&Entry]) -> Vec<u8> {
        canonical_bytes(&self.others, entries)
    }

    /// Takes out the entries of one ref (None: of all refs), and says how many there were.
    pub fn remove(&mut self, reference: Option<&str>) -> usize {
        let before = self.entries.len();
        self.entries.retain(|entry| reference.is_some_and(|reference| entry.reference.as_deref() != Some(reference)));
        before - self.entries.len()
    }

    /// Keeps the entries for which `keep` returns true.
    pub fn retain(&mut self, keep: impl FnMut(&Entry) -> bool) {
        self.entries.retain(keep);
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical_bytes(&self.others, &self.entries.iter().collect::<Vec<_>>())
    }
}

/// The most refs that a message lists.
const LISTED_REFS: usize = 20;

/// Refs as a message lists what there is: sorted, each once, fallback tags last, and counted beyond `LISTED_REFS`.
pub fn list_refs(refs: impl Iterator<Item = String>) -> String {
    let refs: BTreeSet<(bool, String)> =
        refs.map(|reference| (fallback_stem(&reference).is_some(), reference)).collect();
    if refs.is_empty() {
        return "only entries without a ref".into();
    }
    let listed: Vec<&str> = refs.iter().take(LISTED_REFS).map(|(_, reference)| reference.as_str()).collect();
    let more = refs.len().saturating_sub(LISTED_REFS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", listed.join(", "))
}

/// The canonical bytes of an index of these entries and these other properties.
fn canonical_bytes(others: &BTreeMap<String, Box<str>>, entries: &[&Entry]) -> Vec<u8> {
    let mut properties: BTreeMap<&str, Option<&str>> =
        others.iter().map(|(key, text)| (key.as_str(), Some(&**text))).collect();
    let media_type = json::canonical_text(&media_type::INDEX);
    properties.insert("mediaType", Some(&media_type));
    properties.insert("schemaVersion", Some("2"));
    properties.insert("manifests", None);
    let mut bytes = Vec::with_capacity(entries.iter().map(|entry| entry.json.len() + 1).sum::<usize>() + 128);
    let mut separator = b'{';
    for (key, text) in properties {
        bytes.push(separator);
        separator = b',';
        bytes.extend_from_slice(json::canonical_text(&key).as_bytes());
        bytes.push(b':');
        match text {
            Some(text) => bytes.extend_from_slice(text.as_bytes()),
            None => write_entries(entries, &mut bytes),
        }
    }
    bytes.push(b'}');
    bytes
}

fn write_entries(entries: &[&Entry], bytes: &mut Vec<u8>) {
    bytes.push(b'[');
    for (position, entry) in entries.iter().enumerate() {
        if position > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(entry.json.as_bytes());
    }
    bytes.push(b']');
}

/// The entries of an index by ref.
pub fn by_ref<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> BTreeMap<&'a str, Vec<&'a Entry>> {
    let mut refs: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        if let Some(reference) = entry.reference.as_deref() {
            refs.entry(reference).or_default().push(entry);
        }
    }
    refs
}

/// What a publish brings into one index.
#[derive(Clone, Debug, Default)]
pub struct PublishedEntries {
    /// Entries of images and artifacts, with or without a ref.
    pub images: Vec<Entry>,
    /// Entries without a ref that refer to another manifest.
    pub referrers: Vec<Entry>,
}

impl PublishedEntries {
    /// The bytes of an index with these entries only. Merging into such an index does not change it, so it need not be
    /// read.
    pub fn alone(&self) -> Vec<u8> {
        let mut entries: Vec<&Entry> = self.images.iter().chain(&self.referrers).collect();
        entries.sort_unstable();
        entries.dedup();
        canonical_bytes(&BTreeMap::new(), &entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_discovery::digest::Algorithm;
    use std::convert::Infallible;

    fn entry(reference: Option<&str>, architecture: &str, content: &str) -> Entry {
        let mut descriptor =
            Descriptor::new(media_type::MANIFEST, Digest::of(Algorithm::Sha256, content.as_bytes()), 1);
        descriptor.set_ref_name(reference);
        let platform = serde_json::json!({"os": "linux", "architecture": architecture});
        descriptor.edit(|properties| drop(properties.insert("platform".into(), platform)));
        Entry::new(&descriptor)
    }

    fn merged(old: &[Entry], new: &[Entry], mode: Merge) -> Vec<Entry> {
        let mut index = Index { entries: old.to_vec(), others: BTreeMap::new() };
        let published = PublishedEntries { images: new.to_vec(), referrers: vec![] };
        index.merge::<Infallible>(published, mode, |_| Ok(false)).unwrap();
        index.entries
    }

    #[test]
    fn a_published_ref_is_replaced_whole_and_others_are_kept() {
        let old = [entry(Some("1"), "amd64", "a"), entry(Some("1"), "arm64", "b"), entry(Some("2"), "amd64", "c")];
        let new = [entry(Some("1"), "amd64", "d")];
        assert_eq!(merged(&old, &new, Merge::ReplaceRefs), [new[0].clone(), old[2].clone()]);
        assert_eq!(merged(&old, &new, Merge::Append), [new[0].clone(), old[1].clone(), old[2].clone()]);
        assert_eq!(merged(&old, &new, Merge::ReplaceImage), [new[0].clone()]);
    }

    #[test]
    fn the_image_without_a_ref_is_replaced_and_referrers_without_a_ref_are_kept() {
        let (image, signature) = (entry(None, "amd64", "image"), entry(None, "amd64", "signature"));
        let mut index = Index { entries: vec![image, signature.clone()], others: BTreeMap::new() };
        let new = entry(None, "amd64", "new image");
        let published = PublishedEntries { images: vec![new.clone()], referrers: vec![] };
        index.merge::<Infallible>(published, Merge::ReplaceRefs, |old| Ok(*old == signature)).unwrap();
        let mut expected = [new, signature];
        expected.sort();
        assert_eq!(index.entries(), expected);
    }

    #[test]
    fn what_is_read_is_written_again_with_other_properties_kept() {
        let text = br#"{"annotations":{"b":"1","a":"2"},"schemaVersion":2,"manifests":[]}"#;
        let index = Index::parse(text).unwrap();
        let expected = br#"{"annotations":{"a":"2","b":"1"},"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}"#;
        assert_eq!(index.to_bytes(), expected);
        assert_eq!(Index::parse(expected).unwrap().to_bytes(), expected);
    }

    #[test]
    fn nothing_in_an_index_is_markup() {
        let text = br#"{"<a>":"<","manifests":[{"mediaType":"<","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}]}"#;
        let written = Index::parse(text).unwrap().to_bytes();
        assert!(!written.contains(&b'<'), "{}", String::from_utf8_lossy(&written));
        assert_eq!(json::parse(&written).unwrap()["<a>"], "<");
    }

    #[test]
    fn refs_are_listed_in_order_up_to_a_number_with_fallback_tags_last() {
        let list = |refs: &[&str]| list_refs(refs.iter().map(|reference| reference.to_string()));
        let fallback = format!("sha256-{}", "a".repeat(64));
        assert_eq!(list(&["v2", &fallback, "v1", "v2"]), format!("v1, v2, {fallback}"));
        assert_eq!(list(&[]), "only entries without a ref");
        let many = list_refs((10..40).map(|number| number.to_string()));
        assert!(many.starts_with("10, 11, ") && many.ends_with(", 29 and 10 more"), "{many}");
    }

    #[test]
    fn documents_of_another_form_say_what_they_are() {
        let message = |text: &[u8]| Index::parse(text).unwrap_err().to_string();
        assert!(message(b"[]").contains("found an array"));
        assert!(message(b"{}").contains("\"manifests\" to be an array, found nothing"));
        assert!(message(b"{\"manifests\":[{}]}").contains("entry 0"));
        assert!(message(b"nonsense").contains("invalid JSON"));
    }
}
