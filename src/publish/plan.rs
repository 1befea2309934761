//! The plan: every object that a publish writes, decided before anything is written.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::collect::{Image, MissingBlob};
use super::registry;
use super::request::{Publication, Request};
use crate::catalogue::page::Pages;
use crate::catalogue::plan::{Catalogue, CatalogueError, CataloguePlan, ChangedImage, Planner};
use crate::layout::LAYOUT_MARKER;
use crate::site::description::Description;
use crate::site::index::{Entry, Index, Published};
use crate::site::map::{BlobPlaces, MapError, SiteMap};
use crate::site::path::{self, PathError};
use crate::site::settings::Views;
use crate::site::{Kind, Place, SitePath, registry as view};
use crate::store::change::{Change, PlannedDocument};
use crate::store::site::{Site, SiteError};
use crate::store::site_image::{SiteImage, SiteImageError};
use crate::store::{Expected, StoreError, unfinished};
use oci_discovery::digest::{Algorithm, Digest};
use oci_discovery::discovery::ref_engines;
use oci_discovery::json::MAX_INDEX_BYTES;
use oci_discovery::name::ImageName;
use oci_discovery::parallel;

/// Everything that will be written, in the order of the phases.
#[derive(Debug, Default)]
pub struct Plan {
    /// The images, in the order of their names; blobs refer to them by position.
    pub images: Vec<ImageName>,
    /// Where the blobs of each image go, one for all where that is one place.
    pub blob_places: Vec<Arc<BlobPlaces>>,
    /// Phase one: blobs, each place once.
    pub blobs: Vec<PlannedBlob>,
    /// Phase one, too: the `oci-layout` files of images that are layouts, and the registry view's indexes of platforms.
    pub early_documents: Vec<PlannedDocument>,
    /// Phase two: the registry view's tags.
    pub tags: Vec<PlannedTag>,
    /// Then its lists.
    pub lists: Vec<PlannedDocument>,
    /// Then what it says of refs that are no more goes.
    pub removals: Vec<SitePath>,
    /// Phase two ends with the indexes. They say which refs there were, so that a publish that is killed before can be done
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

/// A blob and the place it goes to. The place follows from the image and the digest, so it is not stored: there may be
/// hundreds of thousands.
#[derive(Clone, Debug)]
pub struct PlannedBlob {
    /// The position in [`Plan::images`].
    pub image: usize,
    /// The position of the layout that has the blob; None: the site has it.
    pub layout: Option<usize>,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The media type of the descriptor that reached it first.
    pub media_type: Arc<str>,
    /// Which of the blob's places this is.
    pub role: BlobRole,
    /// The position in [`Plan::blobs`] of the same blob at another place, which this one can be linked to.
    pub same_as: Option<usize>,
}

/// The places that one blob can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlobRole {
    /// In the CAS.
    Cas,
    /// `blobs/DIGEST` of the registry view.
    RegistryBlob,
    /// `manifests/DIGEST` of the registry view.
    RegistryManifest,
    /// The typed name of the same.
    RegistryTypedManifest,
}

/// A tag of the registry view. Its bytes are those of a manifest in the CAS, and are read when it is written; its paths follow
/// from the image and the tag. An image may have hundreds of thousands of tags.
#[derive(Clone, Debug)]
pub struct PlannedTag {
    /// The position in [`Plan::images`].
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

/// One name of a tag.
#[derive(Clone, Debug)]
pub struct PlannedName {
    /// What is there now.
    pub expected: Expected,
    /// The size of that in bytes.
    pub size: u64,
    /// Whether that is the manifest already.
    pub is_unchanged: bool,
}

impl PlannedTag {
    /// The names, with the paths they have in the repository `name`, in the order in which they are written.
    pub fn names(&self, name: &str) -> Result<Vec<(SitePath, &PlannedName)>, PathError> {
        let mut names = Vec::with_capacity(2);
        if let Some(typed) = &self.typed
            && let Some(path) = view::typed_manifest_path(name, &self.tag, &self.media_type)
        {
            names.push((path?, typed));
        }
        names.push((view::manifest_path(name, &self.tag)?, &self.plain));
        Ok(names)
    }

