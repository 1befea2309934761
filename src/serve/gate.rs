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
//! The gate also bounds what `tiny_http` does not:
//! how long a connection may stay silent, how long a client may take nothing of what it asked for, and how many
//! connections there are.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The first byte of a TLS record that carries a greeting (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// How long a client may take to begin a request, and how long a finished connection is kept for the next one.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a client may take nothing of what is sent to it.
const STALL: Duration = Duration::from_secs(60);
/// Connections beyond this are closed at once, before they take memory and threads.
const MAX_CONNECTIONS: usize = 512;
/// The most bytes of a connection's first request, which has no body.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How long the others wait for the beginning of an answer.
const ENTRY: Duration = Duration::from_secs(1);
/// How much is passed on at a time.
const BUFFER_BYTES: usize = 128 * 1024;

/// Accepts connections until told to stop, and passes them on to the server that listens on the socket `inner`.
pub fn run(listener: &TcpListener, inner: &Path, stopping: &AtomicBool) -> io::Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    let entrance = Arc::new(Mutex::new(()));
    loop {
        let accepted = listener.accept();
        if stopping.load(Ordering::SeqCst) {
            return Ok(());
        }
        let client = match accepted {
            Ok((client, _)) => client,
            // The client went away before it was accepted: its own affair.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if open.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (inner, open) = (inner.to_path_buf(), Arc::clone(&open));
        let entrance = Arc::clone(&entrance);
        std::thread::spawn(move || {
            // What goes wrong with one connection ends that connection, and nobody is left to tell.
            let _ = pass_on(client, &inner, &entrance);
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn pass_on(mut client: TcpStream, inner: &Path, entrance: &Mutex<()>) -> io::Result<()> {
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(SILENCE))?;
    client.set_write_timeout(Some(STALL))?;
    let Some(head) = read_head(&mut client)? else { return Ok(()) };
    let (server, beginning) = enter(inner, &head, entrance)?;
    client.write_all(&beginning)?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // The server sees the end of the requests, answers what it has, and closes.
            let _ = copy(&from_client, &to_server);
            let _ = to_server.shutdown(Shutdown::Write);
        });
        let copied = copy(&server, &client);
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

/// Hands a request to the server, and waits for the beginning of the answer while nobody else enters.
fn enter(inner: &Path, head: &[u8], entrance: &Mutex<()>) -> io::Result<(UnixStream, Vec<u8>)> {
    let guard = entrance.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut server = UnixStream::connect(inner)?;
    server.write_all(head)?;
    server.set_read_timeout(Some(ENTRY))?;
    let mut beginning = vec![0; BUFFER_BYTES];
    let count = match server.read(&mut beginning) {
        // It thinks longer than the others should wait.
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => 0,
        result => result?,
    };
    drop(guard);
    server.set_read_timeout(None)?;
    beginning.truncate(count);
    Ok((server, beginning))
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
