//! Makes templates local, so that a consumer can resolve `localhost/app` with a preview.
//!
//! The templates of a site lead to `https://{host}/…` or to its own origin. A preview has plain HTTP and another port,
//! so the templates in its responses are relative. The files of the site do not change.

use std::io::{self, Write};

use super::computed::Source;
use super::json_scan::{Part, Step, scan};
use crate::site::Kind;
use oci_discovery::json;
use oci_discovery::template::{Template, Variables};

/// The path of the templates in a document. None: it has none.
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

/// Writes a document with local templates; nothing if it does not change.
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

/// A template as JSON, made local. None: it does not change.
fn local_token(token: &[u8], hosts: &[String]) -> Option<Vec<u8>> {
    let uri = json::parse_string(token)?;
    Some(json::canonical(&local(&uri, hosts)?))
}

/// `https://{host}/a/{+path}` and `https://example.com/a/{+path}` become `/a/{+path}`. Other uses of `{host}` would be
/// `localhost` with a preview, so the site's host replaces them if there is only one.
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
