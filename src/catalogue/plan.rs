//! What a publish, a removal or a copy changes in the catalogue: the documents and pages of its images, the documents that tell
//! who has their layers, and the list. Documents and pages of other images are left alone.
//!
//! The cost follows the change. An image's document says which index it was made from, and while the image keeps that index,
//! its document and its page are left alone. `catalogue.json` says how the pages were made; when it is missing, or they were
//! made in another way (with other templates, or without the registry view's commands), all are made again.
//!
//! An image's document also says which layers the image has, so what follows from its change, its page and the documents of
//! layers, is written before it: when a publish is killed, the next publish of the image finds the same change to make. The
//! list comes last. When something else may be published than what was then, where a lock leaves a note of the killed change
//! ([`unfinished`]), all is made again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::document::{self, ImageDocument, ListDocument, MAX_DETAILED_REFS, PageContent, Row};
use super::layers::{LayersChange, LayersDocument};
use super::outline::{Differences, Outline, OutlinedList};
use super::page::{PageError, Pages};
use super::templates;
use crate::layout::{Layout, LayoutError};
use crate::progress::Silent;
use crate::site::index::Index;
use crate::site::path::PathError;
use crate::site::{Kind, Place, SitePath, catalogue};
use crate::store::change::{Change, PlannedDocument};
use crate::store::site::{Site, SiteError};
use crate::store::site_image::{SiteImage, SiteImageError};
use crate::store::write_log::WriteLog;
use crate::store::{StoreError, StoredDocument, unfinished};
use oci_discovery::digest::{Algorithm, Digest};
use oci_discovery::json::{MAX_INDEX_BYTES, MAX_MANIFEST_BYTES};
use oci_discovery::name::ImageName;
use oci_discovery::oci::walk::Manifests;
use oci_discovery::oci::{Descriptor, Verified};
use oci_discovery::parallel;

/// Why the catalogue cannot be planned or written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The site cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the site says of itself cannot be read.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// What the site has of an image cannot be read.
    #[error(transparent)]
    SiteImage(#[from] SiteImageError),
    /// A manifest cannot be read from a layout, though it could a moment before.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A path of the program's own is refused.
    #[error("a document of the catalogue has an invalid path")]
    Path(#[from] PathError),
    /// A page cannot be made.
    #[error(transparent)]
    Page(#[from] PageError),
    /// A file of another program is in the place of a page.
    #[error(
        "{path} exists and does not belong to ocisite's catalogue; move it away, or publish without the catalogue \
         with --no-catalogue"
    )]
    ForeignPage {
        /// The file.
        path: SitePath,
    },
}

/// A site, and what renders its pages.
#[derive(Clone, Copy)]
pub struct Catalogue<'a> {
    /// The site.
    pub site: &'a Site,
    /// What renders the pages.
    pub pages: &'a Pages,
}

/// What is written for the catalogue, in this order; pages of images go before the documents of layers.
#[derive(Debug, Default)]
pub struct CataloguePlan {
    /// Style sheet and script.
    pub assets: Vec<PlannedDocument>,
    /// Documents that tell which images have a layer.
    pub layers: Vec<PlannedDocument>,
    /// Pages and documents of the images that are published or made again.
    pub images: Vec<ImageObjects>,
    /// The list, as a page and as a document; empty: it stays as it is.
    pub list: Vec<PlannedDocument>,
    /// What is no longer of the catalogue, in any order: [`write()`] removes what leads to other objects before them.
    pub removals: Vec<SitePath>,
}

/// The objects of an image.
#[derive(Clone, Debug)]
pub struct ImageObjects {
    /// Where the page goes. Its bytes follow from the document, and are made when they are written: there may be thousands.
    pub page: SitePath,
    /// The document.
    pub document: PlannedDocument,
}

/// Gathers what changes, image by image.
pub struct Planner<'a> {
    site: &'a Site,
    pages: &'a Pages,
    /// Whether what the existing documents say of an image is made again, because it may be damaged.
    recheck: bool,
    /// The list as it is going to be, but for its images.
    list: ListDocument,
    /// The list as it was read.
    list_found: Option<StoredDocument>,
    /// What it says. None: nothing of the existing catalogue can be built upon.
    outline: Option<Outline>,
    images: BTreeMap<ImageName, ChangedImage>,
    /// Images that are to go, whether the list has them or not: a removal that was killed may have written the list already.
    removed: BTreeSet<ImageName>,
}

