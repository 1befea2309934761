//! `copy` from a site that lacks, hides or loses a part of what its documents lead to: the destination is complete, or unchanged.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::program::verify;
use crate::support::layout::{CONFIG, INDEX, Layout, MANIFEST};
use crate::support::memory::{MIB, ocisite_within};
use crate::support::program::{PATIENCE, PROGRAM, Succeeds, fails, text};
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

#[test]
fn a_source_that_lacks_a_blob_is_refused_before_anything_changes() {
    let view = |scene: &Scene| PathBuf::from("v2/app/blobs").join(layer(scene, "app"));
    let cas = |scene: &Scene| blob_file(Path::new(""), &layer(scene, "app"));
    let manifest = |scene: &Scene| {
        let digest = entries(&scene.site, "app")[0]["digest"].as_str().unwrap().to_string();
        PathBuf::from(format!("v2/app/_manifests/{digest}.oci-manifest"))
    };
    let missing: [&dyn Fn(&Scene) -> PathBuf; 4] = [&cas, &view, &manifest, &|_| "oci-index/app".into()];
    for missing in missing {
        // Given: a site that lost an object to which its documents lead.
        let scene = scene();
        let path = missing(&scene);
        std::fs::remove_file(scene.site.join(&path)).unwrap();
        let before = Snapshot::of(scene.directory.path());
        // When: it is copied, then: the image and the object are named, and nothing changes.
        let words = ["example.com/app", text(&path), "missing", "publish"];
        for args in [&["copy", "site", "to"][..], &["copy", "--delete", "site", "to"]] {
            fails(scene.ocisite().args(args), &words);
            before.assert_unchanged(scene.directory.path());
        }
        fails(scene.ocisite().args(["copy", "site", "new"]), &words);
        let names: Vec<_> = scene.path("new").read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [".ocisite"]);
    }
}

#[test]
fn a_blob_that_may_be_missing_stays_in_the_destination() {
    // Given: a site that was published without a layer, and a destination that has the layer.
    let scene = scene();
    let digest = layer(&scene, "app");
    std::fs::remove_file(blob_file(&scene.site, &digest)).unwrap();
    std::fs::remove_file(scene.site.join("v2/app/blobs").join(&digest)).unwrap();
    // When: it is copied so.
    let printed = scene.ocisite().args(["copy", "--allow-missing", "--delete", "site", "to"]).warns();
    // Then: a warning says what is missing, and the destination keeps what its documents lead to.
    assert!(printed.contains("example.com/app") && printed.contains(&digest[7..]), "{printed}");
    verify(&[text(&scene.path("to"))]).assert_clean();
}

#[test]
fn a_foreign_layer_may_be_missing() {
    // Given: a site without a layer that its descriptor says to get elsewhere.
    let mut scene = Scene::new();
    let config = scene.layout.document(CONFIG, &json!({"os": "windows", "architecture": "amd64"}));
    let mut foreign = scene.layout.blob("application/vnd.oci.image.layer.nondistributable.v1.tar", "layer");
    std::fs::remove_file(scene.layout.blob_file(&foreign)).unwrap();
    foreign["urls"] = json!(["https://example.net/layer"]);
    let image = scene.layout.document(MANIFEST, &json!({"config": config, "layers": [foreign]}));
    scene.layout.add("1.0", image);
    scene.publish().args(["--registry", "example.com/app=layout"]).succeeds();
    // When: it is copied, then: it is the same site.
    let printed = scene.ocisite().args(["copy", "site", "to"]).warns();
    assert!(printed.contains(&foreign["digest"].as_str().unwrap()[7..]), "{printed}");
    Snapshot::public(&scene.site).assert_same(&Snapshot::public(&scene.path("to")));
}

