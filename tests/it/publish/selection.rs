//! Which entries are published, under which names and refs.

use serde_json::{Value, json};

use crate::support::layout::{Layout, REF_NAME};
use crate::support::program::{Succeeds, ocisite, text};
use crate::support::scene::Scene;
use crate::support::site::{assert_whole, blob_file, digest_like, entries, json as json_at, refs};

/// A layout with the refs `1.0` and `2.0`, and an entry without a ref.
fn three_entries() -> Scene {
    let mut scene = Scene::of_image("one");
    let (two, untagged) = (scene.layout.image("two"), scene.layout.image("untagged"));
    scene.layout.add("2.0", two);
    scene.layout.add_untagged(untagged);
    scene
}

#[test]
fn without_a_ref_every_entry_is_published() {
    let scene = three_entries();
    scene.publish().arg("example.com/app=layout").succeeds();
    assert_eq!(refs(&scene.site, "app"), ["-", "1.0", "2.0"]);
    assert_eq!(assert_whole(&scene.site), 8);
}

#[test]
fn with_a_ref_that_one_is_published_and_nothing_else() {
    let scene = three_entries();
    scene.publish().arg("example.com/app=layout:2.0").succeeds();
    assert_eq!(refs(&scene.site, "app"), ["2.0"]);
    assert_eq!(assert_whole(&scene.site), 4);
}

#[test]
fn a_fragment_publishes_an_entry_under_another_ref() {
    let scene = three_entries();
    scene.publish().args(["example.com/app#latest=layout:2.0", "example.com/app#stable=layout:1.0"]).succeeds();
    assert_eq!(refs(&scene.site, "app"), ["latest", "stable"]);
    let layout_index = json_at(&scene.layout.path, "index.json");
    assert_eq!(layout_index["manifests"][1]["annotations"][REF_NAME], "2.0", "the layout was changed");
}

#[test]
fn one_image_may_come_from_several_layouts_a_platform_each() {
    let scene = Scene::new();
    for architecture in ["amd64", "arm64"] {
        let mut layout = Layout::new(scene.path(architecture));
        let image = layout.image_with(architecture, json!({"os": "linux", "architecture": architecture}));
        layout.add("built", image);
    }
    scene.publish().args(["example.com/app#1.0=arm64:built", "example.com/app#1.0=amd64:built"]).succeeds();
    assert_eq!(refs(&scene.site, "app"), ["1.0", "1.0"]);
    let architectures: Vec<Value> =
        entries(&scene.site, "app").iter().map(|entry| entry["platform"]["architecture"].clone()).collect();
    assert_eq!(architectures, ["amd64", "arm64"], "entries are sorted, whatever the order of the arguments");
}

#[test]
fn full_image_names_in_annotations_give_their_tags() {
    let mut scene = Scene::new();
    let layout = &mut scene.layout;
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

    scene.publish().arg("example.com/app=layout").succeeds();
    assert_eq!(refs(&scene.site, "app"), ["1.0:colon", "buildkit", "containerd", "digest", "podman", "port"]);

    // They are selected by their tags, and by what is written there.
    for select in ["podman", "containerd"] {
        scene.publish().args(["--replace", &format!("example.com/app=layout:{select}")]).succeeds();
        assert_eq!(refs(&scene.site, "app"), [select]);
    }
}

#[test]
fn a_ref_that_no_name_can_spell_is_published_with_a_warning() {
    let mut scene = Scene::new();
    let image = scene.layout.image("x");
    scene.layout.add("first release", image);
    let warning = scene.publish().arg("example.com/app=layout").warns();
    assert!(
        warning.contains("warning") && warning.contains("\"first release\"") && warning.contains("#REF"),
        "{warning}"
    );
    assert_eq!(refs(&scene.site, "app"), ["first release"]);
}

