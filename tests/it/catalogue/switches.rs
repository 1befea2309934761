//! When a site has a catalogue, and when not.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_discovery::json;
use serde_json::Value;

use super::site::{Demo, catalogue_of, small_image, two_images};
use crate::support::program::{ocisite, publish, refused, text};

#[test]
fn a_new_site_has_a_catalogue_unless_it_is_left_out() {
    let demo = two_images();
    demo.publish(&[]);
    assert!(demo.has("index.html") && demo.has("catalogue.json") && demo.has("catalogue/images/example.com/app.html"));
    let without = two_images();
    without.publish(&["--no-catalogue"]);
    assert!(catalogue_of(&without.site).is_empty());
    // It stays as it is.
    without.publish(&[]);
    assert!(catalogue_of(&without.site).is_empty());
}

#[test]
fn a_catalogue_that_comes_later_has_all_images() {
    let (demo, at_once) = (two_images(), two_images());
    demo.publish(&["--no-catalogue"]);
    publish(&demo.site, &["--catalogue", &format!("example.com/app={}", text(&demo.path("layouts/app")))]);
    at_once.publish(&[]);
    assert_eq!(catalogue_of(&demo.site), catalogue_of(&at_once.site));
}

#[test]
fn a_catalogue_that_is_turned_off_is_taken_away() {
    let demo = two_images();
    demo.publish(&[]);
    demo.publish(&["--no-catalogue"]);
    assert!(catalogue_of(&demo.site).is_empty());
    assert!(demo.has("oci-index/app"));
}

#[test]
fn somebody_elses_home_page_is_not_overwritten() {
    let demo = two_images();
    std::fs::create_dir(&demo.site).unwrap();
    std::fs::write(demo.site.join("index.html"), "<h1>My home page</h1>").unwrap();
    let layouts = demo.path("layouts");
    let args = ["--host", "example.com", "--adopt", text(&layouts)];
    refused(&demo.site, &args, &["index.html exists", "--no-catalogue"]);
    demo.publish(&["--adopt", "--no-catalogue"]);
    assert_eq!(demo.read("index.html"), "<h1>My home page</h1>");
}

/// The files of a catalogue, without documents of layers that nobody has any more.
fn catalogue_without_empty(demo: &Demo) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = catalogue_of(&demo.site);
    files.retain(|_, bytes| bytes != br#"{"catalogue":2,"layers":{}}"#);
    files
}

#[test]
fn the_catalogue_of_an_earlier_version_is_made_again_by_the_next_publish() {
    // Given documents of the form before this one, which said which layers of an image others have.
    let demo = two_images();
    demo.publish(&[]);
    let whole = catalogue_of(&demo.site);
    for (path, bytes) in whole.iter().filter(|(path, _)| path.extension().is_some_and(|ending| ending == "json")) {
        let mut document: Value = serde_json::from_slice(bytes).unwrap();
        document["catalogue"] = 1.into();
        document["sharedLayers"] = vec!["sha256:of another image"].into();
        std::fs::write(demo.site.join(path), json::canonical(&document)).unwrap();
    }
    // When one image is published. Then all is as this version makes it.
    publish(&demo.site, &[&format!("example.com/app={}", text(&demo.path("layouts/app")))]);
    assert_eq!(catalogue_of(&demo.site), whole);
}

#[test]
fn what_is_removed_is_gone_from_the_catalogue() {
    // Given a site of two images, and one that never had the second.
    let (demo, alone) = (two_images(), Demo::new());
    demo.publish(&[]);
    small_image(&alone, "app", "1.0", "2024-01-01T00:00:00Z");
    alone.publish(&[]);
    // When the second is removed.
    ocisite().arg("remove").arg(&demo.site).arg("example.com/team/tool").assert().success();
    ocisite().arg("gc").arg(&demo.site).assert().success();
    // Then the catalogues are the same, but for empty documents of layers.
    assert_eq!(catalogue_without_empty(&demo), catalogue_of(&alone.site));
}

#[test]
fn a_ref_that_is_removed_is_gone_from_its_page() {
    let demo = Demo::new();
    small_image(&demo, "app", "1.0", "2024-01-01T00:00:00Z");
    demo.publish(&[]);
    let before = catalogue_of(&demo.site);
    let app = demo.path("layouts/app");
    std::fs::remove_dir_all(&app).unwrap();
    small_image(&demo, "app", "2.0", "2024-02-01T00:00:00Z");
    demo.publish(&[]);
    assert_eq!(demo.list()["images"][0]["ref"], "2.0");
    ocisite().arg("remove").arg(&demo.site).arg("example.com/app#2.0").assert().success();
    assert_eq!(catalogue_without_empty(&demo), before);
}

#[test]
fn verify_finds_a_catalogue_that_does_not_agree_with_the_indexes() {
    let demo = two_images();
    demo.publish(&[]);
    let verify = || ocisite().arg("verify").arg(&demo.site).arg("--json").output().unwrap();
    let rules = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();
    assert!(!rules(verify()).contains("catalogue-differs"));
    let list = demo.read("catalogue.json").replace("What app does", "What app did");
    std::fs::write(demo.site.join("catalogue.json"), list).unwrap();
    assert!(rules(verify()).contains("catalogue-differs"));
}

#[test]
fn a_recheck_mends_what_documents_of_layers_say_of_an_image() {
    // Given a document of a layer that lacks an image, and one that has it without reason.
    let demo = two_images();
    demo.publish(&[]);
    let whole = catalogue_of(&demo.site);
    let layers = whole.iter().filter(|(path, _)| path.starts_with("catalogue/layers"));
    for (position, (path, bytes)) in layers.enumerate() {
        let mut document: Value = serde_json::from_slice(bytes).unwrap();
        let owners = document["layers"].as_object_mut().unwrap().values_mut().next().unwrap().as_array_mut().unwrap();
        match position {
            0 => owners.retain(|owner| owner != "example.com/app"),
            _ => owners.insert(0, "example.com/app".into()),
        }
        std::fs::write(demo.site.join(path), json::canonical(&document)).unwrap();
    }
    // When the image is published again, only what changed since is looked at. With --recheck, everything.
    let app = format!("example.com/app={}", text(&demo.path("layouts/app")));
    publish(&demo.site, &[&app]);
    assert_ne!(catalogue_of(&demo.site), whole);
    publish(&demo.site, &["--recheck", &app]);
    assert_eq!(catalogue_of(&demo.site), whole);
}

#[test]
fn a_removal_that_was_killed_behind_the_list_is_completed_by_the_next() {
    // Given what a removal leaves.
    let other = two_images();
    other.publish(&[]);
    ocisite().args(["remove", text(&other.site), "example.com/app"]).assert().success();
    // And one that was killed when it had written the list, and the image's page was still there.
    let demo = two_images();
    demo.publish(&[]);
    for name in ["index.html", "catalogue.json"] {
        std::fs::write(demo.site.join(name), other.read(name)).unwrap();
    }
    // When it is done again.
    ocisite().args(["remove", text(&demo.site), "example.com/app"]).assert().success();
    // Then nothing of the image is left.
    assert_eq!(catalogue_of(&demo.site), catalogue_of(&other.site));
}
