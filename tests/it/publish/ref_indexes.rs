//! Index templates that depend on the ref, as those of the discovery documents do (`https://{host}/ref/{name}`): each ref has an
//! index of its own, with its entries, beside that of the image, with all of them.

use std::path::Path;

use serde_json::Value;

use crate::support::layout::{Layout, REF_NAME};
use crate::support::program::{Succeeds, fails, ocisite, text};
use crate::support::scene::Scene;
use crate::support::site::{Snapshot, json};

/// The template of most examples of the discovery documents.
const OF_DOCUMENTS: &str = "https://{host}/ref/{name}";

/// A scene whose layout has these refs.
fn with_refs(refs: &[&str]) -> Scene {
    let mut scene = Scene::new();
    for reference in refs {
        let image = scene.layout.image(reference);
        scene.layout.add(reference, image);
    }
    scene
}

/// The files of indexes below `ref/`, each with the refs of its entries.
fn indexes(site: &Path) -> Vec<(String, Vec<String>)> {
    let files = walkdir::WalkDir::new(site).sort_by_file_name().into_iter().map(Result::unwrap);
    let refs = |path: &Path| -> Vec<String> {
        let index = json(site, text(path));
        let reference = |entry: &Value| entry["annotations"][REF_NAME].as_str().unwrap_or("-").to_string();
        index["manifests"].as_array().unwrap().iter().map(reference).collect()
    };
    let files = files.filter(|entry| entry.path().starts_with(site.join("ref")) && entry.file_type().is_file());
    files
        .map(|entry| {
            let path = entry.path().strip_prefix(site).unwrap();
            (text(path).to_string(), refs(path))
        })
        .collect()
}

fn expected(indexes: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    let owned = |refs: &[&str]| refs.iter().map(|reference| reference.to_string()).collect();
    indexes.iter().map(|(path, refs)| (path.to_string(), owned(refs))).collect()
}

fn assert_clean(site: &Path) {
    let found = ocisite().args(["verify", text(site), "--deep", "--json"]).json();
    // `{name}` writes its slashes as `%2F`, which some servers do not decode; a live server is tried instead.
    let rules: Vec<&str> =
        found["findings"].as_array().unwrap().iter().map(|found| found["rule"].as_str().unwrap()).collect();
    assert!(rules.iter().all(|rule| *rule == "template-encoded-slash" || *rule == "orphans"), "{found:#}");
}

#[test]
fn a_name_with_a_ref_has_an_index_with_the_entries_of_the_ref() {
    let mut scene = with_refs(&["1.0", "1.1"]);
    let image = scene.layout.image("without a ref");
    scene.layout.add_untagged(image);
    scene
        .publish()
        .args(["--index-template", OF_DOCUMENTS, "example.com/app=layout", "example.com/b=layout:1.0"])
        .succeeds();
    let all = expected(&[
        ("ref/example.com/app", &["-", "1.0", "1.1"]),
        ("ref/example.com/app#1.0", &["1.0"]),
        ("ref/example.com/app#1.1", &["1.1"]),
        ("ref/example.com/b", &["1.0"]),
        ("ref/example.com/b#1.0", &["1.0"]),
    ]);
    assert_eq!(indexes(&scene.site), all);
    assert_clean(&scene.site);
}

#[test]
fn a_ref_that_no_name_can_end_in_is_in_the_index_of_the_image_alone() {
    let scene = with_refs(&["one zero", "2.0"]);
    scene.publish().args(["--index-template", OF_DOCUMENTS, "example.com/app=layout"]).succeeds();
    let all = expected(&[("ref/example.com/app", &["2.0", "one zero"]), ("ref/example.com/app#2.0", &["2.0"])]);
    assert_eq!(indexes(&scene.site), all);
}