/// An image whose documents may have to be written.
pub struct ChangedImage {
    row: Row,
    layers: LayersChange,
    objects: ImageObjects,
}

impl<'a> Planner<'a> {
    /// Looks at the existing catalogue.
    pub fn new(catalogue: Catalogue<'a>, recheck: bool) -> Result<Planner<'a>, CatalogueError> {
        let Catalogue { site, pages } = catalogue;
        let list_found = read(site, &SitePath::new(catalogue::LIST)?)?;
        let is_whole = unfinished::read(&*site.own)?.is_none();
        let outline = list_found.as_ref().filter(|_| is_whole).and_then(|found| Outline::parse(&found.bytes));
        let templates = pages.templates().digest().to_string();
        let settings = site.map.settings();
        let list = ListDocument::new(settings.views.registry, templates, settings.hosts.clone());
        let (images, removed) = (BTreeMap::new(), BTreeSet::new());
        Ok(Planner { site, pages, recheck, list, list_found, outline, images, removed })
    }

    /// The same, without building upon the existing catalogue; and what its list says.
    fn anew(catalogue: Catalogue<'a>) -> Result<(Planner<'a>, Option<Outline>), CatalogueError> {
        let mut planner = Planner::new(catalogue, false)?;
        let outline = planner.outline.take();
        Ok((planner, outline))
    }

    fn is_anew(&self) -> bool {
        self.outline.is_none()
    }

    /// Whether the existing pages, if any, were made in another way, and have to be made again.
    fn needs_all_pages(&self) -> bool {
        let wanted = (self.list.registry, &self.list.templates);
        self.outline.as_ref().is_none_or(|found| (found.registry, &found.templates) != wanted)
    }

    /// The existing list, where it can be built upon.
    fn listed(&self) -> Option<OutlinedList<'_>> {
        let (document, outline) = self.list_found.as_ref().zip(self.outline.as_ref())?;
        Some(OutlinedList { bytes: &document.bytes, outline })
    }

    /// Whether the document, the page and the row of an image exist and were made from the index with these bytes.
    pub fn is_current(&self, image: &ImageName, index: &[u8]) -> Result<bool, CatalogueError> {
        let may_be = !self.recheck && !self.needs_all_pages();
        let Some(listed) = self.listed().filter(|listed| may_be && listed.has(image)) else {
            return Ok(false);
        };
        let found = read(self.site, &catalogue::document_path(image)?)?;
        let Some(document) = found.and_then(|found| ImageDocument::parse(&found.bytes)) else { return Ok(false) };
        let is_of_index = document.index == Digest::of(Algorithm::Sha256, index) && document.is_complete();
        // A publish that was killed may have left a row that is older than the document.
        Ok(is_of_index
            && listed.has_row(&document.row()?)
            && self.site.own.stat(&catalogue::page_path(image)?)?.is_some())
    }

    /// What becomes of an image with this index, when all it leads to is in the site. None: it can have no page.
    pub fn of_site(&self, name: &ImageName, index: &Index) -> Result<Option<ChangedImage>, CatalogueError> {
        let digest = Digest::of(Algorithm::Sha256, &index.to_bytes());
        self.published(name, index, digest, HashMap::new())
    }

    /// What becomes of an image that is published now, whose index has this digest, with blobs of these layouts. None: it can have
    /// no page.
    pub fn published(
        &self,
        name: &ImageName,
        index: &Index,
        digest: Digest,
        layouts: HashMap<&Digest, &Layout>,
    ) -> Result<Option<ChangedImage>, CatalogueError> {
        let (Ok(path), Ok(page)) = (catalogue::document_path(name), catalogue::page_path(name)) else {
            return Ok(None);
        };
        let found = read(self.site, &path)?;
        let is_usable = !self.is_anew() && !self.recheck;
        let old = found.as_ref().filter(|_| is_usable).and_then(|found| ImageDocument::parse(&found.bytes));
        let before = old.as_ref().map(ImageDocument::layers).unwrap_or_default();
        let sources = Sources { layouts, published: SiteImage { site: self.site, image: name } };
        let document = document::build(name, digest, index.entries(), old, &sources)?;
        let layers = LayersChange::between(name, &before, &document.layers());
        let row = document.row()?;
        let place = Place { origin: None, path };
        // Its bytes are kept, and not what they say, which takes several times the memory: there may be thousands.
        let bytes = document.to_bytes(found.as_ref().map_or(&[], |found| &found.bytes));
        let document = PlannedDocument::new(place, Kind::CatalogueDocument, bytes, found);
        Ok(Some(ChangedImage { row, layers, objects: ImageObjects { page, document } }))
    }

