//! `gc`, `remove`, `copy` and `pull` at work in several threads, killed at any moment: what is left is whole, and the next run
//! completes. (For `publish`, see `tests/it/publish/safety.rs`.)
//!
//! When they are killed depends on the machine, so only `scripts/soak` runs these. `faults` has kills at each system call.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::good_site::GoodSite;
use super::program::{ocisite, verify};
use crate::support::layout::Layout;
use crate::support::preview::Preview;
use crate::support::program::{PROGRAM, publish, text};
use crate::support::site::{Snapshot, json as read_json};
use crate::support::soak::moments_to_kill;
use crate::support::strace::replace;

/// The files that a reader can see; a kill between the removal of a file and that of its directory leaves the directory.
pub fn files(root: &Path) -> Snapshot {
    let Snapshot(mut items) = Snapshot::public(root);
    items.retain(|_, item| item.bytes.is_some());
    Snapshot(items)
}

/// So many blobs of nobody give a gc enough to do.
const ORPHANS: usize = 200;

/// Runs the program and kills it at a point of its usual duration. Whether it was killed, or ended before.
fn kill_at(args: &[&str], usual: Duration, part: f64) -> bool {
    let mut child = Command::new(PROGRAM).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(usual.mul_f64(part));
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// How long a command takes when nobody kills it.
fn duration(args: &[&str]) -> Duration {
    let start = Instant::now();
    ocisite().args(args).assert().success();
    start.elapsed()
}

/// No consumer fails, and nothing is wrong but what the next run puts right: the catalogue and the registry view are rewritten
/// before that which they tell of is removed.
pub fn assert_whole(site: &Path) {
    let verified = verify(&[site.to_str().unwrap(), "--deep"]);
    let warnings = verified.of_severity("warning");
    assert_eq!(verified.report["errors"], json!(0), "{:#}", verified.report);
    let is_ahead =
        |warning: &String| ["catalogue-differs ", "registry-differs "].iter().any(|id| warning.starts_with(id));
    assert!(warnings.iter().all(is_ahead), "{warnings:?}");
}

#[test]
#[ignore = "run by scripts/soak"]
fn gc() {
    let site = GoodSite::with(&["--registry"]);
    let before = files(&site.root());
    let litter = || {
        (0..ORPHANS).for_each(|number| drop(site.put(format!("blob {number} of nobody").as_bytes())));
    };
    let arg = site.arg();
    let args = ["gc", &arg, "--grace", "0"];
    litter();
    let usual = duration(&args);
    let mut killed = 0;
    for part in moments_to_kill() {
        litter();
        killed += u32::from(kill_at(&args, usual, part));
        assert_whole(&site.root());
    }
    assert!(killed > 0, "each gc ended before it could be killed");
    ocisite().args(args).assert().success();
    before.assert_same(&files(&site.root()));
}

#[test]
#[ignore = "run by scripts/soak"]
fn remove() {
    for preset in [&["--registry", "--catalogue"][..], &["--preset", "layout"]] {
        // Given what a removal takes when nobody kills it, and what it leaves.
        let site = GoodSite::with(preset);
        let usual = duration(&["remove", &site.arg(), "example.com/app"]);
        let after = files(&site.root());
        let mut killed = 0;
        for part in moments_to_kill() {
            let site = GoodSite::with(preset);
            let arg = site.arg();
            let args = ["remove", &arg, "example.com/app"];
            killed += u32::from(kill_at(&args, usual, part));
            assert_whole(&site.root());
            // The next run completes what was begun, if anything of the image is left.
            let is_listed = read_json(&site.root(), "ocisite.json")["images"].as_array().unwrap().len() == 2;
            let output = ocisite().args(args).output().unwrap();
            assert!(output.status.success() || !is_listed, "{}", String::from_utf8_lossy(&output.stderr));
            after.assert_same(&files(&site.root()));
        }
        assert!(killed > 0, "each removal ended before it could be killed");
    }
}

/// Kills a command again and again, each time with the directory that it changes as it was before.
fn kill_and_complete(args: &[&str], before: Option<&Path>, target: &Path, is_whole: &dyn Fn(&Path)) {
    let restore = || match before {
        Some(before) => replace(target, before),
        None => drop(std::fs::remove_dir_all(target)),
    };
    restore();
    let usual = duration(args);
    let expected = files(target);
    let mut killed = 0;
    for part in moments_to_kill() {
        restore();
        killed += u32::from(kill_at(args, usual, part));
        is_whole(target);
        ocisite().args(args).assert().success();
        expected.assert_same(&files(target));
    }
    assert!(killed > 0, "each run ended before it could be killed");
}

#[test]
#[ignore = "run by scripts/soak"]
fn copy() {
    // Given an older state of a site where it is copied to.
    let site = GoodSite::with(&["--registry"]);
    let (before, source, target) =
        (site.directory.path().join("before"), site.root(), site.directory.path().join("target"));
    replace(&before, &source);
    let mut layout = Layout::new(site.directory.path().join("more"));
    for number in 0..20 {
        let image = layout.image(&format!("content {number}"));
        layout.add(&format!("1.{number}"), image);
    }
    publish(&source, &["--replace", &format!("example.com/app={}", layout.arg())]);
    let args = ["copy", text(&source), text(&target), "--delete"];
    kill_and_complete(&args, Some(&before), &target, &assert_whole);
}

#[test]
#[ignore = "run by scripts/soak"]
fn pull() {
    let site = GoodSite::new();
    let server = Preview::start(&site.root());
    let (address, target) = (server.address.to_string(), site.directory.path().join("pulled"));
    let name = "example.com/app#2.0";
    let to = ["--connect-to", &address, "--to", text(&target)];
    let args = [&["pull", "--no-xdg", "--protocol", "http", "--all-platforms", name], &to[..]].concat();
    kill_and_complete(&args, None, &target, &super::faults::assert_layout_whole);
}
