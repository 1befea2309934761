//! What a publish or a removal changes in the registry view: the difference of two results of the view's function
//! ([`super::view`]), before and after. Manifests and blobs appear under `v2/` as links to the CAS, tags as copies of small
//! manifests.
//!
//! The cost follows the change. What other manifests refer to is kept in a document of the repository, so that a publish reads
//! only the manifests that it brings.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::error::RegistryError;
use super::manifests::{Brought, Reading};
use super::view::{Object, Repository, Tag};
use crate::layout::graph::FoundBlob;
use crate::progress::Silent;
use crate::site::index::{Entry, IndexChange};
use crate::site::path::PathError;
use crate::site::registry::Endpoint;
use crate::site::{Kind, Place, SitePath, registry};
use crate::store::blob_plan::BlobPlan;
use crate::store::change::PlannedDocument;
use crate::store::site::Site;
use crate::store::site_image::SiteImage;
use crate::store::write_log::WriteLog;
use crate::store::{Expected, StoreError, StoredDocument};
use oci_discovery::digest::Digest;
use oci_discovery::json::{MAX_INDEX_BYTES, MAX_MANIFEST_BYTES};
use oci_discovery::name::ImageName;
use oci_discovery::oci::relations::{Lists, Relations, TooManyReferrers};
use oci_discovery::oci::walk::Manifests;
use oci_discovery::oci::{Descriptor, media_type};
use oci_discovery::parallel;
use oci_discovery::pool::Pool;

/// So many tags that lead to one manifest are written together, so that it is read once, and several threads share the rest.
const TAGS_AT_ONCE: usize = 64;

/// What is written for the registry view besides blobs.
#[derive(Debug, Default)]
pub struct RegistryPlan {
    /// Indexes of platforms that tags lead to. They are written with the blobs.
    pub indexes: Vec<PlannedDocument>,
    /// Tags.
    pub tags: Vec<PlannedTag>,
    /// Then lists.
    pub lists: Vec<PlannedDocument>,
    /// Paths of removed refs, deleted after the lists.
    pub removals: Vec<SitePath>,
    /// The facts of manifests.
    pub facts: Vec<PlannedDocument>,
    /// Whether tags or referrers go from the view.
    pub takes_away: bool,
    /// What is omitted from the view, and why.
    pub warnings: Vec<String>,
}

/// A tag of the registry view. Its bytes are those of a manifest in the CAS, and are read when it is written; its paths follow
/// from the image and the tag. An image may have hundreds of thousands of tags.
#[derive(Clone, Debug)]
pub struct PlannedTag {
    /// The position in [`BlobPlan::images`].
    pub image: usize,
    /// The tag.
    pub tag: Arc<str>,
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's size in bytes.
    pub size: u64,
    /// The manifest's media type.
    pub media_type: Arc<str>,
    /// The name that tells the media type, where servers know such a name.
    pub typed: Option<PlannedName>,
    /// The plain name.
    pub plain: PlannedName,
}

/// What happens to one name of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedName {
    /// It is the manifest already.
    Keep,
    /// It becomes the manifest, if it still is what was read.
    Write(Expected),
}

impl PlannedTag {
    /// The names, with the paths they have in the repository `name`, in the order in which they are written.
    pub fn names(&self, name: &str) -> Result<Vec<(SitePath, &PlannedName)>, PathError> {
        let mut names = Vec::with_capacity(2);
        if let Some(typed) = &self.typed
            && let Some(path) = registry::typed_manifest_path(name, &self.tag, &self.media_type)
        {
            names.push((path?, typed));
        }
        names.push((registry::manifest_path(name, &self.tag)?, &self.plain));
        Ok(names)
    }

    /// Whether all of it is there already.
    pub fn is_unchanged(&self) -> bool {
        [Some(&self.plain), self.typed.as_ref()].into_iter().flatten().all(|name| *name == PlannedName::Keep)
    }
}

impl RegistryPlan {
    /// Whether there is anything to write but indexes of platforms.
    pub fn changes_something(&self) -> bool {
        let has_tags = self.tags.iter().any(|tag| !tag.is_unchanged());
        has_tags || self.lists.iter().chain(&self.facts).any(|document| document.new_bytes().is_some())
    }

