//! `gc`, `remove`, `copy` and `pull`, killed or failing at each system call with which they change something: what is left is
//! whole, and the next run completes.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::good_site::{APP, GoodSite};
use super::killed::{assert_whole, files};
use super::program::ocisite;
use crate::support::preview::Preview;
use crate::support::program::text;
use crate::support::site::{Snapshot, digest_like};
use crate::support::strace::{Disturbance, Run, replace};

/// A command that changes a directory.
struct Scene {
    site: GoodSite,
    args: Vec<String>,
    /// The directory as it is before, beside the one that is changed.
    before: PathBuf,
    target: PathBuf,
}

impl Scene {
    /// The command's last argument is the directory that it changes, unless `after` follows.
    fn new(site: GoodSite, verb: &[&str], target: PathBuf, after: &[&str]) -> Scene {
        let before = site.directory.path().join("before");
        if target.exists() {
            replace(&before, &target);
        } else {
            std::fs::create_dir(&before).unwrap();
        }
        let args = verb.iter().copied().chain([text(&target)]).chain(after.iter().copied());
        Scene { args: args.map(String::from).collect(), site, before, target }
    }

    /// Disturbs the command at each call on its directory, and on the site that it reads. `check` hears of what it left.
    fn disturb(&self, disturbance: Disturbance, first: usize, check: &dyn Fn(&str, Option<i32>, &str)) {
        let trace = self.site.directory.path().join("trace");
        let source = self.site.directory.path().join("source");
        let run = Run { args: &self.args, within: &[&self.target, &source], trace };
        run.each(disturbance, first, &|| replace(&self.target, &self.before), &|fault, output| {
            check(fault, output.status.code(), &String::from_utf8_lossy(&output.stderr));
        });
    }

    /// What the command leaves when nothing disturbs it.
    fn expected(&self) -> Snapshot {
        replace(&self.target, &self.before);
        ocisite().args(&self.args).assert().success();
        files(&self.target)
    }

    /// Runs undisturbed. The next run after a fault may have nothing left to do, and say so as an error.
    fn complete(&self) {
        ocisite().args(&self.args).output().unwrap();
    }

    /// Killed at each call, it leaves something whole, and the next run does the rest.
    fn survives_kills(&self, first: usize, is_whole: &dyn Fn(&Path)) {
        let expected = self.expected();
        self.disturb(Disturbance::Kill, first, &|_, _, _| {
            is_whole(&self.target);
            self.complete();
            expected.assert_same(&files(&self.target));
        });
    }

    /// When a call fails, the command says where and ends with 2, or does without; what is left is whole, and the next run does
    /// the rest.
    fn survives_errors(&self, first: usize, is_whole: &dyn Fn(&Path)) {
        let expected = self.expected();
        self.disturb(Disturbance::Error, first, &|fault, code, message| {
            match code {
                Some(0) => expected.assert_same(&files(&self.target)),
                code => {
                    assert_eq!(code, Some(2), "{fault}: {message}");
                    assert!(message.contains(text(self.site.directory.path())), "{fault}: {message}");
                    is_whole(&self.target);
                }
            }
            self.complete();
            expected.assert_same(&files(&self.target));
        });
    }
}

fn gc() -> Scene {
    let site = GoodSite::with(&["--registry"]);
    (0..5).for_each(|number| drop(site.put(format!("blob {number} of nobody").as_bytes())));
    let target = site.root();
    Scene::new(site, &["gc"], target, &["--grace", "0"])
}

fn remove() -> Scene {
    let site = GoodSite::with(&["--registry", "--catalogue"]);
    let target = site.root();
    Scene::new(site, &["remove"], target, &["example.com/app#1.0"])
}

/// A ref of one image goes, and all of another.
fn remove_two() -> Scene {
    let site = GoodSite::with(&["--registry", "--catalogue"]);
    let target = site.root();
    Scene::new(site, &["remove"], target, &["example.com/app#1.0", "example.com/team/app"])
}

/// A whole image goes, which is a layout itself.
fn remove_layout() -> Scene {
    let site = GoodSite::with(&["--preset", "layout"]);
    let target = site.root();
    Scene::new(site, &["remove"], target, &["example.com/app"])
}

