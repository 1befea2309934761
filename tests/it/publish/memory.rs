//! Layouts that take little room on disk and would take a great deal in memory: a publish stays within a limit.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tar::{EntryType, Header};
use tempfile::TempDir;

use crate::support::layout::{INDEX, Layout, MANIFEST, REF_NAME};
use crate::support::memory::{MIB, ocisite_within};
use crate::support::program::{PROGRAM, fails, text};
use crate::support::scene::Scene;
use crate::support::site::{Snapshot, assert_whole, json};

const GIB: u64 = 1024 * MIB;

fn header(kind: EntryType, name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_path(name).unwrap();
    header.set_size(size);
    header.set_cksum();
    header
}

/// An archive that begins with this, and goes on with a hole of four gibibytes.
fn sparse_archive(path: &Path, start: &[&[u8]]) {
    let mut file = File::create(path).unwrap();
    file.write_all(&start.concat()).unwrap();
    file.set_len(4 * GIB).unwrap();
}

/// A publish with 64 MiB of memory.
fn publish(site: &Path, input: &str) -> assert_cmd::Command {
    let mut command = ocisite_within(64 * MIB);
    command.args(["publish", "--jobs", "2", "--site", text(site), &format!("example.com/app={input}")]);
    command
}

/// Publishes the archive with 64 MiB of memory, which has to be refused, and leaves the site as it is.
fn refuse(directory: &Path, archive: &Path, words: &[&str]) {
    let site = directory.join("site");
    let good = Layout::of_image(directory.join("good"), "published before");
    publish(&site, good.arg()).assert().success();
    let before = Snapshot::of(&site);
    let message = fails(&mut publish(&site, text(archive)), words);
    assert!(!message.contains("memory allocation"), "{message}");
    before.assert_unchanged(&site);
}

#[test]
fn an_extension_header_of_gigabytes_in_an_archive_is_refused_before_it_is_read() {
    let scene = Scene::new();
    let archive = scene.path("archive.tar");
    for kind in [b'L', b'K', b'x', b'g'] {
        // Given a few bytes on disk that announce three gibibytes.
        sparse_archive(&archive, &[header(EntryType::new(kind), "long", 3 * GIB).as_bytes()]);
        // When it is published, then the message says where, what, how much and how much there may be.
        let words =
            ["archive.tar", "byte 0", "\"long\"", &(3 * GIB).to_string(), &MIB.to_string(), "create the archive again"];
        refuse(scene.directory.path(), &archive, &words);
    }
}

#[test]
fn an_extension_header_is_found_wherever_a_reader_of_pax_records_finds_it() {
    // Given a member of no bytes by its pax record, and of a gibibyte by its header: readers that disagree on which counts
    // find different headers behind it.
    let scene = Scene::new();
    let archive = scene.path("archive.tar");
    let mut record = b"10 size=0\n".to_vec();
    let pax = header(EntryType::XHeader, "pax", record.len() as u64);
    record.resize(512, 0);
    let member = header(EntryType::Regular, "member", GIB);
    let long = header(EntryType::GNULongName, "hidden", 3 * GIB);
    sparse_archive(&archive, &[pax.as_bytes(), &record, member.as_bytes(), long.as_bytes()]);
    refuse(scene.directory.path(), &archive, &["byte 1536", "\"hidden\""]);
}

/// Publishes an image of so many refs with the registry view, within a limit. Gives how many refs its index has.
fn publish_refs(layout: &Layout, refs: usize, bytes: u64) {
    layout.write_index();
    let site = layout.path.with_extension("site");
    let image = format!("example.com/app={}", layout.arg());
    let mut command = ocisite_within(bytes);
    command.args(["publish", "--jobs", "2", "--registry", "--no-catalogue", "--site", text(&site), &image]);
    command.assert().success();
    let tags = json(&site, "v2/app/tags/list")["tags"].as_array().unwrap().len();
    assert_eq!(tags, refs);
}

#[test]
fn a_great_many_refs_of_one_manifest_are_published_in_little_memory() {
    // Given refs that all lead to one manifest.
    let (scene, refs) = (Scene::new(), 2_000);
    let mut layout = Layout::new(scene.path("layout"));
    let image = layout.image("content");
    (0..refs).for_each(|number| layout.add_unwritten(&format!("v{number:06}"), image.clone()));
    // Then two kibibytes are enough for each.
    publish_refs(&layout, refs, 16 * MIB + refs as u64 * 2048);
}

