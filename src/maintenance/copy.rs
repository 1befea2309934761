//! A site to a site: a directory to a bucket, staging to production.
//!
//! Both may be in use. What keeps a reader safe is the same as in a publish: the documents of the source are read first, and
//! read again until every blob they lead to is in the listing that follows; the blobs are copied before the documents, and the
//! documents in the order in which a publish writes them. What goes from the destination (`Victims`) goes when nothing leads to it
//! any more.
//!
//! An image of the source replaces the destination's image of its name, with all its documents, so that the destination becomes what
//! a publish of its images makes. A copy that cannot do so is refused.
//!
//! Only what differs is moved. Blobs are compared by place and size, because their places carry their digests, and are
//! checked against them on the way; documents are compared whole.
//!
//! The catalogue tells of the whole site. Where the destination keeps images that the source does not have, neither site's
//! catalogue is right, and it is made again from the indexes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;

use super::reached::{Images, MediaTypes, Missing, Reached, Reaching, fallback_list, path_key};
use super::{MaintenanceError, Rank, rank};
use crate::catalogue::page::Pages;
use crate::catalogue::plan::{self as catalogue, Catalogue};
use crate::progress::Progress;
use crate::registry::view::tags;
use crate::site::collision::{self, RefCollisions};
use crate::site::description::Description;
use crate::site::index::{Index, by_ref};
use crate::site::path::DESCRIPTION;
use crate::site::registry::{self, Endpoint};
use crate::site::settings::Views;
use crate::site::{Kind, Phase, Settings, SiteMap, SitePath};
use crate::store::gc_mark::{GcActivity, Watch};
use crate::store::retry::Retries;
use crate::store::site::{self, MAX_DESCRIPTION_BYTES, Site, SiteError, SitePlace, each_object};
use crate::store::write_log::Count;
use crate::store::{
    self, BlobSource, Conflict, Content, Expected, Link, ListedObject, Store, StoreError, StoredDocument, unfinished,
};
use oci_discovery::digest::{Algorithm, Digest};
use oci_discovery::json::MAX_INDEX_BYTES;
use oci_discovery::name::ImageName;
use oci_discovery::parallel;
use oci_discovery::parallel::lock;
use oci_discovery::pool::Pool;
use oci_discovery::seen::{Key, Seen, key};

/// So long a tag of the source may be newer than the index of its image: a publish writes the tags first.
const LONGEST_DISAGREEMENT: Duration = Duration::from_secs(30);
/// The most bytes of a document of a site: an index, or the description.
const MAX_DOCUMENT_BYTES: u64 =
    if MAX_INDEX_BYTES > MAX_DESCRIPTION_BYTES { MAX_INDEX_BYTES } else { MAX_DESCRIPTION_BYTES };

/// What is asked of a copy.
#[derive(Clone, Copy, Debug)]
pub struct CopyOptions {
    /// Whether what the source does not have is removed from the destination.
    pub delete: bool,
    /// Whether objects to which documents lead may be missing in the source.
    pub allow_missing: bool,
    /// Whether nothing is changed.
    pub dry_run: bool,
    /// How many things are worked on at once.
    pub jobs: NonZeroUsize,
    /// How long to wait for other publishers.
    pub wait: Duration,
}

/// What a copy did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Copied {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Blobs that were copied.
    pub blobs: Count,
    /// Documents that were written.
    pub documents: Count,
    /// Objects that the destination had already.
    pub unchanged: Count,
    /// Objects that were removed.
    pub removed: Count,
    /// The paths of what was copied and written, in the order of writing.
    pub paths: Vec<String>,
    /// The paths of what was removed.
    pub removed_paths: Vec<String>,
    /// What is missing in the source, although its documents lead there.
    pub missing: Vec<String>,
}

