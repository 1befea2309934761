//! Reads the directories of a site as a web server would serve them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use url::Url;

use super::source::{DeclaredType, Fault, Source, SourceDocument};
use crate::root::{FileError, Root, SYMBOLIC_LINK};
use crate::site::SitePath;
use crate::site::map::well_known_uri;
use crate::site::path::DESCRIPTION;
use crate::store::site::MAX_DESCRIPTION_BYTES;
use crate::store::{self, ListedObject, Location, Store, StoreError};
use oci_discovery::error::chain;
use oci_discovery::json;
use oci_discovery::name::ImageName;
use oci_discovery::seen::{Key, key};

pub struct Files {
    pub own: Tree,
    pub others: Vec<(String, Tree)>,
    pub hosts: BTreeSet<String>,
    /// The other origins in the site's description, with or without a known directory.
    pub origins: Vec<String>,
}

/// A store. In a directory, symbolic links are followed, as web servers do: a site of another program may have them.
pub struct Tree {
    pub store: Box<dyn Store>,
    /// The directory. None: a bucket.
    pub directory: Option<Root>,
}

impl Tree {
    pub fn at(location: &Location, options: &store::StoreOptions) -> Result<Tree, StoreError> {
        let options = store::StoreOptions { adopt: true, ..options.clone() };
        let directory = match location {
            Location::Directory(path) => Root::open_if_present(path)?,
            Location::Bucket(_) => None,
        };
        Ok(Tree { store: store::open(location, &options)?, directory })
    }

    /// The file to which a symbolic link at or above a path leads.
    fn followed(&self, path: &SitePath, fault: Fault) -> Result<File, Fault> {
        let Some(directory) = self.directory.as_ref().filter(|_| fault == Fault::NotAFile(SYMBOLIC_LINK)) else {
            return Err(fault);
        };
        match directory.open_as_web_servers_do(path.as_str()) {
            Ok(Some(file)) => Ok(file),
            Ok(None) => Err(fault),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Fault::Unreadable(error.to_string())),
            Err(_) => Err(Fault::Absent),
        }
    }

    /// Calls `visit` for every object below a prefix. Objects behind a link or a FIFO are omitted; reading them
    /// reports the obstacle.
    pub fn list(&self, prefix: &str, visit: &mut dyn FnMut(ListedObject)) -> Result<(), StoreError> {
        let scanned = self.store.scan(prefix, &mut |path, found| {
            if let Ok(stat) = found {
                visit(ListedObject { path, stat });
            }
        });
        match scanned {
            Err(StoreError::File(FileError::InTheWay { .. })) => Ok(()),
            scanned => scanned,
        }
    }

    pub fn read(&self, path: &SitePath, limit: u64) -> Result<Vec<u8>, Fault> {
        match self.store.read_document(path, limit).map_err(fault) {
            Ok(Some(document)) => Ok(document.bytes),
            Ok(None) => Err(Fault::Absent),
            Err(fault) => {
                let file = self.followed(path, fault)?;
                json::read_bounded(file, limit).map_err(|error| match error {
                    json::JsonError::TooLarge { limit } => Fault::TooLarge { limit },
                    other => Fault::Unreadable(chain(&other)),
                })
            }
        }
    }

    fn size(&self, path: &SitePath) -> Result<u64, Fault> {
        match self.store.stat(path).map_err(fault) {
            Ok(Some(stat)) => Ok(stat.size),
            Ok(None) => Err(Fault::Absent),
            Err(fault) => {
                let metadata = self.followed(path, fault)?.metadata();
                metadata.map(|metadata| metadata.len()).map_err(|error| Fault::Unreadable(error.to_string()))
            }
        }
    }

    fn open(&self, path: &SitePath) -> Result<Box<dyn Read + Send>, Fault> {
        match self.store.open(path).map_err(fault) {
            Ok(Some(reader)) => Ok(reader),
            Ok(None) => Err(Fault::Absent),
            Err(fault) => Ok(Box::new(self.followed(path, fault)?)),
        }
    }
}

fn fault(error: StoreError) -> Fault {
    match error {
        StoreError::File(FileError::InTheWay { found, .. }) => Fault::NotAFile(found),
        StoreError::TooLarge { limit, .. } => Fault::TooLarge { limit },
        StoreError::File(FileError::Io { source, .. }) => Fault::Unreadable(source.to_string()),
        other => Fault::Unreadable(chain(&other)),
    }
}

impl Files {
    /// The store and the path of a URL.
    fn locate(&self, url: &Url) -> Result<(&Tree, SitePath), Fault> {
        let host = url.host_str().unwrap_or_default();
        let root = if self.hosts.contains(host) && url.port().is_none() {
            &self.own
        } else {
            let origin = url.origin().ascii_serialization();
            &self.others.iter().find(|(known, _)| *known == origin).ok_or(Fault::Elsewhere)?.1
        };
        // Decoded as web servers do: once, as a whole. An invalid path has no file.
        let path = percent_decode_str(url.path().trim_start_matches('/')).decode_utf8().map_err(|_| Fault::Absent)?;
        let path = SitePath::new(&path).map_err(|_| Fault::Absent)?;
        Ok((root, path))
    }
}

impl Source for Files {
    fn ref_engines_url(&self, image: &ImageName) -> Url {
        well_known_uri(image.host())
    }

    fn is_live(&self) -> bool {
        false
    }

    fn is_own(&self, url: &Url, _image: &ImageName) -> bool {
        let is_host = self.hosts.contains(url.host_str().unwrap_or_default()) && url.port().is_none();
        is_host || self.origins.contains(&url.origin().ascii_serialization())
    }

    fn document(&self, url: &Url, _accept: &str, limit: u64) -> Result<SourceDocument, Fault> {
        let (root, path) = self.locate(url)?;
        let bytes = root.read(&path, limit)?;
        Ok(SourceDocument { url: Arc::new(url.clone()), bytes, content_type: DeclaredType::Unavailable })
    }

    fn size(&self, url: &Url) -> Result<Option<u64>, Fault> {
        let (root, path) = self.locate(url)?;
        root.size(&path).map(Some)
    }

    fn open(&self, url: &Url, _size: u64) -> Result<Box<dyn Read + Send>, Fault> {
        let (root, path) = self.locate(url)?;
        root.open(&path)
    }

    fn object(&self, url: &Url) -> String {
        match self.locate(url) {
            Ok((root, path)) if std::ptr::eq(root, &self.own) => path.to_string(),
            _ => url.to_string(),
        }
    }

    fn key(&self, url: &Url) -> Key {
        match self.locate(url) {
            Ok((root, path)) => place_key(root, &path),
            Err(_) => key(&["elsewhere", url.as_str()]),
        }
    }

    fn description(&self) -> Option<Box<dyn Read + Send>> {
        let description = self.own.open(&SitePath::new(DESCRIPTION).ok()?).ok()?;
        Some(Box::new(description.take(MAX_DESCRIPTION_BYTES)))
    }
}

/// The key of a listed object.
pub fn place_key(root: &Tree, path: &SitePath) -> Key {
    key(&[&root.store.name(), path.as_str()])
}
