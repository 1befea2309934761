//! Freeing what no index reaches.
//!
//! What is safe follows from the order. First everything is listed; only what is there by then and is older than the grace
//! can go, so that blobs that a publish is just writing, whose index does not exist yet, stay. Then the indexes are read, and
//! all that they reach is marked. Only then is removed what was listed and not marked, what leads to something before what
//! it leads to. So a gc that is killed leaves a site in which nothing that is reached is missing.
//!
//! On a directory, the lock keeps publishes and gcs apart as well. On a bucket publishers see that a gc has run, and send
//! again what they had found and what it removed ([`crate::store::gc_mark`]).
//!
//! Every index is a root, whether the description lists it or not: a publish that was killed before its last phase has
//! written indexes that a reader who knows their names finds. Where something cannot be read, nobody knows what it needs,
//! and nothing is removed at all.
//!
//! The store of another origin may have blobs of several sites. Nothing in the store tells which sites these are, so a gc removes
//! blobs from it only if the user gives all of them ([`GcOptions::all_sites`]). All are listed before the first index of any is
//! read, and a blob stays if one of them needs it.
//!
//! In the registry view, a publish that was killed leaves documents that no index leads to: a directory gets its tags before its
//! index. A reader finds such a document, so each one that this gc does not remove is a root like an index, whatever the reason for
//! keeping it: an index or another such document leads to it, or it is too young to go.

use std::collections::{BTreeSet, HashSet};
use std::iter::zip;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::{MaintenanceError, Rank, owner, rank};
use crate::site::description::Description;
use crate::site::index::Index;
use crate::site::registry::{self, Endpoint};
use crate::site::{Kind, Place, SitePath};
use crate::store::gc_mark::LONGEST_GC;
use crate::store::site::{self, Site, SitePlace, each_object, lock_all};
use crate::store::site_image::{SiteImage, SiteImageError};
use crate::store::write_log::Count;
use crate::store::{ListedObject, Store, StoreError};
use oci_discovery::digest::{Algorithm, Digest};
use oci_discovery::json::MAX_INDEX_BYTES;
use oci_discovery::name::ImageName;
use oci_discovery::oci::index::IndexText;
use oci_discovery::oci::referrers::{fallback_tag, subject_of_list};
use oci_discovery::oci::walk::{self, Graph, Limit, Next, TooLarge, walk};
use oci_discovery::oci::{Descriptor, Verified, manifest};
use oci_discovery::parallel;
use oci_discovery::parallel::lock;
use oci_discovery::seen::{Key, Seen, key};

/// What is asked of a gc.
#[derive(Clone, Debug)]
pub struct GcOptions {
    /// How old something must be to go.
    pub grace: Duration,
    /// Whether nothing is removed.
    pub dry_run: bool,
    /// Whether the given sites are all that have blobs in their stores of other origins. Otherwise the blobs there stay.
    pub all_sites: bool,
    /// How many things are worked on at once.
    pub jobs: NonZeroUsize,
    /// How long to wait for a publisher.
    pub wait: Duration,
}

/// What a gc did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Freed {
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// Blobs of the CAS that went.
    pub blobs: Count,
    /// What went from the registry view: names under which a blob had been served, too, and lists.
    pub registry: u64,
    /// Blobs of the CAS that nothing needs and that are too young to go.
    pub young: Count,
    /// Blobs in stores of other origins that none of the given sites needs, and that stay because another site may need them.
    pub elsewhere: Count,
    /// Unfinished uploads that were given up; None: the store cannot tell which there are.
    pub uploads: Option<u64>,
    /// What went.
    pub objects: Vec<FreedObject>,
}

/// An object that a gc removed, or would.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FreedObject {
    /// Its path.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
}

