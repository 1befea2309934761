//! A client whose request has passed the gate. Writes its response, while the client is fast enough.

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

/// A client that waits for a response.
pub struct Client {
    pub stream: Arc<TcpStream>,
    /// Whether the connection ends after the response.
    pub is_last: bool,
    /// Gets a message when the response is complete. Dropped without one, it ends the connection.
    pub answered: Sender<()>,
    /// The connection's place, see `connections`.
    pub place: Arc<Place>,
    /// The speed limit of the client.
    pub pace: Pace,
}

impl Client {
    /// The destination of the response. The client's speed is measured from now on.
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

/// Writes a response, while its client is fast enough.
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
