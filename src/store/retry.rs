//! How a writer waits when others write to the same documents.
//!
//! Where no lock keeps writers apart, whoever finds a document changed reads again, merges again, and tries again. Each time
//! that happens somebody else has succeeded, so all get through in the end; waiting for a random time keeps them from meeting
//! again.

use std::time::{Duration, Instant};

/// The most that the first retry waits; the next one waits up to twice as long, and so on.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The most that any retry waits.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The retries of one piece of work.
#[derive(Debug)]
pub struct Retries {
    begun: Instant,
    /// For how long the work is tried again.
    pub wait: Duration,
    /// How often it was tried again.
    pub count: u32,
}

impl Retries {
    /// Begins the work.
    pub fn new(wait: Duration) -> Retries {
        Retries { begun: Instant::now(), wait, count: 0 }
    }

    /// Waits before the next try. False: there is no time left for one.
    pub fn pause(&mut self) -> bool {
        if self.begun.elapsed() >= self.wait {
            return false;
        }
        let most = LONGEST_PAUSE.min(FIRST_PAUSE.saturating_mul(1 << self.count.min(16)));
        std::thread::sleep(most.mul_f64(fastrand::f64()));
        self.count += 1;
        true
    }
}
