//! What is fuzzed: each function takes any bytes, and panics where a promise is broken.
//!
//! Beside libFuzzer's binaries in `fuzz_targets`, the project's own tests run these over the corpora (`tests/it/fuzz.rs`).

#![allow(clippy::unwrap_used, reason = "a panic is how a promise is found to be broken")]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};
use std::sync::OnceLock;

use oci_discovery::digest::{Algorithm, Digest};
use oci_discovery::discovery::{RefEngines, Remarks};
use oci_discovery::json;
use oci_discovery::name::ImageName;
use oci_discovery::oci::walk::Manifests;
use oci_discovery::oci::{Descriptor, Verified, manifest};
use oci_discovery::template::{Template, digest_variables, name_variables};
use ocisite::layout::Layout;
use ocisite::root::Root;
use ocisite::serve::computed::Computations;
use ocisite::serve::preview::{Preview, SharedMap};
use ocisite::serve::range::{self, Ranges};
use ocisite::serve::request_path;
use ocisite::serve::respond::{PreviewRequest, respond};
use ocisite::site::description::Description;
use ocisite::site::index::Index;
use ocisite::site::settings::Views;
use ocisite::site::{Preset, Settings, SiteMap, SitePath};
use serde_json::Value;
use tempfile::TempDir;
use url::Url;

#[path = "layout.rs"]
pub mod layout;

/// A target: its name, which is that of its corpus, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 10] = [
    ("archive", archive),
    ("digest", digest),
    ("index", index),
    ("layout", layout::layout),
    ("manifest", manifest),
    ("name", name),
    ("range", range),
    ("request_path", request_path),
    ("template", template),
    ("well_known", well_known),
];

/// The template that sites have, and a name and a digest to expand it with.
fn image() -> ImageName {
    ImageName::parse("example.com/team/app#1.0").unwrap()
}

/// A path of a site leads to a file in it: no step leads up, or out.
fn assert_inside(path: &SitePath) {
    let mut components = Path::new(path.as_str()).components();
    assert!(components.all(|component| matches!(component, Component::Normal(_))), "{path}");
    assert!(!path.as_str().contains('\0'), "{path:?}");
}

/// A name is printed as it was read, and its place is in the site, whatever the layout.
pub fn name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(name) = ImageName::parse(text) else { return };
    assert_eq!(ImageName::parse(&name.to_string()).unwrap(), name);
    assert_eq!(name.discovery_hosts()[0], name.host());
    for map in maps() {
        if let Ok(place) = map.index_place(&name) {
            assert_inside(&place.path);
            assert!(!place.path.as_str().starts_with(".ocisite"), "{place:?}");
            for found in map.names_at(&place.path) {
                assert_eq!(map.index_place(&found).unwrap(), place, "{found}");
            }
        }
    }
}

/// A map for each preset.
fn maps() -> &'static [SiteMap] {
    static MAPS: OnceLock<Vec<SiteMap>> = OnceLock::new();
    MAPS.get_or_init(|| {
        let presets = [Preset::Cas, Preset::Layout, Preset::Registry];
        presets.iter().filter_map(|preset| map(preset.index_template(), preset.cas_template(), "example.com")).collect()
    })
}

/// A digest is printed as it was read, and its parts are a file's name.
pub fn digest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(digest) = Digest::parse(text) else { return };
    assert_eq!(digest.as_str(), text);
    assert_eq!(digest.encoded().len(), digest.algorithm().hex_len());
    assert!(digest.encoded().bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
}

fn map(index: &str, cas: &str, host: &str) -> Option<SiteMap> {
    SiteMap::new(Settings {
        hosts: vec![host.into()],
        index_template: Template::parse(index).ok()?,
        cas_template: Template::parse(cas).ok()?,
        origins: vec![],
        views: Views::default(),
    })
    .ok()
}

/// A template is printed as it was read; it expands, or an error says why not; and what a site makes of it is inside.
pub fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(template) = Template::parse(text) else { return };
    assert_eq!(template.as_str(), text);
    let (image, digest) = (image(), Digest::of(Algorithm::Sha256, b""));
    for variables in [name_variables(&image), digest_variables(&digest)] {
        let some = template.expand_some(&variables);
        let all = template.expand(&variables);
        if let (Ok(some), Ok(all)) = (&some, &all) {
            assert_eq!(some.expand(&variables).as_ref(), Ok(all), "in two steps");
        }
    }
    if let Some(map) = map(text, Preset::Cas.cas_template(), "example.com") {
        map.index_place(&image).iter().for_each(|place| assert_inside(&place.path));
    }
    if let Some(map) = map(Preset::Cas.index_template(), text, "example.com") {
        map.blob_place(&image, &digest).iter().for_each(|place| assert_inside(&place.path));
    }
}

/// An index that can be read is written in canonical form, which is read as the same.
pub fn index(bytes: &[u8]) {
    if let Ok(index) = Index::parse(bytes) {
        let written = index.to_bytes();
        let again = Index::parse(&written).unwrap();
        assert_eq!(again.to_bytes(), written);
        assert_eq!(again.entries().len(), index.entries().len());
    }
    if let Ok(description) = Description::parse(bytes) {
        assert_eq!(Description::parse(&description.to_bytes()).unwrap().to_bytes(), description.to_bytes());
    }
}

