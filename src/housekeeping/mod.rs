//! Keeping a site in order: what it has ([`list`]), taking images and refs out ([`remove`]), and freeing what nothing needs any
//! more ([`gc`]).
//!
//! All of it goes through the [`crate::store::Store`] of the site, so that it works on whatever holds one. Removal is publishing in
//! reverse: what leads to something goes before what it leads to, and blobs are left to the gc: a reader that holds an
//! index from before can still fetch them.

pub mod gc;
pub mod graph;
pub mod list;
pub mod remove;

use std::path::{Path, PathBuf};

use crate::digest::ContentError;
use crate::name::ImageName;
use crate::oci::manifest::ManifestError;
use crate::publish::{PlanError, PublishError, Site};
use crate::site::index::IndexError;
use crate::site::map::MapError;
use crate::site::path::PathError;
use crate::store::StoreError;

/// Why a site could not be kept in order.
#[derive(Debug, thiserror::Error)]
pub enum HousekeepingError {
    /// No site there.
    #[error("{} is no site: expected a directory with a file ocisite.json, which `ocisite publish` writes", .path.display())]
    NoSite {
        /// The directory.
        path: PathBuf,
    },
    /// The site cannot be opened.
    #[error(transparent)]
    Site(#[from] PublishError),
    /// The site cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A name has no place in the site.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A path of the registry view is refused.
    #[error("the registry view has no place")]
    Path(#[from] PathError),
    /// The registry view cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// An index is damaged.
    #[error("the index {path} cannot be read; publish its image again first")]
    Index {
        /// The index.
        path: String,
        /// What is wrong with it.
        #[source]
        source: IndexError,
    },
    /// A manifest does not have its digest, so that nobody knows what it holds.
    #[error("the manifest {path} is damaged, so that nobody knows which blobs it needs; publish its image again first")]
    Damaged {
        /// The manifest.
        path: String,
        /// How it differs.
        #[source]
        source: ContentError,
    },
    /// A manifest is malformed.
    #[error(
        "the manifest {path} is wrong, so that nobody knows which blobs it needs; remove the refs that lead to it first"
    )]
    Manifest {
        /// The manifest.
        path: String,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// An index of which nobody can tell whose it is, where blobs lie by image.
    #[error(
        "the index {path} belongs to no image that can be told, so that nobody knows which blobs it needs; move it away"
    )]
    Stray {
        /// The index.
        path: String,
    },
    /// A name that the site does not have.
    #[error("the site has no image {name}{}", or_similar(.similar))]
    NoSuchImage {
        /// The name.
        name: ImageName,
        /// One that it has.
        similar: Option<ImageName>,
    },
    /// A ref that an image does not have.
    #[error("{image} has no ref {reference:?}; it has {found}")]
    NoSuchRef {
        /// The image.
        image: ImageName,
        /// The ref.
        reference: String,
        /// The refs it has.
        found: String,
    },
}

fn or_similar(similar: &Option<ImageName>) -> String {
    similar.as_ref().map(|similar| format!("; it has {similar}")).unwrap_or_default()
}

/// Opens a site that is there.
fn open(path: &Path, stores: &[(String, PathBuf)], template_dir: Option<&Path>) -> Result<Site, HousekeepingError> {
    Site::open_existing(path, stores, template_dir)?.ok_or_else(|| HousekeepingError::NoSite { path: path.into() })
}
