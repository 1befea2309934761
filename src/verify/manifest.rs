//! Verifies manifests and configs against their descriptors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::finding::{Collected, Finding};
use super::index::descriptor_finding;
use super::rule;
use oci_discovery::digest::Digest;
use oci_discovery::error::chain;
use oci_discovery::json;
use oci_discovery::oci::manifest::{self, Links, ManifestError};
use oci_discovery::oci::{Descriptor, Platform, Verified, media_type};

/// The checked parts of a descriptor. An index can have very many.
#[derive(Debug)]
pub struct Described {
    /// Empty if the descriptor has none.
    pub media_type: String,
    /// The digest that the bytes must have.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// `None`: for every platform, or unknown.
    pub platform: Option<Box<Platform>>,
    /// `data`: the blob, in base64.
    pub data: Option<String>,
    /// Whether the descriptor itself has URLs of the blob.
    pub has_urls: bool,
}

impl Described {
    pub fn new(descriptor: Descriptor) -> Described {
        let data = descriptor.property("data");
        Described {
            platform: descriptor.platform().map(Box::new),
            data: data.map(|data| data.as_str().map_or_else(|| data.to_string(), str::to_string)),
            has_urls: descriptor.has_urls(),
            media_type: descriptor.media_type,
            digest: descriptor.digest,
            size: descriptor.size,
        }
    }

    /// Whether the blob may be a manifest.
    pub fn may_hold_descriptors(&self) -> bool {
        manifest::may_hold_descriptors(&self.media_type)
    }

    /// The finding about `data`, if it is wrong.
    pub fn data_finding(&self) -> Option<Finding> {
        let data = self.data.as_ref()?;
        let found = match BASE64.decode(data) {
            Err(error) => format!("\"data\" that is not base64 ({error})"),
            Ok(bytes) => match Digest::of(self.digest.algorithm(), &bytes) {
                found if found == self.digest && bytes.len() as u64 == self.size => return None,
                found => format!("\"data\" of {} bytes with the digest {found}", bytes.len()),
            },
        };
        let expected = format!("the {} bytes themselves", self.size);
        Some(Finding::new(&rule::DESCRIPTOR_DATA, self.digest.to_string(), expected, found))
    }
}

/// Verifies a manifest. Returns its links and findings, or the finding that makes its links unknown.
pub fn check(described: &Described, object: &str, bytes: &Verified) -> Result<(Links, Collected), Box<Finding>> {
    let wrong = |expected: &str, found: String| Box::new(Finding::new(&rule::MANIFEST_FORM, object, expected, found));
    let links = manifest::links(&described.media_type, bytes).map_err(|error| match &error {
        ManifestError::Descriptor { field, source } => {
            let finding = descriptor_finding(&format!("{object}, {field}"), source);
            // A wrong digest has a rule of its own; other faults of a descriptor are faults of the manifest.
            match *finding.rule == rule::DIGEST_ALGORITHM {
                true => Box::new(finding),
                false => wrong(&format!("a descriptor in \"{field}\""), finding.found),
            }
        }
        ManifestError::Json(error) => wrong("a manifest", format!("none: {}", chain(error))),
    })?;
    let mut findings = Collected::default();
    if !media_type::holds_descriptors(&described.media_type) {
        return Ok((links, findings));
    }
    // The manifest was parsed before, and faults were reported then.
    let document = json::parse(bytes).unwrap_or_default();
    let has_version =
        media_type::is_index(&described.media_type) || media_type::is_image_manifest(&described.media_type);
    let version = document.get("schemaVersion");
    if has_version && version.and_then(Value::as_u64) != Some(2) {
        let found = version.map_or("nothing".into(), Value::to_string);
        findings.push(*wrong("\"schemaVersion\" to be 2", found));
    }
    if let Some(found) = links.other_type.clone() {
        findings.push(Finding::new(&rule::MANIFEST_MEDIA_TYPE, object, &*described.media_type, found));
    }
    Ok((links, findings))
}

/// Compares the platform in an image's config with the one in the manifest's descriptor. A property that only one of
/// them has is no difference.
pub fn check_platform(object: &str, config: &[u8], expected: &Platform) -> Option<Finding> {
    let found = json::parse(config).ok().as_ref().and_then(Platform::from_value)?;
    let differs = |a: &str, b: &str| !a.is_empty() && !b.is_empty() && a != b;
    let is_other = differs(&expected.os, &found.os)
        || differs(&expected.architecture, &found.architecture)
        || differs(&expected.variant, &found.variant)
        || differs(&expected.os_version, &found.os_version);
    is_other.then(|| Finding::new(&rule::PLATFORM_DIFFERS, object, expected.to_string(), found.to_string()))
}