#[test]
fn refs_of_the_same_platforms_are_published_in_little_memory() {
    // Given refs that all lead to the same two manifests, so that one index stands for each of them.
    let (scene, refs) = (Scene::new(), 2_000);
    let mut layout = Layout::new(scene.path("layout"));
    for architecture in ["amd64", "arm64"] {
        let platform = json!({"os": "linux", "architecture": architecture, "os.version": "9".repeat(400)});
        let mut image = layout.image_with(architecture, platform.clone());
        image["platform"] = platform;
        (0..refs).for_each(|number| layout.add_unwritten(&format!("v{number:06}"), image.clone()));
    }
    publish_refs(&layout, refs, 16 * MIB + refs as u64 * 6 * 1024);
}

/// How often a run opens a blob of a layout or a site.
fn openings(args: &[&str], blob: &Value) -> usize {
    let trace = TempDir::new().unwrap();
    let file = trace.path().join("trace");
    let strace = ["-f", "-qq", "-o", text(&file), "-e", "trace=openat,openat2", PROGRAM];
    let output = Command::new("strace").args(strace).args(args).output();
    let output = output.expect("this test needs strace: scripts/test installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (_, encoded) = blob["digest"].as_str().unwrap().split_once(':').unwrap();
    std::fs::read_to_string(&file).unwrap().matches(encoded).count()
}

#[test]
fn a_manifest_is_read_no_more_often_for_a_great_many_refs() {
    let count = |refs: usize| {
        // Given refs that all lead to one manifest.
        let Scene { directory, site, .. } = Scene::new();
        let mut layout = Layout::new(directory.path().join("layout"));
        let image = layout.image("content");
        (0..refs).for_each(|number| layout.add_unwritten(&format!("v{number}"), image.clone()));
        layout.write_index();
        let app = format!("example.com/app={}", layout.arg());
        let published =
            openings(&["publish", "--registry", "--no-catalogue", "--jobs", "1", "--site", text(&site), &app], &image);
        (published, openings(&["list", text(&site)], &image))
    };
    let (published, listed) = count(2);
    assert!(published > 0 && listed > 0, "{published} {listed}");
    // Then the files that the registry view has for each ref are all that is opened besides.
    let (published_many, listed_many) = count(100);
    assert!(published_many < published + 2 * 98, "{published} {published_many}");
    assert_eq!(listed_many, listed);
}

#[test]
fn a_referrer_that_a_fallback_tag_lists_a_great_many_times_is_kept_once() {
    // Given an index under a fallback tag that lists one signature ten thousand times, with three mebibytes of annotations.
    let Scene { directory: _directory, mut layout, site } = Scene::of_image("content");
    let image = layout.image("content");
    let config = layout.blob("application/vnd.oci.empty.v1+json", "{}");
    let signature = layout.document(
        MANIFEST,
        &json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x-signature", "config": config,
            "layers": [], "subject": image, "annotations": {"note": "x".repeat(3_000_000)},
        }),
    );
    let list = layout.index_of(&vec![signature.clone(); 10_000]);
    layout.add(&image["digest"].as_str().unwrap().replace(':', "-"), list);
    // When it is published with 64 MiB of memory.
    let app = format!("example.com/app={}", layout.arg());
    let mut command = ocisite_within(64 * MIB);
    command.args(["publish", "--registry", "--no-catalogue", "--jobs", "2", "--site", text(&site), &app]);
    command.assert().success();
    // Then the image has one referrer.
    let referrers = json(&site, &format!("v2/app/referrers/{}", image["digest"].as_str().unwrap()));
    assert_eq!(referrers["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(referrers["manifests"][0]["digest"], signature["digest"]);
}

/// A layout of four mebibytes: one index with one referrer of a long annotation, under so many fallback tags.
fn referrer_under_many_tags(path: impl Into<PathBuf>, tags: usize) -> Layout {
    let mut layout = Layout::new(path);
    let mut referrer = layout.image("content");
    referrer["annotations"] = json!({"note": "x".repeat(4 * MIB as usize - 2000)});
    let index = layout.index_of(&[referrer]);
    (0..tags).for_each(|number| layout.add_unwritten(&format!("sha256-{number:064x}"), index.clone()));
    layout.write_index();
    layout
}

const TOO_MANY_REFERRERS: [&str; 3] = ["example.com/app", "fallback tag", "64 MiB"];

#[test]
fn a_referrer_that_a_great_many_fallback_tags_list_is_refused() {
    // Given lists of 400 mebibytes that follow from a layout of four.
    let scene = Scene::new();
    let layout = referrer_under_many_tags(scene.path("layout"), 100);
    // When it is published, then the message says what the limit is.
    let mut command = ocisite_within(96 * MIB);
    command.args(["publish", "--registry", "--jobs", "2", "--site", text(&scene.site)]);
    fails(command.arg(format!("example.com/app={}", layout.arg())), &TOO_MANY_REFERRERS);
    assert!(!scene.site.exists());
}

#[test]
fn a_site_whose_lists_of_referrers_would_be_too_large_is_refused() {
    // Given a site whose index got further fallback tags, as an earlier version published them.
    let scene = Scene::new();
    let layout = referrer_under_many_tags(scene.path("layout"), 1);
    let publish = |layout: &Layout| {
        let mut command = ocisite_within(128 * MIB);
        command.args(["publish", "--registry", "--jobs", "2", "--site", text(&scene.site)]);
        command.arg(format!("example.com/app={}", layout.arg()));
        command
    };
    publish(&layout).assert().success();
    let mut index = json(&scene.site, "oci-index/app");
    let entries = index["manifests"].as_array_mut().unwrap();
    for number in 1..20 {
        let mut entry = entries[0].clone();
        entry["annotations"][REF_NAME] = format!("sha256-{number:064x}").into();
        entries.push(entry);
    }
    std::fs::write(scene.site.join("oci-index/app"), index.to_string()).unwrap();
    // When it is verified, then the lists are too large to be compared.
    let output =
        ocisite_within(128 * MIB).args(["verify", "--json", "--jobs", "2", text(&scene.site)]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.iter().any(|it| it["found"].as_str().unwrap().contains("64 MiB")), "{report:#}");
    // And a publish of another ref is refused, and a removal of the image is not.
    let more = Layout::of_image(scene.path("more"), "more");
    fails(&mut publish(&more), &TOO_MANY_REFERRERS);
    ocisite_within(128 * MIB).args(["remove", text(&scene.site), "example.com/app"]).assert().success();
}

#[test]
fn a_document_that_would_take_many_times_its_size_in_memory_is_refused() {
    // Given an index of three mebibytes that holds a great many small objects, or a descriptor with a great many properties.
    let Scene { directory, site, .. } = Scene::new();
    let objects = r#"{"":0},"#.repeat(500_000);
    let properties: String = (0..300_000).map(|number| format!("\"{number}\":0,")).collect();
    let documents = [
        format!(r#"{{"schemaVersion":2,"manifests":[{objects}{{}}]}}"#),
        format!(r#"{{"schemaVersion":2,"manifests":[{{{properties}"mediaType":"{MANIFEST}"}}]}}"#),
    ];
    for document in documents {
        let mut layout = Layout::new(directory.path().join("layout"));
        assert!(document.len() < 4 * MIB as usize);
        let index = layout.blob(INDEX, document);
        layout.add("1.0", index.clone());
        // Then a publish with 64 MiB says which document is wrong, and why.
        fails(&mut publish(&site, layout.arg()), &[&layout.blob_name(&index), "too many values"]);
    }
}

#[test]
fn a_note_of_gigabytes_in_private_state_is_not_read() {
    let Scene { directory: _directory, site, layout } = Scene::of_image("content");
    let publish = || publish(&site, layout.arg()).assert().success();
    publish();
    let note = site.join(".ocisite/unfinished.json");
    File::create(&note).unwrap().set_len(4 * GIB).unwrap();
    // It says that something was begun, so that the next publish completes it.
    std::fs::remove_file(site.join("oci-index/app")).unwrap();
    publish();
    assert!(!note.exists());
    assert_whole(&site);
}

#[test]
fn an_index_of_the_site_with_a_great_many_values_is_refused() {
    // Given a site whose index has a property of three mebibytes beside its entries, which would take a hundred times that.
    let Scene { directory: _directory, site, layout } = Scene::of_image("content");
    let publish = || publish(&site, layout.arg());
    publish().assert().success();
    let index = site.join("oci-index/app");
    let planted = format!("{{\"x\":[{}0],", r#"{"":0},"#.repeat(400_000));
    std::fs::write(&index, std::fs::read_to_string(&index).unwrap().replacen('{', &planted, 1)).unwrap();
    let before = Snapshot::of(&site);
    // Then neither a publish nor a list holds them.
    fails(&mut publish(), &["oci-index/app", "too many values"]);
    fails(ocisite_within(64 * MIB).args(["list", text(&site)]), &["oci-index/app", "too many values"]);
    before.assert_unchanged(&site);
}
