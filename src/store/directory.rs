//! A directory as a store: the web root of a site.
//!
//! Every object is written to a temporary file in `.ocisite/tmp` and renamed into place, so that a reader sees the old
//! object or the new one. Modes are set, not inherited: a web server has to be able to read what a publisher with a strict
//! umask wrote. One lock file excludes other publishers; the kernel releases it when its holder ends in any way.
//! Durability comes from one file-system sync per phase, because a sync per file costs a disk flush per blob.
//!
//! A failed publish must leave the site unchanged, even when the disk is full. Therefore the former version of a
//! replaced document keeps a second name in `.ocisite/tmp` until the store is dropped: a hard link takes no space, and
//! neither does renaming it back.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode};
use rustix::process::geteuid;

use super::private_state::{self, LOCK, RESERVE, TEMPORARY, Temporary};
use super::{
    BlobSource, Changes, Conflict, Content, Expected, Link, Lock, Origin, Stat, Store, StoreError, StoredDocument,
    Version, Written,
};
use crate::layout::Blob;
use crate::root::{DIRECTORY, FileError, MadeDirectory, Root};
use crate::site::path::{DESCRIPTION, PRIVATE_DIRECTORY};
use crate::site::{Kind, SitePath};
use oci_discovery::digest::{Algorithm, Digest, Hasher, VerifyingReader};
use oci_discovery::parallel::lock;

/// The mode of published files.
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);
/// The mode of a site's directories.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
/// The bytes read, hashed and written at a time. Each worker has one such buffer.
const BUFFER_BYTES: usize = 256 * 1024;
/// The time between two attempts to take the lock.
const LOCK_POLL: Duration = Duration::from_millis(50);
/// The mode bits that let every user read a file.
const READABLE: u32 = 0o444;
/// The mode bits that a published file must not have: setuid, setgid, and write access for group and others.
const UNFIT: u32 = 0o6022;

/// How blobs get from a layout into the directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkMode {
    /// Copy files, or share their blocks where the file system can (reflinks).
    #[default]
    Copy,
    /// Hard-link the files of the layout, and copy where that is impossible.
    Hard,
}

/// A directory that holds a site, or is going to.
#[derive(Debug)]
pub struct DirectoryStore {
    path: PathBuf,
    link: LinkMode,
    adopt: bool,
    handles: Mutex<Handles>,
    known_directories: Mutex<HashSet<PathBuf>>,
    journal: Mutex<Journal>,
    changes: Changes,
}

#[derive(Debug, Default)]
struct Handles {
    /// The site. None: missing at the last look.
    root: Option<Arc<Root>>,
    /// The directory of temporary files.
    temporary: Option<Arc<Root>>,
}

/// The changes of this process in their order, without blobs: what a rollback needs.
#[derive(Debug, Default)]
struct Journal {
    /// The created directories at and above the site's root.
    outer_directories: Vec<MadeDirectory>,
    /// The created directories of the site.
    directories: Vec<PathBuf>,
    /// The changed documents, each with the second name of its former version. None: it was missing.
    documents: Vec<(SitePath, Option<Temporary>)>,
    /// Whether this process has created the lock file.
    is_locked: bool,
    /// Whether changes of documents are not recorded.
    is_removal: bool,
}

impl DirectoryStore {
    /// Opens a directory without changing it. The directory may be missing.
    ///
    /// # Errors
    /// It is a file, or it contains other files than a site's and `adopt` is false.
    pub fn new(path: &Path, link: LinkMode, adopt: bool) -> Result<DirectoryStore, StoreError> {
        let store = DirectoryStore {
            path: path.into(),
            link,
            adopt,
            handles: Mutex::default(),
            known_directories: Mutex::default(),
            journal: Mutex::default(),
            changes: Changes::default(),
        };
        store.check_root()?;
        Ok(store)
    }

    /// The same store, with its changes in a record.
    pub fn recorded_in(self, changes: Changes) -> DirectoryStore {
        DirectoryStore { changes, ..self }
    }

