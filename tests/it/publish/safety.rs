//! Two publishers at once, and a publisher that is killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::layout::Layout;
use crate::support::program::{PROGRAM, Succeeds, ocisite, publish, text};
use crate::support::scene::Scene;
use crate::support::site::{Snapshot, assert_whole, json, refs};
use crate::support::soak;

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(site: &Path, args: &[&str]) -> Running {
    let mut command = Command::new(PROGRAM);
    command.args(["publish", "--quiet", "--site", text(site)]).args(args);
    Running(command.stdin(Stdio::null()).spawn().unwrap())
}

#[test]
fn without_waiting_a_locked_site_is_an_error() {
    let scene = Scene::of_image("x");
    scene.publish().arg("example.com/app=layout").succeeds();
    Layout::of_image(scene.path("other"), "y");
    let lock = File::open(scene.site.join(".ocisite/lock")).unwrap();
    lock.lock().unwrap();
    let words = [text(&scene.site), "another ocisite", ".ocisite/lock", "--wait SECONDS"];
    scene.refused(&["--wait", "0", "example.com/app=other"], &words);
    scene.refused(&["--wait", "1", "example.com/app=other"], &["waited 1 s"]);
    // A dry run writes nothing, so it waits for nobody.
    scene.publish().args(["--wait", "0", "--dry-run", "example.com/app=other"]).succeeds();

    drop(lock);
    scene.publish().args(["--wait", "0", "example.com/app=other"]).succeeds();
}

#[test]
fn a_publisher_waits_for_another_and_both_are_seen() {
    let scene = Scene::of_image("x");
    let site = &scene.site;
    scene.publish().arg("example.com/app=layout").succeeds();
    let mut other = Layout::new(scene.path("other"));
    let image = other.image("y");
    other.add("2.0", image);
    let lock = File::open(site.join(".ocisite/lock")).unwrap();
    lock.lock().unwrap();
    let mut waiting = start(site, &[&format!("example.com/app={}", other.arg())]);
    std::thread::sleep(Duration::from_millis(200));
    assert!(waiting.0.try_wait().unwrap().is_none(), "it did not wait");
    assert_eq!(refs(site, "app"), ["1.0"]);
    drop(lock);
    assert!(waiting.0.wait().unwrap().success());
    assert_eq!(refs(site, "app"), ["1.0", "2.0"]);
}

#[test]
fn many_publishers_at_once_lose_nothing() {
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    let mut running: Vec<Running> = (0..8)
        .map(|number| {
            let mut layout = Layout::new(directory.path().join(format!("layout-{number}")));
            let image = layout.image(&format!("image {number}"));
            layout.add(&format!("{number}.0"), image);
            // All begin with the same new site; half of them share an image.
            let image = if number % 2 == 0 { "shared".to_string() } else { format!("own-{number}") };
            start(&site, &[&format!("example.com/{image}={}", layout.arg())])
        })
        .collect();
    for child in &mut running {
        assert!(child.0.wait().unwrap().success());
    }
    assert_eq!(refs(&site, "shared"), ["0.0", "2.0", "4.0", "6.0"]);
    assert_eq!(json(&site, "ocisite.json")["images"].as_array().unwrap().len(), 5);
    assert_eq!(assert_whole(&site), 1 + 1 + 8 * 2);
}

