//! The private state of a site (`.ocisite`): its owner's alone, whatever the umask, and no other user's is used.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::layout::Layout;
use crate::support::program::{PROGRAM, fails, ocisite, publish, text};
use crate::support::scene::Scene;
use crate::support::site::{Snapshot, assert_whole};
use crate::support::users::{NOBODY, SOMEONE, as_user, give, has_users};

/// A scene that other users may enter, with two layouts.
fn scene() -> Scene {
    let scene = Scene::public();
    for name in ["app", "more"] {
        Layout::of_image(scene.path(name), name);
    }
    scene
}

fn input(scene: &Scene, name: &str) -> String {
    format!("example.com/{name}={}", text(&scene.path(name)))
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

fn assert_private(site: &Path) {
    let found = ["", "/tmp", "/lock"].map(|name| (name, mode(&site.join(format!(".ocisite{name}")))));
    assert_eq!(found.map(|(name, mode)| format!("{name} {mode:o}")), [" 700", "/tmp 700", "/lock 600"]);
}

#[test]
fn modes_are_the_same_under_every_umask() {
    let mut sites = Vec::new();
    for umask in ["000", "022", "077"] {
        let scene = scene();
        let script = format!("umask {umask}; exec \"$@\"");
        let input = input(&scene, "app");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", PROGRAM, "publish", "--quiet", "--site"]).arg(&scene.site).arg(input);
        assert!(command.status().unwrap().success());
        assert_private(&scene.site);
        sites.push(Snapshot::of(&scene.site));
    }
    sites[0].assert_same(&sites[1]);
    sites[0].assert_same(&sites[2]);
}

#[test]
fn wider_state_is_narrowed_by_the_next_command_that_writes() {
    let scene = scene();
    let other = scene.path("other");
    publish(&other, &[&input(&scene, "app")]);
    let site = text(&scene.site);
    let more = input(&scene, "more");
    publish(&scene.site, &[&input(&scene, "app")]);
    let commands: [&[&str]; 4] = [
        &["publish", "--site", site, &more],
        &["copy", text(&other), site],
        &["remove", site, "example.com/more"],
        &["gc", site],
    ];
    for command in commands {
        // Given a site of an earlier version.
        for (name, mode) in [("", 0o755), ("/tmp", 0o755), ("/lock", 0o644)] {
            let path = scene.site.join(format!(".ocisite{name}"));
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        }
        // When a command reads it, then its state stays as it is.
        ocisite().args(["verify", site]).assert().success();
        assert_eq!(mode(&scene.site.join(".ocisite")), 0o755);
        // When one writes, then it is narrowed.
        ocisite().args(command).assert().success();
        assert_private(&scene.site);
    }
}

#[test]
fn another_user_cannot_hold_the_lock() {
    if !has_users() {
        return;
    }
    let scene = scene();
    publish(&scene.site, &[&input(&scene, "app")]);
    let script = "exec 9<site/.ocisite/lock && flock --nonblock 9";
    let mut command = Command::new("setpriv");
    let user = NOBODY.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "sh", "-c", script]);
    let output = command.current_dir(&scene.directory).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("ermission denied"), "{output:?}");
}

#[test]
fn the_state_of_another_user_is_refused_by_name() {
    if !has_users() {
        return;
    }
    // Given a site whose state, or a part of it, belongs to somebody else.
    for foreign in [".ocisite", ".ocisite/tmp", ".ocisite/lock"] {
        let scene = scene();
        publish(&scene.site, &[&input(&scene, "app")]);
        give(&scene.site, NOBODY);
        chown(scene.site.join(foreign), Some(SOMEONE), Some(SOMEONE)).unwrap();
        let before = Snapshot::of(&scene.site);
        let more = input(&scene, "more");
        let commands: [&[&str]; 3] =
            [&["publish", "--site", "site", &more], &["gc", "site"], &["remove", "site", "example.com/app"]];
        for command in commands {
            // When the site's owner uses it, or root, then it is refused.
            let path = format!("site/{foreign} belongs to user {SOMEONE}");
            for (mut program, user) in [(as_user(&scene.directory, NOBODY), NOBODY), (ocisite(), 0)] {
                program.current_dir(&scene.directory).args(command);
                fails(&mut program, &[&path, &format!("expected user {user}")]);
                before.assert_unchanged(&scene.site);
            }
        }
    }
}

/// What may stand in place of a file of private state.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Planted {
    Link,
    Fifo,
    Foreign,
    SecondName,
}

impl Planted {
    fn put(self, at: &Path, victim: &Path) {
        let _ = std::fs::remove_file(at);
        match self {
            Planted::Link => symlink(victim, at).unwrap(),
            Planted::Fifo => assert!(Command::new("mkfifo").arg(at).status().unwrap().success()),
            Planted::Foreign => {
                std::fs::write(at, "foreign").unwrap();
                chown(at, Some(SOMEONE), Some(SOMEONE)).unwrap();
            }
            Planted::SecondName => std::fs::hard_link(victim, at).unwrap(),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Planted::Link => "is a symbolic link",
            Planted::Fifo => "is a FIFO",
            Planted::Foreign => "belongs to user",
            Planted::SecondName => "is a hard link",
        }
    }
}

