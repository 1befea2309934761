//! The registry view as files: what a publish makes of it, and that it keeps up with what is published.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::layout::{INDEX, Layout, MANIFEST};
use crate::support::many_refs::Documents;
use crate::support::program::{PROGRAM, Succeeds, text};
use crate::support::scene::Scene;
use crate::support::site::{Snapshot, blob_file, digest_like, entries, json};
use crate::support::strace::replace;

impl Scene {
    fn layout(&self, name: &str) -> Layout {
        Layout::new(self.path(name))
    }

    fn publish_view(&self, layout: &Layout, args: &[&str]) {
        self.publish().args(["--registry", &layout.input("team/app")]).args(args).succeeds();
    }

    /// The names under which a manifest is served, with the types that they stand for.
    fn typed(&self, reference: &str) -> BTreeSet<String> {
        let directory = self.site.join("v2/team/app/_manifests");
        let names =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.strip_prefix(&format!("{reference}."))?.to_string().into()).collect()
    }

    fn manifest(&self, reference: &str) -> Value {
        json(&self.site, &format!("v2/team/app/manifests/{reference}"))
    }

    fn tags(&self) -> Value {
        json(&self.site, "v2/team/app/tags/list")["tags"].clone()
    }

    /// Publishes, and puts the index back as it was: a publish behind a lock writes the index after the tags and their lists.
    fn publish_killed_before_the_index(&self, layout: &Layout) {
        let index = self.site.join("oci-index/team/app");
        let before = std::fs::read(&index).unwrap();
        self.publish_view(layout, &["--no-catalogue"]);
        std::fs::write(index, before).unwrap();
    }

    /// A layout with an image under a ref.
    fn layout_of(&self, reference: &str) -> Layout {
        let mut layout = self.layout(reference);
        layout.add(reference, layout.image(reference));
        layout
    }

    /// Follows each list of tags to the tags, and each tag to the last blob. Gives the tags.
    fn assert_view_whole(&self) -> BTreeSet<String> {
        let view = self.site.join("v2/team/app");
        let names = |directory: &str| -> BTreeSet<String> {
            let entries = std::fs::read_dir(view.join(directory)).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let lists = names("tags/_last").into_iter().map(|tag| format!("_last/{tag}")).chain(["list".to_string()]);
        let tags: BTreeSet<String> =
            names("manifests").into_iter().filter(|reference| !reference.contains(':')).collect();
        for list in lists.filter(|list| view.join("tags").join(list).exists()) {
            for tag in json(&view, &format!("tags/{list}"))["tags"].as_array().unwrap() {
                assert!(tags.contains(tag.as_str().unwrap()), "tags/{list} names {tag}");
            }
        }
        for tag in &tags {
            let path = format!("manifests/{tag}");
            let own = digest_like("sha256:", &std::fs::read(view.join(&path)).unwrap());
            assert!(view.join("manifests").join(&own).exists(), "the manifest of {tag} has no digest");
            let manifest = json(&view, &path);
            for blob in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
                let is_there = view.join("blobs").join(digest(blob)).exists();
                assert!(is_there && blob_file(&self.site, digest(blob)).exists(), "{tag} leads to {blob}");
            }
        }
        tags
    }
}

/// Makes all files below a directory older than a grace of one day.
fn age(directory: &Path) {
    for entry in walkdir::WalkDir::new(directory).into_iter().map(Result::unwrap).filter(|it| it.file_type().is_file())
    {
        let old = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
        File::options().write(true).open(entry.path()).unwrap().set_modified(old).unwrap();
    }
}

const FACTS: &str = "v2/team/app/_facts.json";

fn write(site: &Path, path: &str, document: &Value) {
    std::fs::write(site.join(path), serde_json::to_vec(document).unwrap()).unwrap();
}

