//! Publishing: layouts in, a correct and atomic site out.
//!
//! The order is what makes it safe. All input is read and checked first ([`input`], [`collect`]); then, under the store's
//! lock, everything that will be written is decided as plain data ([`plan`]); then it is written in phases, each durable
//! before the next begins ([`execute`]): blobs, then the indexes that point to them, then the documents that lead to the
//! indexes. Killed at any moment, every reference that a reader can see leads to something that is there.

pub mod collect;
pub mod execute;
pub mod input;
pub mod plan;
pub mod registry;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::name::ImageName;
use crate::progress::Progress;
use crate::site::description::{Description, DescriptionError};
use crate::site::index::Merge;
use crate::site::map::{MapError, SiteMap};
use crate::site::settings::Views;
use crate::site::{Preset, Settings, SitePath};
use crate::store::directory::{DirectoryStore, LinkMode};
use crate::store::{Lock, Store, StoreError};
use crate::template::{Template, TemplateError};

pub use collect::CollectError;
pub use execute::Summary;
pub use input::{Input, InputError};
pub use plan::{Object, Plan, PlanError};

/// The largest `ocisite.json` that is read: a million image names of ordinary length.
const MAX_DESCRIPTION_BYTES: u64 = 64 * 1024 * 1024;

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

/// Publishes. Nothing is written when anything is wrong with the input.
pub fn publish(request: &Request, progress: &dyn Progress) -> Result<Summary, PublishError> {
    let prepared = prepare(request)?;
    let mut summary = Summary { skipped: prepared.skipped.clone(), ..Summary::default() };
    let mut opened = Vec::new();
    for group in prepared.groups(request) {
        let site = Site::open(request, &group.root, &group.images)?;
        let lock = site.own.lock(request.wait)?;
        opened.push((site, group, lock));
    }
    // Every site's plan is made before the first is written, so that an error in one leaves all as they were.
    let mut plans: Vec<(Site, Plan, Box<dyn Lock>)> = Vec::new();
    let mut roots = opened.into_iter();
    while let Some((mut site, group, lock)) = roots.next() {
        let planned =
            site.reload(request, &group.images).and_then(|()| Ok(plan::plan(&site, request.merge, group.images)?));
        match planned {
            Ok(plan) => plans.push((site, plan, lock)),
            Err(error) => {
                let others = plans.iter().map(|(site, ..)| site).chain([&site]);
                let unplanned: Vec<Site> = roots.map(|(site, ..)| site).collect();
                others.chain(&unplanned).for_each(Site::give_up);
                return Err(error);
            }
        }
    }
    for (site, plan, lock) in plans {
        summary.add(execute::execute(&site, plan, &prepared.layouts, request.jobs, progress)?);
        drop(lock);
    }
    Ok(summary)
}

/// Decides everything that [`publish`] would write, without writing, locking or creating anything.
pub fn dry_run(request: &Request) -> Result<Vec<Object>, PublishError> {
    let prepared = prepare(request)?;
    let mut objects = Vec::new();
    for group in prepared.groups(request) {
        let site = Site::open(request, &group.root, &group.images)?;
        objects.extend(plan::plan(&site, request.merge, group.images)?.objects(&site.map)?);
    }
    Ok(objects)
}

struct Prepared {
    layouts: Vec<crate::oci::layout::Layout>,
    images: Vec<collect::Image>,
    skipped: Vec<input::Skipped>,
}

struct GroupOfImages {
    root: PathBuf,
    images: Vec<collect::Image>,
}

fn prepare(request: &Request) -> Result<Prepared, PublishError> {
    let gathered = input::gather(&request.inputs, request.host.as_deref())?;
    let images = collect::collect(&gathered, request.allow_missing, request.jobs)?;
    Ok(Prepared { layouts: gathered.layouts, images, skipped: gathered.skipped })
}