    /// Writes the tags, then the lists that name them; then removes what they do not name any more, and writes the facts.
    ///
    /// The facts say which lists of referrers there were, so behind a lock they come last: a change that is killed before can be
    /// done again. Without a lock they come before the removals, which have no condition: a plan from facts that another publisher
    /// has changed since removes nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: another publisher changed a document since the plan was made.
    pub fn write(
        &self,
        site: &Site,
        images: &[ImageName],
        jobs: NonZeroUsize,
        log: &WriteLog<'_>,
    ) -> Result<(), RegistryError> {
        self.write_tags(site, images, jobs, log)?;
        log.write_all(site, &self.lists, jobs)?;
        let remove = || self.removals.iter().try_for_each(|path| site.own.remove_document(path));
        if site.own.has_lock() {
            remove()?;
            return Ok(log.write_all(site, &self.facts, jobs)?);
        }
        if !self.removals.is_empty() {
            self.facts.iter().try_for_each(|facts| site.refuse_change(facts))?;
        }
        log.write_all(site, &self.facts, jobs)?;
        Ok(remove()?)
    }

    /// Fails if another publisher changed or removed a list of referrers that the plan keeps. Without a lock, this is checked after
    /// the new indexes are written: a publisher that removes the list later finds the new index, and starts over.
    pub fn refuse_changed_referrers(&self, site: &Site) -> Result<(), StoreError> {
        let is_referrers = |list: &&PlannedDocument| {
            matches!(Endpoint::parse(list.place.path.as_str()), Some(Endpoint::Referrers { .. }))
        };
        self.lists.iter().filter(is_referrers).try_for_each(|list| site.refuse_change(list))
    }

    /// Writes the tags that differ from what is there. Each is a copy of a manifest in the CAS, which is read once for many tags that
    /// lead to it.
    fn write_tags(
        &self,
        site: &Site,
        images: &[ImageName],
        jobs: NonZeroUsize,
        log: &WriteLog<'_>,
    ) -> Result<(), RegistryError> {
        let mut tags: Vec<&PlannedTag> = self.tags.iter().collect();
        tags.sort_by_key(|tag| (tag.image, &tag.digest, &tag.media_type));
        let is_same = |a: &&PlannedTag, b: &&PlannedTag| {
            (a.image, &a.digest, &a.media_type) == (b.image, &b.digest, &b.media_type)
        };
        let groups: Vec<&[&PlannedTag]> = tags.chunk_by(is_same).flat_map(|same| same.chunks(TAGS_AT_ONCE)).collect();
        parallel::map(&groups, jobs, |tags| write_tags_of_manifest(site, images, tags, log))?;
        Ok(())
    }
}

/// An image that is published, with what its layouts have of it.
#[derive(Clone, Copy)]
pub struct PublishedImage<'a> {
    /// The position in [`BlobPlan::images`].
    pub position: usize,
    /// The name.
    pub name: &'a ImageName,
    /// Its blobs.
    pub blobs: &'a [FoundBlob],
    /// What its manifests refer to.
    pub relations: &'a Relations,
}

impl PublishedImage<'_> {
    /// The lists of the published referrers.
    fn lists(&self, view: &Repository<'_>) -> Result<Lists, RegistryError> {
        self.relations.lists(view.fallback_indexes()).map_err(|source| self.too_many_referrers(source))
    }

    fn too_many_referrers(&self, source: TooManyReferrers) -> RegistryError {
        RegistryError::TooManyReferrers { image: self.name.clone(), source }
    }
}

/// The documents of the view that earlier attempts planned to write or to remove, where no lock keeps other publishers out. What is
/// there now is read, because another publisher may need what they removed.
#[derive(Debug, Default)]
pub struct EarlierPlans(HashSet<SitePath>);

impl EarlierPlans {
    /// Adds the plan of an attempt.
    pub fn add(&mut self, site: &Site, plan: &RegistryPlan) {
        // Behind a lock, there is one attempt.
        if site.own.has_lock() {
            return;
        }
        self.0.extend(plan.lists.iter().map(|list| list.place.path.clone()).chain(plan.removals.iter().cloned()));
    }

    fn has(&self, path: impl FnOnce() -> Result<SitePath, PathError>) -> Result<bool, PathError> {
        Ok(!self.0.is_empty() && self.0.contains(&path()?))
    }
}

