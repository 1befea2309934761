//! Which entries are published, under which names and refs.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::layout::{Layout, REF_NAME};
use crate::support::program::{fails, ocisite, publish, publish_json, text};
use crate::support::site::{assert_whole, blob_file, digest_like, entries, json as json_at, refs};

/// A layout with the refs `1.0` and `2.0`, and an entry without a ref.
fn three_entries(path: &Path) -> Layout {
    let mut layout = Layout::of_image(path, "one");
    let (two, untagged) = (layout.image("two"), layout.image("untagged"));
    layout.add("2.0", two);
    layout.add_untagged(untagged);
    layout
}

#[test]
fn without_a_ref_every_entry_is_published() {
    let directory = TempDir::new().unwrap();
    let (site, layout) = (directory.path().join("site"), three_entries(&directory.path().join("layout")));
    publish(&site, &[&format!("example.com/app={}", layout.arg())]);
    assert_eq!(refs(&site, "app"), ["-", "1.0", "2.0"]);
    assert_eq!(assert_whole(&site), 8);
}

#[test]
fn with_a_ref_that_one_is_published_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    let (site, layout) = (directory.path().join("site"), three_entries(&directory.path().join("layout")));
    publish(&site, &[&format!("example.com/app={}:2.0", layout.arg())]);
    assert_eq!(refs(&site, "app"), ["2.0"]);
    assert_eq!(assert_whole(&site), 4);
}

#[test]
fn a_fragment_publishes_an_entry_under_another_ref() {
    let directory = TempDir::new().unwrap();
    let (site, layout) = (directory.path().join("site"), three_entries(&directory.path().join("layout")));
    let input = |fragment: &str, reference: &str| format!("example.com/app#{fragment}={}:{reference}", layout.arg());
    publish(&site, &[&input("latest", "2.0"), &input("stable", "1.0")]);
    assert_eq!(refs(&site, "app"), ["latest", "stable"]);
    let layout_index = json_at(&layout.path, "index.json");
    assert_eq!(layout_index["manifests"][1]["annotations"][REF_NAME], "2.0", "the layout was changed");
}

#[test]
fn one_image_may_come_from_several_layouts_a_platform_each() {
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    let inputs = ["amd64", "arm64"].map(|architecture| {
        let mut layout = Layout::new(directory.path().join(architecture));
        let image = layout.image_with(architecture, json!({"os": "linux", "architecture": architecture}));
        layout.add("built", image);
        format!("example.com/app#1.0={}:built", layout.arg())
    });
    publish(&site, &[&inputs[1], &inputs[0]]);
    assert_eq!(refs(&site, "app"), ["1.0", "1.0"]);
    let architectures: Vec<Value> =
        entries(&site, "app").iter().map(|entry| entry["platform"]["architecture"].clone()).collect();
    assert_eq!(architectures, ["amd64", "arm64"], "entries are sorted, whatever the order of the arguments");
}

#[test]
fn full_image_names_in_annotations_give_their_tags() {
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    let mut layout = Layout::new(directory.path().join("layout"));
    for (position, name) in [
        "example.com/team/app:podman",
        "localhost:5000/app:port",
        "docker.io/library/app:digest@sha256:ab",
        "1.0:colon",
    ]
    .into_iter()
    .enumerate()
    {
        let image = layout.image(&position.to_string());
        layout.add(name, image);
    }
    let mut image = layout.image("containerd");
    image["annotations"] = json!({"io.containerd.image.name": "docker.io/library/app:containerd"});
    layout.add_untagged(image);
    let mut image = layout.image("buildkit");
    image["annotations"]["io.containerd.image.name"] = "docker.io/library/app:ignored".into();
    layout.add("buildkit", image);

    publish(&site, &[&format!("example.com/app={}", layout.arg())]);
    assert_eq!(refs(&site, "app"), ["1.0:colon", "buildkit", "containerd", "digest", "podman", "port"]);

    // They are selected by their tags, and by what is written there.
    for select in ["podman", "containerd"] {
        publish(&site, &["--replace", &format!("example.com/app={}:{select}", layout.arg())]);
        assert_eq!(refs(&site, "app"), [select]);
    }
}

#[test]
fn a_ref_that_no_name_can_spell_is_published_with_a_warning() {
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    let mut layout = Layout::new(directory.path().join("layout"));
    let image = layout.image("x");
    layout.add("first release", image);
    let input = format!("example.com/app={}", layout.arg());
    let output = ocisite().args(["publish", "--site", text(&site), &input]).assert().success().get_output().clone();
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(
        warning.contains("warning") && warning.contains("\"first release\"") && warning.contains("#REF"),
        "{warning}"
    );
    assert_eq!(refs(&site, "app"), ["first release"]);
}

