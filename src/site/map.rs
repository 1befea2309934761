//! The places of a site's objects: from names and digests to paths, and from paths to the kinds of objects.
//!
//! Both directions follow from the two templates. Forwards, a template is expanded as a consumer does it, and the URI
//! becomes a path, so that consumers request the paths that are written. Backwards, the template becomes a regular
//! expression for the preview server and the server configurations, which do not know the images.

use std::borrow::Cow;
use std::collections::BTreeSet;

use url::Url;

use super::catalogue;
use super::index::Index;
use super::object::Kind;
use super::path::{self, PathError, SitePath};
use super::pattern::{Marks, Names, PathParser, PathPattern, Values};
use super::registry::{self, Endpoint};
use super::settings::Settings;
use crate::layout;
use crate::shell;
use oci_discovery::digest::Digest;
use oci_discovery::name::ImageName;
use oci_discovery::template::{self, DIGEST_VARIABLES, Template, TemplateError, Variables};

/// The place of an object: a path in the site's own root, or in the store of another origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The position in [`Settings::origins`]. None: the site's own root.
    pub origin: Option<usize>,
    pub path: SitePath,
}

/// The checked settings of a site, and what follows from them.
#[derive(Clone, Debug)]
pub struct SiteMap {
    settings: Settings,
    index: Paths,
    blob: Paths,
    layout_marker: Option<Paths>,
}

/// The paths of one kind, in both directions.
#[derive(Clone, Debug)]
struct Paths {
    pattern: PathPattern,
    parser: PathParser,
}

/// The places of one image's blobs. All but the digest is expanded once: expanding a template and parsing a URI for
/// each of a hundred thousand blobs takes longer than publishing them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobPlaces(PathPattern);

/// The template that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Index,
    Cas,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Index => "index template",
            Role::Cas => "CAS template",
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MapError {
    #[error("the {role} {template} cannot be used")]
    Template {
        role: Role,
        template: String,
        #[source]
        source: TemplateError,
    },
    #[error("the {role} {template} has the variable {{{variable}}}: {reason}")]
    Variable { role: Role, template: String, variable: String, reason: &'static str },
    #[error(
        "the CAS template {template} gives several digests the same path: it needs {{digest}}, or {{algorithm}} and {{encoded}}, \
         without a prefix"
    )]
    TwoDigests { template: String },
    #[error(
        "the CAS template {template} is relative to the document that contains it, so it would give another path in every \
         index: begin it with a slash, or with https://"
    )]
    Relative { template: String },
    /// A relative template: it is resolved against the URL of the ref-engines object.
    #[error(
        "the index template {template} is relative to /.well-known/, so every index would be below that directory: begin the \
         template with a slash, or with https://"
    )]
    BelowWellKnown { template: String },
    #[error(
        "the {role} {template} gives {uri}{}, which has a {part}: a static site serves paths of files only; choose a template \
         without one", told(.name)
    )]
    NotAPath {
        role: Role,
        template: String,
        uri: String,
        /// None: it is so for every name.
        name: Option<ImageName>,
        /// `query`, `fragment`, `user name`, `password` or `slash at its end`.
        part: &'static str,
    },
    /// Text that is no http or https URI.
    #[error(
        "the {role} {template} gives {text:?}{}, which is not an http or https URI: {problem}{}", told(.name), hint(.name)
    )]
    NotAUri {
        /// Index or CAS.
        role: Role,
        template: String,
        /// What it expands to.
        text: String,
        /// None: it is so for every name.
        name: Option<ImageName>,
        problem: String,
    },
    /// A path that no rendered configuration serves.
    #[error(
        "the index template {template} gives {name} the path {path}, which no rendered server configuration serves; choose \
         another template"
    )]
    Unserved { template: String, name: ImageName, path: SitePath },
    /// A URI at an origin that no directory was given for.
    #[error(
        "the {role} {template} leads to {origin}, which is neither the image's host nor a known store: \
         give the directory or bucket for its files with `--store {}`",
        shell::quote(&format!("{origin}=DIR"))
    )]
    UnknownOrigin { role: Role, template: String, origin: String },
    #[error("{subject} cannot be a file in the site")]
    Path {
        /// The image name, or the digest.
        subject: String,
        #[source]
        source: PathError,
    },
    #[error(
        "{image} has the segment {segment:?}: web servers hide paths with a segment that begins with a dot, such as .git; \
         choose another name"
    )]
    Hidden {
        image: String,
        /// The segment, decoded.
        segment: String,
    },
    #[error(
        "{subject} would have the path {path}, which is reserved for {owner}; choose another name, or another \
         template for a new site"
    )]
    Reserved {
        /// The image name, or the digest.
        subject: String,
        path: SitePath,
        owner: &'static str,
    },
}

/// The places that the indexes of one image's refs can have.
#[derive(Clone, Debug)]
pub struct RefPlaces {
    origin: Option<usize>,
    /// The path before the ref.
    before: String,
    /// The path behind the ref. None: the path has no ref, and is all of `before`.
    after: Option<String>,
}

impl RefPlaces {
    /// Whether a place is one of these.
    pub fn may_have(&self, place: &Place) -> bool {
        let path = place.path.as_str();
        let is_path = match &self.after {
            Some(after) => path.strip_prefix(&self.before).is_some_and(|rest| rest.ends_with(after.as_str())),
            None => path == self.before,
        };
        place.origin == self.origin && is_path
    }
}

