//! From a request to a response, as plain data: the parts of HTTP that need no socket.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::json;

use super::computed::ComputeError;
use super::file_reader::{self, FileReader};
use super::multipart::Multipart;
use super::preview::{Preview, Refusal, Representation};
use super::range::{self, Ranges};
use super::{registry, request_path};
use crate::site::path::PathError;
use crate::site::{SitePath, catalogue};
use crate::terminal;
use oci_discovery::json;

/// The most characters of an error's message.
const MAX_MESSAGE: usize = 1000;

/// A request, as far as it matters here.
#[derive(Clone, Debug, Default)]
pub struct PreviewRequest {
    /// `GET`, `HEAD`, …
    pub method: String,
    /// Encoded, without the query.
    pub path: String,
    /// Without its question mark.
    pub query: String,
    /// The host, with the port if there is one.
    pub host: Option<String>,
    pub range: Option<String>,
    pub if_range: Option<String>,
    pub if_none_match: Option<String>,
    pub if_modified_since: Option<String>,
    /// `Origin`.
    pub origin: Option<String>,
    /// Whether it has `Access-Control-Request-Method`.
    pub asks_for_method: bool,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// The headers other than `Content-Length`, which follows from the body.
    pub headers: Vec<(&'static str, String)>,
    /// The body. For `HEAD` and 304 it is that of a `GET` with 200, whose length `Content-Length` gives.
    pub body: Body,
}

/// Whether a response with a status has a body (RFC 9110, sections 9.3.2 and 15.4.5).
pub fn sends_body(method: &str, status: u16) -> bool {
    method != "HEAD" && !matches!(status, 204 | 304)
}

/// A body.
#[derive(Debug)]
pub enum Body {
    /// In memory, for small documents.
    Bytes(Vec<u8>),
    /// A part of a file, streamed.
    File {
        file: Arc<File>,
        /// The first byte of the part.
        offset: u64,
        /// In bytes.
        length: u64,
    },
    /// Several parts of a file, each behind a text, streamed.
    Parts {
        /// The open file.
        file: Arc<File>,
        /// The parts, and the texts around them.
        parts: Multipart,
    },
}

impl Body {
    /// The number of bytes.
    pub fn length(&self) -> u64 {
        match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File { length, .. } => *length,
            Body::Parts { parts, .. } => parts.length(),
        }
    }

    /// Writes the body.
    ///
    /// # Errors
    /// The file cannot be read or has become shorter, or writing to `out` fails.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Body::Bytes(bytes) => out.write_all(bytes),
            Body::File { file, offset, length } => {
                file_reader::copy(FileReader::new(Arc::clone(file), *offset).take(*length), out)
            }
            Body::Parts { file, parts } => {
                for (text, part) in &parts.parts {
                    out.write_all(text.as_bytes())?;
                    file_reader::copy(FileReader::new(Arc::clone(file), part.start).take(part.length()), out)?;
                }
                out.write_all(parts.end.as_bytes())
            }
        }
    }
}

/// Answers a request.
pub fn respond(preview: &Preview, request: &PreviewRequest) -> Response {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        let mut response =
            error(405, "UNSUPPORTED", &format!("{} is not supported: this site is static", request.method));
        response.headers.push(("Allow", "GET, HEAD".into()));
        return response;
    }
    match find(preview, request) {
        Ok(found) => send(request, found),
        Err(Refusal::Registry { status, code, message }) => error(status, code, &message),
        Err(refusal @ (Refusal::Malformed(_) | Refusal::Unsafe(_))) => error(400, "PATH_INVALID", &refusal.to_string()),
        Err(refusal @ Refusal::NotFound) => error(404, "NOT_FOUND", &refusal.to_string()),
        Err(refusal @ Refusal::Compute(ComputeError::ClientLeft)) => error(503, "CLIENT_LEFT", &refusal.to_string()),
        Err(refusal @ Refusal::Compute(ComputeError::Busy)) => error(503, "TOOMANYREQUESTS", &refusal.to_string()),
        Err(refusal @ (Refusal::Read(_) | Refusal::Compute(_))) => error(500, "UNREADABLE", &refusal.to_string()),
    }
}

