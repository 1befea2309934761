//! Damage in a site: bytes that do not have their digest are never copied on, a plain publish takes what has its place and size for
//! right, and `--recheck` repairs it.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::layout::Layout;
use crate::support::program::{Succeeds, fails};
use crate::support::scene::Scene;
use crate::support::site::{Snapshot, assert_whole, blob_file, entries, refs};

/// A site of one image.
fn published(args: &[&str]) -> Scene {
    let scene = Scene::of_image("content");
    scene.publish().args(args).arg("example.com/app=layout").succeeds();
    scene
}

impl Scene {
    fn manifest_file(&self) -> PathBuf {
        blob_file(&self.site, entries(&self.site, "app")[0]["digest"].as_str().unwrap())
    }

    fn layer_file(&self) -> PathBuf {
        let descriptor = self.layout.blob("", "content");
        blob_file(&self.site, descriptor["digest"].as_str().unwrap())
    }

    fn recheck(&self, args: &[&str]) -> serde_json::Value {
        self.publish().args(args).args(["--recheck", "--json", "example.com/app=layout"]).json()
    }
}

/// Changes one character and keeps the size.
fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let last = bytes.last_mut().unwrap();
    *last = if *last == b' ' { b'x' } else { b' ' };
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_damaged_manifest_does_not_become_a_tag() {
    // Given a site without the registry view, in whose CAS a manifest was damaged.
    let scene = published(&["--no-catalogue"]);
    damage(&scene.manifest_file());
    // When the view is added, from the layout that has it right.
    let words =
        ["oci-cas/sha256/", "is damaged", "publish its image to that site again with --recheck", "expected sha256:"];
    scene.refused(&["--registry", "example.com/app=layout"], &words);
    // Then nothing was written, and with --recheck all is right.
    let summary = scene.recheck(&["--registry"]);
    assert_eq!(summary["blobsRepaired"]["objects"], 1);
    assert_whole(&scene.site);
    let tag = std::fs::read(scene.site.join("v2/app/manifests/1.0")).unwrap();
    assert_eq!(tag, std::fs::read(scene.manifest_file()).unwrap());
}

#[test]
fn a_damaged_manifest_of_another_image_does_not_become_a_tag() {
    // Given a second image, whose manifest was damaged and which is not published now.
    let scene = published(&["--no-catalogue"]);
    damage(&scene.manifest_file());
    Layout::of_image(scene.path("other"), "other");
    scene.refused(
        &["--registry", "example.com/other=other"],
        &["is damaged", "publish example.com/app again with --recheck"],
    );
}

#[test]
fn a_copy_does_not_link_a_damaged_manifest() {
    let scene = published(&["--registry"]);
    let to = scene.path("to");
    scene.ocisite().args(["publish", "--site", "to", "--no-catalogue", "example.com/app=layout"]).succeeds();
    let descriptor = entries(&to, "app")[0].clone();
    let digest = descriptor["digest"].as_str().unwrap();
    damage(&blob_file(&to, digest));
    let words = ["to/oci-cas/sha256/", "is damaged", "publish its image to that site again with --recheck"];
    fails(scene.ocisite().args(["copy", "site", "to"]), &words);
    for wrong in [format!("manifests/{digest}"), format!("_manifests/{digest}.oci-manifest")] {
        assert!(!to.join("v2/app").join(&wrong).exists(), "{wrong}");
    }
    // As the message says.
    scene.ocisite().args(["publish", "--site", "to", "--recheck", "example.com/app=layout"]).succeeds();
    scene.ocisite().args(["copy", "site", "to"]).succeeds();
    assert_whole(&to);
    assert_eq!(std::fs::read(to.join("v2/app/manifests/1.0")).unwrap(), std::fs::read(scene.manifest_file()).unwrap());
}

#[test]
fn a_copy_does_not_take_a_damaged_tag_along() {
    for tag in ["v2/app/manifests/1.0", "v2/app/_manifests/1.0.oci-manifest"] {
        let scene = published(&["--registry"]);
        let to = scene.path("to");
        damage(&scene.site.join(tag));
        let words = [&format!("the tag site/{tag} is damaged"), "publish the image to site again"];
        fails(scene.ocisite().args(["copy", "site", "to"]), &words);
        assert!(!to.join("v2").exists());
        // As the message says.
        scene.publish().arg("example.com/app=layout").succeeds();
        scene.ocisite().args(["copy", "site", "to"]).succeeds();
        Snapshot::public(&scene.site).assert_same(&Snapshot::public(&to));
    }
}

