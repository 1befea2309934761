//! The gate in front of `tiny_http`: it accepts connections, waits for their first request, and passes on those that speak
//! HTTP.
//!
//! Container tools try TLS first, even where they were told not to insist on it. `tiny_http` takes a TLS greeting for the
//! beginning of a very long line and waits for its end, and the tool waits for an answer, ten seconds for each request.
//! Closing such a connection at once makes the tool go on in plain HTTP.
//!
//! Under a burst of connections `tiny_http` 0.12 can leave one waiting until another ends: it counts a thread as idle until
//! that has woken up, and gives it a second connection meanwhile. So the gate lets connections in one by one, each with a
//! whole request, and waits for the beginning of its answer before it lets in the next.
//!
//! The gate also bounds what `tiny_http` does not: how long a connection may stay silent, how long a client may take nothing of
//! what it asked for, and how many connections there are. It knows each by the address that `tiny_http` sees, so that
//! requests can be told apart by connection, and it closes them in order: what was answered arrives.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// The first byte of a TLS record that carries a greeting (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// How long a client may take to begin a request, and how long a finished connection is kept for the next one.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a client may take nothing of what is sent to it.
const STALL: Duration = Duration::from_secs(60);
/// Connections beyond this are closed at once, before they take memory and threads.
const MAX_CONNECTIONS: usize = 512;
/// The files that a connection may need: two sockets here, one and its copy in `tiny_http`, and what it asks for; and one
/// for good measure. `tiny_http` stops listening, and says nothing, when there are too few.
const FILES_PER_CONNECTION: u64 = 6;
/// The most bytes of a connection's first request, which has no body.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How long the others wait for the beginning of an answer.
const ENTRY: Duration = Duration::from_secs(1);
/// How much is passed on at a time.
const BUFFER_BYTES: usize = 128 * 1024;

/// A gate, and the connections that have passed it.
pub struct Gate {
    listener: TcpListener,
    /// Where `tiny_http` listens: on loopback, for the gate alone.
    inner: SocketAddr,
    max_connections: usize,
    /// See [`SILENCE`].
    silence: Duration,
    accepted: AtomicUsize,
    entrance: Mutex<()>,
    /// The sockets to `tiny_http`, by their own address.
    open: Mutex<HashMap<SocketAddr, Arc<TcpStream>>>,
    closed: Condvar,
}

impl Gate {
    /// A gate that accepts from `listener`, and a listener for the server behind it.
    pub fn new(listener: TcpListener) -> io::Result<(Gate, TcpListener)> {
        let inner = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let max_connections = usize::try_from(files / FILES_PER_CONNECTION).unwrap_or(usize::MAX).min(MAX_CONNECTIONS);
        let gate = Gate {
            listener,
            inner: inner.local_addr()?,
            max_connections,
            silence: SILENCE,
            accepted: AtomicUsize::new(0),
            entrance: Mutex::default(),
            open: Mutex::default(),
            closed: Condvar::new(),
        };
        Ok((gate, inner))
    }

