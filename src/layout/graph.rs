//! The graph of blobs below the entries of a layout: which blobs are there, which are missing, and which refer to which.
//!
//! Two descriptors of one digest may differ. What one calls a layer the other may call a manifest, and then it is one: it is
//! visited again, as such. Sizes must not differ, because one of them is not the blob's.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Layout, LayoutError, blob_path};
use oci_discovery::digest::Digest;
use oci_discovery::oci::manifest::{self, Links, ManifestError};
use oci_discovery::oci::walk::{Graph, Limit, Manifests, Next, TooLarge, manifest_bytes, walk};
use oci_discovery::oci::{Descriptor, media_type};
use oci_discovery::parallel::{into_inner, lock};
use oci_discovery::pool::Pool;
use oci_discovery::seen::{Key, Seen, key};

/// The most bytes of manifests that refer to others in one layout. What they say of themselves is kept for the lists of referrers.
const MAX_REFERRER_BYTES: u64 = 128 * 1024 * 1024;
/// A referrer counts as this many bytes at least: that is what its descriptor takes.
const MIN_REFERRER_BYTES: u64 = 256;

/// One blob that the graph reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The media type of the descriptor that reached it first, or first as a document of descriptors.
    pub media_type: Arc<str>,
    /// Whether its bytes are a document of descriptors, read and parsed by the walk.
    pub is_manifest: bool,
}

/// A blob, and which of several layouts has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundBlob {
    /// The blob.
    pub blob: Reached,
    /// The position of the layout.
    pub layout: usize,
}

/// A blob that the graph names and the layout does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of the document that refers to it; None when that is `index.json` itself.
    pub referrer: Option<Digest>,
    /// Whether the descriptor says where else it can be had (see [`Descriptor::is_foreign`]).
    pub is_foreign: bool,
}

/// Why a graph could not be walked.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// A file of the layout could not be read, or is not what its descriptor says.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A manifest is malformed.
    #[error("the manifest {} is wrong", .path.display())]
    Manifest {
        /// The manifest's path in the layout.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// More referrers than a layout of images has.
    #[error(
        "{} has more than {} MiB of manifests that refer to others: publish a part of it at a time", .path.display(),
        MAX_REFERRER_BYTES / 1024 / 1024
    )]
    TooManyReferrers {
        /// The layout.
        path: PathBuf,
    },
    /// A graph that is larger than those of images.
    #[error("{} cannot be read as images", .path.display())]
    TooLarge {
        /// The layout.
        path: PathBuf,
        /// Where, and which limit it exceeds.
        #[source]
        source: TooLarge,
    },
}

/// The graph of a layout, as far as it was walked: what was seen below one root is remembered for the next.
#[derive(Debug)]
pub struct LayoutGraph<'a> {
    layout: &'a Layout,
    visited: Seen,
    found: Mutex<Found>,
}

/// What was found in a layout.
#[derive(Debug, Default)]
pub struct Found {
    /// What was reached, in the order of the walk.
    pub reached: Vec<Reached>,
    /// What is referred to and missing.
    pub missing: Vec<Missing>,
    /// What refers to something: the digest of the subject, and the referrer as a referrers list describes it.
    pub referrers: Vec<(Digest, Descriptor)>,
    /// Manifests that give another media type than the descriptor that reached them first.
    pub mistyped: Vec<Mistyped>,
    blobs: HashMap<Digest, Blob>,
    media_types: Pool<str>,
    /// The bytes of the manifests in `referrers`.
    referrer_bytes: u64,
    /// What the root of the walk links to, without its children.
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
    /// Whether a descriptor said that it holds descriptors.
    is_document: bool,
    at: Position,
}

/// A position in [`Found::reached`] or [`Found::missing`].
#[derive(Clone, Copy, Debug)]
enum Position {
    Reached(usize),
    Missing(usize),
}

/// A descriptor on the way.
#[derive(Debug)]
pub struct Step {
    descriptor: Descriptor,
    /// The digest of the document that has it; None: `index.json`.
    referrer: Option<Digest>,
}

