//! What a publish does for the catalogue (see [`crate::catalogue`]): documents and pages of the images that changed, of the
//! few that share a layer with them now, and the list.
//!
//! The cost follows the change. An image's document says which index it was made from, and while the image keeps that index,
//! its document and its page are left alone. `catalogue.json` says how the pages that are there were made; when it is not
//! there, or they were made in another way (with other templates, or without the registry view's commands), all are made
//! again.
//!
//! The order of writing makes an interrupted publish harmless: what follows from a document is written before it, so that the
//! next publish of the image finds the same change to make. First go the documents of other images, which are told of layers
//! they share now; then those of layers; then the image's own, and the list last. Where no lock keeps other publishers out, the
//! image's own goes first, and a publish asks for more instead. And where there is one, all is made again when somebody was
//! killed ([`unfinished`]): something else may be published than what was then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::collect::Image;
use super::execute::{Tally, write_documents};
use super::plan::{
    PlanError, PlannedDocument, document_from, planned, read_index, refuse_change, refuse_changed_description,
};
use super::{PublishError, Site, SiteImage, SiteImageError, unfinished};
use crate::catalogue::document::{self, ImageDocument, ListDocument, MAX_DETAILED_REFS, Row, Shown};
use crate::catalogue::layers::{self, Change, LayersDocument, Owners};
use crate::catalogue::outline::{Differences, Listed, Outline};
use crate::catalogue::templates;
use crate::layout::Layout;
use crate::progress::Silent;
use crate::site::index::Index;
use crate::site::path::PathError;
use crate::site::{Kind, Place, SitePath, catalogue};
use crate::store::{Document, Expected, Version};
use oci_discovery::digest::{Algorithm, Digest};
use oci_discovery::json::{MAX_INDEX_BYTES, MAX_MANIFEST_BYTES};
use oci_discovery::name::ImageName;
use oci_discovery::oci::walk::Manifests;
use oci_discovery::oci::{Descriptor, Verified};
use oci_discovery::parallel;

/// What is written for the catalogue, in this order.
#[derive(Debug, Default)]
pub struct CataloguePlan {
    /// Style sheet and script.
    pub assets: Vec<PlannedDocument>,
    /// Pages of images. Their bytes follow from a document, and are made when they are written: there may be thousands.
    pub pages: Vec<PlannedPage>,
    /// Documents of layers that nobody has any more go before the images' own documents, which say that somebody had them.
    pub emptied: Vec<SitePath>,
    /// Documents: those of images that are told of a layer they share; those of layers; those of the changed images; then the
    /// list, as a page and as a document.
    pub documents: Vec<PlannedDocument>,
    /// Where in them the layers' begin.
    layers: usize,
    /// Where in them the changed images' own begin.
    own: usize,
    /// Where in them the list begins.
    list: usize,
    /// What is no longer of the catalogue.
    pub removals: Vec<SitePath>,
}

/// A page of an image.
#[derive(Clone, Debug)]
pub struct PlannedPage {
    /// Where it goes.
    pub path: SitePath,
    /// The position of its document in [`CataloguePlan::documents`].
    pub document: usize,
}

/// Gathers what changes, image by image.
pub(crate) struct Planner<'a> {
    site: &'a Site,
    layouts: &'a [Layout],
    /// The list as it is going to be, but for its images.
    list: ListDocument,
    /// Whether the list that is there says something else.
    is_list_changed: bool,
    /// The list as it was read.
    list_there: Option<Document>,
    /// What it says, where anything can be built upon it.
    outline: Option<Outline>,
    /// The rows of the images that may change.
    rows: Vec<Row>,
    /// Images that are to go, whether the list has them or not: a removal that was killed may have written the list already.
    gone: BTreeSet<ImageName>,
    /// Whether the pages that are there were made in another way.
    is_other_way: bool,
    images: BTreeMap<ImageName, NewDocument>,
    layers: Vec<Change>,
}

/// An image whose documents may have to be written.
pub(crate) struct Changed {
    row: Row,
    layers: Change,
    document: NewDocument,
}

/// The document of an image as it is going to be. Its bytes are kept, and not what they say, which takes several times the
/// memory: there may be thousands.
struct NewDocument {
    size: u64,
    /// The bytes. None: it has them already.
    bytes: Option<Vec<u8>>,
    there: Option<There>,
}

