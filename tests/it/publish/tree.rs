//! The tree that is published: presets, templates, hosts and origins, and the modes of its files.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::layout::Layout;
use crate::support::program::{PROGRAM, Succeeds, publish, text};
use crate::support::scene::Scene;
use crate::support::site::{Snapshot, json as json_at};

impl Scene {
    /// The descriptor of the layout's one entry.
    fn entry(&self) -> Value {
        json_at(&self.layout.path, "index.json")["manifests"][0].clone()
    }

    /// A path, `HEX` and `HE` standing for the manifest's digest.
    fn with_digest(&self, path: &str) -> String {
        let entry = self.entry();
        let encoded = entry["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        path.replace("HEX", encoded).replace("HE", &encoded[..2])
    }

    /// Whether the manifest is at this path of the site.
    fn has_manifest_at(&self, root: &Path, path: &str) -> bool {
        let bytes = std::fs::read(root.join(self.with_digest(path)));
        bytes.is_ok_and(|bytes| bytes.len() as u64 == self.entry()["size"].as_u64().unwrap())
    }
}

/// The templates that a site publishes: of its ref engine, of its CAS engine where it has one, and of the first entry.
fn published_templates(site: &Path, index: &str) -> (Value, Value, Value) {
    let ref_engines = json_at(site, ".well-known/oci-host-ref-engines");
    assert_eq!(ref_engines["refEngines"][0]["protocol"], "oci-index-template-v1");
    let entry = &json_at(site, index)["manifests"][0];
    assert_eq!(entry["casEngines"][0]["protocol"], "oci-cas-template-v1");
    let uri = |engine: &Value| engine["uri"].clone();
    (uri(&ref_engines["refEngines"][0]), uri(&ref_engines["casEngines"][0]), uri(&entry["casEngines"][0]))
}

#[test]
fn the_preset_cas() {
    let scene = Scene::of_image("content");
    scene.publish().arg("example.com/team/app=layout").succeeds();
    assert!(scene.has_manifest_at(&scene.site, "oci-cas/sha256/HE/HEX"));
    let cas = "/oci-cas/{algorithm}/{encoded:2}/{encoded}";
    let expected = (json!("https://{host}/oci-index/{+path}"), json!(cas), json!(cas));
    assert_eq!(published_templates(&scene.site, "oci-index/team/app"), expected);
}

#[test]
fn the_preset_layout_makes_each_image_a_layout_that_tools_read() {
    let scene = Scene::of_image("content");
    scene.publish().args(["--preset", "layout", "example.com/team/app=layout", "example.com/app=layout"]).succeeds();
    assert!(scene.has_manifest_at(&scene.site, "oci-image/team/app/blobs/sha256/HEX"));
    let cas = json!("/oci-image/team/app/blobs/{algorithm}/{encoded}");
    let expected = (json!("https://{host}/oci-image/{+path}/index.json"), Value::Null, cas);
    assert_eq!(published_templates(&scene.site, "oci-image/team/app/index.json"), expected);

    for image in ["app", "team/app"] {
        let layout = scene.site.join("oci-image").join(image);
        assert_eq!(json_at(&layout, "oci-layout"), json!({"imageLayoutVersion": "1.0.0"}));
        let inspect = ["inspect", "--raw", &format!("oci:{}:1.0", text(&layout))];
        let output = Command::new("skopeo").args(inspect).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stdout, std::fs::read(scene.layout.blob_file(&scene.entry())).unwrap());
        let output = Command::new("umoci").args(["ls", "--layout", text(&layout)]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "1.0");
        // And so does this program.
        let again = scene.path(image.replace('/', "-"));
        publish(&again, &[&format!("example.com/again={}", text(&layout))]);
    }
}

#[test]
fn the_preset_registry() {
    let scene = Scene::of_image("content");
    scene.publish().args(["--preset", "registry", "example.com/team/app=layout"]).succeeds();
    assert!(scene.has_manifest_at(&scene.site, "v2/team/app/blobs/sha256:HEX"));
    let cas = json!("/v2/team/app/blobs/{digest}");
    let expected = (json!("https://{host}/oci-index/{+path}"), Value::Null, cas);
    assert_eq!(published_templates(&scene.site, "oci-index/team/app"), expected);
}

