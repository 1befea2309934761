//! The traffic with `tiny_http`: its requests become plain data, our responses go out, and its quirks stay in here.

use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::time::Instant;

use tiny_http::{Header, Method};

use super::request_path;
use super::respond::{Body, Request, Response};
use crate::terminal;

/// The largest request body that is read away. Nothing here wants a body, and `tiny_http` reads an unwanted one into a buffer
/// as large as `Content-Length` says: a client that announces more than there is memory would end the process.
const MAX_UNWANTED_BODY: usize = 64 * 1024 * 1024;

/// Answers one request. With `log`, tells on standard error what was asked, the status, the bytes of the body, and the time.
pub fn exchange(http: tiny_http::Request, log: bool, respond: impl FnOnce(&Request) -> Response) {
    if http.body_length().is_some_and(|length| length > MAX_UNWANTED_BODY) {
        // Nothing else keeps `tiny_http` from making that buffer. The client gets no answer, and a thread and a socket of
        // `tiny_http` stay until this program ends; the gate gives the connection up.
        std::mem::forget(http);
        return;
    }
    let start = Instant::now();
    let request = read(&http);
    let response = respond(&request);
    let status = response.status;
    let bytes = if response.sends_body_for(&request.method) { response.body.length() } else { 0 };
    let target = http.url().to_string();
    // A client that went away before it had everything is its own affair.
    let _ = send(http, response);
    if log {
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        terminal::log(format_args!("{} {target} {status} {bytes} {milliseconds:.1} ms", request.method));
    }
}

fn read(http: &tiny_http::Request) -> Request {
    let header = |name: &'static str| {
        let found = http.headers().iter().find(|header| header.field.equiv(name));
        found.map(|header| header.value.as_str().to_string())
    };
    let (path, query) = request_path::split(http.url());
    Request {
        method: http.method().to_string(),
        path: path.into(),
        query: query.into(),
        range: header("Range"),
        if_range: header("If-Range"),
        if_none_match: header("If-None-Match"),
        if_modified_since: header("If-Modified-Since"),
    }
}

fn send(http: tiny_http::Request, response: Response) -> std::io::Result<()> {
    let headers = response.headers.iter().filter_map(|(name, value)| Header::from_bytes(*name, value.as_str()).ok());
    let headers: Vec<Header> = headers.collect();
    let length = usize::try_from(response.body.length()).unwrap_or(usize::MAX);
    let reader: Box<dyn Read + Send> = match response.body {
        Body::Bytes(bytes) => Box::new(Cursor::new(bytes)),
        Body::File { mut file, offset, length } => {
            file.seek(SeekFrom::Start(offset))?;
            Box::new(file.take(length))
        }
    };
    // Past its threshold tiny_http sends chunks without a length, and clients could neither resume nor show progress.
    let response = tiny_http::Response::new(response.status.into(), headers, reader, Some(length), None)
        .with_chunked_threshold(usize::MAX);
    if has_body(&http) {
        // Answered before the body is read away: the client may be waiting for the answer before it sends any.
        return http.respond(response);
    }
    // Without the request's headers, because for `TE: chunked` it sends chunks whatever the threshold.
    let (version, is_head) = (http.http_version().clone(), *http.method() == Method::Head);
    let mut writer = http.into_writer();
    response.raw_print(&mut writer, version, &[], is_head, None)?;
    writer.flush()
}

fn has_body(http: &tiny_http::Request) -> bool {
    let is_chunked = http.headers().iter().any(|header| header.field.equiv("Transfer-Encoding"));
    is_chunked || http.body_length().is_some_and(|length| length > 0)
}