fn told(name: &Option<ImageName>) -> String {
    name.as_ref().map_or(String::new(), |name| format!(" for {name}"))
}

fn hint(name: &Option<ImageName>) -> &'static str {
    match name {
        Some(name) if name.host().starts_with('[') => {
            "; consumers encode the brackets of an address where a template has {host}: use {+host}, or a template that begins \
             with a slash"
        }
        _ => "",
    }
}

impl MapError {
    /// The same error, of every name: its URI with variables in place of the markers.
    fn readable(mut self, readable: impl Fn(&str) -> String) -> MapError {
        if let MapError::NotAPath { uri: text, .. }
        | MapError::NotAUri { text, .. }
        | MapError::UnknownOrigin { origin: text, .. } = &mut self
        {
            *text = readable(text);
        }
        self
    }

    /// The same error, of one name.
    fn of(mut self, of: &ImageName) -> MapError {
        if let MapError::NotAPath { name, .. } | MapError::NotAUri { name, .. } = &mut self {
            *name = Some(of.clone());
        }
        self
    }
}

/// Top-level names that belong to no image, and what they belong to.
const RESERVED: [(&str, &str); 8] = [
    (path::WELL_KNOWN, "well-known resources"),
    (path::PRIVATE_DIRECTORY, "ocisite's locks and temporary files"),
    (path::DESCRIPTION, "the site's own description"),
    (registry::ROOT, "the registry view"),
    (catalogue::LIST_PAGE, "the catalogue"),
    (catalogue::LIST, "the catalogue"),
    (catalogue::ROOT, "the catalogue"),
    ("robots.txt", "the web server"),
];