#[test]
fn a_blob_of_several_images_is_stored_once() {
    use std::os::unix::fs::MetadataExt;
    for (options, path) in
        [(&["--preset", "layout"], "oci-image/NAME/blobs/sha256"), (&["--preset", "registry"], "v2/NAME/blobs")]
    {
        let scene = Scene::of_image("content");
        scene.publish().args(options).args(["example.com/app=layout", "example.com/team/app=layout"]).succeeds();
        let inodes = ["app", "team/app"].map(|name| {
            let directory = scene.site.join(path.replace("NAME", name));
            let blobs = directory.read_dir().unwrap().map(|blob| blob.unwrap().metadata().unwrap().ino());
            blobs.collect::<std::collections::BTreeSet<u64>>()
        });
        assert_eq!(inodes[0].len(), 4);
        assert_eq!(inodes[0], inodes[1], "{options:?}");
    }
}

#[test]
fn templates_of_ones_own_in_every_form() {
    for (index, cas, index_path, blob_path, published) in [
        ("https://{host}/oci-index/{path}", "/c/{digest}", "oci-index/team/app", "c/sha256:HEX", "/c/{digest}"),
        (
            "https://{host}/i{/path}",
            "/c{/algorithm,encoded:2,encoded}",
            "i/team/app",
            "c/sha256/HE/HEX",
            "/c{/algorithm,encoded:2,encoded}",
        ),
        (
            "/i/{+path}/index.json",
            "/b/{host}/{+path}/{algorithm}/{encoded}",
            "i/team/app/index.json",
            "b/example.com/team/app/sha256/HEX",
            "/b/example.com/team/app/{algorithm}/{encoded}",
        ),
        ("../i/{+path}", "/b/{path}/{digest}", "i/team/app", "b/team/app/sha256:HEX", "/b/team%2Fapp/{digest}"),
        (
            "https://{host}/{+path}/index.json",
            "/cas.{+algorithm}/{+encoded}",
            "team/app/index.json",
            "cas.sha256/HEX",
            "/cas.{+algorithm}/{+encoded}",
        ),
        (
            "https://example.com/{host}/{+path}",
            "https://{host}/c/{digest}",
            "example.com/team/app",
            "c/sha256:HEX",
            "https://example.com/c/{digest}",
        ),
        (
            "https://{host}/i/{+path}.json",
            "/b/{name}/{digest}",
            "i/team/app.json",
            "b/example.com/team/app/sha256:HEX",
            "/b/example.com%2Fteam%2Fapp/{digest}",
        ),
    ] {
        let scene = Scene::of_image("content");
        let templates = ["--index-template", index, "--cas-template", cas];
        scene.publish().args(templates).arg("example.com/team/app=layout").succeeds();
        assert!(scene.has_manifest_at(&scene.site, blob_path), "{cas}");
        let (index_uri, _, cas_uri) = published_templates(&scene.site, index_path);
        assert_eq!((index_uri, cas_uri), (json!(index), json!(published)));
    }
}

#[test]
fn the_templates_of_the_seed_document() {
    // Two examples, one with a pool of blobs and one with blobs below each image, whose CAS template has a name variable.
    for (index, cas, blob_path, cas_in_ref_engines) in [
        (
            "https://{host}/oci-index/{path}",
            "/oci-cas/{algorithm}/{encoded:2}/{encoded}",
            "oci-cas/sha256/HE/HEX",
            true,
        ),
        (
            "https://{host}/oci-image/{path}/index.json",
            "https://{host}/oci-image/{path}/blobs/{algorithm}/{encoded}",
            "oci-image/team/app/blobs/sha256/HEX",
            false,
        ),
    ] {
        let scene = Scene::of_image("content");
        let templates = ["--index-template", index, "--cas-template", cas];
        scene.publish().args(templates).arg("example.com/team/app=layout").succeeds();
        assert!(scene.has_manifest_at(&scene.site, blob_path));
        let index_path = index.strip_prefix("https://{host}/").unwrap().replace("{path}", "team/app");
        let (_, shared, _) = published_templates(&scene.site, &index_path);
        assert_eq!(shared.is_string(), cas_in_ref_engines);
    }
}

