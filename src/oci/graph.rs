//! The graph of blobs below a descriptor, read from a layout.
//!
//! Descriptors form a graph, not a tree: layers are shared, an index may hold another, and a referrer's subject leads back
//! up. So each digest is visited once, and `subject` is not followed: it points up, and need not be present. The walk uses
//! a list of its own instead of the call stack, so that no depth of nesting can exhaust it.

use std::collections::HashSet;
use std::path::PathBuf;

use super::layout::{Layout, LayoutError, blob_path};
use super::manifest::{self, Links, ManifestError};
use super::{Descriptor, media_type};
use crate::digest::Digest;

/// A graph deeper than this is no image: BuildKit's attested multi-platform images, the deepest in use, have three levels.
const MAX_DEPTH: usize = 32;

/// One blob that the graph reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The media type of the descriptor that reached it first.
    pub media_type: String,
    /// Whether its bytes are a document of descriptors, read and parsed by the walk.
    pub is_manifest: bool,
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
    /// Indexes nested without end.
    #[error("{} nests indexes more than {MAX_DEPTH} deep below {digest}: no image needs that", .path.display())]
    TooDeep {
        /// The layout.
        path: PathBuf,
        /// The digest at which the walk stopped.
        digest: Digest,
    },
}

/// A walk over one layout, which remembers what it has seen from one root to the next.
#[derive(Debug)]
pub struct Walk<'a> {
    layout: &'a Layout,
    seen: HashSet<Digest>,
    /// What was reached, in the order of the walk.
    pub reached: Vec<Reached>,
    /// What was named and is not there.
    pub missing: Vec<Missing>,
    /// What refers to something: the digest of the subject, and the referrer as a referrers list describes it.
    pub referrers: Vec<(Digest, Descriptor)>,
}

struct Step {
    descriptor: Descriptor,
    referrer: Option<Digest>,
    depth: usize,
}

impl<'a> Walk<'a> {
    /// A walk that has seen nothing yet.
    pub fn new(layout: &'a Layout) -> Walk<'a> {
        Walk { layout, seen: HashSet::new(), reached: Vec::new(), missing: Vec::new(), referrers: Vec::new() }
    }

    /// Whether the walk came by this digest.
    pub fn has_seen(&self, digest: &Digest) -> bool {
        self.seen.contains(digest)
    }

    /// What one descriptor links to, read without adding anything to the walk.
    pub fn root_links(&self, root: &Descriptor) -> Result<Links, GraphError> {
        Ok(self.read(root)?.unwrap_or_default())
    }

    /// Adds all that is reached from `root`. Returns what the root itself links to.
    pub fn add(&mut self, root: &Descriptor) -> Result<Links, GraphError> {
        let mut todo = vec![Step { descriptor: root.clone(), referrer: None, depth: 0 }];
        let mut root_links = None;
        while let Some(step) = todo.pop() {
            let is_root = step.depth == 0;
            let first_visit = self.seen.insert(step.descriptor.digest.clone());
            if !first_visit && !is_root {
                continue;
            }
            let links = self.visit(&step, first_visit)?;
            for child in links.children.iter().rev() {
                let referrer = Some(step.descriptor.digest.clone());
                todo.push(Step { descriptor: child.clone(), referrer, depth: step.depth + 1 });
            }
            if is_root {
                root_links = Some(links);
            }
        }
        Ok(root_links.unwrap_or_default())
    }

    fn visit(&mut self, step: &Step, first_visit: bool) -> Result<Links, GraphError> {
        let Step { descriptor, referrer, depth } = step;
        if *depth > MAX_DEPTH {
            return Err(GraphError::TooDeep { path: self.layout.path().into(), digest: descriptor.digest.clone() });
        }
        let links = self.read(descriptor)?;
        if !first_visit {
            return Ok(links.unwrap_or_default());
        }
        let Descriptor { digest, size, media_type, .. } = descriptor;
        if let Some(links) = &links
            && let Some(subject) = &links.subject
        {
            self.referrers.push((subject.digest.clone(), links.referrer_descriptor(descriptor)));
        }
        match &links {
            Some(links) => self.reached.push(Reached {
                digest: digest.clone(),
                size: *size,
                media_type: media_type.clone(),
                is_manifest: media_type::holds_descriptors(media_type) || !links.children.is_empty(),
            }),
            None => self.missing.push(Missing {
                digest: digest.clone(),
                size: *size,
                referrer: referrer.clone(),
                is_foreign: descriptor.is_foreign(),
            }),
        }
        Ok(links.unwrap_or_default())
    }

    /// What a blob links to; None when the layout does not have it.
    fn read(&self, descriptor: &Descriptor) -> Result<Option<Links>, GraphError> {
        if !manifest::may_hold_descriptors(&descriptor.media_type) {
            let blob = self.layout.open_blob(&descriptor.digest, descriptor.size)?;
            return Ok(blob.map(|_| Links::default()));
        }
        let bytes = match self.layout.read_manifest(descriptor) {
            // Without a media type it may as well be a large layer.
            Err(LayoutError::ManifestTooLarge { .. }) if descriptor.media_type.is_empty() => {
                return Ok(Some(Links::default()));
            }
            other => other?,
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let path = || self.layout.path().join(blob_path(&descriptor.digest));
        manifest::links(&descriptor.media_type, &bytes)
            .map(Some)
            .map_err(|source| GraphError::Manifest { path: path(), source })
    }
}
