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
use crate::site::Place;
use crate::store::{BlobSource, Written};

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
    let summary = Summary {
        images: plan.images.iter().map(ToString::to_string).collect(),
        refs: plan.refs,
        missing: plan.missing.clone(),
        warnings: plan.warnings.clone(),
        ..Summary::default()
    };
    let mut tally = Tally { site, progress, summary, flushed: 0 };
    write_blobs(&plan, layouts, jobs, &mut tally)?;
    write_documents(&plan.markers, &mut tally)?;
    tally.flush()?;
    registry::write_tags(&plan, &mut tally)?;
    write_documents(&plan.lists, &mut tally)?;
    for path in &plan.removals {
        site.own.remove_document(path)?;
    }
    write_documents(&plan.indexes, &mut tally)?;
    tally.flush()?;
    write_documents(&plan.discovery, &mut tally)?;
    tally.flush()?;
    catalogue::write(&plan.catalogue, jobs, &mut tally)?;
    tally.flush()?;
    Ok(tally.summary)
}

/// What was written to a site so far.
pub(super) struct Tally<'a> {
    pub(super) site: &'a Site,
    progress: &'a dyn Progress,
    summary: Summary,
    /// How many objects had been written when the stores were last made durable.
    flushed: u64,
}

impl<'a> Tally<'a> {
    /// Nothing was written yet.
    pub(super) fn new(site: &'a Site, progress: &'a dyn Progress) -> Tally<'a> {
        Tally { site, progress, summary: Summary::default(), flushed: 0 }
    }

    /// Ends a phase. One that wrote nothing has nothing to make durable, and a sync may wait for what others write.
    fn flush(&mut self) -> Result<(), PublishError> {
        let written = self.summary.objects_written();
        if written > std::mem::replace(&mut self.flushed, written) {
            self.site.stores().try_for_each(|store| store.flush())?;
        }
        Ok(())
    }

    /// Counts a document that was written, or had the right bytes already.
    pub(super) fn count_document(&mut self, place: &Place, is_written: bool, bytes: u64) {
        if is_written {
            self.summary.documents_written.add(bytes);
            self.tell(Written::Copied, place);
        } else {
            self.summary.documents_unchanged.add(bytes);
        }
    }

    fn count_blob(&mut self, how: Written, size: u64) {
        match how {
            Written::Copied => self.summary.blobs_written.add(size),
            Written::Linked => self.summary.blobs_linked.add(size),
        }
    }

    fn tell(&self, how: Written, place: &Place) {
        let how = match how {
            Written::Copied => "written",
            Written::Linked => "linked",
        };
        self.progress.wrote(&format_args!("{how:7}  {}", self.site.map.show(place)));
    }
}

fn write_blobs(plan: &Plan, layouts: &[Layout], jobs: NonZeroUsize, tally: &mut Tally<'_>) -> Result<(), PublishError> {
    let (site, progress) = (tally.site, tally.progress);
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
            true => tally.summary.blobs_present.add(blob.size),
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
        tally.tell(how, &place);
        site.remember(place);
        Ok(how)
    };
    let written = parallel::map(&copies, jobs, write);
    progress.finish();
    let written = written?;
    let link = |blob: &&PlannedBlob| -> Result<Written, PublishError> {
        let (to, first) = (place(blob)?, blob.same_as.and_then(|position| plan.blobs.get(position)));
        let from = first.map(place).transpose()?.filter(|from| from.origin == to.origin);
        let Some(from) = from else { return write(blob) };
        let how = site.store(to.origin).link_blob(&from.path, &to.path, &blob.kind())?;
        tally.tell(how, &to);
        site.remember(to);
        Ok(how)
    };
    let linked = parallel::map(&links, jobs, link)?;
    for (blob, how) in copies.iter().chain(&links).zip(written.into_iter().chain(linked)) {
        tally.count_blob(how, blob.size);
    }
    Ok(())
}

/// Writes the documents that do not have the right bytes already.
pub(super) fn write_documents(documents: &[PlannedDocument], tally: &mut Tally<'_>) -> Result<(), PublishError> {
    for document in documents {
        let PlannedDocument { place, kind, new_bytes, expected, size } = document;
        if let Some(bytes) = new_bytes {
            tally.site.store(place.origin).write_document(&place.path, kind, bytes, expected)?;
        }
        tally.count_document(place, new_bytes.is_some(), *size);
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
