//! A publish that is killed, or fails, at each system call with which it changes the site.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::layout::Layout;
use crate::support::program::{ocisite, publish, text};
use crate::support::site::Snapshot;
use crate::support::strace::{Disturbance, Run, replace};

struct Scene {
    directory: TempDir,
    /// The site before the publish.
    old: PathBuf,
    /// How that came about.
    before: Vec<String>,
    /// What a publish that nothing disturbs makes of it.
    new: Snapshot,
    args: Vec<String>,
}

impl Scene {
    /// A site that was published with some arguments (none: there is no site), and is published again with others.
    fn new(directory: TempDir, before: &[&str], args: &[&str]) -> Scene {
        // One worker, so that the calls come in the same order each time.
        let with_jobs =
            |args: &[&str]| ["--jobs", "1"].iter().chain(args).map(ToString::to_string).collect::<Vec<String>>();
        let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
        let (before, args) = (with_jobs(before), with_jobs(args));
        if before.len() > 2 {
            publish(&old, &borrowed(&before));
            replace(&new, &old);
        }
        publish(&new, &borrowed(&args));
        Scene { new: Snapshot::public(&new), directory, old, before, args }
    }

    fn site(&self) -> PathBuf {
        self.directory.path().join("site")
    }

    /// Makes the site what it was before.
    fn prepare(&self) {
        match self.old.exists() {
            true => replace(&self.site(), &self.old),
            false => drop(std::fs::remove_dir_all(self.site())),
        }
    }

    fn complete(&self) {
        publish(&self.site(), &borrowed(&self.args));
        self.new.assert_same(&Snapshot::public(&self.site()));
    }

    /// Disturbs a publish at each call on the site, or on the layouts.
    fn disturb(&self, disturbance: Disturbance, first: usize, check: &dyn Fn(&str, &std::process::Output)) {
        self.with_run(|run| run.each(disturbance, first, &|| self.prepare(), check));
    }

