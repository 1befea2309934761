//! Where objects go. A [`Store`] is a directory or a bucket; publishing, maintenance and verification know only this
//! interface.
//!
//! A *blob* is immutable, and its path carries its digest: a blob gets its final name only after its bytes matched, so that
//! presence means verified. A *document* changes: it is replaced as a whole, atomically, and only if it has not changed since
//! the writer read it.

pub mod blob_plan;
#[cfg(feature = "bucket")]
pub mod bucket;
pub mod change;
pub mod changes;
pub mod directory;
pub mod gc_mark;
pub mod location;
pub mod private_state;
pub mod ref_indexes;
pub mod retry;
pub mod site;
pub mod site_image;
pub mod unfinished;
pub mod write_log;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::layout::{Blob, LayoutError, content_error};
use crate::outbound::pace::TooSlow;
use crate::root::{FileError, Root};
use crate::site::path::DESCRIPTION;
use crate::site::{Kind, SitePath};
use oci_discovery::digest::{ContentError, Digest, VerifyingReader};
use oci_discovery::json::MAX_MANIFEST_BYTES;
use oci_discovery::oci::manifest;
use oci_discovery::parallel;

pub use changes::Changes;
pub use location::{BucketLocation, Location, LocationError, Provider};

/// By default, blobs larger than this are sent to a bucket in parts of this size, in bytes.
pub const DEFAULT_PART_SIZE: u64 = 8 * 1024 * 1024;
/// The smallest part that S3 accepts, in bytes; only the last part of a blob may be smaller.
pub const MIN_PART_SIZE: u64 = 5 * 1024 * 1024;
/// The largest part that is sent, in bytes: a part is in memory while it is sent.
pub const MAX_PART_SIZE: u64 = 2 * 1024 * 1024 * 1024;

/// How a store is used.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// How blobs get into a directory.
    pub link: directory::LinkMode,
    /// Whether a directory may contain files of others than a site.
    pub adopt: bool,
    /// The size in bytes of the parts in which larger blobs are sent to a bucket.
    pub part_size: u64,
    /// Whether documents of a bucket are written only under a condition. Otherwise, concurrent publishers can overwrite each
    /// other's changes.
    pub conditional: bool,
    /// Aborts work on a bucket.
    pub interrupt: Interrupt,
    /// Records the changes of stores.
    pub changes: Changes,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            link: directory::LinkMode::default(),
            adopt: false,
            part_size: DEFAULT_PART_SIZE,
            conditional: true,
            interrupt: Interrupt::default(),
            changes: Changes::default(),
        }
    }
}

/// A flag that a signal sets. Uploads then stop and are aborted.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(pub Arc<AtomicBool>);

impl Interrupt {
    /// Whether the work is to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Opens a store, without changing anything in it.
///
/// # Errors
/// The location cannot hold a site, or its credentials are incomplete.
pub fn open(location: &Location, options: &StoreOptions) -> Result<Box<dyn Store>, StoreError> {
    match location {
        Location::Directory(path) => {
            let store = directory::DirectoryStore::new(path, options.link, options.adopt)?;
            Ok(Box::new(store.recorded_in(options.changes.of_store(location))))
        }
        #[cfg(feature = "bucket")]
        Location::Bucket(location) => Ok(Box::new(bucket::BucketStore::open(location, options)?)),
        #[cfg(not(feature = "bucket"))]
        Location::Bucket(location) => Err(StoreError::NoBuckets { location: location.to_string() }),
    }
}

/// A place for a site's objects.
pub trait Store: Send + Sync {
    /// The name of the store in messages: a directory, or a URL without secrets.
    fn name(&self) -> String;

    /// The record of what changes here. The store records documents and removals; who replaces a blob records the blob.
    fn changes(&self) -> &Changes;

    /// The size and age of an object. None: it is missing.
    fn stat(&self, path: &SitePath) -> Result<Option<Stat>, StoreError>;

    /// [`Store::stat`] of many objects, in their order, with as few requests as the store allows.
    fn stats(&self, paths: &[SitePath], jobs: NonZeroUsize) -> Result<Vec<Option<Stat>>, StoreError> {
        parallel::map(paths, jobs, |path| self.stat(path))
    }

