//! Origins as they are written on the command line and in `ocisite.toml`.

use anyhow::{Context, anyhow, bail};

use crate::store::Location;

/// Parses `ORIGIN=DIR`. Clap does not parse it, because clap prints values that it refuses, and a URL may contain a secret.
pub fn parse_store(text: &str) -> anyhow::Result<(String, Location)> {
    let Some((origin, location)) = text.split_once('=') else {
        bail!("--store has no `=`: expected ORIGIN=DIR, such as https://cdn.example.net=cdn");
    };
    let origin = parse_origin(origin).map_err(|problem| anyhow!("--store ORIGIN=DIR: {problem}"))?;
    Ok((origin, Location::parse(location).context("--store has an invalid directory or URL")?))
}

/// The normal form of an origin.
pub fn parse_origin(origin: &str) -> Result<String, String> {
    // A URL with a user name may have a password, too, and is not repeated.
    if origin.contains('@') {
        return Err("not an origin: it has a user name or password; expected scheme and host only, such as https://cdn.example.net".into());
    }
    let wrong =
        || format!("{origin:?} is not an origin: expected scheme and host only, such as https://cdn.example.net");
    let url = url::Url::parse(origin).map_err(|_| wrong())?;
    let parsed = url.origin().ascii_serialization();
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !is_bare || !parsed.starts_with("http") {
        return Err(wrong());
    }
    Ok(parsed)
}