#[test]
fn a_template_may_have_the_fragment_by_itself() {
    let scene = with_refs(&["1.0"]);
    scene
        .publish()
        .args(["--index-template", "https://{host}/ref/{+path}.{fragment}", "example.com/team/app=layout"])
        .succeeds();
    assert_eq!(indexes(&scene.site), expected(&[("ref/team/app.", &["1.0"]), ("ref/team/app.1.0", &["1.0"])]));
    assert_clean(&scene.site);
}

#[test]
fn each_change_of_an_image_changes_the_indexes_of_its_refs() {
    let scene = with_refs(&["1.0", "1.1"]);
    scene.publish().args(["--registry", "--index-template", OF_DOCUMENTS, "example.com/app=layout"]).succeeds();

    // The same again changes nothing.
    let before = Snapshot::public(&scene.site);
    assert!(scene.publish().arg("example.com/app=layout").succeeds().contains("Nothing to do"));
    before.assert_same(&Snapshot::public(&scene.site));

    // A ref for another platform is appended to both indexes.
    let mut other = Layout::new(scene.path("other"));
    let image = other.image_with("other", serde_json::json!({"os": "linux", "architecture": "arm64"}));
    other.add("1.1", image);
    scene.publish().args(["--append", "example.com/app=other"]).succeeds();
    assert_eq!(json(&scene.site, "ref/example.com/app#1.1")["manifests"].as_array().unwrap().len(), 2);
    assert_clean(&scene.site);

    // A removed ref has no index, and its blobs go.
    scene.ocisite().args(["remove", "site", "example.com/app#1.1"]).succeeds();
    let one = expected(&[("ref/example.com/app", &["1.0"]), ("ref/example.com/app#1.0", &["1.0"])]);
    assert_eq!(indexes(&scene.site), one);
    scene.ocisite().args(["gc", "site", "--grace", "0s"]).succeeds();
    assert_clean(&scene.site);

    // Nor has one that is replaced.
    scene.publish().args(["--replace", "example.com/app=layout:1.1"]).succeeds();
    let one = expected(&[("ref/example.com/app", &["1.1"]), ("ref/example.com/app#1.1", &["1.1"])]);
    assert_eq!(indexes(&scene.site), one);
    assert_clean(&scene.site);

    // A copy has them, and one that deletes takes out what the source has not.
    scene.ocisite().args(["copy", "site", "copy"]).succeeds();
    assert_eq!(indexes(&scene.path("copy")), one);
    scene.publish().arg("example.com/app=layout").succeeds();
    scene.ocisite().args(["copy", "site", "copy"]).succeeds();
    scene.ocisite().args(["remove", "site", "example.com/app#1.1"]).succeeds();
    scene.ocisite().args(["copy", "--delete", "site", "copy"]).succeeds();
    assert_eq!(indexes(&scene.path("copy")), indexes(&scene.site));
    assert_clean(&scene.path("copy"));

    scene.ocisite().args(["remove", "site", "example.com/app"]).succeeds();
    assert_eq!(indexes(&scene.site), []);
}

#[test]
fn blobs_of_refs_stay_whatever_the_cas_template_names() {
    // Given blobs below each image, so that a gc has to know whose an index is, and a path that cannot be read back.
    let scene = with_refs(&["1.0"]);
    let templates =
        ["--index-template", "https://{host}/ref/{+path}.{fragment}", "--cas-template", "/b/{+path}/{digest}"];
    scene.publish().args(templates).args(["example.com/%C3%A9=layout", "example.com/app=layout"]).succeeds();
    scene.ocisite().args(["gc", "site", "--grace", "0s"]).succeeds();
    assert_clean(&scene.site);
}

