//! What each of many roots reaches, where they share what they reach.
//!
//! The size of what a root reaches, each blob counted once, is no sum of what its children reach: they may have blobs
//! in common. So all of it is visited for each root. A thousand entries of an index that share an index of 50,000
//! manifests would read that a thousand times; here each manifest is read once, by the one [walk](super::walk), and
//! remembered as numbers, in less memory than its bytes take. To visit a link again takes some nanoseconds, and
//! [`Steps`] bounds what all roots of all graphs take together.

#![expect(
    clippy::indexing_slicing,
    reason = "the graph made every position, of the lists that the position is used in"
)]

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Descriptor;
use super::manifest::Links;
use super::walk::descriptor_key;
use crate::digest::Digest;
use crate::seen::Key;

/// The most steps: one to record a link, one for each root that reaches it, and one for each byte of a platform that a
/// sum lists. An image of 200,000 refs, each for twenty platforms with a dozen blobs, takes half of it.
const MAX_STEPS: u64 = 1 << 28;

/// The steps that are left for some graphs together. Threads share it.
///
/// # Examples
/// ```
/// use oci_discovery::oci::recorded::{RecordedGraph, Steps};
///
/// let steps = Steps::default();
/// let (first, second) = (RecordedGraph::new(&steps), RecordedGraph::new(&steps));
/// ```
#[derive(Debug)]
pub struct Steps(AtomicU64);

impl Default for Steps {
    fn default() -> Steps {
        Steps(MAX_STEPS.into())
    }
}

impl Steps {
    fn take(&self, steps: usize) -> Result<(), SharesTooMuch> {
        let left = |left: u64| left.checked_sub(steps as u64);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).map(drop).map_err(|_| SharesTooMuch)
    }
}

/// The platform that BuildKit gives attestations, which are for none.
const ATTESTATION: &str = "unknown/unknown";

/// The roots share more than [`Steps`] allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "its refs and those of the images before it lead to too many descriptors: expected at most {MAX_STEPS} descriptors and bytes \
     of platforms in the sum over all refs; publish them to several sites"
)]
pub struct SharesTooMuch;

/// What a root reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// What the root itself refers to, where it is a signature or the like.
    pub subject: Option<Digest>,
    /// The bytes of all blobs, each counted once.
    pub size: u64,
    /// How many of these are missing.
    pub missing: usize,
    /// The platforms of the manifests below the root, sorted, each once.
    pub platforms: Arc<[Arc<str>]>,
}

/// A graph of which each manifest was read once.
#[derive(Debug)]
pub struct RecordedGraph<'a> {
    steps: &'a Steps,
    positions: HashMap<Key, u32>,
    nodes: Vec<Node>,
    /// The links of all manifests, one manifest after the other.
    links: Vec<Link>,
    subjects: HashMap<u32, Digest>,
    /// The first element means no platform.
    platforms: Vec<Arc<str>>,
    platform_positions: HashMap<Arc<str>, u32>,
    /// What the roots that were summed up reach.
    known: HashMap<u32, Reached>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    size: u64,
    is_missing: bool,
    links: Range<usize>,
    /// The sum that this node was counted in last, from 1.
    counted_in: u32,
}

/// Positions of a node, and of the platform that it is for.
#[derive(Clone, Copy, Debug)]
struct Link {
    node: u32,
    platform: u32,
}

