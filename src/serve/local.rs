//! Templates made local: what lets a consumer resolve `localhost/app` against a preview.
//!
//! A site's templates lead to `https://{host}/…` or to its own origin. A preview answers on plain HTTP and some port, so in
//! the documents it serves they become relative to itself. The files of the site stay as they are.

use std::io::{self, Write};

use super::computed::Source;
use super::json_scan::{Part, Step, scan};
use crate::site::Kind;
use oci_discovery::json;
use oci_discovery::template::{Template, Variables};

/// Where the templates of a document are. None: it has none.
pub fn templates(kind: &Kind) -> Option<&'static [Step]> {
    match kind {
        Kind::RefEngines => Some(&[Step::Key(&["refEngines", "casEngines"]), Step::Element, Step::Key(&["uri"])]),
        Kind::Index => Some(&[
            Step::Key(&["manifests"]),
            Step::Element,
            Step::Key(&["casEngines"]),
            Step::Element,
            Step::Key(&["uri"]),
        ]),
        _ => None,
    }
}

/// Writes a document with its templates made local; nothing if there is nothing to change.
pub fn write(source: &Source, templates: &'static [Step], hosts: &[String], out: &mut dyn Write) -> io::Result<()> {
    let mut position = 0;
    let mut is_changed = false;
    scan(source.clone(), templates, |part| {
        let (Part::Text(text) | Part::Match(text)) = part else { return Ok(()) };
        let changed = matches!(part, Part::Match(_)).then(|| local_token(text, hosts)).flatten();
        if changed.is_some() && !is_changed {
            source.copy(0, position, out)?;
            is_changed = true;
        }
        position += text.len() as u64;
        if is_changed { out.write_all(changed.as_deref().unwrap_or(text)) } else { Ok(()) }
    })
}

/// A template as JSON, made local.
fn local_token(token: &[u8], hosts: &[String]) -> Option<Vec<u8>> {
    let uri = json::parse_string(token)?;
    Some(json::canonical(&local(&uri, hosts)?))
}

/// `https://{host}/a/{+path}` and `https://example.com/a/{+path}` become `/a/{+path}`. A `{host}` that remains is the host of
/// the name, which is `localhost` when a preview is asked, so the site's own is put in its place where it has only one.
fn local(uri: &str, hosts: &[String]) -> Option<String> {
    let rest = uri.strip_prefix("https://").or(uri.strip_prefix("http://"))?;
    let own = hosts.iter().map(String::as_str).chain(["{host}"]);
    let path =
        own.filter_map(|host| rest.strip_prefix(host)).find(|path| path.starts_with('/') || path.starts_with("{/"))?;
    let [host] = hosts else { return Some(path.into()) };
    let template = Template::parse(path).ok()?;
    let expanded = template.expand_some(&Variables::new().with("host", host));
    Some(expanded.map_or(path.into(), |template| template.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_origins_become_relative_and_others_stay() {
        let hosts = ["example.com".to_string()];
        let local = |uri: &str| local(uri, &hosts);
        assert_eq!(local("https://{host}/oci-index/{+path}").as_deref(), Some("/oci-index/{+path}"));
        assert_eq!(local("http://example.com/cas/{digest}").as_deref(), Some("/cas/{digest}"));
        assert_eq!(local("https://{host}/i/{host}/{+path}").as_deref(), Some("/i/example.com/{+path}"));
        assert_eq!(local("https://cdn.example.net/{digest}"), None);
        assert_eq!(local("https://example.com.evil.example/{digest}"), None);
        assert_eq!(local("/cas/{digest}"), None);
    }
}
