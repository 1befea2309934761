//! Carrying a plan out: phase by phase, each durable before the next begins.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::collect::MissingBlob;
use super::error::PublishError;
use super::input::Skipped;
use super::plan::{Plan, PlanError};
use super::request::Publication;
use crate::catalogue::plan::{self as catalogue, Catalogue};
use crate::layout::{Layout, LayoutError, blob_path};
use crate::progress::Progress;
use crate::site::{Place, Settings, SitePath};
use crate::store::blob_plan::PlannedBlob;
use crate::store::change::{Change, PlannedDocument};
use crate::store::gc_mark::{GcActivity, Watch};
use crate::store::site::Site;
use crate::store::write_log::{Count, WriteLog};
use crate::store::{BlobSource, Content, Link, Origin, Store, StoreError, Written, unfinished};
use oci_discovery::digest::{ContentError, Digest, VerifyingReader};
use oci_discovery::name::ImageName;
use oci_discovery::parallel;

/// Blobs are looked for so many at a time: their paths take more memory than they do.
const PATHS_AT_ONCE: usize = 16 * 1024;
/// How much of a blob is read and hashed at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// What a publish did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The names of the published images.
    pub images: Vec<String>,
    /// How many entries they have.
    pub refs: usize,
    /// How many other images of the site were added to the registry view, which is new.
    pub registry_added: usize,
    /// Blobs whose bytes were copied.
    pub blobs_written: Count,
    /// Blobs that share their bytes with a file that was there.
    pub blobs_linked: Count,
    /// Blobs that the site had already.
    pub blobs_present: Count,
    /// Damaged blobs that were written anew; they are counted as written, or linked, too.
    pub blobs_repaired: Count,
    /// Documents that were written.
    pub documents_written: Count,
    /// Documents that had the right bytes already.
    pub documents_unchanged: Count,
    /// How often documents were merged anew, because another publisher had changed them meanwhile.
    pub retries: u32,
    /// Blobs that the layouts lack.
    pub missing: Vec<MissingBlob>,
    /// What looked like a layout and was left alone.
    pub skipped: Vec<Skipped>,
    /// What a person should hear of.
    pub warnings: Vec<String>,
}

