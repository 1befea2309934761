//! Chooses the roots of a name for a pull: one ref, and one or all of its platforms.
//!
//! An ambiguous name is an error that lists the choices, never a guess: a name without a fragment for an index with
//! several refs, or two images for one platform under one ref.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};

use super::error::PullError;
use super::manifests::{Found, SiteManifests};
use oci_discovery::digest::Digest;
use oci_discovery::discovery::{CasEngines, Remark, Remarks, Root};
use oci_discovery::name::{ImageName, is_fragment};
use oci_discovery::oci::descriptor::REF_NAME;
use oci_discovery::oci::platform::{fit, is_attestation, this_machine};
use oci_discovery::oci::referrers::fallback_subject;
use oci_discovery::oci::walk::{Budget, Graph, Limit, Next, TooLarge, manifest_bytes, walk};
use oci_discovery::oci::{Descriptor, Platform, media_type};
use oci_discovery::parallel::{into_inner, lock};
use oci_discovery::seen::{Key, Seen, key};

/// The most entries of one ref, or images in their indexes, that are examined.
const MAX_CANDIDATES: usize = 1000;
/// The most choices that are listed; further ones are counted.
const LISTED_CHOICES: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// This machine's, or the only one.
    ThisMachine,
    One(Platform),
    /// All platforms; indexes are kept.
    All,
}

/// The chosen entries, with the site's refs and annotations.
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
    walk(&expansion, entries.into_iter().map(|found| Node { found, index: None }), NonZeroUsize::MIN)?;
    let candidates = into_inner(expansion.candidates);
    let Candidate { node, platform } = one_platform(name, &wanted, platforms, candidates, manifests)?;
    if let Some(found) = platform.filter(|platform| fit(&wanted, platform).is_none()) {
        remarks.push(Remark::OtherPlatform { found, wanted });
    }
    Ok(vec![node.into_entry()])
}

/// The distinct entries of the only ref that the name selects. Referrers are not images and do not count.
fn entries_of_one_ref(
    name: &ImageName,
    roots: &[Root],
    manifests: &SiteManifests<'_>,
    remarks: &mut Remarks,
) -> Result<Vec<Found>, PullError> {
    let is_named = name.fragment().is_some_and(|fragment| !fragment.is_empty());
    let images: Vec<&Root> = match is_named {
        true => roots.iter().collect(),
        false => roots.iter().filter(|root| !is_referrer(&root.descriptor)).collect(),
    };
    let refs: BTreeSet<&str> = images.iter().filter_map(|root| root.descriptor.ref_name()).collect();
    let digests: BTreeSet<_> = images
        .iter()
        .filter(|root| refs.is_empty() || root.descriptor.ref_name().is_some())
        .map(|root| &root.descriptor.digest)
        .collect();
    if refs.len() > 1 && digests.len() > 1 {
        return Err(several_refs(name, &images));
    }
    let of_ref = images.iter().filter(|root| root.descriptor.ref_name() == refs.first().copied());
    let mut seen = BTreeSet::new();
    let distinct: Vec<&&Root> = of_ref.filter(|root| seen.insert(&root.descriptor.digest)).collect();
    if distinct.len() > MAX_CANDIDATES {
        return Err(ambiguous(name, roots.iter().map(|root| Choice::of_entry(&root.descriptor))));
    }
    let mut entries: Vec<Found> = Vec::new();
    for root in distinct {
        let outer = CasEngines::new(name, &root.cas_engines);
        entries.push(Found::entry(root.descriptor.clone(), &root.uri, &outer, remarks));
    }
    if refs.is_empty() && entries.len() > 1 {
        let mut without_subject = Vec::new();
        for entry in entries {
            if manifests.subject(&entry)?.is_none() {
                without_subject.push(entry);
            }
        }
        entries = without_subject;
    }
    match entries.is_empty() {
        true => Err(several_refs(name, &roots.iter().collect::<Vec<_>>())),
        false => Ok(entries),
    }
}

/// Whether an entry refers to others by its ref.
fn is_referrer(entry: &Descriptor) -> bool {
    entry.ref_name().is_some_and(|reference| fallback_subject(reference, &entry.media_type).is_some())
}

/// An entry, or a descriptor in an index below one. The index is shared: it may be long, and have many children.
#[derive(Clone, Debug)]
struct Node {
    found: Found,
    index: Option<Arc<Node>>,
}

impl Node {
    /// The node, with the indexes that lead to it, the entry last.
    fn lineage(&self) -> impl Iterator<Item = &Node> {
        std::iter::successors(Some(self), |node| node.index.as_deref())
    }

    fn entry(&self) -> &Descriptor {
        &self.lineage().last().unwrap_or(self).found.descriptor
    }