/// Copies a site.
pub fn copy(
    source: &SitePlace,
    destination: &SitePlace,
    options: &CopyOptions,
    progress: &dyn Progress,
) -> Result<Copied, MaintenanceError> {
    // A source that cannot be copied is an error before the command waits for the lock.
    open_source(source)?;
    let to = store::open(&destination.root, &destination.options)?;
    let _lock = if options.dry_run { None } else { Some(to.lock(options.wait)?) };
    let there = site::description(&*to)?;
    let views_before = there.as_ref().map(|there| there.settings.views).unwrap_or_default();
    let (from, Survey { mut documents, listing, reached }) = survey(source, &*to, options)?;
    refuse_unlike(&from, &*to, there.as_ref(), !options.delete)?;
    if let Some(Description { mut images, .. }) = there.filter(|_| !options.delete) {
        images.retain(|image| from.images.binary_search(image).is_err());
        refuse_refs(&from, &images, &documents)?;
        omit_documents(&from, &images, &mut documents)?;
    }
    let missing = refuse_missing(&from, reached.missing, options.allow_missing)?;
    let copy = Copy { from: &from, to: &*to, options, media_types: reached.media_types };
    let mut victims = copy.victims(views_before, &documents, &listing, &reached.paths)?;
    let mut copied = Copied { dry_run: options.dry_run, missing, ..Copied::default() };
    let mut gcs = Watch::begin(std::iter::once(&*to))?;
    copied.unchanged = copy.copy_blobs(&listing, progress, &mut copied)?;
    if !options.dry_run {
        unfinished::begin(&*to, [])?;
    }
    copy.remove(&mut victims, When::BeforeIndexes, &mut copied)?;
    let before = |phase| documents.partition_point(|it| it.kind.phase() < phase);
    let (discovery, catalogue) = (before(Phase::Discovery), before(Phase::Catalogue));
    copy.write_documents(&documents[..discovery], &mut copied)?;
    copy.remove(&mut victims, When::BeforeDescription, &mut copied)?;
    copy.write_documents(&documents[discovery..catalogue], &mut copied)?;
    let catalogue = &documents[catalogue..];
    match copy.becomes_the_source()? {
        true => copy.write_documents(catalogue, &mut copied)?,
        false if options.dry_run => {}
        false => copy.remake_catalogue(destination, &mut copied)?,
    }
    if !options.dry_run {
        copy.send_what_a_gc_removed(&mut gcs, &listing, progress, &mut copied)?;
        unfinished::end(&*to)?;
    }
    copy.remove(&mut victims, When::Last, &mut copied)?;
    Ok(copied)
}

/// Opens the source of a copy, which has all of its objects.
fn open_source(source: &SitePlace) -> Result<Site, MaintenanceError> {
    let from = super::open(source)?;
    match from.map.settings().origins.first() {
        Some(origin) => Err(MaintenanceError::OtherOrigin { place: source.root.clone(), origin: origin.clone() }),
        None => Ok(from),
    }
}

/// Reads the source until its description stays as it is, and what its documents lead to is in the listing that follows: a publish,
/// or a removal and a gc, may come between.
fn survey(source: &SitePlace, to: &dyn Store, options: &CopyOptions) -> Result<(Site, Survey), MaintenanceError> {
    let mut retries = Retries::new(options.wait.min(LONGEST_DISAGREEMENT));
    let mut before = None;
    loop {
        let from = open_source(source)?;
        let survey = Copy { from: &from, to, options, media_types: MediaTypes::default() }.survey()?;
        let missing = survey.reached.missing.clone();
        let is_settled = missing.iter().all(|missing| missing.is_foreign) || before.as_ref() == Some(&missing);
        let is_same = from.refuse_changed_description();
        if is_settled && is_same.is_ok() || !retries.pause() {
            is_same?;
            return Ok((from, survey));
        }
        before = Some(missing);
    }
}

/// Gives the warnings about what is missing in the source and may be.
fn refuse_missing(from: &Site, missing: Vec<Missing>, is_allowed: bool) -> Result<Vec<String>, MaintenanceError> {
    if let Some(Missing { image, path, .. }) = missing.iter().find(|missing| !missing.is_foreign && !is_allowed) {
        let (place, image, path) = (from.own.name(), image.clone(), path.clone());
        return Err(MaintenanceError::Missing { place, path, image });
    }
    let warning = |Missing { image, path, .. }: &Missing| format!("{path}, to which {image} leads");
    Ok(missing.iter().map(warning).collect())
}

