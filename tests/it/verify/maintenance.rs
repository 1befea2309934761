//! `list`, `remove` and `gc`: what they change, and what they leave.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::good_site::{APP, GoodSite};
use super::program::{ocisite, verify};
use crate::support::layout::Layout;
use crate::support::program::{fails, publish, publish_json, text};
use crate::support::scene::Scene;
use crate::support::site::{self, Snapshot};

/// A subcommand that has to succeed; gives what it printed.
fn run(subcommand: &str, site: &Path, args: &[&str]) -> String {
    let output = ocisite().arg(subcommand).arg(site).args(args).assert().success().get_output().clone();
    String::from_utf8(output.stdout).unwrap()
}

fn run_json(subcommand: &str, site: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&run(subcommand, site, &[args, &["--json"]].concat())).unwrap()
}

/// The ways to lay a site out that blobs lie differently in.
/// As the good site is published, too.
const WITHOUT_CATALOGUE: &[&str] = &["--no-catalogue"];
const WAYS: [&[&str]; 4] = [&[], &["--preset", "layout"], &["--registry"], &["--preset", "registry", "--registry"]];

#[test]
fn a_list_has_images_refs_platforms_digests_and_sizes() {
    let site = GoodSite::new();
    let list = run_json("list", &site.root(), &[]);
    assert_eq!(list[0]["name"], "example.com/app");
    let entries = list[0]["entries"].as_array().unwrap();
    let refs: Vec<&Value> = entries.iter().map(|entry| &entry["ref"]).collect();
    assert_eq!(refs, [&Value::Null, &json!("1.0"), &json!("2.0"), &json!("3.0")]);
    let entry = |reference: &str| entries.iter().find(|entry| entry["ref"] == reference).unwrap();

    let image = site.entry("1.0");
    let manifest = site.manifest("1.0");
    let sizes = [&image, &manifest["config"], &manifest["layers"][0], &manifest["layers"][1]];
    let size: u64 = sizes.iter().map(|descriptor| descriptor["size"].as_u64().unwrap()).sum();
    assert_eq!(
        *entry("1.0"),
        json!({
            "ref": "1.0",
            "platforms": ["linux/amd64"],
            "digest": image["digest"],
            "mediaType": image["mediaType"],
            "size": size,
        })
    );
    assert_eq!(entry("2.0")["platforms"], json!(["linux/amd64", "linux/arm64"]));
    assert_eq!(entries[0]["subject"], image["digest"]);
    assert_eq!(entries[0]["artifactType"], "application/x-signature");
    assert_eq!(list[1]["name"], "example.com/team/app");
    assert_eq!(list[1]["entries"].as_array().unwrap().len(), 1);
}