impl Prepared {
    /// The images by the root they go to: one root, or one per host.
    fn groups(&self, request: &Request) -> Vec<GroupOfImages> {
        if !request.root_per_host {
            return vec![GroupOfImages { root: request.site.clone(), images: self.images.clone() }];
        }
        let mut groups: Vec<GroupOfImages> = Vec::new();
        for image in &self.images {
            let root = request.site.join(image.name.host());
            match groups.iter_mut().find(|group| group.root == root) {
                Some(group) => group.images.push(image.clone()),
                None => groups.push(GroupOfImages { root, images: vec![image.clone()] }),
            }
        }
        groups
    }
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
}

impl Site {
    fn open(request: &Request, root: &Path, images: &[collect::Image]) -> Result<Site, PublishError> {
        let own = DirectoryStore::new(root, request.link, request.adopt)?;
        let (settings, images, views_before) = settings(request, &own, images)?;
        let mut others: Vec<Box<dyn Store>> = Vec::new();
        for origin in &settings.origins {
            let Some((_, directory)) = request.stores.iter().find(|(known, _)| known == origin) else {
                return Err(PlanError::StoreNeeded { site: own.name(), origin: origin.clone() }.into());
            };
            others.push(Box::new(DirectoryStore::new(directory, request.link, true)?));
        }
        Ok(Site { own: Box::new(own), others, map: SiteMap::new(settings)?, images, views_before })
    }

    /// Reads the description again, now that the lock is held: another publisher may have written since.
    fn reload(&mut self, request: &Request, images: &[collect::Image]) -> Result<(), PublishError> {
        let (settings, images, views_before) = settings(request, &*self.own, images)?;
        self.views_before = views_before;
        self.map = SiteMap::new(settings)?;
        self.images = images;
        Ok(())
    }

    /// The store of a place.
    pub fn store(&self, origin: Option<usize>) -> &dyn Store {
        origin.and_then(|position| self.others.get(position)).unwrap_or(&self.own).as_ref()
    }

    fn give_up(&self) {
        // The error that made us give up is the one to report; a leftover empty directory would only hide it.
        let _ = self.own.take_back(&[]);
    }
}

/// The settings a site has, or gets: what it was made with, what was given, and the preset for the rest.
fn settings(
    request: &Request,
    own: &dyn Store,
    images: &[collect::Image],
) -> Result<(Settings, Vec<ImageName>, Views), PublishError> {
    let template = |what, text: &str| Template::parse(text).map_err(|source| PublishError::Template { what, source });
    let preset = request.preset.unwrap_or_default();
    let given_index = request.index_template.as_deref().or(request.preset.map(Preset::index_template));
    let given_cas = request.cas_template.as_deref().or(request.preset.map(Preset::cas_template));
    let (mut settings, known) = match description(own)? {
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
            (settings, images)
        }
        None => {
            let settings = Settings {
                hosts: vec![],
                index_template: template("index template", given_index.unwrap_or(preset.index_template()))?,
                cas_template: template("CAS template", given_cas.unwrap_or(preset.cas_template()))?,
                origins: vec![],
                views: Views::default(),
            };
            (settings, vec![])
        }
    };
    settings.hosts.extend(images.iter().map(|image| image.name.host().to_string()));
    if !request.root_per_host {
        settings.hosts.extend(request.host.clone());
    }
    settings.hosts.sort();
    settings.hosts.dedup();
    let views_before = settings.views;
    settings.views.registry |= request.registry;
    settings.origins.extend(request.stores.iter().map(|(origin, _)| origin.clone()));
    settings.origins.sort();
    settings.origins.dedup();
    Ok((settings, known, views_before))
}

/// What a site says of itself. None: there is no site yet.
pub fn description(store: &dyn Store) -> Result<Option<Description>, PublishError> {
    let path = description_path()?;
    let Some(document) = store.read_document(&path, MAX_DESCRIPTION_BYTES)? else { return Ok(None) };
    Description::parse(&document.bytes)
        .map(Some)
        .map_err(|source| PublishError::Description { site: store.name(), source })
}

fn description_path() -> Result<SitePath, PublishError> {
    let wrong = |source| MapError::Path { subject: "the description".into(), source };
    Ok(SitePath::new(crate::site::path::DESCRIPTION).map_err(wrong)?)
}
