//! An opened site: its stores, and what it says of itself.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use super::change::PlannedDocument;
use super::{Document, Listed, Location, Lock, Options, Store, StoreError};
use crate::shell;
use crate::site::description::{self, Description, DescriptionError};
use crate::site::map::{MapError, SiteMap};
use crate::site::path::PathError;
use crate::site::settings::Views;
use crate::site::{Kind, Place, Settings, SitePath};
use oci_discovery::json::MAX_INDEX_BYTES;
use oci_discovery::name::ImageName;
use oci_discovery::parallel::lock;

/// The largest `ocisite.json` that is read: a million image names of ordinary length.
pub const MAX_DESCRIPTION_BYTES: u64 = 64 * 1024 * 1024;

/// Why a site cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
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
    /// A store cannot be read or locked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The templates do not describe a static site.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A path of the program's own is refused.
    #[error("the site's own documents have no place")]
    Path(#[from] PathError),
    /// The site's description is damaged.
    #[error("{site}/ocisite.json cannot be used")]
    Description {
        /// The site.
        site: String,
        /// What is wrong.
        #[source]
        source: DescriptionError,
    },
    /// A part of the site lives at an origin whose directory is not known.
    #[error("{site} keeps a part of its files at {origin}: say where with `--store {}`", shell::quote(&format!("{origin}=DIR")))]
    StoreNeeded {
        /// The site.
        site: String,
        /// The origin.
        origin: String,
    },
}

impl SiteError {
    /// The document that another publisher changed, if that is what went wrong.
    pub fn conflict(&self) -> Option<&SitePath> {
        match self {
            SiteError::Store(error) => error.conflict(),
            _ => None,
        }
    }
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
    pub options: Options,
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
    /// The blobs that were written.
    written: Mutex<Vec<Place>>,
}