    fn check_root(&self) -> Result<(), StoreError> {
        let Some(root) = self.root()? else { return Ok(()) };
        let names = root.names()?;
        let is_site = names.iter().any(|name| name == PRIVATE_DIRECTORY || name == DESCRIPTION);
        match names.into_iter().min() {
            Some(found) if !is_site && !self.adopt => Err(StoreError::not_a_site(&root, &found)),
            _ => Ok(()),
        }
    }

    /// The site's directory. None: it is missing.
    fn root(&self) -> Result<Option<Arc<Root>>, StoreError> {
        let mut handles = self.handles();
        if handles.root.is_none() {
            let opened = Root::open_if_present(&self.path).map_err(|error| match error.kind() {
                Some(io::ErrorKind::NotADirectory) => StoreError::NotADirectory { path: self.path.clone() },
                _ => error.into(),
            })?;
            handles.root = opened.map(Arc::new);
        }
        Ok(handles.root.clone())
    }

    /// The site's directory, created if it is missing.
    fn made_root(&self) -> Result<Arc<Root>, StoreError> {
        if let Some(root) = self.root()? {
            return Ok(root);
        }
        let root = Root::create(&self.path, Some(DIRECTORY_MODE), &mut |made| {
            self.journal().outer_directories.push(made);
        })?;
        let root = Arc::new(root);
        self.handles().root = Some(root.clone());
        Ok(root)
    }

    /// The site's private directory, created if it is missing.
    fn private(&self, root: &Root) -> Result<Root, FileError> {
        root.private_directory(PRIVATE_DIRECTORY, &mut |made| self.journal().directories.push(made.into()))
    }

    /// The directory of temporary files, created if it is missing.
    fn temporary_directory(&self) -> Result<Arc<Root>, StoreError> {
        if let Some(temporary) = &self.handles().temporary {
            return Ok(temporary.clone());
        }
        let private = self.private(&*self.made_root()?)?;
        // One thread makes it: to root it would not be new any more with the first file of another thread, and stay root's.
        let mut handles = self.handles();
        if let Some(temporary) = &handles.temporary {
            return Ok(temporary.clone());
        }
        let temporary = private.private_directory(TEMPORARY, &mut |made| {
            self.journal().directories.push(Path::new(PRIVATE_DIRECTORY).join(made));
        })?;
        let temporary = Arc::new(temporary);
        handles.temporary = Some(temporary.clone());
        Ok(temporary)
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        lock(&self.handles)
    }

