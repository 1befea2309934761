//! The graph of blobs below a descriptor, read from a layout.
//!
//! Descriptors form a graph, not a tree: layers are shared, an index may hold another, and a referrer's subject leads back
//! up. So each digest is visited once, and `subject` is not followed: it points up, and need not be present. The walk uses
//! a list of its own instead of the call stack, so that no depth of nesting can exhaust it.
//!
//! Two descriptors of one digest may differ. What one calls a layer the other may call a manifest, and then it is one: it is
//! visited again, as such. Sizes must not differ, because one of them is not the blob's.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::layout::{Layout, LayoutError, blob_path};
use super::manifest::{self, Links, ManifestError};
use super::{Descriptor, media_type};
use crate::digest::Digest;
use crate::pool::Pool;

/// A graph deeper than this is no image: BuildKit's attested multi-platform images, the deepest in use, have three levels.
const MAX_DEPTH: usize = 32;

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
    seen: HashMap<Digest, Seen>,
    media_types: Pool<str>,
    /// What was reached, in the order of the walk.
    pub reached: Vec<Reached>,
    /// What was named and is not there.
    pub missing: Vec<Missing>,
    /// What refers to something: the digest of the subject, and the referrer as a referrers list describes it.
    pub referrers: Vec<(Digest, Descriptor)>,
}

/// What is known of a digest that the walk came by.
#[derive(Debug)]
struct Seen {
    size: u64,
    /// Whether a descriptor said that it holds descriptors.
    is_document: bool,
    at: Position,
}

/// A position in [`Walk::reached`] or [`Walk::missing`].
#[derive(Clone, Copy, Debug)]
enum Position {
    Reached(usize),
    Missing(usize),
}

struct Step<'a> {
    descriptor: Cow<'a, Descriptor>,
    referrer: Option<Digest>,
    depth: usize,
}

impl<'a> Walk<'a> {
    /// A walk that has seen nothing yet.
    pub fn new(layout: &'a Layout) -> Walk<'a> {
        Walk {
            layout,
            seen: HashMap::new(),
            media_types: Pool::default(),
            reached: Vec::new(),
            missing: Vec::new(),
            referrers: Vec::new(),
        }
    }

    /// Whether the walk came by this digest.
    pub fn has_seen(&self, digest: &Digest) -> bool {
        self.seen.contains_key(digest)
    }

    /// What one descriptor links to, read without adding anything to the walk.
    pub fn root_links(&self, root: &Descriptor) -> Result<Links, GraphError> {
        Ok(self.read(root)?.unwrap_or_default())
    }

    /// Adds all that is reached from `root`. Returns what the root itself links to, without its children.
    pub fn add(&mut self, root: &Descriptor) -> Result<Links, GraphError> {
        let mut todo = vec![Step { descriptor: Cow::Borrowed(root), referrer: None, depth: 0 }];
        let mut root_links = None;
        while let Some(step) = todo.pop() {
            let is_root = step.depth == 0;
            if !self.tells_something_new(&step.descriptor)? && !is_root {
                continue;
            }
            let mut links = self.visit(&step)?;
            for descriptor in std::mem::take(&mut links.children).into_iter().rev() {
                let referrer = Some(step.descriptor.digest.clone());
                todo.push(Step { descriptor: Cow::Owned(descriptor), referrer, depth: step.depth + 1 });
            }
            if is_root {
                root_links = Some(links);
            }
        }
        Ok(root_links.unwrap_or_default())
    }

    /// Whether a descriptor is the first of its digest, or the first to say that there are descriptors in it.
    fn tells_something_new(&mut self, descriptor: &Descriptor) -> Result<bool, GraphError> {
        let Some(seen) = self.seen.get(&descriptor.digest) else { return Ok(true) };
        if seen.size != descriptor.size {
            // One of the two sizes is wrong. The first was right, where there is a file to tell.
            self.layout.open_blob(&descriptor.digest, descriptor.size)?;
        }
        match seen.at {
            Position::Reached(_) => Ok(!seen.is_document && media_type::holds_descriptors(&descriptor.media_type)),
            Position::Missing(position) => {
                self.missing[position].is_foreign &= descriptor.is_foreign();
                Ok(false)
            }
        }
    }

    fn visit(&mut self, step: &Step) -> Result<Links, GraphError> {
        if step.depth > MAX_DEPTH {
            let digest = step.descriptor.digest.clone();
            return Err(GraphError::TooDeep { path: self.layout.path().into(), digest });
        }
        let links = self.read(&step.descriptor)?;
        match self.seen.get(&step.descriptor.digest).map(|seen| (seen.is_document, seen.at)) {
            None => self.note_first(step, links.as_ref()),
            Some((false, Position::Reached(position))) => {
                self.note_document(position, &step.descriptor, links.as_ref())
            }
            Some(_) => {}
        }
        Ok(links.unwrap_or_default())
    }

    fn note_first(&mut self, step: &Step, links: Option<&Links>) {
        let Descriptor { digest, size, media_type, .. } = &*step.descriptor;
        let (digest, size, media_type) = (digest.clone(), *size, self.media_types.share(media_type.as_str()));
        let is_document = media_type::holds_descriptors(&media_type);
        let at = match links {
            Some(_) => Position::Reached(self.reached.len()),
            None => Position::Missing(self.missing.len()),
        };
        self.seen.insert(digest.clone(), Seen { size, is_document, at });
        match links {
            Some(links) => {
                let is_manifest = is_document || !links.children.is_empty();
                self.reached.push(Reached { digest, size, media_type, is_manifest });
                self.note_subject(&step.descriptor, links);
            }
            None => {
                let (referrer, is_foreign) = (step.referrer.clone(), step.descriptor.is_foreign());
                self.missing.push(Missing { digest, size, referrer, is_foreign });
            }
        }
    }

    /// Corrects what an earlier descriptor said of a blob that turns out to be a document.
    fn note_document(&mut self, position: usize, descriptor: &Descriptor, links: Option<&Links>) {
        if !media_type::holds_descriptors(&descriptor.media_type) {
            return;
        }
        if let Some(seen) = self.seen.get_mut(&descriptor.digest) {
            seen.is_document = true;
        }
        self.reached[position].media_type = self.media_types.share(descriptor.media_type.as_str());
        self.reached[position].is_manifest = true;
        if let Some(links) = links {
            self.note_subject(descriptor, links);
        }
    }

    fn note_subject(&mut self, descriptor: &Descriptor, links: &Links) {
        if let Some(subject) = &links.subject {
            self.referrers.push((subject.digest.clone(), links.referrer_descriptor(descriptor)));
        }
    }

    /// What a blob links to; None when the layout does not have it.
    fn read(&self, descriptor: &Descriptor) -> Result<Option<Links>, GraphError> {
        if !manifest::may_hold_descriptors(&descriptor.media_type) {
            let is_there = self.layout.has_blob(&descriptor.digest, descriptor.size)?;
            return Ok(is_there.then(Links::default));
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