#[test]
fn publishers_of_several_sites_that_share_a_store_do_not_disturb_each_other() {
    let directory = TempDir::new().unwrap();
    let store = format!("https://cdn.example.net={}", text(&directory.path().join("cdn")));
    let template = ["--cas-template", "https://cdn.example.net/{digest}", "--store", &store];
    let good = Layout::of_image(directory.path().join("good"), "shared");
    // The broken layout has the same blobs and one more, which is wrong: what it gives up must not be what others rely on.
    let mut broken = Layout::of_image(directory.path().join("broken"), "shared");
    let layer = broken.blob("application/x", "right");
    std::fs::write(broken.blob_file(&layer), "wrong").unwrap();
    let index = broken.index_of(&[layer]);
    broken.add("2.0", index);
    let mut running: Vec<(bool, Running)> = (0..8)
        .map(|number| {
            let layout = if number % 2 == 0 { &good } else { &broken };
            let input = format!("example.com/app={}", layout.arg());
            let site = directory.path().join(format!("site-{number}"));
            (number % 2 == 0, start(&site, &[&template[..], &[&input]].concat()))
        })
        .collect();
    for (is_good, child) in &mut running {
        assert_eq!(child.0.wait().unwrap().success(), *is_good);
    }
    for entry in good.path.join("blobs/sha256").read_dir().unwrap() {
        let digest = format!("sha256:{}", text(&entry.unwrap().file_name()));
        assert!(directory.path().join("cdn").join(&digest).is_file(), "{digest}");
    }
}

/// A layout of an image with many small layers, so that a publish takes a while.
fn large_layout(path: PathBuf, reference: &str) -> Layout {
    let mut layout = Layout::new(path);
    let layers: Vec<_> = (0..100).map(|number| layout.blob("application/x", format!("{reference} {number}"))).collect();
    let index = layout.index_of(&layers);
    layout.add(reference, index);
    layout
}

/// Killed at many moments between its start and its end, it leaves the old site or the new one, and the next run completes. When
/// that is depends on the machine; `faults` has kills at each system call.
#[test]
#[ignore = "run by scripts/soak"]
fn a_publisher_that_is_killed_leaves_no_reference_without_a_target() {
    let directory = TempDir::new().unwrap();
    let first = large_layout(directory.path().join("first"), "1.0");
    let second = large_layout(directory.path().join("second"), "2.0");
    let inputs = [&first, &second].map(|layout| format!("example.com/team/app={}", layout.arg()));
    let expected = directory.path().join("expected");
    let start_time = Instant::now();
    publish(&expected, &[&inputs[0]]);
    let one_publish = start_time.elapsed();
    publish(&expected, &[&inputs[1]]);

    let mut killed = 0;
    for (kill, moment) in soak::moments_to_kill().enumerate() {
        let site = directory.path().join(format!("site-{kill}"));
        for input in &inputs {
            let mut running = start(&site, &[input]);
            std::thread::sleep(one_publish.mul_f64(moment));
            running.0.kill().unwrap();
            killed += u32::from(!running.0.wait().unwrap().success());
            if site.join("oci-index/team/app").exists() {
                let site_as_seen = Snapshot::public(&site);
                assert!(site_as_seen.0.len() > 100, "an index without blobs");
            }
            if site.join("ocisite.json").exists() {
                assert_whole(&site);
                // What verify calls an error is one that a consumer meets.
                ocisite().arg("verify").arg(&site).assert().success();
            }
        }
        for input in &inputs {
            publish(&site, &["--wait", "0", input]);
        }
        assert_whole(&site);
        Snapshot::public(&expected).assert_same(&Snapshot::public(&site));
        assert_eq!(site.join(".ocisite/tmp").read_dir().unwrap().count(), 0, "leftovers of the killed");
        std::fs::remove_dir_all(&site).unwrap();
    }
    assert!(killed > 0, "each publish ended before it could be killed");
}

/// Whatever a reader sees while publishers come and go, everything it refers to is there.
#[test]
fn a_reader_never_sees_a_reference_without_a_target() {
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    let layouts = ["1.0", "2.0"].map(|reference| large_layout(directory.path().join(reference), reference));
    publish(&site, &[&format!("example.com/app={}", layouts[0].arg())]);
    let mut publisher = start(&site, &[&format!("example.com/app={}", layouts[1].arg())]);
    let mut looks = 0;
    loop {
        let is_over = publisher.0.try_wait().unwrap();
        assert_whole(&site);
        looks += 1;
        if let Some(status) = is_over {
            assert!(status.success());
            break;
        }
    }
    assert!(looks > 0);
    assert_eq!(refs(&site, "app"), ["1.0", "2.0"]);
}
