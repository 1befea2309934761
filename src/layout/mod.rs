//! OCI image layouts to read from (image-spec, image-layout): a directory, or an uncompressed tar archive of one.
//!
//! An archive is indexed once, from its headers, and its blobs are read in place; nothing is unpacked to disk.
//! Symbolic links are followed in directories (Bazel writes blobs that way) and resolved by name inside archives.
//! Nothing that is read is trusted: a blob is an open regular file of the right size, or an error.

#![allow(clippy::disallowed_methods, reason = "layouts are the user's, and links in them are followed (SECURITY.md)")]

pub mod archive;
pub mod graph;
pub mod writer;

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use self::archive::{ArchiveError, Found, MemberBudget, Members};
use crate::root::{FileError, Root};
use crate::shell::{self, CommandLine};
use oci_discovery::digest::{ContentError, Digest};
use oci_discovery::error::chain;
use oci_discovery::json::{self, JsonError, MAX_INDEX_BYTES, MAX_MANIFEST_BYTES, ValueText};
use oci_discovery::oci::index::{EntryError, IndexText};
use oci_discovery::oci::verified::ReadError;
use oci_discovery::oci::walk::Manifests;
use oci_discovery::oci::{Descriptor, DescriptorError, Verified};

/// The file that marks a layout.
pub const LAYOUT_FILE: &str = "oci-layout";
/// The file with a layout's entries.
pub const INDEX_FILE: &str = "index.json";
/// The bytes of `oci-layout` in a layout of version 1.
pub const LAYOUT_MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// How skopeo and podman write a layout directory as an argument: `oci:DIR[:TAG]`.
const TRANSPORT: &str = "oci:";
/// The same for an archive: `oci-archive:FILE[:TAG]`.
pub const ARCHIVE_TRANSPORT: &str = "oci-archive:";

/// A transport that is refused: a Docker archive is no layout.
pub const DOCKER_TRANSPORT: &str = "docker-archive:";
/// What to do with a Docker archive.
const CONVERT: &str = "; `skopeo copy docker-archive:FILE oci:DIR:TAG` makes a layout of it";

/// What follows the transport of an argument as skopeo and podman write it, `PATH[:TAG]`. None: the argument has no transport,
/// or begins with the name of a file or directory that exists below `base`.
pub fn after_transport<'t>(base: &Path, text: &'t str) -> Option<&'t str> {
    let transport = [TRANSPORT, ARCHIVE_TRANSPORT].into_iter().find(|transport| text.starts_with(transport))?;
    let is_path = base.join(transport.trim_end_matches(':')).exists() || base.join(text).exists();
    text.strip_prefix(transport).filter(|_| !is_path)
}

/// An opened layout.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    files: Files,
}

#[derive(Debug)]
enum Files {
    /// A directory of the user, in which links are followed.
    Directory,
    /// A directory that this program writes, in which no links are followed.
    Beneath(Root),
    Archive(Members),
}

#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("cannot read {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{} is not an OCI image layout: expected {expected}, found {found}{}", .path.display(), .convert.unwrap_or_default()
    )]
    NotALayout {
        path: PathBuf,
        expected: &'static str,
        found: String,
        /// What to do with a Docker archive.
        convert: Option<&'static str>,
    },
    /// A Docker archive by skopeo's transport.
    #[error(
        "docker-archive: is not supported, only oci: and oci-archive:; make a layout of the archive with \
         `{}`, and publish that", CommandLine::new(["skopeo", "copy", .argument, "oci:DIR:TAG"])
    )]
    DockerArchive { argument: String },
    #[error(
        "{} is a {format} archive: expected an uncompressed tar archive, because blobs are read in place; \
         unpack it first with `{command}`", .path.display()
    )]
    Compressed { path: PathBuf, format: &'static str, command: String },
    #[error("the archive {} is refused", .path.display())]
    Archive {
        path: PathBuf,
        #[source]
        source: ArchiveError,
    },
    #[error(
        "{} has {found}: expected imageLayoutVersion 1.0.0; create the layout with a tool that writes version 1, or \
         use a newer ocisite", .path.display()
    )]
    Version { path: PathBuf, found: String },
    #[error("{} of the layout cannot be used: {}; create the layout again", .path.display(), chain(.problem))]
    Json { path: PathBuf, problem: JsonError },
    #[error("{}: entry {position} of \"manifests\" is malformed", .path.display())]
    Entry {
        path: PathBuf,
        position: usize,
        #[source]
        source: DescriptorError,
    },
    #[error("{} is {found}: expected a regular file with the blob's bytes", .path.display())]
    NotAFile { path: PathBuf, found: &'static str },
    #[error(
        "{} has {found} bytes: expected {expected}, as in its descriptor; the layout is damaged, create it again",
        .path.display()
    )]
    Size { path: PathBuf, expected: u64, found: u64 },
    #[error("{} has the digest {found}: expected {expected}; the layout is damaged, create it again", .path.display())]
    Digest { path: PathBuf, expected: Digest, found: Digest },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{} is a manifest of {size} bytes: expected at most {MAX_MANIFEST_BYTES}, the limit of registries",
        .path.display()
    )]
    ManifestTooLarge { path: PathBuf, size: u64 },
}

