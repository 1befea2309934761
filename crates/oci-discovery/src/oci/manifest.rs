//! Which properties of which media types hold descriptors: the only table, for publishing, pulling and verifying.
//!
//! | media type | descriptors in | section |
//! | --- | --- | --- |
//! | [`INDEX`](media_type::INDEX), [`DOCKER_MANIFEST_LIST`](media_type::DOCKER_MANIFEST_LIST) | `manifests`, `subject` | image-spec, image-index |
//! | [`MANIFEST`](media_type::MANIFEST), [`DOCKER_MANIFEST`](media_type::DOCKER_MANIFEST) | `config`, `layers`, `subject` | image-spec, manifest |
//! | [`ARTIFACT_MANIFEST`](media_type::ARTIFACT_MANIFEST) | `blobs`, `subject` | drafted for image-spec 1.1 |
//! | [`ORAS_ARTIFACT_MANIFEST`](media_type::ORAS_ARTIFACT_MANIFEST) | `blobs`, `descriptors`, `subject` | ORAS artifacts |
//! | [`DOCKER_GENERIC_MANIFEST`](media_type::DOCKER_GENERIC_MANIFEST), and any above where they are descriptors | `target`, `dependencies` | a proposal for Docker's registry |
//! | any other | none: opaque bytes | |
//!
//! Early drafts have `refers` for `subject`. The table includes dropped drafts, because real layouts have them, and a
//! blob that no rule follows is never published.

use serde_json::{Map, Value};

use super::media_type;
use super::{Descriptor, DescriptorError, Verified};
use crate::json::{self, JsonError};

/// The descriptors in a manifest or an index.
///
/// ```
/// use oci_discovery::digest::{Algorithm, Digest};
/// use oci_discovery::oci::manifest::Links;
/// use oci_discovery::oci::{Descriptor, media_type};
///
/// let signature = Descriptor::new(media_type::MANIFEST, Digest::of(Algorithm::Sha256, b""), 0);
/// let links = Links { artifact_type: Some("application/spdx+json".into()), ..Links::default() };
/// assert_eq!(links.referrer_descriptor(&signature).artifact_type().as_deref(), Some("application/spdx+json"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// The media type by which the document was read; empty for a blob that holds no descriptors.
    pub media_type: String,
    /// The document's own `mediaType`, where its descriptor gives another.
    pub other_type: Option<String>,
    /// The blobs that the document needs: entries, config, layers, blobs, in the document's order.
    pub children: Vec<Descriptor>,
    /// The manifest that this document refers to. The manifest may be missing.
    pub subject: Option<Descriptor>,
    /// The image config among the children.
    pub config: Option<Descriptor>,
    /// The document's own `artifactType`.
    pub artifact_type: Option<String>,
    /// The document's own annotations.
    pub annotations: Map<String, Value>,
}

impl Links {
    /// The type of this document in a list of referrers: its `artifactType`, or the media type of its config
    /// (distribution-spec, "Listing Referrers").
    pub fn effective_artifact_type(&self) -> Option<&str> {
        let given = self.artifact_type.as_deref().filter(|given| !given.is_empty());
        given.or(self.config.as_ref().map(|config| config.media_type.as_str()))
    }
}

impl Links {
    /// The media type of this document, of which a descriptor says that it is `described`.
    pub fn type_or<'t>(&'t self, described: &'t str) -> &'t str {
        if self.media_type.is_empty() { described } else { &self.media_type }
    }

    /// The descriptor of this document in a list of referrers, with the document's `artifactType` and annotations
    /// (distribution-spec, "Listing Referrers").
    pub fn referrer_descriptor(&self, described: &Descriptor) -> Descriptor {
        let mut descriptor =
            Descriptor::new(self.type_or(&described.media_type), described.digest.clone(), described.size);
        descriptor.edit(|properties| {
            if let Some(artifact_type) = self.effective_artifact_type() {
                properties.insert("artifactType".into(), artifact_type.into());
            }
            if !self.annotations.is_empty() {
                properties.insert("annotations".into(), self.annotations.clone().into());
            }
        });
        descriptor
    }
}

/// Why a manifest or an index is malformed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not an object.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// One of its descriptors is malformed.
    #[error("in \"{field}\"")]
    Descriptor {
        /// The property, with the position in a list: `layers[2]`.
        field: String,
        /// The fault of the descriptor.
        #[source]
        source: DescriptorError,
    },
}