#[test]
fn a_source_with_a_tag_that_lacks_a_layer_is_refused() {
    // Given a site with the tag of a publish that was killed before it wrote the index.
    let scene = Scene::of_image("app");
    scene.publish().args(["--registry", "example.com/app=layout"]).succeeds();
    let index = scene.site.join("oci-index/app");
    let before = std::fs::read(&index).unwrap();
    let mut other = Layout::new(scene.path("other"));
    other.add("2.0", other.image("other"));
    scene.publish().args(["example.com/app=other"]).succeeds();
    let manifest = std::fs::read(scene.site.join("v2/app/manifests/2.0")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layer = manifest["layers"][1]["digest"].as_str().unwrap();
    std::fs::write(&index, before).unwrap();
    // When it is copied, then the copy has all that the tag leads to.
    scene.ocisite().args(["copy", "site", "to"]).succeeds();
    Snapshot::public(&scene.site.join("v2")).assert_same(&Snapshot::public(&scene.path("to/v2")));
    // Given the same site, which lost the layer of the tag in the view, and then in the CAS, too.
    for missing in [scene.site.join("v2/app/blobs").join(layer), blob_file(&scene.site, layer)] {
        std::fs::remove_file(&missing).unwrap();
        let before = Snapshot::of(scene.directory.path());
        // When it is copied, then the layer is named, and nothing changes.
        let path = below(&scene.site, &missing);
        fails(scene.ocisite().args(["copy", "site", "to"]), &["example.com/app", &path, "missing"]);
        before.assert_unchanged(scene.directory.path());
    }
}

/// Waits for something that another process does.
fn wait_for(what: &str, is_done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_done() {
        assert!(begun.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a copy of `site` to `new` in one thread, which stops at the call of `getdents64` with this number.
fn stopped_copy(scene: &Scene, stop: Option<usize>) -> (Command, PathBuf) {
    let trace = scene.path("trace");
    let mut command = Command::new("strace");
    command.current_dir(&scene.directory).args(["-f", "-y", "-e", "trace=getdents64", "-o", text(&trace)]);
    if let Some(call) = stop {
        command.args(["-e", &format!("inject=getdents64:signal=STOP:when={call}")]);
    }
    command.args([PROGRAM, "copy", "--jobs", "1", "--quiet", "site", "new"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    (command, trace)
}

#[test]
fn what_a_gc_removes_from_the_source_during_a_copy_is_noticed() {
    // Given: a site with two images, and the number of the call with which a copy begins its second listing.
    let scene = scene();
    Layout::of_image(scene.path("other"), "other");
    scene.publish().arg("example.com/other=other").succeeds();
    let (mut copy, trace) = stopped_copy(&scene, None);
    assert!(copy.status().expect("this test needs strace: scripts/test installs it").success());
    let lines = std::fs::read_to_string(&trace).unwrap();
    let blobs = format!("{}>", text(&scene.site.join("oci-cas/sha256")));
    let mut calls = lines.lines().filter(|line| line.contains("getdents64(")).enumerate();
    let mut listings = calls.by_ref().filter(|(_, line)| line.contains(&blobs)).map(|(call, _)| call);
    // The last call of the first listing of the blobs, and the first one of the second.
    let (_, _, second) = (listings.next(), listings.next(), listings.next().unwrap());
    std::fs::remove_dir_all(scene.path("new")).unwrap();
    // When: an image and its blobs go between the two.
    let (mut copy, trace) = stopped_copy(&scene, Some(second + 1));
    let running = copy.spawn().unwrap();
    let stopped = || std::fs::read_to_string(&trace).unwrap_or_default().contains("stopped by SIGSTOP");
    wait_for("the copy to stop", stopped);
    scene.ocisite().args(["remove", "site", "example.com/other"]).succeeds();
    scene.ocisite().args(["gc", "--grace", "0", "site"]).succeeds();
    let lines = std::fs::read_to_string(&trace).unwrap();
    let process = lines.split_whitespace().next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(process).unwrap(), Signal::CONT).unwrap();
    let output = running.wait_with_output().unwrap();
    // Then: the copy reads the site again, and is complete.
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_whole(&scene.path("new"));
    verify(&[text(&scene.path("new"))]).assert_clean();
}

#[test]
fn a_source_that_lacks_a_layer_of_a_signature_is_refused() {
    // Given: a site with a signature of its image, whose layer it lost.
    let scene = scene();
    let image = entries(&scene.site, "app")[0].clone();
    let mut signatures = Layout::new(scene.path("signatures"));
    let signature = signatures.artifact("signature", &image);
    signatures.add_untagged(signature.clone());
    scene.publish().args(["--append", "example.com/app=signatures"]).succeeds();
    let manifest: Value = serde_json::from_slice(&std::fs::read(signatures.blob_file(&signature)).unwrap()).unwrap();
    let digest = manifest["layers"][0]["digest"].as_str().unwrap().to_string();
    std::fs::remove_file(blob_file(&scene.site, &digest)).unwrap();
    // When: it is copied, then: the layer is named.
    fails(scene.ocisite().args(["copy", "site", "to"]), &["example.com/app", &digest[7..], "missing"]);
}

#[test]
fn a_copy_never_replaces_an_image_by_one_of_another_name() {
    // Given: a site, and others with images whose indexes cannot be beside its own: of another host, and of a path below.
    let scene = scene();
    let before = Snapshot::public(&scene.site);
    for (name, words) in [
        ("example.org/app", ["example.com/app and example.org/app have different hosts", "--root-per-host"]),
        ("example.com/app/part", ["example.com/app and example.com/app/part cannot be in one site", "another name"]),
        ("example.com/App", ["would share the index", "ignores case"]),
    ] {
        let other = scene.path("other");
        let image = format!("{name}=layout");
        scene.ocisite().args(["publish", "--site", text(&other), &image]).succeeds();
        // When: one is copied to the site.
        let refused = ["copy", text(&other), text(&scene.site)];
        fails(scene.ocisite().args(refused), &words);
        // Then: the site stays as it is.
        before.assert_same(&Snapshot::public(&scene.site));
        std::fs::remove_dir_all(&other).unwrap();
    }
    // When: the site's own images go, then those of the other host come.
    scene.ocisite().args(["publish", "--registry", "--site", "other", "example.org/app=layout"]).succeeds();
    scene.ocisite().args(["copy", "--delete", "other", "site"]).succeeds();
    Snapshot::public(&scene.path("other")).assert_same(&Snapshot::public(&scene.site));
}

#[test]
fn a_copy_holds_a_manifest_that_many_tags_share_once() {
    // Given: a manifest of a mebibyte under sixty refs, each of which is two files of the registry view.
    let mut scene = Scene::new();
    let config = scene.layout.blob(CONFIG, "{}");
    let annotations = json!({"a": "x".repeat(MIB as usize)});
    let document =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [], "annotations": annotations});
    let manifest = scene.layout.document(MANIFEST, &document);
    for number in 0..60 {
        scene.layout.add(&number.to_string(), manifest.clone());
    }
    scene.publish().args(["--registry", "--no-catalogue", "example.com/app=layout"]).succeeds();
    // When: the site is copied, twice, with half the memory that its tags take.
    for _ in 0..2 {
        let mut copy = ocisite_within(64 * MIB);
        copy.current_dir(&scene.directory).args(["copy", "--jobs", "1", "site", "to"]).succeeds();
    }
    // Then: the copy is whole.
    Snapshot::public(&scene.site).assert_same(&Snapshot::public(&scene.path("to")));
}

/// A scene with sites of one image each: `site` and `to`, published with these arguments.
fn two_sites(site: &[&str], to: &[&str]) -> Scene {
    let scene = Scene::of_image("app");
    Layout::of_image(scene.path("other"), "other");
    scene.publish().args(site).arg("example.com/other=other").succeeds();
    scene.ocisite().args(["publish", "--site", "to"]).args(to).arg("example.com/app=layout").succeeds();
    scene
}

#[test]
fn a_copy_that_would_turn_the_registry_view_on_or_off_for_images_that_stay_is_refused() {
    let (with, without) = (&["--preset", "registry", "--registry"][..], &["--preset", "registry"][..]);
    for (site, to, words) in [
        (without, with, ["to has the registry view, and site does not", "--delete"]),
        (with, without, ["site has the registry view, and to does not", "--delete"]),
    ] {
        // Given: two sites with an image each, of which one has the registry view.
        let scene = two_sites(site, to);
        let before = Snapshot::public(scene.directory.path());
        // When: one is copied into the other, then: the copy says what to do, and nothing changes.
        fails(scene.ocisite().args(["copy", "site", "to"]), &words);
        before.assert_same(&Snapshot::public(scene.directory.path()));
        // When: the destination's image may go, then: the destination is the source, with nothing of the view that goes.
        scene.ocisite().args(["copy", "--delete", "site", "to"]).succeeds();
        Snapshot::public(&scene.site).assert_same(&Snapshot::public(&scene.path("to")));
    }
}

#[test]
fn a_source_that_changes_while_the_copy_waits_is_checked_as_it_is_copied() {
    // Given: two sites with an image each, and a copy of one into the other, which waits for the lock of the other.
    let scene = two_sites(&[], &[]);
    let before = Snapshot::public(&scene.path("to"));
    let lock = std::fs::File::open(scene.path("to/.ocisite/lock")).unwrap();
    lock.lock().unwrap();
    let trace = scene.path("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", text(&trace), "-e", "trace=flock", PROGRAM, "copy", "site", "to"]);
    let copy = command.current_dir(&scene.directory).stderr(Stdio::piped()).spawn();
    let copy = copy.expect("this test needs strace: scripts/test installs it");
    let start = Instant::now();
    while !std::fs::read_to_string(&trace).is_ok_and(|calls| calls.contains("flock(")) {
        assert!(start.elapsed() < PATIENCE, "it does not wait for the lock");
        std::thread::yield_now();
    }
    // When: the source gets the registry view meanwhile, which the other has not.
    scene.publish().args(["--registry", "example.com/other=other"]).succeeds();
    lock.unlock().unwrap();
    // Then: the copy is refused as it would be now, and nothing changes.
    let output = copy.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains("site has the registry view, and to does not"), "{message}");
    before.assert_same(&Snapshot::public(&scene.path("to")));
}

#[test]
fn a_view_that_the_source_got_is_copied_with_the_images_that_it_has() {
    // Given: a site, its copy, and then the registry view in the site alone.
    let scene = Scene::of_image("app");
    scene.publish().arg("example.com/app=layout").succeeds();
    scene.ocisite().args(["copy", "site", "to"]).succeeds();
    scene.publish().args(["--registry", "example.com/app=layout"]).succeeds();
    // When: the site is copied again, then: the copy has the view.
    scene.ocisite().args(["copy", "site", "to"]).succeeds();
    Snapshot::public(&scene.site).assert_same(&Snapshot::public(&scene.path("to")));
}

#[test]
fn a_copy_that_deletes_takes_away_the_views_that_the_source_lacks() {
    // Given: a site without views, and one with both.
    let scene = two_sites(&["--no-catalogue"], &["--registry"]);
    // When: the first is copied in place of the second.
    let planned = scene.ocisite().args(["copy", "--delete", "--dry-run", "--json", "site", "to"]).json();
    let copied = scene.ocisite().args(["copy", "--delete", "--json", "site", "to"]).json();
    // Then: nothing of the views stays.
    Snapshot::public(&scene.site).assert_same(&Snapshot::public(&scene.path("to")));
    assert_eq!(planned["removedPaths"], copied["removedPaths"]);
}

/// A scene with two sites with the registry view: `site` has the image `app` under two tags, `to` another one under three.
fn two_sites_of_tags() -> Scene {
    let scene = Scene::of_image("app");
    Layout::of_image(scene.path("other"), "other");
    for (site, layout, tags) in [("site", "layout", &["1.0", "3.0"][..]), ("to", "other", &["0.9", "1.0", "2.0"])] {
        for tag in tags {
            let image = format!("example.com/app#{tag}={layout}:1.0");
            let args = ["publish", "--registry", "--no-catalogue", "--site", site, &image];
            scene.ocisite().args(args).succeeds();
        }
    }
    scene
}

/// The files of a directory, sorted.
fn files(directory: &Path) -> Vec<String> {
    let mut files: Vec<String> =
        directory.read_dir().unwrap().map(|entry| text(&entry.unwrap().file_name()).to_string()).collect();
    files.sort();
    files
}

#[test]
fn a_copy_that_replaces_an_image_replaces_its_documents_of_the_registry_view() {
    // Given: two sites with other tags of one image, and in the destination a list of referrers.
    let scene = two_sites_of_tags();
    let list = scene.path(format!("to/v2/app/referrers/sha256:{}", "0".repeat(64)));
    std::fs::create_dir_all(list.parent().unwrap()).unwrap();
    std::fs::write(&list, json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).to_string()).unwrap();
    // When: one is copied into the other.
    let planned = scene.ocisite().args(["copy", "--dry-run", "--json", "site", "to"]).json();
    let copied = scene.ocisite().args(["copy", "--json", "site", "to"]).json();
    // Then: the destination has the documents of the source, and no other tags, pages or lists.
    assert_eq!(planned["removedPaths"], copied["removedPaths"]);
    for directory in ["tags", "tags/_last"] {
        let [site, to] = [&scene.site, &scene.path("to")].map(|site| files(&site.join("v2/app").join(directory)));
        assert_eq!(site, to);
    }
    let tags = files(&scene.path("to/v2/app/manifests"));
    assert_eq!(tags.iter().filter(|tag| !tag.contains(':')).collect::<Vec<_>>(), ["1.0", "3.0"]);
    assert!(!list.exists());
    // And: nothing but blobs that no document leads to is left for a gc.
    scene.ocisite().args(["gc", "--grace", "0", "to"]).succeeds();
    Snapshot::public(&scene.site).assert_same(&Snapshot::public(&scene.path("to")));
}

