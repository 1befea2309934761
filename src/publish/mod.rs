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
pub mod site_image;
pub mod unfinished;

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::catalogue::page::{PageError, Pages};
use crate::catalogue::templates::Templates;
use crate::layout::Layout;
use crate::progress::Progress;
use crate::shell;
use crate::site::description::{Description, DescriptionError};
use crate::site::index::Merge;
use crate::site::map::{MapError, SiteMap};
use crate::site::settings::Views;
use crate::site::{Place, Preset, Settings, SitePath};
use crate::store::retry::Retries;
use crate::store::{self, BucketLocation, Document, Location, Lock, Store, StoreError};
use oci_discovery::error::chain;
use oci_discovery::name::ImageName;
use oci_discovery::template::{Template, TemplateError};

pub use collect::CollectError;
pub use execute::Summary;
use execute::Tally;
pub use input::{Input, InputError};
use plan::EntriesBefore;
pub use plan::{Object, Plan, PlanError};
pub use site_image::{SiteImage, SiteImageError};

/// The largest `ocisite.json` that is read: a million image names of ordinary length.
pub const MAX_DESCRIPTION_BYTES: u64 = 64 * 1024 * 1024;

/// What to publish, where, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where the site is.
    pub site: Location,
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
    /// The path on its host below which a new site keeps all but its discovery documents: `/images`.
    pub base_path: Option<String>,
    /// Where other origins are.
    pub stores: Vec<(String, Location)>,
    /// Whether each host gets a root of its own, below the site's own.
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
    /// Whether what the site has already is read and hashed, and repaired where it is damaged.
    pub recheck: bool,
    /// How the stores are used.
    pub options: store::Options,
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
    /// What the site has of an image cannot be read.
    #[error(transparent)]
    SiteImage(#[from] SiteImageError),
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
    /// Others changed the same document again and again.
    #[error(
        "{path} was changed by other publishers each time it was to be written, {retries} times in {} s; \
         publish again, or wait longer with --wait SECONDS", .waited.as_secs()
    )]
    Contended {
        /// The document.
        path: SitePath,
        /// How often it was tried again.
        retries: u32,
        /// For how long.
        waited: Duration,
    },
    /// Something went wrong, and then not everything could be put back.
    #[error("{}; and then not all could be put back as it was: the site is whole, and in part new; publish again", chain(.error))]
    NotPutBack {
        /// What went wrong.
        error: Box<PublishError>,
        /// What could not be put back.
        #[source]
        source: StoreError,
    },
    /// A base path that no URI has.
    #[error("the base path {path} cannot be used: {problem}; expected a path such as /images")]
    BasePath {
        /// What was given.
        path: String,
        /// What is wrong.
        problem: &'static str,
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

impl PublishError {
    /// The document that another publisher changed, if that is what went wrong.
    pub fn conflict(&self) -> Option<&SitePath> {
        match self {
            PublishError::Store(StoreError::Conflict { path })
            | PublishError::Plan(PlanError::Store(StoreError::Conflict { path })) => Some(path),
            _ => None,
        }
    }
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
        .and_then(|()| publish_locked(request, &mut sites, groups, &layouts, progress))
        // In reverse: a directory that one site made may hold what a later one made.
        .map_err(|error| match sites.iter().rev().map(Site::give_up).fold(Ok(()), Result::and) {
            Ok(()) => error,
            Err(source) => PublishError::NotPutBack { error: Box::new(error), source },
        });
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
        let mut attempts = Attempts::new(request, site, &group);
        let mut plan = attempts.plan(site, request, layouts, group.images)?;
        plan.warnings.extend(site.description.is_none().then(|| prefix_warning(&group.root)).flatten());
        plans.push((plan, attempts));
    }
    let mut summary = Summary::default();
    for (site, (mut plan, mut attempts)) in sites.iter_mut().zip(plans) {
        let mut tally = Tally::new(progress, request.wait);
        while let Err(error) = execute::execute(site, &plan, layouts, request.jobs, &mut tally) {
            let images = attempts.again(error)?;
            plan = attempts.plan(site, request, layouts, images)?;
        }
        summary.add(Summary { retries: attempts.retries.count, ..tally.summary(&plan) });
    }
    Ok(summary)
}

