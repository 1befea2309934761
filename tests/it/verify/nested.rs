//! Image indexes that share what they list: twenty-eight levels, each of which lists its one child ten times. The files take 67 KB;
//! 10^28 ways lead down to the image. And entries that share a large index: each leads to all that is in it. Every command comes to
//! an end, with 64 MiB of data.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::program::verify;
use crate::client::images::{INDEX, for_platform, tagged};
use crate::client::server::Server;
use crate::support::layout::{Layout, MANIFEST};
use crate::support::memory::{MIB, ocisite_within};
use crate::support::program::{fails, publish};
use crate::support::site::{assert_whole, entries as site_entries};

const LEVELS: usize = 28;
const TIMES: usize = 10;

/// Entries that share an index, and what it lists: as much as 4 MiB of JSON hold.
const ENTRIES: usize = 400;
const SHARED: usize = 25_000;
const REFERRERS: usize = 300;

/// The program, with as much data as any command may have.
fn ocisite() -> Command {
    ocisite_within(64 * MIB)
}

/// A layout of such an image under the ref `1.0`.
fn nested_layout(path: PathBuf) -> Layout {
    let mut layout = Layout::new(path);
    let mut top = layout.image("shared");
    top["platform"] = json!({"os": "linux", "architecture": "amd64"});
    for _ in 0..LEVELS {
        top = layout.index_of(&vec![top; TIMES]);
    }
    layout.add("1.0", top);
    layout
}

fn succeeds(args: &[&str]) -> String {
    let output = ocisite().args(args).assert().success().get_output().clone();
    String::from_utf8(output.stdout).unwrap()
}

/// The layout, and a site with it, in which the catalogue and the registry view are, too.
fn site(directory: &TempDir) -> (Layout, PathBuf) {
    let layout = nested_layout(directory.path().join("layout"));
    let site = directory.path().join("site");
    let image = format!("example.com/app={}", layout.arg());
    succeeds(&["publish", "--jobs", "2", "--registry", "--site", text(&site), &image]);
    (layout, site)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_command_on_a_site_comes_to_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let (layout, site) = site(&directory);
    // Then all of it is there: 28 indexes, a manifest, a config and two layers.
    assert_eq!(assert_whole(&site), LEVELS + 4);
    let list: Value = serde_json::from_str(&succeeds(&["list", "--json", text(&site)])).unwrap();
    let entry = &list[0]["entries"][0];
    assert_eq!(entry["platforms"], json!(["linux/amd64"]), "{list:#}");
    succeeds(&["verify", "--jobs", "2", text(&site)]);
    let copy = directory.path().join("copy");
    succeeds(&["copy", "--jobs", "2", text(&site), text(&copy)]);
    verify(&[text(&copy)]).assert_clean();
    succeeds(&[
        "publish",
        "--jobs",
        "2",
        "--recheck",
        "--site",
        text(&site),
        &format!("example.com/app={}", layout.arg()),
    ]);
    succeeds(&["remove", text(&site), "example.com/app#1.0"]);
    succeeds(&["gc", "--jobs", "2", "--grace", "0s", text(&site)]);
    assert!(!site.join("oci-cas").exists());
}

/// An index of 25,000 manifests that the layout does not have.
fn large_index(layout: &Layout) -> Value {
    let manifest = |number| json!({"mediaType": MANIFEST, "digest": format!("sha256:{number:064x}"), "size": 2});
    layout.index_of(&(0..SHARED).map(manifest).collect::<Vec<_>>())
}

#[test]
fn a_list_looks_once_at_what_entries_share() {
    // Given: entries that each are an index of one other index, of 25,000 manifests that the site does not have.
    let directory = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(directory.path().join("layout"));
    let shared = large_index(&layout);
    for number in 0..ENTRIES {
        let annotations = json!({"number": number.to_string()});
        let entry = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [shared], "annotations": annotations});
        layout.add_unwritten(&format!("{number:03}"), layout.document(INDEX, &entry));
    }
    layout.write_index();
    let site = directory.path().join("site");
    publish(&site, &["--no-catalogue", "--allow-missing", &format!("example.com/app={}", layout.arg())]);
    // When: they are listed.
    let list: Value = serde_json::from_str(&succeeds(&["list", "--json", text(&site)])).unwrap();
    // Then: what stands behind each is exact.
    let entries = list[0]["entries"].as_array().unwrap();
    assert_eq!(entries.len(), ENTRIES);
    let shared_size = shared["size"].as_u64().unwrap() + 2 * SHARED as u64;
    for (entry, published) in entries.iter().zip(site_entries(&site, "app")) {
        assert_eq!(entry["size"], shared_size + published["size"].as_u64().unwrap());
        assert_eq!(entry["missing"], SHARED);
    }
}

