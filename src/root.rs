//! A directory that no access leaves.
//!
//! Other programs and users may write to a site, a pulled layout or private state. A path that is checked and then
//! opened may lead elsewhere by then: one symbolic link in place of one of its directories is enough. Therefore a
//! [`Root`] is an open directory, and every operation names its object relative to it: the kernel resolves the name
//! beneath the directory and follows no link (`openat2`, Linux 5.6). Where the kernel or a sandbox lacks that call,
//! the name is resolved one component at a time with `O_NOFOLLOW`.
//!
//! The path of the root itself may be a link: the user chose it.

#![allow(clippy::disallowed_methods, reason = "this module is what the others go through")]

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The mode of directories of private state.
const PRIVATE_DIRECTORY_MODE: Mode = Mode::RWXU;
/// The mode of files of private state.
const PRIVATE_FILE_MODE: Mode = Mode::from_raw_mode(0o600);

/// Neither out of the directory nor through a link of any kind.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
/// Opening a FIFO does not wait for its other end, and a terminal does not become this process's controlling terminal.
const UNHURRIED: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// The name of a directory in messages.
pub const DIRECTORY: &str = "a directory";
/// The name of a symbolic link in messages.
pub const SYMBOLIC_LINK: &str = "a symbolic link";

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot {action} {}{}", .path.display(), advice(.source))]
    Io {
        /// `create`, `write`, `rename`, `read`, …
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is {found}: expected {expected}; move it away", .path.display())]
    InTheWay { path: PathBuf, found: &'static str, expected: &'static str },
    #[error(
        "{} belongs to user {owner}: expected user {user}, because private state must belong to the user of the \
         command; run the command as user {owner}, or move it away if no other ocisite uses it", .path.display()
    )]
    Foreign { path: PathBuf, owner: u32, user: u32 },
}

impl FileError {
    /// The kind of the system's error. None: this program refused.
    pub fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            FileError::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

/// Advice about an error, as the end of a message.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => ": the disk is full; free some space and run the command again",
        io::ErrorKind::PermissionDenied => ": not permitted; check its owner and its mode",
        io::ErrorKind::ReadOnlyFilesystem => ": the file system is read-only",
        io::ErrorKind::StaleNetworkFileHandle => ": another program has replaced or removed it; run the command again",
        io::ErrorKind::AlreadyExists => ": another file or directory has this path; move it away",
        _ => "",
    }
}

/// The status of a file, a directory or a link.
#[derive(Clone, Copy, Debug)]
pub struct Status(fs::Stat);

impl Status {
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.0.st_mode)
    }

    pub fn mode(&self) -> u32 {
        self.0.st_mode & 0o7777
    }

    /// Whether both are of one object, by device and inode.
    fn is_same(&self, other: &Status) -> bool {
        (self.0.st_dev, self.0.st_ino) == (other.0.st_dev, other.0.st_ino)
    }

    pub fn size(&self) -> u64 {
        u64::try_from(self.0.st_size).unwrap_or_default()
    }

    pub fn modified(&self) -> SystemTime {
        let seconds = Duration::from_secs(self.0.st_mtime.unsigned_abs());
        let whole = match self.0.st_mtime {
            0.. => SystemTime::UNIX_EPOCH.checked_add(seconds),
            _ => SystemTime::UNIX_EPOCH.checked_sub(seconds),
        };
        let nanoseconds = Duration::from_nanos(self.0.st_mtime_nsec);
        whole.and_then(|whole| whole.checked_add(nanoseconds)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// The name of a file type in messages.
fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => DIRECTORY,
        FileType::Symlink => SYMBOLIC_LINK,
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "not a regular file",
    }
}

/// The outcome of an attempt to lock a file. The lock belongs to the open file, excludes other programs, also those of
/// other containers, and ends when the file is closed.
#[derive(Debug)]
pub enum Taken {
    /// The file is locked until it is closed.
    File(File),
    /// Another program has locked it.
    Busy,
    /// The file or its directory was renamed or removed before it was locked.
    Gone,
}

/// An open directory. All names are relative to it, contain no `.` and no `..`, and follow no link.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    /// The path, for messages.
    path: PathBuf,
    way: Way,
}

/// The way in which names are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By the kernel, with `openat2`.
    Kernel,
    /// By this program, one component at a time.
    Walk,
}

impl Way {
    /// Old kernels lack `openat2`, and some sandboxes forbid unknown calls.
    fn of(directory: BorrowedFd<'_>) -> Way {
        match fs::openat2(directory, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), BENEATH) {
            Err(Errno::NOSYS | Errno::PERM) => Way::Walk,
            _ => Way::Kernel,
        }
    }
}

/// The parent directory of a name.
enum Parent<'a> {
    Root(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Parent::Root(directory) => *directory,
            Parent::Below(directory) => directory.as_fd(),
        }
    }
}

/// A directory that [`Root::create`] made, to remove it again. Its path may lead elsewhere by then, so that its parent
/// is kept open.
#[derive(Debug)]
pub struct MadeDirectory {
    parent: Root,
    name: OsString,
    status: Status,
}

impl MadeDirectory {
    /// Removes the directory if it still has its name where it was made. Another object in its place stays. (A user who
    /// puts an empty directory there exactly after this check may write to the parent, and so could remove it, too.)
    ///
    /// # Errors
    /// It has content, or the system refuses.
    pub fn remove(&self) -> Result<(), FileError> {
        match self.parent.status(&self.name)? {
            Some(found) if found.is_same(&self.status) => self.parent.remove_directory(&self.name),
            _ => Ok(()),
        }
    }
}

