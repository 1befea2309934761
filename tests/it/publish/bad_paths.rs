//! Names that would be files which web servers, file systems or browsers take for something else.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::layout::Layout;
use crate::support::program::{ocisite, publish, refused, text};
use crate::support::site::{Snapshot, traces};

/// The template with which the paths of names are paths of the root.
const AT_THE_ROOT: [&str; 2] = ["--index-template", "https://{host}/{+path}"];

/// A site with one image, and a layout beside it.
fn site() -> (TempDir, std::path::PathBuf, Layout) {
    let directory = TempDir::new().unwrap();
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    let site = directory.path().join("site");
    (directory, site, layout)
}

#[test]
fn a_name_with_a_segment_that_begins_with_a_dot() {
    let (directory, site, layout) = site();
    publish(&site, &[&format!("example.com/app={}", layout.arg())]);
    let before = (Snapshot::of(directory.path()), traces(directory.path()));
    for (name, segment) in [
        ("example.com/.htaccess", ".htaccess"),
        ("example.com/team/.HTpasswd/app", ".HTpasswd"),
        ("example.com/%2ehtaccess", ".htaccess"),
        ("example.com/.git/config", ".git"),
        ("example.com/team/.env", ".env"),
    ] {
        for option in ["--allow-missing", "--dry-run", "--append"] {
            let input = format!("{name}={}", layout.arg());
            refused(
                &site,
                &[option, &input],
                &[name, &format!("{segment:?}"), "begins with a dot", "expected a name without"],
            );
        }
    }
    // Then: neither the site nor the layout nor anything beside them has changed.
    before.0.assert_unchanged(directory.path());
    assert_eq!(traces(directory.path()), before.1);
}

#[test]
fn a_folder_with_a_layout_that_is_called_htaccess() {
    let (directory, site, _) = site();
    let folder = directory.path().join("layouts");
    for name in ["app", ".htaccess"] {
        Layout::of_image(folder.join(name), "x");
    }
    refused(&site, &["--host", "example.com", text(&folder)], &["example.com/.htaccess", "begins with a dot"]);
    assert!(!site.exists());
}

#[test]
fn a_name_that_a_site_from_before_has_can_be_removed() {
    // Given: a site of a version that allowed the name.
    let (_directory, site, layout) = site();
    publish(&site, &[&format!("example.com/app={}", layout.arg())]);
    std::fs::rename(site.join("oci-index/app"), site.join("oci-index/.htaccess")).unwrap();
    let description = std::fs::read_to_string(site.join("ocisite.json")).unwrap();
    std::fs::write(site.join("ocisite.json"), description.replace("example.com/app", "example.com/.htaccess")).unwrap();
    // Then: other images can be published, and it can be taken out.
    publish(&site, &[&format!("example.com/other={}", layout.arg())]);
    ocisite().args(["remove", text(&site), "example.com/.htaccess"]).assert().success();
    assert!(!site.join("oci-index/.htaccess").exists());
}

#[test]
fn a_name_that_differs_from_a_reserved_one_only_in_case() {
    let (directory, site, layout) = site();
    let before = Snapshot::of(directory.path());
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
        let input = format!("example.com/{name}={}", layout.arg());
        refused(&site, &[AT_THE_ROOT[0], AT_THE_ROOT[1], &input], &[name, "reserved", "choose another name"]);
    }
    before.assert_unchanged(directory.path());
}

#[test]
fn a_name_that_browsers_would_run_is_published_without_markup_and_with_a_warning() {
    // Given: an image with markup in its annotations, under a name that ends in .html.
    let (_directory, site, mut layout) = site();
    let mut image = layout.image("x");
    image["annotations"] = json!({"org.opencontainers.image.title": "<script>alert(1)</script>"});
    layout.add("2.html", image);
    // When: it is published.
    let input = format!("example.com/x.html={}", layout.arg());
    let output = ocisite().args(["publish", "--registry", "--site", text(&site), &input]).assert().success();
    // Then: no document has markup in it, and what it says is the same.
    let index = std::fs::read_to_string(site.join("oci-index/x.html")).unwrap();
    assert!(!index.contains('<') && index.contains("\\u003cscript>"), "{index}");
    let read: Value = serde_json::from_str(&index).unwrap();
    assert!(read.to_string().contains("<script>alert(1)</script>"), "{read}");
    for path in ["catalogue.json", "catalogue/images/example.com/x.html.json"] {
        let document = std::fs::read_to_string(site.join(path)).unwrap();
        assert!(!document.contains('<') && document.contains("x.html"), "{path}: {document}");
    }
    // And: warnings name the paths.
    let warnings = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    for path in ["oci-index/x.html ends in .html", "v2/x.html/manifests/2.html ends in .html"] {
        assert!(warnings.contains(path), "{path}: {warnings}");
    }
    assert!(!warnings.contains("manifests/1.0"), "{warnings}");
    // And: a second publish changes nothing.
    let before = traces(&site);
    publish(&site, &["--registry", &input]);
    assert_eq!(traces(&site), before);
}

#[test]
fn a_site_whose_documents_have_markup_loses_it_with_the_next_publish() {
    let (_directory, site, mut layout) = site();
    let mut image = layout.image("x");
    image["annotations"] = json!({"a": "<b>"});
    layout.add("2.0", image);
    let input = format!("example.com/app={}", layout.arg());
    publish(&site, &[&input]);
    let index = site.join("oci-index/app");
    let expected = std::fs::read_to_string(&index).unwrap();
    // Given: an index as it was written before.
    std::fs::write(&index, expected.replace("\\u003c", "<")).unwrap();
    // When: another ref is published.
    let other = Layout::of_image(layout.path.with_file_name("other"), "y");
    publish(&site, &[&format!("example.com/app#3.0={}:1.0", other.arg())]);
    // Then: the ref that stays says the same, without markup.
    let now = std::fs::read_to_string(&index).unwrap();
    assert!(!now.contains('<') && now.contains("\\u003cb>"), "{now}");
}
