//! An image of an opened site: its index, and its manifests, read from the site's own CAS.
//!
//! All manifests of a site are read here, so every reader detects damaged bytes and none copies them.

use super::site::Site;
use super::{Expected, Origin, StoreError};
use crate::site::SitePath;
use crate::site::index::{Entry, Index, IndexError};
use crate::site::map::MapError;
use oci_discovery::digest::{ContentError, Digest};
use oci_discovery::json::{MAX_INDEX_BYTES, MAX_MANIFEST_BYTES};
use oci_discovery::name::ImageName;
use oci_discovery::oci::manifest::{self, Links, ManifestError};
use oci_discovery::oci::verified::ReadError;
use oci_discovery::oci::walk::{self, Manifests, TooLarge};
use oci_discovery::oci::{Descriptor, Verified};
use oci_discovery::seen::Seen;

#[derive(Clone, Copy)]
pub struct SiteImage<'a> {
    pub site: &'a Site,
    pub image: &'a ImageName,
}

/// Why an image of a site cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SiteImageError {
    /// The site cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The name has no place in the site.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The index is damaged.
    #[error("the index {path} is damaged; publish {image} again with --recheck, which creates it again")]
    Index {
        /// The index.
        path: SitePath,
        /// Its image.
        image: ImageName,
        /// What is wrong with it.
        #[source]
        source: IndexError,
    },
    /// The site lists the image, and has no index of it.
    #[error(
        "the index {path} is missing, so the blobs that {image} needs are unknown; publish {image} again, or remove it with \
         `ocisite remove`"
    )]
    NoIndex {
        /// Where the index should be.
        path: SitePath,
        /// Its image.
        image: ImageName,
    },
    /// A manifest does not have its digest, so that nothing is known of what it leads to.
    #[error("the manifest {path} is damaged; publish {image} again with --recheck, which repairs it")]
    Damaged {
        /// The manifest.
        path: SitePath,
        /// Its image.
        image: ImageName,
        /// How it differs.
        #[source]
        source: ContentError,
    },
    /// A manifest is malformed although its digest is right: it was published so.
    #[error(
        "the manifest {path} is malformed, so the blobs it needs are unknown; remove the refs that lead to it first"
    )]
    Manifest {
        /// The manifest.
        path: SitePath,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// The graph is larger than those of images.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

impl SiteImage<'_> {
    /// The index of the image, and the condition for writing it. None: missing.
    pub fn index(&self) -> Result<Option<(Index, Expected)>, SiteImageError> {
        let place = self.site.map.index_place(self.image)?;
        let Some(document) = self.site.store(place.origin).read_document(&place.path, MAX_INDEX_BYTES)? else {
            return Ok(None);
        };
        let (path, image) = (place.path, self.image.clone());
        let index = Index::parse(&document.bytes).map_err(|source| SiteImageError::Index { path, image, source })?;
        Ok(Some((index, Expected::Version(document.version))))
    }

    /// The links of a manifest. None: the site does not have it, which `--allow-missing` permits.
    ///
    /// # Errors
    /// Those of [`Manifests::read`], or a malformed manifest.
    pub fn links(&self, descriptor: &Descriptor) -> Result<Option<Links>, SiteImageError> {
        let Descriptor { media_type, digest, size, .. } = descriptor;
        let is_leaf =
            !manifest::may_hold_descriptors(media_type) || (media_type.is_empty() && *size > MAX_MANIFEST_BYTES);
        let place = self.site.map.blob_place(self.image, digest)?;
        if is_leaf {
            return Ok(self.site.store(place.origin).stat(&place.path)?.map(|_| Links::default()));
        }
        let Some(bytes) = self.read(descriptor)? else { return Ok(None) };
        let wrong = |source| SiteImageError::Manifest { path: place.path, source };
        manifest::links(media_type, &bytes).map(Some).map_err(wrong)
    }

    /// The links of a manifest; none if it is missing, damaged or malformed. For commands that change the image and
    /// must not fail because of damage in it.
    pub fn links_or_none(&self, descriptor: &Descriptor) -> Result<Links, SiteImageError> {
        match self.links(descriptor) {
            Ok(links) => Ok(links.unwrap_or_default()),
            Err(SiteImageError::Damaged { .. } | SiteImageError::Manifest { .. }) => Ok(Links::default()),
            Err(error) => Err(error),
        }
    }

    /// The subject of an entry's manifest. None: there is none, or the manifest cannot be read.
    pub fn subject(&self, entry: &Entry) -> Result<Option<Digest>, SiteImageError> {
        let Ok(descriptor) = entry.descriptor() else { return Ok(None) };
        Ok(self.links_or_none(&descriptor)?.subject.map(|subject| subject.digest))
    }

    pub fn descriptor(&self, entry: &Entry) -> Result<Descriptor, SiteImageError> {
        entry.descriptor().or_else(|source| {
            let path = self.site.map.index_place(self.image)?.path;
            Err(SiteImageError::Index { path, image: self.image.clone(), source })
        })
    }

    /// Visits every blob that `roots` reach, including themselves, once each, with its links. None: the site does not
    /// have the blob.
    ///
    /// # Errors
    /// Those of [`SiteImage::links`], and a graph over the limits.
    pub fn reach<E: From<SiteImageError> + From<TooLarge> + Send>(
        &self,
        roots: impl IntoIterator<Item = Descriptor, IntoIter: Send>,
        visit: impl FnMut(&Descriptor, Option<&Links>) -> Result<(), E> + Send,
    ) -> Result<(), E> {
        walk::reach(&Seen::new(), roots, |descriptor| Ok(self.links(descriptor)?), visit)
    }
}

impl Manifests for SiteImage<'_> {
    type Node = Descriptor;
    type Error = SiteImageError;

    /// # Errors
    /// The blob is damaged, so its links are unknown.
    fn read(&self, descriptor: &Descriptor) -> Result<Option<Verified>, SiteImageError> {
        let place = self.site.map.blob_place(self.image, &descriptor.digest)?;
        let store = self.site.store(place.origin);
        let Some(reader) = store.open(&place.path)? else { return Ok(None) };
        Verified::read(reader, descriptor).map(Some).map_err(|error| match error {
            ReadError::TooLarge { .. } => {
                StoreError::TooLarge { path: place.path.as_str().into(), limit: MAX_MANIFEST_BYTES }.into()
            }
            ReadError::Content(source) => {
                SiteImageError::Damaged { path: place.path, image: self.image.clone(), source }
            }
            ReadError::Io(error) => Origin::Store(format!("{}/{}", store.name(), place.path)).error(error).into(),
        })
    }
}
