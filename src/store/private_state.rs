//! The private state of a directory that is a site: `.ocisite`, with the lock, temporary files and a space reserve.
//!
//! Only the owner has access (directory 0700, lock 0600): another user could hold the lock, or put a link at the path
//! of a new file. Files of other users are refused, and only files with a name of this program are removed.
//!
//! The *reserve* is a file of zeros that holds space for a removal: a removal replaces lists before it removes
//! anything else, and on a full disk there is no room for the new lists.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FileType, Mode, fallocate};

use crate::root::{FileError, Root, Taken};

pub const LOCK: &str = "lock";
pub const TEMPORARY: &str = "tmp";
pub const RESERVE: &str = "reserve";

/// The prefix of temporary files' names.
const PREFIX: &str = ".tmp";
/// The prefix of the names of files that stay: former versions of documents that a rollback could not restore.
const KEPT_PREFIX: &str = "former-";
/// The random characters after the prefix.
const RANDOM_CHARACTERS: usize = 6;
/// The most attempts to find a free name, of 57 thousand million.
const TRIES: usize = 16;
/// The smallest reserve, in bytes: the documents of a small site.
const MIN_RESERVE_BYTES: u64 = 64 * 1024;
/// The size of the reserve as a multiple of the size of the site's description: the lists of the catalogue have more
/// text for each image.
const RESERVE_PER_DESCRIPTION: u64 = 16;

/// Takes the lock if it is free.
pub fn try_lock(private: &Root) -> Result<Option<File>, FileError> {
    Ok(match private.take_lock_file(LOCK)? {
        Taken::File(file) => Some(file),
        // A publisher that removes its new site also removes the lock file, so the file must still be the same.
        Taken::Busy | Taken::Gone => None,
    })
}

/// Removes temporary files of ended processes. The caller holds the lock, so no other process has any. Files of other
/// users stay.
pub fn remove_leftovers(private: &Root) -> Result<(), FileError> {
    let Some(directory) = private.existing_private_directory(TEMPORARY)? else { return Ok(()) };
    for name in directory.names()? {
        let Some(found) = directory.status(&name)?.filter(|_| name.to_str().is_some_and(is_temporary)) else {
            continue;
        };
        if found.kind() == FileType::RegularFile && directory.refuse_foreign_file(&name, &found).is_ok() {
            directory.remove_file(&name)?;
        }
    }
    Ok(())
}

/// Whether temporary files have names like this one.
pub fn is_temporary(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX).unwrap_or_default();
    random.len() == RANDOM_CHARACTERS && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Creates the reserve, if there is enough space. `description` is the size of the site's description in bytes.
///
/// # Errors
/// Another file is at the reserve's path.
pub fn keep_reserve(private: &Root, description: u64) -> Result<(), FileError> {
    let bytes = MIN_RESERVE_BYTES.max(description.saturating_mul(RESERVE_PER_DESCRIPTION));
    if let Some(found) = private.file_status(RESERVE)? {
        private.refuse_foreign_file(RESERVE, &found)?;
        private.refuse_second_names(RESERVE, &found)?;
        if found.size() >= bytes {
            return Ok(());
        }
    }
    // The blocks of a smaller reserve may be missing, for example on a file system that cannot allocate them.
    let _ = private.remove_file(RESERVE);
    let Ok(file) = private.create_file(RESERVE, Some(Mode::RUSR | Mode::WUSR)) else { return Ok(()) };
    if fallocate(&file, FallocateFlags::empty(), 0, bytes).is_err() {
        let _ = private.remove_file(RESERVE);
    }
    Ok(())
}

/// A temporary file, or a second name of a file. Dropping the value removes it.
#[derive(Debug)]
pub struct Temporary {
    directory: Arc<Root>,
    name: String,
    is_kept: bool,
}

impl Temporary {
    /// Creates a file under a free name; `make` fails with [`std::io::ErrorKind::AlreadyExists`] if the name exists.
    pub fn make<T>(
        directory: &Arc<Root>,
        make: impl Fn(&str) -> Result<T, FileError>,
    ) -> Result<(T, Temporary), FileError> {
        let mut tries = 0;
        loop {
            let random = std::iter::repeat_with(fastrand::alphanumeric).take(RANDOM_CHARACTERS);
            let name: String = PREFIX.chars().chain(random).collect();
            match make(&name) {
                Ok(made) => return Ok((made, Temporary { directory: directory.clone(), name, is_kept: false })),
                // The file is another program's.
                Err(error) if error.kind() == Some(std::io::ErrorKind::AlreadyExists) => match tries < TRIES {
                    true => tries += 1,
                    false => return Err(error),
                },
                Err(error) => {
                    // The file may exist without its content.
                    let _ = directory.remove_file(&name);
                    return Err(error);
                }
            }
        }
    }

    pub fn open(&self) -> Result<File, FileError> {
        let absent = || FileError::Io {
            action: "read",
            path: self.directory.path().join(&self.name),
            source: std::io::ErrorKind::NotFound.into(),
        };
        self.directory.open_file(&self.name)?.map(|(file, _)| file).ok_or_else(absent)
    }

    /// Renames the file, which the caller has open, to its final name. A site's owner for whom root publishes can put
    /// another file under the temporary name.
    pub fn rename(&mut self, file: &File, root: &Root, to: &str) -> Result<(), FileError> {
        self.directory.rename_open_file(file, &self.name, root, to)?;
        self.is_kept = true;
        Ok(())
    }

    /// Gives the file a name that is not temporary, so that [`remove_leftovers`] leaves it. Returns its path.
    pub fn keep(mut self) -> Result<PathBuf, FileError> {
        // Also if the name cannot be changed: then the file stays until the next process has the lock.
        self.is_kept = true;
        let kept = self.name.replacen(PREFIX, KEPT_PREFIX, 1);
        self.directory.rename(&self.name, &self.directory, &kept)?;
        Ok(self.directory.path().join(kept))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_kept {
            // If this fails, the next process with the lock removes the file.
            let _ = self.directory.remove_file(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_place_of_a_temporary_one_gets_no_name() {
        let path = tempfile::tempdir().unwrap();
        let root = Arc::new(Root::open(path.path()).unwrap());
        let (file, mut temporary) = Temporary::make(&root, |name| root.create_file(name, None)).unwrap();
        root.remove_file(&temporary.name).unwrap();
        root.create_file(&temporary.name, None).unwrap();
        temporary.rename(&file, &root, "blob").unwrap_err();
        assert!(root.status("blob").unwrap().is_none());
    }

    #[test]
    fn a_file_of_another_program_under_a_temporary_name_stays() {
        let path = tempfile::tempdir().unwrap();
        let root = Arc::new(Root::open(path.path()).unwrap());
        // Given another program that always creates the file first.
        let made = Temporary::make(&root, |name| {
            root.create_file(name, None)?;
            root.create_file(name, None)
        });
        // Then no name is free, and no file of the other program is removed.
        assert_eq!(made.unwrap_err().kind(), Some(std::io::ErrorKind::AlreadyExists));
        assert_eq!(root.names().unwrap().len(), TRIES + 1);
    }

    #[test]
    fn only_names_of_ours_are_temporary() {
        assert!(is_temporary(".tmpAbCd12"));
        for name in [".tmpAbCd1", ".tmpAbCd123", ".tmpAbCd1.", "tmpAbCd12", "AbCd12", ".tmp", "", "notes.txt"] {
            assert!(!is_temporary(name), "{name:?}");
        }
    }
}
