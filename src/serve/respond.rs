//! From a request to a response, as plain data: everything about HTTP that does not need a socket.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use percent_encoding::percent_decode_str;
use serde_json::json;

use super::range::{self, Range};
use super::{local, registry};
use crate::digest::{Algorithm, Digest};
use crate::json::{self, MAX_INDEX_BYTES};
use crate::site::path::PathError;
use crate::site::{Kind, SiteMap, SitePath, catalogue};

/// A request, as far as it matters here.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `HEAD`, …
    pub method: String,
    /// The path as it was sent, encoded, without the query.
    pub path: String,
    /// The query, without its question mark.
    pub query: String,
    /// `Range`.
    pub range: Option<String>,
    /// `If-Range`.
    pub if_range: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<String>,
}

/// A response.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, without `Content-Length`, which the body gives.
    pub headers: Vec<(&'static str, String)>,
    /// The body. For `HEAD` it is what `GET` would send.
    pub body: Body,
}

/// The bytes of a response.
#[derive(Debug)]
pub enum Body {
    /// In memory: small documents.
    Bytes(Vec<u8>),
    /// A part of a file, streamed.
    File {
        /// The open file.
        file: File,
        /// Where the part begins.
        offset: u64,
        /// How many bytes it has.
        length: u64,
    },
}

impl Body {
    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File { length, .. } => *length,
        }
    }
}

/// What can be sent: bytes, and what identifies them.
#[derive(Debug)]
pub struct Representation {
    /// How it is served.
    pub kind: Kind,
    /// Its bytes.
    pub body: Body,
    /// The strong entity tag, quotes included.
    pub etag: String,
    /// When it was written.
    pub modified: Option<SystemTime>,
    /// Headers beside those that its kind gives.
    pub headers: Vec<(&'static str, String)>,
}

/// The site as a server sees it.
#[derive(Debug)]
pub struct Preview<'a> {
    /// The site's directory, without symbolic links.
    pub root: &'a Path,
    /// What lives where.
    pub map: &'a SiteMap,
}

/// Why there is nothing to send.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The path is no path.
    #[error("the path is malformed: {0}")]
    Malformed(#[from] PathError),
    /// Nothing lives there.
    #[error("nothing is at this path")]
    NotFound,
    /// The registry view's own word for it.
    #[error("{message}")]
    Registry {
        /// The HTTP status.
        status: u16,
        /// The code of the distribution-spec.
        code: &'static str,
        /// For people.
        message: String,
    },
    /// The file is there and cannot be read.
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
}

/// Answers a request.
pub fn respond(preview: &Preview, request: &Request) -> Response {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        let mut response =
            error(405, "UNSUPPORTED", &format!("{} is not supported: this site is static", request.method));
        response.headers.push(("Allow", "GET, HEAD".into()));
        return response;
    }
    match find(preview, request) {
        Ok(found) => send(request, found),
        Err(Refusal::Registry { status, code, message }) => error(status, code, &message),
        Err(refusal @ Refusal::Malformed(_)) => error(400, "PATH_INVALID", &refusal.to_string()),
        Err(refusal @ Refusal::NotFound) => error(404, "NOT_FOUND", &refusal.to_string()),
        Err(refusal @ Refusal::Read(_)) => error(500, "UNREADABLE", &refusal.to_string()),
    }
}

fn find(preview: &Preview, request: &Request) -> Result<Representation, Refusal> {
    let path = decode(&request.path)?;
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

/// The path of an object. `/` and whatever ends with a slash is a directory to web servers, and no object.
fn site_path(path: &str) -> Result<SitePath, Refusal> {
    SitePath::new(path).map_err(|error| match error {
        PathError::Dots { segment, .. } if segment.is_empty() => Refusal::NotFound,
        error => error.into(),
    })
}

/// Decodes a request's path once, as a whole: what web servers do, so that `%2F` is a separator.
fn decode(path: &str) -> Result<String, PathError> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let decoded = percent_decode_str(path).decode_utf8().map_err(|_| PathError::Encoding { path: path.into() })?;
    Ok(decoded.into_owned())
}