fn find(preview: &Preview, request: &PreviewRequest) -> Result<Representation, Refusal> {
    let path = request_path::decode(&request.path)?;
    if preview.map.settings().views.registry
        && let Some(answer) = registry::find(preview, &path, &request.query)
    {
        return answer;
    }
    let has_list = path.is_empty() && preview.map.settings().views.catalogue;
    let path = site_path(if has_list { catalogue::LIST_PAGE } else { &path })?;
    let kind = preview.map.kind_of(&path).ok_or(Refusal::NotFound)?;
    preview.open(&path, kind)
}

/// The path of an object. `/` and paths that end with a slash are directories of web servers, and not objects.
fn site_path(path: &str) -> Result<SitePath, Refusal> {
    SitePath::new(path).map_err(|error| match error {
        PathError::Dots { segment, .. } if segment.is_empty() => Refusal::NotFound,
        error => error.into(),
    })
}

fn send(request: &PreviewRequest, found: Representation) -> Response {
    let mut headers = vec![
        ("Content-Type", found.kind.content_type().into_owned()),
        ("Cache-Control", found.kind.cache_control()),
        ("ETag", found.etag.clone()),
        ("Accept-Ranges", "bytes".into()),
        ("X-Content-Type-Options", "nosniff".into()),
    ];
    headers.extend(found.kind.headers().iter().map(|(name, value)| (*name, value.to_string())));
    headers.extend(found.modified.map(|time| ("Last-Modified", httpdate::fmt_http_date(time))));
    headers.extend(found.headers);
    let (file, size) = (found.file, found.length);
    if is_not_modified(request, &found.etag, found.modified) {
        return Response { status: 304, headers, body: Body::File { file, offset: 0, length: size } };
    }
    match wanted_range(request, &found.etag, found.modified, size) {
        Ranges::Whole => Response { status: 200, headers, body: Body::File { file, offset: 0, length: size } },
        Ranges::Parts(parts) => match parts[..] {
            [part] => {
                headers.push(("Content-Range", part.content_range(size)));
                Response { status: 206, headers, body: Body::File { file, offset: part.start, length: part.length() } }
            }
            _ => {
                let parts = Multipart::new(&found.kind.content_type(), parts, size);
                for (_, value) in headers.iter_mut().filter(|(name, _)| *name == "Content-Type") {
                    value.clone_from(&parts.content_type);
                }
                Response { status: 206, headers, body: Body::Parts { file, parts } }
            }
        },
        Ranges::Unsatisfiable => {
            let mut response =
                error(416, "RANGE_INVALID", &format!("the range is outside of the {size} bytes there are"));
            response.headers.push(("Content-Range", format!("bytes */{size}")));
            response
        }
    }
}

/// `If-None-Match` takes precedence (RFC 9110, section 13.2.2).
fn is_not_modified(request: &PreviewRequest, etag: &str, modified: Option<SystemTime>) -> bool {
    if let Some(tags) = &request.if_none_match {
        return tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag);
    }
    let since = request.if_modified_since.as_deref().and_then(|since| httpdate::parse_http_date(since).ok());
    // HTTP dates have whole seconds.
    let whole = |time: SystemTime| httpdate::HttpDate::from(time);
    matches!((since, modified), (Some(since), Some(modified)) if whole(modified) <= whole(since))
}

fn wanted_range(request: &PreviewRequest, etag: &str, modified: Option<SystemTime>, size: u64) -> Ranges {
    let Some(value) = request.range.as_deref().filter(|_| request.method == "GET") else { return Ranges::Whole };
    let is_current = request.if_range.as_deref().is_none_or(|condition| {
        condition == etag || modified.is_some_and(|modified| httpdate::fmt_http_date(modified) == condition)
    });
    if is_current { range::parse(value, size) } else { Ranges::Whole }
}

