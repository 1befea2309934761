//! The plan: every object that a publish writes, decided before anything is written.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::collect::{Image, MissingBlob};
use super::request::{Publication, PublishRequest};
use crate::catalogue::page::Pages;
use crate::catalogue::plan::{Catalogue, CatalogueError, CataloguePlan, ChangedImage, Planner};
use crate::layout::LAYOUT_MARKER;
use crate::registry::RegistryError;
use crate::registry::plan::{EarlierPlans, Planner as RegistryPlanner, PublishedImage, RegistryPlan};
use crate::site::collision::{self, Collision, RefCollisions};
use crate::site::description::Description;
use crate::site::index::{Entry, Index, IndexChange, PublishedEntries, by_ref};
use crate::site::map::{BlobPlaces, MapError, SiteMap};
use crate::site::path::{self, PathError};
use crate::site::settings::Views;
use crate::site::{Kind, Place, SitePath, registry as view};
use crate::store::blob_plan::BlobPlan;
use crate::store::change::{Change, PlannedDocument};
use crate::store::ref_indexes::RefIndexes;
use crate::store::site::{Site, SiteError};
use crate::store::site_image::{SiteImage, SiteImageError};
use crate::store::{StoreError, unfinished};
use oci_discovery::digest::{Algorithm, Digest};
use oci_discovery::discovery::ref_engines;
use oci_discovery::json::MAX_INDEX_BYTES;
use oci_discovery::name::ImageName;
use oci_discovery::parallel;

/// Everything that will be written, in the order of the phases.
#[derive(Debug, Default)]
pub struct Plan {
    /// Phase one: blobs.
    pub blobs: BlobPlan,
    /// Phase one, too: the `oci-layout` files of images that are layouts.
    pub markers: Vec<PlannedDocument>,
    /// Phase two: the registry view; its indexes of platforms go with the blobs.
    pub registry: RegistryPlan,
    /// Phase two, too: the indexes of refs.
    pub ref_indexes: RefIndexes,
    /// Phase two ends with the indexes of images. They say which refs there were, so that a publish that is killed before can be done
    /// again.
    pub indexes: Vec<PlannedDocument>,
    /// Phase three: the description and the ref-engines object.
    pub discovery: Vec<PlannedDocument>,
    /// Phase four: the catalogue.
    pub catalogue: CataloguePlan,
    /// Blobs that are not published because the layouts lack them.
    pub missing: Vec<MissingBlob>,
    /// Whether blobs that the site has already are read and hashed.
    pub recheck: bool,
    /// How many refs are published.
    pub refs: usize,
    /// What a person should hear of.
    pub warnings: Vec<String>,
}

/// An object of the plan, as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// The path, behind its origin where that is not the site's own.
    pub path: String,
    /// Its `Content-Type`.
    pub media_type: String,
    /// Its `Cache-Control`.
    pub cache_control: String,
    /// Its size in bytes.
    pub size: u64,
}

/// Why the planned site is impossible.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A name or template gives no place.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The site cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the site says of itself cannot be read.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The registry view cannot be planned.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The catalogue cannot be planned.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// What the site has of an image cannot be read.
    #[error(transparent)]
    SiteImage(#[from] SiteImageError),
    /// An image's name does not go with others.
    #[error(transparent)]
    Collision(#[from] Collision),
    /// A path of the program's own is refused.
    #[error("a document of the site has an invalid path")]
    Path(#[from] PathError),
    /// An index that nothing could read.
    #[error(
        "the index of {image} would have {size} bytes: consumers read at most {MAX_INDEX_BYTES}; publish fewer refs under \
         one name, or remove some first"
    )]
    IndexTooLarge {
        /// The image.
        image: ImageName,
        /// Its size in bytes.
        size: usize,
    },
    /// A blob that the site had when the plan was made.
    #[error("the blob {digest}, which {path} needs, was removed from the site during the publish; publish again")]
    BlobRemoved {
        /// Where it was to appear, too.
        path: SitePath,
        /// The blob.
        digest: Digest,
    },
    /// A ref-engines object that ocisite did not write.
    #[error(
        "{path} exists, and ocisite did not write it: expected no such file, or the content that this site needs; \
        move the file away, or publish to another directory or bucket"
    )]
    ForeignDocument {
        /// The document.
        path: SitePath,
    },
}

/// The state of a publish that is kept from one attempt to the next.
#[derive(Debug, Default)]
pub struct EarlierAttempts {
    /// The entries that the published images had before this publish: what an earlier attempt took out of an index is no longer in
    /// it, and still has to go from the registry view and the indexes of refs.
    entries_before: HashMap<ImageName, Vec<Entry>>,
    registry: EarlierPlans,
}

