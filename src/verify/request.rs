//! Input of a verification.

use std::num::NonZeroUsize;

use crate::server_config::static_host::StaticHost;
use crate::store::site::SitePlace;
use oci_discovery::name::ImageName;

#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// The images to verify. Empty: all images of the site.
    pub names: Vec<ImageName>,
    pub deep: bool,
    /// The number of parallel tasks.
    pub jobs: NonZeroUsize,
}

#[derive(Clone, Debug)]
pub struct Directory {
    pub place: SitePlace,
    /// The host of a site without `ocisite.json`.
    pub host: Option<String>,
    /// The static host that the files are for.
    pub host_kind: Option<StaticHost>,
}
