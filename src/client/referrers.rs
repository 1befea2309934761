//! What refers to an image from the same index: entries whose manifests have it as their subject, and fallback tags.
//!
//! A published index lists referrers as layouts do: without a ref, or under the tag that spells the digest of what they
//! refer to (distribution-spec, "Referrers Tag Schema"; cosign adds `.sig` and the like). A referrer may itself be referred
//! to, so the search goes on until nothing more is found.

use std::collections::{BTreeSet, HashSet};
use std::convert::Infallible;

use super::error::PullError;
use super::manifests::{Found, is_manifest};
use super::transfer::Transfer;
use oci_discovery::digest::Digest;
use oci_discovery::discovery::{CasEngines, Index, Remark, Remarks};
use oci_discovery::error::chain;
use oci_discovery::name::ImageName;
use oci_discovery::oci::referrers::fallback_tag;
use oci_discovery::parallel;
use oci_discovery::seen::key;

/// An entry that may be a referrer.
struct Candidate {
    found: Found,
    /// What it refers to, where its manifest says so.
    subject: Option<Digest>,
}

/// Walks everything in `indexes`, those of `name`, that refers to what the transfer has so far, and returns the entries.
pub(super) fn referrers(transfer: &Transfer<'_>, name: &ImageName, indexes: &[Index]) -> Result<Vec<Found>, PullError> {
    let mut candidates = candidates(transfer, name, indexes);
    let mut chosen = Vec::new();
    loop {
        let known = transfer.manifests_so_far();
        let tags: BTreeSet<String> = known.iter().map(fallback_tag).collect();
        let (referring, others): (Vec<Candidate>, Vec<Candidate>) =
            candidates.into_iter().partition(|candidate| candidate.refers_to(&tags, &known));
        if referring.is_empty() {
            return Ok(chosen);
        }
        let found: Vec<Found> = referring.into_iter().map(|candidate| candidate.found).collect();
        transfer.walk(&found)?;
        chosen.extend(found);
        candidates = others;
    }
}

impl Candidate {
    fn refers_to(&self, tags: &BTreeSet<String>, known: &BTreeSet<Digest>) -> bool {
        let tag = self.found.descriptor.ref_name().map(|tag| tag.split_once('.').map_or(tag, |(digest, _)| digest));
        let by_tag = tag.is_some_and(|tag| tags.contains(tag));
        by_tag || self.subject.as_ref().is_some_and(|subject| known.contains(subject))
    }
}

/// The entries that can be referrers; of those without a ref, the manifests are read. One that cannot be read belongs to some
/// other image, as far as anyone can tell, so it does not stop this one.
fn candidates(transfer: &Transfer<'_>, name: &ImageName, indexes: &[Index]) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for index in indexes {
        let outer = CasEngines::new(name, &index.cas_engines);
        for entry in index.entries() {
            let is_new = seen.insert(match entry.ref_name() {
                Some(reference) => key(&[entry.digest.as_str(), reference]),
                None => key(&[entry.digest.as_str()]),
            });
            if is_new && (entry.ref_name().is_some() || is_manifest(&entry)) {
                found.push(Found::entry(entry, &index.url, &outer, &mut Remarks::default()));
            }
        }
    }
    let candidate = |found: Found| -> Result<_, Infallible> {
        if found.descriptor.ref_name().is_some() {
            return Ok(Some(Candidate { found, subject: None }));
        }
        match transfer.manifests.parse(&found, &mut Remarks::default()) {
            Ok(manifest) => {
                Ok(Some(Candidate { found, subject: manifest.links.subject.map(|subject| subject.digest) }))
            }
            Err(error) => {
                transfer.remark([Remark::LeftOut(chain(&error))]);
                Ok(None)
            }
        }
    };
    let Ok(candidates) = parallel::map(found, transfer.jobs, candidate);
    candidates.into_iter().flatten().collect()
}