#[test]
fn layouts_below_a_folder_are_named_by_their_paths() {
    let scene = Scene::of_image("three");
    let folder = scene.path("layouts");
    Layout::of_image(folder.join("app"), "one");
    Layout::of_image(folder.join("team/deep/tool"), "two");
    scene.layout.archive(&folder.join("team/packed.tar"));
    std::os::unix::fs::symlink(folder.join("app"), folder.join("linked")).unwrap();
    std::fs::write(folder.join("README.md"), "not a layout").unwrap();
    std::fs::create_dir_all(folder.join("empty/below")).unwrap();
    tar::Builder::new(std::fs::File::create(folder.join("sources.tar")).unwrap())
        .append_data(&mut tar::Header::new_gnu(), "a", std::io::empty())
        .unwrap();

    let summary = scene.publish().args(["--host", "Example.COM", "layouts", "--json"]).json();

    let images = ["example.com/app", "example.com/linked", "example.com/team/deep/tool", "example.com/team/packed"];
    assert_eq!(summary["images"], json!(images));
    assert_eq!(json_at(&scene.site, "ocisite.json")["images"], json!(images));
    assert_eq!(summary["skipped"].as_array().unwrap().len(), 1);
    assert!(summary["skipped"][0]["reason"].as_str().unwrap().contains("sources.tar is not an OCI image layout"));
    assert_whole(&scene.site);
}

#[test]
fn a_compressed_archive_below_a_folder_is_no_layout_to_pass_over() {
    let scene = Scene::of_image("one");
    std::fs::write(scene.path("image.tar.gz"), b"\x1f\x8b\x08\0").unwrap();
    scene.refused(&["--host", "example.com", "."], &["image.tar.gz", "gzip -d"]);
}

#[test]
fn an_archive_is_read_without_unpacking_it() {
    let scene = three_entries();
    scene.layout.archive(&scene.path("archive.tar"));
    scene.publish().args(["example.com/app=archive.tar:1.0", "example.com/b=archive.tar"]).succeeds();
    assert_eq!((refs(&scene.site, "app"), refs(&scene.site, "b").len()), (vec!["1.0".to_string()], 3));
    assert_eq!(assert_whole(&scene.site), 8);
    // Hard links need files of their own; from an archive it is copies.
    let linked = scene.path("linked");
    let args = ["publish", "--json", "--site", "linked", "--link", "hard", "example.com/app=archive.tar"];
    let summary = scene.ocisite().args(args).json();
    assert_eq!(summary["blobsLinked"]["objects"], 0);
    assert_whole(&linked);
}

#[test]
fn an_archive_of_links_is_followed_and_none_leads_out_of_it() {
    let scene = Scene::of_image("x");
    let layout = &scene.layout;
    // Blobs as links into a store of their own, as some builders write them.
    let blobs = layout.path.join("blobs/sha256");
    std::fs::create_dir(layout.path.join("store")).unwrap();
    for (number, blob) in
        blobs.read_dir().unwrap().map(|blob| blob.unwrap().path()).collect::<Vec<_>>().iter().enumerate()
    {
        std::fs::rename(blob, layout.path.join(format!("store/{number}"))).unwrap();
        std::os::unix::fs::symlink(format!("../../store/{number}"), blob).unwrap();
    }
    layout.archive(&scene.path("archive.tar"));
    scene.publish().arg("example.com/app=archive.tar").succeeds();
    assert_eq!(assert_whole(&scene.site), 4);

    let secret = scene.path("secret");
    std::fs::write(&secret, "secret").unwrap();
    let digest = digest_like("sha256:", b"secret");
    let mut layout = Layout::new(scene.path("hostile"));
    let index = layout.index_of(&[json!({"mediaType": "application/x", "digest": digest, "size": 6})]);
    layout.add("1.0", index);
    for target in [text(&secret), "../../../secret", "../../../../../../../../etc/hostname"] {
        let link = layout.path.join(format!("blobs/{}", digest.replace(':', "/")));
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).unwrap();
        layout.archive(&scene.path("archive.tar"));
        scene.refused(&["example.com/app=archive.tar"], &[&digest.replace(':', "/"), "not a regular file"]);
        assert!(!blob_file(&scene.site, &digest).exists());
    }
}

#[test]
fn symbolic_links_to_blobs_are_followed_and_other_files_ignored() {
    let scene = Scene::of_image("x");
    let (layout, elsewhere) = (&scene.layout, scene.path("elsewhere"));
    std::fs::rename(layout.path.join("blobs/sha256"), &elsewhere).unwrap();
    std::fs::create_dir(layout.path.join("blobs/sha256")).unwrap();
    for blob in elsewhere.read_dir().unwrap().map(Result::unwrap) {
        std::os::unix::fs::symlink(blob.path(), layout.path.join("blobs/sha256").join(blob.file_name())).unwrap();
    }
    layout.write("blobs/sha256/not-a-digest", "x");
    layout.write("manifest.json", "[{}]");
    layout.write("README", "x");
    for link in ["copy", "hard"] {
        let site = scene.path(link);
        scene.ocisite().args(["publish", "--site", link, "--link", link, "example.com/app=layout"]).succeeds();
        assert_eq!(assert_whole(&site), 4);
        let is_file = |entry: &walkdir::DirEntry| !entry.file_type().is_symlink();
        assert!(walkdir::WalkDir::new(&site).into_iter().all(|entry| is_file(&entry.unwrap())), "a link was published");
    }
}

