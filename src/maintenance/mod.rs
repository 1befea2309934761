//! Keeping a site in order: what it has ([`list`]), taking images and refs out ([`remove`]), and freeing what nothing needs any
//! more ([`gc`]), and copying a site to another place ([`copy`]).
//!
//! All of it goes through the [`crate::store::Store`] of the site, so that it works on whatever holds one. Removal is publishing in
//! reverse: what leads to something goes before what it leads to, and blobs are left to the gc: a reader that holds an
//! index from before can still fetch them.

pub mod copy;
pub mod gc;
pub mod list;
mod owner;
mod reached;
pub mod remove;

use crate::catalogue::page::PageError;
use crate::catalogue::plan::CatalogueError;
use crate::registry::RegistryError;
use crate::site::collision::Collision;
use crate::site::map::MapError;
use crate::site::path::PathError;
use crate::site::{Kind, Phase, SitePath};
use crate::store::site::{NoSite, Site, SiteError, SitePlace};
use crate::store::site_image::SiteImageError;
use crate::store::{Location, StoreError};
use oci_discovery::digest::Digest;
use oci_discovery::name::ImageName;
use oci_discovery::oci::index::EntryError;
use oci_discovery::oci::recorded::SharesTooMuch;
use oci_discovery::oci::walk::TooLarge;

/// Why a site could not be kept in order.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    #[error(transparent)]
    NoSite(#[from] NoSite),
    /// Two sites whose objects have other paths.
    #[error("{from} and {to} have different {what}s ({ours} and {theirs}): copy to a new directory or bucket")]
    OtherTemplate {
        from: String,
        to: String,
        /// `index template` or `CAS template`.
        what: &'static str,
        ours: String,
        theirs: String,
    },
    /// A merging copy between sites of which one has the registry view.
    #[error(
        "{with} has the registry view, and {without} does not: the copy would turn the view {turned} for images that stay; publish \
         an image to {without} with --registry, which creates the view for all its images, or copy with --delete if {to} may lose \
         the images that {from} does not have"
    )]
    OtherView {
        with: String,
        without: String,
        /// `on` or `off`.
        turned: &'static str,
        from: String,
        to: String,
    },
    /// A site in several roots.
    #[error(
        "{place} has files at another origin, {origin}: expected a site with all of its files in one root; publish \
         the layouts to the destination instead of a copy"
    )]
    OtherOrigin {
        /// The site.
        place: Location,
        /// The origin.
        origin: String,
    },
    /// A tag of the source of a copy that no manifest has the bytes of.
    #[error(
        "the tag {place}/{path} is damaged: expected the bytes of a manifest of {repository}, found other bytes; \
         publish the image to {place} again, which repairs its tags, then copy again"
    )]
    DamagedTag {
        /// The site.
        place: String,
        /// The tag.
        path: SitePath,
        /// The repository.
        repository: String,
    },
    /// A tag of the source of a copy that has not the bytes that the index says.
    #[error(
        "the tag {place}/{path} has another manifest than the index of its image: expected {expected}; a publish to \
         {place} is running or was interrupted, or the tag was overwritten; publish the image to {place} again, which \
         repairs its tags, then copy again"
    )]
    OtherTag {
        /// The site.
        place: String,
        /// The tag.
        path: SitePath,
        /// What the index says.
        expected: Digest,
    },
    /// An object that the source of a copy lacks.
    #[error(
        "{place}/{path} is missing, and {image} needs it; publish {image} to {place} again with --recheck, which \
         restores it or removes a list of referrers that leads to it; or copy with --allow-missing if the image was published \
         with --allow-missing"
    )]
    Missing {
        /// The source.
        place: String,
        /// The object.
        path: SitePath,
        /// The image.
        image: ImageName,
    },
    /// A gc of the destination of a copy.
    #[error(
        "a gc of {place} is running, and it may remove blobs that this copy needs; after the gc has ended, run the \
         copy again, which restores them"
    )]
    GcRunning {
        /// The destination.
        place: String,
    },
    /// A gc that took so long that publishers no longer believe that it runs.
    #[error(
        "the gc reached its time limit of {minutes} minutes after it removed a part of the blobs; run it again to \
         remove the others"
    )]
    GcTooLong {
        /// How long a gc may take.
        minutes: u64,
    },
    /// Others changed the same document again and again.
    #[error(
        "other publishers changed {path} before each attempt to write it; run the command again, or wait longer with \
         --wait SECONDS"
    )]
    Contended {
        /// The document.
        path: SitePath,
    },
    /// The site cannot be opened.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The catalogue cannot be written.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The templates of the catalogue's pages cannot be used.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The site cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A name has no place in the site.
    #[error(transparent)]
    Map(#[from] MapError),
    /// Images of the source and the destination that cannot be in one site.
    #[error(transparent)]
    Collision(#[from] Collision),
    /// A path of the registry view is refused.
    #[error("a file of the registry view has an invalid path")]
    Path(#[from] PathError),
    /// The registry view cannot be planned.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// An image cannot be read.
    #[error(transparent)]
    SiteImage(#[from] SiteImageError),
    /// A referrers list of the registry view is damaged.
    #[error("the referrers list {path} is damaged; publish its image again with --recheck, which creates it again")]
    Referrers {
        /// The list.
        path: SitePath,
        /// What is wrong with it.
        #[source]
        source: EntryError,
    },
    /// A file below no known image name, on a site whose blobs lie by image.
    #[error("cannot tell which image {object} belongs to, so its blobs are unknown; move it away")]
    UnknownImage {
        /// The index or repository.
        object: String,
    },
    /// Refs of an image of which cannot be told what each reaches.
    #[error("cannot list {image}")]
    SharesTooMuch {
        /// The image.
        image: ImageName,
        /// Why not.
        #[source]
        source: SharesTooMuch,
    },
    /// A name that the site does not have.
    #[error("the site has no image {name}; {}", similar.as_ref().map_or(
        "`ocisite list` shows the images that it has".into(), |similar| format!("did you mean {similar}?")
    ))]
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

/// The least similarity (Jaro-Winkler, 1 is equality) of a name that is suggested.
const MIN_SIMILARITY: f64 = 0.8;

/// The known name that is most like a given one: with the same path, or a similar path of a similar host. The two are compared
/// alone, because the same host would make every name similar.
fn similar<'a>(known: &'a [ImageName], name: &ImageName) -> Option<&'a ImageName> {
    let likeness = |known: &ImageName| match strsim::jaro_winkler(known.path(), name.path()) {
        of_path if known.path() != name.path() => strsim::jaro_winkler(known.host(), name.host()).min(of_path),
        same => same,
    };
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= MIN_SIMILARITY).then_some(best)
}

impl From<TooLarge> for MaintenanceError {
    fn from(error: TooLarge) -> MaintenanceError {
        SiteImageError::from(error).into()
    }
}

/// Opens a site that is there.
fn open(place: &SitePlace) -> Result<Site, MaintenanceError> {
    Site::open_existing(place)?.ok_or_else(|| NoSite::at(&place.root).into())
}

type Rank = (Phase, u8);

/// When an object is written among those of its phase: tags follow from indexes, lists from tags, and the ref-engines object
/// leads to all of them.
fn rank(kind: &Kind) -> Rank {
    let within = match kind {
        Kind::Blob(_) | Kind::RegistryManifest(_) | Kind::Index | Kind::Description => 0,
        Kind::LayoutMarker | Kind::RegistryTag(_) | Kind::RefEngines => 1,
        _ => 2,
    };
    (kind.phase(), within)
}