    fn known_directories(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        lock(&self.known_directories)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.journal)
    }

    /// Creates the directory of an object, unless this process has done so already.
    fn make_directory_of(&self, root: &Root, path: &SitePath) -> Result<(), StoreError> {
        let Some(directory) = Path::new(path.as_str()).parent() else { return Ok(()) };
        if !directory.as_os_str().is_empty() && !self.known_directories().contains(directory) {
            root.make_directories(directory, Some(DIRECTORY_MODE), &mut |made| {
                self.journal().directories.push(made.into());
            })?;
            self.known_directories().insert(directory.into());
        }
        Ok(())
    }

    fn temporary(&self) -> Result<(File, Temporary), StoreError> {
        let directory = self.temporary_directory()?;
        Ok(Temporary::make(&directory, |name| directory.create_file(name, Some(FILE_MODE)))?)
    }

    fn rename(&self, file: &File, temporary: &mut Temporary, path: &SitePath) -> Result<(), StoreError> {
        let root = self.made_root()?;
        self.make_directory_of(&root, path)?;
        match temporary.rename(file, &root, path.as_str()) {
            Err(FileError::InTheWay { found: DIRECTORY, .. }) if root.is_hollow(path.as_str()) => {
                root.remove_hollow(path.as_str())?;
                Ok(temporary.rename(file, &root, path.as_str())?)
            }
            renamed => Ok(renamed?),
        }
    }

    /// Gives an object a second name in the temporary directory: a hard link, or else a copy. With a digest, the
    /// copy's bytes are compared with it. The result is open.
    fn second_name(&self, path: &SitePath, digest: Option<&Digest>) -> Result<(File, Temporary, Written), StoreError> {
        let (root, directory) = (self.made_root()?, self.temporary_directory()?);
        let absent = || self.fault("link", path, io::ErrorKind::NotFound.into());
        let (file, metadata) = root.open_file(path.as_str())?.ok_or_else(absent)?;
        let (copy, temporary) = Temporary::make(&directory, |name| match root.link(path.as_str(), &directory, name) {
            Ok(()) => Ok(None),
            Err(error) => match error.kind() {
                None | Some(io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => Err(error),
                // Some file systems have no hard links, and others limit the links of a file.
                Some(_) => {
                    let mut bytes: Box<dyn Read + '_> = match digest {
                        Some(digest) => Box::new(VerifyingReader::new(&file, digest, metadata.len())),
                        None => Box::new(&file),
                    };
                    let mut copy = directory.create_file(name, Some(FILE_MODE))?;
                    let fault =
                        |source| FileError::Io { action: "copy", path: root.path().join(path.as_str()), source };
                    io::copy(&mut bytes, &mut copy).and_then(|_| copy.rewind()).map_err(fault)?;
                    Ok(Some(copy))
                }
            },
        })?;
        let how = if copy.is_some() { Written::Copied } else { Written::Linked };
        Ok((copy.unwrap_or(file), temporary, how))
    }

    /// Removes the empty directories among those that this process created.
    fn remove_made_directories(&self) {
        let Journal { mut directories, outer_directories, is_locked, .. } = std::mem::take(&mut *self.journal());
        let Handles { root, .. } = std::mem::take(&mut *self.handles());
        // Threads create directories concurrently, so the last one recorded need not be the deepest.
        directories.sort();
        self.known_directories().clear();
        if let Some(root) = root {
            let private = Path::new(PRIVATE_DIRECTORY);
            if is_locked && directories.iter().any(|made| made == private) {
                let _ = root.remove_file(private.join(RESERVE));
                let _ = root.remove_file(private.join(LOCK));
            }
            for directory in directories.iter().rev() {
                let _ = root.remove_directory(directory);
            }
        }
        for directory in outer_directories.iter().rev() {
            let _ = directory.remove();
        }
    }

    fn copy(
        &self,
        reader: impl Read,
        from: &Origin,
        source: &dyn BlobSource,
        path: &SitePath,
    ) -> Result<(), StoreError> {
        let (mut file, mut temporary) = self.temporary()?;
        let mut reader = VerifyingReader::new(reader, source.digest(), source.size());
        pump(&mut reader, source, from, |chunk| {
            file.write_all(chunk).map_err(|error| self.fault("write", path, error))
        })?;
        self.rename(&file, &mut temporary, path)
    }

    /// Shares the blocks of the source where the file system can. The result is private, and is then read and hashed.
    fn reflink(&self, blob: &Blob, source: &dyn BlobSource, path: &SitePath) -> Result<bool, StoreError> {
        if !blob.is_whole_file || self.link != LinkMode::Copy {
            return Ok(false);
        }
        let (mut file, mut temporary) = self.temporary()?;
        if rustix::fs::ioctl_ficlone(&file, &blob.file).is_err() {
            return Ok(false);
        }
        file.rewind().map_err(|error| self.fault("read", path, error))?;
        let mut reader = VerifyingReader::new(&file, source.digest(), source.size());
        pump(&mut reader, source, &Origin::Layout(blob.path.clone()), |_| Ok(()))?;
        self.rename(&file, &mut temporary, path)?;
        Ok(true)
    }

    /// Links the open file of the source, after its bytes were hashed. False: a link is impossible, or would not be
    /// usable.
    fn hard_link(&self, blob: &Blob, source: &dyn BlobSource, path: &SitePath) -> Result<bool, StoreError> {
        if self.link != LinkMode::Hard || !blob.is_whole_file || !blob.file.metadata().is_ok_and(|file| is_fit(&file)) {
            return Ok(false);
        }
        let directory = self.temporary_directory()?;
        let link = Temporary::make(&directory, |name| directory.link_open_file(&blob.file, name));
        let Ok(((), mut link)) = link else { return Ok(false) };
        let mut reader = VerifyingReader::new(&blob.file, source.digest(), source.size());
        pump(&mut reader, source, &Origin::Layout(blob.path.clone()), |_| Ok(()))?;
        self.rename(&blob.file, &mut link, path)?;
        Ok(true)
    }

    /// The status of an object. None: it is missing, or its path is a tree of directories without files, which a
    /// killed removal leaves. Private state must belong to this user; its second name, if any, keeps the former
    /// version.
    fn found<T>(
        &self,
        path: &SitePath,
        find: impl FnOnce(&Root, &str) -> Result<Option<T>, FileError>,
    ) -> Result<Option<T>, StoreError> {
        let Some(root) = self.root()? else { return Ok(None) };
        if Path::new(path.as_str()).starts_with(PRIVATE_DIRECTORY)
            && let Some(status) = root.status(path.as_str())?
        {
            root.refuse_foreign_file(path.as_str(), &status)?;
        }
        match find(&root, path.as_str()) {
            Err(FileError::InTheWay { found: DIRECTORY, .. }) if root.is_hollow(path.as_str()) => Ok(None),
            found => Ok(found?),
        }
    }

    fn opened(&self, path: &SitePath) -> Result<Option<(File, Metadata)>, StoreError> {
        self.found(path, |root, name| root.open_file(name))
    }

    /// The version of a document: its hash, computed piece by piece, so that the size does not matter.
    fn current_version(&self, path: &SitePath) -> Result<Option<Version>, StoreError> {
        let Some((mut file, _)) = self.opened(path)? else { return Ok(None) };
        let mut hasher = Hasher::new(Algorithm::Sha256);
        io::copy(&mut file, &mut hasher).map_err(|error| self.fault("read", path, error))?;
        Ok(Some(version_of(&hasher.finish())))
    }

    fn fault(&self, action: &'static str, path: &SitePath, source: io::Error) -> StoreError {
        FileError::Io { action, path: self.path.join(path.as_str()), source }.into()
    }

    /// Records a change of a document, with its former version.
    fn note(&self, path: &SitePath, before: Option<Temporary>) {
        let mut journal = self.journal();
        if !journal.is_removal {
            journal.documents.push((path.clone(), before));
        }
    }

    /// Keeps the former version of a document, unless changes are not recorded.
    fn keep_version(&self, path: &SitePath) -> Result<Option<Temporary>, StoreError> {
        match self.journal().is_removal {
            true => Ok(None),
            false => Ok(Some(self.second_name(path, None)?.1)),
        }
    }
}