/// A copy over an older state of the same site.
fn copy() -> Scene {
    let site = GoodSite::with(&["--registry"]);
    let (source, target) = (site.directory.path().join("source"), site.root());
    replace(&source, &target);
    ocisite().args(["remove", text(&target), "example.com/app#3.0"]).assert().success();
    Scene::new(site, &["copy", text(&source)], target, &["--jobs", "1"])
}

#[test]
fn gc_killed_at_any_call() {
    gc().survives_kills(1, &assert_whole);
}

#[test]
fn gc_of_an_unfinished_image_killed_at_any_call() {
    // Given the tags and lists of a first publish that was killed before it wrote the index.
    let site = GoodSite::with(&["--registry"]);
    site.edit("ocisite.json", |object| object["images"] = json!(["example.com/team/app"]));
    std::fs::remove_file(site.root().join(APP)).unwrap();
    let target = site.root();
    // When a gc that removes them is killed, then no list names a tag that is missing.
    Scene::new(site, &["gc"], target, &["--grace", "0"]).survives_kills(6, &|site| {
        let Ok(list) = std::fs::read(site.join("v2/app/tags/list")) else { return };
        let list: Value = serde_json::from_slice(&list).unwrap();
        for tag in list["tags"].as_array().unwrap() {
            assert!(site.join("v2/app/manifests").join(tag.as_str().unwrap()).exists(), "{tag}");
        }
    });
}

#[test]
fn gc_failing_at_any_call() {
    gc().survives_errors(2, &assert_whole);
}

#[test]
fn remove_killed_at_any_call() {
    remove().survives_kills(3, &assert_whole);
}

#[test]
fn remove_failing_at_any_call() {
    remove().survives_errors(4, &assert_whole);
}

#[test]
fn removal_of_two_killed_at_any_call() {
    remove_two().survives_kills(2, &assert_whole);
}

#[test]
fn removal_of_two_failing_at_any_call() {
    remove_two().survives_errors(5, &assert_whole);
}

#[test]
fn removal_of_a_layout_killed_at_any_call() {
    remove_layout().survives_kills(7, &assert_whole);
}

#[test]
fn removal_of_a_layout_failing_at_any_call() {
    remove_layout().survives_errors(8, &assert_whole);
}

#[test]
fn copy_killed_at_any_call() {
    copy().survives_kills(5, &assert_whole);
}

#[test]
fn copy_failing_at_any_call() {
    copy().survives_errors(6, &assert_whole);
}

/// A layout into which an image is pulled from a preview that runs as long as the scene is used.
fn pull(server: &Preview, site: GoodSite) -> Scene {
    let target = site.directory.path().join("pulled");
    let address = server.address.to_string();
    let verb = [
        "pull",
        "--no-xdg",
        "--protocol",
        "http",
        "--connect-to",
        &address,
        "example.com/app#1.0",
        "--jobs",
        "1",
        "--to",
    ];
    Scene::new(site, &verb, target, &[])
}

/// Every blob that has its final name has its bytes, and every entry its blob.
pub fn assert_layout_whole(layout: &Path) {
    for file in walkdir::WalkDir::new(layout.join("blobs")).into_iter().filter_map(Result::ok) {
        let path = file.path().strip_prefix(layout.join("blobs")).unwrap();
        if file.file_type().is_file() && path.components().count() == 2 {
            let digest = path.to_str().unwrap().replacen('/', ":", 1);
            // What is fetched has another name until it is whole.
            if digest.len() == "sha256:".len() + 64 {
                assert_eq!(digest_like(&digest, &std::fs::read(file.path()).unwrap()), digest);
            }
        }
    }
    let Ok(index) = std::fs::read(layout.join("index.json")) else { return };
    let index: Value = serde_json::from_slice(&index).unwrap();
    for entry in index["manifests"].as_array().unwrap() {
        let digest = entry["digest"].as_str().unwrap().replacen(':', "/", 1);
        assert!(layout.join("blobs").join(digest).is_file(), "{entry}");
    }
}

#[test]
fn pull_killed_at_any_call() {
    let site = GoodSite::new();
    let server = Preview::start(&site.root());
    pull(&server, site).survives_kills(7, &assert_layout_whole);
}

#[test]
fn pull_failing_at_any_call() {
    let site = GoodSite::new();
    let server = Preview::start(&site.root());
    pull(&server, site).survives_errors(8, &assert_layout_whole);
}
