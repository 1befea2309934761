//! Which manifests refer to others, and which manifests lead to those that do: all that lists of referrers
//! (distribution-spec, "Listing Referrers") follow from.
//!
//! A manifest says what it refers to, and never changes. To make lists of referrers again, a program would have to read
//! all manifests of an image. [`Relations`] keep the few facts that lists need, by the manifests' digests, in a document
//! whose size follows from the number of manifests. A manifest that refers to nothing and leads to nothing that does takes
//! one line, which says that it was read.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::manifest::{Links, may_hold_descriptors};
use super::referrers::subject_of_list;
use super::{Descriptor, index};
use crate::digest::Digest;
use crate::json::{self, MAX_INDEX_BYTES, MAX_LIST_BYTES};

/// The most bytes of all lists of referrers of an image together: the text of each descriptor, once for each list that has it. A list
/// is an index, and no reader takes a larger one.
pub const MAX_LISTED_BYTES: u64 = MAX_INDEX_BYTES;
/// A descriptor in a list counts as this many bytes at least: that is what it takes in memory.
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
/// let lists = relations.lists([])?;
/// assert!(lists[&image.digest].contains_key(&signature.digest));
/// assert_eq!(Relations::parse(&relations.to_bytes()), Some(relations));
/// # Ok::<(), oci_discovery::oci::relations::TooManyReferrers>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Relations {
    manifests: BTreeMap<Digest, Relation>,
    /// The bytes of the descriptors, each once.
    described_bytes: u64,
    /// Whether reading ended, because the descriptors had too many bytes.
    is_cut: bool,
}

/// What one manifest refers to, and what it leads to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Relation {
    /// Manifests below, as far as they refer to something or lead to one that does.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    children: BTreeSet<Digest>,
    /// The manifest as a list of referrers describes it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shared")]
    descriptor: Option<Arc<Descriptor>>,
    /// None with a descriptor: only the index under a fallback tag says that the manifest refers to something.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Digest>,
}

/// The lists of referrers: what refers to each subject, by digest.
pub type Lists = BTreeMap<Digest, BTreeMap<Digest, Arc<Descriptor>>>;

/// An image has more referrers than its lists may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the lists of referrers have more than {} MiB together, the limit for one image; a referrer counts once for each fallback tag \
     (sha256-…) under which it is listed", MAX_LISTED_BYTES / 1024 / 1024
)]
pub struct TooManyReferrers;

impl Relation {
    fn bytes(&self) -> u64 {
        self.descriptor.as_deref().map_or(0, listed_bytes)
    }
}

/// The bytes of a descriptor in a list.
fn listed_bytes(descriptor: &Descriptor) -> u64 {
    (descriptor.json().len() as u64).max(MIN_REFERRER_BYTES)
}

fn shared<S: Serializer>(descriptor: &Option<Arc<Descriptor>>, serializer: S) -> Result<S::Ok, S::Error> {
    descriptor.as_deref().serialize(serializer)
}

