//! OCI image layouts to write to (image-spec, image-layout): a directory, or a tar archive of one.
//!
//! A layout is complete at every moment. A blob is written under `.ocisite/` in the layout, and so on its file system,
//! and renamed to its name after its digest is verified; `index.json` is replaced last, also by a rename. Unfinished
//! files of a killed program are continued by the next one that writes the same blob, and removed when the work ends.
//!
//! Blobs cannot be added to an archive one by one while several arrive at once. Therefore an archive is built in a
//! directory beside it, written to a file beside it, and renamed. As in a directory, the blobs and entries of an
//! existing archive are kept.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use serde::Serialize;
use serde_json::{Map, Value};

use super::graph::{GraphError, LayoutGraph};
use super::{INDEX_FILE, LAYOUT_FILE, LAYOUT_MARKER, Layout, LayoutError, blob_path, content_error};
use crate::root::{FileError, Root, Taken};
use crate::terminal;
use oci_discovery::digest::{Algorithm, ContentError, Digest, Hasher, VerifyingReader};
use oci_discovery::json::{self, ValueText};
use oci_discovery::oci::walk::Manifests;
use oci_discovery::oci::{Descriptor, Verified, media_type};
use oci_discovery::parallel::lock;

/// The directory of blobs.
const BLOBS: &str = "blobs";
/// The unfinished blobs, below the private directory.
const UNFINISHED: &str = "unfinished";
/// Removed with the last file in it.
const PRIVATE: &str = ".ocisite";
/// The file below the private directory that a program locks while it changes `index.json`. Other users cannot open it.
const LOCK: &str = "lock";
/// The longest wait for the lock, which a program keeps while it writes two small files.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// The wait after which a message says so.
const LOCK_NOTICE: Duration = Duration::from_secs(1);
/// The time between two attempts to take the lock.
const LOCK_POLL: Duration = Duration::from_millis(20);
/// The archive before it is renamed.
const UNFINISHED_ARCHIVE: &str = "archive.tar";
/// The attempts to open an unfinished file that another program renames or removes, or whose directory it removes:
/// more than there are programs and threads that write one blob.
const LOCK_TRIES: usize = 1000;
/// The bytes of an unfinished blob that are read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{} is neither empty nor an OCI image layout (it has {found:?}, but no oci-layout): choose another path", .path.display()
    )]
    InTheWay { path: PathBuf, found: String },
    #[error(
        "{} is not a file of an interrupted pull: expected no other files in {}, because the pull removes this \
         directory at its end; move it away, or choose another name for the archive", .path.display(), .directory.display()
    )]
    NotOurs { path: PathBuf, directory: PathBuf },
    #[error(
        "{} belongs to user {owner}: expected unfinished files of user {user}; remove the file if no pull of user {owner} \
         writes to the layout, and pull again", .path.display()
    )]
    ForeignUnfinished { path: PathBuf, owner: u32, user: u32 },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("another program is writing {}: wait until that program ends, or choose another name", .path.display())]
    Busy { path: PathBuf },
    #[error(
        "another program is writing {} (it holds {}); waited {} s; end that program, or choose another path",
        .path.display(), .lock.display(), .waited.as_secs()
    )]
    Locked { path: PathBuf, lock: PathBuf, waited: Duration },
    #[error(
        "{} has {free} bytes of free space: expected {needed}; free some space, or choose another path", .path.display()
    )]
    NoRoom {
        path: PathBuf,
        /// In bytes.
        free: u64,
        /// In bytes.
        needed: u64,
    },
    #[error("cannot add an image to {}", .path.display())]
    Archive {
        path: PathBuf,
        #[source]
        source: Box<GraphError>,
    },
}

fn fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError + use<> {
    let path = path.to_path_buf();
    move |source| FileError::Io { action, path, source }.into()
}

fn unfinished_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm(), digest.encoded())
}

/// A layout to write to, from several threads.
#[derive(Debug)]
pub struct LayoutWriter {
    /// The directory of the layout, or the one in which an archive is built.
    path: PathBuf,
    /// The layout in it. None: missing.
    layout: OnceLock<Layout>,
    /// The blobs that this program has written or read whole, and verified.
    verified: Mutex<HashSet<Digest>>,
    /// The blobs, with their sizes, that will be copied from the old archive if they are intact.
    kept: Mutex<HashMap<Digest, u64>>,
    archive: Option<Archive>,
    /// The longest wait for the lock of a directory.
    lock_wait: Duration,
}

#[derive(Debug)]
struct Archive {
    path: PathBuf,
    /// The archive that existed when the place was opened.
    seen: Option<Layout>,
    held: OnceLock<Held>,
}

/// The exclusive right to write an archive.
#[derive(Debug)]
struct Held {
    parent: Root,
    /// The directory in which the archive is built, locked.
    lock: File,
    /// The archive that will be replaced, read under the lock: another program may have changed it since the place was
    /// opened.
    old: Option<Layout>,
}

impl Archive {
    /// The directory of the archive, and the name in it of the directory in which the archive is built.
    fn place(&self) -> (&Path, PathBuf) {
        let directory = self.path.parent().filter(|directory| !directory.as_os_str().is_empty());
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        (directory.unwrap_or(Path::new(".")), format!(".{name}.unfinished").into())
    }

    /// Locks out other programs. Another program that ended may have removed the directory before it was locked.
    fn hold(&self, lock: File) -> Result<Held, WriteError> {
        let (directory, name) = self.place();
        let parent = Root::open(directory)?;
        match lock.try_lock().is_ok() && parent.is_name_of(name, &lock)? {
            true => Ok(Held { parent, lock, old: archive_at(&self.path)? }),
            false => Err(WriteError::Busy { path: self.path.clone() }),
        }
    }
}