    /// Whether all of it is there already.
    pub fn is_unchanged(&self) -> bool {
        self.plain.is_unchanged && self.typed.as_ref().is_none_or(|typed| typed.is_unchanged)
    }
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
    /// The catalogue cannot be planned.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// What the site has of an image cannot be read.
    #[error(transparent)]
    SiteImage(#[from] SiteImageError),
    /// A path of the program's own is refused.
    #[error("the site's own documents have no place")]
    Path(#[from] PathError),
    /// A file and a directory of one name.
    #[error(
        "{first} and {second} cannot both be published: the index of the first is the file {path}, the second needs a \
         directory of that name; --index-template 'https://{{host}}/oci-index/{{+path}}/index.json' keeps them apart"
    )]
    FileAndDirectory {
        /// The image whose index is a file.
        first: ImageName,
        /// The image that needs a directory there.
        second: ImageName,
        /// The path.
        path: SitePath,
    },
    /// One path for two images.
    #[error(
        "{first} and {second} would share the index {path}{}; \
         keep them apart with another --index-template, or with --root-per-host when they are of two hosts",
        if *.only_case { " on a file system that ignores case" } else { "" }
    )]
    SamePath {
        /// One image.
        first: ImageName,
        /// The other.
        second: ImageName,
        /// The path of the first.
        path: SitePath,
        /// Whether their paths differ in case.
        only_case: bool,
    },
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
    /// Names of several hosts in one root that does not tell them apart.
    #[error(
        "{first} and {second} are of different hosts, but the index template {template} gives their paths no {{host}}: \
         each host would serve the other's images; use a template such as 'https://{{host}}/oci-index/{{host}}/{{+path}}', \
         or --root-per-host"
    )]
    SeveralHosts {
        /// A name of one host.
        first: String,
        /// A name of another.
        second: String,
        /// The template.
        template: String,
    },
    /// A blob that the site had when the plan was made.
    #[error("the blob {digest}, needed for {path}, vanished from the site while it was being published; publish again")]
    Vanished {
        /// Where it was to appear, too.
        path: SitePath,
        /// The blob.
        digest: Digest,
    },
    /// Two hosts cannot share one `v2/`.
    #[error("the registry view has no room for two hosts, {first} and {second}: use --root-per-host")]
    RegistryHosts {
        /// One host.
        first: String,
        /// The other.
        second: String,
    },
    /// A document of somebody else stands where ours belongs.
    #[error(
        "{path} is there already and says something else than this site would; merge them by hand, or move it away"
    )]
    Foreign {
        /// The document.
        path: SitePath,
    },
}

/// The entries that the published images had before this publish, kept from one attempt to the next: what an earlier attempt
/// took out of an index is no longer in it, and still has to go from the registry view.
pub type EntriesBefore = HashMap<ImageName, Vec<Entry>>;

