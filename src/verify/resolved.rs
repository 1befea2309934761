//! The settings and images of a directory, from its `ocisite.json`, or else from its templates and files.

use std::collections::BTreeSet;

use serde_json::Value;

use super::error::VerifyError;
use super::files::Files;
use super::finding::Finding;
use super::request::{Directory, VerifyOptions};
use super::rule;
use super::tree;
use crate::outbound::address::canonical;
use crate::site::path::DESCRIPTION;
use crate::site::settings::Views;
use crate::site::{Preset, Settings, SiteMap, SitePath};
use crate::store::StoreError;
use crate::store::site::{self, SiteError};
use oci_discovery::discovery::WELL_KNOWN_PATH;
use oci_discovery::discovery::ref_engines::MAX_BYTES;
use oci_discovery::discovery::{CAS_TEMPLATE_PROTOCOL, INDEX_TEMPLATE_PROTOCOL};
use oci_discovery::error::chain;
use oci_discovery::json;
use oci_discovery::name::ImageName;
use oci_discovery::template::Template;

/// The most images of a site that does not list them. A site decides how many indexes a listing has.
const MAX_NAMES: usize = 1 << 21;
/// A longer path counts as more images.
const NAME_BYTES: usize = 128;

/// The settings and images of a directory.
pub struct ResolvedSettings {
    /// The settings. None: they could not be derived.
    pub map: Option<SiteMap>,
    /// Whether the settings come from `ocisite.json`.
    pub is_described: bool,
    /// Whether the CAS template is known, and not only in indexes.
    pub knows_cas: bool,
    /// The images to verify, sorted.
    pub images: Vec<ImageName>,
    pub hosts: BTreeSet<String>,
}

/// Why verification cannot continue.
pub enum Stop {
    Finding(Finding),
    Error(VerifyError),
}

impl ResolvedSettings {
    /// Finds the settings and the images to check.
    pub fn find(files: &Files, directory: &Directory, options: &VerifyOptions) -> Result<ResolvedSettings, Stop> {
        let mut resolved = match site::description(&*files.own.store) {
            Ok(Some(description)) => ResolvedSettings {
                hosts: description.settings.hosts.iter().map(|host| canonical(host)).collect(),
                map: SiteMap::new(description.settings).ok(),
                is_described: true,
                knows_cas: true,
                images: description.images,
            },
            Ok(None) => ResolvedSettings::undescribed(files, directory, options)?,
            Err(SiteError::Store(error)) => return Err(Stop::Error(error.into())),
            Err(SiteError::Description { problem, .. }) => {
                return Err(Stop::Finding(unusable_description(&chain(&problem))));
            }
            Err(error) => return Err(Stop::Finding(unusable_description(&chain(&error)))),
        };
        if !options.names.is_empty() {
            resolved.images = options.names.clone();
            resolved.images.sort();
            resolved.images.dedup();
        }
        resolved.hosts.extend(resolved.images.iter().map(|image| canonical(image.host())));
        Ok(resolved)
    }

    /// For a site without `ocisite.json`: takes the templates from the ref-engines object, and the names from the
    /// files.
    fn undescribed(files: &Files, directory: &Directory, options: &VerifyOptions) -> Result<ResolvedSettings, Stop> {
        let ref_engines = read_ref_engines(files).map_err(|error| Stop::Error(error.into()))?;
        if ref_engines.is_none() && options.names.is_empty() {
            return Err(Stop::Error(VerifyError::NoSite { place: directory.place.root.clone() }));
        }
        let origins = directory.place.stores.iter().map(|(origin, _)| origin.clone()).collect();
        let host = options.names.first().map(|name| name.host()).or(directory.host.as_deref());
        let guess = ref_engines.as_ref().and_then(|object| guess_settings(object, host, origins));
        let Some((map, knows_cas)) = guess else {
            return match options.names.is_empty() {
                false => Ok(ResolvedSettings::nothing()),
                true => Err(names_needed(directory)),
            };
        };
        let hosts = map.settings().hosts.iter().cloned().collect();
        let images = match options.names.is_empty() {
            true => derive_images(files, &map).map_err(Stop::Error)?,
            false => vec![],
        };
        if images.is_empty() && options.names.is_empty() {
            return Err(names_needed(directory));
        }
        Ok(ResolvedSettings { map: Some(map), is_described: false, knows_cas, images, hosts })
    }

