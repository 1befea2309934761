//! Taking images and refs out of a site.
//!
//! In the reverse of the order in which they were published: what leads to an index goes before the index. Their blobs are
//! left to the gc. What refers to an image (its signatures, say) goes with its last ref.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Serialize;

use super::MaintenanceError;
use crate::catalogue::page::Pages;
use crate::catalogue::plan::{self as catalogue, Catalogue};
use crate::registry::plan::{self as view, EarlierPlans};
use crate::site::description::Description;
use crate::site::index::{Entry, Index, IndexChange, list_refs};
use crate::site::path::DESCRIPTION;
use crate::site::{Kind, SitePath};
use crate::store::ref_indexes::RefIndexes;
use crate::store::retry::Retries;
use crate::store::site::{Site, SitePlace};
use crate::store::site_image::SiteImage;
use crate::store::unfinished::{self, Unfinished};
use crate::store::{Conflict, Expected, Store};
use oci_discovery::name::ImageName;
use oci_discovery::oci::referrers::fallback_tag;
use oci_discovery::oci::{Descriptor, media_type, walk};
use oci_discovery::seen::Seen;

/// What was taken out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Images that are gone.
    pub images: Vec<ImageName>,
    /// Refs that are gone from images that have others.
    pub refs: Vec<ImageName>,
    /// How many entries are gone from indexes, those of what referred to a removed image included.
    pub entries: usize,
}

/// Removes images, and refs of images: each name without a fragment all of its image, each with one that ref.
///
/// Where other publishers cannot be kept out, what they change meanwhile is read again, for as long as `wait`.
pub fn remove(place: &SitePlace, names: &[ImageName], wait: Duration) -> Result<Removed, MaintenanceError> {
    let _locks = super::open(place)?.lock(wait)?;
    let pages = Pages::load(place.template_dir.as_deref())?;
    let mut removal = Removal { left: by_image(names), ..Removal::default() };
    let mut retries = Retries::new(wait);
    loop {
        // Opened again each time: another publisher may have written before.
        let site = super::open(place)?;
        // What stands in the way of a note is refused before anything changes.
        let begun = unfinished::read(&*site.own)?.unwrap_or_default();
        site.stores().try_for_each(Store::begin_removal)?;
        let error = match remove_from(&site, &pages, &begun, &mut removal) {
            Ok(()) => return Ok(removal.removed),
            Err(error) => error,
        };
        match Conflict::of(&error) {
            Some(_) if site.stores().all(Store::has_lock) => return Err(error),
            Some(Conflict { path }) if !retries.pause() => {
                return Err(MaintenanceError::Contended { path: path.clone() });
            }
            Some(_) => {}
            None => return Err(error),
        }
    }
}

/// A removal, over all its attempts.
#[derive(Default)]
struct Removal {
    /// The refs that are left to remove, by image; none: all of them.
    left: BTreeMap<ImageName, Vec<String>>,
    removed: Removed,
    earlier: EarlierPlans,
}

/// Removes what is left to remove, and notes what is done. An image's own index is written last, so that what is left can
/// still be found after any failure.
fn remove_from(site: &Site, pages: &Pages, begun: &Unfinished, removal: &mut Removal) -> Result<(), MaintenanceError> {
    let Removal { left, removed, earlier } = removal;
    let changes =
        left.iter().map(|(image, refs)| Change::plan(site, image, refs, begun)).collect::<Result<Vec<_>, _>>()?;
    unfinished::begin(&*site.own, changes.iter().flat_map(Change::names))?;
    site.flush()?;
    let kept = changes.iter().filter(|change| !change.is_all());
    let kept: Vec<(&ImageName, &Index)> = kept.map(|change| (&change.image, &change.index.after)).collect();
    let gone: Vec<ImageName> =
        changes.iter().filter(|change| change.is_all()).map(|change| change.image.clone()).collect();
    catalogue::rewrite(Catalogue { site, pages }, &kept, &gone)?;
    forget(site, &gone)?;
    for change in &changes {
        change.apply(site, earlier)?;
        removed.entries += change.index.before.len() - change.index.after.entries().len();
        match change.is_all() {
            true => removed.images.push(change.image.clone()),
            false => removed.refs.extend(change.names()),
        }
        left.remove(&change.image);
    }
    site.flush()?;
    Ok(unfinished::end(&*site.own)?)
}