#[test]
fn a_removal_takes_away_pages_of_tags_that_no_list_names() {
    // Given: a site with a page of tags that is not of its tags, as an interrupted copy leaves one.
    let scene = two_sites_of_tags();
    let page = scene.site.join("v2/app/tags/_last/0.9");
    std::fs::write(&page, json!({"name": "app", "tags": ["1.0", "3.0"]}).to_string()).unwrap();
    // When: a tag is removed that the page names, then: the page goes.
    scene.ocisite().args(["remove", "site", "example.com/app#1.0"]).succeeds();
    assert_eq!(files(page.parent().unwrap()), ["3.0"]);
}

#[test]
fn a_list_of_referrers_of_a_missing_subject_leads_to_nothing_missing() {
    // Given: a site with a list of referrers of a subject that the site lacks, which leads to a manifest that it lacks.
    let scene = scene();
    let [subject, referrer] = ["1", "2"].map(|digit| format!("sha256:{}", digit.repeat(64)));
    let referrers = scene.site.join("v2/app/referrers");
    std::fs::create_dir_all(&referrers).unwrap();
    let entry = json!({"mediaType": MANIFEST, "digest": referrer, "size": 500});
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    std::fs::write(referrers.join(&subject), list.to_string()).unwrap();
    let before = Snapshot::of(scene.directory.path());
    // When: the site is copied, then: the manifest is named, and nothing changes.
    let message =
        fails(scene.ocisite().args(["copy", "site", "to"]), &["example.com/app", &referrer[7..], "--recheck"]);
    before.assert_unchanged(scene.directory.path());
    assert!(message.contains("missing"), "{message}");
    // When: the advice is followed, then: the site can be copied.
    scene.publish().args(["--recheck", "example.com/app=layout"]).succeeds();
    assert!(files(&referrers).is_empty());
    scene.ocisite().args(["copy", "site", "to"]).succeeds();
    verify(&[text(&scene.path("to"))]).assert_clean();
}

