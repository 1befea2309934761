//! The walk over descriptors, with its limits.
//!
//! Manifests are untrusted. They may nest without end, or share nested manifests so that a walk without memory
//! visits one 10^28 times. Therefore only [`walk`] goes from a descriptor to those below, and has the limits: it visits
//! each node once, a graph is at most [`MAX_DEPTH`] levels deep, and one [`Budget`] is spent on at most [`MAX_STEPS`]
//! descriptors and [`MAX_BYTES`] of manifests. Each root has a budget of its own, unless the caller keeps what several
//! roots reach; then they share one. A walk ends in time that grows with the bytes of the manifests, and keeps one key
//! of sixteen bytes for each node.
//!
//! A caller's [`Graph`] gives the identity of nodes, and what a visit reads. Callers that read manifests from one
//! place, a [`Manifests`], need only [`reach`].

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::manifest::{Links, may_hold_descriptors};
use super::{Descriptor, Verified};
use crate::digest::Digest;
use crate::json::MAX_MANIFEST_BYTES;
use crate::parallel;
use crate::parallel::{into_inner, lock};
use crate::seen::{Key, Seen, key};

/// The most levels of a graph. BuildKit's attested multi-platform images, the deepest in use, have three.
pub const MAX_DEPTH: usize = 32;
/// The most descriptors for one budget; a descriptor counts once for each document that has it. An image for every
/// platform, with attestations and a hundred layers each, has some thousands.
pub const MAX_STEPS: usize = 1_000_000;
/// The most bytes of manifests for one budget: eight manifests of the largest size that registries accept. Their
/// descriptors take about three times that in memory, until they are visited.
pub const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// A place of manifests: a layout, an opened site, a site over HTTP.
pub trait Manifests: Sync {
    /// A descriptor, with anything else needed to find its bytes.
    type Node;
    /// Why a manifest cannot be read.
    type Error: Send;

    /// The bytes of a manifest or a config; None if it is missing.
    fn read(&self, node: &Self::Node) -> Result<Option<Verified>, Self::Error>;
}

/// The nodes of a walk, and the visit of a node.
///
/// ```
/// use std::num::NonZeroUsize;
/// use oci_discovery::oci::walk::{Graph, Limit, Next, walk};
/// use oci_discovery::seen::{Key, Seen};
///
/// /// Each number leads to the next one, modulo five: a circle.
/// struct Circle(Seen);
///
/// impl Graph for Circle {
///     type Node = u32;
///     type Error = Limit;
///
///     fn identity<'n>(&'n self, node: &'n u32) -> Option<(&'n Seen, Key)> {
///         Some((&self.0, Key::from(*node)))
///     }
///
///     fn bytes(&self, _: &u32) -> u64 {
///         0
///     }
///
///     fn visit(&self, node: u32, next: &mut Next<u32>) -> Result<(), Limit> {
///         next.below((node + 1) % 5);
///         Ok(())
///     }
///
///     fn refuse(&self, _: u32, limit: Limit, _: &mut Next<u32>) -> Result<(), Limit> {
///         Err(limit)
///     }
/// }
///
/// assert_eq!(walk(&Circle(Seen::new()), [0].into_iter(), NonZeroUsize::MIN), Ok(()));
/// ```
pub trait Graph: Sync {
    /// A descriptor, with anything else that the visit needs.
    type Node: Send;
    /// The error that ends the walk.
    type Error: Send;

    /// The key of a node, and the set of the visited keys. None for a node that is reached only once.
    fn identity<'n>(&'n self, node: &'n Self::Node) -> Option<(&'n Seen, Key)>;

    /// The number of bytes that a visit reads into memory; 0 for a leaf.
    fn bytes(&self, node: &Self::Node) -> u64;

    /// The budget of a root. A graph whose visits keep what they read gives one budget to all roots and walks.
    fn budget(&self) -> Arc<Budget> {
        Arc::default()
    }

    /// Visits a node for the first time, and adds the next nodes.
    fn visit(&self, node: Self::Node, next: &mut Next<Self::Node>) -> Result<(), Self::Error>;

    /// Handles a node that was visited before.
    fn pass(&self, node: Self::Node, next: &mut Next<Self::Node>) -> Result<(), Self::Error> {
        let _ = (node, next);
        Ok(())
    }

    /// Handles a node beyond a limit, which is not visited. An error ends the walk; otherwise it continues with other
    /// nodes.
    fn refuse(&self, node: Self::Node, limit: Limit, next: &mut Next<Self::Node>) -> Result<(), Self::Error>;
}

/// The nodes that a visit adds.
#[derive(Debug)]
pub struct Next<N> {
    below: Vec<N>,
    roots: Vec<N>,
}

impl<N> Next<N> {
    /// Adds a node one level below the visited node.
    pub fn below(&mut self, node: N) {
        self.below.push(node);
    }

    /// Whether the visit added a node below.
    pub fn has_below(&self) -> bool {
        !self.below.is_empty()
    }

    /// Adds a node as the root of another graph.
    pub fn root(&mut self, node: N) {
        self.roots.push(node);
    }
}

/// A limit that a graph exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// See [`MAX_DEPTH`].
    #[error("nested more than {MAX_DEPTH} levels deep")]
    Depth,
    /// See [`MAX_STEPS`].
    #[error("one of more than {MAX_STEPS} descriptors that are read together")]
    Steps,
    /// See [`MAX_BYTES`].
    #[error("one of more than {} MiB of manifests that are read together", MAX_BYTES / 1024 / 1024)]
    Bytes,
}