    /// A document, up to `limit` bytes, with the version that [`Store::write_document`] compares. None: it is missing.
    fn read_document(&self, path: &SitePath, limit: u64) -> Result<Option<StoredDocument>, StoreError>;

    /// Opens an object for reading from its beginning. None: it is missing.
    fn open(&self, path: &SitePath) -> Result<Option<Box<dyn Read + Send>>, StoreError>;

    /// Replaces a document atomically.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the document differs from `expected`; then nothing changes.
    fn write_document(&self, path: &SitePath, kind: &Kind, bytes: &[u8], expected: &Expected)
    -> Result<(), StoreError>;

    /// Confirms that a document stays unchanged. A bucket adds the document's second key, if that is missing
    /// ([`Kind::slash_path`]).
    fn keep_document(&self, path: &SitePath, kind: &Kind) -> Result<(), StoreError> {
        let _ = (path, kind);
        Ok(())
    }

    /// Writes a blob under its final name, after its digest and size were verified.
    fn write_blob(&self, path: &SitePath, kind: &Kind, blob: &dyn BlobSource) -> Result<Written, StoreError>;

    /// Gives a blob of the store a second path, without a second copy if the store can. A manifest is hashed first.
    fn link_blob(&self, from: &SitePath, to: &SitePath, link: &Link<'_>) -> Result<Written, StoreError>;

    /// Removes an object. A missing object is no error.
    fn delete(&self, path: &SitePath) -> Result<(), StoreError>;

    /// Removes a document in a way that [`Store::restore`] can undo, if the store supports it. A missing document is no error.
    fn remove_document(&self, path: &SitePath) -> Result<(), StoreError> {
        self.delete(path)
    }

    /// Begins a removal, which frees space: the store releases its space reserve, and stops keeping former versions for
    /// [`Store::restore`].
    fn begin_removal(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Restores the documents that this process changed, if the store supports it.
    ///
    /// # Errors
    /// A document could not be restored. The others are.
    fn restore(&self) -> Result<(), StoreError>;

    /// Removes `blobs`, which this process wrote, after a failure, when no document refers to them. A store without a lock keeps
    /// them: another writer may have found the blobs and refer to them.
    fn take_back(&self, blobs: &[SitePath]) -> Result<(), StoreError>;

    /// Calls `visit` for every object below `prefix` (which ends in `/`, or is empty), in no particular order, and with an error for
    /// each link, FIFO or device, which can hide objects. Private state is not listed.
    fn scan(&self, prefix: &str, visit: &mut dyn FnMut(SitePath, Result<Stat, FileError>)) -> Result<(), StoreError>;

    /// [`Store::scan`] below a prefix that belongs to the site alone.
    ///
    /// # Errors
    /// Something there can hide objects, after all others were visited.
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(ListedObject)) -> Result<(), StoreError> {
        let mut obstacle = None;
        self.scan(prefix, &mut |path, found| match found {
            Ok(stat) => visit(ListedObject { path, stat }),
            Err(error) => drop(obstacle.get_or_insert(error)),
        })?;
        obstacle.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Calls `visit` for the name of every object whose name is not a valid [`SitePath`]. Such objects are neither listed, copied nor
    /// removed. Only buckets can have them.
    fn list_unusable(&self, visit: &mut dyn FnMut(&str)) -> Result<(), StoreError> {
        let _ = visit;
        Ok(())
    }

    /// An identity that two names of the same store share.
    fn identity(&self) -> String {
        self.name()
    }

    /// Whether the store keeps the media type and headers of objects, and serves the objects with them.
    fn keeps_media_types(&self) -> bool {
        false
    }

    /// Whether [`Store::lock`] excludes other writers. Otherwise, documents can change at any time, and a writer has to expect
    /// [`StoreError::Conflict`].
    fn has_lock(&self) -> bool {
        true
    }

    /// Excludes other writers until the result is dropped, if the store has a lock. Waits for them at most `wait`.
    fn lock(&self, wait: Duration) -> Result<Box<dyn Lock>, StoreError>;

    /// Marks the beginning of a gc, in a store whose lock does not exclude publishers.
    ///
    /// # Errors
    /// [`StoreError::GcRunning`]: another gc is running.
    fn begin_gc(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Marks the end of the gc that this process began.
    fn end_gc(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The mark of the latest gc. None: no gc ran, or the lock excludes it.
    fn gc_mark(&self) -> Result<Option<gc_mark::GcMark>, StoreError> {
        Ok(None)
    }

    /// Makes everything written so far durable, at the end of a phase.
    fn flush(&self) -> Result<(), StoreError>;

    /// Uploads in parts that began before a time and were neither completed nor aborted. They take space, and listings omit them.
    /// None: the store cannot list them, and a lifecycle rule of the bucket has to abort them.
    fn abandoned_uploads(&self, before: SystemTime) -> Result<Option<Vec<Upload>>, StoreError> {
        let _ = before;
        Ok(Some(vec![]))
    }

    /// Aborts an upload of any process. A missing upload is no error.
    fn abort_upload(&self, upload: &Upload) -> Result<(), StoreError> {
        let _ = upload;
        Ok(())
    }
}

/// An upload in parts that is not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The object that the upload makes.
    pub path: SitePath,
    /// The store's name for the upload.
    pub id: String,
    /// When the store was asked for the upload, by its clock.
    pub begun: SystemTime,
}

/// Held while a command changes a store.
pub trait Lock: Send {}

/// A second path of a blob.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    pub kind: &'a Kind,
    pub digest: &'a Digest,
    pub size: u64,
}

impl Link<'_> {
    /// Whether the blob is hashed first. Manifests are, because they are small, and clients would take a damaged one
    /// under a second name for an image. Layers are not.
    fn is_hashed(&self) -> bool {
        match self.kind {
            Kind::RegistryManifest(_) => true,
            Kind::Blob(Some(media_type)) => {
                self.size <= MAX_MANIFEST_BYTES && manifest::may_hold_descriptors(media_type)
            }
            _ => false,
        }
    }

    /// Reads all of `reader`, which `from` names in messages.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]: the bytes do not have the digest.
    fn hash(&self, reader: impl Read, from: String) -> Result<(), StoreError> {
        let mut reader = VerifyingReader::new(reader, self.digest, self.size);
        io::copy(&mut reader, &mut io::sink()).map(drop).map_err(|error| Origin::Store(from).error(error))
    }
}

/// The bytes of a blob, which a store reads and verifies.
pub trait BlobSource: Sync {
    fn digest(&self) -> &Digest;
    fn size(&self) -> u64;
    /// Opens the bytes from their beginning.
    fn open(&self) -> Result<Content, StoreError>;
    /// Reports how many more bytes were read, for progress.
    fn advanced(&self, bytes: u64);
}

pub enum Content {
    /// A file of this machine, to which a directory can link.
    File(Blob),
    Stream {
        /// The bytes, from the beginning.
        reader: Box<dyn Read + Send>,
        /// The origin, for messages.
        from: String,
    },
}

/// The origin of a blob's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Layout(PathBuf),
    /// An object of a store, by its name in messages.
    Store(String),
}

impl Content {
    /// An object of a store.
    pub fn of(store: &dyn Store, path: &SitePath) -> Result<Content, StoreError> {
        let from = format!("{}/{path}", store.name());
        match store.open(path)? {
            Some(reader) => Ok(Content::Stream { reader, from }),
            None => Err(StoreError::Vanished { path: from }),
        }
    }