    /// Adds an image.
    pub fn add(&mut self, image: ChangedImage) {
        self.images.insert(image.row.name.clone(), image);
    }

    /// Decides what is written, now that all changes are known. `images` are those that the site will have, sorted.
    pub fn finish(mut self, images: &[&ImageName]) -> Result<CataloguePlan, CatalogueError> {
        let Differences { removed, unlisted } =
            self.listed().map(|listed| listed.differences(images)).unwrap_or_default();
        self.removed.extend(removed);
        self.add_images_from_before(if self.needs_all_pages() { images } else { &unlisted })?;
        let site = self.site;
        let mut plan = CataloguePlan { assets: assets(site, self.pages)?, ..CataloguePlan::default() };
        let mut layers = LayersDocuments::new(site);
        if self.is_anew() {
            layers.empty_all()?;
        } else if self.recheck {
            layers.forget(self.images.keys())?;
        }
        for name in &self.removed {
            // One whose name is too long for a path has no document.
            let (Ok(page), Ok(document)) = (catalogue::page_path(name), catalogue::document_path(name)) else {
                continue;
            };
            let old = read(site, &document)?.and_then(|found| ImageDocument::parse(&found.bytes));
            let before = old.map(|old| old.layers()).unwrap_or_default();
            layers.apply(&LayersChange::between(name, &before, &BTreeSet::new()))?;
            plan.removals.extend([page, document]);
        }
        let mut rows = Vec::with_capacity(self.images.len());
        for ChangedImage { row, layers: change, objects } in std::mem::take(&mut self.images).into_values() {
            layers.apply(&change)?;
            rows.push(row);
            plan.images.push(objects);
        }
        plan.layers = layers.planned();
        let (is_anew, pages) = (self.is_anew(), self.pages);
        if self.is_list_changed(&rows)? {
            plan.list = self.plan_list(rows)?;
        }
        plan.try_templates(Catalogue { site, pages })?;
        if is_anew {
            plan.remove_strays(site)?;
        }
        Ok(plan)
    }

    /// Images that are not changed now, where pages have to be made for them: all, or those that an interrupted publish left
    /// without.
    fn add_images_from_before(&mut self, images: &[&ImageName]) -> Result<(), CatalogueError> {
        for name in images {
            if !self.images.contains_key(*name)
                && let Some((index, _)) = (SiteImage { site: self.site, image: name }).index()?
                && let Some(changed) = self.of_site(name, &index)?
            {
                self.add(changed);
            }
        }
        Ok(())
    }

    fn is_list_changed(&self, rows: &[Row]) -> Result<bool, CatalogueError> {
        let Some(listed) = self.listed().filter(|_| !self.needs_all_pages() && self.removed.is_empty()) else {
            return Ok(true);
        };
        let has_all = listed.outline.hosts == self.list.hosts && rows.iter().all(|row| listed.has_row(row));
        Ok(!has_all || self.site.own.stat(&SitePath::new(catalogue::LIST_PAGE)?)?.is_none())
    }

    /// The list with all of its rows, as a page and as a document.
    fn plan_list(mut self, rows: Vec<Row>) -> Result<Vec<PlannedDocument>, CatalogueError> {
        let site = self.site;
        self.list.images = self.rows_from_before()?;
        self.removed.iter().for_each(|name| self.list.remove(name));
        rows.into_iter().for_each(|row| self.list.set(row));
        let list = Arc::new(self.list);
        let place = |path| Ok::<_, PathError>(Place { origin: None, path: SitePath::new(path)? });
        let may_be_foreign = !site.views_before().catalogue && !is_ours(self.list_found.as_ref());
        let page = site.planned(place(catalogue::LIST_PAGE)?, Kind::CataloguePage, self.pages.list(&list)?)?;
        let kind = Kind::CatalogueDocument;
        let document = PlannedDocument::new(place(catalogue::LIST)?, kind, list.to_bytes(), self.list_found);
        let planned = vec![page, document];
        if may_be_foreign && let Some(foreign) = planned.iter().find(|it| matches!(it.change, Change::Replace(..))) {
            // Not foreign, if another publisher made the catalogue since the description was read.
            site.refuse_changed_description()?;
            return Err(CatalogueError::ForeignPage { path: foreign.place.path.clone() });
        }
        Ok(planned)
    }

