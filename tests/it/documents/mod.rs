//! Every example of the discovery documents of oci-discovery, by its document and section: what a consumer makes of it as it is
//! written, and what a publisher makes of its templates. `docs/protocol.md` lists them.

mod consumed;
pub mod nginx;
mod published;
