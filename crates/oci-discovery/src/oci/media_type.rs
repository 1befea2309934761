//! Media types, and the properties of a blob that follow from its media type.
//!
//! ```
//! use oci_discovery::oci::media_type::{self, holds_descriptors, is_image_config, is_image_manifest, is_index};
//!
//! assert!(is_index(media_type::DOCKER_MANIFEST_LIST) && is_image_manifest(media_type::MANIFEST));
//! assert!(holds_descriptors(media_type::ARTIFACT_MANIFEST) && !holds_descriptors(media_type::OCTET_STREAM));
//! assert!(is_image_config(media_type::CONFIG));
//! ```

/// An image index: `index.json` of a layout, the index of a ref engine, and nested indexes (image-spec, image-index).
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An image manifest (image-spec, manifest).
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An image config (image-spec, config).
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A content descriptor (image-spec, descriptor).
pub const DESCRIPTOR: &str = "application/vnd.oci.descriptor.v1+json";
/// The artifact manifest drafted for OCI 1.1 and dropped before its release.
pub const ARTIFACT_MANIFEST: &str = "application/vnd.oci.artifact.manifest.v1+json";
/// The artifact manifest of the ORAS project.
pub const ORAS_ARTIFACT_MANIFEST: &str = "application/vnd.cncf.oras.artifact.manifest.v1+json";
/// Docker's image manifest, version 2, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// The generic manifest of a proposal for Docker's registry: a target and its dependencies.
pub const DOCKER_GENERIC_MANIFEST: &str = "application/vnd.docker.distribution.manifest.generic.v1+json";
/// The empty JSON object that artifacts use as config (image-spec 1.1).
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The ref-engines object at `/.well-known/oci-host-ref-engines` (xdg-ref-engine-discovery, "Ref-engines objects").
pub const REF_ENGINES: &str = "application/vnd.oci.ref-engines.v1+json";
/// `oci-layout` at the root of an image layout (image-spec, image-layout).
pub const LAYOUT_HEADER: &str = "application/vnd.oci.layout.header.v1+json";
/// Any bytes.
pub const OCTET_STREAM: &str = "application/octet-stream";
/// Any JSON.
pub const JSON: &str = "application/json";

/// An image index or Docker's manifest list: descriptors in `manifests`.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, INDEX | DOCKER_MANIFEST_LIST)
}

/// An image manifest, OCI's or Docker's: a config and layers.
pub fn is_image_manifest(media_type: &str) -> bool {
    matches!(media_type, MANIFEST | DOCKER_MANIFEST)
}

/// Any document with descriptors; other blobs are opaque bytes.
pub fn holds_descriptors(media_type: &str) -> bool {
    is_index(media_type)
        || is_image_manifest(media_type)
        || matches!(media_type, ARTIFACT_MANIFEST | ORAS_ARTIFACT_MANIFEST | DOCKER_GENERIC_MANIFEST)
}

/// An image config, which has the platform of the image.
pub fn is_image_config(media_type: &str) -> bool {
    matches!(media_type, CONFIG | DOCKER_CONFIG)
}

/// A layer that its licence may forbid to distribute, so that a layout may lack the layer: OCI's `nondistributable` and
/// Docker's `foreign` layers (image-spec, layer, "Non-Distributable Layers").
pub(crate) fn is_non_distributable(media_type: &str) -> bool {
    media_type.contains(".nondistributable.") || media_type.contains(".foreign.")
}
