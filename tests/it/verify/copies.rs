//! `copy` from a site that lacks, hides or loses a part of what its documents lead to: the destination is complete, or unchanged.

use std::path::Path;

use rustix::fs::{CWD, FileType, Mode};
use serde_json::Value;

use crate::support::program::{Succeeds, fails, text};
use crate::support::scene::Scene;
use crate::support::site::{Snapshot, assert_whole, blob_file, entries};

/// `site`, with an image in all views, and `to`, a copy of it.
fn scene() -> Scene {
    let scene = Scene::of_image("app");
    scene.publish().args(["--registry", "example.com/app=layout"]).succeeds();
    scene.ocisite().args(["copy", "site", "to"]).succeeds();
    scene
}

/// The first layer of an image of the site.
fn layer(scene: &Scene, image: &str) -> String {
    let manifest = blob_file(&scene.site, entries(&scene.site, image)[0]["digest"].as_str().unwrap());
    let manifest: Value = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
    manifest["layers"][0]["digest"].as_str().unwrap().to_string()
}

fn below(site: &Path, path: &Path) -> String {
    text(path.strip_prefix(site).unwrap()).to_string()
}

/// Moves an object of the site away, and puts something else in its place.
fn hide(scene: &Scene, planted: &str, kind: FileType) {
    let (path, outside) = (scene.site.join(planted), scene.path("outside"));
    std::fs::rename(&path, &outside).unwrap();
    match kind {
        FileType::Symlink => std::os::unix::fs::symlink(&outside, &path).unwrap(),
        kind => rustix::fs::mknodat(CWD, &path, kind, Mode::RUSR | Mode::WUSR, 0).unwrap(),
    }
}

#[test]
fn a_source_in_which_something_hides_an_object_is_refused_by_name() {
    let blob = {
        let scene = scene();
        below(&scene.site, &blob_file(&scene.site, &layer(&scene, "app")))
    };
    let files = [blob.as_str(), "oci-index/app", "v2/app/tags/list", "catalogue.json", "index.html"];
    let directories = [
        "oci-cas",
        "oci-cas/sha256",
        "oci-index",
        ".well-known",
        "v2",
        "v2/app/blobs",
        "v2/app/tags/_last",
        "catalogue",
    ];
    let links = files.iter().chain(&directories).map(|planted| (*planted, FileType::Symlink, "a symbolic link"));
    let fifos = files.iter().map(|planted| (*planted, FileType::Fifo, "a FIFO"));
    for (planted, kind, name) in links.chain(fifos) {
        // Given: a site and its copy, and then a link or a FIFO in place of an object or a directory of the site.
        let scene = scene();
        hide(&scene, planted, kind);
        let before = Snapshot::of(scene.directory.path());
        // When: the site is copied or cleaned up, then: the obstacle is named, and nothing changes.
        for command in
            [&["copy", "site", "to"][..], &["copy", "--delete", "site", "to"], &["gc", "--grace", "0", "site"]]
        {
            fails(scene.ocisite().args(command), &[&format!("site/{planted} is {name}"), "move it away"]);
            before.assert_unchanged(scene.directory.path());
        }
    }
}

#[test]
fn links_beside_a_site_are_not_its_own() {
    // Given: a site in a directory with links of another program.
    let scene = scene();
    for link in ["latest", "notes.txt"] {
        std::os::unix::fs::symlink(scene.path("layout"), scene.site.join(link)).unwrap();
    }
    // When: it is cleaned up and copied, then: the links hide nothing.
    scene.ocisite().args(["gc", "--grace", "0", "site"]).succeeds();
    scene.ocisite().args(["copy", "--delete", "site", "to"]).succeeds();
    assert_whole(&scene.path("to"));
}