impl LayoutWriter {
    /// Opens a place for a layout without changing it: a layout, an empty directory, or a missing path. A path that
    /// ends in `.tar` is an archive.
    ///
    /// # Errors
    /// The place has other content or cannot be read, or there is a link or a file of another user where files will be
    /// written.
    #[allow(clippy::disallowed_methods, reason = "the user names the layout")]
    pub fn open(path: &Path) -> Result<LayoutWriter, WriteError> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => LayoutWriter::of_archive(path, Some(Layout::open(path)?)),
            Ok(_) => LayoutWriter::of_directory(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match path.extension().is_some_and(|extension| extension == "tar") {
                    true => LayoutWriter::of_archive(path, None),
                    false => Ok(LayoutWriter::at(path.into(), None)),
                }
            }
            Err(source) => Err(fault("look at", path)(source)),
        }
    }

    fn at(path: PathBuf, archive: Option<Archive>) -> LayoutWriter {
        LayoutWriter {
            path,
            layout: OnceLock::new(),
            verified: Mutex::default(),
            kept: Mutex::default(),
            archive,
            lock_wait: LOCK_WAIT,
        }
    }

    fn of_directory(path: &Path) -> Result<LayoutWriter, WriteError> {
        let root = Root::open(path)?;
        refuse_planted(&root)?;
        let layout = Layout::beneath(root);
        refuse_foreign_files(&layout)?;
        let writer = LayoutWriter::at(path.into(), None);
        let _ = writer.layout.set(layout);
        Ok(writer)
    }

    fn of_archive(path: &Path, seen: Option<Layout>) -> Result<LayoutWriter, WriteError> {
        let archive = Archive { path: path.into(), seen, held: OnceLock::new() };
        let (directory, name) = archive.place();
        let mut found = None;
        if let Some(parent) = Root::open_if_present(directory)?
            && let Some(beside) = parent.directory(&name)?
        {
            parent.refuse_foreign(&name, &beside.own_status()?)?;
            refuse_planted(&beside)?;
            refuse_foreign_names(&beside)?;
            found = Some(Layout::beneath(beside));
        }
        let writer = LayoutWriter::at(directory.join(name), Some(archive));
        found.and_then(|layout| writer.layout.set(layout).ok());
        Ok(writer)
    }

    /// The layout, whose directory is created if it is missing.
    fn layout(&self) -> Result<&Layout, WriteError> {
        match self.layout.get() {
            Some(layout) => Ok(layout),
            None => self.make(),
        }
    }

    /// Creates the layout's directory if it is missing. A directory beside an archive is private.
    fn make(&self) -> Result<&Layout, WriteError> {
        let root = match &self.archive {
            None => Root::create(&self.path, None, &mut |_| {})?,
            Some(archive) => {
                let (directory, name) = archive.place();
                Root::create(directory, None, &mut |_| {})?.private_directory(name, &mut |_| {})?
            }
        };
        Ok(self.layout.get_or_init(|| Layout::beneath(root)))
    }

    fn root(&self) -> Result<&Root, WriteError> {
        let absent = || fault("open", &self.path)(io::ErrorKind::NotFound.into());
        self.layout()?.root().ok_or_else(absent)
    }

    /// Creates the files of an empty layout, so that the place is a layout from now on, or takes the exclusive right to
    /// write an archive.
    pub fn prepare(&self) -> Result<(), WriteError> {
        self.make()?;
        let root = self.root()?;
        match &self.archive {
            Some(archive) => {
                let held = archive.hold(root.to_lock()?)?;
                // Another user may have put a directory in place of the one that was just made.
                refuse_foreign_names(root)?;
                let _ = archive.held.set(held);
                // The place was already opened as this.
                self.kept().clear();
            }
            None => {
                let _lock = self.lock()?;
                self.write_empty_layout(root)?;
            }
        }
        Ok(root.make_directories(BLOBS, None, &mut |_| {})?)
    }

    fn write_empty_layout(&self, root: &Root) -> Result<(), WriteError> {
        for (name, content) in [(INDEX_FILE, index_document(Map::new(), &[])), (LAYOUT_FILE, LAYOUT_MARKER.to_vec())] {
            if root.file_status(name)?.is_none() {
                self.write_file(name, &content)?;
            }
        }
        Ok(())
    }

    fn verified(&self) -> MutexGuard<'_, HashSet<Digest>> {
        lock(&self.verified)
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Digest, u64>> {
        lock(&self.kept)
    }

    /// Whether the layout has a blob with the right bytes. It is read whole, unless this program has written or read
    /// it before.
    pub fn has(&self, digest: &Digest, size: u64) -> bool {
        if self.verified().contains(digest) || self.kept().contains_key(digest) {
            return true;
        }
        if self.layout.get().is_some_and(|layout| is_right(layout, digest, size)) {
            self.verified().insert(digest.clone());
            return true;
        }
        let is_kept = self.old().is_some_and(|old| is_right(old, digest, size));
        if is_kept {
            self.kept().insert(digest.clone(), size);
        }
        is_kept
    }

    /// The verified bytes of a manifest in the layout. None: it is missing or wrong, and has to be written.
    pub fn read_manifest(&self, descriptor: &Descriptor) -> Option<Verified> {
        let layouts = self.layout.get().into_iter().chain(self.old());
        layouts.filter_map(|layout| layout.read(descriptor).ok().flatten()).next()
    }

    fn old(&self) -> Option<&Layout> {
        let archive = self.archive.as_ref()?;
        archive.held.get().map_or(archive.seen.as_ref(), |held| held.old.as_ref())
    }

    /// Checks that the file system has room for more bytes of blobs. An archive needs them twice, because they are
    /// beside it until it is built.
    ///
    /// # Errors
    /// There is too little room. A file system that reports none passes.
    #[allow(clippy::disallowed_methods, reason = "the user names the layout")]
    pub fn check_room(&self, bytes: u64) -> Result<(), WriteError> {
        let needed = if self.archive.is_some() { bytes.saturating_mul(2) } else { bytes };
        let exists = |path: &&Path| path.exists();
        let current_directory = Path::new(".");
        let path =
            self.path.ancestors().filter(|path| !path.as_os_str().is_empty()).find(exists).unwrap_or(current_directory);
        let Ok(system) = rustix::fs::statvfs(path) else { return Ok(()) };
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        match free < needed {
            true => Err(WriteError::NoRoom { path: path.into(), free, needed }),
            false => Ok(()),
        }
    }

    /// The bytes, at most `size`, that a killed program has written of a blob.
    pub fn unfinished(&self, digest: &Digest, size: u64) -> u64 {
        let name = Path::new(PRIVATE).join(UNFINISHED).join(unfinished_name(digest));
        let found = self.layout.get().and_then(Layout::root).and_then(|root| root.file_status(name).ok().flatten());
        found.map_or(0, |found| found.size().min(size))
    }

    /// Takes the lock of a layout directory. Waits for other programs.
    fn lock(&self) -> Result<LayoutLock, WriteError> {
        let start = Instant::now();
        let mut is_noticed = false;
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(lock);
            }
            let waited = start.elapsed();
            if waited >= self.lock_wait {
                let lock = self.path.join(PRIVATE).join(LOCK);
                return Err(WriteError::Locked { path: self.path.clone(), lock, waited });
            }
            if waited >= LOCK_NOTICE && !is_noticed {
                is_noticed = true;
                let most = self.lock_wait.as_secs();
                terminal::message(format_args!(
                    "waiting for another program that is writing {}, for at most {most} s",
                    self.path.display()
                ));
            }
            std::thread::sleep(LOCK_POLL);
        }
    }

    /// Takes the lock if it is free. Another program may remove the file, and the directory, when it ends.
    fn try_lock(&self) -> Result<Option<LayoutLock>, WriteError> {
        let private = match self.root()?.private_directory(PRIVATE, &mut |_| {}) {
            Err(error) if error.kind() == Some(io::ErrorKind::NotFound) => return Ok(None),
            opened => opened?,
        };
        Ok(match private.take_lock_file(LOCK)? {
            Taken::File(file) => Some(LayoutLock { private, file }),
            Taken::Busy | Taken::Gone => None,
        })
    }

    /// The directory of unfinished files. Another program removes it when it is empty.
    fn unfinished_directory(&self) -> Result<Root, WriteError> {
        let root = self.root()?;
        let mut tries = 0;
        loop {
            let private = root.private_directory(PRIVATE, &mut |_| {});
            match private.and_then(|private| private.private_directory(UNFINISHED, &mut |_| {})) {
                Err(error) if error.kind() == Some(io::ErrorKind::NotFound) && tries < LOCK_TRIES => tries += 1,
                opened => return Ok(opened?),
            }
        }
    }

    /// Begins a blob, or continues the unfinished file of a killed program.
    pub fn begin(&self, digest: &Digest) -> Result<UnfinishedBlob<'_>, WriteError> {
        let unfinished = self.take_unfinished(&unfinished_name(digest))?;
        Ok(UnfinishedBlob { writer: self, digest: digest.clone(), unfinished })
    }

    /// Opens and locks an unfinished file. If another program has locked the file of that name, the name gets a
    /// number: each program writes its own file, and each renames the same bytes to the final name.
    fn take_unfinished(&self, name: &str) -> Result<UnfinishedFile, WriteError> {
        let (mut number, mut tries) = (0_u32, 0);
        loop {
            let directory = self.unfinished_directory()?;
            let name = if number == 0 { name.into() } else { format!("{name}.{number}") };
            match directory.take_file_to_continue(&name)? {
                Taken::File(file) => return Ok(UnfinishedFile { file, directory, name }),
                Taken::Busy => number += 1,
                Taken::Gone if tries < LOCK_TRIES => tries += 1,
                Taken::Gone => return Err(fault("lock", &directory.path().join(name))(io::ErrorKind::NotFound.into())),
            }
        }
    }

    /// Replaces the entries of `index.json` by the result of `change`, after all blobs are durable. Other properties
    /// are kept. Then removes unfinished files.
    pub fn finish(self, change: impl FnOnce(Vec<ValueText>) -> Vec<ValueText>) -> Result<(), WriteError> {
        let (layout, root) = (self.layout()?, self.root()?);
        root.sync()?;
        match &self.archive {
            None => {
                // Programs that add to one layout take turns.
                let _lock = self.lock()?;
                self.write_file(INDEX_FILE, &changed_index(Some(layout), change)?)
            }
            Some(archive) => {
                let absent = || fault("lock", &self.path)(io::ErrorKind::NotFound.into());
                let held = archive.held.get().ok_or_else(absent)?;
                let index = changed_index(held.old.as_ref(), change)?;
                self.keep_old(archive)?;
                self.pack(archive, held, &index)
            }
        }
    }

    /// Replaces a file of the layout. The caller holds the layout's lock.
    fn write_file(&self, name: &str, content: &[u8]) -> Result<(), WriteError> {
        let mut unfinished = self.take_unfinished(name)?;
        let path = unfinished.path();
        let written = unfinished.restart().and_then(|()| unfinished.file.write_all(content));
        written.map_err(fault("write", &path))?;
        unfinished.file.sync_all().map_err(fault("sync", &path))?;
        unfinished.commit(self.root()?, name)
    }

    /// Copies the blobs of the old archive that its entries reach, or that this program found in it, and that are
    /// missing.
    fn keep_old(&self, archive: &Archive) -> Result<(), WriteError> {
        let Some(old) = self.old() else { return Ok(()) };
        let broken = |source: GraphError| WriteError::Archive { path: archive.path.clone(), source: Box::new(source) };
        let graph = LayoutGraph::new(old);
        for entry in old.entries()? {
            graph.add(&entry).map_err(broken)?;
        }
        let reached = graph.into_found().reached.into_iter().map(|reached| (reached.digest, reached.size));
        for (digest, size) in reached.chain(self.kept().drain()) {
            if !self.verified().contains(&digest) {
                self.copy_from(old, &digest, size)?;
            }
        }
        Ok(())
    }

    /// Copies a blob of the old archive, if the archive has it.
    ///
    /// # Errors
    /// Its bytes differ from the digest.
    fn copy_from(&self, old: &Layout, digest: &Digest, size: u64) -> Result<(), WriteError> {
        let Some(blob) = old.open_blob(digest, size)? else { return Ok(()) };
        let from = blob.path.clone();
        let mut unfinished = self.begin(digest)?;
        unfinished.restart().map_err(|source| unfinished.error(source))?;
        let mut reader = VerifyingReader::new(blob.reader(), digest, size);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match reader.read(&mut buffer).map_err(|error| content_error(from.clone(), error))? {
                0 => return unfinished.commit(),
                count => unfinished.write_all(&buffer[..count]).map_err(|source| unfinished.error(source))?,
            }
        }
    }

    /// Writes the archive: sorted names, and no times or owners. Blobs are hashed again while they are copied, because
    /// the owner of the directory in which root builds an archive can replace them; the other files are in memory.
    fn pack(&self, archive: &Archive, held: &Held, index: &[u8]) -> Result<(), WriteError> {
        let failed = || fault("write", &archive.path);
        let root = self.root()?;
        root.remove_file(UNFINISHED_ARCHIVE)?;
        let file = root.create_file(UNFINISHED_ARCHIVE, None)?;
        let mut builder = tar::Builder::new(io::BufWriter::with_capacity(BUFFER_BYTES, file));
        // Files that refer to others come first, for readers that read the archive once.
        for (name, content) in [(LAYOUT_FILE, LAYOUT_MARKER), (INDEX_FILE, index)] {
            append(&mut builder, name, content.len() as u64, content).map_err(failed())?;
        }
        let mut digests: Vec<Digest> = self.verified().iter().cloned().collect();
        digests.sort();
        for digest in digests {
            let name = blob_path(&digest);
            let path = root.path().join(&name);
            let vanished = || fault("read", &path)(io::ErrorKind::NotFound.into());
            let (file, metadata) = root.open_file(&name)?.ok_or_else(vanished)?;
            let reader = VerifyingReader::new(file, &digest, metadata.len());
            append(&mut builder, &name, metadata.len(), reader).map_err(|error| match ContentError::of(&error) {
                Some(_) => content_error(path, error).into(),
                None => failed()(error),
            })?;
        }
        let file = builder.into_inner().map_err(failed())?;
        let file = file.into_inner().map_err(|error| failed()(error.into_error()))?;
        file.sync_all().map_err(failed())?;
        let name = archive.path.file_name().unwrap_or_default();
        Ok(root.rename_open_file(&file, UNFINISHED_ARCHIVE, &held.parent, name)?)
    }
}

