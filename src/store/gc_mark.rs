//! How a gc and publishers notice each other, where no lock keeps them apart.
//!
//! A publisher that finds a blob in its place does not send it again. A gc that finds no index that reaches the blob removes
//! it, however young the publisher is: the blob may be old. Should the publisher's index be written between the two, it leads
//! nowhere. So a gc leaves a mark in the store before it reads the first index, and changes it when it has removed the last
//! blob. A publisher looks at the mark before it looks for blobs, and again when its indexes are written. If the mark is the
//! same and no gc runs, then a gc that removes anything later reads the indexes later, too. If not, the publisher waits for
//! the gc to end, looks for its blobs again, and sends what is gone.
//!
//! A gc that was killed never says that it ended. Its mark is worth nothing after [`LIFE`]; a gc that runs removes nothing any
//! more when [`LONGEST_GC`] has passed.

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
    /// Another one for each gc, and when it ends.
    pub version: Version,
    /// Whether it still runs.
    pub is_running: bool,
}

/// What a publisher has seen of gcs.
#[derive(Debug)]
pub struct Watch {
    seen: Vec<Option<GcMark>>,
}

/// What happened since a publisher looked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// No gc ran: what was there is there.
    Nothing,
    /// One ran, and has ended.
    Ended,
    /// One runs, and has not ended for as long as was waited.
    Running,
}

impl Watch {
    /// Begins before blobs are looked for.
    pub fn begin<'a>(stores: impl Iterator<Item = &'a dyn Store>) -> Result<Watch, StoreError> {
        Ok(Watch { seen: look(stores)? })
    }

    /// Looks again, and waits for a gc to end, at most `wait`.
    pub fn settle<'a, I>(&mut self, stores: impl Fn() -> I, wait: Duration) -> Result<Since, StoreError>
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
                true => Since::Running,
                false if self.seen == before => Since::Nothing,
                false => Since::Ended,
            });
        }
    }
}

fn look<'a>(stores: impl Iterator<Item = &'a dyn Store>) -> Result<Vec<Option<GcMark>>, StoreError> {
    stores.map(Store::gc_mark).collect()
}