/// A document that is there, without its bytes.
struct There {
    digest: Digest,
    version: Version,
}

impl There {
    fn of(document: &Document) -> There {
        There { digest: Digest::of(Algorithm::Sha256, &document.bytes), version: document.version.clone() }
    }
}

impl NewDocument {
    fn new(document: &ImageDocument, there: Option<There>) -> NewDocument {
        let bytes = document.to_bytes();
        let is_there = there.as_ref().is_some_and(|there| there.digest == Digest::of(Algorithm::Sha256, &bytes));
        NewDocument { size: bytes.len() as u64, bytes: (!is_there).then_some(bytes), there }
    }

    /// Changes which layers are said to be shared.
    fn share(&mut self, site: &Site, name: &ImageName, shared: BTreeSet<Digest>) -> Result<(), PlanError> {
        let bytes = match self.bytes.take() {
            Some(bytes) => Some(bytes),
            None => read(site, &catalogue::document_path(name)?)?.map(|there| there.bytes),
        };
        if let Some(mut document) = bytes.and_then(|bytes| ImageDocument::parse(&bytes)) {
            document.shared_layers = shared;
            *self = NewDocument::new(&document, self.there.take());
        }
        Ok(())
    }
}

impl<'a> Planner<'a> {
    /// Looks at the catalogue that is there.
    pub(crate) fn new(site: &'a Site, layouts: &'a [Layout]) -> Result<Planner<'a>, PlanError> {
        let there = read(site, &SitePath::new(catalogue::LIST)?)?;
        let is_whole = unfinished::read(&*site.own)?.is_none();
        let outline = there.as_ref().filter(|_| is_whole).and_then(|there| Outline::parse(&there.bytes));
        let templates = site.pages.templates().digest().to_string();
        let settings = site.map.settings();
        let list = ListDocument::new(settings.views.registry, templates, settings.hosts.clone());
        let is_other_way =
            outline.as_ref().is_none_or(|found| (found.registry, &found.templates) != (list.registry, &list.templates));
        let is_list_changed = is_other_way || outline.as_ref().is_none_or(|found| found.hosts != list.hosts);
        Ok(Planner {
            site,
            layouts,
            list,
            list_there: there,
            outline,
            rows: vec![],
            gone: BTreeSet::new(),
            is_list_changed,
            is_other_way,
            images: BTreeMap::new(),
            layers: vec![],
        })
    }

    /// The same, with nothing that is there to build upon; and what the list says.
    fn anew(site: &'a Site) -> Result<(Planner<'a>, Option<Outline>), PlanError> {
        let mut planner = Planner::new(site, &[])?;
        let outline = planner.outline.take();
        (planner.is_other_way, planner.is_list_changed) = (true, true);
        Ok((planner, outline))
    }

    /// Whether nothing that is there can be built upon.
    fn is_anew(&self) -> bool {
        self.outline.is_none()
    }

    /// The list that is there, where anything can be built upon it.
    fn listed(&self) -> Option<Listed<'_>> {
        let (document, outline) = self.list_there.as_ref().zip(self.outline.as_ref())?;
        Some(Listed { bytes: &document.bytes, outline })
    }

    /// Whether the document, the page and the row of an image were made from the index with these bytes, and are there.
    pub(crate) fn is_current(&self, image: &ImageName, index: &[u8]) -> Result<bool, PlanError> {
        let Some(listed) = self.listed().filter(|listed| !self.is_other_way && listed.has(image)) else {
            return Ok(false);
        };
        let there = read(self.site, &catalogue::document_path(image)?)?;
        let Some(document) = there.and_then(|there| ImageDocument::parse(&there.bytes)) else { return Ok(false) };
        let is_of_index = document.index == Digest::of(Algorithm::Sha256, index) && document.is_complete();
        // A publish that was killed may have left a row that is older than the document.
        Ok(is_of_index
            && listed.has_row(&document.row()?)
            && self.site.own.stat(&catalogue::page_path(image)?)?.is_some())
    }

    /// What becomes of an image that is published now, whose index has this digest. None: it can have no page.
    pub(crate) fn published(
        &self,
        image: &Image,
        index: &Index,
        index_digest: Digest,
    ) -> Result<Option<Changed>, PlanError> {
        let layouts: HashMap<&Digest, &Layout> = image
            .blobs
            .iter()
            .filter_map(|found| Some((&found.blob.digest, self.layouts.get(found.layout)?)))
            .collect();
        self.changed(&image.name, index, index_digest, layouts)
    }

    /// What becomes of an image with this index, when all it leads to is in the site. None: it can have no page.
    pub(crate) fn of_site(&self, name: &ImageName, index: &Index) -> Result<Option<Changed>, PlanError> {
        let digest = Digest::of(Algorithm::Sha256, &index.to_bytes());
        self.changed(name, index, digest, HashMap::new())
    }

    fn changed(
        &self,
        name: &ImageName,
        index: &Index,
        digest: Digest,
        layouts: HashMap<&Digest, &Layout>,
    ) -> Result<Option<Changed>, PlanError> {
        let (Ok(path), Ok(_)) = (catalogue::document_path(name), catalogue::page_path(name)) else { return Ok(None) };
        let there = read(self.site, &path)?;
        let old = there.as_ref().filter(|_| !self.is_anew()).and_then(|there| ImageDocument::parse(&there.bytes));
        let there = there.map(|there| There::of(&there));
        let (before, shared_before) =
            old.as_ref().map(|old| (old.layers(), old.shared_layers.clone())).unwrap_or_default();
        let sources = Sources { layouts, published: SiteImage { site: self.site, image: name } };
        let document = document::build(name, digest, index.entries(), old, &sources)?;
        let after = document.layers();
        // Without a lock, that the document is there does not say that the rest was written: all its layers are asked for.
        let before = if self.site.own.has_lock() { before } else { &before - &after };
        let layers = Change { image: name.clone(), before, shared_before, after };
        Ok(Some(Changed { row: document.row()?, layers, document: NewDocument::new(&document, there) }))
    }

    /// Adds an image.
    pub(crate) fn add(&mut self, changed: Changed) {
        self.is_list_changed |= !self.listed().is_some_and(|listed| listed.has_row(&changed.row));
        self.images.insert(changed.row.name.clone(), changed.document);
        self.rows.push(changed.row);
        self.layers.push(changed.layers);
    }

    /// Decides what is written, now that all changes are known. `images` are those that the site will have, sorted.
    pub(crate) fn finish(mut self, images: &[&ImageName]) -> Result<CataloguePlan, PlanError> {
        let Differences { gone, unlisted } = self.listed().map(|listed| listed.differences(images)).unwrap_or_default();
        self.gone.extend(gone);
        self.add_images_from_before(if self.is_other_way { images } else { &unlisted })?;
        self.remove()?;
        let mut shards = Shards { site: self.site, is_anew: self.is_anew(), read: BTreeMap::new() };
        let mut outcome = layers::share(&self.layers, |layer| shards.owners(layer))?;
        for Change { image, shared_before, .. } in std::mem::take(&mut self.layers) {
            let shared = outcome.shared.remove(&image).filter(|shared| *shared != shared_before);
            if let (Some(shared), Some(document)) = (shared, self.images.get_mut(&image)) {
                document.share(self.site, &image, shared)?;
            }
        }
        let mut marked = BTreeMap::new();
        for (name, marks) in outcome.others {
            let document = self.mark(&name, marks)?;
            marked.extend(document.map(|document| (name, document)));
        }
        shards.set(outcome.owners)?;
        self.plan(marked, shards)
    }

    /// Images that are not changed now, where pages have to be made for them: all, or those that an interrupted publish left
    /// without.
    fn add_images_from_before(&mut self, images: &[&ImageName]) -> Result<(), PlanError> {
        for name in images {
            if !self.images.contains_key(*name)
                && let Some(index) = read_index(self.site, name)?
                && let Some(changed) = self.of_site(name, &index)?
            {
                self.add(changed);
            }
        }
        Ok(())
    }

    /// Takes images out that are no more.
    fn remove(&mut self) -> Result<(), PlanError> {
        self.is_list_changed |= !self.gone.is_empty();
        for name in &self.gone {
            // One whose name is too long for a path has no document.
            let Ok(path) = catalogue::document_path(name) else { continue };
            let there = read(self.site, &path)?;
            if let Some(old) = there.and_then(|there| ImageDocument::parse(&there.bytes)) {
                let (before, shared_before) = (old.layers(), old.shared_layers);
                self.layers.push(Change { image: name.clone(), before, shared_before, after: BTreeSet::new() });
            }
        }
        Ok(())
    }

    /// The document of an image that does not change otherwise, with marks set or taken away.
    fn mark(&self, name: &ImageName, marks: BTreeMap<Digest, bool>) -> Result<Option<NewDocument>, PlanError> {
        let there = read(self.site, &catalogue::document_path(name)?)?;
        let Some(mut document) = there.as_ref().and_then(|there| ImageDocument::parse(&there.bytes)) else {
            return Ok(None);
        };
        let has = document.layers();
        for (layer, is_shared) in marks {
            match is_shared && has.contains(&layer) {
                true => document.shared_layers.insert(layer),
                false => document.shared_layers.remove(&layer),
            };
        }
        Ok(Some(NewDocument::new(&document, there.as_ref().map(There::of))))
    }

    /// The list with all of its rows.
    fn list(&mut self) -> Result<ListDocument, PlanError> {
        let mut list = ListDocument { images: self.rows_from_before()?, ..std::mem::take(&mut self.list) };
        self.gone.iter().for_each(|name| list.remove(name));
        for row in std::mem::take(&mut self.rows) {
            list.set(row);
        }
        Ok(list)
    }

    /// The rows of the list that is there.
    fn rows_from_before(&self) -> Result<Vec<Row>, PlanError> {
        let Some(listed) = self.listed() else { return Ok(vec![]) };
        if let Some(list) = ListDocument::parse(listed.bytes) {
            return Ok(list.images);
        }
        // A row is damaged. It follows from the image's document.
        let mut rows = Vec::new();
        for name in listed.names().filter_map(|name| ImageName::parse(name).ok()) {
            let there = read(self.site, &catalogue::document_path(&name)?)?;
            if let Some(document) = there.and_then(|there| ImageDocument::parse(&there.bytes)) {
                rows.push(document.row()?);
            }
        }
        Ok(rows)
    }

    fn plan(mut self, marked: BTreeMap<ImageName, NewDocument>, shards: Shards) -> Result<CataloguePlan, PlanError> {
        let site = self.site;
        let mut plan = CataloguePlan { assets: assets(site)?, ..CataloguePlan::default() };
        for name in &self.gone {
            let paths = [catalogue::page_path(name), catalogue::document_path(name)];
            plan.removals.extend(paths.into_iter().filter_map(Result::ok));
        }
        for (name, document) in marked {
            plan.add_image(&name, document)?;
        }
        plan.layers = plan.documents.len();
        let (documents, emptied) = shards.documents();
        plan.documents.extend(documents);
        plan.emptied = emptied;
        plan.own = plan.documents.len();
        for (name, document) in std::mem::take(&mut self.images) {
            plan.add_image(&name, document)?;
        }
        plan.list = plan.documents.len();
        let list_page = site.own.stat(&SitePath::new(catalogue::LIST_PAGE)?)?;
        match list_page.zip(self.list_there.as_ref()).filter(|_| !self.is_list_changed) {
            Some((page, list)) => plan.keep_list(page.size, list.bytes.len() as u64)?,
            None => plan.add_list(site, self.list()?, self.list_there.take())?,
        }
        plan.try_templates(site)?;
        if self.is_anew() {
            plan.remove_strays(site)?;
        }
        Ok(plan)
    }
}

