//! The registry view for web servers: how a request of the distribution API becomes a file (see [`crate::site::registry`]).
//!
//! A manifest's media type is found by looking for the file under its typed names, and `Docker-Content-Digest` is taken from
//! the request's path. So the configuration is of one size whatever is published. A tag's response carries no digest: no
//! server can compute it, and clients then compute it themselves.

use serde::Serialize;

use super::rules::Headers;
use crate::site::path::PathError;
use crate::site::registry::{self as view, DIGEST_PATTERN, NAME_PATTERN, TAG_PATTERN, TYPED_ENDINGS};
use crate::site::{Kind, SiteMap};

/// What a template needs to serve the view.
#[derive(Debug, Serialize)]
pub struct RegistryView {
    name: &'static str,
    tag: &'static str,
    digest: &'static str,
    types: Vec<TypedEnding>,
    ping: String,
    no_referrers: String,
    ping_headers: Headers,
    tag_headers: Headers,
    manifest_headers: Headers,
    blob_headers: Headers,
    tags_headers: Headers,
    referrers_headers: Headers,
}

/// The ending of a manifest's typed name, and the media type it stands for.
#[derive(Debug, Serialize)]
struct TypedEnding {
    ending: &'static str,
    media_type: &'static str,
}

/// What a template needs. None: the site does not have the view.
pub fn registry_view(map: &SiteMap) -> Result<Option<RegistryView>, PathError> {
    if !map.settings().views.registry {
        return Ok(None);
    }
    Ok(Some(RegistryView {
        name: NAME_PATTERN,
        tag: TAG_PATTERN,
        digest: DIGEST_PATTERN,
        types: TYPED_ENDINGS.iter().map(|&(ending, media_type)| TypedEnding { ending, media_type }).collect(),
        ping: format!("/{}", view::ping_path()?),
        no_referrers: format!("/{}", view::no_referrers_path()?),
        ping_headers: Headers::of(&Kind::RegistryPing),
        tag_headers: Headers::of(&Kind::RegistryTag(None)),
        manifest_headers: Headers::of(&Kind::RegistryManifest(None)),
        blob_headers: Headers::of(&Kind::Blob(None)),
        tags_headers: Headers::of(&Kind::TagsList),
        referrers_headers: Headers::of(&Kind::Referrers),
    }))
}