impl Store for DirectoryStore {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn stat(&self, path: &SitePath) -> Result<Option<Stat>, StoreError> {
        let found = self.found(path, |root, name| root.file_status(name))?;
        Ok(found.map(|status| Stat { size: status.size(), modified: status.modified() }))
    }

    fn read_document(&self, path: &SitePath, limit: u64) -> Result<Option<StoredDocument>, StoreError> {
        let Some((file, metadata)) = self.opened(path)? else { return Ok(None) };
        if metadata.len() > limit {
            return Err(StoreError::TooLarge { path: self.path.join(path.as_str()), limit });
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
        file.take(limit).read_to_end(&mut bytes).map_err(|error| self.fault("read", path, error))?;
        let version = version_of(&Digest::of(Algorithm::Sha256, &bytes));
        Ok(Some(StoredDocument { bytes, version }))
    }

    fn open(&self, path: &SitePath) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        Ok(self.opened(path)?.map(|(file, _)| Box::new(file) as Box<dyn Read + Send>))
    }

    fn write_document(
        &self,
        path: &SitePath,
        _kind: &Kind,
        bytes: &[u8],
        expected: &Expected,
    ) -> Result<(), StoreError> {
        // Other publishers wait for the lock, so nothing changes between this comparison and the rename below.
        let current = self.current_version(path)?;
        let unchanged = match expected {
            Expected::Absent => current.is_none(),
            Expected::Version(version) => current.as_ref() == Some(version),
        };
        if !unchanged {
            return Err(Conflict { path: path.clone() }.into());
        }
        let (mut file, mut temporary) = self.temporary()?;
        file.write_all(bytes).map_err(|error| self.fault("write", path, error))?;
        let before = match current {
            Some(_) => self.keep_version(path)?,
            None => None,
        };
        self.changes.add(path);
        self.rename(&file, &mut temporary, path)?;
        self.note(path, before);
        Ok(())
    }