impl SiteMap {
    /// Checks that the templates use only available variables and give static paths.
    pub fn new(settings: Settings) -> Result<SiteMap, MapError> {
        check_variables(&settings)?;
        check_one_path_per_digest(&settings.cas_template)?;
        let index = paths(&settings, Role::Index)?;
        let blob = paths(&settings, Role::Cas)?;
        let layout_marker = index.pattern.beside(layout::INDEX_FILE, layout::LAYOUT_FILE);
        let layout_marker = layout_marker.and_then(|pattern| Some(Paths { parser: pattern.parser().ok()?, pattern }));
        Ok(SiteMap { settings, index, blob, layout_marker })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The paths of indexes.
    pub fn index_pattern(&self) -> &PathPattern {
        &self.index.pattern
    }

    /// The paths of blobs.
    pub fn blob_pattern(&self) -> &PathPattern {
        &self.blob.pattern
    }

    /// The paths of the `oci-layout` files beside indexes called `index.json`. None: indexes have other names.
    pub fn layout_marker_pattern(&self) -> Option<&PathPattern> {
        self.layout_marker.as_ref().map(|paths| &paths.pattern)
    }

    /// Whether all images share one pool of blobs: the CAS template has no name variable.
    pub fn cas_is_shared(&self) -> bool {
        self.settings.cas_template.variables().iter().all(|variable| DIGEST_VARIABLES.contains(variable))
    }

    /// A place in messages: its path, with the origin if it is another than the site's.
    pub fn show(&self, place: &Place) -> String {
        let origin = place.origin.and_then(|position| self.settings.origins.get(position));
        origin.map_or(place.path.to_string(), |origin| format!("{origin}/{}", place.path))
    }

    /// Whether each ref has an index of its own, beside that of its image: the index template depends on the ref.
    pub fn has_ref_indexes(&self) -> bool {
        self.index.pattern.depends_on_ref()
    }

    /// The name by which a consumer asks for the index of a ref. None: the index of the image is the only one that has the ref,
    /// because no index is of one ref, or because no name can end in this ref.
    pub fn ref_index_name(&self, image: &ImageName, reference: &str) -> Option<ImageName> {
        let is_asked_for = self.has_ref_indexes() && !reference.is_empty();
        is_asked_for.then(|| image.with_fragment(Some(reference)).ok()).flatten()
    }

    /// The places that indexes of an image's refs can have, whatever the refs. None: no index of another image can be mistaken for
    /// one of these, because the template does not depend on the ref, or has the whole name: no path has a `#`, so that the name
    /// can be read back.
    pub fn ref_places(&self, image: &ImageName) -> Option<RefPlaces> {
        let variables = self.settings.index_template.variables();
        if !variables.contains("fragment") || variables.contains("name") {
            return None;
        }
        let mut any = String::from("any");
        while image.path().contains(&any) {
            any.push('x');
        }
        let Place { origin, path } = self.index_place(&image.with_fragment(Some(&any)).ok()?).ok()?;
        let path = path.as_str();
        let around = path.find(&any).zip(path.rfind(&any));
        let around = around.and_then(|(first, last)| Some((path.get(..first)?, path.get(last + any.len()..)?)));
        let (before, after) = around.map_or((path, None), |(before, after)| (before, Some(after.to_string())));
        Some(RefPlaces { origin, before: before.into(), after })
    }

    /// The URI of the index that a consumer asks for who has this name.
    pub fn index_uri(&self, name: &ImageName) -> Result<Url, MapError> {
        let expanded = self.expand(Role::Index, &self.settings.index_template, &template::name_variables(name))?;
        self.resolve(Role::Index, &well_known_uri(name.host()), &expanded).map_err(|error| error.of(name))
    }

    /// The place of the index of a name: of an image or, where refs have indexes of their own, of a ref.
    pub fn index_place(&self, image: &ImageName) -> Result<Place, MapError> {
        let wrong = |source| MapError::Path { subject: image.to_string(), source };
        // The name itself must be plain: otherwise `%2F` in a name and the `%2F` that {path} writes for a slash would
        // have the same path.
        SitePath::from_uri_path(image.path()).map_err(wrong)?;
        let uri = self.index_uri(image)?;
        if uri.path().ends_with('/') {
            let (template, part) = (self.settings.index_template.to_string(), "slash at its end");
            let name = Some(image.clone());
            return Err(MapError::NotAPath { role: Role::Index, template, uri: uri.into(), name, part });
        }
        let place = self.place(Role::Index, &image.to_string(), Some(image.host()), &uri)?;
        refuse_reserved(&image.to_string(), &place, false)?;
        let is_other = |path: &SitePath| self.kind_of(path).is_some_and(|kind| kind != Kind::Index);
        let folded = SitePath::new(&place.path.folded());
        if place.origin.is_none() && (is_other(&place.path) || folded.is_ok_and(|folded| is_other(&folded))) {
            let owner = "the blobs of the CAS";
            return Err(MapError::Reserved { subject: image.to_string(), path: place.path, owner });
        }
        Ok(place)
    }

    /// Refuses a name with a segment that begins with a dot, and one whose index has a path that servers do not take for an index.
    /// Only a publish asks: an existing site may have such a name, and can lose it.
    pub fn refuse_unserved(&self, name: &ImageName) -> Result<(), MapError> {
        let segments = std::iter::once(name.host()).chain(name.path().split('/'));
        let decode = |segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned();
        if let Some(segment) = segments.map(decode).find(|segment| segment.starts_with('.')) {
            return Err(MapError::Hidden { image: name.to_string(), segment });
        }
        let Place { origin, path } = self.index_place(name)?;
        match self.kind_in(origin, &path) {
            Some(Kind::Index) => Ok(()),
            _ => {
                Err(MapError::Unserved { template: self.settings.index_template.to_string(), name: name.clone(), path })
            }
        }
    }

    /// The CAS template in the index of `image`: name variables expanded, digest variables kept.
    pub fn published_cas_template(&self, image: &ImageName) -> Result<Template, MapError> {
        let template = &self.settings.cas_template;
        template.expand_some(&template::image_variables(image)).map_err(|source| MapError::Template {
            role: Role::Cas,
            template: template.to_string(),
            source,
        })
    }

    /// The place of a blob of `image`.
    pub fn blob_place(&self, image: &ImageName, digest: &Digest) -> Result<Place, MapError> {
        self.blob_places(image)?.place(digest)
    }

    /// The places of the blobs of `image`.
    pub fn blob_places(&self, image: &ImageName) -> Result<BlobPlaces, MapError> {
        let template = self.published_cas_template(image)?;
        let marks = Marks::new(&template, Names::Images).map_err(|source| MapError::Template {
            role: Role::Cas,
            template: template.to_string(),
            source,
        })?;
        let uri = self.resolve(Role::Cas, &self.index_uri(&image.image())?, &marks.expanded)?;
        if let Some(used) = uri.host_str().and_then(|host| marks.find_in(host)) {
            let (variable, template) = (used.variable.clone(), template.to_string());
            let reason = "every host would have to be known, so a host cannot depend on the digest";
            return Err(MapError::Variable { role: Role::Cas, template, variable, reason });
        }
        let (origin, path) = self.decoded(Role::Cas, image.path(), Some(image.host()), &uri)?;
        Ok(BlobPlaces(PathPattern::new(origin, &path, &marks)))
    }

    /// The place of the `oci-layout` file of an image, if its index and blobs have the paths of an OCI layout.
    pub fn layout_marker_place(
        &self,
        image: &ImageName,
        index: &Place,
        blobs: &BlobPlaces,
    ) -> Result<Option<Place>, MapError> {
        let Some(root) = index.path.as_str().strip_suffix(layout::INDEX_FILE) else { return Ok(None) };
        let digest = Digest::of(oci_discovery::digest::Algorithm::Sha256, b"");
        let blob = blobs.place(&digest)?;
        let expected = format!("{root}{}", layout::blob_path(&digest));
        if !root.ends_with('/') || blob.origin != index.origin || blob.path.as_str() != expected {
            return Ok(None);
        }
        let path = SitePath::new(&format!("{root}{}", layout::LAYOUT_FILE))
            .map_err(|source| MapError::Path { subject: image.to_string(), source })?;
        Ok(Some(Place { origin: index.origin, path }))
    }

    /// The kind of the object at a path of the site's own root. None: the path is not of the site.
    pub fn kind_of(&self, path: &SitePath) -> Option<Kind> {
        match path.as_str() {
            oci_discovery::discovery::WELL_KNOWN_PATH => return Some(Kind::RefEngines),
            path::DESCRIPTION => return Some(Kind::Description),
            _ => {}
        }
        if self.settings.views.registry
            && let Some(endpoint) = Endpoint::parse(path.as_str())
        {
            return Some(endpoint.kind());
        }
        if self.settings.views.catalogue
            && let Some(kind) = catalogue::kind(path.as_str())
        {
            return Some(kind);
        }
        self.kind_in(None, path)
    }

    /// The kind of the object at a path in the root of an origin (see [`Place`]).
    pub fn kind_in(&self, origin: Option<usize>, path: &SitePath) -> Option<Kind> {
        if self.blob.pattern.origin == origin && self.digest_at(path).is_some() {
            return Some(Kind::Blob(None));
        }
        if self.index.pattern.origin != origin || matches!(path.top(), path::WELL_KNOWN | path::PRIVATE_DIRECTORY) {
            return None;
        }
        if self.index.parser.is_match(path.as_str()) {
            return Some(Kind::Index);
        }
        let is_marker = self.layout_marker.as_ref().is_some_and(|marker| marker.parser.is_match(path.as_str()));
        is_marker.then_some(Kind::LayoutMarker)
    }

    /// The same, including the views.
    pub fn kind_at(&self, origin: Option<usize>, path: &SitePath) -> Option<Kind> {
        if origin.is_none() { self.kind_of(path) } else { self.kind_in(origin, path) }
    }

    /// Whether the root of an origin can have objects of the site at or below a path.
    pub fn may_hold(&self, origin: Option<usize>, path: &SitePath) -> bool {
        let views = self.settings.views;
        let is_own = match path.top() {
            path::WELL_KNOWN => oci_discovery::discovery::WELL_KNOWN_PATH.starts_with(path.as_str()),
            registry::ROOT => views.registry,
            catalogue::ROOT => views.catalogue,
            _ => false,
        };
        let below = format!("{path}/");
        let can_hold = |prefix: &str| prefix.starts_with(&below) || below.starts_with(prefix);
        let mut patterns = [&self.index.pattern, &self.blob.pattern].into_iter();
        (is_own && origin.is_none())
            || self.kind_at(origin, path).is_some()
            || patterns.any(|pattern| pattern.origin == origin && can_hold(pattern.static_prefix()))
    }

    /// The digest in the path of a blob.
    pub fn digest_at(&self, path: &SitePath) -> Option<Digest> {
        let values = self.blob.parser.parse(path.as_str())?;
        let digest = match values.get("digest") {
            Some(digest) => Digest::parse(digest),
            None => Digest::parse(&format!("{}:{}", values.get("algorithm")?, values.get("encoded")?)),
        };
        let digest = digest.ok()?;
        let agrees = |variable: &&str| values.agree(variable, digest_variable(&digest, variable));
        DIGEST_VARIABLES.iter().all(agrees).then_some(digest)
    }

    /// The names whose index can be at a path of the site's own root: of images or, where refs have indexes of their own, of refs.
    /// Several, if the path can be read in several ways: only the document says which is right ([`SiteMap::names_of`]). None, if the
    /// template does not tell.
    pub fn names_at(&self, path: &SitePath) -> Vec<ImageName> {
        self.readings(path, |_| true)
    }

    /// Those of [`SiteMap::names_at`] that the index at the path agrees with; all, if it agrees with none.
    pub fn names_of(&self, path: &SitePath, index: &Index) -> Vec<ImageName> {
        let mut names = self.names_at(path);
        if names.iter().any(|name| index.may_be_of(name)) {
            names.retain(|name| index.may_be_of(name));
        }
        names
    }

    fn readings(&self, path: &SitePath, is_possible: impl Fn(&ImageName) -> bool) -> Vec<ImageName> {
        let only_host = self.settings.hosts.first().map(String::as_str);
        let name = |values: &Values<'_>| {
            let host = values.get("host").or(only_host)?;
            ImageName::new(host, values.get("path")?, values.reference()).ok()
        };
        let has_place = |name: &ImageName| self.index_place(name).is_ok_and(|place| place.path == *path);
        let readings = self.index.parser.readings(path.as_str()).unwrap_or_default();
        let mut names: Vec<ImageName> =
            readings.iter().filter_map(name).filter(|name| is_possible(name) && has_place(name)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The same index under the site's host, where the site has only one and a path has another host. None: it is as it should be.
    pub fn index_of_only_host(&self, path: &SitePath, is_other: impl Fn(&str) -> bool) -> Option<SitePath> {
        let [host] = self.settings.hosts.as_slice() else { return None };
        let names = self.readings(path, |name| name.host() != host && is_other(name.host()));
        // All readings with one host have the same path under another.
        let name = names.first()?;
        let name = ImageName::new(host, name.path(), name.fragment()).ok()?;
        Some(self.index_place(&name).ok()?.path)
    }

    fn expand(&self, role: Role, template: &Template, variables: &Variables) -> Result<String, MapError> {
        let wrong = |source| MapError::Template { role, template: template.to_string(), source };
        template.expand(variables).map_err(wrong)
    }

    fn resolve(&self, role: Role, base: &Url, text: &str) -> Result<Url, MapError> {
        resolve(role, self.template(role), base, text)
    }

    fn template(&self, role: Role) -> &Template {
        match role {
            Role::Index => &self.settings.index_template,
            Role::Cas => &self.settings.cas_template,
        }
    }

    fn place(&self, role: Role, subject: &str, host: Option<&str>, uri: &Url) -> Result<Place, MapError> {
        let (origin, path) = self.decoded(role, subject, host, uri)?;
        let path = SitePath::new(&path).map_err(|source| MapError::Path { subject: subject.into(), source })?;
        Ok(Place { origin, path })
    }

    /// The root of a URI, and its path as a web server decodes it: once and as a whole, so that `%2F` (which {path}
    /// writes for a slash) is a separator.
    fn decoded<'a>(
        &self,
        role: Role,
        subject: &str,
        host: Option<&str>,
        uri: &'a Url,
    ) -> Result<(Option<usize>, Cow<'a, str>), MapError> {
        let origin = origin_of(&self.settings, role, host, uri)?;
        let decoded = percent_encoding::percent_decode_str(uri.path().trim_start_matches('/')).decode_utf8();
        let path = decoded.map_err(|_| MapError::Path {
            subject: subject.into(),
            source: PathError::Encoding { path: uri.path().into() },
        })?;
        Ok((origin, path))
    }
}

impl BlobPlaces {
    /// The place of a blob.
    pub fn place(&self, digest: &Digest) -> Result<Place, MapError> {
        let wrong = |source| MapError::Path { subject: digest.to_string(), source };
        let path = self.0.path(|variable| digest_variable(digest, variable));
        let place = Place { origin: self.0.origin, path: SitePath::new(&path).map_err(wrong)? };
        refuse_reserved(digest.as_str(), &place, true)?;
        Ok(place)
    }
}

fn digest_variable<'a>(digest: &'a Digest, name: &str) -> &'a str {
    match name {
        "algorithm" => digest.algorithm().name(),
        "encoded" => digest.encoded(),
        _ => digest.as_str(),
    }
}

