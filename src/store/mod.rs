//! Where objects go. A [`Store`] is a directory or a bucket; publishing, maintenance and verification know only this
//! interface.
//!
//! Two kinds of object have two ways of being written. A *blob* is immutable and its path carries its digest: it gets its
//! final name only after its bytes matched, so that presence means verified. A *document* changes: it is replaced whole,
//! atomically, and only if it still is what the writer had read.

pub mod blob_plan;
#[cfg(feature = "bucket")]
pub mod bucket;
pub mod change;
pub mod directory;
pub mod gc_mark;
pub mod location;
pub mod private_state;
pub mod retry;
pub mod site;
pub mod site_image;
pub mod unfinished;
pub mod write_log;

use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::layout::{Blob, LayoutError, content_error};
use crate::root::FileError;
use crate::site::{Kind, SitePath};
use oci_discovery::digest::{ContentError, Digest, VerifyingReader};
use oci_discovery::json::MAX_MANIFEST_BYTES;
use oci_discovery::oci::manifest;
use oci_discovery::parallel;

pub use location::{BucketLocation, Location, LocationError, Provider};

/// Blobs larger than this are sent to a bucket in parts of this size, in bytes, when nobody says otherwise.
pub const DEFAULT_PART_SIZE: u64 = 8 * 1024 * 1024;
/// The smallest part that S3 takes, in bytes; only the last part of a blob may be smaller.
pub const MIN_PART_SIZE: u64 = 5 * 1024 * 1024;
/// The largest part that is sent, in bytes: a part is in memory while it is sent.
pub const MAX_PART_SIZE: u64 = 2 * 1024 * 1024 * 1024;

/// How a store is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// How blobs get into a directory.
    pub link: directory::LinkMode,
    /// Whether a directory may hold other things.
    pub adopt: bool,
    /// From how many bytes on, and in parts of how many bytes, a blob is sent to a bucket in parts.
    pub part_size: u64,
    /// Whether documents of a bucket are written only under a condition. Without, publishers can undo each other's work.
    pub conditional: bool,
    /// What stops work on a bucket in an orderly way.
    pub interrupt: Interrupt,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            link: directory::LinkMode::default(),
            adopt: false,
            part_size: DEFAULT_PART_SIZE,
            conditional: true,
            interrupt: Interrupt::default(),
        }
    }
}

/// A flag that a signal sets: whoever is sending something stops, and takes back what is half sent.
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
pub fn open(location: &Location, options: &Options) -> Result<Box<dyn Store>, StoreError> {
    match location {
        Location::Directory(path) => Ok(Box::new(directory::DirectoryStore::new(path, options.link, options.adopt)?)),
        #[cfg(feature = "bucket")]
        Location::Bucket(location) => Ok(Box::new(bucket::BucketStore::open(location, options)?)),
        #[cfg(not(feature = "bucket"))]
        Location::Bucket(location) => Err(StoreError::NoBuckets { location: location.to_string() }),
    }
}

/// A place for a site's objects.
pub trait Store: Send + Sync {
    /// The store as a person would name it: a directory, or a URL without secrets.
    fn name(&self) -> String;

    /// The size and age of an object. None: it is not there.
    fn stat(&self, path: &SitePath) -> Result<Option<Stat>, StoreError>;

    /// What [`Store::stat`] says of many objects, in their order, with as few requests as the store allows.
    fn stats(&self, paths: &[SitePath], jobs: NonZeroUsize) -> Result<Vec<Option<Stat>>, StoreError> {
        parallel::map(paths, jobs, |path| self.stat(path))
    }

    /// A document, up to `limit` bytes, with the version that [`Store::write_document`] compares. None: it is not there.
    fn read_document(&self, path: &SitePath, limit: u64) -> Result<Option<Document>, StoreError>;

    /// Opens an object for reading from its beginning. None: it is not there.
    fn open(&self, path: &SitePath) -> Result<Option<Box<dyn Read + Send>>, StoreError>;