/// The refs to remove of each image; none: all of it.
fn by_image(names: &[ImageName]) -> BTreeMap<ImageName, Vec<String>> {
    let mut images: BTreeMap<ImageName, Vec<String>> = BTreeMap::new();
    let whole: HashSet<ImageName> = names.iter().filter(|name| name.fragment().is_none()).cloned().collect();
    for name in names {
        let refs = images.entry(name.image()).or_default();
        refs.extend(name.fragment().filter(|_| !whole.contains(&name.image())).map(str::to_string));
    }
    images
}

/// Whether the index at the place of an image that is not listed is its own: a publish or a removal of it was interrupted. A
/// template without `{host}` gives names of other hosts the same places.
fn is_unlisted(site: &Site, image: &ImageName) -> Result<bool, MaintenanceError> {
    let place = site.map.index_place(image)?;
    for known in &site.images {
        if site.map.index_place(known)? == place {
            return Ok(false);
        }
    }
    Ok(site.map.settings().hosts.iter().any(|host| host == image.host()))
}

/// Takes images out of the description. Made durable before their indexes go: nothing leads to them then.
fn forget(site: &Site, images: &[ImageName]) -> Result<(), MaintenanceError> {
    let kept: Vec<ImageName> = site.images.iter().filter(|image| !images.contains(image)).cloned().collect();
    if kept.len() == site.images.len() {
        return Ok(());
    }
    let description = Description { settings: site.map.settings().clone(), images: kept };
    let path = SitePath::new(DESCRIPTION)?;
    let there = site.description.as_ref();
    let expected = there.map_or(Expected::Absent, |there| Expected::Version(there.version.clone()));
    site.own.write_document(&path, &Kind::Description, &description.to_bytes(), &expected)?;
    Ok(site.own.flush()?)
}

/// What changes in one image.
struct Change {
    image: ImageName,
    refs: Vec<String>,
    index: IndexChange,
    expected: Expected,
}

impl Change {
    /// What is not there was, where its removal was `begun`.
    fn plan(site: &Site, image: &ImageName, refs: &[String], begun: &Unfinished) -> Result<Change, MaintenanceError> {
        let published = SiteImage { site, image };
        let found = published.index()?;
        let is_listed = site.images.binary_search(image).is_ok();
        let is_begun = names(image, refs).iter().all(|name| begun.removing.contains(name));
        if !is_listed && !is_begun && (found.is_none() || !is_unlisted(site, image)?) {
            let similar = super::similar(&site.images, image).cloned();
            return Err(MaintenanceError::NoSuchImage { name: image.clone(), similar });
        }
        let (mut after, expected) = found.unwrap_or((Index::default(), Expected::Absent));
        let before = after.entries().to_vec();
        if refs.is_empty() {
            after.remove(None);
        }
        for reference in refs {
            if after.remove(Some(reference)) == 0 && !is_begun {
                let (image, reference) = (image.clone(), reference.clone());
                let found = list_refs(before.iter().filter_map(|entry| entry.reference.as_deref().map(str::to_string)));
                return Err(MaintenanceError::NoSuchRef { image, reference, found });
            }
        }
        remove_referrers(published, &before, &mut after)?;
        Ok(Change { image: image.clone(), refs: refs.to_vec(), index: IndexChange { before, after }, expected })
    }

    /// What was asked for.
    fn names(&self) -> Vec<ImageName> {
        names(&self.image, &self.refs)
    }

    fn is_all(&self) -> bool {
        self.index.after.entries().is_empty()
    }