/// An open blob of a layout, with the size in its descriptor.
#[derive(Debug)]
pub struct Blob {
    /// The open file, positioned at the blob's first byte.
    pub file: File,
    /// The position of the blob in the file, in bytes.
    pub offset: u64,
    /// The number of bytes.
    pub size: u64,
    /// Its place in messages; in an archive, `ARCHIVE/blobs/…`.
    pub path: PathBuf,
    /// Whether the blob is the whole file, so that a hard link to the file is one to the blob.
    pub is_whole_file: bool,
}

impl Layout {
    /// Opens a layout directory, or indexes an archive, and checks its version.
    pub fn open(path: &Path) -> Result<Layout, LayoutError> {
        Layout::open_within(path, &Arc::default())
    }

    /// [`Layout::open`], with a budget for the members of several archives.
    pub fn open_within(path: &Path, members: &Arc<MemberBudget>) -> Result<Layout, LayoutError> {
        let metadata = std::fs::metadata(path).map_err(|source| {
            let text = path.to_str().unwrap_or_default();
            match text.find(DOCKER_TRANSPORT).and_then(|start| text.get(start..)) {
                Some(argument) => LayoutError::DockerArchive { argument: argument.into() },
                None => read_error(path, source),
            }
        })?;
        let files = if metadata.is_dir() {
            Files::Directory
        } else if metadata.is_file() {
            Files::Archive(index_archive(path, members)?)
        } else {
            return Err(LayoutError::NotALayout {
                path: path.into(),
                expected: "a directory or a tar archive",
                found: kind_of(&metadata).into(),
                convert: None,
            });
        };
        let layout = Layout { path: path.into(), files };
        layout.check_version()?;
        Ok(layout)
    }

    /// The layout that is written in a directory, or is going to be.
    pub(super) fn beneath(root: Root) -> Layout {
        Layout { path: root.path().into(), files: Files::Beneath(root) }
    }

    /// The directory of a layout that is written.
    pub(super) fn root(&self) -> Option<&Root> {
        match &self.files {
            Files::Beneath(root) => Some(root),
            Files::Directory | Files::Archive(_) => None,
        }
    }

    /// Whether a path looks like a layout directory. A quick check to find layouts below a folder.
    pub fn is_directory_layout(path: &Path) -> bool {
        path.join(LAYOUT_FILE).is_file()
    }