/// An error in the form of the distribution-spec, which container clients show to people. Much of a request in a message is cut:
/// escaped, it would take several times its memory for each client that does not read.
pub fn error(status: u16, code: &str, message: &str) -> Response {
    let body = json!({"errors": [{"code": code, "message": terminal::cut(message, MAX_MESSAGE)}]});
    let headers = vec![
        ("Content-Type", "application/json; charset=utf-8".into()),
        ("Cache-Control", "no-store".into()),
        ("X-Content-Type-Options", "nosniff".into()),
    ];
    Response { status, headers, body: Body::Bytes(json::canonical(&body)) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::root::Root;
    use crate::serve::computed::Computations;
    use crate::serve::preview::SharedMap;
    use crate::site::{Preset, Settings, SiteMap, settings::Views};
    use oci_discovery::template::Template;

    fn ask(root: &Path, request: &PreviewRequest) -> Response {
        let settings = Settings {
            hosts: vec!["example.com".into()],
            index_template: Template::parse(Preset::Cas.index_template()).unwrap(),
            cas_template: Template::parse(Preset::Cas.cas_template()).unwrap(),
            origins: vec![],
            views: Views::default(),
        };
        let map = SharedMap::new(SiteMap::new(settings).unwrap());
        let (root, computations) = (Root::open(root).unwrap(), Computations::default());
        respond(&Preview { root: &root, map: &map, computations: &computations, client: None }, request)
    }

    fn to(path: &str) -> PreviewRequest {
        PreviewRequest { method: "GET".into(), path: path.into(), ..PreviewRequest::default() }
    }

    fn get(root: &Path, path: &str) -> Response {
        ask(root, &to(path))
    }

    fn header<'a>(response: &'a Response, name: &str) -> &'a str {
        response.headers.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// The site of one image, `example.com/app`, whose index has ten bytes and was written on a day of 1994.
    fn site() -> tempfile::TempDir {
        let site = tempfile::tempdir().unwrap();
        std::fs::create_dir(site.path().join("oci-index")).unwrap();
        std::fs::write(site.path().join("oci-index/app"), "0123456789").unwrap();
        set_modified(site.path(), httpdate::parse_http_date(WRITTEN).unwrap());
        site
    }

    const APP: &str = "/oci-index/app";
    const WRITTEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const A_SECOND_BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn set_modified(site: &Path, time: SystemTime) {
        File::options().write(true).open(site.join("oci-index/app")).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn a_document_that_the_client_has_is_not_sent_again() {
        let site = site();
        let found = get(site.path(), APP);
        let etag = header(&found, "ETag").to_string();
        let weak_in_a_list = format!("\"other\", W/{etag}");
        for (if_none_match, if_modified_since, status) in [
            (Some(etag.as_str()), None, 304),
            (Some(&weak_in_a_list), None, 304),
            (Some("*"), None, 304),
            (Some("\"other\""), None, 200),
            (None, Some(WRITTEN), 304),
            (None, Some(A_SECOND_BEFORE), 200),
            (None, Some("yesterday"), 200),
            // The tag decides alone.
            (Some("\"other\""), Some(WRITTEN), 200),
            (Some(&etag), Some(A_SECOND_BEFORE), 304),
        ] {
            let (if_none_match, if_modified_since) = (if_none_match.map(Into::into), if_modified_since.map(Into::into));
            let response = ask(site.path(), &PreviewRequest { if_none_match, if_modified_since, ..to(APP) });
            assert_eq!(response.status, status, "{response:?}");
            assert_eq!(sends_body("GET", response.status), status == 200);
            assert_eq!((header(&response, "ETag"), response.body.length()), (etag.as_str(), 10));
        }
    }

    #[test]
    fn a_range_is_sent_if_the_document_is_still_the_same() {
        let site = site();
        let etag = header(&get(site.path(), APP), "ETag").to_string();
        let weak = format!("W/{etag}");
        for (if_range, status) in [
            (None, 206),
            (Some(etag.as_str()), 206),
            (Some(WRITTEN), 206),
            (Some(&weak), 200),
            (Some("\"other\""), 200),
            (Some(A_SECOND_BEFORE), 200),
        ] {
            let range = Some("bytes=2-4".into());
            let response = ask(site.path(), &PreviewRequest { range, if_range: if_range.map(Into::into), ..to(APP) });
            assert_eq!(response.status, status, "{if_range:?}");
            let expected = if status == 206 { ("bytes 2-4/10", 3) } else { ("", 10) };
            assert_eq!((header(&response, "Content-Range"), response.body.length()), expected, "{if_range:?}");
        }
    }

    #[test]
    fn a_range_behind_the_end_is_refused_with_the_size() {
        let site = site();
        let response = ask(site.path(), &PreviewRequest { range: Some("bytes=10-".into()), ..to(APP) });
        assert_eq!((response.status, header(&response, "Content-Range")), (416, "bytes */10"));
    }

    #[test]
    fn a_range_is_for_get_alone() {
        let site = site();
        let response =
            ask(site.path(), &PreviewRequest { method: "HEAD".into(), range: Some("bytes=2-4".into()), ..to(APP) });
        assert_eq!((response.status, response.body.length()), (200, 10));
        assert!(!sends_body("HEAD", response.status));
    }

    #[test]
    fn every_write_gives_another_etag() {
        let site = site();
        let first = header(&get(site.path(), APP), "ETag").to_string();
        set_modified(site.path(), httpdate::parse_http_date(A_SECOND_BEFORE).unwrap());
        assert_ne!(header(&get(site.path(), APP), "ETag"), first);
    }

    #[test]
    fn a_file_of_a_time_for_which_http_has_no_date_is_served_without() {
        use std::time::Duration;
        let site = site();
        for time in [SystemTime::UNIX_EPOCH - Duration::from_secs(5), SystemTime::UNIX_EPOCH] {
            set_modified(site.path(), time);
            let response = ask(site.path(), &PreviewRequest { if_modified_since: Some(WRITTEN.into()), ..to(APP) });
            let date = if time < SystemTime::UNIX_EPOCH { (200, "") } else { (304, "Thu, 01 Jan 1970 00:00:00 GMT") };
            assert_eq!((response.status, header(&response, "Last-Modified")), date);
        }
    }

    #[test]
    fn methods_that_would_change_something_are_refused() {
        let site = site();
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get"] {
            let response = ask(site.path(), &PreviewRequest { method: method.into(), ..to(APP) });
            assert_eq!((response.status, header(&response, "Allow")), (405, "GET, HEAD"), "{method}");
        }
    }

    #[test]
    fn an_error_says_what_is_wrong_in_json() {
        let site = site();
        for (path, status, message) in [
            ("/nothing", 404, "nothing exists at this path"),
            ("/oci-index/%zz", 400, "percent sign at byte 11"),
            ("oci-index/app", 400, "does not begin with a slash"),
            ("/oci-index/%2e%2e/x", 400, "lead outside of the site"),
        ] {
            let response = get(site.path(), path);
            assert_eq!(response.status, status, "{path}");
            assert_eq!(header(&response, "Content-Type"), "application/json; charset=utf-8");
            let Body::Bytes(bytes) = response.body else { panic!("{path}: an error is small") };
            let document = json::parse(&bytes).unwrap();
            let found = document["errors"][0]["message"].as_str().unwrap();
            assert!(found.contains(message), "{path}: {found}");
            assert!(document["errors"][0]["code"].is_string());
        }
    }

    #[test]
    fn what_is_no_regular_file_is_not_there() {
        let site = site();
        let index = site.path().join("oci-index");
        let _socket = std::os::unix::net::UnixListener::bind(index.join("socket")).unwrap();
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, index.join("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        std::fs::create_dir(index.join("directory")).unwrap();
        for path in ["/oci-index/socket", "/oci-index/fifo", "/oci-index/directory", "/oci-index/directory/"] {
            assert_eq!(get(site.path(), path).status, 404, "{path}");
        }
    }

    #[test]
    fn nothing_outside_of_the_site_is_reachable() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("site");
        std::fs::create_dir_all(root.join("oci-index")).unwrap();
        std::fs::create_dir_all(root.join(".ocisite")).unwrap();
        std::fs::write(directory.path().join("secret"), "secret").unwrap();
        std::fs::write(root.join(".ocisite/lock"), "").unwrap();
        std::fs::write(root.join("other"), "not of the site").unwrap();
        std::fs::write(root.join("oci-index/app"), "{}").unwrap();
        std::os::unix::fs::symlink(directory.path().join("secret"), root.join("oci-index/out")).unwrap();
        std::os::unix::fs::symlink("../.ocisite/lock", root.join("oci-index/private")).unwrap();
        std::os::unix::fs::symlink("app", root.join("oci-index/in")).unwrap();
        std::os::unix::fs::symlink("../oci-index", root.join("oci-index/linked")).unwrap();
        assert_eq!(get(&root, "/oci-index/app").status, 200);
        for path in [
            "/oci-index/in",
            "/oci-index/linked/app",
            "/oci-index/../../secret",
            "/oci-index/%2e%2e/%2e%2e/secret",
            "/oci-index/..%2f..%2fsecret",
            "/oci-index/%252e%252e/secret",
            "/../secret",
            "//secret",
            "/oci-index/out",
            "/oci-index/private",
            "/.ocisite/lock",
            "/oci-index/%2e%2e/.ocisite/lock",
            "/other",
            "/oci-index/",
            "/oci-index",
            "/",
            "/oci-index/a%00b",
            "/oci-index/a%5c..%5cb",
        ] {
            let status = get(&root, path).status;
            assert!(matches!(status, 400 | 404), "{path}: {status}");
        }
    }
}
