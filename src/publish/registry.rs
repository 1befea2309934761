//! What a publish does for the registry view (see [`crate::site::registry`]): manifests and blobs appear under `v2/` as links
//! to the CAS, tags as copies of small manifests, and the lists are written anew where they changed.
//!
//! The cost follows the change: only what is published now is looked at. When the view is new to a site, or an image kept
//! refs from before, the rest is read back from the site itself.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::collect::Image;
use super::plan::{BlobRole, IndexChange, Originals, Plan, PlanError, PlannedBlob, PlannedName, PlannedTag};
use crate::site::index::{Entry, Merge};
use crate::site::{Kind, Place, SitePath, registry};
use crate::store::site::Site;
use crate::store::site_image::{SiteImage, SiteImageError};
use crate::store::write_log::WriteLog;
use crate::store::{Document, Expected};
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

/// Plans what all repositories share.
pub(super) fn plan_site(site: &Site, originals: &mut Originals, plan: &mut Plan) -> Result<(), PlanError> {
    if let [first, second, ..] = site.map.settings().hosts.as_slice() {
        return Err(PlanError::RegistryHosts { first: first.clone(), second: second.clone() });
    }
    if !site.views_before().registry {
        plan_images_from_before(site, originals, plan)?;
    }
    let own = |path| Place { origin: None, path };
    plan.lists.push(site.planned(own(registry::ping_path()?), Kind::RegistryPing, PING.to_vec())?);
    let empty = registry::referrers_list([]);
    plan.lists.push(site.planned(own(registry::no_referrers_path()?), Kind::Referrers, empty)?);
    // Tags that lead to the same platforms have one index.
    let mut places = HashSet::new();
    plan.early_documents.retain(|document| places.insert(document.place.clone()));
    Ok(())
}

/// The view is new: images that are not published now get theirs from what the site has of them.
fn plan_images_from_before(site: &Site, originals: &mut Originals, plan: &mut Plan) -> Result<(), PlanError> {
    let published: HashSet<ImageName> = plan.images.iter().cloned().collect();
    for name in site.images.iter().filter(|name| !published.contains(name)) {
        let Some((after, _)) = (SiteImage { site, image: name }).index()? else { continue };
        let position = plan.images.len();
        plan.images.push(name.clone());
        plan.blob_places.push(Arc::new(site.map.blob_places(name)?));
        let image = Image {
            name: name.clone(),
            entries: vec![],
            blobs: vec![],
            missing: vec![],
            referrers: vec![],
            warnings: vec![],
        };
        let change = IndexChange { before: vec![], after };
        plan_image(site, Merge::ReplaceRefs, position, &image, &change, originals, plan)?;
    }
    Ok(())
}

/// Plans the repository of one image, at a position of [`Plan::images`].
pub(super) fn plan_image(
    site: &Site,
    merge: Merge,
    position: usize,
    image: &Image,
    change: &IndexChange,
    originals: &mut Originals,
    plan: &mut Plan,
) -> Result<(), PlanError> {
    let name = image.name.path();
    if !registry::is_name(name) {
        plan.warnings.push(format!(
            "{} is not in the registry view: {name:?} is no repository name of the distribution-spec (lower case only)",
            image.name
        ));
        return Ok(());
    }
    let mut repository = Repository::new(image);
    if !site.views_before().registry {
        repository.add_from_site(SiteImage { site, image: &image.name }, change.after.entries())?;
    }
    repository.plan_links(position, originals, plan)?;
    plan_tags(site, position, &image.name, change, &repository, plan)?;
    plan_referrers(site, merge, &image.name, change, repository.referrers, plan)
}

/// Plans what a repository says when refs were taken out of its image: its lists without them, and the tags that go.
pub fn plan_removal(site: &Site, name: &ImageName, change: &IndexChange, plan: &mut Plan) -> Result<(), PlanError> {
    let nothing_published = Image {
        name: name.clone(),
        entries: vec![],
        blobs: vec![],
        missing: vec![],
        referrers: vec![],
        warnings: vec![],
    };
    plan_tags(site, 0, name, change, &Repository::new(&nothing_published), plan)
}

/// What a repository holds, as far as this publish has to look at it.
struct Repository {
    manifests: BTreeMap<Digest, (u64, Arc<str>)>,
    blobs: BTreeMap<Digest, (u64, Arc<str>)>,
    layouts: HashMap<Digest, usize>,
    referrers: Vec<(Digest, Descriptor)>,
}

