//! OCI image layouts to write to (image-spec, image-layout): a directory, or a tar archive of one.
//!
//! A layout is whole at every moment: a blob is written under `.ocisite/`, in the layout and so on its file system, and renamed
//! to its name only when its digest is right; `index.json` is replaced last, by a rename too. What a killed program leaves
//! under `.ocisite/` is taken up by the next one that wants the same blob, and is gone when the work ends, well or not.
//!
//! An archive cannot be added to, blob by blob, while blobs come in several at once. It is put together in a directory beside
//! it, written to a file beside it, and renamed. What an archive of that name had before is kept, as in a directory.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::graph::{GraphError, LayoutGraph};
use super::layout::{INDEX_FILE, LAYOUT_FILE, LAYOUT_MARKER, Layout, LayoutError, blob_path};
use super::walk::Manifests;
use super::{Descriptor, Verified, media_type};
use crate::digest::{Digest, Hasher};
use crate::json;

/// Where unfinished blobs are, in the layout.
const UNFINISHED: &str = ".ocisite/unfinished";
/// The directory that is gone with the last of them.
const PRIVATE: &str = ".ocisite";
/// How often the lock of an unfinished blob is sought again after its file vanished under it.
const LOCK_TRIES: usize = 10;
/// How much of an unfinished blob is read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// What is wrong with a layout that is to be written to.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The system did not let us.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something else than a layout is there.
    #[error(
        "{} is not empty and no OCI image layout (it has {found:?} and no oci-layout): choose another place", .path.display()
    )]
    InTheWay {
        /// The directory.
        path: PathBuf,
        /// One of the files in it.
        found: String,
    },
    /// The layout that is there cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Another program is writing the same archive.
    #[error("another program is writing {}: wait for it to end, or choose another name", .path.display())]
    Busy {
        /// The archive.
        path: PathBuf,
    },
    /// Too little room.
    #[error(
        "{} has {free} bytes left, and {needed} more are needed: make room, or choose another place", .path.display()
    )]
    NoRoom {
        /// A directory of the file system.
        path: PathBuf,
        /// How many bytes are left.
        free: u64,
        /// How many are needed.
        needed: u64,
    },
    /// The archive that is there is not whole, so it cannot be written again.
    #[error("{} cannot be added to", .path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<GraphError>,
    },
}

fn fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError + use<> {
    let path = path.to_path_buf();
    move |source| WriteError::Io { action, path, source }
}

fn unfinished_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm(), digest.encoded())
}

/// A layout to write to. Blobs may be written from several threads.
#[derive(Debug)]
pub struct LayoutWriter {
    /// Where the layout is written: itself, or the directory in which an archive is put together.
    root: PathBuf,
    archive: Option<Archive>,
}

#[derive(Debug)]
struct Archive {
    path: PathBuf,
    /// The archive that was there before.
    old: Option<Layout>,
    /// The directory in which the archive is put together, locked.
    lock: OnceLock<File>,
}

impl LayoutWriter {
    /// Looks at a place for a layout without changing it: a layout, an empty directory, or nothing yet. A path that ends in
    /// `.tar` is an archive.
    ///
    /// # Errors
    /// Something else is there, or it cannot be read.
    pub fn open(path: &Path) -> Result<LayoutWriter, WriteError> {
        let is_file = match fs::metadata(path) {
            Ok(metadata) => metadata.is_file(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_archive = path.extension().is_some_and(|extension| extension == "tar");
                return Ok(LayoutWriter::at(path, is_archive.then_some(None)));
            }
            Err(source) => return Err(WriteError::Io { action: "look at", path: path.into(), source }),
        };
        if is_file {
            return Ok(LayoutWriter::at(path, Some(Some(Layout::open(path)?))));
        }
        match foreign_file(path)? {
            Some(found) => Err(WriteError::InTheWay { path: path.into(), found }),
            None => Ok(LayoutWriter::at(path, None)),
        }
    }

    fn at(path: &Path, archive: Option<Option<Layout>>) -> LayoutWriter {
        let Some(old) = archive else { return LayoutWriter { root: path.into(), archive: None } };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let root = path.with_file_name(format!(".{name}.unfinished"));
        LayoutWriter { root, archive: Some(Archive { path: path.into(), old, lock: OnceLock::new() }) }
    }