#[test]
fn names_with_unusual_characters_have_a_place() {
    let scene = Scene::of_image("content");
    for name in ["a.b/c_d~e", "A", "%C3%A9", "a+b", "a=b", "a:b@c", "(1)!$&'*,;"] {
        // The first `=` ends a name, so one with an equals sign comes from a folder.
        if name.contains('=') {
            continue;
        }
        scene.publish().arg(format!("example.com/{name}=layout")).succeeds();
    }
    for path in ["a.b/c_d~e", "A", "\u{e9}", "a+b", "a:b@c", "(1)!$&'*,;"] {
        assert!(scene.site.join("oci-index").join(path).is_file(), "{path}");
    }
}

#[test]
fn another_origin_is_another_directory() {
    let scene = Scene::of_image("content");
    let cdn = scene.path("cdn");
    let store = "https://cdn.example.net=cdn";
    let args = ["--cas-template", "https://cdn.example.net/c/{digest}", "--store", store, "example.com/app=layout"];
    scene.publish().args(args).succeeds();
    assert!(scene.has_manifest_at(&cdn, "c/sha256:HEX"));
    let cas = json!("https://cdn.example.net/c/{digest}");
    let expected = (json!("https://{host}/oci-index/{+path}"), cas.clone(), cas);
    assert_eq!(published_templates(&scene.site, "oci-index/app"), expected);
    assert!(!scene.site.join("c").exists());

    // The site knows its templates, but not where on this machine the other origin is.
    scene.refused(&["example.com/app=layout"], &["https://cdn.example.net", "--store https://cdn.example.net=DIR"]);
    scene.publish().args(["--store", store, "example.com/app=layout"]).succeeds();
}

#[test]
fn a_failed_publish_leaves_the_other_origin_as_it_was_too() {
    let scene = Scene::of_image("content");
    let cdn = scene.path("cdn");
    let broken = scene.layout.blob("application/x", "broken");
    std::fs::write(scene.layout.blob_file(&broken), "brokem").unwrap();
    let mut layout = Layout::of_image(scene.path("broken"), "fine");
    std::fs::copy(scene.layout.blob_file(&broken), layout.blob_file(&broken)).unwrap();
    let index = layout.index_of(&[broken]);
    layout.add("2.0", index);
    let with = |input: &'static str| {
        let template = "https://cdn.example.net/c/{digest}";
        ["--cas-template", template, "--store", "https://cdn.example.net=cdn", input]
    };

    scene.refused(&with("example.com/app=broken"), &["has the digest"]);
    assert!(!cdn.exists());

    scene.publish().args(with("example.com/app=layout")).succeeds();
    scene.refused(&with("example.com/app=broken"), &["has the digest"]);
}

#[test]
fn several_hosts_in_one_root_when_the_template_keeps_them_apart() {
    let scene = Scene::of_image("content");
    let template = ["--index-template", "https://{host}/i/{host}/{+path}"];
    scene.publish().args(template).args(["example.com/app=layout", "example.net/app=layout"]).succeeds();
    assert_eq!(json_at(&scene.site, "ocisite.json")["hosts"], json!(["example.com", "example.net"]));
    for host in ["example.com", "example.net"] {
        assert!(scene.site.join("i").join(host).join("app").is_file());
    }
}

#[test]
fn a_root_per_host() {
    let scene = Scene::of_image("content");
    let inputs = ["example.com/app=layout", "example.com/tool=layout", "www.example.com/app=layout"];
    scene.publish().arg("--root-per-host").args(inputs).succeeds();
    for (host, images) in [
        ("example.com", json!(["example.com/app", "example.com/tool"])),
        ("www.example.com", json!(["www.example.com/app"])),
    ] {
        let root = scene.site.join(host);
        assert_eq!(json_at(&root, "ocisite.json")["images"], images);
        assert_eq!(json_at(&root, "ocisite.json")["hosts"], json!([host]));
        assert!(scene.has_manifest_at(&root, "oci-cas/sha256/HE/HEX"));
    }
    assert!(!scene.site.join("ocisite.json").exists());
}

