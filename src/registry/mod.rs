//! The registry view: what a registry client asks for below `v2/`, as files. Where they live is in [`crate::site::registry`]; which
//! documents a repository has is one function in [`view`]. [`plan`] compares its results before and after a change, [`manifests`]
//! gives what it needs to know of manifests.

pub mod error;
pub mod manifests;
pub mod plan;
pub mod view;

pub use error::RegistryError;
