//! A directory as a store: the web root of a site.
//!
//! Every object is written to a temporary file in `.ocisite/tmp` and renamed into place, so that a reader sees the old
//! object or the new one. Modes are set, not inherited: a web server has to be able to read what a publisher with a strict
//! umask wrote. One lock file keeps publishers apart; the kernel releases it however its holder ends. Durability comes from
//! one file-system sync per phase, because a sync per file costs a disk flush per blob.
//!
//! A publish that fails has to leave the site as it was, also when the disk is full. So a document that is replaced stays
//! under a second name in `.ocisite/tmp` until the store is dropped: a hard link takes no space, and renaming it back needs
//! none.

use std::collections::HashSet;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::{NamedTempFile, TempPath};

use super::{BlobSource, Content, Document, Expected, Listed, Lock, Origin, Stat, Store, StoreError, Version, Written};
use crate::digest::{Algorithm, Digest, VerifyingReader};
use crate::oci::layout::Blob;
use crate::site::path::{DESCRIPTION, PRIVATE_DIRECTORY};
use crate::site::{Kind, SitePath};

/// The mode of every published file, whatever the umask and the source say.
const FILE_MODE: u32 = 0o644;
/// The mode of every directory of a site.
const DIRECTORY_MODE: u32 = 0o755;
/// How much is read, hashed and written at a time: larger gains nothing, and each worker holds one.
const BUFFER_BYTES: usize = 256 * 1024;
/// How often a waiting publisher looks whether the lock is free.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// How blobs get from a layout into the directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkMode {
    /// Copy; where the file system can share blocks between files (reflinks), that.
    #[default]
    Copy,
    /// Hard links to the layout's own files; a copy where that is not possible.
    Hard,
}

/// A directory that holds a site, or will.
#[derive(Debug)]
pub struct DirectoryStore {
    root: PathBuf,
    link: LinkMode,
    adopt: bool,
    known_directories: Mutex<HashSet<PathBuf>>,
    journal: Mutex<Journal>,
}

/// What this process changed, in the order in which it did, blobs aside: enough to take it back.
#[derive(Debug, Default)]
struct Journal {
    /// Directories that were not there before.
    directories: Vec<PathBuf>,
    /// Documents, each with the second name of what it was; None: it was not there.
    documents: Vec<(PathBuf, Option<TempPath>)>,
    /// Whether the lock, and so its file, is this process's.
    is_locked: bool,
}

impl DirectoryStore {
    /// Looks at a directory without changing it. It need not exist.
    ///
    /// # Errors
    /// It is a file, or holds something else than a site and `adopt` is false.
    pub fn new(root: &Path, link: LinkMode, adopt: bool) -> Result<DirectoryStore, StoreError> {
        let store = DirectoryStore {
            root: root.into(),
            link,
            adopt,
            known_directories: Mutex::default(),
            journal: Mutex::default(),
        };
        store.check_root()?;
        Ok(store)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn check_root(&self) -> Result<(), StoreError> {
        let metadata = match std::fs::metadata(&self.root) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(fault("look at", &self.root, source)),
        };
        if !metadata.is_dir() {
            return Err(StoreError::NotADirectory { path: self.root.clone() });
        }
        let mut found = None;
        for entry in std::fs::read_dir(&self.root).map_err(|source| fault("list", &self.root, source))? {
            let name = entry.map_err(|source| fault("list", &self.root, source))?.file_name();
            if name == PRIVATE_DIRECTORY || name == DESCRIPTION {
                return Ok(());
            }
            let name = name.to_string_lossy().into_owned();
            found = found.into_iter().chain([name]).min();
        }
        match found {
            Some(found) if !self.adopt => Err(StoreError::NotASite { path: self.root.clone(), found }),
            _ => Ok(()),
        }
    }

    fn file(&self, path: &SitePath) -> PathBuf {
        self.root.join(path.as_str())
    }

    fn private(&self, name: &str) -> PathBuf {
        self.root.join(PRIVATE_DIRECTORY).join(name)
    }

