//! Images for the server to have.

use serde_json::{Value, json};
use sha2::Digest;

use super::server::{Answer, Server, WELL_KNOWN};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// A CAS template over one flat directory.
pub const CAS: &str = "/cas/{encoded}";

pub fn cas_engine(template: &str) -> Value {
    json!({"protocol": "oci-cas-template-v1", "uri": template})
}

pub fn ref_engine(template: &str) -> Value {
    json!({"protocol": "oci-index-template-v1", "uri": template})
}

pub fn encoded(bytes: &[u8]) -> String {
    hex::encode(sha2::Sha256::digest(bytes))
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", encoded(bytes)), "size": bytes.len()})
}

/// The entry of an index, with more properties.
pub fn entry(descriptor: &Value, more: Value) -> Value {
    let mut entry = descriptor.clone();
    entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    entry
}

/// An entry under a ref.
pub fn tagged(descriptor: &Value, reference: &str) -> Value {
    entry(descriptor, json!({"annotations": {REF_NAME: reference}}))
}

impl Server {
    /// Serves `/index/{+path}` for every host, with a flat CAS.
    pub fn with_engines(&self) -> &Server {
        let document = json!({"refEngines": [ref_engine("/index/{+path}")], "casEngines": [cas_engine(CAS)]});
        self.answer(WELL_KNOWN, Answer::ref_engines(document))
    }

    /// Serves the index of a path.
    pub fn with_index(&self, path: &str, entries: &[Value]) -> &Server {
        let document = json!({"schemaVersion": 2, "manifests": entries});
        self.answer(&format!("/index/{path}"), Answer::index(document))
    }

    /// Serves a blob and gives its descriptor.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        self.answer(&format!("/cas/{}", encoded(bytes)), Answer::blob(bytes));
        descriptor(media_type, bytes)
    }

    /// Serves an image of one layer for a platform and gives its manifest's descriptor.
    pub fn image(&self, platform: &str, layer: &[u8]) -> Value {
        let (os, architecture) = platform.split_once('/').unwrap();
        let config = json!({"os": os, "architecture": architecture}).to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "config": self.blob("application/vnd.oci.image.config.v1+json", config.as_bytes()),
            "layers": [self.blob("application/vnd.oci.image.layer.v1.tar", layer)],
        });
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    /// Serves a manifest that refers to another.
    pub fn referrer(&self, subject: &Value, content: &[u8]) -> Value {
        let manifest = json!({
            "schemaVersion": 2,
            "artifactType": "application/spdx+json",
            "config": self.blob("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [self.blob("application/spdx+json", content)],
            "subject": subject,
        });
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    /// Serves an index over images, each with its platform, and gives its descriptor.
    pub fn nested_index(&self, images: &[(&str, Value)]) -> Value {
        let manifests: Vec<Value> = images.iter().map(|(platform, image)| for_platform(image, platform)).collect();
        self.blob(INDEX, json!({"schemaVersion": 2, "manifests": manifests}).to_string().as_bytes())
    }
}

pub fn for_platform(descriptor: &Value, platform: &str) -> Value {
    let (os, architecture) = platform.split_once('/').unwrap();
    entry(descriptor, json!({"platform": {"os": os, "architecture": architecture}}))
}
