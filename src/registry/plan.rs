//! What a publish or a removal changes in the registry view (see [`crate::site::registry`]): manifests and blobs appear under
//! `v2/` as links to the CAS, tags as copies of small manifests, and the lists are written anew where they changed.
//!
//! The cost follows the change: only what is published now is looked at. When the view is new to a site, or an image kept
//! refs from before, the rest is read back from the site itself.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::layout::graph::FoundBlob;
use crate::site::index::{Entry, IndexChange, Merge, by_ref};
use crate::site::map::MapError;
use crate::site::path::PathError;
use crate::site::{Kind, Place, SitePath, registry};
use crate::store::blob_plan::{BlobPlan, BlobRole, PlannedBlob};
use crate::store::change::PlannedDocument;
use crate::store::site::{Site, SiteError};
use crate::store::site_image::{SiteImage, SiteImageError};
use crate::store::write_log::WriteLog;
use crate::store::{Expected, StoreError};
use oci_discovery::digest::Digest;
use oci_discovery::json::{MAX_INDEX_BYTES, MAX_MANIFEST_BYTES};
use oci_discovery::name::ImageName;
use oci_discovery::oci::referrers::fallback_tag;
use oci_discovery::oci::walk::Manifests;
use oci_discovery::oci::{Descriptor, index, manifest, media_type, walk};
use oci_discovery::parallel;
use oci_discovery::pool::Pool;
use oci_discovery::seen::Seen;

/// So many tags that lead to one manifest are written together, so that it is read once, and several threads share the rest.
const TAGS_AT_ONCE: usize = 64;

/// The document that answers at `/v2/`.
const PING: &[u8] = b"{}";

/// Why the registry view cannot be planned or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The site cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A blob has no place in the site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A name has no place in the site.
    #[error(transparent)]
    Map(#[from] MapError),
    /// What the site has of an image cannot be read.
    #[error(transparent)]
    SiteImage(#[from] SiteImageError),
    /// A path of the program's own is refused.
    #[error("a file of the registry view has an invalid path")]
    Path(#[from] PathError),
    /// Two hosts cannot share one `v2/`.
    #[error(
        "a site with the registry view has images of one host only, found {first} and {second}: publish each host to \
         a site of its own with --root-per-host"
    )]
    Hosts {
        /// One host.
        first: String,
        /// The other.
        second: String,
    },
}

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
        has_tags || self.lists.iter().any(|list| list.new_bytes().is_some())
    }

    /// Writes the tags, then the lists that name them; then removes what they do not name any more.
    pub fn write(
        &self,
        site: &Site,
        images: &[ImageName],
        jobs: NonZeroUsize,
        log: &WriteLog<'_>,
    ) -> Result<(), RegistryError> {
        self.write_tags(site, images, jobs, log)?;
        log.write_all(site, &self.lists, jobs)?;
        Ok(self.removals.iter().try_for_each(|path| site.own.remove_document(path))?)
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
    /// What refers to what: the digest of a subject, and the referrer as a referrers list describes it.
    pub referrers: &'a [(Digest, Descriptor)],
}

/// Gathers what changes, image by image.
pub struct Planner<'a> {
    site: &'a Site,
    merge: Merge,
    blobs: &'a mut BlobPlan,
    plan: RegistryPlan,
}

