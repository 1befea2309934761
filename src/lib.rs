//! ocisite turns OCI image layouts into a static web site.
//!
//! Layouts go in, a *site* comes out: a set of objects, each with a path, its bytes, a media type and a cache policy.
//! Everything else (writing a directory, the preview server, server configuration, verification) is a view of that one
//! list.
//!
//! ```text
//! layout (dir | tar)  ->  graph  ->  plan  ->  store (directory | bucket)
//!                                     |
//! name, template, digest              +-> server configuration, preview, verify
//!
//! consumer: name -> discovery -> index -> descriptor -> CAS -> layout        (resolve, pull, verify)
//! ```

#![allow(
    missing_docs,
    reason = "only this program uses the library: a comment on a name that says all would be one to skip"
)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests look at files and connections themselves"))]

pub mod catalogue;
pub mod cli;
pub mod client;
pub mod client_config;
pub mod layout;
pub mod maintenance;
pub mod outbound;
pub mod progress;
pub mod publish;
pub mod registry;
pub mod root;
pub mod serve;
pub mod server_config;
pub mod shell;
pub mod site;
pub mod store;
pub mod terminal;
pub mod verify;