/// Removes what no index of these sites reaches and is older than the grace.
pub fn gc(places: &[SitePlace], options: &GcOptions) -> Result<Freed, MaintenanceError> {
    let open = || places.iter().map(super::open).collect::<Result<Vec<Site>, _>>();
    let mut locks = Vec::new();
    if !options.dry_run {
        lock_all(&open()?, options.wait, &mut locks)?;
    }
    // Opened after the locks are ours: another publisher may have written before.
    let sites = open()?;
    let stores = distinct_stores(&sites);
    let run = Run::new(options);
    let gcs: Vec<Gc<'_>> = sites.iter().map(|site| Gc::new(site, &run)).collect();
    if options.dry_run {
        return collect(&gcs, &run, &stores);
    }
    let begun = stores.iter().try_for_each(|(_, store)| store.begin_gc()).map_err(Into::into);
    let freed = begun.and_then(|()| collect(&gcs, &run, &stores));
    // Whether it went well or not, it has ended. Where that cannot be said, the mark is believed for an hour at most.
    stores.iter().for_each(|(_, store)| drop(store.end_gc()));
    freed
}

/// The stores of the sites, each once, with whether it is a site's own root.
fn distinct_stores(sites: &[Site]) -> Vec<(bool, &dyn Store)> {
    let mut known = HashSet::new();
    let own = sites.iter().map(|site| (true, &*site.own));
    let others = sites.iter().flat_map(|site| site.others.iter().map(|store| (false, &**store)));
    own.chain(others).filter(|(_, store)| known.insert(store.identity())).collect()
}

fn collect(gcs: &[Gc<'_>], run: &Run<'_>, stores: &[(bool, &dyn Store)]) -> Result<Freed, MaintenanceError> {
    let listings = gcs.iter().map(Gc::list).collect::<Result<Vec<_>, _>>()?;
    let marks = zip(gcs, &listings).map(|(gc, listing)| gc.mark(listing)).collect::<Result<Vec<_>, _>>()?;
    let (mut victims, mut freed) = (Vec::new(), Freed { dry_run: run.options.dry_run, ..Freed::default() });
    for (gc, marks) in zip(gcs, &marks) {
        gc.choose(marks, &mut victims, &mut freed)?;
    }
    freed.objects.sort();
    if !run.options.dry_run {
        remove(victims, run)?;
    }
    freed.uploads = abort_uploads(run, stores)?;
    Ok(freed)
}

/// What a gc of several sites has in common.
struct Run<'a> {
    options: &'a GcOptions,
    now: SystemTime,
    begun: Instant,
    /// What is old enough to go, by store and path.
    old: Seen,
    /// The blobs in a CAS that a site needs, by store and path.
    blobs: Seen,
    /// What was found to be unneeded, by store and path: two sites may list one store.
    unneeded: Seen,
}

impl Run<'_> {
    fn new(options: &GcOptions) -> Run<'_> {
        let (old, blobs, unneeded) = (Seen::new(), Seen::new(), Seen::new());
        Run { options, now: SystemTime::now(), begun: Instant::now(), old, blobs, unneeded }
    }
}

/// The gc of one site.
struct Gc<'a> {
    site: &'a Site,
    run: &'a Run<'a>,
    options: &'a GcOptions,
    /// Of the site's own store, and of the others in their order.
    identities: Vec<String>,
}

/// What was there when the gc began.
#[derive(Default)]
struct Listing {
    /// The indexes.
    indexes: Vec<Place>,
    /// The documents of the registry view that lead to others: tags, under all their names, and lists of tags and of referrers.
    view: Vec<Place>,
}

/// What is needed.
#[derive(Default)]
struct Marks {
    /// Visited nodes of graphs.
    visited: Seen,
    /// In the registry view: digests, by repository.
    digests: Seen,
    /// In the registry view: the digests that manifests refer to, by repository. The manifests of some may be gone.
    subjects: Seen,
    /// In the registry view: tags, by repository.
    tags: Seen,
    /// Repositories that have an index behind them.
    repositories: Mutex<BTreeSet<String>>,
}

/// What a gc walks over, from the indexes down.
enum Node {
    /// An index, and the listed image whose whole index it is. None: one of a ref, or of an image that is not listed.
    Index(Place, Option<ImageName>),
    /// A document of the registry view that stays.
    Document(SitePath),
    /// A blob that an image reaches.
    Blob(Arc<ImageName>, Descriptor),
}

/// The graphs of a site's images, which are marked as they are walked.
struct Marking<'a> {
    gc: &'a Gc<'a>,
    marks: &'a Marks,
}

