//! Links and FIFOs that were planted in a site, where a command is going to write or remove something: refused by name, before
//! anything changes, inside of the site and outside.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, RenameFlags};
use tempfile::TempDir;

use crate::support::layout::Layout;
use crate::support::program::{PROGRAM, fails, ocisite, publish, text};
use crate::support::site::{Snapshot, assert_whole, blob_file, entries};
use crate::support::users::{SOMEONE, give, has_users};

/// A site with an image, one that could be published to it, one from which it could be copied, and files of its owner's outside.
struct Scene {
    directory: TempDir,
    site: PathBuf,
    more: String,
}

fn scene() -> Scene {
    let directory = TempDir::new().unwrap();
    let (site, other) = (directory.path().join("site"), directory.path().join("other"));
    let input = |name: &str| {
        let layout = Layout::of_image(directory.path().join(format!("layout-{name}")), name);
        format!("example.com/{name}={}", layout.arg())
    };
    publish(&site, &["--registry", &input("app")]);
    publish(&other, &["--registry", &input("other")]);
    let precious = directory.path().join("precious");
    std::fs::create_dir_all(precious.join("sha256")).unwrap();
    for name in ["notes.txt", ".tmpAbCdEf", "lock", "reserve"] {
        std::fs::write(precious.join(name), "precious").unwrap();
    }
    Scene { more: input("more"), site, directory }
}

impl Scene {
    /// Every command that changes a site.
    fn commands(&self) -> Vec<Vec<String>> {
        let (site, other) = (text(&self.site), self.directory.path().join("other"));
        let commands: [&[&str]; 4] = [
            &["publish", "--wait", "0", "--site", site, &self.more],
            &["remove", "--wait", "0", site, "example.com/app"],
            &["gc", "--wait", "0", site, "--grace", "0"],
            &["copy", "--wait", "0", text(&other), site],
        ];
        commands.map(|command| command.iter().map(ToString::to_string).collect()).to_vec()
    }

    fn precious(&self) -> PathBuf {
        self.directory.path().join("precious")
    }