    /// The bytes and their origin.
    pub fn into_reader(self) -> (Box<dyn Read + Send>, Origin) {
        match self {
            Content::File(blob) => {
                let origin = Origin::Layout(blob.path.clone());
                (Box::new(blob.reader()), origin)
            }
            Content::Stream { reader, from } => (reader, Origin::Store(from)),
        }
    }
}

impl Origin {
    /// The error for a failed [`VerifyingReader`] over these bytes.
    pub fn error(&self, error: io::Error) -> StoreError {
        match self {
            Origin::Layout(path) => content_error(path.clone(), error).into(),
            Origin::Store(path) => match ContentError::of(&error) {
                Some(source) => StoreError::Damaged { path: path.clone(), source: source.clone() },
                // A store's reader wraps its own errors.
                None => match error.downcast::<StoreError>() {
                    Ok(inner) => inner,
                    Err(source) => FileError::Io { action: "read", path: path.into(), source }.into(),
                },
            },
        }
    }
}

/// The metadata of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// In bytes.
    pub size: u64,
    /// By the clock of the store.
    pub modified: SystemTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Below the root of the site.
    pub path: SitePath,
    /// As the listing has it.
    pub stat: Stat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDocument {
    /// At most the limit of the read.
    pub bytes: Vec<u8>,
    /// The version, as the store names it.
    pub version: Version,
}

/// A version of a document: in a directory its digest, in a bucket its ETag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// The condition of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The document is missing.
    Absent,
    /// The document has this version.
    Version(Version),
}