    /// The rows of the existing list.
    fn rows_from_before(&self) -> Result<Vec<Row>, CatalogueError> {
        let Some(listed) = self.listed() else { return Ok(vec![]) };
        if let Some(list) = ListDocument::parse(listed.bytes) {
            return Ok(list.images);
        }
        // A row is damaged. It follows from the image's document.
        let mut rows = Vec::new();
        for name in listed.names().filter_map(|name| ImageName::parse(name).ok()) {
            let found = read(self.site, &catalogue::document_path(&name)?)?;
            if let Some(document) = found.and_then(|found| ImageDocument::parse(&found.bytes)) {
                rows.push(document.row()?);
            }
        }
        Ok(rows)
    }
}

impl CataloguePlan {
    /// The plan for a site that is to have no catalogue (any more). The description says that the site has one until all of it is
    /// removed, so that the next publish completes a removal that was killed.
    pub fn without(site: &Site) -> Result<CataloguePlan, CatalogueError> {
        let list = SitePath::new(catalogue::LIST)?;
        if !site.views_before().catalogue && !is_ours(read(site, &list)?.as_ref()) {
            return Ok(CataloguePlan::default());
        }
        let removals = vec![SitePath::new(catalogue::LIST_PAGE)?, list];
        let mut plan = CataloguePlan { removals, ..CataloguePlan::default() };
        plan.remove_strays(site)?;
        Ok(plan)
    }

    /// The documents that say something of the site, in the order in which they are written.
    pub fn documents(&self) -> impl Iterator<Item = &PlannedDocument> {
        self.layers.iter().chain(self.images.iter().map(|image| &image.document)).chain(&self.list)
    }

    /// A template that cannot render one page can render none: found here, before anything is written.
    fn try_templates(&self, catalogue: Catalogue<'_>) -> Result<(), CatalogueError> {
        let Catalogue { site, pages } = catalogue;
        if let Some(first) = self.images.first()
            && let Some(mut shown) = first.shown(site)?
        {
            // One ref that is only summed up is as good as a thousand.
            shown.document.refs.truncate(MAX_DETAILED_REFS + 1);
            pages.image(&Arc::new(shown), site.map.settings().views.registry)?;
        }
        Ok(())
    }

    /// What another catalogue, or another version of this program, left behind.
    fn remove_strays(&mut self, site: &Site) -> Result<(), CatalogueError> {
        let pages = self.images.iter().map(|image| &image.page);
        let documents = self.assets.iter().chain(self.documents()).map(|document| &document.place.path);
        let planned: BTreeSet<SitePath> = pages.chain(documents).cloned().collect();
        let removals = &mut self.removals;
        site.own.list(&format!("{}/", catalogue::ROOT), &mut |listed| {
            if catalogue::kind(listed.path.as_str()).is_some() && !planned.contains(&listed.path) {
                removals.push(listed.path);
            }
        })?;
        Ok(())
    }
}

impl ImageObjects {
    /// The bytes of the page.
    pub fn page_bytes(&self, catalogue: Catalogue<'_>) -> Result<Vec<u8>, CatalogueError> {
        let Catalogue { site, pages } = catalogue;
        match self.shown(site)? {
            Some(shown) => Ok(pages.image(&Arc::new(shown), site.map.settings().views.registry)?),
            // Another publisher removed the document since it was read. The next publish makes it again.
            None => Ok(vec![]),
        }
    }

    /// What the page is made from.
    fn shown(&self, site: &Site) -> Result<Option<PageContent>, CatalogueError> {
        match self.document.new_bytes() {
            Some(bytes) => Ok(PageContent::parse(bytes)),
            None => Ok(read(site, &self.document.place.path)?.and_then(|found| PageContent::parse(&found.bytes))),
        }
    }

    /// Renders the page and writes it if it differs from the existing one.
    fn write_page(&self, catalogue: Catalogue<'_>, log: &WriteLog<'_>) -> Result<(), CatalogueError> {
        let bytes = self.page_bytes(catalogue)?;
        let site = catalogue.site;
        let page = PlannedDocument::new(
            Place { origin: None, path: self.page.clone() },
            Kind::CataloguePage,
            bytes,
            read(site, &self.page)?,
        );
        log.write(site, &page)?;
        // Of a document that is right already, another publisher may have made a newer page.
        Ok(site.refuse_change(&self.document)?)
    }
}

