//! Names that would be files which web servers, file systems or browsers take for something else.

use serde_json::{Value, json};

use crate::support::layout::Layout;
use crate::support::program::Succeeds;
use crate::support::scene::Scene;
use crate::support::site::traces;

/// The template with which the paths of names are paths of the root.
const AT_THE_ROOT: [&str; 2] = ["--index-template", "https://{host}/{+path}"];

#[test]
fn a_name_with_a_segment_that_begins_with_a_dot() {
    let scene = Scene::of_image("x");
    scene.publish().arg("example.com/app=layout").succeeds();
    let before = traces(scene.directory.path());
    for (name, segment) in [
        ("example.com/.htaccess", ".htaccess"),
        ("example.com/team/.HTpasswd/app", ".HTpasswd"),
        ("example.com/%2ehtaccess", ".htaccess"),
        ("example.com/.git/config", ".git"),
        ("example.com/team/.env", ".env"),
    ] {
        for option in ["--allow-missing", "--dry-run", "--append"] {
            let words = [name, &format!("{segment:?}"), "begins with a dot", "choose another name"];
            scene.refused(&[option, &format!("{name}=layout")], &words);
        }
    }
    // Then: no file was written, not even with the same bytes.
    assert_eq!(traces(scene.directory.path()), before);
}

#[test]
fn a_folder_with_a_layout_that_is_called_htaccess() {
    let scene = Scene::new();
    for name in ["layouts/app", "layouts/.htaccess"] {
        Layout::of_image(scene.path(name), "x");
    }
    scene.refused(&["--host", "example.com", "layouts"], &["example.com/.htaccess", "begins with a dot"]);
}

#[test]
fn a_name_that_a_site_from_before_has_can_be_removed() {
    // Given: a site of a version that allowed the name.
    let scene = Scene::of_image("x");
    let site = &scene.site;
    scene.publish().arg("example.com/app=layout").succeeds();
    std::fs::rename(site.join("oci-index/app"), site.join("oci-index/.htaccess")).unwrap();
    let description = std::fs::read_to_string(site.join("ocisite.json")).unwrap();
    std::fs::write(site.join("ocisite.json"), description.replace("example.com/app", "example.com/.htaccess")).unwrap();
    // Then: other images can be published, and it can be taken out.
    scene.publish().arg("example.com/other=layout").succeeds();
    scene.ocisite().args(["remove", "site", "example.com/.htaccess"]).succeeds();
    assert!(!site.join("oci-index/.htaccess").exists());
}

#[test]
fn a_name_that_differs_from_a_reserved_one_only_in_case() {
    let scene = Scene::of_image("x");
    for name in [
        ".OCISITE/tmp",
        ".oci%C5%BFite/tmp",
        ".Well-Known/x",
        "OCISITE.json",
        "ocisite.JSON/app",
        "V2/app",
        "Index.html",
        "Catalogue.json",
        "CATALOGUE/app",
        "Robots.TXT",
    ] {
        let input = format!("example.com/{name}=layout");
        scene.refused(&[AT_THE_ROOT[0], AT_THE_ROOT[1], &input], &[name, "reserved", "choose another name"]);
    }
}

#[test]
fn a_name_that_browsers_would_run_is_published_without_markup_and_with_a_warning() {
    // Given: an image with markup in its annotations, under a name that ends in .html.
    let mut scene = Scene::of_image("x");
    let mut image = scene.layout.image("x");
    image["annotations"] = json!({"org.opencontainers.image.title": "<script>alert(1)</script>"});
    scene.layout.add("2.html", image);
    // When: it is published.
    let warnings = scene.publish().args(["--registry", "example.com/x.html=layout"]).warns();
    // Then: warnings name the paths.
    for path in ["oci-index/x.html ends in .html", "v2/x.html/manifests/2.html ends in .html"] {
        assert!(warnings.contains(path), "{path}: {warnings}");
    }
    assert!(!warnings.contains("manifests/1.0"), "{warnings}");
    // And: no document has markup in it, and what it says is the same.
    let site = &scene.site;
    let index = std::fs::read_to_string(site.join("oci-index/x.html")).unwrap();
    assert!(!index.contains('<') && index.contains("\\u003cscript>"), "{index}");
    let read: Value = serde_json::from_str(&index).unwrap();
    assert!(read.to_string().contains("<script>alert(1)</script>"), "{read}");
    for path in ["catalogue.json", "catalogue/images/example.com/x.html.json"] {
        let document = std::fs::read_to_string(site.join(path)).unwrap();
        assert!(!document.contains('<') && document.contains("x.html"), "{path}: {document}");
    }
    // And: a second publish changes nothing.
    let before = traces(site);
    scene.publish().args(["--registry", "example.com/x.html=layout"]).succeeds();
    assert_eq!(traces(site), before);
}

#[test]
fn a_site_whose_documents_have_markup_loses_it_with_the_next_publish() {
    let mut scene = Scene::of_image("x");
    let mut image = scene.layout.image("x");
    image["annotations"] = json!({"a": "<b>"});
    scene.layout.add("2.0", image);
    scene.publish().arg("example.com/app=layout").succeeds();
    let index = scene.site.join("oci-index/app");
    let expected = std::fs::read_to_string(&index).unwrap();
    // Given: an index as it was written before.
    std::fs::write(&index, expected.replace("\\u003c", "<")).unwrap();
    // When: another ref is published.
    Layout::of_image(scene.path("other"), "y");
    scene.publish().arg("example.com/app#3.0=other:1.0").succeeds();
    // Then: the ref that stays says the same, without markup.
    let now = std::fs::read_to_string(&index).unwrap();
    assert!(!now.contains('<') && now.contains("\\u003cb>"), "{now}");
}