/// A site of so many refs of one index, whose platforms take a mebibyte.
fn site_of_long_platforms(directory: &Path, refs: usize) -> PathBuf {
    let mut layout = Layout::new(directory.join("layout"));
    let image = |number| json!({"os": "o".repeat(2048), "architecture": format!("a{number:03}")});
    let manifest = layout.image("content");
    let index = layout.index_of(
        &(0..512)
            .map(|number| {
                let mut manifest = manifest.clone();
                manifest["digest"] = format!("sha256:{number:064x}").into();
                manifest["platform"] = image(number);
                manifest
            })
            .collect::<Vec<_>>(),
    );
    (0..refs).for_each(|number| layout.add_unwritten(&format!("{number:04}"), index.clone()));
    layout.write_index();
    let site = directory.join("site");
    publish(&site, &["--no-catalogue", "--allow-missing", &format!("example.com/app={}", layout.arg())]);
    site
}

#[test]
fn a_list_of_long_platforms_is_printed_line_by_line() {
    // Given refs whose lines together take 64 MiB.
    let directory = tempfile::tempdir().unwrap();
    let site = site_of_long_platforms(directory.path(), 64);
    // Then 64 MiB of data are enough to list them.
    assert_eq!(succeeds(&["list", text(&site)]).lines().count(), 65);
}

#[test]
fn platforms_count_again_for_each_ref_that_lists_them() {
    // Given refs of one descriptor whose lines together take 300 MiB.
    let directory = tempfile::tempdir().unwrap();
    let site = site_of_long_platforms(directory.path(), 300);
    // Then a list is refused.
    for list in [&["list"][..], &["list", "--json"]] {
        fails(ocisite().args(list).arg(&site), &["example.com/app", "lead to too many descriptors"]);
    }
}

#[test]
fn a_removal_looks_once_at_what_referrers_share() {
    // Given: two images, and a line of referrers, each of which refers to the one before it and lists the same large index.
    let directory = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(directory.path().join("layout"));
    let shared = large_index(&layout);
    let (mut subject, other) = (layout.image("kept"), layout.image("removed"));
    layout.add_unwritten("kept", subject.clone());
    layout.add_unwritten("removed", other);
    for _ in 0..REFERRERS {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [shared], "subject": subject});
        subject = layout.document(INDEX, &index);
        layout.add_untagged(subject.clone());
    }
    let site = directory.path().join("site");
    publish(&site, &["--no-catalogue", "--allow-missing", &format!("example.com/app={}", layout.arg())]);
    // When: the image that none of them refers to is removed, then: all of them stay.
    succeeds(&["remove", text(&site), "example.com/app#removed"]);
    assert_eq!(site_entries(&site, "app").len(), 1 + REFERRERS);
    // When: the other is removed, then: they go with it.
    succeeds(&["remove", text(&site), "example.com/app#kept"]);
    assert!(!site.join("oci-index/app").exists());
}

#[test]
fn every_pull_comes_to_an_end() {
    let server = Server::start();
    let mut top = for_platform(&server.image("linux/amd64", b"layer"), "linux/amd64");
    for _ in 0..LEVELS {
        let index = json!({"schemaVersion": 2, "manifests": vec![top; TIMES]});
        top = server.blob(INDEX, index.to_string().as_bytes());
    }
    server.with_engines().with_index("app", &[tagged(&top, "1.0")]);
    let directory = tempfile::tempdir().unwrap();
    for (number, (args, blobs)) in
        [(&[][..], 3), (&["--platform", "linux/amd64"][..], 3), (&["--all-platforms", "--referrers"][..], LEVELS + 3)]
            .into_iter()
            .enumerate()
    {
        let layout = directory.path().join(number.to_string());
        let mut pull = ocisite();
        pull.args(["pull", "--jobs", "2", "--protocol", "http", "--connect-to", &server.address.to_string()]);
        pull.args(["example.com/app", "--to", text(&layout)]).args(args);
        pull.env("HOME", "/nonexistent").env("XDG_CONFIG_DIRS", "/nonexistent").assert().success();
        assert_eq!(layout.join("blobs/sha256").read_dir().unwrap().count(), blobs, "{args:?}");
    }
}
