//! Looks at a published site: its files as they are, and what a reader finds by following references.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::Digest;

use super::layout::REF_NAME;

/// Every file, directory and link below a directory, private state included; nothing when the directory does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(pub BTreeMap<PathBuf, Item>);

/// What there is at a path.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    pub mode: u32,
    /// None: a directory.
    pub bytes: Option<Vec<u8>>,
}

/// Kept short: an assertion that fails prints these by the hundred.
impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.bytes {
            None => write!(f, "directory {:o}", self.mode),
            Some(bytes) => write!(f, "{:o} {:?}", self.mode, String::from_utf8_lossy(&bytes[..bytes.len().min(200)])),
        }
    }
}

impl Snapshot {
    /// Reads everything below `root`.
    pub fn of(root: &Path) -> Snapshot {
        let mut items = BTreeMap::new();
        if let Ok(metadata) = root.symlink_metadata() {
            // A root that is a link to nothing is an item by itself.
            items.insert(PathBuf::new(), Item { mode: metadata.permissions().mode(), bytes: None });
        }
        if root.exists() {
            for entry in walkdir::WalkDir::new(root) {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                let bytes = match metadata.is_file() {
                    true => Some(std::fs::read(entry.path()).unwrap()),
                    false => {
                        std::fs::read_link(entry.path()).ok().map(|target| target.into_os_string().into_encoded_bytes())
                    }
                };
                let path = entry.path().strip_prefix(root).unwrap().to_path_buf();
                items.insert(path, Item { mode: metadata.permissions().mode(), bytes });
            }
        }
        Snapshot(items)
    }

    /// The same without locks and temporary files: what a reader can see.
    pub fn public(root: &Path) -> Snapshot {
        let Snapshot(mut items) = Snapshot::of(root);
        items.retain(|path, _| !path.starts_with(".ocisite"));
        Snapshot(items)
    }

    /// Compares with what is there now, and says which paths differ.
    pub fn assert_unchanged(&self, root: &Path) {
        self.assert_same(&Snapshot::of(root));
    }

    /// Compares with another snapshot, and says which paths differ.
    pub fn assert_same(&self, other: &Snapshot) {
        let paths: BTreeSet<&PathBuf> = self.0.keys().chain(other.0.keys()).collect();
        let differing: Vec<String> = paths
            .into_iter()
            .filter(|path| self.0.get(*path) != other.0.get(*path))
            .map(|path| format!("{}: {:?} became {:?}", path.display(), self.0.get(path), other.0.get(path)))
            .collect();
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    }
}

/// The inode and the times of every file below a directory: what shows that nothing was written, not even the same bytes.
pub fn traces(root: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let files = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| {
            let metadata = entry.metadata().unwrap();
            (entry.into_path(), (metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
        })
        .collect()
}

/// A JSON file of a site.
pub fn json(site: &Path, path: &str) -> Value {
    let file = site.join(path);
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&bytes).unwrap()
}

/// The index of an image of a site with the default templates.
pub fn index(site: &Path, image: &str) -> Value {
    json(site, &format!("oci-index/{image}"))
}

/// The entries of an image of a site with the default templates.
pub fn entries(site: &Path, image: &str) -> Vec<Value> {
    index(site, image)["manifests"].as_array().unwrap().clone()
}

/// The refs of an image, sorted, `-` for an entry without one.
pub fn refs(site: &Path, image: &str) -> Vec<String> {
    let reference = |entry: &Value| entry["annotations"][REF_NAME].as_str().unwrap_or("-").to_string();
    let mut refs: Vec<String> = entries(site, image).iter().map(reference).collect();
    refs.sort();
    refs
}

/// Where a site with the default templates has a blob.
pub fn blob_file(site: &Path, digest: &str) -> PathBuf {
    let (algorithm, encoded) = digest.split_once(':').unwrap();
    site.join("oci-cas").join(algorithm).join(&encoded[..2]).join(encoded)
}

/// Follows every reference of a site with the default templates, from its description to the last blob, and fails when one
/// leads nowhere or a blob's bytes do not have its digest. `subject` points up, so it need not lead anywhere. Gives the
/// number of blobs.
pub fn assert_whole(site: &Path) -> usize {
    let mut seen = BTreeSet::new();
    for image in json(site, "ocisite.json")["images"].as_array().unwrap() {
        let (_, path) = image.as_str().unwrap().split_once('/').unwrap();
        assert_index_whole(site, &site.join("oci-index").join(path), &mut seen);
    }
    // An index may be there before the description that lists it: a reader who knows its name finds it.
    for file in walkdir::WalkDir::new(site.join("oci-index")).into_iter().map(Result::unwrap) {
        if file.file_type().is_file() {
            assert_index_whole(site, file.path(), &mut seen);
        }
    }
    seen.len()
}

/// [`assert_whole`] for one index.
pub fn assert_index_whole(site: &Path, index: &Path, seen: &mut BTreeSet<String>) {
    let index: Value = serde_json::from_slice(&std::fs::read(index).unwrap()).unwrap();
    let mut todo: Vec<Value> = index["manifests"].as_array().unwrap().clone();
    while let Some(descriptor) = todo.pop() {
        let digest = descriptor["digest"].as_str().unwrap().to_string();
        if !seen.insert(digest.clone()) {
            continue;
        }
        let file = blob_file(site, &digest);
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{digest} is referred to: {error}"));
        assert_eq!(digest_like(&digest, &bytes), digest);
        assert_eq!(descriptor["size"].as_u64().unwrap(), bytes.len() as u64);
        let names_descriptors = |kind: &str| ["manifest", "index"].iter().any(|word| kind.contains(word));
        let is_document = descriptor["mediaType"].as_str().is_some_and(names_descriptors);
        if is_document && let Ok(Value::Object(document)) = serde_json::from_slice(&bytes) {
            for field in ["manifests", "layers", "blobs"] {
                todo.extend(document.get(field).and_then(Value::as_array).into_iter().flatten().cloned());
            }
            todo.extend(document.get("config").filter(|config| config.get("digest").is_some()).cloned());
        }
    }
}

/// The digest of bytes in the algorithm of another digest.
pub fn digest_like(digest: &str, bytes: &[u8]) -> String {
    let (algorithm, _) = digest.split_once(':').unwrap();
    let encoded = match algorithm {
        "sha256" => hex::encode(sha2::Sha256::digest(bytes)),
        "sha512" => hex::encode(sha2::Sha512::digest(bytes)),
        "blake3" => blake3::hash(bytes).to_string(),
        other => panic!("no such algorithm: {other}"),
    };
    format!("{algorithm}:{encoded}")
}
