//! Places that a site cannot be written to: what is not ours, what must not be touched, disks that are full.
//!
//! Permissions do not bind root, under which tests often run, so what has to be unreadable is tried as an ordinary user.
//! Full and read-only file systems are small tmpfs mounts in a mount namespace of their own: nothing of them outlives the
//! test, and no privilege is needed where the kernel allows user namespaces. A machine that allows neither fails these tests.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::support::layout::Layout;
use crate::support::namespace::in_mount_namespace;
use crate::support::program::{Succeeds, fails, publish, refused, text};
use crate::support::scene::Scene;
use crate::support::site::{Snapshot, assert_whole, json as json_at};
use crate::support::users::{NOBODY, as_user, public_directory};

#[test]
fn a_site_that_is_a_file_or_below_one() {
    let scene = Scene::of_image("x");
    let site = &scene.site;
    std::fs::write(site, "precious").unwrap();
    scene.refused(&["example.com/app=layout"], &[text(site), "is not a directory"]);
    refused(&site.join("below"), &[&scene.layout.input("app")], &[text(site), "ot a directory"]);
    assert_eq!(std::fs::read(site).unwrap(), b"precious");
}

#[test]
fn a_site_that_is_a_dangling_link() {
    let scene = Scene::of_image("x");
    let site = &scene.site;
    symlink(scene.path("absent"), site).unwrap();
    scene.refused(&["example.com/app=layout"], &[text(site)]);
    assert!(!scene.path("absent").exists());
}

#[test]
fn a_directory_that_holds_something_else() {
    let scene = Scene::of_image("x");
    let site = &scene.site;
    std::fs::create_dir(site).unwrap();
    std::fs::write(site.join("thesis.tex"), "precious").unwrap();
    scene.refused(&["example.com/app=layout"], &[text(site), "thesis.tex", "--adopt"]);

    scene.publish().args(["--adopt", "example.com/app=layout"]).succeeds();
    assert_eq!(std::fs::read(site.join("thesis.tex")).unwrap(), b"precious");
    scene.publish().arg("example.com/app=layout").succeeds();
}

#[test]
fn a_directory_of_other_files_is_no_destination_of_a_copy() {
    let scene = Scene::of_image("x");
    scene.publish().arg("example.com/app=layout").succeeds();
    std::fs::create_dir(scene.path("other")).unwrap();
    std::fs::write(scene.path("other/thesis.tex"), "precious").unwrap();
    // A copy has no --adopt.
    let message = fails(scene.ocisite().args(["copy", "site", "other"]), &["thesis.tex", "choose another directory"]);
    assert!(!message.contains("--adopt"), "{message}");
}

#[test]
fn a_directory_of_sites_is_no_site_and_its_sites_are_named() {
    // Given a site for each of two hosts.
    let scene = Scene::of_image("x");
    let inputs = ["example.com/app=layout", "example.net/app=layout"];
    scene.publish().arg("--root-per-host").args(inputs).succeeds();
    // When the directory above them is given, then they are named.
    let sites = format!("contains sites ({0}/example.com, {0}/example.net)", text(&scene.site));
    scene.refused(&["example.com/app=layout"], &[&sites, "--root-per-host"]);
    let site = text(&scene.site);
    for command in [
        &["list", site][..],
        &["server-config", "headers", "--format", "json", "--site", site],
        &["client-config", "xdg", "--site", site],
    ] {
        fails(scene.ocisite().args(command), &[&sites, "give one of them"]);
    }
}

#[test]
fn a_command_that_needs_a_directory_says_how_to_copy_a_bucket() {
    for command in [
        &["serve", "s3://images"][..],
        &["server-config", "nginx", "--site", "s3://images"],
        &["server-config", "headers", "--format", "json", "--site", "s3://images"],
    ] {
        let words = ["s3://images is a bucket", "expected a directory", "ocisite copy s3://images DIR"];
        fails(Scene::new().ocisite().args(command), &words);
    }
}