#[test]
fn a_copy_never_gives_one_repository_to_images_of_two_hosts() {
    // Given: two sites with the registry view, of other hosts, whose indexes would be apart.
    let scene = Scene::of_image("app");
    let template = "https://{host}/i/{host}/{+path}";
    for (site, image) in [("site", "a.example/app=layout"), ("to", "b.example/app=layout")] {
        let args = ["publish", "--registry", "--index-template", template, "--site", site, image];
        scene.ocisite().args(args).succeeds();
    }
    let before = Snapshot::public(&scene.path("to"));
    // When: one is copied into the other, then: both hosts are named, and nothing changes.
    fails(scene.ocisite().args(["copy", "site", "to"]), &["one host only", "a.example", "b.example"]);
    before.assert_same(&Snapshot::public(&scene.path("to")));
}

#[test]
fn an_image_that_the_source_does_not_list_replaces_none() {
    // Given: two sites with one image, and a source that does not list it, because its publish was killed.
    let scene = two_sites_of_tags();
    scene.publish().arg("example.com/other=other").succeeds();
    let description = scene.site.join("ocisite.json");
    let listed = std::fs::read_to_string(&description).unwrap();
    std::fs::write(&description, listed.replace("\"example.com/app\",", "")).unwrap();
    let kept = ["oci-index/app", "v2/app/_facts.json", "v2/app/manifests/1.0", "v2/app/tags/list"];
    let kept = || kept.map(|path| std::fs::read(scene.path("to").join(path)).unwrap());
    let before = kept();
    // When: the source is copied, then: the destination has the new image, and keeps its own.
    scene.ocisite().args(["copy", "site", "to"]).succeeds();
    assert!(before == kept() && !scene.path("to/v2/app/manifests/3.0").exists());
    // And: only blobs of the image that is not listed are left for a gc.
    scene.ocisite().args(["gc", "--grace", "0", "to"]).succeeds();
    verify(&[text(&scene.path("to"))]).assert_clean();
}