impl CataloguePlan {
    /// The plan for a site that is to have no catalogue (any more). The list goes last: as long as it is there, what is beside it
    /// is of a catalogue, also when a publish that took it away was killed.
    pub(crate) fn without(site: &Site) -> Result<CataloguePlan, PlanError> {
        let list = SitePath::new(catalogue::LIST)?;
        if !site.views_before().catalogue && !is_ours(read(site, &list)?.as_ref()) {
            return Ok(CataloguePlan::default());
        }
        let removals = vec![SitePath::new(catalogue::LIST_PAGE)?];
        let mut plan = CataloguePlan { removals, ..CataloguePlan::default() };
        plan.remove_strays(site)?;
        plan.removals.push(list);
        Ok(plan)
    }

    /// Whether something of the catalogue goes.
    pub(super) fn removes_something(&self) -> bool {
        !self.removals.is_empty() || !self.emptied.is_empty()
    }

    fn add_image(&mut self, name: &ImageName, document: NewDocument) -> Result<(), PathError> {
        let NewDocument { size, bytes, there } = document;
        self.pages.push(PlannedPage { path: catalogue::page_path(name)?, document: self.documents.len() });
        self.documents.push(PlannedDocument {
            place: Place { origin: None, path: catalogue::document_path(name)? },
            kind: Kind::CatalogueDocument,
            size,
            new_bytes: bytes,
            expected: there.map_or(Expected::Absent, |there| Expected::Version(there.version)),
        });
        Ok(())
    }

