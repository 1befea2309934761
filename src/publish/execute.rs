//! Carrying a plan out: phase by phase, each durable before the next begins.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::Serialize;

use super::collect::MissingBlob;
use super::input::Skipped;
use super::plan::{Plan, PlanError, PlannedBlob, PlannedDocument};
use super::{PublishError, Site, catalogue, registry};
use crate::digest::Digest;
use crate::oci::layout::{Blob, Layout, LayoutError, blob_path};
use crate::parallel;
use crate::progress::Progress;
use crate::store::{BlobSource, StoreError, Written};

/// What a publish did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The names of the published images.
    pub images: Vec<String>,
    /// How many entries they have.
    pub refs: usize,
    /// Blobs whose bytes were copied.
    pub blobs_written: Count,
    /// Blobs that share their bytes with a file that was there.
    pub blobs_linked: Count,
    /// Blobs that the site had already.
    pub blobs_present: Count,
    /// Documents that were written.
    pub documents_written: Count,
    /// Documents that had the right bytes already.
    pub documents_unchanged: Count,
    /// Blobs that the layouts lack.
    pub missing: Vec<MissingBlob>,
    /// What looked like a layout and was left alone.
    pub skipped: Vec<Skipped>,
    /// What a person should hear of.
    pub warnings: Vec<String>,
}

/// So many objects, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// How many.
    pub objects: u64,
    /// The sum of their sizes.
    pub bytes: u64,
}

impl Count {
    /// Counts one more.
    pub fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }

    fn join(&mut self, other: Count) {
        self.objects += other.objects;
        self.bytes += other.bytes;
    }
}

impl Summary {
    /// Adds what was done for another root.
    pub fn add(&mut self, other: Summary) {
        self.images.extend(other.images);
        self.refs += other.refs;
        self.blobs_written.join(other.blobs_written);
        self.blobs_linked.join(other.blobs_linked);
        self.blobs_present.join(other.blobs_present);
        self.documents_written.join(other.documents_written);
        self.documents_unchanged.join(other.documents_unchanged);
        self.missing.extend(other.missing);
        self.skipped.extend(other.skipped);
        self.warnings.extend(other.warnings);
    }

    /// Whether the site was as it should be already.
    pub fn is_nothing_written(&self) -> bool {
        self.objects_written() == 0
    }

    fn objects_written(&self) -> u64 {
        self.blobs_written.objects + self.blobs_linked.objects + self.documents_written.objects
    }
}

/// Writes what a plan says.
///
/// # Errors
/// Something could not be written. What was written until then is there; `Site::give_up` puts everything back.
pub fn execute(
    site: &Site,
    plan: Plan,
    layouts: &[Layout],
    jobs: NonZeroUsize,
    progress: &dyn Progress,
) -> Result<Summary, PublishError> {
    let mut summary = Summary {
        images: plan.images.iter().map(ToString::to_string).collect(),
        refs: plan.refs,
        missing: plan.missing.clone(),
        warnings: plan.warnings.clone(),
        ..Summary::default()
    };
    let mut flushed = 0;
    write_blobs(site, &plan, layouts, jobs, progress, &mut summary)?;
    write_documents(site, &plan.markers, &mut summary)?;
    flush(site, &summary, &mut flushed)?;
    write_documents(site, &plan.indexes, &mut summary)?;
    registry::write_tags(site, &plan, &mut summary)?;
    for path in &plan.removals {
        site.own.remove_document(path)?;
    }
    flush(site, &summary, &mut flushed)?;
    write_documents(site, &plan.discovery, &mut summary)?;
    flush(site, &summary, &mut flushed)?;
    catalogue::write(site, &plan.catalogue, jobs, &mut summary)?;
    flush(site, &summary, &mut flushed)?;
    Ok(summary)
}

/// Ends a phase. One that wrote nothing has nothing to make durable, and a sync may wait for what others write.
fn flush(site: &Site, summary: &Summary, flushed: &mut u64) -> Result<(), PublishError> {
    let written = summary.objects_written();
    if written > std::mem::replace(flushed, written) {
        site.stores().try_for_each(|store| store.flush())?;
    }
    Ok(())
}