fn assets(site: &Site, pages: &Pages) -> Result<Vec<PlannedDocument>, CatalogueError> {
    let asset = |path, kind, name| {
        let place = Place { origin: None, path: SitePath::new(path)? };
        Ok::<_, CatalogueError>(site.planned(place, kind, pages.templates().text(name).as_bytes().to_vec())?)
    };
    Ok(vec![
        asset(catalogue::STYLE, Kind::CatalogueStyle, templates::STYLE)?,
        asset(catalogue::SCRIPT, Kind::CatalogueScript, templates::SCRIPT)?,
    ])
}

/// Whether a list of images is one of a catalogue.
fn is_ours(list: Option<&StoredDocument>) -> bool {
    list.is_some_and(|list| Outline::parse(&list.bytes).is_some())
}

fn read(site: &Site, path: &SitePath) -> Result<Option<StoredDocument>, CatalogueError> {
    Ok(site.own.read_document(path, MAX_INDEX_BYTES)?)
}

/// Where the manifests of an image are: in the layouts that are published now, or in the site.
struct Sources<'a> {
    layouts: HashMap<&'a Digest, &'a Layout>,
    published: SiteImage<'a>,
}

impl Manifests for Sources<'_> {
    type Node = Descriptor;
    type Error = CatalogueError;

    /// One that is too large to be a manifest, or is damaged in the site, is missing: the page says that something is, and
    /// verification what.
    fn read(&self, descriptor: &Descriptor) -> Result<Option<Verified>, CatalogueError> {
        if descriptor.size > MAX_MANIFEST_BYTES {
            return Ok(None);
        }
        match self.layouts.get(&descriptor.digest) {
            Some(layout) => Ok(layout.read(descriptor)?),
            None => match self.published.read(descriptor) {
                Err(SiteImageError::Damaged { .. }) => Ok(None),
                read => Ok(read?),
            },
        }
    }
}

/// The documents that tell who has which layer, read when they are needed.
struct LayersDocuments<'a> {
    site: &'a Site,
    documents: BTreeMap<SitePath, (LayersDocument, Option<StoredDocument>)>,
}

impl<'a> LayersDocuments<'a> {
    fn new(site: &'a Site) -> LayersDocuments<'a> {
        LayersDocuments { site, documents: BTreeMap::new() }
    }

    /// Takes an empty document in place of each existing one.
    fn empty_all(&mut self) -> Result<(), CatalogueError> {
        for path in self.existing()? {
            let found = read(self.site, &path)?;
            self.documents.insert(path, (LayersDocument::default(), found));
        }
        Ok(())
    }

    /// Takes these images out of all existing documents.
    fn forget<'n>(&mut self, images: impl Iterator<Item = &'n ImageName> + Clone) -> Result<(), CatalogueError> {
        for path in self.existing()? {
            let document = self.at(path)?;
            images.clone().for_each(|image| document.forget(image));
        }
        Ok(())
    }

    fn existing(&self) -> Result<Vec<SitePath>, CatalogueError> {
        let mut paths = Vec::new();
        self.site.own.list(catalogue::LAYERS, &mut |listed| paths.push(listed.path))?;
        paths.retain(|path| catalogue::kind(path.as_str()).is_some());
        Ok(paths)
    }

    fn apply(&mut self, change: &LayersChange) -> Result<(), CatalogueError> {
        for layer in &change.gained {
            self.document(layer)?.add(layer, &change.image);
        }
        for layer in &change.lost {
            self.document(layer)?.remove(layer, &change.image);
        }
        Ok(())
    }

    fn document(&mut self, layer: &Digest) -> Result<&mut LayersDocument, CatalogueError> {
        self.at(catalogue::layers_path(layer)?)
    }

    fn at(&mut self, path: SitePath) -> Result<&mut LayersDocument, CatalogueError> {
        if !self.documents.contains_key(&path) {
            let found = read(self.site, &path)?;
            let document = found.as_ref().and_then(|found| LayersDocument::parse(&found.bytes)).unwrap_or_default();
            self.documents.insert(path.clone(), (document, found));
        }
        Ok(&mut self.documents.entry(path).or_default().0)
    }

    /// What is written. A document that has nothing to say any more stays, empty: a store without a lock could not refuse its
    /// removal when another publisher has just written into it.
    fn planned(self) -> Vec<PlannedDocument> {
        let plan = |(path, (document, found)): (SitePath, (LayersDocument, Option<StoredDocument>))| {
            let place = Place { origin: None, path };
            PlannedDocument::new(place, Kind::CatalogueDocument, document.to_bytes(), found)
        };
        self.documents.into_iter().map(plan).collect()
    }
}

