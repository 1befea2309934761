//! What a publish does with the entries that an image already has.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::layout::Layout;
use crate::support::program::{Succeeds, text};
use crate::support::scene::Scene;
use crate::support::site::{Snapshot, assert_whole, entries, json as json_at, traces};

impl Scene {
    /// A new layout with one image for linux and `architecture`, published under `reference`.
    fn publish_platform(&self, options: &[&str], reference: &str, architecture: &str, content: &str) {
        let mut layout = Layout::new(self.path("layout"));
        let image = layout.image_with(content, json!({"os": "linux", "architecture": architecture}));
        layout.add(reference, image);
        self.publish().args(options).arg("example.com/app=layout").succeeds();
        assert_whole(&self.site);
    }

    /// Ref and architecture of each entry.
    fn platforms(&self) -> Vec<String> {
        let text = |entry: &Value| {
            let reference = &entry["annotations"]["org.opencontainers.image.ref.name"];
            format!(
                "{} {}",
                reference.as_str().unwrap_or("-"),
                entry["platform"]["architecture"].as_str().unwrap_or("-")
            )
        };
        entries(&self.site, "app").iter().map(text).collect()
    }
}

#[test]
fn a_ref_is_replaced_whole_and_the_others_are_kept() {
    let scene = Scene::new();
    scene.publish_platform(&[], "1.0", "amd64", "a");
    scene.publish_platform(&[], "2.0", "amd64", "b");
    assert_eq!(scene.platforms(), ["1.0 amd64", "2.0 amd64"]);
    scene.publish_platform(&[], "1.0", "arm64", "c");
    assert_eq!(scene.platforms(), ["1.0 arm64", "2.0 amd64"]);
}

#[test]
fn append_keeps_the_other_platforms_of_a_ref() {
    let scene = Scene::new();
    scene.publish_platform(&["--append"], "1.0", "amd64", "a");
    scene.publish_platform(&["--append"], "1.0", "arm64", "b");
    assert_eq!(scene.platforms(), ["1.0 amd64", "1.0 arm64"]);
    let before = entries(&scene.site, "app");
    scene.publish_platform(&["--append"], "1.0", "arm64", "c");
    assert_eq!(scene.platforms(), ["1.0 amd64", "1.0 arm64"]);
    assert_ne!(entries(&scene.site, "app"), before, "the entry for arm64 is the new one");
    scene.publish_platform(&[], "1.0", "s390x", "d");
    assert_eq!(scene.platforms(), ["1.0 s390x"]);
}

#[test]
fn replace_makes_the_image_what_is_given() {
    let scene = Scene::new();
    scene.publish_platform(&[], "1.0", "amd64", "a");
    scene.publish_platform(&[], "2.0", "amd64", "b");
    scene.publish_platform(&["--replace"], "3.0", "amd64", "c");
    assert_eq!(scene.platforms(), ["3.0 amd64"]);
}

#[test]
fn other_images_are_left_alone() {
    let scene = Scene::new();
    Layout::of_image(scene.path("other"), "other");
    scene.publish().arg("example.com/other=other").succeeds();
    let before = std::fs::read(scene.site.join("oci-index/other")).unwrap();
    scene.publish_platform(&["--replace"], "1.0", "amd64", "a");
    assert_eq!(std::fs::read(scene.site.join("oci-index/other")).unwrap(), before);
    let images = json!(["example.com/app", "example.com/other"]);
    assert_eq!(json_at(&scene.site, "ocisite.json")["images"], images);
}

#[test]
fn the_image_without_a_ref_is_replaced_and_signatures_of_others_are_kept() {
    let scene = Scene::new();
    let publish_layout = |name: &str, make: &dyn Fn(&mut Layout)| {
        make(&mut Layout::new(scene.path(name)));
        scene.publish().arg(format!("example.com/app={name}")).succeeds();
        assert_whole(&scene.site);
    };
    publish_layout("signed", &|layout| {
        let image = layout.image("signed image");
        let signature = layout.artifact("signature", &image);
        layout.add("1.0", image);
        layout.add_untagged(signature);
    });
    publish_layout("first", &|layout| layout.add_untagged(layout.image("without a ref")));
    assert_eq!(scene.platforms(), ["- -", "- amd64", "1.0 amd64"]);
    let before = entries(&scene.site, "app");
    publish_layout("second", &|layout| layout.add_untagged(layout.image("another without a ref")));
    assert_eq!(scene.platforms(), ["- -", "- amd64", "1.0 amd64"]);
    let after = entries(&scene.site, "app");
    assert_eq!((&before[0], &before[2]), (&after[0], &after[2]));
    assert_ne!(before[1], after[1]);
}

#[test]
fn properties_that_somebody_added_to_an_index_are_kept() {
    let scene = Scene::new();
    scene.publish_platform(&[], "1.0", "amd64", "a");
    let mut index = json_at(&scene.site, "oci-index/app");
    index["annotations"] = json!({"org.example.note": "by hand"});
    std::fs::write(scene.site.join("oci-index/app"), index.to_string()).unwrap();
    scene.publish_platform(&[], "2.0", "amd64", "b");
    assert_eq!(json_at(&scene.site, "oci-index/app")["annotations"], index["annotations"]);
    assert_eq!(scene.platforms(), ["1.0 amd64", "2.0 amd64"]);
}

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/layouts"))
}

#[test]
fn a_second_publish_of_the_same_writes_nothing() {
    for options in
        [&[][..], &["--preset", "layout"], &["--preset", "registry", "--registry"], &["--append"], &["--replace"]]
    {
        let scene = Scene::new();
        let args = [options, &["--host", "example.com", text(fixtures())]].concat();
        scene.publish().args(&args).succeeds();
        let (before, files) = (Snapshot::of(&scene.site), traces(&scene.site));

        let printed = scene.publish().args(&args).succeeds();
        assert!(printed.starts_with("Nothing to do: "), "{printed}");
        before.assert_unchanged(&scene.site);
        assert_eq!(traces(&scene.site), files, "{options:?}: a file was written again");

        let summary = scene.publish().args(&args).arg("--json").json();
        for count in ["blobsWritten", "blobsLinked", "documentsWritten"] {
            assert_eq!(summary[count], json!({"objects": 0, "bytes": 0}), "{options:?} {count}");
        }
        assert_eq!(traces(&scene.site), files, "{options:?}: a file was written again");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes_in_any_order_and_place() {
    let one = Scene::new();
    let another = Scene::new();
    one.publish().args(["--host", "example.com", text(fixtures())]).succeeds();
    // Image by image, from copies with other times, with one worker.
    let copy = another.path("copy");
    for entry in walkdir::WalkDir::new(fixtures()).into_iter().map(Result::unwrap) {
        let to = copy.join(entry.path().strip_prefix(fixtures()).unwrap());
        match entry.file_type().is_dir() {
            true => std::fs::create_dir_all(&to).unwrap(),
            false => std::fs::write(&to, std::fs::read(entry.path()).unwrap()).unwrap(),
        }
    }
    let images = json_at(&one.site, "ocisite.json")["images"].as_array().unwrap().clone();
    for image in images.iter().rev() {
        let image = image.as_str().unwrap();
        let mut layout = copy.join(image.strip_prefix("example.com/").unwrap());
        if !layout.exists() {
            layout.set_extension("tar");
        }
        another.publish().args(["--jobs", "1", &format!("{image}={}", text(&layout))]).succeeds();
    }
    Snapshot::public(&one.site).assert_same(&Snapshot::public(&another.site));
}
