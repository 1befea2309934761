//! The documents of the catalogue: one per image, and the list of all.
//!
//! An image's document is made from its index and its manifests. The document that is there already is taken along: facts
//! of a digest never change, so only manifests that are new to the image are read. Refs are many in images that live long,
//! so all are summed up, and the newest are told in full.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::VERSION;
use super::facts::{self, Facts, ListedManifest, cut, cut_to};
use super::order::compare_versions;
use crate::site::catalogue::{document_path, page_path, url};
use crate::site::index::Entry;
use crate::site::path::PathError;
use oci_discovery::digest::Digest;
use oci_discovery::json;
use oci_discovery::name::ImageName;
use oci_discovery::oci::referrers::fallback_tag;
use oci_discovery::oci::walk::{Graph, Limit, Manifests, Next, descriptor_key, manifest_bytes, walk};
use oci_discovery::oci::{Descriptor, media_type};
use oci_discovery::parallel::lock;
use oci_discovery::seen::{Key, Seen, key};

/// So many refs, the newest, are told in full. A page of them is as long as a person reads.
pub const MAX_DETAILED_REFS: usize = 100;
/// So many refs, the newest, are on the page: those that are told in full, and a thousand more with a line each. Nobody reads
/// further, a browser has to lay out every row, and the page of an image with tens of thousands of refs would be rewritten whole
/// with each of them. The document has all.
pub const MAX_SHOWN_REFS: usize = MAX_DETAILED_REFS + 1000;
/// So many manifests' facts are kept at hand while a document is made.
const MAX_CACHED: usize = 1000;
/// The bytes of what all refs of an image list together: two million manifests, with platforms of usual length. Refs may share
/// the manifests of a few indexes, and the document names them again for each ref.
const MAX_LISTED_BYTES: u64 = 2_000_000 * (LISTED_BYTES + 16);
/// The bytes of a listed manifest, without its platform.
const LISTED_BYTES: u64 = 128;
/// A description in the list is cut to so many characters: two lines of a wide screen.
const LISTED_DESCRIPTION: usize = 240;

/// All that the catalogue knows of one image, with its refs as `R`: all of them, or those that a page shows. The properties stand
/// in the order of canonical JSON, so that they need no sorting: the refs of one image can take megabytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageDocument<R = Vec<Ref>> {
    catalogue: u32,
    /// The digest of the index that it was made from, so that an image whose index stays as it is can be left alone.
    pub index: Digest,
    /// What the newest [`MAX_DETAILED_REFS`] refs lead to, by digest.
    pub manifests: BTreeMap<Digest, Facts>,
    /// The image's name.
    pub name: ImageName,
    /// What refers to a manifest, by the manifest's digest.
    pub referrers: BTreeMap<Digest, Vec<Referrer>>,
    /// Its refs, newest first.
    pub refs: R,
}

/// What a page shows of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageContent {
    /// The image's document, with the newest [`MAX_SHOWN_REFS`] refs.
    pub document: ImageDocument,
    /// How many refs the image has in all, without the image that has none.
    pub refs: u64,
    /// How many, with it, are not shown.
    pub left_out: u64,
}

/// The newest refs of a document. The others are counted and otherwise skipped, which takes a fraction of the time.
struct NewestRefs {
    newest: Vec<Ref>,
    left_out: u64,
    /// Those of all that have a name: the image without a ref is among them at most once.
    named: u64,
}

/// A ref of which only that it is there is wanted.
#[derive(Deserialize)]
struct Counted {
    #[serde(rename = "ref")]
    reference: Option<IgnoredAny>,
}

impl<'de> Deserialize<'de> for NewestRefs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NewestRefs, D::Error> {
        deserializer.deserialize_seq(NewestRefsVisitor)
    }
}

struct NewestRefsVisitor;

impl<'de> Visitor<'de> for NewestRefsVisitor {
    type Value = NewestRefs;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of refs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut refs: A) -> Result<NewestRefs, A::Error> {
        let mut found = NewestRefs { newest: vec![], left_out: 0, named: 0 };
        while found.newest.len() < MAX_SHOWN_REFS {
            let Some(next) = refs.next_element::<Ref>()? else { return Ok(found) };
            found.named += u64::from(next.reference.is_some());
            found.newest.push(next);
        }
        while let Some(Counted { reference }) = refs.next_element()? {
            found.named += u64::from(reference.is_some());
            found.left_out += 1;
        }
        Ok(found)
    }
}

impl PageContent {
    /// Reads what a page shows of a document. None: it is of another form, and says nothing.
    pub fn parse(bytes: &[u8]) -> Option<PageContent> {
        let parsed: ImageDocument<NewestRefs> = json::parse_as(bytes, json::MAX_LIST_BYTES).ok()?;
        let ImageDocument { catalogue, index, manifests, name, referrers, refs } = parsed;
        if catalogue != VERSION {
            return None;
        }
        let NewestRefs { newest, left_out, named } = refs;
        let document = ImageDocument { catalogue, index, manifests, name, referrers, refs: newest };
        Some(PageContent { document, refs: named, left_out })
    }
}

