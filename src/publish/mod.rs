//! Publishing: layouts in, a correct and atomic site out.
//!
//! The order is what makes it safe. All input is read and checked first ([`input`], [`collect`]); then, under the store's
//! lock, everything that will be written is decided as plain data ([`plan`]); then it is written in phases, each durable
//! before the next begins ([`execute`]): blobs, then the indexes that point to them, then the documents that lead to the
//! indexes. Killed at any moment, every reference that a reader can see leads to something that is there.

pub mod catalogue;
pub mod collect;
pub mod execute;
pub mod input;
pub mod plan;
pub mod registry;

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::catalogue::page::{PageError, Pages};
use crate::catalogue::templates::Templates;
use crate::name::ImageName;
use crate::oci::layout::Layout;
use crate::progress::Progress;
use crate::site::description::{Description, DescriptionError};
use crate::site::index::Merge;
use crate::site::map::{MapError, SiteMap};
use crate::site::settings::Views;
use crate::site::{Place, Preset, Settings, SitePath};
use crate::store::directory::{DirectoryStore, LinkMode};
use crate::store::{Document, Lock, Store, StoreError, Version};
use crate::template::{Template, TemplateError};

pub use collect::CollectError;
pub use execute::Summary;
pub use input::{Input, InputError};
pub use plan::{Object, Plan, PlanError};

/// The largest `ocisite.json` that is read: a million image names of ordinary length.
pub const MAX_DESCRIPTION_BYTES: u64 = 64 * 1024 * 1024;

/// What to publish, where, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// The site's directory.
    pub site: PathBuf,
    /// The images, and the folders to look for layouts in.
    pub inputs: Vec<Input>,
    /// The host for images that are named by their path in a folder; also a host that the site serves.
    pub host: Option<String>,
    /// The pair of templates to start from.
    pub preset: Option<Preset>,
    /// An index template of one's own.
    pub index_template: Option<String>,
    /// A CAS template of one's own.
    pub cas_template: Option<String>,
    /// Directories for other origins.
    pub stores: Vec<(String, PathBuf)>,
    /// Whether each host gets a root of its own, below the site's directory.
    pub root_per_host: bool,
    /// Whether the site gets the registry view; one that has it keeps it.
    pub registry: bool,
    /// Whether the site gets the catalogue. None: a new site gets it, and others stay as they are.
    pub catalogue: Option<bool>,
    /// A directory with templates for the catalogue's pages.
    pub template_dir: Option<PathBuf>,
    /// What happens to entries that are there.
    pub merge: Merge,
    /// Whether blobs that a layout lacks are no error.
    pub allow_missing: bool,
    /// How blobs get into a directory.
    pub link: LinkMode,
    /// Whether a directory may hold other things.
    pub adopt: bool,
    /// How many files are worked on at once.
    pub jobs: NonZeroUsize,
    /// How long to wait for another publisher.
    pub wait: Duration,
}

/// Why a publish did not happen.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// What was given to publish cannot be.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A layout, or something in it, is wrong.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// The site that would result is impossible.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A template has a wrong form.
    #[error("the {what} cannot be used")]
    Template {
        /// `index template` or `CAS template`.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: TemplateError,
    },
    /// The templates do not describe a static site.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The site's directory cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The templates of the catalogue's pages cannot be used.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The site's description is damaged.
    #[error("{site}/ocisite.json cannot be used")]
    Description {
        /// The site.
        site: String,
        /// What is wrong.
        #[source]
        source: DescriptionError,
    },
    /// The site exists and has other templates.
    #[error(
        "{site} was published with the {what} {found}: expected {expected}, as given now; \
         leave the option out, or publish to a new directory"
    )]
    OtherTemplate {
        /// The site.
        site: String,
        /// `index template` or `CAS template`.
        what: &'static str,
        /// The one it has.
        found: String,
        /// The one that was given.
        expected: String,
    },
}