    fn remove_document(&self, path: &SitePath) -> Result<(), StoreError> {
        // A removal has nothing to restore, so its empty directories go, too.
        if self.journal().is_removal {
            return self.delete(path);
        }
        if self.stat(path)?.is_none() {
            return Ok(());
        }
        let before = self.keep_version(path)?;
        self.changes.add(path);
        self.made_root()?.remove_file(path.as_str())?;
        if before.is_some() {
            self.note(path, before);
        }
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

    fn link_blob(&self, from: &SitePath, to: &SitePath, link: &Link<'_>) -> Result<Written, StoreError> {
        let (file, mut second, how) = self.second_name(from, Some(link.digest))?;
        if link.is_hashed() {
            // The open file is renamed, even if `from` is another file by now.
            link.hash(&file, format!("{}/{from}", self.name()))?;
        }
        self.rename(&file, &mut second, to)?;
        Ok(how)
    }

    fn delete(&self, path: &SitePath) -> Result<(), StoreError> {
        let Some(root) = self.root()? else { return Ok(()) };
        self.changes.add(path);
        // Also for a missing object: a process that removed it may have been killed before it removed the directories.
        root.remove_file(path.as_str())?;
        // The first directory that is not empty ends the walk upwards.
        let above = Path::new(path.as_str()).ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        for directory in above.take_while(|above| root.remove_directory(above).is_ok()) {
            self.known_directories().remove(directory);
        }
        Ok(())
    }

    fn begin_removal(&self) -> Result<(), StoreError> {
        self.journal().is_removal = true;
        if let Some(root) = self.root()? {
            root.remove_file(Path::new(PRIVATE_DIRECTORY).join(RESERVE))?;
        }
        Ok(())
    }

    /// Restores in reverse order. A document that cannot be restored is left, and the others are restored.
    fn restore(&self) -> Result<(), StoreError> {
        let documents = std::mem::take(&mut self.journal().documents);
        if documents.is_empty() {
            return Ok(());
        }
        let root = self.made_root()?;
        let mut restored = Ok(());
        for (path, before) in documents.into_iter().rev() {
            let outcome = match before {
                Some(before) => restore_version(&root, &path, before),
                None => root.remove_file(path.as_str()).map(drop).map_err(StoreError::from),
            };
            restored = restored.and(outcome);
        }
        // The restored documents must be durable before the new blobs go: after a power failure, no document may refer
        // to a removed blob.
        restored.and(root.sync().map_err(StoreError::from))
    }

    fn take_back(&self, blobs: &[SitePath]) -> Result<(), StoreError> {
        if let Some(root) = self.root()? {
            for path in blobs {
                root.remove_file(path.as_str())?;
            }
        }
        self.remove_made_directories();
        Ok(())
    }

    fn scan(&self, prefix: &str, visit: &mut dyn FnMut(SitePath, Result<Stat, FileError>)) -> Result<(), StoreError> {
        let Some(root) = self.root()? else { return Ok(()) };
        // A directory whose name is invalid in a path contains no objects.
        let has_objects = |path: &Path| {
            path != Path::new(PRIVATE_DIRECTORY) && path.to_str().is_some_and(|path| SitePath::new(path).is_ok())
        };
        for entry in root.walk(prefix.trim_end_matches('/'), &has_objects)? {
            let entry = entry?;
            let Some(Ok(path)) = entry.path.to_str().map(SitePath::new) else { continue };
            match entry.status.kind() {
                FileType::Directory => {}
                FileType::RegularFile => {
                    visit(path, Ok(Stat { size: entry.status.size(), modified: entry.status.modified() }));
                }
                _ => visit(path, Err(root.in_the_way(&entry))),
            }
        }
        Ok(())
    }

    #[allow(clippy::disallowed_methods, reason = "the user names the site's directory")]
    fn identity(&self) -> String {
        self.path.canonicalize().unwrap_or_else(|_| self.path.clone()).display().to_string()
    }

    fn lock(&self, wait: Duration) -> Result<Box<dyn Lock>, StoreError> {
        let start = Instant::now();
        loop {
            match self.try_lock()? {
                Some(lock) => return Ok(Box::new(lock)),
                None if start.elapsed() < wait => std::thread::sleep(LOCK_POLL),
                None => {
                    let lock = self.path.join(PRIVATE_DIRECTORY).join(LOCK);
                    return Err(StoreError::Locked { site: self.path.clone(), lock, waited: wait });
                }
            }
        }
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(self.made_root()?.sync()?)
    }
}

impl DirectoryStore {
    /// Takes the lock if it is free.
    fn try_lock(&self) -> Result<Option<DirectoryLock>, StoreError> {
        // Opened again each time: another publisher that removed its new site has removed this directory with it.
        *self.handles() = Handles::default();
        let root = self.made_root()?;
        let private = match self.private(&root) {
            Ok(private) => private,
            Err(error) if error.kind() == Some(io::ErrorKind::NotFound) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(file) = private_state::try_lock(&private)? else { return Ok(None) };
        self.journal().is_locked = true;
        private_state::remove_leftovers(&private)?;
        private_state::keep_reserve(&private, root.status(DESCRIPTION)?.map_or(0, |found| found.size()))?;
        Ok(Some(DirectoryLock { _file: file }))
    }
}

#[derive(Debug)]
struct DirectoryLock {
    // Closing the file releases the lock.
    _file: File,
}

impl Lock for DirectoryLock {}

/// Renames the former version of a document to its path. If that fails, the former version is kept: its second name is
/// the only one.
fn restore_version(root: &Root, path: &SitePath, mut before: Temporary) -> Result<(), StoreError> {
    let renamed = before.open().and_then(|file| before.rename(&file, root, path.as_str()));
    renamed.map_err(|source| match before.keep() {
        Ok(kept) => StoreError::NotRestored { path: root.path().join(path.as_str()), kept, source },
        Err(_) => source.into(),
    })
}

/// The version of a document in a directory, which has no ETags: its digest.
fn version_of(content: &Digest) -> Version {
    Version(content.to_string())
}

/// Copies all of `reader` to `write`. Errors about the content name the source.
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

/// Whether a hard link is safe to publish: the link shares mode and owner with the source, and only this user may be
/// able to change the bytes after they were hashed.
fn is_fit(file: &Metadata) -> bool {
    let is_own = file.uid() == geteuid().as_raw();
    file.is_file() && is_own && file.mode() & READABLE == READABLE && file.mode() & UNFIT == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A blob during whose copy another file is put in place of the temporary one.
    struct Exchanged<'a> {
        digest: Digest,
        site: &'a Path,
    }