impl Graph for Marking<'_> {
    type Node = Node;
    type Error = MaintenanceError;

    fn identity<'n>(&'n self, node: &'n Node) -> Option<(&'n Seen, Key)> {
        match node {
            Node::Index(..) | Node::Document(_) => None,
            Node::Blob(image, descriptor) => Some((&self.marks.visited, self.gc.node_key(image, descriptor))),
        }
    }

    fn bytes(&self, node: &Node) -> u64 {
        match node {
            Node::Index(..) | Node::Document(_) => 0,
            Node::Blob(_, descriptor) => walk::manifest_bytes(descriptor),
        }
    }

    fn visit(&self, node: Node, next: &mut Next<Node>) -> Result<(), MaintenanceError> {
        match node {
            Node::Index(place, listed) => self.gc.mark_index(&place, listed, self.marks, next),
            Node::Document(path) => self.gc.mark_document(&path, self.marks, next),
            Node::Blob(image, descriptor) => {
                self.gc.mark_blob(&image, &descriptor.digest, self.marks)?;
                if manifest::may_hold_descriptors(&descriptor.media_type) {
                    let links = SiteImage { site: self.gc.site, image: &image }.links(&descriptor)?.unwrap_or_default();
                    if let Some(subject) = &links.subject {
                        self.marks.subjects.insert(key(&[image.path(), subject.digest.as_str()]));
                    }
                    links.children.into_iter().for_each(|child| next.below(Node::Blob(image.clone(), child)));
                }
                Ok(())
            }
        }
    }

    fn refuse(&self, node: Node, limit: Limit, _next: &mut Next<Node>) -> Result<(), MaintenanceError> {
        match node {
            // A document is a root, which is beyond no limit.
            Node::Index(..) | Node::Document(_) => Ok(()),
            Node::Blob(_, Descriptor { digest, .. }) => Err(TooLarge { digest, limit }.into()),
        }
    }
}

/// Something that can go.
struct Victim<'a> {
    site: &'a Site,
    rank: Rank,
    place: Place,
}

impl<'a> Gc<'a> {
    fn new(site: &'a Site, run: &'a Run<'a>) -> Gc<'a> {
        Gc { site, run, options: run.options, identities: site.stores().map(Store::identity).collect() }
    }

    fn place_key(&self, Place { origin, path }: &Place) -> Key {
        let identity = self.identities.get(origin.map_or(0, |position| position + 1));
        key(&[identity.map_or("", String::as_str), path.as_str()])
    }

    /// Calls `visit` for each object of each root.
    fn each(&self, visit: &mut dyn FnMut(Place, Kind, ListedObject)) -> Result<(), StoreError> {
        let origins = std::iter::once(None).chain((0..self.site.others.len()).map(Some));
        for origin in origins {
            each_object(self.site.store(origin), &self.site.map, origin, &mut |kind, object| {
                visit(Place { origin, path: object.path.clone() }, kind, object);
            })?;
        }
        Ok(())
    }

    fn is_old(&self, object: &ListedObject) -> bool {
        // A time in the future is a clock that was set; such a thing is not old.
        self.run.now.duration_since(object.stat.modified).is_ok_and(|age| age >= self.options.grace)
    }

    fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        self.each(&mut |place, kind, object| {
            if self.is_old(&object) {
                self.run.old.insert(self.place_key(&place));
            }
            match kind {
                Kind::Index => listing.indexes.push(place),
                Kind::RegistryTag(_) | Kind::TagsList | Kind::Referrers => listing.view.push(place),
                _ => {}
            }
        })?;
        Ok(listing)
    }

    fn mark(&self, listing: &Listing) -> Result<Marks, MaintenanceError> {
        let marks = Marks::default();
        let listed: BTreeSet<Place> = listing.indexes.iter().cloned().collect();
        let mut roots: Vec<(Place, Option<ImageName>)> = Vec::new();
        for image in &self.site.images {
            roots.push((self.site.map.index_place(image)?, Some(image.clone())));
        }
        let own: HashSet<&Place> = roots.iter().map(|(place, _)| place).collect();
        let unlisted: Vec<_> = listed.into_iter().filter(|place| !own.contains(place)).collect();
        roots.extend(unlisted.into_iter().map(|place| (place, None)));
        let roots = roots.into_iter().map(|(place, image)| Node::Index(place, image));
        walk(&Marking { gc: self, marks: &marks }, roots, self.options.jobs)?;
        if self.site.map.settings().views.registry {
            self.mark_view(listing, &marks)?;
        }
        Ok(marks)
    }

