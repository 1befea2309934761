//! How a gc and publishers detect each other in a store without a lock.
//!
//! A publisher does not send a blob that it finds in its place. A gc removes a blob that no index reaches, even if the
//! publisher has just found it. If the publisher writes its index then, the index leads to a missing blob. Therefore a
//! gc writes a mark to the store before it reads the first index, and changes the mark after it removed the last blob.
//! A publisher reads the mark before it looks for blobs, and again after it wrote its indexes. If the mark is
//! unchanged and no gc runs, then any later removal belongs to a gc that read the new indexes. Otherwise, the
//! publisher waits for the gc to end, looks for its blobs again, and sends the missing ones.
//!
//! A killed gc never marks its end. Its mark expires after [`LIFE`]; a running gc removes nothing after [`LONGEST_GC`].

use std::time::{Duration, Instant};

use super::{Store, StoreError, Version};

/// The time after which a running gc's mark expires.
pub const LIFE: Duration = Duration::from_secs(60 * 60);
/// The time limit of a gc until its last removal. It is shorter than [`LIFE`], because clocks differ.
pub const LONGEST_GC: Duration = Duration::from_secs(50 * 60);
/// The time between two reads of the mark.
const POLL: Duration = Duration::from_millis(500);

/// The mark of the latest gc in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcMark {
    /// Changes at the beginning and the end of each gc.
    pub version: Version,
    /// Whether the gc is running.
    pub is_running: bool,
}

/// Detects gcs while a publisher works.
#[derive(Debug)]
pub struct Watch {
    seen: Vec<Option<GcMark>>,
}

/// The gcs since a publisher last looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GcActivity {
    /// No gc ran, so no blob was removed.
    Nothing,
    Ended,
    /// A gc is running, and did not end within the publisher's time limit.
    Running,
}

impl Watch {
    /// Begins to watch, before the publisher looks for blobs.
    pub fn begin<'a>(stores: impl Iterator<Item = &'a dyn Store>) -> Result<Watch, StoreError> {
        Ok(Watch { seen: look(stores)? })
    }

    /// Looks for gcs again, and waits at most `wait` for a running one to end.
    pub fn settle<'a, I>(&mut self, stores: impl Fn() -> I, wait: Duration) -> Result<GcActivity, StoreError>
    where
        I: Iterator<Item = &'a dyn Store>,
    {
        let started = Instant::now();
        loop {
            let now = look(stores())?;
            let is_running = now.iter().flatten().any(|mark| mark.is_running);
            if is_running && started.elapsed() < wait {
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