impl<'a> Planner<'a> {
    /// Plans the links of the view among `blobs`.
    pub fn new(site: &'a Site, merge: Merge, blobs: &'a mut BlobPlan) -> Planner<'a> {
        Planner { site, merge, blobs, plan: RegistryPlan::default() }
    }

    /// Plans what all repositories share, now that the images are known.
    pub fn finish(mut self) -> Result<RegistryPlan, RegistryError> {
        if let [first, second, ..] = self.site.map.settings().hosts.as_slice() {
            return Err(RegistryError::Hosts { first: first.clone(), second: second.clone() });
        }
        if !self.site.views_before().registry {
            self.add_images_from_before()?;
        }
        let own = |path| Place { origin: None, path };
        let ping = self.site.planned(own(registry::ping_path()?), Kind::RegistryPing, PING.to_vec())?;
        let empty = registry::referrers_list([]);
        let no_referrers = self.site.planned(own(registry::no_referrers_path()?), Kind::Referrers, empty)?;
        let RegistryPlan { indexes, lists, .. } = &mut self.plan;
        lists.extend([ping, no_referrers]);
        // Tags that lead to the same platforms have one index.
        let mut places = HashSet::new();
        indexes.retain(|document| places.insert(document.place.clone()));
        Ok(self.plan)
    }

    /// The view is new: images that are not published now get theirs from what the site has of them.
    fn add_images_from_before(&mut self) -> Result<(), RegistryError> {
        let site = self.site;
        let published: HashSet<ImageName> = self.blobs.images.iter().cloned().collect();
        for name in site.images.iter().filter(|name| !published.contains(name)) {
            let Some((after, _)) = (SiteImage { site, image: name }).index()? else { continue };
            let position = self.blobs.add_image(&site.map, name)?;
            let image = PublishedImage { position, name, blobs: &[], referrers: &[] };
            self.add(image, &IndexChange { before: vec![], after })?;
        }
        Ok(())
    }

    /// Adds the repository of an image.
    pub fn add(&mut self, image: PublishedImage<'_>, change: &IndexChange) -> Result<(), RegistryError> {
        let name = image.name.path();
        if !registry::is_name(name) {
            self.plan.warnings.push(format!(
                "{} is omitted from the registry view: {name:?} is not a repository name of the distribution-spec, \
                 which has lower case only",
                image.name
            ));
            return Ok(());
        }
        let site = self.site;
        let mut repository = Repository::new(image);
        if !site.views_before().registry {
            repository.add_from_site(SiteImage { site, image: image.name }, change.after.entries())?;
        }
        repository.plan_links(image.position, self.blobs)?;
        self.add_tags(image, change, &repository)?;
        self.add_referrers(image.name, change, repository.referrers)
    }

    fn add_tags(
        &mut self,
        image: PublishedImage<'_>,
        change: &IndexChange,
        repository: &Repository,
    ) -> Result<(), RegistryError> {
        let PublishedImage { position, name, .. } = image;
        let (before, after) = (by_ref(&change.before), by_ref(change.after.entries()));
        let (media_types, indexes) = (Pool::default(), HashSet::new());
        let mut planner =
            TagPlanner { site: self.site, blobs: self.blobs, image: position, name, media_types, indexes };
        let plan = &mut self.plan;
        let mut tags = Vec::new();
        for (reference, entries) in &after {
            if !registry::is_tag(reference) {
                let warning = format!(
                    "the ref {reference:?} of {name} is omitted from the registry view: it is not a tag of the distribution-spec"
                );
                plan.warnings.push(warning);
                continue;
            }
            if !entries.iter().any(|entry| entry.is_manifest) {
                let leaf = entries.iter().find(|entry| repository.blobs.contains_key(&entry.digest));
                plan.warnings.extend(leaf.map(|leaf| {
                    let (digest, why) = (&leaf.digest, "its media type is none of a manifest");
                    format!("the ref {reference:?} of {name} is not in the registry view: {digest}: {why}")
                }));
                continue;
            }
            tags.push(*reference);
            let is_published = entries.iter().any(|entry| repository.manifests.contains_key(&entry.digest));
            if is_published {
                planner.plan(entries, plan)?;
            }
        }
        // The tags are sorted, and there may be very many.
        let is_served = |reference: &&str| tags.binary_search(reference).is_ok();
        let gone = before.keys().filter(|reference| !is_served(reference) && registry::is_tag(reference));
        for reference in gone {
            plan.removals.push(registry::manifest_path(name.path(), reference)?);
            let typed = registry::typed_manifest_paths(name.path(), reference);
            plan.removals.extend(typed.into_iter().map(|(path, _)| path));
            plan.removals.push(registry::tags_after_path(name.path(), reference)?);
        }
        self.add_tags_lists(name.path(), &tags)
    }

    fn add_tags_lists(&mut self, name: &str, tags: &[&str]) -> Result<(), RegistryError> {
        let (site, plan) = (self.site, &mut self.plan);
        let list = |path: SitePath, tags: &[&str]| {
            site.planned(Place { origin: None, path }, Kind::TagsList, registry::tags_list(name, tags))
        };
        plan.lists.push(list(registry::tags_list_path(name)?, tags)?);
        if tags.len() <= registry::MAX_TAGS_WITH_LAST {
            for (position, tag) in tags.iter().enumerate() {
                plan.lists.push(list(registry::tags_after_path(name, tag)?, &tags[position + 1..])?);
            }
            return Ok(());
        }
        let prefix = format!("{}/{name}/tags/_last/", registry::ROOT);
        Ok(site.own.list(&prefix, &mut |listed| plan.removals.push(listed.path))?)
    }

    fn add_referrers(
        &mut self,
        name: &ImageName,
        change: &IndexChange,
        referrers: Vec<(Digest, Descriptor)>,
    ) -> Result<(), RegistryError> {
        let (site, merge, plan) = (self.site, self.merge, &mut self.plan);
        let mut by_subject: BTreeMap<Digest, Vec<Descriptor>> = BTreeMap::new();
        for (subject, referrer) in referrers {
            by_subject.entry(subject).or_default().push(referrer);
        }
        let refs: BTreeSet<&str> =
            change.after.entries().iter().filter_map(|entry| entry.reference.as_deref()).collect();
        let mut written = HashSet::new();
        for (subject, mut referrers) in by_subject {
            let path = registry::referrers_path(name.path(), &subject)?;
            if merge != Merge::ReplaceImage
                && let Some(there) = site.own.read_document(&path, MAX_INDEX_BYTES)?
            {
                // What is published now comes last, and wins where both describe one digest.
                let there = index::descriptors(&there.bytes).unwrap_or_default();
                referrers = there.into_iter().chain(referrers).collect();
            }
            let bytes = registry::referrers_list(referrers);
            let tag = fallback_tag(&subject);
            if !refs.contains(tag.as_str()) {
                let typed = registry::typed_manifest_path(name.path(), &tag, media_type::INDEX).transpose()?;
                let kind = Kind::RegistryTag(Some(media_type::INDEX.into()));
                for path in typed.into_iter().chain([registry::manifest_path(name.path(), &tag)?]) {
                    plan.lists.push(site.planned(Place { origin: None, path }, kind.clone(), bytes.clone())?);
                }
            }
            written.insert(path.clone());
            plan.lists.push(site.planned(Place { origin: None, path }, Kind::Referrers, bytes)?);
        }
        if merge == Merge::ReplaceImage {
            let prefix = format!("{}/{}/referrers/", registry::ROOT, name.path());
            site.own.list(&prefix, &mut |listed| {
                if !written.contains(&listed.path) {
                    plan.removals.push(listed.path);
                }
            })?;
        }
        Ok(())
    }
}

