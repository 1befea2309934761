//! Checks that need a live server: its responses for a document, a blob, missing objects and private objects. One
//! object of each kind is tried, because servers treat objects of a kind alike.

use url::Url;

use super::discovery::Discovery;
use super::finding::{Collected, Finding};
use super::index::IndexCheck;
use super::registry::check_ping;
use super::rule::{self, Rule};
use super::server::{Server, fault};
use super::source::Source;
use super::templates;
use crate::client::http::{Headers, HttpError, HttpRequest, Response};
use crate::site::object::{BLOB_MAX_AGE, DOCUMENT_MAX_AGE};
use crate::site::path::PRIVATE_DIRECTORY;
use crate::site::registry;
use oci_discovery::digest::{Algorithm, Digest};
use oci_discovery::json::{MAX_INDEX_BYTES, MAX_MANIFEST_BYTES};
use oci_discovery::name::ImageName;
use oci_discovery::oci::media_type;
use oci_discovery::template::name_variables;

/// The longest acceptable `max-age` of a document, in seconds: ten times that of a site by ocisite.
const LONGEST_DOCUMENT_AGE: u64 = 10 * DOCUMENT_MAX_AGE as u64;
/// The shortest acceptable `max-age` of a blob, in seconds. With less, clients fetch blobs again needlessly.
const SHORTEST_BLOB_AGE: u64 = 24 * 60 * 60;
/// The images that are tried to find an index and a first blob.
const TRIED_IMAGES: usize = 10;

/// Probes a server. Findings of one rule become one finding with all their objects.
pub fn try_server(server: &Server, discovery: &Discovery, has_registry: bool, images: &[ImageName]) -> Collected {
    let mut probe = Probe { server, findings: Collected::default() };
    if let Some(image) = images.first() {
        let subject =
            Subject::document("the ref-engines object", server.ref_engines_url(image), media_type::REF_ENGINES);
        probe.object(&subject);
    }
    let sample = images.iter().take(TRIED_IMAGES).find_map(|image| Sample::find(server, discovery, image));
    if let Some(sample) = sample {
        probe.object(&Subject::document("an index", sample.index, media_type::INDEX));
        if let Some((url, size)) = sample.blob {
            let subject = Subject { label: "a blob", url, accept: "*/*", is_blob: true };
            probe.object(&subject);
            probe.ranges(&subject, size);
        }
        probe.absent("a missing index", sample.no_index);
        probe.absent("a missing blob", sample.no_blob);
    }
    if has_registry {
        probe.registry(discovery, images);
    }
    probe.private();
    probe.findings
}

/// One object of each kind, and one missing object of each kind.
struct Sample {
    index: Url,
    /// The digest of an existing manifest.
    manifest: Option<Digest>,
    blob: Option<(Url, u64)>,
    no_index: Option<Url>,
    no_blob: Option<Url>,
}

impl Sample {
    fn find(server: &Server, discovery: &Discovery, image: &ImageName) -> Option<Sample> {
        let base = discovery.base(server, image);
        let url = |template, image: &ImageName| templates::expand(template, &base, &name_variables(image)).ok();
        let nobody = ImageName::new(image.host(), "no-such-image-of-ocisite-verify", None).ok();
        let no_blob = Digest::of(Algorithm::Sha256, b"a blob that no site has, for ocisite verify");
        discovery.index.iter().find_map(|template| {
            let document = server.document(&url(template, image)?, media_type::INDEX, MAX_INDEX_BYTES).ok()?;
            let engines = discovery.cas_engines(server, image);
            let index = IndexCheck { source: server, url: &document.url, object: "", image, engines };
            let mut sample = Sample {
                index: url(template, image)?,
                manifest: None,
                blob: None,
                no_index: nobody.as_ref().and_then(|nobody| url(template, nobody)),
                no_blob: None,
            };
            index.read(&document.bytes, &mut Collected::default(), &mut |entry| {
                if sample.blob.is_some() {
                    return;
                }
                let urls = templates::urls(&entry.engines, &entry.descriptor.digest);
                let stored = urls.into_iter().find(|url| server.size(url).is_ok());
                sample.blob = stored.map(|url| (url, entry.descriptor.size));
                sample.manifest = sample.blob.as_ref().map(|_| entry.descriptor.digest.clone());
                sample.no_blob = templates::urls(&entry.engines, &no_blob).into_iter().next();
            });
            Some(sample)
        })
    }
}