impl Site {
    /// Opens a site as it is, to keep it in order. None: there is no site.
    pub fn open_existing(place: &SitePlace) -> Result<Option<Site>, SiteError> {
        let options = Options { adopt: true, ..place.options.clone() };
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

    /// A site with what was found out about it.
    pub fn new(own: Box<dyn Store>, others: Vec<Box<dyn Store>>, state: SiteState) -> Result<Site, SiteError> {
        let SiteState { settings, images, settings_before, description } = state;
        let map = SiteMap::new(settings)?;
        Ok(Site { own, others, map, description, images, settings_before, written: Mutex::default() })
    }

    /// Takes over what was found out about it since it was opened.
    pub fn update(&mut self, state: SiteState) -> Result<(), SiteError> {
        let SiteState { settings, images, settings_before, description } = state;
        self.map = SiteMap::new(settings)?;
        (self.images, self.settings_before, self.description) = (images, settings_before, description);
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
    pub fn lock(&self, wait: Duration) -> Result<Vec<Box<dyn Lock>>, SiteError> {
        let mut locks = Vec::new();
        lock_all(std::slice::from_ref(self), wait, &mut locks)?;
        Ok(locks)
    }

    /// A document of the site that gets these bytes.
    pub fn planned(&self, place: Place, kind: Kind, bytes: Vec<u8>) -> Result<PlannedDocument, StoreError> {
        let found = self.store(place.origin).read_document(&place.path, MAX_INDEX_BYTES)?;
        Ok(PlannedDocument::new(place, kind, bytes, found))
    }

    /// What follows from a document is planned after the document was read, so it must not have changed meanwhile.
    pub fn refuse_change(&self, document: &PlannedDocument) -> Result<(), StoreError> {
        document.refuse_change(self.store(document.place.origin), MAX_INDEX_BYTES)
    }

    /// Finds out whether another publisher has changed what the site says of itself, since that was read.
    pub fn refuse_changed_description(&self) -> Result<(), SiteError> {
        let found = read_description(&*self.own)?;
        match found.map(|found| found.version) == self.description.as_ref().map(|found| found.version.clone()) {
            true => Ok(()),
            false => Err(StoreError::Conflict { path: description_path()? }.into()),
        }
    }

    /// Makes all that was written durable.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.stores().try_for_each(Store::flush)
    }

    /// Notes a blob that was written, for [`Site::rollback`].
    pub fn remember(&self, place: Place) {
        lock(&self.written).push(place);
    }

    /// Puts everything back as it was.
    ///
    /// # Errors
    /// A document could not be put back. It refers to new blobs, so these stay, too.
    pub fn rollback(&self) -> Result<(), StoreError> {
        let written = std::mem::take(&mut *lock(&self.written));
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
pub fn open_others(
    own: &dyn Store,
    settings: &Settings,
    stores: &[(String, Location)],
    options: &Options,
) -> Result<Vec<Box<dyn Store>>, SiteError> {
    let options = Options { adopt: true, ..options.clone() };
    let open = |origin: &String| {
        let Some((_, location)) = stores.iter().find(|(known, _)| known == origin) else {
            return Err(SiteError::StoreNeeded { site: own.name(), origin: origin.clone() });
        };
        Ok(super::open(location, &options)?)
    };
    settings.origins.iter().map(open).collect()
}

/// What was found out about a site when its description was read.
pub struct SiteState {
    /// The settings it has, or gets.
    pub settings: Settings,
    /// The images it has.
    pub images: Vec<ImageName>,
    /// The settings it has. None: it is new.
    pub settings_before: Option<Settings>,
    /// The description itself.
    pub description: Option<Document>,
}

/// Locks every store of the sites once, in an order that all publishers share: two that have stores in common would
/// otherwise each wait for what the other one holds.
pub fn lock_all(sites: &[Site], wait: Duration, locks: &mut Vec<Box<dyn Lock>>) -> Result<(), SiteError> {
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

/// Calls `visit` for each object of a site in the root of an origin. Files of others beside them are ignored.
///
/// # Errors
/// A link, a FIFO or a device stands where objects of the site can live: what it hides must not count as missing.
pub fn each_object(
    store: &dyn Store,
    map: &SiteMap,
    origin: Option<usize>,
    visit: &mut dyn FnMut(Kind, Listed),
) -> Result<(), StoreError> {
    let mut obstacle = None;
    store.scan("", &mut |path, found| match (found, map.kind_at(origin, &path)) {
        (Ok(stat), Some(kind)) => visit(kind, Listed { path, stat }),
        (Err(error), _) if map.may_hold(origin, &path) => drop(obstacle.get_or_insert(error)),
        _ => {}
    })?;
    obstacle.map_or(Ok(()), |error| Err(error.into()))
}

/// What a site says of itself. None: there is no site yet.
pub fn description(store: &dyn Store) -> Result<Option<Description>, SiteError> {
    parse_description(store, read_description(store)?.as_ref())
}

/// The settings in what a site says of itself, without its images. None: there is no site yet.
pub fn settings(store: &dyn Store) -> Result<Option<Settings>, SiteError> {
    let document = read_description(store)?;
    let settings = document.map(|document| description::settings(&document.bytes)).transpose();
    settings.map_err(|source| SiteError::Description { site: store.name(), source })
}

/// The description as it is stored. None: there is no site yet.
pub fn read_description(store: &dyn Store) -> Result<Option<Document>, SiteError> {
    Ok(store.read_document(&description_path()?, MAX_DESCRIPTION_BYTES)?)
}

/// What a stored description says.
pub fn parse_description(store: &dyn Store, document: Option<&Document>) -> Result<Option<Description>, SiteError> {
    let parse = |document: &Document| Description::parse(&document.bytes);
    document.map(parse).transpose().map_err(|source| SiteError::Description { site: store.name(), source })
}

/// Where a site says what it is.
pub fn description_path() -> Result<SitePath, SiteError> {
    let wrong = |source| MapError::Path { subject: "the description".into(), source };
    Ok(SitePath::new(crate::site::path::DESCRIPTION).map_err(wrong)?)
}