/// Refuses a destination that cannot have the source's images: its templates differ, so that all objects have other paths, or its
/// own images stay and cannot be in one site with those of the source.
fn refuse_unlike(
    from: &Site,
    to: &dyn Store,
    there: Option<&Description>,
    is_merged: bool,
) -> Result<(), MaintenanceError> {
    let Some(there) = there else { return Ok(()) };
    let (ours, theirs) = (from.map.settings(), &there.settings);
    for (what, theirs, ours) in [
        ("index template", &theirs.index_template, &ours.index_template),
        ("CAS template", &theirs.cas_template, &ours.cas_template),
    ] {
        if theirs != ours {
            let (from, to, theirs, ours) = (from.own.name(), to.name(), theirs.to_string(), ours.to_string());
            return Err(MaintenanceError::OtherTemplate { from, to, what, ours, theirs });
        }
    }
    if is_merged {
        let hosts: BTreeSet<String> = ours.hosts.iter().chain(&theirs.hosts).cloned().collect();
        let hosts: Vec<String> = hosts.into_iter().collect();
        collision::refuse_images(&from.map, &hosts, &there.images, &from.images.iter().collect::<Vec<_>>())?;
        refuse_other_view(from, to, there)?;
    }
    Ok(())
}

/// Refuses images of the source whose indexes of refs cannot be beside those of the images that the destination keeps.
fn refuse_refs(from: &Site, kept: &[ImageName], documents: &[Compared]) -> Result<(), MaintenanceError> {
    if !from.map.has_ref_indexes() {
        return Ok(());
    }
    let (collisions, images) = (RefCollisions::with(&from.map, kept), Images::of(from)?);
    for Compared { path, bytes, .. } in documents {
        if let (Some(image), Ok(index)) = (images.listed_at(path), Index::parse(bytes)) {
            collisions.refuse(image, &index)?;
        }
    }
    Ok(())
}

/// Omits documents of the images that the destination keeps. A publish to the source that was killed leaves documents of an image
/// that the source does not list.
fn omit_documents(from: &Site, kept: &[ImageName], documents: &mut Vec<Compared>) -> Result<(), MaintenanceError> {
    let index = |image| Ok(from.map.index_place(image)?.path);
    let indexes: HashSet<SitePath> = kept.iter().map(index).collect::<Result<_, MaintenanceError>>()?;
    let repositories: HashSet<&str> = kept.iter().map(ImageName::path).collect();
    documents.retain(|Compared { path, .. }| {
        let repository = Endpoint::parse(path.as_str()).and_then(|endpoint| endpoint.name());
        !indexes.contains(path) && repository.is_none_or(|name| !repositories.contains(name))
    });
    Ok(())
}

/// Refuses to turn the registry view on or off for images that stay: a copy makes no documents of the view, and those of a view that
/// is off are no objects of the site, so that a gc does not keep what they lead to.
fn refuse_other_view(from: &Site, to: &dyn Store, there: &Description) -> Result<(), MaintenanceError> {
    let is_here = from.map.settings().views.registry;
    let has_others = there.images.iter().any(|image| from.images.binary_search(image).is_err());
    let (with, without, turned) = match (is_here, there.settings.views.registry) {
        (true, false) if has_others => (from.own.name(), to.name(), "on"),
        (false, true) => (to.name(), from.own.name(), "off"),
        _ => return Ok(()),
    };
    Err(MaintenanceError::OtherView { with, without, turned, from: from.own.name(), to: to.name() })
}

/// When an object of the destination is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    /// Before the index of its image, from which it is known: the index of a ref.
    BeforeIndexes,
    /// After the lists and tags of the source, before the description turns off a view: while the view is on, a gc keeps what its
    /// documents lead to.
    BeforeDescription,
    /// When nothing of the source leads to it.
    Last,
}

/// The sizes of what goes from the destination, in the order of removal: what leads to something before what it leads to.
type Victims = BTreeMap<(When, Reverse<Rank>, SitePath), u64>;

struct Copy<'a> {
    from: &'a Site,
    to: &'a dyn Store,
    options: &'a CopyOptions,
    /// The media types of what the site has, where the destination has to know them.
    media_types: MediaTypes,
}

/// A document of the source, and what the destination has in its place.
struct Compared {
    path: SitePath,
    kind: Kind,
    /// A great many tags may be copies of one manifest, which is in memory once.
    bytes: Arc<[u8]>,
    found: Found,
}

/// What the destination has in place of a document. Its bytes are not kept.
struct Found {
    expected: Expected,
    is_same: bool,
}

/// The source, as it was read.
struct Survey {
    documents: Vec<Compared>,
    listing: Vec<Blob>,
    reached: Reached,
}

/// What indexes say of their refs, and so of the tags of the registry view.
#[derive(Debug, Default)]
struct Refs {
    /// The digests that a ref leads to, by repository and ref: images of several hosts may have one repository.
    digests: HashMap<Key, Vec<Digest>>,
    /// The indexes of a repository.
    indexes: HashMap<String, Vec<SitePath>>,
}