/// Opening.
impl Root {
    /// Opens a directory.
    pub fn open(path: &Path) -> Result<Root, FileError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = fs::openat(CWD, path, flags, Mode::empty());
        let directory = opened.map_err(|error| io_fault("open", path, error))?;
        Ok(Root { way: Way::of(directory.as_fd()), directory, path: path.into() })
    }

    /// Opens a directory, unless it is missing.
    pub fn open_if_present(path: &Path) -> Result<Option<Root>, FileError> {
        match Root::open(path) {
            Err(error) if error.kind() == Some(io::ErrorKind::NotFound) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Opens a directory, and creates it and those above it if they are missing. `made` gets each created directory. A
    /// given mode is set independently of the umask; without one, the umask decides.
    pub fn create(path: &Path, mode: Option<Mode>, made: &mut dyn FnMut(MadeDirectory)) -> Result<Root, FileError> {
        let mut missing = Vec::new();
        let mut at = path;
        while !at.as_os_str().is_empty() && !at.is_dir() {
            missing.push(at);
            at = at.parent().unwrap_or(Path::new(""));
        }
        let mut root = Root::open(if at.as_os_str().is_empty() { Path::new(".") } else { at })?;
        for directory in missing.into_iter().rev() {
            root = root.create_child(directory, mode, made)?;
        }
        Ok(Root { path: path.into(), ..root })
    }

    /// Creates the last component of `path` in this directory, unless it exists, and opens it.
    fn create_child(
        &self,
        path: &Path,
        mode: Option<Mode>,
        made: &mut dyn FnMut(MadeDirectory),
    ) -> Result<Root, FileError> {
        let fault = |source| FileError::Io { action: "create the directory", path: path.into(), source };
        let leaf = path.components().next_back().map_or(OsStr::new("."), Component::as_os_str);
        // Before the directory is made: one without a handle of its parent could not be removed.
        let parent = self.directory.try_clone().map_err(fault)?;
        let created = make_directory(&self.directory, leaf, mode, || {
            let parent = Root { way: self.way, directory: parent, path: self.path.clone() };
            // Without a status it is gone already.
            if let Ok(Some(status)) = parent.status(leaf) {
                made(MadeDirectory { parent, name: leaf.into(), status });
            }
        });
        let (directory, _) = created.map_err(|error| match error {
            Errno::NOTDIR | Errno::LOOP => fault(Errno::EXIST.into()),
            error => fault(error.into()),
        })?;
        Ok(Root { way: self.way, directory, path: path.into() })
    }

    /// The path with which the root was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The status of the directory itself.
    pub fn own_status(&self) -> Result<Status, FileError> {
        fs::fstat(&self.directory).map(Status).map_err(|error| io_fault("look at", &self.path, error))
    }

    /// The directory itself, opened so that it can be locked.
    pub fn to_lock(&self) -> Result<File, FileError> {
        let opened = self.open_at(Path::new(""), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
        Ok(opened.map_err(|error| io_fault("open", &self.path, error))?.into())
    }

    /// Makes all changes on its file system durable.
    pub fn sync(&self) -> Result<(), FileError> {
        fs::syncfs(self.to_lock()?).map_err(|error| io_fault("sync the file system of", &self.path, error))
    }

    /// The only place where a name becomes a descriptor.
    fn open_at(&self, name: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match self.way {
            _ if name.as_os_str().is_empty() => fs::openat(&self.directory, ".", flags, mode),
            Way::Kernel => match fs::openat2(&self.directory, plain(name)?, flags, mode, BENEATH) {
                // The directory was moved out of the root while the kernel resolved the name.
                Err(Errno::XDEV) => Err(Errno::NOENT),
                opened => opened,
            },
            Way::Walk => {
                let (parent, leaf) = self.parent(name)?;
                fs::openat(parent, leaf, flags, mode)
            }
        }
    }

    /// The parent directory of a name, and the name's last component.
    fn parent<'a>(&self, name: &'a Path) -> Result<(Parent<'_>, &'a OsStr), Errno> {
        let leaf = plain(name)?.file_name().ok_or(Errno::INVAL)?;
        let above = name.parent().unwrap_or(Path::new(""));
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        if above.as_os_str().is_empty() {
            return Ok((Parent::Root(self.directory.as_fd()), leaf));
        }
        if self.way == Way::Kernel {
            return Ok((Parent::Below(self.open_at(above, flags, Mode::empty())?), leaf));
        }
        let mut parent = Parent::Root(self.directory.as_fd());
        for component in above {
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            parent = Parent::Below(fs::openat(&parent, component, flags, Mode::empty())?);
        }
        Ok((parent, leaf))
    }

    /// The obstacle to a name: a file instead of a directory above it, or an object of another type than `wanted` at
    /// it.
    fn obstacle(&self, name: &Path, wanted: FileType) -> Option<FileError> {
        let prefixes: Vec<&Path> = name.ancestors().filter(|prefix| !prefix.as_os_str().is_empty()).collect();
        for prefix in prefixes.into_iter().rev() {
            let (parent, leaf) = self.parent(prefix).ok()?;
            let found = Status(fs::statat(parent, leaf, AtFlags::SYMLINK_NOFOLLOW).ok()?).kind();
            let (wanted, expected) = match wanted {
                FileType::RegularFile if prefix == name => (wanted, "a regular file, or nothing"),
                _ => (FileType::Directory, "a directory, or nothing"),
            };
            if found != wanted {
                return Some(FileError::InTheWay { path: self.path.join(prefix), found: kind_name(found), expected });
            }
        }
        None
    }

    /// The error for a failed call, which names the obstacle if there is one.
    fn fault(&self, action: &'static str, name: &Path, wanted: FileType, error: Errno) -> FileError {
        let is_shape = matches!(error, Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO | Errno::EXIST);
        let obstacle = if is_shape { self.obstacle(name, wanted) } else { None };
        obstacle.unwrap_or_else(|| match error {
            // A link that was removed since.
            Errno::LOOP => self.link_in_the_way(name),
            _ => self.io_fault(action, name, error),
        })
    }

    fn link_in_the_way(&self, name: &Path) -> FileError {
        let expected = "neither a link nor below one";
        FileError::InTheWay { path: self.path.join(name), found: SYMBOLIC_LINK, expected }
    }

    /// Maps errors about a missing object to None. A path below a file is missing, too; a path below a link is an
    /// error.
    fn present<T>(&self, action: &'static str, name: &Path, result: Result<T, Errno>) -> Result<Option<T>, FileError> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => match self.fault(action, name, FileType::RegularFile, error) {
                FileError::InTheWay { path, found, .. }
                    if found != SYMBOLIC_LINK && path.as_path() != self.path.join(name) =>
                {
                    Ok(None)
                }
                fault => Err(fault),
            },
        }
    }
}