#[test]
fn a_list_for_people_says_the_same_and_what_is_missing() {
    let site = GoodSite::new();
    fs::remove_file(site.layer()).unwrap();
    let list = run("list", &site.root(), &[]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!((lines[0], lines[5]), ("example.com/app", "example.com/team/app"));
    let image = site.entry("1.0");
    let digest = &image["digest"].as_str().unwrap()[.."sha256:".len() + 12];
    assert!(lines[2].starts_with(&format!("  1.0  {digest} ")), "{list}");
    assert!(lines[2].ends_with("linux/amd64 (1 blob missing)"), "{list}");
    assert!(lines[3].ends_with("linux/amd64, linux/arm64"), "{list}");
}

#[test]
fn a_ref_is_removed_and_the_others_stay() {
    let site = GoodSite::new();
    let before = site::entries(&site.root(), "app");
    let removed = run_json("remove", &site.root(), &["example.com/app#3.0"]);
    assert_eq!(removed, json!({"images": [], "refs": ["example.com/app#3.0"], "entries": 1}));
    let kept: Vec<Value> = before.into_iter().filter(|entry| *entry != removed_entry(entry, "3.0")).collect();
    assert_eq!(site::entries(&site.root(), "app"), kept);
    // Its blobs are left to the gc.
    assert_eq!(verify(&[&site.arg()]).rules(), ["orphans"].into());
}

/// The entry itself if it has the ref; null otherwise.
fn removed_entry(entry: &Value, reference: &str) -> Value {
    match entry["annotations"]["org.opencontainers.image.ref.name"] == reference {
        true => entry.clone(),
        false => Value::Null,
    }
}

#[test]
fn what_refers_to_an_image_goes_with_its_last_ref() {
    let site = GoodSite::new();
    // Given a second ref of the image that has a signature.
    let layout = site.directory.path().join("layout");
    publish(&site.root(), &[&format!("example.com/app#1={}:1.0", layout.display())]);
    run("remove", &site.root(), &["example.com/app#1.0"]);
    assert_eq!(site::refs(&site.root(), "app"), ["-", "1", "2.0", "3.0"]);
    let removed = run_json("remove", &site.root(), &["example.com/app#1"]);
    assert_eq!(removed["entries"], 2);
    assert_eq!(site::refs(&site.root(), "app"), ["2.0", "3.0"]);
    assert_eq!(verify(&[&site.arg()]).rules(), ["orphans"].into());
}

#[test]
fn removing_the_last_ref_removes_the_image() {
    for args in WAYS {
        let site = GoodSite::with(args);
        let names = ["1.0", "2.0", "3.0"].map(|reference| format!("example.com/app#{reference}"));
        let removed = run_json("remove", &site.root(), &names.each_ref().map(String::as_str));
        assert_eq!(removed["images"], json!(["example.com/app"]));
        assert_eq!(site::json(&site.root(), "ocisite.json")["images"], json!(["example.com/team/app"]));
        assert_eq!(verify(&[&site.arg(), "example.com/app"]).rules(), ["name-unlisted"].into());
    }
}

#[test]
fn after_a_removal_and_a_gc_the_site_is_as_if_the_image_had_never_been() {
    for args in WAYS {
        let site = GoodSite::with(args);
        run("remove", &site.root(), &["example.com/app"]);
        run("gc", &site.root(), &["--grace", "0"]);
        let fresh = site.directory.path().join("fresh");
        let layout = site.directory.path().join("layout");
        publish(
            &fresh,
            &[args, WITHOUT_CATALOGUE, &[&format!("example.com/team/app={}:2.0", layout.display())]].concat(),
        );
        Snapshot::public(&fresh).assert_same(&Snapshot::public(&site.root()));
    }
}

#[test]
fn after_the_removal_of_a_ref_and_a_gc_the_site_is_as_if_it_had_never_been() {
    for args in WAYS {
        let site = GoodSite::with(args);
        run("remove", &site.root(), &["example.com/app#1.0", "example.com/app#3.0"]);
        run("gc", &site.root(), &["--grace", "0"]);
        let fresh = site.directory.path().join("fresh");
        let layout = site.directory.path().join("layout");
        let image = |name: &str| format!("example.com/{name}={}:2.0", layout.display());
        publish(&fresh, &[args, WITHOUT_CATALOGUE, &[&image("app"), &image("team/app")]].concat());
        Snapshot::public(&fresh).assert_same(&Snapshot::public(&site.root()));
    }
}

#[test]
fn a_removal_of_what_is_not_there_changes_nothing() {
    let site = GoodSite::new();
    let before = Snapshot::public(&site.root());
    let refused = |names: &[&str], words: &[&str]| {
        fails(ocisite().arg("remove").arg(site.root()).args(names), words);
        before.assert_same(&Snapshot::public(&site.root()));
    };
    refused(&["example.com/app#1.0", "example.com/app#9"], &["no ref \"9\"", "1.0, 2.0, 3.0"]);
    refused(&["example.com/app", "example.com/other"], &["no image example.com/other; `ocisite list` shows"]);
    refused(&["example.com/ap"], &["no image example.com/ap", "did you mean example.com/app?"]);
    refused(&["example.net/app"], &["no image example.net/app", "did you mean example.com/app?"]);
    fails(ocisite().args(["remove", text(site.directory.path()), "example.com/app"]), &["is not a site"]);
}

#[test]
fn an_image_without_a_page_is_removed_like_any_other() {
    // Given an image whose name is too long for a page's path.
    let site = GoodSite::with(&["--catalogue", "--index-template", "https://{host}/oci-index/{+path}/index.json"]);
    let name = format!("example.com/{}", "a".repeat(251));
    let layout = site.directory.path().join("layout");
    let published = publish_json(&site.root(), &[&format!("{name}={}:2.0", layout.display())]);
    assert!(published["warnings"][0].as_str().unwrap().contains("omitted from the catalogue"), "{published}");
    // When it is removed.
    run("remove", &site.root(), &[&name]);
    // Then it is no more.
    let images = site::json(&site.root(), "ocisite.json")["images"].clone();
    assert_eq!(images, json!(["example.com/app", "example.com/team/app"]));
}

#[test]
fn a_removal_that_was_interrupted_is_completed_by_the_next() {
    let site = GoodSite::new();
    // Given an image that is out of the description already, and whose index is there still.
    site.edit("ocisite.json", |object| object["images"] = json!(["example.com/team/app"]));
    run("remove", &site.root(), &["example.com/app"]);
    assert!(!site.root().join(APP).exists());
}

/// Makes all files of a site old.
fn age(root: &Path, by: Duration) {
    for entry in walkdir::WalkDir::new(root).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file()) {
        File::options().write(true).open(entry.path()).unwrap().set_modified(SystemTime::now() - by).unwrap();
    }
}

