//! containerd, which a test starts for itself, with all its state in a temporary directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::fixtures::{self, readable_directory};

/// How long it may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// A running containerd; it ends with the value.
pub struct Containerd {
    child: Child,
    directory: TempDir,
}

impl Containerd {
    pub fn start() -> Containerd {
        let directory = readable_directory();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = '{}'\nstate = '{}'\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n\
             [grpc]\naddress = '{}'\nuid = {}\ngid = {}\n",
            path("root"),
            path("state"),
            path("socket"),
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        std::fs::write(path("config.toml"), config).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let mut command = Command::new("containerd");
        command.arg("--config").arg(path("config.toml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("this test needs containerd: scripts/test installs it");
        let containerd = Containerd { child, directory };
        let start = Instant::now();
        while !containerd.ctr().arg("version").output().unwrap().status.success() {
            let log = std::fs::read_to_string(containerd.directory.path().join("log")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "containerd does not answer:\n{log}");
            std::thread::sleep(PAUSE);
        }
        containerd
    }

    fn ctr(&self) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.directory.path().join("socket"));
        ctr
    }

    /// `ctr images pull`: the blobs of one platform or of all, unpacked for one. The native snapshotter needs no overlay.
    pub fn pull(&self, image: &str) -> Command {
        let mut ctr = self.ctr();
        ctr.args(["images", "pull", "--plain-http", "--snapshotter=native", "--platform=linux/amd64", image]);
        ctr
    }

    /// The same, with the registries' configurations in a directory.
    pub fn pull_with_hosts(&self, hosts: &Path, image: &str) -> Command {
        let mut ctr = self.ctr();
        ctr.args(["images", "pull", "--snapshotter=native", "--platform=linux/amd64", "--hosts-dir"])
            .arg(hosts)
            .arg(image);
        ctr
    }

    /// `ctr content fetch`: the blobs of all platforms, and what else an index names.
    pub fn fetch(&self, image: &str) {
        fixtures::run(self.ctr().args(["content", "fetch", "--plain-http", "--all-platforms", image]));
    }

    /// Every blob that it has, by digest.
    pub fn blobs(&self) -> BTreeMap<String, Vec<u8>> {
        let blobs: PathBuf = self.directory.path().join("root/io.containerd.content.v1.content/blobs/sha256");
        let entries = std::fs::read_dir(blobs).unwrap().map(Result::unwrap);
        let blob = |entry: std::fs::DirEntry| {
            let encoded = entry.file_name().into_string().unwrap();
            (format!("sha256:{encoded}"), std::fs::read(entry.path()).unwrap())
        };
        entries.map(blob).collect()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