/// The directory beside an archive is removed. A layout directory keeps its blobs, but no unfinished files.
impl Drop for LayoutWriter {
    fn drop(&mut self) {
        let Some(root) = self.layout.get().and_then(Layout::root) else { return };
        // Nothing depends on this, and nothing can be done about a failure.
        let _ = match &self.archive {
            // Without the lock, it belongs to another program.
            Some(archive) => archive.held.get().map_or(Ok(()), |held| remove_beside(root, archive, held)),
            None => remove_unfinished(root),
        };
    }
}

/// The lock of a layout directory. Dropping the value removes the file, and then releases the lock: whoever opened the
/// file before finds that it has no name.
#[derive(Debug)]
struct LayoutLock {
    private: Root,
    file: File,
}

impl Drop for LayoutLock {
    fn drop(&mut self) {
        // A file that stays is taken by the next program.
        let _ = self.private.remove_open_file(&self.file, LOCK);
    }
}

/// An unfinished file, which only this program writes while it is open. Dropping the value removes it.
#[derive(Debug)]
struct UnfinishedFile {
    file: File,
    directory: Root,
    name: String,
}

impl UnfinishedFile {
    fn path(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }

    /// Removes the content.
    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()
    }

    /// Renames the open file, and no other, to its final name.
    fn commit(self, into: &Root, name: &str) -> Result<(), WriteError> {
        Ok(self.directory.rename_open_file(&self.file, &self.name, into, name)?)
    }
}

