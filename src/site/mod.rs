//! What a site is: the objects it consists of, where each lives, and the documents that tie them together.
//!
//! A site is a function of its [`Settings`] and its images. Everything that publishes, serves, configures or checks a site
//! asks this module where an object lives and how it is served; nothing else knows.

pub mod catalogue;
pub mod description;
pub mod index;
pub mod map;
pub mod object;
pub mod path;
pub mod pattern;
pub mod registry;
pub mod settings;

pub use map::{Place, SiteMap};
pub use object::{Kind, Phase};
pub use path::SitePath;
pub use settings::{Preset, Settings};
