//! Content descriptors (image-spec, descriptor): media type, digest and size are checked, and all properties are kept.
//!
//! | rule | section | function |
//! | --- | --- | --- |
//! | `digest` and `size` are required | image-spec, descriptor, "Properties" | [`Descriptor::from_value`] |
//! | the ref of an entry | image-spec, annotations, `org.opencontainers.image.ref.name` | [`Descriptor::ref_name`] |
//! | the platform of an entry | image-spec, image-index, `platform` | [`Platform::from_value`] |
//! | the platform of an image config | image-spec, config, "Properties" | [`Platform::from_config`] |
//! | layers that a layout may lack | image-spec, layer, "Non-Distributable Layers" | [`Descriptor::is_foreign`] |

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::{Digest, DigestError};
use crate::json::{self, ValueText};
use crate::seen::{Key, key};

/// The annotation that carries a ref (a tag) in an index (image-spec, annotations).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation in which BuildKit and containerd keep the full image name.
pub const CONTAINERD_IMAGE_NAME: &str = "io.containerd.image.name";

/// The largest size JSON can carry without loss (2^53 - 1), image-spec's int64 cut to what every parser agrees on.
const MAX_SIZE: u64 = (1 << 53) - 1;

/// The properties of a descriptor that have a meaning (image-spec, descriptor and image-index; oci-discovery,
/// `casEngines`).
const KNOWN_PROPERTIES: [&str; 9] =
    ["annotations", "artifactType", "casEngines", "data", "digest", "mediaType", "platform", "size", "urls"];

/// The most features of an operating system that tell platforms apart. One is in use, `win32k`.
const MAX_OS_FEATURES: usize = 64;

/// A descriptor: the checked `mediaType`, `digest` and `size`, and all properties as read. They are kept as text, since
/// there may be a great many descriptors, and the other properties are seldom needed.
///
/// ```
/// use oci_discovery::oci::Descriptor;
/// use serde_json::json;
///
/// let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// let mut entry = Descriptor::from_value(json!({
///     "digest": digest, "size": 0, "platform": {"os": "linux", "architecture": "arm64"}, "x-unknown": 1,
/// }))?;
/// entry.set_ref_name(Some("1.0"));
/// assert_eq!((entry.ref_name(), entry.platform().unwrap().to_string()), (Some("1.0"), "linux/arm64".into()));
/// assert_eq!(entry.property("x-unknown"), Some(json!(1)));
///
/// assert!(Descriptor::from_value(json!({"digest": digest, "size": -1})).is_err());
/// # Ok::<(), oci_discovery::oci::DescriptorError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    /// The media type of the blob; empty if the descriptor has none.
    pub media_type: String,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The number of bytes.
    pub size: u64,
    /// The ref.
    ref_name: Option<Box<str>>,
    /// All properties as read, with those above.
    properties: ValueText,
}

/// Why a descriptor is malformed.
#[derive(Debug, thiserror::Error)]
pub enum DescriptorError {
    /// Not an object.
    #[error("expected a descriptor (an object), found {found}")]
    NotAnObject {
        /// The JSON type found.
        found: &'static str,
    },
    /// A required property is missing.
    #[error("a descriptor has no \"{property}\"{}", of(.digest))]
    Missing {
        /// `digest` or `size`.
        property: &'static str,
        /// The digest of the descriptor, if it has one.
        digest: Option<String>,
    },
    /// A property has the wrong type.
    #[error("\"{property}\" of a descriptor is {found}, expected {expected}{}", of(.digest))]
    Type {
        /// The property.
        property: &'static str,
        /// The expected type or range.
        expected: &'static str,
        /// The type or value found.
        found: String,
        /// The digest of the descriptor, if it has one.
        digest: Option<String>,
    },
    /// The digest breaks the grammar or names an unknown algorithm.
    #[error("a descriptor's digest cannot be used")]
    Digest(#[source] DigestError),
}

fn of(digest: &Option<String>) -> String {
    digest.as_ref().map(|digest| format!(" (its digest is {digest})")).unwrap_or_default()
}

impl Descriptor {
    /// Reads a descriptor. `mediaType` may be absent (old layouts); `digest` and `size` may not.
    pub fn from_value(value: Value) -> Result<Descriptor, DescriptorError> {
        let Value::Object(properties) = value else {
            return Err(DescriptorError::NotAnObject { found: json::type_name(&value) });
        };
        let text = digest_text(&properties)?;
        let size = size(&properties, text)?;
        let media_type = media_type(&properties, text)?;
        let digest = Digest::parse(text).map_err(DescriptorError::Digest)?;
        let (ref_name, properties) = kept(properties);
        Ok(Descriptor { media_type, digest, size, ref_name, properties })
    }

    /// The descriptor without properties that image-spec and oci-discovery do not define. A manifest may have thousands
    /// of descriptors. The manifest itself is copied byte for byte, so nothing is lost.
    pub fn known_from_value(mut value: Value) -> Result<Descriptor, DescriptorError> {
        if let Value::Object(properties) = &mut value {
            properties.retain(|property, _| KNOWN_PROPERTIES.contains(&property.as_str()));
        }
        Descriptor::from_value(value)
    }

