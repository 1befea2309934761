//! The head of a request: read within limits of size and time, and parsed before `tiny_http` sees it.
//!
//! `tiny_http` 0.12 reads lines and bodies of any length. Therefore the gate accepts only what the preview supports:
//! HTTP/1.0 and 1.1, without a body. [`Head::to_bytes`] writes a new head, with the few headers that a response
//! depends on.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::Instant;

use httparse::Status;

/// The most bytes of a head. Registry clients send tokens of some kilobytes; other headers are short.
pub(super) const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most headers of a head. Browsers and proxies send about thirty.
pub(super) const MAX_HEADERS: usize = 100;
/// The headers that a response depends on.
const PASSED_HEADERS: [&str; 7] =
    ["Host", "Range", "If-Range", "If-None-Match", "If-Modified-Since", "Origin", "Access-Control-Request-Method"];

/// The header with the key of the client.
pub(super) const KEY_HEADER: &str = "Key";

/// An accepted request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// `GET`, `HEAD`, …
    pub method: String,
    /// Whether the connection ends after the response.
    pub is_last: bool,
    target: String,
    headers: Vec<(&'static str, String)>,
}

/// Why a request is refused. The connection then ends, because the beginning of the next request is unknown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeadError {
    #[error("the head of the request is too large: expected at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers")]
    TooLarge,
    #[error("the head of the request did not end in time: send it at once")]
    Late,
    #[error("this version of HTTP is not supported: use HTTP/1.1")]
    Version,
    #[error("the head of the request is malformed: {0}; is the client using plain HTTP, without TLS?")]
    Malformed(#[from] httparse::Error),
    #[error("the {0} of the request is malformed: expected ASCII; percent-encode other bytes of a path")]
    NotAscii(&'static str),
    #[error("expected one Host header, found {0}")]
    Host(usize),
    #[error("the request has a body ({0}): expected none, because this site is static")]
    Body(&'static str),
}

impl HeadError {
    /// The status of the response, and the code in its document.
    pub(super) fn status(&self) -> (u16, &'static str) {
        match self {
            HeadError::TooLarge => (431, "HEAD_TOO_LARGE"),
            HeadError::Late => (408, "HEAD_TOO_LATE"),
            HeadError::Version => (505, "VERSION_UNSUPPORTED"),
            HeadError::Body(_) => (413, "BODY_UNSUPPORTED"),
            HeadError::Malformed(_) | HeadError::NotAscii(_) | HeadError::Host(_) => (400, "HEAD_INVALID"),
        }
    }
}

/// The bytes of a connection that were not parsed yet: a part of a head, or several heads of a pipelining client.
#[derive(Debug, Default)]
pub(super) struct Unread(Vec<u8>);

impl Unread {
    /// Reads the next head. None: the client closed the connection, or sent nothing until the deadline.
    pub(super) fn next(&mut self, mut client: &TcpStream, deadline: Instant) -> Result<Option<Head>, HeadError> {
        let mut buffer = [0; 4096];
        loop {
            if let Some((head, length)) = parse(&self.0)? {
                self.0.drain(..length);
                return Ok(Some(head));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return if self.0.is_empty() { Ok(None) } else { Err(HeadError::Late) };
            }
            match client.set_read_timeout(Some(left)).and_then(|()| client.read(&mut buffer)) {
                Ok(0) => return Ok(None),
                Ok(count) => self.0.extend_from_slice(&buffer[..count]),
                // The loop checks the deadline.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(None),
            }
        }
    }
}

/// The head at the beginning of `bytes`, and its length. None: it is incomplete.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(Status::Complete(length)) if length <= MAX_HEAD_BYTES => length,
        Ok(Status::Partial) if bytes.len() < MAX_HEAD_BYTES => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Err(httparse::Error::Version) => return Err(HeadError::Version),
        Err(error) => return Err(error.into()),
    };
    let (Some(method), Some(target), Some(minor_version)) = (request.method, request.path, request.version) else {
        return Ok(None);
    };
    let values = |name: &str| {
        let named = request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value).collect::<Vec<_>>()
    };
    check_body(&values("Transfer-Encoding"), &values("Content-Length"))?;
    let hosts = values("Host").len();
    if hosts > 1 || (hosts == 0 && minor_version > 0) {
        return Err(HeadError::Host(hosts));
    }
    let mut headers = vec![];
    for name in PASSED_HEADERS {
        let Some(value) = values(name).first().copied() else { continue };
        headers.push((name, ascii(name, value)?));
    }
    // HTTP/1.0 has persistent connections only as an extension, which the preview does not support.
    let is_last = minor_version == 0 || values("Connection").iter().any(|value| has_token(value, "close"));
    let target = ascii("target", target.as_bytes())?;
    Ok(Some((Head { method: method.into(), is_last, target, headers }, length)))
}

