//! Reads a site from a live server, as a consumer does.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};

use url::Url;

use super::source::{DeclaredType, Fault, Source, SourceDocument};
use crate::client::http::{Http, HttpError, HttpRequest, Response, body_error};
use crate::site::description::{Description, DescriptionError};
use crate::site::path::DESCRIPTION;
use crate::store::site::MAX_DESCRIPTION_BYTES;
use oci_discovery::discovery::ContentType;
use oci_discovery::discovery::WELL_KNOWN_PATH;
use oci_discovery::error::chain;
use oci_discovery::name::ImageName;
use oci_discovery::oci::media_type;
use oci_discovery::parallel::lock;
use oci_discovery::seen::{Key, key};

/// After this many consecutive requests without a response, no more requests are sent to a host.
const MOST_SILENT: u32 = 10;
/// After this many requests without a response, no more requests are sent: a template can make a host of each digest.
const MOST_SILENT_IN_ALL: u32 = 100;
/// The sizes of blobs that are kept, in about 20 MiB. For further blobs, each image sends its own request.
const REMEMBERED_SIZES: usize = 256 * 1024;

pub struct Server {
    pub http: Http,
    root: Url,
    /// The other origins in the site's description.
    pub origins: Vec<String>,
    silent: Mutex<Silent>,
    /// The known sizes of blobs. Images share blobs, so each one needs a single request.
    sizes: Mutex<HashMap<Key, Option<u64>>>,
}

#[derive(Default)]
struct Silent {
    /// The consecutive requests without a response, by host.
    by_host: HashMap<Key, u32>,
    /// The number for all hosts. A response does not reset it: a host may send each head and no body.
    in_all: u32,
}

impl Silent {
    /// Why no more requests are sent to a host.
    fn problem(&self, host: &str) -> Option<String> {
        if self.in_all >= MOST_SILENT_IN_ALL {
            return Some(format!(
                "no answer to {MOST_SILENT_IN_ALL} requests to this site and the hosts that it names, so no more \
                 were sent; check these hosts, then verify the site again"
            ));
        }
        let is_silent = self.by_host.get(&key(&[host])).is_some_and(|n| *n >= MOST_SILENT);
        is_silent.then(|| format!("no answer from {host} to {MOST_SILENT} requests, so no more were sent"))
    }

    fn hear(&mut self, host: &str, is_answered: bool) {
        if is_answered {
            self.by_host.remove(&key(&[host]));
            return;
        }
        *self.by_host.entry(key(&[host])).or_default() += 1;
        self.in_all = self.in_all.saturating_add(1);
    }
}

impl Server {
    pub fn new(http: Http, root: Url) -> Server {
        Server { http, root, origins: vec![], silent: Mutex::default(), sizes: Mutex::default() }
    }

    pub fn name(&self) -> String {
        self.root.to_string()
    }

    /// Checks that a server answers. Rules report wrong responses, including those of TLS.
    pub fn answers(&self) -> Result<(), HttpError> {
        match self.http.send(&HttpRequest::head(&self.url(WELL_KNOWN_PATH))) {
            Err(error) if error.is_no_answer() && !error.is_tls() => Err(error),
            _ => Ok(()),
        }
    }

    pub fn url(&self, path: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(path);
        url
    }

