//! `gc` and `remove`, killed at any moment: what is left verifies clean, and the next run completes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::good_site::GoodSite;
use super::program::{ocisite, verify};
use crate::support::program::PROGRAM;
use crate::support::site::{Snapshot, json as read_json};

/// The files that a reader can see; a kill between the removal of a file and that of its directory leaves the directory.
fn files(root: &Path) -> Snapshot {
    let Snapshot(mut items) = Snapshot::public(root);
    items.retain(|_, item| item.bytes.is_some());
    Snapshot(items)
}

/// How often each is killed.
const KILLS: u32 = 12;
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

/// Points that are spread over the whole duration, and a little beyond.
fn parts() -> impl Iterator<Item = f64> {
    (0..KILLS).map(|kill| 1.1 * f64::from(kill) / f64::from(KILLS))
}

/// No consumer fails, and nothing is wrong but what the next run puts right: the catalogue and the registry view are rewritten
/// before that which they tell of is removed.
fn assert_whole(site: &Path) {
    let verified = verify(&[site.to_str().unwrap(), "--deep"]);
    let warnings = verified.of_severity("warning");
    assert_eq!(verified.report["errors"], json!(0), "{:#}", verified.report);
    let is_ahead =
        |warning: &String| ["catalogue-differs ", "registry-differs "].iter().any(|id| warning.starts_with(id));
    assert!(warnings.iter().all(is_ahead), "{warnings:?}");
}

#[test]
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
    for part in parts() {
        litter();
        killed += u32::from(kill_at(&args, usual, part));
        assert_whole(&site.root());
    }
    assert!(killed > 0, "each gc ended before it could be killed");
    ocisite().args(args).assert().success();
    before.assert_same(&files(&site.root()));
}

#[test]
fn remove() {
    for preset in [&["--registry", "--catalogue"][..], &["--preset", "layout"]] {
        // Given what a removal takes when nobody kills it, and what it leaves.
        let site = GoodSite::with(preset);
        let usual = duration(&["remove", &site.arg(), "example.com/app"]);
        let after = files(&site.root());
        let mut killed = 0;
        for part in parts() {
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