#[test]
fn gc_removes_what_nothing_reaches_and_is_old_enough() {
    let site = GoodSite::new();
    let before = Snapshot::public(&site.root());
    let orphan = site.put(b"a blob of nobody");
    age(&site.root(), Duration::from_secs(25 * 60 * 60));
    let young = site.put(b"a young one");
    // Only said, and nothing done.
    let dry = run_json("gc", &site.root(), &["--dry-run"]);
    assert_eq!((&dry["dryRun"], &dry["blobs"]), (&true.into(), &json!({"objects": 1, "bytes": 16})));
    assert!(site::blob_file(&site.root(), &orphan).exists());
    // Done, and what is young stays.
    let freed = run_json("gc", &site.root(), &[]);
    assert_eq!(freed["blobs"], json!({"objects": 1, "bytes": 16}));
    assert_eq!(freed["young"], json!({"objects": 1, "bytes": 11}));
    assert_eq!(freed["objects"], dry["objects"]);
    assert!(site::blob_file(&site.root(), &young).exists());
    let printed = run("gc", &site.root(), &["--grace", "1h"]);
    assert!(printed.contains("Removed 0 blobs") && printed.contains("kept 1 blob (11 B) younger than 1h"), "{printed}");
    run("gc", &site.root(), &["--grace", "0"]);
    before.assert_same(&Snapshot::public(&site.root()));
}

#[test]
fn gc_keeps_what_an_index_reaches_that_the_description_does_not_list() {
    for args in WAYS {
        // Given a publish that was killed before its last phase.
        let site = GoodSite::with(args);
        site.edit("ocisite.json", |object| object["images"] = json!(["example.com/team/app"]));
        let before = Snapshot::public(&site.root());
        run("gc", &site.root(), &["--grace", "0"]);
        before.assert_same(&Snapshot::public(&site.root()));
    }
}

#[test]
fn gc_removes_nothing_where_it_cannot_know() {
    let site = GoodSite::new();
    site.put(b"a blob of nobody");
    let refused = |words: &[&str]| {
        let before = Snapshot::public(&site.root());
        fails(ocisite().arg("gc").arg(site.root()).args(["--grace", "0"]), words);
        before.assert_same(&Snapshot::public(&site.root()));
    };
    let manifest = site.blob(&site.entry("1.0"));
    let bytes = fs::read(&manifest).unwrap();
    fs::write(&manifest, "x").unwrap();
    refused(&["the manifest oci-cas/sha256/", "is damaged", "publish example.com/app again with --recheck"]);
    fs::write(&manifest, bytes).unwrap();
    site.write(APP, "{");
    refused(&["the index oci-index/app is damaged", "--recheck"]);
    fs::remove_file(site.root().join(APP)).unwrap();
    refused(&["the index oci-index/app is missing", "publish example.com/app again", "ocisite remove"]);
}

#[test]
fn gc_leaves_what_is_not_of_the_site_alone() {
    let site = GoodSite::new();
    site.write("robots.txt", "");
    site.write("oci-cas/README", "");
    site.write("oci-cas/sha256/00/not-a-digest", "");
    let before = Snapshot::public(&site.root());
    run("gc", &site.root(), &["--grace", "0"]);
    before.assert_same(&Snapshot::public(&site.root()));
}

