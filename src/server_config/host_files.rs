//! The configuration files of static hosts, from the list of headers.
//!
//! A host that applies all matching rules reads the rules in their order, and the last value of a header stays; Cloudflare Pages
//! joins the values instead, so a rule first detaches the headers that an earlier one sets. A host that applies the first matching
//! rule reads them in the opposite order.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::glob::{Glob, Part};
use super::headers::{HeaderList, Headers, Rule};
use super::static_host::{LimitExceeded, StaticHost};
use crate::site::SitePath;
use crate::site::path::DESCRIPTION;
use crate::site::registry::{Endpoint, TYPED_ENDINGS};

#[derive(Debug, thiserror::Error)]
pub enum HostFileError {
    #[error(
        "{host} cannot match the paths {paths}: expected one wildcard for several segments, and no other colon than that of a digest; choose another template"
    )]
    Wildcards { host: StaticHost, paths: Glob },
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    #[error(transparent)]
    Regex(#[from] regex::Error),
    #[error("the configuration cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// The file with the headers of a site, in which these paths exist. None: the host has no such file.
pub fn headers_file(host: StaticHost, list: &HeaderList, paths: &[SitePath]) -> Result<Option<String>, HostFileError> {
    let rules = list.rules().count();
    let (rules, text) = match host {
        StaticHost::GithubPages | StaticHost::GitlabPages => return Ok(None),
        StaticHost::CloudflarePages => (rules, cloudflare(list)?),
        StaticHost::Netlify => (rules, netlify(list)),
        StaticHost::AzureStaticWebApps => azure(list, paths)?,
        StaticHost::Firebase => (rules, pretty(&firebase(list))?),
        StaticHost::Vercel => (rules + list.rewrites.len(), pretty(&vercel(list))?),
    };
    match host.check_configuration(rules, &text).into_iter().next() {
        Some(exceeded) => Err(exceeded.into()),
        None => Ok(Some(text)),
    }
}

/// The file `_redirects` beside `_headers`, for what has no file at its path. None: the host has no such file.
pub fn redirects_file(host: StaticHost, list: &HeaderList, paths: &[SitePath]) -> Option<String> {
    let mut text = header();
    for (from, to) in &list.rewrites {
        let from = match host {
            // A rule also hides an existing file; without a list of referrers, clients ask for the fallback tag.
            StaticHost::CloudflarePages if !from.is_exact() => continue,
            StaticHost::CloudflarePages => vec![from.to_string()],
            StaticHost::Netlify => netlify_redirects(from, paths),
            _ => return None,
        };
        text.extend(from.iter().map(|from| format!("{from} /{to} 200\n")));
    }
    Some(text)
}

/// A wildcard for several segments can stand at the end only, so there is a path for each number of segments that names have.
fn netlify_redirects(from: &Glob, paths: &[SitePath]) -> Vec<String> {
    let names = paths.iter().filter_map(|path| match Endpoint::parse(path.as_str())? {
        Endpoint::TagsList { name } => Some(name.split('/').count()),
        _ => None,
    });
    let lengths: BTreeSet<usize> = if from.is_exact() { BTreeSet::from([0]) } else { names.collect() };
    let name = |length| (1..=length).map(|position| format!(":name{position}")).collect::<Vec<_>>().join("/");
    lengths.into_iter().map(|length| from.to_string().replace("**", &name(length)).replace('*', ":digest")).collect()
}

fn header() -> String {
    format!("# Made by `ocisite server-config headers` from the site whose {DESCRIPTION} is beside this file.\n")
}

fn pretty(value: &Value) -> Result<String, HostFileError> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// A path on its own line, followed by its indented headers.
fn block(path: &str, headers: impl Iterator<Item = (&'static str, String)>) -> String {
    let lines = headers.map(|(name, value)| format!("  {name}: {value}\n"));
    format!("{path}\n{}", lines.collect::<String>())
}

fn all(headers: &Headers) -> impl Iterator<Item = (&'static str, String)> {
    headers.iter().map(|(name, value)| (*name, value.clone()))
}

fn netlify(list: &HeaderList) -> String {
    let mut text = header();
    for rule in &list.defaults {
        text += &block(&placeholders(&rule.paths), all(&rule.headers));
    }
    for rule in &list.exceptions {
        text += &block(&placeholders(&rule.paths), list.changes(rule).map(|(name, value)| (name, value.to_string())));
    }
    text
}

/// A path of Netlify: a placeholder is a whole segment, and `*` within a
/// segment a part of one. A colon at the beginning of a segment would begin a placeholder.
fn placeholders(paths: &Glob) -> String {
    let mut path = String::new();
    let parts = paths.parts();
    for (position, part) in parts.iter().enumerate() {
        let ends_segment = |next: Option<&Part>| match next {
            Some(Part::Text(text)) => text.starts_with('/'),
            Some(_) => false,
            None => true,
        };
        match part {
            Part::Text(text) => path += &text.replace("/:", "/%3A"),
            Part::Any => path.push('*'),
            Part::Segment if path.ends_with('/') && ends_segment(parts.get(position + 1)) => {
                path += &format!(":part{position}");
            }
            Part::Segment => path.push('*'),
        }
    }
    path
}

fn cloudflare(list: &HeaderList) -> Result<String, HostFileError> {
    let mut text = header();
    for (position, rule) in list.defaults.iter().enumerate() {
        let earlier = list.defaults.iter().take(position).filter(|other| may_meet(&other.paths, &rule.paths));
        let mut detached: Vec<&str> = earlier.flat_map(|rule| rule.headers.keys().copied()).collect();
        detached.sort_unstable();
        detached.dedup();
        let mut headers = rule.headers.clone();
        let path = cloudflare_path(&rule.paths)?;
        if rule.has_digest {
            headers.insert("Docker-Content-Digest", ":part3::part5".into());
        }
        text += &detach(&path, &detached, all(&headers));
    }
    for rule in &list.exceptions {
        let changes: Vec<(&str, String)> = list.changes(rule).map(|(name, value)| (name, value.to_string())).collect();
        let detached: Vec<&str> = changes.iter().map(|(name, _)| *name).collect();
        text += &detach(&cloudflare_path(&rule.paths)?, &detached, changes.into_iter());
    }
    Ok(text)
}

fn detach(path: &str, names: &[&str], headers: impl Iterator<Item = (&'static str, String)>) -> String {
    let detached: String = names.iter().map(|name| format!("  ! {name}\n")).collect();
    let block = block(path, headers);
    block.replacen('\n', &format!("\n{detached}"), 1)
}

/// Whether both can match a path: one begins like the other.
fn may_meet(one: &Glob, other: &Glob) -> bool {
    let (one, other) = (one.prefix(), other.prefix());
    one.starts_with(other) || other.starts_with(one)
}

/// A path of Cloudflare Pages: one `*` for any characters, and placeholders within a segment, which begin with a colon and a letter.
/// So `*` also takes the place of the colon before a letter in a digest.
fn cloudflare_path(paths: &Glob) -> Result<String, HostFileError> {
    let mut path = String::new();
    for (position, part) in paths.parts().iter().enumerate() {
        match part {
            Part::Any => path.push('*'),
            Part::Segment => path += &format!(":part{position}"),
            Part::Text(text) => {
                let mut characters = text.chars().peekable();
                while let Some(character) = characters.next() {
                    let begins_placeholder =
                        character == ':' && characters.peek().is_some_and(char::is_ascii_alphabetic);
                    path.push(if begins_placeholder { '*' } else { character });
                }
            }
        }
    }
    match path.matches('*').count() {
        0 | 1 => Ok(path),
        _ => Err(HostFileError::Wildcards { host: StaticHost::CloudflarePages, paths: paths.clone() }),
    }
}

/// The first matching route applies. A route ends in a wildcard or has none. The media type comes from the ending of the file alone,
/// whatever the headers of a route say, so each manifest is rewritten to its typed name.
fn azure(list: &HeaderList, paths: &[SitePath]) -> Result<(usize, String), HostFileError> {
    // A route overrides the global headers, which are those of documents that all rules have.
    let is_common = |name: &str| list.defaults.iter().all(|rule| rule.headers.contains_key(name));
    let mut global = list.defaults.last().map(|rule| rule.headers.clone()).unwrap_or_default();
    global.retain(|name, _| is_common(name));
    let own = |rule: &Rule| -> Headers {
        let mut own = rule.headers.clone();
        own.retain(|name, value| global.get(name) != Some(value) && *name != "Content-Type");
        own
    };
    let mut routes = Vec::new();
    for manifest in &list.manifests {
        let path = Glob::exact(manifest.path.as_str());
        let default = list.defaults.iter().rev().find(|rule| rule.paths.matches(path.prefix()));
        let headers = default.map(own).unwrap_or_default();
        routes
            .push(json!({"route": path.prefix(), "rewrite": format!("/{}", manifest.typed_path), "headers": headers}));
    }
    for rule in list.defaults.iter().rev() {
        let rewrite = list.rewrites.iter().find(|(from, _)| *from == rule.paths && from.is_exact());
        for paths in rule.paths.with_wildcard_at_end(paths)? {
            let mut route = json!({"route": paths.to_string().replace("**", "*"), "headers": own(rule)});
            if let (Some((_, to)), Some(route)) = (rewrite, route.as_object_mut()) {
                route.insert("rewrite".into(), format!("/{to}").into());
            }
            routes.push(route);
        }
    }
    let types: Map<String, Value> =
        TYPED_ENDINGS.iter().map(|(ending, media_type)| (format!(".{ending}"), (*media_type).into())).collect();
    let count = routes.len();
    // Without white space: the size of the file is limited.
    let configuration = json!({"globalHeaders": global, "mimeTypes": types, "routes": routes});
    Ok((count, serde_json::to_string(&configuration)? + "\n"))
}

fn entries(headers: impl Iterator<Item = (&'static str, String)>) -> Vec<Value> {
    headers.map(|(name, value)| json!({"key": name, "value": value})).collect()
}

/// The headers of each rule as objects with a `key` and a `value`, as Firebase and Vercel have them.
fn rules_of(list: &HeaderList) -> impl Iterator<Item = (&Rule, Vec<Value>)> {
    let defaults = list.defaults.iter().map(|rule| (rule, entries(all(&rule.headers))));
    let changes = |rule| list.changes(rule).map(|(name, value)| (name, value.to_string()));
    let exceptions = list.exceptions.iter().map(move |rule| (rule, entries(changes(rule))));
    defaults.chain(exceptions)
}

/// The site's directory is that of `firebase.json`. What begins with a dot is ignored by default, and so would be `.well-known`.
fn firebase(list: &HeaderList) -> Value {
    let headers: Vec<Value> =
        rules_of(list).map(|(rule, headers)| json!({"regex": rule.paths.regex(), "headers": headers})).collect();
    // An existing file precedes a rewrite.
    let rewrites = list.rewrites.iter();
    let rewrites: Vec<Value> =
        rewrites.map(|(from, to)| json!({"regex": from.regex(), "destination": format!("/{to}")})).collect();
    let ignore = ["firebase.json", ".firebase/**", ".firebaserc", ".ocisite/**"];
    json!({"hosting": {"public": ".", "ignore": ignore, "headers": headers, "rewrites": rewrites}})
}

fn vercel(list: &HeaderList) -> Value {
    let headers: Vec<Value> = rules_of(list)
        .map(|(rule, mut headers)| {
            let is_pattern = !rule.paths.is_exact();
            if rule.has_digest && is_pattern {
                headers.push(json!({"key": "Docker-Content-Digest", "value": ":digest"}));
            }
            json!({"source": vercel_source(&rule.paths, rule.has_digest && is_pattern), "headers": headers})
        })
        .collect();
    let rewrites = list.rewrites.iter();
    let rewrites: Vec<Value> = rewrites
        .map(|(from, to)| json!({"source": vercel_source(from, false), "destination": format!("/{to}")}))
        .collect();
    json!({"headers": headers, "rewrites": rewrites})
}

/// A path as path-to-regexp reads it. The last segment is `digest` if the rule needs its value.
fn vercel_source(paths: &Glob, names_digest: bool) -> String {
    let source: String = paths
        .parts()
        .iter()
        .map(|part| match part {
            Part::Any => "(.+)".into(),
            Part::Segment => "([^/]+)".into(),
            Part::Text(text) => escape(text),
        })
        .collect();
    match source.strip_suffix(r"([^/]+)\:([^/]+)").filter(|_| names_digest) {
        Some(directory) => format!("{directory}:digest([^/]+:[^/]+)"),
        None => source,
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if "(){}:*+?\\".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}