/// What the owner of a new site below a prefix has to know.
fn prefix_warning(root: &Location) -> Option<String> {
    let Location::Bucket(BucketLocation { prefix: Some(prefix), .. }) = root else { return None };
    Some(format!(
        "the site's root is {root}: clients look for /.well-known at the root of the host, so whatever serves the bucket has \
         to map that to /{prefix}; where it cannot, publish to the bucket's root with --base-path {}",
        shell::quote(&format!("/{prefix}"))
    ))
}

/// The attempts to publish to a site that others publish to at the same time, where no lock keeps them apart.
struct Attempts {
    retries: Retries,
    before: EntriesBefore,
    /// What is published, where it may have to be merged more than once. Under a lock it need not, and the images are let go
    /// of as soon as they are planned: there may be many.
    images: Option<Vec<collect::Image>>,
}

impl Attempts {
    fn new(request: &Request, site: &Site, group: &Group) -> Attempts {
        let images = (!site.stores().all(Store::has_lock)).then(|| group.images.clone());
        Attempts { retries: Retries::new(request.wait), before: EntriesBefore::default(), images }
    }

    /// Plans from what is there now.
    fn plan(
        &mut self,
        site: &mut Site,
        request: &Request,
        layouts: &[Layout],
        mut images: Vec<collect::Image>,
    ) -> Result<Plan, PublishError> {
        loop {
            site.reload(request, &images)?;
            match plan::plan(site, request, images, layouts, &mut self.before) {
                Ok(plan) => return Ok(plan),
                Err(error) => images = self.again(error.into())?,
            }
        }
    }

    /// Waits, if trying again can help, and gives what is to be published once more.
    fn again(&mut self, error: PublishError) -> Result<Vec<collect::Image>, PublishError> {
        let Some(images) = &self.images else { return Err(error) };
        let path = match error.conflict() {
            Some(path) => path.clone(),
            None => return Err(error),
        };
        if !self.retries.pause() {
            let Retries { count: retries, wait: waited, .. } = self.retries;
            return Err(PublishError::Contended { path, retries, waited });
        }
        Ok(images.clone())
    }
}