fn digest(descriptor: &Value) -> &str {
    descriptor["digest"].as_str().unwrap()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_tag_is_the_manifest_and_blobs_are_links_to_the_cas() {
    let scene = Scene::new();
    let mut layout = scene.layout("layout");
    let image = layout.image("content");
    layout.add("1.0", image.clone());

    scene.publish_view(&layout, &[]);

    let bytes = std::fs::read(layout.blob_file(&image)).unwrap();
    assert_eq!(std::fs::read(scene.site.join("v2/team/app/manifests/1.0")).unwrap(), bytes);
    assert_eq!(scene.typed("1.0"), set(&["oci-manifest"]));
    assert_eq!(scene.tags(), json!(["1.0"]));
    let layer = scene.manifest("1.0")["layers"][0]["digest"].as_str().unwrap().to_string();
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    let in_view = scene.site.join("v2/team/app/blobs").join(&layer);
    assert_eq!(inode(&in_view), inode(&blob_file(&scene.site, &layer)), "the layer should not be there twice");
}

#[test]
fn a_tag_that_changes_its_type_has_one_type_afterwards() {
    let scene = Scene::new();
    let mut image = scene.layout("image");
    image.add("1.0", image.image("content"));
    let mut index = scene.layout("index");
    index.add("1.0", index.index_of(&[index.image("other content")]));

    scene.publish_view(&image, &[]);
    scene.publish_view(&index, &[]);
    assert_eq!(scene.typed("1.0"), set(&["oci-index"]));
    assert_eq!(scene.manifest("1.0")["mediaType"], INDEX);

    scene.publish_view(&image, &[]);
    assert_eq!(scene.typed("1.0"), set(&["oci-manifest"]));
    assert_eq!(scene.manifest("1.0")["mediaType"], MANIFEST);
}

#[test]
fn a_type_that_a_killed_publish_left_is_found_and_taken_away_by_the_next() {
    let scene = Scene::new();
    let mut image = scene.layout("image");
    image.add("1.0", image.image("content"));
    scene.publish_view(&image, &[]);
    // Given what is left of a tag that was an index, when the publish of another type is killed.
    let manifests = scene.site.join("v2/team/app/_manifests");
    std::fs::copy(manifests.join("1.0.oci-manifest"), manifests.join("1.0.oci-index")).unwrap();
    let verified = scene.ocisite().args(["verify", "site"]).output().unwrap();
    let printed = String::from_utf8(verified.stdout).unwrap();
    assert!(printed.contains("registry-differs") && printed.contains("1.0.oci-index"), "{printed}");
    // When it is done again.
    scene.publish_view(&image, &[]);
    // Then the tag has its type.
    assert_eq!(scene.typed("1.0"), set(&["oci-manifest"]));
}

#[test]
fn gc_keeps_all_that_a_tag_leads_to_when_its_publish_was_killed() {
    let scene = Scene::new();
    let [before, after] = ["before", "after"].map(|content| {
        let mut layout = scene.layout(content);
        layout.add("1.0", layout.index_of(&[layout.image(content)]));
        layout
    });
    scene.publish_view(&before, &[]);
    let index = scene.site.join("oci-index/team/app");
    let bytes = std::fs::read(&index).unwrap();
    scene.publish_view(&after, &[]);
    // Given a publish that was killed between the tag and the index.
    std::fs::write(&index, bytes).unwrap();
    // When a gc runs.
    scene.ocisite().args(["gc", "--grace", "0", "site"]).succeeds();
    // Then whoever pulls the tag gets all of it.
    let manifest = scene.manifest(digest(&scene.manifest("1.0")["manifests"][0]));
    for blob in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
        assert!(scene.site.join("v2/team/app/blobs").join(digest(blob)).is_file(), "{blob}");
    }
}

#[test]
fn gc_keeps_the_tags_that_a_list_names() {
    let scene = Scene::new();
    scene.publish_view(&scene.layout_of("1.0"), &[]);
    // Given a publish of another tag that was killed before it wrote the index.
    scene.publish_killed_before_the_index(&scene.layout_of("2.0"));
    for list in ["list", "_last/1.0"] {
        // When a gc runs, then each tag that the list names is there with all of it.
        scene.ocisite().args(["gc", "--grace", "0", "site"]).succeeds();
        assert_eq!(scene.assert_view_whole(), set(&["1.0", "2.0"]), "named by {list}");
        // Given only one of the two lists, the second time.
        let name = "team/app";
        write(&scene.site, "v2/team/app/tags/list", &json!({"name": name, "tags": ["1.0"]}));
    }
    // When no list names the tag any more, then it goes, and all that only it led to.
    write(&scene.site, "v2/team/app/tags/_last/1.0", &json!({"name": "team/app", "tags": []}));
    scene.ocisite().args(["gc", "--grace", "0", "site"]).succeeds();
    assert_eq!(scene.assert_view_whole(), set(&["1.0"]));
    assert_eq!(std::fs::read_dir(scene.site.join("v2/team/app/blobs")).unwrap().count(), 3);
}