    /// A descriptor with only these three properties.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        let mut properties = Map::new();
        properties.insert("mediaType".into(), media_type.into());
        properties.insert("digest".into(), digest.as_str().into());
        properties.insert("size".into(), size.into());
        let (ref_name, properties) = kept(properties);
        Descriptor { media_type: media_type.into(), digest, size, ref_name, properties }
    }

    /// A key of digest, size and media type. Many entries of an index may differ only in their refs, and have one key.
    pub fn key(&self) -> Key {
        key(&[self.digest.as_str(), &self.size.to_string(), &self.media_type])
    }

    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<Value> {
        self.properties.get(name)
    }

    /// Sets the media type.
    pub fn set_media_type(&mut self, media_type: &str) {
        self.media_type = media_type.into();
        self.edit(|properties| drop(properties.insert("mediaType".into(), media_type.into())));
    }

    /// Changes properties besides `mediaType`, `digest` and `size`.
    pub fn edit(&mut self, change: impl FnOnce(&mut Map<String, Value>)) {
        let mut properties = self.to_map();
        change(&mut properties);
        (self.ref_name, self.properties) = kept(properties);
    }

    /// The value of an annotation, where it is a string.
    pub fn annotation(&self, key: &str) -> Option<String> {
        text(self.property("annotations")?.get_mut(key)?.take())
    }

    /// The ref of this entry of an index, as written (image-spec, annotations, `org.opencontainers.image.ref.name`).
    pub fn ref_name(&self) -> Option<&str> {
        self.ref_name.as_deref()
    }

    /// Sets the ref, or removes it.
    pub fn set_ref_name(&mut self, reference: Option<&str>) {
        self.edit(|properties| match reference {
            Some(reference) => {
                let annotations = properties.entry("annotations").or_insert_with(|| Map::new().into());
                if !annotations.is_object() {
                    *annotations = Map::new().into();
                }
                annotations[REF_NAME] = reference.into();
            }
            None => {
                if let Some(Value::Object(annotations)) = properties.get_mut("annotations") {
                    annotations.remove(REF_NAME);
                }
            }
        });
    }

    /// The platform, if the descriptor has one.
    pub fn platform(&self) -> Option<Platform> {
        Platform::from_value(&self.property("platform")?)
    }

    /// `artifactType`, if the descriptor has it.
    pub fn artifact_type(&self) -> Option<String> {
        text(self.property("artifactType")?)
    }

    /// Whether the blob is a non-distributable layer with `urls`, so that a layout may lack the blob (image-spec,
    /// layer, "Non-Distributable Layers").
    pub fn is_foreign(&self) -> bool {
        super::media_type::is_non_distributable(&self.media_type) && self.has_urls()
    }

    /// Whether the descriptor has `urls` of its blob.
    pub fn has_urls(&self) -> bool {
        self.property("urls").is_some_and(|urls| urls.as_array().is_some_and(|urls| !urls.is_empty()))
    }

    /// The descriptor as canonical JSON.
    pub fn json(&self) -> &Arc<str> {
        self.properties.canonical()
    }

    /// The descriptor as a JSON value.
    pub fn to_value(&self) -> Value {
        self.properties.value()
    }

    /// All properties.
    pub fn to_map(&self) -> Map<String, Value> {
        match self.to_value() {
            Value::Object(properties) => properties,
            _ => Map::new(),
        }
    }

    /// The descriptor as text.
    pub fn text(&self) -> &ValueText {
        &self.properties
    }
}

/// Serializes to the object of all properties.
impl Serialize for Descriptor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.properties.serialize(serializer)
    }
}