    /// Replaces a document atomically.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the document is no longer what `expected` says; nothing is changed then.
    fn write_document(&self, path: &SitePath, kind: &Kind, bytes: &[u8], expected: &Expected)
    -> Result<(), StoreError>;

    /// Writes a blob under its final name, after its bytes were found to have the digest and the size.
    fn write_blob(&self, path: &SitePath, kind: &Kind, blob: &dyn BlobSource) -> Result<Written, StoreError>;

    /// Makes a blob that the store already has appear at a second path, without a second copy where the store can. A manifest is
    /// hashed before it gets its second name.
    fn link_blob(&self, from: &SitePath, to: &SitePath, link: &Link<'_>) -> Result<Written, StoreError>;

    /// Removes an object; that it is not there is no error.
    fn delete(&self, path: &SitePath) -> Result<(), StoreError>;

    /// Removes a document in a way that [`Store::restore`] can undo, where the store can; that it is not there is no error.
    fn remove_document(&self, path: &SitePath) -> Result<(), StoreError> {
        self.delete(path)
    }

    /// Tells that what follows takes things out and frees space: the space that the store keeps for this is released, and what is
    /// replaced is not kept for [`Store::restore`].
    fn begin_removal(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Puts documents back as they were before this process changed them, where the store can.
    ///
    /// # Errors
    /// One could not be put back. The others are.
    fn restore(&self) -> Result<(), StoreError>;

    /// Removes `blobs`, which this process wrote, when it gives up and no document refers to them any more. A store that other
    /// writers use at the same time leaves all as it is: one of them may have found the blobs there and refer to them by now.
    fn take_back(&self, blobs: &[SitePath]) -> Result<(), StoreError>;

    /// Calls `visit` for every object below `prefix` (which ends in `/`, or is empty), in no particular order. Private state
    /// is not listed.
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Listed)) -> Result<(), StoreError>;

    /// Calls `visit` for the name of every object that no path of a site can be, and that is therefore neither listed, copied nor
    /// removed. Only buckets can have them.
    fn list_unusable(&self, visit: &mut dyn FnMut(&str)) -> Result<(), StoreError> {
        let _ = visit;
        Ok(())
    }

    /// What is the same for two stores that are one place under two names, and differs otherwise.
    fn identity(&self) -> String {
        self.name()
    }

    /// Whether the store keeps how an object is served beside it, and serves it so itself.
    fn keeps_media_types(&self) -> bool {
        false
    }

    /// Whether [`Store::lock`] keeps other writers out. Where it does not, documents change under a writer's hands, and it has
    /// to expect [`StoreError::Conflict`].
    fn has_lock(&self) -> bool {
        true
    }

    /// Keeps other writers out until the result is dropped, where the store has a way to; waits for them at most `wait`.
    fn lock(&self, wait: Duration) -> Result<Box<dyn Lock>, StoreError>;

    /// Tells publishers, where [`Store::lock`] does not keep them out, that a gc begins.
    ///
    /// # Errors
    /// [`StoreError::GcRunning`]: there is another one.
    fn begin_gc(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Tells them that the gc has ended that this process began.
    fn end_gc(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// What the latest gc told. None: there was none, or nobody needs to know.
    fn gc_mark(&self) -> Result<Option<gc_mark::GcMark>, StoreError> {
        Ok(None)
    }

    /// Makes all that was written so far durable: the end of a phase.
    fn flush(&self) -> Result<(), StoreError>;

    /// Uploads in parts that were begun before a time and neither finished nor given up; they cost room and are in no
    /// listing. None: the store cannot tell, and a lifecycle rule of the bucket has to remove them.
    fn abandoned_uploads(&self, before: SystemTime) -> Result<Option<Vec<Upload>>, StoreError> {
        let _ = before;
        Ok(Some(vec![]))
    }

    /// Gives an upload up, whoever began it; that it is gone already is no error.
    fn abort_upload(&self, upload: &Upload) -> Result<(), StoreError> {
        let _ = upload;
        Ok(())
    }
}

/// An upload in parts that is not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// What is being uploaded.
    pub path: SitePath,
    /// How the store calls the upload.
    pub id: String,
    /// When it was begun.
    pub begun: SystemTime,
}

/// Held while a store is being changed.
pub trait Lock: Send {}

/// What a second path of a blob is going to be.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// What it is served as.
    pub kind: &'a Kind,
    /// The digest that the blob's bytes have to have.
    pub digest: &'a Digest,
    /// The number of bytes.
    pub size: u64,
}

