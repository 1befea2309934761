//! A client whose request has passed the gate, and how its answer is written: as long as the client takes it fast enough.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;

use super::connections::Place;
use super::head::MAX_HEAD_BYTES;
use crate::outbound::pace::{Meter, Pace};

/// A client that waits for an answer.
pub struct Client {
    /// Its connection.
    pub stream: Arc<TcpStream>,
    /// The connection ends after the answer.
    pub is_last: bool,
    /// Gets a message when the answer is complete. Dropped without one, it ends the connection.
    pub answered: Sender<()>,
    /// The connection's place among the others.
    pub place: Arc<Place>,
    /// How slowly it may take the answer.
    pub pace: Pace,
}

impl Client {
    /// Where the answer is written. How fast the client takes it counts from now on.
    pub fn answer(&self) -> Answer<'_> {
        Answer { client: self, meter: Meter::new(self.pace, Instant::now()) }
    }
}

/// Whether a client has closed its side of the connection, whatever it sent before.
///
/// A client with more unread bytes than a head may have counts as one that has. Once unread bytes fill the system's buffer, the
/// end of the connection waits behind them and cannot be seen. Only a client that sends many requests ahead sends so much while
/// it waits for an answer.
pub(super) fn has_left(client: &TcpStream) -> bool {
    let mut looked_at = [PollFd::new(client, PollFlags::RDHUP)];
    poll(&mut looked_at, Some(&Timespec::default())).is_ok_and(|found| found > 0)
        || ioctl_fionread(client).is_ok_and(|unread| unread > MAX_HEAD_BYTES as u64)
}

/// Writes an answer, as long as its client takes it fast enough.
pub struct Answer<'a> {
    client: &'a Client,
    meter: Meter,
}

impl Write for Answer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.client.stream.as_ref().write(bytes) {
                Ok(count) => {
                    self.client.place.advance();
                    self.meter.advance(count as u64, Instant::now())?;
                    return Ok(count);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    self.meter.advance(0, Instant::now())?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::connections::pair;
    use std::time::Duration;

    /// Whether the end of the connection arrives. The system needs a moment to bring it.
    fn leaves_within_seconds(server: &TcpStream) -> bool {
        let end = Instant::now() + Duration::from_secs(20);
        while !has_left(server) {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    #[test]
    fn a_client_that_closes_its_side_has_left_and_one_that_waits_has_not() {
        let (mut client, server) = pair();
        client.write_all(&[b'a'; MAX_HEAD_BYTES]).unwrap();
        assert!(!has_left(&server));
        drop(client);
        assert!(leaves_within_seconds(&server));
    }

    #[test]
    fn a_client_that_fills_the_buffers_and_leaves_has_left() {
        let (mut client, server) = pair();
        client.set_nonblocking(true).unwrap();
        while client.write(&[b'a'; 4096]).is_ok() {}
        drop(client);
        assert!(leaves_within_seconds(&server));
    }
}
