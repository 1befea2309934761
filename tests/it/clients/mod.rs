//! Real clients pull from real servers: what they get is what the layouts have.

mod chunked;
pub mod containerd;
mod disk;
mod mirrors;
mod pull;