#[test]
fn gc_removes_what_interrupted_writes_have_left() {
    let site = GoodSite::new();
    site.write(".ocisite/tmp/.tmpAbCdEf", "half a blob");
    run("gc", &site.root(), &[]);
    verify(&[&site.arg()]).assert_clean();
}

/// How often each of the two does its work: enough for them to meet at many points.
const ROUNDS: usize = 12;

#[test]
fn gc_beside_a_publish_loses_nothing_and_nobody_sees_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("site");
    let layouts: Vec<Layout> = (0..ROUNDS)
        .map(|round| Layout::of_image(directory.path().join(format!("layout{round}")), &format!("content {round}")))
        .collect();
    publish(&root, &[&format!("example.com/app={}", layouts[0].arg())]);
    let is_done = AtomicBool::new(false);
    let repeat = |work: &dyn Fn()| {
        while !is_done.load(Ordering::Relaxed) {
            work();
        }
    };
    std::thread::scope(|scope| {
        // Each publish leaves the blobs of the one before to nobody.
        let publisher = scope.spawn(|| {
            for layout in &layouts {
                publish(&root, &["--replace", &format!("example.com/app={}", layout.arg())]);
                publish(
                    &root,
                    &[&format!("example.com/tools/{}={}", layout.path.file_name().unwrap().display(), layout.arg())],
                );
            }
        });
        let gc = scope.spawn(|| repeat(&|| drop(run("gc", &root, &["--grace", "0"]))));
        let verifier = scope.spawn(|| {
            repeat(&|| {
                let verified = verify(&[text(&root), "--deep"]);
                assert_eq!(verified.code, 0, "{:#}", verified.report);
            });
        });
        let published = publisher.join();
        is_done.store(true, Ordering::Relaxed);
        published.unwrap();
        gc.join().unwrap();
        verifier.join().unwrap();
    });
    run("gc", &root, &["--grace", "0"]);
    let verified = verify(&[text(&root), "--deep"]);
    verified.assert_clean();
    assert_eq!(verified.report["images"].as_array().unwrap().len(), 1 + ROUNDS);
}

#[test]
fn a_list_has_its_platforms_in_order_and_its_columns_below_each_other() {
    // Given an index of platforms out of order, a ref of an entry for each of them, and a long ref.
    let mut scene = Scene::of_image("one");
    let platforms = ["arm64", "amd64", "arm"];
    let images = platforms.map(|architecture| {
        let platform = json!({"os": "linux", "architecture": architecture});
        let mut image = scene.layout.image_with(architecture, platform.clone());
        image["platform"] = platform;
        image
    });
    let index = scene.layout.index_of(&images);
    scene.layout.add("index", index);
    images.iter().for_each(|image| scene.layout.add("platforms", image.clone()));
    let long = "a-ref-that-is-longer-than-its-column";
    scene.layout.add(long, images[0].clone());
    // When it is published and listed.
    scene.publish().arg("example.com/app=layout").assert().success();
    let list = run("list", &scene.site, &[]);
    // Then the list and the catalogue have the platforms in the same order, and the long ref has a line.
    assert!(list.contains("linux/amd64, linux/arm, linux/arm64"), "{list}");
    let of_ref = list.lines().filter(|line| line.contains("  platforms"));
    let of_ref: Vec<&str> = of_ref.map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(of_ref, ["linux/amd64", "linux/arm", "linux/arm64"]);
    let document = site::json(&scene.site, "catalogue/images/example.com/app.json");
    let index = document["refs"].as_array().unwrap().iter().find(|known| known["ref"] == "index").unwrap();
    let platforms: Vec<&Value> = index["images"].as_array().unwrap().iter().map(|image| &image["platform"]).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm", "linux/arm64"]);
    assert!(list.contains(&format!("  {long}\n")), "{list}");
    let columns: BTreeSet<Option<usize>> =
        list.lines().filter(|line| line.contains("sha256:")).map(|line| line.find("sha256:")).collect();
    assert_eq!(columns.len(), 1, "{list}");
}