/// A ref, or the image without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ref {
    /// The ref. None: the image without one.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// The entries of the index that have it: one, or one per platform.
    #[serde(deserialize_with = "exact")]
    pub entries: Vec<RefEntry>,
    /// The images it leads to, one per platform.
    #[serde(deserialize_with = "exact")]
    pub images: Vec<RefImage>,
    /// The latest date in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// What it is, when it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// How many bytes a pull fetches, for the platform that needs most. None: the site does not have its manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
    /// Whether the site does not have all of its manifests and configs, so that this is not all there is to say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

/// Reads a list without room for more in it: each ref has two, most of one element, and there may be tens of thousands of refs.
fn exact<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let mut list = Vec::deserialize(deserializer)?;
    list.shrink_to_fit();
    Ok(list)
}

/// An entry of the image's index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefEntry {
    /// The digest.
    pub digest: Digest,
    /// Its platform, where the entry names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

/// An image for one platform.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefImage {
    /// The platform as people write it: `linux/arm64/v8`; empty when nobody says.
    pub platform: String,
    /// The manifest.
    pub digest: Digest,
    /// How many bytes a pull fetches.
    pub size: u64,
}

/// Something that refers to a manifest: a signature, a bill of materials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// What it is.
    pub artifact_type: String,
    /// Its manifest.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
    /// Whether its manifest says so itself, in `subject`; otherwise a tag does.
    pub declared: bool,
}

/// The list of all images, with their rows as `R`. Its properties, too, stand in the order of canonical JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListDocument<R = Vec<Row>> {
    /// The version of the form.
    pub catalogue: u32,
    /// The hosts that the site serves. A page of one host needs not name it with each image.
    pub hosts: Vec<String>,
    /// The images, sorted by name.
    pub images: R,
    /// Whether the site has the registry view, and pages name the commands for it.
    pub registry: bool,
    /// The digest of the templates that the pages were rendered with.
    pub templates: String,
}

/// An image in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The image's name.
    pub name: ImageName,
    /// The title of its newest ref, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The description of its newest ref, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The newest ref. None: the image has none.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// When that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The platforms it is for.
    pub platforms: Vec<String>,
    /// What it is, when it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// How many bytes a pull of it fetches, for the platform that needs most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its page, as a URL relative to the site's root.
    pub page: String,
    /// Its document, as a URL relative to the site's root.
    pub document: String,
}

impl ListDocument {
    /// An empty list of pages that are made in this way.
    pub fn new(registry: bool, templates: String, hosts: Vec<String>) -> ListDocument {
        ListDocument { catalogue: VERSION, registry, templates, hosts, images: vec![] }
    }

    /// Sets the row of an image.
    pub fn set(&mut self, row: Row) {
        match self.position(&row.name) {
            Ok(position) => self.images[position] = row,
            Err(position) => self.images.insert(position, row),
        }
    }

    /// Takes out the row of an image, where it has one.
    pub fn remove(&mut self, image: &ImageName) {
        if let Ok(position) = self.position(image) {
            self.images.remove(position);
        }
    }

    fn position(&self, image: &ImageName) -> Result<usize, usize> {
        self.images.binary_search_by(|row| row.name.cmp(image))
    }

    /// Reads a list. None: it is of another form, and says nothing.
    pub fn parse(bytes: &[u8]) -> Option<ListDocument> {
        let is_usable = |list: &ListDocument| {
            list.catalogue == VERSION && list.images.is_sorted_by(|row, next| row.name < next.name)
        };
        json::parse_as(bytes, json::MAX_LIST_BYTES).ok().filter(is_usable)
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::canonical(self)
    }
}

impl ImageDocument {
    /// Reads a document. None: it is of another form, and says nothing.
    pub fn parse(bytes: &[u8]) -> Option<ImageDocument> {
        json::parse_as(bytes, json::MAX_LIST_BYTES)
            .ok()
            .filter(|document: &ImageDocument| document.catalogue == VERSION)
    }

    /// The canonical bytes. `former` is the document that this one was made from, which is most often about as large.
    pub fn to_bytes(&self, former: &[u8]) -> Vec<u8> {
        json::canonical_of_about(former.len() + former.len() / 16, self)
    }

    /// Whether nothing was missing when it was made. Otherwise there may be more to say by now.
    pub fn is_complete(&self) -> bool {
        self.refs.iter().all(|one| !one.incomplete)
    }

    /// The layers of the images that are told in full.
    pub fn layers(&self) -> BTreeSet<Digest> {
        let images = self.manifests.values().filter(|facts| matches!(facts, Facts::Image(_)));
        images.flat_map(Facts::layers).map(|layer| layer.digest.clone()).collect()
    }