    /// Makes what every layout has, so that whatever happens from now on, one is there.
    pub fn prepare(&self) -> Result<(), WriteError> {
        let blobs = self.root.join("blobs");
        fs::create_dir_all(&blobs).map_err(fault("create the directory", &blobs))?;
        let directory = File::open(&self.root).map_err(fault("open", &self.root))?;
        match &self.archive {
            Some(archive) => {
                directory.try_lock().map_err(|_| WriteError::Busy { path: archive.path.clone() })?;
                let _ = archive.lock.set(directory);
            }
            None => directory.lock().map_err(fault("lock", &self.root))?,
        }
        for (name, content) in [(INDEX_FILE, index_document(Map::new(), &[])), (LAYOUT_FILE, LAYOUT_MARKER.to_vec())] {
            if !self.root.join(name).exists() {
                self.write_file(name, &content)?;
            }
        }
        Ok(())
    }

    /// Whether a blob is there: it has its name only because its digest was right, so its size is enough to know.
    pub fn has(&self, digest: &Digest, size: u64) -> bool {
        let file = fs::metadata(self.root.join(blob_path(digest)));
        let in_old = || matches!(self.old().map(|old| old.open_blob(digest, size)), Some(Ok(Some(_))));
        file.is_ok_and(|metadata| metadata.is_file() && metadata.len() == size) || in_old()
    }

    /// The verified bytes of a manifest that is there; none when it is not there, or not right: then it is written anew.
    pub fn read_manifest(&self, descriptor: &Descriptor) -> Option<Verified> {
        let here = Layout::open(&self.root).ok();
        let layouts = here.iter().chain(self.old());
        layouts.filter_map(|layout| layout.read(descriptor).ok().flatten()).next()
    }

    fn old(&self) -> Option<&Layout> {
        self.archive.as_ref()?.old.as_ref()
    }

    /// Whether the file system has room for so many more bytes of blobs, which an archive takes twice: until it is put together,
    /// they are beside it.
    ///
    /// # Errors
    /// It has not. A file system that does not tell how much is left has.
    pub fn check_room(&self, bytes: u64) -> Result<(), WriteError> {
        let needed = if self.archive.is_some() { bytes.saturating_mul(2) } else { bytes };
        let exists = |path: &&Path| path.exists();
        let here = Path::new(".");
        let path = self.root.ancestors().filter(|path| !path.as_os_str().is_empty()).find(exists).unwrap_or(here);
        let Ok(system) = rustix::fs::statvfs(path) else { return Ok(()) };
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        match free < needed {
            true => Err(WriteError::NoRoom { path: path.into(), free, needed }),
            false => Ok(()),
        }
    }

    /// How many bytes, at most `size`, a killed program left of a blob.
    pub fn unfinished(&self, digest: &Digest, size: u64) -> u64 {
        let path = self.root.join(UNFINISHED).join(unfinished_name(digest));
        fs::metadata(path).map_or(0, |metadata| metadata.len().min(size))
    }

