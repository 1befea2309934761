//! The gate in front of `tiny_http`: it accepts connections, reads the head of each request, and passes on the heads that
//! [`head`](super::head) accepts, one at a time for each connection.
//!
//! `tiny_http` 0.12 limits neither heads nor bodies, keeps a thread for each idle connection, and stops listening when
//! the process has no file descriptor left. Therefore `tiny_http` gets one connection, from the gate, with complete
//! heads without bodies. Each head has a key of its client, and the response goes directly to that client. A response
//! that ends early, because the file became shorter, closes the client's connection, so that the client detects the
//! missing bytes.

#![allow(
    clippy::disallowed_methods,
    reason = "it accepts the preview's connections, and keeps the directory of its socket"
)]

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::process::{Resource, getrlimit};

use super::client::Client;
use super::computed::MAX_KEPT;
use super::connections::{Connections, Place};
use super::head::{Head, Unread};
use super::{http, respond};
use crate::outbound::pace::Pace;
use crate::terminal;
use oci_discovery::parallel::lock;

/// The time limit of a head, from the beginning of the connection or the end of the previous response. It is also that
/// of an idle connection.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// The speed limit of a client that reads a response.
const SLOWEST: Pace = Pace { time: Duration::from_secs(30), speed: 16 * 1024 };
/// The time between two checks of a client that reads nothing: a part of the time above.
const LOOKS: u32 = 10;
/// The send buffer of a connection, in bytes. Larger ones take memory for each connection, and hide for minutes how
/// slowly a client reads.
const SEND_BUFFER: usize = 128 * 1024;
/// The time in which the gate discards input after the last response. Closing at once would reset the connection, and
/// the client could lose the response.
const LINGER: Duration = Duration::from_secs(1);
/// The most bytes that the gate discards.
const LINGER_BYTES: usize = 256 * 1024;
/// The pause when the system has no descriptor or memory for a connection.
const REST: Duration = Duration::from_millis(100);
/// A preview has few clients; each connection costs a thread and some kilobytes.
const MAX_CONNECTIONS: usize = 128;
/// Browsers open 6 connections to a host, container tools one for each layer that they pull at once. All clients behind a
/// reverse proxy are one peer.
const MAX_CONNECTIONS_PER_PEER: usize = 64;
/// The descriptors of a connection: the client's socket, the file that is sent, and two in reserve.
const FILES_PER_CONNECTION: u64 = 4;
/// The other descriptors of the process, including those of kept documents.
const OTHER_FILES: u64 = 32 + MAX_KEPT as u64;

/// The gate, with the connections that have passed it.
pub(super) struct Gate {
    listener: TcpListener,
    /// The connection to `tiny_http`.
    server: Mutex<UnixStream>,
    /// The clients that wait for a response, by the key of their request.
    asking: Mutex<HashMap<u64, Client>>,
    connections: Arc<Connections>,
    head_time: Duration,
    pace: Pace,
    log: bool,
}

impl Gate {
    /// A gate for `listener`, and a listener for the server behind it. With `log`, refused requests are printed to
    /// standard error.
    pub(super) fn new(listener: TcpListener, log: bool) -> io::Result<(Gate, UnixListener)> {
        // Only the gate can connect: the directory is private, and is removed at once.
        let directory = tempfile::tempdir()?;
        let behind = UnixListener::bind(directory.path().join("socket"))?;
        let server = Mutex::new(UnixStream::connect(directory.path().join("socket"))?);
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let max = usize::try_from(files.saturating_sub(OTHER_FILES) / FILES_PER_CONNECTION).unwrap_or(usize::MAX);
        let max = max.clamp(1, MAX_CONNECTIONS);
        let connections = Connections::new(max, MAX_CONNECTIONS_PER_PEER.min(max.div_ceil(2)));
        let asking = Mutex::default();
        let gate = Gate { listener, server, asking, connections, head_time: HEAD_TIME, pace: SLOWEST, log };
        Ok((gate, behind))
    }

    /// The client of a request.
    pub(super) fn client_of(&self, request: &tiny_http::Request) -> Option<Client> {
        lock(&self.asking).remove(&http::key(request)?)
    }

