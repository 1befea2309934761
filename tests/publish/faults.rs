//! A publish that is killed, or fails, at each system call with which it changes the site.
//!
//! `strace` counts the calls of one run and then injects a fault into the n-th of the next. By default every fifth call is
//! tried, beginning elsewhere for each of them; with `OCISITE_FAULTS=all` in the environment it is every one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::layout::Layout;
use crate::support::program::{PROGRAM, publish, text};
use crate::support::site::Snapshot;

/// The calls that change a file system, and some that a change needs.
const CALLS: &str = "openat,write,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,chmod,fchmod,\
                     fchmodat,ftruncate,syncfs,flock";

struct Scene {
    directory: TempDir,
    /// The site before the publish.
    old: PathBuf,
    /// What a publish that nothing disturbs makes of it.
    new: Snapshot,
    args: Vec<String>,
}

/// A site with two images and the registry view, and a publish that replaces all of their refs.
fn scene() -> Scene {
    let directory = TempDir::new().unwrap();
    let args = |reference: &str| {
        let mut layout = Layout::new(directory.path().join(reference));
        let image = layout.image(reference);
        let signature = layout.artifact(&format!("of {reference}"), &image);
        layout.add(reference, image);
        layout.add_untagged(signature);
        let images = ["team/app", "tool"].map(|name| format!("example.com/{name}={}", layout.arg()));
        // One worker, so that the calls come in the same order each time.
        ["--registry", "--replace", "--jobs", "1"].map(String::from).into_iter().chain(images).collect::<Vec<_>>()
    };
    let (first, args) = (args("1.0"), args("2.0"));
    let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
    publish(&old, &borrowed(&first));
    copy(&old, &new);
    publish(&new, &borrowed(&args));
    Scene { new: Snapshot::public(&new), directory, old, args }
}

fn borrowed(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").args(["-a", text(from), text(to)]).status().unwrap().success());
}

impl Scene {
    fn site(&self) -> PathBuf {
        self.directory.path().join("site")
    }

    /// Publishes to a fresh copy of the old site, with a fault where one is given.
    fn publish_with(&self, fault: Option<&str>) -> Output {
        let site = self.site();
        if site.exists() {
            std::fs::remove_dir_all(&site).unwrap();
        }
        copy(&self.old, &site);
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-qq", "-o", text(&self.trace()), "-e", &format!("trace={CALLS}")]);
        if let Some(fault) = fault {
            command.args(["-e", &format!("inject={fault}")]);
        }
        command.args([PROGRAM, "publish", "--quiet", "--site", text(&site)]).args(&self.args);
        command.output().expect("strace has to be installed")
    }

    fn trace(&self) -> PathBuf {
        self.directory.path().join("trace")
    }

    /// The calls that touch the site: each a name, and its number among those of that name.
    fn calls(&self) -> Vec<(String, usize)> {
        let output = self.publish_with(None);
        assert!(output.status.success(), "strace cannot trace here: {}", String::from_utf8_lossy(&output.stderr));
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut calls = Vec::new();
        for line in std::fs::read_to_string(self.trace()).unwrap().lines() {
            let Some((before, _)) = line.split_once('(') else { continue };
            let name = before.split_whitespace().last().unwrap_or_default().to_string();
            let count = counts.entry(name.clone()).or_default();
            *count += 1;
            if line.contains(text(&self.site())) {
                calls.push((name, *count));
            }
        }
        assert!(calls.len() > 100, "{calls:?}");
        calls
    }

    /// The calls to try.
    fn chosen(&self, first: usize) -> Vec<(String, usize)> {
        let step = if std::env::var_os("OCISITE_FAULTS").is_some_and(|value| value == "all") { 1 } else { 5 };
        self.calls().into_iter().skip(first % step).step_by(step).collect()
    }
}

#[test]
fn killed_at_any_call_it_leaves_old_or_new_documents_and_the_next_run_completes() {
    let scene = scene();
    let old = Snapshot::public(&scene.old);
    for (call, number) in scene.chosen(1) {
        let fault = format!("{call}:signal=KILL:when={number}");
        scene.publish_with(Some(&fault));
        let found = Snapshot::public(&scene.site());
        for (path, item) in &found.0 {
            let is_known = [&old, &scene.new].iter().any(|whole| whole.0.get(path) == Some(item));
            assert!(is_known, "{fault}: {} is neither old nor new", path.display());
        }
        for path in old.0.keys().filter(|path| scene.new.0.contains_key(*path)) {
            assert!(found.0.contains_key(path), "{fault}: {} is gone", path.display());
        }
        publish(&scene.site(), &borrowed(&scene.args));
        scene.new.assert_same(&Snapshot::public(&scene.site()));
    }
}

#[test]
fn failing_at_any_call_it_says_so_and_leaves_the_site_as_it_was() {
    let scene = scene();
    let old = Snapshot::of(&scene.old);
    for (call, number) in scene.chosen(3) {
        let fault = format!("{call}:error=ENOSPC:when={number}");
        let output = scene.publish_with(Some(&fault));
        let message = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            // Some things can be done without: a hard link, the removal of a temporary file.
            Some(0) => scene.new.assert_same(&Snapshot::public(&scene.site())),
            code => {
                assert_eq!(code, Some(2), "{fault}: {message}");
                assert!(message.contains(text(&scene.site())), "{fault}: {message}");
                old.assert_unchanged(&scene.site());
            }
        }
    }
}
