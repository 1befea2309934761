//! Checks that need the files of a directory: modes, links, leftovers, and unreachable objects.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::files::{Files, Tree, place_key};
use super::finding::{Finding, Findings};
use super::rule;
use crate::root::{Entry, FileError, Root};
use crate::site::index::Index;
use crate::site::path::PRIVATE_DIRECTORY;
use crate::site::registry::{self, Endpoint, is_tag};
use crate::site::{Kind, SiteMap, SitePath};
use crate::store::StoreError;
use crate::store::private_state::{TEMPORARY, is_temporary};
use oci_discovery::digest::Digest;
use oci_discovery::error::chain;
use oci_discovery::json::{MAX_INDEX_BYTES, MAX_MANIFEST_BYTES};
use oci_discovery::name::ImageName;
use oci_discovery::seen::Seen;

/// The mode bits that other users need to read a file or enter a directory.
const FILE_MODE: u32 = 0o004;
const DIRECTORY_MODE: u32 = 0o001;
/// The most objects with an unusable name that are reported one by one.
const NAMED: usize = 100;

/// Verifies the files and directories of a root. `map` tells which belong to the site. Without a map, all do.
pub fn look_at_files(root: &Root, map: Option<&SiteMap>, findings: &Findings) -> Result<(), FileError> {
    // Directories without access for other users, until a file of the site is found below.
    let mut closed: Vec<(PathBuf, u32)> = Vec::new();
    for entry in root.walk("", &|path| path != Path::new(PRIVATE_DIRECTORY))? {
        let Entry { path, status } = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let object = match &error {
                    FileError::Io { path, .. } => path.strip_prefix(root.path()).unwrap_or(path).to_path_buf(),
                    _ => PathBuf::new(),
                };
                findings.push(Finding::new(&rule::UNREADABLE, name(&object), "a file", chain(&error)));
                continue;
            }
        };
        if status.kind() == FileType::Directory {
            closed.retain(|(above, _)| path.starts_with(above));
            if status.mode() & DIRECTORY_MODE == 0 {
                closed.push((path, status.mode()));
            }
            continue;
        }
        let object = name(&path);
        if !SitePath::new(&object).is_ok_and(|path| map.is_none_or(|map| map.kind_of(&path).is_some())) {
            continue;
        }
        if status.kind() == FileType::Symlink {
            let target = root.link_target(&path).unwrap_or_default();
            let found = format!("a link to {}", target.display());
            findings.push(Finding::new(&rule::SYMLINK, object, "a file", found));
            continue;
        }
        for (directory, mode) in closed.extract_if(.., |(directory, _)| path.starts_with(directory)) {
            findings.push(permissions(name(&directory) + "/", "0755", mode));
        }
        if status.kind() == FileType::RegularFile && status.mode() & FILE_MODE == 0 {
            findings.push(permissions(object, "0644", status.mode()));
        }
    }
    Ok(())
}

fn permissions(object: String, expected: &str, found: u32) -> Finding {
    let (expected, found) = (format!("mode {expected}"), format!("mode {found:04o}"));
    Finding::new(&rule::PERMISSIONS, object, expected, found)
}

fn name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Counts the leftovers of interrupted writes, if this user has access to the private state.
pub fn look_for_leftovers(root: &Root, findings: &Findings) {
    let directory = Path::new(PRIVATE_DIRECTORY).join(TEMPORARY);
    let entries = root.walk(&directory, &|_| false);
    let is_leftover = |entry: &Entry| entry.path.file_name().and_then(OsStr::to_str).is_some_and(is_temporary);
    let count = entries.map_or(0, |entries| entries.filter_map(Result::ok).filter(is_leftover).count());
    if count > 0 {
        let object = format!("{}/", directory.display());
        findings.push(Finding::new(&rule::LEFTOVER, object, "no temporary files", format!("{count} of them")));
    }
}

/// Calls `visit` for each index, with its name: an image, or a ref of one. Several names, if neither the path nor the document tells
/// which it is.
pub fn each_index(
    root: &Tree,
    map: &SiteMap,
    visit: &mut dyn FnMut(&[ImageName], &SitePath),
) -> Result<(), StoreError> {
    root.list(map.index_pattern().static_prefix(), &mut |object| {
        if map.kind_of(&object.path) != Some(Kind::Index) {
            return;
        }
        let mut names = map.names_at(&object.path);
        if names.len() > 1 {
            // What cannot be read is reported where it is reached.
            let document = root.store.read_document(&object.path, MAX_INDEX_BYTES).ok().flatten();
            let index = document.and_then(|document| Index::parse(&document.bytes).ok());
            names = index.map_or(names, |index| map.names_of(&object.path, &index));
        }
        if !names.is_empty() {
            visit(&names, &object.path);
        }
    })
}

