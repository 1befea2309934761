//! The private state of a directory that is a site: `.ocisite`, with the lock, temporary files and a space reserve.
//!
//! It is the owner's alone (0700, the lock 0600): another user could hold the lock, or put a link where a file is going to be
//! written. What does not belong to this user is refused, and only what has a name of ours is removed.
//!
//! The *reserve* is a file of zeros that holds space for a removal: taking an image out of a site replaces lists that name it
//! before anything else may go, and on a full disk there would be no room for the new ones.

use std::fs::File;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FileType, Mode, fallocate};

use crate::root::{FileError, Root, Taken};

/// The lock file.
pub const LOCK: &str = "lock";
/// The directory of temporary files.
pub const TEMPORARY: &str = "tmp";
/// The reserve.
pub const RESERVE: &str = "reserve";

/// What the name of a temporary file begins with.
const PREFIX: &str = ".tmp";
/// How many letters and digits follow.
const RANDOM_CHARACTERS: usize = 6;
/// How often a name is drawn that is taken: there are 57 thousand million of them.
const TRIES: usize = 16;
/// The smallest reserve, in bytes: the documents of a small site.
const MIN_RESERVE_BYTES: u64 = 64 * 1024;
/// How many times the size of a site's description the reserve has: the lists of the catalogue say more of each image.
const RESERVE_PER_DESCRIPTION: u64 = 16;

/// Takes the lock if it is free.
pub fn try_lock(private: &Root) -> Result<Option<File>, FileError> {
    Ok(match private.take_lock_file(LOCK)? {
        Taken::File(file) => Some(file),
        // A publisher that gives up on a new site removes the directory and the lock file: it has to be taken again.
        Taken::Busy | Taken::Gone => None,
    })
}

/// Removes temporary files of processes that are gone: whoever holds the lock is alone. Files of other users stay.
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

fn is_temporary(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX).unwrap_or_default();
    random.len() == RANDOM_CHARACTERS && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Keeps space for a removal, as far as there is space. `description` is the size of the site's description.
///
/// # Errors
/// Something else than a reserve stands in its place.
pub fn keep_reserve(private: &Root, description: u64) -> Result<(), FileError> {
    let bytes = MIN_RESERVE_BYTES.max(description.saturating_mul(RESERVE_PER_DESCRIPTION));
    if let Some(found) = private.file_status(RESERVE)? {
        private.refuse_foreign_file(RESERVE, &found)?;
        private.refuse_second_names(RESERVE, &found)?;
        if found.size() >= bytes {
            return Ok(());
        }
    }
    // A smaller one may have no space behind it, as on a file system that cannot keep any.
    let _ = private.remove_file(RESERVE);
    let Ok(file) = private.create_file(RESERVE, Some(Mode::RUSR | Mode::WUSR)) else { return Ok(()) };
    if fallocate(&file, FallocateFlags::empty(), 0, bytes).is_err() {
        let _ = private.remove_file(RESERVE);
    }
    Ok(())
}

/// A temporary file, or a second name of a file. Dropped, it is removed.
#[derive(Debug)]
pub struct Temporary {
    directory: Arc<Root>,
    name: String,
    is_kept: bool,
}

impl Temporary {
    /// Makes something under a name that is free; `make` fails with [`std::io::ErrorKind::AlreadyExists`] if it is taken.
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
                Err(error) if error.kind() == Some(std::io::ErrorKind::AlreadyExists) && tries < TRIES => tries += 1,
                Err(error) => {
                    // It may have been made, and not filled.
                    let _ = directory.remove_file(&name);
                    return Err(error);
                }
            }
        }
    }

    /// Opens it to read.
    pub fn open(&self) -> Result<File, FileError> {
        let absent = || FileError::Io {
            action: "read",
            path: self.directory.path().join(&self.name),
            source: std::io::ErrorKind::NotFound.into(),
        };
        self.directory.open_file(&self.name)?.map(|(file, _)| file).ok_or_else(absent)
    }

    /// Gives it its final name.
    pub fn rename(&mut self, root: &Root, to: &str) -> Result<(), FileError> {
        self.directory.rename(&self.name, root, to)?;
        self.is_kept = true;
        Ok(())
    }

    /// Leaves it where it is.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_kept {
            // The next process that holds the lock removes it otherwise.
            let _ = self.directory.remove_file(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_temporary() {
        assert!(is_temporary(".tmpAbCd12"));
        for name in [".tmpAbCd1", ".tmpAbCd123", ".tmpAbCd1.", "tmpAbCd12", "AbCd12", ".tmp", "", "notes.txt"] {
            assert!(!is_temporary(name), "{name:?}");
        }
    }
}
