//! Templates made local: what lets a consumer resolve `localhost/app` against a preview.
//!
//! A site's templates lead to `https://{host}/…` or to its own origin. A preview answers on plain HTTP and some port, so in
//! the documents it serves they become relative to itself. The files of the site stay as they are.

use serde_json::Value;

use crate::json;
use crate::site::{Kind, Settings};
use crate::template::{Template, Variables};

/// The document with its templates made local. None: there is nothing to change, or it is no document of that kind.
pub fn rewrite(kind: &Kind, bytes: &[u8], settings: &Settings) -> Option<Vec<u8>> {
    // An index may be large, and few have a template that leads to a host.
    if !names_own_host(bytes, settings) {
        return None;
    }
    let mut document = json::parse(bytes).ok()?;
    let mut changed = false;
    match kind {
        Kind::RefEngines => {
            for list in ["refEngines", "casEngines"] {
                changed |= rewrite_engines(document.get_mut(list), settings);
            }
        }
        Kind::Index => {
            for entry in document.get_mut("manifests")?.as_array_mut()? {
                changed |= rewrite_engines(entry.get_mut("casEngines"), settings);
            }
        }
        _ => return None,
    }
    changed.then(|| json::canonical(&document))
}

fn rewrite_engines(engines: Option<&mut Value>, settings: &Settings) -> bool {
    let mut changed = false;
    for engine in engines.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(Value::String(uri)) = engine.get_mut("uri")
            && let Some(local) = local(uri, settings)
        {
            *uri = local;
            changed = true;
        }
    }
    changed
}

fn names_own_host(bytes: &[u8], settings: &Settings) -> bool {
    let own = || settings.hosts.iter().map(String::as_bytes).chain([b"{host}".as_slice()]);
    let starts = memchr::memmem::find_iter(bytes, b"://").filter_map(|found| bytes.get(found + 3..));
    starts.into_iter().any(|rest| own().any(|host| rest.starts_with(host)))
}

/// `https://{host}/a/{+path}` and `https://example.com/a/{+path}` become `/a/{+path}`. A `{host}` that remains is the host of
/// the name, which is `localhost` when a preview is asked, so the site's own is put in its place where it has only one.
fn local(uri: &str, settings: &Settings) -> Option<String> {
    let rest = uri.strip_prefix("https://").or(uri.strip_prefix("http://"))?;
    let own = settings.hosts.iter().map(String::as_str).chain(["{host}"]);
    let path =
        own.filter_map(|host| rest.strip_prefix(host)).find(|path| path.starts_with('/') || path.starts_with("{/"))?;
    let [host] = settings.hosts.as_slice() else { return Some(path.into()) };
    let template = Template::parse(path).ok()?;
    let expanded = template.expand_some(&Variables::new().with("host", host));
    Some(expanded.map_or(path.into(), |template| template.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::{Preset, settings::Views};

    #[test]
    fn own_origins_become_relative_and_others_stay() {
        let settings = Settings {
            hosts: vec!["example.com".into()],
            index_template: Template::parse(Preset::Cas.index_template()).unwrap(),
            cas_template: Template::parse(Preset::Cas.cas_template()).unwrap(),
            origins: vec![],
            views: Views::default(),
        };
        let local = |uri: &str| local(uri, &settings);
        assert_eq!(local("https://{host}/oci-index/{+path}").as_deref(), Some("/oci-index/{+path}"));
        assert_eq!(local("http://example.com/cas/{digest}").as_deref(), Some("/cas/{digest}"));
        assert_eq!(local("https://{host}/i/{host}/{+path}").as_deref(), Some("/i/example.com/{+path}"));
        assert_eq!(local("https://cdn.example.net/{digest}"), None);
        assert_eq!(local("https://example.com.evil.example/{digest}"), None);
        assert_eq!(local("/cas/{digest}"), None);
    }
}