    fn add_list(&mut self, site: &Site, list: ListDocument, there: Option<Document>) -> Result<(), PlanError> {
        let list = Arc::new(list);
        let place = |path| Ok::<_, PathError>(Place { origin: None, path: SitePath::new(path)? });
        let page = planned(site, place(catalogue::LIST_PAGE)?, Kind::CataloguePage, site.pages.list(&list)?)?;
        // Merged from what was read then, so written only if it is still that.
        let may_be_foreign = !site.views_before().catalogue && !is_ours(there.as_ref());
        let document = document_from(place(catalogue::LIST)?, Kind::CatalogueDocument, list.to_bytes(), there);
        if may_be_foreign {
            for ours in [&page, &document] {
                if ours.expected != Expected::Absent && ours.new_bytes.is_some() {
                    // Not foreign, if another publisher made the catalogue since the description was read.
                    refuse_changed_description(site)?;
                    return Err(PlanError::ForeignPage { path: ours.place.path.clone() });
                }
            }
        }
        self.documents.extend([page, document]);
        Ok(())
    }

    /// The list stays as it is: a page and a document of these sizes.
    fn keep_list(&mut self, page: u64, document: u64) -> Result<(), PathError> {
        let page = (catalogue::LIST_PAGE, Kind::CataloguePage, page);
        for (path, kind, size) in [page, (catalogue::LIST, Kind::CatalogueDocument, document)] {
            let place = Place { origin: None, path: SitePath::new(path)? };
            // Nothing is expected of what is not written.
            self.documents.push(PlannedDocument { place, kind, size, new_bytes: None, expected: Expected::Absent });
        }
        Ok(())
    }

