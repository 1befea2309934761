//! Moves the blobs of an image into a layout: walks the manifests, then stores all blobs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use super::error::PullError;
use super::fetch::{Destination, FetchError, PartialBlob, Sink, fetch};
use super::manifests::{Found, SiteManifests, is_manifest};
use crate::layout::writer::UnfinishedBlob;
use crate::progress::Progress;
use oci_discovery::digest::Digest;
use oci_discovery::discovery::{Remark, Remarks};
use oci_discovery::error::chain;
use oci_discovery::name::ImageName;
use oci_discovery::oci::Descriptor;
use oci_discovery::oci::walk::{Budget, Graph, Limit, Next, TooLarge, descriptor_key, manifest_bytes, walk};
use oci_discovery::parallel;
use oci_discovery::parallel::{into_inner, lock};
use oci_discovery::seen::{Key, Seen};

/// A number of blobs and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BlobCount {
    pub blobs: u64,
    pub bytes: u64,
}

impl BlobCount {
    fn add(&mut self, bytes: u64) {
        self.blobs += 1;
        self.bytes += bytes;
    }
}

/// The walked parts of an image.
#[derive(Debug, Default)]
struct Parts {
    manifests: BTreeMap<Digest, Found>,
    /// The manifests that the current walk found.
    walked: Vec<Digest>,
    blobs: Vec<Found>,
    /// The sum of the sizes of all of them.
    bytes: u64,
    fetched: BlobCount,
    present: BlobCount,
}

/// The transfer of one image: the blobs that were walked, and the destination layout.
pub(super) struct Transfer<'a> {
    pub(super) manifests: SiteManifests<'a>,
    name: &'a ImageName,
    /// The most bytes that all blobs together may have.
    max_size: u64,
    /// How many requests at once.
    pub(super) jobs: NonZeroUsize,
    seen: Seen,
    parts: Mutex<Parts>,
    remarks: Mutex<Remarks>,
}

/// Walks manifests in parallel, and records them and their blobs.
impl Graph for Transfer<'_> {
    type Node = Found;
    type Error = PullError;

    fn identity<'n>(&'n self, found: &'n Found) -> Option<(&'n Seen, Key)> {
        Some((&self.seen, descriptor_key(&found.descriptor)))
    }

    fn bytes(&self, found: &Found) -> u64 {
        manifest_bytes(&found.descriptor)
    }

    fn budget(&self) -> Arc<Budget> {
        self.manifests.budget.clone()
    }

    fn visit(&self, mut found: Found, next: &mut Next<Found>) -> Result<(), PullError> {
        self.add_size(found.descriptor.size)?;
        if !is_manifest(&found.descriptor) {
            // A fetch needs no other properties, and there may be very many blobs.
            found.descriptor.edit(|properties| properties.retain(|property, _| property == "urls"));
            self.parts().blobs.push(found);
            return Ok(());
        }
        let Descriptor { digest, size, .. } = &found.descriptor;
        let was_present = self.manifests.layout.has(digest, *size);
        let mut remarks = Remarks::default();
        let children = self.manifests.children(&found, &mut remarks)?;
        self.remark(remarks);
        let mut parts = self.parts();
        let count = if was_present { &mut parts.present } else { &mut parts.fetched };
        count.add(*size);
        parts.walked.push(digest.clone());
        parts.manifests.insert(digest.clone(), found);
        children.into_iter().for_each(|child| next.below(child));
        Ok(())
    }

    fn refuse(&self, found: Found, limit: Limit, _next: &mut Next<Found>) -> Result<(), PullError> {
        Err(TooLarge { digest: found.descriptor.digest, limit }.into())
    }
}

