//! Ref-engine discovery (oci-discovery): from an image name to the index entries that it means.
//!
//! ```text
//! name -> local configuration (xdg), well-known URIs -> ref-engines object -> index template -> index -> roots
//! ```
//!
//! [`resolve`](fn@resolve) goes all the way. It asks for documents through [`Fetch`], so that the caller decides how requests are made and
//! which are permitted. A fault of a site does not end a resolution: what can be used is used, and each fault becomes a [`Remark`].

mod document;
pub mod engine;
pub mod ere;
pub mod error;
pub mod fetch;
pub mod protocol;
pub mod ref_engines;
pub mod remark;
pub mod resolve;
pub mod url;
pub mod well_known;
pub mod xdg;

pub use document::{ContentType, GENERIC};
pub use engine::Engine;
pub use error::{DocumentError, EngineError};
pub use fetch::{Fetch, FetchError, FetchErrorKind, Response};
pub use protocol::{CAS_ENGINES, CAS_TEMPLATE_PROTOCOL, INDEX_TEMPLATE_PROTOCOL, WELL_KNOWN_PATH};
pub use ref_engines::RefEngines;
pub use remark::{Remark, Severity};
pub use resolve::{Index, Keep, Resolution, Root, resolve};
pub use well_known::{Protocol, Settings};
