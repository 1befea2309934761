//! Where objects go. A [`Store`] is a directory or a bucket; publishing, housekeeping and verification know only this
//! interface.
//!
//! Two kinds of object have two ways of being written. A *blob* is immutable and its path carries its digest: it gets its
//! final name only after its bytes matched, so that presence means verified. A *document* changes: it is replaced whole,
//! atomically, and only if it still is what the writer had read.

pub mod directory;

use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::oci::layout::LayoutError;
use crate::site::{Kind, SitePath};

/// A place for a site's objects.
pub trait Store: Send + Sync {
    /// The store as a person would name it: a directory, or a URL without secrets.
    fn name(&self) -> String;

    /// The size and age of an object. None: it is not there.
    fn stat(&self, path: &SitePath) -> Result<Option<Stat>, StoreError>;

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

    /// Makes a blob that the store already has appear at a second path, without a second copy where the store can.
    fn link_blob(&self, from: &SitePath, to: &SitePath, kind: &Kind) -> Result<Written, StoreError>;

    /// Removes an object; that it is not there is no error.
    fn delete(&self, path: &SitePath) -> Result<(), StoreError>;

    /// Removes a document in a way that [`Store::take_back`] can undo, where the store can; that it is not there is no error.
    fn remove_document(&self, path: &SitePath) -> Result<(), StoreError> {
        self.delete(path)
    }

    /// Undoes what this process did, when it gives up: puts documents back as they were, where the store can, and then
    /// removes `blobs`, which it wrote.
    fn take_back(&self, blobs: &[SitePath]) -> Result<(), StoreError>;

    /// Calls `visit` for every object below `prefix` (which ends in `/`, or is empty), in no particular order. Private state
    /// is not listed.
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Listed)) -> Result<(), StoreError>;

    /// What is the same for two stores that are one place under two names, and differs otherwise.
    fn identity(&self) -> String {
        self.name()
    }

    /// Keeps other writers out until the result is dropped, where the store has a way to; waits for them at most `wait`.
    fn lock(&self, wait: Duration) -> Result<Box<dyn Lock>, StoreError>;

    /// Makes all that was written so far durable: the end of a phase.
    fn flush(&self) -> Result<(), StoreError>;
}

/// Held while a store is being changed.
pub trait Lock: Send {}

/// The bytes of a blob, to be read and checked by whoever stores them.
pub trait BlobSource: Sync {
    /// The digest the bytes must have.
    fn digest(&self) -> &Digest;
    /// The number of bytes there must be.
    fn size(&self) -> u64;
    /// Opens the bytes from their beginning.
    fn open(&self) -> Result<crate::oci::layout::Blob, LayoutError>;
    /// Tells how many bytes more were read, for progress.
    fn advanced(&self, bytes: u64);
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
    /// A file operation failed.
    #[error("cannot {action} {}{}", .path.display(), advice(.source))]
    Io {
        /// What was being done: `create`, `write`, `rename`, `read`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
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
    /// Something that is no regular file stands where an object belongs.
    #[error("{} is {found}: expected a regular file of the site, or nothing; move it away", .path.display())]
    InTheWay {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
}

fn advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::StorageFull => ": the disk is full; free some space and publish again",
        std::io::ErrorKind::PermissionDenied => ": not permitted; check who owns it and its mode",
        std::io::ErrorKind::ReadOnlyFilesystem => ": the file system is read-only",
        _ => "",
    }
}