    fn apply(&self, site: &Site, earlier: &mut EarlierPlans) -> Result<(), MaintenanceError> {
        if site.map.settings().views.registry && crate::site::registry::is_name(self.image.path()) {
            view::remove(site, &self.image, &self.index, earlier)?;
        }
        let indexes = RefIndexes::of(site, &self.image, &self.index, |_| false, NonZeroUsize::MIN)?;
        for document in &indexes.documents {
            document.write(site.store(document.place.origin))?;
        }
        indexes.removals.iter().try_for_each(|place| site.store(place.origin).delete(&place.path))?;
        let place = site.map.index_place(&self.image)?;
        let store = site.store(place.origin);
        if !self.is_all() {
            let bytes = self.index.after.to_bytes();
            return Ok(store.write_document(&place.path, &Kind::Index, &bytes, &self.expected)?);
        }
        if !store.has_lock() && self.expected != Expected::Absent {
            // A store has no condition for removing. Emptied under one, the index is nobody's but ours to remove.
            store.write_document(&place.path, &Kind::Index, &self.index.after.to_bytes(), &self.expected)?;
        }
        let blobs = site.map.blob_places(&self.image)?;
        if let Some(marker) = site.map.layout_marker_place(&self.image, &place, &blobs)? {
            site.store(marker.origin).delete(&marker.path)?;
        }
        Ok(store.delete(&place.path)?)
    }
}

/// The image, or each of these refs of it.
fn names(image: &ImageName, refs: &[String]) -> Vec<ImageName> {
    match refs {
        [] => vec![image.clone()],
        refs => refs.iter().filter_map(|reference| image.with_fragment(Some(reference)).ok()).collect(),
    }
}

/// Takes out what referred to manifests that are not reached any more: entries without a ref that have a subject, and those under
/// fallback tags. What referred to nothing before stays: this removal is not about it.
fn remove_referrers(published: SiteImage<'_>, before: &[Entry], after: &mut Index) -> Result<(), MaintenanceError> {
    let (mut referrers, mut others) = (Vec::new(), Vec::new());
    for entry in after.entries() {
        let subject = match entry.reference.as_deref() {
            Some(_) => entry.fallback_subject().map(str::to_string),
            None => published.subject(entry)?.map(|subject| fallback_tag(&subject)),
        };
        match subject {
            Some(subject) => referrers.push((subject, entry)),
            None => others.push(entry),
        }
    }
    if referrers.is_empty() {
        return Ok(());
    }
    let mut once = Manifests { published, seen: Seen::new() };
    let once: HashSet<String> = once.add(before)?.into_iter().collect();
    let mut waiting: HashMap<String, Vec<&Entry>> = HashMap::new();
    for (subject, entry) in referrers {
        match once.contains(&subject) {
            true => waiting.entry(subject).or_default().push(entry),
            false => others.push(entry),
        }
    }
    // What refers to a referrer that stays, stays.
    let mut now = Manifests { published, seen: Seen::new() };
    let mut found = now.add(others)?;
    while let Some(subject) = found.pop() {
        found.extend(now.add(waiting.remove(&subject).unwrap_or_default())?);
    }
    let going: HashSet<Entry> = waiting.into_values().flatten().cloned().collect();
    after.retain(|entry| !going.contains(entry));
    Ok(())
}

/// The manifests that entries reach: their own, and those that indexes list. Each is read once, whatever leads to it.
struct Manifests<'a> {
    published: SiteImage<'a>,
    seen: Seen,
}

impl Manifests<'_> {
    /// Adds what entries reach, and gives the new manifests, as fallback tags, which may be cut: that is how all of them are compared.
    fn add<'e>(&mut self, entries: impl IntoIterator<Item = &'e Entry>) -> Result<Vec<String>, MaintenanceError> {
        let roots: Vec<Descriptor> = entries.into_iter().filter_map(|entry| entry.descriptor().ok()).collect();
        let indexes = |descriptor: &Descriptor| match media_type::is_index(&descriptor.media_type) {
            true => Ok(Some(self.published.links_or_none(descriptor)?)),
            false => Ok(None),
        };
        let mut tags = Vec::new();
        walk::reach(&self.seen, roots, indexes, |descriptor, _| {
            if media_type::holds_descriptors(&descriptor.media_type) {
                tags.push(fallback_tag(&descriptor.digest));
            }
            Ok::<_, MaintenanceError>(())
        })?;
        Ok(tags)
    }
}