    /// Begins a blob, or goes on with what a killed program left of it.
    pub fn begin(&self, digest: &Digest) -> Result<UnfinishedBlob<'_>, WriteError> {
        let directory = self.root.join(UNFINISHED);
        let name = unfinished_name(digest);
        let shared = directory.join(&name);
        for _ in 0..LOCK_TRIES {
            if let Some(file) = lock_existing(&shared)? {
                return Ok(UnfinishedBlob { writer: self, digest: digest.clone(), file, path: shared });
            }
            if shared.exists() {
                break;
            }
        }
        // Another program is at it: each its own file, and the first to end puts it in place.
        let own = directory.join(format!("{name}.{}", std::process::id()));
        let open = || File::options().read(true).write(true).create(true).truncate(true).open(&own);
        let file = create_below(&own, open)?;
        Ok(UnfinishedBlob { writer: self, digest: digest.clone(), file, path: own })
    }

    /// Replaces the entries of `index.json` by what `change` makes of them, after everything written so far is on disk; other
    /// properties are kept. Then nothing unfinished is left.
    pub fn finish(self, change: impl FnOnce(Vec<Value>) -> Vec<Value>) -> Result<(), WriteError> {
        let directory = File::open(&self.root).map_err(fault("open", &self.root))?;
        rustix::fs::syncfs(&directory).map_err(|source| fault("sync the file system of", &self.root)(source.into()))?;
        match &self.archive {
            None => {
                // Two programs that add to one layout take turns; the lock ends with the open file.
                directory.lock().map_err(fault("lock", &self.root))?;
                self.change_index(&Layout::open(&self.root)?, change)
            }
            Some(archive) => {
                match &archive.old {
                    Some(old) => self.change_index(old, change)?,
                    None => self.change_index(&Layout::open(&self.root)?, change)?,
                }
                self.keep_old(archive)?;
                self.pack(archive)
            }
        }
    }

    fn change_index(&self, old: &Layout, change: impl FnOnce(Vec<Value>) -> Vec<Value>) -> Result<(), WriteError> {
        let (others, entries) = old.index()?;
        self.write_file(INDEX_FILE, &index_document(others, &change(entries)))
    }

    /// Replaces a file of the layout. The caller holds the lock, so that what a killed program left under the unfinished name is
    /// nobody's.
    fn write_file(&self, name: &str, content: &[u8]) -> Result<(), WriteError> {
        let (path, unfinished) = (self.root.join(name), self.root.join(UNFINISHED).join(name));
        let mut file = create_below(&unfinished, || File::create(&unfinished))?;
        file.write_all(content).map_err(fault("write", &unfinished))?;
        file.sync_all().map_err(fault("sync", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(fault("replace", &path))
    }

    /// Copies what the entries of the old archive reach and is not here.
    fn keep_old(&self, archive: &Archive) -> Result<(), WriteError> {
        let Some(old) = &archive.old else { return Ok(()) };
        let broken = |source: GraphError| WriteError::Archive { path: archive.path.clone(), source: Box::new(source) };
        let graph = LayoutGraph::new(old);
        for entry in old.entries()? {
            graph.add(&entry).map_err(broken)?;
        }
        for reached in &graph.into_found().reached {
            let path = self.root.join(blob_path(&reached.digest));
            if path.exists() {
                continue;
            }
            let Some(blob) = old.open_blob(&reached.digest, reached.size)? else { continue };
            let mut unfinished = self.begin(&reached.digest)?;
            unfinished.restart().map_err(fault("write", &path))?;
            io::copy(&mut blob.reader(), &mut unfinished).map_err(fault("write", &path))?;
            unfinished.commit()?;
        }
        Ok(())
    }

    /// Writes the archive: names sorted, and nothing in it that tells when or by whom.
    fn pack(&self, archive: &Archive) -> Result<(), WriteError> {
        let failed = || fault("write", &archive.path);
        let unfinished = self.root.join("archive.tar");
        let file = File::create(&unfinished).map_err(fault("create", &unfinished))?;
        let mut builder = tar::Builder::new(io::BufWriter::with_capacity(BUFFER_BYTES, file));
        for name in files_of(&self.root)? {
            let path = self.root.join(&name);
            let file = File::open(&path).map_err(fault("read", &path))?;
            let mut header = tar::Header::new_gnu();
            header.set_size(file.metadata().map_err(fault("read", &path))?.len());
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_entry_type(tar::EntryType::Regular);
            builder.append_data(&mut header, &name, file).map_err(failed())?;
        }
        let file = builder.into_inner().map_err(failed())?;
        let file = file.into_inner().map_err(|error| failed()(error.into_error()))?;
        file.sync_all().map_err(failed())?;
        fs::rename(&unfinished, &archive.path).map_err(failed())
    }
}

/// An archive's directory is of no use without the archive; a directory keeps its blobs, and nothing unfinished.
impl Drop for LayoutWriter {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and nothing depends on it.
        let _ = match &self.archive {
            // Without the lock it is another program's.
            Some(archive) if archive.lock.get().is_none() => Ok(()),
            Some(_) => fs::remove_dir_all(&self.root),
            None => fs::remove_dir(self.root.join(UNFINISHED)).and_then(|()| fs::remove_dir(self.root.join(PRIVATE))),
        };
    }
}

/// A blob that does not have its name yet. Dropped without [`commit`](Self::commit), it is removed.
#[derive(Debug)]
pub struct UnfinishedBlob<'a> {
    writer: &'a LayoutWriter,
    digest: Digest,
    file: File,
    path: PathBuf,
}

