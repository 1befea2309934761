use std::path::PathBuf;

use crate::client::http::HttpError;
use crate::outbound::agent::SetupError;
use crate::site::path::DESCRIPTION;
use crate::store::{Location, StoreError};
use oci_discovery::discovery::WELL_KNOWN_PATH;

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("cannot open {}: expected a directory with a site, or an http or https URL", .path.display())]
    NoDirectory {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{place} is not a site: expected it to contain {WELL_KNOWN_PATH} or {DESCRIPTION}")]
    NoSite { place: Location },
    #[error(
        "{site} has no {DESCRIPTION}, which lists the images of a site: give the names of the images to check{}",
        hint(*.host_helps)
    )]
    NamesNeeded {
        site: String,
        /// Whether `--host` would help.
        host_helps: bool,
    },
    /// A site without a description, with more indexes than are checked.
    #[error(
        "{site} has no {DESCRIPTION} to list its images, and more than {limit} indexes: give the names of the images to check"
    )]
    TooManyNames { site: String, limit: usize },
    /// A directory that cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{url} is not the root of a host: expected a URL such as https://example.com/, without path, query and user"
    )]
    NotARoot { url: String },
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Http(#[from] HttpError),
}

fn hint(host_helps: bool) -> &'static str {
    if host_helps { ", or the host that the site serves with --host" } else { "" }
}
