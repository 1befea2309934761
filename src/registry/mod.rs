//! The registry view: what a registry client asks for below `v2/`, as files. Where they live is in [`crate::site::registry`]; what a
//! command changes of them in [`plan`].

pub mod plan;