#[test]
fn gc_keeps_all_that_a_young_tag_leads_to() {
    let scene = Scene::new();
    let layout = scene.layout_of("2.0");
    scene.publish_view(&scene.layout_of("1.0"), &["--no-catalogue"]);
    // Given old blobs that nothing leads to, and a publish that finds them and is killed after its tag, before the lists.
    scene.publish_view(&layout, &[]);
    scene.ocisite().args(["remove", "site", "example.com/team/app#2.0"]).succeeds();
    age(&scene.site);
    let tags = scene.site.join("v2/team/app/tags");
    replace(&scene.path("tags"), &tags);
    scene.publish_killed_before_the_index(&layout);
    for (is_typed, is_plain) in [(true, true), (true, false)] {
        replace(&tags, &scene.path("tags"));
        if !is_plain {
            std::fs::remove_file(scene.site.join("v2/team/app/manifests/2.0")).unwrap();
        }
        // When a gc runs.
        scene.ocisite().args(["gc", "site"]).succeeds();
        // Then the tag, whose names are younger than the grace, leads to nothing that is missing.
        assert_eq!((!scene.typed("2.0").is_empty(), scene.assert_view_whole().contains("2.0")), (is_typed, is_plain));
        assert_eq!(std::fs::read_dir(scene.site.join("v2/team/app/blobs")).unwrap().count(), 4);
    }
}

#[test]
fn gc_keeps_all_that_a_first_publish_has_written_when_it_was_killed() {
    // Given old blobs of an image that was removed, and the tags of a publish that was killed before it wrote the index.
    let scene = Scene::new();
    let layout = scene.layout_of("1.0");
    scene.publish().args(["--no-catalogue", &layout.input("other")]).succeeds();
    scene.publish_view(&layout, &["--no-catalogue"]);
    scene.ocisite().args(["remove", "site", "example.com/team/app"]).succeeds();
    age(&scene.site);
    scene.publish_view(&layout, &["--no-catalogue"]);
    std::fs::remove_file(scene.site.join("oci-index/team/app")).unwrap();
    write(&scene.site, "ocisite.json", &{
        let mut description = json(&scene.site, "ocisite.json");
        description["images"] = json!(["example.com/other"]);
        description
    });
    // The tags may be written a day before the lists.
    age(&scene.site.join("v2/team/app/manifests"));
    age(&scene.site.join("v2/team/app/_manifests"));
    // When a gc runs, then they are whole; and once all of it is old, nothing is left.
    scene.ocisite().args(["gc", "site"]).succeeds();
    assert_eq!(scene.assert_view_whole(), set(&["1.0"]));
    age(&scene.site);
    scene.ocisite().args(["gc", "site"]).succeeds();
    assert!(!scene.site.join("v2/team").exists());
}

#[test]
fn refs_and_images_of_the_same_platforms_have_one_index() {
    let scene = Scene::new();
    let mut layout = scene.layout("layout");
    let platforms = ["amd64", "arm64"]
        .map(|architecture| layout.image_with(architecture, json!({"os": "linux", "architecture": architecture})));
    for (reference, platform) in ["1.0", "latest"].iter().flat_map(|tag| platforms.iter().map(move |one| (tag, one))) {
        layout.add(reference, platform.clone());
    }

    scene.publish().args(["--registry", "example.com/team/app=layout", "example.com/other=layout"]).succeeds();

    assert_eq!(scene.manifest("1.0")["mediaType"], INDEX);
    assert_eq!(scene.manifest("1.0"), scene.manifest("latest"));
    assert_eq!(json(&scene.site, "v2/other/manifests/latest"), scene.manifest("latest"));
}

#[test]
fn a_ref_with_an_entry_for_each_platform_is_one_index() {
    let scene = Scene::new();
    let platforms = ["amd64", "arm64"].map(|architecture| {
        let mut layout = scene.layout(architecture);
        layout.add("1.0", layout.image_with(architecture, json!({"os": "linux", "architecture": architecture})));
        layout
    });

    scene.publish_view(&platforms[0], &[]);
    scene.publish_view(&platforms[1], &["--append"]);

    let index = scene.manifest("1.0");
    assert_eq!(index["mediaType"], INDEX);
    let architectures: Vec<&Value> =
        index["manifests"].as_array().unwrap().iter().map(|entry| &entry["platform"]["architecture"]).collect();
    assert_eq!(architectures, ["amd64", "arm64"]);
    assert!(index["manifests"][0].get("casEngines").is_none(), "a registry's client has no use for {index}");
    // A client that has the tag's digest asks for the index by it.
    let bytes = std::fs::read(scene.site.join("v2/team/app/manifests/1.0")).unwrap();
    let own = digest_like("sha256:", &bytes);
    assert_eq!(scene.manifest(&own), index);
    assert_eq!(scene.typed(&own), set(&["oci-index"]));
}

