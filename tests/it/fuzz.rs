//! The fuzz targets over their corpora: what once was found, or leads far into a parser, is tried in every run.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

#[test]
fn every_target_stands_its_corpus() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let mut tried = 0;
        for entry in std::fs::read_dir(corpora.join(name)).unwrap().map(Result::unwrap) {
            println!("{name}: {}", entry.path().display());
            target(&std::fs::read(entry.path()).unwrap());
            tried += 1;
        }
        assert!(tried > 0, "{name} has no corpus");
    }
}