    /// Accepts connections until told to stop, and passes them on.
    pub fn run(self: &Arc<Self>, stopping: &AtomicBool) -> io::Result<()> {
        loop {
            let accepted = self.listener.accept();
            if stopping.load(Ordering::SeqCst) {
                return Ok(());
            }
            match accepted {
                Ok((client, _)) => self.accept(client),
                // The client went away before it was accepted: its own affair.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a connection came through the gate, and is still open. Anyone on this machine can find the port behind it.
    pub fn holds(&self, peer: &SocketAddr) -> bool {
        self.open().contains_key(peer)
    }

    /// Ends every connection after what was answered on it, and waits for the clients to take that, at most for `limit`.
    pub fn close(&self, limit: Duration) {
        let open = self.open();
        for server in open.values() {
            // The server sees the end of the requests, and closes; the rest of its answer passes, and then the connection ends.
            let _ = server.shutdown(Shutdown::Write);
        }
        drop(self.closed.wait_timeout_while(open, limit, |open| !open.is_empty()));
    }

    fn accept(self: &Arc<Self>, client: TcpStream) {
        if self.accepted.fetch_add(1, Ordering::SeqCst) >= self.max_connections {
            self.accepted.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        let gate = Arc::clone(self);
        let started = std::thread::Builder::new().spawn(move || {
            // What goes wrong with one connection ends that connection, and nobody is left to tell.
            let _ = gate.pass_on(client);
            gate.accepted.fetch_sub(1, Ordering::SeqCst);
        });
        if started.is_err() {
            self.accepted.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn pass_on(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(self.silence))?;
        client.set_write_timeout(Some(STALL))?;
        let Some(head) = read_head(&mut client)? else { return Ok(()) };
        // `tiny_http` gives a connection to a thread when it accepts it, so this too is done by one at a time.
        let entrance = self.entrance.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let server = Arc::new(TcpStream::connect(self.inner)?);
        let address = server.local_addr()?;
        self.open().insert(address, Arc::clone(&server));
        let entered = begin(&server, &head);
        drop(entrance);
        let passed = entered.and_then(|beginning| pass_both_ways(&client, &server, &beginning, self.silence));
        self.open().remove(&address);
        self.closed.notify_all();
        passed
    }

    fn open(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<TcpStream>>> {
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Hands a request to the server, and waits for the beginning of the answer.
fn begin(mut server: &TcpStream, head: &[u8]) -> io::Result<Vec<u8>> {
    server.set_nodelay(true)?;
    server.write_all(head)?;
    server.set_read_timeout(Some(ENTRY))?;
    let mut beginning = vec![0; BUFFER_BYTES];
    let count = match server.read(&mut beginning) {
        // It thinks longer than the others should wait.
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => 0,
        result => result?,
    };
    beginning.truncate(count);
    Ok(beginning)
}

fn pass_both_ways(mut client: &TcpStream, server: &TcpStream, beginning: &[u8], silence: Duration) -> io::Result<()> {
    server.set_read_timeout(Some(silence))?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // The server sees the end of the requests, answers what it has, and closes.
            let _ = copy(client, server);
            let _ = server.shutdown(Shutdown::Write);
        });
        let copied = client.write_all(beginning).and_then(|()| copy(server, client));
        // The server has nothing more to say: this also ends the wait for another request.
        let _ = client.shutdown(Shutdown::Both);
        copied
    })
}

/// The first request with all of its headers, and whatever came with it. None: it is no HTTP, or has no end.
fn read_head(client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = client.read(&mut buffer)?;
        head.extend_from_slice(&buffer[..count]);
        if count == 0 || head[0] == TLS_HANDSHAKE || head.len() > MAX_HEAD_BYTES {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// A gate with this patience, before a server that answers each request with its own bytes. It ends with the test.
    fn gate(silence: Duration) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, inner) = Gate::new(listener).unwrap();
        let gate = Arc::new(Gate { silence, ..gate });
        std::thread::spawn(move || gate.run(&AtomicBool::new(false)));
        std::thread::spawn(move || {
            for server in inner.incoming().map_while(Result::ok) {
                std::thread::spawn(move || copy(&server, &server));
            }
        });
        address
    }

    fn connect(address: SocketAddr) -> TcpStream {
        let client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(SILENCE / 2)).unwrap();
        client
    }

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    #[test]
    fn silent_connections_are_closed_before_and_after_a_request() {
        let address = gate(Duration::from_millis(100));
        for request in [&b""[..], b"GET / HT", REQUEST] {
            let mut client = connect(address);
            client.write_all(request).unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, if request == REQUEST { REQUEST } else { b"" });
        }
    }

    #[test]
    fn what_speaks_tls_is_closed_at_once() {
        let mut client = connect(gate(SILENCE));
        let start = Instant::now();
        client.write_all(&[TLS_HANDSHAKE, 3, 1, 0]).unwrap();
        // What was not read may make it a reset.
        let outcome = client.read(&mut [0; 16]);
        assert!(matches!(outcome, Ok(0)) || outcome.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset));
        assert!(start.elapsed() < SILENCE / 2);
    }
}