/// Reading.
impl Root {
    /// The status of a name, of any type. None: missing.
    pub fn status(&self, name: impl AsRef<Path>) -> Result<Option<Status>, FileError> {
        let name = name.as_ref();
        let found = self.parent(name).and_then(|(parent, leaf)| fs::statat(parent, leaf, AtFlags::SYMLINK_NOFOLLOW));
        Ok(self.present("look at", name, found)?.map(Status))
    }

    /// Whether a name is that of an open file or directory.
    pub fn is_name_of(&self, name: impl AsRef<Path>, opened: &File) -> Result<bool, FileError> {
        let name = name.as_ref();
        let opened = fs::fstat(opened).map_err(|error| self.io_fault("look at", name, error))?;
        Ok(self.status(name)?.is_some_and(|found| found.is_same(&Status(opened))))
    }

    /// The status of a regular file. None: missing.
    ///
    /// # Errors
    /// [`FileError::InTheWay`]: it has another type.
    pub fn file_status(&self, name: impl AsRef<Path>) -> Result<Option<Status>, FileError> {
        let name = name.as_ref();
        match self.status(name)? {
            Some(status) if status.kind() != FileType::RegularFile => Err(self.not_a_file(name, status.kind())),
            found => Ok(found),
        }
    }

    fn not_a_file(&self, name: &Path, found: FileType) -> FileError {
        let path = self.path.join(name);
        FileError::InTheWay { path, found: kind_name(found), expected: "a regular file, or nothing" }
    }

    /// Opens a directory in this one. None: missing.
    ///
    /// # Errors
    /// [`FileError::InTheWay`]: it has another type.
    pub fn directory(&self, name: impl AsRef<Path>) -> Result<Option<Root>, FileError> {
        let name = name.as_ref();
        match self.open_at(name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            Ok(directory) => Ok(Some(Root { way: self.way, directory, path: self.path.join(name) })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.fault("open", name, FileType::Directory, error)),
        }
    }

    /// Opens a regular file to read. None: missing.
    ///
    /// # Errors
    /// [`FileError::InTheWay`]: it has another type.
    pub fn open_file(&self, name: impl AsRef<Path>) -> Result<Option<(File, Metadata)>, FileError> {
        let name = name.as_ref();
        let opened = self.open_at(name, OFlags::RDONLY | UNHURRIED, Mode::empty());
        let Some(file) = self.present("read", name, opened)?.map(File::from) else { return Ok(None) };
        let fault = |source| FileError::Io { action: "look at", path: self.path.join(name), source };
        let metadata = file.metadata().map_err(fault)?;
        match metadata.is_file() {
            true => Ok(Some((file, metadata))),
            false => Err(self.not_a_file(name, FileType::from_raw_mode(metadata.mode()))),
        }
    }

    /// Opens a regular file to read, through links to anywhere, as web servers do: for `verify`, which reads sites of
    /// any program like a web server.
    pub fn open_as_web_servers_do(&self, name: impl AsRef<Path>) -> io::Result<Option<File>> {
        let file = fs::openat(&self.directory, name.as_ref(), OFlags::CLOEXEC | UNHURRIED, Mode::empty())?;
        let file = File::from(file);
        Ok(file.metadata()?.is_file().then_some(file))
    }

    /// The target of a link.
    pub fn link_target(&self, name: impl AsRef<Path>) -> Option<PathBuf> {
        let (parent, leaf) = self.parent(name.as_ref()).ok()?;
        let target = fs::readlinkat(parent, leaf, Vec::new()).ok()?;
        Some(OsStr::from_bytes(target.as_bytes()).into())
    }