/// Gathers what changes, image by image.
pub struct Planner<'a> {
    site: &'a Site,
    /// Whether what the site keeps of manifests is made again, because it may be damaged.
    recheck: bool,
    jobs: NonZeroUsize,
    earlier: &'a EarlierPlans,
    blobs: &'a mut BlobPlan,
    media_types: Pool<str>,
    plan: RegistryPlan,
}

/// A repository before and after a change.
struct RepositoryChange<'a> {
    image: PublishedImage<'a>,
    /// The entries that its image had.
    entries_before: &'a [Entry],
    before: &'a Repository<'a>,
    after: &'a Repository<'a>,
    brought: &'a Brought,
}

impl<'a> Planner<'a> {
    /// Plans the links of the view among `blobs`.
    pub fn new(
        site: &'a Site,
        recheck: bool,
        jobs: NonZeroUsize,
        earlier: &'a EarlierPlans,
        blobs: &'a mut BlobPlan,
    ) -> Planner<'a> {
        let (media_types, plan) = (Pool::default(), RegistryPlan::default());
        Planner { site, recheck, jobs, earlier, blobs, media_types, plan }
    }

    /// Plans what all repositories share, now that the images are known.
    pub fn finish(mut self) -> Result<RegistryPlan, RegistryError> {
        if !self.site.views_before().registry {
            self.add_images_from_before()?;
        }
        let own = |path| Place { origin: None, path };
        let ping = self.site.planned(own(registry::ping_path()?), Kind::RegistryPing, registry::PING.to_vec())?;
        let empty = registry::referrers_list([]);
        let no_referrers = self.site.planned(own(registry::no_referrers_path()?), Kind::Referrers, empty)?;
        self.plan.lists.extend([ping, no_referrers]);
        Ok(self.done())
    }

    fn done(mut self) -> RegistryPlan {
        let RegistryPlan { indexes, lists, removals, .. } = &mut self.plan;
        // Tags that lead to the same platforms have one index.
        let mut places = HashSet::new();
        indexes.retain(|document| places.insert(document.place.clone()));
        let written: HashSet<&SitePath> = lists.iter().map(|list| &list.place.path).collect();
        removals.retain(|path| !written.contains(path));
        // What lists tags goes before the tags.
        let is_tag = |path: &SitePath| {
            Endpoint::parse(path.as_str()).is_some_and(|endpoint| matches!(endpoint.kind(), Kind::RegistryTag(_)))
        };
        removals.sort_by_cached_key(|path| (is_tag(path), path.clone()));
        removals.dedup();
        self.plan
    }

    /// The view is new: images that are not published now get theirs from what the site has of them.
    fn add_images_from_before(&mut self) -> Result<(), RegistryError> {
        let site = self.site;
        let published: HashSet<ImageName> = self.blobs.images.iter().cloned().collect();
        for name in site.images.iter().filter(|name| !published.contains(name)) {
            let Some((after, _)) = (SiteImage { site, image: name }).index()? else { continue };
            let position = self.blobs.add_image(&site.map, name)?;
            let image = PublishedImage { position, name, blobs: &[], relations: &Relations::default() };
            self.add(image, &IndexChange { before: vec![], after })?;
        }
        Ok(())
    }

    /// Adds the repository of an image.
    pub fn add(&mut self, image: PublishedImage<'_>, change: &IndexChange) -> Result<(), RegistryError> {
        let (site, name) = (self.site, image.name.path());
        if !registry::is_name(name) {
            self.plan.warnings.push(format!(
                "{} is omitted from the registry view: {name:?} is not a repository name of the distribution-spec, \
                 which has lower case only",
                image.name
            ));
            return Ok(());
        }
        let entries = change.after.entries();
        if entries.is_empty() {
            return self.remove_repository(name);
        }
        let found = site.own.read_document(&registry::facts_path(name)?, MAX_INDEX_BYTES)?;
        let is_usable = !self.recheck && site.views_before().registry;
        let stored = found.as_ref().filter(|_| is_usable).and_then(|found| Relations::parse(&found.bytes));
        let view = |facts: Relations| Some((Repository::new(name, &change.before, &facts).ok()?, facts));
        let stored = stored.and_then(view);
        let is_known = stored.is_some();
        let unknown = || (Repository::without_referrers(name, &change.before), Relations::default());
        let (before, mut relations) = stored.unwrap_or_else(unknown);
        let mut brought = Brought::of_layouts(image.blobs);
        self.add_unknown(image.name, entries, &mut relations, &mut brought)?;
        relations.extend(image.relations.clone());
        relations.keep(entries.iter().map(|entry| &entry.digest));
        let after = Repository::new(name, entries, &relations).map_err(|source| image.too_many_referrers(source))?;
        brought.plan_links(image.position, self.blobs)?;
        let (entries_before, brought) = (&*change.before, &brought);
        let change = RepositoryChange { image, entries_before, before: &before, after: &after, brought };
        self.add_tags(&change)?;
        self.add_tags_lists(&change)?;
        self.add_referrers(&change, is_known)?;
        self.add_facts(name, &relations, found)
    }

    /// Adds what is known neither from layouts nor from the site's facts.
    fn add_unknown(
        &self,
        image: &ImageName,
        entries: &[Entry],
        relations: &mut Relations,
        brought: &mut Brought,
    ) -> Result<(), RegistryError> {
        let is_unknown = |entry: &&Entry| {
            !brought.has_manifest(&entry.digest) && !relations.covers(&entry.digest, || entry.descriptor().ok())
        };
        let unknown: Vec<&Entry> = entries.iter().filter(is_unknown).collect();
        let is_new_view = !self.site.views_before().registry;
        let image = SiteImage { site: self.site, image };
        Reading { image, is_new_view, jobs: self.jobs }.add(&unknown, relations, brought)
    }

    fn add_tags(&mut self, change: &RepositoryChange<'_>) -> Result<(), RegistryError> {
        let RepositoryChange { image: PublishedImage { position, name, .. }, before, after, brought, .. } = *change;
        self.plan.warnings.extend(after.omitted().iter().filter_map(|(reference, entries)| {
            if !registry::is_tag(reference) {
                return Some(format!(
                    "the ref {reference:?} of {name} is omitted from the registry view: it is not a tag of the distribution-spec"
                ));
            }
            let Entry { digest, .. } = entries.iter().find(|entry| brought.has_blob(&entry.digest))?;
            let why = "its media type is none of a manifest";
            Some(format!("the ref {reference:?} of {name} is not in the registry view: {digest}: {why}"))
        }));
        // Many tags may lead to one index.
        let mut indexes = HashSet::new();
        for (reference, entries) in after.refs() {
            let is_brought = entries.iter().any(|entry| brought.has_manifest(&entry.digest));
            let is_changed = before.refs().get(reference) != Some(entries)
                || self.earlier.has(|| registry::manifest_path(name.path(), reference))?;
            let Some(tag) = (is_brought || is_changed).then(|| Tag::of(entries)).flatten() else { continue };
            if let Some(index) = &tag.index
                && indexes.insert(tag.digest.clone())
            {
                self.plan_index(change.image, &tag.digest, index)?;
            }
            let names = registry::manifest_names(name.path(), reference, &tag.media_type)?;
            let mut names = names.iter().rev().map(|path| self.plan_name(path, &tag.digest));
            let Some(plain) = names.next().transpose()? else { continue };
            let typed = names.next().transpose()?;
            let Tag { digest, size, media_type, .. } = tag;
            let (tag, media_type) = ((*reference).into(), self.media_types.share(&*media_type));
            self.plan.tags.push(PlannedTag { image: position, tag, digest, size, media_type, typed, plain });
        }
        Ok(())
    }

    /// Plans an index that was made for a tag, at its places.
    fn plan_index(&mut self, image: PublishedImage<'_>, digest: &Digest, bytes: &[u8]) -> Result<(), RegistryError> {
        let names = registry::manifest_names(image.name.path(), digest.as_str(), media_type::INDEX)?;
        let kind = Kind::RegistryManifest(Some(media_type::INDEX.into()));
        let cas = self.blobs.cas_place(image.position, digest)?;
        for place in names.into_iter().map(|path| Place { origin: None, path }).chain([cas]) {
            self.plan.indexes.push(self.site.planned(place, kind.clone(), bytes.to_vec())?);
        }
        Ok(())
    }

    /// A name that leads to a manifest, as it is now.
    fn plan_name(&self, path: &SitePath, digest: &Digest) -> Result<PlannedName, RegistryError> {
        match self.site.own.read_document(path, MAX_MANIFEST_BYTES)? {
            None => Ok(PlannedName::Write(Expected::Absent)),
            Some(found) if Digest::of(digest.algorithm(), &found.bytes) == *digest => Ok(PlannedName::Keep),
            Some(found) => Ok(PlannedName::Write(Expected::Version(found.version))),
        }
    }

    /// Plans the lists of tags, and removes the tags that the image had, or that the former list has, and that are gone. All pages go
    /// that are not of a tag: a copy that was interrupted leaves pages of tags that neither the index nor the list has, and a page
    /// must not name a tag that goes.
    fn add_tags_lists(&mut self, change: &RepositoryChange<'_>) -> Result<(), RegistryError> {
        let (site, name) = (self.site, change.image.name.path());
        let mut lists = change.after.tags_lists()?.into_iter();
        let Some(Object { path, kind, bytes }) = lists.next() else { return Ok(()) };
        let found = site.own.read_document(&path, MAX_INDEX_BYTES)?;
        let mut gone = found.as_ref().map(|found| registry::listed_tags(&found.bytes)).unwrap_or_default();
        gone.extend(change.entries_before.iter().filter_map(|entry| entry.reference.as_deref()).map(str::to_string));
        gone.retain(|tag| registry::is_tag(tag) && !change.after.refs().contains_key(tag.as_str()));
        self.plan.takes_away |= !gone.is_empty();
        for tag in gone {
            self.plan.removals.push(registry::manifest_path(name, &tag)?);
            let typed = registry::typed_manifest_paths(name, &tag);
            self.plan.removals.extend(typed.into_iter().map(|(path, _)| path));
        }
        self.plan.lists.push(PlannedDocument::new(Place { origin: None, path }, kind, bytes, found));
        let lists: Vec<Object> = lists.collect();
        let pages: HashSet<&SitePath> = lists.iter().map(|page| &page.path).collect();
        let removals = &mut self.plan.removals;
        let before = removals.len();
        site.own.list(&format!("{}/{name}/tags/_last/", registry::ROOT), &mut |listed| {
            if !pages.contains(&listed.path) {
                removals.push(listed.path);
            }
        })?;
        self.plan.takes_away |= removals.len() > before;
        lists.into_iter().try_for_each(|list| self.plan_list(list))
    }

    fn plan_list(&mut self, Object { path, kind, bytes }: Object) -> Result<(), RegistryError> {
        self.plan.lists.push(self.site.planned(Place { origin: None, path }, kind, bytes)?);
        Ok(())
    }

    /// Plans the lists of referrers that change or of which a referrer is published; all of them where the site kept no facts.
    fn add_referrers(&mut self, change: &RepositoryChange<'_>, is_known: bool) -> Result<(), RegistryError> {
        let RepositoryChange { image, before, after, .. } = *change;
        let published: Lists = image.lists(after)?;
        for (subject, referrers) in after.lists() {
            let is_same = is_known
                && before.lists().get(subject) == Some(referrers)
                && !self.earlier.has(|| registry::referrers_path(image.name.path(), subject))?;
            let has_same_paths = || -> Result<bool, PathError> {
                Ok(before.referrers_paths(subject)? == after.referrers_paths(subject)?)
            };
            if !is_same || published.contains_key(subject) || !has_same_paths()? {
                after.referrers(subject)?.into_iter().try_for_each(|list| self.plan_list(list))?;
            }
        }
        let mut subjects: BTreeSet<Digest> = before.lists().keys().cloned().collect();
        if !is_known {
            let prefix = format!("{}/{}/referrers/", registry::ROOT, image.name.path());
            self.site.own.list(&prefix, &mut |listed| {
                if let Some(Endpoint::Referrers { digest, .. }) = Endpoint::parse(listed.path.as_str()) {
                    subjects.insert(digest);
                }
            })?;
        }
        for subject in subjects.iter().filter(|subject| !after.lists().contains_key(subject)) {
            self.plan.removals.extend(after.referrers_paths(subject)?);
            self.plan.takes_away = true;
        }
        let has = |subject, referrer| after.lists().get(subject).is_some_and(|list| list.contains_key(referrer));
        let mut lists = before.lists().iter();
        self.plan.takes_away |= lists.any(|(subject, list)| list.keys().any(|referrer| !has(subject, referrer)));
        Ok(())
    }

    /// Plans the document of facts. One that no program would read is left out.
    fn add_facts(
        &mut self,
        name: &str,
        relations: &Relations,
        found: Option<StoredDocument>,
    ) -> Result<(), RegistryError> {
        let (path, bytes) = (registry::facts_path(name)?, relations.to_bytes());
        if bytes.len() as u64 > MAX_INDEX_BYTES {
            self.plan.removals.extend(found.map(|_| path));
            return Ok(());
        }
        let place = Place { origin: None, path };
        self.plan.facts.push(PlannedDocument::new(place, Kind::RegistryFacts, bytes, found));
        Ok(())
    }

    /// Removes all documents of a repository whose image has no entries any more.
    fn remove_repository(&mut self, name: &str) -> Result<(), RegistryError> {
        let removals = &mut self.plan.removals;
        Ok(self.site.own.list(&format!("{}/{name}/", registry::ROOT), &mut |object| {
            let endpoint = Endpoint::parse(object.path.as_str()).filter(|endpoint| endpoint.name() == Some(name));
            if endpoint.is_some_and(|endpoint| !endpoint.kind().is_immutable()) {
                removals.push(object.path);
            }
        })?)
    }
}