impl Preview<'_> {
    /// Opens an object of the site.
    pub fn open(&self, path: &SitePath, kind: Kind) -> Result<Representation, Refusal> {
        let (file, size, modified) = self.open_file(path)?;
        let etag = match self.map.digest_at(path) {
            Some(digest) => format!("\"{digest}\""),
            None => format!("\"{size:x}-{:x}\"", nanoseconds(modified)),
        };
        let whole = Body::File { file, offset: 0, length: size };
        let found = Representation { kind, body: whole, etag, modified, headers: vec![] };
        match found.kind {
            Kind::RefEngines | Kind::Index => self.localise(found),
            _ => Ok(found),
        }
    }

    fn localise(&self, found: Representation) -> Result<Representation, Refusal> {
        let Body::File { mut file, length, .. } = found.body else { return Ok(found) };
        let bytes = json::read_bounded(&mut file, MAX_INDEX_BYTES)
            .map_err(|error| Refusal::Read(io::Error::other(error.to_string())))?;
        match local::rewrite(&found.kind, &bytes, self.map.settings()) {
            Some(bytes) => Ok(Representation { etag: content_etag(&bytes), body: Body::Bytes(bytes), ..found }),
            None => Ok(Representation { body: Body::File { file, offset: 0, length }, ..found }),
        }
    }

    /// Opens a regular file inside the root. Symbolic links may lead to other places of the site, and no further.
    fn open_file(&self, path: &SitePath) -> Result<(File, u64, Option<SystemTime>), Refusal> {
        let real = self.root.join(path.as_str()).canonicalize().map_err(refusal)?;
        let private: PathBuf = self.root.join(crate::site::path::PRIVATE_DIRECTORY);
        if !real.starts_with(self.root) || real.starts_with(private) {
            return Err(Refusal::NotFound);
        }
        // Without waiting: opening a FIFO would hold this thread until somebody writes to it.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = File::options().read(true).custom_flags(nonblocking).open(&real).map_err(refusal)?;
        let metadata = file.metadata().map_err(refusal)?;
        if !metadata.is_file() {
            return Err(Refusal::NotFound);
        }
        Ok((file, metadata.len(), metadata.modified().ok()))
    }
}

/// A strong entity tag for bytes in memory.
pub fn content_etag(bytes: &[u8]) -> String {
    format!("\"{}\"", Digest::of(Algorithm::Sha256, bytes))
}

fn refusal(error: io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => Refusal::NotFound,
        _ => Refusal::Read(error),
    }
}

fn nanoseconds(time: Option<SystemTime>) -> u128 {
    time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).map_or(0, |since| since.as_nanos())
}

fn send(request: &Request, found: Representation) -> Response {
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
    if is_not_modified(request, &found.etag, found.modified) {
        return Response { status: 304, headers, body: Body::Bytes(vec![]) };
    }
    let size = found.body.length();
    match wanted_range(request, &found.etag, found.modified, size) {
        Range::Whole => Response { status: 200, headers, body: found.body },
        Range::Part { start, end } => {
            headers.push(("Content-Range", format!("bytes {start}-{end}/{size}")));
            Response { status: 206, headers, body: cut(found.body, start, end) }
        }
        Range::Unsatisfiable => {
            let mut response =
                error(416, "RANGE_INVALID", &format!("the range is outside of the {size} bytes there are"));
            response.headers.push(("Content-Range", format!("bytes */{size}")));
            response
        }
    }
}

fn cut(body: Body, start: u64, end: u64) -> Body {
    match body {
        Body::Bytes(bytes) => {
            Body::Bytes(bytes.into_iter().skip(start as usize).take((end - start + 1) as usize).collect())
        }
        Body::File { file, offset, .. } => Body::File { file, offset: offset + start, length: end - start + 1 },
    }
}

/// `If-None-Match` decides alone where it is there (RFC 9110, section 13.2.2).
fn is_not_modified(request: &Request, etag: &str, modified: Option<SystemTime>) -> bool {
    if let Some(tags) = &request.if_none_match {
        return tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag);
    }
    let since = request.if_modified_since.as_deref().and_then(|since| httpdate::parse_http_date(since).ok());
    // HTTP dates have whole seconds.
    let whole = |time: SystemTime| httpdate::HttpDate::from(time);
    matches!((since, modified), (Some(since), Some(modified)) if whole(modified) <= whole(since))
}

fn wanted_range(request: &Request, etag: &str, modified: Option<SystemTime>, size: u64) -> Range {
    let Some(value) = request.range.as_deref().filter(|_| request.method == "GET") else { return Range::Whole };
    let is_current = request.if_range.as_deref().is_none_or(|condition| {
        condition == etag || modified.is_some_and(|modified| httpdate::fmt_http_date(modified) == condition)
    });
    if is_current { range::parse(value, size) } else { Range::Whole }
}

/// An error in the form of the distribution-spec, which container clients show to people.
fn error(status: u16, code: &str, message: &str) -> Response {
    let body = json!({"errors": [{"code": code, "message": message}]});
    let headers = vec![
        ("Content-Type", "application/json; charset=utf-8".into()),
        ("Cache-Control", "no-store".into()),
        ("X-Content-Type-Options", "nosniff".into()),
    ];
    Response { status, headers, body: Body::Bytes(json::canonical(&body)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::{Preset, Settings, settings::Views};
    use crate::template::Template;

    fn get(root: &Path, path: &str) -> Response {
        let settings = Settings {
            hosts: vec!["example.com".into()],
            index_template: Template::parse(Preset::Cas.index_template()).unwrap(),
            cas_template: Template::parse(Preset::Cas.cas_template()).unwrap(),
            origins: vec![],
            views: Views::default(),
        };
        let map = SiteMap::new(settings).unwrap();
        let request = Request { method: "GET".into(), path: path.into(), ..Request::default() };
        respond(&Preview { root: &root.canonicalize().unwrap(), map: &map }, &request)
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
        assert_eq!(get(&root, "/oci-index/app").status, 200);
        assert_eq!(get(&root, "/oci-index/in").status, 200);
        for path in [
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