    /// All objects at and below a directory, each directory before its contents, without following links. `enter`
    /// selects the directories to descend into. Objects that disappear meanwhile are omitted, as is a missing
    /// directory.
    ///
    /// # Errors
    /// The directory is behind a link.
    pub fn walk<'a>(
        &'a self,
        start: impl AsRef<Path>,
        enter: &'a dyn Fn(&Path) -> bool,
    ) -> Result<Walk<'a>, FileError> {
        let start = start.as_ref();
        if !start.as_os_str().is_empty()
            && let Some(status) = self.status(start)?
            && status.kind() != FileType::Directory
        {
            return Err(self.in_the_way(&Entry { path: start.into(), status }));
        }
        Ok(Walk { root: self, enter, current: None, todo: vec![start.into()] })
    }

    /// The error for an unexpected object that [`Root::walk`] found.
    pub fn in_the_way(&self, Entry { path, status }: &Entry) -> FileError {
        let (path, found) = (self.path.join(path), kind_name(status.kind()));
        FileError::InTheWay { path, found, expected: "a file or a directory of the site, or nothing" }
    }

    /// The names in the root itself.
    pub fn names(&self) -> Result<Vec<OsString>, FileError> {
        let fault = |error| io_fault("list", &self.path, error);
        let names = Dir::new(self.to_lock()?).map_err(fault)?.map(|entry| {
            let entry = entry.map_err(fault)?;
            Ok(OsStr::from_bytes(entry.file_name().to_bytes()).to_owned())
        });
        names.filter(|name| !matches!(name, Ok(name) if name == "." || name == "..")).collect()
    }

    /// Whether a directory contains only directories, at any depth.
    pub fn is_hollow(&self, name: impl AsRef<Path>) -> bool {
        let is_directory =
            |entry: Result<Entry, FileError>| entry.is_ok_and(|entry| entry.status.kind() == FileType::Directory);
        self.walk(name, &|_| true).is_ok_and(|mut walk| walk.all(is_directory))
    }
}

/// Changing.
impl Root {
    /// Creates a directory and those above it. `made` gets each created directory. For the mode see [`Root::create`].
    pub fn make_directories(
        &self,
        name: impl AsRef<Path>,
        mode: Option<Mode>,
        made: &mut dyn FnMut(&Path),
    ) -> Result<(), FileError> {
        let name = name.as_ref();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        if self.open_at(name, flags, Mode::empty()).is_ok() {
            return Ok(());
        }
        let mut prefixes: Vec<&Path> = name.ancestors().filter(|prefix| !prefix.as_os_str().is_empty()).collect();
        prefixes.reverse();
        for prefix in prefixes {
            self.make_child(prefix, mode, made)?;
        }
        Ok(())
    }

    /// [`make_directory`] in a directory of this root.
    fn make_child(
        &self,
        name: &Path,
        mode: Option<Mode>,
        made: &mut dyn FnMut(&Path),
    ) -> Result<(Root, bool), FileError> {
        let (parent, leaf) = self.parent(name).map_err(|error| self.not_made(name, error))?;
        let (directory, is_new) =
            make_directory(parent, leaf, mode, || made(name)).map_err(|error| self.not_made(name, error))?;
        Ok((Root { way: self.way, directory, path: self.path.join(name) }, is_new))
    }

    fn not_made(&self, name: &Path, error: Errno) -> FileError {
        self.fault("create the directory", name, FileType::Directory, error)
    }

    /// Creates a new file, to write and read. For the mode see [`Root::create`].
    pub fn create_file(&self, name: impl AsRef<Path>, mode: Option<Mode>) -> Result<File, FileError> {
        let name = name.as_ref();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let created = self.open_at(name, flags, mode.unwrap_or(Mode::from_raw_mode(0o666)));
        let file = created.map_err(|error| self.io_fault("create", name, error))?;
        if let Some(mode) = mode {
            fs::fchmod(&file, mode).map_err(|error| self.io_fault("set the mode of", name, error))?;
        }
        Ok(file.into())
    }

    /// Renames a file, also into another root, and replaces an existing file.
    pub fn rename(&self, from: impl AsRef<Path>, into: &Root, to: impl AsRef<Path>) -> Result<(), FileError> {
        let to = to.as_ref();
        let rename = || {
            let ((old, old_leaf), (new, new_leaf)) = (self.parent(from.as_ref())?, into.parent(to)?);
            fs::renameat(old, old_leaf, new, new_leaf)
        };
        rename().map_err(|error| into.fault("rename a finished file to", to, FileType::RegularFile, error))
    }

