//! Places for a layout in which links, or files of others, were planted: nothing outside is written, and no byte counts that was
//! not read.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::images::*;
use super::program::{json_of, messages, ocisite_at};
use super::server::Server;
use crate::support::program::text;
use crate::support::site::Snapshot;
use crate::support::users::{SOMEONE, has_users};

const LAYER: &[u8] = b"the layer of the image";

/// A site with an image, and a directory with precious files in it beside which it is pulled.
struct Scene {
    server: Server,
    directory: TempDir,
}

fn scene() -> Scene {
    let server = Server::start();
    let image = server.image("linux/amd64", LAYER);
    server.with_engines().with_index("app", &[tagged(&image, "1.0")]);
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene { server, directory };
    std::fs::create_dir_all(scene.path("precious/sha256")).unwrap();
    std::fs::write(scene.path("precious/file"), "precious").unwrap();
    scene
}

impl Scene {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn pull(&self, to: &str) -> assert_cmd::Command {
        let mut command = ocisite_at(&self.server, "pull");
        command.args(["--no-xdg", "--json", "example.com/app", "--to", text(&self.path(to))]);
        command
    }

    /// A pull is refused with these words, and nothing is changed anywhere.
    fn assert_refused(&self, to: &str, words: &[&str]) {
        let before = Snapshot::of(self.directory.path());
        let output = self.pull(to).output().unwrap();
        let printed = messages(&output);
        assert_eq!(output.status.code(), Some(2), "{printed}");
        for word in words {
            assert!(printed.contains(word), "expected {word:?} in: {printed}");
        }
        before.assert_unchanged(self.directory.path());
    }

    /// A pull succeeds, and the precious files are as they were.
    fn assert_pulled(&self, to: &str) -> Value {
        let before = Snapshot::of(&self.path("precious"));
        let report = json_of(&mut self.pull(to));
        before.assert_unchanged(&self.path("precious"));
        report
    }

    /// Plants a link to something precious.
    fn plant(&self, name: &str, target: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        symlink(self.path(target), self.path(name)).unwrap();
    }
}

fn unfinished_layer() -> String {
    format!(".ocisite/unfinished/sha256-{}", encoded(LAYER))
}

#[test]
fn links_in_the_layout_are_refused_by_name() {
    for (link, target) in [
        (".ocisite", "precious"),
        (".ocisite/unfinished", "precious"),
        (".ocisite/unfinished/index.json", "precious/file"),
        (".ocisite/unfinished/index.json", "precious/absent"),
        (&unfinished_layer(), "precious/file"),
        (".ocisite/lock", "precious/file"),
        ("blobs", "precious"),
        ("blobs/sha256", "precious/sha256"),
        ("index.json", "precious/file"),
        ("oci-layout", "precious/absent"),
    ] {
        let scene = scene();
        scene.plant(&format!("layout/{link}"), target);
        scene.assert_refused("layout", &[&format!("layout/{link} is a symbolic link"), "move it away"]);
    }
}

#[test]
fn links_beside_an_archive_are_refused_by_name() {
    let beside = ".image.tar.unfinished";
    for (link, target) in [
        (beside.to_string(), "precious"),
        (format!("{beside}/blobs"), "precious"),
        (format!("{beside}/blobs/sha256"), "precious/sha256"),
        (format!("{beside}/index.json"), "precious/file"),
        (format!("{beside}/.ocisite/unfinished/index.json"), "precious/file"),
        (format!("{beside}/{}", unfinished_layer()), "precious/file"),
    ] {
        let scene = scene();
        scene.plant(&link, target);
        scene.assert_refused("image.tar", &[&format!("{link} is a symbolic link"), "move it away"]);
    }
    // The archive itself begins anew.
    let scene = scene();
    scene.plant(&format!("{beside}/archive.tar"), "precious/file");
    scene.assert_pulled("image.tar");
    assert_layer_in_archive(&scene.path("image.tar"));
}