    fn known_directories(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.known_directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a directory that this process has not made or seen yet.
    fn make_directory(&self, path: &Path) -> Result<(), StoreError> {
        if !self.known_directories().contains(path) {
            self.make_unknown_directory(path)?;
            self.known_directories().insert(path.into());
        }
        Ok(())
    }

    /// Makes a directory and those above it, with the mode that a web server needs.
    fn make_unknown_directory(&self, path: &Path) -> Result<(), StoreError> {
        let mut missing = Vec::new();
        let mut at = path;
        while !at.as_os_str().is_empty() && !at.is_dir() {
            missing.push(at);
            at = at.parent().unwrap_or(Path::new(""));
        }
        for directory in missing.into_iter().rev() {
            match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
                Ok(()) => {
                    self.journal().directories.push(directory.into());
                    set_mode(directory, DIRECTORY_MODE)?;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
                Err(source) => return Err(fault("create the directory", directory, source)),
            }
        }
        Ok(())
    }

    fn temporary(&self) -> Result<NamedTempFile, StoreError> {
        let directory = self.private("tmp");
        self.make_directory(&directory)?;
        let file = NamedTempFile::new_in(&directory).map_err(|source| fault("create a file in", &directory, source))?;
        file.as_file()
            .set_permissions(Permissions::from_mode(FILE_MODE))
            .map_err(|source| fault("set the mode of", file.path(), source))?;
        Ok(file)
    }

    fn rename(&self, temporary: NamedTempFile, path: &SitePath) -> Result<(), StoreError> {
        let file = self.file(path);
        if let Some(directory) = file.parent() {
            self.make_directory(directory)?;
        }
        if file.is_dir() && is_hollow(&file) {
            remove_hollow(&file)?;
        }
        let in_the_way = what_is_in_the_way(&file);
        temporary.persist(&file).map_err(|error| match in_the_way {
            Some(found) => StoreError::InTheWay { path: file.clone(), found },
            None => fault("rename a finished file to", &file, error.error),
        })?;
        Ok(())
    }

    /// Gives what is at `file` a second name in the temporary directory: a hard link, or else a copy.
    fn second_name(&self, file: &Path) -> Result<(TempPath, Written), StoreError> {
        let directory = self.private("tmp");
        self.make_directory(&directory)?;
        let mut how = Written::Linked;
        let name = tempfile::Builder::new().make_in(&directory, |name| match std::fs::hard_link(file, name) {
            Err(error) if is_absence(&error) || error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // Not every file system has hard links, and those that do limit their number.
            Err(_) => {
                how = Written::Copied;
                std::fs::copy(file, name).map(drop)
            }
            Ok(()) => Ok(()),
        });
        Ok((name.map_err(|source| fault("link", file, source))?.into_temp_path(), how))
    }

    /// Removes the directories that this process made, as far as nobody else has put something into them.
    fn remove_made_directories(&self) {
        let Journal { mut directories, is_locked, .. } = std::mem::take(&mut *self.journal());
        // Threads make directories side by side, so what was noted last need not be the deepest.
        directories.sort();
        self.known_directories().clear();
        if is_locked && directories.contains(&self.root.join(PRIVATE_DIRECTORY)) {
            let _ = std::fs::remove_file(self.private("lock"));
        }
        for directory in directories.iter().rev() {
            let _ = std::fs::remove_dir(directory);
        }
    }

    fn copy(
        &self,
        reader: impl Read,
        from: &Origin,
        source: &dyn BlobSource,
        path: &SitePath,
    ) -> Result<(), StoreError> {
        let mut temporary = self.temporary()?;
        let mut reader = VerifyingReader::new(reader, source.digest(), source.size());
        pump(&mut reader, source, from, |chunk| {
            temporary.write_all(chunk).map_err(|error| fault("write", &self.file(path), error))
        })?;
        self.rename(temporary, path)
    }

    /// Shares the blocks of the source where the file system can; the copy is then read and checked, as it is private.
    fn reflink(&self, blob: &Blob, source: &dyn BlobSource, path: &SitePath) -> Result<bool, StoreError> {
        if blob.whole_file.is_none() || self.link != LinkMode::Copy {
            return Ok(false);
        }
        let temporary = self.temporary()?;
        if rustix::fs::ioctl_ficlone(temporary.as_file(), &blob.file).is_err() {
            return Ok(false);
        }
        let file = temporary.reopen().map_err(|source| fault("read", temporary.path(), source))?;
        let mut reader = VerifyingReader::new(file, source.digest(), source.size());
        pump(&mut reader, source, &Origin::Layout(blob.path.clone()), |_| Ok(()))?;
        self.rename(temporary, path)?;
        Ok(true)
    }

    /// Links the source's own file, after its bytes were checked. False where a link is impossible or would not serve.
    fn hard_link(&self, blob: &Blob, source: &dyn BlobSource, path: &SitePath) -> Result<bool, StoreError> {
        let (LinkMode::Hard, Some(original)) = (self.link, &blob.whole_file) else { return Ok(false) };
        // A link shares the source's mode: one that a web server could not read is copied instead.
        let readable = blob.file.metadata().is_ok_and(|metadata| metadata.mode() & 0o444 == 0o444);
        // A symbolic link's target is linked, not the link, which might dangle tomorrow.
        let Ok(original) = original.canonicalize() else { return Ok(false) };
        let directory = self.private("tmp");
        self.make_directory(&directory)?;
        let name = tempfile::Builder::new().make_in(&directory, |name| std::fs::hard_link(&original, name));
        let (true, Ok(link)) = (readable, name) else { return Ok(false) };
        let file = File::open(link.path()).map_err(|source| fault("read", link.path(), source))?;
        let mut reader = VerifyingReader::new(file, source.digest(), source.size());
        pump(&mut reader, source, &Origin::Layout(blob.path.clone()), |_| Ok(()))?;
        let target = self.file(path);
        if let Some(parent) = target.parent() {
            self.make_directory(parent)?;
        }
        link.persist(&target).map_err(|error| fault("rename a link to", &target, error.error))?;
        Ok(true)
    }
}

impl Store for DirectoryStore {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    fn stat(&self, path: &SitePath) -> Result<Option<Stat>, StoreError> {
        let file = self.file(path);
        let metadata = match std::fs::symlink_metadata(&file) {
            Ok(metadata) => metadata,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(source) => return Err(fault("look at", &file, source)),
        };
        if metadata.is_dir() && is_hollow(&file) {
            return Ok(None);
        }
        if !metadata.is_file() {
            let found = what_is_in_the_way(&file).unwrap_or("not a regular file");
            return Err(StoreError::InTheWay { path: file, found });
        }
        let modified = metadata.modified().map_err(|source| fault("look at", &file, source))?;
        Ok(Some(Stat { size: metadata.len(), modified }))
    }