    /// A template that cannot render one page can render none: found here, before anything is written.
    fn try_templates(&self, site: &Site) -> Result<(), PlanError> {
        if let Some(first) = self.pages.first()
            && let Some(mut shown) = self.shown(site, first)?
        {
            // One ref that is only summed up is as good as a thousand.
            shown.document.refs.truncate(MAX_DETAILED_REFS + 1);
            site.pages.image(&Arc::new(shown), site.map.settings().views.registry)?;
        }
        Ok(())
    }

    /// What another catalogue, or another version of this program, left behind.
    fn remove_strays(&mut self, site: &Site) -> Result<(), PlanError> {
        let pages = self.pages.iter().map(|page| &page.path);
        let documents = self.assets.iter().chain(&self.documents).map(|document| &document.place.path);
        let planned: BTreeSet<SitePath> = pages.chain(documents).cloned().collect();
        let removals = &mut self.removals;
        site.own.list(&format!("{}/", catalogue::ROOT), &mut |listed| {
            if catalogue::kind(listed.path.as_str()).is_some() && !planned.contains(&listed.path) {
                removals.push(listed.path);
            }
        })?;
        Ok(())
    }

    /// The bytes of a page.
    pub fn page(&self, site: &Site, page: &PlannedPage) -> Result<Vec<u8>, PlanError> {
        match self.shown(site, page)? {
            Some(shown) => Ok(site.pages.image(&Arc::new(shown), site.map.settings().views.registry)?),
            // Somebody took the document away since it was looked at. The next publish makes it again.
            None => Ok(vec![]),
        }
    }

    /// What a page is made from.
    fn shown(&self, site: &Site, page: &PlannedPage) -> Result<Option<Shown>, PlanError> {
        let Some(planned) = self.documents.get(page.document) else { return Ok(None) };
        let there = match planned.new_bytes {
            Some(_) => None,
            None => read(site, &planned.place.path)?.map(|there| there.bytes),
        };
        Ok(planned.new_bytes.as_ref().or(there.as_ref()).and_then(|bytes| Shown::parse(bytes)))
    }
}