#[test]
fn a_site_that_lost_its_description_names_the_images_that_it_no_longer_lists() {
    let scene = Scene::of_image("x");
    let others: Vec<String> = (10..22).map(|number| format!("example.com/other/{number}=layout")).collect();
    scene.publish().arg("example.com/app=layout").args(&others).succeeds();
    std::fs::remove_file(scene.site.join("ocisite.json")).unwrap();
    let warned = scene.publish().arg("example.com/app=layout").warns();
    for words in [
        "site has no ocisite.json",
        "example.com/other/10, ",
        "example.com/other/19 and others",
        "publish these images again",
    ] {
        assert!(warned.contains(words), "expected {words:?} in: {warned}");
    }
    assert!(!warned.contains("example.com/app"), "{warned}");
    // When they are published again, then all is well.
    assert_eq!(scene.publish().args(&others).warns(), "");
    assert_whole(&scene.site);
}

#[test]
fn templates_that_the_site_does_not_have() {
    let scene = Scene::of_image("x");
    scene.publish().arg("example.com/app=layout").succeeds();
    for (args, words) in [
        (["--index-template", "/i/{+path}"], "this publish asks for /i/{+path}: omit --index-template"),
        (["--cas-template", "/c/{digest}"], "this publish asks for /c/{digest}: omit --cas-template"),
        (["--preset", "layout"], ": omit --preset"),
        (["--base-path", "/images"], ": omit --base-path"),
    ] {
        scene.refused(&[args[0], args[1], "example.com/app=layout"], &["site has the ", words]);
    }
    // A copy has no such option.
    scene.ocisite().args(["publish", "--site", "other", "--preset", "layout", "example.com/app=layout"]).succeeds();
    let words = ["site and other have different index templates", "copy to a new directory or bucket"];
    let message = fails(scene.ocisite().args(["copy", "site", "other"]), &words);
    assert!(!message.contains("omit"), "{message}");
}

#[test]
fn an_empty_directory_stays_empty_when_the_publish_is_refused() {
    let scene = Scene::of_image("x");
    let site = &scene.site;
    let layout = Layout::of_image(scene.path("broken"), "x");
    let layer = layout.blob("application/x", "x");
    std::fs::write(layout.blob_file(&layer), "y").unwrap();
    std::fs::create_dir_all(site.join("kept")).unwrap();
    std::fs::set_permissions(site, PermissionsExt::from_mode(0o700)).unwrap();
    scene.refused(&["--adopt", "example.com/app=broken"], &["has the digest"]);
    std::fs::remove_dir(site.join("kept")).unwrap();
    scene.refused(&["example.com/app=broken"], &["has the digest"]);
}

#[test]
fn a_ref_engines_object_of_somebody_else() {
    let scene = Scene::of_image("x");
    let site = &scene.site;
    std::fs::create_dir_all(site.join(".well-known")).unwrap();
    std::fs::write(site.join(".well-known/oci-host-ref-engines"), "{\"refEngines\":[]}").unwrap();
    scene.refused(
        &["--adopt", "example.com/app=layout"],
        &[".well-known/oci-host-ref-engines", "ocisite did not write it"],
    );
}

#[test]
fn a_description_that_is_damaged_or_newer() {
    let scene = Scene::of_image("x");
    let site = &scene.site;
    scene.publish().arg("example.com/app=layout").succeeds();
    for (bytes, word) in [
        ("", "invalid JSON"),
        ("[]", "not a site description"),
        ("{\"ocisite\":1}", "not a site description"),
        ("{\"ocisite\":2,\"new\":true}", "newer ocisite"),
    ] {
        std::fs::write(site.join("ocisite.json"), bytes).unwrap();
        scene.refused(&["example.com/app=layout"], &["site/ocisite.json", word, "restore the file from a copy"]);
    }
}

