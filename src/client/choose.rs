//! Which of a name's roots a pull means: one ref, and of that one platform, or all.
//!
//! What can be told apart is, and what cannot is an error that lists the choices, never a guess: a name without a fragment
//! over an index of several refs, or two images for one platform under one ref.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

use super::error::PullError;
use super::manifests::{Found, SiteManifests};
use oci_discovery::discovery::{CasEngines, Remark, Remarks, Root};
use oci_discovery::name::{ImageName, is_fragment};
use oci_discovery::oci::descriptor::REF_NAME;
use oci_discovery::oci::platform::{fit, is_attestation, this_machine};
use oci_discovery::oci::referrers::is_fallback_tag;
use oci_discovery::oci::walk::{Graph, Limit, Next, TooLarge, manifest_bytes, walk};
use oci_discovery::oci::{Descriptor, Platform, media_type};
use oci_discovery::seen::{Key, Seen, key};

/// Entries of one ref, or images in their indexes, beyond this are not looked into one by one.
const MAX_CANDIDATES: usize = 1000;
/// Choices beyond this are counted, not listed.
const LISTED_CHOICES: usize = 20;

/// The platforms that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// This machine's, or whatever there is when there is but one.
    ThisMachine,
    /// This one.
    One(Platform),
    /// All of them, indexes kept as they are.
    All,
}

/// What was chosen: entries for a layout, whose descriptors have the ref and the annotations of the site's.
pub fn choose(
    name: &ImageName,
    roots: &[Root],
    platforms: &Platforms,
    manifests: &SiteManifests<'_>,
    remarks: &mut Remarks,
) -> Result<Vec<Found>, PullError> {
    let entries = entries_of_one_ref(name, roots, manifests, remarks)?;
    let wanted = match platforms {
        Platforms::All => return Ok(entries),
        Platforms::One(platform) => platform.clone(),
        Platforms::ThisMachine => this_machine(),
    };
    let expansion = Expansion { manifests, seen: Seen::new(), candidates: Mutex::default() };
    walk(&expansion, entries.into_iter(), NonZeroUsize::MIN)?;
    let candidates = expansion.candidates.into_inner().unwrap_or_else(PoisonError::into_inner);
    match one_platform(name, &wanted, platforms, candidates, manifests)? {
        Candidate { found, platform: Some(platform) } if fit(&wanted, &platform).is_none() => {
            remarks.push(Remark::OtherPlatform { found: platform, wanted });
            Ok(vec![found])
        }
        Candidate { found, .. } => Ok(vec![found]),
    }
}

/// The distinct entries of the one ref that the name means. Referrers are not images and do not count.
fn entries_of_one_ref(
    name: &ImageName,
    roots: &[Root],
    manifests: &SiteManifests<'_>,
    remarks: &mut Remarks,
) -> Result<Vec<Found>, PullError> {
    let is_named = name.fragment().is_some_and(|fragment| !fragment.is_empty());
    let images: Vec<&Root> = match is_named {
        true => roots.iter().collect(),
        false => roots.iter().filter(|root| !root.descriptor.ref_name().is_some_and(is_fallback_tag)).collect(),
    };
    let refs: BTreeSet<&str> = images.iter().filter_map(|root| root.descriptor.ref_name()).collect();
    let digests: BTreeSet<_> = images
        .iter()
        .filter(|root| refs.is_empty() || root.descriptor.ref_name().is_some())
        .map(|root| &root.descriptor.digest)
        .collect();
    if refs.len() > 1 && digests.len() > 1 {
        return Err(ambiguous(name, images.iter().map(|root| (&root.descriptor, root.descriptor.platform()))));
    }
    let of_ref = images.iter().filter(|root| root.descriptor.ref_name() == refs.first().copied());
    let mut seen = BTreeSet::new();
    let distinct: Vec<&&Root> = of_ref.filter(|root| seen.insert(&root.descriptor.digest)).collect();
    let ambiguous = || ambiguous(name, roots.iter().map(|root| (&root.descriptor, root.descriptor.platform())));
    if distinct.len() > MAX_CANDIDATES {
        return Err(ambiguous());
    }
    let mut entries: Vec<Found> = Vec::new();
    for root in distinct {
        let outer = CasEngines::new(name, &root.cas_engines);
        entries.push(Found::entry(root.descriptor.clone(), &root.uri, &outer, remarks));
    }
    if refs.is_empty() && entries.len() > 1 {
        let mut without_subject = Vec::new();
        for entry in entries {
            if manifests.parse(&entry, &mut Remarks::default())?.links.subject.is_none() {
                without_subject.push(entry);
            }
        }
        entries = without_subject;
    }
    match entries.is_empty() {
        true => Err(ambiguous()),
        false => Ok(entries),
    }
}

/// An image that may be the one, with the platform that its descriptor gives.
#[derive(Clone, Debug)]
struct Candidate {
    found: Found,
    platform: Option<Platform>,
}

