//! An opened site: its stores and its description.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::change::PlannedDocument;
use super::{Conflict, ListedObject, Location, Lock, Store, StoreError, StoreOptions, StoredDocument};
use crate::root::Root;
use crate::shell;
use crate::site::description::{self, Description, DescriptionError};
use crate::site::map::{MapError, SiteMap};
use crate::site::path::{DESCRIPTION, PathError};
use crate::site::settings::Views;
use crate::site::{Kind, Place, Settings, SitePath};
use oci_discovery::error::chain;
use oci_discovery::json::MAX_INDEX_BYTES;
use oci_discovery::name::ImageName;
use oci_discovery::parallel::lock;

/// The largest `ocisite.json` that is read: a million image names of ordinary length.
pub const MAX_DESCRIPTION_BYTES: u64 = 64 * 1024 * 1024;

/// A place without a site where one is expected.
#[derive(Debug, thiserror::Error)]
pub enum NoSite {
    #[error("{0} is not a site: expected it to contain ocisite.json, which `ocisite publish` writes")]
    Missing(Location),
    /// A directory of sites, as `publish --root-per-host` fills it.
    #[error("{place} is not a site, but contains sites ({sites}); give one of them")]
    Below { place: Location, sites: String },
}

impl NoSite {
    pub fn at(place: &Location) -> NoSite {
        let root = match place {
            Location::Directory(path) => Root::open_if_present(path).ok().flatten(),
            Location::Bucket(_) => None,
        };
        match root.as_ref().and_then(super::sites_below) {
            Some(sites) => NoSite::Below { place: place.clone(), sites },
            None => NoSite::Missing(place.clone()),
        }
    }
}

/// The directories that a server serves.
#[derive(Clone, Debug)]
pub enum ServedRoots {
    /// A site.
    One(PathBuf),
    /// The sites below a directory, as `publish --root-per-host` fills it.
    PerHost(Vec<PathBuf>),
}

impl ServedRoots {
    /// The sites of a directory: itself, if it is one, or those below it.
    pub fn of(path: &Path) -> Result<ServedRoots, NoSite> {
        let missing = || NoSite::Missing(Location::Directory(path.into()));
        let root = Root::open(path).map_err(|_| missing())?;
        // A description that cannot be read is a problem of this site.
        if !matches!(root.file_status(DESCRIPTION), Ok(None)) {
            return Ok(ServedRoots::One(path.into()));
        }
        let sites: Vec<PathBuf> = super::site_names(&root).iter().map(|name| path.join(name)).collect();
        if sites.is_empty() { Err(missing()) } else { Ok(ServedRoots::PerHost(sites)) }
    }
}

/// Why a site cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A store cannot be read or locked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The templates do not describe a static site.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A path of the program's own is refused.
    #[error("a document of the site has an invalid path")]
    Path(#[from] PathError),
    /// The site's description is damaged.
    #[error(
        "{site}/ocisite.json, which describes the site, cannot be used: {}; restore the file from a copy of the site, or publish \
         all images to a new directory", chain(.problem)
    )]
    Description { site: String, problem: DescriptionError },
    /// A part of the site lives at an origin whose directory is not known.
    #[error(
        "{site} has files at another origin, {origin}: give their directory or bucket with `--store {}`",
        shell::quote(&format!("{origin}=DIR"))
    )]
    StoreNeeded {
        /// The site.
        site: String,
        /// The origin.
        origin: String,
    },
}

/// The location of an existing site.
#[derive(Clone, Debug)]
pub struct SitePlace {
    pub root: Location,
    /// The locations of the other origins.
    pub stores: Vec<(String, Location)>,
    /// A directory with templates for the catalogue's pages. None: the built-in templates.
    pub template_dir: Option<PathBuf>,
    pub options: StoreOptions,
}

/// A site that is being published to: its stores and its description.
pub struct Site {
    pub own: Box<dyn Store>,
    /// The roots of other origins, in the order of [`Settings::origins`].
    pub others: Vec<Box<dyn Store>>,
    pub map: SiteMap,
    /// `ocisite.json` as it was read; a write is conditional on this version.
    pub description: Option<StoredDocument>,
    /// The images that the site lists.
    pub images: Vec<ImageName>,
    /// The settings before this publish. None: the site is new.
    pub settings_before: Option<Settings>,
    /// The blobs that this process wrote.
    written: Mutex<Vec<Place>>,
}