#[test]
fn names_that_somebody_put_into_another_order_are_still_those_of_the_site() {
    // Given a site whose description was edited.
    let scene = Scene::of_image("x");
    let site = &scene.site;
    Layout::of_image(scene.path("other"), "y");
    scene.publish().args(["example.com/app=layout", "example.com/other=other"]).succeeds();
    let file = site.join("ocisite.json");
    let before = std::fs::read_to_string(&file).unwrap();
    let (one, two) = (r#""example.com/app""#, r#""example.com/other""#);
    let edited = before.replace(&format!("{one},{two}"), &format!("{two},{one},{two}"));
    assert_ne!(edited, before);
    std::fs::write(&file, edited).unwrap();
    // When both are published again, and a third.
    Layout::of_image(scene.path("third"), "z");
    scene.publish().args(["example.com/app=layout", "example.com/other=other", "example.com/third=third"]).succeeds();
    // Then it names each once.
    let names = json!(["example.com/app", "example.com/other", "example.com/third"]);
    assert_eq!(json_at(site, "ocisite.json")["images"], names);
    assert_whole(site);
}

#[test]
fn an_index_that_is_damaged() {
    let scene = Scene::of_image("x");
    let site = &scene.site;
    scene.publish().arg("example.com/app=layout").succeeds();
    for (bytes, word) in [("", "invalid JSON"), ("[]", "an array"), ("{\"manifests\":[{}]}", "entry 0")] {
        std::fs::write(site.join("oci-index/app"), bytes).unwrap();
        scene.refused(&["example.com/app=layout"], &["oci-index/app", "example.com/app", word]);
    }
}

#[test]
fn something_in_the_way_of_an_index_or_a_blob() {
    let scene = Scene::of_image("x");
    let site = &scene.site;
    scene.publish().arg("example.com/app=layout").succeeds();
    std::fs::remove_file(site.join("oci-index/app")).unwrap();
    std::fs::create_dir(site.join("oci-index/app")).unwrap();
    std::fs::write(site.join("oci-index/app/file"), "precious").unwrap();
    scene.refused(&["example.com/app=layout"], &["oci-index/app is a directory", "move it away"]);
    std::fs::remove_dir_all(site.join("oci-index/app")).unwrap();
    // Nothing is lost with directories that hold no file.
    std::fs::create_dir_all(site.join("oci-index/app/sub/deeper")).unwrap();
    scene.publish().arg("example.com/app=layout").succeeds();
    assert!(site.join("oci-index/app").is_file());
    std::fs::remove_file(site.join("oci-index/app")).unwrap();

    // Writing through a link would change a file outside the site.
    std::fs::write(scene.path("outside"), "precious").unwrap();
    symlink(scene.path("outside"), site.join("oci-index/app")).unwrap();
    scene.refused(&["example.com/app=layout"], &["oci-index/app is a symbolic link"]);
    std::fs::remove_file(site.join("oci-index/app")).unwrap();

    std::fs::remove_dir_all(site.join("oci-cas/sha256")).unwrap();
    std::fs::write(site.join("oci-cas/sha256"), "a file").unwrap();
    scene.refused(&["example.com/app=layout"], &["oci-cas/sha256", "move it away"]);
}

#[test]
fn a_site_with_other_templates() {
    let scene = Scene::of_image("x");
    scene.publish().arg("example.com/app=layout").succeeds();
    let words = ["https://{host}/oci-index/{+path}", "oci-image/{+path}/index.json"];
    scene.refused(&["--preset", "layout", "example.com/app=layout"], &words);
    let words = ["/oci-cas/{algorithm}", "/c/{digest}"];
    scene.refused(&["--cas-template", "/c/{digest}", "example.com/app=layout"], &words);
    scene.publish().args(["--preset", "cas", "example.com/app=layout"]).succeeds();
}

#[test]
fn a_layout_with_an_unreadable_file() {
    let directory = public_directory();
    let site = directory.path().join("site");
    let mut layout = Layout::new(directory.path().join("layout"));
    let image = layout.image("x");
    layout.add("1.0", image.clone());
    let layer = layout.blob("application/x", "secret");
    let index = layout.index_of(std::slice::from_ref(&layer));
    layout.add("2.0", index);
    let publish = || {
        let mut command = as_user(&directory, NOBODY);
        command.args(["publish", "--site", "site", "example.com/app=layout"]);
        command
    };
    for (file, name) in [
        (layout.path.join("oci-layout"), "layout/oci-layout".to_string()),
        (layout.path.join("index.json"), "layout/index.json".to_string()),
        (layout.blob_file(&image), layout.blob_name(&image)),
        (layout.blob_file(&layer), layout.blob_name(&layer)),
        (layout.path.join("blobs"), "layout/blobs".to_string()),
    ] {
        let mode = file.metadata().unwrap().permissions();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o000)).unwrap();
        fails(&mut publish(), &[&name, "Permission denied"]);
        assert!(!site.exists());
        std::fs::set_permissions(&file, mode).unwrap();
    }
    publish().assert().success();
}