fn assets(site: &Site) -> Result<Vec<PlannedDocument>, PlanError> {
    let asset = |path, kind, name| {
        let place = Place { origin: None, path: SitePath::new(path)? };
        planned(site, place, kind, site.pages.templates().text(name).as_bytes().to_vec())
    };
    Ok(vec![
        asset(catalogue::STYLE, Kind::CatalogueStyle, templates::STYLE)?,
        asset(catalogue::SCRIPT, Kind::CatalogueScript, templates::SCRIPT)?,
    ])
}

/// Whether a list of images is one of a catalogue.
fn is_ours(list: Option<&Document>) -> bool {
    list.is_some_and(|list| Outline::parse(&list.bytes).is_some())
}

fn read(site: &Site, path: &SitePath) -> Result<Option<Document>, PlanError> {
    Ok(site.own.read_document(path, MAX_INDEX_BYTES)?)
}

/// Where the manifests of an image are: in the layouts that are published now, or in the site.
struct Sources<'a> {
    layouts: HashMap<&'a Digest, &'a Layout>,
    published: SiteImage<'a>,
}

impl Manifests for Sources<'_> {
    type Node = Descriptor;
    type Error = PlanError;

    /// One that is too large to be a manifest, or is damaged in the site, is missing: the page says that something is, and
    /// verification what.
    fn read(&self, descriptor: &Descriptor) -> Result<Option<Verified>, PlanError> {
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
struct Shards<'a> {
    site: &'a Site,
    is_anew: bool,
    read: BTreeMap<SitePath, (LayersDocument, Option<Document>)>,
}

impl Shards<'_> {
    fn shard(&mut self, layer: &Digest) -> Result<&mut LayersDocument, PlanError> {
        let path = catalogue::layers_path(layer)?;
        if !self.read.contains_key(&path) {
            let there = read(self.site, &path)?;
            let usable = there.as_ref().filter(|_| !self.is_anew);
            let document = usable.and_then(|there| LayersDocument::parse(&there.bytes)).unwrap_or_default();
            self.read.insert(path.clone(), (document, there));
        }
        Ok(&mut self.read.entry(path).or_default().0)
    }

    fn owners(&mut self, layer: &Digest) -> Result<Owners, PlanError> {
        Ok(self.shard(layer)?.layers.get(layer).cloned().unwrap_or_default())
    }

    fn set(&mut self, owners: BTreeMap<Digest, Owners>) -> Result<(), PlanError> {
        for (layer, owners) in owners {
            let shard = self.shard(&layer)?;
            match owners.is_empty() {
                true => shard.layers.remove(&layer),
                false => shard.layers.insert(layer, owners),
            };
        }
        Ok(())
    }

    /// What is written, and the paths of documents that have nothing to say any more. Without a lock such a document stays,
    /// empty: its removal could not be refused when another publisher has just written into it.
    fn documents(self) -> (Vec<PlannedDocument>, Vec<SitePath>) {
        let (mut documents, mut emptied) = (Vec::new(), Vec::new());
        let can_remove = self.site.own.has_lock();
        for (path, (document, there)) in self.read {
            match there {
                None if document.layers.is_empty() => continue,
                Some(_) if document.layers.is_empty() && can_remove => {
                    emptied.push(path);
                    continue;
                }
                _ => {}
            }
            let place = Place { origin: None, path };
            documents.push(document_from(place, Kind::CatalogueDocument, document.to_bytes(), there));
        }
        (documents, emptied)
    }
}

/// Writes what a plan says of the catalogue.
pub(super) fn write(
    site: &Site,
    plan: &CataloguePlan,
    jobs: NonZeroUsize,
    tally: &Tally<'_>,
) -> Result<(), PublishError> {
    write_documents(site, &plan.assets, jobs, tally)?;
    write_pages(site, plan, jobs, tally)?;
    let (documents, list) = plan.documents.split_at(plan.list);
    let (documents, own) = documents.split_at(plan.own);
    let (told, layers) = documents.split_at(plan.layers);
    // Without a lock, whoever reads in a layer's document that an image has the layer must find the image's document, to mark
    // the layer as shared there.
    let [first, second, third] = if site.own.has_lock() { [told, layers, own] } else { [own, told, layers] };
    write_documents(site, first, jobs, tally)?;
    plan.emptied.iter().try_for_each(|path| site.own.remove_document(path))?;
    write_documents(site, second, jobs, tally)?;
    write_documents(site, third, jobs, tally)?;
    for document in list {
        write_documents(site, [document], jobs, tally)?;
    }
    plan.removals.iter().try_for_each(|path| site.own.remove_document(path))?;
    Ok(())
}

