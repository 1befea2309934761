//! `verify` and `copy` while `gc` and `remove` take directories away under their hands: what has vanished is not listed.

use std::sync::atomic::{AtomicBool, Ordering};

use super::program::ocisite;
use crate::support::layout::Layout;
use crate::support::program::{publish, text};
use crate::support::soak;

/// How many images come and go at a time, each with directories of its own.
const IMAGES: usize = 20;

#[test]
fn neither_fails_because_a_directory_has_vanished() {
    let directory = tempfile::tempdir().unwrap();
    let (root, target) = (directory.path().join("site"), directory.path().join("copy"));
    let input = |name: &str, content: &str| {
        format!(
            "example.com/{name}={}",
            Layout::of_image(directory.path().join(format!("layout-{name}")), content).arg()
        )
    };
    publish(&root, &["--registry", &input("stays", "stays")]);
    let rounds = soak::number("OCISITE_ROUNDS", 5);
    let names: Vec<String> = (0..IMAGES).map(|image| format!("deep/in/{image}")).collect();
    let inputs: Vec<String> = names
        .iter()
        .map(|name| input(&name.replace('/', "-"), name).replacen(&name.replace('/', "-"), name, 1))
        .collect();
    let is_done = AtomicBool::new(false);
    let failures = std::thread::scope(|scope| {
        let repeat = |args: &'static [&'static str], words: &'static [&'static str]| {
            let (root, target, is_done) = (&root, &target, &is_done);
            scope.spawn(move || {
                let mut failures = Vec::new();
                while !is_done.load(Ordering::Relaxed) {
                    let mut command = ocisite();
                    command.args(args).arg(root);
                    if args.contains(&"copy") {
                        command.arg(target);
                    }
                    let output = command.output().unwrap();
                    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
                    if output.status.code() == Some(2) && !words.iter().any(|word| printed.contains(word)) {
                        failures.push(printed);
                    }
                }
                failures
            })
        };
        let both = [
            repeat(&["verify"], &[]),
            // A blob that a document names and that went before it could be copied cannot be copied.
            repeat(&["copy", "--delete"], &["was removed during the copy"]),
        ];
        for _ in 0..rounds {
            publish(&root, &inputs.iter().map(String::as_str).collect::<Vec<_>>());
            let names: Vec<String> = names.iter().map(|name| format!("example.com/{name}")).collect();
            ocisite().arg("remove").arg(&root).args(&names).assert().success();
            ocisite().args(["gc", text(&root), "--grace", "0"]).assert().success();
        }
        is_done.store(true, Ordering::Relaxed);
        both.map(|thread| thread.join().unwrap()).concat()
    });
    assert!(failures.is_empty(), "{}:\n{}", failures.len(), failures.join(""));
}