/// Publishes. When anything goes wrong, every site is left, or put back, as it was.
pub fn publish(request: &Request, progress: &dyn Progress) -> Result<Summary, PublishError> {
    let Prepared { layouts, groups, skipped } = prepare(request)?;
    let mut sites = groups
        .iter()
        .map(|group| Site::open(request, &group.root, &group.images))
        .collect::<Result<Vec<Site>, PublishError>>()?;
    let mut locks = Vec::new();
    let result = lock_all(&sites, request.wait, &mut locks)
        .and_then(|()| publish_locked(request, &mut sites, groups, &layouts, progress));
    if result.is_err() {
        // In reverse: a directory that one site made may hold what a later one made.
        sites.iter().rev().for_each(Site::give_up);
    }
    // What the stores kept for giving up goes before anybody else may write.
    drop(sites);
    drop(locks);
    Ok(Summary { skipped, ..result? })
}

/// Locks every store of the sites once, in an order that all publishers share: two that have stores in common would
/// otherwise each wait for what the other one holds.
fn lock_all(sites: &[Site], wait: Duration, locks: &mut Vec<Box<dyn Lock>>) -> Result<(), PublishError> {
    let mut stores: Vec<&dyn Store> = sites.iter().flat_map(Site::stores).collect();
    stores.sort_by_cached_key(|store| store.identity());
    let mut locked = HashSet::new();
    for store in stores {
        if !locked.contains(&store.identity()) {
            locks.push(store.lock(wait)?);
            // Asked again, because a directory that was not there has got its real name only now.
            locked.insert(store.identity());
        }
    }
    Ok(())
}

fn publish_locked(
    request: &Request,
    sites: &mut [Site],
    groups: Vec<Group>,
    layouts: &[Layout],
    progress: &dyn Progress,
) -> Result<Summary, PublishError> {
    // Every site's plan is made before the first is written: most errors are found here.
    let mut plans = Vec::new();
    for (site, group) in sites.iter_mut().zip(groups) {
        site.reload(request, &group.images)?;
        plans.push(plan::plan(site, request.merge, group.images, layouts, request.jobs)?);
    }
    let mut summary = Summary::default();
    for (site, plan) in sites.iter().zip(plans) {
        summary.add(execute::execute(site, plan, layouts, request.jobs, progress)?);
    }
    Ok(summary)
}

/// Decides everything that [`publish`] would write, without writing, locking or creating anything.
pub fn dry_run(request: &Request) -> Result<Preview, PublishError> {
    let Prepared { layouts, groups, skipped } = prepare(request)?;
    let mut preview = Preview { skipped, ..Preview::default() };
    for group in groups {
        let site = Site::open(request, &group.root, &group.images)?;
        let plan = plan::plan(&site, request.merge, group.images, &layouts, request.jobs)?;
        preview.objects.extend(plan.objects(&site)?);
        preview.missing.extend(plan.missing);
        preview.warnings.extend(plan.warnings);
    }
    Ok(preview)
}

/// What a publish would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Preview {
    /// Every object that would be there of what is published, in the order of writing.
    pub objects: Vec<Object>,
    /// Blobs that the layouts lack.
    pub missing: Vec<collect::MissingBlob>,
    /// What looked like a layout and was left alone.
    pub skipped: Vec<input::Skipped>,
    /// What a person should hear of.
    pub warnings: Vec<String>,
}

struct Prepared {
    layouts: Vec<Layout>,
    groups: Vec<Group>,
    skipped: Vec<input::Skipped>,
}

/// The images that go to one root.
struct Group {
    root: PathBuf,
    images: Vec<collect::Image>,
}

fn prepare(request: &Request) -> Result<Prepared, PublishError> {
    let gathered = input::gather(&request.inputs, request.host.as_deref(), request.jobs)?;
    let images = collect::collect(&gathered, request.allow_missing, request.jobs)?;
    Ok(Prepared { groups: groups(request, images)?, layouts: gathered.layouts, skipped: gathered.skipped })
}

/// One root for all images, or one per host.
fn groups(request: &Request, images: Vec<collect::Image>) -> Result<Vec<Group>, PublishError> {
    if !request.root_per_host {
        return Ok(vec![Group { root: request.site.clone(), images }]);
    }
    let mut groups: BTreeMap<SitePath, Vec<collect::Image>> = BTreeMap::new();
    for image in images {
        // RFC 3986 lets a host be called `..`; a directory of that name would be outside.
        let wrong = |source| MapError::Path { subject: image.name.to_string(), source };
        groups.entry(SitePath::new(image.name.host()).map_err(wrong)?).or_default().push(image);
    }
    Ok(groups.into_iter().map(|(host, images)| Group { root: request.site.join(host.as_str()), images }).collect())
}