    /// The image as an entry in place of the indexes above it, with their annotations (those of the nearest precede)
    /// and the entry's ref.
    fn into_entry(self) -> Found {
        let mut annotations = Map::new();
        for node in self.lineage() {
            let Some(Value::Object(of_node)) = node.found.descriptor.property("annotations") else { continue };
            for (key, value) in of_node.into_iter().filter(|(key, _)| node.index.is_none() || key != REF_NAME) {
                annotations.entry(key).or_insert(value);
            }
        }
        let mut found = self.found;
        if !annotations.is_empty() {
            found.descriptor.edit(|properties| drop(properties.insert("annotations".into(), annotations.into())));
        }
        found
    }
}

/// A candidate image, with the platform in its descriptor.
#[derive(Clone, Debug)]
struct Candidate {
    node: Node,
    platform: Option<Platform>,
}

/// The images of entries: the entries themselves, or the images in their indexes. Attestations are not images.
struct Expansion<'a> {
    manifests: &'a SiteManifests<'a>,
    seen: Seen,
    candidates: Mutex<Vec<Candidate>>,
}

impl Graph for Expansion<'_> {
    type Node = Node;
    type Error = PullError;

    fn identity<'n>(&'n self, node: &'n Node) -> Option<(&'n Seen, Key)> {
        Some((&self.seen, key(&[node.found.descriptor.digest.as_str()])))
    }

    /// Indexes are read. Images are only noted.
    fn bytes(&self, node: &Node) -> u64 {
        let descriptor = &node.found.descriptor;
        if media_type::is_index(&descriptor.media_type) { manifest_bytes(descriptor) } else { 0 }
    }

    fn budget(&self) -> Arc<Budget> {
        self.manifests.budget.clone()
    }

    fn visit(&self, node: Node, next: &mut Next<Node>) -> Result<(), PullError> {
        let platform = node.found.descriptor.platform();
        if platform.as_ref().is_some_and(is_attestation) {
            return Ok(());
        }
        if media_type::is_index(&node.found.descriptor.media_type) {
            let children = self.manifests.children(&node.found, &mut Remarks::default())?;
            let index = Arc::new(node);
            children.into_iter().for_each(|found| next.below(Node { found, index: Some(index.clone()) }));
            return Ok(());
        }
        let mut candidates = lock(&self.candidates);
        if candidates.len() >= MAX_CANDIDATES {
            return Err(PullError::TooManyImages { digest: node.entry().digest.clone(), limit: MAX_CANDIDATES });
        }
        candidates.push(Candidate { node, platform });
        Ok(())
    }

    fn refuse(&self, node: Node, limit: Limit, _next: &mut Next<Node>) -> Result<(), PullError> {
        Err(TooLarge { digest: node.found.descriptor.digest, limit }.into())
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
        candidate.platform = manifests.platform_of(&candidate.node.found)?;
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
    match fitting[..] {
        [one] => Ok(one.clone()),
        [] => Err(PullError::NoPlatform {
            name: name.clone(),
            wanted: wanted.clone(),
            choices: choices(name, candidates.iter().map(Choice::of_candidate)),
        }),
        _ => Err(ambiguous(name, fitting.into_iter().map(Choice::of_candidate))),
    }
}

/// The identity of an image.
struct Choice<'d> {
    reference: Option<&'d str>,
    platform: Option<Platform>,
    digest: &'d Digest,
}

impl<'d> Choice<'d> {
    fn of_entry(entry: &'d Descriptor) -> Choice<'d> {
        Choice { reference: entry.ref_name(), platform: entry.platform(), digest: &entry.digest }
    }

    fn of_candidate(candidate: &'d Candidate) -> Choice<'d> {
        let Candidate { node, platform } = candidate;
        Choice { reference: node.entry().ref_name(), platform: platform.clone(), digest: &node.found.descriptor.digest }
    }
}

fn several_refs(name: &ImageName, roots: &[&Root]) -> PullError {
    let choices = choices(name, roots.iter().map(|root| Choice::of_entry(&root.descriptor)));
    PullError::SeveralRefs { name: name.clone(), choices }
}

fn ambiguous<'d>(name: &ImageName, found: impl Iterator<Item = Choice<'d>>) -> PullError {
    PullError::Ambiguous { name: name.clone(), choices: choices(name, found) }
}

/// A line for each choice: the name with its fragment, the platform, the digest.
fn choices<'d>(name: &ImageName, found: impl Iterator<Item = Choice<'d>>) -> Vec<String> {
    let (mut lines, mut seen) = (BTreeSet::new(), HashSet::new());
    for Choice { reference, platform, digest } in found {
        let mut line = name.image().to_string();
        match reference {
            Some(reference) if is_fragment(reference) => line.push_str(&format!("#{reference}")),
            Some(reference) => line.push_str(&format!(" (ref {reference:?}, which no name can spell)")),
            None => {}
        }
        if let Some(platform) = platform {
            line.push_str(&format!(" {:?}", platform.to_string()).replace('"', ""));
        }
        line.push_str(&format!(" {digest}"));
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
