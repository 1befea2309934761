//! A publish that is killed, or fails, at each system call with which it changes the site.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::layout::Layout;
use crate::support::program::{publish, text};
use crate::support::site::Snapshot;
use crate::support::strace::{CHANGES, NEEDS, Run, replace};

struct Scene {
    directory: TempDir,
    /// The site before the publish.
    old: PathBuf,
    /// What a publish that nothing disturbs makes of it.
    new: Snapshot,
    args: Vec<String>,
}

/// A site with two images and the registry view, and a publish that replaces all of their refs.
fn scene() -> Scene {
    let directory = TempDir::new().unwrap();
    let args = |reference: &str| {
        let mut layout = Layout::new(directory.path().join(reference));
        let image = layout.image(reference);
        let signature = layout.artifact(&format!("of {reference}"), &image);
        layout.add(reference, image);
        layout.add_untagged(signature);
        let images = ["team/app", "tool"].map(|name| format!("example.com/{name}={}", layout.arg()));
        // One worker, so that the calls come in the same order each time.
        ["--registry", "--replace", "--jobs", "1"].map(String::from).into_iter().chain(images).collect::<Vec<_>>()
    };
    let (first, args) = (args("1.0"), args("2.0"));
    let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
    publish(&old, &borrowed(&first));
    replace(&new, &old);
    publish(&new, &borrowed(&args));
    Scene { new: Snapshot::public(&new), directory, old, args }
}

fn borrowed(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

impl Scene {
    fn site(&self) -> PathBuf {
        self.directory.path().join("site")
    }

    /// Goes through the faults of a publish, each into a fresh copy of the old site.
    fn each_fault(
        &self,
        calls: &str,
        first: usize,
        faults: fn(&crate::support::strace::Call) -> Vec<String>,
        check: &dyn Fn(&str, std::process::Output),
    ) {
        let site = self.site();
        let args: Vec<String> = ["publish", "--quiet", "--site", text(&site)]
            .map(String::from)
            .into_iter()
            .chain(self.args.clone())
            .collect();
        let trace = self.directory.path().join("trace");
        let run = Run { args: &args, within: &[&site], calls, trace };
        replace(&site, &self.old);
        for fault in run.calls(first).iter().flat_map(faults) {
            replace(&site, &self.old);
            check(&fault, run.with(Some(&fault)));
        }
    }
}

#[test]
fn killed_at_any_call_it_leaves_old_or_new_documents_and_the_next_run_completes() {
    let scene = scene();
    let old = Snapshot::public(&scene.old);
    scene.each_fault(CHANGES, 1, |call| vec![call.kill()], &|fault, _| {
        let found = Snapshot::public(&scene.site());
        for (path, item) in &found.0 {
            let is_known = [&old, &scene.new].iter().any(|whole| whole.0.get(path) == Some(item));
            assert!(is_known, "{fault}: {} is neither old nor new", path.display());
        }
        for path in old.0.keys().filter(|path| scene.new.0.contains_key(*path)) {
            assert!(found.0.contains_key(path), "{fault}: {} is gone", path.display());
        }
        publish(&scene.site(), &borrowed(&scene.args));
        scene.new.assert_same(&Snapshot::public(&scene.site()));
    });
}

#[test]
fn failing_at_any_call_it_says_so_and_leaves_the_site_as_it_was() {
    let scene = scene();
    let old = Snapshot::of(&scene.old);
    scene.each_fault(&format!("{CHANGES},{NEEDS}"), 3, |call| call.errors(), &|fault, output| {
        let message = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            // Some things can be done without: a hard link, the removal of a temporary file.
            Some(0) => scene.new.assert_same(&Snapshot::public(&scene.site())),
            code => {
                assert_eq!(code, Some(2), "{fault}: {message}");
                assert!(message.contains(text(&scene.site())), "{fault}: {message}");
                old.assert_unchanged(&scene.site());
            }
        }
    });
}