/// Rewrites the catalogue of a site that is about to change: `changed` are images with the indexes they will have, `gone` those
/// that will be no more. It goes first, so that no page leads to what is gone.
pub fn rewrite(site: &Site, changed: &[(&ImageName, &Index)], gone: &[ImageName]) -> Result<(), PublishError> {
    if !site.map.settings().views.catalogue {
        return Ok(());
    }
    let mut planner = Planner::new(site, &[])?;
    for (name, index) in changed {
        if let Some(changed) = planner.of_site(name, index)? {
            planner.add(changed);
        }
    }
    planner.gone.extend(gone.iter().cloned());
    let stay: Vec<&ImageName> = site.images.iter().filter(|name| !gone.contains(name)).collect();
    let plan = planner.finish(&stay)?;
    write(site, &plan, parallel::default_jobs(), &Tally::new(&Silent, Duration::ZERO))
}

/// Makes the catalogue of a site again from its indexes, whatever the one that is there says. Gives its objects, each with whether
/// it was written, and its size.
pub fn remake(site: &Site, jobs: NonZeroUsize) -> Result<BTreeMap<Place, (bool, u64)>, PublishError> {
    let tally = Tally::new(&Silent, Duration::ZERO);
    if site.map.settings().views.catalogue {
        let (planner, _) = Planner::anew(site)?;
        let plan = planner.finish(&site.images.iter().collect::<Vec<_>>())?;
        write(site, &plan, jobs, &tally)?;
    }
    Ok(tally.documents())
}

/// The documents of the catalogue that do not agree with the indexes, and the pages that are missing or too many. Pages are not
/// compared, for nobody knows the templates they were made with.
pub fn differences(site: &Site) -> Result<Vec<SitePath>, PlanError> {
    let (mut planner, outline) = Planner::anew(site)?;
    if let Some(Outline { registry, templates, .. }) = outline {
        (planner.list.registry, planner.list.templates) = (registry, templates);
    }
    let images: Vec<&ImageName> = site.images.iter().collect();
    let plan = planner.finish(&images)?;
    let is_document = |document: &&PlannedDocument| document.kind == Kind::CatalogueDocument;
    let documents = plan.documents.iter().filter(is_document).filter(|document| document.new_bytes.is_some());
    let mut paths: Vec<SitePath> = documents.map(|document| document.place.path.clone()).chain(plan.emptied).collect();
    let nothing = LayersDocument::default().to_bytes();
    for path in plan.removals {
        // A bucket keeps layers' documents that were emptied, and so does a directory that is a copy of one.
        if read(site, &path)?.is_none_or(|there| there.bytes != nothing) {
            paths.push(path);
        }
    }
    let list_page = SitePath::new(catalogue::LIST_PAGE)?;
    for path in plan.pages.iter().map(|page| &page.path).chain([&list_page]) {
        if site.own.stat(path)?.is_none() {
            paths.push(path.clone());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Renders the pages and writes those that differ from what is there.
fn write_pages(site: &Site, plan: &CataloguePlan, jobs: NonZeroUsize, tally: &Tally<'_>) -> Result<(), PublishError> {
    let write = |page: &PlannedPage| -> Result<(), PublishError> {
        let bytes = plan.page(site, page)?;
        let there = read(site, &page.path)?;
        let is_unchanged = there.as_ref().is_some_and(|there| there.bytes == bytes);
        if !is_unchanged {
            let expected = there.map_or(Expected::Absent, |there| Expected::Version(there.version));
            site.own.write_document(&page.path, &Kind::CataloguePage, &bytes, &expected)?;
        }
        tally.document(site, Place { origin: None, path: page.path.clone() }, !is_unchanged, bytes.len() as u64);
        // A document that is going to be written is compared then; of one that is right already, another publisher may have
        // made a newer page.
        plan.documents.get(page.document).map_or(Ok(()), |document| refuse_change(site, document))?;
        Ok(())
    };
    parallel::map(&plan.pages, jobs, write)?;
    Ok(())
}
