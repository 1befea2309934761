//! The preview server, started as a person would, on a free port.

use std::io::{BufRead, BufReader, Read};
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::fixtures::PROGRAM;
use super::http::{Base, PATIENCE};

/// A running preview; it ends with the value.
pub struct Preview {
    child: Child,
    stdout: BufReader<ChildStdout>,
    base: Base,
}

impl Preview {
    /// Serves a site.
    pub fn start(root: &Path) -> Preview {
        Preview::run(Command::new(PROGRAM), root, &[], Stdio::inherit())
    }

    /// Serves a site, with more arguments, and keeps what is said on standard error.
    pub fn start_heard(root: &Path, args: &[&str]) -> Preview {
        Preview::run(Command::new(PROGRAM), root, args, Stdio::piped())
    }

    /// Serves a site with so many files at most that may be open at once.
    pub fn start_with_few_files(root: &Path, files: u32) -> Preview {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\""), PROGRAM]);
        Preview::run(shell, root, &[], Stdio::inherit())
    }

    fn run(mut command: Command, root: &Path, args: &[&str], stderr: Stdio) -> Preview {
        command.arg("serve").arg(root).args(["--listen", "127.0.0.1:0"]).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        stdout.read_line(&mut greeting).unwrap();
        let address = greeting.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            panic!("no address in {greeting:?}");
        };
        Preview { child, stdout, base: Base { address, host: "localhost".into(), root: root.into() } }
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that its process has taken until now.
    pub fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many bytes its process has read until now.
    pub fn bytes_read(&self) -> u64 {
        let counters = std::fs::read_to_string(format!("/proc/{}/io", self.id())).unwrap();
        counters.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    /// How many files its process has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has ended by itself: longer than it gives its clients then, and not so long that a client which takes
    /// nothing has been given up anyway.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        while start.elapsed() < 2 * PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server does not end");
    }

    /// Ends it, and gives what it printed on standard output after the address, and what was kept of standard error.
    pub fn stop(mut self) -> (String, String) {
        self.signal(Signal::TERM);
        let status = self.wait();
        let (mut out, mut error) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).unwrap();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut error).unwrap();
        }
        assert_eq!(status.code(), Some(0), "{error}");
        (out, error)
    }
}

impl Deref for Preview {
    type Target = Base;

    fn deref(&self) -> &Base {
        &self.base
    }
}

impl Drop for Preview {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