/// A site that is being published to: its stores, and what it says of itself.
pub struct Site {
    /// The site's own root.
    pub own: Box<dyn Store>,
    /// The roots of other origins, in the order of [`Settings::origins`].
    pub others: Vec<Box<dyn Store>>,
    /// Where everything lives.
    pub map: SiteMap,
    /// The images it has already.
    pub images: Vec<ImageName>,
    /// What the site offered before this publish; a view that is new has to be made for all images.
    pub views_before: Views,
    /// What renders the catalogue's pages.
    pub pages: Pages,
    /// The version of the description that all this was read from; None: there was none.
    version: Option<Version>,
    /// The blobs that were written.
    written: Mutex<Vec<Place>>,
}

impl Site {
    /// Opens a site as it is, to keep it in order. `stores` are the directories of other origins. None: there is no site.
    ///
    /// The catalogue's pages are made with the built-in templates, and with those in `template_dir`.
    pub fn open_existing(
        root: &Path,
        stores: &[(String, PathBuf)],
        template_dir: Option<&Path>,
    ) -> Result<Option<Site>, PublishError> {
        let own = DirectoryStore::new(root, LinkMode::Copy, true)?;
        let Some(there) = read_description(&own)? else { return Ok(None) };
        let Description { settings, images } = parse_description(&own, &there)?;
        let mut others: Vec<Box<dyn Store>> = Vec::new();
        for origin in &settings.origins {
            let Some((_, directory)) = stores.iter().find(|(known, _)| known == origin) else {
                return Err(PlanError::StoreNeeded { site: own.name(), origin: origin.clone() }.into());
            };
            others.push(Box::new(DirectoryStore::new(directory, LinkMode::Copy, true)?));
        }
        let views_before = settings.views;
        let (own, map) = (Box::new(own), SiteMap::new(settings)?);
        let pages = pages(template_dir)?;
        let version = Some(there.version);
        Ok(Some(Site { own, others, map, images, views_before, pages, version, written: Mutex::default() }))
    }

    fn open(request: &Request, root: &Path, images: &[collect::Image]) -> Result<Site, PublishError> {
        let own = DirectoryStore::new(root, request.link, request.adopt)?;
        let there = read_description(&own)?;
        let version = there.as_ref().map(|document| document.version.clone());
        let (settings, images, views_before) = settings(request, &own, there, images)?;
        let mut others: Vec<Box<dyn Store>> = Vec::new();
        for origin in &settings.origins {
            let Some((_, directory)) = request.stores.iter().find(|(known, _)| known == origin) else {
                return Err(PlanError::StoreNeeded { site: own.name(), origin: origin.clone() }.into());
            };
            others.push(Box::new(DirectoryStore::new(directory, request.link, true)?));
        }
        Ok(Site {
            own: Box::new(own),
            others,
            map: SiteMap::new(settings)?,
            images,
            views_before,
            pages: pages(request.template_dir.as_deref())?,
            version,
            written: Mutex::default(),
        })
    }

    /// Reads the description again, now that the lock is held: another publisher may have written since.
    fn reload(&mut self, request: &Request, images: &[collect::Image]) -> Result<(), PublishError> {
        let there = read_description(&*self.own)?;
        if there.as_ref().map(|document| &document.version) == self.version.as_ref() {
            return Ok(());
        }
        let (settings, images, views_before) = settings(request, &*self.own, there, images)?;
        if settings.origins != self.map.settings().origins {
            return Err(StoreError::Conflict { path: description_path()? }.into());
        }
        self.views_before = views_before;
        self.map = SiteMap::new(settings)?;
        self.images = images;
        Ok(())
    }

    /// The store of a place.
    pub fn store(&self, origin: Option<usize>) -> &dyn Store {
        origin.and_then(|position| self.others.get(position)).unwrap_or(&self.own).as_ref()
    }

    /// All stores, the site's own first.
    fn stores(&self) -> impl Iterator<Item = &dyn Store> {
        std::iter::once(&self.own).chain(&self.others).map(|store| store.as_ref())
    }

