//! Links and FIFOs that were planted in a site, where a command is going to write or remove something: refused by name, before
//! anything changes, inside of the site and outside.

use std::fs::{Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, RenameFlags};

use crate::support::layout::Layout;
use crate::support::program::{PROGRAM, Succeeds, fails};
use crate::support::scene::Scene;
use crate::support::site::{Snapshot, assert_whole, blob_file, entries};
use crate::support::users::{SOMEONE, give, has_users};

/// A site with an image, one that could be published to it, one from which it could be copied, and files of its owner's outside.
/// Two sites, a layout that neither has, and a directory whose files must stay.
fn scene() -> Scene {
    let scene = Scene::of_image("app");
    scene.publish().args(["--registry", "example.com/app=layout"]).succeeds();
    for name in ["layout-other", "more"] {
        Layout::of_image(scene.path(name), name);
    }
    let other = ["publish", "--site", "other", "--registry", "example.com/other=layout-other"];
    scene.ocisite().args(other).succeeds();
    std::fs::create_dir_all(scene.path("precious/sha256")).unwrap();
    for name in ["notes.txt", ".tmpAbCdEf", "lock", "reserve"] {
        std::fs::write(scene.path("precious").join(name), "precious").unwrap();
    }
    scene
}

/// Every command that changes a site.
const COMMANDS: [&[&str]; 4] = [
    &["publish", "--wait", "0", "--site", "site", "example.com/more=more"],
    &["remove", "--wait", "0", "site", "example.com/app"],
    &["gc", "--wait", "0", "site", "--grace", "0"],
    &["copy", "--wait", "0", "other", "site"],
];

impl Scene {
    /// Each command is refused with these words, and nothing changes anywhere.
    fn assert_refused(&self, commands: &[&[&str]], words: &[&str]) {
        let before = Snapshot::of(self.directory.path());
        for command in commands {
            fails(self.ocisite().args(*command), words);
            before.assert_unchanged(self.directory.path());
        }
    }
}

fn replace_by_link(path: &Path, target: &Path) {
    match path.is_dir() {
        true => std::fs::remove_dir_all(path).unwrap(),
        false => std::fs::remove_file(path).unwrap(),
    }
    symlink(target, path).unwrap();
}

#[test]
fn the_private_directory_and_that_of_temporary_files_as_links() {
    for planted in [".ocisite", ".ocisite/tmp"] {
        let scene = scene();
        replace_by_link(&scene.site.join(planted), &scene.path("precious"));
        scene.assert_refused(&COMMANDS, &[&format!("site/{planted} is a symbolic link"), "move it away"]);
    }
}

#[test]
fn the_lock_as_a_link() {
    for target in ["precious/notes.txt", "precious/absent"] {
        let scene = scene();
        replace_by_link(&scene.site.join(".ocisite/lock"), &scene.path(target));
        scene.assert_refused(&COMMANDS, &["site/.ocisite/lock is a symbolic link", "move it away"]);
    }
}

#[test]
fn the_lock_as_a_fifo() {
    let scene = scene();
    let lock = scene.site.join(".ocisite/lock");
    std::fs::remove_file(&lock).unwrap();
    rustix::fs::mknodat(CWD, &lock, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    scene.assert_refused(&COMMANDS, &["site/.ocisite/lock is a FIFO", "move it away"]);
}

#[test]
fn a_lock_that_is_another_file_s_second_name_is_refused() {
    let scene = scene();
    let lock = scene.site.join(".ocisite/lock");
    std::fs::remove_file(&lock).unwrap();
    let precious = scene.path("precious/notes.txt");
    std::fs::hard_link(&precious, &lock).unwrap();
    for mode in [0o644, 0o600] {
        std::fs::set_permissions(&precious, Permissions::from_mode(mode)).unwrap();
        scene.assert_refused(&COMMANDS, &["site/.ocisite/lock is a hard link"]);
    }
}

#[test]
fn directories_of_the_site_as_links() {
    for planted in ["oci-cas", "oci-cas/sha256", "oci-index", "v2"] {
        let scene = scene();
        replace_by_link(&scene.site.join(planted), &scene.path("precious"));
        // A removal and a gc that have nothing to do there need not look.
        scene.assert_refused(
            &[COMMANDS[0], COMMANDS[3]],
            &[&format!("site/{planted} is a symbolic link"), "move it away"],
        );
        let before = Snapshot::of(&scene.path("precious"));
        for command in &COMMANDS[1..3] {
            scene.ocisite().args(*command).output().unwrap();
            before.assert_unchanged(&scene.path("precious"));
        }
    }
}

#[test]
fn a_site_may_itself_be_named_by_a_link() {
    let scene = scene();
    let link = scene.path("link");
    symlink(&scene.site, &link).unwrap();
    scene.ocisite().args(["publish", "--site", "link", "example.com/more=more"]).succeeds();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_whole(&scene.site);
}

#[test]
fn leftovers_are_removed_only_if_their_names_are_ours() {
    let scene = scene();
    let tmp = scene.site.join(".ocisite/tmp");
    for name in [".tmpAbCdEf", ".tmpAbC", "notes.txt", ".tmpAbCdEf.bak"] {
        std::fs::write(tmp.join(name), "").unwrap();
    }
    std::fs::create_dir(tmp.join(".tmp123456")).unwrap();
    symlink(scene.path("precious"), tmp.join(".tmp654321")).unwrap();
    scene.ocisite().args(["gc", "site"]).succeeds();
    let mut left: Vec<_> = tmp.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".tmp123456", ".tmp654321", ".tmpAbC", ".tmpAbCdEf.bak", "notes.txt"]);
}