/// Decides what is written to publish `images` of `layouts` to `site`.
///
/// # Errors
/// Besides what is wrong with the site: [`StoreError::Conflict`] when another publisher changed it while it was being read.
pub fn plan(
    site: &Site,
    publication: Publication<'_>,
    images: Vec<Image>,
    earlier: &mut EarlierAttempts,
) -> Result<Plan, PlanError> {
    let Publication { request, pages, .. } = publication;
    let jobs = request.jobs;
    let names: Vec<&ImageName> = images.iter().map(|image| &image.name).collect();
    collision::refuse_images(&site.map, &site.map.settings().hosts, &site.images, &names)?;
    images.iter().try_for_each(|image| site.map.refuse_unserved(&image.name))?;
    let mut plan = Plan { blobs: plan_blobs(site, &images)?, recheck: request.recheck, ..Plan::default() };
    let Views { registry: has_registry, catalogue: has_catalogue } = site.map.settings().views;
    let mut planner = has_catalogue.then(|| Planner::new(Catalogue { site, pages }, request.recheck)).transpose()?;
    let known: BTreeSet<&ImageName> = site.images.iter().chain(&plan.blobs.images).collect();
    let collisions = RefCollisions::with(&site.map, known);
    let work = |(image, blob_places): (Image, &Arc<BlobPlaces>)| -> Result<PlannedImage, PlanError> {
        let planned = plan_image(site, publication, image, blob_places, planner.as_ref())?;
        if let Some((image, change)) = &planned.changed {
            refuse_unserved_refs(&site.map, &image.name, &change.after)?;
            collisions.refuse(&image.name, &change.after)?;
        }
        Ok(planned)
    };
    let planned_images = parallel::map(images.into_iter().zip(plan.blobs.places()), jobs, work)?;
    let mut registry = RegistryPlanner::new(site, request.recheck, jobs, &earlier.registry, &mut plan.blobs);
    for (position, planned) in planned_images.into_iter().enumerate() {
        plan.refs += planned.refs;
        plan.missing.extend(planned.missing);
        plan.warnings.extend(planned.warnings);
        plan.markers.extend(planned.marker);
        if let Some((image, mut change)) = planned.changed {
            remember_entries(&mut earlier.entries_before, &image.name, &mut change);
            let Image { name, blobs, relations, .. } = &image;
            let is_published = |reference: &str| request.recheck || planned.published.contains(reference);
            plan.ref_indexes.extend(RefIndexes::of(site, name, &change, is_published, jobs)?);
            if has_registry {
                registry.add(PublishedImage { position, name, blobs, relations }, &change)?;
            }
        }
        if let (Some(planner), Some(changed)) = (&mut planner, planned.for_catalogue) {
            planner.add(changed);
        }
        plan.indexes.push(planned.index);
    }
    if has_registry {
        plan.registry = registry.finish()?;
        earlier.registry.add(site, &plan.registry);
        plan.warnings.append(&mut plan.registry.warnings);
    }
    let mut all: Vec<&ImageName> = site.images.iter().chain(&plan.blobs.images).collect();
    all.sort();
    all.dedup();
    plan.discovery = plan_discovery(site, &all)?;
    plan.catalogue = match planner {
        Some(planner) => planner.finish(&all)?,
        None => CataloguePlan::without(site)?,
    };
    if has_registry || has_catalogue {
        let sources: Vec<&PlannedDocument> = plan.indexes.iter().chain(&plan.discovery).collect();
        parallel::map(sources, jobs, |document| site.refuse_change(document))?;
    }
    Ok(plan)
}

/// Refuses refs whose indexes no rendered server configuration serves.
fn refuse_unserved_refs(map: &SiteMap, image: &ImageName, index: &Index) -> Result<(), MapError> {
    if !map.has_ref_indexes() {
        return Ok(());
    }
    let mut names = by_ref(index.entries()).into_keys().filter_map(|reference| map.ref_index_name(image, reference));
    names.try_for_each(|name| map.refuse_unserved(&name))
}

/// What is planned for one image alone.
struct PlannedImage {
    refs: usize,
    missing: Vec<MissingBlob>,
    warnings: Vec<String>,
    marker: Option<PlannedDocument>,
    index: PlannedDocument,
    /// The published refs.
    published: BTreeSet<Arc<str>>,
    /// What the registry view and the indexes of refs are made from, where the site has them. Otherwise the image is let go of, for
    /// there may be many.
    changed: Option<(Image, IndexChange)>,
    /// What becomes of its page, where the site has the catalogue.
    for_catalogue: Option<ChangedImage>,
}

