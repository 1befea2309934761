//! Why the registry view cannot be planned or written.

use oci_discovery::name::ImageName;
use oci_discovery::oci::relations::TooManyReferrers;

use crate::site::map::MapError;
use crate::site::path::PathError;
use crate::store::StoreError;
use crate::store::site::SiteError;
use crate::store::site_image::SiteImageError;

/// Why the registry view cannot be planned or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The site cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A blob has no place in the site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A name has no place in the site.
    #[error(transparent)]
    Map(#[from] MapError),
    /// What the site has of an image cannot be read.
    #[error(transparent)]
    SiteImage(#[from] SiteImageError),
    /// A path of the program's own is refused.
    #[error("a file of the registry view has an invalid path")]
    Path(#[from] PathError),
    /// The lists of referrers take too much memory.
    #[error(
        "{image} cannot be in the registry view: publish fewer referrers, fewer fallback tags or shorter annotations; if the site \
         has the image already, remove its fallback tags in one command, or the image"
    )]
    TooManyReferrers {
        /// The image.
        image: ImageName,
        /// The limit.
        #[source]
        source: TooManyReferrers,
    },
}
