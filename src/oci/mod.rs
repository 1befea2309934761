//! The OCI image-spec as this program needs it: media types, descriptors, manifests and the graph they form, and image
//! layouts on disk, as directories or as tar archives.

pub mod archive;
pub mod descriptor;
pub mod graph;
pub mod index;
pub mod layout;
pub mod layout_writer;
pub mod manifest;
pub mod media_type;
pub mod verified;
pub mod walk;

pub use descriptor::{Descriptor, DescriptorError, Platform};
pub use verified::Verified;