/// The ref of properties, and their text.
fn kept(properties: Map<String, Value>) -> (Option<Box<str>>, ValueText) {
    let ref_name = properties.get("annotations").and_then(|annotations| annotations.get(REF_NAME)?.as_str());
    (ref_name.map(Into::into), ValueText::from(&Value::Object(properties)))
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn digest_text(properties: &Map<String, Value>) -> Result<&str, DescriptorError> {
    match properties.get("digest") {
        None | Some(Value::Null) => Err(DescriptorError::Missing { property: "digest", digest: None }),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(DescriptorError::Type {
            property: "digest",
            expected: "a string",
            found: json::type_name(other).into(),
            digest: None,
        }),
    }
}

fn size(properties: &Map<String, Value>, digest: &str) -> Result<u64, DescriptorError> {
    let digest = || Some(digest.to_string());
    let Some(value) = properties.get("size").filter(|size| !size.is_null()) else {
        return Err(DescriptorError::Missing { property: "size", digest: digest() });
    };
    value.as_u64().filter(|size| *size <= MAX_SIZE).ok_or_else(|| DescriptorError::Type {
        property: "size",
        expected: "a whole number of bytes from 0 to 9007199254740991",
        found: if value.is_number() { value.to_string() } else { json::type_name(value).into() },
        digest: digest(),
    })
}

fn media_type(properties: &Map<String, Value>, digest: &str) -> Result<String, DescriptorError> {
    match properties.get("mediaType") {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(DescriptorError::Type {
            property: "mediaType",
            expected: "a string",
            found: json::type_name(other).into(),
            digest: Some(digest.into()),
        }),
    }
}

/// The platform of an image, from an index entry (image-spec, image-index) or from an image config (image-spec,
/// config).
///
/// ```
/// use oci_discovery::oci::Platform;
///
/// let config = br#"{"os": "linux", "architecture": "arm", "variant": "v7", "rootfs": {}}"#;
/// assert_eq!(Platform::from_config(config).unwrap().to_string(), "linux/arm/v7");
/// assert_eq!(Platform::from_config(b"{}"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// `linux`, `windows`, …
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7`, `v8`, …; empty if there is none.
    pub variant: String,
    /// `os.version`; empty if there is none.
    pub os_version: String,
    /// `os.features`, sorted.
    pub os_features: Vec<String>,
}

impl Platform {
    /// Reads `os`, `architecture`, `variant`, `os.version` and `os.features` of an object, which may be a descriptor's
    /// `platform` or an image config. None if it has neither `os` nor `architecture`.
    pub fn from_value(value: &Value) -> Option<Platform> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
        let features = value.get("os.features").and_then(Value::as_array).into_iter().flatten();
        let features = features.filter_map(Value::as_str).map(str::to_string);
        let mut os_features: Vec<String> = features.take(MAX_OS_FEATURES).collect();
        os_features.sort();
        let platform = Platform {
            os: text("os"),
            architecture: text("architecture"),
            variant: text("variant"),
            os_version: text("os.version"),
            os_features,
        };
        (!platform.os.is_empty() || !platform.architecture.is_empty()).then_some(platform)
    }

    /// Reads the platform of an image config, without a tree of the other values.
    pub fn from_config(config: &[u8]) -> Option<Platform> {
        #[derive(Deserialize)]
        struct Config {
            #[serde(default)]
            os: String,
            #[serde(default)]
            architecture: String,
            #[serde(default)]
            variant: String,
            #[serde(default, rename = "os.version")]
            os_version: String,
            #[serde(default, rename = "os.features")]
            os_features: Vec<String>,
        }
        let Ok(config) = json::parse_as::<Config>(config, json::MAX_VALUE_BYTES) else {
            // One property has another type. The others are still read.
            return json::parse(config).ok().as_ref().and_then(Platform::from_value);
        };
        let Config { os, architecture, variant, os_version, mut os_features } = config;
        os_features.sort();
        let platform = Platform { os, architecture, variant, os_version, os_features };
        (!platform.os.is_empty() || !platform.architecture.is_empty()).then_some(platform)
    }

    /// The object `platform` of a descriptor, without empty values.
    pub fn to_value(&self) -> Value {
        let mut object = Map::new();
        object.insert("architecture".into(), self.architecture.clone().into());
        object.insert("os".into(), self.os.clone().into());
        if !self.variant.is_empty() {
            object.insert("variant".into(), self.variant.clone().into());
        }
        if !self.os_version.is_empty() {
            object.insert("os.version".into(), self.os_version.clone().into());
        }
        if !self.os_features.is_empty() {
            object.insert("os.features".into(), self.os_features.clone().into());
        }
        object.into()
    }
}

/// `os/architecture[/variant]`, then `os.version` in parentheses and `os.features` in brackets, if present.
impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        if !self.os_version.is_empty() {
            write!(f, " ({})", self.os_version)?;
        }
        if !self.os_features.is_empty() {
            write!(f, " [{}]", self.os_features.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn all_properties_are_kept() {
        let value = json!({"mediaType": "a/b", "digest": DIGEST, "size": 7, "x-unknown": [1, {"y": null}]});
        assert_eq!(Descriptor::from_value(value.clone()).unwrap().to_value(), value);
    }

    #[test]
    fn a_size_that_is_negative_fractional_or_huge_is_refused() {
        for size in [json!(-1), json!(1.5), json!(1e300), json!(9007199254740992u64), json!("7"), json!([])] {
            let value = json!({"mediaType": "a/b", "digest": DIGEST, "size": size});
            let message = Descriptor::from_value(value).unwrap_err().to_string();
            assert!(message.contains("\"size\"") && message.contains(DIGEST), "{message}");
        }
    }

    #[test]
    fn digest_and_size_are_required() {
        let message = Descriptor::from_value(json!({"size": 1})).unwrap_err().to_string();
        assert!(message.contains("no \"digest\""), "{message}");
        let message = Descriptor::from_value(json!({"digest": DIGEST})).unwrap_err().to_string();
        assert!(message.contains("no \"size\""), "{message}");
    }

    #[test]
    fn a_platform_prints_as_people_write_it() {
        let platform = Platform::from_value(&json!({"os": "linux", "architecture": "arm", "variant": "v7"})).unwrap();
        assert_eq!(platform.to_string(), "linux/arm/v7");
        assert_eq!(Platform::from_value(&json!({"rootfs": {}})), None);
    }
}
