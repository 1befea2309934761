//! The graph of blobs below the entries of a layout: which blobs exist, which are missing, and which refer to which.
//!
//! Two descriptors of a digest may differ. If one of them has the media type of a manifest, the blob is visited as a
//! manifest. Sizes must not differ.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Layout, LayoutError, blob_path};
use oci_discovery::digest::Digest;
use oci_discovery::oci::manifest::{self, Links, ManifestError};
use oci_discovery::oci::relations::{Relations, TooManyReferrers};
use oci_discovery::oci::walk::{Graph, Limit, Manifests, Next, TooLarge, manifest_bytes, walk};
use oci_discovery::oci::{Descriptor, media_type};
use oci_discovery::parallel::{into_inner, lock};
use oci_discovery::pool::Pool;
use oci_discovery::seen::{Key, Seen, key};

/// A blob that the graph reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// The media type of the first descriptor, or of the first one that makes it a manifest.
    pub media_type: Arc<str>,
    /// Whether the blob is a manifest, which the walk has parsed.
    pub is_manifest: bool,
}

/// A blob, and which of several layouts has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundBlob {
    pub blob: Reached,
    /// The position of the layout.
    pub layout: usize,
}

/// A blob that the graph reaches and the layout does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// The digest of the manifest that refers to the blob. None: `index.json`.
    pub referrer: Option<Digest>,
    /// Whether the descriptor has other URLs of the blob (see [`Descriptor::is_foreign`]).
    pub is_foreign: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("the manifest {} is malformed", .path.display())]
    Manifest {
        /// Its path in the layout.
        path: PathBuf,
        #[source]
        source: ManifestError,
    },
    #[error("{} cannot be published: create a layout with fewer referrers, or with shorter annotations", .path.display())]
    TooManyReferrers {
        path: PathBuf,
        #[source]
        source: TooManyReferrers,
    },
    #[error("{} cannot be read as images", .path.display())]
    TooLarge {
        path: PathBuf,
        #[source]
        source: TooLarge,
    },
}

/// The walked graph of a layout. Blobs below one root are not visited again for the next.
#[derive(Debug)]
pub struct LayoutGraph<'a> {
    layout: &'a Layout,
    visited: Seen,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
pub struct Found {
    /// The reached blobs, in the order of the walk.
    pub reached: Vec<Reached>,
    pub missing: Vec<Missing>,
    /// What the manifests refer to.
    pub relations: Relations,
    /// Manifests that give another media type than the descriptor that reached them first.
    pub mistyped: Vec<Mistyped>,
    blobs: HashMap<Digest, Blob>,
    media_types: Pool<str>,
    /// The links of the root, without its children.
    root_links: Links,
}

/// A manifest that gives another media type than its descriptor.
#[derive(Clone, Debug)]
pub struct Mistyped {
    /// Its digest.
    pub digest: Digest,
    /// The media type in the descriptor.
    pub described: String,
    /// Its own media type.
    pub own: String,
}

/// What is known of a digest that the walk came by.
#[derive(Debug)]
struct Blob {
    /// Whether a descriptor made it a manifest.
    is_document: bool,
    at: Position,
}

#[derive(Clone, Copy, Debug)]
enum Position {
    Reached(usize),
    Missing(usize),
}

/// A descriptor to visit.
#[derive(Debug)]
pub struct Step {
    descriptor: Descriptor,
    /// The digest of the document that has it. None: `index.json`.
    referrer: Option<Digest>,
}

impl<'a> LayoutGraph<'a> {
    pub fn new(layout: &'a Layout) -> LayoutGraph<'a> {
        LayoutGraph { layout, visited: Seen::new(), found: Mutex::default() }
    }

    /// Adds everything that `root` reaches. Returns the links of the root, without its children.
    ///
    /// # Errors
    /// A manifest cannot be read or is malformed, a blob has another size than a descriptor says, or the graph is too large.
    pub fn add(&self, root: &Descriptor) -> Result<Links, GraphError> {
        let root = Step { descriptor: root.clone(), referrer: None };
        walk(self, std::iter::once(root), NonZeroUsize::MIN)?;
        Ok(std::mem::take(&mut self.found().root_links))
    }

    /// Whether the walk reached this digest.
    pub fn has_seen(&self, digest: &Digest) -> bool {
        self.found().blobs.contains_key(digest)
    }

    pub fn manifests(&self) -> Vec<Digest> {
        self.found()
            .reached
            .iter()
            .filter(|reached| reached.is_manifest)
            .map(|reached| reached.digest.clone())
            .collect()
    }

    /// A reached blob.
    pub fn descriptor(&self, digest: &Digest) -> Option<Descriptor> {
        let found = self.found();
        match found.blobs.get(digest)?.at {
            Position::Reached(position) => {
                let Reached { digest, size, media_type, .. } = found.reached.get(position)?;
                Some(Descriptor::new(media_type, digest.clone(), *size))
            }
            Position::Missing(_) => None,
        }
    }

    /// The results.
    pub fn into_found(self) -> Found {
        into_inner(self.found)
    }

    /// Adds the referrers that the index of a fallback tag lists.
    ///
    /// # Errors
    /// There are too many.
    pub fn add_listed(&self, index: &Digest, referrers: Vec<Descriptor>) -> Result<(), GraphError> {
        let mut found = self.found();
        found.relations.record_listed(index, referrers);
        self.check_referrers(&found)
    }

    fn check_referrers(&self, found: &Found) -> Result<(), GraphError> {
        let path = || self.layout.path().into();
        found.relations.refuse_too_many().map_err(|source| GraphError::TooManyReferrers { path: path(), source })
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        lock(&self.found)
    }
}

impl Graph for LayoutGraph<'_> {
    type Node = Step;
    type Error = GraphError;