    fn nothing() -> ResolvedSettings {
        ResolvedSettings { map: None, is_described: false, knows_cas: false, images: vec![], hosts: BTreeSet::new() }
    }
}

/// The finding for an unusable `ocisite.json`.
pub fn unusable_description(problem: &str) -> Finding {
    Finding::new(&rule::DESCRIPTION_FORM, DESCRIPTION, "a description by ocisite publish", problem)
}

fn names_needed(directory: &Directory) -> Stop {
    let (site, host_helps) = (directory.place.root.to_string(), directory.host.is_none());
    Stop::Error(VerifyError::NamesNeeded { site, host_helps })
}

/// The ref-engines object. Its faults are reported later. None: missing.
fn read_ref_engines(files: &Files) -> Result<Option<Value>, StoreError> {
    let Ok(path) = SitePath::new(WELL_KNOWN_PATH) else { return Ok(None) };
    match files.own.read(&path, MAX_BYTES) {
        Ok(bytes) => Ok(Some(json::parse(&bytes).unwrap_or_default())),
        Err(super::source::Fault::Absent) => Ok(None),
        Err(_) => Ok(Some(Value::Null)),
    }
}

/// Settings that fit a ref-engines object. The host is `host`, or the one in the template.
fn guess_settings(ref_engines: &Value, host: Option<&str>, origins: Vec<String>) -> Option<(SiteMap, bool)> {
    let index_template = template(ref_engines, "refEngines", INDEX_TEMPLATE_PROTOCOL)?;
    let host = host.or_else(|| literal_host(&index_template))?.to_ascii_lowercase();
    let cas_template = template(ref_engines, "casEngines", CAS_TEMPLATE_PROTOCOL);
    let map = |cas_template| {
        let (hosts, index_template) = (vec![host.clone()], index_template.clone());
        let settings =
            Settings { hosts, index_template, cas_template, origins: origins.clone(), views: Views::default() };
        SiteMap::new(settings).ok()
    };
    let described = cas_template.and_then(map);
    // Another CAS template suffices to tell blobs from indexes.
    let preset = || Template::parse(Preset::default().cas_template()).ok().and_then(map);
    let knows_cas = described.is_some();
    Some((described.or_else(preset)?, knows_cas))
}

fn template(ref_engines: &Value, list: &str, protocol: &str) -> Option<Template> {
    let engines = ref_engines.get(list)?.as_array()?;
    let engine = engines.iter().find(|engine| engine.get("protocol").and_then(Value::as_str) == Some(protocol))?;
    Template::parse(engine.get("uri")?.as_str()?).ok()
}

fn literal_host(template: &Template) -> Option<&str> {
    let (_, rest) = template.as_str().split_once("://")?;
    let host = rest.split('/').next()?;
    (!host.contains(['{', ':'])).then_some(host)
}

/// The images that have an index.
fn derive_images(files: &Files, map: &SiteMap) -> Result<Vec<ImageName>, VerifyError> {
    let (mut images, mut bytes) = (Vec::new(), 0);
    tree::each_index(&files.own, map, &mut |names, path| {
        bytes += path.as_str().len().max(NAME_BYTES) * names.len();
        if bytes <= MAX_NAMES * NAME_BYTES {
            images.extend_from_slice(names);
        }
    })?;
    if bytes > MAX_NAMES * NAME_BYTES {
        return Err(VerifyError::TooManyNames { site: files.own.store.name(), limit: MAX_NAMES });
    }
    images.sort();
    images.dedup();
    // Where an image has an index, that leads to those of its refs.
    let whole: BTreeSet<ImageName> = images.iter().filter(|name| name.fragment().is_none()).cloned().collect();
    images.retain(|name| name.fragment().is_none() || !whole.contains(&name.image()));
    Ok(images)
}