impl Drop for UnfinishedFile {
    fn drop(&mut self) {
        // After a commit, the name is free or another program's. Nothing can be done about other failures.
        let _ = self.directory.remove_open_file(&self.file, &self.name);
    }
}

/// An unfinished blob. Dropping the value without [`commit`](Self::commit) removes it.
#[derive(Debug)]
pub struct UnfinishedBlob<'a> {
    writer: &'a LayoutWriter,
    digest: Digest,
    unfinished: UnfinishedFile,
}

impl UnfinishedBlob<'_> {
    /// Reads and hashes the existing content; writing continues after it. Content that is too long for a blob of
    /// `size` bytes is removed.
    pub fn read_begun(&mut self, size: u64) -> Result<(Hasher, u64), WriteError> {
        self.hash_begun(size).map_err(fault("read", &self.unfinished.path()))
    }

    fn hash_begun(&mut self, size: u64) -> io::Result<(Hasher, u64)> {
        let mut hasher = Hasher::new(self.digest.algorithm());
        if self.unfinished.file.metadata()?.len() > size {
            self.restart()?;
        }
        self.unfinished.file.rewind()?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut bytes = 0;
        loop {
            let count = self.unfinished.file.read(&mut buffer)?;
            if count == 0 {
                return Ok((hasher, bytes));
            }
            hasher.update(&buffer[..count]);
            bytes += count as u64;
        }
    }

    /// The error for a failed write.
    pub fn error(&self, source: io::Error) -> WriteError {
        fault("write", &self.unfinished.path())(source)
    }

    /// Removes the content.
    pub fn restart(&mut self) -> io::Result<()> {
        self.unfinished.restart()
    }

    /// Renames the blob to its final name. The caller has verified it.
    pub fn commit(self) -> Result<(), WriteError> {
        let (root, path) = (self.writer.root()?, blob_path(&self.digest));
        if let Some(directory) = Path::new(&path).parent() {
            root.make_directories(directory, None, &mut |_| {})?;
        }
        self.unfinished.commit(root, &path)?;
        self.writer.verified().insert(self.digest.clone());
        Ok(())
    }
}

