//! A live server, asked as a consumer asks.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};

use url::Url;

use super::source::{DeclaredType, Document, Fault, Source};
use crate::client::http::{Http, HttpError, Request, Response, body_error};
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

/// A host that leaves so many requests in a row without an answer is not asked any more.
const MOST_SILENT: u32 = 10;
/// After so many requests without an answer nothing is asked any more: a template can make a host of each digest.
const MOST_SILENT_IN_ALL: u32 = 100;
/// So many sizes of blobs are remembered, in about 20 MiB; of more blobs than that, each image asks again.
const REMEMBERED_SIZES: usize = 256 * 1024;

/// A site behind a server.
pub struct Server {
    /// What asks.
    pub http: Http,
    root: Url,
    /// The other origins that the site itself says it has.
    pub origins: Vec<String>,
    silent: Mutex<Silent>,
    /// The sizes that were told. Images share blobs, and each is asked for once.
    sizes: Mutex<HashMap<Key, Option<u64>>>,
}

/// Requests without an answer.
#[derive(Default)]
struct Silent {
    /// How many in a row each host has left without one, by the key of its name.
    by_host: HashMap<Key, u32>,
    /// How many there were, of all hosts. An answer in between changes nothing: a host may send each head, and no body.
    in_all: u32,
}

impl Silent {
    /// Why a host is not asked any more.
    fn problem(&self, host: &str) -> Option<String> {
        if self.in_all >= MOST_SILENT_IN_ALL {
            return Some(format!(
                "no answer: {MOST_SILENT_IN_ALL} requests to this site and the hosts that it names were left without one, and \
                 nothing more is asked; verify it again when they answer"
            ));
        }
        let is_silent = self.by_host.get(&key(&[host])).is_some_and(|n| *n >= MOST_SILENT);
        is_silent.then(|| format!("no answer: {host} has left {MOST_SILENT} requests without one, and is not asked"))
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
    /// The server at a URL.
    pub fn new(http: Http, root: Url) -> Server {
        Server { http, root, origins: vec![], silent: Mutex::default(), sizes: Mutex::default() }
    }

    /// The root of the site.
    pub fn name(&self) -> String {
        self.root.to_string()
    }

    /// Whether anybody answers. That the answer is wrong is for the rules to say; TLS has one, too.
    pub fn answers(&self) -> Result<(), HttpError> {
        match self.http.send(&Request::head(&self.url(WELL_KNOWN_PATH))) {
            Err(error) if error.is_no_answer() && !error.is_tls() => Err(error),
            _ => Ok(()),
        }
    }

    /// A path of the site, as a URL.
    pub fn url(&self, path: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(path);
        url
    }

    /// What the site says of itself, read. None: it says nothing.
    pub fn read_description(&self) -> Result<Option<Result<Description, DescriptionError>>, Fault> {
        match self.document(&self.url(DESCRIPTION), media_type::JSON, MAX_DESCRIPTION_BYTES) {
            Ok(document) => Ok(Some(Description::parse(&document.bytes))),
            Err(Fault::Absent) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Sends a request, unless its host has given up answering: a site may name a million blobs, and a server keep each
    /// request waiting.
    fn send(&self, request: &Request<'_>) -> Result<Response, Fault> {
        let host = request.url.host_str().unwrap_or_default();
        if let Some(problem) = self.silent().problem(host) {
            return Err(Fault::Unreadable(problem));
        }
        let result = self.http.send(request);
        self.hear(host, result.as_ref().err());
        result.map_err(fault)
    }

    /// Counts how often a host leaves a request, or the rest of an answer, out.
    fn hear(&self, host: &str, error: Option<&HttpError>) {
        self.silent().hear(host, !error.is_some_and(HttpError::is_no_answer));
    }

    fn silent(&self) -> MutexGuard<'_, Silent> {
        lock(&self.silent)
    }

    fn found(&self, request: &Request<'_>) -> Result<Response, Fault> {
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

/// What a failed request means.
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

/// What the TLS library itself said.
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

    fn document(&self, url: &Url, accept: &str, limit: u64) -> Result<Document, Fault> {
        let response = self.found(&Request::get(url).with("accept", accept))?;
        let content_type = response.headers.get("content-type");
        let content_type =
            content_type.map_or(DeclaredType::Missing, |value| DeclaredType::Type(ContentType::parse(value)));
        let url = response.url.clone();
        let bytes = response.bytes(limit);
        if let Err(error) = &bytes {
            self.hear(url.host_str().unwrap_or_default(), Some(error));
        }
        let bytes = bytes.map_err(fault)?;
        Ok(Document { url: Arc::new(url), bytes, content_type })
    }

    fn size(&self, url: &Url) -> Result<Option<u64>, Fault> {
        let key = self.key(url);
        if let Some(size) = lock(&self.sizes).get(&key) {
            return Ok(*size);
        }
        let size = match self.found(&Request::head(url)) {
            Ok(response) => response.content_length(),
            // HEAD is not spoken, so only reading tells. That it should be is a rule of its own.
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
        let response = self.found(&Request::get(url).with("accept", "*/*").within(self.http.pace().time_for(size)))?;
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