    /// Gives a regular file a second name.
    pub fn link(&self, from: impl AsRef<Path>, into: &Root, to: impl AsRef<Path>) -> Result<(), FileError> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let link = || {
            let ((old, old_leaf), (new, new_leaf)) = (self.parent(from)?, into.parent(to)?);
            fs::linkat(old, old_leaf, new, new_leaf, AtFlags::empty())
        };
        link().map_err(|error| self.fault("link", from, FileType::RegularFile, error))?;
        // The system gives every object but a directory a second name.
        match into.status(to)?.map(|linked| linked.kind()) {
            Some(FileType::RegularFile) => Ok(()),
            found => {
                into.remove_file(to)?;
                Err(self.not_a_file(from, found.unwrap_or(FileType::Unknown)))
            }
        }
    }

    /// Gives an open file a name: this file, whatever its former names are by now.
    pub fn link_open_file(&self, file: &File, name: impl AsRef<Path>) -> Result<(), FileError> {
        let name = name.as_ref();
        let link = || {
            let (parent, leaf) = self.parent(name)?;
            let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
            fs::linkat(CWD, opened, parent, leaf, AtFlags::SYMLINK_FOLLOW)
        };
        link().map_err(|error| self.io_fault("link", name, error))?;
        self.refuse_other_file("link", name, file)
    }

    /// Renames an open file as [`Root::rename`]. Other writers of this directory must lock the file first, so that the
    /// name does not change between the check and the rename.
    pub fn rename_open_file(
        &self,
        file: &File,
        from: &str,
        into: &Root,
        to: impl AsRef<Path>,
    ) -> Result<(), FileError> {
        self.refuse_other_file("rename", Path::new(from), file)?;
        self.rename(from, into, to)
    }

    /// Removes a name of an open file. If the name belongs to another file by now, that file stays.
    pub fn remove_open_file(&self, file: &File, name: impl AsRef<Path>) -> Result<(), FileError> {
        match self.is_name_of(name.as_ref(), file)? {
            true => self.remove_file(name).map(drop),
            false => Ok(()),
        }
    }

    fn refuse_other_file(&self, action: &'static str, name: &Path, file: &File) -> Result<(), FileError> {
        match self.is_name_of(name, file)? {
            true => Ok(()),
            false => Err(self.io_fault(action, name, Errno::STALE)),
        }
    }

    /// Removes a file or a link. Returns whether it existed.
    pub fn remove_file(&self, name: impl AsRef<Path>) -> Result<bool, FileError> {
        let name = name.as_ref();
        let removed = self.parent(name).and_then(|(parent, leaf)| fs::unlinkat(parent, leaf, AtFlags::empty()));
        Ok(self.present("remove", name, removed)?.is_some())
    }

    /// Removes an empty directory.
    pub fn remove_directory(&self, name: impl AsRef<Path>) -> Result<(), FileError> {
        let name = name.as_ref();
        let removed = self.parent(name).and_then(|(parent, leaf)| fs::unlinkat(parent, leaf, AtFlags::REMOVEDIR));
        removed.map_err(|error| self.io_fault("remove the directory", name, error))
    }

    /// Removes a directory that contains only directories, at any depth.
    pub fn remove_hollow(&self, name: impl AsRef<Path>) -> Result<(), FileError> {
        let entries = self.walk(name, &|_| true)?.collect::<Result<Vec<_>, _>>()?;
        entries.iter().rev().try_for_each(|entry| self.remove_directory(&entry.path))
    }

    fn io_fault(&self, action: &'static str, name: &Path, error: Errno) -> FileError {
        io_fault(action, &self.path.join(name), error)
    }
}

/// Private state: only its owner has access.
impl Root {
    /// Opens a directory of private state, and creates it if it is missing; `made` gets it then. Access of other users
    /// is removed.
    ///
    /// # Errors
    /// [`FileError::Foreign`]: it belongs to another user. Root may use the state of the user who owns this root.
    pub fn private_directory(&self, name: impl AsRef<Path>, made: &mut dyn FnMut(&Path)) -> Result<Root, FileError> {
        let name = name.as_ref();
        let (root, is_new) = self.make_child(name, Some(PRIVATE_DIRECTORY_MODE), made)?;
        let status = root.own_status()?;
        self.refuse_foreign(name, &status)?;
        let is_wide = status.mode() != PRIVATE_DIRECTORY_MODE.bits();
        if is_new || is_wide {
            // A directory that is not empty is not the one that was made.
            let is_new = is_new && root.names()?.is_empty();
            self.make_private(name, &root.to_lock()?, PRIVATE_DIRECTORY_MODE, is_new)?;
        }
        Ok(root)
    }

    /// [`Root::private_directory`], unless it is missing.
    pub fn existing_private_directory(&self, name: impl AsRef<Path>) -> Result<Option<Root>, FileError> {
        let name = name.as_ref();
        match self.status(name)? {
            Some(_) => self.private_directory(name, &mut |_| {}).map(Some),
            None => Ok(None),
        }
    }

    /// Locks a file of private state, and creates it if it is missing. Access of other users is removed.
    ///
    /// # Errors
    /// It has other names: a lock on it would exclude the programs that use the other file.
    pub fn take_lock_file(&self, name: impl AsRef<Path>) -> Result<Taken, FileError> {
        let name = name.as_ref();
        self.take(name, PRIVATE_FILE_MODE, |file, status, is_new| {
            self.refuse_second_names(name, status)?;
            if is_new || status.mode() != PRIVATE_FILE_MODE.bits() {
                self.make_private(name, file, PRIVATE_FILE_MODE, is_new)?;
            }
            Ok(())
        })
    }

    /// Locks a file of private state to continue writing it, and creates it if it is missing. Its mode follows the
    /// umask, because it will be renamed out of the private directory.
    ///
    /// # Errors
    /// It has other names: writing would change a file that may be outside.
    pub fn take_file_to_continue(&self, name: impl AsRef<Path>) -> Result<Taken, FileError> {
        let name = name.as_ref();
        self.take(name, Mode::from_raw_mode(0o666), |_, status, _| self.refuse_second_names(name, status))
    }

    /// Opens or creates a file, and locks it. Another program may have renamed or removed it before it was locked, so
    /// the name is checked afterwards.
    fn take(
        &self,
        name: &Path,
        mode: Mode,
        check: impl FnOnce(&File, &Status, bool) -> Result<(), FileError>,
    ) -> Result<Taken, FileError> {
        let (file, status, is_new) = match self.open_private(name, mode) {
            Err(error) if error.kind() == Some(io::ErrorKind::NotFound) => return Ok(Taken::Gone),
            opened => opened?,
        };
        check(&file, &status, is_new)?;
        match file.try_lock() {
            Ok(()) if self.is_name_of(name, &file)? => Ok(Taken::File(file)),
            Ok(()) => Ok(Taken::Gone),
            Err(TryLockError::WouldBlock) => Ok(Taken::Busy),
            Err(TryLockError::Error(source)) => {
                Err(FileError::Io { action: "lock", path: self.path.join(name), source })
            }
        }
    }