/// Decides what is written to publish `images` of `layouts` to `site`.
///
/// # Errors
/// Besides what is wrong with the site: [`StoreError::Conflict`] when another publisher changed it while it was being read.
pub fn plan(
    site: &Site,
    publication: Publication<'_>,
    images: Vec<Image>,
    before: &mut EntriesBefore,
) -> Result<Plan, PlanError> {
    let Publication { request, pages, .. } = publication;
    let jobs = request.jobs;
    refuse_mixed_hosts(site, &images)?;
    refuse_collisions(site, &images)?;
    images.iter().try_for_each(|image| site.map.refuse_hidden(&image.name))?;
    let blob_places = plan_blob_places(&site.map, &images)?;
    let (blobs, mut originals) = plan_blobs(&site.map, &images, &blob_places)?;
    let names = images.iter().map(|image| image.name.clone()).collect();
    let mut plan = Plan { images: names, blob_places, blobs, recheck: request.recheck, ..Plan::default() };
    let Views { registry: has_registry, catalogue: has_catalogue } = site.map.settings().views;
    let mut planner = has_catalogue.then(|| Planner::new(Catalogue { site, pages }, request.recheck)).transpose()?;
    let work = |(image, blob_places): (Image, &Arc<BlobPlaces>)| {
        plan_image(site, publication, image, blob_places, planner.as_ref())
    };
    let planned_images = parallel::map(images.into_iter().zip(&plan.blob_places), jobs, work)?;
    for (position, planned) in planned_images.into_iter().enumerate() {
        plan.refs += planned.refs;
        plan.missing.extend(planned.missing);
        plan.warnings.extend(planned.warnings);
        plan.early_documents.extend(planned.marker);
        if let Some((image, mut change)) = planned.for_registry {
            remember_entries(before, &image.name, &mut change);
            registry::plan_image(site, request.merge, position, &image, &change, &mut originals, &mut plan)?;
        }
        if let (Some(planner), Some(changed)) = (&mut planner, planned.for_catalogue) {
            planner.add(changed);
        }
        plan.indexes.push(planned.index);
    }
    if has_registry {
        registry::plan_site(site, &mut originals, &mut plan)?;
    }
    let mut all: Vec<&ImageName> = site.images.iter().chain(&plan.images).collect();
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

/// What is planned for one image alone.
struct PlannedImage {
    refs: usize,
    missing: Vec<MissingBlob>,
    warnings: Vec<String>,
    marker: Option<PlannedDocument>,
    index: PlannedDocument,
    /// What the registry view is made from, where the site has it. Otherwise the image is let go of, for there may be many.
    for_registry: Option<(Image, IndexChange)>,
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
    let warnings = ending_warnings(site, &image, &place.path)?;
    image.warnings.extend(warnings);
    let (index, new) = plan_index(site, publication.request, &mut image, place, catalogue)?;
    let published = |(planner, new): (&Planner, &NewIndex)| {
        let layouts =
            image.blobs.iter().filter_map(|found| Some((&found.blob.digest, publication.layouts.get(found.layout)?)));
        planner.published(&image.name, &new.change.after, new.digest.clone(), layouts.collect())
    };
    let for_catalogue = catalogue.zip(new.as_ref()).map(published).transpose()?;
    let has_registry = site.map.settings().views.registry;
    if let Some(None) = for_catalogue {
        image.warnings.push(format!("{} is not in the catalogue: its name is too long for a page's path", image.name));
    }
    Ok(PlannedImage {
        refs,
        missing: std::mem::take(&mut image.missing),
        warnings: std::mem::take(&mut image.warnings),
        marker,
        index,
        for_registry: new.filter(|_| has_registry).map(|new| (image, new.change)),
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
            "{path} ends in .{ending}: hosts that tell media types by endings alone (GitHub Pages, say) make browsers run \
             it; choose another name for such a host, or a server that `ocisite server-config` configures"
        ))
    };
    Ok(paths.into_iter().filter_map(warning).collect())
}

fn remember_entries(before: &mut EntriesBefore, image: &ImageName, change: &mut IndexChange) {
    let known = before.entry(image.clone()).or_default();
    known.append(&mut change.before);
    known.sort_unstable();
    known.dedup();
    change.before.clone_from(known);
}

impl PlanError {
    /// The document that another publisher changed, if that is what went wrong.
    pub fn conflict(&self) -> Option<&SitePath> {
        match self {
            PlanError::Store(error) => error.conflict(),
            PlanError::Site(error) => error.conflict(),
            PlanError::Catalogue(error) => error.conflict(),
            _ => None,
        }
    }
}

