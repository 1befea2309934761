//! The one walk over descriptors, and what it goes over.
//!
//! Manifests come from outside and may nest without end, or share what they nest so that a walk without memory visits it 10^28
//! times. So there is one function that goes from a descriptor to those below it, [`walk`], and the limits are its own: each
//! node is visited once, a graph is [`MAX_DEPTH`] deep at most, and what one root reaches is at most [`MAX_STEPS`] descriptors and
//! [`MAX_BYTES`] of manifests. A walk therefore ends in time that grows with the bytes of the manifests, and holds one key of
//! sixteen bytes for each node.
//!
//! What differs from caller to caller is a [`Graph`]: how nodes are told apart, and what a visit reads. Most read manifests from one
//! place, a [`Manifests`], and [`reach`] is all they need.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::manifest::{Links, may_hold_descriptors};
use super::{Descriptor, Verified};
use crate::digest::Digest;
use crate::json::MAX_MANIFEST_BYTES;
use crate::parallel;
use crate::seen::{Key, Seen, key};

/// A graph deeper than this is no image: BuildKit's attested multi-platform images, the deepest in use, have three levels.
pub const MAX_DEPTH: usize = 32;
/// The most descriptors that one root may lead to, those counted again that several documents name. An image for every platform,
/// with attestations and a hundred layers each, has some thousands.
pub const MAX_STEPS: usize = 1_000_000;
/// The most bytes of manifests that are read for one root: eight manifests of the largest size that registries take. What they hold takes
/// about three times that in memory, for as long as it waits to be visited.
pub const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// A place that manifests are read from: a layout, an opened site, a site over HTTP.
pub trait Manifests: Sync {
    /// A descriptor, with whatever else it takes to find its bytes.
    type Node;
    /// Why a manifest cannot be read.
    type Error: Send;

    /// The bytes of a manifest or a config. None: the place does not have it.
    fn read(&self, node: &Self::Node) -> Result<Option<Verified>, Self::Error>;
}

/// What a walk goes over.
pub trait Graph: Sync {
    /// A place in the graph: a descriptor and what the visit needs beside it.
    type Node: Send;
    /// What ends the walk.
    type Error: Send;

    /// What tells a node from others, and the set in which visited nodes are kept. None: a node that nothing leads to twice.
    fn identity<'n>(&'n self, node: &'n Self::Node) -> Option<(&'n Seen, Key)>;

    /// How many bytes a visit reads into memory; 0 for a leaf.
    fn bytes(&self, node: &Self::Node) -> u64;

    /// Visits a node for the first time, and says what is visited next.
    fn visit(&self, node: Self::Node, next: &mut Next<Self::Node>) -> Result<(), Self::Error>;

    /// Passes a node that was visited before.
    fn pass(&self, node: Self::Node, next: &mut Next<Self::Node>) -> Result<(), Self::Error> {
        let _ = (node, next);
        Ok(())
    }

    /// A node beyond a limit, which is not visited. An error ends the walk; otherwise it goes on elsewhere.
    fn refuse(&self, node: Self::Node, limit: Limit, next: &mut Next<Self::Node>) -> Result<(), Self::Error>;
}

/// What a visit found to go on with.
#[derive(Debug)]
pub struct Next<N> {
    below: Vec<N>,
    roots: Vec<N>,
}

impl<N> Next<N> {
    /// A node one level below the visited one.
    pub fn below(&mut self, node: N) {
        self.below.push(node);
    }

    /// Whether there is a node below the visited one.
    pub fn has_below(&self) -> bool {
        !self.below.is_empty()
    }

    /// A node that begins a graph of its own.
    pub fn root(&mut self, node: N) {
        self.roots.push(node);
    }
}

/// A limit of the walk that a graph exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// See [`MAX_DEPTH`].
    #[error("nested more than {MAX_DEPTH} levels deep")]
    Depth,
    /// See [`MAX_STEPS`].
    #[error("one of more than {MAX_STEPS} descriptors below one root")]
    Steps,
    /// See [`MAX_BYTES`].
    #[error("one of more than {} MiB of manifests below one root", MAX_BYTES / 1024 / 1024)]
    Bytes,
}

/// A graph that is larger than those of images.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{digest} is {limit}: no image needs that")]
pub struct TooLarge {
    /// The digest at which the walk stopped.
    pub digest: Digest,
    /// The limit.
    pub limit: Limit,
}

/// What has been spent on what one root reaches.
#[derive(Debug, Default)]
struct Spent {
    steps: AtomicUsize,
    bytes: AtomicU64,
}

impl Spent {
    fn step(&self) -> Option<Limit> {
        (self.steps.fetch_add(1, Relaxed) >= MAX_STEPS).then_some(Limit::Steps)
    }

