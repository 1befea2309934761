//! The gate in front of `tiny_http`: it accepts connections, looks at their first byte, and passes on those that speak HTTP.
//!
//! Container tools try TLS first, even where they were told not to insist on it. `tiny_http` takes a TLS greeting for the
//! beginning of a very long line and waits for its end, and the tool waits for an answer, ten seconds for each request.
//! Closing such a connection at once makes the tool go on in plain HTTP. The gate also bounds what `tiny_http` does not:
//! how long a connection may stay silent, how long a client may take nothing of what it asked for, and how many
//! connections there are.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// The first byte of a TLS record that carries a greeting (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// How long a client may take to begin a request, and how long a finished connection is kept for the next one.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a client may take nothing of what is sent to it.
const STALL: Duration = Duration::from_secs(60);
/// Connections beyond this are closed at once, before they take memory and threads.
const MAX_CONNECTIONS: usize = 512;
/// How much is passed on at a time.
const BUFFER_BYTES: usize = 128 * 1024;

/// Accepts connections until told to stop, and passes them on to the server that listens on the socket `inner`.
pub fn run(listener: &TcpListener, inner: &Path, stopping: &AtomicBool) -> io::Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
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
        std::thread::spawn(move || {
            // What goes wrong with one connection ends that connection, and nobody is left to tell.
            let _ = pass_on(client, &inner);
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn pass_on(client: TcpStream, inner: &Path) -> io::Result<()> {
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(SILENCE))?;
    client.set_write_timeout(Some(STALL))?;
    let mut first = [0];
    if client.peek(&mut first)? == 0 || first[0] == TLS_HANDSHAKE {
        return Ok(());
    }
    let server = UnixStream::connect(inner)?;
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