#[test]
fn a_template_that_gives_a_name_no_path_is_refused_with_the_name() {
    for (template, refs, name, reason) in [
        ("https://{+name}/index.json", &["1.0"][..], "example.com/app#1.0", "has a fragment"),
        ("https://{host}/ref/{+name}", &["1.0"], "example.com/app#1.0", "has a fragment"),
        ("https://{host}/ref/{+path}.{+fragment}", &["a?b"], "example.com/app#a?b", "has a query"),
        ("https://{host}/ref/{+path}/{fragment}", &["1.0"], "example.com/app", "has a slash at its end"),
        ("https://{host}/ref/{+path}{/fragment}", &["1.0"], "example.com/app", "has a slash at its end"),
        ("https://{host}/ref/{+path}.{+fragment}", &["a/"], "example.com/app#a/", "has a slash at its end"),
        ("https://{host}/ref/{name}", &["a/"], "example.com/app#a/", "has a slash at its end"),
        ("https://{host}/ref/{fragment}/{+path}", &["1.0"], "example.com/app", "cannot be a file"),
        ("https://{host}/ref/{name}", &["a/../b"], "example.com/app#a/../b", "cannot be a file"),
        ("https://{host}/ref/{name}", &["a/.git"], "example.com/app#a/.git", "no rendered server configuration"),
        ("https://{host}/ref/{+path}{;fragment}", &["1.0"], "example.com/app", "no rendered server configuration"),
    ] {
        let scene = with_refs(refs);
        // `{name}` decodes to a trailing slash, which the URI itself does not have.
        let reason = if template.ends_with("{name}") && refs == ["a/"] { "cannot be a file" } else { reason };
        scene.refused(&["--index-template", template, "example.com/app=layout"], &[name, reason]);
    }
    // Without a ref no name has a fragment.
    let mut scene = Scene::new();
    let image = scene.layout.image("content");
    scene.layout.add_untagged(image);
    scene.publish().args(["--index-template", "https://{+name}/index.json", "example.com/app=layout"]).succeeds();
}

#[test]
fn names_whose_indexes_would_meet_are_refused() {
    let refuse = |template: &str, refs: &[&str], inputs: &[&str], words: &[&str]| {
        let scene = with_refs(refs);
        scene.refused(&[&["--index-template", template], inputs].concat(), words);
    };
    let one = &["example.com/app=layout"];
    refuse(OF_DOCUMENTS, &["a", "A"], one, &["example.com/app#A", "example.com/app#a", "ignores case"]);
    refuse(
        OF_DOCUMENTS,
        &["a", "a/b"],
        one,
        &["example.com/app#a and example.com/app#a/b", "a directory at this path"],
    );
    let template = "https://{host}/ref/{+path}.{+fragment}";
    refuse(
        template,
        &["a%41", "aA"],
        one,
        &["example.com/app#a%41 and example.com/app#aA would share the index ref/app.aA"],
    );
    // With a ref, an image could have the index of another one, which is refused whatever refs that has.
    let two = &["example.com/app=layout", "example.com/app.1=layout"];
    refuse(template, &["0"], two, &["example.com/app.1#0", "example.com/app", "would share the index ref/app.1.0"]);
    refuse(
        "https://{host}/ref/{fragment}x",
        &["1.0"],
        &["example.com/a=layout", "example.com/b=layout"],
        &["would share"],
    );
}

#[test]
fn an_interrupted_change_of_the_index_of_a_ref_is_repeated() {
    let scene = with_refs(&["1.0", "1.1"]);
    scene.publish().args(["--index-template", OF_DOCUMENTS, "example.com/app=layout"]).succeeds();
    let whole = Snapshot::public(&scene.site);
    for reference in ["1.0", "1.1"] {
        std::fs::remove_file(scene.site.join(format!("ref/example.com/app#{reference}"))).unwrap();
    }
    // What is published again is written again; with --recheck all refs of its image are.
    scene.publish().arg("example.com/app=layout:1.0").succeeds();
    assert!(scene.site.join("ref/example.com/app#1.0").exists());
    scene.publish().args(["--recheck", "example.com/app=layout:1.0"]).succeeds();
    whole.assert_same(&Snapshot::public(&scene.site));
}