impl Summary {
    /// Adds what was done for another root.
    pub fn add(&mut self, other: Summary) {
        self.images.extend(other.images);
        self.refs += other.refs;
        self.registry_added += other.registry_added;
        self.blobs_written.join(other.blobs_written);
        self.blobs_linked.join(other.blobs_linked);
        self.blobs_present.join(other.blobs_present);
        self.blobs_repaired.join(other.blobs_repaired);
        self.documents_written.join(other.documents_written);
        self.documents_unchanged.join(other.documents_unchanged);
        self.retries += other.retries;
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

/// What one publish has done to one site, over all attempts it takes.
pub struct Tally<'a> {
    progress: &'a dyn Progress,
    /// What the blobs of an earlier attempt were placed for. Nothing removes them since, so they are not looked for again.
    placed_for: Option<(Settings, Vec<ImageName>)>,
    /// The gcs that were seen before those blobs were looked for.
    gcs: Option<Watch>,
    /// How long to wait for a gc.
    wait: Duration,
    warnings: Vec<String>,
    blobs: Blobs,
    /// The documents.
    pub log: WriteLog<'a>,
    /// How many objects had been written when the stores were last made durable.
    flushed: u64,
}

#[derive(Debug, Default)]
struct Blobs {
    written: Count,
    linked: Count,
    present: Count,
    repaired: Count,
}

impl<'a> Tally<'a> {
    /// Nothing was written yet.
    pub fn new(progress: &'a dyn Progress, wait: Duration) -> Tally<'a> {
        Tally {
            progress,
            placed_for: None,
            gcs: None,
            wait,
            warnings: vec![],
            blobs: Blobs::default(),
            log: WriteLog::new(progress),
            flushed: 0,
        }
    }

    fn count_blob(&mut self, how: Written, size: u64) {
        match how {
            Written::Copied => self.blobs.written.add(size),
            Written::Linked => self.blobs.linked.add(size),
        }
    }

    /// Ends a phase. One that wrote nothing has nothing to make durable, and a sync may wait for what others write.
    fn flush(&mut self, site: &Site) -> Result<(), PublishError> {
        let written = self.blobs.written.objects + self.blobs.linked.objects + self.log.count_written();
        if written > std::mem::replace(&mut self.flushed, written) {
            site.stores().try_for_each(|store| store.flush())?;
        }
        Ok(())
    }

    /// What was done.
    pub fn summary(&self, plan: &Plan) -> Summary {
        // A published image has an index in the plan; the others are there for the registry view.
        let published = plan.indexes.len();
        let mut summary = Summary {
            images: plan.blobs.images.iter().take(published).map(ToString::to_string).collect(),
            refs: plan.refs,
            registry_added: plan.blobs.images.len().saturating_sub(published),
            missing: plan.missing.clone(),
            warnings: plan.warnings.iter().chain(&self.warnings).cloned().collect(),
            blobs_written: self.blobs.written,
            blobs_linked: self.blobs.linked,
            blobs_present: self.blobs.present,
            blobs_repaired: self.blobs.repaired,
            ..Summary::default()
        };
        for (is_written, bytes) in self.log.documents().into_values() {
            let count = if is_written { &mut summary.documents_written } else { &mut summary.documents_unchanged };
            count.add(bytes);
        }
        summary
    }
}

/// Writes what a plan says.
///
/// # Errors
/// Something could not be written. What was written until then is there; `Site::rollback` puts everything back, where the
/// store can. [`StoreError::Conflict`]: another publisher changed a document since the plan was made. Nothing is wrong with
/// the site then, and a new plan can be carried out with the same `run`.
pub fn execute(
    site: &Site,
    publication: Publication<'_>,
    plan: &Plan,
    tally: &mut Tally<'_>,
) -> Result<(), PublishError> {
    let Publication { request, layouts, pages } = publication;
    let jobs = request.jobs;
    let settings = Settings { hosts: vec![], ..site.map.settings().clone() };
    let places = Some((settings, plan.blobs.images.clone()));
    if tally.placed_for != places {
        tally.gcs = Some(Watch::begin(site.stores())?);
        write_blobs(site, plan, layouts, jobs, tally)?;
        tally.placed_for = places;
    }
    tally.log.write_all(site, &plan.markers, jobs)?;
    tally.log.write_all(site, &plan.registry.indexes, jobs)?;
    if changes_documents(plan) {
        unfinished::begin(&*site.own, [])?;
    }
    tally.flush(site)?;
    // An index says which refs there were, so behind a lock it is written last, and a publish that is killed before can be
    // done again. Without a lock it is what publishers compare, and nothing may follow from one that was never written.
    if site.stores().all(Store::has_lock) {
        plan.registry.write(site, &plan.blobs.images, jobs, &tally.log)?;
        write_ref_indexes(site, plan, jobs, tally)?;
        tally.log.write_all(site, &plan.indexes, jobs)?;
    } else {
        tally.log.write_all(site, &plan.indexes, jobs)?;
        send_what_a_gc_removed(site, plan, layouts, jobs, tally)?;
        if plan.indexes.iter().any(|index| index.new_bytes().is_some()) {
            plan.registry.refuse_changed_referrers(site)?;
        }
        plan.registry.write(site, &plan.blobs.images, jobs, &tally.log)?;
        write_ref_indexes(site, plan, jobs, tally)?;
        // A removal has no condition: a publisher that read the new index may have written what was removed.
        if plan.registry.takes_away {
            plan.indexes.iter().try_for_each(|index| site.refuse_successor(index))?;
        }
    }
    tally.flush(site)?;
    let write_catalogue = |log: &WriteLog<'_>| catalogue::write(Catalogue { site, pages }, &plan.catalogue, jobs, log);
    // The description says that there is a catalogue as long as there may be a part of it: a publish that is killed can be repeated.
    let has_catalogue = site.map.settings().views.catalogue;
    if !has_catalogue {
        write_catalogue(&tally.log)?;
    }
    in_order(site, &plan.discovery).into_iter().try_for_each(|document| tally.log.write(site, document))?;
    tally.flush(site)?;
    if has_catalogue {
        write_catalogue(&tally.log)?;
        tally.flush(site)?;
    }
    Ok(unfinished::end(&*site.own)?)
}

fn write_ref_indexes(site: &Site, plan: &Plan, jobs: NonZeroUsize, tally: &mut Tally<'_>) -> Result<(), PublishError> {
    tally.log.write_all(site, &plan.ref_indexes.documents, jobs)?;
    let remove = |place: &Place| site.store(place.origin).remove_document(&place.path);
    Ok(plan.ref_indexes.removals.iter().try_for_each(remove)?)
}

/// Whether there is anything to write but blobs.
fn changes_documents(plan: &Plan) -> bool {
    let mut documents = plan.indexes.iter().chain(&plan.discovery).chain(plan.catalogue.documents());
    plan.registry.changes_something()
        || plan.ref_indexes.changes_something()
        || documents.any(|document| document.new_bytes().is_some())
        || !plan.catalogue.removals.is_empty()
}

/// The description and the ref-engines object. A site that has no description yet is none, so that is written last: then a site
/// has both, whenever its publisher is killed. Without a lock it is what publishers compare, and comes first.
fn in_order<'a>(site: &Site, discovery: &'a [PlannedDocument]) -> Vec<&'a PlannedDocument> {
    let is_new = discovery.first().is_some_and(|description| matches!(description.change, Change::Create(_)));
    let mut documents: Vec<&PlannedDocument> = discovery.iter().collect();
    if is_new && site.own.has_lock() {
        documents.reverse();
    }
    documents
}

