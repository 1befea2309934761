//! The manifests and blobs of an image, as far as a change of its repository has to look at them.
//!
//! What a publish brings is known from its layouts, and what other manifests refer to from the facts that the site keeps
//! ([`crate::site::registry::facts_path`]). Only manifests that neither knows are read from the site's CAS: those of a site that was made
//! before there were such facts, once, and all where the view is new.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use super::error::RegistryError;
use crate::layout::graph::FoundBlob;
use crate::site::index::Entry;
use crate::store::blob_plan::{BlobPlan, BlobRole, PlannedBlob};
use crate::store::site_image::{SiteImage, SiteImageError};
use oci_discovery::digest::Digest;
use oci_discovery::oci::manifest::{Links, may_hold_descriptors};
use oci_discovery::oci::relations::Relations;
use oci_discovery::oci::{Descriptor, walk};
use oci_discovery::parallel::{self, into_inner, lock};
use oci_discovery::seen::Seen;

/// The size and the media type of blobs, by digest.
type Blobs = BTreeMap<Digest, (u64, Arc<str>)>;

/// The manifests and blobs that a publish brings, and in a new view those that the image had before.
#[derive(Default)]
pub struct Brought {
    manifests: Blobs,
    blobs: Blobs,
    layouts: HashMap<Digest, usize>,
}

impl Brought {
    /// What layouts have of an image.
    pub fn of_layouts(found: &[FoundBlob]) -> Brought {
        let mut brought = Brought::default();
        for FoundBlob { blob, layout } in found {
            brought.add(blob.is_manifest, &blob.digest, (blob.size, blob.media_type.clone()));
            brought.layouts.insert(blob.digest.clone(), *layout);
        }
        brought
    }

    fn add(&mut self, is_manifest: bool, digest: &Digest, described: (u64, Arc<str>)) {
        let list = if is_manifest { &mut self.manifests } else { &mut self.blobs };
        list.insert(digest.clone(), described);
    }

    /// Whether this is one of the manifests.
    pub fn has_manifest(&self, digest: &Digest) -> bool {
        self.manifests.contains_key(digest)
    }

    /// Whether this is a blob that is no manifest.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blobs.contains_key(digest)
    }

    /// Plans the names under which the view has the manifests and blobs.
    pub fn plan_links(&self, image: usize, blobs: &mut BlobPlan) -> Result<(), RegistryError> {
        let all = self.manifests.iter().map(|blob| (blob, true)).chain(self.blobs.iter().map(|blob| (blob, false)));
        for ((digest, (size, media_type)), is_manifest) in all {
            let roles: &[BlobRole] = match is_manifest {
                true => &[BlobRole::RegistryManifest, BlobRole::RegistryTypedManifest],
                false => &[BlobRole::RegistryBlob],
            };
            let mut link = PlannedBlob {
                image,
                layout: self.layouts.get(digest).copied(),
                digest: digest.clone(),
                size: *size,
                media_type: media_type.clone(),
                role: BlobRole::Cas,
                same_as: None,
            };
            link.same_as = Some(blobs.original(&link));
            let in_cas = blobs.cas_place(image, digest)?;
            for role in roles {
                let link = PlannedBlob { role: *role, ..link.clone() };
                // With preset `registry` the view's blobs are the CAS.
                if blobs.place(&link)? != in_cas {
                    blobs.all.push(link);
                }
            }
        }
        Ok(())
    }
}

/// Reads the manifests of a site of which nothing is known.
pub struct Reading<'a> {
    /// The image.
    pub image: SiteImage<'a>,
    /// Whether all manifests and blobs get names, and must be sound.
    pub is_new_view: bool,
    /// How many manifests are read at once.
    pub jobs: NonZeroUsize,
}

impl Reading<'_> {
    /// Adds what the manifests refer to that these entries lead to.
    pub fn add(
        &self,
        entries: &[&Entry],
        relations: &mut Relations,
        brought: &mut Brought,
    ) -> Result<(), RegistryError> {
        entries.iter().for_each(|entry| relations.forget(&entry.digest));
        let (seen, known) = (Seen::new(), std::mem::take(&mut brought.layouts));
        let noted = Mutex::new((&mut *relations, &mut *brought));
        let links = |descriptor: &Descriptor| match known.contains_key(&descriptor.digest) {
            true => Ok(None),
            false => self.links(descriptor),
        };
        let visit = |descriptor: &Descriptor, links: Option<&Links>| -> Result<(), SiteImageError> {
            let Some(links) = links else { return Ok(()) };
            let is_manifest = may_hold_descriptors(&descriptor.media_type);
            let (relations, brought) = &mut *lock(&noted);
            if is_manifest {
                relations.record(descriptor, links);
            }
            if self.is_new_view {
                brought.add(is_manifest, &descriptor.digest, (descriptor.size, descriptor.media_type.as_str().into()));
            }
            Ok(())
        };
        // An entry at a time: as trees of values, hundreds of thousands of descriptors would take a gigabyte.
        parallel::map(entries, self.jobs, |entry| match entry.descriptor() {
            Ok(root) => walk::reach(&seen, [root], links, visit),
            Err(_) => Ok(()),
        })?;
        let (relations, brought) = into_inner(noted);
        brought.layouts = known;
        self.add_listed(entries, relations)
    }

    /// What a manifest that is damaged or missing refers to is unknown; `publish --recheck` repairs it and makes the facts again.
    fn links(&self, descriptor: &Descriptor) -> Result<Option<Links>, SiteImageError> {
        match self.is_new_view {
            true => self.image.links(descriptor),
            false if may_hold_descriptors(&descriptor.media_type) => self.image.links_or_none(descriptor).map(Some),
            false => Ok(None),
        }
    }

    fn add_listed(&self, entries: &[&Entry], relations: &mut Relations) -> Result<(), RegistryError> {
        // An index may be under a great many fallback tags.
        let lists = entries.iter().filter(|entry| entry.fallback_list().is_some());
        let lists: BTreeMap<&Digest, &Entry> = lists.map(|entry| (&entry.digest, *entry)).collect();
        for entry in lists.into_values() {
            let links = self.image.links_or_none(&self.image.descriptor(entry)?)?;
            relations.record_listed(&entry.digest, links.children);
        }
        Ok(())
    }
}