    fn read_document(&self, path: &SitePath, limit: u64) -> Result<Option<Document>, StoreError> {
        let Some(stat) = self.stat(path)? else { return Ok(None) };
        let file = self.file(path);
        if stat.size > limit {
            return Err(StoreError::TooLarge { path: file, limit });
        }
        let mut bytes = Vec::with_capacity(stat.size as usize + 1);
        let read = File::open(&file).and_then(|file| file.take(limit).read_to_end(&mut bytes));
        read.map_err(|source| fault("read", &file, source))?;
        let version = version_of(&bytes);
        Ok(Some(Document { bytes, version }))
    }

    fn open(&self, path: &SitePath) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        if self.stat(path)?.is_none() {
            return Ok(None);
        }
        let file = self.file(path);
        let opened = File::open(&file).map_err(|source| fault("read", &file, source))?;
        Ok(Some(Box::new(opened)))
    }

    fn write_document(
        &self,
        path: &SitePath,
        _kind: &Kind,
        bytes: &[u8],
        expected: &Expected,
    ) -> Result<(), StoreError> {
        // The lock keeps other publishers away, so this comparison and the rename below are one step for all of them.
        let current = self.read_document(path, u64::MAX)?.map(|document| document.version);
        let unchanged = match expected {
            Expected::Absent => current.is_none(),
            Expected::Version(version) => current.as_ref() == Some(version),
        };
        if !unchanged {
            return Err(StoreError::Conflict { path: path.clone() });
        }
        let mut temporary = self.temporary()?;
        temporary.write_all(bytes).map_err(|source| fault("write", &self.file(path), source))?;
        let before = match current {
            Some(_) => Some(self.second_name(&self.file(path))?.0),
            None => None,
        };
        self.rename(temporary, path)?;
        self.journal().documents.push((self.file(path), before));
        Ok(())
    }

    fn remove_document(&self, path: &SitePath) -> Result<(), StoreError> {
        let file = self.file(path);
        if self.stat(path)?.is_none() {
            return Ok(());
        }
        let (before, _) = self.second_name(&file)?;
        std::fs::remove_file(&file).map_err(|source| fault("remove", &file, source))?;
        self.journal().documents.push((file, Some(before)));
        Ok(())
    }

