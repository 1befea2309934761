//! The registry view: what a registry client asks for below `v2/`, as files. Where they live is in [`crate::site::registry`], what a
//! publish writes of them in [`plan`], what a removal takes away in [`removal`].

pub mod plan;
pub mod removal;
