//! Layouts that are none, or that are broken: each is refused with the file's name, and the site stays as it was.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use oci_discovery::digest::{Algorithm, Digest};
use serde_json::{Value, json};

use crate::support::layout::{CONFIG, INDEX, LAYER, Layout, MANIFEST};
use crate::support::program::{refused, text};
use crate::support::scene::Scene;

/// Publishes `layout`, which has to be refused, both to a new site and to one that has an image of that name already.
fn refuse(layout: &Path, words: &[&str]) {
    refuse_with(layout, &[], words);
}

fn refuse_with(layout: &Path, options: &[&str], words: &[&str]) {
    let scene = Scene::of_image("was there before");
    let input = format!("example.com/app={}", layout.display());
    let args: Vec<&str> = options.iter().copied().chain([input.as_str()]).collect();
    refused(&scene.path("new/site"), &args, words);
    assert!(!scene.path("new").exists(), "the site's parent was left behind");

    scene.publish().arg("example.com/app=layout").assert().success();
    refused(&scene.site, &args, words);
}

#[test]
fn what_is_no_layout() {
    let scene = Scene::new();
    let path = |name: &str| scene.path(name);
    refuse(&path("absent"), &["absent", "No such file"]);
    std::fs::create_dir(path("empty")).unwrap();
    refuse(&path("empty"), &["empty is not an OCI image layout", "expected a file oci-layout"]);
    std::fs::write(path("text"), "just text\n").unwrap();
    refuse(&path("text"), &["text is not an OCI image layout", "expected a tar archive"]);
    std::fs::write(path("nothing"), "").unwrap();
    refuse(&path("nothing"), &["nothing is not an OCI image layout"]);
    for argument in ["docker-archive:saved.tar", "docker-archive:/tmp/saved.tar"] {
        let command = format!("skopeo copy {argument} oci:DIR:TAG");
        refuse(Path::new(argument), &["docker-archive: is not supported", &command]);
    }
    refuse(Path::new("/dev/null"), &["/dev/null is not an OCI image layout", "found a device"]);
    make_fifo(&path("fifo"));
    refuse(&path("fifo"), &["fifo is not an OCI image layout", "found a FIFO"]);
}