/// Takes out of a repository what its image loses, before it goes from the index. Blobs and manifests are left to the gc.
///
/// # Errors
/// [`StoreError::Conflict`]: another publisher changed a document since the plan was made.
pub fn remove(
    site: &Site,
    image: &ImageName,
    change: &IndexChange,
    earlier: &mut EarlierPlans,
) -> Result<(), RegistryError> {
    let (mut blobs, jobs, log) = (BlobPlan::default(), parallel::default_jobs(), WriteLog::new(&Silent));
    let position = blobs.add_image(&site.map, image)?;
    let mut planner = Planner::new(site, false, jobs, earlier, &mut blobs);
    planner.add(PublishedImage { position, name: image, blobs: &[], relations: &Relations::default() }, change)?;
    let plan = planner.done();
    earlier.add(site, &plan);
    log.write_all(site, &plan.indexes, jobs)?;
    plan.write(site, std::slice::from_ref(image), jobs, &log)
}

/// Writes tags that lead to one manifest.
fn write_tags_of_manifest(
    site: &Site,
    images: &[ImageName],
    tags: &[&PlannedTag],
    log: &WriteLog<'_>,
) -> Result<(), RegistryError> {
    let Some(first) = tags.first() else { return Ok(()) };
    let image = SiteImage { site, image: &images[first.image] };
    let mut manifest = None;
    if !tags.iter().all(|tag| tag.is_unchanged()) {
        manifest = image.read(&Descriptor::new(&first.media_type, first.digest.clone(), first.size))?;
    }
    let kind = Kind::RegistryTag(Some(first.media_type.to_string()));
    // The manifest may be one that the layout lacks and was allowed to.
    for tag in tags.iter().filter(|tag| manifest.is_some() || tag.is_unchanged()) {
        for (path, planned) in tag.names(image.image.path())? {
            let is_written = *planned != PlannedName::Keep;
            if let (PlannedName::Write(expected), Some(manifest)) = (planned, &manifest) {
                site.own.write_document(&path, &kind, manifest, expected)?;
            }
            log.add(site, Place { origin: None, path }, is_written, tag.size);
        }
        remove_other_types(site, image.image.path(), tag)?;
    }
    Ok(())
}

/// A tag that changed its type has its old typed name still; also when the publish that changed it was killed.
fn remove_other_types(site: &Site, name: &str, tag: &PlannedTag) -> Result<(), RegistryError> {
    let own = tag.names(name)?;
    for (path, _) in registry::typed_manifest_paths(name, &tag.tag) {
        if own.iter().all(|(known, _)| *known != path) && site.own.stat(&path)?.is_some() {
            site.own.remove_document(&path)?;
        }
    }
    Ok(())
}
