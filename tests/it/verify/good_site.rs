//! A small site with nothing wrong, and ways to break it.

use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::Digest;
use tempfile::TempDir;

use crate::support::layout::{INDEX, Layout};
use crate::support::program::{publish, text};
use crate::support::site;

/// The index of the image that is broken.
pub const APP: &str = "oci-index/app";
/// The ref-engines object.
pub const REF_ENGINES: &str = ".well-known/oci-host-ref-engines";
/// The protocol of CAS engines.
pub const CAS: &str = "oci-cas-template-v1";
/// The protocol of ref engines.
pub const REF: &str = "oci-index-template-v1";

/// The site, in a temporary directory.
pub struct GoodSite {
    pub directory: TempDir,
    /// What publish was told.
    published: Vec<String>,
}

impl GoodSite {
    /// Publishes `example.com/app` with an image `1.0` and its signature, an index `2.0` over two platforms, and an image
    /// `3.0`; and `example.com/team/app`, which has the index, too, and no blob of its own.
    pub fn new() -> GoodSite {
        GoodSite::with(&[])
    }

    /// The same with more arguments for publish.
    pub fn with(args: &[&str]) -> GoodSite {
        let directory = crate::support::fixtures::readable_directory();
        let mut layout = Layout::new(directory.path().join("layout"));
        let image = layout.image("content");
        layout.add("1.0", image.clone());
        let platforms = ["amd64", "arm64"].map(|architecture| {
            let platform = json!({"os": "linux", "architecture": architecture});
            let mut image = layout.image_with(architecture, platform.clone());
            image["platform"] = platform;
            image
        });
        let index = layout.index_of(&platforms);
        layout.add("2.0", index);
        let last = layout.image("more content");
        layout.add("3.0", last);
        let signature = layout.artifact("signature", &image);
        layout.add_untagged(signature);
        let app = format!("example.com/app={}", layout.arg());
        let team = format!("example.com/team/app={}:2.0", layout.arg());
        // Whoever breaks an index also makes a catalogue say something else.
        let catalogue = if args.contains(&"--catalogue") { &[][..] } else { &["--no-catalogue"] };
        let published = [args, catalogue, &[&app, &team]].concat().into_iter().map(String::from).collect();
        let site = GoodSite { directory, published };
        site.publish(&[]);
        site
    }

    /// Publishes the same again, with more arguments.
    pub fn publish(&self, more: &[&str]) -> String {
        let args: Vec<&str> = self.published.iter().map(String::as_str).chain(more.iter().copied()).collect();
        publish(&self.root(), &args)
    }

    /// The web root.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("site")
    }

    /// The web root as an argument.
    pub fn arg(&self) -> String {
        text(&self.root()).to_string()
    }

    /// Writes any file of the site.
    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let file = self.root().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) {
        std::fs::remove_file(self.root().join(path)).unwrap();
    }

    /// Changes a JSON document.
    pub fn edit(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut document = site::json(&self.root(), path);
        change(&mut document);
        self.write(path, document.to_string());
    }

    /// The position of the entry of `app` with a ref; `-` for the one without.
    pub fn position(&self, reference: &str) -> usize {
        let name = |entry: &Value| entry["annotations"][site_ref()].as_str().unwrap_or("-").to_string();
        site::entries(&self.root(), "app").iter().position(|entry| name(entry) == reference).unwrap()
    }

    /// Changes an entry of `app`.
    pub fn edit_entry(&self, reference: &str, change: impl FnOnce(&mut Value)) {
        let position = self.position(reference);
        self.edit(APP, |index| change(&mut index["manifests"][position]));
    }

    /// Adds an entry to `app`.
    pub fn add_entry(&self, entry: Value) {
        self.edit(APP, |index| index["manifests"].as_array_mut().unwrap().push(entry));
    }

    /// Adds an engine to a list of the ref-engines object.
    pub fn add_engine(&self, list: &str, engine: Value) {
        self.edit(REF_ENGINES, |object| object[list].as_array_mut().unwrap().push(engine));
    }

    /// An entry of `app`.
    pub fn entry(&self, reference: &str) -> Value {
        site::entries(&self.root(), "app")[self.position(reference)].clone()
    }

    /// The manifest that an entry of `app` points to.
    pub fn manifest(&self, reference: &str) -> Value {
        let file = site::blob_file(&self.root(), self.entry(reference)["digest"].as_str().unwrap());
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }

    /// The file of a blob, by its descriptor.
    pub fn blob(&self, descriptor: &Value) -> PathBuf {
        site::blob_file(&self.root(), descriptor["digest"].as_str().unwrap())
    }

    /// The file of a layer that only `1.0` has.
    pub fn layer(&self) -> PathBuf {
        self.blob(&self.manifest("1.0")["layers"][1])
    }

    /// Puts a blob into the CAS, and gives its digest.
    pub fn put(&self, bytes: &[u8]) -> String {
        let encoded = hex::encode(sha2::Sha256::digest(bytes));
        self.write(&format!("oci-cas/sha256/{}/{encoded}", &encoded[..2]), bytes);
        format!("sha256:{encoded}")
    }

    /// Puts other bytes in the place of a manifest; the entry of `app` follows.
    pub fn replace_manifest(&self, reference: &str, bytes: &[u8]) {
        let old = self.blob(&self.entry(reference));
        let digest = self.put(bytes);
        self.edit_entry(reference, |entry| {
            entry["digest"] = digest.into();
            entry["size"] = bytes.len().into();
        });
        std::fs::remove_file(old).unwrap();
    }

    /// Changes a manifest; the entry of `app` follows.
    pub fn edit_manifest(&self, reference: &str, change: impl FnOnce(&mut Value)) {
        let mut manifest = self.manifest(reference);
        change(&mut manifest);
        self.replace_manifest(reference, manifest.to_string().as_bytes());
    }

    /// An index of one descriptor, as a blob; gives its descriptor.
    pub fn put_index_of(&self, descriptor: &Value) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]}).to_string();
        json!({"mediaType": INDEX, "digest": self.put(index.as_bytes()), "size": index.len()})
    }
}

fn site_ref() -> &'static str {
    crate::support::layout::REF_NAME
}
