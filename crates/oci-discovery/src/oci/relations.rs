//! Which manifests refer to others, and which manifests lead to those that do: all that lists of referrers
//! (distribution-spec, "Listing Referrers") follow from.
//!
//! A manifest says what it refers to, and never changes. To make lists of referrers again, a program would have to read
//! all manifests of an image. [`Relations`] keep the few facts that lists need, by the manifests' digests, in a document
//! whose size follows from the number of manifests. A manifest that refers to nothing and leads to nothing that does takes
//! one line, which says that it was read.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::manifest::{Links, may_hold_descriptors};
use super::referrers::subject_of_list;
use super::{Descriptor, index};
use crate::digest::Digest;
use crate::json::{self, MAX_LIST_BYTES};

/// The most bytes of manifests that refer to others, for one layout or image: what they say of themselves is kept.
pub const MAX_DESCRIBED_BYTES: u64 = 128 * 1024 * 1024;
/// A referrer counts as this many bytes at least: that is what its descriptor takes.
const MIN_REFERRER_BYTES: u64 = 256;

/// What manifests refer to.
///
/// ```
/// use oci_discovery::digest::{Algorithm, Digest};
/// use oci_discovery::oci::manifest::Links;
/// use oci_discovery::oci::relations::Relations;
/// use oci_discovery::oci::{Descriptor, media_type};
///
/// let blob = |bytes: &[u8]| Descriptor::new(media_type::MANIFEST, Digest::of(Algorithm::Sha256, bytes), 1);
/// let (image, signature) = (blob(b"image"), blob(b"signature"));
/// let mut relations = Relations::default();
/// relations.record(&image, &Links::default());
/// relations.record(&signature, &Links { subject: Some(image.clone()), ..Links::default() });
/// relations.keep([&image.digest, &signature.digest]);
///
/// let lists = relations.lists([]);
/// assert!(lists[&image.digest].contains_key(&signature.digest));
/// assert_eq!(Relations::parse(&relations.to_bytes()), Some(relations));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Relations {
    manifests: BTreeMap<Digest, Relation>,
    /// The bytes of the manifests that are described.
    described_bytes: u64,
}

/// What one manifest refers to, and what it leads to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Relation {
    /// Manifests below, as far as they refer to something or lead to one that does.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    children: BTreeSet<Digest>,
    /// The manifest as a list of referrers describes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptor: Option<Descriptor>,
    /// None with a descriptor: only the index under a fallback tag says that the manifest refers to something.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Digest>,
}

/// The lists of referrers: what refers to each subject, by digest.
pub type Lists = BTreeMap<Digest, BTreeMap<Digest, Descriptor>>;

impl Relations {
    /// Records what a manifest links to.
    pub fn record(&mut self, manifest: &Descriptor, links: &Links) {
        let children = links.children.iter().filter(|child| may_hold_descriptors(&child.media_type));
        let children: BTreeSet<Digest> = children.map(|child| child.digest.clone()).collect();
        if !children.is_empty() {
            self.at(&manifest.digest).children.extend(children);
        }
        if let Some(subject) = &links.subject {
            self.describe(links.referrer_descriptor(manifest), Some(subject.digest.clone()));
        }
    }

    /// Records the entries of an index that has a fallback tag: they refer to the subject of the tag, also where their
    /// manifests say nothing of it (distribution-spec, "Referrers Tag Schema").
    pub fn record_listed(&mut self, index: &Digest, entries: impl IntoIterator<Item = Descriptor>) {
        for entry in entries {
            self.at(index).children.insert(entry.digest.clone());
            self.describe(entry, None);
        }
    }

    /// A manifest's own word counts more than a list's. Of two descriptions the greater text counts, so that the order of
    /// reading has no influence.
    fn describe(&mut self, descriptor: Descriptor, subject: Option<Digest>) {
        let bytes = descriptor.size.max(MIN_REFERRER_BYTES);
        let relation = self.at(&descriptor.digest);
        let is_new = relation.descriptor.is_none();
        let is_kept =
            relation.descriptor.as_ref().is_some_and(|known| match (relation.subject.is_some(), subject.is_some()) {
                (own, other) if own != other => own,
                _ => known.to_json() >= descriptor.to_json(),
            });
        if !is_kept {
            (relation.descriptor, relation.subject) = (Some(descriptor), subject);
        }
        if is_new {
            self.described_bytes = self.described_bytes.saturating_add(bytes);
        }
    }

