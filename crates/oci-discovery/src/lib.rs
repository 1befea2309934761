//! OCI ref-engine discovery, and the OCI image model that it leads to.
//!
//! This crate is the protocol: what an image name is, which documents are asked for it, how templates are expanded, and what indexes and
//! manifests say. It opens no file and no connection: the caller gives it bytes, through traits.

pub mod digest;
pub mod discovery;
pub mod error;
pub mod json;
pub mod name;
pub mod oci;
pub mod parallel;
pub mod pool;
mod rfc3986;
pub mod seen;
pub mod template;
