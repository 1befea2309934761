//! The fuzz targets over their corpora: what once was found, or leads far into a parser, is tried in every run.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

#[test]
fn every_target_stands_its_corpus_and_leaves_nothing() {
    // A target's files live as long as its thread.
    std::thread::spawn(|| targets::TARGETS.into_iter().for_each(try_corpus)).join().unwrap();
    let prefix = format!("ocisite-fuzz-{}-", std::process::id());
    let names = std::env::temp_dir().read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with(&prefix)).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn try_corpus((name, target): targets::Target) {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut tried = 0;
    for entry in std::fs::read_dir(corpora.join(name)).unwrap().map(Result::unwrap) {
        println!("{name}: {}", entry.path().display());
        target(&std::fs::read(entry.path()).unwrap());
        tried += 1;
    }
    assert!(tried > 0, "{name} has no corpus");
}