fn check_body(transfer_encodings: &[&[u8]], lengths: &[&[u8]]) -> Result<(), HeadError> {
    let is_zero = |value: &&[u8]| !value.is_empty() && value.iter().all(|byte| *byte == b'0');
    match () {
        () if !transfer_encodings.is_empty() => Err(HeadError::Body("Transfer-Encoding")),
        () if !lengths.iter().all(is_zero) => Err(HeadError::Body("Content-Length")),
        () => Ok(()),
    }
}

fn ascii(what: &'static str, value: &[u8]) -> Result<String, HeadError> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii());
    text.map(str::to_string).ok_or(HeadError::NotAscii(what))
}

fn has_token(list: &[u8], token: &str) -> bool {
    list.split(|byte| *byte == b',').any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

impl Head {
    /// The head for `tiny_http`, with the key of the client.
    pub(super) fn to_bytes(&self, key: u64) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n{KEY_HEADER}: {key}\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(text: &str) -> Result<Head, HeadError> {
        parse(text.as_bytes()).map(|parsed| parsed.expect("a whole head").0)
    }

    #[test]
    fn a_head_is_written_anew_with_the_headers_that_matter() {
        let text = "GET /a?b HTTP/1.1\r\nhost: localhost\r\nrange:  bytes=0-1 \r\nKey: 8\r\nTE: chunked\r\nExpect: x\r\n\
                    Content-Length: 0\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\nGET /next";
        let (head, length) = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(&text[length..], "GET /next");
        let written = "GET /a?b HTTP/1.1\r\nKey: 7\r\nHost: localhost\r\nRange: bytes=0-1\r\n\r\n";
        assert_eq!(String::from_utf8(head.to_bytes(7)).unwrap(), written);
        assert!(!head.is_last);
    }

    #[test]
    fn a_connection_ends_when_the_client_says_so() {
        for (text, is_last) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: TE, Close\r\n\r\n", true),
            ("GET / HTTP/1.0\r\n\r\n", true),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ] {
            assert_eq!(head(text).map(|head| head.is_last), Ok(is_last), "{text}");
        }
    }

    #[test]
    fn what_does_not_pass_is_refused_with_the_reason() {
        for (text, error) in [
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", HeadError::Body("Content-Length")),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", HeadError::Body("Content-Length")),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n", HeadError::Body("Content-Length")),
            ("GET / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: x\r\n\r\n", HeadError::Body("Transfer-Encoding")),
            ("GET / HTTP/1.1\r\n\r\n", HeadError::Host(0)),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", HeadError::Host(2)),
            ("GET /é HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::NotAscii("target")),
            ("GET / HTTP/1.1\r\nHost: é\r\n\r\n", HeadError::NotAscii("Host")),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::Version),
            ("\u{16}\u{3}\u{1}", HeadError::Malformed(httparse::Error::Token)),
            ("GET /\u{1b}[31m HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::Malformed(httparse::Error::Token)),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", HeadError::Malformed(httparse::Error::HeaderName)),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", HeadError::Malformed(httparse::Error::HeaderName)),
        ] {
            assert_eq!(head(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_head_has_a_size_whether_it_ends_or_not() {
        let beginning = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        let fill = |size: usize| "x".repeat(size - beginning.len());
        assert_eq!(parse(format!("{beginning}{}", fill(MAX_HEAD_BYTES - 1)).as_bytes()), Ok(None));
        assert_eq!(parse(format!("{beginning}{}", fill(MAX_HEAD_BYTES)).as_bytes()), Err(HeadError::TooLarge));
        assert!(head(&format!("{beginning}{}\r\n\r\n", fill(MAX_HEAD_BYTES - 4))).is_ok());
        assert_eq!(head(&format!("{beginning}{}\r\n\r\n", fill(MAX_HEAD_BYTES - 3))), Err(HeadError::TooLarge));
        assert_eq!(parse("\r\n".repeat(MAX_HEAD_BYTES).as_bytes()), Err(HeadError::TooLarge));
        let headers = "X: x\r\n".repeat(MAX_HEADERS);
        assert_eq!(head(&format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n")), Err(HeadError::TooLarge));
    }

    proptest! {
        #[test]
        fn what_is_written_anew_is_the_same_request(
            bytes in r"(GET|x) (/|\*|é|%|:)+ HTTP/1\.[01]\r\n(Host: a\r\n|Range:[ \ta]*\r\n|Connection: close\r\n|[Xé]: é\r\n){0,4}\r\n"
        ) {
            let Ok(Some((first, length))) = parse(bytes.as_bytes()) else { return Ok(()) };
            prop_assert_eq!(length, bytes.len());
            let written = first.to_bytes(7);
            prop_assert!(written.is_ascii());
            let host = if first.headers.iter().any(|(name, _)| *name == "Host") { "" } else { "Host: a\r\n" };
            let (second, _) = parse(&[&written[..written.len() - 2], host.as_bytes(), b"\r\n"].concat()).unwrap().unwrap();
            prop_assert_eq!((second.method, second.target), (first.method, first.target));
            prop_assert!(first.headers.iter().all(|header| second.headers.contains(header)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