    /// What is said of a ref: by its images, the first platform first, and by the indexes above them.
    pub fn annotations(&self, reference: &Ref) -> BTreeMap<&str, &str> {
        let mut values = BTreeMap::new();
        let entries = reference.entries.iter().map(|entry| &entry.digest);
        for digest in entries.chain(reference.images.iter().map(|image| &image.digest)) {
            let annotations = match self.manifests.get(digest) {
                Some(Facts::Index(index)) => &index.annotations,
                Some(Facts::Image(image)) => &image.annotations,
                Some(Facts::Artifact(artifact)) => &artifact.annotations,
                None => continue,
            };
            for (key, value) in annotations {
                values.entry(key.as_str()).or_insert(value.as_str());
            }
        }
        values
    }

    /// The image's row in the list.
    ///
    /// # Errors
    /// The image's name makes no path for a page.
    pub fn row(&self) -> Result<Row, PathError> {
        let newest = self.refs.first();
        let annotations = newest.map(|newest| self.annotations(newest)).unwrap_or_default();
        let mut platforms: Vec<String> = Vec::new();
        for image in newest.iter().flat_map(|newest| &newest.images).filter(|image| !image.platform.is_empty()) {
            if !platforms.contains(&image.platform) {
                platforms.push(image.platform.clone());
            }
        }
        Ok(Row {
            name: self.name.clone(),
            title: annotations.get("title").map(|title| cut_to(title, LISTED_DESCRIPTION)),
            description: annotations.get("description").map(|description| cut_to(description, LISTED_DESCRIPTION)),
            reference: newest.and_then(|newest| newest.reference.clone()),
            created: newest.and_then(|newest| newest.created.clone()),
            platforms,
            artifact_type: newest.and_then(|newest| newest.artifact_type.clone()),
            size: newest.and_then(|newest| newest.size),
            page: url(&page_path(&self.name)?),
            document: url(&document_path(&self.name)?),
        })
    }
}

/// Makes the document of an image from the entries of its index, whose bytes have the digest `index`. `old` is
/// the one that is there; `manifests` has the manifests and configs, as far as the site does.
///
/// # Errors
/// Those of `manifests`.
pub fn build<M: Manifests<Node = Descriptor>>(
    name: &ImageName,
    index: Digest,
    entries: &[Entry],
    old: Option<ImageDocument>,
    manifests: &M,
) -> Result<ImageDocument, M::Error> {
    let old = old.unwrap_or_else(|| ImageDocument {
        catalogue: VERSION,
        index: index.clone(),
        name: name.clone(),
        refs: vec![],
        manifests: BTreeMap::new(),
        referrers: BTreeMap::new(),
    });
    let manifests = FactsReader::new(old.manifests, entries, manifests);
    let mut former_refs: BTreeMap<Option<String>, Ref> =
        old.refs.into_iter().map(|former| (former.reference.clone(), former)).collect();
    let mut referrers = Referrers::new(old.referrers);
    let mut tagged: Vec<&Entry> = Vec::with_capacity(entries.len());
    let mut fallback: Vec<(&str, &Entry)> = Vec::new();
    for entry in entries {
        match (entry.reference.as_deref(), entry.fallback_subject()) {
            (Some(tag), Some(_)) => fallback.push((tag, entry)),
            (None, _) if referrers.add_untagged(&manifests, entry)? => {}
            _ => tagged.push(entry),
        }
    }
    // A stable sort: the entries of one ref keep the order they have in the index.
    tagged.sort_by_key(|entry| entry.reference.as_deref());
    let mut refs = Vec::with_capacity(tagged.len());
    for entries in tagged.chunk_by(|one, next| one.reference == next.reference) {
        let reference = entries[0].reference.as_deref();
        let former = former_refs.remove(&reference.map(str::to_string));
        refs.push(manifests.sum_up(reference, entries, former)?);
    }
    refs.sort_by(newest_first);
    let detailed = manifests.detailed(&refs, entries)?;
    referrers.add_fallback(&manifests, &fallback, &refs)?;
    referrers.add_refs(&refs);
    let (name, referrers) = (name.clone(), referrers.sorted());
    Ok(ImageDocument { catalogue: VERSION, index, name, refs, manifests: detailed, referrers })
}

/// By date, then by version; what has no date comes after what has one.
fn newest_first(one: &Ref, other: &Ref) -> std::cmp::Ordering {
    let by_version = match (&one.reference, &other.reference) {
        (Some(one), Some(other)) => compare_versions(other, one),
        (one, other) => other.is_some().cmp(&one.is_some()),
    };
    other.created.cmp(&one.created).then(by_version)
}

/// The facts of manifests: those of the former document, and those of manifests that are read now.
struct FactsReader<'a, M> {
    former: BTreeMap<Digest, Facts>,
    found: Mutex<BTreeMap<Digest, Facts>>,
    /// The facts that sums need, of every manifest that several refs may lead to, so that none is read again for another ref.
    briefs: Mutex<HashMap<Key, Option<Arc<Facts>>>>,
    /// The digests that several entries of the index have.
    shared: HashSet<Digest>,
    /// What is left of [`MAX_LISTED_BYTES`].
    room: AtomicU64,
    manifests: &'a M,
}

