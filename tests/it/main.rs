//! The tests that drive the program as a user does: one binary, with a module per theme.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests look at files, connections and output themselves"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as it should be"
)]
#![allow(unreachable_pub, reason = "no other crate reaches any of the tests: `pub` is for the modules above")]

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