    const CONTENT: &[u8] = b"honest";

    impl BlobSource for Exchanged<'_> {
        fn digest(&self) -> &Digest {
            &self.digest
        }

        fn size(&self) -> u64 {
            CONTENT.len() as u64
        }

        fn open(&self) -> Result<Content, StoreError> {
            Ok(Content::Stream { reader: Box::new(CONTENT), from: "a test".into() })
        }

        #[allow(clippy::disallowed_methods, reason = "as another program does")]
        fn advanced(&self, _bytes: u64) {
            for entry in std::fs::read_dir(self.site.join(PRIVATE_DIRECTORY).join(TEMPORARY)).unwrap() {
                let path = entry.unwrap().path();
                std::fs::remove_file(&path).unwrap();
                std::fs::write(path, "hostile").unwrap();
            }
        }
    }

    /// Root gives the private state of a site to the site's owner, who can change it while root publishes.
    #[test]
    fn a_file_in_place_of_one_that_is_written_does_not_get_into_the_site() {
        let site = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(site.path(), LinkMode::Copy, false).unwrap();
        let digest = Digest::of(Algorithm::Sha256, CONTENT);
        let path = SitePath::new(&format!("oci-cas/sha256/{}", digest.encoded())).unwrap();
        let blob = Exchanged { digest, site: site.path() };
        store.write_blob(&path, &Kind::Blob(None), &blob).unwrap_err();
        assert!(store.stat(&path).unwrap().is_none());
    }

