//! The site for the preview: maps paths to open files, and to documents that are computed from files.

use std::fs::{File, Metadata};
use std::io;
use std::net::TcpStream;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::SystemTime;

use super::computed::{Computations, ComputeError, Computed, Output, Source};
use super::host::is_served;
use super::local;
use super::request_path::RequestPathError;
use crate::root::{FileError, Root};
use crate::site::path::{PRIVATE_DIRECTORY, PathError};
use crate::site::{Kind, SiteMap, SitePath};
use oci_discovery::seen::{Key, key};

/// A representation: a file, and the identity of its bytes.
#[derive(Debug)]
pub struct Representation {
    /// How the file is served.
    pub kind: Kind,
    pub file: Arc<File>,
    /// In bytes.
    pub length: u64,
    /// The strong entity tag, with quotes.
    pub etag: String,
    /// The modification time. None: HTTP cannot express it.
    pub modified: Option<SystemTime>,
    /// Headers besides those of the kind.
    pub headers: Vec<(&'static str, String)>,
}

impl Representation {
    /// The same representation with the bytes of a computed document.
    pub fn with(self, computed: Computed) -> Representation {
        let Computed { file: Some(file), length, etag, .. } = computed else { return self };
        Representation { file, length, etag, ..self }
    }
}

/// The site as served to one client.
#[derive(Debug)]
pub struct Preview<'a> {
    pub root: &'a Root,
    pub map: &'a SharedMap,
    pub computations: &'a Computations,
    /// The client. None: it cannot close the connection.
    pub client: Option<&'a TcpStream>,
}

/// The map of a site, shared by requests and computations, with a key of its hosts, which may be too many to copy or
/// hash for each request.
#[derive(Clone, Debug)]
pub struct SharedMap {
    map: Arc<SiteMap>,
    hosts_key: Key,
}

impl SharedMap {
    pub fn new(map: SiteMap) -> SharedMap {
        let hosts: Vec<&str> = map.settings().hosts.iter().map(String::as_str).collect();
        SharedMap { hosts_key: key(&hosts), map: Arc::new(map) }
    }
}

impl Deref for SharedMap {
    type Target = SiteMap;

    fn deref(&self) -> &SiteMap {
        &self.map
    }
}

/// Why there is no representation.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the path is malformed: {0}")]
    Malformed(#[from] RequestPathError),
    #[error("the path is malformed: {0}")]
    Unsafe(#[from] PathError),
    #[error("nothing exists at this path")]
    NotFound,
    /// An error of the distribution API.
    #[error("{message}")]
    Registry {
        status: u16,
        code: &'static str,
        /// A message for people.
        message: String,
    },
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
    #[error(transparent)]
    Compute(#[from] ComputeError),
}

impl Preview<'_> {
    /// Opens an object of the site.
    pub fn open(&self, path: &SitePath, kind: Kind) -> Result<Representation, Refusal> {
        // `{name}` begins with the host of this machine for a consumer that asks a preview.
        let own = match kind {
            Kind::Index => self.map.index_of_only_host(path, |host| is_served(host, &[])),
            _ => None,
        };
        let path = own.as_ref().unwrap_or(path);
        let (file, metadata) = self.open_file(path)?;
        let etag = match self.map.digest_at(path) {
            Some(digest) => format!("\"{digest}\""),
            None => format!("\"{:x}-{:x}.{:x}\"", metadata.len(), metadata.mtime(), metadata.mtime_nsec()),
        };
        let modified = metadata.modified().ok().filter(has_http_date);
        let (file, length) = (Arc::new(file), metadata.len());
        self.localise(Representation { kind, file, length, etag, modified, headers: vec![] })
    }

    /// A document with local templates.
    fn localise(&self, found: Representation) -> Result<Representation, Refusal> {
        let Some(templates) = local::templates(&found.kind) else { return Ok(found) };
        let (map, hosts) = (Arc::clone(&self.map.map), self.map.hosts_key.to_string());
        let computed = self.compute(&found, &["local", &format!("{:?}", found.kind), &hosts], move |source, out| {
            local::write(&source, templates, &map.settings().hosts, out).map(|()| String::new())
        })?;
        Ok(found.with(computed))
    }

    /// The document that `write` computes from a file. `what` is the key of its other inputs; see
    /// [`Computations::get`].
    pub fn compute(
        &self,
        found: &Representation,
        what: &[&str],
        write: impl FnOnce(Source, &mut Output) -> io::Result<String> + Send + 'static,
    ) -> Result<Computed, ComputeError> {
        self.computations.get(&found.file, key(what), self.client, write)
    }

    /// Whether the site has a file at a path.
    pub fn has(&self, path: &SitePath) -> bool {
        self.open_file(path).is_ok()
    }

    /// Opens a regular file of the site. Links are not followed, because a site has none.
    fn open_file(&self, path: &SitePath) -> Result<(File, Metadata), Refusal> {
        if path.top() == PRIVATE_DIRECTORY {
            return Err(Refusal::NotFound);
        }
        match self.root.open_file(path.as_str()) {
            Ok(Some(found)) => Ok(found),
            Ok(None) | Err(FileError::InTheWay { .. } | FileError::Foreign { .. }) => Err(Refusal::NotFound),
            Err(FileError::Io { source, .. }) => Err(refusal(source)),
        }
    }
}

fn refusal(error: io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => Refusal::NotFound,
        _ => Refusal::Read(error),
    }
}

/// Whether HTTP has a date for a time: from 1970 to the year 9999. Files can have any time, and `httpdate` panics.
fn has_http_date(time: &SystemTime) -> bool {
    const YEAR_10000: u64 = 253_402_300_800;
    time.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since.as_secs() < YEAR_10000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn http_has_no_date_after_the_year_9999() {
        let at = |seconds| has_http_date(&(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
        assert!(at(0) && at(253_402_300_799) && !at(253_402_300_800));
    }
}
