//! The consumer: from an image name to an OCI layout, over any site that follows the protocols.
//!
//! ```text
//! name -> discovery (xdg, well-known URI) -> ref-engines object -> index -> roots      resolve
//! root -> CAS engines -> manifests -> blobs -> layout                                  fetch, pull
//! ```
//!
//! All that comes from a server is bounded, checked, and never trusted further than its digest reaches.

pub mod choose;
pub mod discovery;
pub mod document;
pub mod engine;
pub mod ere;
pub mod fetch;
pub mod http;
pub mod manifests;
pub mod platform;
pub mod pull;
mod referrers;
pub mod remark;
pub mod resolve;
pub mod xdg;

pub use discovery::Protocol;
pub use engine::Engine;
pub use http::Http;
pub use pull::pull;
pub use remark::{Remark, Severity};
pub use resolve::{Resolution, Root, resolve};
