//! Ref-engine discovery: from an image name to the index entries that the name means, and from a descriptor to the URLs
//! of its blob.
//!
//! ```text
//! name -> local configuration (xdg), well-known URIs -> ref-engines object -> index template -> index -> roots
//! root -> CAS engines (nearest first) -> CAS template -> URLs of the blob
//! ```
//!
//! [`resolve`] goes the first way, [`CasEngines::urls`] the second. `resolve` asks for documents through [`Fetch`], so
//! the caller decides how requests are made and which are permitted. A fault of a site does not end a resolution: the
//! usable parts are used, and each fault becomes a [`Remark`].
//!
//! # Which ref-engines objects are asked, in which order
//!
//! The local configuration comes first, because a consumer overrules a publisher with it: all keys that match the name
//! count together, the longest first. If they lead to a root, no host is asked ([`xdg`]).
//!
//! Then come the well-known URIs, one at a time: for each protocol, `https` before `http`, the name's host and then its
//! DNS ancestors. The next is asked when a document cannot be fetched (required by well-known-uri-ref-engine-discovery)
//! or leads to no root (permitted). A host that answered over one protocol is not asked again over the next: the answer
//! "no such image" over `https` must not be overruled by an answer over `http`.
//!
//! An index has no digest that a consumer knows, so only the connection protects the index. Plain `http` is used if the
//! user asks for `http`, and for this machine itself. After a certificate failed, no document of the name is requested
//! over `http`: the server with the wrong certificate would answer there, too.
//!
//! # Example
//!
//! A site is any [`Fetch`]; here, a map of documents.
//!
//! ```
//! use oci_discovery::discovery::{DiscoverySettings, Fetch, FetchError, FetchErrorKind, Keep, Response, resolve};
//! use oci_discovery::name::ImageName;
//! use url::Url;
//!
//! struct Site;
//!
//! impl Fetch for Site {
//!     fn get(&self, url: &Url, accept: &'static str) -> Result<Response<'_>, FetchError> {
//!         let body = match url.as_str() {
//!             "https://example.com/.well-known/oci-host-ref-engines" => {
//!                 r#"{"refEngines": [{"protocol": "oci-index-template-v1", "uri": "/index/{+path}"}]}"#.to_string()
//!             }
//!             "https://example.com/index/team/app" => format!(
//!                 r#"{{"manifests": [{{"digest": "sha256:{:064}", "size": 7,
//!                     "annotations": {{"org.opencontainers.image.ref.name": "1.0"}}}}]}}"#,
//!                 0
//!             ),
//!             _ => return Err(FetchError::new(FetchErrorKind::NoAnswer, format!("no answer from {url}"))),
//!         };
//!         Ok(Response {
//!             url: url.clone(),
//!             status: 200,
//!             content_type: Some(format!("{accept}; charset=utf-8")),
//!             content_encoding: None,
//!             body: Box::new(move |left| {
//!                 *left -= body.len() as u64;
//!                 Ok(body.into_bytes())
//!             }),
//!         })
//!     }
//! }
//!
//! // `a.example.com` does not answer, so its ancestor `example.com` is asked.
//! let name = ImageName::parse("a.example.com/team/app#1.0")?;
//! let resolution = resolve(&Site, &DiscoverySettings::default(), &name, Keep::Roots);
//! assert_eq!(resolution.roots[0].descriptor.ref_name(), Some("1.0"));
//! assert!(resolution.remarks[0].to_string().contains("no answer from https://a.example.com/"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cas_engines;
mod document;
pub mod engine;
mod ere;
mod error;
mod fetch;
mod protocol;
pub mod ref_engines;
mod remark;
mod resolve;
pub mod url;
mod well_known;
pub mod xdg;

pub use cas_engines::CasEngines;
pub use document::ContentType;
pub use engine::Engine;
pub use error::{DocumentError, EngineError, meaning};
pub use fetch::{Fetch, FetchError, FetchErrorKind, ReadBody, Response};
pub use protocol::{CAS_ENGINES, CAS_TEMPLATE_PROTOCOL, INDEX_TEMPLATE_PROTOCOL, REF_ENGINES, WELL_KNOWN_PATH};
pub use ref_engines::RefEngines;
pub use remark::{Remark, RemarkSeverity, Remarks};
pub use resolve::{Keep, Resolution, ResolvedIndex, Root, resolve};
pub use well_known::{DiscoverySettings, Protocol};
