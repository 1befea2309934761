//! A list of headers by path, for hosts that accept only such a list.
//!
//! Such hosts combine the values of all matching rules, so at most one rule may match a path. Therefore the list is
//! made from the existing objects: a directory whose objects all have the same headers becomes one rule,
//! `DIRECTORY/*`, and other objects have a line each. These are the manifests of the registry view, whose paths do not
//! give their media types; the CAS and the indexes take one line each for any number of images.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::rules;
use crate::site::object::CORS;
use crate::site::path::{DESCRIPTION, SitePath, WELL_KNOWN};
use crate::site::registry::{self, Endpoint};
use crate::site::{Kind, Phase, SiteMap, catalogue, requests};

/// The headers of a path, by name.
pub type Headers = BTreeMap<&'static str, String>;

/// Headers by path: a single path, or all paths below one that ends in `/*`. No two rules match the same path.
pub type HeaderList = BTreeMap<String, Headers>;

/// Characters that a path of a URL cannot have unencoded, and `*`, which is a pattern. Clients send colons unencoded:
/// `sha256:…`.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'*')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The objects of a directory.
#[derive(Debug, Default)]
struct Directory {
    files: BTreeMap<String, Headers>,
    directories: BTreeMap<String, Directory>,
}

/// The list for the objects with these paths in a site's own root. Paths of other files are omitted. With `cors`, pages of
/// other origins may read it.
pub fn header_list(map: &SiteMap, paths: &[SitePath], cors: bool) -> HeaderList {
    let media_types: BTreeMap<String, &str> = paths.iter().filter_map(|path| manifest_type(map, path)).collect();
    let mut root = Directory::default();
    for path in paths {
        // Clients do not request typed names, which are for servers.
        if map.settings().views.registry && manifest_type(map, path).is_some() {
            continue;
        }
        if let Some(kind) = map.kind_of(path) {
            let kind = match media_types.get(path.as_str()) {
                Some(media_type) => kind.with_media_type(media_type),
                None => kind,
            };
            let mut headers = headers(path, &kind);
            headers.extend(CORS.iter().filter(|_| cors).map(|(name, value)| (*name, value.to_string())));
            root.insert(path.as_str(), headers);
        }
    }
    let mut list = HeaderList::new();
    root.write("", &mut list);
    add_other_names(&mut list);
    list
}

/// The plain path of a manifest, and its media type, from its typed name.
fn manifest_type(map: &SiteMap, path: &SitePath) -> Option<(String, &'static str)> {
    match Endpoint::parse(path.as_str())? {
        Endpoint::TypedManifest { name, reference, media_type } if map.settings().views.registry => {
            Some((registry::manifest_path(name, reference).ok()?.as_str().into(), media_type))
        }
        _ => None,
    }
}

/// The headers of an object. Every host knows the media types of the catalogue's files by their endings; so all of
/// them have the same headers here, including the pages' policy, which does nothing in the others.
fn headers(path: &SitePath, kind: &Kind) -> Headers {
    let is_of_catalogue = kind.phase() == Phase::Catalogue;
    let served = rules::Headers::of(kind);
    let mut headers =
        Headers::from([("Cache-Control", served.cache_control), ("X-Content-Type-Options", "nosniff".into())]);
    if !is_of_catalogue {
        headers.insert("Content-Type", served.content_type);
    }
    let others = if is_of_catalogue { Kind::CataloguePage.headers() } else { served.others };
    headers.extend(others.iter().map(|(name, value)| (*name, value.to_string())));
    match kind {
        Kind::RegistryManifest(_) => {
            let digest = path.as_str().rsplit('/').next().unwrap_or_default();
            headers.insert("Docker-Content-Digest", digest.into());
        }
        Kind::RegistryPing => {
            headers.insert("Docker-Distribution-Api-Version", "registry/2.0".into());
        }
        _ => {}
    }
    headers
}

/// Two files have another path, if a rule of the host gives it: `/` and `/v2/`.
fn add_other_names(list: &mut HeaderList) {
    for file in [SitePath::new(catalogue::LIST_PAGE), registry::ping_path()].into_iter().flatten() {
        if let Some(headers) = list.get(&format!("/{file}")).cloned() {
            let others = requests::paths(&file).into_iter().skip(1);
            list.extend(others.map(|other| (format!("/{other}"), headers.clone())));
        }
    }
}