    fn open_private(&self, name: &Path, mode: Mode) -> Result<(File, Status, bool), FileError> {
        let flags = OFlags::RDWR | UNHURRIED;
        let (opened, is_new) = match self.open_at(name, flags | OFlags::CREATE | OFlags::EXCL, mode) {
            Err(Errno::EXIST) => (self.open_at(name, flags, Mode::empty()), false),
            created => (created, true),
        };
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                // For a file that this user may not open, the owner is more helpful than the system's error.
                if let Some(status) = self.file_status(name)? {
                    self.refuse_foreign(name, &status)?;
                }
                return Err(self.fault("create", name, FileType::RegularFile, error));
            }
        };
        let status = fs::fstat(&file).map(Status).map_err(|error| self.io_fault("look at", name, error))?;
        if status.kind() != FileType::RegularFile {
            return Err(self.not_a_file(name, status.kind()));
        }
        self.refuse_foreign(name, &status)?;
        Ok((file.into(), status, is_new))
    }

    /// Refuses a file or directory of another user. Root may use those of the user who owns this root.
    pub fn refuse_foreign(&self, name: impl AsRef<Path>, status: &Status) -> Result<(), FileError> {
        let (owner, user) = (status.0.st_uid, geteuid());
        let is_own = owner == user.as_raw() || (user.is_root() && owner == self.own_status()?.0.st_uid);
        match is_own {
            true => Ok(()),
            false => Err(FileError::Foreign { path: self.path.join(name), owner, user: user.as_raw() }),
        }
    }

    /// [`Root::refuse_foreign`] for a file that is only read, replaced or removed: root may have used this user's
    /// state and left the file.
    pub fn refuse_foreign_file(&self, name: impl AsRef<Path>, status: &Status) -> Result<(), FileError> {
        match status.0.st_uid {
            0 => Ok(()),
            _ => self.refuse_foreign(name, status),
        }
    }

    /// Refuses a file with several names: it may also be outside of this root.
    pub fn refuse_second_names(&self, name: impl AsRef<Path>, status: &Status) -> Result<(), FileError> {
        match status.0.st_nlink {
            // A file without a name has just been removed.
            0 | 1 => Ok(()),
            _ => Err(FileError::InTheWay {
                path: self.path.join(name),
                found: "a hard link to a file that has other names",
                expected: "a file of its own",
            }),
        }
    }

    /// Sets the mode through the descriptor, independently of the umask. A file that root creates gets the owner of
    /// this root, who could not use it otherwise.
    fn make_private(&self, name: &Path, file: &File, mode: Mode, is_new: bool) -> Result<(), FileError> {
        fs::fchmod(file, mode).map_err(|error| self.io_fault("set the mode of", name, error))?;
        let owner = self.own_status()?.0;
        if is_new && geteuid().is_root() && owner.st_uid != 0 {
            let (user, group) = (fs::Uid::from_raw(owner.st_uid), fs::Gid::from_raw(owner.st_gid));
            // If the owner cannot be changed, the file stays root's.
            let _ = fs::fchown(file, Some(user), Some(group));
        }
        Ok(())
    }
}

/// Creates a directory, unless the name exists, and opens it. Returns whether it is certainly the one that was created.
/// That gets the mode, independently of the umask; without a mode, the umask decides. `made` is called between: others
/// who may write to the parent can put another directory in its place then. A link there is refused.
fn make_directory(
    parent: impl AsFd,
    leaf: &OsStr,
    mode: Option<Mode>,
    made: impl FnOnce(),
) -> Result<(OwnedFd, bool), Errno> {
    let permitted = mode.unwrap_or(Mode::from_raw_mode(0o777));
    // The clock of the times of files.
    let start = clock_gettime(ClockId::RealtimeCoarse);
    let is_made = match fs::mkdirat(&parent, leaf, permitted) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error),
    };
    if is_made {
        made();
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = fs::openat(&parent, leaf, flags, Mode::empty())?;
    let is_new = is_made && (is_mine_alone(parent)? || is_new_since(start, &directory, permitted));
    if let Some(mode) = mode.filter(|_| is_new) {
        fs::fchmod(fs::openat(&directory, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?, mode)?;
    }
    Ok((directory, is_new))
}

/// Whether only this user can exchange the names in a directory.
fn is_mine_alone(directory: impl AsFd) -> Result<bool, Errno> {
    let status = fs::fstat(directory)?;
    Ok(status.st_uid == geteuid().as_raw() && status.st_mode & 0o022 == 0)
}

/// Whether an open directory was created by this user, at or after a time, with at most these permissions. False also
/// if the file system keeps no birth times.
fn is_new_since(start: Timespec, directory: &OwnedFd, permitted: Mode) -> bool {
    let flags = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let Ok(found) = fs::statx(directory, "", AtFlags::EMPTY_PATH, flags) else { return false };
    // A new directory inherits setgid.
    let is_permitted = (u32::from(found.stx_mode) & 0o5777) & !permitted.bits() == 0;
    let birth = (found.stx_btime.tv_sec, i64::from(found.stx_btime.tv_nsec));
    let has_birth = found.stx_mask & StatxFlags::BTIME.bits() != 0;
    found.stx_uid == geteuid().as_raw() && is_permitted && has_birth && birth >= (start.tv_sec, start.tv_nsec)
}

fn io_fault(action: &'static str, path: &Path, error: Errno) -> FileError {
    FileError::Io { action, path: path.into(), source: error.into() }
}

/// Refuses names that could lead out of the directory.
fn plain(name: &Path) -> Result<&Path, Errno> {
    let is_plain = name.components().all(|component| matches!(component, Component::Normal(_)));
    if is_plain { Ok(name) } else { Err(Errno::INVAL) }
}

/// A file, a directory or a link that [`Root::walk`] found.
#[derive(Clone, Debug)]
pub struct Entry {
    pub path: PathBuf,
    pub status: Status,
}

/// Walks a directory, see [`Root::walk`]. At most one directory is open at a time.
pub struct Walk<'a> {
    root: &'a Root,
    enter: &'a dyn Fn(&Path) -> bool,
    /// The directory that is being read.
    current: Option<(Dir, PathBuf)>,
    /// The directories still to be read.
    todo: Vec<PathBuf>,
}