fn write_blobs(
    site: &Site,
    plan: &Plan,
    layouts: &[Layout],
    jobs: NonZeroUsize,
    tally: &mut Tally<'_>,
) -> Result<(), PublishError> {
    let Presence { mut present, mut absent, wrong_size } = presence(site, plan, jobs)?;
    let damaged = if plan.recheck { take_damaged(site, plan, &mut present, jobs, tally.progress)? } else { vec![] };
    present.iter().for_each(|blob| tally.blobs.present.add(blob.size));
    damaged.iter().for_each(|blob| tally.blobs.repaired.add(blob.size));
    // What replaces a damaged blob stays when the publish fails: existing indexes may lead to the blob.
    let replacing = damaged.iter().chain(&wrong_size);
    let kept: HashSet<Place> = replacing.map(|blob| plan.blobs.place(blob)).collect::<Result<_, _>>()?;
    kept.iter().for_each(|place| site.store(place.origin).changes().add(&place.path));
    let remember = |place: Place| {
        if !kept.contains(&place) {
            site.remember(place);
        }
    };
    absent.extend(damaged.into_iter().chain(wrong_size));
    // The largest first: two workers that end with a large one each would wait for the slower.
    absent.sort_by_key(|blob| std::cmp::Reverse(blob.size));
    let (copies, links): (Vec<_>, Vec<_>) = absent.into_iter().partition(|blob| blob.same_as.is_none());
    let (progress, log) = (tally.progress, &tally.log);
    progress.start("blobs", copies.iter().map(|blob| blob.size).sum());
    let write = |blob: &&PlannedBlob| -> Result<Written, PublishError> {
        let place = plan.blobs.place(blob)?;
        let Some(layout) = blob.layout.and_then(|position| layouts.get(position)) else {
            return Err(PlanError::BlobRemoved { path: place.path, digest: blob.digest.clone() }.into());
        };
        let source = LayoutBlob { layout, digest: &blob.digest, size: blob.size, progress };
        let how = site.store(place.origin).write_blob(&place.path, &blob.kind(), &source)?;
        log.tell(site, how, &place);
        remember(place);
        Ok(how)
    };
    let written = parallel::map(&copies, jobs, write);
    progress.finish();
    let written = written?;
    let link = |blob: &&PlannedBlob| -> Result<Written, PublishError> {
        let (to, first) = (plan.blobs.place(blob)?, blob.same_as.and_then(|position| plan.blobs.all.get(position)));
        let from = first.map(|first| plan.blobs.place(first)).transpose()?.filter(|from| from.origin == to.origin);
        let Some(from) = from else { return write(blob) };
        let (kind, digest, size) = (&blob.kind(), &blob.digest, blob.size);
        let how = site.store(to.origin).link_blob(&from.path, &to.path, &Link { kind, digest, size })?;
        log.tell(site, how, &to);
        remember(to);
        Ok(how)
    };
    let linked = parallel::map(&links, jobs, link)?;
    for (blob, how) in copies.iter().chain(&links).zip(written.into_iter().chain(linked)) {
        tally.count_blob(how, blob.size);
    }
    Ok(())
}

