//! How a gc and publishers detect each other in a store without a lock.
//!
//! A publisher that finds a blob in its place does not send it again. A gc that finds no index that reaches the blob removes
//! it, however young the publisher is: the blob may be old. Should the publisher's index be written between the two, it leads
//! nowhere. So a gc leaves a mark in the store before it reads the first index, and changes it when it has removed the last
//! blob. A publisher looks at the mark before it looks for blobs, and again when its indexes are written. If the mark is the
//! same and no gc runs, then a gc that removes anything later reads the indexes later, too. If not, the publisher waits for
//! the gc to end, looks for its blobs again, and sends what is gone.
//!
//! A killed gc never marks its end. Its mark expires after [`LIFE`]; a running gc removes nothing after [`LONGEST_GC`].

use std::time::{Duration, Instant};

use super::{Store, StoreError, Version};

/// For how long a mark says that a gc runs, by the store's clock and this machine's.
pub const LIFE: Duration = Duration::from_secs(60 * 60);
/// How long a gc may take until it removes the last object: less, because clocks differ.
pub const LONGEST_GC: Duration = Duration::from_secs(50 * 60);
/// Between two looks at whether a gc has ended.
const POLL: Duration = Duration::from_millis(500);

/// What the latest gc left in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcMark {
    /// Changes at the beginning and the end of each gc.
    pub version: Version,
    /// Whether it still runs.
    pub is_running: bool,
}

/// The marks of gcs that a publisher has seen.
#[derive(Debug)]
pub struct Watch {
    seen: Vec<Option<GcMark>>,
}

/// The activity of gcs since a publisher last looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GcActivity {
    /// No gc ran, so no blob was removed.
    Nothing,
    /// A gc ran and ended.
    Ended,
    /// A gc is running, and did not end while the publisher waited.
    Running,
}

impl Watch {
    /// Begins before blobs are looked for.
    pub fn begin<'a>(stores: impl Iterator<Item = &'a dyn Store>) -> Result<Watch, StoreError> {
        Ok(Watch { seen: look(stores)? })
    }

    /// Looks again, and waits for a gc to end, at most `wait`.
    pub fn settle<'a, I>(&mut self, stores: impl Fn() -> I, wait: Duration) -> Result<GcActivity, StoreError>
    where
        I: Iterator<Item = &'a dyn Store>,
    {
        let begun = Instant::now();
        loop {
            let now = look(stores())?;
            let is_running = now.iter().flatten().any(|mark| mark.is_running);
            if is_running && begun.elapsed() < wait {
                std::thread::sleep(POLL.min(wait));
                continue;
            }
            let before = std::mem::replace(&mut self.seen, now);
            return Ok(match is_running {
                true => GcActivity::Running,
                false if self.seen == before => GcActivity::Nothing,
                false => GcActivity::Ended,
            });
        }
    }
}

fn look<'a>(stores: impl Iterator<Item = &'a dyn Store>) -> Result<Vec<Option<GcMark>>, StoreError> {
    stores.map(Store::gc_mark).collect()
}
