//! Makes OCI image layouts in temporary directories, right ones and broken ones.
//!
//! Everything is written the way a tool would write it, with `serde_json` and `sha2` alone, so that the tests do not judge
//! the program by its own code.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::Digest;

pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A layout directory. Its `index.json` is written anew with each entry that is added.
pub struct Layout {
    pub path: PathBuf,
    entries: Vec<Value>,
}

impl Layout {
    /// A layout without entries.
    pub fn new(path: impl Into<PathBuf>) -> Layout {
        let layout = Layout { path: path.into(), entries: vec![] };
        std::fs::create_dir_all(layout.path.join("blobs/sha256")).unwrap();
        layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        layout.write_index();
        layout
    }

    /// A layout of one image for linux/amd64, made of `content`, under the ref `1.0`.
    pub fn of_image(path: impl Into<PathBuf>, content: &str) -> Layout {
        let mut layout = Layout::new(path);
        let image = layout.image(content);
        layout.add("1.0", image);
        layout
    }

    /// Writes any file of the layout.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path.join(name), bytes).unwrap();
    }

    /// Writes a blob and gives its descriptor.
    pub fn blob(&self, media_type: &str, bytes: impl AsRef<[u8]>) -> Value {
        let bytes = bytes.as_ref();
        let encoded = hex::encode(sha2::Sha256::digest(bytes));
        self.write(&format!("blobs/sha256/{encoded}"), bytes);
        json!({"mediaType": media_type, "digest": format!("sha256:{encoded}"), "size": bytes.len()})
    }

    /// Writes a JSON document as a blob and gives its descriptor.
    pub fn document(&self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string())
    }

    /// Writes the blobs of an image for linux/amd64 and gives its manifest's descriptor.
    pub fn image(&self, content: &str) -> Value {
        self.image_with(content, json!({"os": "linux", "architecture": "amd64"}))
    }

    /// The same with a config of one's own.
    pub fn image_with(&self, content: &str, config: Value) -> Value {
        let config = self.document(CONFIG, &config);
        let layers = [self.blob(LAYER, "a layer that all share"), self.blob(LAYER, content)];
        self.document(MANIFEST, &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}))
    }

    /// Writes an artifact that refers to another manifest, and gives its descriptor.
    pub fn artifact(&self, content: &str, subject: &Value) -> Value {
        let empty = self.blob("application/vnd.oci.empty.v1+json", "{}");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/x-signature",
            "config": empty,
            "layers": [self.blob("application/x-signature", content)],
            "subject": subject,
        });
        self.document(MANIFEST, &manifest)
    }

    /// Writes an image index as a blob and gives its descriptor.
    pub fn index_of(&self, manifests: &[Value]) -> Value {
        self.document(INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))
    }

    /// Adds an entry without a ref to `index.json`.
    pub fn add_untagged(&mut self, descriptor: Value) {
        self.entries.push(descriptor);
        self.write_index();
    }

    /// Adds an entry with a ref to `index.json`.
    pub fn add(&mut self, reference: &str, descriptor: Value) {
        self.add_unwritten(reference, descriptor);
        self.write_index();
    }

    /// The same for when many follow; [`Layout::write_index`] is called after the last.
    pub fn add_unwritten(&mut self, reference: &str, mut descriptor: Value) {
        descriptor["annotations"][REF_NAME] = reference.into();
        self.entries.push(descriptor);
    }

    /// Where the bytes of a blob are.
    pub fn blob_file(&self, descriptor: &Value) -> PathBuf {
        self.path.join("blobs").join(descriptor["digest"].as_str().unwrap().replace(':', "/"))
    }

    /// The name of a blob's file, as messages contain it: `blobs/sha256/HEX`.
    pub fn blob_name(&self, descriptor: &Value) -> String {
        format!("blobs/{}", descriptor["digest"].as_str().unwrap().replace(':', "/"))
    }

    /// Packs the layout into a tar archive.
    pub fn archive(&self, archive: &Path) {
        let mut builder = tar::Builder::new(File::create(archive).unwrap());
        builder.follow_symlinks(false);
        builder.append_dir_all(".", &self.path).unwrap();
        builder.finish().unwrap();
    }

    /// The path as an argument.
    pub fn arg(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// The layout as an input of publish: under a name of `example.com`, with or without a ref.
    pub fn input(&self, name: &str) -> String {
        format!("example.com/{name}={}", self.arg())
    }

    /// Writes `index.json`.
    pub fn write_index(&self) {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries});
        self.write("index.json", index.to_string());
    }
}
