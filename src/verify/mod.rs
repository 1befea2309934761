//! Verification: walks a site as the strictest consumer would, and reports what is wrong.
//!
//! ```text
//! directory (files) ─┐
//!                    ├─ Source ─ discovery ─ index ─ walk ─ manifest, deep ─┐
//! URL (server) ──────┘                                                      ├─ findings ─ report
//!     tree (modes, links, orphans)          probes (how the server answers) ─┘
//! ```
//!
//! It works on any site that follows the protocols, whatever wrote the site. The table in [`rule`] has all checks.
//!
//! The memory does not depend on the site. A site may list any number of images: each name takes less than a hundred
//! bytes besides its text, and the description's text takes at most 64 MiB
//! ([`crate::store::site::MAX_DESCRIPTION_BYTES`]). Each worker verifies one image at a time, which takes the memory
//! of its index and manifests. Each blob that was reached takes 16 to 40 bytes.

pub mod deep;
pub mod discovery;
pub mod error;
pub mod files;
pub mod finding;
pub mod host;
pub mod index;
pub mod manifest;
pub mod probes;
pub mod registry;
pub mod report;
pub mod request;
pub mod resolved;
pub mod rule;
pub mod server;
pub mod source;
pub mod templates;
pub mod tree;
pub mod walk;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use url::Url;

use crate::catalogue::page::Pages;
use crate::catalogue::plan::{self as catalogue, Catalogue};
use crate::client::http::{self, Http};
use crate::outbound::address::canonical;
use crate::progress::Progress;
use crate::site::path::DESCRIPTION;
use crate::site::{Settings, SiteMap};
use crate::store::site::{Site, SitePlace};
use crate::store::{Location, StoreError};
use oci_discovery::discovery::url::is_web;
use oci_discovery::error::chain;
use oci_discovery::name::ImageName;
use oci_discovery::seen::Seen;

pub use error::VerifyError;
pub use request::{Directory, VerifyOptions};

use deep::Readings;
use discovery::Discovery;
use files::{Files, Tree};
use finding::{Collected, Finding, Findings};
use report::Report;
use resolved::{ResolvedSettings, Stop, unusable_description};
use server::Server;
use source::Source;
use walk::{Counts, Walk};

/// The most images that are checked although the description does not list them. The findings of further images are counted only,
/// because a site decides how many there are.
const MAX_UNLISTED: usize = 1000;

/// Verifies the files of a directory, or the objects of a bucket.
#[allow(clippy::disallowed_methods, reason = "the user names the directory")]
pub fn verify_directory(
    directory: &Directory,
    options: &VerifyOptions,
    progress: &dyn Progress,
) -> Result<Report, VerifyError> {
    if let Location::Directory(path) = &directory.place.root {
        std::fs::read_dir(path).map_err(|source| VerifyError::NoDirectory { path: path.into(), source })?;
    }
    let site = directory.place.root.to_string();
    let findings = Findings::default();
    let mut files = open(directory)?;
    let ResolvedSettings { map, is_described, knows_cas, mut images, hosts } =
        match ResolvedSettings::find(&files, directory, options) {
            Ok(resolved) => resolved,
            Err(Stop::Error(error)) => return Err(error),
            Err(Stop::Finding(finding)) => {
                findings.push(finding);
                return Ok(Report::stopped(site, findings));
            }
        };
    files.hosts = hosts;
    files.origins = map.iter().flat_map(|map| map.settings().origins.clone()).collect();
    let is_whole = options.names.is_empty();
    let mut has_all = is_whole;
    if let Some(map) = map.as_ref().filter(|_| is_described && is_whole) {
        has_all = add_unlisted(&files, map, &mut images, &findings)?;
    }
    if is_whole {
        tree::look_for_unusable_names(&files.own, &findings)?;
    }
    if let Some(root) = &files.own.directory {
        tree::look_at_files(root, map.as_ref().filter(|_| knows_cas), &findings).map_err(StoreError::from)?;
        tree::look_for_leftovers(root, &findings);
    }
    if let Some(kind) = directory.host_kind {
        host::look_at_host(kind, &files.own, map.as_ref(), &findings)?;
    }
    let mut wrong = Collected::default();
    let discovery = Discovery::read(&files, &images, &mut wrong);
    if let (Some(discovery), Some(map), true) = (&discovery, &map, is_described) {
        discovery.compare(map.settings(), &mut wrong);
    }
    findings.merge(wrong);
    let Some(discovery) = discovery else { return Ok(Report::stopped(site, findings)) };
    let has_registry = is_described && map.as_ref().is_some_and(|map| map.settings().views.registry);
    if let Some(image) = images.first().filter(|_| has_registry) {
        findings.extend(registry::check_ping(&files, image));
    }
    let target = Target { source: &files, discovery: &discovery, has_registry, images: &images };
    let walk = walk(target, options, &findings, progress);
    let is_complete = has_all && knows_cas && !walk.is_incomplete.load(Relaxed);
    if let Some(map) = map.filter(|_| is_complete) {
        tree::look_for_unlisted_refs(&files.own, &map, &walk.reached, &findings)?;
        tree::look_for_orphans(&files, &map, &walk.reached, &findings)?;
        if is_described && map.settings().views.catalogue {
            compare_catalogue(directory, &findings);
        }
    }
    let counts = walk.counts;
    Ok(Report::new(site, images, counts, options.deep, findings))
}

