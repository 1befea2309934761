//! The model of a site: its objects, their paths, and the documents that link them.
//!
//! A site is a function of its [`Settings`] and its images. All other rooms ask this one where an object lives and how
//! it is served.

pub mod catalogue;
pub mod collision;
pub mod description;
pub mod index;
pub mod map;
pub mod object;
pub mod path;
pub mod pattern;
pub mod registry;
pub mod requests;
pub mod settings;

pub use map::{Place, SiteMap};
pub use object::{Kind, Phase};
pub use path::SitePath;
pub use settings::{Preset, Settings};
