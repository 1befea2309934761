//! A plain HTTP client: it sends what it is told, byte for byte, and gives back what came.
//!
//! Real clients repair paths before they send them, so none can show what a server does with `/../`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// How long a server may take for one step; then the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server that a test talks to.
#[derive(Clone, Debug)]
pub struct Base {
    /// Where it listens.
    pub address: SocketAddr,
    /// The host that requests name, and of the image names that it serves.
    pub host: String,
    /// The directory it serves.
    pub root: PathBuf,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers in their order.
    pub headers: Vec<(String, String)>,
    /// The body, as it was sent.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header; it may be there once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next();
        assert!(values.next().is_none(), "{name} is there twice: {:?}", self.headers);
        value.map(|(_, value)| value.as_str())
    }

    /// The value of a header that has to be there.
    pub fn expect(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no {name} in {} {:?}", self.status, self.headers))
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{} {:?}: {error}: {}", self.status, self.headers, String::from_utf8_lossy(&self.body))
        })
    }
}

impl Base {
    /// `GET` of a target, as it stands.
    pub fn get(&self, target: &str) -> Response {
        self.request("GET", target, &[])
    }

    /// `GET` with more headers.
    pub fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.request("GET", target, headers)
    }

    /// Any request to the server's own host.
    pub fn request(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        self.request_to(&self.host, method, target, headers)
    }

    /// Any request to any host, at this server's address.
    pub fn request_to(&self, host: &str, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        request.push_str("\r\n");
        let what = format!("{method} {target} at {}", self.address);
        let mut stream = TcpStream::connect(self.address).unwrap_or_else(|error| panic!("{what}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        parse(&bytes).unwrap_or_else(|| panic!("{what}: no HTTP response: {:?}", String::from_utf8_lossy(&bytes)))
    }
}

impl Base {
    /// Opens a connection, for requests that follow each other and for clients that misbehave.
    pub fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Connection { stream, host: self.host.clone() }
    }
}

/// An open connection.
pub struct Connection {
    stream: TcpStream,
    host: String,
}

impl Connection {
    /// Sends requests without a body, all alike, without waiting for an answer. In one piece: once the client reads too
    /// little, its system may take no more of what it sends, either.
    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], times: usize) {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.host);
        headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        self.send_text(&(request + "\r\n").repeat(times));
    }

    /// Sends anything.
    pub fn send_text(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Sends anything to a server that may close the connection instead of taking it.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// `GET` at a server that may close the connection instead: the status code, if one came.
    pub fn try_get(&mut self, target: &str) -> Option<u16> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        let mut status_line = [0; "HTTP/1.1 200".len()];
        self.stream.write_all(request.as_bytes()).and_then(|()| self.stream.read_exact(&mut status_line)).ok()?;
        std::str::from_utf8(&status_line).ok()?.split(' ').nth(1)?.parse().ok()
    }

    /// Reads a response without its body, byte by byte, so that nothing of what follows is taken.
    pub fn head(&mut self) -> Response {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let found = self.stream.read(&mut byte).unwrap_or_else(|error| panic!("no response came: {error}"));
            assert_eq!(found, 1, "the connection ended after {:?}", String::from_utf8_lossy(&bytes));
            bytes.push(byte[0]);
        }
        parse(&bytes).unwrap_or_else(|| panic!("no HTTP response: {:?}", String::from_utf8_lossy(&bytes)))
    }

    /// Reads a response to `GET` and leaves the connection for the next.
    pub fn response(&mut self) -> Response {
        let mut response = self.head();
        response.body = vec![0; response.expect("Content-Length").parse().unwrap()];
        self.stream.read_exact(&mut response.body).unwrap();
        response
    }

    /// Reads until the server ends the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Reads until the server ends the connection, or breaks it off.
    pub fn try_rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => {
                panic!("the server does not end: {error}")
            }
            _ => bytes,
        }
    }

    /// Reads and counts until the server ends the connection, and keeps nothing.
    pub fn count_rest(&mut self) -> u64 {
        std::io::copy(&mut self.stream, &mut std::io::sink()).unwrap()
    }
}

fn parse(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_string(), value.trim().to_string()));
    Some(Response { status, headers: lines.map(header).collect::<Option<_>>()?, body: bytes[end + 4..].to_vec() })
}