/// Compares the catalogue with the indexes. The walk has reported objects that cannot be read.
fn compare_catalogue(directory: &Directory, findings: &Findings) {
    let (Ok(Some(site)), Ok(pages)) = (Site::open_existing(&directory.place), Pages::load(None)) else { return };
    for path in catalogue::differences(Catalogue { site: &site, pages: &pages }).unwrap_or_default() {
        let is_missing = site.own.stat(&path).is_ok_and(|stat| stat.is_none());
        let (expected, found) = ("the content of the indexes", if is_missing { "nothing" } else { "other content" });
        findings.push(Finding::new(&rule::CATALOGUE_DIFFERS, path.to_string(), expected, found));
    }
}

/// Adds the images that have an index and are not listed, as many as are kept, and returns whether these are all.
fn add_unlisted(
    files: &Files,
    map: &SiteMap,
    images: &mut Vec<ImageName>,
    findings: &Findings,
) -> Result<bool, VerifyError> {
    let (mut unlisted, mut has_all) = (BTreeSet::new(), true);
    tree::each_index(&files.own, map, &mut |names, path| {
        let [name, ..] = names else { return };
        let image = name.image();
        let is_known = |image: &ImageName| images.binary_search(image).is_ok() || unlisted.contains(image);
        if names.iter().any(|name| is_known(&name.image())) {
            return;
        }
        let expected = format!("{image} in {DESCRIPTION}");
        findings.push(Finding::new(&rule::INDEX_UNLISTED, path.as_str(), expected, "no such name"));
        match unlisted.len() < MAX_UNLISTED {
            true => drop(unlisted.insert(image)),
            false => has_all = false,
        }
    })?;
    images.extend(unlisted);
    images.sort();
    Ok(has_all)
}