/// The media type of a document: its own `mediaType`, or else that of its descriptor (image-spec, manifest,
/// `mediaType`).
///
/// Layouts that are older than image-spec 1.0 have descriptors without a media type, and some tools describe a Docker manifest
/// as an OCI manifest.
///
/// ```
/// use oci_discovery::oci::{manifest::document_type, media_type};
/// use serde_json::json;
///
/// let document = json!({"mediaType": media_type::DOCKER_MANIFEST, "config": {}});
/// assert_eq!(document_type(media_type::MANIFEST, &document), media_type::DOCKER_MANIFEST);
/// assert_eq!(document_type("", &json!({"manifests": []})), media_type::INDEX);
/// ```
pub fn document_type<'a>(described: &'a str, document: &'a Value) -> &'a str {
    if !described.is_empty() && !media_type::holds_descriptors(described) {
        return described;
    }
    match document.get("mediaType").and_then(Value::as_str) {
        Some(own) if media_type::holds_descriptors(own) => own,
        _ if !described.is_empty() => described,
        _ if document.get("manifests").is_some_and(Value::is_array) => media_type::INDEX,
        _ if document.get("config").is_some_and(Value::is_object) => media_type::MANIFEST,
        _ if document.get("target").is_some_and(Value::is_object) => media_type::DOCKER_GENERIC_MANIFEST,
        _ => described,
    }
}

/// Whether a blob with this descriptor media type has to be read to find its descriptors.
///
/// ```
/// use oci_discovery::oci::{manifest::may_hold_descriptors, media_type};
///
/// assert!(may_hold_descriptors(media_type::INDEX) && may_hold_descriptors(""));
/// assert!(!may_hold_descriptors(media_type::CONFIG));
/// ```
pub fn may_hold_descriptors(described: &str) -> bool {
    described.is_empty() || media_type::holds_descriptors(described)
}

/// Reads the descriptors in a document, by the table of the [module](self). `described` is the media type of the
/// document's descriptor. The [front page of the model](super) has an example.
///
/// # Errors
/// The document is not a JSON object, or one of its descriptors is malformed.
pub fn links(described: &str, bytes: &Verified) -> Result<Links, ManifestError> {
    if !may_hold_descriptors(described) {
        return Ok(Links::default());
    }
    let document = match json::parse(bytes) {
        Ok(document) => document,
        // A descriptor without a media type may describe a layer.
        Err(_) if described.is_empty() => return Ok(Links::default()),
        Err(error) => return Err(error.into()),
    };
    let media_type = document_type(described, &document).to_string();
    let other_type = document.get("mediaType").filter(|own| !described.is_empty() && own.as_str() != Some(described));
    let other_type = other_type.map(|own| own.as_str().map_or_else(|| own.to_string(), str::to_string));
    match document {
        Value::Object(document) => links_of(media_type, other_type, document),
        _ if described.is_empty() => Ok(Links::default()),
        other => {
            let (expected, found) = ("the manifest to be an object".into(), json::type_name(&other));
            Err(JsonError::Type { expected, found }.into())
        }
    }
}

/// Moves the descriptors out of a document: an index may have tens of thousands, too many for a copy.
fn links_of(
    media_type: String,
    other_type: Option<String>,
    mut document: Map<String, Value>,
) -> Result<Links, ManifestError> {
    let mut links = Links {
        media_type,
        other_type,
        artifact_type: document.get("artifactType").and_then(Value::as_str).map(str::to_string),
        annotations: match document.remove("annotations") {
            Some(Value::Object(annotations)) => annotations,
            _ => Map::new(),
        },
        ..Links::default()
    };
    let document = &mut document;
    match links.media_type.as_str() {
        media_type::INDEX | media_type::DOCKER_MANIFEST_LIST => links.add_list(document, "manifests")?,
        media_type::MANIFEST | media_type::DOCKER_MANIFEST => {
            links.config = single(document, "config")?;
            links.children.extend(links.config.clone());
            links.add_list(document, "layers")?;
        }
        media_type::ARTIFACT_MANIFEST => links.add_list(document, "blobs")?,
        media_type::ORAS_ARTIFACT_MANIFEST => {
            links.add_list(document, "blobs")?;
            links.add_list(document, "descriptors")?;
        }
        media_type::DOCKER_GENERIC_MANIFEST => {}
        _ => return Ok(links),
    }
    if is_generic(links.media_type.as_str(), document) {
        links.children.extend(single(document, "target")?);
        links.add_list(document, "dependencies")?;
    }
    links.subject = match single(document, "subject")? {
        Some(subject) => Some(subject),
        // Early drafts of OCI 1.1 called the subject "refers".
        None => single(document, "refers")?,
    };
    Ok(links)
}

/// Whether a document has the fields of the generic manifest. Other types may have properties of these names, which are
/// theirs where they are no descriptors.
fn is_generic(media_type: &str, document: &Map<String, Value>) -> bool {
    let is_descriptor = |value: &Value| Descriptor::from_value(value.clone()).is_ok();
    media_type == media_type::DOCKER_GENERIC_MANIFEST
        || document.get("target").is_some_and(is_descriptor)
            && document.get("dependencies").and_then(Value::as_array).is_none_or(|all| all.iter().all(is_descriptor))
}

