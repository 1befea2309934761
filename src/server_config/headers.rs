//! A list of headers by path, for hosts that accept only such a list.
//!
//! The list has a rule for each kind of path, and its size does not depend on the number of images. The path of a manifest of the
//! registry view does not give its media type; so the rule of manifests has the most frequent type, and each manifest of another
//! type has a rule of its own. The rules are in the order of their precedence: the last one that matches a path applies, alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::glob::Glob;
use super::rules;
use crate::site::object::CORS;
use crate::site::path::{DESCRIPTION, PathError, SitePath};
use crate::site::registry::{self, Endpoint, is_tag};
use crate::site::{Kind, Phase, SiteMap, catalogue};
use oci_discovery::discovery::WELL_KNOWN_PATH;
use oci_discovery::oci::media_type;

/// The headers of a path, by name.
pub type Headers = BTreeMap<&'static str, String>;

/// A rule for some paths.
#[derive(Clone, Debug)]
pub struct Rule {
    pub paths: Glob,
    pub headers: Headers,
    /// Whether the last segment of the path is a digest of the response, for `Docker-Content-Digest`.
    pub has_digest: bool,
}

/// The rules of a site.
#[derive(Clone, Debug)]
pub struct HeaderList {
    /// A rule for each kind of path.
    pub defaults: Vec<Rule>,
    /// A rule for each manifest whose media type is not that of its default.
    pub exceptions: Vec<Rule>,
    /// What a host that can rewrite serves instead of nothing: the path of the request, and that of the file.
    pub rewrites: Vec<(Glob, SitePath)>,
    /// The manifests of the registry view that have a typed name.
    pub manifests: Vec<Manifest>,
}

/// A manifest of the registry view.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The path by which clients ask for it.
    pub path: SitePath,
    /// The name whose ending gives the media type.
    pub typed_path: SitePath,
    pub media_type: &'static str,
}

impl Manifest {
    fn is_by_digest(&self) -> bool {
        self.path.as_str().rsplit('/').next().is_some_and(|reference| !is_tag(reference))
    }
}

/// The list for a site's own root, in which these paths exist. With `cors`, pages of other origins may read the site.
pub fn header_list(map: &SiteMap, paths: &[SitePath], cors: bool) -> Result<HeaderList, PathError> {
    let mut list =
        HeaderList { defaults: templates(map, cors), exceptions: vec![], rewrites: vec![], manifests: vec![] };
    if map.settings().views.catalogue {
        let page = |paths| rule(paths, &Kind::CataloguePage, cors);
        let paths = [Glob::exact(""), Glob::exact(catalogue::LIST_PAGE), Glob::exact(catalogue::LIST)];
        list.defaults.extend(paths.map(page));
        list.defaults.push(page(Glob::below(&format!("{}/", catalogue::ROOT))));
    }
    if map.settings().views.registry {
        list.manifests = manifests(paths);
        list.add_registry(paths, cors)?;
    }
    list.defaults.push(rule(Glob::exact(WELL_KNOWN_PATH), &Kind::RefEngines, cors));
    list.defaults.push(rule(Glob::exact(DESCRIPTION), &Kind::Description, cors));
    Ok(list)
}

/// The rules of what the site's templates name, in the order opposite to that of [`SiteMap::kind_in`].
fn templates(map: &SiteMap, cors: bool) -> Vec<Rule> {
    let views = map.settings().views;
    let all = [
        (map.layout_marker_pattern(), Kind::LayoutMarker),
        (Some(map.index_pattern()), Kind::Index),
        (Some(map.blob_pattern()), Kind::Blob(None)),
    ];
    let own = || all.iter().filter_map(|(pattern, _)| *pattern).filter(|pattern| pattern.origin.is_none());
    let is_alone = |prefix: &str| {
        let overlapping = own().filter(|other| meet(prefix, other.static_prefix())).count();
        let is_of_view = views.registry && meet(prefix, "v2/") || views.catalogue && meet(prefix, "catalogue/");
        overlapping == 1 && !is_of_view
    };
    let mut rules = Vec::new();
    for (pattern, kind) in &all {
        let Some(pattern) = pattern.filter(|pattern| pattern.origin.is_none()) else { continue };
        let prefix = pattern.static_prefix();
        let paths = if is_alone(prefix) { Glob::below(prefix) } else { Glob::of(pattern) };
        rules.push(rule(paths, kind, cors));
    }
    rules
}