/// Writes what a plan says of the catalogue.
pub fn write(
    catalogue: Catalogue<'_>,
    plan: &CataloguePlan,
    jobs: NonZeroUsize,
    log: &WriteLog<'_>,
) -> Result<(), CatalogueError> {
    let site = catalogue.site;
    log.write_all(site, &plan.assets, jobs)?;
    parallel::map(&plan.images, jobs, |image| image.write_page(catalogue, log))?;
    log.write_all(site, &plan.layers, jobs)?;
    let documents: Vec<&PlannedDocument> = plan.images.iter().map(|image| &image.document).collect();
    log.write_all(site, documents, jobs)?;
    plan.list.iter().try_for_each(|document| log.write(site, document))?;
    let mut removals: Vec<&SitePath> = plan.removals.iter().collect();
    removals.sort_by_key(|path| (removal_rank(path), *path));
    removals.into_iter().try_for_each(|path| site.own.remove_document(path))?;
    Ok(())
}

/// What leads to other objects is removed before them: lists, pages, documents, then what pages have in common. By their paths,
/// documents of images come before those of layers.
fn removal_rank(path: &SitePath) -> u8 {
    match (path.as_str(), catalogue::kind(path.as_str())) {
        (catalogue::LIST_PAGE | catalogue::LIST, _) => 0,
        (_, Some(Kind::CataloguePage)) => 1,
        (_, Some(Kind::CatalogueDocument)) => 2,
        _ => 3,
    }
}

/// Rewrites the catalogue of a site that is about to change: `changed` are images with the indexes they will have, `gone` those
/// that will be no more. It goes first, so that no page leads to what is gone.
pub fn rewrite(
    catalogue: Catalogue<'_>,
    changed: &[(&ImageName, &Index)],
    removed: &[ImageName],
) -> Result<(), CatalogueError> {
    let site = catalogue.site;
    if !site.map.settings().views.catalogue {
        return Ok(());
    }
    let mut planner = Planner::new(catalogue, false)?;
    for (name, index) in changed {
        if let Some(changed) = planner.of_site(name, index)? {
            planner.add(changed);
        }
    }
    planner.removed.extend(removed.iter().cloned());
    let stay: Vec<&ImageName> = site.images.iter().filter(|name| !removed.contains(name)).collect();
    let plan = planner.finish(&stay)?;
    write(catalogue, &plan, parallel::default_jobs(), &WriteLog::new(&Silent))
}

/// Makes the catalogue of a site again from its indexes, whatever the one that is there says. Gives its objects, each with whether
/// it was written, and its size.
pub fn remake(catalogue: Catalogue<'_>, jobs: NonZeroUsize) -> Result<BTreeMap<Place, (bool, u64)>, CatalogueError> {
    let (site, log) = (catalogue.site, WriteLog::new(&Silent));
    if site.map.settings().views.catalogue {
        let (planner, _) = Planner::anew(catalogue)?;
        let plan = planner.finish(&site.images.iter().collect::<Vec<_>>())?;
        write(catalogue, &plan, jobs, &log)?;
    }
    Ok(log.documents())
}

/// The documents of the catalogue that do not agree with the indexes, and the pages that are missing or too many. Pages are not
/// compared, because the templates they were made with are unknown.
pub fn differences(catalogue: Catalogue<'_>) -> Result<Vec<SitePath>, CatalogueError> {
    let site = catalogue.site;
    let (mut planner, outline) = Planner::anew(catalogue)?;
    if let Some(Outline { registry, templates, .. }) = outline {
        (planner.list.registry, planner.list.templates) = (registry, templates);
    }
    let images: Vec<&ImageName> = site.images.iter().collect();
    let plan = planner.finish(&images)?;
    let is_other =
        |document: &&PlannedDocument| document.kind == Kind::CatalogueDocument && document.new_bytes().is_some();
    let mut paths: Vec<SitePath> = plan.documents().filter(is_other).map(|it| it.place.path.clone()).collect();
    let list_page = SitePath::new(catalogue::LIST_PAGE)?;
    for path in plan.images.iter().map(|image| &image.page).chain([&list_page]) {
        if site.own.stat(path)?.is_none() {
            paths.push(path.clone());
        }
    }
    paths.extend(plan.removals);
    paths.sort();
    Ok(paths)
}
