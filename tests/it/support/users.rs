//! The program, run by other users than the test's.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::program::{PROGRAM, text};

/// A user whom permissions bind.
pub const NOBODY: u32 = 65534;
/// Another one.
pub const SOMEONE: u32 = 65533;

/// A directory that anyone may use, with a copy of the program in it.
pub fn public_directory() -> TempDir {
    let directory = TempDir::new().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
    // Not by this process: whatever other tests start meanwhile would inherit the open file, and a file that is open for
    // writing cannot be run.
    assert!(Command::new("cp").args([PROGRAM, text(directory.path())]).status().unwrap().success());
    directory
}

/// The copy of the program, run by another user, who is not root. A test that is not root runs it as itself.
pub fn as_user(directory: &TempDir, user: u32) -> assert_cmd::Command {
    let mut command = Command::new(directory.path().join("ocisite"));
    command.current_dir(directory);
    if rustix::process::geteuid().is_root() {
        command.uid(user).gid(user);
    }
    assert_cmd::Command::from_std(command)
}

/// Gives a directory and everything below it to a user. Only root can.
pub fn give(path: &Path, user: u32) {
    for entry in walkdir::WalkDir::new(path) {
        chown(entry.unwrap().path(), Some(user), Some(user)).unwrap();
    }
}

/// Whether the test may run programs as several users; says so if it may not.
pub fn has_users() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("not tested: running programs as several users needs root");
    }
    is_root
}