impl Walk<'_> {
    /// Opens a directory. None: it is missing by now, or no directory.
    fn open(&mut self, path: PathBuf) -> Option<Result<Entry, FileError>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = self.root.open_at(&path, flags, Mode::empty()).and_then(|directory| {
            let status = fs::fstat(&directory)?;
            Ok((Dir::new(directory)?, Status(status)))
        });
        match opened {
            Ok((directory, status)) => {
                self.current = Some((directory, path.clone()));
                Some(Ok(Entry { path, status }))
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
            Err(error) => Some(Err(self.root.io_fault("list", &path, error))),
        }
    }

    /// The next file or link of the current directory; its directories are queued. None: the directory ends.
    fn read(&mut self) -> Option<Result<Entry, FileError>> {
        loop {
            let (directory, at) = self.current.as_mut()?;
            let entry = match directory.read() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => {
                    let fault = self.root.io_fault("list", at, error);
                    self.current = None;
                    return Some(Err(fault));
                }
                None => {
                    self.current = None;
                    return None;
                }
            };
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let path = at.join(name);
            let found = match entry.file_type() {
                FileType::Directory => Ok(None),
                // Some file systems do not give the types of a directory's entries.
                _ => directory.fd().and_then(|fd| fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)).map(Some),
            };
            match found.map(|found| found.map(Status)) {
                Ok(Some(status)) if status.kind() != FileType::Directory => return Some(Ok(Entry { path, status })),
                Ok(_) if (self.enter)(&path) => self.todo.push(path),
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Some(Err(self.root.io_fault("look at", &path, error))),
            }
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Entry, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.read() {
                return Some(found);
            }
            let path = self.todo.pop()?;
            if let Some(found) = self.open(path) {
                return Some(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with a file, a link to a directory outside and a link to a file in that; and that directory.
    fn scene(way: Way) -> (tempfile::TempDir, Root, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let (inside, outside) = (directory.path().join("inside"), directory.path().join("outside"));
        for made in [&inside, &outside] {
            std::fs::create_dir(made).unwrap();
            std::fs::write(made.join("file"), "old").unwrap();
        }
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        std::os::unix::fs::symlink(outside.join("file"), inside.join("file-link")).unwrap();
        let root = Root { way, ..Root::open(&inside).unwrap() };
        (directory, root, outside)
    }

    const WAYS: [Way; 2] = [Way::Kernel, Way::Walk];

    fn nothing(_: &Path) {}

    #[test]
    fn nothing_is_done_behind_a_link() {
        for way in WAYS {
            let (_directory, root, outside) = scene(way);
            let results = [
                root.open_file("link/file").map(drop),
                root.open_file("file-link").map(drop),
                root.status("link/file").map(drop),
                root.directory("link").map(drop),
                root.create_file("link/new", None).map(drop),
                root.make_directories("link/new", None, &mut nothing),
                root.rename("file", &root, "link/file"),
                root.rename("link/file", &root, "new").map(drop),
                root.link("file", &root, "link/new"),
                root.link("file-link", &root, "new"),
                root.link_open_file(&File::open(outside.join("file")).unwrap(), "link/new"),
                root.remove_file("link/file").map(drop),
                root.remove_directory("link"),
                root.walk("link", &|_| true).map(drop),
                root.private_directory("link", &mut nothing).map(drop),
                root.take_lock_file("file-link").map(drop),
                root.take_file_to_continue("link/file").map(drop),
            ];
            for (position, result) in results.into_iter().enumerate() {
                assert!(result.is_err(), "{way:?}, operation {position}");
            }
            assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "{way:?}");
            assert_eq!(std::fs::read(outside.join("file")).unwrap(), b"old", "{way:?}");
            let found: Vec<_> = root.walk("", &|_| true).unwrap().map(|entry| entry.unwrap().path).collect();
            assert!(!found.iter().any(|path| path.parent() == Some(Path::new("link"))), "{way:?}: {found:?}");
        }
    }

    /// Another user who may write above puts a link in place of the directory, as soon as that is made.
    #[test]
    fn a_link_in_place_of_a_directory_that_was_just_made_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let (_directory, root, outside) = scene(Way::Kernel);
        std::fs::set_permissions(&outside, std::fs::Permissions::from_mode(0o700)).unwrap();
        for path in ["new", "other/new"] {
            let path = root.path().join(path);
            let created = Root::create(&path, Some(Mode::from_raw_mode(0o755)), &mut |made| {
                let made = made.parent.path().join(made.name);
                std::fs::remove_dir(&made).unwrap();
                std::os::unix::fs::symlink(&outside, made).unwrap();
            });
            let message = created.unwrap_err().to_string();
            assert!(message.contains("another file or directory has this path"), "{message}");
            assert_eq!(outside.metadata().unwrap().permissions().mode() & 0o777, 0o700);
            assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
        }
    }

    /// Waits until the clock of the times of files has gone on.
    fn later() -> Timespec {
        let start = clock_gettime(ClockId::RealtimeCoarse);
        loop {
            match clock_gettime(ClockId::RealtimeCoarse) {
                now if now > start => return now,
                _ => std::thread::yield_now(),
            }
        }
    }

    /// Another user who may write to the parent puts a directory of this user in place of the one just made.
    #[test]
    fn a_directory_in_place_of_one_that_was_just_made_keeps_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        for is_exchanged in [true, false] {
            // Given a directory of this user alone, and a parent to which all may write.
            let (_directory, root, outside) = scene(Way::Kernel);
            std::fs::set_permissions(&outside, PermissionsExt::from_mode(0o700)).unwrap();
            std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o777)).unwrap();
            later();
            // When it is put in place of a directory that was just made.
            let new = root.path().join("new");
            let exchange = || {
                if is_exchanged {
                    std::fs::remove_dir(&new).unwrap();
                    std::fs::rename(&outside, &new).unwrap();
                }
            };
            let mode = Some(Mode::from_raw_mode(0o777));
            let (_, is_new) = make_directory(&root.directory, OsStr::new("new"), mode, exchange).unwrap();
            // Then it does not get the mode, which the directory that was made gets.
            assert_eq!(is_new, !is_exchanged);
            let expected = if is_exchanged { 0o700 } else { 0o777 };
            assert_eq!(new.metadata().unwrap().permissions().mode() & 0o777, expected);
        }
    }

    #[test]
    fn a_directory_that_was_made_is_removed_and_nothing_else_under_its_name() {
        let make = |root: &Root| {
            let mut all = Vec::new();
            Root::create(&root.path().join("new"), None, &mut |made| all.push(made)).unwrap();
            all.pop().unwrap()
        };
        // Given a directory that was made, when it is removed, then it is gone; and again is no error.
        let (_directory, root, outside) = scene(Way::Kernel);
        let made = make(&root);
        made.remove().unwrap();
        assert!(root.status("new").unwrap().is_none());
        made.remove().unwrap();
        // Given another directory, a file or a link in its place, then that stays.
        let new = root.path().join("new");
        let empty = root.path().join("empty");
        let exchanges: [&dyn Fn(); 3] =
            [&|| std::fs::rename(&empty, &new).unwrap(), &|| std::fs::write(&new, "precious").unwrap(), &|| {
                std::os::unix::fs::symlink(&outside, &new).unwrap()
            }];
        std::fs::create_dir(&empty).unwrap();
        for (position, exchange) in exchanges.iter().enumerate() {
            let made = make(&root);
            std::fs::rename(&new, root.path().join(format!("moved{position}"))).unwrap();
            exchange();
            made.remove().unwrap();
            assert!(root.status("new").unwrap().is_some(), "{position}");
            std::fs::rename(&new, root.path().join(format!("other{position}"))).unwrap();
        }
    }

    #[test]
    fn only_a_directory_that_was_born_since_with_these_permissions_counts_as_new() {
        let start = clock_gettime(ClockId::RealtimeCoarse);
        let (_directory, root, _outside) = scene(Way::Kernel);
        let permissions = Mode::from_raw_mode(0o777);
        assert!(is_new_since(start, &root.directory, permissions));
        assert!(!is_new_since(start, &root.directory, Mode::empty()));
        assert!(!is_new_since(later(), &root.directory, permissions));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for way in WAYS {
            let (_directory, root, outside) = scene(way);
            let absolute = outside.join("file");
            for name in ["..", "../outside/file", "a/../../outside/file", absolute.to_str().unwrap()] {
                assert!(root.open_file(name).is_err() && root.status(name).is_err(), "{way:?}: {name}");
                assert!(root.remove_file(name).is_err() && root.create_file(name, None).is_err(), "{way:?}: {name}");
            }
            assert!(absolute.exists());
        }
    }

    #[test]
    fn what_is_beneath_is_made_found_and_removed() {
        for way in WAYS {
            let (_directory, root, _outside) = scene(way);
            let mut made = Vec::new();
            root.make_directories("a/b/c", Some(Mode::RWXU), &mut |path| made.push(path.to_path_buf())).unwrap();
            assert_eq!(made, [Path::new("a"), Path::new("a/b"), Path::new("a/b/c")]);
            assert!(root.is_hollow("a"));
            root.rename("file", &root, "a/b/file").unwrap();
            root.link("a/b/file", &root, "a/b/c/file").unwrap();
            assert!(!root.is_hollow("a"));
            let mut found: Vec<_> = root.walk("a", &|_| true).unwrap().map(|entry| entry.unwrap().path).collect();
            found.sort();
            assert_eq!(found, ["a", "a/b", "a/b/c", "a/b/c/file", "a/b/file"].map(PathBuf::from));
            // Below a file nothing is, and that is no error.
            assert!(root.open_file("a/b/file/below").unwrap().is_none());
            assert!(root.open_file("missing/file").unwrap().is_none());
            let obstacle = root.make_directories("a/b/file/below", None, &mut nothing).unwrap_err().to_string();
            assert!(obstacle.contains("a/b/file is a file: expected a directory"), "{obstacle}");
            for file in ["a/b/c/file", "a/b/file"] {
                assert!(root.remove_file(file).unwrap());
            }
            root.remove_hollow("a").unwrap();
            assert!(root.status("a").unwrap().is_none());
        }
    }
}
