//! Checks against what a static host accepts and sends, before an upload (`--host-kind`).
//!
//! Hosts without headers choose media types by the endings of names. No layout of files gives the manifests of the registry view
//! their media types there, because the distribution API fixes their paths.

use super::files::Tree;
use super::finding::{Finding, Findings};
use super::rule;
use crate::server_config::headers;
use crate::server_config::host_files::{self, HostFileError};
use crate::server_config::static_host::{LimitExceeded, StaticHost, Usage};
use crate::site::{SiteMap, SitePath, registry};
use crate::store::StoreError;
use oci_discovery::discovery::WELL_KNOWN_PATH;
use oci_discovery::oci::media_type;

/// The file that makes GitHub Pages serve all files: the site is not for Jekyll, which omits some.
const NO_JEKYLL: &str = ".nojekyll";
/// The ending of names that every host types as JSON.
const JSON: &str = ".json";

/// Verifies that a host serves the objects of a root. `map` tells what they are.
pub fn look_at_host(
    host: StaticHost,
    root: &Tree,
    map: Option<&SiteMap>,
    findings: &Findings,
) -> Result<(), StoreError> {
    let (mut paths, mut usage) = (Vec::new(), Usage::default());
    root.list("", &mut |listed| {
        usage.add(&listed);
        paths.push(listed.path);
    })?;
    findings.extend(host.check_files(&usage).into_iter().map(limit));
    if let Some(map) = map {
        findings.extend(headers_of(host, map, &paths));
        findings.extend(media_types(host, map));
    }
    let shows_all = host != StaticHost::GithubPages || paths.iter().any(|path| path.as_str() == NO_JEKYLL);
    if !shows_all {
        let found = "none, so names that begin with a dot or an underscore are omitted";
        findings.push(Finding::new(&rule::HOST_HIDDEN, NO_JEKYLL, "an empty file", found));
    }
    Ok(())
}

fn limit(exceeded: LimitExceeded) -> Finding {
    let LimitExceeded { host, object, expected, found, .. } = exceeded;
    Finding::new(&rule::HOST_LIMIT, object, format!("{expected} for {host}"), found)
}

/// What is wrong with the list of headers.
fn headers_of(host: StaticHost, map: &SiteMap, paths: &[SitePath]) -> Option<Finding> {
    let list = headers::header_list(map, paths, true).ok()?;
    match host_files::headers_file(host, &list, paths) {
        Ok(_) => None,
        Err(HostFileError::Limit(exceeded)) => Some(limit(exceeded)),
        Err(error) => {
            Some(Finding::new(&rule::HOST_LIMIT, "the list of headers", format!("rules of {host}"), error.to_string()))
        }
    }
}

/// The documents that get another media type than their own.
fn media_types(host: StaticHost, map: &SiteMap) -> Vec<Finding> {
    if !host.types_by_ending() {
        return vec![];
    }
    let sends = format!("application/octet-stream from {host}");
    let mut found = vec![Finding::new(&rule::HOST_MEDIA_TYPE, WELL_KNOWN_PATH, media_type::REF_ENGINES, &sends)];
    let template = map.settings().index_template.as_str();
    if !template.ends_with(JSON) {
        let names = format!("names like {template}, with {sends}");
        found.push(Finding::new(&rule::HOST_MEDIA_TYPE, "the indexes", "names that end in .json", names));
    }
    if map.settings().views.registry && !host.has_headers() {
        let expected = "the media types of manifests";
        found.push(Finding::new(&rule::HOST_REGISTRY, registry::ROOT, expected, &sends));
    }
    found
}