#[test]
fn a_copy_does_not_take_along_a_tag_with_the_manifest_of_another_ref() {
    for tag in ["v2/app/manifests/1.0", "v2/app/_manifests/1.0.oci-manifest", "v2/app/manifests/both"] {
        // Given: a site with refs of one platform and one of two, of which a tag was overwritten with the manifest of another ref.
        let scene = published(&["--registry"]);
        let mut layout = Layout::new(scene.path("more"));
        for (reference, architecture) in [("2.0", "amd64"), ("both", "amd64"), ("both", "arm64")] {
            let image = layout.image_with(reference, json!({"os": "linux", "architecture": architecture}));
            layout.add(reference, image);
        }
        scene.publish().arg("example.com/app=more").succeeds();
        scene.ocisite().args(["copy", "site", "sound"]).succeeds();
        std::fs::copy(scene.site.join("v2/app/manifests/2.0"), scene.site.join(tag)).unwrap();
        // When: it is copied, then: the tag is refused, and no tag was written.
        let tag = format!("site/{tag}");
        let words = [&tag, "another manifest", "expected sha256:", "publish the image to site again"];
        fails(scene.ocisite().args(["copy", "--wait", "0", "site", "to"]), &words);
        assert!(!scene.path("to/v2").exists());
        // When: the images are published again, as the message says, then: it is copied as it was.
        scene.publish().arg("example.com/app=layout").succeeds();
        scene.publish().arg("example.com/app=more").succeeds();
        scene.ocisite().args(["copy", "site", "to"]).succeeds();
        Snapshot::public(&scene.path("sound")).assert_same(&Snapshot::public(&scene.path("to")));
    }
}

#[test]
fn a_recheck_repairs_a_blob_at_each_of_its_places() {
    let scene = published(&["--registry"]);
    let name = scene.layer_file().file_name().unwrap().to_str().unwrap().to_string();
    let in_view = scene.site.join(format!("v2/app/blobs/sha256:{name}"));
    // Given a layer that was damaged in the CAS, and so in the registry view, which has a link to it.
    damage(&scene.layer_file());
    assert_eq!(std::fs::read(&in_view).unwrap(), std::fs::read(scene.layer_file()).unwrap());
    // When it is published again, it is taken for right; and it is repaired when that is asked for.
    assert_eq!(scene.publish().args(["example.com/app=layout", "--json"]).json()["blobsWritten"]["objects"], 0);
    let summary = scene.recheck(&[]);
    assert_eq!(summary["blobsRepaired"], json!({"objects": 2, "bytes": 14}));
    for file in [&scene.layer_file(), &in_view] {
        assert_eq!(std::fs::read(file).unwrap(), b"content");
    }
    assert_eq!(scene.recheck(&[])["blobsRepaired"]["objects"], 0);
}

#[test]
fn a_recheck_that_fails_takes_nothing_away() {
    // Given a layer that is damaged in the site and in the layout.
    let scene = published(&[]);
    damage(&scene.layer_file());
    std::fs::write(scene.layout.blob_file(&scene.layout.blob("", "content")), "CONTENT").unwrap();
    scene.refused(&["--recheck", "example.com/app=layout"], &["layout/blobs/sha256/", "the layout is damaged"]);
}

#[test]
fn a_publish_that_fails_keeps_the_blobs_that_it_completed() {
    // Given an image, one of whose layers was cut in the site, and a layout that shares the layer and has a damaged one.
    let scene = published(&[]);
    let shared = blob_file(&scene.site, scene.layout.blob("", "a layer that all share")["digest"].as_str().unwrap());
    std::fs::write(&shared, "a layer").unwrap();
    let other = Layout::of_image(scene.path("other"), "new");
    std::fs::write(other.blob_file(&other.blob("", "new")), "NEW").unwrap();
    // When the layout is published, after its larger blobs the damaged one is refused.
    fails(scene.publish().args(["--jobs", "1", "example.com/other=other"]), &["the layout is damaged"]);
    // Then the image that is there has all its blobs again.
    assert_whole(&scene.site);
}

#[test]
fn a_recheck_makes_a_damaged_index_anew() {
    // Given an image with two refs, whose index was damaged.
    let scene = published(&[]);
    scene.publish().arg("example.com/app#2.0=layout").succeeds();
    let index = scene.site.join("oci-index/app");
    std::fs::write(&index, "{").unwrap();
    scene.refused(&["example.com/app=layout"], &["the index oci-index/app is damaged", "again with --recheck", "EOF"]);
    // When one of them is published with --recheck, the image has that, and a warning says so.
    let warning = scene.publish().args(["--recheck", "example.com/app=layout"]).warns();
    assert!(warning.contains("example.com/app has only the refs of this publish"), "{warning}");
    assert_eq!(refs(&scene.site, "app"), ["1.0"]);
    assert_whole(&scene.site);
}

#[test]
fn a_recheck_of_a_sound_site_writes_nothing() {
    let scene = published(&["--registry"]);
    let before = Snapshot::public(&scene.site);
    assert_eq!(scene.recheck(&[])["blobsWritten"]["objects"], 0);
    before.assert_same(&Snapshot::public(&scene.site));
}
