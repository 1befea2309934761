#![doc = include_str!("../README.md")]
//!
//! # The protocol, chapter by chapter
//!
//! Each chapter names its documents and the functions of its rules. The documents: *oci-discovery* is the ref-engine
//! discovery specification (host-based-image-names, well-known-uri-ref-engine-discovery, xdg-ref-engine-discovery,
//! index-template, cas-template); *image-spec* and *distribution-spec* are those of the Open Container Initiative.
//!
//! 1. **Names** ([`name`]). An image name is `host/path#fragment`, and RFC 3986 defines the parts. The host leads to
//!    the publisher, the path to the image, the fragment to one of its refs. *host-based-image-names:*
//!    [`name::ImageName::parse`].
//!
//! 2. **Discovery** ([`discovery`]). A consumer looks for ref-engines objects: first in its local configuration, whose
//!    keys are regular expressions over names; then at the well-known URI of the name's host, and of the host's DNS
//!    ancestors down to two labels. *xdg-ref-engine-discovery:* [`discovery::xdg`].
//!    *well-known-uri-ref-engine-discovery:* [`name::ImageName::discovery_hosts`], [`discovery::WELL_KNOWN_PATH`].
//!
//! 3. **The ref-engines object** ([`discovery::ref_engines`]). A JSON object with two optional lists: `refEngines`,
//!    which map a name to indexes, and `casEngines`, which map a digest to a blob. A consumer ignores entries with an
//!    unknown protocol. *xdg-ref-engine-discovery, "Ref-engines objects":* [`discovery::RefEngines::read`],
//!    [`discovery::engine::read_list`].
//!
//! 4. **The index template** ([`discovery::engine`], [`template`]). A ref engine with the protocol
//!    `oci-index-template-v1` has a URI template (RFC 6570). The variables come from the name, and a relative result is
//!    resolved against the document of the template. *index-template:* [`template::name_variables`],
//!    [`discovery::engine::expand`].
//!
//! 5. **The index** ([`oci::index`]). The expanded URL gives an image index. With a fragment, the name means the
//!    entries whose ref equals the fragment; without one, all entries. *index-template; image-spec, image-index:*
//!    [`oci::index::IndexText`], [`discovery::resolve`].
//!
//! 6. **The CAS template** ([`discovery::CasEngines`]). A CAS engine with the protocol `oci-cas-template-v1` has a URI
//!    template over the digest. Descriptors and the ref-engines object have CAS engines; the nearest is asked first.
//!    *cas-template:* [`template::digest_variables`], [`template::cas_variables`], [`discovery::CasEngines::urls`].
//!
//! 7. **Digests** ([`digest`]). A digest is an algorithm and the hash of a blob. *image-spec, descriptor, "Digests":*
//!    [`digest::Digest::parse`].
//!
//! 8. **Descriptors and manifests** ([`oci::descriptor`], [`oci::manifest`]). A descriptor has the media type, the
//!    digest and the size of a blob. One table tells which properties of a manifest hold descriptors. *image-spec,
//!    descriptor, image-index, manifest:* [`oci::Descriptor::from_value`], [`oci::manifest::links`].
//!
//! 9. **The walk** ([`oci::walk`](mod@oci::walk)). An image is a graph of descriptors. One function visits the graph,
//!    each blob once, and has limits for depth, descriptors and bytes. *image-spec, descriptor and image-index:*
//!    [`oci::walk::walk`].
//!
//! 10. **Verified bytes** ([`oci::verified`], [`digest`]). A blob is read through a reader that compares size and
//!     digest. Only such bytes are parsed as a manifest. *image-spec, descriptor, "Verification":*
//!     [`oci::Verified::read`], [`digest::VerifyingReader`].
//!
//! 11. **JSON limits** ([`json`]). Every document has a limit of bytes, of nesting, and of memory for its values. *RFC
//!     8259, 9; distribution-spec, "Pushing Manifests":* [`json::parse`], [`json::read_bounded`].
//!
//! The modules [`error`], [`parallel`], [`pool`] and [`seen`] are tools without rules of the protocol.

// All that this crate reads comes from elsewhere. In ocisite, positions in lists of its own are indexes, too.
#![warn(clippy::indexing_slicing)]

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
