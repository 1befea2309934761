//! The exchange with `tiny_http`: its requests become plain data, and responses are written to clients.

use std::io::{self, BufWriter, Write};
use std::time::Instant;

use tiny_http::Header;

use super::client::Client;
use super::head::KEY_HEADER;
use super::request_path;
use super::respond::{PreviewRequest, Response, sends_body};
use crate::terminal;

/// The bytes of a response in memory at once. Most documents are smaller, and are sent in one piece with the head.
const PIECE_BYTES: usize = 32 * 1024;

/// Answers one request. With `log`, prints the request, the status, the bytes of the body and the time to standard
/// error.
pub fn exchange(
    http: tiny_http::Request,
    client: Client,
    log: bool,
    respond: impl FnOnce(&PreviewRequest, &Client) -> Response,
) {
    let start = Instant::now();
    let request = read(&http);
    let response = respond(&request, &client);
    let status = response.status;
    let bytes = if sends_body(&request.method, status) { response.body.length() } else { 0 };
    let sent = send(response, &request.method, client.is_last, client.answer());
    if log {
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        terminal::log(format_args!("{} {} {status} {bytes} {milliseconds:.1} ms", request.method, http.url()));
    }
    if sent.is_ok() {
        let _ = client.answered.send(());
    }
    // `tiny_http` answers a dropped request on the gate's connection.
    drop(http.into_writer());
}

/// The key of the client of a request.
pub fn key(http: &tiny_http::Request) -> Option<u64> {
    header(http, KEY_HEADER)?.parse().ok()
}

fn header(http: &tiny_http::Request, name: &'static str) -> Option<String> {
    let found = http.headers().iter().find(|header| header.field.equiv(name));
    found.map(|header| header.value.as_str().to_string())
}

fn read(http: &tiny_http::Request) -> PreviewRequest {
    let (path, query) = request_path::split(http.url());
    PreviewRequest {
        method: http.method().to_string(),
        path: path.into(),
        query: query.into(),
        host: request_path::authority(http.url()).map(str::to_string).or(header(http, "Host")),
        range: header(http, "Range"),
        if_range: header(http, "If-Range"),
        if_none_match: header(http, "If-None-Match"),
        if_modified_since: header(http, "If-Modified-Since"),
        origin: header(http, "Origin"),
        asks_for_method: header(http, "Access-Control-Request-Method").is_some(),
    }
}

/// Sends a response to a client. With `is_last`, the response announces the end of the connection.
///
/// # Errors
/// The client is too slow or has closed the connection, or the file has become shorter than announced.
pub fn send(response: Response, method: &str, is_last: bool, client: impl Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(PIECE_BYTES, client);
    out.write_all(&head(&response, is_last)?)?;
    if sends_body(method, response.status) {
        response.body.write_to(&mut out)?;
    }
    out.flush()
}

/// The head of a response, written by `tiny_http`.
fn head(response: &Response, is_last: bool) -> io::Result<Vec<u8>> {
    // Values may come from a file of the site, and a line feed in one would begin another header.
    let headers = response.headers.iter().filter(|(_, value)| !value.contains(char::is_control));
    let headers = headers.filter_map(|(name, value)| Header::from_bytes(*name, value.as_str()).ok());
    let length = usize::try_from(response.body.length()).unwrap_or(usize::MAX);
    let http = tiny_http::Response::new(response.status.into(), headers.collect(), io::empty(), Some(length), None);
    let mut bytes = vec![];
    // Above its threshold, tiny_http sends chunks without a length, and clients could neither resume nor show
    // progress.
    http.with_chunked_threshold(usize::MAX).raw_print(&mut bytes, (1, 1).into(), &[], true, None)?;
    if is_last && bytes.ends_with(b"\r\n\r\n") {
        // `tiny_http` ignores this header in the list.
        bytes.truncate(bytes.len() - 2);
        bytes.extend(b"Connection: close\r\n\r\n");
    }
    Ok(bytes)
}