impl<'a> RecordedGraph<'a> {
    /// A graph of which nothing is recorded yet.
    pub fn new(steps: &'a Steps) -> RecordedGraph<'a> {
        RecordedGraph {
            steps,
            positions: HashMap::new(),
            nodes: vec![],
            links: vec![],
            subjects: HashMap::new(),
            platforms: vec!["".into()],
            platform_positions: HashMap::new(),
            known: HashMap::new(),
        }
    }

    /// Records what a walk visits: a descriptor, and what it links to; None: it is missing.
    pub fn record(&mut self, descriptor: &Descriptor, links: Option<&Links>) -> Result<(), SharesTooMuch> {
        let position = self.position(descriptor)?;
        let start = self.links.len();
        for child in links.iter().flat_map(|links| &links.children) {
            self.steps.take(1)?;
            let link = Link { node: self.position(child)?, platform: self.platform(child)? };
            self.links.push(link);
        }
        if let Some(subject) = links.and_then(|links| links.subject.as_ref()) {
            self.subjects.insert(position, subject.digest.clone());
        }
        let links_below = start..self.links.len();
        self.nodes[position as usize] =
            Node { size: descriptor.size, is_missing: links.is_none(), links: links_below, counted_in: 0 };
        Ok(())
    }

    /// Sums up what a recorded descriptor reaches, itself included. Links are followed for the first sum only; the
    /// platforms count each time, because the caller shows them each time.
    pub fn sum_up(&mut self, root: &Descriptor) -> Result<Reached, SharesTooMuch> {
        let root = self.position(root)?;
        let reached = match self.known.get(&root) {
            Some(known) => known.clone(),
            None => self.visit(root)?,
        };
        self.steps.take(reached.platforms.iter().map(|platform| platform.len()).sum())?;
        self.known.insert(root, reached.clone());
        Ok(reached)
    }

    fn visit(&mut self, root: u32) -> Result<Reached, SharesTooMuch> {
        let sum = u32::try_from(self.known.len() + 1).map_err(|_| SharesTooMuch)?;
        let mut reached = Reached { subject: self.subjects.get(&root).cloned(), ..Reached::default() };
        let (mut platforms, mut listed) = (Vec::new(), HashSet::new());
        let mut stack = vec![Link { node: root, platform: 0 }];
        while let Some(Link { node, platform }) = stack.pop() {
            let node = &mut self.nodes[node as usize];
            if std::mem::replace(&mut node.counted_in, sum) == sum {
                continue;
            }
            reached.size = reached.size.saturating_add(node.size);
            reached.missing += usize::from(node.is_missing);
            let links = node.links.clone();
            if platform > 0 && listed.insert(platform) {
                platforms.push(self.platforms[platform as usize].clone());
            }
            self.steps.take(links.len())?;
            // The newest is taken first, so what comes first is pushed last.
            stack.extend(self.links[links].iter().rev());
        }
        platforms.sort_unstable();
        reached.platforms = platforms.into();
        Ok(reached)
    }

    fn position(&mut self, descriptor: &Descriptor) -> Result<u32, SharesTooMuch> {
        let next = u32::try_from(self.nodes.len()).map_err(|_| SharesTooMuch)?;
        let position = *self.positions.entry(descriptor_key(descriptor)).or_insert(next);
        if position == next {
            self.nodes.push(Node::default());
        }
        Ok(position)
    }

    fn platform(&mut self, descriptor: &Descriptor) -> Result<u32, SharesTooMuch> {
        let platform = descriptor.platform().map(|platform| platform.to_string());
        let Some(platform) = platform.filter(|platform| platform != ATTESTATION) else { return Ok(0) };
        if let Some(known) = self.platform_positions.get(&*platform) {
            return Ok(*known);
        }
        let next = u32::try_from(self.platforms.len()).map_err(|_| SharesTooMuch)?;
        let platform: Arc<str> = platform.into();
        self.platforms.push(platform.clone());
        self.platform_positions.insert(platform, next);
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use crate::oci::media_type;
    use serde_json::json;

    /// A manifest of ten bytes, with a platform.
    fn node(name: &str, platform: &str) -> Descriptor {
        let mut node = Descriptor::new(media_type::INDEX, Digest::of(Algorithm::Sha256, name.as_bytes()), 10);
        if let Some((os, architecture)) = platform.split_once('/') {
            node.edit(|properties| {
                properties.insert("platform".into(), json!({"os": os, "architecture": architecture}));
            });
        }
        node
    }

    fn links(children: &[Descriptor]) -> Links {
        Links { children: children.to_vec(), ..Links::default() }
    }

    /// Two roots that share an index of an image for two platforms, of which one is missing, and of an attestation.
    fn shared(steps: &Steps) -> Result<(RecordedGraph<'_>, [Descriptor; 2]), SharesTooMuch> {
        let (roots, index) = ([node("one", "a/a"), node("two", "a/a")], node("index", ""));
        let images = [node("b", "linux/b"), node("a", "linux/a"), node("attestation", ATTESTATION)];
        let mut graph = RecordedGraph::new(steps);
        graph.record(&roots[0], Some(&links(&[index.clone(), index.clone()])))?;
        graph.record(&index, Some(&links(&images)))?;
        graph.record(&images[0], Some(&links(&[])))?;
        graph.record(&images[1], None)?;
        graph.record(&images[2], Some(&links(&[])))?;
        graph.record(&roots[1], Some(&links(&[images[0].clone(), index])))?;
        Ok((graph, roots))
    }

    #[test]
    fn what_roots_share_is_counted_once_for_each() {
        let steps = Steps::default();
        let (mut graph, roots) = shared(&steps).unwrap();
        for root in &roots {
            let reached = graph.sum_up(root).unwrap();
            assert_eq!((reached.size, reached.missing), (50, 1));
            assert_eq!(reached.platforms.iter().map(|it| &**it).collect::<Vec<_>>(), ["linux/a", "linux/b"]);
        }
    }

    #[test]
    fn a_root_that_is_summed_up_again_takes_the_bytes_of_its_platforms_again() {
        // Seven links are recorded, and the root reaches five of them once, and platforms of fourteen bytes twice.
        let sum_up_twice = |steps| {
            let steps = Steps(AtomicU64::new(steps));
            let (mut graph, [root, _]) = shared(&steps)?;
            Ok((graph.sum_up(&root)?, graph.sum_up(&root)?))
        };
        let (first, second) = sum_up_twice(7 + 5 + 2 * 14).unwrap();
        assert_eq!(first, second);
        assert_eq!(sum_up_twice(7 + 5 + 2 * 14 - 1), Err(SharesTooMuch));
    }

    #[test]
    fn graphs_share_their_steps() {
        // The second graph records its seven links from what the first left.
        let two = |steps| {
            let steps = Steps(AtomicU64::new(steps));
            shared(&steps).and_then(|_| shared(&steps).map(drop))
        };
        assert_eq!((two(14), two(13)), (Ok(()), Err(SharesTooMuch)));
    }

    #[test]
    fn all_roots_together_take_so_many_steps_and_no_more() {
        // Seven links are recorded; each root reaches five of them, and platforms of fourteen bytes.
        let sum_up = |steps| {
            let steps = Steps(AtomicU64::new(steps));
            let (mut graph, roots) = shared(&steps)?;
            roots.iter().map(|root| graph.sum_up(root)).collect::<Result<Vec<_>, _>>()
        };
        assert_eq!(sum_up(7 + 2 * (5 + 14)).unwrap().len(), 2);
        for steps in [0, 7 + 2 * (5 + 14) - 1] {
            assert_eq!(sum_up(steps), Err(SharesTooMuch));
        }
    }
}