#[test]
fn layouts_below_a_folder_are_named_by_their_paths() {
    let directory = TempDir::new().unwrap();
    let (site, folder) = (directory.path().join("site"), directory.path().join("layouts"));
    Layout::of_image(folder.join("app"), "one");
    Layout::of_image(folder.join("team/deep/tool"), "two");
    Layout::of_image(directory.path().join("packed"), "three").archive(&folder.join("team/packed.tar"));
    std::os::unix::fs::symlink(folder.join("app"), folder.join("linked")).unwrap();
    std::fs::write(folder.join("README.md"), "not a layout").unwrap();
    std::fs::create_dir_all(folder.join("empty/below")).unwrap();
    tar::Builder::new(std::fs::File::create(folder.join("sources.tar")).unwrap())
        .append_data(&mut tar::Header::new_gnu(), "a", std::io::empty())
        .unwrap();

    let summary = publish_json(&site, &["--host", "Example.COM", text(&folder)]);

    let images = ["example.com/app", "example.com/linked", "example.com/team/deep/tool", "example.com/team/packed"];
    assert_eq!(summary["images"], json!(images));
    assert_eq!(json_at(&site, "ocisite.json")["images"], json!(images));
    assert_eq!(summary["skipped"].as_array().unwrap().len(), 1);
    assert!(summary["skipped"][0]["reason"].as_str().unwrap().contains("sources.tar is not an OCI image layout"));
    assert_whole(&site);
}

#[test]
fn a_compressed_archive_below_a_folder_is_no_layout_to_pass_over() {
    let directory = TempDir::new().unwrap();
    let (site, folder) = (directory.path().join("site"), directory.path().join("layouts"));
    Layout::of_image(folder.join("app"), "one");
    std::fs::write(folder.join("image.tar.gz"), b"\x1f\x8b\x08\0").unwrap();
    let args = ["publish", "--site", text(&site), "--host", "example.com", text(&folder)];
    fails(ocisite().args(args), &["image.tar.gz", "gzip -d"]);
}

#[test]
fn an_archive_is_read_without_unpacking_it() {
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    let layout = three_entries(&directory.path().join("layout"));
    let archive = directory.path().join("archive.tar");
    layout.archive(&archive);
    publish(&site, &[&format!("example.com/app={}:1.0", text(&archive)), &format!("example.com/b={}", text(&archive))]);
    assert_eq!((refs(&site, "app"), refs(&site, "b").len()), (vec!["1.0".to_string()], 3));
    assert_eq!(assert_whole(&site), 8);
    // Hard links need files of their own; from an archive it is copies.
    let linked = directory.path().join("linked");
    let summary = publish_json(&linked, &["--link", "hard", &format!("example.com/app={}", text(&archive))]);
    assert_eq!(summary["blobsLinked"]["objects"], 0);
    assert_whole(&linked);
}

#[test]
fn an_archive_of_links_is_followed_and_none_leads_out_of_it() {
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    // Blobs as links into a store of their own, as some builders write them.
    let blobs = layout.path.join("blobs/sha256");
    std::fs::create_dir(layout.path.join("store")).unwrap();
    for (number, blob) in
        blobs.read_dir().unwrap().map(|blob| blob.unwrap().path()).collect::<Vec<_>>().iter().enumerate()
    {
        std::fs::rename(blob, layout.path.join(format!("store/{number}"))).unwrap();
        std::os::unix::fs::symlink(format!("../../store/{number}"), blob).unwrap();
    }
    let archive = directory.path().join("archive.tar");
    layout.archive(&archive);
    publish(&site, &[&format!("example.com/app={}", text(&archive))]);
    assert_eq!(assert_whole(&site), 4);

    let secret = directory.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let digest = digest_like("sha256:", b"secret");
    let mut layout = Layout::new(directory.path().join("hostile"));
    let index = layout.index_of(&[json!({"mediaType": "application/x", "digest": digest, "size": 6})]);
    layout.add("1.0", index);
    for target in [text(&secret), "../../../secret", "../../../../../../../../etc/hostname"] {
        let link = layout.path.join(format!("blobs/{}", digest.replace(':', "/")));
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).unwrap();
        layout.archive(&archive);
        let args = ["publish", "--site", text(&site), &format!("example.com/app={}", text(&archive))];
        fails(ocisite().args(args), &[&digest.replace(':', "/"), "not a regular file"]);
        assert!(!blob_file(&site, &digest).exists());
    }
}

#[test]
fn symbolic_links_to_blobs_are_followed_and_other_files_ignored() {
    let directory = TempDir::new().unwrap();
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    let elsewhere = directory.path().join("elsewhere");
    std::fs::rename(layout.path.join("blobs/sha256"), &elsewhere).unwrap();
    std::fs::create_dir(layout.path.join("blobs/sha256")).unwrap();
    for blob in elsewhere.read_dir().unwrap().map(Result::unwrap) {
        std::os::unix::fs::symlink(blob.path(), layout.path.join("blobs/sha256").join(blob.file_name())).unwrap();
    }
    layout.write("blobs/sha256/not-a-digest", "x");
    layout.write("manifest.json", "[{}]");
    layout.write("README", "x");
    for link in ["copy", "hard"] {
        let site = directory.path().join(link);
        publish(&site, &["--link", link, &format!("example.com/app={}", layout.arg())]);
        assert_eq!(assert_whole(&site), 4);
        let is_file = |entry: &walkdir::DirEntry| !entry.file_type().is_symlink();
        assert!(walkdir::WalkDir::new(&site).into_iter().all(|entry| is_file(&entry.unwrap())), "a link was published");
    }
}

#[test]
fn a_path_with_colons_or_equals_signs_is_a_path() {
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    let layout = three_entries(&directory.path().join("a:b=c:1.0"));
    publish(&site, &[&format!("example.com/app={}", layout.arg())]);
    assert_eq!(refs(&site, "app").len(), 3);
    publish(&site, &["--replace", &format!("example.com/app={}:2.0", layout.arg())]);
    assert_eq!(refs(&site, "app"), ["2.0"]);
}