/// The images that entries stand for: themselves, or those in the indexes that they are. Attestations are no images.
struct Expansion<'a> {
    manifests: &'a SiteManifests<'a>,
    seen: Seen,
    candidates: Mutex<Vec<Candidate>>,
}

impl Graph for Expansion<'_> {
    type Node = Found;
    type Error = PullError;

    fn identity<'n>(&'n self, found: &'n Found) -> Option<(&'n Seen, Key)> {
        Some((&self.seen, key(&[found.descriptor.digest.as_str()])))
    }

    fn bytes(&self, found: &Found) -> u64 {
        manifest_bytes(&found.descriptor)
    }

    fn visit(&self, found: Found, next: &mut Next<Found>) -> Result<(), PullError> {
        let platform = found.descriptor.platform();
        if platform.as_ref().is_some_and(is_attestation) {
            return Ok(());
        }
        if media_type::is_index(&found.descriptor.media_type) {
            for mut child in self.manifests.parse(&found, &mut Remarks::default())?.children {
                inherit_annotations(&mut child.descriptor, &found.descriptor);
                next.below(child);
            }
            return Ok(());
        }
        let mut candidates = self.candidates.lock().unwrap_or_else(PoisonError::into_inner);
        if candidates.len() >= MAX_CANDIDATES {
            return Err(PullError::TooManyImages { digest: found.descriptor.digest, limit: MAX_CANDIDATES });
        }
        candidates.push(Candidate { found, platform });
        Ok(())
    }

    fn refuse(&self, found: Found, limit: Limit, _next: &mut Next<Found>) -> Result<(), PullError> {
        Err(TooLarge { digest: found.descriptor.digest, limit }.into())
    }
}

/// An image taken out of an index stands in its place, so it takes on the index's annotations, its ref among them.
fn inherit_annotations(child: &mut Descriptor, parent: &Descriptor) {
    let annotations_of = |descriptor: &Descriptor| match descriptor.property("annotations") {
        Some(Value::Object(annotations)) => annotations,
        _ => Map::new(),
    };
    let mut annotations = annotations_of(parent);
    annotations.extend(annotations_of(child).into_iter().filter(|(key, _)| key != REF_NAME));
    if !annotations.is_empty() {
        child.edit(|properties| drop(properties.insert("annotations".into(), annotations.into())));
    }
}

fn one_platform(
    name: &ImageName,
    wanted: &Platform,
    platforms: &Platforms,
    mut candidates: Vec<Candidate>,
    manifests: &SiteManifests<'_>,
) -> Result<Candidate, PullError> {
    for candidate in candidates.iter_mut().filter(|candidate| candidate.platform.is_none()) {
        candidate.platform = manifests.platform_of(&candidate.found)?;
    }
    if let [only] = &candidates[..]
        && (*platforms == Platforms::ThisMachine || only.platform.is_none())
    {
        return Ok(only.clone());
    }
    let fit_of = |candidate: &Candidate| candidate.platform.as_ref().and_then(|platform| fit(wanted, platform));
    let best = candidates.iter().filter_map(fit_of).min();
    let fitting: Vec<&Candidate> =
        candidates.iter().filter(|candidate| best.is_some() && fit_of(candidate) == best).collect();
    let described = |candidate: &Candidate| (candidate.found.descriptor.clone(), candidate.platform.clone());
    match fitting[..] {
        [one] => Ok(one.clone()),
        [] => Err(PullError::NoPlatform {
            name: name.clone(),
            wanted: wanted.clone(),
            choices: choices(name, candidates.iter().map(described)),
        }),
        _ => Err(ambiguous(
            name,
            fitting.iter().map(|candidate| (&candidate.found.descriptor, candidate.platform.clone())),
        )),
    }
}

fn ambiguous<'d>(name: &ImageName, found: impl Iterator<Item = (&'d Descriptor, Option<Platform>)>) -> PullError {
    let choices = choices(name, found.map(|(descriptor, platform)| (descriptor.clone(), platform)));
    PullError::Ambiguous { name: name.clone(), choices }
}

/// One line for each choice: the name with its fragment, the platform, the digest.
fn choices(name: &ImageName, found: impl Iterator<Item = (Descriptor, Option<Platform>)>) -> Vec<String> {
    let (mut lines, mut seen) = (BTreeSet::new(), HashSet::new());
    for (descriptor, platform) in found {
        let mut line = name.image().to_string();
        match descriptor.ref_name() {
            Some(reference) if is_fragment(reference) => line.push_str(&format!("#{reference}")),
            Some(reference) => line.push_str(&format!(" (ref {reference:?}, which no name can spell)")),
            None => {}
        }
        if let Some(platform) = platform {
            line.push_str(&format!(" {:?}", platform.to_string()).replace('"', ""));
        }
        line.push_str(&format!(" {}", descriptor.digest));
        if seen.insert(key(&[&line])) && lines.insert(line) && lines.len() > LISTED_CHOICES {
            lines.pop_last();
        }
    }
    let more = seen.len() - lines.len();
    let mut lines: Vec<String> = lines.into_iter().collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}