/// A manifest of any media type has links, or is none. The first line is the media type.
pub fn manifest(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let Ok(media_type) = std::str::from_utf8(&bytes[..end]) else { return };
    let bytes = &bytes[end..];
    let referrer = Descriptor::new(media_type, Digest::of(Algorithm::Sha256, bytes), bytes.len() as u64);
    let Ok(verified) = Verified::read(bytes, &referrer) else { return };
    let Ok(links) = manifest::links(media_type, &verified) else { return };
    for descriptor in links.children.iter().chain(&links.subject).chain([&links.referrer_descriptor(&referrer)]) {
        let again = Descriptor::from_value(descriptor.to_value()).unwrap();
        assert_eq!(&again, descriptor);
        assert_eq!(json::parse(descriptor.json().as_bytes()).unwrap(), descriptor.to_value());
    }
}

/// An archive of a layout is read to its last manifest, or an error says why not.
pub fn archive(bytes: &[u8]) {
    thread_local! {
        static FILE: tempfile::NamedTempFile = tempfile::NamedTempFile::with_suffix(".tar").unwrap();
    }
    FILE.with(|file| {
        file.as_file().set_len(0).unwrap();
        file.as_file().write_all_at(bytes, 0).unwrap();
        let Ok(layout) = Layout::open(file.path()) else { return };
        for entry in layout.entries().unwrap_or_default() {
            let _ = layout.has_blob(&entry.digest, entry.size);
            if let Ok(Some(bytes)) = layout.read(&entry) {
                assert_eq!(bytes.len() as u64, entry.size);
                assert_eq!(Digest::of(entry.digest.algorithm(), &bytes), entry.digest);
            }
        }
    });
}

/// A range is a part of what there is. The first eight bytes are the size.
pub fn range(bytes: &[u8]) {
    let Some((size, value)) = bytes.split_first_chunk::<8>() else { return };
    let size = u64::from_le_bytes(*size);
    let Ok(value) = std::str::from_utf8(value) else { return };
    let Ranges::Parts(parts) = range::parse(value, size) else { return };
    assert!(parts.iter().all(|part| part.start <= part.end && part.end < size), "{value:?} of {size}: {parts:?}");
    assert!(parts.iter().map(|part| part.length()).sum::<u64>() <= size, "{value:?} of {size}: {parts:?}");
}

/// What stands beside the site that requests are sent to, and must not be read.
const SECRET: &[u8] = b"a secret beside the site";

/// A site in a temporary directory.
struct Served {
    root: Root,
    map: SharedMap,
    _directory: TempDir,
}

thread_local! {
    // For each thread, so that it is removed: a static is never dropped.
    static SERVED: Served = served();
}

/// A site with a file beside it, and a link to that file in it.
fn served() -> Served {
    let directory =
        tempfile::Builder::new().prefix(&format!("ocisite-fuzz-{}-", std::process::id())).tempdir().unwrap();
    let (root, site) = (directory.path(), directory.path().join("site"));
    for directory in [".well-known", ".ocisite", "oci-index/team"] {
        std::fs::create_dir_all(site.join(directory)).unwrap();
    }
    let write = |path: &str, bytes: &[u8]| File::create(root.join(path)).unwrap().write_all(bytes).unwrap();
    write("secret", SECRET);
    write("site/.ocisite/lock", SECRET);
    write("site/oci-index/team/app", b"{}");
    write("site/.well-known/oci-host-ref-engines", b"{}");
    std::os::unix::fs::symlink("../../secret", site.join("oci-index/link")).unwrap();
    let map = map(Preset::Cas.index_template(), Preset::Cas.cas_template(), "example.com").unwrap();
    let map = SharedMap::new(map);
    Served { root: Root::open(&site).unwrap(), map, _directory: directory }
}

/// No request for any path gets what is not of the site.
pub fn request_path(bytes: &[u8]) {
    let Ok(target) = std::str::from_utf8(bytes) else { return };
    let (path, query) = request_path::split(target);
    if let Ok(decoded) = request_path::decode(path)
        && let Ok(path) = SitePath::new(&decoded)
    {
        assert_inside(&path);
    }
    let request =
        PreviewRequest { method: "GET".into(), path: path.into(), query: query.into(), ..PreviewRequest::default() };
    let computations = Computations::default();
    let response = SERVED.with(|Served { root, map, .. }| {
        respond(&Preview { root, map, computations: &computations, client: None }, &request)
    });
    assert!((200..500).contains(&response.status), "{}", response.status);
    let mut body = vec![];
    response.body.write_to(&mut body).unwrap();
    assert!(!body.windows(SECRET.len()).any(|part| part == SECRET), "{target:?}");
}

/// Engines of any form expand to a URL, or an error says why not.
pub fn well_known(bytes: &[u8]) {
    let Ok(value) = json::parse(bytes) else { return };
    let uri = Url::parse("https://example.com/.well-known/oci-host-ref-engines").unwrap();
    let mut remarks = Remarks::default();
    let Ok(read) = RefEngines::read(&uri, &value, &mut remarks) else {
        assert!(!matches!(value, Value::Object(_)));
        return;
    };
    let (image, digest) = (image(), Digest::of(Algorithm::Sha256, b""));
    for engine in read.ref_engines.iter().chain(read.cas_engines.iter()) {
        for variables in [name_variables(&image), digest_variables(&digest)] {
            let _ = engine.expand(&variables);
        }
    }
    remarks.iter().for_each(|remark| assert!(!remark.to_string().is_empty()));
}
