//! A client whose request has passed the gate, and how its answer is written: as long as the client takes it fast enough.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connections::Place;
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
pub fn has_left(client: &TcpStream) -> bool {
    let mut looked_at = [PollFd::new(client, PollFlags::RDHUP)];
    poll(&mut looked_at, Some(&Timespec::default())).is_ok_and(|found| found > 0)
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