impl<'a, M: Manifests<Node = Descriptor>> FactsReader<'a, M> {
    fn new(former: BTreeMap<Digest, Facts>, entries: &[Entry], manifests: &'a M) -> FactsReader<'a, M> {
        let (found, briefs) = Default::default();
        let mut digests: Vec<&Digest> = entries.iter().map(|entry| &entry.digest).collect();
        digests.sort_unstable();
        let several = digests.chunk_by(|one, next| one == next).filter(|equal| equal.len() > 1);
        let shared = several.filter_map(|equal| equal.first()).map(|digest| Digest::clone(digest)).collect();
        FactsReader { former, found, briefs, shared, room: AtomicU64::new(MAX_LISTED_BYTES), manifests }
    }

    fn facts(&self, descriptor: &Descriptor) -> Result<Option<Facts>, M::Error> {
        // What the walk does not count is not read.
        if !is_read(descriptor) {
            return Ok(Some(facts::of_blob(descriptor)));
        }
        let digest = &descriptor.digest;
        if let Some(facts) = self.former.get(digest).filter(|facts| facts.is_complete()) {
            return Ok(Some(facts.clone()));
        }
        if let Some(facts) = lock(&self.found).get(digest) {
            return Ok(Some(facts.clone()));
        }
        let Some(bytes) = self.manifests.read(descriptor)? else { return Ok(None) };
        let facts = facts::facts(descriptor, &bytes, |config| self.manifests.read(config))?;
        if let Some(facts) = &facts {
            let mut found = lock(&self.found);
            if found.len() >= MAX_CACHED {
                found.clear();
            }
            found.insert(digest.clone(), facts.clone());
        }
        Ok(facts)
    }

    /// Facts without details, which are kept; None is kept as well.
    fn brief(&self, descriptor: &Descriptor) -> Result<Option<Arc<Facts>>, M::Error> {
        let key = descriptor_key(descriptor);
        if let Some(brief) = lock(&self.briefs).get(&key) {
            return Ok(brief.clone());
        }
        let brief = self.facts(descriptor)?.map(|facts| Arc::new(facts.without_details()));
        lock(&self.briefs).insert(key, brief.clone());
        Ok(brief)
    }

    /// Takes the room of a listed manifest. Returns whether there was enough.
    fn take_room(&self, platform: &str) -> bool {
        let bytes = LISTED_BYTES + platform.len() as u64;
        self.room.fetch_update(Relaxed, Relaxed, |room| room.checked_sub(bytes)).is_ok()
    }

    fn sum_up(&self, reference: Option<&str>, entries: &[&Entry], former: Option<Ref>) -> Result<Ref, M::Error> {
        let listed: Vec<RefEntry> = entries.iter().map(|entry| ref_entry(entry)).collect();
        let has_room = |former: &Ref| former.images.iter().all(|image| self.take_room(&image.platform));
        if let Some(former) = former.filter(|former| former.entries == listed && !former.incomplete && has_room(former))
        {
            return Ok(former);
        }
        let mut sum = Ref {
            reference: reference.map(str::to_string),
            entries: listed,
            images: vec![],
            created: None,
            artifact_type: None,
            size: None,
            subject: None,
            incomplete: false,
        };
        let roots = entries.iter().filter_map(|entry| Some((entry.descriptor().ok()?, ref_entry(entry).platform)));
        // The facts of a manifest that only this ref leads to would take memory for nothing.
        let own: HashSet<&Digest> =
            entries.iter().map(|entry| &entry.digest).filter(|digest| !self.shared.contains(*digest)).collect();
        let read = |(descriptor, platform): &Node| match self.take_room(platform.as_deref().unwrap_or_default()) {
            true if own.contains(&descriptor.digest) => Ok(self.facts(descriptor)?.map(Arc::new)),
            true => self.brief(descriptor),
            false => Ok(None),
        };
        self.walk(roots, read, |descriptor, platform, facts| sum.add(descriptor, platform, facts))?;
        sum.images.sort();
        sum.images.dedup();
        sum.images.shrink_to_fit();
        Ok(sum)
    }

    /// Calls `visit` for manifests, each with its platform and the facts that `read` gives, and for all that they list, but for
    /// what only describes other manifests of the list.
    fn walk(
        &self,
        roots: impl Iterator<Item = Node> + Send,
        read: impl Fn(&Node) -> Result<Option<Arc<Facts>>, M::Error> + Sync,
        visit: impl FnMut(&Descriptor, Option<String>, Option<&Facts>) + Send,
    ) -> Result<(), M::Error> {
        let listing = Listing { read, seen: Seen::new(), visit: Mutex::new(visit) };
        walk(&listing, roots, NonZeroUsize::MIN)
    }

    /// The facts of the newest refs' manifests.
    fn detailed(&self, refs: &[Ref], entries: &[Entry]) -> Result<BTreeMap<Digest, Facts>, M::Error> {
        let newest: BTreeSet<Option<&str>> =
            refs.iter().take(MAX_DETAILED_REFS).map(|newest| newest.reference.as_deref()).collect();
        let mut detailed = BTreeMap::new();
        let wanted = entries.iter().filter(|entry| newest.contains(&entry.reference.as_deref()));
        let roots = wanted.filter_map(|entry| Some((entry.descriptor().ok()?, None)));
        let read = |(descriptor, _): &Node| Ok(self.facts(descriptor)?.map(Arc::new));
        self.walk(roots, read, |descriptor, _, facts| {
            let facts = facts.filter(|_| is_read(descriptor));
            detailed.extend(facts.map(|facts| (descriptor.digest.clone(), facts.clone())));
        })?;
        Ok(detailed)
    }
}

/// A manifest, with its platform.
type Node = (Descriptor, Option<String>);

/// The manifests that refs lead to, through the indexes that list them.
struct Listing<R, V> {
    read: R,
    seen: Seen,
    visit: Mutex<V>,
}

impl<E, R, V> Graph for Listing<R, V>
where
    E: Send,
    R: Fn(&Node) -> Result<Option<Arc<Facts>>, E> + Sync,
    V: FnMut(&Descriptor, Option<String>, Option<&Facts>) + Send,
{
    type Node = Node;
    type Error = E;

    fn identity<'n>(&'n self, (descriptor, platform): &'n Node) -> Option<(&'n Seen, Key)> {
        Some((&self.seen, key(&[descriptor.digest.as_str(), platform.as_deref().unwrap_or_default()])))
    }

