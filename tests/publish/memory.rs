//! Layouts that take little room on disk and would take a great deal in memory: a publish stays within a limit.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::json;
use tar::{EntryType, Header};
use tempfile::TempDir;

use crate::support::layout::Layout;
use crate::support::memory::{MIB, ocisite_within};
use crate::support::program::{fails, text};
use crate::support::site::{Snapshot, json};

const GIB: u64 = 1024 * MIB;

fn header(kind: EntryType, name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_path(name).unwrap();
    header.set_size(size);
    header.set_cksum();
    header
}

/// An archive that begins with this, and goes on with a hole of four gibibytes.
fn sparse_archive(path: &Path, start: &[&[u8]]) {
    let mut file = File::create(path).unwrap();
    file.write_all(&start.concat()).unwrap();
    file.set_len(4 * GIB).unwrap();
}

/// Publishes the archive with 64 MiB of memory, which has to be refused, and leaves the site as it is.
fn refuse(directory: &Path, archive: &Path, words: &[&str]) {
    let site = directory.join("site");
    let good = Layout::of_image(directory.join("good"), "published before");
    let publish = |input: &str| {
        let mut command = ocisite_within(64 * MIB);
        command.args(["publish", "--jobs", "2", "--site", text(&site), &format!("example.com/app={input}")]);
        command
    };
    publish(good.arg()).assert().success();
    let before = Snapshot::of(&site);
    let message = fails(&mut publish(text(archive)), words);
    assert!(!message.contains("memory allocation"), "{message}");
    before.assert_unchanged(&site);
}

#[test]
fn an_extension_header_of_gigabytes_in_an_archive_is_refused_before_it_is_read() {
    let directory = TempDir::new().unwrap();
    let archive = directory.path().join("archive.tar");
    for kind in [b'L', b'K', b'x', b'g'] {
        // Given a few bytes on disk that announce three gibibytes.
        sparse_archive(&archive, &[header(EntryType::new(kind), "long", 3 * GIB).as_bytes()]);
        // When it is published, then the message says where, what, how much and how much there may be.
        let words =
            ["archive.tar", "byte 0", "\"long\"", &(3 * GIB).to_string(), &MIB.to_string(), "make the archive again"];
        refuse(directory.path(), &archive, &words);
    }
}

#[test]
fn an_extension_header_is_found_wherever_a_reader_of_pax_records_finds_it() {
    // Given a member of no bytes by its pax record, and of a gibibyte by its header: readers that disagree on which counts
    // find different headers behind it.
    let directory = TempDir::new().unwrap();
    let archive = directory.path().join("archive.tar");
    let mut record = b"10 size=0\n".to_vec();
    let pax = header(EntryType::XHeader, "pax", record.len() as u64);
    record.resize(512, 0);
    let member = header(EntryType::Regular, "member", GIB);
    let long = header(EntryType::GNULongName, "hidden", 3 * GIB);
    sparse_archive(&archive, &[pax.as_bytes(), &record, member.as_bytes(), long.as_bytes()]);
    refuse(directory.path(), &archive, &["byte 1536", "\"hidden\""]);
}

/// Publishes an image of so many refs with the registry view, within a limit. Gives how many refs its index has.
fn publish_refs(layout: &Layout, refs: usize, bytes: u64) {
    layout.write_index();
    let site = layout.path.with_extension("site");
    let image = format!("example.com/app={}", layout.arg());
    let mut command = ocisite_within(bytes);
    command.args(["publish", "--jobs", "2", "--registry", "--no-catalogue", "--site", text(&site), &image]);
    command.assert().success();
    let tags = json(&site, "v2/app/tags/list")["tags"].as_array().unwrap().len();
    assert_eq!(tags, refs);
}

#[test]
fn a_great_many_refs_of_one_manifest_are_published_in_little_memory() {
    // Given refs that all lead to one manifest.
    let (directory, refs) = (TempDir::new().unwrap(), 10_000);
    let mut layout = Layout::new(directory.path().join("layout"));
    let image = layout.image("content");
    (0..refs).for_each(|number| layout.add_unwritten(&format!("v{number:06}"), image.clone()));
    // Then two kibibytes are enough for each.
    publish_refs(&layout, refs, 16 * MIB + refs as u64 * 2048);
}

#[test]
fn refs_of_the_same_platforms_are_published_in_little_memory() {
    // Given refs that all lead to the same two manifests, so that one index stands for each of them.
    let (directory, refs) = (TempDir::new().unwrap(), 3_000);
    let mut layout = Layout::new(directory.path().join("layout"));
    for architecture in ["amd64", "arm64"] {
        let platform = json!({"os": "linux", "architecture": architecture, "os.version": "9".repeat(400)});
        let mut image = layout.image_with(architecture, platform.clone());
        image["platform"] = platform;
        (0..refs).for_each(|number| layout.add_unwritten(&format!("v{number:06}"), image.clone()));
    }
    publish_refs(&layout, refs, 16 * MIB + refs as u64 * 6 * 1024);
}