/// When the archive is written, the directory beside it is removed.
#[test]
fn files_of_others_beside_an_archive_are_refused_by_name() {
    let beside = ".image.tar.unfinished";
    for (directory, name) in [("", "notes.txt"), ("blobs/sha256", "a.txt"), (".ocisite", "a.txt"), ("", "directory/")] {
        let scene = scene();
        let directory = scene.path(beside).join(directory);
        std::fs::create_dir_all(&directory).unwrap();
        match name.strip_suffix('/') {
            Some(name) => std::fs::create_dir(directory.join(name)).unwrap(),
            None => std::fs::write(directory.join(name), "precious").unwrap(),
        }
        let named = directory.join(name.trim_end_matches('/'));
        scene.assert_refused(
            "image.tar",
            &[&format!("{} is not a file of an interrupted pull", text(&named)), "move it away"],
        );
    }
    // What a pull that was killed leaves is taken up.
    let scene = scene();
    for left in [unfinished_layer(), format!("{}.4711", unfinished_layer()), ".ocisite/unfinished/index.json".into()] {
        let file = scene.path(beside).join(left);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "").unwrap();
    }
    scene.assert_pulled("image.tar");
    assert!(!scene.path(beside).exists());
}

/// A second name is as good as a link: what is written to it changes the other file.
#[test]
fn an_unfinished_blob_that_is_another_file_s_second_name_is_refused() {
    for to in ["layout", "image.tar"] {
        let scene = scene();
        let root = if to == "layout" { to } else { ".image.tar.unfinished" };
        let planted = scene.path(root).join(unfinished_layer());
        std::fs::create_dir_all(planted.parent().unwrap()).unwrap();
        std::fs::hard_link(scene.path("precious/file"), &planted).unwrap();
        scene.assert_refused(to, &[text(&planted), "is a hard link"]);
    }
}

#[test]
fn an_unfinished_directory_of_another_user_is_refused() {
    if !has_users() {
        return;
    }
    for (to, foreign) in [
        ("image.tar", ".image.tar.unfinished"),
        ("layout", "layout/.ocisite"),
        ("layout", "layout/.ocisite/unfinished"),
    ] {
        let scene = scene();
        std::fs::create_dir_all(scene.path(foreign)).unwrap();
        chown(scene.path(foreign), Some(SOMEONE), Some(SOMEONE)).unwrap();
        scene.assert_refused(to, &[&format!("{foreign} belongs to user {SOMEONE}")]);
    }
}

/// A pull of root into the layout of another user may have been killed.
#[test]
fn an_unfinished_file_of_another_user_is_refused_with_what_to_do() {
    if !has_users() {
        return;
    }
    let scene = scene();
    let foreign = scene.path("layout").join(unfinished_layer());
    std::fs::create_dir_all(foreign.parent().unwrap()).unwrap();
    std::fs::write(&foreign, "").unwrap();
    chown(&foreign, Some(SOMEONE), Some(SOMEONE)).unwrap();
    let owner = format!("belongs to user {SOMEONE}");
    scene.assert_refused("layout", &[text(&foreign), &owner, "remove the file", "pull again"]);
}

#[test]
fn an_unfinished_directory_is_its_owner_s_alone() {
    let scene = scene();
    let beside = scene.path(".image.tar.unfinished");
    std::fs::create_dir_all(&beside).unwrap();
    std::fs::set_permissions(&beside, PermissionsExt::from_mode(0o777)).unwrap();
    let trace = scene.path("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-qq", "-o", text(&trace), "-e", "trace=fchmod", env!("CARGO_BIN_EXE_ocisite")]);
    let address = scene.server.address.to_string();
    strace.args(["pull", "--no-xdg", "--protocol", "http", "--connect-to", &address, "example.com/app", "--to"]);
    assert!(strace.arg(scene.path("image.tar")).output().unwrap().status.success());
    let trace = std::fs::read_to_string(trace).unwrap();
    for name in [".image.tar.unfinished>, 0700", ".ocisite>, 0700", "unfinished>, 0700"] {
        assert!(trace.contains(name), "{name} in:\n{trace}");
    }
}

/// All who may read a layout can lock its directory.
#[test]
fn a_lock_on_the_directory_of_a_layout_does_not_stop_a_pull() {
    let scene = scene();
    scene.assert_pulled("layout");
    let directory = std::fs::File::open(scene.path("layout")).unwrap();
    directory.lock().unwrap();
    let output = scene.pull("layout").timeout(Duration::from_secs(30)).output().unwrap();
    assert!(output.status.success(), "{}", messages(&output));
}