impl Site {
    /// Opens an existing site. None: there is no site.
    pub fn open_existing(place: &SitePlace) -> Result<Option<Site>, SiteError> {
        let options = StoreOptions { adopt: true, ..place.options.clone() };
        let own = super::open(&place.root, &options)?;
        let document = read_description(&*own)?;
        let Some(Description { settings, images }) = parse_description(&*own, document.as_ref())? else {
            return Ok(None);
        };
        let others = open_others(&*own, &settings, &place.stores, &options)?;
        let settings_before = Some(settings.clone());
        let state = SiteState { settings, images, settings_before, description: document };
        Ok(Some(Site::new(own, others, state)?))
    }

    /// A site with the state that its description gives.
    pub fn new(own: Box<dyn Store>, others: Vec<Box<dyn Store>>, state: SiteState) -> Result<Site, SiteError> {
        let SiteState { settings, images, settings_before, description } = state;
        let map = SiteMap::new(settings)?;
        Ok(Site { own, others, map, description, images, settings_before, written: Mutex::default() })
    }

    /// Replaces the state of the site, after its description was read again.
    pub fn update(&mut self, state: SiteState) -> Result<(), SiteError> {
        let SiteState { settings, images, settings_before, description } = state;
        self.map = SiteMap::new(settings)?;
        (self.images, self.settings_before, self.description) = (images, settings_before, description);
        Ok(())
    }

    /// The views that the site had before this publish. A new view has to be made for all images.
    pub fn views_before(&self) -> Views {
        self.settings_before.as_ref().map(|before| before.views).unwrap_or_default()
    }

    pub fn store(&self, origin: Option<usize>) -> &dyn Store {
        origin.and_then(|position| self.others.get(position)).unwrap_or(&self.own).as_ref()
    }

    /// All stores, the site's own first.
    pub fn stores(&self) -> impl Iterator<Item = &dyn Store> {
        std::iter::once(&self.own).chain(&self.others).map(|store| store.as_ref())
    }

    /// Locks all stores until the result is dropped.
    pub fn lock(&self, wait: Duration) -> Result<Vec<Box<dyn Lock>>, SiteError> {
        let mut locks = Vec::new();
        lock_all(std::slice::from_ref(self), wait, &mut locks)?;
        Ok(locks)
    }

    /// Plans a document with these bytes.
    pub fn planned(&self, place: Place, kind: Kind, bytes: Vec<u8>) -> Result<PlannedDocument, StoreError> {
        let found = self.store(place.origin).read_document(&place.path, MAX_INDEX_BYTES)?;
        Ok(PlannedDocument::new(place, kind, bytes, found))
    }

    /// Refuses to continue if another writer changed a document that the plan depends on.
    pub fn refuse_change(&self, document: &PlannedDocument) -> Result<(), StoreError> {
        document.refuse_change(self.store(document.place.origin), MAX_INDEX_BYTES)
    }

    /// Refuses to end if another writer changed a document since the plan wrote or kept it.
    pub fn refuse_successor(&self, document: &PlannedDocument) -> Result<(), StoreError> {
        document.refuse_successor(self.store(document.place.origin), MAX_INDEX_BYTES)
    }

    /// Refuses to continue if another publisher changed the description since it was read.
    pub fn refuse_changed_description(&self) -> Result<(), SiteError> {
        let found = read_description(&*self.own)?;
        match found.map(|found| found.version) == self.description.as_ref().map(|found| found.version.clone()) {
            true => Ok(()),
            false => Err(StoreError::from(Conflict { path: description_path()? }).into()),
        }
    }

    /// Makes all writes durable.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.stores().try_for_each(Store::flush)
    }

    /// Records a blob that this process wrote, for [`Site::rollback`].
    pub fn remember(&self, place: Place) {
        lock(&self.written).push(place);
    }

    /// Restores the documents and removes the blobs that this process wrote.
    ///
    /// # Errors
    /// A document could not be restored. It refers to new blobs, so these stay.
    pub fn rollback(&self) -> Result<(), StoreError> {
        let written = std::mem::take(&mut *lock(&self.written));
        // The site's own documents refer to objects of the other origins, so they are restored first.
        let origins: Vec<Option<usize>> = [None].into_iter().chain((0..self.others.len()).map(Some)).collect();
        origins.iter().map(|origin| self.store(*origin).restore()).fold(Ok(()), Result::and)?;
        for origin in origins {
            let of_origin = written.iter().filter(|place| place.origin == origin);
            let blobs: Vec<SitePath> = of_origin.map(|place| place.path.clone()).collect();
            // A blob that stays is unreferenced, and the next gc removes it.
            let _ = self.store(origin).take_back(&blobs);
        }
        Ok(())
    }
}