impl Link<'_> {
    /// Whether the blob is hashed before it is linked. Manifests are: they are small, and a damaged one under a second digest name
    /// would be taken for an image. A layer is not read again.
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

/// The bytes of a blob, to be read and checked by whoever stores them.
pub trait BlobSource: Sync {
    /// The digest the bytes must have.
    fn digest(&self) -> &Digest;
    /// The number of bytes there must be.
    fn size(&self) -> u64;
    /// Opens the bytes from their beginning.
    fn open(&self) -> Result<Content, StoreError>;
    /// Tells how many bytes more were read, for progress.
    fn advanced(&self, bytes: u64);
}

/// A blob's bytes, opened.
pub enum Content {
    /// In a file of this machine, which a directory can link to.
    File(Blob),
    /// From elsewhere.
    Stream {
        /// The bytes.
        reader: Box<dyn Read + Send>,
        /// Where they come from, for messages.
        from: String,
    },
}

/// Where a blob's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file of a layout.
    Layout(PathBuf),
    /// An object of a store, by its name.
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

    /// The bytes, and where they come from.
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
    /// What an error of a [`VerifyingReader`] over these bytes means.
    pub fn error(&self, error: io::Error) -> StoreError {
        match self {
            Origin::Layout(path) => content_error(path.clone(), error).into(),
            Origin::Store(path) => match ContentError::of(&error) {
                Some(source) => StoreError::Damaged { path: path.clone(), source: source.clone() },
                // A store's reader has its own errors inside.
                None => match error.downcast::<StoreError>() {
                    Ok(inner) => inner,
                    Err(source) => FileError::Io { action: "read", path: path.into(), source }.into(),
                },
            },
        }
    }
}

/// What is known of an object without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: SystemTime,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path.
    pub path: SitePath,
    /// Its size and age.
    pub stat: Stat,
}

/// A document's bytes, and which version of it they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The version, as the store names it.
    pub version: Version,
}

/// A version of a document: on a directory its digest, on a bucket its ETag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// What a document must be for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Not there.
    Absent,
    /// There, in this version.
    Version(Version),
}

/// How a blob came to be at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Written {
    /// Its bytes were copied.
    Copied,
    /// It shares its bytes with its source, or with another path of the store.
    Linked,
}

/// Why a store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A document is larger than documents of its kind are.
    #[error("{} has more than {limit} bytes, the most that is accepted there", .path.display())]
    TooLarge {
        /// The document.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The source of a blob could not be read, or is not what its digest says.
    #[error(transparent)]
    Source(#[from] LayoutError),
    /// Somebody else changed the document meanwhile.
    #[error("{path} was changed by another publisher meanwhile; run the command again")]
    Conflict {
        /// The document.
        path: SitePath,
    },
    /// Another process is changing the site.
    #[error(
        "{} is being changed by another ocisite (it holds {}); waited {} s; wait longer with --wait SECONDS",
        .site.display(), .lock.display(), .waited.as_secs()
    )]
    Locked {
        /// The site.
        site: PathBuf,
        /// The lock file.
        lock: PathBuf,
        /// How long this process waited.
        waited: Duration,
    },
    /// A directory that holds something else than a site.
    #[error(
        "{} is not empty and is no site of ocisite ({found} is there, ocisite.json is not); choose another directory, \
         or add --adopt to publish beside what it holds", .path.display()
    )]
    NotASite {
        /// The directory.
        path: PathBuf,
        /// Something that it holds.
        found: String,
    },
    /// Something that is no directory, where a site should be.
    #[error("{} is not a directory: --site takes a directory, which is made when it is not there", .path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// An object that was there a moment ago.
    #[error("{path} vanished while it was being copied; run the command again")]
    Vanished {
        /// The object.
        path: String,
    },
    /// A blob in a store is not what its path says.
    #[error("the blob {path} is damaged; publish its image to that site again with --recheck, which repairs it")]
    Damaged {
        /// Where it is.
        path: String,
        /// What is wrong with it.
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
    /// An object store that writes although the condition does not hold.
    #[error(
        "{store} does not honour conditional writes ({condition}): two publishers at the same time would undo each \
         other's work; use another store, or make sure that there is only one publisher and add --no-conditional"
    )]
    Unconditional {
        /// The store.
        store: String,
        /// The condition that it ignored.
        condition: &'static str,
    },
    /// Two gcs at the same time.
    #[error(
        "another gc of {store} is running; run it again when that one has ended. (One that was killed is forgotten after an \
         hour.)"
    )]
    GcRunning {
        /// The store.
        store: String,
    },
    /// A signal asked to stop.
    #[error(
        "interrupted while writing to {store}: what was half sent is taken back, and the site is as it was or whole"
    )]
    Interrupted {
        /// The store.
        store: String,
    },
    /// A bucket, in a program that was built without them.
    #[error("{location} is a bucket: this ocisite was built without object stores; build it with the feature `bucket`")]
    NoBuckets {
        /// The location.
        location: String,
    },
    /// The location is malformed.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// A file or directory of the site, or of its private state, cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