fn refuse_reserved(subject: &str, place: &Place, is_blob: bool) -> Result<(), MapError> {
    let folded = place.path.folded();
    let top = folded.split('/').next().unwrap_or_default();
    let is_registry_blob = is_blob && place.path.top() == registry::ROOT;
    match RESERVED.iter().find(|(name, _)| *name == top) {
        Some((_, owner)) if !is_registry_blob => {
            Err(MapError::Reserved { subject: subject.into(), path: place.path.clone(), owner })
        }
        _ => Ok(()),
    }
}

/// The well-known URI of a host.
pub fn well_known_uri(host: &str) -> Url {
    // The host of an image name is valid. If the URL parser disagrees, a base that serves nothing is harmless.
    Url::parse(&format!("https://{host}/{}", oci_discovery::discovery::WELL_KNOWN_PATH))
        .unwrap_or_else(|_| fallback_uri())
}

fn fallback_uri() -> Url {
    #[expect(clippy::unwrap_used, reason = "a constant of this program")]
    Url::parse("https://invalid/").unwrap()
}

fn check_variables(settings: &Settings) -> Result<(), MapError> {
    let refuse = |role, template: &Template, variable: &str, reason| {
        Err(MapError::Variable { role, template: template.to_string(), variable: variable.into(), reason })
    };
    let index = &settings.index_template;
    for variable in index.variables() {
        match variable {
            "name" | "host" | "path" | "fragment" => {}
            _ => {
                let reason = "a consumer knows only name, host, path and fragment (oci-index-template-v1)";
                return refuse(Role::Index, index, variable, reason);
            }
        }
    }
    let cas = &settings.cas_template;
    for variable in cas.variables() {
        match variable {
            "name" | "host" | "path" | "digest" | "algorithm" | "encoded" => {}
            "fragment" => {
                let reason = "a blob is shared by all refs of its image, so its path cannot depend on the ref";
                return refuse(Role::Cas, cas, variable, reason);
            }
            _ => {
                let reason = "expected digest, algorithm, encoded (oci-cas-template-v1), or name, host, path";
                return refuse(Role::Cas, cas, variable, reason);
            }
        }
    }
    Ok(())
}