#[test]
fn a_site_that_may_not_be_written() {
    let directory = public_directory();
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    Layout::of_image(directory.path().join("other"), "y");
    let site = directory.path().join("site");
    publish(&site, &[&layout.input("app")]);
    let before = Snapshot::of(&site);
    let mut command = as_user(&directory, NOBODY);
    command.args(["publish", "--site", "site", "example.com/app=other"]);
    let make_unwritable = |path: &Path| {
        for entry in walkdir::WalkDir::new(path).contents_first(true) {
            let entry = entry.unwrap();
            let mode = if entry.file_type().is_dir() { 0o555 } else { 0o444 };
            std::fs::set_permissions(entry.path(), PermissionsExt::from_mode(mode)).unwrap();
        }
    };
    make_unwritable(&site);
    let unwritable = Snapshot::of(&site);
    fails(&mut command, &["site/.ocisite", "expected user 65534"]);
    unwritable.assert_unchanged(&site);
    assert_eq!(before.0.len(), unwritable.0.len());

    // A new site below a directory that may not be written.
    std::fs::create_dir(directory.path().join("closed")).unwrap();
    std::fs::set_permissions(directory.path().join("closed"), PermissionsExt::from_mode(0o555)).unwrap();
    let mut command = as_user(&directory, NOBODY);
    command.args(["publish", "--site", "closed/site", "example.com/app=layout"]);
    fails(&mut command, &["closed/site", "not permitted"]);
}

/// The site before and after, copied out of a namespace, and what the program said in between.
struct Staged {
    before: Snapshot,
    after: Snapshot,
    code: String,
    message: String,
}

/// Mounts a tmpfs with these options, publishes `first` there, prepares the file system, and publishes `second`.
fn stage(mount_options: &str, prepare: &str, first: &str, second: &str) -> Staged {
    let outside = TempDir::new().unwrap();
    let script = format!(
        "mount -t tmpfs -o {mount_options} tmpfs $2
         $1 publish --quiet --site $2/site {first}
         {prepare}
         cp -a $2/site $3/before
         code=0; $1 publish --site $2/site {second} >$3/stdout 2>$3/stderr || code=$?
         printf %s $code >$3/code
         cp -a $2/site $3/after"
    );
    in_mount_namespace(&script, outside.path());
    let read = |name: &str| std::fs::read_to_string(outside.path().join(name)).unwrap();
    let [before, after] = ["before", "after"].map(|name| outside.path().join(name));
    assert_whole(&after);
    Staged { before: Snapshot::of(&before), after: Snapshot::of(&after), code: read("code"), message: read("stderr") }
}

#[test]
fn a_disk_that_is_full_of_blobs() {
    let scene = Scene::of_image("x");
    let input = scene.layout.input("app");
    let large = Layout::of_image(scene.path("large"), &"x".repeat(2 << 20));
    let staged = stage("size=1m", "true", &input, &large.input("app"));
    assert_eq!(staged.code, "2", "{}", staged.message);
    assert!(staged.message.contains("oci-cas/sha256/"), "{}", staged.message);
    assert!(staged.message.contains("the disk is full; free some space"), "{}", staged.message);
    staged.before.assert_same(&staged.after);
}

/// The disk fills up at every point of a publish in turn: with each page more that is free, it comes further.
#[test]
fn a_disk_that_fills_up_at_any_point() {
    let scene = Scene::of_image("x");
    let input = scene.layout.input("app");
    let more = Layout::of_image(scene.path("more"), &"y".repeat(20_000));
    let second = format!("example.com/app={0} example.com/team/tool={0} example.com/zoo={0}", more.arg());
    let mut codes = Vec::new();
    for pages in 0.. {
        let prepare = format!(
            "head -c $((4096 * {pages} + 1)) /dev/zero >$2/reserve
             cat /dev/zero >$2/filler 2>/dev/null || true
             rm $2/reserve"
        );
        let staged = stage("size=1m", &prepare, &input, &second);
        codes.push(staged.code.clone());
        if staged.code == "0" {
            break;
        }
        assert_eq!(staged.code, "2", "with {pages} pages: {}", staged.message);
        assert!(staged.message.contains("the disk is full"), "with {pages} pages: {}", staged.message);
        staged.before.assert_same(&staged.after);
    }
    assert!(codes.len() > 8, "the disk was never full: {codes:?}");
}