fn write_blobs(
    site: &Site,
    plan: &Plan,
    layouts: &[Layout],
    jobs: NonZeroUsize,
    progress: &dyn Progress,
    summary: &mut Summary,
) -> Result<(), PublishError> {
    let place = |blob: &PlannedBlob| plan.blob_place(blob);
    let is_there = |blob: &&PlannedBlob| -> Result<bool, PublishError> {
        let place = place(blob)?;
        Ok(site.store(place.origin).stat(&place.path)?.is_some_and(|stat| stat.size == blob.size))
    };
    let all: Vec<&PlannedBlob> = plan.blobs.iter().collect();
    let there = parallel::map(&all, jobs, is_there)?;
    let mut absent = Vec::new();
    for (blob, there) in all.into_iter().zip(there) {
        match there {
            true => summary.blobs_present.add(blob.size),
            false => absent.push(blob),
        }
    }
    // The largest first: two workers that end with a large one each would wait for the slower.
    absent.sort_by_key(|blob| std::cmp::Reverse(blob.size));
    let (copies, links): (Vec<_>, Vec<_>) = absent.into_iter().partition(|blob| blob.same_as.is_none());
    progress.start("blobs", copies.iter().map(|blob| blob.size).sum());
    let write = |blob: &&PlannedBlob| -> Result<Written, PublishError> {
        let place = place(blob)?;
        let Some(layout) = blob.layout.and_then(|position| layouts.get(position)) else {
            return Err(PlanError::Vanished { path: place.path, digest: blob.digest.clone() }.into());
        };
        let source = LayoutBlob { layout, digest: &blob.digest, size: blob.size, progress };
        let how = site.store(place.origin).write_blob(&place.path, &blob.kind(), &source)?;
        site.remember(place);
        Ok(how)
    };
    let how = parallel::map(&copies, jobs, write);
    progress.finish();
    for (blob, how) in copies.iter().zip(how?) {
        summary.count_blob(how, blob.size);
    }
    let link = |blob: &&PlannedBlob| -> Result<Written, PublishError> {
        let (to, first) = (place(blob)?, blob.same_as.and_then(|position| plan.blobs.get(position)));
        let from = first.map(place).transpose()?.filter(|from| from.origin == to.origin);
        let Some(from) = from else { return write(blob) };
        let how = site.store(to.origin).link_blob(&from.path, &to.path, &blob.kind())?;
        site.remember(to);
        Ok(how)
    };
    for (blob, how) in links.iter().zip(parallel::map(&links, jobs, link)?) {
        summary.count_blob(how, blob.size);
    }
    Ok(())
}

impl Summary {
    /// Counts a document that was written, or had the right bytes already.
    pub(super) fn count_document(&mut self, is_written: bool, bytes: u64) {
        let count = if is_written { &mut self.documents_written } else { &mut self.documents_unchanged };
        count.add(bytes);
    }

    fn count_blob(&mut self, how: Written, size: u64) {
        match how {
            Written::Copied => self.blobs_written.add(size),
            Written::Linked => self.blobs_linked.add(size),
        }
    }
}

pub(super) fn write_documents(
    site: &Site,
    documents: &[PlannedDocument],
    summary: &mut Summary,
) -> Result<(), PublishError> {
    for document in documents {
        let PlannedDocument { place, kind, new_bytes, expected, .. } = document;
        let Some(bytes) = new_bytes else {
            summary.count_document(false, document.size);
            continue;
        };
        match site.store(place.origin).write_document(&place.path, kind, bytes, expected) {
            Ok(()) => summary.count_document(true, document.size),
            Err(error @ StoreError::Conflict { .. }) => return Err(PlanError::from(error).into()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

struct LayoutBlob<'a> {
    layout: &'a Layout,
    digest: &'a Digest,
    size: u64,
    progress: &'a dyn Progress,
}

impl BlobSource for LayoutBlob<'_> {
    fn digest(&self) -> &Digest {
        self.digest
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self) -> Result<Blob, LayoutError> {
        self.layout.open_blob(self.digest, self.size)?.ok_or_else(|| LayoutError::Read {
            path: PathBuf::from(self.layout.path()).join(blob_path(self.digest)),
            // It was there when the layout was read, so whoever changes the layout should hear of it.
            source: std::io::Error::new(std::io::ErrorKind::NotFound, "the blob vanished while it was being published"),
        })
    }

    fn advanced(&self, bytes: u64) {
        self.progress.advance(bytes);
    }
}