/// Whether paths with one prefix can have the other.
fn meet(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// The manifests with a typed name, by their paths.
fn manifests(paths: &[SitePath]) -> Vec<Manifest> {
    let manifests = paths.iter().filter_map(|typed_path| match Endpoint::parse(typed_path.as_str())? {
        Endpoint::TypedManifest { name, reference, media_type } => {
            let path = registry::manifest_path(name, reference).ok()?;
            Some(Manifest { path, typed_path: typed_path.clone(), media_type })
        }
        _ => None,
    });
    manifests.collect()
}

/// The kind of the manifest at the path by which clients ask for it.
fn kind_of_manifest(path: &SitePath) -> Option<Kind> {
    let endpoint = Endpoint::parse(path.as_str())?;
    matches!(endpoint, Endpoint::Manifest { .. }).then(|| endpoint.kind())
}

/// The most frequent type; of several, the first by name.
fn most_frequent(types: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    types.for_each(|media_type| *counts.entry(media_type).or_default() += 1);
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(media_type, _)| media_type)
}

impl HeaderList {
    fn add_registry(&mut self, paths: &[SitePath], cors: bool) -> Result<(), PathError> {
        let (ping, no_referrers) = (registry::ping_path()?, registry::no_referrers_path()?);
        let at = |paths: &str, kind: Kind| rule(Glob::parse(paths), &kind, cors);
        self.defaults.extend([
            at("/v2/**/blobs/*", Kind::Blob(None)),
            at("/v2/**/tags/list", Kind::TagsList),
            at("/v2/**/referrers/*", Kind::Referrers),
            at("/v2/", Kind::RegistryPing),
            at(&format!("/{ping}"), Kind::RegistryPing),
            at(&format!("/{no_referrers}"), Kind::Referrers),
        ]);
        self.rewrites = vec![(Glob::parse("/v2/"), ping), (Glob::parse("/v2/**/referrers/*"), no_referrers)];
        for (pattern, kind) in
            [("/v2/**/manifests/*", Kind::RegistryTag(None)), ("/v2/**/manifests/*:*", Kind::RegistryManifest(None))]
        {
            let has_digest = kind == Kind::RegistryManifest(None);
            let of = |paths, media_type: &str| Rule {
                has_digest,
                ..rule(paths, &kind.clone().with_media_type(media_type), cors)
            };
            let typed: Vec<&Manifest> = self.manifests.iter().filter(|one| one.is_by_digest() == has_digest).collect();
            let default = most_frequent(typed.iter().map(|one| one.media_type)).unwrap_or(media_type::MANIFEST);
            self.defaults.push(of(Glob::parse(pattern), default));
            let others = typed.iter().filter(|one| one.media_type != default);
            self.exceptions.extend(others.map(|one| of(Glob::exact(one.path.as_str()), one.media_type)));
            let typed: BTreeSet<&SitePath> = typed.iter().map(|one| &one.path).collect();
            let untyped = paths.iter().filter(|path| kind_of_manifest(path).as_ref() == Some(&kind));
            let untyped = untyped.filter(|path| !typed.contains(path));
            self.exceptions.extend(untyped.map(|path| of(Glob::exact(path.as_str()), media_type::OCTET_STREAM)));
        }
        Ok(())
    }

    /// All rules, each after those that it overrides.
    pub fn rules(&self) -> impl DoubleEndedIterator<Item = &Rule> {
        self.defaults.iter().chain(&self.exceptions)
    }