    fn with_run<T>(&self, work: impl FnOnce(&Run<'_>) -> T) -> T {
        let (site, layouts) = (self.site(), self.directory.path().join("layouts"));
        let program = ["publish", "--quiet", "--site", text(&site)].map(String::from);
        let args: Vec<String> = program.into_iter().chain(self.args.clone()).collect();
        let trace = self.directory.path().join("trace");
        work(&Run { args: &args, within: &[&site, &layouts], trace })
    }

    /// Killed anywhere, it leaves documents that are old or new, which verify finds whole, and the next run completes.
    fn survives_kills(&self, first: usize) {
        let old = if self.old.exists() { Snapshot::public(&self.old).0 } else { Default::default() };
        self.disturb(Disturbance::Kill, first, &|fault, _| {
            let found = if self.site().exists() { Snapshot::public(&self.site()).0 } else { Default::default() };
            for (path, item) in &found {
                let is_known = [&old, &self.new.0].iter().any(|whole| whole.get(path) == Some(item));
                assert!(is_known, "{fault}: {} is neither old nor new", path.display());
            }
            for path in old.keys().filter(|path| self.new.0.contains_key(*path)) {
                assert!(found.contains_key(path), "{fault}: {} is gone", path.display());
            }
            if found.keys().any(|path| path.ends_with("ocisite.json")) {
                verified(&self.site(), fault);
            }
            self.complete();
        });
    }

    /// When a call fails, it says where, ends with 2, and puts everything back; or it does without.
    fn survives_errors(&self, first: usize) {
        let old = self.old.exists().then(|| Snapshot::of(&self.old));
        self.disturb(Disturbance::Error, first, &|fault, output| {
            let message = String::from_utf8_lossy(&output.stderr);
            match output.status.code() {
                // Some things can be done without: a hard link, the removal of a temporary file.
                Some(0) => {
                    println!("done without: {fault}");
                    self.new.assert_same(&Snapshot::public(&self.site()));
                }
                code => {
                    assert_eq!(code, Some(2), "{fault}: {message}");
                    assert!(message.contains(text(self.directory.path())), "{fault}: {message}");
                    match &old {
                        Some(old) => old.assert_unchanged(&self.site()),
                        // A lock that was not taken may be somebody else's by now, so it is left.
                        None => assert!(fault.starts_with("flock:") || !self.site().exists(), "{fault}"),
                    }
                }
            }
        });
    }
}

fn borrowed(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// What verify says of a site, which has to have no errors.
fn verified(site: &Path, fault: &str) -> String {
    let output = ocisite().arg("verify").arg(site).args(["--deep", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["errors"], 0, "{fault}: {report:#}");
    report.to_string()
}

fn layout(directory: &TempDir, name: &str) -> Layout {
    std::fs::create_dir_all(directory.path().join("layouts")).unwrap();
    Layout::new(directory.path().join("layouts").join(name))
}

/// A site with two images and the registry view, and a publish that replaces all of their refs.
fn replacing() -> Scene {
    let directory = TempDir::new().unwrap();
    let args = |reference: &str| {
        let mut layout = layout(&directory, reference);
        let image = layout.image(reference);
        let signature = layout.artifact(&format!("of {reference}"), &image);
        layout.add(reference, image);
        layout.add_untagged(signature);
        let images = ["team/app", "tool"].map(|name| format!("example.com/{name}={}", layout.arg()));
        ["--registry", "--replace"].map(String::from).into_iter().chain(images).collect::<Vec<_>>()
    };
    let (first, second) = (args("1.0"), args("2.0"));
    Scene::new(directory, &borrowed(&first), &borrowed(&second))
}

/// A ref that was an index becomes an image, and has its layer in common with an image that is new.
fn changing_a_type() -> Scene {
    let directory = TempDir::new().unwrap();
    let (mut before, mut after) = (layout(&directory, "before"), layout(&directory, "after"));
    before.add("1.0", before.index_of(&[before.image("before")]));
    after.add("1.0", after.image("after"));
    let image = |name: &str, layout: &Layout| format!("example.com/{name}={}", layout.arg());
    let first = image("app", &before);
    let second = [image("app", &after), image("other", &after)];
    Scene::new(directory, &["--registry", &first], &["--registry", &second[0], &second[1]])
}

/// An image, as an argument.
fn one_image(directory: &TempDir) -> String {
    let mut layout = layout(directory, "layout");
    layout.add("1.0", layout.image("content"));
    format!("example.com/app={}", layout.arg())
}

/// A site loses its catalogue.
fn without_catalogue() -> Scene {
    let directory = TempDir::new().unwrap();
    let image = one_image(&directory);
    Scene::new(directory, &[&image], &["--no-catalogue", &image])
}

/// There was no site.
fn first() -> Scene {
    let directory = TempDir::new().unwrap();
    let image = one_image(&directory);
    Scene::new(directory, &[], &["--registry", &image])
}

#[test]
fn replacing_refs_and_killed_at_any_call() {
    replacing().survives_kills(1);
}

#[test]
fn changing_the_type_of_a_ref_and_killed_at_any_call() {
    changing_a_type().survives_kills(2);
}

#[test]
fn taking_the_catalogue_away_and_killed_at_any_call() {
    without_catalogue().survives_kills(0);
}

#[test]
fn taking_the_catalogue_away_leaves_nothing_that_leads_to_what_is_removed() {
    let scene = without_catalogue();
    let site = scene.site();
    let removed: Vec<PathBuf> =
        Snapshot::public(&scene.old).0.into_keys().filter(|it| !scene.new.0.contains_key(it)).collect();
    let files = removed.iter().filter(|path| scene.old.join(path).is_file()).count();
    assert!(files > 6, "{removed:?}");
    for number in 1..=files {
        // When the publish is killed before it removes the next file.
        scene.prepare();
        let fault = format!("unlinkat:signal=KILL:when={number}");
        scene.with_run(|run| run.with(&[&fault]));
        // Then the lists lead to pages and documents that exist, and the pages to their style sheet and script.
        let [page, document] = ["html", "json"].map(|ending| format!("catalogue/images/example.com/app.{ending}"));
        let leads = |from: &[&str], to: &[&str]| {
            let has = |path: &&str| site.join(path).exists();
            assert!(!from.iter().any(has) || to.iter().all(has), "{fault}: {from:?} lead to {to:?}");
        };
        let lists = ["index.html", "catalogue.json"];
        leads(&lists, &[&page, &document]);
        leads(&[&lists[..], &[page.as_str()]].concat(), &[&document, "catalogue/style.css", "catalogue/script.js"]);
        leads(&[&page, &document], &["catalogue/layers"]);
        verified(&site, &fault);
        scene.complete();
    }
}

#[test]
fn making_a_site_and_killed_at_any_call() {
    first().survives_kills(3);
}

#[test]
fn replacing_refs_and_failing_at_any_call() {
    replacing().survives_errors(3);
}

#[test]
fn taking_the_catalogue_away_and_failing_at_any_call() {
    without_catalogue().survives_errors(1);
}

#[test]
fn making_a_site_and_failing_at_any_call() {
    first().survives_errors(2);
}

#[test]
fn what_was_there_before_can_be_published_after_any_kill() {
    for scene in [replacing(), changing_a_type()] {
        let documents = |site: &Path| {
            let mut found = Snapshot::public(site);
            found.0.retain(|path, item| {
                let is_document = ["oci-index", "catalogue", "catalogue.json", "index.html"];
                item.bytes.is_some() && is_document.iter().any(|top| path.starts_with(top))
            });
            found
        };
        let old = documents(&scene.old);
        assert!(old.0.len() > 5);
        scene.disturb(Disturbance::Kill, 5, &|fault, _| {
            // When another publishes what was there.
            publish(&scene.site(), &borrowed(&scene.before));
            // Then the catalogue tells of what there is.
            assert!(!verified(&scene.site(), fault).contains("catalogue-differs"), "{fault}");
            let found = documents(&scene.site());
            let is_known = |path: &PathBuf| scene.new.0.contains_key(path) || old.0.contains_key(path);
            assert!(found.0.keys().all(is_known), "{fault}");
        });
    }
}

#[test]
fn directories_can_be_read_by_a_web_server_whenever_it_is_killed() {
    // Given a publisher who lets nobody read what he makes.
    let scene = first();
    let site = scene.site();
    let script = "umask 077; exec \"$@\"";
    for number in 1..=12 {
        scene.prepare();
        let fault = format!("inject=fchmod:signal=KILL:when={number}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fchmod", "-e", &fault];
        let program = [crate::support::program::PROGRAM, "publish", "--site", text(&site)];
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script, "sh"]).args(strace).args(program).args(&scene.args);
        // When he is killed before he sets a mode, and publishes again.
        assert!(!command.output().unwrap().status.success(), "it sets no mode for the time number {number}");
        publish(&site, &borrowed(&scene.args));
        // Then all is as if he had not been killed.
        scene.new.assert_same(&Snapshot::public(&site));
    }
}

#[test]
fn what_cannot_be_put_back_stays_whole() {
    // Given a publish that fails when its documents are written, and then cannot put one of them back.
    let scene = replacing();
    scene.with_run(|run| {
        let sync = "syncfs:error=EIO:when=2";
        scene.prepare();
        run.with(&[sync]);
        let rename = run.fault_after_fault("EIO", &["rename", "oci-index>, \"tool\""]);
        scene.prepare();
        let output = run.with(&[sync, &rename]);
        // Then it names both, and the new index has what it leads to.
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        for words in ["sync the file system", "the rollback was incomplete", "oci-index/tool"] {
            assert!(message.contains(words), "{words} in: {message}");
        }
    });
    verified(&scene.site(), "what was not put back");
    // And the next run completes, but for what a gc takes away.
    publish(&scene.site(), &borrowed(&scene.args));
    let undisturbed = scene.directory.path().join("new");
    for site in [&undisturbed, &scene.site()] {
        ocisite().arg("gc").arg(site).args(["--grace", "0"]).assert().success();
    }
    Snapshot::public(&undisturbed).assert_same(&Snapshot::public(&scene.site()));
}
