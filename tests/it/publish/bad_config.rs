//! The command line and the configuration file: what is missing from them, and what they must not say.

use std::path::Path;

use crate::support::layout::Layout;
use crate::support::program::{fails, ocisite, text};
use crate::support::scene::Scene;
use crate::support::site::{Snapshot, refs};

/// Runs `publish --config` in a directory with a right layout `layout` and this `ocisite.toml`; it has to be refused.
fn refuse_config(config: &str, words: &[&str]) {
    let scene = Scene::of_image("x");
    std::fs::write(scene.path("ocisite.toml"), config).unwrap();
    let before = Snapshot::of(scene.directory.path());
    // Found by itself, or named from elsewhere: the same message.
    fails(scene.ocisite().arg("publish"), words);
    fails(ocisite().arg("publish").arg("--config").arg(scene.path("ocisite.toml")), words);
    before.assert_unchanged(scene.directory.path());
}

#[test]
fn no_input_at_all() {
    let scene = Scene::new();
    let before = Snapshot::of(scene.directory.path());
    fails(&mut scene.publish(), &["nothing to publish", "--host"]);
    fails(scene.ocisite().arg("publish"), &["no site", "--site DIR"]);
    before.assert_unchanged(scene.directory.path());
}

#[test]
fn no_site() {
    fails(ocisite().args(["publish", "example.com/app=layout"]), &["no site", "--site DIR"]);
}

#[test]
fn a_folder_without_a_host_or_without_layouts() {
    let scene = Scene::new();
    let folder = scene.path("layouts");
    Layout::of_image(folder.join("app"), "x");
    scene.refused(&[text(&folder)], &["layouts have no host", "--host example.com"]);
    let host = ["--host", "example.com"];
    scene.refused(
        &[host[0], host[1], text(&folder.join("app"))],
        &["layouts/app is itself a layout", "example.com/app="],
    );
    scene.refused(&[host[0], host[1], text(&folder.join("app/blobs"))], &["no layout below", "layouts/app/blobs"]);
    scene.refused(&[host[0], host[1], text(&folder.join("absent"))], &["layouts/absent", "NAME[#REF]=LAYOUT[:REF]"]);
    scene.refused(&["example.com/app"], &["\"example.com/app\"", "NAME[#REF]=LAYOUT[:REF]"]);
    scene.refused(&["example.com/app#1.0"], &["\"example.com/app#1.0\"", "NAME[#REF]=LAYOUT[:REF]"]);
    scene.refused(&["example.com/app="], &["\"example.com/app=\" gives no layout"]);
}

#[test]
fn options_that_exclude_each_other() {
    for options in [["--append", "--replace"], ["--quiet", "--verbose"]] {
        let output = ocisite().args(["publish", "--site", "s"]).args(options).assert().code(2).get_output().clone();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(options.iter().all(|option| message.contains(option)), "{message}");
    }
}

#[test]
fn an_unknown_key_gets_the_nearest_known_one() {
    refuse_config("site = 's'\nindx-template = 'x'\n", &["ocisite.toml", "\"indx-template\"", "\"index-template\""]);
    refuse_config("site = 's'\nroot_per_host = true\n", &["ocisite.toml", "\"root_per_host\"", "\"root-per-host\""]);
    let image = "site = 's'\n[[image]]\nname = 'example.com/app'\nlayuot = 'layout'\n";
    refuse_config(image, &["ocisite.toml", "\"layuot\"", "\"layout\""]);
    refuse_config("site = 's'\nzzz = 1\n", &["ocisite.toml", "\"zzz\"", "known keys are site, host"]);
    refuse_config("[[images]]\n", &["ocisite.toml", "\"images\"", "\"image\""]);
}

#[test]
fn a_configuration_that_is_no_toml_or_has_a_wrong_value() {
    refuse_config("site = \n", &["ocisite.toml", "line 1"]);
    refuse_config("site = 's'\nsite = 't'\n", &["ocisite.toml", "line 2"]);
    refuse_config("site = 's'\nallow-missing = 'yes'\n", &["ocisite.toml", "line 2", "boolean"]);
    refuse_config("site = 's'\npreset = 'cass'\n", &["ocisite.toml", "line 2", "cass", "layout"]);
    refuse_config("site = 's'\nimage = 7\n", &["ocisite.toml", "line 2"]);
    let image = "site = 's'\n[[image]]\nname = 'example.com:80/app'\nlayout = 'layout'\n";
    refuse_config(image, &["ocisite.toml", "column 12", "no port"]);
    refuse_config("site = 's'\n[[image]]\nname = 'example.com/app'\n", &["ocisite.toml", "layout"]);
    let store =
        "site = 's'\n[store]\n'not an origin' = 'dir'\n[[image]]\nname = 'example.com/app'\nlayout = 'layout'\n";
    refuse_config(store, &["ocisite.toml", "not an origin"]);
    refuse_config("site = 's'\nhost = 'a b'\nfolders = ['.']\n", &["a b"]);
    refuse_config("site = 's'\n", &["ocisite.toml", "nothing to publish"]);
}

#[test]
fn a_configuration_that_cannot_be_read() {
    let scene = Scene::new();
    let config = |path: &Path, words: &[&str]| {
        fails(ocisite().args(["publish", "--config", text(path)]), words);
    };
    config(&scene.path("absent.toml"), &["absent.toml", "No such file"]);
    config(scene.directory.path(), &[text(scene.directory.path()), "directory"]);
    std::fs::write(scene.path("bytes.toml"), b"site = '\xff'").unwrap();
    config(&scene.path("bytes.toml"), &["bytes.toml", "UTF-8"]);
}

#[test]
fn a_configuration_says_what_the_command_line_can_say() {
    let scene = Scene::new();
    let path = |name: &str| scene.path(name);
    Layout::of_image(path("one"), "one");
    Layout::of_image(path("layouts/team/two"), "two");
    let config = "
        site = 'site'
        host = 'example.com'
        folders = ['layouts']
        cas-template = 'https://cdn.example.net/{digest}'
        [store]
        'https://cdn.example.net' = 'cdn'
        [[image]]
        name = 'example.com/one#latest'
        layout = 'one:1.0'
    ";
    std::fs::create_dir(path("elsewhere")).unwrap();
    std::fs::write(path("ocisite.toml"), config).unwrap();

    ocisite().current_dir(path("elsewhere")).args(["publish", "--config", "../ocisite.toml"]).assert().success();

    assert_eq!(refs(&path("site"), "one"), ["latest"]);
    assert_eq!(refs(&path("site"), "team/two"), ["1.0"]);
    assert!(path("cdn").read_dir().unwrap().count() > 4);

    // The command line has the last word.
    scene.ocisite().args(["publish", "--site", "other"]).assert().success();
    assert_eq!(refs(&path("other"), "one"), ["latest"]);
}