    /// Keeps others from writing to any of the stores, until what is returned is dropped.
    pub fn lock(&self, wait: Duration) -> Result<Vec<Box<dyn Lock>>, PublishError> {
        let mut locks = Vec::new();
        lock_all(std::slice::from_ref(self), wait, &mut locks)?;
        Ok(locks)
    }

    /// Makes all that was written durable.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.stores().try_for_each(Store::flush)
    }

    /// Notes a blob that was written, for [`Site::give_up`].
    fn remember(&self, place: Place) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).push(place);
    }

    /// Puts everything back as it was.
    fn give_up(&self) {
        let written = std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        let origins = (0..self.others.len()).map(Some).chain([None]);
        // The site's own documents refer to what the other origins have, so it comes first.
        for origin in origins.rev() {
            let here = written.iter().filter(|place| place.origin == origin);
            let blobs: Vec<SitePath> = here.map(|place| place.path.clone()).collect();
            // The error that made us give up is the one to report; a blob that stays behind is unreferenced, and gc finds it.
            let _ = self.store(origin).take_back(&blobs);
        }
    }
}

fn pages(template_dir: Option<&Path>) -> Result<Pages, PageError> {
    match template_dir {
        Some(directory) => Pages::new(Templates::with_overrides(directory)?),
        None => Pages::new(Templates::built_in()),
    }
}

/// The settings a site has, or gets: what it was made with, what was given, and the preset for the rest.
fn settings(
    request: &Request,
    own: &dyn Store,
    there: Option<Document>,
    images: &[collect::Image],
) -> Result<(Settings, Vec<ImageName>, Views), PublishError> {
    let template = |what, text: &str| Template::parse(text).map_err(|source| PublishError::Template { what, source });
    let preset = request.preset.unwrap_or_default();
    let given_index = request.index_template.as_deref().or(request.preset.map(Preset::index_template));
    let given_cas = request.cas_template.as_deref().or(request.preset.map(Preset::cas_template));
    let there = there.map(|document| parse_description(own, &document)).transpose()?;
    let (mut settings, known, views_before) = match there {
        Some(Description { settings, images }) => {
            for (what, found, given) in [
                ("index template", &settings.index_template, given_index),
                ("CAS template", &settings.cas_template, given_cas),
            ] {
                if let Some(given) = given.filter(|given| *given != found.as_str()) {
                    template(what, given)?;
                    let (found, expected) = (found.to_string(), given.to_string());
                    return Err(PublishError::OtherTemplate { site: own.name(), what, found, expected });
                }
            }
            let views = settings.views;
            (settings, images, views)
        }
        None => {
            let settings = Settings {
                hosts: vec![],
                index_template: template("index template", given_index.unwrap_or(preset.index_template()))?,
                cas_template: template("CAS template", given_cas.unwrap_or(preset.cas_template()))?,
                origins: vec![],
                views: Views { registry: false, catalogue: request.catalogue.unwrap_or(true) },
            };
            (settings, vec![], Views::default())
        }
    };
    settings.hosts.extend(images.iter().map(|image| image.name.host().to_string()));
    if !request.root_per_host {
        settings.hosts.extend(request.host.clone());
    }
    settings.hosts.sort();
    settings.hosts.dedup();
    settings.views.registry |= request.registry;
    settings.views.catalogue = request.catalogue.unwrap_or(settings.views.catalogue);
    settings.origins.extend(request.stores.iter().map(|(origin, _)| origin.clone()));
    settings.origins.sort();
    settings.origins.dedup();
    Ok((settings, known, views_before))
}

/// What a site says of itself. None: there is no site yet.
pub fn description(store: &dyn Store) -> Result<Option<Description>, PublishError> {
    read_description(store)?.map(|document| parse_description(store, &document)).transpose()
}

fn read_description(store: &dyn Store) -> Result<Option<Document>, PublishError> {
    Ok(store.read_document(&description_path()?, MAX_DESCRIPTION_BYTES)?)
}

fn parse_description(store: &dyn Store, document: &Document) -> Result<Description, PublishError> {
    let wrong = |source| PublishError::Description { site: store.name(), source };
    Description::parse(&document.bytes).map_err(wrong)
}

fn description_path() -> Result<SitePath, PublishError> {
    let wrong = |source| MapError::Path { subject: "the description".into(), source };
    Ok(SitePath::new(crate::site::path::DESCRIPTION).map_err(wrong)?)
}