    /// The directory or archive that the layout was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn check_version(&self) -> Result<(), LayoutError> {
        let path = self.path.join(LAYOUT_FILE);
        let Some(blob) = self.open_file(LAYOUT_FILE)? else {
            return Err(LayoutError::NotALayout {
                path: self.path.clone(),
                expected: "a file oci-layout in it",
                found: self.what_it_is(),
                convert: self.is_docker_archive().then_some(CONVERT),
            });
        };
        let bytes = json::read_bounded(blob.reader(), MAX_MANIFEST_BYTES);
        let header = bytes.and_then(|bytes| json::parse(&bytes));
        let header = header.map_err(|problem| LayoutError::Json { path: path.clone(), problem })?;
        match header.get("imageLayoutVersion") {
            Some(Value::String(version)) if version == "1" || version.starts_with("1.") => Ok(()),
            Some(other) => Err(LayoutError::Version { path, found: format!("imageLayoutVersion {other}") }),
            None => Err(LayoutError::Version { path, found: "no imageLayoutVersion".into() }),
        }
    }

    fn is_docker_archive(&self) -> bool {
        matches!(self.open_file("manifest.json"), Ok(Some(_)))
    }

    fn what_it_is(&self) -> String {
        if self.is_docker_archive() {
            return "a Docker archive (manifest.json without oci-layout)".into();
        }
        match &self.files {
            Files::Directory | Files::Beneath(_) => "a directory without one".into(),
            Files::Archive(members) => format!("an archive of {} files without one", members.len()),
        }
    }

    /// The entries of `index.json`, in its order.
    pub fn entries(&self) -> Result<Vec<Descriptor>, LayoutError> {
        let mut entries = Vec::new();
        self.visit_entries(|entry| -> Result<(), LayoutError> {
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }

    /// Calls `visit` for each entry of `index.json` in order, and parses one entry at a time: as trees of JSON values,
    /// fifty thousand entries take ten times the memory of the file.
    pub fn visit_entries<E: From<LayoutError>>(
        &self,
        mut visit: impl FnMut(Descriptor) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes = self.index_bytes()?;
        let path = || self.path.join(INDEX_FILE);
        let index = IndexText::parse(&bytes).map_err(|problem| LayoutError::Json { path: path(), problem })?;
        for (position, entry) in index.descriptors().enumerate() {
            visit(entry.map_err(|error| match error {
                EntryError::Json(problem) => LayoutError::Json { path: path(), problem },
                EntryError::Descriptor(source) => LayoutError::Entry { path: path(), position, source },
            })?)?;
        }
        Ok(())
    }

    /// The properties of `index.json` other than `manifests`, and its entries, valid or not.
    pub fn index(&self) -> Result<(Map<String, Value>, Vec<ValueText>), LayoutError> {
        let bytes = self.index_bytes()?;
        let wrong = |problem| LayoutError::Json { path: self.path.join(INDEX_FILE), problem };
        let index = IndexText::parse(&bytes).map_err(wrong)?;
        let value = |text: &RawValue| json::parse(text.get().as_bytes()).map_err(wrong);
        let entries =
            index.entries().map(|text| Ok(ValueText::from(&value(text)?))).collect::<Result<_, LayoutError>>()?;
        let others = index.properties.iter().map(|(key, text)| Ok((key.clone(), value(text)?)));
        Ok((others.collect::<Result<_, LayoutError>>()?, entries))
    }

    fn index_bytes(&self) -> Result<Vec<u8>, LayoutError> {
        let Some(blob) = self.open_file(INDEX_FILE)? else {
            return Err(LayoutError::NotALayout {
                path: self.path.clone(),
                expected: "a file index.json in it",
                found: "none".into(),
                convert: None,
            });
        };
        let path = blob.path.clone();
        json::read_bounded(blob.reader(), MAX_INDEX_BYTES).map_err(|problem| LayoutError::Json { path, problem })
    }

    /// Opens a blob. None: the layout has no such file.
    ///
    /// # Errors
    /// It is not a regular file, cannot be read, or has another size than `size`.
    pub fn open_blob(&self, digest: &Digest, size: u64) -> Result<Option<Blob>, LayoutError> {
        let Some(blob) = self.open_file(&blob_path(digest))? else { return Ok(None) };
        if blob.size != size {
            return Err(LayoutError::Size { path: blob.path, expected: size, found: blob.size });
        }
        Ok(Some(blob))
    }

    /// Whether a blob exists, with the right type and size, without opening it.
    ///
    /// # Errors
    /// It is not a regular file, or has another size than `size`.
    pub fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, LayoutError> {
        let Files::Directory = self.files else { return Ok(self.open_blob(digest, size)?.is_some()) };
        let path = self.path.join(blob_path(digest));
        match regular_file(&path)?.map(|metadata| metadata.len()) {
            None => Ok(false),
            Some(found) if found == size => Ok(true),
            Some(found) => Err(LayoutError::Size { path, expected: size, found }),
        }
    }

    fn open_file(&self, name: &str) -> Result<Option<Blob>, LayoutError> {
        match &self.files {
            Files::Directory => open_regular(&self.path.join(name)),
            Files::Beneath(root) => {
                let found = root.open_file(name)?;
                Ok(found.map(|(file, metadata)| Blob {
                    size: metadata.len(),
                    path: self.path.join(name),
                    file,
                    offset: 0,
                    is_whole_file: true,
                }))
            }
            Files::Archive(members) => self.open_member(members, name),
        }
    }

    fn open_member(&self, members: &Members, name: &str) -> Result<Option<Blob>, LayoutError> {
        let path = self.path.join(name);
        match members.find(name) {
            Found::Nothing => Ok(None),
            Found::NotAFile(found) => Err(LayoutError::NotAFile { path, found }),
            Found::File { offset, size } => {
                let fault = |source| LayoutError::Read { path: self.path.clone(), source };
                let mut file = open_archive(&self.path)?;
                file.seek(SeekFrom::Start(offset)).map_err(fault)?;
                Ok(Some(Blob { file, offset, size, path, is_whole_file: false }))
            }
        }
    }
}

impl Manifests for Layout {
    type Node = Descriptor;
    type Error = LayoutError;

    fn read(&self, descriptor: &Descriptor) -> Result<Option<Verified>, LayoutError> {
        let Some(blob) = self.open_blob(&descriptor.digest, descriptor.size)? else { return Ok(None) };
        let path = blob.path.clone();
        Verified::read(blob.reader(), descriptor).map(Some).map_err(|error| match error {
            ReadError::TooLarge { size, .. } => LayoutError::ManifestTooLarge { path, size },
            ReadError::Content(problem) => content_error(path, problem.into()),
            ReadError::Io(error) => content_error(path, error),
        })
    }
}

impl Blob {
    /// Reads exactly the blob's bytes.
    pub fn reader(self) -> io::Take<File> {
        self.file.take(self.size)
    }
}

/// The path of a blob in a layout.
pub fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.encoded())
}

