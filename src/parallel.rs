//! A few threads over a list of independent work items, stopping at the first error.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

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
