//! Limits of time and speed for the other side of a transfer: a server, or a client of the preview.
//!
//! A document has a limited size, so it has a time limit. A blob may have any size: a limit on its time would either
//! end honest transfers over slow links, or let a slow server continue for as long as its claimed size permits.
//! Therefore a transfer ends when its speed over the latest window of time is below a limit, as with curl's
//! `--speed-limit` and `--speed-time`. The bytes on the connection are counted, below TLS, so that no layer can hide a
//! slow transfer.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// The default time limit of a document, and window for a blob's speed.
pub const DEFAULT_TIME: Duration = Duration::from_secs(30);
/// The default speed limit in bytes a second: an eighth of a megabit a second, for each of several blobs.
pub const DEFAULT_SPEED: u64 = 16 * 1024;
/// The longest time in calculations. Clocks overflow beyond their range.
const LONGEST_TIME: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// The steps in which the window moves.
const MARKS: u32 = 10;

/// The limits of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The time limit of a document, and the window over which the speed of a blob is measured.
    pub time: Duration,
    /// The least bytes a second over the window.
    pub speed: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { time: DEFAULT_TIME, speed: DEFAULT_SPEED }
    }
}

impl Pace {
    /// The time limit of a document.
    pub fn time_for_document(&self) -> Duration {
        self.time.min(LONGEST_TIME)
    }

    /// The time of a transfer of this size at the least speed.
    pub fn time_for(&self, bytes: u64) -> Duration {
        let seconds = bytes.checked_div(self.speed).unwrap_or(u64::MAX);
        self.time.saturating_add(Duration::from_secs(seconds)).min(LONGEST_TIME)
    }

    /// Whether this number of bytes in this time is too slow.
    pub fn is_too_slow(&self, bytes: u64, time: Duration) -> bool {
        (bytes as f64) < self.speed as f64 * time.as_secs_f64()
    }
}

/// A time from now on, at most a century away.
pub fn deadline(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time.min(LONGEST_TIME)).unwrap_or(now)
}

/// Measures the speed of a transfer.
#[derive(Debug)]
pub struct Meter {
    pace: Pace,
    received: u64,
    /// Times, with the bytes received until then: the newest last, the first at least a window old if there is one.
    marks: VecDeque<(Instant, u64)>,
}

impl Meter {
    pub fn new(pace: Pace, now: Instant) -> Meter {
        Meter { pace, received: 0, marks: VecDeque::from([(now, 0)]) }
    }

    /// Begins again: earlier bytes do not count.
    pub fn restart(&mut self, now: Instant) {
        *self = Meter::new(self.pace, now);
    }

    /// Counts received bytes.
    ///
    /// # Errors
    /// The speed over the latest window is too low.
    pub fn advance(&mut self, bytes: u64, now: Instant) -> Result<(), TooSlow> {
        self.received += bytes;
        while self.marks.get(1).is_some_and(|(time, _)| now.duration_since(*time) >= self.pace.time) {
            self.marks.pop_front();
        }
        let Some((time, before)) = self.marks.front().copied() else { return Ok(()) };
        let passed = now.duration_since(time);
        if passed >= self.pace.time && self.pace.is_too_slow(self.received - before, passed) {
            return Err(TooSlow { pace: self.pace });
        }
        if self.marks.back().is_some_and(|(time, _)| now.duration_since(*time) >= self.pace.time / MARKS) {
            self.marks.push_back((now, self.received));
        }
        Ok(())
    }
}

/// A transfer that ended because it was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSlow {
    pub pace: Pace,
}

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pace { time, speed } = self.pace;
        write!(f, "fewer than {speed} bytes per second arrived over {} seconds", time.as_secs())
    }
}

impl std::error::Error for TooSlow {}

impl From<TooSlow> for io::Error {
    fn from(slow: TooSlow) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { time: Duration::from_secs(10), speed: 100 };

    /// The second at which a transfer with these bytes in each second ends. None: it continues for an hour.
    fn ends_at(bytes_in: impl Fn(u64) -> u64) -> Option<u64> {
        let started = Instant::now();
        let mut meter = Meter::new(PACE, started);
        (1..3600).find(|second| meter.advance(bytes_in(*second), started + Duration::from_secs(*second)).is_err())
    }

    #[test]
    fn a_drip_ends_after_one_window_and_a_steady_transfer_never() {
        assert_eq!(ends_at(|_| 1), Some(10));
        assert_eq!(ends_at(|_| 99), Some(10));
        assert_eq!(ends_at(|_| 100), None);
    }

    #[test]
    fn a_pause_shorter_than_the_window_is_made_up_for() {
        assert_eq!(ends_at(|second| if second % 10 == 0 { 2000 } else { 0 }), None);
    }

    #[test]
    fn what_came_before_the_window_is_no_credit() {
        let ended = ends_at(|second| if second <= 60 { 1_000_000 } else { 1 }).unwrap();
        assert!((70..=72).contains(&ended), "{ended}");
    }

    #[test]
    fn the_time_for_a_blob_grows_with_its_size_and_never_overflows() {
        assert_eq!(PACE.time_for(99), Duration::from_secs(10));
        assert_eq!(PACE.time_for(1000), Duration::from_secs(20));
        let any_speed = Pace { speed: 0, ..PACE };
        assert_eq!((any_speed.time_for_document(), any_speed.time_for(1)), (PACE.time, LONGEST_TIME));
        let endless = Pace { time: Duration::MAX, speed: 1 };
        assert_eq!(endless.time_for(u64::MAX), LONGEST_TIME);
        assert!(deadline(Duration::MAX) > Instant::now());
    }
}