/// Verifies a live server. The client is created twice: when the names are known, `--connect-to` applies to all of
/// their hosts.
pub fn verify_url(
    url: &Url,
    client: &http::ClientOptions,
    options: &VerifyOptions,
    progress: &dyn Progress,
) -> Result<Report, VerifyError> {
    let is_root = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    let Some(host) = url.host_str().filter(|_| is_root && is_web(url)) else {
        return Err(VerifyError::NotARoot { url: url.to_string() });
    };
    let hosts_of = |names: &[ImageName]| -> BTreeSet<String> {
        names.iter().map(|name| canonical(name.host())).chain([host.into()]).collect()
    };
    // The user did not name the hosts that the site lists.
    let reach = client.reach(hosts_of(&options.names).into_iter().map(|host| vec![host]));
    let client_for = |names: &[ImageName]| Http::new(client, hosts_of(names).into_iter().collect(), reach.clone());
    let findings = Findings::default();
    let server = Server::new(client_for(&options.names)?, url.clone());
    server.answers()?;
    let Scope { images, origins, has_registry } = match listed(&server, options)? {
        Ok(listed) => listed,
        Err(finding) => {
            findings.push(finding);
            return Ok(Report::stopped(url.to_string(), findings));
        }
    };
    let mut server = Server::new(client_for(&images)?, url.clone());
    server.origins = origins;
    let mut wrong = Collected::default();
    let discovery = Discovery::read(&server, &images, &mut wrong);
    findings.merge(wrong);
    let Some(discovery) = discovery else { return Ok(Report::stopped(url.to_string(), findings)) };
    let target = Target { source: &server, discovery: &discovery, has_registry, images: &images };
    let counts = walk(target, options, &findings, progress).counts;
    findings.merge(probes::try_server(&server, &discovery, has_registry, &images));
    Ok(Report::new(url.to_string(), images, counts, options.deep, findings))
}

/// What to verify on a server.
struct Scope {
    images: Vec<ImageName>,
    origins: Vec<String>,
    has_registry: bool,
}

impl Scope {
    fn new(images: Vec<ImageName>, settings: Settings) -> Scope {
        Scope { images, has_registry: settings.views.registry, origins: settings.origins }
    }
}

/// What to verify, or the finding that prevents it.
fn listed(server: &Server, options: &VerifyOptions) -> Result<Result<Scope, Finding>, VerifyError> {
    let description = server.read_description();
    if !options.names.is_empty() {
        let images = options.names.clone();
        return Ok(Ok(match description {
            Ok(Some(Ok(description))) => Scope::new(images, description.settings),
            // The description was not asked for, so faults of it are no finding.
            _ => Scope { images, origins: vec![], has_registry: false },
        }));
    }
    Ok(match description {
        Ok(Some(Ok(description))) => Ok(Scope::new(description.images, description.settings)),
        Ok(Some(Err(error))) => Err(unusable_description(&chain(&error))),
        Ok(None) => return Err(VerifyError::NamesNeeded { site: server.name(), host_helps: false }),
        Err(fault) => match fault.finding(DESCRIPTION.into(), "the site's description", &rule::UNREADABLE) {
            Some(finding) => Err(finding),
            None => return Err(VerifyError::NamesNeeded { site: server.name(), host_helps: false }),
        },
    })
}

/// The images to verify, and where they are.
#[derive(Clone, Copy)]
struct Target<'a> {
    source: &'a dyn Source,
    discovery: &'a Discovery,
    has_registry: bool,
    images: &'a [ImageName],
}

/// Verifies the images, and with `--deep` their blobs.
fn walk<'a>(
    target: Target<'a>,
    options: &VerifyOptions,
    findings: &'a Findings,
    progress: &'a dyn Progress,
) -> Walk<'a> {
    let Target { source, discovery, has_registry, images } = target;
    let walk = Walk {
        source,
        discovery,
        is_listed: options.names.is_empty(),
        has_registry,
        findings,
        progress,
        deep: options.deep.then(Readings::default),
        reached: Seen::new(),
        counts: Counts::default(),
        is_incomplete: AtomicBool::new(false),
        held: Mutex::default(),
    };
    walk.run(images, options.jobs);
    if let Some(deep) = &walk.deep {
        deep.read_large(source, options.jobs, progress, findings);
        let again = deep.vanished();
        if !again.is_empty() {
            let again = again.iter().filter_map(|name| ImageName::parse(name).ok());
            walk.run(&again.collect::<Vec<_>>(), options.jobs);
            deep.read_large(source, options.jobs, progress, findings);
        }
    }
    walk
}

fn open(directory: &Directory) -> Result<Files, VerifyError> {
    let mut others = Vec::new();
    let SitePlace { root, stores, options, .. } = &directory.place;
    for (origin, location) in stores {
        others.push((origin.clone(), Tree::at(location, options)?));
    }
    Ok(Files { own: Tree::at(root, options)?, others, hosts: BTreeSet::new(), origins: vec![] })
}