impl Write for UnfinishedBlob<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unfinished.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unfinished.file.flush()
    }
}

/// The archive at a path. None: missing.
fn archive_at(path: &Path) -> Result<Option<Layout>, LayoutError> {
    match Layout::open(path) {
        Err(LayoutError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// Whether a layout has a blob whose bytes have the digest.
fn is_right(layout: &Layout, digest: &Digest, size: u64) -> bool {
    let Ok(Some(blob)) = layout.open_blob(digest, size) else { return false };
    let mut reader = VerifyingReader::new(blob.reader(), digest, size);
    io::copy(&mut reader, &mut io::sink()).is_ok()
}

/// Refuses a directory with other files that is not a layout, nor the beginning of one.
fn refuse_foreign_files(layout: &Layout) -> Result<(), WriteError> {
    let Some(root) = layout.root() else { return Ok(()) };
    let mut names = root.names()?;
    if names.iter().any(|name| name == LAYOUT_FILE) {
        return Ok(layout.check_version()?);
    }
    // The files that `prepare` creates before `oci-layout`.
    names.retain(|name| ![PRIVATE, BLOBS, INDEX_FILE].iter().any(|own| name == own));
    match names.into_iter().min() {
        Some(found) => {
            Err(WriteError::InTheWay { path: layout.path().into(), found: found.to_string_lossy().into_owned() })
        }
        None => Ok(()),
    }
}

/// The name of an unfinished file with a number, which a second program writes while the first one is locked.
fn without_number(name: &str) -> Option<&str> {
    name.rsplit_once('.').filter(|(_, number)| number.parse::<u32>().is_ok()).map(|(name, _)| name)
}

fn is_digest(algorithm: &str, encoded: &str) -> bool {
    Digest::parse(&format!("{algorithm}:{encoded}")).is_ok()
}

/// Whether this program gives the name to unfinished files, perhaps with a number added.
fn is_unfinished(name: &str) -> bool {
    let (algorithm, encoded) = name.split_once('-').unwrap_or_default();
    [INDEX_FILE, LAYOUT_FILE].contains(&name) || is_digest(algorithm, encoded)
}

/// Whether this program writes files of that name to the directory in which an archive is built.
fn is_own(path: &Path) -> bool {
    let names: Option<Vec<&str>> = path.iter().map(|name| name.to_str()).collect();
    match names.unwrap_or_default().as_slice() {
        [name] => [BLOBS, PRIVATE, INDEX_FILE, LAYOUT_FILE, UNFINISHED_ARCHIVE].contains(name),
        [BLOBS, algorithm] => Algorithm::ALL.iter().any(|known| known.name() == *algorithm),
        [BLOBS, algorithm, encoded] => is_digest(algorithm, encoded),
        [PRIVATE, name] => *name == UNFINISHED,
        [PRIVATE, UNFINISHED, name] => is_unfinished(without_number(name).unwrap_or(name)),
        _ => false,
    }
}

/// Refuses a directory beside an archive with other files, because the directory is removed when the archive is
/// complete.
fn refuse_foreign_names(beside: &Root) -> Result<(), WriteError> {
    for entry in beside.walk("", &|_| true)? {
        let path = entry?.path;
        if !path.as_os_str().is_empty() && !is_own(&path) {
            return Err(WriteError::NotOurs { path: beside.path().join(path), directory: beside.path().into() });
        }
    }
    Ok(())
}

/// Removes the directory of unfinished files and the private one, if they are empty. Unlocked unfinished files with a
/// number are removed first: later programs would not continue them.
fn remove_unfinished(root: &Root) -> Result<(), FileError> {
    let Some(private) = root.existing_private_directory(PRIVATE)? else { return Ok(()) };
    if let Some(directory) = private.existing_private_directory(UNFINISHED)? {
        let has_number = |name: &OsString| name.to_str().and_then(without_number).is_some_and(is_unfinished);
        for name in directory.names()?.iter().filter(|name| has_number(name)) {
            if let Taken::File(file) = directory.take_file_to_continue(name)? {
                directory.remove_open_file(&file, name)?;
            }
        }
        private.remove_directory(UNFINISHED)?;
    }
    root.remove_directory(PRIVATE)
}

/// Removes the files that this program wrote to the directory beside an archive, and the directory if it is then
/// empty. A directory that another program has created under the same name stays.
fn remove_beside(beside: &Root, archive: &Archive, held: &Held) -> Result<(), FileError> {
    let entries = beside.walk("", &|path| is_own(path))?.collect::<Result<Vec<_>, _>>()?;
    for entry in entries.iter().rev().filter(|entry| is_own(&entry.path)) {
        match entry.status.kind() {
            // It has other content.
            FileType::Directory => drop(beside.remove_directory(&entry.path)),
            _ => drop(beside.remove_file(&entry.path)?),
        }
    }
    let (_, name) = archive.place();
    match held.parent.is_name_of(&name, &held.lock)? {
        true => held.parent.remove_directory(name),
        false => Ok(()),
    }
}

/// Refuses links, and unfinished files of other users, at the paths of writes, before the first write. (Each write
/// refuses them again.)
fn refuse_planted(root: &Root) -> Result<(), WriteError> {
    for file in [INDEX_FILE, LAYOUT_FILE] {
        root.file_status(file)?;
    }
    for algorithm in Algorithm::ALL {
        root.directory(Path::new(BLOBS).join(algorithm.name()))?;
    }
    let Some(private) = root.directory(PRIVATE)? else { return Ok(()) };
    root.refuse_foreign(PRIVATE, &private.own_status()?)?;
    refuse_planted_file(&private, OsStr::new(LOCK))?;
    let Some(unfinished) = private.directory(UNFINISHED)? else { return Ok(()) };
    private.refuse_foreign(UNFINISHED, &unfinished.own_status()?)?;
    unfinished.names()?.iter().try_for_each(|name| {
        refuse_planted_file(&unfinished, name).map_err(|error| match error {
            // A killed pull of root leaves such a file in the layout of another user.
            FileError::Foreign { path, owner, user } => WriteError::ForeignUnfinished { path, owner, user },
            error => error.into(),
        })
    })
}

fn refuse_planted_file(directory: &Root, name: &OsStr) -> Result<(), FileError> {
    let Some(status) = directory.file_status(name)? else { return Ok(()) };
    directory.refuse_foreign(name, &status)?;
    directory.refuse_second_names(name, &status)
}

/// The document of a layout's index after a change of its entries. Without a layout there are none.
fn changed_index(
    old: Option<&Layout>,
    change: impl FnOnce(Vec<ValueText>) -> Vec<ValueText>,
) -> Result<Vec<u8>, WriteError> {
    let (others, entries) = old.map(Layout::index).transpose()?.unwrap_or_default();
    Ok(index_document(others, &change(entries)))
}

/// Adds a file to an archive.
fn append(builder: &mut tar::Builder<impl Write>, name: &str, size: u64, content: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    builder.append_data(&mut header, name, content)
}

fn index_document(mut others: Map<String, Value>, entries: &[ValueText]) -> Vec<u8> {
    #[derive(Serialize)]
    struct LayoutIndex<'a> {
        #[serde(flatten)]
        others: Map<String, Value>,
        manifests: &'a [ValueText],
    }
    others.entry("schemaVersion").or_insert_with(|| 2.into());
    others.entry("mediaType").or_insert_with(|| media_type::INDEX.into());
    json::canonical(&LayoutIndex { others, manifests: entries })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(content: &[u8]) -> Digest {
        Digest::of(Algorithm::Sha256, content)
    }

    fn write(writer: &LayoutWriter, content: &[u8]) {
        let mut blob = writer.begin(&digest(content)).unwrap();
        blob.write_all(content).unwrap();
        blob.commit().unwrap();
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_written_is_a_layout_with_nothing_beside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/layout");
        let writer = LayoutWriter::open(&path).unwrap();
        writer.prepare().unwrap();
        write(&writer, b"blob");
        let entry = Descriptor::new("a/b", digest(b"blob"), 4);
        writer.finish(|_| vec![entry.text().clone()]).unwrap();
        let layout = Layout::open(&path).unwrap();
        assert_eq!(layout.entries().unwrap(), [entry]);
        assert_eq!(*layout.read(&layout.entries().unwrap()[0]).unwrap().unwrap(), *b"blob");
        assert_eq!(names(&path), ["blobs", "index.json", "oci-layout"]);
    }

    #[test]
    fn other_entries_and_properties_of_the_index_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("oci-layout"), LAYOUT_MARKER).unwrap();
        let before = r#"{"annotations":{"a":"b"},"manifests":[{"x":1}],"schemaVersion":2}"#;
        fs::write(directory.path().join("index.json"), before).unwrap();
        let writer = LayoutWriter::open(directory.path()).unwrap();
        writer.prepare().unwrap();
        writer.finish(|entries| entries.into_iter().chain([ValueText::from(&Value::from(7))]).collect()).unwrap();
        let after = fs::read_to_string(directory.path().join("index.json")).unwrap();
        assert!(after.contains(r#""annotations":{"a":"b"},"manifests":[{"x":1},7]"#), "{after}");
    }

    #[test]
    fn an_unfinished_blob_is_taken_up_and_a_dropped_one_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let writer = LayoutWriter::open(directory.path()).unwrap();
        let mut killed = writer.begin(&digest(b"blob")).unwrap();
        killed.write_all(b"bl").unwrap();
        // As if the process had been killed: no destructor runs, and the kernel closes the file and with it the lock.
        let path = killed.unfinished.path();
        let content = fs::read(&path).unwrap();
        drop(killed);
        assert!(!path.exists());
        fs::write(&path, content).unwrap();

        let mut blob = writer.begin(&digest(b"blob")).unwrap();
        let (mut hasher, bytes) = blob.read_begun(4).unwrap();
        assert_eq!(bytes, 2);
        blob.write_all(b"ob").unwrap();
        hasher.update(b"ob");
        assert_eq!(hasher.finish(), digest(b"blob"));
        blob.commit().unwrap();
        assert!(writer.has(&digest(b"blob"), 4));
        drop(writer);
        assert_eq!(names(directory.path()), ["blobs"]);
    }

    #[test]
    fn a_file_with_a_number_that_a_killed_program_left_is_removed_but_not_one_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let (writer, other) =
            (LayoutWriter::open(directory.path()).unwrap(), LayoutWriter::open(directory.path()).unwrap());
        let blobs = [(); 2].map(|()| other.begin(&digest(b"blob")).unwrap());
        let unfinished = directory.path().join(".ocisite/unfinished");
        let left = unfinished.join(format!("{}.7", unfinished_name(&digest(b"blob"))));
        fs::write(&left, "bl").unwrap();
        writer.layout().unwrap();
        drop(writer);
        assert!(!left.exists());
        assert!(blobs.iter().all(|blob| blob.unfinished.path().exists()));
        drop(blobs);
        drop(other);
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn files_of_others_among_the_unfinished_ones_stay() {
        let directory = tempfile::tempdir().unwrap();
        let writer = LayoutWriter::open(directory.path()).unwrap();
        drop(writer.begin(&digest(b"blob")).unwrap());
        // Given files that end in a number, but have no name of an unfinished file.
        let others = ["notes.2026", "sha256-notes.1", "index.json.old.1"];
        let unfinished = directory.path().join(".ocisite/unfinished");
        for other in others {
            fs::write(unfinished.join(other), "precious").unwrap();
        }
        // When the writer ends, then they stay.
        drop(writer);
        let mut expected = others.map(String::from);
        expected.sort();
        assert_eq!(names(&unfinished), expected);
    }

    #[test]
    fn what_is_longer_than_the_blob_is_not_taken_up() {
        let directory = tempfile::tempdir().unwrap();
        let writer = LayoutWriter::open(directory.path()).unwrap();
        let mut blob = writer.begin(&digest(b"blob")).unwrap();
        blob.write_all(b"too long").unwrap();
        assert_eq!(blob.read_begun(4).unwrap().1, 0);
    }

    #[test]
    fn two_that_write_one_blob_do_not_meet() {
        let directory = tempfile::tempdir().unwrap();
        let writer = LayoutWriter::open(directory.path()).unwrap();
        let (mut one, mut other) = (writer.begin(&digest(b"blob")).unwrap(), writer.begin(&digest(b"blob")).unwrap());
        one.write_all(b"bl").unwrap();
        other.write_all(b"blob").unwrap();
        other.commit().unwrap();
        one.write_all(b"ob").unwrap();
        one.commit().unwrap();
        assert_eq!(fs::read(directory.path().join(blob_path(&digest(b"blob")))).unwrap(), b"blob");
    }

    /// Each has its own file, however many they are, and whichever ends first.
    #[test]
    fn three_that_write_one_blob_do_not_meet() {
        let directory = tempfile::tempdir().unwrap();
        let writer = LayoutWriter::open(directory.path()).unwrap();
        let (mut one, mut two) = (writer.begin(&digest(b"blob")).unwrap(), writer.begin(&digest(b"blob")).unwrap());
        one.write_all(b"bl").unwrap();
        two.write_all(b"blob").unwrap();
        let mut three = writer.begin(&digest(b"blob")).unwrap();
        three.write_all(b"evil").unwrap();
        two.commit().unwrap();
        assert_eq!(fs::read(directory.path().join(blob_path(&digest(b"blob")))).unwrap(), b"blob");
        drop(three);
        one.write_all(b"ob").unwrap();
        one.commit().unwrap();
        assert_eq!(fs::read(directory.path().join(blob_path(&digest(b"blob")))).unwrap(), b"blob");
        drop(writer);
        assert_eq!(names(directory.path()), ["blobs"]);
    }

    #[test]
    fn what_stands_in_place_of_an_unfinished_blob_is_neither_committed_nor_removed() {
        let directory = tempfile::tempdir().unwrap();
        let writer = LayoutWriter::open(directory.path()).unwrap();
        for is_committed in [true, false] {
            let mut blob = writer.begin(&digest(b"blob")).unwrap();
            blob.write_all(b"blob").unwrap();
            let path = blob.unfinished.path();
            fs::remove_file(&path).unwrap();
            fs::write(&path, "evil").unwrap();
            if is_committed {
                let message = blob.commit().unwrap_err().to_string();
                assert!(message.contains(&digest(b"blob").encoded().to_string()), "{message}");
            } else {
                drop(blob);
            }
            assert_eq!(fs::read(path).unwrap(), b"evil");
            assert!(!directory.path().join(blob_path(&digest(b"blob"))).exists());
        }
    }

    #[test]
    fn many_that_write_the_same_blobs_to_one_layout_all_succeed() {
        let directory = tempfile::tempdir().unwrap();
        let write_all = || {
            let writer = LayoutWriter::open(directory.path()).unwrap();
            writer.prepare().unwrap();
            (0..50_u8).for_each(|content| write(&writer, &[content]));
            writer.finish(|entries| entries).unwrap();
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(write_all))));
        for content in 0..50_u8 {
            assert_eq!(fs::read(directory.path().join(blob_path(&digest(&[content])))).unwrap(), [content]);
        }
        assert_eq!(names(directory.path()), ["blobs", "index.json", "oci-layout"]);
    }

    #[test]
    fn a_layout_that_another_program_writes_is_waited_for_up_to_a_limit() {
        let directory = tempfile::tempdir().unwrap();
        // Given a program that holds the lock, and that then ends.
        let other = LayoutWriter::open(directory.path()).unwrap();
        let lock = other.lock().unwrap();
        // When another program begins, then it is refused when it has waited for the limit.
        let mut writer = LayoutWriter::open(directory.path()).unwrap();
        writer.lock_wait = Duration::ZERO;
        let message = writer.prepare().unwrap_err().to_string();
        assert!(message.contains(".ocisite/lock") && message.contains("end that program"), "{message}");
        // And it goes on when the lock is free.
        drop(lock);
        writer.prepare().unwrap();
        drop((writer, other));
        assert_eq!(names(directory.path()), ["blobs", "index.json", "oci-layout"]);
    }

    fn entry(content: &[u8]) -> ValueText {
        Descriptor::new("a/b", digest(content), content.len() as u64).text().clone()
    }

    /// Writes a blob and its entry, which is added to those of the archive.
    fn add(writer: LayoutWriter, content: &[u8]) {
        writer.prepare().unwrap();
        write(&writer, content);
        writer.finish(|entries| entries.into_iter().chain([entry(content)]).collect()).unwrap();
    }

    #[test]
    fn what_another_program_adds_to_an_archive_before_the_lock_is_kept() {
        // Given an archive, or none yet, that two programs look at.
        for has_archive in [true, false] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("image.tar");
            if has_archive {
                add(LayoutWriter::open(&path).unwrap(), b"zero");
            }
            let late = LayoutWriter::open(&path).unwrap();
            // When one has added its image before the other begins to write.
            add(LayoutWriter::open(&path).unwrap(), b"one");
            add(late, b"two");
            // Then the archive has the images of both.
            let layout = Layout::open(&path).unwrap();
            let entries = layout.entries().unwrap();
            let contents: Vec<_> = entries.iter().map(|entry| layout.read(entry).unwrap().unwrap().to_vec()).collect();
            let expected: [&[u8]; 3] = [b"zero", b"one", b"two"];
            assert_eq!(contents, expected[usize::from(!has_archive)..]);
        }
    }

    #[test]
    fn a_blob_of_an_archive_that_was_replaced_before_the_lock_does_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("image.tar"), directory.path().join("other.tar"));
        add(LayoutWriter::open(&path).unwrap(), b"one");
        add(LayoutWriter::open(&other).unwrap(), b"two");
        let writer = LayoutWriter::open(&path).unwrap();
        assert!(writer.has(&digest(b"one"), 3));
        fs::rename(other, path).unwrap();
        writer.prepare().unwrap();
        assert!(!writer.has(&digest(b"one"), 3) && writer.has(&digest(b"two"), 3));
    }

    #[test]
    fn a_directory_that_was_put_in_place_of_the_one_beside_an_archive_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (beside, elsewhere) = (directory.path().join(".image.tar.unfinished"), directory.path().join("elsewhere"));
        let writer = LayoutWriter::open(&directory.path().join("image.tar")).unwrap();
        writer.prepare().unwrap();
        write(&writer, b"one");
        // Given another layout under the name of the directory in which the archive is put together.
        fs::rename(&beside, &elsewhere).unwrap();
        let mine = LayoutWriter::open(&beside).unwrap();
        add(mine, b"precious");
        // When the writer ends, then it removes its own files.
        drop(writer);
        assert_eq!(names(&beside), ["blobs", "index.json", "oci-layout"]);
        assert_eq!(fs::read(beside.join(blob_path(&digest(b"precious")))).unwrap(), b"precious");
        assert!(names(&elsewhere).is_empty());
    }

    #[test]
    fn an_archive_is_written_whole_and_keeps_what_it_had() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.tar");
        for content in [b"one", b"two"] {
            let writer = LayoutWriter::open(&path).unwrap();
            writer.prepare().unwrap();
            write(&writer, content);
            let entry = Descriptor::new("a/b", digest(content), 3).text().clone();
            writer.finish(|entries| entries.into_iter().chain([entry]).collect()).unwrap();
        }
        let layout = Layout::open(&path).unwrap();
        let entries = layout.entries().unwrap();
        let contents: Vec<_> = entries.iter().map(|entry| layout.read(entry).unwrap().unwrap().to_vec()).collect();
        assert_eq!(contents, [b"one", b"two"]);
        assert_eq!(names(directory.path()), ["image.tar"]);
    }

    /// The owner of the directory in which root builds an archive can replace the files in it.
    #[test]
    fn a_file_that_was_replaced_after_it_was_verified_does_not_get_into_an_archive() {
        for (replaced, is_refused) in [(blob_path(&digest(b"one")), true), ("index.json".into(), false)] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("image.tar");
            let writer = LayoutWriter::open(&path).unwrap();
            writer.prepare().unwrap();
            write(&writer, b"one");
            // Given other bytes of the same size under the digest, or another index.
            let place = directory.path().join(".image.tar.unfinished").join(replaced);
            let _ = fs::remove_file(&place);
            fs::write(&place, "bad").unwrap();
            // When the archive is built, then it has none of them.
            let finished = writer.finish(|_| vec![entry(b"one")]);
            assert_eq!(path.exists(), !is_refused);
            match is_refused {
                true => assert!(finished.unwrap_err().to_string().contains("has the digest")),
                false => assert_eq!(Layout::open(&path).unwrap().entries().unwrap().len(), 1),
            }
        }
    }

    #[test]
    fn an_archive_that_was_not_finished_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let writer = LayoutWriter::open(&directory.path().join("image.tar")).unwrap();
        writer.prepare().unwrap();
        write(&writer, b"one");
        drop(writer);
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn a_directory_of_other_files_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("notes.txt"), "mine").unwrap();
        let error = LayoutWriter::open(directory.path()).unwrap_err();
        assert!(error.to_string().contains("notes.txt"), "{error}");
    }
}
