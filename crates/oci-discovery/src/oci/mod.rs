//! The image model of image-spec: descriptors, indexes, manifests, the graph that they form, and the bytes that they
//! describe.
//!
//! - [`descriptor`]: digest, size and media type of a blob, with its platform and its ref.
//! - [`index`]: the entries of an image index, one at a time.
//! - [`manifest`]: which properties of which media types hold descriptors.
//! - [`verified`]: bytes that have the digest of their descriptor.
//! - [`walk`](mod@walk): every blob that a descriptor reaches, within limits. [`recorded`]: the same for many roots that
//!   share manifests, each of which is read once.
//! - [`platform`]: which image fits which machine. [`referrers`]: the tags under which referrers are listed.
//! - [`relations`]: which manifests refer to which.
//!
//! ```
//! use oci_discovery::digest::{Algorithm, Digest};
//! use oci_discovery::oci::{Descriptor, Verified, manifest, media_type};
//!
//! let config = Descriptor::new(media_type::CONFIG, Digest::of(Algorithm::Sha256, b"{}"), 2);
//! let bytes = format!(r#"{{"schemaVersion": 2, "config": {}, "layers": []}}"#, config.json());
//! let image = Descriptor::new(media_type::MANIFEST, Digest::of(Algorithm::Sha256, bytes.as_bytes()), bytes.len() as u64);
//!
//! // Only bytes that match their descriptor are parsed.
//! let bytes = Verified::read(bytes.as_bytes(), &image)?;
//! assert_eq!(manifest::links(&image.media_type, &bytes)?.children, [config]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod descriptor;
pub mod index;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod recorded;
pub mod referrers;
pub mod relations;
pub mod verified;
pub mod walk;

pub use descriptor::{Descriptor, DescriptorError, Platform};
pub use verified::Verified;