    fn at(&mut self, digest: &Digest) -> &mut Relation {
        self.manifests.entry(digest.clone()).or_default()
    }

    /// Whether the manifests whose descriptors are kept have more bytes than [`MAX_DESCRIBED_BYTES`].
    pub fn is_too_large(&self) -> bool {
        self.described_bytes > MAX_DESCRIBED_BYTES
    }

    /// Adds others. Where both know a manifest, the others count.
    pub fn extend(&mut self, others: Relations) {
        self.manifests.extend(others.manifests);
    }

    /// Whether it is known what a manifest refers to and leads to. `described` is its descriptor: where the two differ, nothing
    /// is known.
    pub fn covers(&self, root: &Digest, described: impl FnOnce() -> Option<Descriptor>) -> bool {
        let Some(relation) = self.manifests.get(root) else { return false };
        let Some(known) = &relation.descriptor else { return true };
        described().is_some_and(|root| (known.size, &known.media_type) == (root.size, &root.media_type))
    }

    /// Forgets what a manifest says.
    pub fn forget(&mut self, digest: &Digest) {
        self.manifests.remove(digest);
    }

    /// Keeps what these roots lead to, and notes that each of them was read.
    pub fn keep<'d>(&mut self, roots: impl IntoIterator<Item = &'d Digest>) {
        self.forget_idle_children();
        let mut kept: BTreeMap<Digest, Relation> = BTreeMap::new();
        let mut open: Vec<Digest> = Vec::new();
        for root in roots {
            open.push(root.clone());
            while let Some(digest) = open.pop() {
                if let Entry::Vacant(unknown) = kept.entry(digest) {
                    let relation = self.manifests.remove(unknown.key()).unwrap_or_default();
                    open.extend(relation.children.iter().cloned());
                    unknown.insert(relation);
                }
            }
        }
        self.manifests = kept;
    }

    /// Forgets links to manifests that refer to nothing and lead to nothing that does.
    fn forget_idle_children(&mut self) {
        let mut parents: HashMap<Digest, Vec<Digest>> = HashMap::new();
        for (digest, relation) in &self.manifests {
            for child in &relation.children {
                parents.entry(child.clone()).or_default().push(digest.clone());
            }
        }
        let described = self.manifests.iter().filter(|(_, relation)| relation.descriptor.is_some());
        let mut open: Vec<Digest> = described.map(|(digest, _)| digest.clone()).collect();
        let mut useful: BTreeSet<Digest> = BTreeSet::new();
        while let Some(digest) = open.pop() {
            open.extend(parents.remove(&digest).into_iter().flatten());
            useful.insert(digest);
        }
        for relation in self.manifests.values_mut() {
            relation.children.retain(|child| useful.contains(child));
        }
    }

    /// The lists of referrers. `fallback` are the indexes that have fallback tags, with their tags.
    pub fn lists<'t>(&self, fallback: impl IntoIterator<Item = (&'t str, &'t Digest)>) -> Lists {
        let mut lists = Lists::new();
        for (digest, relation) in &self.manifests {
            if let (Some(subject), Some(descriptor)) = (&relation.subject, &relation.descriptor) {
                lists.entry(subject.clone()).or_default().insert(digest.clone(), descriptor.clone());
            }
        }
        for (tag, index) in fallback {
            let Some(relation) = self.manifests.get(index) else { continue };
            let Some(subject) = subject_of_list(tag, self.manifests.keys()) else { continue };
            for child in &relation.children {
                if let Some(descriptor) = self.manifests.get(child).and_then(|child| child.descriptor.as_ref()) {
                    lists.entry(subject.clone()).or_default().insert(child.clone(), descriptor.clone());
                }
            }
        }
        lists
    }

    /// The document that [`Relations::parse`] reads, as canonical JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Document<'a> {
            manifests: &'a BTreeMap<Digest, Relation>,
        }
        json::canonical(&Document { manifests: &self.manifests })
    }

    /// Reads a document. None: it is malformed, or contradicts itself.
    pub fn parse(bytes: &[u8]) -> Option<Relations> {
        #[derive(Deserialize)]
        struct Document<'a> {
            #[serde(borrow)]
            manifests: BTreeMap<Digest, Read<'a>>,
        }
        #[derive(Deserialize)]
        struct Read<'a> {
            #[serde(default)]
            children: BTreeSet<Digest>,
            #[serde(borrow, default)]
            descriptor: Option<&'a RawValue>,
            #[serde(default)]
            subject: Option<Digest>,
        }
        let Document { manifests } = json::parse_as(bytes, MAX_LIST_BYTES).ok()?;
        let is_whole = |read: &Read<'_>| read.children.iter().all(|child| manifests.contains_key(child));
        if !manifests.values().all(is_whole) {
            return None;
        }
        let mut relations = Relations::default();
        for (digest, Read { children, descriptor, subject }) in manifests {
            relations.at(&digest).children = children;
            match descriptor.map(|text| index::descriptor(text.get())).transpose().ok()? {
                Some(descriptor) if descriptor.digest == digest => relations.describe(descriptor, subject),
                None if subject.is_none() => {}
                _ => return None,
            }
        }
        Some(relations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use crate::oci::media_type;
    use crate::oci::referrers::fallback_tag;

    fn manifest(content: &str) -> Descriptor {
        Descriptor::new(media_type::MANIFEST, Digest::of(Algorithm::Sha256, content.as_bytes()), 7)
    }

    fn index_of(children: &[&Descriptor]) -> Links {
        Links { children: children.iter().copied().cloned().collect(), ..Links::default() }
    }

    fn refers_to(subject: &Descriptor) -> Links {
        Links { subject: Some(subject.clone()), ..Links::default() }
    }

    #[test]
    fn only_what_leads_to_referrers_is_kept_below_the_roots() {
        let [index, image, signature, gone] = ["index", "image", "signature", "gone"].map(manifest);
        let mut relations = Relations::default();
        relations.record(&index, &index_of(&[&image, &signature]));
        relations.record(&signature, &refers_to(&image));
        relations.record(&gone, &refers_to(&image));
        relations.keep([&index.digest]);
        assert!(!relations.manifests.contains_key(&image.digest) && !relations.manifests.contains_key(&gone.digest));
        let lists = relations.lists([]);
        assert_eq!(lists[&image.digest].keys().collect::<Vec<_>>(), [&signature.digest]);
        // Without the index, nothing leads to the signature.
        relations.keep([&image.digest]);
        assert!(relations.lists([]).is_empty() && relations.covers(&image.digest, || None));
    }

    #[test]
    fn what_a_manifest_says_counts_more_than_what_a_list_says_in_any_order() {
        let [index, image, signature, silent] = ["index", "image", "signature", "silent"].map(manifest);
        let mut listed = signature.clone();
        listed.edit(|properties| drop(properties.insert("annotations".into(), serde_json::json!({"z": "z"}))));
        let record = |relations: &mut Relations| relations.record(&signature, &refers_to(&image));
        let list = |relations: &mut Relations| {
            relations.record_listed(&index.digest, [listed.clone(), silent.clone()]);
        };
        let (mut one, mut other) = (Relations::default(), Relations::default());
        record(&mut one);
        list(&mut one);
        list(&mut other);
        record(&mut other);
        assert_eq!(one, other);
        let tag = fallback_tag(&image.digest);
        let lists = one.lists([(tag.as_str(), &index.digest)]);
        assert_eq!(lists[&image.digest].len(), 2);
        assert_eq!(lists[&image.digest][&signature.digest], signature);
    }

    #[test]
    fn a_document_that_contradicts_itself_is_refused() {
        let [one, other] = ["one", "other"].map(|content| manifest(content).digest);
        let descriptor = manifest("one").to_json();
        for relation in [
            format!(r#"{{"{one}":{{"children":["{other}"]}}}}"#),
            format!(r#"{{"{other}":{{"descriptor":{descriptor}}}}}"#),
            format!(r#"{{"{one}":{{"subject":"{other}"}}}}"#),
            "[]".to_string(),
        ] {
            let document = format!(r#"{{"manifests":{relation}}}"#);
            assert_eq!(Relations::parse(document.as_bytes()), None, "{document}");
        }
        let sound = format!(r#"{{"manifests":{{"{one}":{{"descriptor":{descriptor},"subject":"{other}"}}}}}}"#);
        assert!(Relations::parse(sound.as_bytes()).is_some());
    }

    #[test]
    fn a_root_that_is_described_otherwise_is_not_covered() {
        let [image, signature] = ["image", "signature"].map(manifest);
        let mut relations = Relations::default();
        relations.record(&signature, &refers_to(&image));
        let other = Descriptor::new(media_type::INDEX, signature.digest.clone(), 7);
        assert!(relations.covers(&signature.digest, || Some(signature.clone())));
        assert!(!relations.covers(&signature.digest, || Some(other)));
    }
}
