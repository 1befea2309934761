//! The tests that drive the program as a user does: one binary, with a module per theme.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests look at files, connections and output themselves"
)]

#[cfg(feature = "bucket")]
mod bucket;
mod catalogue;
mod client;
mod clients;
mod documents;
mod fuzz;
mod imports;
mod publish;
// The README shows a bucket.
#[cfg(feature = "bucket")]
mod readme;
mod registry;
mod servers;
mod support;
mod verify;