impl Repository {
    fn new(image: &Image) -> Repository {
        let mut repository = Repository {
            manifests: BTreeMap::new(),
            blobs: BTreeMap::new(),
            layouts: HashMap::new(),
            referrers: image.referrers.clone(),
        };
        for found in &image.blobs {
            let blob = &found.blob;
            let list = if blob.is_manifest { &mut repository.manifests } else { &mut repository.blobs };
            list.insert(blob.digest.clone(), (blob.size, blob.media_type.clone()));
            repository.layouts.insert(blob.digest.clone(), found.layout);
        }
        repository
    }

    /// Adds what entries reach that were published before, read through the site's own CAS. What is published now is known from its
    /// layout, with all that it reaches.
    fn add_from_site(&mut self, image: SiteImage, entries: &[Entry]) -> Result<(), PlanError> {
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

    fn plan_links(&self, image: usize, originals: &mut Originals, plan: &mut Plan) -> Result<(), PlanError> {
        let all = self.manifests.iter().map(|blob| (blob, true)).chain(self.blobs.iter().map(|blob| (blob, false)));
        for ((digest, (size, media_type)), is_manifest) in all {
            let blob = |role, same_as| PlannedBlob {
                image,
                layout: self.layouts.get(digest).copied(),
                digest: digest.clone(),
                size: *size,
                media_type: media_type.clone(),
                role,
                same_as,
            };
            let original = *originals.entry(digest.clone()).or_insert_with(|| {
                plan.blobs.push(blob(BlobRole::Cas, None));
                plan.blobs.len() - 1
            });
            let in_cas = plan.blob_places[image].place(digest)?;
            let roles: &[BlobRole] = match is_manifest {
                true => &[BlobRole::RegistryManifest, BlobRole::RegistryTypedManifest],
                false => &[BlobRole::RegistryBlob],
            };
            for role in roles {
                let link = blob(*role, Some(original));
                // With preset `registry` the view's blobs are the CAS.
                if plan.blob_place(&link)? != in_cas {
                    plan.blobs.push(link);
                }
            }
        }
        Ok(())
    }
}

/// The entries of an index by ref.
fn by_ref<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> BTreeMap<&'a str, Vec<&'a Entry>> {
    let mut refs: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        if let Some(reference) = entry.reference.as_deref() {
            refs.entry(reference).or_default().push(entry);
        }
    }
    refs
}

fn plan_tags(
    site: &Site,
    image: usize,
    name: &ImageName,
    change: &IndexChange,
    repository: &Repository,
    plan: &mut Plan,
) -> Result<(), PlanError> {
    let before = by_ref(&change.before);
    let after = by_ref(change.after.entries());
    let mut planner = TagPlanner { site, image, name, media_types: Pool::default(), indexes: HashSet::new() };
    let mut tags = Vec::new();
    for (reference, entries) in &after {
        if !registry::is_tag(reference) {
            plan.warnings.push(format!("the ref {reference:?} of {name} is not in the registry view: it is no tag"));
            continue;
        }
        tags.push(*reference);
        let is_published = entries.iter().any(|entry| repository.manifests.contains_key(&entry.digest));
        if is_published {
            planner.plan(entries, plan)?;
        }
    }
    for reference in before.keys().filter(|reference| !after.contains_key(*reference) && registry::is_tag(reference)) {
        plan.removals.push(registry::manifest_path(name.path(), reference)?);
        let typed = registry::typed_manifest_paths(name.path(), reference);
        plan.removals.extend(typed.into_iter().map(|(path, _)| path));
        plan.removals.push(registry::tags_after_path(name.path(), reference)?);
    }
    plan_tags_lists(site, name.path(), &tags, plan)
}

/// Plans the tags of one image.
struct TagPlanner<'a> {
    site: &'a Site,
    /// The position in [`Plan::images`].
    image: usize,
    name: &'a ImageName,
    media_types: Pool<str>,
    /// The indexes that were planned for tags of several platforms. Many tags may lead to one.
    indexes: HashSet<Digest>,
}

