//! Finds the referrers of an image in the same index: entries whose manifests have it as subject, and fallback tags.
//!
//! As in layouts, a referrer has no ref, or the tag with the digest of its subject (distribution-spec, "Referrers Tag
//! Schema"; cosign adds `.sig` and the like). A referrer may have referrers itself, so the search continues until a
//! round finds none. Each round examines only the results of the round before.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;

use super::error::PullError;
use super::manifests::{Found, is_manifest};
use super::transfer::Transfer;
use oci_discovery::digest::Digest;
use oci_discovery::discovery::{CasEngines, Remark, Remarks, ResolvedIndex};
use oci_discovery::error::chain;
use oci_discovery::name::ImageName;
use oci_discovery::oci::referrers::{fallback_subject, fallback_tag};
use oci_discovery::oci::walk::{Limit, MAX_DEPTH, TooLarge};
use oci_discovery::parallel;
use oci_discovery::seen::key;

/// Entries that may be referrers, by the fallback tag of their subject, in the order of the indexes.
type Waiting = HashMap<String, Vec<(usize, Found)>>;

/// Walks all direct and indirect referrers of `manifests` in `indexes`, which are those of `name`. Returns their
/// entries.
pub(super) fn referrers(
    transfer: &Transfer<'_>,
    name: &ImageName,
    indexes: &[ResolvedIndex],
    mut manifests: Vec<Digest>,
) -> Result<Vec<Found>, PullError> {
    let mut waiting = waiting(transfer, name, indexes);
    let mut chosen = Vec::new();
    for depth in 0.. {
        let subjects = manifests.iter().map(fallback_tag);
        let mut referring: Vec<(usize, Found)> =
            subjects.filter_map(|subject| waiting.remove(&subject)).flatten().collect();
        referring.sort_by_key(|(position, _)| *position);
        let found: Vec<Found> = referring.into_iter().map(|(_, found)| found).collect();
        match found.first() {
            None => break,
            Some(first) if depth > MAX_DEPTH => {
                return Err(TooLarge { digest: first.descriptor.digest.clone(), limit: Limit::Depth }.into());
            }
            Some(_) => manifests = transfer.walk(&found)?,
        }
        chosen.extend(found);
    }
    Ok(chosen)
}

/// The entries that may be referrers. Manifests of entries without a ref are read. An unreadable one may belong to
/// another image, so it is ignored.
fn waiting(transfer: &Transfer<'_>, name: &ImageName, indexes: &[ResolvedIndex]) -> Waiting {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for index in indexes {
        let outer = CasEngines::new(name, &index.cas_engines);
        for entry in index.entries() {
            let is_new = seen.insert(match entry.ref_name() {
                Some(reference) => key(&[entry.digest.as_str(), reference]),
                None => key(&[entry.digest.as_str()]),
            });
            let by_ref = |reference| fallback_subject(reference, &entry.media_type).is_some();
            let may_refer = entry.ref_name().map_or_else(|| is_manifest(&entry), by_ref);
            if is_new && may_refer {
                found.push(Found::entry(entry, &index.url, &outer, &mut Remarks::default()));
            }
        }
    }
    let with_subject = |found: Found| Ok::<_, Infallible>((subject(transfer, &found), found));
    let Ok(entries) = parallel::map(found, transfer.jobs, with_subject);
    let mut waiting = Waiting::new();
    for (position, (subject, found)) in entries.into_iter().enumerate() {
        if let Some(subject) = subject {
            waiting.entry(subject).or_default().push((position, found));
        }
    }
    waiting
}

/// The fallback tag of an entry's subject.
fn subject(transfer: &Transfer<'_>, found: &Found) -> Option<String> {
    if let Some(reference) = found.descriptor.ref_name() {
        return fallback_subject(reference, &found.descriptor.media_type).map(str::to_string);
    }
    match transfer.manifests.subject(found) {
        Ok(subject) => subject.as_ref().map(fallback_tag),
        Err(error) => {
            transfer.remark([Remark::LeftOut(chain(&error))]);
            None
        }
    }
}