    fn write_blob(&self, path: &SitePath, _kind: &Kind, source: &dyn BlobSource) -> Result<Written, StoreError> {
        let blob = match source.open()? {
            Content::File(blob) => blob,
            stream @ Content::Stream { .. } => {
                let (reader, from) = stream.into_reader();
                self.copy(reader, &from, source, path)?;
                return Ok(Written::Copied);
            }
        };
        if self.hard_link(&blob, source, path)? {
            return Ok(Written::Linked);
        }
        if self.reflink(&blob, source, path)? {
            return Ok(Written::Copied);
        }
        let (reader, from) = Content::File(blob).into_reader();
        self.copy(reader, &from, source, path)?;
        Ok(Written::Copied)
    }

    fn link_blob(&self, from: &SitePath, to: &SitePath, _kind: &Kind, _digest: &Digest) -> Result<Written, StoreError> {
        let target = self.file(to);
        if let Some(parent) = target.parent() {
            self.make_directory(parent)?;
        }
        let (link, how) = self.second_name(&self.file(from))?;
        link.persist(&target).map_err(|error| fault("rename a link to", &target, error.error))?;
        Ok(how)
    }

    fn delete(&self, path: &SitePath) -> Result<(), StoreError> {
        let file = self.file(path);
        match std::fs::remove_file(&file) {
            Ok(()) => {}
            // Whoever removed it may have been killed before it removed the directories.
            Err(error) if is_absence(&error) => {}
            Err(source) => return Err(fault("remove", &file, source)),
        }
        // Directories that are empty now go too; one that is not ends the walk up.
        let mut directory = file.parent();
        while let Some(at) = directory.filter(|at| *at != self.root && std::fs::remove_dir(at).is_ok()) {
            self.known_directories().remove(at);
            directory = at.parent();
        }
        Ok(())
    }

    /// The last change first. What cannot be put back is left, and the rest is done.
    fn restore(&self) -> Result<(), StoreError> {
        let documents = std::mem::take(&mut self.journal().documents);
        if documents.is_empty() {
            return Ok(());
        }
        let mut restored = Ok(());
        for (file, before) in documents.into_iter().rev() {
            let outcome = match before {
                Some(before) => before.persist(&file).map_err(|error| {
                    // All that is left of the document as it was.
                    let _ = error.path.keep();
                    error.error
                }),
                None => std::fs::remove_file(&file),
            };
            restored = restored.and(outcome.map_err(|source| fault("put back", &file, source)));
        }
        // No document refers to new blobs any more, whatever of this the disk remembers after a power failure.
        restored.and(self.flush())
    }

    fn take_back(&self, blobs: &[SitePath]) -> Result<(), StoreError> {
        for path in blobs {
            let file = self.file(path);
            match std::fs::remove_file(&file) {
                Err(source) if !is_absence(&source) => return Err(fault("remove", &file, source)),
                _ => {}
            }
        }
        self.remove_made_directories();
        Ok(())
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(Listed)) -> Result<(), StoreError> {
        let start = self.root.join(prefix);
        if !start.is_dir() {
            return Ok(());
        }
        let private = self.root.join(PRIVATE_DIRECTORY);
        let walk = walkdir::WalkDir::new(&start).into_iter().filter_entry(|entry| entry.path() != private);
        for entry in walk {
            let wrong = |error: walkdir::Error| {
                let path = error.path().unwrap_or(&start).to_path_buf();
                fault("list", &path, error.into())
            };
            let entry = entry.map_err(wrong)?;
            if !entry.file_type().is_file() {
                continue;
            }
            let relative = entry.path().strip_prefix(&self.root).ok().and_then(Path::to_str);
            let Some(Ok(path)) = relative.map(SitePath::new) else { continue };
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed since the directory was read: no longer there to be listed.
                Err(error) if error.io_error().is_some_and(is_absence) => continue,
                Err(error) => return Err(wrong(error)),
            };
            let modified = metadata.modified().map_err(|source| fault("look at", entry.path(), source))?;
            visit(Listed { path, stat: Stat { size: metadata.len(), modified } });
        }
        Ok(())
    }

    fn identity(&self) -> String {
        self.root.canonicalize().unwrap_or_else(|_| self.root.clone()).display().to_string()
    }

    fn lock(&self, wait: Duration) -> Result<Box<dyn Lock>, StoreError> {
        let path = self.private("lock");
        let start = Instant::now();
        loop {
            match self.try_lock(&path)? {
                Some(file) => {
                    self.journal().is_locked = true;
                    self.remove_leftovers()?;
                    return Ok(Box::new(DirectoryLock { _file: file }));
                }
                None if start.elapsed() < wait => std::thread::sleep(LOCK_POLL),
                None => return Err(StoreError::Locked { site: self.root.clone(), lock: path, waited: wait }),
            }
        }
    }

    fn flush(&self) -> Result<(), StoreError> {
        let directory = File::open(&self.root).map_err(|source| fault("open", &self.root, source))?;
        rustix::fs::syncfs(&directory).map_err(|source| fault("sync the file system of", &self.root, source.into()))
    }
}

