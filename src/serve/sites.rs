//! The sites of a preview, as they are at this moment, and the site that a request is for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use url::form_urlencoded;

use super::host;
use super::preview::SharedMap;
use super::respond::PreviewRequest;
use crate::root::Root;
use crate::site::SiteMap;
use crate::site::map::MapError;
use crate::site::path::DESCRIPTION;
use crate::store::directory::{DirectoryStore, LinkMode};
use crate::store::site::{self, NoSite, ServedRoots, SiteError};
use crate::store::{Location, StoreError};
use oci_discovery::parallel::lock;

/// Why a site cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SitesError {
    #[error(transparent)]
    NoSite(#[from] NoSite),
    #[error(transparent)]
    Description(#[from] SiteError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Map(#[from] MapError),
}

/// A site, or several with a host each.
pub(super) struct Sites {
    sites: Vec<ServedSite>,
    /// The hosts of several sites. None: one site answers all requests, and its description has its hosts.
    hosts: Option<Vec<String>>,
}

impl Sites {
    pub(super) fn open(path: &Path) -> Result<Sites, SitesError> {
        match ServedRoots::of(path)? {
            ServedRoots::One(path) => Ok(Sites { sites: vec![ServedSite::open(&path)?], hosts: None }),
            ServedRoots::PerHost(paths) => {
                let sites = paths.iter().map(|path| ServedSite::open(path)).collect::<Result<Vec<_>, _>>()?;
                let hosts = sites.iter().flat_map(|site| site.current().map.settings().hosts.clone()).collect();
                Ok(Sites { sites, hosts: Some(hosts) })
            }
        }
    }

    /// The hosts of several sites.
    pub(super) fn hosts(&self) -> Option<&[String]> {
        self.hosts.as_deref()
    }

    /// The site of a request: in the registry view the registry that the client names if it uses the preview as a mirror
    /// (`?ns=REGISTRY`, as containerd does), and otherwise its host.
    pub(super) fn of(&self, request: &PreviewRequest) -> Option<&ServedSite> {
        if self.hosts.is_none() {
            return self.sites.first();
        }
        let query = form_urlencoded::parse(request.query.as_bytes());
        let namespace = query.filter(|_| request.path.starts_with("/v2/")).find(|(key, _)| key == "ns");
        let of_host = |host: &str| self.sites.iter().find(|site| host::is_one_of(host, &site.map().settings().hosts));
        namespace.and_then(|(_, registry)| of_host(&registry)).or_else(|| of_host(request.host.as_deref()?))
    }
}

/// The site's directory, and its map for the current description.
pub(super) struct ServedSite {
    path: PathBuf,
    current: Mutex<Current>,
}

/// The current state, as far as it could be read.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) root: Arc<Root>,
    pub(super) map: SharedMap,
    /// The modification time of the description of the map.
    modified: Option<SystemTime>,
}

impl ServedSite {
    fn open(path: &Path) -> Result<ServedSite, SitesError> {
        let root = Root::open(path).map_err(|_| no_site(path))?;
        let current = Current { modified: modified(&root), map: read_map(path)?, root: Arc::new(root) };
        Ok(ServedSite { path: path.into(), current: Mutex::new(current) })
    }

    fn map(&self) -> SharedMap {
        lock(&self.current).map.clone()
    }

    /// The directory, opened again because it may have been replaced, and the map, made again when the description
    /// changes. If reading fails, the former state is used.
    pub(super) fn current(&self) -> Current {
        let mut current = lock(&self.current);
        if let Ok(root) = Root::open(&self.path) {
            current.root = Arc::new(root);
        }
        let now = modified(&current.root);
        if now != current.modified
            && let Ok(map) = read_map(&self.path)
        {
            (current.modified, current.map) = (now, map);
        }
        current.clone()
    }
}

fn modified(root: &Root) -> Option<SystemTime> {
    Some(root.file_status(DESCRIPTION).ok()??.modified())
}

fn no_site(path: &Path) -> NoSite {
    NoSite::at(&Location::Directory(path.into()))
}

fn read_map(root: &Path) -> Result<SharedMap, SitesError> {
    let store = DirectoryStore::new(root, LinkMode::Copy, true)?;
    let settings = site::settings(&store)?.ok_or_else(|| no_site(root))?;
    Ok(SharedMap::new(SiteMap::new(settings)?))
}
