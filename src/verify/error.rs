//! Why nothing could be verified.

use std::path::PathBuf;

use crate::client::http::HttpError;
use crate::outbound::agent::SetupError;
use crate::site::path::DESCRIPTION;
use crate::store::{Location, StoreError};
use oci_discovery::discovery::WELL_KNOWN_PATH;

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Not a directory at all.
    #[error("{} cannot be looked at: expected a directory with a site, or an http or https URL", .path.display())]
    NoDirectory {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A directory without a site in it.
    #[error("{place} holds no site: expected {WELL_KNOWN_PATH} or {DESCRIPTION} in it")]
    NoSite {
        /// The directory or bucket.
        place: Location,
    },
    /// A site of which nobody knows what to check.
    #[error("{site} has no {DESCRIPTION} that lists its images: give the names of the images to check{}", hint(*.host_helps))]
    NamesNeeded {
        /// The site.
        site: String,
        /// Whether knowing the host would do.
        host_helps: bool,
    },
    /// A directory that cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A URL that cannot be a site's.
    #[error(
        "{url} is no site: expected the root of a host, such as https://example.com/, without path, query and user"
    )]
    NotARoot {
        /// The URL.
        url: String,
    },
    /// No client could be made.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
}

fn hint(host_helps: bool) -> &'static str {
    if host_helps { ", or the host that the site serves with --host" } else { "" }
}