#[test]
fn what_is_wrong_with_one_host_leaves_the_others_as_they_were() {
    let scene = Scene::of_image("content");
    let mut broken = Layout::new(scene.path("broken"));
    let layer = broken.blob("application/x", "right");
    std::fs::write(broken.blob_file(&layer), "wrong").unwrap();
    let index = broken.index_of(&[layer]);
    broken.add("1.0", index);
    let args = ["--root-per-host", "a.example.com/app=layout", "b.example.com/app=broken"];
    scene.refused(&args, &["has the digest"]);
    scene.publish().args(["--root-per-host", "a.example.com/other=layout", "b.example.com/other=layout"]).succeeds();
    scene.refused(&args, &["has the digest"]);
}

#[test]
fn files_and_directories_have_the_modes_a_web_server_needs_whatever_the_umask() {
    for (options, source_mode) in
        [(&[][..], 0o600), (&["--link", "hard"], 0o600), (&["--preset", "layout"], 0o777), (&["--registry"], 0o400)]
    {
        let scene = Scene::of_image("content");
        for entry in walkdir::WalkDir::new(&scene.layout.path).into_iter().map(Result::unwrap) {
            if entry.file_type().is_file() {
                std::fs::set_permissions(entry.path(), PermissionsExt::from_mode(source_mode)).unwrap();
            }
        }
        let command = "umask 077; exec \"$@\"";
        let input = scene.layout.input("team/app");
        let args =
            [&["-c", command, "sh", PROGRAM, "publish", "--site", text(&scene.site)], options, &[&input]].concat();
        assert_cmd::Command::new("sh").args(args).assert().success();
        for (path, item) in Snapshot::public(&scene.site).0 {
            let expected = if item.bytes.is_some() { 0o644 } else { 0o755 };
            assert_eq!(item.mode & 0o7777, expected, "{options:?} {}", path.display());
        }
    }
}

#[test]
fn hard_links_share_the_bytes_of_the_layout() {
    use std::os::unix::fs::MetadataExt;
    let scene = Scene::of_image("content");
    let summary = scene.publish().args(["--link", "hard", "--json", "example.com/app=layout"]).json();
    assert_eq!(summary["blobsLinked"]["objects"], 4);
    assert_eq!(summary["blobsWritten"]["objects"], 0);
    let published = scene.site.join(scene.with_digest("oci-cas/sha256/HE/HEX"));
    let inode = |path: &Path| path.metadata().unwrap().ino();
    assert_eq!(inode(&published), inode(&scene.layout.blob_file(&scene.entry())));
}

#[test]
fn a_copy_does_not_share_the_fate_of_the_layout() {
    let scene = Scene::of_image("content");
    scene.publish().arg("example.com/app=layout").succeeds();
    let before = Snapshot::of(&scene.site);
    for entry in walkdir::WalkDir::new(&scene.layout.path).into_iter().map(Result::unwrap) {
        if entry.file_type().is_file() {
            std::fs::write(entry.path(), "overwritten").unwrap();
        }
    }
    before.assert_unchanged(&scene.site);
}

#[test]
fn a_damaged_blob_of_the_site_is_written_again() {
    let scene = Scene::of_image("content");
    scene.publish().arg("example.com/app=layout").succeeds();
    let before = Snapshot::of(&scene.site);
    let blob = scene.site.join(scene.with_digest("oci-cas/sha256/HE/HEX"));
    std::fs::write(&blob, "cut sho").unwrap();
    scene.publish().arg("example.com/app=layout").succeeds();
    before.assert_unchanged(&scene.site);
    std::fs::remove_file(&blob).unwrap();
    scene.publish().arg("example.com/app=layout").succeeds();
    before.assert_unchanged(&scene.site);
}
