//! Several sites that keep their blobs in one store, such as a CDN: a gc of one of them cannot know what the others need.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::program::verify;
use crate::support::layout::Layout;
use crate::support::program::text;
use crate::support::scene::Scene;
use crate::support::site::Snapshot;

const STORE: &str = "https://cdn.example.net=cdn";
const SITES: [&str; 2] = ["site/a.example", "site/b.example"];

/// Two sites over the store `cdn`, each with an image, and a blob there that nothing needs.
struct Shared {
    scene: Scene,
    orphan: PathBuf,
}

impl Shared {
    fn new() -> Shared {
        let scene = Scene::of_image("one");
        Layout::of_image(scene.path("other"), "two");
        scene
            .publish()
            .args(["--root-per-host", "--store", STORE])
            .args(["--cas-template", "https://cdn.example.net/c/{algorithm}/{encoded}"])
            .args(["a.example/app=layout", "b.example/other=other"])
            .assert()
            .success();
        let orphan = scene.path(format!("cdn/c/sha256/{}", "0".repeat(64)));
        std::fs::write(&orphan, "a blob of nobody").unwrap();
        Shared { scene, orphan }
    }

    fn gc(&self, args: &[&str]) -> Value {
        let mut command = self.scene.ocisite();
        let output = command.arg("gc").args(args).args(["--store", STORE, "--grace", "0", "--json"]).assert().success();
        serde_json::from_slice(&output.get_output().stdout).unwrap()
    }

    fn assert_whole(&self) {
        let store = format!("https://cdn.example.net={}", text(&self.scene.path("cdn")));
        for site in SITES {
            let verified = verify(&[text(&self.scene.path(site)), "--store", &store]);
            assert_eq!(verified.of_severity("error"), [] as [&str; 0], "{site}");
        }
    }
}

#[test]
fn gc_of_one_site_removes_nothing_from_a_store_that_other_sites_may_use() {
    let shared = Shared::new();
    let before = Snapshot::of(&shared.scene.path("cdn/c"));
    // When a gc knows one of the sites, then all blobs stay, and it counts those that this site does not need.
    let kept = shared.gc(&["site/b.example"]);
    assert_eq!((&kept["blobs"]["objects"], &kept["elsewhere"]["objects"]), (&json!(0), &json!(3)), "{kept}");
    before.assert_same(&Snapshot::of(&shared.scene.path("cdn/c")));
    shared.assert_whole();
    // And the report says what to do.
    let mut command = shared.scene.ocisite();
    let printed = command.args(["gc", "site/b.example", "--store", STORE, "--grace", "0"]).assert().success();
    let printed = String::from_utf8(printed.get_output().stdout.clone()).unwrap();
    assert!(printed.contains("kept 3 blobs") && printed.contains("--all-sites"), "{printed}");
}

#[test]
fn gc_of_all_sites_removes_what_none_of_them_needs() {
    let shared = Shared::new();
    let freed = shared.gc(&[SITES[0], SITES[1], "--all-sites"]);
    assert_eq!(freed["blobs"], json!({"objects": 1, "bytes": 16}));
    assert!(!shared.orphan.exists());
    shared.assert_whole();
    // When the image of one is removed, then its blobs go, and those that both have stay.
    shared.scene.ocisite().args(["remove", "site/b.example", "b.example/other", "--store", STORE]).assert().success();
    let freed = shared.gc(&[SITES[1], SITES[0], "--all-sites"]);
    assert_eq!(freed["blobs"]["objects"], 2, "{freed}");
    shared.assert_whole();
}

#[test]
fn gc_of_a_site_that_is_named_twice_is_that_of_the_site() {
    let shared = Shared::new();
    let freed = shared.gc(&[SITES[0], SITES[0], SITES[1], "--all-sites", "--dry-run"]);
    assert_eq!(freed["objects"].as_array().unwrap().len(), 1, "{freed}");
    assert!(shared.orphan.exists());
}
