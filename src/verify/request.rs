//! What is asked of a verification.

use std::num::NonZeroUsize;

use crate::store::site::SitePlace;
use oci_discovery::name::ImageName;

/// What is asked of a verification.
#[derive(Clone, Debug)]
pub struct Options {
    /// The names to check; none: all that the site has.
    pub names: Vec<ImageName>,
    /// Whether every blob is read and hashed.
    pub deep: bool,
    /// How many things are looked at at once.
    pub jobs: NonZeroUsize,
}

/// A directory or bucket to verify.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The site's own root, and those of other origins.
    pub place: SitePlace,
    /// The host of a site that does not say which it serves.
    pub host: Option<String>,
}
