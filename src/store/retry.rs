//! Retries of a writer that other writers interfere with.
//!
//! Without a lock, a writer that finds a document changed reads, merges and tries again. Each conflict means that
//! another writer has succeeded, so all writers succeed in the end. Pauses are random, so that writers spread out.

use std::time::{Duration, Instant};

/// The longest first pause; each further pause is up to twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub struct Retries {
    started: Instant,
    /// The time limit for retries.
    pub wait: Duration,
    /// The retries so far.
    pub count: u32,
}

impl Retries {
    pub fn new(wait: Duration) -> Retries {
        Retries { started: Instant::now(), wait, count: 0 }
    }

    /// Waits before the next attempt. False: the time limit has passed.
    pub fn pause(&mut self) -> bool {
        if self.started.elapsed() >= self.wait {
            return false;
        }
        let most = LONGEST_PAUSE.min(FIRST_PAUSE.saturating_mul(1 << self.count.min(16)));
        std::thread::sleep(most.mul_f64(fastrand::f64()));
        self.count += 1;
        true
    }
}