impl<'a> LayoutGraph<'a> {
    /// A graph of which nothing was walked yet.
    pub fn new(layout: &'a Layout) -> LayoutGraph<'a> {
        LayoutGraph { layout, visited: Seen::new(), found: Mutex::default() }
    }

    /// Adds all that is reached from `root`. Returns what the root itself links to, without its children.
    ///
    /// # Errors
    /// A manifest cannot be read or is malformed, a blob has another size than a descriptor says, or the graph is too large.
    pub fn add(&self, root: &Descriptor) -> Result<Links, GraphError> {
        let root = Step { descriptor: root.clone(), referrer: None };
        walk(self, std::iter::once(root), NonZeroUsize::MIN)?;
        Ok(std::mem::take(&mut self.found().root_links))
    }

    /// Whether the walk came by this digest.
    pub fn has_seen(&self, digest: &Digest) -> bool {
        self.found().blobs.contains_key(digest)
    }

    /// The manifests that were reached.
    pub fn manifests(&self) -> Vec<Digest> {
        self.found()
            .reached
            .iter()
            .filter(|reached| reached.is_manifest)
            .map(|reached| reached.digest.clone())
            .collect()
    }

    /// A blob that was reached, as the graph knows it.
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

    /// All that was found.
    pub fn into_found(self) -> Found {
        into_inner(self.found)
    }

    /// Adds a referrer that only a fallback tag's index names.
    ///
    /// # Errors
    /// There are too many.
    pub fn add_referrer(&self, subject: Digest, referrer: Descriptor) -> Result<(), GraphError> {
        let mut found = self.found();
        found.add_referrer(subject, referrer);
        self.check_referrers(&found)
    }

    fn check_referrers(&self, found: &Found) -> Result<(), GraphError> {
        match found.referrer_bytes > MAX_REFERRER_BYTES {
            true => Err(GraphError::TooManyReferrers { path: self.layout.path().into() }),
            false => Ok(()),
        }
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

    /// An entry may be the same as an earlier one but for its ref.
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

/// What a blob of a layout links to; None: the layout does not have it.
///
/// # Errors
/// It is a manifest that cannot be read or is malformed, or has another size than its descriptor says.
pub fn read_links(layout: &Layout, descriptor: &Descriptor) -> Result<Option<Links>, GraphError> {
    if !manifest::may_hold_descriptors(&descriptor.media_type) {
        let is_there = layout.has_blob(&descriptor.digest, descriptor.size)?;
        return Ok(is_there.then(Links::default));
    }
    let bytes = match layout.read(descriptor) {
        // Without a media type it may as well be a large layer.
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
    /// Notes a descriptor: the first of its digest, or one that says something else of it.
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
                self.note_subject(&step.descriptor, links);
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

    /// Corrects what an earlier descriptor said of a blob that turns out to be a document.
    fn note_document(&mut self, position: usize, descriptor: &Descriptor, links: Option<&Links>) {
        if let Some(blob) = self.blobs.get_mut(&descriptor.digest) {
            blob.is_document = true;
        }
        if let Some(reached) = self.reached.get_mut(position) {
            let media_type = links.map_or(&*descriptor.media_type, |links| links.type_or(&descriptor.media_type));
            reached.media_type = self.media_types.share(media_type);
            reached.is_manifest = true;
        }
        if let Some(links) = links {
            self.note_subject(descriptor, links);
        }
    }

    fn note_subject(&mut self, descriptor: &Descriptor, links: &Links) {
        if let Some(subject) = &links.subject {
            self.add_referrer(subject.digest.clone(), links.referrer_descriptor(descriptor));
        }
    }

    fn add_referrer(&mut self, subject: Digest, referrer: Descriptor) {
        self.referrer_bytes = self.referrer_bytes.saturating_add(referrer.size.max(MIN_REFERRER_BYTES));
        self.referrers.push((subject, referrer));
    }
}