impl<'a> Transfer<'a> {
    /// A transfer of nothing yet, for `name`, whose remarks follow `remarks`.
    pub(super) fn new(
        manifests: SiteManifests<'a>,
        name: &'a ImageName,
        max_size: u64,
        jobs: NonZeroUsize,
        remarks: Remarks,
    ) -> Transfer<'a> {
        let remarks = Mutex::new(remarks);
        Transfer { manifests, name, max_size, jobs, seen: Seen::new(), parts: Mutex::default(), remarks }
    }

    pub(super) fn into_remarks(self) -> Remarks {
        into_inner(self.remarks)
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        lock(&self.parts)
    }

    pub(super) fn remark(&self, remarks: impl IntoIterator<Item = Remark>) {
        lock(&self.remarks).extend(remarks);
    }

    /// Walks the manifests below `roots`, and records their blobs. Returns the manifests that were not walked before.
    pub(super) fn walk(&self, roots: &[Found]) -> Result<Vec<Digest>, PullError> {
        walk(self, roots.iter().cloned(), self.jobs)?;
        Ok(std::mem::take(&mut self.parts().walked))
    }

    /// Adds the size of a blob, before it is read.
    fn add_size(&self, bytes: u64) -> Result<(), PullError> {
        let mut parts = self.parts();
        parts.bytes = parts.bytes.saturating_add(bytes);
        match parts.bytes > self.max_size {
            true => Err(PullError::TooManyBytes { name: self.name.clone(), size: parts.bytes, limit: self.max_size }),
            false => Ok(()),
        }
    }

    /// Whether the layout has a blob already.
    fn has(&self, found: &Found) -> bool {
        self.manifests.layout.has(&found.descriptor.digest, found.descriptor.size)
    }

    /// Checks that the file system has room for the blobs that are missing.
    pub(super) fn check_room(&self) -> Result<(), PullError> {
        let (parts, layout) = (self.parts(), self.manifests.layout);
        let mut missing = 0_u64;
        let all: Vec<&Found> = parts.manifests.values().chain(&parts.blobs).collect();
        let presence = parallel::map(&all, self.jobs, |found| Ok::<_, PullError>(self.has(found)))?;
        for (found, is_present) in all.iter().zip(presence) {
            let Descriptor { digest, size: bytes, .. } = &found.descriptor;
            if !is_present {
                // The bytes that a killed program wrote have their room already.
                missing = missing.saturating_add(bytes - layout.unfinished(digest, *bytes));
            }
        }
        Ok(layout.check_room(missing)?)
    }

    /// Writes the manifests to the layout.
    pub(super) fn store_manifests(&self) -> Result<(), PullError> {
        let manifests: Vec<Found> = self.parts().manifests.values().cloned().collect();
        parallel::map(&manifests, self.jobs, |found| self.manifests.store(found))?;
        Ok(())
    }

    /// Fetches the missing blobs in parallel. Returns the numbers of fetched and existing blobs, including manifests.
    pub(super) fn fetch_all(&self, progress: &dyn Progress) -> Result<(BlobCount, BlobCount), PullError> {
        let Parts { blobs, mut fetched, mut present, .. } = std::mem::take(&mut *self.parts());
        let presence = parallel::map(&blobs, self.jobs, |found| Ok::<_, PullError>(self.has(found)))?;
        let (stored, missing): (Vec<_>, Vec<_>) =
            blobs.into_iter().zip(presence).partition(|(_, is_present)| *is_present);
        for (found, _) in &stored {
            present.add(found.descriptor.size);
        }
        let missing: Vec<Found> = missing.into_iter().map(|(found, _)| found).collect();
        progress.start("pulling", missing.iter().map(|found| found.descriptor.size).sum());
        let outcome = parallel::map(&missing, self.jobs, |found| self.fetch_blob(found, progress));
        progress.finish();
        for (found, left_out) in missing.iter().zip(outcome?) {
            match left_out {
                Some(remark) => self.remark([remark]),
                None => fetched.add(found.descriptor.size),
            }
        }
        Ok((fetched, present))
    }

    /// Fetches one blob. Returns a remark if the blob is omitted, because its layer may not be distributed.
    fn fetch_blob(&self, found: &Found, progress: &dyn Progress) -> Result<Option<Remark>, PullError> {
        let descriptor = &found.descriptor;
        let part = progress.part(descriptor.digest.encoded(), descriptor.size);
        let mut blob = self.manifests.layout.begin(&descriptor.digest)?;
        if let Some(bytes) = self.manifests.cached(&descriptor.digest) {
            let written = blob.restart().and_then(|()| blob.write_all(&bytes));
            written.map_err(|source| blob.error(source))?;
            part.at(descriptor.size);
            blob.commit()?;
            return Ok(None);
        }
        let (hasher, bytes) = blob.read_begun(descriptor.size)?;
        part.at(bytes);
        self.manifests.layout.check_room(descriptor.size - bytes)?;
        let stored = Some(PartialBlob { hasher, bytes });
        let destination = Destination { sink: &mut blob, stored, part: &*part };
        match fetch(self.manifests.http, descriptor, &found.engines, destination) {
            Ok(_) => blob.commit()?,
            Err(error @ (FetchError::NoEngine { .. } | FetchError::Unavailable { .. })) if descriptor.is_foreign() => {
                return Ok(Some(Remark::LeftOut(chain(&error))));
            }
            Err(FetchError::Sink { source, .. }) => return Err(blob.error(source).into()),
            Err(error) => return Err(error.into()),
        }
        Ok(None)
    }
}

impl Sink for UnfinishedBlob<'_> {
    fn restart(&mut self) -> io::Result<()> {
        UnfinishedBlob::restart(self)
    }
}
