//! The registry view in web servers: maps requests of the distribution API to files (see [`crate::site::registry`]).
//!
//! Servers find the media type of a manifest by looking for the file under its typed names, and take
//! `Docker-Content-Digest` from the request's path. So the size of the configuration does not depend on the site. The
//! response for a tag has no digest: no server can compute it, and clients do that themselves.

use serde::Serialize;

use super::rules::Headers;
use crate::site::Kind;
use crate::site::path::PathError;
use crate::site::registry::{self as view, DIGEST_PATTERN, NAME_PATTERN, TAG_PATTERN, TYPED_ENDINGS};

/// The variables of a template that serves the view.
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

/// An ending of typed names, and its media type.
#[derive(Debug, Serialize)]
struct TypedEnding {
    ending: &'static str,
    media_type: &'static str,
}

/// The variables of a template, the same for every site with the view.
pub fn registry_view() -> Result<RegistryView, PathError> {
    Ok(RegistryView {
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
    })
}