impl StoreError {
    /// The document that another writer changed, if that is what went wrong.
    pub fn conflict(&self) -> Option<&SitePath> {
        match self {
            StoreError::Conflict { path } => Some(path),
            _ => None,
        }
    }
}

/// What is wrong between this program and an object store, in words that help. Nothing that the store sent is repeated but
/// its error code, the token of a page, and the host of a redirect: its answers can hold key ids, tokens and what was signed.
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
    Credentials {
        /// The store's error code.
        code: String,
        /// What to check.
        hint: &'static str,
    },
    /// The credentials are accepted, and not enough.
    #[error("the credentials do not permit it ({code}): {hint}")]
    Forbidden {
        /// The store's error code.
        code: String,
        /// What to check.
        hint: &'static str,
    },
    /// There is no such bucket.
    #[error("there is no bucket {bucket} ({code}): check its name, and the region, endpoint and account")]
    NoBucket {
        /// The bucket.
        bucket: String,
        /// The store's error code.
        code: String,
    },
    /// The bucket is in another region.
    #[error("the region is wrong ({code}): the bucket is not in {region}; set AWS_REGION to the region it is in")]
    Region {
        /// The store's error code.
        code: String,
        /// The region that was asked.
        region: String,
    },
    /// The settings in the environment make no client.
    #[error("the settings in the environment are incomplete or wrong ({what})")]
    Settings {
        /// What is wrong, without values.
        what: String,
    },
    /// The store answered with another error, after retries where they could help.
    #[error("the store answered {code}{}", if *.is_temporary { ", and again to each retry; try later" } else { "" })]
    Answer {
        /// The error code, or the HTTP status.
        code: String,
        /// Whether the store may answer otherwise at another time.
        is_temporary: bool,
    },
    /// A redirect, which would take the credentials along.
    #[error(
        "the store redirects to {host}, which is not followed, since the credentials would go there: check the region, and set \
         the endpoint to the host that is meant"
    )]
    Redirect {
        /// The host that it leads to.
        host: String,
    },
    /// A listing whose pages go on without anything new.
    #[error("the store's listing has no end: {sign}; report it to the store's operator")]
    Endless {
        /// What shows that it has none.
        sign: String,
    },
    /// A response that is larger than it says, or than such a response may be.
    #[error(
        "the response has more than {limit} bytes, which is its declared length or the most that is read of it; check the \
         endpoint, or report it to the store's operator"
    )]
    Oversized {
        /// The most bytes that were expected.
        limit: u64,
    },
    /// No answer came, after retries.
    #[error("no answer from {endpoint} ({cause}); check the endpoint and the network")]
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// What happened to the connection.
        cause: String,
    },
}