fn check_one_path_per_digest(template: &Template) -> Result<(), MapError> {
    let mut whole = BTreeSet::new();
    for expression in template.expressions() {
        whole.extend(expression.variables.iter().filter(|v| v.prefix.is_none()).map(|v| v.name.as_str()));
    }
    if whole.contains("digest") || (whole.contains("algorithm") && whole.contains("encoded")) {
        return Ok(());
    }
    Err(MapError::TwoDigests { template: template.to_string() })
}

fn resolve(role: Role, template: &Template, base: &Url, text: &str) -> Result<Url, MapError> {
    let not_a_uri = |problem: String| MapError::NotAUri {
        role,
        template: template.to_string(),
        text: text.into(),
        name: None,
        problem,
    };
    let uri = base.join(text).map_err(|error| not_a_uri(error.to_string()))?;
    if !matches!(uri.scheme(), "http" | "https") {
        return Err(not_a_uri(format!("its scheme is {}", uri.scheme())));
    }
    let part = match () {
        _ if uri.query().is_some() => "query",
        _ if uri.fragment().is_some() => "fragment",
        _ if !uri.username().is_empty() => "user name",
        _ if uri.password().is_some() => "password",
        _ => return Ok(uri),
    };
    Err(MapError::NotAPath { role, template: template.to_string(), uri: uri.into(), name: None, part })
}

/// The root of a URI. The image's own host and the hosts of the site, on their default ports, are the site's own root.
fn origin_of(settings: &Settings, role: Role, host: Option<&str>, uri: &Url) -> Result<Option<usize>, MapError> {
    let uri_host = uri.host_str().unwrap_or_default();
    // An address may be written in several ways, and URIs have it in one.
    let is_own = host.is_some_and(|host| well_known_uri(host).host_str() == Some(uri_host))
        || settings.hosts.iter().any(|host| host == uri_host);
    if is_own && uri.port().is_none() {
        return Ok(None);
    }
    let origin = uri.origin().ascii_serialization();
    match settings.origins.iter().position(|known| *known == origin) {
        Some(position) => Ok(Some(position)),
        None => {
            let template = match role {
                Role::Index => &settings.index_template,
                Role::Cas => &settings.cas_template,
            };
            Err(MapError::UnknownOrigin { role, template: template.to_string(), origin })
        }
    }
}