/// The same with a file system that runs out of inodes.
#[test]
fn a_disk_that_runs_out_of_inodes_at_any_point() {
    let scene = Scene::of_image("x");
    let input = scene.layout.input("app");
    let more = Layout::of_image(scene.path("more"), "y");
    let second = format!("example.com/app={0} example.com/team/tool={0} example.com/zoo={0}", more.arg());
    let mut codes = Vec::new();
    for inodes in 0.. {
        let prepare = format!(
            "n=0
             while (: >$2/$n) 2>/dev/null; do n=$((n + 1)); done
             for i in $(seq {inodes}); do rm $2/$((n - i)); done"
        );
        let staged = stage("size=1m,nr_inodes=64", &prepare, &input, &second);
        codes.push(staged.code.clone());
        if staged.code == "0" {
            break;
        }
        assert_eq!(staged.code, "2", "with {inodes} inodes: {}", staged.message);
        assert!(staged.message.contains("the disk is full"), "with {inodes} inodes: {}", staged.message);
        staged.before.assert_same(&staged.after);
    }
    assert!(codes.len() > 4, "the inodes were never used up: {codes:?}");
}

#[test]
fn a_read_only_site() {
    let scene = Scene::of_image("x");
    let input = scene.layout.input("app");
    let other = Layout::of_image(scene.path("other"), "y");
    let staged = stage("size=1m", "mount -o remount,ro $2", &input, &other.input("app"));
    assert_eq!(staged.code, "2");
    assert!(staged.message.contains("site/.ocisite"), "{}", staged.message);
    assert!(staged.message.contains("the file system is read-only"), "{}", staged.message);
    staged.before.assert_same(&staged.after);
}

#[test]
fn a_new_site_on_a_read_only_file_system() {
    let scene = Scene::of_image("x");
    let input = scene.layout.input("app");
    let script = format!(
        "mount -t tmpfs -o ro tmpfs $2
         code=0; $1 publish --site $2/site {input} 2>$3/stderr || code=$?
         test $code = 2
         test ! -e $2/site"
    );
    in_mount_namespace(&script, scene.directory.path());
    let message = std::fs::read_to_string(scene.path("stderr")).unwrap();
    assert!(message.contains("/site: the file system is read-only"), "{message}");
}

#[test]
fn a_dry_run_needs_no_permission_to_write() {
    let scene = Scene::of_image("x");
    let input = scene.layout.input("app");
    let script = format!(
        "mount -t tmpfs -o ro tmpfs $2
         $1 publish --dry-run --site $2/site {input} >$3/stdout"
    );
    in_mount_namespace(&script, scene.directory.path());
    let listing = std::fs::read_to_string(scene.path("stdout")).unwrap();
    assert!(listing.contains("oci-index/app"), "{listing}");
}

#[test]
fn an_index_that_consumers_would_not_read() {
    // Given an image whose refs have so much to say that its index has 35 MiB.
    let scene = Scene::new();
    let write = |name: &str| {
        let mut layout = Layout::new(scene.path(name));
        let mut image = layout.image("shared");
        image["annotations"]["com.example.notes"] = "x".repeat(1 << 20).into();
        (0..35).for_each(|number| layout.add_unwritten(&format!("{name}-{number}"), image.clone()));
        layout.write_index();
    };
    write("first");
    write("second");
    scene.publish().args(["--no-catalogue", "example.com/app=first"]).succeeds();
    // When as much again is published under the same name.
    let words = ["the index of example.com/app would have", "at most 67108864", "publish fewer refs"];
    scene.refused(&["--no-catalogue", "example.com/app=second"], &words);
}
