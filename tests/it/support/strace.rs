//! Faults on purpose: `strace` counts the system calls of one run, and then kills the next, or fails one of its calls.
//!
//! A run has a few hundred of them. By default some are tried, spread over the whole run and beginning elsewhere for each test,
//! each with one of its errors in turn; with `OCISITE_FAULTS=all` in the environment it is every one, with all of its errors.
//!
//! strace counts the calls of each thread for itself, so the program runs on one processor, where it works in one thread; and
//! each fault has to strike.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::program::{PROGRAM, text};

/// The calls that change a file system. Of `openat` and `openat2` those that make a file; of `ioctl` the one that shares blocks.
const CHANGES: &str = "write,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,chmod,fchmod,\
                       fchmodat,ftruncate,syncfs,fsync,fdatasync,copy_file_range,ioctl,openat,openat2";
/// Those that a change needs.
const NEEDS: &str = "read,flock";

/// How many calls of a run are tried by default.
const TRIED: usize = 24;

/// What is done to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// It is killed in a call with which it changes something.
    Kill,
    /// Such a call, or one that the change needs, fails.
    Error,
}

/// A call of a run.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    /// Its number among those of that name.
    number: usize,
    makes_a_file: bool,
}

impl Call {
    /// The faults that make this call fail, as it can fail for real.
    fn errors(&self) -> &'static [&'static str] {
        match self.name.as_str() {
            "openat" | "openat2" if self.makes_a_file => &["EACCES", "EMFILE", "ENOSPC", "EIO"],
            "openat" | "openat2" => &["EACCES", "EMFILE", "EIO"],
            "read" | "flock" => &["EIO"],
            "write" | "syncfs" | "fsync" | "fdatasync" | "copy_file_range" => &["ENOSPC", "EIO"],
            _ => &["ENOSPC", "EACCES", "EIO"],
        }
    }

    fn faults(&self, position: usize, disturbance: Disturbance) -> Vec<String> {
        let fault = |what: String| format!("{}:{what}:when={}", self.name, self.number);
        if disturbance == Disturbance::Kill {
            return vec![fault("signal=KILL".into())];
        }
        let all: Vec<String> = self.errors().iter().map(|error| fault(format!("error={error}"))).collect();
        if is_all() { all } else { vec![all[position % all.len()].clone()] }
    }
}

fn is_all() -> bool {
    std::env::var_os("OCISITE_FAULTS").is_some_and(|value| value == "all")
}

/// A program's run, to be disturbed.
pub struct Run<'a> {
    /// The arguments of `ocisite`.
    pub args: &'a [String],
    /// The directories whose calls are disturbed: those on other files are left alone.
    pub within: &'a [&'a Path],
    /// Where the trace may be written.
    pub trace: PathBuf,
}

impl Run<'_> {
    /// Runs the program with faults, each of which has to strike.
    pub fn with(&self, faults: &[&str]) -> Output {
        let output = self.run(faults);
        let trace = self.lines().join("\n");
        let is_kill = faults.iter().any(|fault| fault.contains("signal=KILL"));
        match is_kill {
            true => assert_eq!(output.status.signal(), Some(9), "not killed by {faults:?}: {output:?}"),
            false => assert!(trace.matches("(INJECTED)").count() >= faults.len(), "{faults:?} in:\n{trace}"),
        }
        output
    }

    /// Runs the program under `strace`.
    fn run(&self, faults: &[&str]) -> Output {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &processor(), "strace", "-f", "-y", "-qq", "-o", text(&self.trace)]);
        command.args(["-e", &format!("trace={CHANGES},{NEEDS}")]);
        for fault in faults {
            command.args(["-e", &format!("inject={fault}")]);
        }
        command.arg(PROGRAM).args(self.args);
        command.output().expect("this test needs strace and taskset: scripts/test installs them")
    }

    fn lines(&self) -> Vec<String> {
        let trace = String::from_utf8_lossy(&std::fs::read(&self.trace).unwrap()).into_owned();
        trace.lines().map(str::to_string).collect()
    }

    /// Goes through the faults of a run, beginning with the call of this number. Each time `prepare` makes everything as it was
    /// before, and `check` hears of the fault and how the run ended.
    pub fn each(&self, disturbance: Disturbance, first: usize, prepare: &dyn Fn(), check: &dyn Fn(&str, &Output)) {
        prepare();
        let calls = self.calls(disturbance);
        let step = if is_all() { 1 } else { calls.len().div_ceil(TRIED).max(1) };
        for (position, call) in calls.iter().skip(first % step).step_by(step).enumerate() {
            for fault in call.faults(position + first, disturbance) {
                prepare();
                check(&fault, &self.with(&[&fault]));
            }
        }
    }

    /// Runs undisturbed, and gives the calls that touch the directories.
    fn calls(&self, disturbance: Disturbance) -> Vec<Call> {
        let output = self.run(&[]);
        assert!(output.status.success(), "strace cannot trace here: {}", String::from_utf8_lossy(&output.stderr));
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut calls = Vec::new();
        let mut threads = BTreeSet::new();
        for line in self.lines() {
            let Some((before, arguments)) = line.split_once('(') else { continue };
            let mut words = before.split_whitespace();
            let (Some(thread), Some(name)) = (words.next(), words.next_back()) else { continue };
            let number = counts.entry(name.to_string()).or_default();
            *number += 1;
            // What the program says is not a change.
            if name == "write" && (arguments.starts_with("1<") || arguments.starts_with("2<")) {
                continue;
            }
            let makes_a_file = arguments.contains("O_CREAT");
            let is_meant = match name {
                "ioctl" => arguments.contains("FICLONE"),
                "openat" | "openat2" => makes_a_file || disturbance == Disturbance::Error,
                name => disturbance == Disturbance::Error || CHANGES.split(',').any(|change| change == name),
            };
            if is_meant && self.within.iter().any(|directory| line.contains(text(directory))) {
                calls.push(Call { name: name.into(), number: *number, makes_a_file });
                threads.insert(thread.to_string());
            }
        }
        assert!(calls.len() > 10, "{calls:?}");
        assert_eq!(threads.len(), 1, "strace counts for each thread: {calls:?}");
        calls
    }

    /// The fault that makes the first call fail which was made after another one struck, and whose line has these words.
    pub fn fault_after_fault(&self, error: &str, words: &[&str]) -> String {
        let lines = self.lines();
        let struck = lines.iter().position(|line| line.contains("(INJECTED)")).unwrap();
        let is_meant = |line: &&String| words.iter().all(|word| line.contains(word));
        let found = lines[struck + 1..].iter().find(is_meant);
        let found = found.unwrap_or_else(|| panic!("no call with {words:?} after the fault:\n{}", lines.join("\n")));
        let name =
            |line: &str| line.split('(').next().unwrap_or_default().split_whitespace().last().map(str::to_string);
        let same = lines.iter().filter(|line| name(line) == name(found));
        let number = 1 + same.clone().position(|line| line == found).unwrap();
        format!("{}:error={error}:when={number}", name(found).unwrap())
    }
}

/// A processor that this process may run on.
fn processor() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    allowed.trim().split([',', '-']).next().unwrap().to_string()
}

/// A copy of a directory in another's place.
pub fn replace(directory: &Path, with: &Path) {
    if directory.exists() {
        std::fs::remove_dir_all(directory).unwrap();
    }
    assert!(Command::new("cp").args(["-a", text(with), text(directory)]).status().unwrap().success());
}