impl UnfinishedBlob<'_> {
    /// Reads what is there already; writing goes on behind it. What cannot be the beginning of a blob of `size` bytes is
    /// thrown away.
    pub fn read_begun(&mut self, size: u64) -> Result<(Hasher, u64), WriteError> {
        let failed = |path: &Path| fault("read", path);
        let mut hasher = Hasher::new(self.digest.algorithm());
        if self.file.metadata().map_err(failed(&self.path))?.len() > size {
            self.restart().map_err(failed(&self.path))?;
        }
        self.file.rewind().map_err(failed(&self.path))?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut bytes = 0;
        loop {
            let count = self.file.read(&mut buffer).map_err(failed(&self.path))?;
            if count == 0 {
                return Ok((hasher, bytes));
            }
            hasher.update(&buffer[..count]);
            bytes += count as u64;
        }
    }

    /// What an error of writing to it means.
    pub fn error(&self, source: io::Error) -> WriteError {
        fault("write", &self.path)(source)
    }

    /// Throws away what was written.
    pub fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0)).map(|_| ())
    }

    /// Gives the blob its name. The caller has verified it.
    pub fn commit(self) -> Result<(), WriteError> {
        let path = self.writer.root.join(blob_path(&self.digest));
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(fault("create the directory", directory))?;
        }
        fs::rename(&self.path, &path).map_err(fault("rename a finished blob to", &path))
    }
}

impl Write for UnfinishedBlob<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for UnfinishedBlob<'_> {
    fn drop(&mut self) {
        // After a commit there is nothing of that name, and nothing can be done about any other failure.
        let _ = fs::remove_file(&self.path);
    }
}

/// Opens or creates a file and locks it. None: someone else has the lock, or the file was renamed before it was locked.
fn lock_existing(path: &Path) -> Result<Option<File>, WriteError> {
    let open = || File::options().read(true).write(true).create(true).truncate(false).open(path);
    let file = create_below(path, open)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(source)) => return Err(fault("lock", path)(source)),
    }
    let locked = file.metadata().map_err(fault("look at", path))?;
    let is_there = fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (locked.dev(), locked.ino()));
    Ok(is_there.then_some(file))
}

/// A file in a directory that is neither a layout nor empty nor the beginning of one.
fn foreign_file(path: &Path) -> Result<Option<String>, WriteError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(fault("list", path))? {
        names.push(entry.map_err(fault("list", path))?.file_name().to_string_lossy().into_owned());
    }
    if names.iter().any(|name| name == LAYOUT_FILE) {
        Layout::open(path)?;
        return Ok(None);
    }
    // What `prepare` makes before `oci-layout`.
    names.retain(|name| ![PRIVATE, "blobs", INDEX_FILE].contains(&name.as_str()));
    Ok(names.into_iter().min())
}

/// Creates a file in a directory that another program removes when it finds it empty.
fn create_below<T>(path: &Path, create: impl Fn() -> io::Result<T>) -> Result<T, WriteError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut tries = 0;
    loop {
        fs::create_dir_all(directory).map_err(fault("create the directory", directory))?;
        match create() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < LOCK_TRIES => tries += 1,
            created => return created.map_err(fault("create", path)),
        }
    }
}

/// The files that belong to a layout, sorted, with `oci-layout` and `index.json` in front for who reads the archive once.
fn files_of(root: &Path) -> Result<Vec<PathBuf>, WriteError> {
    let mut files = vec![PathBuf::from(LAYOUT_FILE), PathBuf::from(INDEX_FILE)];
    for entry in walkdir::WalkDir::new(root.join("blobs")).sort_by_file_name() {
        let entry = entry.map_err(|error| fault("list", root)(error.into()))?;
        if entry.file_type().is_file() {
            files.extend(entry.path().strip_prefix(root).map(Path::to_path_buf));
        }
    }
    Ok(files)
}

fn index_document(mut others: Map<String, Value>, entries: &[Value]) -> Vec<u8> {
    others.entry("schemaVersion").or_insert_with(|| 2.into());
    others.entry("mediaType").or_insert_with(|| media_type::INDEX.into());
    others.insert("manifests".into(), entries.into());
    json::canonical(&others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

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
        writer.finish(|_| vec![entry.to_value()]).unwrap();
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
        writer.finish(|entries| entries.into_iter().chain([Value::from(7)]).collect()).unwrap();
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
        let path = killed.path.clone();
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

    #[test]
    fn an_archive_is_written_whole_and_keeps_what_it_had() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.tar");
        for content in [b"one", b"two"] {
            let writer = LayoutWriter::open(&path).unwrap();
            writer.prepare().unwrap();
            write(&writer, content);
            let entry = Descriptor::new("a/b", digest(content), 3).to_value();
            writer.finish(|entries| entries.into_iter().chain([entry]).collect()).unwrap();
        }
        let layout = Layout::open(&path).unwrap();
        let entries = layout.entries().unwrap();
        let contents: Vec<_> = entries.iter().map(|entry| layout.read(entry).unwrap().unwrap().to_vec()).collect();
        assert_eq!(contents, [b"one", b"two"]);
        assert_eq!(names(directory.path()), ["image.tar"]);
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