    /// Marks what an index reaches. One that is no index at all reaches nothing.
    fn mark_index(
        &self,
        place: &Place,
        listed: Option<ImageName>,
        marks: &Marks,
        next: &mut Next<Node>,
    ) -> Result<(), MaintenanceError> {
        let document = self.site.store(place.origin).read_document(&place.path, MAX_INDEX_BYTES)?;
        let Some(document) = document else { return self.refuse_missing(place, listed) };
        let index = match Index::parse(&document.bytes) {
            Ok(index) => index,
            // A template may be so wide that any file stands where an index could; one that is no index reaches nothing.
            Err(source) => {
                let Some(image) = listed.or_else(|| owner::listed_image_at(self.site, place)) else { return Ok(()) };
                return Err(SiteImageError::Index { path: place.path.clone(), image, source }.into());
            }
        };
        let images = match listed {
            Some(image) => vec![image],
            None => owner::images_of_index(self.site, place, &index)?,
        };
        images.into_iter().try_for_each(|image| self.mark_entries(image, &index, marks, next))
    }

    fn mark_entries(
        &self,
        image: ImageName,
        index: &Index,
        marks: &Marks,
        next: &mut Next<Node>,
    ) -> Result<(), MaintenanceError> {
        let image = Arc::new(image);
        let published = SiteImage { site: self.site, image: &image };
        for entry in index.entries() {
            if let Some(reference) = &entry.reference {
                marks.tags.insert(key(&[image.path(), reference]));
            }
            if let Some(subject) = entry.fallback_list().and_then(|tag| subject_of_list(tag, [])) {
                marks.subjects.insert(key(&[image.path(), subject.as_str()]));
            }
            next.root(Node::Blob(image.clone(), published.descriptor(entry)?));
        }
        lock(&marks.repositories).insert(image.path().to_string());
        Ok(())
    }

    /// An index of a ref, or of an image that was removed meanwhile, may be gone. Without that of a listed image, all its blobs would
    /// seem to be unreachable.
    fn refuse_missing(&self, place: &Place, listed: Option<ImageName>) -> Result<(), MaintenanceError> {
        let Some(image) = listed else { return Ok(()) };
        let is_own = self.site.map.index_place(&image)? == *place;
        let lists = |there: Description| there.images.contains(&image);
        match is_own && site::description(&*self.site.own)?.is_some_and(lists) {
            true => Err(SiteImageError::NoIndex { path: place.path.clone(), image }.into()),
            false => Ok(()),
        }
    }

    /// What tells a blob from others. Where images share their blobs and nothing else tells them apart, each graph is walked once
    /// for all of them.
    fn node_key(&self, image: &ImageName, descriptor: &Descriptor) -> Key {
        let is_shared = self.site.map.cas_is_shared() && !self.site.map.settings().views.registry;
        let scope = if is_shared { String::new() } else { image.to_string() };
        // The same bytes may be described as a manifest here and as a layer there.
        let described = if manifest::may_hold_descriptors(&descriptor.media_type) { "manifest" } else { "leaf" };
        key(&[&scope, descriptor.digest.as_str(), described])
    }

    fn mark_blob(&self, image: &ImageName, digest: &Digest, marks: &Marks) -> Result<(), MaintenanceError> {
        self.run.blobs.insert(self.place_key(&self.site.map.blob_place(image, digest)?));
        if self.site.map.settings().views.registry {
            marks.digests.insert(key(&[image.path(), digest.as_str()]));
        }
        Ok(())
    }