    fn bytes(&self, (descriptor, _): &Node) -> u64 {
        manifest_bytes(descriptor)
    }

    fn visit(&self, node: Node, next: &mut Next<Node>) -> Result<(), E> {
        let facts = (self.read)(&node)?;
        let (descriptor, platform) = node;
        lock(&self.visit)(&descriptor, platform, facts.as_deref());
        let Some(Facts::Index(index)) = facts.as_deref() else { return Ok(()) };
        for listed in index.manifests.iter().filter(|listed| listed.about.is_none()) {
            let descriptor = Descriptor::new(&listed.media_type, listed.digest.clone(), listed.size);
            next.below((descriptor, listed.platform.clone()));
        }
        Ok(())
    }

    /// The page says that something is missing. A publish has refused such an image long before.
    fn refuse(&self, (descriptor, platform): Node, _limit: Limit, _next: &mut Next<Node>) -> Result<(), E> {
        lock(&self.visit)(&descriptor, platform, None);
        Ok(())
    }
}

/// Whether the facts of a blob are read from it; otherwise its descriptor says all.
fn is_read(descriptor: &Descriptor) -> bool {
    manifest_bytes(descriptor) > 0
}

fn ref_entry(entry: &Entry) -> RefEntry {
    RefEntry {
        digest: entry.digest.clone(),
        platform: entry.platform.as_ref().map(|platform| cut(&platform.to_string())),
    }
}

impl Ref {
    fn add(&mut self, descriptor: &Descriptor, platform: Option<String>, facts: Option<&Facts>) {
        let Some(facts) = facts else {
            self.incomplete = true;
            return;
        };
        self.incomplete |= !facts.is_complete();
        match facts {
            Facts::Index(_) => {}
            Facts::Image(image) => {
                let platform = platform.or_else(|| image.platform.clone()).unwrap_or_default();
                self.images.push(RefImage { platform, digest: descriptor.digest.clone(), size: image.size });
                self.size = self.size.max(Some(image.size));
                self.created = self.created.take().max(image.created.clone());
            }
            Facts::Artifact(artifact) => {
                self.artifact_type.get_or_insert_with(|| artifact.artifact_type.clone());
                self.size = self.size.max(Some(artifact.size));
                self.created = self.created.take().max(artifact.created.clone());
            }
        }
        if self.subject.is_none() {
            self.subject = facts.subject().cloned();
        }
    }
}

/// What refers to what.
struct Referrers {
    /// The referrers of the former document, by digest, with their subjects.
    former: BTreeMap<Digest, Vec<(Digest, Referrer)>>,
    by_subject: BTreeMap<Digest, BTreeSet<Referrer>>,
}

impl Referrers {
    fn new(old: BTreeMap<Digest, Vec<Referrer>>) -> Referrers {
        let mut former: BTreeMap<Digest, Vec<(Digest, Referrer)>> = BTreeMap::new();
        for (subject, referrers) in old {
            for referrer in referrers {
                former.entry(referrer.digest.clone()).or_default().push((subject.clone(), referrer));
            }
        }
        Referrers { former, by_subject: BTreeMap::new() }
    }

    fn add(&mut self, subject: &Digest, referrer: Referrer) {
        self.by_subject.entry(subject.clone()).or_default().insert(referrer);
    }

    fn former(&self, digest: &Digest, is_it: impl Fn(&(Digest, Referrer)) -> bool) -> Option<(Digest, Referrer)> {
        self.former.get(digest)?.iter().find(|former| is_it(former)).cloned()
    }

