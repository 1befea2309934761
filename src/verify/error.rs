//! Why nothing could be verified.

use std::path::PathBuf;

use crate::client::http::HttpError;
use crate::outbound::agent::SetupError;
use crate::site::path::DESCRIPTION;
use crate::store::{Location, StoreError};
use oci_discovery::discovery::WELL_KNOWN_PATH;

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant is its documentation")]
pub enum VerifyError {
    /// Not a directory at all.
    #[error("cannot open {}: expected a directory with a site, or an http or https URL", .path.display())]
    NoDirectory {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A directory without a site in it.
    #[error("{place} is not a site: expected it to contain {WELL_KNOWN_PATH} or {DESCRIPTION}")]
    NoSite {
        /// The directory or bucket.
        place: Location,
    },
    /// A site of which nobody knows what to check.
    #[error("{site} has no {DESCRIPTION} to list its images: give the names of the images to check{}", hint(*.host_helps))]
    NamesNeeded {
        site: String,
        /// Whether knowing the host would do.
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
    /// A URL that cannot be a site's.
    #[error(
        "{url} is not the root of a host: expected a URL such as https://example.com/, without path, query and user"
    )]
    NotARoot { url: String },
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
