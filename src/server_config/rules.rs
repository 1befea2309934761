//! The paths that a web server serves, with their headers, as a list: the first matching rule applies, and a path
//! without one is not found.
//!
//! This is [`SiteMap::kind_of`] for programs that cannot call it. The paths come from the map, and the headers from
//! [`Kind`].

use serde::Serialize;

use crate::site::path::{DESCRIPTION, PRIVATE_DIRECTORY, WELL_KNOWN};
use crate::site::{Kind, SiteMap, catalogue};
use oci_discovery::discovery::WELL_KNOWN_PATH;

/// A rule for some paths. Exact paths and prefixes come before patterns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// A description for people.
    pub what: &'static str,
    pub paths: Paths,
    /// The file, if it is another than the one at the path.
    pub file: Option<String>,
    /// How the file is served. None: it is not served.
    pub headers: Option<Headers>,
}

/// Paths, percent-decoded, with a leading slash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Paths {
    /// One path.
    Exact(String),
    /// All paths with this prefix.
    Prefix(String),
    /// All paths that match a regular expression, which is anchored and has no named groups.
    Pattern(String),
}

/// The headers that depend on the kind of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Headers {
    /// `Content-Type`.
    pub content_type: String,
    /// `Cache-Control`.
    pub cache_control: String,
    /// Further headers, names and values.
    pub others: &'static [(&'static str, &'static str)],
    /// Whether the server may compress the response.
    pub may_be_compressed: bool,
}

impl Headers {
    /// The headers of a kind.
    pub fn of(kind: &Kind) -> Headers {
        Headers {
            content_type: kind.content_type().into_owned(),
            cache_control: kind.cache_control(),
            others: kind.headers(),
            may_be_compressed: kind.may_be_compressed(),
        }
    }
}

/// The rules for the root of an origin of the site (see [`crate::site::Place`]).
pub fn rules(map: &SiteMap, origin: Option<usize>) -> Vec<Rule> {
    let mut rules = Vec::new();
    if origin.is_none() {
        rules.push(exact("The ref-engines object.", WELL_KNOWN_PATH, &Kind::RefEngines));
        rules.push(exact("The site's description of itself.", DESCRIPTION, &Kind::Description));
    }
    let has_catalogue = origin.is_none() && map.settings().views.catalogue;
    if has_catalogue {
        let file = Some(format!("/{}", catalogue::LIST_PAGE));
        rules.push(Rule { file, ..exact("The catalogue.", "", &Kind::CataloguePage) });
        rules.extend(catalogue::FILES.iter().map(|(path, kind)| exact("A file of the catalogue.", path, kind)));
    }
    rules.push(denied("Locks and temporary files.", PRIVATE_DIRECTORY));
    rules.push(denied("No other well-known resource belongs to the site.", WELL_KNOWN));
    if has_catalogue {
        let what = "Files of the catalogue: images and layers.";
        rules.extend(catalogue::PATTERNS.iter().map(|(pattern, kind)| matching(what, pattern, kind)));
    }
    // The order of SiteMap::kind_in: a path that an index and a blob could have is a blob's.
    let patterns = [
        ("Blobs, which never change.", Some(map.blob_pattern()), Kind::Blob(None)),
        ("Indexes of image names.", Some(map.index_pattern()), Kind::Index),
        ("The files that make an image's directory an OCI layout.", map.layout_marker_pattern(), Kind::LayoutMarker),
    ];
    for (what, pattern, kind) in patterns {
        if let Some(pattern) = pattern.filter(|pattern| pattern.origin == origin) {
            rules.push(matching(what, &pattern.regex(), &kind));
        }
    }
    rules
}

fn exact(what: &'static str, path: &str, kind: &Kind) -> Rule {
    Rule { what, paths: Paths::Exact(format!("/{path}")), file: None, headers: Some(Headers::of(kind)) }
}

fn matching(what: &'static str, pattern: &str, kind: &Kind) -> Rule {
    Rule { what, paths: Paths::Pattern(portable(pattern)), file: None, headers: Some(Headers::of(kind)) }
}