impl Directory {
    fn insert(&mut self, path: &str, headers: Headers) {
        match path.split_once('/') {
            Some((directory, rest)) => self.directories.entry(directory.into()).or_default().insert(rest, headers),
            None => drop(self.files.insert(path.into(), headers)),
        }
    }

    /// The headers of all objects below. None: they differ.
    fn common(&self) -> Option<&Headers> {
        let mut all = self.files.values().map(Some).chain(self.directories.values().map(Directory::common));
        let first = all.next()??;
        all.all(|other| other == Some(first)).then_some(first)
    }

    /// Adds the rules for all objects below `path`, which has no slash at its end. The root and the well-known
    /// resources also hold other files, so no rule covers all of them.
    fn write(&self, path: &str, list: &mut HeaderList) {
        let is_shared = path.is_empty() || path == format!("/{WELL_KNOWN}");
        if let Some(headers) = self.common().filter(|_| !is_shared) {
            list.insert(format!("{path}/*"), headers.clone());
            return;
        }
        for (name, headers) in &self.files {
            list.insert(format!("{path}/{}", encode(name)), headers.clone());
        }
        for (name, directory) in &self.directories {
            directory.write(&format!("{path}/{}", encode(name)), list);
        }
    }
}

/// A segment in a URL. A colon at its beginning would begin a placeholder.
fn encode(segment: &str) -> String {
    let encoded = utf8_percent_encode(segment, PATH).to_string();
    match encoded.strip_prefix(':') {
        Some(rest) => format!("%3A{rest}"),
        None => encoded,
    }
}

/// The list in Netlify's format, for a file `_headers`: a path on its own line, followed by its indented headers.
pub fn to_netlify(list: &HeaderList) -> String {
    let mut text =
        format!("# Made by `ocisite server-config headers` from the site whose {DESCRIPTION} is beside this file.\n");
    for (path, headers) in list {
        text += &format!("{path}\n");
        for (name, value) in headers {
            text += &format!("  {name}: {value}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::settings::Views;
    use crate::site::{Preset, Settings};
    use oci_discovery::template::Template;

    fn list(paths: &[&str]) -> HeaderList {
        let settings = Settings {
            hosts: vec!["example.com".into()],
            index_template: Template::parse(Preset::Cas.index_template()).unwrap(),
            cas_template: Template::parse(Preset::Cas.cas_template()).unwrap(),
            origins: vec![],
            views: Views { catalogue: true, registry: true },
        };
        let paths: Vec<SitePath> = paths.iter().map(|path| SitePath::new(path).unwrap()).collect();
        header_list(&SiteMap::new(settings).unwrap(), &paths, true)
    }

    #[test]
    fn neighbours_with_the_same_headers_are_one_rule() {
        let digest = "a".repeat(64);
        let blob = format!("oci-cas/sha256/aa/{digest}");
        let list = list(&["oci-index/app", "oci-index/team/tool", &blob, "ocisite.json", "other.txt"]);
        assert_eq!(list.keys().collect::<Vec<_>>(), ["/oci-cas/*", "/oci-index/*", "/ocisite.json"]);
        assert_eq!(list["/oci-index/*"]["Cache-Control"], "public, max-age=60");
    }

    #[test]
    fn what_is_shared_with_others_gets_no_rule_as_a_whole() {
        let list = list(&[".well-known/oci-host-ref-engines", "index.html"]);
        assert_eq!(list.keys().collect::<Vec<_>>(), ["/", "/.well-known/oci-host-ref-engines", "/index.html"]);
    }

    #[test]
    fn a_manifest_has_the_type_that_its_other_name_tells() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let (manifests, typed) = ("v2/app/manifests/", "v2/app/_manifests/");
        let list = list(&[
            &format!("{manifests}1.0"),
            &format!("{typed}1.0.oci-index"),
            &format!("{manifests}{digest}"),
            &format!("{typed}{digest}.oci-index"),
        ]);
        assert_eq!(list.len(), 2);
        assert_eq!(list["/v2/app/manifests/1.0"]["Content-Type"], oci_discovery::oci::media_type::INDEX);
        assert_eq!(list[&format!("/v2/app/manifests/{digest}")]["Docker-Content-Digest"], digest);
    }

    #[test]
    fn no_segment_is_a_pattern() {
        assert_eq!([":a", "a:b", "*", "a b"].map(encode), ["%3Aa", "a:b", "%2A", "a%20b"]);
    }
}
