//! What a site has: its images, their refs, and what stands behind each.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;

use serde::Serialize;

use super::MaintenanceError;
use crate::publish::{Site, SiteImage, SitePlace};
use crate::site::index::Entry;
use oci_discovery::digest::Digest;
use oci_discovery::name::ImageName;
use oci_discovery::oci::Descriptor;
use oci_discovery::parallel;
use oci_discovery::seen::Key;

/// The platform that BuildKit gives attestations, which are for none.
const ATTESTATION: &str = "unknown/unknown";

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
    /// The platforms it is for, in the order of its manifests.
    pub platforms: Vec<String>,
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

/// Lists the images of a site, sorted by name.
pub fn list(place: &SitePlace, jobs: NonZeroUsize) -> Result<Vec<Image>, MaintenanceError> {
    let site = super::open(place)?;
    parallel::map(&site.images, jobs, |image| list_image(&site, image))
}

fn list_image(site: &Site, name: &ImageName) -> Result<Image, MaintenanceError> {
    let published = SiteImage { site, image: name };
    let index = published.index()?.map(|(index, _)| index).unwrap_or_default();
    let mut reached = HashMap::new();
    let entries = index.entries().iter().map(|entry| list_entry(published, entry, &mut reached));
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by(|a, b| (&a.reference, &a.digest).cmp(&(&b.reference, &b.digest)));
    Ok(Image { name: name.clone(), entries })
}

/// What stands behind a descriptor. A great many entries may have the same.
#[derive(Clone, Debug, Default)]
struct Behind {
    subject: Option<Digest>,
    size: u64,
    missing: usize,
    /// The platforms of the manifests that it reaches.
    platforms: Vec<String>,
}

fn list_entry(
    published: SiteImage<'_>,
    entry: &Entry,
    known: &mut HashMap<Key, Behind>,
) -> Result<ListedEntry, MaintenanceError> {
    let descriptor = published.descriptor(entry)?;
    let (digest, media_type) = (descriptor.digest.clone(), descriptor.media_type.clone());
    let artifact_type = descriptor.artifact_type().map(str::to_string);
    let Behind { subject, size, missing, platforms } = match known.entry(descriptor.key()) {
        Occupied(known) => known.get().clone(),
        Vacant(unknown) => unknown.insert(look_behind(published, descriptor)?).clone(),
    };
    let reference = entry.reference.as_deref().map(str::to_string);
    let platforms = entry.platform.as_ref().map_or(platforms, |platform| vec![platform.to_string()]);
    Ok(ListedEntry { reference, platforms, digest, media_type, artifact_type, subject, size, missing })
}

fn look_behind(published: SiteImage<'_>, descriptor: Descriptor) -> Result<Behind, MaintenanceError> {
    let mut behind = Behind::default();
    let mut platforms = HashSet::new();
    let root = descriptor.digest.clone();
    published.reach([descriptor], |reached, links| {
        behind.size = behind.size.saturating_add(reached.size);
        behind.missing += usize::from(links.is_none());
        if reached.digest == root {
            behind.subject = links.and_then(|links| links.subject.as_ref()).map(|subject| subject.digest.clone());
        } else if let Some(platform) = reached.platform().map(|platform| platform.to_string())
            && platform != ATTESTATION
            && platforms.insert(platform.clone())
        {
            behind.platforms.push(platform);
        }
        Ok(())
    })?;
    Ok(behind)
}