    /// Root publishes below a directory of another user, who moves a directory that was made and puts a link there.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "as another program does")]
    fn a_rollback_removes_the_directories_that_were_made_and_nothing_behind_a_link() {
        // Given a new site in a directory that was made for it, and an empty directory of the same name elsewhere.
        let directory = tempfile::tempdir().unwrap();
        let [made, moved, elsewhere] = ["home/made", "home/moved", "elsewhere"].map(|name| directory.path().join(name));
        std::fs::create_dir_all(elsewhere.join("site")).unwrap();
        std::fs::create_dir(directory.path().join("home")).unwrap();
        let store = DirectoryStore::new(&made.join("site"), LinkMode::Copy, false).unwrap();
        drop(store.lock(Duration::ZERO).unwrap());
        // When a link takes the place of the directory before the rollback.
        std::fs::rename(&made, &moved).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &made).unwrap();
        store.take_back(&[]).unwrap();
        // Then the site that was made is gone, and nothing else.
        assert!(elsewhere.join("site").is_dir());
        assert!(moved.is_dir() && !moved.join("site").exists());
    }

    /// Writes a document over the version that `expected` gives.
    fn write(store: &DirectoryStore, path: &SitePath, content: &[u8]) {
        let expected = match store.read_document(path, u64::MAX).unwrap() {
            Some(found) => Expected::Version(found.version),
            None => Expected::Absent,
        };
        store.write_document(path, &Kind::Index, content, &expected).unwrap();
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "as another program does")]
    fn a_former_version_that_cannot_be_restored_stays_when_another_publisher_takes_the_lock() {
        // Given a document whose former version is replaced.
        let site = tempfile::tempdir().unwrap();
        let open = || DirectoryStore::new(site.path(), LinkMode::Copy, false).unwrap();
        let path = SitePath::new("oci-index/tool").unwrap();
        write(&open(), &path, b"former");
        let store = open();
        write(&store, &path, b"new");
        // When a directory with content takes its place, so that the former version cannot be restored.
        std::fs::remove_file(site.path().join("oci-index/tool")).unwrap();
        std::fs::create_dir_all(site.path().join("oci-index/tool")).unwrap();
        std::fs::write(site.path().join("oci-index/tool/obstacle"), "").unwrap();
        let message = store.restore().unwrap_err().to_string();
        drop(store);
        drop(open().lock(Duration::ZERO).unwrap());
        // Then the next publisher does not remove it, and the message says where it is.
        let temporary = site.path().join(PRIVATE_DIRECTORY).join(TEMPORARY);
        let kept = Root::open(&temporary).unwrap().names().unwrap();
        let [kept] = kept.as_slice() else { panic!("{kept:?}") };
        let kept = temporary.join(kept);
        assert_eq!(std::fs::read(&kept).unwrap(), b"former");
        assert!(message.contains("oci-index/tool") && message.contains(&kept.display().to_string()), "{message}");
    }
}