/// Tags that are not what the indexes say: they, and the indexes, are of different times, or a tag was overwritten.
struct Disagreement {
    /// The first of the tags, and the digest that is expected there.
    first: (SitePath, Digest),
    /// The tags, and the indexes of their images.
    paths: HashSet<SitePath>,
}

impl Refs {
    fn add(&mut self, repository: &str, path: &SitePath, index: &Index) {
        for (reference, tag) in tags(index.entries()) {
            self.digests.entry(key(&[repository, &reference])).or_default().push(tag.digest);
        }
        self.indexes.entry(repository.to_string()).or_default().push(path.clone());
    }

    /// The tags of refs that have other bytes than those that an index says. None: there are none.
    fn disagreement(&self, documents: &[Compared]) -> Option<Disagreement> {
        let mut found: Option<Disagreement> = None;
        for Compared { path, bytes, .. } in documents {
            let Some(Endpoint::Manifest { name, reference } | Endpoint::TypedManifest { name, reference, .. }) =
                Endpoint::parse(path.as_str())
            else {
                continue;
            };
            let expected = self.digests.get(&key(&[name, reference])).map_or(&[][..], Vec::as_slice);
            if expected.iter().any(|digest| Digest::of(digest.algorithm(), bytes) == *digest) {
                continue;
            }
            if let Some(first) = expected.first() {
                let first = (path.clone(), first.clone());
                let disagreement = found.get_or_insert(Disagreement { first, paths: HashSet::new() });
                disagreement.paths.insert(path.clone());
                disagreement.paths.extend(self.indexes.get(name).into_iter().flatten().cloned());
            }
        }
        found
    }
}

/// A blob of the source.
#[derive(Clone, Debug)]
struct Blob {
    path: SitePath,
    kind: Kind,
    digest: Digest,
    size: u64,
}

