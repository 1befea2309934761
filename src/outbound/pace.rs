//! How slow the other side of a transfer may be: a server that a client asks, or a client of the preview.
//!
//! A limit on the whole time fits a document, whose size has a limit, too. A blob may have any size, so a limit on its time
//! either ends honest transfers over slow links, or lets a server that drips go on for as long as the size that it claims asks
//! for. So a transfer ends when it was slower than a limit over the latest window of time, as curl's `--speed-limit` and
//! `--speed-time` do it. The bytes on the connection count, below TLS, so that nothing in the layers above can hide that few come.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// The time that a document may take, and the window for a blob's speed, unless told otherwise.
pub const DEFAULT_TIME: Duration = Duration::from_secs(30);
/// The slowest transfer, in bytes a second, unless told otherwise: an eighth of a megabit a second, for each blob of several.
pub const DEFAULT_SPEED: u64 = 16 * 1024;
/// The longest time that is reckoned with. Clocks overflow beyond what they can hold; nothing here lasts for a century.
const LONGEST_TIME: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// How finely the window slides: a part of it.
const MARKS: u32 = 10;

/// What is asked of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// What a document may take in all, and the window over which the speed is measured.
    pub time: Duration,
    /// Bytes a second, at least, over the window.
    pub speed: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { time: DEFAULT_TIME, speed: DEFAULT_SPEED }
    }
}

impl Pace {
    /// What a document takes at most.
    pub fn time_for_document(&self) -> Duration {
        self.time.min(LONGEST_TIME)
    }

    /// What fetching so many bytes takes at most, when all of them come at the slowest speed.
    pub fn time_for(&self, bytes: u64) -> Duration {
        let seconds = bytes.checked_div(self.speed).unwrap_or(u64::MAX);
        self.time.saturating_add(Duration::from_secs(seconds)).min(LONGEST_TIME)
    }

    /// Whether so many bytes in so much time are too few.
    pub fn is_too_slow(&self, bytes: u64, time: Duration) -> bool {
        (bytes as f64) < self.speed as f64 * time.as_secs_f64()
    }
}

/// A time from now on. One that is too far away to be told is a century away.
pub fn deadline(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time.min(LONGEST_TIME)).unwrap_or(now)
}

/// Watches the speed of one transfer.
#[derive(Debug)]
pub struct Meter {
    pace: Pace,
    received: u64,
    /// Times, and how many bytes had been received by then: the newest at the back, the first at least a window old, if any is.
    marks: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// Begins to watch.
    pub fn new(pace: Pace, now: Instant) -> Meter {
        Meter { pace, received: 0, marks: VecDeque::from([(now, 0)]) }
    }

    /// Begins anew: what came before does not count.
    pub fn restart(&mut self, now: Instant) {
        *self = Meter::new(self.pace, now);
    }

    /// Hears that so many bytes came.
    ///
    /// # Errors
    /// Over the latest window they were too few.
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

/// A transfer that was ended because it was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSlow {
    /// What was asked of it.
    pub pace: Pace,
}

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pace { time, speed } = self.pace;
        write!(f, "fewer than {speed} bytes a second came over {} seconds", time.as_secs())
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

    /// The second at which a transfer is ended that brings so many bytes in each second; none: it goes on for an hour.
    fn ends_at(bytes_in: impl Fn(u64) -> u64) -> Option<u64> {
        let begun = Instant::now();
        let mut meter = Meter::new(PACE, begun);
        (1..3600).find(|second| meter.advance(bytes_in(*second), begun + Duration::from_secs(*second)).is_err())
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