/// Looks again for blobs that were there before, if a gc has run since: it may have removed them when no index led to them yet.
fn send_what_a_gc_removed(
    site: &Site,
    plan: &Plan,
    layouts: &[Layout],
    jobs: NonZeroUsize,
    tally: &mut Tally<'_>,
) -> Result<(), PublishError> {
    let has_found_blobs = tally.blobs.present.objects > 0;
    let has_new_index = plan.indexes.iter().any(|index| index.new_bytes().is_some());
    if !has_found_blobs || !has_new_index {
        return Ok(());
    }
    while let Some(gcs) = &mut tally.gcs {
        let activity = gcs.settle(|| site.stores(), tally.wait)?;
        if activity == GcActivity::Nothing {
            break;
        }
        let written = (tally.blobs.written, tally.blobs.linked);
        tally.blobs.present = Count::default();
        write_blobs(site, plan, layouts, jobs, tally)?;
        // What this publish has sent itself was not there before.
        tally.blobs.present = tally.blobs.present.without(written.0).without(written.1);
        if activity == GcActivity::Running {
            tally.warnings.push(format!(
                "a gc did not end within {} s, and it may remove blobs that this publish needs; after the gc has \
                 ended, publish again, which restores them",
                tally.wait.as_secs()
            ));
            break;
        }
    }
    Ok(())
}

/// The planned blobs, by what the site has at their places.
#[derive(Default)]
struct Presence<'a> {
    /// Files of the right size.
    present: Vec<&'a PlannedBlob>,
    /// Nothing.
    absent: Vec<&'a PlannedBlob>,
    /// Files that were cut, or are no blobs.
    wrong_size: Vec<&'a PlannedBlob>,
}

fn presence<'a>(site: &Site, plan: &'a Plan, jobs: NonZeroUsize) -> Result<Presence<'a>, PublishError> {
    let mut blobs: Vec<&PlannedBlob> = plan.blobs.all.iter().collect();
    // In the order of their paths, which is the order of listings: of a bucket, each chunk has to see only a part.
    if site.map.cas_is_shared() {
        blobs.sort_unstable_by_key(|blob| (blob.role, &blob.digest));
    }
    let mut presence = Presence::default();
    for chunk in blobs.chunks(PATHS_AT_ONCE) {
        let mut by_origin: BTreeMap<Option<usize>, (Vec<&PlannedBlob>, Vec<SitePath>)> = BTreeMap::new();
        for blob in chunk {
            let place = plan.blobs.place(blob)?;
            let (blobs, paths) = by_origin.entry(place.origin).or_default();
            blobs.push(blob);
            paths.push(place.path);
        }
        for (origin, (blobs, paths)) in by_origin {
            for (blob, stat) in blobs.into_iter().zip(site.store(origin).stats(&paths, jobs)?) {
                let list = match stat {
                    None => &mut presence.absent,
                    Some(stat) if stat.size == blob.size => &mut presence.present,
                    Some(_) => &mut presence.wrong_size,
                };
                list.push(blob);
            }
        }
    }
    Ok(presence)
}

/// Takes those blobs out of `present` that do not have their digests.
fn take_damaged<'a>(
    site: &Site,
    plan: &'a Plan,
    present: &mut Vec<&'a PlannedBlob>,
    jobs: NonZeroUsize,
    progress: &dyn Progress,
) -> Result<Vec<&'a PlannedBlob>, PublishError> {
    progress.start("checking", present.iter().map(|blob| blob.size).sum());
    let intact = parallel::map(&*present, jobs, |blob| is_intact(site, &plan.blobs.place(blob)?, blob, progress));
    progress.finish();
    let mut intact = intact?.into_iter();
    let is_damaged = |_: &mut &PlannedBlob| !intact.next().unwrap_or_default();
    Ok(present.extract_if(.., is_damaged).collect())
}

/// Whether a blob of the site has its digest. One that is gone by now does not.
fn is_intact(site: &Site, place: &Place, blob: &PlannedBlob, progress: &dyn Progress) -> Result<bool, PublishError> {
    let store = site.store(place.origin);
    let Some(reader) = store.open(&place.path)? else { return Ok(false) };
    let mut reader = VerifyingReader::new(reader, &blob.digest, blob.size);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(count) => progress.advance(count as u64),
            Err(error) if ContentError::of(&error).is_some() => return Ok(false),
            Err(error) => return Err(Origin::Store(format!("{}/{}", store.name(), place.path)).error(error).into()),
        }
    }
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

    fn open(&self) -> Result<Content, StoreError> {
        let blob = self.layout.open_blob(self.digest, self.size)?.ok_or_else(|| LayoutError::Read {
            path: PathBuf::from(self.layout.path()).join(blob_path(self.digest)),
            // It was there when the layout was read, so whoever changes the layout should hear of it.
            source: std::io::Error::new(std::io::ErrorKind::NotFound, "the blob was removed during the publish"),
        })?;
        Ok(Content::File(blob))
    }

    fn advanced(&self, bytes: u64) {
        self.progress.advance(bytes);
    }
}