/// An object to probe.
struct Subject {
    label: &'static str,
    url: Url,
    accept: &'static str,
    is_blob: bool,
}

impl Subject {
    fn document(label: &'static str, url: Url, accept: &'static str) -> Subject {
        Subject { label, url, accept, is_blob: false }
    }
}

struct Probe<'a> {
    server: &'a Server,
    findings: Collected,
}

impl Probe<'_> {
    fn push(&mut self, rule: &'static Rule, label: &str, expected: impl Into<String>, found: impl Into<String>) {
        match self.findings.find_mut(rule) {
            Some(finding) => finding.object = format!("{}, {label}", finding.object),
            None => self.findings.push(Finding::new(rule, label, expected, found)),
        }
    }

    fn send(&self, request: &HttpRequest<'_>) -> Result<Response, HttpError> {
        self.server.http.send(request)
    }

    /// Verifies how an object is served. The walk reports objects that cannot be read.
    fn object(&mut self, subject: &Subject) {
        let Ok(response) = self.send(&HttpRequest::get(&subject.url).with("accept", subject.accept)) else { return };
        if response.status != 200 {
            return;
        }
        if response.url != subject.url {
            self.push(&rule::REDIRECT, subject.label, "no redirect", format!("a redirect to {}", response.url));
        }
        let headers = response.headers.clone();
        let Ok(bytes) = response.bytes(MAX_INDEX_BYTES) else { return };
        if headers.get("x-content-type-options").is_none_or(|value| !value.eq_ignore_ascii_case("nosniff")) {
            let found = headers.get("x-content-type-options").unwrap_or("none");
            self.push(&rule::NOSNIFF, subject.label, "X-Content-Type-Options: nosniff", found);
        }
        self.cache_policy(subject, &headers);
        self.head(subject, &headers, bytes.len());
        self.validators(subject, &headers);
    }

    fn cache_policy(&mut self, subject: &Subject, headers: &Headers) {
        let policy = headers.get("cache-control").unwrap_or_default().to_ascii_lowercase();
        let found = if policy.is_empty() { "no Cache-Control" } else { &policy };
        let age = max_age(&policy);
        if subject.is_blob {
            if !policy.contains("immutable") || age.is_none_or(|age| age < SHORTEST_BLOB_AGE) {
                let expected = format!("public, max-age={BLOB_MAX_AGE}, immutable");
                self.push(&rule::CACHE_BLOB, subject.label, expected, found);
            }
            return;
        }
        let is_asked_each_time = policy.contains("no-cache") || policy.contains("no-store");
        if !is_asked_each_time && age.is_none_or(|age| age > LONGEST_DOCUMENT_AGE) {
            let expected = format!("public, max-age={DOCUMENT_MAX_AGE}");
            self.push(&rule::CACHE_DOCUMENT, subject.label, expected, found);
        }
    }

    fn head(&mut self, subject: &Subject, get: &Headers, length: usize) {
        let response = match self.send(&HttpRequest::head(&subject.url).with("accept", subject.accept)) {
            Ok(response) => response,
            Err(error) => {
                return self.push(&rule::HEAD_DIFFERS, subject.label, "status 200", fault(error).to_string());
            }
        };
        if response.status != 200 {
            let found = format!("status {}", response.status);
            return self.push(&rule::HEAD_DIFFERS, subject.label, "status 200", found);
        }
        let length = length.to_string();
        for (name, expected) in [
            ("content-length", Some(length.as_str())),
            ("content-type", get.get("content-type")),
            ("etag", get.get("etag")),
        ] {
            let found = response.headers.get(name);
            // A server may omit a length that it does not know yet (RFC 9110, section 8.6).
            if found != expected && (name != "content-length" || found.is_some()) {
                let say = |value: Option<&str>| value.map_or(format!("no {name}"), |value| format!("{name}: {value}"));
                return self.push(&rule::HEAD_DIFFERS, subject.label, say(expected), say(found));
            }
        }
    }

    fn validators(&mut self, subject: &Subject, headers: &Headers) {
        let (name, value) = match (headers.get("etag"), headers.get("last-modified")) {
            (Some(tag), _) => ("if-none-match", tag),
            (None, Some(date)) => ("if-modified-since", date),
            (None, None) => {
                return self.push(&rule::VALIDATOR, subject.label, "an ETag or a Last-Modified", "neither");
            }
        };
        let request = HttpRequest::get(&subject.url).with("accept", subject.accept).with(name, value);
        match self.send(&request) {
            Ok(response) if response.status == 304 => {}
            Ok(response) => {
                let found = format!("status {}", response.status);
                self.push(&rule::NOT_MODIFIED, subject.label, "status 304", found);
            }
            // The object was readable before, so a failing connection is no finding of this rule.
            Err(_) => {}
        }
    }

    fn ranges(&mut self, subject: &Subject, size: u64) {
        if size == 0 || size > MAX_MANIFEST_BYTES {
            return;
        }
        let expected = format!("status 206 with bytes 0-0/{size}");
        let Ok(response) = self.send(&HttpRequest::get(&subject.url).with("range", "bytes=0-0")) else { return };
        let range = response.headers.get("content-range").map(str::to_string);
        let status = response.status;
        if status != 206 || range.as_deref() != Some(&format!("bytes 0-0/{size}")) {
            let found = format!("status {status} with {}", range.as_deref().unwrap_or("no Content-Range"));
            return self.push(&rule::RANGES, subject.label, expected, found);
        }
        if let Ok(bytes) = response.bytes(MAX_MANIFEST_BYTES)
            && bytes.len() != 1
        {
            self.push(&rule::RANGES, subject.label, "one byte", format!("{} bytes", bytes.len()));
        }
    }

    fn absent(&mut self, label: &str, url: Option<Url>) {
        let Some(url) = url else { return };
        match self.send(&HttpRequest::get(&url)) {
            Ok(response) if matches!(response.status, 404 | 410) => {}
            Ok(response) => {
                self.push(&rule::NOT_FOUND, label, "status 404", format!("status {}", response.status));
            }
            Err(error @ (HttpError::Redirect { .. } | HttpError::RedirectLoop { .. })) => {
                self.push(&rule::NOT_FOUND, label, "status 404", fault(error).to_string());
            }
            Err(_) => {}
        }
    }

    /// Verifies how the registry view is served, for the first image with a readable manifest.
    fn registry(&mut self, discovery: &Discovery, images: &[ImageName]) {
        self.findings.extend(images.first().and_then(|image| check_ping(self.server, image)));
        let named = images.iter().filter(|image| registry::is_name(image.path())).take(TRIED_IMAGES);
        let manifest = |image: &ImageName| Sample::find(self.server, discovery, image)?.manifest;
        let Some((name, digest)) = named.filter_map(|image| Some((image.path(), manifest(image)?))).next() else {
            return;
        };
        let absent = registry::manifest_path(name, "no-such-tag-of-ocisite-verify");
        self.absent("a missing tag", absent.ok().map(|path| self.server.url(path.as_str())));
        let Ok(path) = registry::manifest_path(name, digest.as_str()) else { return };
        let Ok(response) = self.send(&HttpRequest::get(&self.server.url(path.as_str())).with("accept", "*/*")) else {
            return;
        };
        let found = response.headers.get("docker-content-digest");
        if response.status == 200 && found != Some(digest.as_str()) {
            let found = found.map_or("none".into(), |found| format!("Docker-Content-Digest: {found}"));
            let expected = format!("Docker-Content-Digest: {digest}");
            self.push(&rule::REGISTRY_DIGEST_HEADER, path.as_str(), expected, found);
        }
    }

    fn private(&mut self) {
        for name in ["lock", ""] {
            let path = format!("{PRIVATE_DIRECTORY}/{name}");
            if let Ok(response) = self.send(&HttpRequest::get(&self.server.url(&path)))
                && response.status == 200
            {
                return self.push(&rule::PRIVATE_SERVED, &path, "status 404", "status 200");
            }
        }
    }
}

fn max_age(policy: &str) -> Option<u64> {
    policy.split(',').filter_map(|part| part.trim().strip_prefix("max-age=")?.trim_matches('"').parse().ok()).next()
}