/// As many bytes as the layer has, and none of them right.
fn wrong() -> Vec<u8> {
    vec![b'x'; LAYER.len()]
}

fn assert_layer_in_archive(archive: &Path) {
    let mut archive = tar::Archive::new(std::fs::File::open(archive).unwrap());
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        if let Some(digest) = name.strip_prefix("blobs/sha256/") {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            assert_eq!(encoded(&bytes), digest);
        }
        names.push(name);
    }
    assert!(names.contains(&format!("blobs/sha256/{}", encoded(LAYER))), "{names:?}");
    assert_eq!(names.len(), 5, "{names:?}");
}

#[test]
fn a_planted_blob_of_the_right_size_does_not_count() {
    // Given wrong bytes under the digest of the layer, in a layout.
    let scene = scene();
    let blob = scene.path("layout/blobs/sha256").join(encoded(LAYER));
    std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
    std::fs::write(&blob, wrong()).unwrap();
    // When it is pulled there, then the layer is fetched.
    assert_eq!(scene.assert_pulled("layout")["fetched"]["blobs"], 3);
    assert_eq!(std::fs::read(&blob).unwrap(), LAYER);
    // And what is right counts as present from then on.
    assert_eq!(scene.assert_pulled("layout")["present"]["blobs"], 3);
}

#[test]
fn a_planted_blob_does_not_get_into_an_archive() {
    // Given wrong bytes, and others that are of no image, in the directory beside an archive.
    let scene = scene();
    let blobs = scene.path(".image.tar.unfinished/blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(encoded(LAYER)), wrong()).unwrap();
    std::fs::write(blobs.join(encoded(b"of nobody")), "of nobody").unwrap();
    scene.assert_pulled("image.tar");
    assert_layer_in_archive(&scene.path("image.tar"));
}

#[test]
fn a_damaged_blob_of_an_archive_is_fetched_again_and_not_kept() {
    // Given an archive, one of whose blobs has wrong bytes.
    let scene = scene();
    let archive = scene.path("image.tar");
    scene.assert_pulled("image.tar");
    let mut bytes = std::fs::read(&archive).unwrap();
    let at = bytes.windows(LAYER.len()).position(|window| window == LAYER).unwrap();
    bytes[at..at + LAYER.len()].copy_from_slice(&wrong());
    std::fs::write(&archive, &bytes).unwrap();
    // When the image is pulled again, then it is right.
    scene.assert_pulled("image.tar");
    assert_layer_in_archive(&archive);
    // When another image is pulled into it, which does not bring that blob, then that is refused.
    std::fs::write(&archive, &bytes).unwrap();
    let other = scene.server.image("linux/amd64", b"another layer");
    scene.server.with_index("app", &[tagged(&other, "2.0")]);
    scene.assert_refused("image.tar", &["image.tar/blobs/sha256", "has the digest", "expected"]);
}

#[test]
fn blobs_are_durable_before_the_layout_says_that_it_has_them() {
    for to in ["layout", "image.tar"] {
        let scene = scene();
        let trace = scene.path("trace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-qq", "-o", text(&trace), "-e", "trace=rename,renameat,renameat2,syncfs,fsync"]);
        let address = scene.server.address.to_string();
        let args =
            ["pull", "--no-xdg", "--protocol", "http", "--connect-to", &address, "--jobs", "1", "example.com/app"];
        strace.arg(env!("CARGO_BIN_EXE_ocisite")).args(args).arg("--to").arg(scene.path(to));
        assert!(strace.output().unwrap().status.success());
        let trace = std::fs::read_to_string(trace).unwrap();
        let last = |words: &[&str]| {
            let is_meant = |line: &str| words.iter().all(|word| line.contains(word));
            trace
                .lines()
                .enumerate()
                .filter(|(_, line)| is_meant(line))
                .last()
                .unwrap_or_else(|| panic!("{words:?} in:\n{trace}"))
                .0
        };
        let (blob, synced) = (last(&["rename", "blobs/sha256"]), last(&["syncfs"]));
        let printed =
            if to == "layout" { last(&["rename", "\"index.json\""]) } else { last(&["rename", "\"image.tar\""]) };
        assert!(blob < synced && synced < printed, "{trace}");
    }
}