/// Plans what a repository says when refs were taken out of its image: its lists without them, and the tags that go.
pub fn removal(site: &Site, name: &ImageName, change: &IndexChange) -> Result<RegistryPlan, RegistryError> {
    let mut blobs = BlobPlan::default();
    let mut planner = Planner::new(site, Merge::ReplaceRefs, &mut blobs);
    let nothing = PublishedImage { position: 0, name, blobs: &[], referrers: &[] };
    planner.add_tags(nothing, change, &Repository::new(nothing))?;
    Ok(planner.plan)
}

/// What a repository holds, as far as this publish has to look at it.
struct Repository {
    manifests: BTreeMap<Digest, (u64, Arc<str>)>,
    blobs: BTreeMap<Digest, (u64, Arc<str>)>,
    layouts: HashMap<Digest, usize>,
    referrers: Vec<(Digest, Descriptor)>,
}

impl Repository {
    fn new(image: PublishedImage<'_>) -> Repository {
        let mut repository = Repository {
            manifests: BTreeMap::new(),
            blobs: BTreeMap::new(),
            layouts: HashMap::new(),
            referrers: image.referrers.to_vec(),
        };
        for found in image.blobs {
            let blob = &found.blob;
            let list = if blob.is_manifest { &mut repository.manifests } else { &mut repository.blobs };
            list.insert(blob.digest.clone(), (blob.size, blob.media_type.clone()));
            repository.layouts.insert(blob.digest.clone(), found.layout);
        }
        repository
    }

    /// Adds what entries reach that were published before, read through the site's own CAS. What is published now is known from its
    /// layout, with all that it reaches.
    fn add_from_site(&mut self, image: SiteImage, entries: &[Entry]) -> Result<(), RegistryError> {
        let layouts = &self.layouts;
        // One at a time: as trees of values, hundreds of thousands of descriptors would take a gigabyte.
        let before = entries.iter().filter(|entry| !layouts.contains_key(&entry.digest));
        let roots = before.filter_map(|entry| entry.descriptor().ok());
        let links = |descriptor: &Descriptor| match layouts.contains_key(&descriptor.digest) {
            true => Ok(None),
            false => image.links(descriptor),
        };
        Ok(walk::reach(&Seen::new(), roots, links, |descriptor, links| -> Result<(), SiteImageError> {
            let Descriptor { digest, size, media_type, .. } = descriptor;
            let Some(links) = links else { return Ok(()) };
            let is_manifest = manifest::may_hold_descriptors(media_type);
            let list = if is_manifest { &mut self.manifests } else { &mut self.blobs };
            list.insert(digest.clone(), (*size, media_type.as_str().into()));
            if let Some(subject) = &links.subject {
                self.referrers.push((subject.digest.clone(), links.referrer_descriptor(descriptor)));
            }
            Ok(())
        })?)
    }