/// Converts an error of a [`VerifyingReader`](oci_discovery::digest::VerifyingReader) into one that names
/// the file.
pub fn content_error(path: PathBuf, error: io::Error) -> LayoutError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ContentError>()) {
        Some(ContentError::Mismatch { expected, found }) => {
            LayoutError::Digest { path, expected: expected.clone(), found: found.clone() }
        }
        Some(ContentError::TooLong { expected, .. }) => {
            LayoutError::Size { path, expected: *expected, found: expected + 1 }
        }
        Some(ContentError::TooShort { expected, found, .. }) => {
            LayoutError::Size { path, expected: *expected, found: *found }
        }
        None => LayoutError::Read { path, source: error },
    }
}

fn open_regular(path: &Path) -> Result<Option<Blob>, LayoutError> {
    // Checks the open file, since the path may lead to another by now. Opening a FIFO would wait for a writer.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // A socket cannot be opened. Its type is more helpful than the system's error.
        Err(source) => return Err(regular_file(path).err().unwrap_or_else(|| read_error(path, source))),
    };
    let metadata = file.metadata().map_err(|source| read_error(path, source))?;
    if !metadata.is_file() {
        return Err(LayoutError::NotAFile { path: path.into(), found: kind_of(&metadata) });
    }
    Ok(Some(Blob { file, offset: 0, size: metadata.len(), path: path.into(), is_whole_file: true }))
}

/// Opens an archive that existed when it was checked.
fn open_archive(path: &Path) -> Result<File, LayoutError> {
    let absent = || read_error(path, io::ErrorKind::NotFound.into());
    open_regular(path)?.map(|blob| blob.file).ok_or_else(absent)
}

/// The status of a regular file at a path. None: missing.
fn regular_file(path: &Path) -> Result<Option<Metadata>, LayoutError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata)),
        Ok(metadata) => Err(LayoutError::NotAFile { path: path.into(), found: kind_of(&metadata) }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(read_error(path, source)),
    }
}

fn read_error(path: &Path, source: io::Error) -> LayoutError {
    LayoutError::Read { path: path.into(), source }
}

fn kind_of(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    match () {
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_block_device() || kind.is_char_device() => "a device",
        _ => "not a regular file",
    }
}

/// The first bytes of compressed files, what they are, and the program that unpacks them.
const COMPRESSED: [(&[u8], &str, &str); 4] = [
    (b"\x1f\x8b", "gzip-compressed", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", "zstd"),
    (b"\xfd7zXZ\x00", "xz-compressed", "xz"),
    (b"BZh", "bzip2-compressed", "bzip2"),
];

fn index_archive(path: &Path, budget: &Arc<MemberBudget>) -> Result<Members, LayoutError> {
    let file = open_archive(path)?;
    refuse_compressed(path, &file)?;
    Members::read(&file, budget).map_err(|error| match error {
        ArchiveError::NotTar(error) => LayoutError::NotALayout {
            path: path.into(),
            expected: "a tar archive of a layout",
            found: format!("a file that cannot be read as one ({error})"),
            convert: None,
        },
        source => LayoutError::Archive { path: path.into(), source },
    })
}

fn refuse_compressed(path: &Path, file: &File) -> Result<(), LayoutError> {
    let fault = |source| read_error(path, source);
    let mut start = Vec::new();
    file.take(8).read_to_end(&mut start).map_err(fault)?;
    for (magic, format, program) in COMPRESSED {
        if start.starts_with(magic) {
            let command = unpack_command(program, path);
            return Err(LayoutError::Compressed { path: path.into(), format, command });
        }
    }
    Ok(())
}

/// The programs that unpack a file take it only under a name that ends as theirs do; a `.tar` is sent through a pipe.
fn unpack_command(program: &'static str, path: &Path) -> String {
    let text = path.display().to_string();
    match path.extension().is_some_and(|end| end == "tar") {
        true => {
            let unpacked = path.with_extension("unpacked.tar").display().to_string();
            format!("{program} -dc < {} > {}", shell::quote(&text), shell::quote(&unpacked))
        }
        false => CommandLine::new([program, "-d"]).path(&text).to_string(),
    }
}
