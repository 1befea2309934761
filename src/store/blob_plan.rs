//! The blobs of a plan, and the places that they go to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::site::SiteError;
use crate::layout::graph::FoundBlob;
use crate::site::map::{BlobPlaces, MapError, SiteMap};
use crate::site::{Kind, Place, registry};
use oci_discovery::digest::Digest;
use oci_discovery::name::ImageName;

/// Every blob at every place that it needs, each place once. Where one blob is needed at several places of one root, all but the
/// first refer to the first.
#[derive(Debug, Default)]
pub struct BlobPlan {
    /// The images, in the order of their names; blobs refer to them by position.
    pub images: Vec<ImageName>,
    /// All blobs.
    pub all: Vec<PlannedBlob>,
    /// Where the blobs of each image go, one for all where that is one place.
    places: Vec<Arc<BlobPlaces>>,
    /// The position in [`BlobPlan::all`] of a digest's first place, from which others are linked.
    originals: HashMap<Digest, usize>,
}

/// A blob and the place it goes to. The place follows from the image and the digest, so it is not stored: there may be
/// hundreds of thousands.
#[derive(Clone, Debug)]
pub struct PlannedBlob {
    /// The position in [`BlobPlan::images`].
    pub image: usize,
    /// The position of the layout that has the blob; None: the site has it.
    pub layout: Option<usize>,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The media type of the descriptor that reached it first.
    pub media_type: Arc<str>,
    /// Which of the blob's places this is.
    pub role: BlobRole,
    /// The position in [`BlobPlan::all`] of the same blob at another place, which this one can be linked to.
    pub same_as: Option<usize>,
}

/// The places that one blob can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlobRole {
    /// In the CAS.
    Cas,
    /// `blobs/DIGEST` of the registry view.
    RegistryBlob,
    /// `manifests/DIGEST` of the registry view.
    RegistryManifest,
    /// The typed name of the same.
    RegistryTypedManifest,
}

impl PlannedBlob {
    /// What it is served as.
    pub fn kind(&self) -> Kind {
        let media_type = Some(self.media_type.to_string());
        match self.role {
            BlobRole::Cas | BlobRole::RegistryBlob => Kind::Blob(media_type),
            BlobRole::RegistryManifest | BlobRole::RegistryTypedManifest => Kind::RegistryManifest(media_type),
        }
    }
}

impl BlobPlan {
    /// A plan for so many blobs. (A list that grows step by step takes up to twice the room.)
    pub fn with_capacity(count: usize) -> BlobPlan {
        BlobPlan { all: Vec::with_capacity(count), ..BlobPlan::default() }
    }

    /// Adds an image, and gives its position.
    pub fn add_image(&mut self, map: &SiteMap, image: &ImageName) -> Result<usize, MapError> {
        let places = map.blob_places(image)?;
        // With one pool for all images there is one value for all of them.
        let same = self.places.last().filter(|last| ***last == places).cloned();
        self.places.push(same.unwrap_or_else(|| Arc::new(places)));
        self.images.push(image.clone());
        Ok(self.images.len() - 1)
    }

    /// Adds the blobs that an image has in layouts.
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
                let there = self.cas_place(self.all[earlier].image, digest)?;
                if there == self.cas_place(image, digest)? {
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
        // A template that cannot place one blob can place none: found here, not after half of them are written.
        self.all.first().map_or(Ok(()), |first| self.place(first).map(drop))
    }

    /// The position of a blob's first place. One that is not in the plan yet is added at its place in the CAS.
    pub fn original(&mut self, blob: &PlannedBlob) -> usize {
        *self.originals.entry(blob.digest.clone()).or_insert_with(|| {
            self.all.push(PlannedBlob { role: BlobRole::Cas, same_as: None, ..blob.clone() });
            self.all.len() - 1
        })
    }

    /// Where the blobs of an image go.
    pub fn places(&self) -> &[Arc<BlobPlaces>] {
        &self.places
    }

    /// The place of a blob in the CAS.
    pub fn cas_place(&self, image: usize, digest: &Digest) -> Result<Place, MapError> {
        self.places[image].place(digest)
    }

    /// Where a blob goes.
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