/// Decides everything that [`publish`] would write, without writing, locking or creating anything.
pub fn dry_run(request: &Request) -> Result<Preview, PublishError> {
    let Prepared { layouts, groups, skipped } = prepare(request)?;
    let mut preview = Preview { skipped, ..Preview::default() };
    for group in groups {
        let site = Site::open(request, &group.root, &group.images)?;
        let mut before = EntriesBefore::default();
        let plan = plan::plan(&site, request, group.images, &layouts, &mut before)?;
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
    root: Location,
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
    let group = |(host, images): (SitePath, _)| {
        let wrong = |source| MapError::Path { subject: host.to_string(), source };
        Ok(Group { root: request.site.join(host.as_str()).map_err(wrong)?, images })
    };
    groups.into_iter().map(group).collect()
}

/// Where a site is that exists, and how it is worked on.
#[derive(Clone, Debug)]
pub struct SitePlace {
    /// Its own root.
    pub root: Location,
    /// Where other origins are.
    pub stores: Vec<(String, Location)>,
    /// The templates of the catalogue's pages, where they are not the built-in ones.
    pub template_dir: Option<PathBuf>,
    /// How the stores are used.
    pub options: store::Options,
}

/// A site that is being published to: its stores, and what it says of itself.
pub struct Site {
    /// The site's own root.
    pub own: Box<dyn Store>,
    /// The roots of other origins, in the order of [`Settings::origins`].
    pub others: Vec<Box<dyn Store>>,
    /// Where everything lives.
    pub map: SiteMap,
    /// Its description as it was read, which is what is compared when it is written.
    pub description: Option<Document>,
    /// The images it has already.
    pub images: Vec<ImageName>,
    /// The settings that it had before this publish. None: it is new.
    pub settings_before: Option<Settings>,
    /// What renders the catalogue's pages.
    pub pages: Pages,
    /// The blobs that were written.
    written: Mutex<Vec<Place>>,
}

impl Site {
    /// Opens a site as it is, to keep it in order. None: there is no site.
    pub fn open_existing(place: &SitePlace) -> Result<Option<Site>, PublishError> {
        let options = store::Options { adopt: true, ..place.options.clone() };
        let own = store::open(&place.root, &options)?;
        let document = read_description(&*own)?;
        let Some(Description { settings, images }) = parse_description(&*own, document.as_ref())? else {
            return Ok(None);
        };
        let others = open_others(&*own, &settings, &place.stores, &options)?;
        Ok(Some(Site {
            own,
            others,
            settings_before: Some(settings.clone()),
            map: SiteMap::new(settings)?,
            description: document,
            images,
            pages: pages(place.template_dir.as_deref())?,
            written: Mutex::default(),
        }))
    }

    fn open(request: &Request, root: &Location, images: &[collect::Image]) -> Result<Site, PublishError> {
        let own = store::open(root, &request.options)?;
        let Known { settings, images, settings_before, document } =
            known(request, &*own, read_description(&*own)?, images)?;
        let others = open_others(&*own, &settings, &request.stores, &request.options)?;
        Ok(Site {
            own,
            others,
            map: SiteMap::new(settings)?,
            description: document,
            images,
            settings_before,
            pages: pages(request.template_dir.as_deref())?,
            written: Mutex::default(),
        })
    }

    /// Reads the description again, now that the lock is held: another publisher may have written since.
    fn reload(&mut self, request: &Request, images: &[collect::Image]) -> Result<(), PublishError> {
        let there = read_description(&*self.own)?;
        let version = |document: &Option<Document>| document.as_ref().map(|document| document.version.clone());
        if version(&there) == version(&self.description) {
            return Ok(());
        }
        let Known { settings, images, settings_before, document } = known(request, &*self.own, there, images)?;
        if settings.origins != self.map.settings().origins {
            return Err(StoreError::Conflict { path: description_path()? }.into());
        }
        self.description = document;
        self.settings_before = settings_before;
        self.map = SiteMap::new(settings)?;
        self.images = images;
        Ok(())
    }

    /// What the site offered before this publish; a view that is new has to be made for all images.
    pub fn views_before(&self) -> Views {
        self.settings_before.as_ref().map(|before| before.views).unwrap_or_default()
    }

    /// The store of a place.
    pub fn store(&self, origin: Option<usize>) -> &dyn Store {
        origin.and_then(|position| self.others.get(position)).unwrap_or(&self.own).as_ref()
    }

    /// All stores, the site's own first.
    pub fn stores(&self) -> impl Iterator<Item = &dyn Store> {
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
    ///
    /// # Errors
    /// A document could not be put back. It refers to new blobs, so these stay, too.
    fn give_up(&self) -> Result<(), StoreError> {
        let written = std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        // The site's own documents refer to what the other origins have, so it comes first.
        let origins: Vec<Option<usize>> = [None].into_iter().chain((0..self.others.len()).map(Some)).collect();
        origins.iter().map(|origin| self.store(*origin).restore()).fold(Ok(()), Result::and)?;
        for origin in origins {
            let here = written.iter().filter(|place| place.origin == origin);
            let blobs: Vec<SitePath> = here.map(|place| place.path.clone()).collect();
            // A blob that stays behind is unreferenced, and gc finds it.
            let _ = self.store(origin).take_back(&blobs);
        }
        Ok(())
    }
}

/// The stores of other origins, in the order of the settings. They may hold other things.
fn open_others(
    own: &dyn Store,
    settings: &Settings,
    stores: &[(String, Location)],
    options: &store::Options,
) -> Result<Vec<Box<dyn Store>>, PublishError> {
    let options = store::Options { adopt: true, ..options.clone() };
    let open = |origin: &String| {
        let Some((_, location)) = stores.iter().find(|(known, _)| known == origin) else {
            return Err(PlanError::StoreNeeded { site: own.name(), origin: origin.clone() }.into());
        };
        Ok(store::open(location, &options)?)
    };
    settings.origins.iter().map(open).collect()
}

fn pages(template_dir: Option<&Path>) -> Result<Pages, PageError> {
    match template_dir {
        Some(directory) => Pages::new(Templates::with_overrides(directory)?),
        None => Pages::new(Templates::built_in()),
    }
}

/// What is known of a site when its description was read.
struct Known {
    /// The settings it has, or gets.
    settings: Settings,
    /// The images it has.
    images: Vec<ImageName>,
    /// The settings it has. None: it is new.
    settings_before: Option<Settings>,
    /// The description itself.
    document: Option<Document>,
}

/// The settings a site has, or gets: what it was made with, what was given, and the preset for the rest.
fn known(
    request: &Request,
    own: &dyn Store,
    document: Option<Document>,
    images: &[collect::Image],
) -> Result<Known, PublishError> {
    let template = |what, text: &str| Template::parse(text).map_err(|source| PublishError::Template { what, source });
    let preset = request.preset.unwrap_or_default();
    let base = request.base_path.as_deref().map(base_path).transpose()?;
    if let (Some(path), Preset::Registry) = (base, preset) {
        let problem = "the preset registry keeps blobs below /v2, which clients look for at the host's root";
        return Err(PublishError::BasePath { path: path.into(), problem });
    }
    let placed = |template: &str| base.map_or(template.to_string(), |base| below(base, template));
    let is_given = request.preset.is_some() || base.is_some();
    let preset_index = is_given.then(|| placed(preset.index_template()));
    let preset_cas = is_given.then(|| placed(preset.cas_template()));
    let given_index = request.index_template.as_deref().or(preset_index.as_deref());
    let given_cas = request.cas_template.as_deref().or(preset_cas.as_deref());
    let (mut settings, known, settings_before) = match parse_description(own, document.as_ref())? {
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
            let before = settings.clone();
            (settings, images, Some(before))
        }
        None => {
            let settings = Settings {
                hosts: vec![],
                index_template: template("index template", given_index.unwrap_or(preset.index_template()))?,
                cas_template: template("CAS template", given_cas.unwrap_or(preset.cas_template()))?,
                origins: vec![],
                // Its page is the host's first, which is somebody else's where the site has but a part of the host.
                views: Views { registry: false, catalogue: request.catalogue.unwrap_or(base.is_none()) },
            };
            (settings, vec![], None)
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
    Ok(Known { settings, images: known, settings_before, document })
}

/// A base path with a slash before it and none behind it.
fn base_path(text: &str) -> Result<&str, PublishError> {
    let wrong = |problem| PublishError::BasePath { path: text.into(), problem };
    let path = text.trim_end_matches('/');
    let inner = path.strip_prefix('/').ok_or_else(|| wrong("it begins with no slash, or is only one"))?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    if !inner.chars().all(is_plain) {
        return Err(wrong("it has a character that would have to be encoded"));
    }
    SitePath::new(inner).map_err(|_| wrong("it has an empty segment, `.` or `..`"))?;
    Ok(path)
}

/// A preset's template below a base path: behind the host, where it begins with one.
fn below(base: &str, template: &str) -> String {
    const HOST: &str = "https://{host}";
    match template.strip_prefix(HOST) {
        Some(path) => format!("{HOST}{base}{path}"),
        None => format!("{base}{template}"),
    }
}

/// What a site says of itself. None: there is no site yet.
pub fn description(store: &dyn Store) -> Result<Option<Description>, PublishError> {
    parse_description(store, read_description(store)?.as_ref())
}

fn read_description(store: &dyn Store) -> Result<Option<Document>, PublishError> {
    Ok(store.read_document(&description_path()?, MAX_DESCRIPTION_BYTES)?)
}

fn parse_description(store: &dyn Store, document: Option<&Document>) -> Result<Option<Description>, PublishError> {
    let parse = |document: &Document| Description::parse(&document.bytes);
    document.map(parse).transpose().map_err(|source| PublishError::Description { site: store.name(), source })
}

fn description_path() -> Result<SitePath, PublishError> {
    let wrong = |source| MapError::Path { subject: "the description".into(), source };
    Ok(SitePath::new(crate::site::path::DESCRIPTION).map_err(wrong)?)
}