fn plan_image(
    site: &Site,
    publication: Publication<'_>,
    mut image: Image,
    blobs: &BlobPlaces,
    catalogue: Option<&Planner>,
) -> Result<PlannedImage, PlanError> {
    let place = site.map.index_place(&image.name)?;
    let marker = site.map.layout_marker_place(&image.name, &place, blobs)?;
    let marker = marker.map(|place| site.planned(place, Kind::LayoutMarker, LAYOUT_MARKER.to_vec())).transpose()?;
    let refs = image.entries.len();
    let published = image.entries.iter().filter_map(|entry| entry.reference.clone()).collect();
    let warnings = ending_warnings(site, &image, &place.path)?;
    image.warnings.extend(warnings);
    let (index, new) = plan_index(site, publication.request, &mut image, place, catalogue)?;
    let for_planner = |(planner, new): (&Planner, &NewIndex)| {
        let layouts =
            image.blobs.iter().filter_map(|found| Some((&found.blob.digest, publication.layouts.get(found.layout)?)));
        planner.published(&image.name, &new.change.after, new.digest.clone(), layouts.collect())
    };
    let for_catalogue = catalogue.zip(new.as_ref()).map(for_planner).transpose()?;
    let is_kept = keeps_changes(site);
    if let Some(None) = for_catalogue {
        image
            .warnings
            .push(format!("{} is omitted from the catalogue: its name is too long for the path of a page", image.name));
    }
    Ok(PlannedImage {
        refs,
        missing: std::mem::take(&mut image.missing),
        warnings: std::mem::take(&mut image.warnings),
        marker,
        index,
        published,
        changed: new.filter(|_| is_kept).map(|new| (image, new.change)),
        for_catalogue: for_catalogue.flatten(),
    })
}

/// Warnings of paths whose endings make browsers run what is there, on hosts that know no media types.
fn ending_warnings(site: &Site, image: &Image, index: &SitePath) -> Result<Vec<String>, PlanError> {
    let mut paths = vec![index.clone()];
    if site.map.settings().views.registry && view::is_name(image.name.path()) {
        let refs: BTreeSet<&str> = image.entries.iter().filter_map(|entry| entry.reference.as_deref()).collect();
        for tag in refs.into_iter().filter(|reference| view::is_tag(reference)) {
            paths.push(view::manifest_path(image.name.path(), tag)?);
        }
    }
    let warning = |path: SitePath| {
        let ending = path.ending_run_by_browsers()?;
        Some(format!(
            "{path} ends in .{ending}: a host that takes media types from file names, such as GitHub Pages, lets \
             browsers run this file; choose another name, or a server that `ocisite server-config` configures"
        ))
    };
    Ok(paths.into_iter().filter_map(warning).collect())
}

fn remember_entries(before: &mut HashMap<ImageName, Vec<Entry>>, image: &ImageName, change: &mut IndexChange) {
    let known = before.entry(image.clone()).or_default();
    known.append(&mut change.before);
    known.sort_unstable();
    known.dedup();
    change.before.clone_from(known);
}

impl Plan {
    /// The objects in the order in which they are written, with how they are served.
    pub fn objects(&self, site: &Site, pages: &Pages) -> Result<Vec<Object>, PlanError> {
        let map = &site.map;
        let mut objects = Vec::new();
        for blob in &self.blobs.all {
            objects.push(object(map, &self.blobs.place(blob)?, &blob.kind(), blob.size));
        }
        for tag in &self.registry.tags {
            for (path, _) in tag.names(self.blobs.images[tag.image].path())? {
                let kind = Kind::RegistryTag(Some(tag.media_type.to_string()));
                objects.push(object(map, &Place { origin: None, path }, &kind, tag.size));
            }
        }
        let of = |document: &PlannedDocument| object(map, &document.place, &document.kind, document.size);
        objects.extend(self.documents().chain(&self.catalogue.assets).map(of));
        for image in &self.catalogue.images {
            let place = Place { origin: None, path: image.page.clone() };
            objects.push(object(
                map,
                &place,
                &Kind::CataloguePage,
                image.page_bytes(Catalogue { site, pages })?.len() as u64,
            ));
        }
        objects.extend(self.catalogue.documents().map(of));
        Ok(objects)
    }

    /// The documents of the first three phases, in the order in which they are written.
    pub fn documents(&self) -> impl Iterator<Item = &PlannedDocument> {
        let RegistryPlan { indexes, lists, facts, .. } = &self.registry;
        let registry = indexes.iter().chain(lists).chain(facts);
        let indexes = self.ref_indexes.documents.iter().chain(&self.indexes);
        self.markers.iter().chain(registry).chain(indexes).chain(&self.discovery)
    }
}

fn object(map: &SiteMap, place: &Place, kind: &Kind, size: u64) -> Object {
    Object {
        path: map.show(place),
        media_type: kind.content_type().into_owned(),
        cache_control: kind.cache_control(),
        size,
    }
}

/// The blobs of the layouts at their places in the CAS.
fn plan_blobs(site: &Site, images: &[Image]) -> Result<BlobPlan, PlanError> {
    let mut plan = BlobPlan::with_capacity(images.iter().map(|image| image.blobs.len()).sum());
    for image in images {
        let position = plan.add_image(&site.map, &image.name)?;
        plan.add_blobs(&site.map, position, &image.blobs)?;
    }
    Ok(plan)
}