#[test]
fn what_stands_in_place_of_a_file_of_the_state_is_refused_by_name() {
    let all = [Planted::Link, Planted::Fifo, Planted::Foreign, Planted::SecondName];
    // A note gets a second name while it is replaced, so one with several names is none of others.
    for (name, kinds) in [("lock", &all[..]), ("reserve", &all), ("unfinished.json", &all[..3])] {
        for kind in kinds.iter().filter(|kind| **kind != Planted::Foreign || has_users()) {
            let scene = scene();
            publish(&scene.site, &[&input(&scene, "app")]);
            let victim = scene.path("victim");
            std::fs::write(&victim, "precious").unwrap();
            kind.put(&scene.site.join(".ocisite").join(name), &victim);
            let before = Snapshot::of(&scene.site);
            let site = text(&scene.site);
            let more = input(&scene, "more");
            let commands: [&[&str]; 2] = [&["publish", "--site", site, &more], &["remove", site, "example.com/app"]];
            for command in commands {
                let named = format!("{site}/.ocisite/{name} {}", kind.words());
                fails(ocisite().args(command), &[&named]);
                before.assert_unchanged(&scene.site);
                assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
            }
        }
    }
}

#[test]
fn a_temporary_file_of_another_user_stays() {
    if !has_users() {
        return;
    }
    let scene = scene();
    publish(&scene.site, &[&input(&scene, "app")]);
    let [own, foreign] = [".tmpAAAAAA", ".tmpBBBBBB"].map(|name| scene.site.join(".ocisite/tmp").join(name));
    std::fs::write(&own, "").unwrap();
    Planted::Foreign.put(&foreign, Path::new(""));
    publish(&scene.site, &[&input(&scene, "more")]);
    assert_eq!(std::fs::read_to_string(foreign).unwrap(), "foreign");
    assert!(!own.exists());
}

/// Root may have been killed, as in a container over a bind mount.
#[test]
fn the_owner_goes_on_with_what_root_left() {
    if !has_users() {
        return;
    }
    let scene = scene();
    let publish = |name: &str| {
        let input = input(&scene, name);
        as_user(&scene.directory, NOBODY).args(["publish", "--site", "site", &input]).assert().success();
    };
    publish("app");
    for left in ["unfinished.json", "tmp/.tmpAAAAAA"] {
        std::fs::write(scene.site.join(".ocisite").join(left), "{}").unwrap();
    }
    publish("more");
    assert!(!scene.site.join(".ocisite/unfinished.json").exists());
    assert!(!scene.site.join(".ocisite/tmp/.tmpAAAAAA").exists());
}

#[test]
fn root_uses_the_state_of_the_site_s_owner_who_can_go_on() {
    if !has_users() {
        return;
    }
    for has_state in [true, false] {
        let scene = scene();
        let publish = |program: &mut assert_cmd::Command, name: &str| {
            let input = input(&scene, name);
            program.current_dir(&scene.directory).args(["publish", "--site", "site", &input]).assert().success();
        };
        publish(&mut as_user(&scene.directory, NOBODY), "app");
        if !has_state {
            std::fs::remove_dir_all(scene.site.join(".ocisite")).unwrap();
        }
        // When root publishes to it, as in a container over a bind mount.
        publish(&mut ocisite(), "more");
        assert_private(&scene.site);
        // Then the owner can use the site afterwards.
        publish(&mut as_user(&scene.directory, NOBODY), "app");
        as_user(&scene.directory, NOBODY).args(["gc", "site", "--grace", "0"]).assert().success();
        assert_whole(&scene.site);
    }
}

#[test]
fn commands_that_read_do_not_need_the_state() {
    if !has_users() {
        return;
    }
    let scene = scene();
    publish(&scene.site, &["--registry", "--catalogue", &input(&scene, "app")]);
    assert_private(&scene.site);
    let args: [&[&str]; 4] = [
        &["verify", "site", "--deep", "--strict"],
        &["list", "site"],
        &["publish", "--dry-run", "--site", "site", &input(&scene, "more")],
        &["server-config", "headers", "--site", "site", "--format", "json"],
    ];
    for args in args {
        let run = |mut program: assert_cmd::Command| {
            let output = program.current_dir(&scene.directory).args(args).output().unwrap();
            (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
        };
        let own = run(ocisite());
        assert_eq!(own.0, Some(0), "{args:?}: {own:?}");
        // A user who may not look at it finds the same as its owner.
        assert_eq!(run(as_user(&scene.directory, NOBODY)), own, "{args:?}");
    }
    // And what it says of the catalogue is compared.
    std::fs::write(scene.site.join("catalogue.json"), "{}").unwrap();
    let output = as_user(&scene.directory, NOBODY).args(["verify", "site"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("catalogue-differs"), "{output:?}");
}
