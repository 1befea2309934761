//! Independent work on a few threads: a list of items until the first error ([`map`]), or items that add more items
//! ([`work`]).

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The default number of threads: one per core, at most 16, because disks gain nothing from more.
///
/// ```
/// assert!((1..=16).contains(&oci_discovery::parallel::default_jobs().get()));
/// ```
pub fn default_jobs() -> NonZeroUsize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(cores.min(16)).unwrap_or(NonZeroUsize::MIN)
}

/// Locks a mutex, also one that a thread held when it panicked: the panic is reported where it happened, and one thread less is no
/// reason to stop the others.
///
/// ```
/// let numbers = std::sync::Mutex::new(vec![1]);
/// oci_discovery::parallel::lock(&numbers).push(2);
/// assert_eq!(oci_discovery::parallel::into_inner(numbers), [1, 2]);
/// ```
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a mutex holds; see [`lock`].
pub fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `work` for each item on up to `jobs` threads and returns the results in the order of the items.
///
/// # Errors
/// The first error in the order of the items. After an error, no further item is started.
///
/// ```
/// use oci_discovery::parallel::{default_jobs, map};
///
/// assert_eq!(map(["1", "2"], default_jobs(), str::parse::<u8>), Ok(vec![1, 2]));
/// assert!(map(["1", "x"], default_jobs(), str::parse::<u8>).is_err());
/// ```
pub fn map<I, R: Send, E: Send>(
    items: I,
    jobs: NonZeroUsize,
    work: impl Fn(I::Item) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E>
where
    I: IntoIterator<IntoIter: ExactSizeIterator + Send>,
{
    let items = items.into_iter();
    let threads = jobs.get().min(items.len());
    if threads <= 1 {
        return items.map(work).collect();
    }
    let items = Mutex::new(items.enumerate());
    let next = || lock(&items).next();
    let failed = AtomicBool::new(false);
    // Separate from the results: an error takes many times the memory of a result, and there may be hundreds of
    // thousands of items.
    let failure: Mutex<Option<(usize, E)>> = Mutex::new(None);
    let worker = || {
        let mut results = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let Some((position, item)) = next() else { break };
            match work(item) {
                Ok(result) => results.push((position, result)),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    let mut first = lock(&failure);
                    if first.as_ref().is_none_or(|(other, _)| position < *other) {
                        *first = Some((position, error));
                    }
                }
            }
        }
        results
    };
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    if let Some((_, error)) = into_inner(failure) {
        return Err(error);
    }
    results.sort_unstable_by_key(|(position, _)| *position);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// Items that were added while working, the newest on top.
///
/// Newest first means depth first: the items that an item added are done before the next item starts, so the list stays
/// short.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    stack: Vec<T>,
    working: usize,
    /// The number of threads that wait for a change. Usually there are none, and a wake-up costs a system call in any case.
    waiting: usize,
}

impl<T> Queue<T> {
    /// Adds an item for the next idle thread.
    pub fn push(&self, item: T) {
        self.change(|state| state.stack.push(item));
    }

    fn change(&self, change: impl FnOnce(&mut State<T>)) {
        let mut state = self.lock();
        change(&mut state);
        if state.waiting > 0 {
            drop(state);
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }

    /// The next item: the last one pushed, or else the next of `first`. None if no item is left and no thread can push
    /// one.
    fn next(&self, first: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
        let mut state = self.lock();
        loop {
            let next = state.stack.pop().or_else(|| lock(first).next());
            if next.is_some() {
                state.working += 1;
                return next;
            }
            if state.working == 0 {
                return None;
            }
            state.waiting += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }
}

/// Counts a thread as idle again, even if its work panicked: the other threads would wait without end.
struct Working<'a, T>(&'a Queue<T>);

impl<T> Drop for Working<'_, T> {
    fn drop(&mut self) {
        self.0.change(|state| state.working -= 1);
    }
}

/// Calls `work` for each item of `first`, and for each item that `work` pushes, on up to `jobs` threads. An item of
/// `first` is taken when no pushed item is waiting.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use oci_discovery::parallel::{default_jobs, work};
///
/// let sum = AtomicU32::new(0);
/// work([3].into_iter(), default_jobs(), |number: u32, queue| {
///     sum.fetch_add(number, Ordering::Relaxed);
///     (number > 0).then(|| queue.push(number - 1));
/// });
/// assert_eq!(sum.into_inner(), 3 + 2 + 1);
/// ```
pub fn work<T: Send>(first: impl Iterator<Item = T> + Send, jobs: NonZeroUsize, work: impl Fn(T, &Queue<T>) + Sync) {
    let queue =
        Queue { state: Mutex::new(State { stack: Vec::new(), working: 0, waiting: 0 }), changed: Condvar::new() };
    let first = Mutex::new(first.fuse());
    let run = || {
        while let Some(item) = queue.next(&first) {
            let _working = Working(&queue);
            work(item, &queue);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..jobs.get() {
            scope.spawn(run);
        }
        run();
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn work_that_brings_more_work_is_all_done() {
        // Each item n brings the items below it, so that there are 2^n in all.
        for jobs in [1, 4] {
            let done = AtomicUsize::new(0);
            work([10, 10].into_iter(), NonZeroUsize::new(jobs).unwrap(), |item: u32, queue| {
                done.fetch_add(1, Ordering::Relaxed);
                (0..item).for_each(|below| queue.push(below));
            });
            assert_eq!(done.into_inner(), 2 * 1024);
        }
    }

    #[test]
    fn what_an_item_brings_is_done_before_the_next_item() {
        let order = Mutex::new(Vec::new());
        work([1, 2].into_iter(), NonZeroUsize::MIN, |item: u32, queue| {
            order.lock().unwrap().push(item);
            if item < 10 {
                queue.push(item * 10);
            }
        });
        assert_eq!(order.into_inner().unwrap(), [1, 10, 2, 20]);
    }

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<usize> = (0..100).collect();
        let jobs = NonZeroUsize::new(4).unwrap();
        let doubled: Result<Vec<usize>, ()> = map(&items, jobs, |item| Ok(item * 2));
        assert_eq!(doubled.unwrap(), items.iter().map(|item| item * 2).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_stops_the_work_and_is_returned() {
        let items: Vec<usize> = (0..1000).collect();
        let jobs = NonZeroUsize::new(4).unwrap();
        let begun = AtomicUsize::new(0);
        let result: Result<Vec<()>, usize> = map(&items, jobs, |item| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *item == 3 { Err(*item) } else { Ok(()) }
        });
        assert_eq!(result, Err(3));
    }
}