/// An index that may be new, with the digest of its bytes.
struct NewIndex {
    change: IndexChange,
    digest: Digest,
}

/// Whether objects are planned from the entries of images, before and after.
fn keeps_changes(site: &Site) -> bool {
    site.map.settings().views.registry || site.map.has_ref_indexes()
}

/// Plans the index, which takes the image's entries. What changes is told where the site has a view that asks.
///
/// An index that stays as it is need not be parsed, and can be large; only the registry view and the indexes of refs ask for its
/// entries all the same, and a catalogue that was not made from it.
fn plan_index(
    site: &Site,
    request: &PublishRequest,
    image: &mut Image,
    place: Place,
    catalogue: Option<&Planner>,
) -> Result<(PlannedDocument, Option<NewIndex>), PlanError> {
    let entries = std::mem::take(&mut image.entries);
    let cas_engine = ref_engines::cas_engine(site.map.published_cas_template(&image.name)?.as_str());
    let mut published = PublishedEntries::default();
    for entry in entries {
        let list = if entry.is_untagged_referrer { &mut published.referrers } else { &mut published.images };
        list.push(entry.with_cas_engine(&cas_engine));
    }
    let mut there = site.store(place.origin).read_document(&place.path, MAX_INDEX_BYTES)?;
    if !keeps_changes(site)
        && let Some(same) = there.take_if(|there| there.bytes == published.alone())
    {
        match catalogue.map_or(Ok(true), |catalogue| catalogue.is_current(&image.name, &same.bytes))? {
            true => return Ok((PlannedDocument::unchanged(place, Kind::Index, same), None)),
            false => there = Some(same),
        }
    }
    let mut index = match there.as_ref().map(|document| Index::parse(&document.bytes)) {
        None => Index::default(),
        Some(Ok(index)) => index,
        Some(Err(_)) if request.recheck => {
            let (path, name) = (&place.path, &image.name);
            image.warnings.push(format!(
                "the index {path} was damaged and was created again: {name} has only the refs of this publish"
            ));
            Index::default()
        }
        Some(Err(source)) => {
            return Err(SiteImageError::Index { path: place.path, image: image.name.clone(), source }.into());
        }
    };
    let before = if keeps_changes(site) { index.entries().to_vec() } else { vec![] };
    index.merge(published, request.merge, |entry| -> Result<bool, PlanError> {
        // Asked rarely: only for entries without a ref, when an image without a ref is published again.
        Ok((SiteImage { site, image: &image.name }).subject(entry)?.is_some())
    })?;
    let bytes = index.to_bytes();
    if bytes.len() as u64 > MAX_INDEX_BYTES {
        return Err(PlanError::IndexTooLarge { image: image.name.clone(), size: bytes.len() });
    }
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let document = PlannedDocument::new(place, Kind::Index, bytes, there);
    Ok((document, Some(NewIndex { change: IndexChange { before, after: index }, digest })))
}

/// The description and the ref-engines object of a site that is going to have `images`.
fn plan_discovery(site: &Site, images: &[&ImageName]) -> Result<Vec<PlannedDocument>, PlanError> {
    let own = |path: &str| -> Result<Place, PathError> { Ok(Place { origin: None, path: SitePath::new(path)? }) };
    let settings = site.map.settings();
    let is_same = site.settings_before.as_ref() == Some(settings) && site.images.iter().eq(images.iter().copied());
    let place = own(path::DESCRIPTION)?;
    let description = match site.description.clone() {
        Some(there) if is_same => PlannedDocument::unchanged(place, Kind::Description, there),
        // Merged from what was read then, so written only if it is still that.
        there => {
            let images = images.iter().copied().cloned().collect();
            let description = Description { settings: settings.clone(), images };
            PlannedDocument::new(place, Kind::Description, description.to_bytes(), there)
        }
    };
    let settings = site.map.settings();
    let cas_template = site.map.cas_is_shared().then(|| settings.cas_template.as_str());
    let bytes = ref_engines::write(settings.index_template.as_str(), cas_template);
    let ref_engines = site.planned(own(oci_discovery::discovery::WELL_KNOWN_PATH)?, Kind::RefEngines, bytes)?;
    let is_foreign = matches!((&description.change, &ref_engines.change), (Change::Create(_), Change::Replace(..)));
    // It may also be of a publish that was killed before it wrote the description.
    if is_foreign && unfinished::read(&*site.own)?.is_none() {
        // Not foreign, if another publisher made the site between the two reads.
        site.refuse_changed_description()?;
        return Err(PlanError::ForeignDocument { path: ref_engines.place.path });
    }
    Ok(vec![description, ref_engines])
}