    fn identity<'n>(&'n self, step: &'n Step) -> Option<(&'n Seen, Key)> {
        let Descriptor { digest, size, media_type, .. } = &step.descriptor;
        let described = match media_type::holds_descriptors(media_type) {
            true => "document",
            false if media_type.is_empty() => "anything",
            false if step.descriptor.is_foreign() => "foreign",
            false => "leaf",
        };
        Some((&self.visited, key(&[digest.as_str(), &size.to_string(), described])))
    }

    fn bytes(&self, step: &Step) -> u64 {
        manifest_bytes(&step.descriptor)
    }

    fn visit(&self, step: Step, next: &mut Next<Step>) -> Result<(), GraphError> {
        let mut links = read_links(self.layout, &step.descriptor)?;
        links.iter().for_each(|links| self.found().relations.record(&step.descriptor, links));
        for descriptor in links.iter_mut().flat_map(|links| std::mem::take(&mut links.children)) {
            next.below(Step { descriptor, referrer: Some(step.descriptor.digest.clone()) });
        }
        let mut found = self.found();
        found.note(&step, links.as_ref(), next.has_below());
        self.check_referrers(&found)?;
        if step.referrer.is_none() {
            found.root_links = links.unwrap_or_default();
        }
        Ok(())
    }

    /// Entries may differ in their refs only.
    fn pass(&self, step: Step, _next: &mut Next<Step>) -> Result<(), GraphError> {
        if step.referrer.is_none() {
            let links = read_links(self.layout, &step.descriptor)?.unwrap_or_default();
            self.found().root_links = Links { children: vec![], ..links };
        }
        Ok(())
    }

    fn refuse(&self, step: Step, limit: Limit, _next: &mut Next<Step>) -> Result<(), GraphError> {
        let source = TooLarge { digest: step.descriptor.digest, limit };
        Err(GraphError::TooLarge { path: self.layout.path().into(), source })
    }
}

/// The links of a blob. None: the layout does not have it.
///
/// # Errors
/// It is a manifest that cannot be read or is malformed, or its size differs from its descriptor.
pub fn read_links(layout: &Layout, descriptor: &Descriptor) -> Result<Option<Links>, GraphError> {
    if !manifest::may_hold_descriptors(&descriptor.media_type) {
        let is_there = layout.has_blob(&descriptor.digest, descriptor.size)?;
        return Ok(is_there.then(Links::default));
    }
    let bytes = match layout.read(descriptor) {
        // Without a media type, a large blob may be a layer.
        Err(LayoutError::ManifestTooLarge { .. }) if descriptor.media_type.is_empty() => {
            return Ok(Some(Links::default()));
        }
        other => other?,
    };
    let Some(bytes) = bytes else { return Ok(None) };
    let path = || layout.path().join(blob_path(&descriptor.digest));
    manifest::links(&descriptor.media_type, &bytes)
        .map(Some)
        .map_err(|source| GraphError::Manifest { path: path(), source })
}

impl Found {
    /// Records a descriptor: the first one of its digest, or one that makes it a manifest.
    fn note(&mut self, step: &Step, links: Option<&Links>, has_children: bool) {
        let descriptor = &step.descriptor;
        match self.blobs.get(&descriptor.digest).map(|blob| (blob.is_document, blob.at)) {
            None => self.note_first(step, links, has_children),
            Some((_, Position::Missing(position))) => {
                if let Some(missing) = self.missing.get_mut(position) {
                    missing.is_foreign &= descriptor.is_foreign();
                }
            }
            Some((false, Position::Reached(position))) if media_type::holds_descriptors(&descriptor.media_type) => {
                self.note_document(position, descriptor, links);
            }
            Some(_) => {}
        }
    }

    fn note_first(&mut self, step: &Step, links: Option<&Links>, has_children: bool) {
        let Descriptor { digest, size, media_type, .. } = &step.descriptor;
        let own = links.map_or(media_type.as_str(), |links| links.type_or(media_type));
        let (digest, size, described, media_type) = (digest.clone(), *size, media_type, self.media_types.share(own));
        let is_document = media_type::holds_descriptors(&media_type);
        let at = match links {
            Some(links) => {
                if let Some(own) = links.other_type.clone() {
                    self.mistyped.push(Mistyped { digest: digest.clone(), described: described.clone(), own });
                }
                let is_manifest = is_document || has_children;
                self.reached.push(Reached { digest: digest.clone(), size, media_type, is_manifest });
                Position::Reached(self.reached.len() - 1)
            }
            None => {
                let (referrer, is_foreign) = (step.referrer.clone(), step.descriptor.is_foreign());
                self.missing.push(Missing { digest: digest.clone(), size, referrer, is_foreign });
                Position::Missing(self.missing.len() - 1)
            }
        };
        self.blobs.insert(digest, Blob { is_document, at });
    }

    /// Corrects the state of a blob that another descriptor makes a manifest.
    fn note_document(&mut self, position: usize, descriptor: &Descriptor, links: Option<&Links>) {
        if let Some(blob) = self.blobs.get_mut(&descriptor.digest) {
            blob.is_document = true;
        }
        if let Some(reached) = self.reached.get_mut(position) {
            let media_type = links.map_or(&*descriptor.media_type, |links| links.type_or(&descriptor.media_type));
            reached.media_type = self.media_types.share(media_type);
            reached.is_manifest = true;
        }
    }
}
