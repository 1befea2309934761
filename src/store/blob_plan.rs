//! The blobs of a plan, and their places.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::site::SiteError;
use crate::layout::graph::FoundBlob;
use crate::site::map::{BlobPlaces, MapError, SiteMap};
use crate::site::{Kind, Place, registry};
use oci_discovery::digest::Digest;
use oci_discovery::name::ImageName;

/// Every blob at every place where it is needed, each place once. If one root needs a blob at several places, the
/// others refer to the first.
#[derive(Debug, Default)]
pub struct BlobPlan {
    /// The images, sorted by name. Blobs refer to them by position.
    pub images: Vec<ImageName>,
    pub all: Vec<PlannedBlob>,
    /// The places of each image's blobs, shared where they are equal.
    places: Vec<Arc<BlobPlaces>>,
    /// The position in [`BlobPlan::all`] of a digest's first place.
    originals: HashMap<Digest, usize>,
}

/// A blob and its place. The place follows from image and digest, so it is not stored: there may be hundreds of
/// thousands of blobs.
#[derive(Clone, Debug)]
pub struct PlannedBlob {
    /// The position in [`BlobPlan::images`].
    pub image: usize,
    /// The position of the layout that has the blob. None: the site has it.
    pub layout: Option<usize>,
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// The media type of the descriptor that reached the blob first.
    pub media_type: Arc<str>,
    pub role: BlobRole,
    /// The position in [`BlobPlan::all`] of the same blob at another place, to which this one can be linked.
    pub same_as: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlobRole {
    Cas,
    /// `blobs/DIGEST` of the registry view.
    RegistryBlob,
    /// `manifests/DIGEST` of the registry view.
    RegistryManifest,
    /// The same, with an ending that gives the media type.
    RegistryTypedManifest,
}

impl PlannedBlob {
    /// How the blob is served.
    pub fn kind(&self) -> Kind {
        let media_type = Some(self.media_type.to_string());
        match self.role {
            BlobRole::Cas | BlobRole::RegistryBlob => Kind::Blob(media_type),
            BlobRole::RegistryManifest | BlobRole::RegistryTypedManifest => Kind::RegistryManifest(media_type),
        }
    }
}

impl BlobPlan {
    /// An empty plan with room for `count` blobs: a list that grows takes up to twice the room.
    pub fn with_capacity(count: usize) -> BlobPlan {
        BlobPlan { all: Vec::with_capacity(count), ..BlobPlan::default() }
    }

    /// Adds an image. Returns its position.
    pub fn add_image(&mut self, map: &SiteMap, image: &ImageName) -> Result<usize, MapError> {
        let places = map.blob_places(image)?;
        // If all images share one pool of blobs, they share one value.
        let same = self.places.last().filter(|last| ***last == places).cloned();
        self.places.push(same.unwrap_or_else(|| Arc::new(places)));
        self.images.push(image.clone());
        Ok(self.images.len() - 1)
    }

    /// Adds the blobs of an image that layouts have.
    pub fn add_blobs(&mut self, map: &SiteMap, image: usize, found: &[FoundBlob]) -> Result<(), SiteError> {
        let is_shared = map.cas_is_shared();
        let mut in_image: HashSet<&Digest> = HashSet::new();
        for FoundBlob { blob, layout } in found {
            let digest = &blob.digest;
            let earlier = self.originals.get(digest).copied();
            if (is_shared && earlier.is_some()) || !in_image.insert(digest) {
                continue;
            }
            if !is_shared && let Some(earlier) = earlier {
                let earlier_place = self.cas_place(self.all[earlier].image, digest)?;
                if earlier_place == self.cas_place(image, digest)? {
                    continue;
                }
            }
            self.originals.entry(digest.clone()).or_insert(self.all.len());
            self.all.push(PlannedBlob {
                image,
                layout: Some(*layout),
                digest: digest.clone(),
                size: blob.size,
                media_type: blob.media_type.clone(),
                role: BlobRole::Cas,
                same_as: earlier,
            });
        }
        // A template that cannot place one blob can place none. This must be found before the first write.
        self.all.first().map_or(Ok(()), |first| self.place(first).map(drop))
    }

    /// The position of a blob's first place. A missing one is added at its place in the CAS.
    pub fn original(&mut self, blob: &PlannedBlob) -> usize {
        *self.originals.entry(blob.digest.clone()).or_insert_with(|| {
            self.all.push(PlannedBlob { role: BlobRole::Cas, same_as: None, ..blob.clone() });
            self.all.len() - 1
        })
    }

    /// The places of each image's blobs.
    pub fn places(&self) -> &[Arc<BlobPlaces>] {
        &self.places
    }

    pub fn cas_place(&self, image: usize, digest: &Digest) -> Result<Place, MapError> {
        self.places[image].place(digest)
    }

    pub fn place(&self, blob: &PlannedBlob) -> Result<Place, SiteError> {
        let (name, digest) = (self.images[blob.image].path(), &blob.digest);
        let path = match blob.role {
            BlobRole::Cas => return Ok(self.cas_place(blob.image, digest)?),
            BlobRole::RegistryBlob => registry::blob_path(name, digest),
            BlobRole::RegistryManifest => registry::manifest_path(name, digest.as_str()),
            BlobRole::RegistryTypedManifest => {
                let plain = || registry::manifest_path(name, digest.as_str());
                registry::typed_manifest_path(name, digest.as_str(), &blob.media_type).unwrap_or_else(plain)
            }
        };
        Ok(Place { origin: None, path: path? })
    }
}
