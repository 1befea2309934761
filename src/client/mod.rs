//! The consumer: from an image name to an OCI layout, over any site that follows the protocols.
//!
//! ```text
//! name -> discovery (xdg, well-known URI) -> ref-engines object -> index -> roots      resolve
//! root -> CAS engines -> manifests -> blobs -> layout                                  fetch, pull
//! ```
//!
//! All data from servers is untrusted: bounded, checked, and verified against digests.

pub mod choose;
pub mod error;
pub mod fetch;
pub mod http;
pub mod manifests;
pub mod pull;
mod referrers;
pub mod transfer;

pub use http::Http;
pub use pull::pull;