impl DirectoryStore {
    /// Takes the lock if it is free.
    fn try_lock(&self, path: &Path) -> Result<Option<File>, StoreError> {
        self.make_unknown_directory(&self.root.join(PRIVATE_DIRECTORY))?;
        let file = match File::options().create(true).truncate(false).write(true).open(path) {
            Ok(file) => file,
            // Its directory was made above, so a publisher that gave up has just removed it again.
            Err(error) if is_absence(&error) => return Ok(None),
            Err(source) => return Err(fault("create the lock file", path, source)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(source)) => return Err(fault("lock", path, source)),
        }
        // A publisher that gives up on a new site removes its lock file. Whoever waited for that file holds a lock that no
        // later publisher will see, so it has to be taken again.
        let inode = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let held = file.metadata().map(inode).map_err(|source| fault("look at", path, source))?;
        Ok(std::fs::metadata(path).is_ok_and(|there| inode(there) == held).then_some(file))
    }

    /// Whoever holds the lock is alone, so what lies in the temporary directory belongs to a process that is gone.
    fn remove_leftovers(&self) -> Result<(), StoreError> {
        let directory = self.private("tmp");
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if is_absence(&error) => return Ok(()),
            Err(source) => return Err(fault("list", &directory, source)),
        };
        for entry in entries {
            let path = entry.map_err(|source| fault("list", &directory, source))?.path();
            match std::fs::remove_file(&path) {
                Err(source) if !is_absence(&source) => return Err(fault("remove the leftover", &path, source)),
                _ => {}
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct DirectoryLock {
    // Closing the file releases the lock.
    _file: File,
}

impl Lock for DirectoryLock {}

/// The version of a document on a directory: there is no ETag, so its content names it.
fn version_of(bytes: &[u8]) -> Version {
    Version(Digest::of(Algorithm::Sha256, bytes).to_string())
}

/// Reads all of `reader`, handing each chunk on; what the reader says of the digest names the source's file.
fn pump(
    reader: &mut impl Read,
    source: &dyn BlobSource,
    from: &Origin,
    mut sink: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(from.error(error)),
        };
        sink(&buffer[..count])?;
        source.advanced(count as u64);
    }
}

fn fault(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { action, path: path.into(), source }
}

/// Not there, or not there because something above it is a file.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a directory has nothing but such directories in it: a removal that was killed leaves some.
fn is_hollow(directory: &Path) -> bool {
    walkdir::WalkDir::new(directory).into_iter().all(|entry| entry.is_ok_and(|entry| entry.file_type().is_dir()))
}

/// Removes directories that hold no file.
fn remove_hollow(directory: &Path) -> Result<(), StoreError> {
    for entry in walkdir::WalkDir::new(directory).contents_first(true).into_iter().filter_map(Result::ok) {
        std::fs::remove_dir(entry.path())
            .map_err(|source| fault("remove the empty directory", entry.path(), source))?;
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), StoreError> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|source| fault("set the mode of", path, source))
}

/// What stands at a path where only a regular file may.
fn what_is_in_the_way(path: &Path) -> Option<&'static str> {
    let kind = std::fs::symlink_metadata(path).ok()?.file_type();
    match () {
        _ if kind.is_file() => None,
        _ if kind.is_dir() => Some("a directory"),
        _ if kind.is_symlink() => Some("a symbolic link"),
        _ if kind.is_fifo() => Some("a FIFO"),
        _ => Some("not a regular file"),
    }
}
