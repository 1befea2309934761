//! What a site has: its images, their refs, and what stands behind each.

use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::MaintenanceError;
use crate::site::index::Entry;
use crate::store::site::{Site, SitePlace};
use crate::store::site_image::SiteImage;
use oci_discovery::digest::Digest;
use oci_discovery::name::ImageName;
use oci_discovery::oci::Descriptor;
use oci_discovery::oci::recorded::{Reached, RecordedGraph, Steps};
use oci_discovery::parallel;

/// An image of a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Image {
    /// Its name.
    pub name: ImageName,
    /// The entries of its index, sorted by ref.
    pub entries: Vec<ListedEntry>,
}

/// An entry of an index, with what it reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedEntry {
    /// Its ref; None: it has none.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// The platforms it is for, sorted.
    #[serde(serialize_with = "texts")]
    pub platforms: Arc<[Arc<str>]>,
    /// The digest it points to.
    pub digest: Digest,
    /// The media type of what it points to.
    pub media_type: String,
    /// Its type, where it is an artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What it refers to, where it is a signature or the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
    /// The bytes of all blobs it reaches, each counted once.
    pub size: u64,
    /// How many of these the site does not have.
    #[serde(skip_serializing_if = "is_zero")]
    pub missing: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn texts<S: Serializer>(texts: &[Arc<str>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(texts.iter().map(|text| &**text))
}

/// Lists the images of a site, sorted by name.
pub fn list(place: &SitePlace, jobs: NonZeroUsize) -> Result<Vec<Image>, MaintenanceError> {
    let site = super::open(place)?;
    // All that is listed is in memory at one time, so all images share what they may take.
    let steps = Steps::default();
    parallel::map(&site.images, jobs, |image| list_image(&site, image, &steps))
}

fn list_image(site: &Site, name: &ImageName, steps: &Steps) -> Result<Image, MaintenanceError> {
    let published = SiteImage { site, image: name };
    let index = published.index()?.map(|(index, _)| index).unwrap_or_default();
    let mut graph = RecordedGraph::new(steps);
    // One at a time: as trees of values, hundreds of thousands of descriptors would take a gigabyte.
    let roots = index.entries().iter().filter_map(|entry| entry.descriptor().ok());
    let too_much = |source| MaintenanceError::SharesTooMuch { image: name.clone(), source };
    published.reach(roots, |reached, links| graph.record(reached, links).map_err(too_much))?;
    let mut entries = Vec::with_capacity(index.entries().len());
    for entry in index.entries() {
        let descriptor = published.descriptor(entry)?;
        let reached = graph.sum_up(&descriptor).map_err(too_much)?;
        entries.push(listed(entry, descriptor, reached));
    }
    let order = |entry: &ListedEntry| (entry.reference.clone(), entry.platforms.clone(), entry.digest.clone());
    entries.sort_by_cached_key(order);
    Ok(Image { name: name.clone(), entries })
}

fn listed(entry: &Entry, descriptor: Descriptor, reached: Reached) -> ListedEntry {
    let artifact_type = descriptor.artifact_type();
    let Descriptor { digest, media_type, .. } = descriptor;
    let Reached { subject, size, missing, platforms } = reached;
    let reference = entry.reference.as_deref().map(str::to_string);
    let platforms = entry.platform.as_ref().map_or(platforms, |platform| [Arc::from(platform.to_string())].into());
    ListedEntry { reference, platforms, digest, media_type, artifact_type, subject, size, missing }
}