#[test]
fn a_docker_archive_gets_the_command_that_makes_a_layout_of_it() {
    let scene = Scene::new();
    let archive = scene.path("saved.tar");
    let mut builder = tar::Builder::new(std::fs::File::create(&archive).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    builder.append_data(&mut header, "manifest.json", &b"[]"[..]).unwrap();
    builder.finish().unwrap();
    refuse(&archive, &["saved.tar", "a Docker archive", "skopeo copy docker-archive:"]);
}

#[test]
fn a_compressed_archive_gets_the_command_that_unpacks_it() {
    let scene = Scene::new();
    for (name, magic, command) in [
        ("l.tar.gz", &b"\x1f\x8b\x08\0rest"[..], "gzip -d"),
        ("l.tar.zst", b"\x28\xb5\x2f\xfdrest", "zstd -d"),
        ("l.tar.xz", b"\xfd7zXZ\0rest", "xz -d"),
        ("l.tar.bz2", b"BZh91AYrest", "bzip2 -d"),
    ] {
        let archive = scene.path(name);
        std::fs::write(&archive, magic).unwrap();
        refuse(&archive, &[name, "expected an uncompressed tar archive", &format!("{command} {}", text(&archive))]);
    }
}

#[test]
fn a_compressed_archive_that_is_called_tar_gets_a_command_that_unpacks_it() {
    // Given an archive under a name for which gzip knows no name of its own to give.
    let scene = Scene::of_image("one");
    let archive = scene.path("my app.tar");
    scene.layout.archive(&archive);
    assert!(Command::new("gzip").arg(&archive).status().unwrap().success());
    std::fs::rename(archive.with_extension("tar.gz"), &archive).unwrap();
    // When it is refused, and the command of the message is run.
    let input = format!("example.com/app={}", text(&archive));
    let message = refused(&scene.site, &[&input], &["gzip-compressed", "unpack it first with `gzip -dc < "]);
    let command = message.split('`').nth(1).unwrap();
    assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
    // Then there is an archive that can be published.
    scene.publish().arg("example.com/app=my app.unpacked.tar").assert().success();
}

#[test]
fn a_damaged_archive() {
    let Scene { directory, mut layout, .. } = Scene::new();
    let archive = directory.path().join("cut.tar");
    let image = layout.image(&"a long layer ".repeat(10_000));
    layout.add("1.0", image);
    layout.archive(&archive);
    let file = std::fs::File::options().write(true).open(&archive).unwrap();

    file.set_len(file.metadata().unwrap().len() - 40_000).unwrap();
    refuse(&archive, &["cut.tar"]);
    file.set_len(700).unwrap();
    refuse(&archive, &["cut.tar"]);
}

#[test]
fn a_layout_version_from_the_future() {
    let Scene { directory: _directory, layout, .. } = Scene::of_image("x");
    for (header, found) in [
        (r#"{"imageLayoutVersion":"2.0.0"}"#, "\"2.0.0\""),
        (r#"{"imageLayoutVersion":2}"#, "imageLayoutVersion 2"),
        ("{}", "no imageLayoutVersion"),
    ] {
        layout.write("oci-layout", header);
        refuse(&layout.path, &["layout/oci-layout", found, "expected imageLayoutVersion 1.0.0", "use a newer ocisite"]);
    }
    for header in ["nonsense", "[]"] {
        layout.write("oci-layout", header);
        refuse(&layout.path, &["layout/oci-layout"]);
    }
    layout.write("oci-layout", "x".repeat(5 << 20));
    refuse(&layout.path, &["layout/oci-layout", "larger than"]);
}

#[test]
fn an_index_json_that_is_none() {
    let Scene { directory: _directory, layout, .. } = Scene::of_image("x");
    let refuse_index = |bytes: &[u8], words: &[&str]| {
        layout.write("index.json", bytes);
        refuse(&layout.path, &[&["layout/index.json"], words].concat());
    };
    refuse_index(b"", &["invalid JSON"]);
    refuse_index(b"{\"manifests\": [", &["invalid JSON", "line 1 column"]);
    refuse_index(b"{\"manifests\": []} trailing", &["invalid JSON"]);
    refuse_index(b"\xff\xfe{}", &["invalid JSON"]);
    refuse_index(b"[]", &["expected", "an object, found an array"]);
    refuse_index(b"null", &["an object, found null"]);
    refuse_index(b"{}", &["\"manifests\" to be an array, found nothing"]);
    refuse_index(b"{\"manifests\": {}}", &["\"manifests\" to be an array, found an object"]);
    refuse_index(b"{\"manifests\": []}", &["no entries"]);
    refuse_index(b"{\"manifests\": [null]}", &["entry 0", "found null"]);
    let deep = format!("{{\"manifests\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    refuse_index(deep.as_bytes(), &["invalid JSON", "recursion limit"]);
    std::fs::remove_file(layout.path.join("index.json")).unwrap();
    refuse(&layout.path, &["layout", "index.json"]);
    std::fs::create_dir(layout.path.join("index.json")).unwrap();
    refuse(&layout.path, &["layout/index.json is a directory"]);
}

#[test]
fn an_index_json_that_is_endless() {
    let Scene { directory: _directory, layout, .. } = Scene::of_image("x");
    std::fs::File::create(layout.path.join("index.json")).unwrap().set_len(1 << 40).unwrap();
    refuse(&layout.path, &["layout/index.json", "larger than the limit of 67108864 bytes"]);
}

#[test]
fn an_entry_without_digest_or_size_or_with_wrong_ones() {
    let Scene { directory: _directory, layout, .. } = Scene::new();
    let good = layout.image("x");
    let digest = good["digest"].as_str().unwrap();
    let refuse_entry = |key: &str, value: Option<Value>, words: &[&str]| {
        let mut entry = good.clone();
        match value {
            Some(value) => entry[key] = value,
            None => drop(entry.as_object_mut().unwrap().remove(key)),
        }
        layout.write("index.json", json!({"manifests": [good, entry]}).to_string());
        refuse(&layout.path, &[&["layout/index.json", "entry 1"], words].concat());
    };
    refuse_entry("digest", None, &["no \"digest\""]);
    refuse_entry("digest", Some(json!(7)), &["\"digest\"", "a number", "expected a string"]);
    refuse_entry("size", None, &["no \"size\"", digest]);
    for size in [json!(-1), json!(0.5), json!(1e300), json!(9007199254740992u64)] {
        refuse_entry("size", Some(size.clone()), &["\"size\"", &size.to_string(), "whole number", digest]);
    }
    refuse_entry("size", Some(json!("7")), &["\"size\"", "a string", digest]);
    refuse_entry("mediaType", Some(json!([])), &["\"mediaType\"", "an array", digest]);
}

#[test]
fn an_entry_with_a_digest_that_cannot_be_a_file_name() {
    let Scene { directory: _directory, layout, .. } = Scene::new();
    let good = layout.image("x");
    let encoded = good["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    for (digest, reason) in [
        (format!("md5:{}", &encoded[..32]), "\"md5\" is unknown"),
        (format!("sha256:{}", encoded.to_uppercase()), "lower-case"),
        (format!("sha256:../../{encoded}"), "the part after the colon must consist of"),
        (format!("sha256/..:{encoded}"), "the algorithm must consist of"),
        (format!("sha256:{}", &encoded[1..]), "expected 64 hexadecimal digits"),
        ("sha256:".into(), "the part after the colon must consist of"),
        (encoded.into(), "no colon"),
        (String::new(), "no colon"),
    ] {
        let entry = json!({"mediaType": MANIFEST, "digest": digest, "size": 7});
        layout.write("index.json", json!({"manifests": [entry]}).to_string());
        refuse(&layout.path, &["layout/index.json", "entry 0", &format!("{digest:?}"), reason]);
    }
}

#[test]
fn the_same_faults_inside_a_manifest() {
    let scene = Scene::new();
    let refuse_manifest = |manifest: Value, words: &[&str]| {
        let mut layout = Layout::new(scene.path("layout"));
        let manifest = layout.document(MANIFEST, &manifest);
        let name = layout.blob_name(&manifest);
        layout.add("1.0", manifest);
        refuse(&layout.path, &[&[name.as_str()], words].concat());
    };
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    refuse_manifest(json!([]), &["found an array"]);
    refuse_manifest(json!({"config": 7}), &["config", "found a number"]);
    refuse_manifest(json!({"config": {"digest": digest}}), &["config", "no \"size\""]);
    refuse_manifest(json!({"layers": "none"}), &["\"layers\" to be an array, found a string"]);
    refuse_manifest(json!({"layers": [{"digest": "sha256:/etc/passwd", "size": 1}]}), &["layers[0]", "/etc/passwd"]);
    refuse_manifest(json!({"subject": {"digest": digest, "size": -1}}), &["subject", "-1"]);
}

#[test]
fn a_manifest_that_is_not_json_or_too_deep() {
    let scene = Scene::new();
    for (bytes, word) in [("nonsense".to_string(), "invalid JSON"), ("[".repeat(200_000), "recursion limit")] {
        let mut layout = Layout::new(scene.path("layout"));
        let manifest = layout.blob(MANIFEST, bytes);
        let name = layout.blob_name(&manifest);
        layout.add("1.0", manifest);
        refuse(&layout.path, &[&name, word]);
    }
}

#[test]
fn a_giant_manifest() {
    let Scene { directory: _directory, mut layout, .. } = Scene::new();
    let padding = "x".repeat(4 << 20);
    let manifest = layout.document(MANIFEST, &json!({"schemaVersion": 2, "layers": [], "padding": padding}));
    let name = layout.blob_name(&manifest);
    let size = manifest["size"].to_string();
    layout.add("1.0", manifest);
    refuse(&layout.path, &[&name, &size, "at most 4194304"]);
}

#[test]
fn indexes_nested_without_end() {
    let Scene { directory: _directory, mut layout, .. } = Scene::new();
    let mut inner = layout.image("x");
    for _ in 0..100 {
        inner = layout.index_of(&[inner]);
    }
    layout.add("1.0", inner);
    refuse(&layout.path, &["layout", "deep"]);
}

#[test]
fn a_blob_of_another_size() {
    let scene = Scene::new();
    for media_type in [LAYER, MANIFEST] {
        let mut layout = Layout::new(scene.path("layout"));
        let child = layout.blob(media_type, "{\"content\": true}");
        std::fs::write(layout.blob_file(&child), "short").unwrap();
        let name = layout.blob_name(&child);
        let manifest = layout.index_of(std::slice::from_ref(&child));
        layout.add("1.0", manifest);
        refuse(&layout.path, &[&name, "has 5 bytes", "expected 17, as in its descriptor"]);
    }
}

#[test]
fn a_blob_of_another_digest() {
    let scene = Scene::new();
    for media_type in [LAYER, MANIFEST, CONFIG] {
        let mut layout = Layout::new(scene.path("layout"));
        let child = layout.blob(media_type, "{\"content\": true}");
        std::fs::write(layout.blob_file(&child), "{\"content\": tru3}").unwrap();
        let name = layout.blob_name(&child);
        let other = layout.image("another image, which is right");
        layout.add("2.0", other);
        let manifest = layout.index_of(std::slice::from_ref(&child));
        layout.add("1.0", manifest);
        for options in [&[][..], &["--link", "hard"]] {
            refuse_with(&layout.path, options, &[&name, "has the digest sha256:", child["digest"].as_str().unwrap()]);
        }
    }
}

#[test]
fn one_blob_described_with_two_sizes() {
    let Scene { directory: _directory, mut layout, .. } = Scene::new();
    let layer = layout.blob(LAYER, "twelve bytes");
    let mut wrong = layer.clone();
    wrong["size"] = json!(13);
    let index = layout.index_of(&[layer.clone(), wrong]);
    layout.add("1.0", index);
    refuse(&layout.path, &[&layout.blob_name(&layer), "has 12 bytes", "expected 13, as in its descriptor"]);
}

#[test]
fn a_missing_blob_names_who_refers_to_it() {
    let Scene { directory: _directory, mut layout, .. } = Scene::new();
    let layer = layout.blob(LAYER, "will be gone");
    std::fs::remove_file(layout.blob_file(&layer)).unwrap();
    let manifest = layout.document(MANIFEST, &json!({"layers": [layer]}));
    let (layer, manifest_digest) =
        (layer["digest"].as_str().unwrap(), manifest["digest"].as_str().unwrap().to_string());
    layout.add("1.0", manifest.clone());
    refuse(&layout.path, &["layout is missing the blob", layer, "12 bytes", &manifest_digest, "--allow-missing"]);

    std::fs::remove_file(layout.blob_file(&manifest)).unwrap();
    refuse(&layout.path, &["layout is missing the blob", &manifest_digest, "index.json"]);
}

#[test]
fn a_blob_that_is_no_regular_file() {
    let scene = Scene::new();
    for media_type in [LAYER, MANIFEST] {
        let fresh = || {
            let mut layout = Layout::new(scene.path("layout"));
            let child = layout.blob(media_type, "{}");
            let file = layout.blob_file(&child);
            std::fs::remove_file(&file).unwrap();
            let index = layout.index_of(std::slice::from_ref(&child));
            layout.add("1.0", index);
            let name = layout.blob_name(&child);
            (layout, file, name)
        };
        let (layout, file, name) = fresh();
        std::fs::create_dir(&file).unwrap();
        refuse(&layout.path, &[&name, "is a directory"]);
        std::fs::remove_dir(&file).unwrap();

        make_fifo(&file);
        refuse(&layout.path, &[&name, "is a FIFO"]);
        std::fs::remove_file(&file).unwrap();

        symlink("/dev/zero", &file).unwrap();
        refuse(&layout.path, &[&name, "is a device"]);
        std::fs::remove_file(&file).unwrap();

        symlink(&file, &file).unwrap();
        refuse(&layout.path, &[&name, "symbolic link"]);
        std::fs::remove_file(&file).unwrap();

        let _socket = std::os::unix::net::UnixListener::bind(scene.path("s")).unwrap();
        symlink(scene.path("s"), &file).unwrap();
        refuse(&layout.path, &[&name, "is a socket"]);
        std::fs::remove_file(scene.path("s")).unwrap();
        std::fs::remove_dir_all(&layout.path).unwrap();
    }
}

#[test]
fn the_same_ref_twice_with_different_content() {
    let Scene { directory, mut layout, site } = Scene::of_image("one");
    let other = layout.image("two");
    let digest = other["digest"].as_str().unwrap().to_string();
    layout.add("1.0", other);
    refuse(&layout.path, &["example.com/app#1.0", "twice with different content", &digest, "layout", "linux/amd64"]);
    refuse(&layout.path, &["layout has the ref twice", "remove one of these entries from its index.json"]);

    // Two refs of the layout become one that was given.
    let mut several = Layout::of_image(directory.path().join("several"), "one");
    let other = several.image("two");
    several.add("1.1", other);
    let input = format!("example.com/app#x={}", several.arg());
    let choice =
        format!("has 1.0, 1.1, and all of its entries would get the one ref \"x\"; choose one with '{input}:1.0'");
    refused(&site, &[&input], &["example.com/app#x is given twice", &choice]);

    let first = Layout::of_image(directory.path().join("first"), "one");
    let second = Layout::of_image(directory.path().join("second"), "two");
    let inputs = [&first, &second].map(|layout| format!("example.com/app={}", layout.arg()));
    refused(&site, &[&inputs[0], &inputs[1]], &["example.com/app#1.0", first.arg(), second.arg()]);
}

#[test]
fn a_ref_for_some_platforms_and_for_every_platform() {
    let scene = Scene::new();
    // Given images for two platforms, and an artifact, which is for every platform.
    let entries = |layout: &Layout| {
        let image =
            |architecture| layout.image_with(architecture, json!({"os": "linux", "architecture": architecture}));
        let config = layout.blob("application/x-config", "{}");
        let artifact = layout.document(MANIFEST, &json!({"schemaVersion": 2, "config": config, "layers": []}));
        [image("amd64"), image("arm64"), artifact]
    };
    for order in [[0, 1, 2], [2, 0, 1], [0, 2, 1]] {
        let mut layout = Layout::new(scene.path("layout"));
        let entries = entries(&layout);
        // When they have one ref, in whatever order, then they are refused.
        order.iter().for_each(|position| layout.add("1.0", entries[*position].clone()));
        refuse(&layout.path, &["example.com/app#1.0", "twice with different content"]);
        std::fs::remove_dir_all(&layout.path).unwrap();
    }
}

#[test]
fn a_ref_that_the_layout_does_not_have() {
    let Scene { directory: _directory, mut layout, .. } = Scene::of_image("one");
    let other = layout.image("two");
    layout.add("2.0", other);
    refuse(&layout.path.with_file_name("layout:3.0"), &["layout", "\"3.0\"", "1.0, 2.0"]);
}

#[test]
fn one_broken_layout_below_a_folder_stops_all() {
    let scene = Scene::new();
    let folder = scene.path("layouts");
    Layout::of_image(folder.join("a"), "one");
    let broken = Layout::of_image(folder.join("b"), "two");
    broken.write("index.json", "nonsense");
    refused(&scene.path("site"), &["--host", "example.com", text(&folder)], &["layouts/b/index.json"]);
}

#[test]
fn an_index_nested_as_a_layer_is_described_in_both_ways() {
    // Whatever order the two descriptors are met in, what the index holds has to be published, or be missing aloud.
    let scene = Scene::new();
    for both_ways in [[LAYER, INDEX], [INDEX, LAYER]] {
        let mut layout = Layout::new(scene.path("layout"));
        let hidden = layout.blob(LAYER, "only the inner index refers to this");
        let inner = layout.index_of(std::slice::from_ref(&hidden));
        let described = both_ways.map(|media_type| {
            let mut described = inner.clone();
            described["mediaType"] = media_type.into();
            described
        });
        std::fs::remove_file(layout.blob_file(&hidden)).unwrap();
        let outer = layout.index_of(&described);
        layout.add("1.0", outer);
        refuse(&layout.path, &["is missing the blob", hidden["digest"].as_str().unwrap()]);
    }
}

/// What was a file when the layout was opened need not be one when it is read.
#[test]
fn a_fifo_in_place_of_an_archive_that_was_opened_is_refused_without_waiting() {
    let Scene { directory, layout, .. } = Scene::of_image("content");
    let (archive, layer) = (directory.path().join("layout.tar"), Digest::of(Algorithm::Sha256, b"content"));
    layout.archive(&archive);
    let opened = ocisite::layout::Layout::open(&archive).unwrap();
    std::fs::remove_file(&archive).unwrap();
    make_fifo(&archive);
    let error = opened.open_blob(&layer, 7).unwrap_err().to_string();
    assert!(error.contains("layout.tar is a FIFO"), "{error}");
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}
