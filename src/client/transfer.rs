//! The blobs of an image on their way into a layout: manifests are walked, then all blobs are stored.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use super::error::PullError;
use super::fetch::{Begun, FetchError, Sink, fetch};
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
pub struct Count {
    /// How many.
    pub blobs: u64,
    /// How many bytes in all.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.blobs += 1;
        self.bytes += bytes;
    }
}

/// What the image consists of, as far as it was walked.
#[derive(Debug, Default)]
struct Parts {
    /// The manifests.
    manifests: BTreeMap<Digest, Found>,
    /// Those of the walk that is under way.
    walked: Vec<Digest>,
    /// The other blobs.
    blobs: Vec<Found>,
    /// The sum of the sizes of all of them.
    bytes: u64,
    fetched: Count,
    present: Count,
}

/// The transfer of one image: its manifests and its other blobs, as far as they were walked, and the layout that gets
/// them.
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

/// Manifests are read several at once; they and the blobs that they name are noted.
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
            // To fetch it, no more is needed; there may be a great many.
            found.descriptor.edit(|properties| properties.retain(|property, _| property == "urls"));
            self.parts().blobs.push(found);
            return Ok(());
        }
        let Descriptor { digest, size, .. } = &found.descriptor;
        let was_there = self.manifests.layout.has(digest, *size);
        let mut remarks = Remarks::default();
        let children = self.manifests.children(&found, &mut remarks)?;
        self.remark(remarks);
        let mut parts = self.parts();
        let count = if was_there { &mut parts.present } else { &mut parts.fetched };
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

    /// All remarks.
    pub(super) fn into_remarks(self) -> Remarks {
        into_inner(self.remarks)
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        lock(&self.parts)
    }

    /// Adds remarks.
    pub(super) fn remark(&self, remarks: impl IntoIterator<Item = Remark>) {
        lock(&self.remarks).extend(remarks);
    }

    /// Reads the manifests below `roots`, and notes the blobs that they name. Returns the manifests that were not walked before.
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
        let there = parallel::map(&all, self.jobs, |found| Ok::<_, PullError>(self.has(found)))?;
        for (found, is_there) in all.iter().zip(there) {
            let Descriptor { digest, size: bytes, .. } = &found.descriptor;
            if !is_there {
                // What a killed program left of it has its room already.
                missing = missing.saturating_add(bytes - layout.unfinished(digest, *bytes));
            }
        }
        Ok(layout.check_room(missing)?)
    }

    /// Puts the manifests into the layout.
    pub(super) fn store_manifests(&self) -> Result<(), PullError> {
        let manifests: Vec<Found> = self.parts().manifests.values().cloned().collect();
        parallel::map(&manifests, self.jobs, |found| self.manifests.store(found))?;
        Ok(())
    }

    /// Fetches the missing blobs, several at once. Returns how many were fetched and how many the layout had, manifests
    /// included.
    pub(super) fn fetch_all(&self, progress: &dyn Progress) -> Result<(Count, Count), PullError> {
        let Parts { blobs, mut fetched, mut present, .. } = std::mem::take(&mut *self.parts());
        let there = parallel::map(&blobs, self.jobs, |found| Ok::<_, PullError>(self.has(found)))?;
        let (there, missing): (Vec<_>, Vec<_>) = blobs.into_iter().zip(there).partition(|(_, is_there)| *is_there);
        for (found, _) in &there {
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

    /// Fetches one blob; a remark where it was left out, as layers that may not be distributed can be.
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
        let begun = Some(Begun { hasher, bytes });
        match fetch(self.manifests.http, descriptor, &found.engines, &mut blob, begun, &*part) {
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
