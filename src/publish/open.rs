//! Opening a site that is going to be published to: with the settings that it has, or gets.

use super::collect::Image;
use super::error::PublishError;
use super::request::PublishRequest;
use crate::site::description::Description;
use crate::site::settings::Views;
use crate::site::{Preset, Settings, SitePath};
use crate::store::site::{Site, SiteState, description_path, open_others, parse_description, read_description};
use crate::store::{self, Conflict, Location, Store, StoreError, StoredDocument};
use oci_discovery::template::Template;

/// Opens a site, which may not exist yet.
pub fn open(request: &PublishRequest, root: &Location, images: &[Image]) -> Result<Site, PublishError> {
    let own = store::open(root, &request.options).map_err(|error| match error {
        StoreError::NotASite { .. } => PublishError::NotEmpty(error),
        StoreError::ContainsSites { .. } => PublishError::ContainsSites(error),
        error => error.into(),
    })?;
    let state = site_state(request, &*own, read_description(&*own)?, images)?;
    let others = open_others(&*own, &state.settings, &request.stores, &request.options)?;
    Ok(Site::new(own, others, state)?)
}

/// Reads the description again, now that the lock is held: another publisher may have written since.
pub fn reload(site: &mut Site, request: &PublishRequest, images: &[Image]) -> Result<(), PublishError> {
    let found = read_description(&*site.own)?;
    let version = |document: &Option<StoredDocument>| document.as_ref().map(|document| document.version.clone());
    if version(&found) == version(&site.description) {
        return Ok(());
    }
    let state = site_state(request, &*site.own, found, images)?;
    if state.settings.origins != site.map.settings().origins {
        return Err(StoreError::from(Conflict { path: description_path()? }).into());
    }
    Ok(site.update(state)?)
}

/// The settings a site has, or gets: what it was made with, what was given, and the preset for the rest.
fn site_state(
    request: &PublishRequest,
    own: &dyn Store,
    document: Option<StoredDocument>,
    images: &[Image],
) -> Result<SiteState, PublishError> {
    let preset = request.preset.unwrap_or_default();
    let base = request.base_path.as_deref().map(base_path).transpose()?;
    if let (Some(path), Preset::Registry) = (base, preset) {
        let problem = "the preset registry puts blobs below /v2, which registry clients request at the host's root";
        return Err(PublishError::BasePath { path: path.into(), problem });
    }
    let placed = |template: &str| base.map_or(template.to_string(), |base| below(base, template));
    let is_given = request.preset.is_some() || base.is_some();
    let preset_index = is_given.then(|| placed(preset.index_template()));
    let preset_cas = is_given.then(|| placed(preset.cas_template()));
    let given_index = request.index_template.as_deref().or(preset_index.as_deref());
    let given_cas = request.cas_template.as_deref().or(preset_cas.as_deref());
    let (mut settings, listed, settings_before) = match parse_description(own, document.as_ref())? {
        Some(Description { settings, images }) => {
            refuse_other_templates(request, own, &settings, [given_index, given_cas])?;
            let before = settings.clone();
            (settings, images, Some(before))
        }
        None => {
            let settings = Settings {
                hosts: vec![],
                index_template: template("index template", given_index.unwrap_or(preset.index_template()))?,
                cas_template: template("CAS template", given_cas.unwrap_or(preset.cas_template()))?,
                origins: vec![],
                // Its page is the host's first, which is somebody else's where the site has but a part of the host.
                views: Views { registry: false, catalogue: request.catalogue.unwrap_or(base.is_none()) },
            };
            (settings, vec![], None)
        }
    };
    settings.hosts.extend(images.iter().map(|image| image.name.host().to_string()));
    if !request.root_per_host {
        settings.hosts.extend(request.host.clone());
    }
    settings.hosts.sort();
    settings.hosts.dedup();
    settings.views.registry |= request.registry;
    settings.views.catalogue = request.catalogue.unwrap_or(settings.views.catalogue);
    settings.origins.extend(request.stores.iter().map(|(origin, _)| origin.clone()));
    settings.origins.sort();
    settings.origins.dedup();
    Ok(SiteState { settings, images: listed, settings_before, description: document })
}

fn template(what: &'static str, text: &str) -> Result<Template, PublishError> {
    Template::parse(text).map_err(|source| PublishError::Template { what, source })
}

/// Refuses given templates that an existing site does not have.
fn refuse_other_templates(
    request: &PublishRequest,
    own: &dyn Store,
    settings: &Settings,
    [index, cas]: [Option<&str>; 2],
) -> Result<(), PublishError> {
    let of_index = request.index_template.as_ref().map(|_| "--index-template");
    let of_cas = request.cas_template.as_ref().map(|_| "--cas-template");
    for (what, found, given, option) in [
        ("index template", &settings.index_template, index, of_index),
        ("CAS template", &settings.cas_template, cas, of_cas),
    ] {
        if let Some(given) = given.filter(|given| *given != found.as_str()) {
            template(what, given)?;
            let (found, given) = (found.to_string(), given.to_string());
            let options = option.map_or_else(|| preset_options(request), str::to_string);
            return Err(PublishError::OtherTemplate { site: own.name(), what, found, given, options });
        }
    }
    Ok(())
}

/// The options from which a preset's templates follow.
fn preset_options(request: &PublishRequest) -> String {
    let given = [("--preset", request.preset.is_some()), ("--base-path", request.base_path.is_some())];
    let given = given.iter().filter(|(_, is_given)| *is_given).map(|(option, _)| *option);
    given.collect::<Vec<_>>().join(" and ")
}

/// A base path with a slash before it and none behind it.
fn base_path(text: &str) -> Result<&str, PublishError> {
    let wrong = |problem| PublishError::BasePath { path: text.into(), problem };
    let path = text.trim_end_matches('/');
    let inner = path.strip_prefix('/').ok_or_else(|| wrong("it does not begin with a slash, or is only a slash"))?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    if !inner.chars().all(is_plain) {
        return Err(wrong("it has a character that URLs must encode"));
    }
    SitePath::new(inner).map_err(|_| wrong("it has an empty segment, `.` or `..`"))?;
    Ok(path)
}

/// A preset's template below a base path: behind the host, where it begins with one.
fn below(base: &str, template: &str) -> String {
    const HOST: &str = "https://{host}";
    match template.strip_prefix(HOST) {
        Some(path) => format!("{HOST}{base}{path}"),
        None => format!("{base}{template}"),
    }
}