    /// Marks what the documents of the registry view lead to that stay. One may lead to others, so this ends when no further one
    /// stays.
    fn mark_view(&self, listing: &Listing, marks: &Marks) -> Result<(), MaintenanceError> {
        let stays = |place: &&Place| {
            let is_needed = Endpoint::parse(place.path.as_str()).is_some_and(|document| marks.needs(&document));
            is_needed || !self.run.old.contains(self.place_key(place))
        };
        let (mut staying, mut left): (Vec<&Place>, Vec<&Place>) = listing.view.iter().partition(stays);
        // A list of tags is read only if a tag of its repository may go.
        let can_lose: HashSet<&str> = left.iter().filter_map(|place| tagged_repository(place)).collect();
        let is_idle = |place: &Place| listing_of_tags(place).is_some_and(|name| !can_lose.contains(name));
        staying.retain(|place| !is_idle(place));
        left.retain(|place| !is_idle(place));
        while !staying.is_empty() {
            // What a document leads to is walked before the next document is read.
            let roots = staying.into_iter().map(|place| Node::Document(place.path.clone()));
            walk(&Marking { gc: self, marks }, roots, self.options.jobs)?;
            (staying, left) = left.into_iter().partition(stays);
        }
        Ok(())
    }

    /// Marks what a document of the registry view leads to.
    fn mark_document(&self, path: &SitePath, marks: &Marks, next: &mut Next<Node>) -> Result<(), MaintenanceError> {
        let Some(endpoint) = Endpoint::parse(path.as_str()) else { return Ok(()) };
        let Some(name) = endpoint.name() else { return Ok(()) };
        let Some(document) = self.site.own.read_document(path, MAX_INDEX_BYTES)? else { return Ok(()) };
        let unknown = || MaintenanceError::UnknownImage { object: format!("the repository {}/{name}", registry::ROOT) };
        let image = Arc::new(owner::image_at(&self.site.map, name).ok_or_else(unknown)?);
        // Only what the walk needs: a list has up to 64 MiB, most of it annotations.
        let mut add = |Descriptor { media_type, digest, size, .. }: Descriptor| {
            let blob = Descriptor::new(&media_type, digest, size);
            if !marks.visited.contains(self.node_key(&image, &blob)) {
                next.root(Node::Blob(image.clone(), blob));
            }
        };
        match endpoint {
            Endpoint::TagsList { .. } | Endpoint::TagsAfter { .. } => {
                for tag in registry::listed_tags(&document.bytes) {
                    marks.tags.insert(key(&[name, &tag]));
                }
            }
            Endpoint::Referrers { digest, .. } => {
                marks.tags.insert(key(&[name, &fallback_tag(&digest)]));
                let wrong = |source| MaintenanceError::Referrers { path: path.clone(), source };
                for descriptor in IndexText::parse(&document.bytes).map_err(|error| wrong(error.into()))?.descriptors()
                {
                    add(descriptor.map_err(wrong)?);
                }
            }
            Endpoint::TypedManifest { media_type, .. } => {
                self.mark_tag(&image, media_type, &document.bytes, marks)?.into_iter().for_each(add);
            }
            _ => self.mark_tag(&image, "", &document.bytes, marks)?.into_iter().for_each(add),
        }
        Ok(())
    }

    /// Marks the manifest that a tag is a copy of, whose digest the tag does not tell. Gives what it leads to.
    fn mark_tag(
        &self,
        image: &ImageName,
        media_type: &str,
        bytes: &[u8],
        marks: &Marks,
    ) -> Result<Vec<Descriptor>, MaintenanceError> {
        let digests = Algorithm::ALL.map(|algorithm| Digest::of(algorithm, bytes));
        for digest in &digests {
            self.mark_blob(image, digest, marks)?;
        }
        let [digest, ..] = digests;
        let own = Descriptor::new(media_type, digest, bytes.len() as u64);
        // One that is no manifest leads to nothing.
        let manifest = Verified::read(bytes, &own).ok();
        let links = manifest.and_then(|bytes| manifest::links(media_type, &bytes).ok()).unwrap_or_default();
        if let Some(subject) = &links.subject {
            marks.subjects.insert(key(&[image.path(), subject.digest.as_str()]));
        }
        Ok(links.children)
    }