    /// Adds an entry without a ref, if it refers to something. Otherwise it is an image, and false is returned.
    fn add_untagged<M>(&mut self, manifests: &FactsReader<'_, M>, entry: &Entry) -> Result<bool, M::Error>
    where
        M: Manifests<Node = Descriptor>,
    {
        if let Some((subject, referrer)) = self.former(&entry.digest, |(_, former)| former.declared) {
            self.add(&subject, referrer);
            return Ok(true);
        }
        let Ok(descriptor) = entry.descriptor() else { return Ok(false) };
        let Some(facts) = manifests.brief(&descriptor)? else { return Ok(false) };
        let Some(subject) = facts.subject() else { return Ok(false) };
        self.add(subject, referrer(&descriptor, &facts, true));
        Ok(true)
    }

    /// Adds what stands under tags that are named after a digest: an index of referrers, or (with an ending, as cosign names
    /// them) a referrer.
    fn add_fallback<M>(
        &mut self,
        manifests: &FactsReader<'_, M>,
        fallback: &[(&str, &Entry)],
        refs: &[Ref],
    ) -> Result<(), M::Error>
    where
        M: Manifests<Node = Descriptor>,
    {
        for (tag, entry) in fallback {
            let Some(subject) = subject_of(tag, refs) else { continue };
            let is_it = |(former, referrer): &(Digest, Referrer)| *former == subject && !referrer.declared;
            if let Some((subject, referrer)) = self.former(&entry.digest, is_it) {
                self.add(&subject, referrer);
                continue;
            }
            let Ok(descriptor) = entry.descriptor() else { continue };
            let Some(facts) = manifests.brief(&descriptor)? else { continue };
            let Facts::Index(index) = &*facts else {
                self.add(&subject, referrer(&descriptor, &facts, false));
                continue;
            };
            for listed in &index.manifests {
                self.add_listed(manifests, &subject, listed)?;
            }
        }
        Ok(())
    }

    fn add_listed<M>(
        &mut self,
        manifests: &FactsReader<'_, M>,
        subject: &Digest,
        listed: &ListedManifest,
    ) -> Result<(), M::Error>
    where
        M: Manifests<Node = Descriptor>,
    {
        let child = Descriptor::new(&listed.media_type, listed.digest.clone(), listed.size);
        let mut found = match manifests.brief(&child)? {
            Some(facts) => referrer(&child, &facts, facts.subject() == Some(subject)),
            None => {
                let (digest, size) = (child.digest, child.size);
                Referrer { artifact_type: listed.media_type.clone(), digest, size, declared: false }
            }
        };
        if let Some(artifact_type) = listed.artifact_type.as_ref().filter(|_| !found.declared) {
            found.artifact_type = artifact_type.clone();
        }
        self.add(subject, found);
        Ok(())
    }

    fn add_refs(&mut self, refs: &[Ref]) {
        for one in refs {
            if let (Some(subject), [entry]) = (&one.subject, one.entries.as_slice()) {
                let artifact_type = one.artifact_type.clone().unwrap_or_else(|| media_type::MANIFEST.into());
                let (digest, size) = (entry.digest.clone(), one.size.unwrap_or_default());
                self.add(subject, Referrer { artifact_type, digest, size, declared: true });
            }
        }
    }

    /// Each referrer once: what it says itself counts more than what a tag says.
    fn sorted(self) -> BTreeMap<Digest, Vec<Referrer>> {
        let once = |referrers: BTreeSet<Referrer>| {
            let declared: BTreeSet<Digest> =
                referrers.iter().filter(|referrer| referrer.declared).map(|referrer| referrer.digest.clone()).collect();
            let mut seen = BTreeSet::new();
            let counts = |referrer: &Referrer| referrer.declared || !declared.contains(&referrer.digest);
            referrers.into_iter().filter(counts).filter(|referrer| seen.insert(referrer.digest.clone())).collect()
        };
        self.by_subject.into_iter().map(|(subject, referrers)| (subject, once(referrers))).collect()
    }
}

fn referrer(descriptor: &Descriptor, facts: &Facts, declared: bool) -> Referrer {
    let (artifact_type, size) = match facts {
        Facts::Artifact(artifact) => (artifact.artifact_type.clone(), artifact.size),
        // cosign's signatures have an image's config, and say in their layer what they are.
        Facts::Image(image) => {
            let first = image.layers.first().map(|layer| layer.media_type.clone());
            (first.unwrap_or_else(|| descriptor.media_type.clone()), image.size)
        }
        Facts::Index(_) => (descriptor.media_type.clone(), descriptor.size),
    };
    Referrer { artifact_type, digest: descriptor.digest.clone(), size, declared }
}

/// The manifest that a fallback tag is named after. Long digests are cut in it, and found among those there are.
fn subject_of(tag: &str, refs: &[Ref]) -> Option<Digest> {
    let stem = tag.split('.').next()?;
    let whole = stem.split_once('-').map(|(algorithm, encoded)| Digest::parse(&format!("{algorithm}:{encoded}")));
    if let Some(Ok(digest)) = whole {
        return Some(digest);
    }
    let entries = refs.iter().flat_map(|one| one.entries.iter().map(|entry| &entry.digest));
    let images = refs.iter().flat_map(|one| one.images.iter().map(|image| &image.digest));
    entries.chain(images).find(|digest| fallback_tag(digest) == stem).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_discovery::digest::Algorithm;
    use oci_discovery::oci::Verified;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Manifests and configs by digest.
    type Blobs = BTreeMap<Digest, Vec<u8>>;

    fn put(blobs: &mut Blobs, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest.as_str(), "size": bytes.len()});
        blobs.insert(digest, bytes);
        descriptor
    }

    fn entry(blobs: &mut Blobs, reference: Option<&str>, manifest: Value) -> Entry {
        let mut descriptor = put(blobs, media_type::MANIFEST, json::canonical(&manifest));
        if let Some(reference) = reference {
            descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": reference});
        }
        Entry::new(&Descriptor::from_value(descriptor).unwrap())
    }

    /// An image, and a signature of it without a ref.
    fn image(blobs: &mut Blobs, reference: &str, content: u8) -> [Entry; 2] {
        let created = format!("2024-01-{:02}T00:00:00Z", content % 3 + 1);
        let config = json!({"os": "linux", "architecture": "amd64", "created": created, "config": {"User": content.to_string()}});
        let config = put(blobs, media_type::CONFIG, json::canonical(&config));
        let layer = put(blobs, "application/x-layer", vec![content % 4]);
        let image = entry(blobs, Some(reference), json!({"config": config, "layers": [layer]}));
        let subject = json!({"mediaType": media_type::MANIFEST, "digest": image.digest.as_str(), "size": 1});
        let signature =
            json!({"artifactType": "application/x-signature", "layers": [], "subject": subject, "n": content});
        [image, entry(blobs, None, signature)]
    }

    /// Reads from `blobs`, and counts.
    struct Counting<'a> {
        blobs: &'a Blobs,
        reads: AtomicUsize,
    }

    impl Manifests for Counting<'_> {
        type Node = Descriptor;
        type Error = Infallible;

        fn read(&self, descriptor: &Descriptor) -> Result<Option<Verified>, Infallible> {
            self.reads.fetch_add(1, Relaxed);
            Ok(self.blobs.get(&descriptor.digest).map(|bytes| Verified::read(&**bytes, descriptor).unwrap()))
        }
    }

    fn build_from(blobs: &Blobs, entries: &[Entry], old: Option<ImageDocument>) -> (ImageDocument, usize) {
        let name = ImageName::parse("example.com/app").unwrap();
        let manifests = Counting { blobs, reads: AtomicUsize::new(0) };
        let document = build(&name, Digest::of(Algorithm::Sha256, b"index"), entries, old, &manifests);
        (document.unwrap(), manifests.reads.into_inner())
    }

    #[test]
    fn what_is_known_is_not_read_again() {
        let mut blobs = Blobs::new();
        let mut entries: Vec<Entry> = (0..20).flat_map(|n| image(&mut blobs, &format!("1.{n}"), n)).collect();
        let (old, _) = build_from(&blobs, &entries, None);
        assert_eq!(build_from(&blobs, &entries, Some(old.clone())), (old.clone(), 0));
        entries.extend(image(&mut blobs, "2.0", 99));
        let (new, reads) = build_from(&blobs, &entries, Some(old));
        assert_eq!(reads, 3, "a manifest, its config and its signature");
        assert_eq!(new.refs.len(), 21);
    }

    #[test]
    fn what_was_missing_is_looked_for_again() {
        let mut blobs = Blobs::new();
        let entries = image(&mut blobs, "1.0", 1);
        let (without, _) = build_from(&Blobs::new(), &entries[..1], None);
        assert!(without.refs[0].incomplete);
        let (with, _) = build_from(&blobs, &entries, Some(without));
        assert_eq!(with, build_from(&blobs, &entries, None).0);
        assert!(!with.refs[0].incomplete && with.refs[0].size.is_some());
    }

    #[test]
    fn the_newest_refs_are_told_in_full_and_all_are_summed_up() {
        let mut blobs = Blobs::new();
        let entries: Vec<Entry> = (0..250).flat_map(|n| image(&mut blobs, &format!("1.{n}"), n)).collect();
        let (document, _) = build_from(&blobs, &entries, None);
        assert_eq!((document.refs.len(), document.manifests.len()), (250, MAX_DETAILED_REFS));
        assert!(document.refs.iter().all(|one| one.size.is_some()));
    }

    /// Entries of `refs` refs; each ref has an index of its own, and all indexes list the same manifests.
    fn refs_that_share(blobs: &mut Blobs, refs: usize, shared: &[Value]) -> Vec<Entry> {
        let index = |n: usize| json!({"mediaType": media_type::INDEX, "manifests": shared, "n": n});
        (0..refs).map(|n| entry(blobs, Some(&format!("1.{n}")), index(n))).collect()
    }

    #[test]
    fn manifests_that_refs_share_are_read_once_to_sum_up_and_once_to_tell() {
        // Given more manifests than the facts that are kept at hand, and one that is malformed.
        let mut blobs = Blobs::new();
        let artifact = |n| json!({"artifactType": "application/x-artifact", "layers": [], "n": n}).to_string();
        let mut shared: Vec<Value> =
            (0..MAX_CACHED).map(|n| put(&mut blobs, media_type::MANIFEST, artifact(n).into_bytes())).collect();
        shared.insert(0, put(&mut blobs, media_type::MANIFEST, b"malformed".to_vec()));
        let entries = refs_that_share(&mut blobs, 3, &shared);
        // When the refs are summed up.
        let (document, reads) = build_from(&blobs, &entries, None);
        // Then each blob is read at most twice.
        assert!(reads <= 2 * blobs.len(), "{reads} reads of {} blobs", blobs.len());
        assert!(document.refs.iter().all(|one| one.incomplete && one.size.is_some()));
    }

    #[test]
    fn a_blob_that_is_no_manifest_is_not_read() {
        let mut blobs = Blobs::new();
        let blob = put(&mut blobs, "application/x-blob", b"blob".to_vec());
        let entries = refs_that_share(&mut blobs, 1, &[blob]);
        let (document, reads) = build_from(&blobs, &entries, None);
        assert_eq!(reads, 1, "the index");
        let [one] = &document.refs[..] else { panic!("{:?}", document.refs) };
        assert_eq!((one.artifact_type.as_deref(), one.size), (Some("application/x-blob"), Some(4)));
    }

    #[test]
    fn all_refs_together_list_so_much_and_no_more() {
        // Given two refs, and room for one: its index and its two images.
        let mut blobs = Blobs::new();
        let images = [1, 2].map(|n| image(&mut blobs, "", n)[0].descriptor().unwrap().to_value());
        let entries = refs_that_share(&mut blobs, 2, &images);
        let manifests = Counting { blobs: &blobs, reads: AtomicUsize::new(0) };
        let facts = FactsReader {
            room: AtomicU64::new(3 * LISTED_BYTES),
            ..FactsReader::new(BTreeMap::new(), &[], &manifests)
        };
        // When both are summed up, then the second one lacks what there is no room for, whether the first one was known or not.
        let first = facts.sum_up(Some("1.0"), &[&entries[0]], None).unwrap();
        let second = facts.sum_up(Some("1.1"), &[&entries[1]], None).unwrap();
        assert_eq!([&first, &second].map(|one| (one.images.len(), one.incomplete)), [(2, false), (0, true)]);
    }

    #[test]
    fn a_page_shows_the_newest_and_counts_all() {
        let mut blobs = Blobs::new();
        let mut entries: Vec<Entry> = image(&mut blobs, "1.0", 1).into();
        let [mut untagged, _] = image(&mut blobs, "x", 0);
        untagged.reference = None;
        let refs = |count: usize| (0..count).map(|number| Some(format!("0.{number}").into()));
        let tagged = entries[0].clone();
        entries.extend(refs(2000).map(|reference| Entry { reference, ..tagged.clone() }));
        entries.push(untagged);
        let (document, _) = build_from(&blobs, &entries, None);
        let shown = PageContent::parse(&document.to_bytes(b"")).unwrap();
        assert_eq!((shown.refs, shown.left_out), (2001, 2002 - MAX_SHOWN_REFS as u64));
        assert_eq!(shown.document.refs, document.refs[..MAX_SHOWN_REFS]);
        let newest = ImageDocument { refs: document.refs[..7].to_vec(), ..document };
        let shown = PageContent::parse(&newest.to_bytes(b"")).unwrap();
        assert_eq!(shown, PageContent { document: newest, refs: 7, left_out: 0 });
    }

    proptest! {
        #[test]
        fn a_document_depends_on_the_index_alone(
            before in prop::collection::btree_map("[a-c1-3.]{1,3}", 0u8..12, 0..6),
            after in prop::collection::btree_map("[a-c1-3.]{1,3}", 0u8..12, 0..6),
            turn in 0usize..12,
        ) {
            let mut blobs = Blobs::new();
            let mut entries = |refs: &BTreeMap<String, u8>| -> Vec<Entry> {
                refs.iter().flat_map(|(reference, content)| image(&mut blobs, reference, *content)).collect()
            };
            let (before, mut after) = (entries(&before), entries(&after));
            let (fresh, _) = build_from(&blobs, &after, None);
            let (old, _) = build_from(&blobs, &before, None);
            let turn = turn % after.len().max(1);
            after.rotate_left(turn);
            prop_assert_eq!(build_from(&blobs, &after, Some(old)).0.to_bytes(b""), fresh.to_bytes(b""));
            prop_assert_eq!(ImageDocument::parse(&fresh.to_bytes(b"")), Some(fresh));
        }
    }
}