/// The paths of one of the site's templates.
fn paths(settings: &Settings, role: Role) -> Result<Paths, MapError> {
    let template = match role {
        Role::Index => &settings.index_template,
        Role::Cas => &settings.cas_template,
    };
    let wrong = |source| MapError::Template { role, template: template.to_string(), source };
    let names = if role == Role::Index { Names::Refs } else { Names::Images };
    let marks = Marks::new(template, names).map_err(wrong)?;
    let text = &marks.expanded;
    if role == Role::Cas && !text.starts_with('/') && !text.contains("://") {
        return Err(MapError::Relative { template: template.to_string() });
    }
    // The base stands for the URL of any document, and a marker for the image's host. Both are the site itself.
    let base = "ocisitebase";
    let readable = |text: &str| marks.readable(&text.replacen(base, "{host}", 1));
    let uri = resolve(role, template, &well_known_uri(base), text).map_err(|error| error.readable(readable))?;
    let host = uri.host_str().filter(|host| *host == base || marks.find_in(host).is_some());
    let origin = origin_of(settings, role, host, &uri).map_err(|error| error.readable(readable))?;
    let path = percent_encoding::percent_decode_str(uri.path().trim_start_matches('/')).decode_utf8_lossy();
    let is_relative = !text.starts_with('/') && !text.contains("://");
    if is_relative && path.split('/').next() == Some(path::WELL_KNOWN) {
        return Err(MapError::BelowWellKnown { template: template.to_string() });
    }
    let pattern = PathPattern::new(origin, &path, &marks);
    match pattern.parser() {
        Ok(parser) => Ok(Paths { pattern, parser }),
        Err(error) => {
            let (template, text, problem) = (template.to_string(), readable(text), error.to_string());
            Err(MapError::NotAUri { role, template, text, name: None, problem })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_discovery::digest::Algorithm;
    use proptest::prelude::*;

    fn map(index: &str, cas: &str) -> Result<SiteMap, MapError> {
        SiteMap::new(Settings {
            hosts: vec!["example.com".into()],
            index_template: Template::parse(index).unwrap(),
            cas_template: Template::parse(cas).unwrap(),
            origins: vec!["https://cdn.example.net".into()],
            views: Default::default(),
        })
    }

    fn name(text: &str) -> ImageName {
        ImageName::parse(text).unwrap()
    }

    /// An index with one entry.
    fn index_with(reference: &str) -> Index {
        let digest = Digest::of(Algorithm::Sha256, b"");
        let annotations = format!(r#"{{"org.opencontainers.image.ref.name":"{reference}"}}"#);
        let entry = format!(r#"{{"mediaType":"a/b","size":0,"digest":"{digest}","annotations":{annotations}}}"#);
        Index::parse(format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#).as_bytes()).unwrap()
    }

    const INDEX: &str = "https://{host}/oci-index/{+path}";
    const CAS: &str = "/oci-cas/{algorithm}/{encoded:2}/{encoded}";

    #[test]
    fn both_forms_of_path_give_the_same_tree() {
        for index in [INDEX, "https://{host}/oci-index/{path}", "/oci-index/{+path}", "../oci-index{/path}"] {
            let place = map(index, CAS).unwrap().index_place(&name("example.com/team/app")).unwrap();
            assert_eq!((place.origin, place.path.as_str()), (None, "oci-index/team/app"), "{index}");
        }
    }

    #[test]
    fn a_path_is_recognised_as_what_lives_there() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        for (index, cas) in [
            (INDEX, CAS),
            ("https://{host}/oci-image/{+path}/index.json", "/oci-image/{+path}/blobs/{algorithm}/{encoded}"),
            (INDEX, "/v2/{+path}/blobs/{digest}"),
            ("https://{+name}/index.json", "{/algorithm,encoded:2,encoded}"),
            ("/i/{name}", "https://example.com/{host}/b{/digest}"),
            ("https://{host}/i.{+path}", "/cas{/algorithm:3,encoded}/{algorithm}"),
            ("https://{host}/i/{host}/{+path}", "https://{host}/c/{host}/{digest}"),
            ("https://{host}/x/{host}/../{+path}", "/x/{algorithm}/../{digest}"),
            ("https://{host}/marker0end/{+path}", "/marker/cas{;algorithm,encoded}"),
        ] {
            let map = map(index, cas).unwrap();
            let image = name("example.com/team/app");
            let index_path = map.index_place(&image).unwrap().path;
            assert_eq!(map.kind_of(&index_path), Some(Kind::Index), "{index} {index_path}");
            assert_eq!(map.names_at(&index_path), std::slice::from_ref(&image), "{index} {index_path}");
            let blob_path = map.blob_place(&image, &digest).unwrap().path;
            assert_eq!(map.kind_of(&blob_path), Some(Kind::Blob(None)), "{cas} {blob_path}");
            assert_eq!(map.digest_at(&blob_path), Some(digest.clone()), "{cas} {blob_path}");
        }
    }

    #[test]
    fn the_index_of_a_ref_is_recognised_as_its_own() {
        for (index, path) in [
            ("https://{host}/ref/{name}", "ref/example.com/team/app#1.0"),
            ("/{name}/index.json", "example.com/team/app#1.0/index.json"),
            ("https://{host}/i/{+path}.{fragment}", "i/team/app.1.0"),
        ] {
            let map = map(index, CAS).unwrap();
            let (image, name) = (name("example.com/team/app"), name("example.com/team/app#1.0"));
            assert_eq!(map.ref_index_name(&image, "1.0"), Some(name.clone()), "{index}");
            assert_eq!((map.ref_index_name(&image, ""), map.ref_index_name(&image, "a b")), (None, None), "{index}");
            for name in [image, name.clone()] {
                let place = map.index_place(&name).unwrap();
                assert_eq!(map.kind_of(&place.path), Some(Kind::Index), "{index} {}", place.path);
                assert_eq!(map.names_of(&place.path, &index_with("1.0")), [name], "{index} {}", place.path);
            }
            assert_eq!(map.index_place(&name).unwrap().path.as_str(), path);
        }
        // By default an index has all refs of its image.
        assert_eq!(map(INDEX, CAS).unwrap().ref_index_name(&name("example.com/app"), "1.0"), None);
    }

    #[test]
    fn a_path_with_several_readings_is_of_the_name_that_its_document_agrees_with() {
        for (template, path, names) in [
            ("https://{host}/i/{+path}-{fragment}", "i/a-b-c", ["a#b-c", "a-b#c"].as_slice()),
            ("https://{host}/i/{+path}-{fragment}", "i/a-b-", &["a#b-", "a-b"]),
            ("https://{host}/i/{+path}{fragment}", "i/abc", &["a#bc", "ab#c", "abc"]),
            ("https://{host}/i/{fragment}{+path}", "i/abc", &["abc", "bc#a", "c#ab"]),
            ("https://{host}/i/{+path}/{fragment}", "i/a/b/c", &["a#b/c", "a/b#c"]),
            ("https://{host}/i/{+path}-{fragment}/{+path}", "i/a-b-c/a-b", &["a-b#c"]),
        ] {
            let (map, path) = (map(template, CAS).unwrap(), SitePath::new(path).unwrap());
            let names: Vec<ImageName> = names.iter().map(|text| name(&format!("example.com/{text}"))).collect();
            assert_eq!(map.names_at(&path), names, "{template} {path}");
            for reference in names.iter().filter_map(ImageName::fragment) {
                let found = map.names_of(&path, &index_with(reference));
                let agrees = |name: &&ImageName| name.fragment().is_none_or(|other| other == reference);
                assert_eq!(found, names.iter().filter(agrees).cloned().collect::<Vec<_>>(), "{template} {path}");
            }
        }
        // Beyond a number of attempts nothing is known.
        let map = map("https://{host}/i/{+path}{fragment}{host}", CAS).unwrap();
        assert_eq!(map.names_at(&SitePath::new(&format!("i/{}", "a".repeat(200))).unwrap()), []);
    }

    #[test]
    fn addresses_have_a_place_where_their_uri_is_one() {
        let place = |index: &str, image: &str| map(index, CAS).unwrap().index_place(&name(image));
        for image in ["192.0.2.1/app", "[2001:db8::1]/app", "[2001:DB8:0::1]/app"] {
            for index in ["https://{+host}/oci-index/{+path}", "/oci-index/{+path}"] {
                assert_eq!(place(index, image).unwrap().path.as_str(), "oci-index/app", "{index} {image}");
            }
        }
        assert_eq!(place(INDEX, "192.0.2.1/app").unwrap().path.as_str(), "oci-index/app");
        let message = place(INDEX, "[2001:db8::1]/app").unwrap_err().to_string();
        for word in ["https://%5B2001%3Adb8%3A%3A1%5D/oci-index/app", "for [2001:db8::1]/app", "use {+host}"] {
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn a_blob_in_the_wrong_directory_is_no_blob() {
        let map = map(INDEX, CAS).unwrap();
        let encoded = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let at = |path: String| map.kind_of(&SitePath::new(&path).unwrap());
        assert_eq!(at(format!("oci-cas/sha256/e3/{encoded}")), Some(Kind::Blob(None)));
        assert_eq!(at(format!("oci-cas/sha256/ff/{encoded}")), None);
        assert_eq!(at(format!("oci-cas/sha256/{encoded}")), None);
    }

    #[test]
    fn templates_that_cannot_be_static_paths_are_refused_with_the_reason() {
        for (index, cas, reason) in [
            ("https://{host}/i/{+path}{?fragment}", CAS, "query"),
            ("https://{host}/i/{+path}{?host}", CAS, "query"),
            ("https://{host}/i/{+path}?v=1", CAS, "query"),
            ("https://{host}/i/{#path}", CAS, "fragment"),
            ("https://{host}/i/{+path}/{tag}", CAS, "{tag}"),
            ("ftp://{host}/i/{+path}", CAS, "scheme is ftp"),
            ("https://other.example/i/{+path}", CAS, "--store https://other.example=DIR"),
            (INDEX, "/cas/{encoded:2}", "several digests the same path"),
            (INDEX, "/cas/{encoded}", "several digests the same path"),
            (INDEX, "/cas/{digest}?x={path}", "query"),
            (INDEX, "/cas/{digest}/{size}", "{size}"),
            (INDEX, "cas/{digest}", "begin it with a slash"),
            (INDEX, "https://example.com:8443/{digest}", "--store https://example.com:8443=DIR"),
        ] {
            let message = map(index, cas).unwrap_err().to_string();
            assert!(message.contains(reason), "{index} {cas}: {message}");
        }
    }

    #[test]
    fn names_that_would_leave_the_site_or_meet_something_else_are_refused() {
        let root = map("https://{host}/{+path}", CAS).unwrap();
        for path in [
            "a/../b",
            "a/./b",
            "a/%2e%2e/b",
            "a/%2Fb",
            "a%00",
            "a//b",
            "a/",
            ".well-known/x",
            ".ocisite/lock",
            ".OCISITE/tmp",
            ".oci%C5%BFite/tmp",
            "OCISITE.json",
            "ocisite.JSON/x",
            "V2/x",
            "Index.html",
            "Catalogue/x",
        ] {
            let image = ImageName::new("example.com", path, None).unwrap();
            assert!(root.index_place(&image).is_err(), "{path}");
        }
        let encoded = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let in_the_cas = name(&format!("example.com/oci-cas/sha256/e3/{encoded}"));
        assert!(matches!(root.index_place(&in_the_cas), Err(MapError::Reserved { .. })));
        let in_other_case = name(&format!("example.com/OCI-CAS/sha256/e3/{}", encoded.to_uppercase()));
        assert!(matches!(root.index_place(&in_other_case), Err(MapError::Reserved { .. })));
    }

    #[test]
    fn what_begins_with_a_dot_is_not_of_the_site_and_no_new_name() {
        for index in ["https://{host}/{+path}", "https://{host}/{+path}/index.json", "/{+name}", "/{name}"] {
            let map = map(index, "/{+path}/blobs/{digest}").unwrap();
            let kind = |path: &str| map.kind_of(&SitePath::new(path).unwrap());
            for path in [".git/config", ".env", "team/.git/config", "team/.env/index.json", ".x/oci-layout"] {
                assert_eq!(kind(path), None, "{index} {path}");
            }
        }
        let map = map(INDEX, CAS).unwrap();
        for image in ["example.com/.htaccess", "example.com/a/.HTpasswd/b", "example.com/%2eenv", ".ht/app"] {
            let refused = map.refuse_unserved(&name(image)).unwrap_err().to_string();
            assert!(refused.contains(image) && refused.contains("begins with a dot"), "{refused}");
        }
        assert!(map.refuse_unserved(&name("example.com/a.b/c.")).is_ok());
    }

    #[test]
    fn the_places_of_blobs_are_what_a_consumer_asks_for() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        for cas in [
            CAS,
            "/{digest}",
            "/{algorithm:3}{/encoded:2,digest}",
            "/{+path}/gap/{digest}",
            "/%67ap{;encoded,algorithm}",
        ] {
            let map = map(INDEX, cas).unwrap();
            let image = name("example.com/gapx/gap");
            let published = map.published_cas_template(&image).unwrap();
            let asked = published.expand(&template::digest_variables(&digest)).unwrap();
            let uri = map.index_uri(&image).unwrap().join(&asked).unwrap();
            let decoded = percent_encoding::percent_decode_str(uri.path()).decode_utf8().unwrap();
            let place = map.blob_place(&image, &digest).unwrap();
            assert_eq!(format!("/{}", place.path), decoded, "{cas}");
        }
    }

    #[test]
    fn another_origin_is_another_root() {
        let map = map(INDEX, "https://cdn.example.net/{digest}").unwrap();
        let digest = Digest::of(Algorithm::Sha256, b"");
        let place = map.blob_place(&name("example.com/app"), &digest).unwrap();
        assert_eq!((place.origin, place.path.as_str()), (Some(0), digest.as_str()));
    }

    proptest! {
        #[test]
        fn nothing_leads_out_of_the_site(
            index in "(https://[{]host[}]|/sites/[{]host[}]|)(/([.]{1,2}|%2[eE]%2[eE]|%2[fF]|%5c|[a-c]|[{]host[}])){0,3}([{]/path[}]|/?[{][+]?path[}])(/i)?",
            cas in "(/([.]{1,2}|%2[eE]%2[eE]|%2[fF]|[a-c])){0,3}(/[{]digest[}]|/[{]algorithm[}]/[{]encoded:2[}]/[{]encoded[}])",
            name in "example[.]com/[a-c.]([a-c;]|[.]{1,2}|/|%2[eE]|%2[fF]|%5c|%00|[.](ocisite|OCISITE)|ocisite[.](json|JSON)){0,5}",
        ) {
            let (Ok(map), Ok(name)) = (map(&index, &cas), ImageName::parse(&name)) else { return Ok(()) };
            let digest = Digest::of(Algorithm::Sha256, b"");
            for place in [map.index_place(&name), map.blob_place(&name, &digest)].into_iter().flatten() {
                let mut components = std::path::Path::new(place.path.as_str()).components();
                prop_assert!(components.all(|part| matches!(part, std::path::Component::Normal(_))), "{:?}", place);
                prop_assert!(!place.path.as_str().contains(['\0', '\\']), "{:?}", place);
                let top = place.path.top().to_lowercase();
                prop_assert!(!matches!(top.as_str(), ".ocisite" | ".well-known" | "ocisite.json"), "{:?}", place);
            }
        }
    }

    #[test]
    fn the_static_prefix_ends_before_the_first_variable() {
        let map = map(INDEX, "/v2/{+path}/blobs/{digest}").unwrap();
        assert_eq!(map.index_pattern().static_prefix(), "oci-index/");
        assert_eq!(map.blob_pattern().static_prefix(), "v2/");
    }
}