/// The stores of the other origins, in the order of the settings. They may also hold files of other sites.
pub fn open_others(
    own: &dyn Store,
    settings: &Settings,
    stores: &[(String, Location)],
    options: &StoreOptions,
) -> Result<Vec<Box<dyn Store>>, SiteError> {
    let options = StoreOptions { adopt: true, ..options.clone() };
    let open = |origin: &String| {
        let Some((_, location)) = stores.iter().find(|(known, _)| known == origin) else {
            return Err(SiteError::StoreNeeded { site: own.name(), origin: origin.clone() });
        };
        let options = StoreOptions { changes: options.changes.of_origin(origin), ..options.clone() };
        Ok(super::open(location, &options)?)
    };
    settings.origins.iter().map(open).collect()
}

/// The state of a site, from its description.
pub struct SiteState {
    /// The current settings, or the settings that a publish gives the site.
    pub settings: Settings,
    pub images: Vec<ImageName>,
    /// The settings before this publish. None: the site is new.
    pub settings_before: Option<Settings>,
    pub description: Option<StoredDocument>,
}

/// Locks every store of the sites once. All publishers lock in the same order, so that two that share several stores
/// do not wait for each other.
pub fn lock_all(sites: &[Site], wait: Duration, locks: &mut Vec<Box<dyn Lock>>) -> Result<(), SiteError> {
    let mut stores: Vec<&dyn Store> = sites.iter().flat_map(Site::stores).collect();
    stores.sort_by_cached_key(|store| store.identity());
    let mut locked = HashSet::new();
    for store in stores {
        if !locked.contains(&store.identity()) {
            locks.push(store.lock(wait)?);
            // A directory that was missing before has its real path only after the lock.
            locked.insert(store.identity());
        }
    }
    Ok(())
}

/// Calls `visit` for each object of a site in the root of an origin. Other files there are ignored.
///
/// # Errors
/// A link, a FIFO or a device is where the site can have objects. The objects that it hides must not count as missing.
pub fn each_object(
    store: &dyn Store,
    map: &SiteMap,
    origin: Option<usize>,
    visit: &mut dyn FnMut(Kind, ListedObject),
) -> Result<(), StoreError> {
    let mut obstacle = None;
    store.scan("", &mut |path, found| match (found, map.kind_at(origin, &path)) {
        (Ok(stat), Some(kind)) => visit(kind, ListedObject { path, stat }),
        (Err(error), _) if map.may_hold(origin, &path) => drop(obstacle.get_or_insert(error)),
        _ => {}
    })?;
    obstacle.map_or(Ok(()), |error| Err(error.into()))
}

/// The description of a site. None: there is no site.
pub fn description(store: &dyn Store) -> Result<Option<Description>, SiteError> {
    parse_description(store, read_description(store)?.as_ref())
}

/// The settings of a site, without its images. None: there is no site.
pub fn settings(store: &dyn Store) -> Result<Option<Settings>, SiteError> {
    let document = read_description(store)?;
    let settings = document.map(|document| description::settings(&document.bytes)).transpose();
    settings.map_err(|problem| SiteError::Description { site: store.name(), problem })
}

/// The description as stored. None: there is no site.
pub fn read_description(store: &dyn Store) -> Result<Option<StoredDocument>, SiteError> {
    Ok(store.read_document(&description_path()?, MAX_DESCRIPTION_BYTES)?)
}

pub fn parse_description(
    store: &dyn Store,
    document: Option<&StoredDocument>,
) -> Result<Option<Description>, SiteError> {
    let parse = |document: &StoredDocument| Description::parse(&document.bytes);
    document.map(parse).transpose().map_err(|problem| SiteError::Description { site: store.name(), problem })
}

/// The path of the description.
pub fn description_path() -> Result<SitePath, SiteError> {
    let wrong = |source| MapError::Path { subject: "the description".into(), source };
    Ok(SitePath::new(crate::site::path::DESCRIPTION).map_err(wrong)?)
}
