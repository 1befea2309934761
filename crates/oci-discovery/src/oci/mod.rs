//! The OCI image-spec as this program needs it: media types, descriptors, manifests and the graph they form, and image
//! layouts on disk, as directories or as tar archives.

pub mod descriptor;
pub mod index;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod recorded;
pub mod referrers;
pub mod verified;
pub mod walk;

pub use descriptor::{Descriptor, DescriptorError, Platform};
pub use verified::Verified;
