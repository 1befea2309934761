//! Faults on purpose: `strace` counts the system calls of one run, and then kills the next, or fails one of its calls.
//!
//! A run has a few hundred of them. By default some are tried, spread over the whole run and beginning elsewhere for each test;
//! with `OCISITE_FAULTS=all` in the environment it is every one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::program::{PROGRAM, text};

/// The calls that change a file system.
pub const CHANGES: &str = "write,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,chmod,fchmod,\
                           fchmodat,ftruncate,syncfs,fsync,fdatasync";
/// Those that a change needs.
pub const NEEDS: &str = "openat,read,flock";

/// How many calls of a run are tried by default.
const TRIED: usize = 24;

/// A call of a run: its name, and its number among those of that name.
#[derive(Clone, Debug)]
pub struct Call {
    name: String,
    number: usize,
}

impl Call {
    /// The fault that kills the program in this call.
    pub fn kill(&self) -> String {
        format!("{}:signal=KILL:when={}", self.name, self.number)
    }

    /// The faults that make this call fail, as it can fail for real.
    pub fn errors(&self) -> Vec<String> {
        let errors: &[&str] = match self.name.as_str() {
            "openat" => &["EACCES", "EMFILE"],
            "read" | "flock" => &["EIO"],
            "write" => &["ENOSPC", "EIO"],
            _ => &["ENOSPC", "EACCES"],
        };
        errors.iter().map(|error| format!("{}:error={error}:when={}", self.name, self.number)).collect()
    }
}

/// A program's run, to be disturbed.
pub struct Run<'a> {
    /// The arguments of `ocisite`.
    pub args: &'a [String],
    /// The directories that it changes: calls on other files are left alone.
    pub within: &'a [&'a Path],
    /// The system calls to look at.
    pub calls: &'a str,
    /// Where the trace may be written.
    pub trace: PathBuf,
}

impl Run<'_> {
    /// Runs the program, with a fault where one is given.
    pub fn with(&self, fault: Option<&str>) -> Output {
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-qq", "-o", text(&self.trace), "-e", &format!("trace={}", self.calls)]);
        if let Some(fault) = fault {
            command.args(["-e", &format!("inject={fault}")]);
        }
        command.arg(PROGRAM).args(self.args);
        command.output().expect("this test needs strace: scripts/test installs it")
    }

    /// Runs undisturbed, and gives the calls to try of those that touched the directories.
    pub fn calls(&self, first: usize) -> Vec<Call> {
        let output = self.with(None);
        assert!(output.status.success(), "strace cannot trace here: {}", String::from_utf8_lossy(&output.stderr));
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut calls = Vec::new();
        for line in std::fs::read_to_string(&self.trace).unwrap().lines() {
            let Some((before, _)) = line.split_once('(') else { continue };
            let name = before.split_whitespace().last().unwrap_or_default().to_string();
            let number = counts.entry(name.clone()).or_default();
            *number += 1;
            if self.within.iter().any(|directory| line.contains(text(directory))) {
                calls.push(Call { name, number: *number });
            }
        }
        let is_all = std::env::var_os("OCISITE_FAULTS").is_some_and(|value| value == "all");
        let step = if is_all { 1 } else { calls.len().div_ceil(TRIED).max(1) };
        assert!(calls.len() > 10, "{calls:?}");
        calls.into_iter().skip(first % step).step_by(step).collect()
    }
}

/// A copy of a directory in another's place.
pub fn replace(directory: &Path, with: &Path) {
    if directory.exists() {
        std::fs::remove_dir_all(directory).unwrap();
    }
    assert!(Command::new("cp").args(["-a", text(with), text(directory)]).status().unwrap().success());
}