impl Links {
    fn add_list(&mut self, document: &mut Map<String, Value>, field: &str) -> Result<(), ManifestError> {
        let list = match document.remove(field) {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Array(list)) => list,
            Some(other) => {
                return Err(JsonError::Type {
                    expected: format!("\"{field}\" to be an array"),
                    found: json::type_name(&other),
                }
                .into());
            }
        };
        for (position, value) in list.into_iter().enumerate() {
            let child = Descriptor::known_from_value(value)
                .map_err(|source| ManifestError::Descriptor { field: format!("{field}[{position}]"), source })?;
            self.children.push(child);
        }
        Ok(())
    }
}

fn single(document: &mut Map<String, Value>, field: &str) -> Result<Option<Descriptor>, ManifestError> {
    match document.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => Descriptor::known_from_value(value)
            .map(Some)
            .map_err(|source| ManifestError::Descriptor { field: field.into(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Algorithm, Digest};
    use serde_json::json;

    fn descriptor(size: u64) -> Value {
        json!({
            "mediaType": "application/x",
            "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "size": size,
        })
    }

    fn verified(bytes: &[u8]) -> Verified {
        let digest = Digest::of(Algorithm::Sha256, bytes);
        Verified::read(bytes, &Descriptor::new("", digest, bytes.len() as u64)).unwrap()
    }

    fn sizes(media_type: &str, document: Value) -> Vec<u64> {
        let links = links(media_type, &verified(document.to_string().as_bytes())).unwrap();
        links.children.iter().chain(&links.subject).map(|child| child.size).collect()
    }

    #[test]
    fn every_field_of_the_table_is_followed() {
        let d = descriptor;
        assert_eq!(sizes(media_type::INDEX, json!({"manifests": [d(1), d(2)], "subject": d(3)})), [1, 2, 3]);
        assert_eq!(sizes(media_type::DOCKER_MANIFEST_LIST, json!({"manifests": [d(1)]})), [1]);
        assert_eq!(sizes(media_type::MANIFEST, json!({"config": d(1), "layers": [d(2)], "subject": d(3)})), [1, 2, 3]);
        assert_eq!(sizes(media_type::MANIFEST, json!({"config": d(1), "layers": [], "refers": d(3)})), [1, 3]);
        assert_eq!(sizes(media_type::DOCKER_MANIFEST, json!({"config": d(1), "layers": [d(2)]})), [1, 2]);
        assert_eq!(sizes(media_type::ARTIFACT_MANIFEST, json!({"blobs": [d(1)], "refers": d(2)})), [1, 2]);
        assert_eq!(sizes(media_type::ORAS_ARTIFACT_MANIFEST, json!({"blobs": [d(1)], "subject": d(2)})), [1, 2]);
        assert_eq!(sizes(media_type::ORAS_ARTIFACT_MANIFEST, json!({"descriptors": [d(1)]})), [1]);
        assert_eq!(sizes(media_type::DOCKER_GENERIC_MANIFEST, json!({"target": d(1), "dependencies": [d(2)]})), [1, 2]);
        assert_eq!(
            sizes(media_type::MANIFEST, json!({"config": d(1), "target": d(2), "dependencies": [d(3)]})),
            [1, 2, 3]
        );
        assert_eq!(sizes(media_type::MANIFEST, json!({"config": d(1), "target": "x", "dependencies": 1})), [1]);
        assert_eq!(sizes("", json!({"target": d(1), "dependencies": [d(2)]})), [1, 2]);
        assert_eq!(sizes("application/x-unknown", json!({"manifests": [d(1)]})), [0u64; 0]);
    }

    #[test]
    fn a_descriptor_without_media_type_is_read_by_its_shape() {
        assert_eq!(sizes("", json!({"manifests": [descriptor(1)]})), [1]);
        assert_eq!(sizes("", json!({"config": descriptor(1), "layers": [descriptor(2)]})), [1, 2]);
        assert!(links("", &verified(b"\x1f\x8b not JSON at all")).unwrap().children.is_empty());
    }

    #[test]
    fn a_referrer_is_described_by_its_own_type_and_annotations() {
        let config = json!({"mediaType": "application/x-config", "digest": descriptor(0)["digest"], "size": 2});
        let described = |document: Value| {
            let bytes = verified(document.to_string().as_bytes());
            let image = Descriptor::new(media_type::MANIFEST, bytes.digest().clone(), bytes.len() as u64);
            links(media_type::MANIFEST, &bytes).unwrap().referrer_descriptor(&image).to_value()
        };
        let signature = described(json!({"artifactType": "a/b", "config": config, "annotations": {"c": "d"}}));
        assert_eq!((&signature["artifactType"], &signature["annotations"]["c"]), (&json!("a/b"), &json!("d")));
        let without_type = described(json!({"artifactType": "", "config": config}));
        assert_eq!(without_type["artifactType"], "application/x-config");
    }

    #[test]
    fn a_wrong_descriptor_is_named_by_its_place() {
        let document = json!({"config": descriptor(1), "layers": [descriptor(1), {"size": 1}]});
        let error = links(media_type::MANIFEST, &verified(document.to_string().as_bytes())).unwrap_err();
        assert_eq!(error.to_string(), "in \"layers[1]\"");
    }
}