    fn plan_links(&self, image: usize, blobs: &mut BlobPlan) -> Result<(), RegistryError> {
        let all = self.manifests.iter().map(|blob| (blob, true)).chain(self.blobs.iter().map(|blob| (blob, false)));
        for ((digest, (size, media_type)), is_manifest) in all {
            let roles: &[BlobRole] = match is_manifest {
                true => &[BlobRole::RegistryManifest, BlobRole::RegistryTypedManifest],
                false => &[BlobRole::RegistryBlob],
            };
            let mut link = PlannedBlob {
                image,
                layout: self.layouts.get(digest).copied(),
                digest: digest.clone(),
                size: *size,
                media_type: media_type.clone(),
                role: BlobRole::Cas,
                same_as: None,
            };
            link.same_as = Some(blobs.original(&link));
            let in_cas = blobs.cas_place(image, digest)?;
            for role in roles {
                let link = PlannedBlob { role: *role, ..link.clone() };
                // With preset `registry` the view's blobs are the CAS.
                if blobs.place(&link)? != in_cas {
                    blobs.all.push(link);
                }
            }
        }
        Ok(())
    }
}

/// Plans the tags of one image.
struct TagPlanner<'a> {
    site: &'a Site,
    blobs: &'a BlobPlan,
    /// The position in [`BlobPlan::images`].
    image: usize,
    name: &'a ImageName,
    media_types: Pool<str>,
    /// The indexes that were planned for tags of several platforms. Many tags may lead to one.
    indexes: HashSet<Digest>,
}

impl TagPlanner<'_> {
    /// Plans the tag of a ref with these entries: a ref with one entry is that entry's manifest; one with several (a platform
    /// each) becomes an image index of them.
    fn plan(&mut self, entries: &[&Entry], plan: &mut RegistryPlan) -> Result<(), RegistryError> {
        let Some(tag) = entries.first().and_then(|entry| entry.reference.clone()) else { return Ok(()) };
        let descriptors: Vec<Descriptor> = entries.iter().filter_map(|entry| entry.descriptor().ok()).collect();
        let (digest, size, media_type) = match descriptors.as_slice() {
            [descriptor] => {
                (descriptor.digest.clone(), descriptor.size, self.media_types.share(&*descriptor.media_type))
            }
            _ => {
                let (digest, bytes) = registry::index_of_platforms(descriptors);
                self.plan_index(&digest, &bytes, plan)?;
                (digest, bytes.len() as u64, self.media_types.share(media_type::INDEX))
            }
        };
        let typed = registry::typed_manifest_path(self.name.path(), &tag, &media_type).transpose()?;
        let typed = typed.map(|path| self.plan_name(&path, &digest)).transpose()?;
        let plain = self.plan_name(&registry::manifest_path(self.name.path(), &tag)?, &digest)?;
        plan.tags.push(PlannedTag { image: self.image, tag, digest, size, media_type, typed, plain });
        Ok(())
    }

    /// Plans an index at its places, once.
    fn plan_index(&mut self, digest: &Digest, bytes: &[u8], plan: &mut RegistryPlan) -> Result<(), RegistryError> {
        if !self.indexes.insert(digest.clone()) {
            return Ok(());
        }
        let typed = registry::typed_manifest_path(self.name.path(), digest.as_str(), media_type::INDEX).transpose()?;
        let plain = registry::manifest_path(self.name.path(), digest.as_str())?;
        let kind = Kind::RegistryManifest(Some(media_type::INDEX.into()));
        let cas = self.blobs.cas_place(self.image, digest)?;
        let places = typed.into_iter().chain([plain]).map(|path| Place { origin: None, path }).chain([cas]);
        for place in places {
            plan.indexes.push(self.site.planned(place, kind.clone(), bytes.to_vec())?);
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