impl TagPlanner<'_> {
    /// Plans the tag of a ref with these entries: a ref with one entry is that entry's manifest; one with several (a platform
    /// each) becomes an image index of them.
    fn plan(&mut self, entries: &[&Entry], plan: &mut Plan) -> Result<(), PlanError> {
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
    fn plan_index(&mut self, digest: &Digest, bytes: &[u8], plan: &mut Plan) -> Result<(), PlanError> {
        if !self.indexes.insert(digest.clone()) {
            return Ok(());
        }
        let typed = registry::typed_manifest_path(self.name.path(), digest.as_str(), media_type::INDEX).transpose()?;
        let plain = registry::manifest_path(self.name.path(), digest.as_str())?;
        let kind = Kind::RegistryManifest(Some(media_type::INDEX.into()));
        let cas = plan.blob_places[self.image].place(digest)?;
        let places = typed.into_iter().chain([plain]).map(|path| Place { origin: None, path }).chain([cas]);
        for place in places {
            plan.early_documents.push(self.site.planned(place, kind.clone(), bytes.to_vec())?);
        }
        Ok(())
    }

    /// A name that leads to a manifest, with what is there now.
    fn plan_name(&self, path: &SitePath, digest: &Digest) -> Result<PlannedName, PlanError> {
        let there = self.site.own.read_document(path, MAX_MANIFEST_BYTES)?;
        let is_it = |there: &Document| Digest::of(digest.algorithm(), &there.bytes) == *digest;
        let is_unchanged = there.as_ref().is_some_and(is_it);
        let size = there.as_ref().map_or(0, |there| there.bytes.len() as u64);
        let expected = there.map_or(Expected::Absent, |there| Expected::Version(there.version));
        Ok(PlannedName { expected, size, is_unchanged })
    }
}

fn plan_tags_lists(site: &Site, name: &str, tags: &[&str], plan: &mut Plan) -> Result<(), PlanError> {
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

fn plan_referrers(
    site: &Site,
    merge: Merge,
    name: &ImageName,
    change: &IndexChange,
    referrers: Vec<(Digest, Descriptor)>,
    plan: &mut Plan,
) -> Result<(), PlanError> {
    let mut by_subject: BTreeMap<Digest, Vec<Descriptor>> = BTreeMap::new();
    for (subject, referrer) in referrers {
        by_subject.entry(subject).or_default().push(referrer);
    }
    let refs: BTreeSet<&str> = change.after.entries().iter().filter_map(|entry| entry.reference.as_deref()).collect();
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

/// Writes the tags that differ from what is there. Each is a copy of a manifest in the CAS, which is read once for many tags that
/// lead to it.
pub(super) fn write_tags(site: &Site, plan: &Plan, jobs: NonZeroUsize, log: &WriteLog<'_>) -> Result<(), PlanError> {
    let mut tags: Vec<&PlannedTag> = plan.tags.iter().collect();
    tags.sort_by_key(|tag| (tag.image, &tag.digest, &tag.media_type));
    let is_same =
        |a: &&PlannedTag, b: &&PlannedTag| (a.image, &a.digest, &a.media_type) == (b.image, &b.digest, &b.media_type);
    let groups: Vec<&[&PlannedTag]> = tags.chunk_by(is_same).flat_map(|same| same.chunks(TAGS_AT_ONCE)).collect();
    parallel::map(&groups, jobs, |tags| write_tags_of_manifest(site, plan, tags, log))?;
    Ok(())
}

/// Writes tags that lead to one manifest.
fn write_tags_of_manifest(site: &Site, plan: &Plan, tags: &[&PlannedTag], log: &WriteLog<'_>) -> Result<(), PlanError> {
    let Some(first) = tags.first() else { return Ok(()) };
    let image = SiteImage { site, image: &plan.images[first.image] };
    let mut manifest = None;
    if !tags.iter().all(|tag| tag.is_unchanged()) {
        manifest = image.read(&Descriptor::new(&first.media_type, first.digest.clone(), first.size))?;
    }
    let kind = Kind::RegistryTag(Some(first.media_type.to_string()));
    // The manifest may be one that the layout lacks and was allowed to.
    for tag in tags.iter().filter(|tag| manifest.is_some() || tag.is_unchanged()) {
        for (path, planned) in tag.names(image.image.path())? {
            let changed = manifest.as_ref().filter(|_| !planned.is_unchanged);
            if let Some(manifest) = changed {
                site.own.write_document(&path, &kind, manifest, &planned.expected)?;
            }
            let size = if planned.is_unchanged { planned.size } else { tag.size };
            log.add(site, Place { origin: None, path }, changed.is_some(), size);
        }
        remove_other_types(site, image.image.path(), tag)?;
    }
    Ok(())
}

/// A tag that changed its type has its old typed name still; also when the publish that changed it was killed.
fn remove_other_types(site: &Site, name: &str, tag: &PlannedTag) -> Result<(), PlanError> {
    let own = tag.names(name)?;
    for (path, _) in registry::typed_manifest_paths(name, &tag.tag) {
        if own.iter().all(|(known, _)| *known != path) && site.own.stat(&path)?.is_some() {
            site.own.remove_document(&path)?;
        }
    }
    Ok(())
}