impl Copy<'_> {
    fn survey(&self) -> Result<Survey, MaintenanceError> {
        let documents = self.read_documents()?;
        let mut listing = self.list_blobs()?;
        let reached = self.reach(&documents, &listing)?;
        if self.to.keeps_media_types() {
            // What the documents do not reach nobody needs. It may belong to a publish that has not come to its indexes; copied
            // without its media type, it would be taken for there when that has.
            listing.retain_mut(|blob| match reached.media_types.at(&blob.path, &blob.digest) {
                Some(media_type) => {
                    blob.kind = blob.kind.clone().with_media_type(media_type);
                    true
                }
                None => false,
            });
        }
        Ok(Survey { documents, listing, reached })
    }

    /// All documents of the source, in the order of writing.
    fn read_documents(&self) -> Result<Vec<Compared>, MaintenanceError> {
        let mut paths = Vec::new();
        each_object(&*self.from.own, &self.from.map, None, &mut |kind, object| {
            if !kind.is_immutable() {
                paths.push((rank(&kind), object.path, kind));
            }
        })?;
        paths.sort();
        let mut documents = self.read(paths)?;
        let mut retries = Retries::new(self.options.wait.min(LONGEST_DISAGREEMENT));
        while let Some(disagreement) = self.refs(&documents)?.disagreement(&documents) {
            if !retries.pause() {
                let ((path, expected), place) = (disagreement.first, self.from.own.name());
                return Err(MaintenanceError::OtherTag { place, path, expected });
            }
            let (again, rest): (Vec<_>, Vec<_>) =
                documents.into_iter().partition(|document| disagreement.paths.contains(&document.path));
            documents = rest;
            documents.extend(self.read(again.into_iter().map(|it| (rank(&it.kind), it.path, it.kind)).collect())?);
            documents.sort_by(|a, b| (rank(&a.kind), &a.path).cmp(&(rank(&b.kind), &b.path)));
        }
        Ok(documents)
    }

    fn read(&self, paths: Vec<(Rank, SitePath, Kind)>) -> Result<Vec<Compared>, MaintenanceError> {
        let shared = Mutex::new(Pool::default());
        let read = |(_, path, kind): (_, SitePath, Kind)| -> Result<Option<Compared>, MaintenanceError> {
            // Removed since it was listed: no longer a part of the site.
            let document = match kind {
                // As the source was opened, so that the indexes are those of its images.
                Kind::Description => self.from.description.clone(),
                _ => self.from.own.read_document(&path, MAX_DOCUMENT_BYTES)?,
            };
            let Some(document) = document else { return Ok(None) };
            if matches!(kind, Kind::RegistryTag(_)) {
                self.refuse_damaged_tag(&path, &document.bytes)?;
            }
            let bytes = lock(&shared).share(document.bytes);
            let found = self.compare(&path, &bytes)?;
            Ok(Some(Compared { path, kind, bytes, found }))
        };
        let documents = parallel::map(paths, self.options.jobs, read)?;
        Ok(documents.into_iter().flatten().collect())
    }

    /// What the destination has at a path, compared with what it should have.
    fn compare(&self, path: &SitePath, bytes: &[u8]) -> Result<Found, MaintenanceError> {
        let found = self.to.read_document(path, MAX_DOCUMENT_BYTES)?;
        let is_same = found.as_ref().is_some_and(|found| found.bytes == bytes);
        Ok(Found { expected: found.map_or(Expected::Absent, |found| Expected::Version(found.version)), is_same })
    }

    /// What the indexes say of refs, where the site has tags for them. A document that is no index says nothing.
    fn refs(&self, documents: &[Compared]) -> Result<Refs, MaintenanceError> {
        let mut refs = Refs::default();
        if !self.from.map.settings().views.registry {
            return Ok(refs);
        }
        let images = Images::of(self.from)?;
        for Compared { path, bytes, .. } in documents.iter().filter(|document| document.kind == Kind::Index) {
            let Ok(index) = Index::parse(bytes) else { continue };
            images.of_index(path, &index)?.iter().for_each(|image| refs.add(image.path(), path, &index));
        }
        Ok(refs)
    }

    /// A tag is a copy of a manifest of its repository, which is there under its digest, or of a list of referrers, which has no
    /// digest to be compared with. Which manifest it is [`Refs`] says.
    fn refuse_damaged_tag(&self, path: &SitePath, bytes: &[u8]) -> Result<(), MaintenanceError> {
        let Some(Endpoint::Manifest { name, reference } | Endpoint::TypedManifest { name, reference, .. }) =
            Endpoint::parse(path.as_str())
        else {
            return Ok(());
        };
        if fallback_list(reference, bytes).is_some() {
            return Ok(());
        }
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, bytes);
            for original in [registry::manifest_path(name, digest.as_str())?, registry::blob_path(name, &digest)?] {
                if self.from.own.stat(&original)?.is_some() {
                    return Ok(());
                }
            }
        }
        let (place, path, repository) = (self.from.own.name(), path.clone(), name.to_string());
        Err(MaintenanceError::DamagedTag { place, path, repository })
    }

    /// All blobs of the source, listed after its documents were read; the CAS first, from which others can be linked.
    fn list_blobs(&self) -> Result<Vec<Blob>, MaintenanceError> {
        let mut blobs = Vec::new();
        let map = &self.from.map;
        each_object(&*self.from.own, map, None, &mut |kind, object| {
            if kind.is_immutable()
                && let Some(digest) = map.digest_at(&object.path).or_else(|| digest_of(&object.path))
            {
                blobs.push(Blob { path: object.path, kind, digest, size: object.stat.size });
            }
        })?;
        blobs.sort_by_key(|blob| (map.digest_at(&blob.path).is_none(), blob.path.clone()));
        Ok(blobs)
    }

    /// What the documents lead to, compared with what they and the listing have.
    fn reach(&self, documents: &[Compared], listing: &[Blob]) -> Result<Reached, MaintenanceError> {
        let (had, jobs) = (Seen::new(), self.options.jobs);
        let paths = documents.iter().map(|document| &document.path).chain(listing.iter().map(|blob| &blob.path));
        for path in paths {
            had.insert(path_key(path));
        }
        let reaching = Reaching::new(self.from, had, self.to.keeps_media_types())?;
        let of = |kind| documents.iter().enumerate().filter(move |(_, it)| it.kind == kind).collect::<Vec<_>>();
        parallel::map(of(Kind::Index), jobs, |(position, index)| reaching.index(position, &index.path, &index.bytes))?;
        let all = documents.iter().enumerate();
        let tags: Vec<_> = all.filter(|(_, document)| matches!(document.kind, Kind::RegistryTag(_))).collect();
        parallel::map(tags, jobs, |(position, tag)| reaching.tag(position, &tag.path, &tag.bytes))?;
        parallel::map(of(Kind::Referrers), jobs, |(position, list)| {
            reaching.referrers(position, &list.path, &list.bytes)
        })?;
        parallel::map(of(Kind::TagsList), jobs, |(_, list)| reaching.tags_list(&list.path, &list.bytes))?;
        Ok(reaching.finish())
    }

    /// Copies the blobs that are not there. Gives the count of those that are.
    fn copy_blobs(
        &self,
        listing: &[Blob],
        progress: &dyn Progress,
        copied: &mut Copied,
    ) -> Result<Count, MaintenanceError> {
        let paths: Vec<SitePath> = listing.iter().map(|blob| blob.path.clone()).collect();
        let there = self.to.stats(&paths, self.options.jobs)?;
        let (mut unchanged, mut missing) = (Count::default(), Vec::new());
        for (blob, there) in listing.iter().zip(there) {
            match there.is_some_and(|there| there.size == blob.size) {
                true => unchanged.add(blob.size),
                false => {
                    if there.is_some() && !self.options.dry_run {
                        self.to.changes().add(&blob.path);
                    }
                    missing.push(blob);
                }
            }
        }
        let (cas, others): (Vec<&Blob>, Vec<&Blob>) =
            missing.into_iter().partition(|blob| self.from.map.digest_at(&blob.path).is_some());
        let originals: HashMap<&Digest, &SitePath> = listing
            .iter()
            .filter(|blob| self.from.map.digest_at(&blob.path).is_some())
            .map(|blob| (&blob.digest, &blob.path))
            .collect();
        for blob in cas.iter().chain(&others) {
            copied.blobs.add(blob.size);
            copied.paths.push(blob.path.to_string());
        }
        if self.options.dry_run {
            return Ok(unchanged);
        }
        progress.start("blobs", cas.iter().map(|blob| blob.size).sum());
        let write = |blob: &&Blob| -> Result<(), StoreError> {
            let source = StoredBlob { store: &*self.from.own, blob, progress };
            self.to.write_blob(&blob.path, &blob.kind, &source).map(drop)
        };
        let written = parallel::map(&cas, self.options.jobs, write);
        progress.finish();
        written?;
        parallel::map(&others, self.options.jobs, |blob| match originals.get(&blob.digest) {
            Some(original) => {
                let link = Link { kind: &blob.kind, digest: &blob.digest, size: blob.size };
                self.to.link_blob(original, &blob.path, &link).map(drop)
            }
            None => write(blob),
        })?;
        self.to.flush()?;
        Ok(unchanged)
    }

    /// Looks again for blobs that were there before, if a gc has run since: it may have removed them when no document led to
    /// them yet.
    fn send_what_a_gc_removed(
        &self,
        gcs: &mut Watch,
        listing: &[Blob],
        progress: &dyn Progress,
        copied: &mut Copied,
    ) -> Result<(), MaintenanceError> {
        loop {
            let activity = gcs.settle(|| std::iter::once(self.to), self.options.wait)?;
            if activity == GcActivity::Nothing {
                return Ok(());
            }
            self.copy_blobs(listing, progress, copied)?;
            if activity == GcActivity::Running {
                return Err(MaintenanceError::GcRunning { place: self.to.name() });
            }
        }
    }

    fn write_documents(&self, documents: &[Compared], copied: &mut Copied) -> Result<(), MaintenanceError> {
        for phase in documents.chunk_by(|a, b| rank(&a.kind) == rank(&b.kind)) {
            let written = parallel::map(phase, self.options.jobs, |document| self.write_document(document))?;
            for (document, written) in phase.iter().zip(written) {
                match written {
                    Some(size) => {
                        copied.documents.add(size);
                        copied.paths.push(document.path.to_string());
                    }
                    None => copied.unchanged.add(document.bytes.len() as u64),
                }
            }
            if !self.options.dry_run {
                self.to.flush()?;
            }
        }
        Ok(())
    }

    /// A tag is a copy of a manifest, whose media type is known by its digest.
    fn kind_of(&self, document: &Compared) -> Kind {
        if !matches!(document.kind, Kind::RegistryTag(None)) {
            return document.kind.clone();
        }
        let digests = Algorithm::ALL.iter().map(|algorithm| Digest::of(*algorithm, &document.bytes));
        let media_type = digests.into_iter().find_map(|digest| self.media_types.at(&document.path, &digest));
        media_type.map_or(document.kind.clone(), |media_type| document.kind.clone().with_media_type(media_type))
    }

    /// Writes a document if it differs, again if another publisher came first. Gives its size if it was written.
    fn write_document(&self, document: &Compared) -> Result<Option<u64>, MaintenanceError> {
        let Compared { path, bytes, found, .. } = document;
        if document.kind == Kind::Description && !self.options.delete {
            return self.write_description(path);
        }
        let (mut expected, mut is_same) = (found.expected.clone(), found.is_same);
        let (mut retries, kind) = (Retries::new(self.options.wait), self.kind_of(document));
        loop {
            if self.options.dry_run {
                return Ok((!is_same).then_some(bytes.len() as u64));
            }
            if is_same {
                self.to.keep_document(path, &kind)?;
                return Ok(None);
            }
            match self.to.write_document(path, &kind, bytes, &expected) {
                Ok(()) => return Ok(Some(bytes.len() as u64)),
                Err(StoreError::Conflict(_)) if retries.pause() => {
                    Found { expected, is_same } = self.compare(path, bytes)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The same of the description, into which the destination's own is merged.
    fn write_description(&self, path: &SitePath) -> Result<Option<u64>, MaintenanceError> {
        let mut retries = Retries::new(self.options.wait);
        loop {
            let there = self.to.read_document(path, MAX_DESCRIPTION_BYTES)?;
            let bytes = self.merged_description(there.as_ref())?;
            if there.as_ref().is_some_and(|there| there.bytes == bytes) {
                return Ok(None);
            }
            let size = Some(bytes.len() as u64);
            if self.options.dry_run {
                return Ok(size);
            }
            let expected = there.map_or(Expected::Absent, |there| Expected::Version(there.version));
            match self.to.write_document(path, &Kind::Description, &bytes, &expected) {
                Ok(()) => return Ok(size),
                Err(StoreError::Conflict(_)) if retries.pause() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The destination keeps the images and the catalogue that it has, so it goes on saying so.
    fn merged_description(&self, there: Option<&StoredDocument>) -> Result<Vec<u8>, MaintenanceError> {
        let mut description =
            Description { settings: self.from.map.settings().clone(), images: self.from.images.clone() };
        if let Some(there) = there {
            let wrong = |problem| SiteError::Description { site: self.to.name(), problem };
            let theirs = Description::parse(&there.bytes).map_err(wrong)?;
            description.settings.views.catalogue |= theirs.settings.views.catalogue;
            description.settings.hosts.extend(theirs.settings.hosts);
            description.settings.hosts.sort();
            description.settings.hosts.dedup();
            description.images.extend(theirs.images);
            description.images.sort();
            description.images.dedup();
        }
        Ok(description.to_bytes())
    }

    /// Whether the destination is going to have the images and the hosts of the source, and no others.
    fn becomes_the_source(&self) -> Result<bool, MaintenanceError> {
        if self.options.delete {
            return Ok(true);
        }
        let there = self.to.read_document(&SitePath::new(DESCRIPTION)?, MAX_DESCRIPTION_BYTES)?;
        Ok(self.merged_description(there.as_ref())? == self.merged_description(None)?)
    }

    /// Makes the catalogue again from the indexes that the destination has now.
    fn remake_catalogue(&self, destination: &SitePlace, copied: &mut Copied) -> Result<(), MaintenanceError> {
        let mut retries = Retries::new(self.options.wait);
        let pages = Pages::load(destination.template_dir.as_deref())?;
        let documents = loop {
            // Opened again each time: another publisher may have written before.
            let site = super::open(destination)?;
            match catalogue::remake(Catalogue { site: &site, pages: &pages }, self.options.jobs) {
                Err(error) if Conflict::of(&error).is_some() && retries.pause() => {}
                result => break result?,
            }
        };
        for (place, (is_written, size)) in documents {
            match is_written {
                true => {
                    copied.documents.add(size);
                    copied.paths.push(place.path.to_string());
                }
                false => copied.unchanged.add(size),
            }
        }
        Ok(self.to.flush()?)
    }

    /// What goes from the destination, which had these views. With `--delete`, all that the source does not have and its documents
    /// do not lead to. Otherwise, the documents of images that are replaced; their blobs are left to the gc.
    fn victims(
        &self,
        views_before: Views,
        documents: &[Compared],
        listing: &[Blob],
        reached: &Seen,
    ) -> Result<Victims, MaintenanceError> {
        let kept: HashSet<&SitePath> =
            documents.iter().map(|document| &document.path).chain(listing.iter().map(|blob| &blob.path)).collect();
        let goes = |path: &SitePath| !kept.contains(path) && !reached.contains(path_key(path));
        let mut victims = Victims::new();
        if !self.options.delete {
            for (path, size) in self.ref_indexes_before()?.into_iter().filter(|(path, _)| goes(path)) {
                victims.insert((When::BeforeIndexes, Reverse(rank(&Kind::Index)), path), size);
            }
        }
        if !self.options.delete && !views_before.registry {
            return Ok(victims);
        }
        let (here, images) = (&self.from.map, &self.from.images);
        let map =
            SiteMap::new(Settings { views: here.settings().views.union(views_before), ..here.settings().clone() })?;
        let replaced: HashSet<&str> = images.iter().map(ImageName::path).collect();
        let is_replaced = |kind: &Kind, path: &SitePath| {
            let repository = Endpoint::parse(path.as_str()).and_then(|endpoint| endpoint.name());
            !kind.is_immutable() && repository.is_some_and(|name| replaced.contains(name))
        };
        each_object(self.to, &map, None, &mut |kind, ListedObject { path, stat }| {
            if !goes(&path) || !(self.options.delete || is_replaced(&kind, &path)) {
                return;
            }
            let is_of_lost_view = here.kind_of(&path).as_ref() != Some(&kind);
            let when = if is_of_lost_view || !self.options.delete { When::BeforeDescription } else { When::Last };
            victims.insert((when, Reverse(rank(&kind)), path), stat.size);
        })?;
        Ok(victims)
    }

    /// The indexes of refs that the destination has of images of the source, with their sizes.
    fn ref_indexes_before(&self) -> Result<Vec<(SitePath, u64)>, MaintenanceError> {
        let map = &self.from.map;
        if !map.has_ref_indexes() {
            return Ok(vec![]);
        }
        let read = |image: &ImageName| -> Result<Vec<SitePath>, MaintenanceError> {
            let Some(found) = self.to.read_document(&map.index_place(image)?.path, MAX_INDEX_BYTES)? else {
                return Ok(vec![]);
            };
            // A document that is no index has no refs, and a name without a place has no index.
            let index = Index::parse(&found.bytes).unwrap_or_default();
            let names =
                by_ref(index.entries()).into_keys().filter_map(|reference| map.ref_index_name(image, reference));
            Ok(names.filter_map(|name| Some(map.index_place(&name).ok()?.path)).collect())
        };
        let paths = parallel::map(&self.from.images, self.options.jobs, read)?;
        let paths: Vec<SitePath> = paths.into_iter().flatten().collect();
        let found = self.to.stats(&paths, self.options.jobs)?;
        Ok(paths.into_iter().zip(found).filter_map(|(path, found)| Some((path, found?.size))).collect())
    }

    /// Removes what goes at this time.
    fn remove(&self, victims: &mut Victims, when: When, copied: &mut Copied) -> Result<(), MaintenanceError> {
        let now: Vec<((When, Reverse<Rank>, SitePath), u64)> =
            victims.extract_if(.., |(other, ..), _| *other == when).collect();
        for ((.., path), size) in &now {
            copied.removed.add(*size);
            copied.removed_paths.push(path.to_string());
        }
        if self.options.dry_run || now.is_empty() {
            return Ok(());
        }
        for phase in now.chunk_by(|((_, a, _), _), ((_, b, _), _)| a == b) {
            parallel::map(phase, self.options.jobs, |((.., path), _)| self.to.delete(path))?;
        }
        Ok(self.to.flush()?)
    }
}

/// The digest in a path of the registry view.
fn digest_of(path: &SitePath) -> Option<Digest> {
    match Endpoint::parse(path.as_str())? {
        Endpoint::Blob { digest, .. } => Some(digest),
        Endpoint::Manifest { reference, .. } | Endpoint::TypedManifest { reference, .. } => {
            Digest::parse(reference).ok()
        }
        _ => None,
    }
}

struct StoredBlob<'a> {
    store: &'a dyn Store,
    blob: &'a Blob,
    progress: &'a dyn Progress,
}

impl BlobSource for StoredBlob<'_> {
    fn digest(&self) -> &Digest {
        &self.blob.digest
    }

    fn size(&self) -> u64 {
        self.blob.size
    }

    fn open(&self) -> Result<Content, StoreError> {
        Content::of(self.store, &self.blob.path)
    }

    fn advanced(&self, bytes: u64) {
        self.progress.advance(bytes);
    }
}
