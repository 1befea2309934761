//! Real clients pull from real servers: what they get is what the layouts have.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests look at files, connections and output themselves"
)]

mod support;

mod clients {
    mod containerd;
    mod disk;
    mod pull;
}