/// How a blob was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Written {
    /// Its bytes were copied.
    Copied,
    /// The blob shares its bytes with its source, or with another path of the store.
    Linked,
}

/// The most sites that a message lists.
const LISTED_SITES: usize = 3;

/// The names of the sites directly below a directory, sorted. Empty also for a directory that cannot be read.
pub fn site_names(root: &Root) -> Vec<OsString> {
    let mut names = root.names().unwrap_or_default();
    names.retain(|name| root.file_status(Path::new(name).join(DESCRIPTION)).is_ok_and(|file| file.is_some()));
    names.sort();
    names
}

/// The sites directly below a directory, as a message lists them. None: there are none.
pub fn sites_below(root: &Root) -> Option<String> {
    let names = site_names(root);
    let shown = names.iter().take(LISTED_SITES).map(|name| root.path().join(name).display().to_string());
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => None,
        1..=LISTED_SITES => Some(shown),
        many => Some(format!("{shown} and {} more", many - LISTED_SITES)),
    }
}

impl StoreError {
    /// The error for a directory that contains the file `found`, and no site.
    pub fn not_a_site(root: &Root, found: &OsStr) -> StoreError {
        let path = root.path().to_path_buf();
        match sites_below(root) {
            Some(sites) => StoreError::ContainsSites { path, sites },
            None => StoreError::NotASite { path, found: found.to_string_lossy().into_owned() },
        }
    }
}

/// An operation on a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A document is larger than its limit.
    #[error("{} has more than {limit} bytes, the limit for this document", .path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    /// The source of a blob cannot be read, or differs from its digest.
    #[error(transparent)]
    Source(#[from] LayoutError),
    #[error("{0}")]
    Conflict(#[from] Conflict),
    /// Another process is changing the site.
    #[error(
        "another ocisite is changing {} (it holds {}); waited {} s; wait longer with --wait SECONDS",
        .site.display(), .lock.display(), .waited.as_secs()
    )]
    Locked {
        site: PathBuf,
        lock: PathBuf,
        /// How long this process waited.
        waited: Duration,
    },
    /// A directory that contains other files, but no site.
    #[error(
        "{} is not empty and not a site of ocisite (it contains {found}, but not ocisite.json); choose another directory",
        .path.display()
    )]
    NotASite {
        path: PathBuf,
        /// Something that it holds.
        found: String,
    },
    /// A directory of sites, as `publish --root-per-host` fills it.
    #[error("{} is not a site, but contains sites ({sites}); choose one of them", .path.display())]
    ContainsSites { path: PathBuf, sites: String },
    /// The site is not a directory.
    #[error("{} is not a directory: --site takes a directory, which is created if missing", .path.display())]
    NotADirectory { path: PathBuf },
    /// An object was removed meanwhile.
    #[error("{path} was removed during the copy; run the command again")]
    Vanished { path: String },
    /// The bytes of a blob differ from the digest in its path.
    #[error("the blob {path} is damaged; publish its image to that site again with --recheck, which replaces the blob")]
    Damaged {
        /// Where it is.
        path: String,
        #[source]
        source: ContentError,
    },
    /// An object store refused a request, or could not be reached.
    #[error("cannot {action} {object}: {problem}")]
    Bucket {
        /// What was being done: `read`, `write`, `list`, …
        action: &'static str,
        /// The object's URL, or the bucket's.
        object: String,
        /// What is wrong, and what to do.
        problem: BucketProblem,
    },
    /// An object store that ignores conditions.
    #[error(
        "{store} does not support conditional writes ({condition}): concurrent publishers would overwrite each other's \
         changes; use another store, or ensure that there is only one publisher and add --no-conditional"
    )]
    Unconditional {
        store: String,
        /// The condition that it ignored.
        condition: &'static str,
    },
    /// Two gcs at the same time.
    #[error(
        "another gc of {store} is running; run this gc again after its end (or after an hour, if the other gc was killed)"
    )]
    GcRunning { store: String },
    /// A signal asked to stop.
    #[error("interrupted while writing to {store}: partial uploads were aborted; the site is unchanged or complete")]
    Interrupted { store: String },
    #[error(
        "cannot restore {}; its former version stays as {}, and those of other such documents beside it; remove them \
         when the site is complete again", .path.display(), .kept.display()
    )]
    NotRestored {
        path: PathBuf,
        kept: PathBuf,
        #[source]
        source: FileError,
    },
    /// A bucket, in a program without support for buckets.
    #[error(
        "{location} is a bucket, and this ocisite was built without object stores; build it with the feature `bucket`"
    )]
    NoBuckets { location: String },
    /// The location is malformed.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// A file or directory of the site, or of its private state, cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Another publisher changed a document since it was read. Errors of any room can have this one as their source.