#[test]
fn a_path_with_colons_or_equals_signs_is_a_path() {
    let scene = three_entries();
    std::fs::rename(&scene.layout.path, scene.path("a:b=c:1.0")).unwrap();
    scene.publish().arg("example.com/app=a:b=c:1.0").succeeds();
    assert_eq!(refs(&scene.site, "app").len(), 3);
    scene.publish().args(["--replace", "example.com/app=a:b=c:1.0:2.0"]).succeeds();
    assert_eq!(refs(&scene.site, "app"), ["2.0"]);
}

#[test]
fn a_name_and_a_path_may_have_equals_signs() {
    // Given layouts at paths with equals signs.
    let scene = Scene::of_image("one");
    Layout::of_image(scene.path("arch=amd64/v=1"), "two");
    Layout::of_image(scene.path("example.com/k=v"), "three");
    // When they are published, one under a name with an equals sign, too, and one in a folder.
    let names = ["example.com/app=arch=amd64/v=1", "example.com/k=v=layout", "example.com/k=v=layout:1.0"];
    scene.publish().args(names).succeeds();
    assert_eq!(json_at(&scene.site, "ocisite.json")["images"], json!(["example.com/app", "example.com/k=v"]));
    scene.publish().args(["--host", "example.com", "example.com"]).succeeds();
    // Then each has its name, and what is no layout is refused by its first equals sign.
    assert_eq!(refs(&scene.site, "k=v"), ["1.0"]);
    scene.refused(&["example.com/app=missing=1"], &["cannot read missing=1"]);
    scene.refused(&["example.com/app="], &["gives no layout"]);
}

#[test]
fn a_folder_with_an_equals_sign_is_a_folder() {
    let scene = Scene::new();
    Layout::of_image(scene.path("example.com/v=1/app"), "one");
    scene.publish().args(["--host", "example.com", "example.com/v=1"]).succeeds();
    assert_eq!(refs(&scene.site, "app"), ["1.0"]);
}

#[test]
fn a_name_that_ends_in_a_tag_is_published_with_a_question() {
    let scene = Scene::of_image("one");
    for name in ["example.com/app:1.0", "example.com/team/app:1.0"] {
        let warning = scene.publish().arg(format!("{name}=layout")).warns();
        assert!(warning.contains(&format!("did you mean {}?", name.replace(':', "#"))), "{warning}");
    }
    for name in ["example.com/app#1.0", "example.com/a:b/app", "example.com/:1.0"] {
        assert_eq!(scene.publish().arg(format!("{name}=layout")).warns(), "", "{name}");
    }
}

#[test]
fn layouts_are_given_as_skopeo_writes_them_too() {
    let scene = three_entries();
    scene.layout.archive(&scene.path("archive.tar"));
    let inputs = [
        ("example.com/directory=oci:layout", &["-", "1.0", "2.0"][..]),
        ("example.com/tag=oci:layout:2.0", &["2.0"]),
        ("example.com/archive=oci-archive:archive.tar", &["-", "1.0", "2.0"]),
        ("example.com/archive-tag#x=oci-archive:archive.tar:1.0", &["x"]),
    ];
    for (input, expected) in inputs {
        let (image, _) = input.trim_start_matches("example.com/").split_once(['=', '#']).unwrap();
        scene.publish().arg(input).succeeds();
        assert_eq!(refs(&scene.site, image), expected, "{input}");
    }
    // The same in a file of options, relative to the file.
    let config = "site = 'site'\n[[image]]\nname = 'example.com/config'\nlayout = 'oci:layout:1.0'\n";
    std::fs::write(scene.path("ocisite.toml"), config).unwrap();
    ocisite().args(["publish", "--config"]).arg(scene.path("ocisite.toml")).succeeds();
    assert_eq!(refs(&scene.site, "config"), ["1.0"]);
    // A directory that has the name of a transport is a directory.
    Layout::of_image(scene.path("oci"), "four");
    scene.publish().arg("example.com/named=oci:1.0").succeeds();
    assert_eq!(refs(&scene.site, "named"), ["1.0"]);
}
