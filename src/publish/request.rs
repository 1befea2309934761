//! What is asked of a publish.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::input::Input;
use crate::catalogue::page::Pages;
use crate::layout::Layout;
use crate::site::Preset;
use crate::site::index::Merge;
use crate::store::{self, Location};

/// What to publish, where, and how.
#[derive(Clone, Debug)]
pub struct PublishRequest {
    /// Where the site is.
    pub site: Location,
    /// The images, and the folders to look for layouts in.
    pub inputs: Vec<Input>,
    /// The host for images that are named by their path in a folder; also a host that the site serves.
    pub host: Option<String>,
    /// The pair of templates to start from.
    pub preset: Option<Preset>,
    /// An index template of one's own.
    pub index_template: Option<String>,
    /// A CAS template of one's own.
    pub cas_template: Option<String>,
    /// The path on its host below which a new site keeps all but its discovery documents: `/images`.
    pub base_path: Option<String>,
    /// Where other origins are.
    pub stores: Vec<(String, Location)>,
    /// Whether each host gets a root of its own, below the site's own.
    pub root_per_host: bool,
    /// Whether the site gets the registry view; one that has it keeps it.
    pub registry: bool,
    /// Whether the site gets the catalogue. None: a new site gets it, and others stay as they are.
    pub catalogue: Option<bool>,
    /// A directory with templates for the catalogue's pages.
    pub template_dir: Option<PathBuf>,
    /// What happens to entries that are there.
    pub merge: Merge,
    /// Whether blobs that a layout lacks are no error.
    pub allow_missing: bool,
    /// Whether what the site has already is read and hashed, and repaired where it is damaged.
    pub recheck: bool,
    /// How the stores are used.
    pub options: store::StoreOptions,
    /// How many files are worked on at once.
    pub jobs: NonZeroUsize,
    /// How long to wait for another publisher.
    pub wait: Duration,
}

/// A request with what was made ready for it, for all sites that it publishes to.
#[derive(Clone, Copy)]
pub struct Publication<'a> {
    /// The request.
    pub request: &'a PublishRequest,
    /// The layouts that were opened.
    pub layouts: &'a [Layout],
    /// What renders the catalogue's pages.
    pub pages: &'a Pages,
}