    /// Chooses what was listed, is old enough and was not marked, and counts what of that stays.
    fn choose(&self, marks: &Marks, victims: &mut Vec<Victim<'a>>, freed: &mut Freed) -> Result<(), MaintenanceError> {
        self.each(&mut |place, kind, object| {
            let place_key = self.place_key(&place);
            let is_in_cas = matches!(self.site.map.kind_in(place.origin, &place.path), Some(Kind::Blob(_)));
            let is_needed = match (is_in_cas, Endpoint::parse(place.path.as_str())) {
                (true, _) => self.run.blobs.contains(place_key),
                (false, Some(endpoint)) if place.origin.is_none() => marks.needs(&endpoint),
                // Documents of discovery: they go with `remove`.
                _ => true,
            };
            if is_needed || !self.run.unneeded.insert(place_key) {
                return;
            }
            let size = object.stat.size;
            match (self.run.old.contains(place_key), is_in_cas) {
                (true, true) if place.origin.is_some() && !self.options.all_sites => return freed.elsewhere.add(size),
                (true, true) => freed.blobs.add(size),
                (true, false) => freed.registry += 1,
                (false, true) => return freed.young.add(size),
                (false, false) => return,
            }
            freed.objects.push(FreedObject { path: place.path.to_string(), size });
            victims.push(Victim { site: self.site, rank: rank(&kind), place });
        })?;
        Ok(())
    }
}

/// Removes, what is written last first.
fn remove(mut victims: Vec<Victim<'_>>, run: &Run<'_>) -> Result<(), MaintenanceError> {
    victims.sort_by(|a, b| (b.rank, &a.place).cmp(&(a.rank, &b.place)));
    let remove = |victim: &Victim<'_>| -> Result<(), MaintenanceError> {
        let store = victim.site.store(victim.place.origin);
        if !store.has_lock() && run.begun.elapsed() > LONGEST_GC {
            return Err(MaintenanceError::GcTooLong { minutes: LONGEST_GC.as_secs() / 60 });
        }
        Ok(store.delete(&victim.place.path)?)
    };
    for same in victims.chunk_by(|a, b| a.rank == b.rank) {
        parallel::map(same, run.options.jobs, remove)?;
    }
    let mut flushed = HashSet::new();
    let sites = victims.iter().map(|victim| victim.site);
    Ok(sites.filter(|site| flushed.insert(std::ptr::from_ref(*site))).try_for_each(Site::flush)?)
}

/// Gives up uploads that are older than the grace, and says how many. None: a store cannot tell.
fn abort_uploads(run: &Run<'_>, stores: &[(bool, &dyn Store)]) -> Result<Option<u64>, StoreError> {
    let before = run.now.checked_sub(run.options.grace).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut count = 0;
    // Those in a store of another origin may be of another site.
    for (_, store) in stores.iter().filter(|(is_own, _)| *is_own || run.options.all_sites) {
        let Some(uploads) = store.abandoned_uploads(before)? else { return Ok(None) };
        if !run.options.dry_run {
            uploads.iter().try_for_each(|upload| store.abort_upload(upload))?;
        }
        count += uploads.len() as u64;
    }
    Ok(Some(count))
}

impl Marks {
    /// Whether a document or a blob of the registry view stands for something that an index has.
    fn needs(&self, endpoint: &Endpoint<'_>) -> bool {
        let has = |name: &str, digest: &Digest| self.digests.contains(key(&[name, digest.as_str()]));
        match endpoint {
            Endpoint::Ping | Endpoint::NoReferrers => true,
            Endpoint::Manifest { name, reference } | Endpoint::TypedManifest { name, reference, .. } => {
                match Digest::parse(reference) {
                    Ok(digest) => has(name, &digest),
                    Err(_) => self.tags.contains(key(&[name, reference])),
                }
            }
            Endpoint::Blob { name, digest } => has(name, digest),
            Endpoint::Referrers { name, digest } => {
                has(name, digest) || self.subjects.contains(key(&[name, digest.as_str()]))
            }
            Endpoint::TagsList { name } | Endpoint::Facts { name } => lock(&self.repositories).contains(*name),
            Endpoint::TagsAfter { name, tag } => self.tags.contains(key(&[name, tag])),
        }
    }
}

/// The repository of a tag.
fn tagged_repository(place: &Place) -> Option<&str> {
    let endpoint = Endpoint::parse(place.path.as_str())?;
    endpoint.name().filter(|_| matches!(endpoint.kind(), Kind::RegistryTag(_)))
}

/// The repository of a list of tags.
fn listing_of_tags(place: &Place) -> Option<&str> {
    let endpoint = Endpoint::parse(place.path.as_str())?;
    endpoint.name().filter(|_| endpoint.kind() == Kind::TagsList)
}