    /// The site's description. None: missing.
    pub fn read_description(&self) -> Result<Option<Result<Description, DescriptionError>>, Fault> {
        match self.document(&self.url(DESCRIPTION), media_type::JSON, MAX_DESCRIPTION_BYTES) {
            Ok(document) => Ok(Some(Description::parse(&document.bytes))),
            Err(Fault::Absent) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Sends a request, unless its host has stopped responding: a site may name a million blobs, and a server may let
    /// each request wait.
    fn send(&self, request: &HttpRequest<'_>) -> Result<Response, Fault> {
        let host = request.url.host_str().unwrap_or_default();
        if let Some(problem) = self.silent().problem(host) {
            return Err(Fault::Unreadable(problem));
        }
        let result = self.http.send(request);
        self.hear(host, result.as_ref().err());
        result.map_err(fault)
    }

    /// Counts the responses that a host does not send or complete.
    fn hear(&self, host: &str, error: Option<&HttpError>) {
        self.silent().hear(host, !error.is_some_and(HttpError::is_no_answer));
    }

    fn silent(&self) -> MutexGuard<'_, Silent> {
        lock(&self.silent)
    }

    fn found(&self, request: &HttpRequest<'_>) -> Result<Response, Fault> {
        let response = self.send(request)?;
        match response.status {
            200 => {}
            404 | 410 => return Err(Fault::Absent),
            status => return Err(Fault::Status(status)),
        }
        match response.headers.get("content-encoding").filter(|encoding| *encoding != "identity") {
            Some(encoding) => Err(Fault::Encoding(encoding.into())),
            None => Ok(response),
        }
    }
}

/// The fault for a failed request.
pub fn fault(error: HttpError) -> Fault {
    match error {
        HttpError::TooLarge { limit, .. } => Fault::TooLarge { limit },
        HttpError::Redirect { location, problem, .. } => {
            Fault::Redirect(format!("a redirect to {location:?}, which is not followed: {problem}"))
        }
        HttpError::RedirectLoop { .. } => Fault::Redirect("redirects without end".into()),
        error if error.is_tls() => Fault::Tls(innermost(&error)),
        error => Fault::Unreadable(chain(&error)),
    }
}

/// The message of the TLS library.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

impl Source for Server {
    fn ref_engines_url(&self, _image: &ImageName) -> Url {
        self.url(WELL_KNOWN_PATH)
    }

    fn is_live(&self) -> bool {
        true
    }

    fn is_own(&self, url: &Url, image: &ImageName) -> bool {
        let is_host = url.host_str() == self.root.host_str() || url.host_str() == Some(image.host());
        is_host || self.origins.contains(&url.origin().ascii_serialization())
    }

    fn document(&self, url: &Url, accept: &str, limit: u64) -> Result<SourceDocument, Fault> {
        let response = self.found(&HttpRequest::get(url).with("accept", accept))?;
        let content_type = response.headers.get("content-type");
        let content_type =
            content_type.map_or(DeclaredType::Missing, |value| DeclaredType::Type(ContentType::parse(value)));
        let url = response.url.clone();
        let bytes = response.bytes(limit);
        if let Err(error) = &bytes {
            self.hear(url.host_str().unwrap_or_default(), Some(error));
        }
        let bytes = bytes.map_err(fault)?;
        Ok(SourceDocument { url: Arc::new(url), bytes, content_type })
    }

    fn size(&self, url: &Url) -> Result<Option<u64>, Fault> {
        let key = self.key(url);
        if let Some(size) = lock(&self.sizes).get(&key) {
            return Ok(*size);
        }
        let size = match self.found(&HttpRequest::head(url)) {
            Ok(response) => response.content_length(),
            // Without HEAD, only reading gives the size. A rule of its own requires HEAD.
            Err(Fault::Status(405 | 501)) => None,
            Err(fault) => return Err(fault),
        };
        let mut sizes = lock(&self.sizes);
        if sizes.len() < REMEMBERED_SIZES {
            sizes.insert(key, size);
        }
        Ok(size)
    }

    fn open(&self, url: &Url, size: u64) -> Result<Box<dyn Read + Send>, Fault> {
        let response =
            self.found(&HttpRequest::get(url).with("accept", "*/*").within(self.http.pace().time_for(size)))?;
        Ok(Box::new(response.into_reader()))
    }

    fn read_fault(&self, error: std::io::Error) -> Fault {
        let error = body_error(self.root.clone(), error);
        self.hear(self.root.host_str().unwrap_or_default(), Some(&error));
        fault(error)
    }

    fn object(&self, url: &Url) -> String {
        // A server without TLS may be asked for the https URLs of its documents.
        let authority = |url: &Url| (url.host_str().map(str::to_string), url.port());
        match authority(url) == authority(&self.root) {
            true => url.path().trim_start_matches('/').to_string(),
            false => url.to_string(),
        }
    }

    fn key(&self, url: &Url) -> Key {
        key(&[url.as_str()])
    }

    fn description(&self) -> Option<Box<dyn Read + Send>> {
        let description = self.open(&self.url(DESCRIPTION), MAX_DESCRIPTION_BYTES).ok()?;
        Some(Box::new(description.take(MAX_DESCRIPTION_BYTES)))
    }
}