    /// The headers of a rule that differ from those that the default rule for its paths sets.
    pub fn changes<'r>(&self, exception: &'r Rule) -> impl Iterator<Item = (&'static str, &'r str)> {
        let default = self.defaults.iter().rev().find(|default| default.paths.matches(exception.paths.prefix()));
        let is_same =
            move |name: &str, value: &String| default.is_some_and(|rule| rule.headers.get(name) == Some(value));
        exception
            .headers
            .iter()
            .filter(move |(name, value)| !is_same(name, value))
            .map(|(name, value)| (*name, value.as_str()))
    }

    /// The rules for programs, which compute `Docker-Content-Digest` themselves.
    pub fn to_json(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct Entry {
            path: String,
            headers: Headers,
        }
        self.rules()
            .map(|rule| Entry { path: rule.paths.to_string(), headers: rule.headers.clone() })
            .collect::<Vec<_>>()
    }
}

/// The rule of a kind. Every host knows the media types of the catalogue's files by their endings; so all of them have the same
/// headers here, including the pages' policy, which does nothing in the others.
fn rule(paths: Glob, kind: &Kind, cors: bool) -> Rule {
    let served = rules::Headers::of(kind);
    let mut headers =
        Headers::from([("Cache-Control", served.cache_control), ("X-Content-Type-Options", "nosniff".into())]);
    if kind.phase() != Phase::Catalogue {
        headers.insert("Content-Type", served.content_type);
    }
    if *kind == Kind::RegistryPing {
        headers.insert("Docker-Distribution-Api-Version", "registry/2.0".into());
    }
    let others = served.others.iter().chain(CORS.iter().filter(|_| cors));
    headers.extend(others.map(|(name, value)| (*name, value.to_string())));
    Rule { paths, headers, has_digest: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::settings::Views;
    use crate::site::{Preset, Settings};
    use oci_discovery::template::Template;

    fn list(preset: Preset, paths: &[&str]) -> HeaderList {
        let settings = Settings {
            hosts: vec!["example.com".into()],
            index_template: Template::parse(preset.index_template()).unwrap(),
            cas_template: Template::parse(preset.cas_template()).unwrap(),
            origins: vec![],
            views: Views { catalogue: false, registry: true },
        };
        let paths: Vec<SitePath> = paths.iter().map(|path| SitePath::new(path).unwrap()).collect();
        header_list(&SiteMap::new(settings).unwrap(), &paths, true).unwrap()
    }

    fn paths(rules: &[Rule]) -> Vec<String> {
        rules.iter().map(|rule| rule.paths.to_string()).collect()
    }

    #[test]
    fn each_kind_of_path_has_one_rule() {
        let templates = |preset| paths(&list(preset, &[]).defaults[..2]);
        assert_eq!(templates(Preset::Cas), ["/oci-index/**", "/oci-cas/**"]);
        let layout = paths(&list(Preset::Layout, &[]).defaults[..3]);
        assert_eq!(layout, ["/oci-image/**/oci-layout", "/oci-image/**/index.json", "/oci-image/**/blobs/*/*"]);
        let view = paths(&list(Preset::Cas, &[]).defaults[2..]);
        assert_eq!(view[..3], ["/v2/**/blobs/*", "/v2/**/tags/list", "/v2/**/referrers/*"]);
        assert_eq!(view[6..8], ["/v2/**/manifests/*", "/v2/**/manifests/*:*"]);
    }

    #[test]
    fn a_manifest_has_a_rule_if_its_type_is_not_the_most_frequent() {
        // Given the tags of two images and of one list of platforms.
        let mut files = Vec::new();
        for (tag, ending) in [("1.0", "oci-manifest"), ("1.1", "oci-manifest"), ("list", "oci-index")] {
            files.extend([format!("v2/app/manifests/{tag}"), format!("v2/app/_manifests/{tag}.{ending}")]);
        }
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        // When the list is made, then the list of platforms has the only rule of its own.
        let list = list(Preset::Cas, &files);
        assert_eq!(paths(&list.exceptions), ["/v2/app/manifests/list"]);
        assert_eq!(list.exceptions[0].headers["Content-Type"], media_type::INDEX);
        let tags = list.defaults.iter().find(|rule| rule.paths.to_string() == "/v2/**/manifests/*").unwrap();
        assert_eq!(tags.headers["Content-Type"], media_type::MANIFEST);
    }
}
