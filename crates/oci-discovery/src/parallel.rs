//! A few threads over independent work: a list of items, stopping at the first error ([`map`]), or items that bring more items
//! ([`work`]).

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How many items are worked on at once when nobody says: one per core, at most 16, since disks gain nothing from more.
pub fn default_jobs() -> NonZeroUsize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(cores.min(16)).unwrap_or(NonZeroUsize::MIN)
}

/// Calls `work` for each item on up to `jobs` threads and returns the results in the order of the items.
///
/// # Errors
/// The first error in the order of the items. Items that were not begun when it came are not worked on.
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
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let failed = AtomicBool::new(false);
    // Results are kept apart from errors, which are many times larger, and there may be hundreds of thousands of items.
    let failure: Mutex<Option<(usize, E)>> = Mutex::new(None);
    let worker = || {
        let mut results = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let Some((position, item)) = next() else { break };
            match work(item) {
                Ok(result) => results.push((position, result)),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
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
    if let Some((_, error)) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    results.sort_unstable_by_key(|(position, _)| *position);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// Work that was found while working, the newest on top.
///
/// Newest first means depth first: what an item brings is done before the next item is begun, so that the list stays short
/// however much there is to do.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    stack: Vec<T>,
    working: usize,
}

impl<T> Queue<T> {
    /// Adds an item, to be done by whoever is free next.
    pub fn push(&self, item: T) {
        self.lock().stack.push(item);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next item: what was pushed last, or else the next of `first`. None: there is nothing left, and nobody is working
    /// who could bring more.
    fn next(&self, first: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
        let mut state = self.lock();
        loop {
            let next = state.stack.pop().or_else(|| first.lock().unwrap_or_else(PoisonError::into_inner).next());
            if next.is_some() {
                state.working += 1;
                return next;
            }
            if state.working == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Counts a worker as idle again, even when its work panicked: the others would wait for it without end.
struct Working<'a, T>(&'a Queue<T>);

impl<T> Drop for Working<'_, T> {
    fn drop(&mut self) {
        self.0.lock().working -= 1;
        self.0.changed.notify_all();
    }
}

/// Does `work` for each item of `first`, and for each that the work itself pushes, on up to `jobs` threads. Items of `first` are
/// taken one at a time, when all that was pushed is being worked on.
pub fn work<T: Send>(first: impl Iterator<Item = T> + Send, jobs: NonZeroUsize, work: impl Fn(T, &Queue<T>) + Sync) {
    let queue = Queue { state: Mutex::new(State { stack: Vec::new(), working: 0 }), changed: Condvar::new() };
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