    /// Accepts connections and serves them until `stopping` is set.
    pub(super) fn run(self: &Arc<Self>, stopping: &AtomicBool) -> io::Result<()> {
        loop {
            let accepted = self.listener.accept();
            if stopping.load(Ordering::SeqCst) {
                return Ok(());
            }
            match accepted {
                Ok((client, peer)) => self.enter(client, peer.ip()),
                // The client closed the connection before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_shortage(&error) => std::thread::sleep(REST),
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends every connection after the response in progress, and waits at most `limit` for the clients to read it.
    pub(super) fn close(&self, limit: Duration) {
        self.connections.close(limit);
    }

    fn enter(self: &Arc<Self>, client: TcpStream, peer: IpAddr) {
        let client = Arc::new(client);
        let Some(place) = self.connections.enter(&client, peer) else {
            let message = "too many connections are being answered: try again later";
            // A new connection's buffers have room for it.
            let _ = client.set_nonblocking(true).and_then(|()| self.refuse(&client, 503, "TOOMANYREQUESTS", message));
            return;
        };
        let gate = Arc::clone(self);
        // An error of one connection ends only that connection, whose client cannot be informed.
        let _ = std::thread::Builder::new().spawn(move || gate.serve(&client, &Arc::new(place)));
    }

    fn serve(&self, client: &Arc<TcpStream>, place: &Arc<Place>) -> io::Result<()> {
        client.set_nodelay(true)?;
        client.set_write_timeout(Some(self.pace.time / LOOKS))?;
        set_socket_send_buffer_size(client, SEND_BUFFER)?;
        let mut unread = Unread::default();
        loop {
            let head = match unread.next(client, Instant::now() + self.head_time) {
                Ok(Some(head)) => head,
                Ok(None) => return Ok(()),
                Err(error) => {
                    let (status, code) = error.status();
                    self.refuse(client, status, code, &error.to_string())?;
                    return linger(client);
                }
            };
            if !place.begin_answer() {
                return Ok(());
            }
            self.ask(&head, client, place)?;
            if !place.begin_wait() || head.is_last {
                return linger(client);
            }
        }
    }

    /// Passes a head on to the server, and waits until the client has the response.
    fn ask(&self, head: &Head, client: &Arc<TcpStream>, place: &Arc<Place>) -> io::Result<()> {
        let (answered, answer) = channel();
        let (key, stream, place) = (place.key(), Arc::clone(client), Arc::clone(place));
        lock(&self.asking).insert(key, Client { stream, is_last: head.is_last, answered, place, pace: self.pace });
        let passed_on = lock(&self.server).write_all(&head.to_bytes(key));
        if passed_on.is_err() {
            lock(&self.asking).remove(&key);
        }
        passed_on?;
        answer.recv().map_err(|_| io::ErrorKind::UnexpectedEof.into())
    }

    fn refuse(&self, client: &TcpStream, status: u16, code: &str, message: &str) -> io::Result<()> {
        if self.log {
            terminal::log(format_args!("a request was refused with {status}: {message}"));
        }
        http::send(respond::error(status, code, message), "GET", true, client)
    }
}

/// Ends a connection so that the client receives the last response; see [`LINGER`].
fn linger(mut client: &TcpStream) -> io::Result<()> {
    client.shutdown(Shutdown::Write)?;
    let end = Instant::now() + LINGER;
    let mut unwanted = [0; 4096];
    let mut left = LINGER_BYTES;
    while left > 0 {
        let time = end.saturating_duration_since(Instant::now());
        if time.is_zero() {
            break;
        }
        client.set_read_timeout(Some(time))?;
        match client.read(&mut unwanted)? {
            0 => break,
            count => left = left.saturating_sub(count),
        }
    }
    Ok(())
}

/// Whether the system had no descriptor or memory for a connection, which is temporary.
fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::respond::{Body, Response};
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::mpsc::Receiver;

    const PATIENCE: Duration = Duration::from_secs(15);

    /// A gate that gives each head so much time, and each answer such a pace, before a server that answers with so many bytes. It
    /// ends with the test. Gives its address, and how each answer ended.
    fn gate(time: Duration, pace: Pace, length: u64) -> (SocketAddr, Receiver<io::Result<()>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, inner) = Gate::new(listener, false).unwrap();
        let gate = Arc::new(Gate { head_time: time, pace, ..gate });
        let accepting = Arc::clone(&gate);
        std::thread::spawn(move || accepting.run(&AtomicBool::new(false)));
        let server = tiny_http::Server::from_listener(inner, None).unwrap();
        let (ended, answers) = channel();
        std::thread::spawn(move || {
            for request in server.incoming_requests() {
                let file = Arc::new(tempfile::tempfile().unwrap());
                file.set_len(length).unwrap();
                let client = gate.client_of(&request).unwrap();
                let response = Response { status: 200, headers: vec![], body: Body::File { file, offset: 0, length } };
                let sent = http::send(response, "GET", client.is_last, client.answer());
                if sent.is_ok() {
                    client.answered.send(()).unwrap();
                }
                drop(request.into_writer());
                let _ = ended.send(sent);
            }
        });
        (address, answers)
    }

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

    #[test]
    fn a_head_has_a_deadline_however_often_a_byte_of_it_comes() {
        let (address, _) = gate(Duration::from_millis(200), SLOWEST, 2);
        for before in ["", REQUEST] {
            // When: a client sends a head byte by byte, more often than the deadline.
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
            client.write_all(format!("{before}GET /").as_bytes()).unwrap();
            let (mut answer, start) = (Vec::new(), Instant::now());
            while !String::from_utf8_lossy(&answer).contains(" 408 ") {
                assert!(start.elapsed() < PATIENCE, "{}", String::from_utf8_lossy(&answer));
                let _ = client.write_all(b"a");
                let mut part = [0; 4096];
                let count = client.read(&mut part).unwrap_or(0);
                answer.extend_from_slice(&part[..count]);
            }
            // Then: it is refused, after the answer to the request before.
            let answer = String::from_utf8_lossy(&answer);
            assert_eq!(answer.starts_with("HTTP/1.1 200 "), before == REQUEST, "{answer}");
        }
    }

    #[test]
    fn silent_connections_are_closed_before_and_after_a_request() {
        let (address, _) = gate(Duration::from_millis(100), SLOWEST, 2);
        for request in ["", REQUEST] {
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert_eq!(answer.ends_with("\r\n\r\n\0\0"), request == REQUEST, "{answer}");
            assert_eq!(answer.is_empty(), request.is_empty(), "{answer}");
        }
    }

    #[test]
    fn a_client_that_reads_nothing_or_too_slowly_is_given_up() {
        for (speed, reads) in [(1, false), (1 << 50, true)] {
            let pace = Pace { time: Duration::from_millis(100), speed };
            let (address, answers) = gate(PATIENCE, pace, 1 << 40);
            // When: a client asks for more than all buffers take, and reads nothing; or reads on, slower than it should.
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(REQUEST.as_bytes()).unwrap();
            let mut reading = client.try_clone().unwrap();
            let reader = reads.then(|| std::thread::spawn(move || io::copy(&mut reading, &mut io::sink())));
            // Then: its answer ends.
            let error = answers.recv_timeout(PATIENCE).unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error:?}");
            drop((client, reader));
        }
    }
}
