//! Origins as they are written on the command line and in `ocisite.toml`.

use anyhow::{Context, bail};

use crate::store::Location;

/// Parses `ORIGIN=DIR`. Clap does not parse it, because clap prints values that it refuses, and a URL may contain a secret.
pub fn parse_store(text: &str) -> anyhow::Result<(String, Location)> {
    let Some((origin, location)) = text.split_once('=') else {
        bail!("--store has no `=`: expected ORIGIN=DIR, such as https://cdn.example.net=cdn");
    };
    let origin = parse_origin(origin).map_err(anyhow::Error::msg).context("--store has an invalid origin")?;
    Ok((origin, Location::parse(location).context("--store has an invalid directory or URL")?))
}

/// The normal form of an origin.
pub fn parse_origin(origin: &str) -> Result<String, String> {
    // A URL with a user name may have a password, too, and is not repeated.
    if origin.contains('@') {
        return Err("not an origin: it has a user name or password".into());
    }
    let url = url::Url::parse(origin).map_err(|error| format!("{origin} is not an origin: {error}"))?;
    let origin = url.origin().ascii_serialization();
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !is_bare || !origin.starts_with("http") {
        return Err(format!("{url} is not an origin: expected scheme and host only, such as https://cdn.example.net"));
    }
    Ok(origin)
}