impl Relations {
    /// Records what a manifest links to.
    pub fn record(&mut self, manifest: &Descriptor, links: &Links) {
        if self.is_cut {
            return;
        }
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
            if self.is_cut {
                return;
            }
            self.at(index).children.insert(entry.digest.clone());
            self.describe(entry, None);
        }
    }

    /// A manifest's own word counts more than a list's. Of two descriptions the greater text counts, so that the order of
    /// reading has no influence.
    fn describe(&mut self, descriptor: Descriptor, subject: Option<Digest>) {
        let relation = self.at(&descriptor.digest);
        let is_kept =
            relation.descriptor.as_ref().is_some_and(|known| match (relation.subject.is_some(), subject.is_some()) {
                (own, other) if own != other => own,
                _ => known.json() >= descriptor.json(),
            });
        if is_kept {
            return;
        }
        let (before, after) = (relation.bytes(), listed_bytes(&descriptor));
        (relation.descriptor, relation.subject) = (Some(Arc::new(descriptor)), subject);
        self.described_bytes = self.described_bytes - before + after;
        self.is_cut |= self.described_bytes > MAX_LISTED_BYTES;
    }

    fn at(&mut self, digest: &Digest) -> &mut Relation {
        self.manifests.entry(digest.clone()).or_default()
    }

    /// Fails if the descriptors have more bytes than [`MAX_LISTED_BYTES`]. Those that are recorded after that are omitted, so that
    /// manifests cannot take more memory.
    pub fn refuse_too_many(&self) -> Result<(), TooManyReferrers> {
        if self.is_cut || self.described_bytes > MAX_LISTED_BYTES { Err(TooManyReferrers) } else { Ok(()) }
    }

    /// Adds others. Where both know a manifest, the others count.
    pub fn extend(&mut self, others: Relations) {
        self.is_cut |= others.is_cut;
        for (digest, relation) in others.manifests {
            self.forget(&digest);
            self.described_bytes += relation.bytes();
            self.manifests.insert(digest, relation);
        }
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
        let forgotten = self.manifests.remove(digest);
        self.described_bytes -= forgotten.map_or(0, |relation| relation.bytes());
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
        self.described_bytes = self.manifests.values().map(Relation::bytes).sum();
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
    ///
    /// # Errors
    /// The lists have more bytes than [`MAX_LISTED_BYTES`] together: an index may be under any number of fallback tags.
    pub fn lists<'t>(
        &self,
        fallback: impl IntoIterator<Item = (&'t str, &'t Digest)>,
    ) -> Result<Lists, TooManyReferrers> {
        self.refuse_too_many()?;
        let (mut lists, mut left) = (Lists::new(), MAX_LISTED_BYTES);
        let mut add = |subject: &Digest, referrer: &Digest, descriptor: &Arc<Descriptor>| {
            let list = lists.entry(subject.clone()).or_default();
            if list.insert(referrer.clone(), descriptor.clone()).is_none() {
                left = left.checked_sub(listed_bytes(descriptor)).ok_or(TooManyReferrers)?;
            }
            Ok(())
        };
        for (digest, relation) in &self.manifests {
            if let (Some(subject), Some(descriptor)) = (&relation.subject, &relation.descriptor) {
                add(subject, digest, descriptor)?;
            }
        }
        for (tag, index) in fallback {
            let Some(relation) = self.manifests.get(index) else { continue };
            let Some(subject) = subject_of_list(tag, self.manifests.keys()) else { continue };
            for child in &relation.children {
                if let Some(descriptor) = self.manifests.get(child).and_then(|child| child.descriptor.as_ref()) {
                    add(&subject, child, descriptor)?;
                }
            }
        }
        Ok(lists)
    }

    /// The document that [`Relations::parse`] reads, as canonical JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Document<'a> {
            manifests: &'a BTreeMap<Digest, Relation>,
        }
        json::canonical(&Document { manifests: &self.manifests })
    }

    /// Reads a document. None: it is malformed, contradicts itself, or is too large.
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
        (!relations.is_cut).then_some(relations)
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
        let lists = relations.lists([]).unwrap();
        assert_eq!(lists[&image.digest].keys().collect::<Vec<_>>(), [&signature.digest]);
        // Without the index, nothing leads to the signature.
        relations.keep([&image.digest]);
        assert!(relations.lists([]).unwrap().is_empty() && relations.covers(&image.digest, || None));
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
        let lists = one.lists([(tag.as_str(), &index.digest)]).unwrap();
        assert_eq!(lists[&image.digest].len(), 2);
        assert_eq!(*lists[&image.digest][&signature.digest], signature);
    }

    /// A referrer whose descriptor takes this many mebibytes in a list.
    fn referrer(content: &str, mebibytes: usize) -> Descriptor {
        let mut referrer = manifest(content);
        let note = "<".repeat(mebibytes * 1024 * 1024 / r"\u003c".len());
        referrer.edit(|properties| drop(properties.insert("annotations".into(), serde_json::json!({"note": note}))));
        referrer
    }

    #[test]
    fn the_bytes_of_all_lists_together_are_limited() {
        let index = manifest("index").digest;
        let tags: Vec<String> = (0..20).map(|number| fallback_tag(&manifest(&number.to_string()).digest)).collect();
        let mut relations = Relations::default();
        relations.record_listed(&index, [referrer("signature", 4)]);
        assert_eq!(relations.refuse_too_many(), Ok(()));
        let lists = |count: usize| relations.lists(tags.iter().take(count).map(|tag| (tag.as_str(), &index)));
        assert_eq!(lists(15).unwrap().len(), 15);
        assert_eq!(lists(17), Err(TooManyReferrers));
    }

    #[test]
    fn the_referrers_of_a_large_image_are_listed() {
        let index = manifest("index").digest;
        let referrers = (0..20_000).map(|number| {
            let mut referrer = manifest(&number.to_string());
            referrer.edit(|properties| {
                drop(properties.insert("annotations".into(), serde_json::json!({"a": "b".repeat(1000)})))
            });
            referrer
        });
        let mut relations = Relations::default();
        relations.record_listed(&index, referrers);
        let tags = ["image", "other"].map(|content| fallback_tag(&manifest(content).digest));
        let lists = relations.lists(tags.iter().map(|tag| (tag.as_str(), &index))).unwrap();
        assert_eq!(lists[&manifest("image").digest].len(), 20_000);
    }

    #[test]
    fn the_bytes_of_all_that_is_kept_are_limited() {
        let index = manifest("index").digest;
        let of_layout = |name: &str| {
            let mut relations = Relations::default();
            relations.record_listed(&index, [referrer(name, 40)]);
            relations
        };
        let mut relations = of_layout("one");
        relations.extend(of_layout("one"));
        assert_eq!(relations.refuse_too_many(), Ok(()));
        relations.extend(of_layout("other"));
        assert_eq!(relations.refuse_too_many(), Err(TooManyReferrers));
        relations.forget(&manifest("other").digest);
        assert_eq!(relations.refuse_too_many(), Ok(()));
    }

    #[test]
    fn a_document_that_contradicts_itself_is_refused() {
        let [one, other] = ["one", "other"].map(|content| manifest(content).digest);
        let descriptor = manifest("one").json().to_string();
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