#[derive(Debug, thiserror::Error)]
#[error("another publisher changed {path} meanwhile; run the command again")]
pub struct Conflict {
    /// The document.
    pub path: SitePath,
}

impl Conflict {
    /// The conflict behind an error, if there is one.
    pub fn of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Conflict> {
        std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
    }
}

/// An error of an object store. Its response can contain key ids, tokens and signed text, so messages repeat only the error
/// code, the token of a page, and the host of a redirect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketProblem {
    /// No credentials were found.
    #[error("no credentials: {hint}")]
    NoCredentials {
        /// Where they are looked for.
        hint: &'static str,
    },
    /// The store does not accept the credentials.
    #[error("the credentials are wrong ({code}): {hint}")]
    Credentials { code: String, hint: &'static str },
    /// The credentials lack a permission.
    #[error("the credentials do not permit this ({code}): {hint}")]
    Forbidden { code: String, hint: &'static str },
    /// There is no such bucket.
    #[error("the bucket {bucket} does not exist ({code}): check the name, the region, the endpoint and the account")]
    NoBucket { bucket: String, code: String },
    /// The bucket is in another region.
    #[error("the region is wrong ({code}): the bucket is not in {region}; set AWS_REGION to the region of the bucket")]
    Region {
        code: String,
        /// The region that was asked.
        region: String,
    },
    /// The settings in the environment are incomplete.
    #[error("the settings in the environment are incomplete or invalid ({what})")]
    Settings {
        /// What is wrong, without values.
        what: String,
    },
    /// The store answered with another error, after retries where they could help.
    #[error("the store answered {code}{}", if *.is_temporary { ", also to each retry; try later" } else { "" })]
    Answer {
        /// The error code, or the HTTP status.
        code: String,
        /// Whether the store may answer otherwise at another time.
        is_temporary: bool,
    },
    /// A redirect, which would take the credentials along.
    #[error(
        "the store redirects to {host}; ocisite does not follow, because the redirect would send the credentials there: check the \
         region, and set the endpoint to the intended host"
    )]
    Redirect {
        /// The host that it leads to.
        host: String,
    },
    /// A listing without end.
    #[error("the store's listing does not end: {sign}; report this to the store's operator")]
    Endless {
        /// What shows that it has none.
        sign: String,
    },
    /// A listing of more keys than are read.
    #[error(
        "the listing has more than {limit} keys of up to {bytes} bytes, the most that are read of one listing; move objects that \
         do not belong to the site elsewhere, or divide the site into several"
    )]
    TooManyKeys {
        /// The most keys of a listing.
        limit: usize,
        /// The bytes for which a key counts once.
        bytes: usize,
    },
    /// A response larger than its declared length, or than its limit.
    #[error(
        "the response has more than {limit} bytes, its declared length or the limit for such responses; check the endpoint, or \
         report this to the store's operator"
    )]
    Oversized {
        /// The most bytes that were expected.
        limit: u64,
    },
    #[error("{endpoint} sends its response too slowly: {slow}; check the network, or try again later")]
    TooSlow { endpoint: String, slow: TooSlow },
    /// No answer came, after retries.
    #[error("no answer from {endpoint} ({cause}); check the endpoint and the network")]
    Unreachable {
        endpoint: String,
        /// What happened to the connection.
        cause: String,
    },
}