impl Plan {
    /// The objects in the order in which they are written, with how they are served.
    pub fn objects(&self, site: &Site, pages: &Pages) -> Result<Vec<Object>, PlanError> {
        let map = &site.map;
        let mut objects = Vec::new();
        for blob in &self.blobs {
            objects.push(object(map, &self.blob_place(blob)?, &blob.kind(), blob.size));
        }
        for tag in &self.tags {
            for (path, _) in tag.names(self.images[tag.image].path())? {
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

    /// Where a blob goes.
    pub fn blob_place(&self, blob: &PlannedBlob) -> Result<Place, PlanError> {
        let (name, digest) = (self.images[blob.image].path(), &blob.digest);
        let path = match blob.role {
            BlobRole::Cas => return Ok(self.blob_places[blob.image].place(digest)?),
            BlobRole::RegistryBlob => view::blob_path(name, digest),
            BlobRole::RegistryManifest => view::manifest_path(name, digest.as_str()),
            BlobRole::RegistryTypedManifest => {
                let plain = || view::manifest_path(name, digest.as_str());
                view::typed_manifest_path(name, digest.as_str(), &blob.media_type).unwrap_or_else(plain)
            }
        };
        Ok(Place { origin: None, path: path? })
    }

    /// The documents of the first three phases, in the order in which they are written.
    pub fn documents(&self) -> impl Iterator<Item = &PlannedDocument> {
        self.early_documents.iter().chain(&self.lists).chain(&self.indexes).chain(&self.discovery)
    }
}

impl PlannedBlob {
    /// What it is served as.
    pub fn kind(&self) -> Kind {
        let media_type = Some(self.media_type.to_string());
        match self.role {
            BlobRole::Cas | BlobRole::RegistryBlob => Kind::Blob(media_type),
            BlobRole::RegistryManifest | BlobRole::RegistryTypedManifest => Kind::RegistryManifest(media_type),
        }
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

/// The position in [`Plan::blobs`] of a digest's first place, from which others are linked.
pub(super) type Originals = HashMap<Digest, usize>;

fn plan_blob_places(map: &SiteMap, images: &[Image]) -> Result<Vec<Arc<BlobPlaces>>, PlanError> {
    let mut all: Vec<Arc<BlobPlaces>> = Vec::with_capacity(images.len());
    for image in images {
        let places = map.blob_places(&image.name)?;
        // With one pool for all images there is one value for all of them.
        let same = all.last().filter(|last| ***last == places).cloned();
        all.push(same.unwrap_or_else(|| Arc::new(places)));
    }
    Ok(all)
}

/// Every blob at every place it needs, each place once. Where one blob is needed at several places of one root, all but
/// the first refer to the first.
fn plan_blobs(
    map: &SiteMap,
    images: &[Image],
    places: &[Arc<BlobPlaces>],
) -> Result<(Vec<PlannedBlob>, Originals), PlanError> {
    let is_shared = map.cas_is_shared();
    // Not grown step by step: each step would take up to twice the room.
    let mut planned: Vec<PlannedBlob> = Vec::with_capacity(images.iter().map(|image| image.blobs.len()).sum());
    let mut first = Originals::new();
    for (position, image) in images.iter().enumerate() {
        let mut in_image: HashSet<&Digest> = HashSet::new();
        for found in &image.blobs {
            let digest = &found.blob.digest;
            let earlier = first.get(digest).copied();
            if (is_shared && earlier.is_some()) || !in_image.insert(digest) {
                continue;
            }
            if !is_shared && let Some(earlier) = earlier {
                let there = places[planned[earlier].image].place(digest)?;
                if there == places[position].place(digest)? {
                    continue;
                }
            }
            first.entry(digest.clone()).or_insert(planned.len());
            planned.push(PlannedBlob {
                image: position,
                layout: Some(found.layout),
                digest: digest.clone(),
                size: found.blob.size,
                media_type: found.blob.media_type.clone(),
                role: BlobRole::Cas,
                same_as: earlier,
            });
        }
    }
    // A template that cannot place one blob can place none: found here, not after half of them are written.
    for blob in planned.iter().take(1) {
        places[blob.image].place(&blob.digest)?;
    }
    Ok((planned, first))
}

/// The entries of an index before and after a publish.
#[derive(Debug)]
pub struct IndexChange {
    /// What it had.
    pub before: Vec<Entry>,
    /// What it will have.
    pub after: Index,
}

/// An index that may be new, with the digest of its bytes.
struct NewIndex {
    change: IndexChange,
    digest: Digest,
}

/// Plans the index, which takes the image's entries. What changes is told where the site has a view that asks.
///
/// An index that stays as it is need not be parsed, and can be large; only the registry view asks for its entries all the same,
/// and a catalogue that was not made from it.
fn plan_index(
    site: &Site,
    request: &Request,
    image: &mut Image,
    place: Place,
    catalogue: Option<&Planner>,
) -> Result<(PlannedDocument, Option<NewIndex>), PlanError> {
    let entries = std::mem::take(&mut image.entries);
    let cas_engine = ref_engines::cas_engine(site.map.published_cas_template(&image.name)?.as_str());
    let mut published = Published::default();
    for entry in entries {
        let list = if entry.is_untagged_referrer { &mut published.referrers } else { &mut published.images };
        list.push(entry.with_cas_engine(&cas_engine));
    }
    let mut there = site.store(place.origin).read_document(&place.path, MAX_INDEX_BYTES)?;
    if !site.map.settings().views.registry
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
            image
                .warnings
                .push(format!("the index {path} was damaged: {name} has only the refs that are published now"));
            Index::default()
        }
        Some(Err(source)) => {
            return Err(SiteImageError::Index { path: place.path, image: image.name.clone(), source }.into());
        }
    };
    let before = if site.map.settings().views.registry { index.entries().to_vec() } else { vec![] };
    index.merge(published, request.merge, |entry| is_referrer(site, &image.name, entry))?;
    let bytes = index.to_bytes();
    if bytes.len() as u64 > MAX_INDEX_BYTES {
        return Err(PlanError::IndexTooLarge { image: image.name.clone(), size: bytes.len() });
    }
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let document = PlannedDocument::new(place, Kind::Index, bytes, there);
    Ok((document, Some(NewIndex { change: IndexChange { before, after: index }, digest })))
}

/// Whether an entry of a published index refers to another manifest. It is asked rarely: only for entries without a ref,
/// when an image without a ref is published again.
fn is_referrer(site: &Site, image: &ImageName, entry: &Entry) -> Result<bool, PlanError> {
    let Ok(descriptor) = entry.descriptor() else { return Ok(false) };
    match (SiteImage { site, image }).links(&descriptor) {
        Ok(links) => Ok(links.is_some_and(|links| links.subject.is_some())),
        // What cannot be read refers to nothing.
        Err(SiteImageError::Damaged { .. } | SiteImageError::Manifest { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
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
        return Err(PlanError::Foreign { path: ref_engines.place.path });
    }
    Ok(vec![description, ref_engines])
}

fn refuse_mixed_hosts(site: &Site, images: &[Image]) -> Result<(), PlanError> {
    if site.map.index_pattern().has("host") {
        return Ok(());
    }
    let hosts = &site.map.settings().hosts;
    let [first, second, ..] = hosts.as_slice() else { return Ok(()) };
    let example = |host: &str| {
        let mut names = site.images.iter().chain(images.iter().map(|image| &image.name));
        names.find(|name| name.host() == host).map_or(host.to_string(), ToString::to_string)
    };
    Err(PlanError::SeveralHosts {
        first: example(first),
        second: example(second),
        template: site.map.settings().index_template.to_string(),
    })
}

/// Looks for indexes that would meet: at one path, at paths that differ in case, or one above the other. Only when an image
/// is new, so that publishing another ref of a known one costs nothing here.
fn refuse_collisions(site: &Site, images: &[Image]) -> Result<(), PlanError> {
    let new: Vec<&ImageName> =
        images.iter().map(|image| &image.name).filter(|name| site.images.binary_search(name).is_err()).collect();
    if new.is_empty() {
        return Ok(());
    }
    type FoldedPlace = (Option<usize>, Vec<String>);
    let mut places: BTreeMap<FoldedPlace, (&ImageName, SitePath)> = BTreeMap::new();
    for name in site.images.iter().chain(new) {
        let place = site.map.index_place(name)?;
        let folded: Vec<String> = place.path.folded().split('/').map(str::to_string).collect();
        let same = places.insert((place.origin, folded), (name, place.path.clone()));
        if let Some((other, other_path)) = same {
            return Err(PlanError::SamePath {
                first: other.clone(),
                second: name.clone(),
                only_case: other_path != place.path,
                path: other_path,
            });
        }
    }
    // Sorted by segments, a path stands directly before the paths below it.
    let sorted: Vec<_> = places.iter().collect();
    for pair in sorted.windows(2) {
        let [((origin, above), (first, path)), ((other_origin, below), (second, _))] = pair else { continue };
        if origin == other_origin && below.starts_with(above) {
            let (first, second, path) = ((*first).clone(), (*second).clone(), path.clone());
            return Err(PlanError::FileAndDirectory { first, second, path });
        }
    }
    Ok(())
}
