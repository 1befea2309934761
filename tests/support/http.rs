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

fn parse(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_string(), value.trim().to_string()));
    Some(Response { status, headers: lines.map(header).collect::<Option<_>>()?, body: bytes[end + 4..].to_vec() })
}