fn denied(what: &'static str, directory: &str) -> Rule {
    Rule { what, paths: Paths::Prefix(format!("/{directory}/")), file: None, headers: None }
}

/// The expression with a leading slash and without names of groups, which servers would make variables; they have a
/// variable `host`.
fn portable(pattern: &str) -> String {
    let mut portable = String::from("^/");
    let mut rest = pattern.strip_prefix('^').unwrap_or(pattern);
    // Parentheses of literals are escaped, so these three characters always open a group.
    while let Some((before, group)) = rest.split_once("(?<") {
        let (_, after) = group.split_once('>').unwrap_or(("", group));
        portable.push_str(before);
        portable.push_str("(?:");
        rest = after;
    }
    portable + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::settings::Views;
    use crate::site::{Preset, Settings, SitePath};
    use oci_discovery::digest::{Algorithm, Digest};
    use oci_discovery::name::ImageName;
    use oci_discovery::template::Template;
    use regex::Regex;

    fn map(index: &str, cas: &str) -> SiteMap {
        SiteMap::new(Settings {
            hosts: vec!["example.com".into()],
            index_template: Template::parse(index).unwrap(),
            cas_template: Template::parse(cas).unwrap(),
            origins: vec!["https://cdn.example.net".into()],
            views: Views { catalogue: true, ..Views::default() },
        })
        .unwrap()
    }

    /// The response of a server that follows the rules to a path.
    fn headers(rules: &[Rule], path: &str) -> Option<Headers> {
        let path = format!("/{path}");
        let matches = |rule: &&Rule| match &rule.paths {
            Paths::Exact(exact) => path == *exact,
            Paths::Prefix(prefix) => path.starts_with(prefix),
            Paths::Pattern(pattern) => Regex::new(pattern).unwrap().is_match(&path),
        };
        rules.iter().find(matches)?.headers.clone()
    }

    #[test]
    fn the_rules_say_what_the_map_says() {
        let digest = Digest::of(Algorithm::Sha512, b"");
        let image = ImageName::parse("example.com/team/app").unwrap();
        for (index, cas) in [
            (Preset::Cas.index_template(), Preset::Cas.cas_template()),
            (Preset::Layout.index_template(), Preset::Layout.cas_template()),
            (Preset::Registry.index_template(), Preset::Registry.cas_template()),
            ("https://{host}/{+path}", "{/algorithm,encoded:2,encoded}"),
            ("https://{+name}/a.b(%3F%3C)/index.json", "/{host}/b$%7B2%7D{/digest}"),
        ] {
            let map = map(index, cas);
            let rules = rules(&map, None);
            let (index_place, blobs) = (map.index_place(&image).unwrap(), map.blob_places(&image).unwrap());
            let marker = map.layout_marker_place(&image, &index_place, &blobs).unwrap().map(|place| place.path);
            let own = [index_place.path, blobs.place(&digest).unwrap().path];
            let others =
                [WELL_KNOWN_PATH, DESCRIPTION, ".ocisite/lock", ".well-known/other", "oci-cas/sha256", "x/oci-layout"]
                    .map(|path| SitePath::new(path).unwrap());
            let pages =
                [catalogue::page_path(&image), catalogue::document_path(&image), catalogue::layers_path(&digest)]
                    .map(Result::unwrap);
            let files = catalogue::FILES.map(|(path, _)| SitePath::new(path).unwrap());
            for path in own.into_iter().chain(marker).chain(others).chain(pages).chain(files) {
                let expected = map.kind_of(&path).as_ref().map(Headers::of);
                assert_eq!(headers(&rules, path.as_str()), expected, "{index} {cas} {path}");
            }
        }
    }

    #[test]
    fn another_origin_has_its_part_and_no_more() {
        let map = map(Preset::Cas.index_template(), "https://cdn.example.net/{digest}");
        let what = |origin| rules(&map, origin).iter().filter(|rule| rule.headers.is_some()).count();
        assert_eq!((what(None), what(Some(0))), (10, 1));
    }
}
