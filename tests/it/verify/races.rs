//! Many publishers, a gc and a verifier on one directory: nothing is lost, and nobody ever sees an error.
//!
//! It goes on for `OCISITE_RACES` seconds (5 without it; `scripts/soak` says 60).

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::program::{ocisite, verify};
use crate::support::layout::Layout;
use crate::support::program::{publish, text};
use crate::support::site;
use crate::support::soak;

const PUBLISHERS: usize = 8;

/// What a publisher does in a round: a new ref of the image that all share, an image of its own, or its own image anew.
fn publish_round(root: &std::path::Path, directory: &std::path::Path, publisher: usize, round: usize) -> String {
    let path = directory.join(format!("layout-{publisher}"));
    let _ = std::fs::remove_dir_all(&path);
    let mut layout = Layout::new(path);
    let reference = format!("{publisher}.{round}");
    let image = layout.image(&reference);
    layout.add(&reference, image);
    publish(root, &[&format!("example.com/shared={}", layout.arg())]);
    publish(root, &["--replace", &format!("example.com/own/{publisher}={}", layout.arg())]);
    reference
}

#[test]
fn eight_publishers_a_gc_and_a_verifier() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("site");
    publish(
        &root,
        &[
            "--registry",
            &format!("example.com/shared={}", Layout::of_image(directory.path().join("first"), "first").arg()),
        ],
    );
    let end = Instant::now() + Duration::from_secs(u64::from(soak::number("OCISITE_RACES", 5)));
    let published = Mutex::new(BTreeSet::from(["1.0".to_string()]));
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let (root, directory, published) = (&root, directory.path(), &published);
                scope.spawn(move || {
                    for round in 0.. {
                        let reference = publish_round(root, directory, publisher, round);
                        published.lock().unwrap().insert(reference);
                        if Instant::now() >= end {
                            break;
                        }
                    }
                })
            })
            .collect();
        let beside = |work: fn(&str)| {
            let (root, is_done) = (text(&root), &is_done);
            scope.spawn(move || {
                while !is_done.load(Ordering::Relaxed) {
                    work(root);
                }
            })
        };
        let gc = beside(|root| drop(ocisite().args(["gc", root, "--grace", "0"]).assert().success()));
        let verifier = beside(|root| {
            let verified = verify(&[root, "--deep"]);
            assert_eq!(verified.report["errors"], 0, "{:#}", verified.report);
        });
        let publishers: Vec<_> = publishers.into_iter().map(|publisher| publisher.join()).collect();
        is_done.store(true, Ordering::Relaxed);
        publishers.into_iter().for_each(Result::unwrap);
        gc.join().unwrap();
        verifier.join().unwrap();
    });
    // Then every ref is there, and nothing else is.
    let refs: BTreeSet<String> = site::refs(&root, "shared").into_iter().collect();
    assert_eq!(refs, *published.lock().unwrap());
    ocisite().args(["gc", text(&root), "--grace", "0"]).assert().success();
    verify(&[text(&root), "--deep", "--strict"]).assert_clean();
    assert_eq!(site::json(&root, "ocisite.json")["images"].as_array().unwrap().len(), 1 + PUBLISHERS);
}
