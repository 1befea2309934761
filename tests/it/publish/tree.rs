//! The tree that is published: presets, templates, hosts and origins, and the modes of its files.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::layout::Layout;
use crate::support::program::{PROGRAM, publish, publish_json, refused, text};
use crate::support::site::{Snapshot, json as json_at};

struct Scene {
    directory: TempDir,
    site: PathBuf,
    layout: Layout,
    manifest: Value,
}

fn scene() -> Scene {
    let directory = TempDir::new().unwrap();
    let mut layout = Layout::new(directory.path().join("layout"));
    let manifest = layout.image("content");
    layout.add("1.0", manifest.clone());
    Scene { site: directory.path().join("site"), layout, manifest, directory }
}

impl Scene {
    fn publish(&self, args: &[&str]) {
        let layout = self.layout.arg();
        let args: Vec<String> = args.iter().map(|arg| arg.replace("LAYOUT", layout)).collect();
        publish(&self.site, &args.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn encoded(&self) -> &str {
        self.manifest["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap()
    }

    /// Whether the manifest is at this path of the site, `HEX` and `HE` standing for its digest.
    fn has_manifest_at(&self, root: &Path, path: &str) -> bool {
        let path = path.replace("HEX", self.encoded()).replace("HE", &self.encoded()[..2]);
        std::fs::read(root.join(path)).is_ok_and(|bytes| bytes.len() as u64 == self.manifest["size"].as_u64().unwrap())
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
    let scene = scene();
    scene.publish(&["example.com/team/app=LAYOUT"]);
    assert!(scene.has_manifest_at(&scene.site, "oci-cas/sha256/HE/HEX"));
    let cas = "/oci-cas/{algorithm}/{encoded:2}/{encoded}";
    let expected = (json!("https://{host}/oci-index/{+path}"), json!(cas), json!(cas));
    assert_eq!(published_templates(&scene.site, "oci-index/team/app"), expected);
}

#[test]
fn the_preset_layout_makes_each_image_a_layout_that_tools_read() {
    let scene = scene();
    scene.publish(&["--preset", "layout", "example.com/team/app=LAYOUT", "example.com/app=LAYOUT"]);
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
        assert_eq!(output.stdout, std::fs::read(scene.layout.blob_file(&scene.manifest)).unwrap());
        let output = Command::new("umoci").args(["ls", "--layout", text(&layout)]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "1.0");
        // And so does this program.
        let again = scene.directory.path().join(image.replace('/', "-"));
        publish(&again, &[&format!("example.com/again={}", text(&layout))]);
    }
}

#[test]
fn the_preset_registry() {
    let scene = scene();
    scene.publish(&["--preset", "registry", "example.com/team/app=LAYOUT"]);
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
        let scene = scene();
        scene.publish(&[&options[..], &["example.com/app=LAYOUT", "example.com/team/app=LAYOUT"]].concat());
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
            "https://{+name}/index.json",
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
        let scene = scene();
        scene.publish(&["--index-template", index, "--cas-template", cas, "example.com/team/app=LAYOUT"]);
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
        let scene = scene();
        scene.publish(&["--index-template", index, "--cas-template", cas, "example.com/team/app=LAYOUT"]);
        assert!(scene.has_manifest_at(&scene.site, blob_path));
        let index_path = index.strip_prefix("https://{host}/").unwrap().replace("{path}", "team/app");
        let (_, shared, _) = published_templates(&scene.site, &index_path);
        assert_eq!(shared.is_string(), cas_in_ref_engines);
    }
}

#[test]
fn names_with_unusual_characters_have_a_place() {
    let scene = scene();
    for name in ["a.b/c_d~e", "A", "%C3%A9", "a+b", "a=b", "a:b@c", "(1)!$&'*,;"] {
        // The first `=` ends a name, so one with an equals sign comes from a folder.
        if name.contains('=') {
            continue;
        }
        scene.publish(&[&format!("example.com/{name}=LAYOUT")]);
    }
    for path in ["a.b/c_d~e", "A", "\u{e9}", "a+b", "a:b@c", "(1)!$&'*,;"] {
        assert!(scene.site.join("oci-index").join(path).is_file(), "{path}");
    }
}

#[test]
fn another_origin_is_another_directory() {
    let scene = scene();
    let cdn = scene.directory.path().join("cdn");
    let store = format!("https://cdn.example.net={}", text(&cdn));
    let args = ["--cas-template", "https://cdn.example.net/c/{digest}", "--store", &store, "example.com/app=LAYOUT"];
    scene.publish(&args);
    assert!(scene.has_manifest_at(&cdn, "c/sha256:HEX"));
    let cas = json!("https://cdn.example.net/c/{digest}");
    let expected = (json!("https://{host}/oci-index/{+path}"), cas.clone(), cas);
    assert_eq!(published_templates(&scene.site, "oci-index/app"), expected);
    assert!(!scene.site.join("c").exists());

    // The site knows its templates, but not where on this machine the other origin is.
    let input = format!("example.com/app={}", scene.layout.arg());
    refused(&scene.site, &[&input], &["https://cdn.example.net", "--store https://cdn.example.net=DIR"]);
    scene.publish(&["--store", &store, &input]);
}

#[test]
fn a_failed_publish_leaves_the_other_origin_as_it_was_too() {
    let scene = scene();
    let cdn = scene.directory.path().join("cdn");
    let store = format!("https://cdn.example.net={}", text(&cdn));
    let broken = scene.layout.blob("application/x", "broken");
    std::fs::write(scene.layout.blob_file(&broken), "brokem").unwrap();
    let mut layout = Layout::of_image(scene.directory.path().join("broken"), "fine");
    std::fs::copy(scene.layout.blob_file(&broken), layout.blob_file(&broken)).unwrap();
    let index = layout.index_of(&[broken]);
    layout.add("2.0", index);
    let template = ["--cas-template", "https://cdn.example.net/c/{digest}", "--store", &store];
    let input = format!("example.com/app={}", layout.arg());
    let args = [&template[..], &[&input]].concat();

    refused(&scene.site, &args, &["has the digest"]);
    assert!(!cdn.exists());

    scene.publish(&[&template[..], &["example.com/app=LAYOUT"]].concat());
    let before = Snapshot::of(&cdn);
    refused(&scene.site, &args, &["has the digest"]);
    before.assert_unchanged(&cdn);
}

#[test]
fn several_hosts_in_one_root_when_the_template_keeps_them_apart() {
    let scene = scene();
    let template = ["--index-template", "https://{host}/i/{host}/{+path}"];
    scene.publish(&[&template[..], &["example.com/app=LAYOUT", "example.net/app=LAYOUT"]].concat());
    assert_eq!(json_at(&scene.site, "ocisite.json")["hosts"], json!(["example.com", "example.net"]));
    for host in ["example.com", "example.net"] {
        assert!(scene.site.join("i").join(host).join("app").is_file());
    }
}

#[test]
fn a_root_per_host() {
    let scene = scene();
    let inputs = ["example.com/app=LAYOUT", "example.com/tool=LAYOUT", "www.example.com/app=LAYOUT"];
    scene.publish(&[&["--root-per-host"][..], &inputs].concat());
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
    let scene = scene();
    let mut broken = Layout::new(scene.directory.path().join("broken"));
    let layer = broken.blob("application/x", "right");
    std::fs::write(broken.blob_file(&layer), "wrong").unwrap();
    let index = broken.index_of(&[layer]);
    broken.add("1.0", index);
    let good = format!("a.example.com/app={}", scene.layout.arg());
    let bad = format!("b.example.com/app={}", broken.arg());
    refused(&scene.site, &["--root-per-host", &good, &bad], &["has the digest"]);
    scene.publish(&["--root-per-host", "a.example.com/other=LAYOUT", "b.example.com/other=LAYOUT"]);
    refused(&scene.site, &["--root-per-host", &good, &bad], &["has the digest"]);
}

#[test]
fn files_and_directories_have_the_modes_a_web_server_needs_whatever_the_umask() {
    for (options, source_mode) in
        [(&[][..], 0o600), (&["--link", "hard"], 0o600), (&["--preset", "layout"], 0o777), (&["--registry"], 0o400)]
    {
        let scene = scene();
        for entry in walkdir::WalkDir::new(&scene.layout.path).into_iter().map(Result::unwrap) {
            if entry.file_type().is_file() {
                std::fs::set_permissions(entry.path(), PermissionsExt::from_mode(source_mode)).unwrap();
            }
        }
        let command = "umask 077; exec \"$@\"";
        let input = format!("example.com/team/app={}", scene.layout.arg());
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
    let scene = scene();
    let input = format!("example.com/app={}", scene.layout.arg());
    let summary = publish_json(&scene.site, &["--link", "hard", &input]);
    assert_eq!(summary["blobsLinked"]["objects"], 4);
    assert_eq!(summary["blobsWritten"]["objects"], 0);
    let published = scene.site.join(format!("oci-cas/sha256/{}/{}", &scene.encoded()[..2], scene.encoded()));
    let inode = |path: &Path| path.metadata().unwrap().ino();
    assert_eq!(inode(&published), inode(&scene.layout.blob_file(&scene.manifest)));
}

#[test]
fn a_copy_does_not_share_the_fate_of_the_layout() {
    let scene = scene();
    scene.publish(&["example.com/app=LAYOUT"]);
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
    let scene = scene();
    scene.publish(&["example.com/app=LAYOUT"]);
    let before = Snapshot::of(&scene.site);
    let blob = scene.site.join(format!("oci-cas/sha256/{}/{}", &scene.encoded()[..2], scene.encoded()));
    std::fs::write(&blob, "cut sho").unwrap();
    scene.publish(&["example.com/app=LAYOUT"]);
    before.assert_unchanged(&scene.site);
    std::fs::remove_file(&blob).unwrap();
    scene.publish(&["example.com/app=LAYOUT"]);
    before.assert_unchanged(&scene.site);
}