    /// Each command is refused with these words, and nothing changes anywhere.
    fn assert_refused(&self, commands: &[Vec<String>], words: &[&str]) {
        let before = Snapshot::of(self.directory.path());
        for command in commands {
            fails(ocisite().args(command), words);
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
        replace_by_link(&scene.site.join(planted), &scene.precious());
        scene.assert_refused(&scene.commands(), &[&format!("site/{planted} is a symbolic link"), "move it away"]);
    }
}

#[test]
fn the_lock_as_a_link() {
    for target in ["precious/notes.txt", "precious/absent"] {
        let scene = scene();
        replace_by_link(&scene.site.join(".ocisite/lock"), &scene.directory.path().join(target));
        scene.assert_refused(&scene.commands(), &["site/.ocisite/lock is a symbolic link", "move it away"]);
    }
}

#[test]
fn the_lock_as_a_fifo() {
    let scene = scene();
    let lock = scene.site.join(".ocisite/lock");
    std::fs::remove_file(&lock).unwrap();
    rustix::fs::mknodat(CWD, &lock, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    scene.assert_refused(&scene.commands(), &["site/.ocisite/lock is a FIFO", "move it away"]);
}

#[test]
fn a_lock_that_is_another_file_s_second_name_is_not_narrowed() {
    let scene = scene();
    let lock = scene.site.join(".ocisite/lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::hard_link(scene.precious().join("notes.txt"), &lock).unwrap();
    scene.assert_refused(&scene.commands(), &["site/.ocisite/lock is a hard link"]);
}

#[test]
fn directories_of_the_site_as_links() {
    for planted in ["oci-cas", "oci-cas/sha256", "oci-index", "v2"] {
        let scene = scene();
        replace_by_link(&scene.site.join(planted), &scene.precious());
        // A removal and a gc that have nothing to do there need not look.
        let commands = scene.commands();
        let commands = [commands[0].clone(), commands[3].clone()];
        scene.assert_refused(&commands, &[&format!("site/{planted} is a symbolic link"), "move it away"]);
        let before = Snapshot::of(&scene.precious());
        for command in &scene.commands()[1..3] {
            ocisite().args(command).output().unwrap();
            before.assert_unchanged(&scene.precious());
        }
    }
}

#[test]
fn a_site_may_itself_be_named_by_a_link() {
    let scene = scene();
    let link = scene.directory.path().join("link");
    symlink(&scene.site, &link).unwrap();
    publish(&link, &[&scene.more]);
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
    symlink(scene.precious(), tmp.join(".tmp654321")).unwrap();
    ocisite().args(["gc", text(&scene.site)]).assert().success();
    let mut left: Vec<_> = tmp.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".tmp123456", ".tmp654321", ".tmpAbC", ".tmpAbCdEf.bak", "notes.txt"]);
}

/// The file of a published blob, and that of the layout that it was published from.
fn published(site: &Path, layout: &Layout) -> (PathBuf, PathBuf) {
    let entry = entries(site, "app")[0].clone();
    (blob_file(site, entry["digest"].as_str().unwrap()), layout.blob_file(&entry))
}

#[test]
fn a_source_that_others_may_write_or_with_special_bits_is_copied_instead_of_linked() {
    let fit = [0o644, 0o444].map(|mode| (mode, true));
    let unfit = [0o646, 0o664, 0o4644, 0o2644, 0o600].map(|mode| (mode, false));
    for (mode, is_linked) in fit.into_iter().chain(unfit) {
        let directory = TempDir::new().unwrap();
        let (site, layout) = (directory.path().join("site"), Layout::of_image(directory.path().join("layout"), "x"));
        for blob in layout.path.join("blobs/sha256").read_dir().unwrap() {
            std::fs::set_permissions(blob.unwrap().path(), PermissionsExt::from_mode(mode)).unwrap();
        }
        publish(&site, &["--link", "hard", &format!("example.com/app={}", layout.arg())]);
        let (published, source) = published(&site, &layout);
        let [published, source] = [published, source].map(|file| file.metadata().unwrap());
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
    let directory = TempDir::new().unwrap();
    let (site, layout) = (directory.path().join("site"), Layout::of_image(directory.path().join("layout"), "x"));
    give(&layout.path, SOMEONE);
    publish(&site, &["--link", "hard", &format!("example.com/app={}", layout.arg())]);
    let (published, source) = published(&site, &layout);
    assert_ne!(published.metadata().unwrap().ino(), source.metadata().unwrap().ino());
}

/// Somebody exchanges a blob of the layout for a link to the same bytes, again and again, while it is published by links.
#[test]
fn a_source_that_is_retargeted_never_puts_a_link_into_the_site() {
    let directory = TempDir::new().unwrap();
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    let input = format!("example.com/app={}", layout.arg());
    let blobs: Vec<PathBuf> =
        layout.path.join("blobs/sha256").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    for blob in &blobs {
        let kept = directory.path().join(blob.file_name().unwrap());
        std::fs::copy(blob, &kept).unwrap();
        symlink(&kept, blob.with_extension("link")).unwrap();
    }
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                for blob in &blobs {
                    let flags = RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(CWD, blob, CWD, blob.with_extension("link"), flags).unwrap();
                }
            }
        });
        let links = (0..30).map(|round| {
            let site = directory.path().join(format!("site-{round}"));
            publish(&site, &["--link", "hard", "--jobs", "1", &input]);
            let files = walkdir::WalkDir::new(&site).into_iter().map(Result::unwrap);
            files.filter(|entry| entry.file_type().is_symlink()).count()
        });
        let links: usize = links.sum();
        is_done.store(true, Ordering::Relaxed);
        assert_eq!(links, 0, "links in the sites");
    });
}

/// `openat2` fails as in an old kernel, so that names are walked one component at a time.
fn without_openat2(error: &str, args: &[String]) -> std::process::Output {
    let inject = format!("inject=openat2:error={error}");
    let strace = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=openat2", "-e", &inject, PROGRAM];
    Command::new("strace").args(strace).args(args).output().expect("this test needs strace: scripts/test installs it")
}

#[test]
fn where_the_kernel_lacks_openat2_the_same_is_written_and_refused() {
    for error in ["ENOSYS", "EPERM"] {
        // Given the same site twice, when every command runs with and without the call.
        let (with, without) = (scene(), scene());
        for (one, other) in with.commands().iter().zip(without.commands()) {
            ocisite().args(one).assert().success();
            let output = without_openat2(error, &other);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        // Then the sites are the same.
        Snapshot::public(&with.site).assert_same(&Snapshot::public(&without.site));
        // And planted links are refused.
        for planted in [".ocisite/tmp", "oci-cas"] {
            let scene = scene();
            replace_by_link(&scene.site.join(planted), &scene.precious());
            let before = Snapshot::of(scene.directory.path());
            let output = without_openat2(error, &scene.commands()[0]);
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{message}");
            assert!(message.contains(&format!("site/{planted} is a symbolic link")), "{message}");
            before.assert_unchanged(scene.directory.path());
        }
    }
}