/// A graph that exceeds a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{digest} is {limit}, the most that ocisite follows")]
pub struct TooLarge {
    /// The digest of the first descriptor beyond the limit.
    pub digest: Digest,
    /// The limit.
    pub limit: Limit,
}

/// The descriptors and bytes that were read so far, of those that one root, or several roots together, may reach.
#[derive(Debug, Default)]
pub struct Budget {
    steps: AtomicUsize,
    bytes: AtomicU64,
}

impl Budget {
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
    budget: Arc<Budget>,
}

/// Visits each node that `roots` reach once, on up to `jobs` threads. With one thread the order is that of the
/// documents, and all nodes of a root come before the next root. [`Graph`] has an example.
///
/// # Errors
/// The first error of a visit, after which no further node is visited.
pub fn walk<G: Graph>(
    graph: &G,
    roots: impl Iterator<Item = G::Node> + Send,
    jobs: NonZeroUsize,
) -> Result<(), G::Error> {
    let root = |node| Step { node, depth: 0, budget: graph.budget() };
    let failure: Mutex<Option<G::Error>> = Mutex::new(None);
    let failed = || lock(&failure);
    parallel::work(roots.map(root), jobs, |Step { node, depth, budget }, queue| {
        if failed().is_some() {
            return;
        }
        let mut next = Next { below: vec![], roots: vec![] };
        if let Err(error) = take(graph, node, depth, &budget, &mut next) {
            failed().get_or_insert(error);
            return;
        }
        // The queue takes the newest node first, so the first node is pushed last.
        next.roots.into_iter().rev().for_each(|node| queue.push(root(node)));
        let below = |node| Step { node, depth: depth + 1, budget: budget.clone() };
        next.below.into_iter().rev().for_each(|node| queue.push(below(node)));
    });
    into_inner(failure).map_or(Ok(()), Err)
}

fn take<G: Graph>(
    graph: &G,
    node: G::Node,
    depth: usize,
    budget: &Budget,
    next: &mut Next<G::Node>,
) -> Result<(), G::Error> {
    if let Some(limit) = budget.step() {
        return graph.refuse(node, limit, next);
    }
    if graph.identity(&node).is_some_and(|(seen, key)| !seen.insert(key)) {
        return graph.pass(node, next);
    }
    let limit = if depth > MAX_DEPTH { Some(Limit::Depth) } else { budget.read(graph.bytes(&node)) };
    match limit {
        Some(limit) => graph.refuse(node, limit, next),
        None => graph.visit(node, next),
    }
}

/// Visits each blob that `roots` reach and that is not yet `seen` once, in the order of the documents and with the
/// roots themselves. `links` reads the links of a descriptor; None for a missing blob. The walk does not follow
/// `subject`, which points up.
///
/// ```
/// use oci_discovery::digest::{Algorithm, Digest};
/// use oci_discovery::oci::manifest::Links;
/// use oci_discovery::oci::walk::{TooLarge, reach};
/// use oci_discovery::oci::{Descriptor, media_type};
/// use oci_discovery::seen::Seen;
///
/// let blob = |media_type, bytes: &[u8]| Descriptor::new(media_type, Digest::of(Algorithm::Sha256, bytes), bytes.len() as u64);
/// let (image, layer) = (blob(media_type::MANIFEST, b"image"), blob("application/x-tar", b"layer"));
/// let children = [layer.clone(), layer.clone()];
/// let mut visited = Vec::new();
/// reach(
///     &Seen::new(),
///     [image.clone()],
///     |found| Ok((*found == image).then(|| Links { children: children.to_vec(), ..Links::default() })),
///     |found, _| {
///         visited.push(found.clone());
///         Ok::<(), TooLarge>(())
///     },
/// )?;
/// assert_eq!(visited, [image, layer]);
/// # Ok::<(), TooLarge>(())
/// ```
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
        (lock(&self.visit))(&node, links.as_ref())?;
        links.into_iter().flat_map(|links| links.children).for_each(|child| next.below(child));
        Ok(())
    }

    fn refuse(&self, node: Descriptor, limit: Limit, _next: &mut Next<Descriptor>) -> Result<(), E> {
        Err(TooLarge { digest: node.digest, limit }.into())
    }
}

/// The key of a descriptor: its digest, and whether its media type has descriptors. One document may describe a blob as
/// a layer and another as a manifest; then both are visited.
pub fn descriptor_key(descriptor: &Descriptor) -> Key {
    let described = if may_hold_descriptors(&descriptor.media_type) { "manifest" } else { "leaf" };
    key(&[descriptor.digest.as_str(), described])
}

/// The number of bytes that a visit of the descriptor reads into memory.
pub fn manifest_bytes(descriptor: &Descriptor) -> u64 {
    bytes_to_read(&descriptor.media_type, descriptor.size)
}

/// The number of bytes that a visit reads into memory, by media type and size in bytes. A blob larger than a manifest
/// may be is not read.
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
        /// None: each root has its own.
        budget: Option<Arc<Budget>>,
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

        fn budget(&self) -> Arc<Budget> {
            self.budget.clone().unwrap_or_default()
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
        let graph = Numbers { below, bytes, budget: None, seen: Seen::new(), visits: AtomicUsize::new(0) };
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
    fn roots_and_walks_that_share_a_budget_have_one_share() {
        let below = |_| vec![];
        let budget = Some(Arc::default());
        let graph = Numbers { below, bytes: MAX_BYTES / 10, budget, seen: Seen::new(), visits: AtomicUsize::new(0) };
        let roots = |roots: std::ops::Range<usize>| walk(&graph, roots, NonZeroUsize::MIN);
        assert_eq!((roots(0..5), roots(5..10), roots(10..11)), (Ok(()), Ok(()), Err(Limit::Bytes)));
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
