//! Reads the manifests of a site over HTTP for a layout, each once. Manifests that the layout has are read from it.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use url::Url;

use super::error::PullError;
use super::fetch::fetch_bytes;
use super::http::Http;
use crate::layout::writer::LayoutWriter;
use oci_discovery::digest::Digest;
use oci_discovery::discovery::{CasEngines, Remarks};
use oci_discovery::json::MAX_MANIFEST_BYTES;
use oci_discovery::oci::manifest::{self, Links, may_hold_descriptors};
use oci_discovery::oci::walk::{Budget, Manifests};
use oci_discovery::oci::{Descriptor, Platform, Verified, media_type};

/// The bytes of small blobs that are kept in memory, so that manifests read to choose an image are not fetched again.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// A descriptor, with its CAS engines and the document that has it.
#[derive(Clone, Debug)]
pub struct Found {
    pub descriptor: Descriptor,
    /// The nearest first.
    pub engines: Arc<CasEngines>,
    pub uri: Arc<Url>,
}

impl Found {
    /// An entry of the index `uri`; `outer` are the engines of the ref-engines object.
    pub fn entry(descriptor: Descriptor, uri: &Arc<Url>, outer: &Arc<CasEngines>, remarks: &mut Remarks) -> Found {
        Found { engines: outer.with(&descriptor, uri, remarks), descriptor, uri: uri.clone() }
    }
}

/// Reads manifests, and configs where a platform is asked for, for one pull.
pub struct SiteManifests<'a> {
    pub(super) http: &'a Http,
    pub(super) layout: &'a LayoutWriter,
    /// What the walks of the pull may read together, because the pull keeps all that they reach.
    pub(super) budget: Arc<Budget>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    blobs: HashMap<Digest, (Verified, Arc<Url>)>,
    bytes: usize,
}

impl<'a> SiteManifests<'a> {
    /// A reader for a site and a layout.
    pub fn new(http: &'a Http, layout: &'a LayoutWriter) -> SiteManifests<'a> {
        SiteManifests { http, layout, budget: Arc::default(), cache: Mutex::new(Cache::default()) }
    }

    /// Reads the children of a manifest, ready to be fetched. Remarks on their engines go to `remarks`.
    pub fn children(&self, found: &Found, remarks: &mut Remarks) -> Result<Vec<Found>, PullError> {
        let (links, uri) = self.links(found)?;
        let child = |child: Descriptor| Found {
            engines: found.engines.with(&child, &uri, remarks),
            descriptor: child,
            uri: uri.clone(),
        };
        Ok(links.children.into_iter().map(child).collect())
    }

    /// Reads the subject of a manifest.
    pub fn subject(&self, found: &Found) -> Result<Option<Digest>, PullError> {
        Ok(self.links(found)?.0.subject.map(|subject| subject.digest))
    }

    fn links(&self, found: &Found) -> Result<(Links, Arc<Url>), PullError> {
        let descriptor = &found.descriptor;
        let (bytes, uri) = self.bytes(found)?;
        let links = manifest::links(&descriptor.media_type, &bytes).map_err(|source| PullError::Manifest {
            digest: descriptor.digest.clone(),
            uri: (*uri).clone(),
            source,
        })?;
        Ok((links, uri))
    }

    /// The platform in an image's config. None: it is not an image.
    pub fn platform_of(&self, found: &Found) -> Result<Option<Platform>, PullError> {
        let children = self.children(found, &mut Remarks::default())?;
        let config = children.into_iter().find(|child| media_type::is_image_config(&child.descriptor.media_type));
        let Some(config) = config else { return Ok(None) };
        let (bytes, _) = self.bytes(&config)?;
        Ok(oci_discovery::json::parse(&bytes).ok().and_then(|config| Platform::from_value(&config)))
    }

    /// Writes a manifest to the layout.
    pub fn store(&self, found: &Found) -> Result<(), PullError> {
        let digest = &found.descriptor.digest;
        if self.layout.has(digest, found.descriptor.size) {
            return Ok(());
        }
        let (bytes, _) = self.bytes(found)?;
        let mut blob = self.layout.begin(digest)?;
        let written = blob.restart().and_then(|()| blob.write_all(&bytes));
        written.map_err(|source| blob.error(source))?;
        Ok(blob.commit()?)
    }

    /// The bytes of a small blob, if they were read before.
    pub fn cached(&self, digest: &Digest) -> Option<Verified> {
        self.cache.lock().ok()?.blobs.get(digest).map(|(bytes, _)| bytes.clone())
    }

    /// The verified bytes of a small blob, and its URL: the one that had it, or for a blob of the layout the first
    /// one.
    fn bytes(&self, found: &Found) -> Result<(Verified, Arc<Url>), PullError> {
        let Descriptor { digest, size, .. } = &found.descriptor;
        if *size > MAX_MANIFEST_BYTES {
            return Err(PullError::ManifestTooLarge { digest: digest.clone(), size: *size });
        }
        if let Some(cached) = self.cache.lock().ok().and_then(|cache| cache.blobs.get(digest).cloned()) {
            return Ok(cached);
        }
        let (bytes, uri) = match self.layout.read_manifest(&found.descriptor) {
            Some(bytes) => {
                let first = found.engines.urls(&found.descriptor).flatten().next();
                (bytes, first.map_or(found.uri.clone(), Arc::new))
            }
            None => {
                let (bytes, url) = fetch_bytes(self.http, &found.descriptor, &found.engines)?;
                (bytes, Arc::new(url))
            }
        };
        let cached = (bytes, uri);
        if let Ok(mut cache) = self.cache.lock()
            && cache.bytes + cached.0.len() <= CACHE_BYTES
        {
            cache.bytes += cached.0.len();
            cache.blobs.insert(digest.clone(), cached.clone());
        }
        Ok(cached)
    }
}

impl Manifests for SiteManifests<'_> {
    type Node = Found;
    type Error = PullError;

    /// # Errors
    /// No server has it, or a request failed.
    fn read(&self, found: &Found) -> Result<Option<Verified>, PullError> {
        self.bytes(found).map(|(bytes, _)| Some(bytes))
    }
}

/// Whether a blob is read as a manifest. Without a media type, every small blob is.
pub(super) fn is_manifest(descriptor: &Descriptor) -> bool {
    let is_small = descriptor.size <= MAX_MANIFEST_BYTES;
    may_hold_descriptors(&descriptor.media_type) && (is_small || !descriptor.media_type.is_empty())
}
