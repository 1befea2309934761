//! The registry view costs no disk space for layers: they are hard links of the blobs in the CAS.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::support::fixtures::{self, Site};

/// What `du` counts for a tree, in KiB: every file once, however many names it has.
fn disk_usage(site: &Site) -> u64 {
    let printed = fixtures::run(Command::new("du").arg("-sk").arg(site.root()));
    printed.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn blobs_of_the_view_are_links_and_du_counts_them_once() {
    // Given a site with the view.
    let site = Site::of_fixtures(&["--registry"]);
    let with_blobs = disk_usage(&site);
    // When every blob of the view is looked at, then it is a file of the CAS.
    let inodes = |below: &str| -> BTreeSet<u64> {
        let files = walkdir::WalkDir::new(site.root().join(below)).into_iter().map(Result::unwrap);
        files.filter(|entry| entry.file_type().is_file()).map(|entry| entry.metadata().unwrap().ino()).collect()
    };
    let cas = inodes("oci-cas");
    let mut links = Vec::new();
    for entry in walkdir::WalkDir::new(site.root().join("v2")).into_iter().map(Result::unwrap) {
        let is_blob = entry.path().parent().is_some_and(|parent| parent.ends_with("blobs"));
        if is_blob && entry.file_type().is_file() {
            assert!(cas.contains(&entry.metadata().unwrap().ino()), "{} is a copy", entry.path().display());
            links.push(entry.into_path());
        }
    }
    assert!(links.len() > 10, "the fixtures have many blobs");
    // And without these names, as much space is in use as before: only a directory's own blocks could shrink.
    links.iter().for_each(|link| std::fs::remove_file(link).unwrap());
    assert_eq!(disk_usage(&site), with_blobs);
}