/// Publishes by hard links. Gives what the file of a published blob is, and that of the layout.
fn linked(scene: &Scene) -> [Metadata; 2] {
    scene.publish().args(["--link", "hard", "example.com/app=layout"]).succeeds();
    let entry = entries(&scene.site, "app")[0].clone();
    let published = blob_file(&scene.site, entry["digest"].as_str().unwrap());
    [published, scene.layout.blob_file(&entry)].map(|file| file.metadata().unwrap())
}

#[test]
fn a_source_that_others_may_write_or_with_special_bits_is_copied_instead_of_linked() {
    let fit = [0o644, 0o444].map(|mode| (mode, true));
    let unfit = [0o646, 0o664, 0o4644, 0o2644, 0o600].map(|mode| (mode, false));
    for (mode, is_linked) in fit.into_iter().chain(unfit) {
        let scene = Scene::of_image("x");
        for blob in scene.layout.path.join("blobs/sha256").read_dir().unwrap() {
            std::fs::set_permissions(blob.unwrap().path(), PermissionsExt::from_mode(mode)).unwrap();
        }
        let [published, source] = linked(&scene);
        assert_eq!(published.ino() == source.ino(), is_linked, "{mode:o}");
        if !is_linked {
            assert_eq!(published.mode() & 0o7777, 0o644, "{mode:o}");
        }
    }
}

#[test]
fn a_source_of_another_user_is_copied_instead_of_linked() {
    if !has_users() {
        return;
    }
    let scene = Scene::of_image("x");
    give(&scene.layout.path, SOMEONE);
    let [published, source] = linked(&scene);
    assert_ne!(published.ino(), source.ino());
}

/// Somebody exchanges a blob of the layout for a link to the same bytes, again and again, while it is published by links.
#[test]
fn a_source_that_is_retargeted_never_puts_a_link_into_the_site() {
    let scene = Scene::of_image("x");
    let blobs: Vec<PathBuf> =
        scene.layout.path.join("blobs/sha256").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    for blob in &blobs {
        let kept = scene.path(blob.file_name().unwrap());
        std::fs::copy(blob, &kept).unwrap();
        symlink(&kept, blob.with_extension("link")).unwrap();
    }
    let is_done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                for blob in &blobs {
                    let flags = RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(CWD, blob, CWD, blob.with_extension("link"), flags).unwrap();
                }
            }
        });
        let links = (0..30).map(|round| {
            let site = format!("site-{round}");
            let args = ["publish", "--site", &site, "--link", "hard", "--jobs", "1", "example.com/app=layout"];
            scene.ocisite().args(args).succeeds();
            let files = walkdir::WalkDir::new(scene.path(site)).into_iter().map(Result::unwrap);
            files.filter(|entry| entry.file_type().is_symlink()).count()
        });
        let links: usize = links.sum();
        is_done.store(true, Ordering::Relaxed);
        assert_eq!(links, 0, "links in the sites");
    });
}

/// `openat2` fails as in an old kernel, so that names are walked one component at a time.
fn without_openat2(scene: &Scene, error: &str, args: &[&str]) -> std::process::Output {
    let inject = format!("inject=openat2:error={error}");
    let strace = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=openat2", "-e", &inject, PROGRAM];
    let mut command = Command::new("strace");
    command.current_dir(&scene.directory).args(strace).args(args);
    command.output().expect("this test needs strace: scripts/test installs it")
}

#[test]
fn where_the_kernel_lacks_openat2_the_same_is_written_and_refused() {
    for error in ["ENOSYS", "EPERM"] {
        // Given the same site twice, when every command runs with and without the call.
        let (with, without) = (scene(), scene());
        for command in COMMANDS {
            with.ocisite().args(command).succeeds();
            let output = without_openat2(&without, error, command);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        // Then the sites are the same.
        Snapshot::public(&with.site).assert_same(&Snapshot::public(&without.site));
        // And planted links are refused.
        for planted in [".ocisite/tmp", "oci-cas"] {
            let scene = scene();
            replace_by_link(&scene.site.join(planted), &scene.path("precious"));
            let before = Snapshot::of(scene.directory.path());
            let output = without_openat2(&scene, error, COMMANDS[0]);
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{message}");
            assert!(message.contains(&format!("site/{planted} is a symbolic link")), "{message}");
            before.assert_unchanged(scene.directory.path());
        }
    }
}