#[test]
fn refs_of_a_site_from_before_can_be_removed() {
    // Given a site whose template gives refs no place. A ref could be published to such a site once.
    let scene = with_refs(&["1.0"]);
    scene.publish().arg("example.com/app=layout").succeeds();
    let description = scene.site.join("ocisite.json");
    let older = std::fs::read_to_string(&description).unwrap();
    std::fs::write(&description, older.replace("/oci-index/{+path}", "/oci-index/{+name}")).unwrap();
    std::fs::create_dir(scene.site.join("oci-index/example.com")).unwrap();
    std::fs::rename(scene.site.join("oci-index/app"), scene.site.join("oci-index/example.com/app")).unwrap();
    scene.refused(&["example.com/app=layout"], &["example.com/app#1.0", "has a fragment"]);
    scene.ocisite().args(["remove", "site", "example.com/app#1.0"]).succeeds();
    fails(scene.ocisite().args(["remove", "site", "example.com/app#1.0"]), &["example.com/app"]);
}

/// Publishes an image to a site of its own, with an index for each ref at the image's path, a separator and the ref.
fn publish_apart(scene: &Scene, site: &str, separator: &str, image: &str) {
    let template = format!("https://{{host}}/ref/{{+path}}{separator}{{fragment}}");
    scene.ocisite().args(["publish", "--index-template", &template, "--site", site, image]).succeeds();
}

#[test]
fn a_copy_refuses_images_whose_indexes_of_refs_would_meet() {
    // Given two sites with an image each, whose indexes of refs would have one path.
    let scene = with_refs(&["1.0"]);
    publish_apart(&scene, "to", "-", "example.com/app#x-1.0=layout:1.0");
    publish_apart(&scene, "site", "-", "example.com/app-x=layout");
    let before = Snapshot::public(&scene.path("to"));
    // When one is copied into the other, then it is refused, as a publish of both is.
    let words = ["example.com/app and example.com/app-x#1.0", "would share the index ref/app-x-1.0"];
    fails(scene.ocisite().args(["copy", "site", "to"]), &words);
    before.assert_same(&Snapshot::public(&scene.path("to")));
    // When the destination's image goes, then the source's comes.
    scene.ocisite().args(["copy", "--delete", "site", "to"]).succeeds();
    Snapshot::public(&scene.site).assert_same(&Snapshot::public(&scene.path("to")));
}

#[test]
fn a_copy_that_replaces_an_image_replaces_the_indexes_of_its_refs() {
    // Given two sites with other refs of one image.
    let scene = with_refs(&["1.0", "1.1"]);
    for (site, image) in [("site", "example.com/app=layout:1.0"), ("to", "example.com/app=layout:1.1")] {
        scene.ocisite().args(["publish", "--index-template", OF_DOCUMENTS, "--site", site, image]).succeeds();
    }
    // When one is copied into the other, then the destination has the refs of the source alone.
    let planned = scene.ocisite().args(["copy", "--dry-run", "--json", "site", "to"]).json();
    let copied = scene.ocisite().args(["copy", "--json", "site", "to"]).json();
    assert_eq!(indexes(&scene.path("to")), indexes(&scene.site));
    assert_eq!(copied["removedPaths"], serde_json::json!(["ref/example.com/app#1.1"]));
    assert_eq!(planned["removedPaths"], copied["removedPaths"]);
}

#[test]
fn the_index_of_a_ref_never_replaces_that_of_an_image() {
    // Given two images, of which one, without refs, has its index where the other has that of a ref.
    let template = ["--index-template", "https://{host}/ref/{+path}.{fragment}"];
    let scene = with_refs(&["1.0"]);
    let mut untagged = Layout::new(scene.path("untagged"));
    untagged.add_untagged(untagged.image("without a ref"));
    let inputs = ["example.com/app.x=untagged", "example.com/app#x.=layout:1.0"];
    for [first, second] in [inputs, [inputs[1], inputs[0]]] {
        // When both are published, in either order, then the second is refused.
        scene.publish().args(template).arg(first).succeeds();
        scene.refused(&[second], &["example.com/app.x", "would share the index ref/app.x."]);
        std::fs::remove_dir_all(&scene.site).unwrap();
    }
}