#[test]
fn refs_that_are_replaced_leave_the_lists_and_the_tags() {
    let scene = Scene::new();
    let mut both = scene.layout("both");
    both.add("1.0", both.image("one"));
    both.add("2.0", both.image("two"));
    let mut two = scene.layout("two");
    two.add("2.0", two.image("two"));

    scene.publish_view(&both, &[]);
    assert_eq!(scene.tags(), json!(["1.0", "2.0"]));
    assert_eq!(json(&scene.site, "v2/team/app/tags/_last/1.0")["tags"], json!(["2.0"]));

    scene.publish_view(&two, &["--replace"]);
    assert_eq!(scene.tags(), json!(["2.0"]));
    assert!(!scene.site.join("v2/team/app/manifests/1.0").exists());
    assert!(!scene.site.join("v2/team/app/tags/_last/1.0").exists());
    assert_eq!(scene.typed("1.0"), set(&[]));
}

#[test]
fn referrers_are_listed_however_they_came() {
    let scene = Scene::new();
    let mut layout = scene.layout("layout");
    let image = layout.image("content");
    let by_subject = layout.artifact("by subject", &image);
    let mut refers = json!({"schemaVersion": 2, "mediaType": MANIFEST, "refers": image, "layers": []});
    refers["config"] = layout.blob("application/x-report", "{}");
    let by_refers = layout.document(MANIFEST, &refers);
    let mut by_tag = layout.image("without a subject");
    by_tag["artifactType"] = json!("application/x-listed");
    layout.add("1.0", image.clone());
    layout.add_untagged(by_subject.clone());
    layout.add_untagged(by_refers.clone());
    layout.add(&digest(&image).replace(':', "-"), layout.index_of(&[by_tag.clone()]));

    scene.publish_view(&layout, &[]);

    let list = json(&scene.site, &format!("v2/team/app/referrers/{}", digest(&image)));
    let mut listed: Vec<(&str, &str)> = list["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (digest(entry), entry["artifactType"].as_str().unwrap()))
        .collect();
    let mut expected = vec![
        (digest(&by_subject), "application/x-signature"),
        (digest(&by_refers), "application/x-report"),
        (digest(&by_tag), "application/x-listed"),
    ];
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
}

#[test]
fn a_view_that_is_added_later_is_the_same() {
    let (first, later) = (Scene::new(), Scene::new());
    let mut layout = first.layout("layout");
    let image = layout.image("content");
    layout.add("1.0", layout.index_of(std::slice::from_ref(&image)));
    layout.add_untagged(layout.artifact("signature", &image));
    let mut other = first.layout("other");
    other.add("1.0", other.image("other content"));
    let other = other.input("other");

    first.publish_view(&layout, &[&other]);
    later.publish().args([&layout.input("team/app"), &other]).succeeds();
    let printed = later.publish().args(["--registry", &other]).succeeds();
    // What is counted as published is what was given.
    assert!(printed.starts_with("Published 1 image with 1 entry to "), "{printed}");
    assert!(printed.contains("registry   view added to 1 other image of the site"), "{printed}");

    Snapshot::public(&first.site).assert_same(&Snapshot::public(&later.site));
}

#[test]
fn what_the_distribution_grammar_does_not_allow_is_left_out_with_a_word() {
    let scene = Scene::new();
    let mut layout = scene.layout("layout");
    layout.add("1.0", layout.image("content"));
    layout.add("release/1.0", layout.image("other content"));

    let inputs = ["example.com/Upper=layout:1.0", "example.com/team/app=layout"];
    let summary = scene.publish().args(["--registry", "--json"]).args(inputs).json();

    let warnings = summary["warnings"].to_string();
    assert!(warnings.contains("example.com/Upper") && warnings.contains("release/1.0"), "{warnings}");
    assert!(!scene.site.join("v2/Upper").exists());
    assert_eq!(scene.tags(), json!(["1.0"]));
}

#[test]
fn a_ref_that_leads_to_no_manifest_is_not_listed() {
    // Given a tag, and a ref of something of which no registry knows the type.
    let scene = Scene::new();
    let mut layout = scene.layout("layout");
    let image = layout.image("content");
    let document = layout.blob("application/x-document", "{}");
    layout.add("1.0", image.clone());
    layout.add("document", document);
    // When both are published, then there is a warning, and only the tag is listed; also by a publish that keeps both.
    let said = scene.publish().args(["--registry", &layout.input("team/app")]).warns();
    assert!(said.contains("\"document\"") && said.contains("not in the registry view"), "{said}");
    assert_eq!(scene.tags(), json!(["1.0"]));
    let mut other = scene.layout("other");
    other.add("2.0", image);
    let said = scene.publish().args(["--allow-missing", &other.input("team/app")]).warns();
    assert!(!said.contains("document"), "{said}");
    assert!(!scene.tags().as_array().unwrap().contains(&json!("document")));
    // When the tag becomes such a ref, then it goes.
    let mut third = scene.layout("third");
    let document = third.blob("application/x-document", "[]");
    third.add("1.0", document);
    scene.publish_view(&third, &[]);
    scene.ocisite().args(["verify", "site"]).succeeds();
    assert!(!scene.tags().as_array().unwrap().contains(&json!("1.0")));
    assert_eq!(scene.typed("1.0"), set(&[]));
}

#[test]
fn a_manifest_is_served_under_its_own_media_type() {
    // Given descriptors of Docker manifests that call them OCI manifests, in index.json and in an index.
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let scene = Scene::new();
    let mut layout = scene.layout("layout");
    let mistyped = |content: &str| {
        let config = layout.blob("application/vnd.docker.container.image.v1+json", content);
        layout.document(MANIFEST, &json!({"schemaVersion": 2, "mediaType": docker, "config": config, "layers": []}))
    };
    let (entry, child) = (mistyped("{\"a\":1}"), mistyped("{\"a\":2}"));
    let index = layout.index_of(std::slice::from_ref(&child));
    layout.add("entry", entry.clone());
    layout.add("index", index);
    // When they are published, then each is named in a warning, and served as what it says that it is.
    let said = scene.publish().args(["--registry", &layout.input("team/app")]).warns();
    for descriptor in [&entry, &child] {
        assert!(said.contains(&format!("the manifest {} as {MANIFEST}", digest(descriptor))), "{said}");
        assert_eq!(scene.typed(digest(descriptor)), set(&["docker-manifest"]));
    }
    assert_eq!(scene.typed("entry"), set(&["docker-manifest"]));
    let entries = entries(&scene.site, "team/app");
    let published = entries.iter().find(|known| known["digest"] == entry["digest"]).unwrap();
    assert_eq!(published["mediaType"], docker);
}

#[test]
fn an_image_under_a_fallback_tag_lists_no_referrers() {
    // Given an image, and another one under the tag that spells the digest of the first.
    let scene = Scene::new();
    let mut layout = scene.layout("layout");
    let (image, other) = (layout.image("content"), layout.image("other"));
    layout.add("1.0", image.clone());
    let tag = digest(&image).replace(':', "-");
    layout.add(&tag, other.clone());
    // When they are published, then its config and layers refer to nothing, and it is an image that can be chosen.
    scene.publish_view(&layout, &[]);
    assert!(!scene.site.join(format!("v2/team/app/referrers/{}", digest(&image))).exists());
    let document = json(&scene.site, "catalogue/images/example.com/team/app.json");
    let refs: Vec<&Value> = document["refs"].as_array().unwrap().iter().map(|known| &known["ref"]).collect();
    assert!(refs.contains(&&json!(tag)), "{refs:?}");
    scene.ocisite().args(["remove", "site", "example.com/team/app#1.0"]).succeeds();
    assert_eq!(entries(&scene.site, "team/app").len(), 1, "its removal does not take the other along");
}

/// How many files of a site a publish opens.
fn files_opened(scene: &Scene, args: &[&str]) -> usize {
    let trace = scene.path("trace");
    let strace = ["-f", "-y", "-qq", "-o", text(&trace), "-e", "trace=openat,openat2", PROGRAM];
    let mut command = Command::new("strace");
    command.args(strace).args(["publish", "--jobs", "1", "--site", text(&scene.site)]).args(args);
    let output = command.output().expect("this test needs strace: scripts/test installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let trace = std::fs::read_to_string(&trace).unwrap();
    trace.lines().filter(|line| line.contains(text(&scene.site)) && !line.contains("= -1")).count()
}

#[test]
fn a_publish_of_one_tag_opens_no_more_files_for_a_great_many_refs() {
    let opened = [200, 50_000].map(|refs| {
        // Given an image with many refs and referrers, and a site without their manifests.
        let scene = Scene::of_image("content");
        let app = format!("example.com/app={}", scene.layout.arg());
        scene.publish().args(["--registry", "--no-catalogue", &app]).succeeds();
        let json = |path| json(&scene.site, path);
        let mut documents = Documents {
            index: json("oci-index/app"),
            facts: json("v2/app/_facts.json"),
            tags: json("v2/app/tags/list"),
        };
        documents.add(refs);
        documents.each().into_iter().for_each(|(path, document)| write(&scene.site, path, document));
        // When one more is published.
        let more = Layout::of_image(scene.path("more"), "more content");
        let opened = files_opened(&scene, &[&format!("example.com/app#more={}", more.arg())]);
        let tags = json("v2/app/tags/list")["tags"].as_array().unwrap().len();
        assert_eq!(tags, documents.tags["tags"].as_array().unwrap().len() + 1);
        opened
    });
    assert_eq!(opened[0], opened[1]);
}

/// A layout with an image of two platforms, a signature of the image among its entries, one of a platform in the image's index,
/// and a list under a fallback tag.
fn signed(scene: &Scene, name: &str) -> Layout {
    let mut layout = scene.layout(name);
    let platform = layout.image(name);
    let nested = layout.artifact(&format!("{name}: nested"), &platform);
    let image = layout.index_of(&[platform.clone(), nested]);
    let mut listed = layout.image(&format!("{name}: without a subject"));
    listed["artifactType"] = json!("application/x-listed");
    layout.add("1.0", image.clone());
    layout.add_untagged(layout.artifact(&format!("{name}: signature"), &image));
    layout.add(&digest(&platform).replace(':', "-"), layout.index_of(&[listed]));
    layout
}

#[test]
fn facts_that_are_missing_or_wrong_are_made_again_from_the_manifests() {
    let spoil: [fn(&Scene); 5] = [
        |scene| std::fs::remove_file(scene.site.join(FACTS)).unwrap(),
        |scene| std::fs::write(scene.site.join(FACTS), "{").unwrap(),
        |scene| write(&scene.site, FACTS, &json!({"manifests": {}})),
        // It says of an entry that it refers to something, and describes the entry otherwise than the index.
        |scene| {
            let mut facts = json(&scene.site, FACTS);
            for entry in entries(&scene.site, "team/app") {
                let relation = &mut facts["manifests"][digest(&entry)];
                if relation["descriptor"].is_object() {
                    relation["descriptor"]["size"] = json!(1);
                }
            }
            write(&scene.site, FACTS, &facts);
        },
        // A list of a manifest that nothing leads to any more, as former versions kept them.
        |scene| {
            std::fs::remove_file(scene.site.join(FACTS)).unwrap();
            let stale = format!("v2/team/app/referrers/sha256:{}", "0".repeat(64));
            write(&scene.site, &stale, &json!({"manifests": [], "schemaVersion": 2}));
        },
    ];
    for spoil in spoil {
        // Given a site of an image with referrers of all kinds, and one more.
        let scene = Scene::new();
        scene.publish_view(&signed(&scene, "layout"), &["--no-catalogue"]);
        let mut more = scene.layout("more");
        more.add("2.0", more.image("more"));
        scene.publish_view(&more, &[]);
        let sound = Snapshot::public(&scene.site);
        // When its facts are spoilt, and one of its tags is published.
        spoil(&scene);
        scene.publish_view(&more, &[]);
        // Then all is as it was.
        sound.assert_same(&Snapshot::public(&scene.site));
        scene.ocisite().args(["verify", "--strict", "site"]).succeeds();
    }
}

#[test]
fn a_recheck_mends_facts_that_leave_out_a_referrer() {
    let scene = Scene::new();
    let layout = signed(&scene, "layout");
    scene.publish_view(&layout, &["--no-catalogue"]);
    let sound = Snapshot::public(&scene.site);
    // Given facts that say of each manifest that it refers to nothing.
    let mut facts = json(&scene.site, FACTS);
    facts["manifests"].as_object_mut().unwrap().values_mut().for_each(|relation| *relation = json!({}));
    write(&scene.site, FACTS, &facts);
    let verified = scene.ocisite().args(["verify", "site"]).output().unwrap();
    let said = String::from_utf8(verified.stdout).unwrap();
    assert!(said.contains("registry-differs") && said.contains("_facts.json"), "{said}");
    // When another image's tag is published with --recheck, then the manifests are read again.
    let mut more = scene.layout("more");
    more.add("2.0", more.image("more"));
    scene.publish_view(&more, &["--recheck"]);
    scene.ocisite().args(["remove", "site", "example.com/team/app#2.0"]).succeeds();
    scene.ocisite().args(["gc", "--grace", "0", "site"]).succeeds();
    sound.assert_same(&Snapshot::public(&scene.site));
}

#[test]
fn referrers_go_with_what_leads_to_them() {
    for other in [&["--replace"][..], &[]] {
        // Given an image with referrers of all kinds, and an image that is published in its place.
        let (scene, fresh) = (Scene::new(), Scene::new());
        scene.publish_view(&signed(&scene, "layout"), &["--no-catalogue"]);
        let after = signed(&scene, "after");
        if other.is_empty() {
            scene.ocisite().args(["remove", "site", "example.com/team/app"]).succeeds();
        }
        scene.publish_view(&after, other);
        scene.ocisite().args(["gc", "--grace", "0", "site"]).succeeds();
        // Then the site is one that never had others.
        fresh.publish_view(&after, &["--no-catalogue"]);
        Snapshot::public(&fresh.site).assert_same(&Snapshot::public(&scene.site));
    }
}

#[test]
fn a_list_of_referrers_changes_with_the_refs_that_lead_to_them() {
    // Given two refs whose indexes share a platform, each with a referrer of it.
    let (scene, fresh) = (Scene::new(), Scene::new());
    let mut layout = scene.layout("layout");
    let platform = layout.image("platform");
    let [one, two, both] = ["one", "two", "both"].map(|content| layout.artifact(content, &platform));
    layout.add("1.0", layout.index_of(&[platform.clone(), one, both.clone()]));
    scene.publish_view(&layout, &["--no-catalogue"]);
    let mut second = scene.layout("layout");
    second.add("2.0", layout.index_of(&[platform.clone(), two, both]));
    scene.publish_view(&second, &[]);
    let list = format!("v2/team/app/referrers/{}", digest(&platform));
    assert_eq!(json(&scene.site, &list)["manifests"].as_array().unwrap().len(), 3);
    // When one of them is removed.
    scene.ocisite().args(["remove", "site", "example.com/team/app#1.0"]).succeeds();
    // Then the list has those that the other leads to.
    assert_eq!(json(&scene.site, &list)["manifests"].as_array().unwrap().len(), 2);
    scene.ocisite().args(["gc", "--grace", "0", "site"]).succeeds();
    fresh.publish_view(&second, &["--no-catalogue"]);
    Snapshot::public(&fresh.site).assert_same(&Snapshot::public(&scene.site));
}

#[test]
fn gc_keeps_the_list_of_a_manifest_that_is_gone_while_its_referrer_stays() {
    // Given a signature whose image was replaced by another.
    let scene = Scene::new();
    let mut layout = scene.layout("layout");
    let image = layout.image("content");
    layout.add("1.0", image.clone());
    layout.add_untagged(layout.artifact("signature", &image));
    scene.publish_view(&layout, &["--no-catalogue"]);
    let mut other = scene.layout("other");
    other.add("1.0", other.image("other content"));
    scene.publish_view(&other, &[]);
    let before = json(&scene.site, &format!("v2/team/app/referrers/{}", digest(&image)));
    // When a gc runs.
    scene.ocisite().args(["gc", "--grace", "0", "site"]).succeeds();
    // Then the list is there, as the index says.
    assert_eq!(json(&scene.site, &format!("v2/team/app/referrers/{}", digest(&image))), before);
    let verified = scene.ocisite().args(["verify", "site"]).output().unwrap();
    let said = String::from_utf8(verified.stdout).unwrap();
    assert!(!said.contains("registry-differs"), "{said}");
}
