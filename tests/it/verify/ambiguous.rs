//! Index templates whose paths can be read as several names: `i/a-b-c` is the index of `a#b-c` or of `a-b#c`. The document says
//! which.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::program::{ocisite, verify};
use crate::support::program::{fails, text};
use crate::support::scene::Scene;
use crate::support::site::{self, Snapshot};

const BY_HYPHEN: &str = "https://{host}/i/{+path}-{fragment}";
const CAS: &str = "https://{host}/c/{+path}/{algorithm}/{encoded}";

/// Templates, and names whose indexes have another reading, too.
const NAMES: [(&str, &str); 6] = [
    (BY_HYPHEN, "example.com/app-x#1.0"),
    (BY_HYPHEN, "example.com/a-b#c-d"),
    ("https://{host}/i/{+path}{fragment}", "example.com/app#1.0"),
    ("https://{host}/i/{fragment}{+path}", "example.com/app#1.0"),
    ("https://{host}/i/x{fragment}-{+path}", "example.com/a-b#c-d"),
    ("https://{host}/i/{+path}/x{fragment}", "example.com/a/xb#c/xd"),
];

/// A site with this image beside another.
fn published(template: &str, name: &str) -> Scene {
    let scene = Scene::of_image("one");
    let publish = |name: &str| {
        let templates = ["--index-template", template, "--cas-template", CAS];
        scene.publish().args(templates).arg(format!("{name}=layout:1.0")).assert().success();
    };
    publish("example.com/other#1");
    publish(name);
    scene
}

/// As if the last publish had been killed before it wrote `ocisite.json`.
fn forget_all_but_other(site: &Path) {
    let mut description: Value = site::json(site, "ocisite.json");
    description["images"] = json!(["example.com/other"]);
    fs::write(site.join("ocisite.json"), description.to_string()).unwrap();
}

fn gc(site: &Path) -> assert_cmd::Command {
    let mut command = ocisite();
    command.arg("gc").arg(site).args(["--grace", "0"]);
    command
}

#[test]
fn gc_keeps_what_an_unlisted_index_leads_to_whatever_else_its_path_could_mean() {
    for (template, name) in NAMES {
        let scene = published(template, name);
        forget_all_but_other(&scene.site);
        let before = Snapshot::public(&scene.site);
        gc(&scene.site).assert().success();
        before.assert_same(&Snapshot::public(&scene.site));
    }
}

#[test]
fn gc_removes_nothing_where_no_image_has_what_an_unlisted_index_leads_to() {
    // Given an index of an image that is not listed, and whose blobs are gone.
    let scene = published(BY_HYPHEN, "example.com/a-b#c-d");
    forget_all_but_other(&scene.site);
    fs::remove_dir_all(scene.site.join("c/a-b")).unwrap();
    let before = Snapshot::public(&scene.site);
    // Then a gc says which index it is.
    let words = ["cannot tell which image the index i/a-b-", "move it away"];
    fails(&mut gc(&scene.site), &words);
    before.assert_same(&Snapshot::public(&scene.site));
}

#[test]
fn a_site_whose_paths_can_be_read_as_several_names_is_copied() {
    for (template, name) in NAMES {
        let scene = published(template, name);
        let copy = scene.path("copy");
        scene.ocisite().args(["copy", "site", "copy"]).assert().success();
        Snapshot::public(&scene.site).assert_same(&Snapshot::public(&copy));
        verify(&[text(&copy)]).assert_clean();
    }
}

#[test]
fn an_unlisted_index_is_verified_as_what_its_document_says() {
    for (template, name) in NAMES {
        let scene = published(template, name);
        forget_all_but_other(&scene.site);
        let verified = verify(&[text(&scene.site)]);
        assert_eq!(verified.of_severity("error"), [] as [&str; 0], "{template}");
        let (image, _) = name.split_once('#').unwrap();
        let images = verified.report["images"].as_array().unwrap();
        assert_eq!(*images, [image, "example.com/other"].map(Value::from), "{template}");
    }
}
