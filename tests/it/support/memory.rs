//! Runs the program with little memory.
//!
//! A limit is deterministic where a measured peak is not: a program that needs more is refused the memory and aborts, and its
//! test fails. The limit is on data (`RLIMIT_DATA`: heap, stacks of threads, private writable mappings) and not on the address
//! space, of which an allocator reserves far more than it uses. Each thread's stack counts with 2 MiB, so tests give `--jobs`.

use assert_cmd::Command;

use super::program::{PATIENCE, PROGRAM};

/// A mebibyte.
pub const MIB: u64 = 1024 * 1024;

/// The program, ready to be given arguments, with at most `bytes` of data. It is run by prlimit(1) of util-linux.
pub fn within(bytes: u64) -> std::process::Command {
    let mut command = std::process::Command::new("prlimit");
    command.arg(format!("--data={bytes}")).arg("--core=0").arg(PROGRAM);
    command
}

/// [`within`], with the patience of a test.
pub fn ocisite_within(bytes: u64) -> Command {
    let mut command = Command::from_std(within(bytes));
    command.timeout(PATIENCE).env_remove("NO_COLOR");
    command
}