/// Names the indexes of refs that the indexes of their images do not have, and that the walk therefore did not reach.
pub fn look_for_unlisted_refs(
    root: &Tree,
    map: &SiteMap,
    reached: &Seen,
    findings: &Findings,
) -> Result<(), StoreError> {
    if !map.has_ref_indexes() || map.index_pattern().origin.is_some() {
        return Ok(());
    }
    each_index(root, map, &mut |names, path| {
        if let [name, ..] = names
            && let Some(reference) = name.fragment()
            && !reached.contains(place_key(root, path))
        {
            let expected = format!("{reference:?} in the index of {}", name.image());
            findings.push(Finding::new(&rule::INDEX_UNLISTED, path.as_str(), expected, "no such ref there"));
        }
    })
}

/// Reports objects whose names are invalid as paths.
pub fn look_for_unusable_names(root: &Tree, findings: &Findings) -> Result<(), StoreError> {
    let expected = "a key that is a path";
    let mut count = 0;
    root.store.list_unusable(&mut |name| {
        count += 1;
        if count <= NAMED {
            let found = "a key with a segment of dots, an empty segment, or a control character";
            findings.push(Finding::new(&rule::NAME_UNUSABLE, format!("{name:?}"), expected, found));
        }
    })?;
    if let Some(more) = count.checked_sub(NAMED).filter(|more| *more > 0) {
        findings.push(Finding::new(&rule::NAME_UNUSABLE, "the bucket", expected, format!("{more} more")));
    }
    Ok(())
}

pub fn look_for_orphans(files: &Files, map: &SiteMap, reached: &Seen, findings: &Findings) -> Result<(), StoreError> {
    if map.settings().views.registry {
        reach_tags(files, map, reached)?;
    }
    let roots = files
        .others
        .iter()
        .map(|(origin, root)| (map.settings().origins.iter().position(|known| known == origin), root));
    let (mut count, mut bytes) = (0u64, 0u64);
    for (origin, root) in roots.chain([(None, &files.own)]) {
        if map.blob_pattern().origin != origin {
            continue;
        }
        root.list(map.blob_pattern().static_prefix(), &mut |object| {
            let is_blob = matches!(map.kind_in(origin, &object.path), Some(Kind::Blob(_)));
            if is_blob && !reached.contains(place_key(root, &object.path)) {
                count += 1;
                bytes += object.stat.size;
            }
        })?;
    }
    if count > 0 {
        let (object, found) = (map.blob_pattern().static_prefix(), format!("{count} unreachable, of {bytes} bytes"));
        findings.push(Finding::new(&rule::ORPHANS, object, "blobs that an index reaches", found));
    }
    Ok(())
}

/// A tag of the registry view can be an index that only the view has (see `registry::view::Tag`). It is in the CAS, too.
fn reach_tags(files: &Files, map: &SiteMap, reached: &Seen) -> Result<(), StoreError> {
    let Some(host) = map.settings().hosts.first() else { return Ok(()) };
    let reach = |name: &str, path: &SitePath| -> Result<(), StoreError> {
        let Some(document) = files.own.store.read_document(path, MAX_MANIFEST_BYTES)? else { return Ok(()) };
        let digest = Digest::of(oci_discovery::digest::Algorithm::Sha256, &document.bytes);
        let place = ImageName::new(host, name, None).ok().and_then(|image| map.blob_place(&image, &digest).ok());
        if let Some(place) = place.filter(|place| place.origin.is_none()) {
            reached.insert(place_key(&files.own, &place.path));
        }
        Ok(())
    };
    // Each tag is read while they are listed: there may be very many.
    let mut outcome = Ok(());
    files.own.list(&format!("{}/", registry::ROOT), &mut |object| {
        if let Some(Endpoint::Manifest { name, reference }) = Endpoint::parse(object.path.as_str())
            && is_tag(reference)
            && outcome.is_ok()
        {
            outcome = reach(name, &object.path);
        }
    })?;
    outcome
}