    fn read(&self, bytes: u64) -> Option<Limit> {
        (self.bytes.fetch_add(bytes, Relaxed).saturating_add(bytes) > MAX_BYTES).then_some(Limit::Bytes)
    }
}

struct Step<N> {
    node: N,
    depth: usize,
    spent: Arc<Spent>,
}

/// Visits everything that `roots` reach, each node once, on up to `jobs` threads. With one thread the order is that of the
/// documents, and what a root reaches comes before the next root.
///
/// # Errors
/// The first error of a visit, after which no further node is visited.
pub fn walk<G: Graph>(
    graph: &G,
    roots: impl Iterator<Item = G::Node> + Send,
    jobs: NonZeroUsize,
) -> Result<(), G::Error> {
    let root = |node| Step { node, depth: 0, spent: Arc::default() };
    let failure: Mutex<Option<G::Error>> = Mutex::new(None);
    let failed = || failure.lock().unwrap_or_else(PoisonError::into_inner);
    parallel::work(roots.map(root), jobs, |Step { node, depth, spent }, queue| {
        if failed().is_some() {
            return;
        }
        let mut next = Next { below: vec![], roots: vec![] };
        if let Err(error) = take(graph, node, depth, &spent, &mut next) {
            failed().get_or_insert(error);
            return;
        }
        // The newest is taken first, so what comes first is pushed last.
        next.roots.into_iter().rev().for_each(|node| queue.push(root(node)));
        let below = |node| Step { node, depth: depth + 1, spent: spent.clone() };
        next.below.into_iter().rev().for_each(|node| queue.push(below(node)));
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

fn take<G: Graph>(
    graph: &G,
    node: G::Node,
    depth: usize,
    spent: &Spent,
    next: &mut Next<G::Node>,
) -> Result<(), G::Error> {
    if let Some(limit) = spent.step() {
        return graph.refuse(node, limit, next);
    }
    if graph.identity(&node).is_some_and(|(seen, key)| !seen.insert(key)) {
        return graph.pass(node, next);
    }
    let limit = if depth > MAX_DEPTH { Some(Limit::Depth) } else { spent.read(graph.bytes(&node)) };
    match limit {
        Some(limit) => graph.refuse(node, limit, next),
        None => graph.visit(node, next),
    }
}

/// Visits every blob that `roots` reach, themselves included, each that is not yet `seen` and in the order of the documents, with what
/// it links to; None for one that is missing. `links` reads what a descriptor links to. `subject` is not followed: it points up.
///
/// # Errors
/// Those of `links` and of `visit`, and [`TooLarge`].
pub fn reach<E: From<TooLarge> + Send>(
    seen: &Seen,
    roots: impl IntoIterator<Item = Descriptor, IntoIter: Send>,
    links: impl Fn(&Descriptor) -> Result<Option<Links>, E> + Sync,
    visit: impl FnMut(&Descriptor, Option<&Links>) -> Result<(), E> + Send,
) -> Result<(), E> {
    let graph = Reach { seen, links, visit: Mutex::new(visit) };
    walk(&graph, roots.into_iter(), NonZeroUsize::MIN)
}

struct Reach<'s, L, V> {
    seen: &'s Seen,
    links: L,
    visit: Mutex<V>,
}

impl<E, L, V> Graph for Reach<'_, L, V>
where
    E: From<TooLarge> + Send,
    L: Fn(&Descriptor) -> Result<Option<Links>, E> + Sync,
    V: FnMut(&Descriptor, Option<&Links>) -> Result<(), E> + Send,
{
    type Node = Descriptor;
    type Error = E;

    fn identity<'n>(&'n self, node: &'n Descriptor) -> Option<(&'n Seen, Key)> {
        Some((self.seen, descriptor_key(node)))
    }

    fn bytes(&self, node: &Descriptor) -> u64 {
        manifest_bytes(node)
    }

    fn visit(&self, node: Descriptor, next: &mut Next<Descriptor>) -> Result<(), E> {
        let links = (self.links)(&node)?;
        (self.visit.lock().unwrap_or_else(PoisonError::into_inner))(&node, links.as_ref())?;
        links.into_iter().flat_map(|links| links.children).for_each(|child| next.below(child));
        Ok(())
    }

    fn refuse(&self, node: Descriptor, limit: Limit, _next: &mut Next<Descriptor>) -> Result<(), E> {
        Err(TooLarge { digest: node.digest, limit }.into())
    }
}

/// What tells descriptors apart: their digests, and whether they say that there are descriptors in the blob. One document may call
/// a layer what another calls a manifest, and then it is one.
pub fn descriptor_key(descriptor: &Descriptor) -> Key {
    let described = if may_hold_descriptors(&descriptor.media_type) { "manifest" } else { "leaf" };
    key(&[descriptor.digest.as_str(), described])
}

/// How many bytes it takes to read what a descriptor links to.
pub fn manifest_bytes(descriptor: &Descriptor) -> u64 {
    bytes_to_read(&descriptor.media_type, descriptor.size)
}

/// The same of a media type and a size in bytes. What is larger than manifests are is not read.
pub fn bytes_to_read(media_type: &str, size: u64) -> u64 {
    if may_hold_descriptors(media_type) && size <= MAX_MANIFEST_BYTES { size } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use crate::oci::media_type;

    /// A graph of numbers, in which `below` gives what is below each. Every node takes `bytes` to read.
    struct Numbers<F> {
        below: F,
        bytes: u64,
        seen: Seen,
        visits: AtomicUsize,
    }

    impl<F: Fn(usize) -> Vec<usize> + Sync> Graph for Numbers<F> {
        type Node = usize;
        type Error = Limit;

        fn identity<'n>(&'n self, node: &'n usize) -> Option<(&'n Seen, Key)> {
            Some((&self.seen, *node as Key))
        }

        fn bytes(&self, _node: &usize) -> u64 {
            self.bytes
        }

        fn visit(&self, node: usize, next: &mut Next<usize>) -> Result<(), Limit> {
            self.visits.fetch_add(1, Relaxed);
            (self.below)(node).into_iter().for_each(|node| next.below(node));
            Ok(())
        }

        fn refuse(&self, _node: usize, limit: Limit, _next: &mut Next<usize>) -> Result<(), Limit> {
            Err(limit)
        }
    }

    /// How many nodes are visited from these roots.
    fn visits(roots: &[usize], bytes: u64, below: impl Fn(usize) -> Vec<usize> + Sync) -> Result<usize, Limit> {
        let graph = Numbers { below, bytes, seen: Seen::new(), visits: AtomicUsize::new(0) };
        walk(&graph, roots.iter().copied(), NonZeroUsize::MIN)?;
        Ok(graph.visits.into_inner())
    }

    #[test]
    fn what_is_shared_is_visited_once() {
        // Each of 28 levels lists the next one ten times: 10^28 ways lead to the last.
        assert_eq!(visits(&[0], 0, |node| if node < 28 { vec![node + 1; 10] } else { vec![] }), Ok(29));
    }

    #[test]
    fn a_circle_ends() {
        assert_eq!(visits(&[0], 0, |node| vec![(node + 1) % 5]), Ok(5));
    }

    #[test]
    fn a_graph_has_a_greatest_depth() {
        let line = |length| move |node| if node < length { vec![node + 1] } else { vec![] };
        assert_eq!(visits(&[0], 0, line(MAX_DEPTH)), Ok(MAX_DEPTH + 1));
        assert_eq!(visits(&[0], 0, line(MAX_DEPTH + 1)), Err(Limit::Depth));
    }

    #[test]
    fn a_root_leads_to_so_many_descriptors_and_no_more() {
        let wide = |count| move |node| if node == 0 { vec![1; count] } else { vec![] };
        assert_eq!(visits(&[0], 0, wide(MAX_STEPS - 1)), Ok(2));
        assert_eq!(visits(&[0], 0, wide(MAX_STEPS)), Err(Limit::Steps));
    }

    #[test]
    fn a_root_leads_to_so_many_bytes_of_manifests_and_no_more() {
        let wide = |count| move |node| if node == 0 { (1..=count).collect() } else { vec![] };
        assert_eq!(visits(&[0], MAX_BYTES / 64, wide(63)), Ok(64));
        assert_eq!(visits(&[0], MAX_BYTES / 64, wide(64)), Err(Limit::Bytes));
    }

    #[test]
    fn each_root_has_its_own_share() {
        let wide = |node| if node < 3 { (10 * node + 3..10 * node + 12).collect() } else { vec![] };
        assert_eq!(visits(&[0, 1, 2], MAX_BYTES / 10, wide), Ok(3 + 9 * 3));
    }

    #[test]
    fn an_error_ends_the_walk() {
        let node = |number: u64| Descriptor::new(media_type::INDEX, Digest::of(Algorithm::Sha256, b""), number);
        let stop = TooLarge { digest: node(0).digest, limit: Limit::Depth };
        let mut count = 0;
        let result = reach(
            &Seen::new(),
            (0..10).map(node),
            |_| Ok(None),
            |_, _| {
                count += 1;
                Err(stop.clone())
            },
        );
        assert_eq!((result, count), (Err(stop.clone()), 1));
    }
}
