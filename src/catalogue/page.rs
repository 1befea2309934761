//! From documents to HTML. What a template sees is prepared here as plain data; what it may do with text is decided here,
//! too: everything is escaped unless it is HTML of our own, and only http and https links become links.

use std::path::Path;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Enumerator, Object, ObjectRepr, Serde};
use minijinja::{AutoEscape, Environment, Output, State, UndefinedBehavior, Value as TemplateValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use url::Url;

use super::command::{Command, commands};
use super::document::{ImageDocument, ListDocument, MAX_DETAILED_REFS, PageContent, Ref, Referrer};
use super::facts::{ArtifactFacts, Facts, ImageFacts, Layer};
use super::templates::{self, Templates, TemplatesError};
use crate::shell::CommandLine;
use crate::site::object::PAGE_POLICY;
use crate::site::path::PathError;
use crate::site::{SitePath, catalogue};
use crate::terminal;
use oci_discovery::digest::Digest;
use oci_discovery::discovery::WELL_KNOWN_PATH;

/// The width of the picture of layers, in its own units.
const BAR_WIDTH: u64 = 1000;
/// The least width of a layer in it, so that small ones are seen.
const BAR_LEAST: u64 = 4;
/// So many rows of the list lie in one box: the browser lays out the boxes that are on the screen and skips the others, and
/// a box of one row each would cost more to look at than it saves.
const ROWS_PER_BOX: usize = 50;

/// Renders pages.
#[derive(Debug)]
pub struct Pages {
    environment: Environment<'static>,
    templates: Templates,
}

/// Why a page cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The templates cannot be read.
    #[error(transparent)]
    Templates(#[from] TemplatesError),
    /// A template has an error.
    #[error("the template {name} cannot be used{}", place(.source))]
    Template {
        /// The template.
        name: String,
        /// What is wrong, and where.
        #[source]
        source: minijinja::Error,
    },
    /// A name that makes no path.
    #[error("a page of the catalogue has an invalid path")]
    Path(#[from] PathError),
}

/// Writes a value into a page. Text is escaped for elements and for quoted attributes alike, and invisible characters appear as
/// escapes. (minijinja's own formatter also escapes slashes, which makes paths unreadable and a list of ten thousand
/// images a tenth larger.)
fn write_escaped(out: &mut Output, state: &mut State, value: &TemplateValue) -> Result<(), minijinja::Error> {
    let is_text = value.as_str().is_some_and(|_| !value.is_safe());
    let Some(text) = value.as_str().filter(|_| is_text && matches!(state.auto_escape(), AutoEscape::Html)) else {
        return minijinja::escape_formatter(out, state, value);
    };
    let text = terminal::printable_on_a_page(text);
    let mut rest = &*text;
    while let Some(position) = rest.find(['&', '<', '>', '"', '\'']) {
        let (before, after) = rest.split_at(position);
        let (special, after) = after.split_at(1);
        out.write_str(before)?;
        out.write_str(match special {
            "&" => "&amp;",
            "<" => "&lt;",
            ">" => "&gt;",
            "\"" => "&quot;",
            _ => "&#39;",
        })?;
        rest = after;
    }
    Ok(out.write_str(rest)?)
}

/// Lines that hold only a block leave no empty lines behind.
fn syntax() -> SyntaxConfig {
    let mut builder = SyntaxConfig::builder();
    builder.trim_blocks(true).lstrip_blocks(true);
    builder.build().unwrap_or_default()
}

fn place(error: &minijinja::Error) -> String {
    error.line().map(|line| format!(", line {line}")).unwrap_or_default()
}

impl Pages {
    /// The built-in templates, with those that a directory has in their place.
    pub fn load(template_dir: Option<&Path>) -> Result<Pages, PageError> {
        match template_dir {
            Some(directory) => Pages::new(Templates::with_overrides(directory)?),
            None => Pages::new(Templates::built_in()),
        }
    }

    /// Compiles templates.
    pub fn new(templates: Templates) -> Result<Pages, PageError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_syntax(syntax());
        environment.set_formatter(write_escaped);
        environment.add_filter("bytes", |size: u64| indicatif::BinaryBytes(size).to_string());
        environment.add_filter("grouped", grouped);
        environment.add_filter("day", |time: &str| time.split('T').next().unwrap_or_default().to_string());
        environment.add_filter("path", |name: &str| name.split_once('/').map_or("", |(_, path)| path).to_string());
        environment.add_filter("last_segment", |name: &str| name.rsplit('/').next().unwrap_or_default().to_string());
        environment.add_filter("short", |digest: &str| short(digest));
        environment.add_filter("link", |text: &str| link(text).map_or(TemplateValue::from(()), TemplateValue::from));
        for (name, text) in templates.iter().filter(|(name, _)| name.ends_with(".j2")) {
            environment
                .add_template_owned(name.to_string(), text.to_string())
                .map_err(|source| PageError::Template { name: name.into(), source })?;
        }
        Ok(Pages { environment, templates })
    }

    /// The templates they are rendered with.
    pub fn templates(&self) -> &Templates {
        &self.templates
    }

    /// The page that lists all images.
    pub fn list(&self, list: &Arc<ListDocument>) -> Result<Vec<u8>, PageError> {
        let page = SitePath::new(catalogue::LIST_PAGE)?;
        let host = match list.hosts.as_slice() {
            [host] => Some(host.as_str()),
            _ => None,
        };
        let view = ListView {
            page: PageView::new(&page, host.unwrap_or("Images")),
            // Within one host, the host before every name would only be in the way.
            is_one_host: host.is_some(),
            count: list.images.len() as u64,
            boxes: TemplateValue::from_object(Boxes(list.clone())),
        };
        self.render(templates::LIST, view)
    }

    /// The page of an image.
    pub fn image(&self, shown: &Arc<PageContent>, registry: bool) -> Result<Vec<u8>, PageError> {
        let document = &shown.document;
        let page = catalogue::page_path(&document.name)?;
        let detailed = &document.refs[..document.refs.len().min(MAX_DETAILED_REFS)];
        let mut releases: Vec<ReleaseView> = Vec::new();
        for (reference, before) in detailed.iter().zip([None].into_iter().chain(detailed.iter().map(Some))) {
            match releases.last_mut().filter(|_| before.is_some_and(|before| before.entries == reference.entries)) {
                Some(same) => same.refs.extend(RefName::of(reference)),
                None => releases.push(release(document, reference, registry)),
            }
        }
        let path = document.name.path();
        let (above, last) = path.rsplit_once('/').map_or(("", path), |(above, last)| (above, last));
        let document_path = catalogue::document_path(&document.name)?;
        let view = ImageView {
            page: PageView::new(&page, document.name.host()),
            name: document.name.to_string(),
            above: if above.is_empty() { String::new() } else { format!("{above}/") },
            last: last.into(),
            document: catalogue::url(&document_path),
            count: shown.refs,
            releases,
            older: TemplateValue::from_object(OlderRefs(shown.clone())),
            left_out: shown.left_out,
        };
        self.render(templates::IMAGE, view)
    }

    fn render(&self, name: &str, view: impl Serialize) -> Result<Vec<u8>, PageError> {
        let fault = |source| PageError::Template { name: name.into(), source };
        let template = self.environment.get_template(name).map_err(fault)?;
        Ok(template.render(TemplateValue::from(Serde(view))).map_err(fault)?.into_bytes())
    }
}

/// What every page is told.
#[derive(Serialize)]
struct PageView {
    /// The way to the site's root, as the beginning of a relative URL.
    root: String,
    /// Its own path.
    path: String,
    /// The site's name.
    site: String,
    /// Its Content-Security-Policy.
    policy: &'static str,
    style: &'static str,
    script: &'static str,
    list_page: &'static str,
    list: &'static str,
    ref_engines: &'static str,
}

impl PageView {
    fn new(path: &SitePath, site: &str) -> PageView {
        PageView {
            root: catalogue::way_to_root(path),
            path: catalogue::url(path),
            site: site.into(),
            policy: PAGE_POLICY,
            style: catalogue::STYLE,
            script: catalogue::SCRIPT,
            list_page: catalogue::LIST_PAGE,
            list: catalogue::LIST,
            ref_engines: WELL_KNOWN_PATH,
        }
    }
}

#[derive(Serialize)]
struct ListView {
    page: PageView,
    is_one_host: bool,
    count: u64,
    boxes: TemplateValue,
}

/// The rows of the list, by [`ROWS_PER_BOX`]. They become values when the template comes to them, box by box: as values, all of
/// them would take ten times the memory.
#[derive(Debug)]
struct Boxes(Arc<ListDocument>);

impl Object for Boxes {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.images.len().div_ceil(ROWS_PER_BOX))
    }

    fn get_value(self: &Arc<Self>, index: &TemplateValue) -> Option<TemplateValue> {
        let rows = self.0.images.chunks(ROWS_PER_BOX).nth(index.as_usize()?)?;
        Some(TemplateValue::from(Serde(rows)))
    }
}

/// The refs that are only summed up, each a value when the template comes to it.
#[derive(Debug)]
struct OlderRefs(Arc<PageContent>);

impl Object for OlderRefs {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.document.refs.len().saturating_sub(MAX_DETAILED_REFS))
    }

    fn get_value(self: &Arc<Self>, index: &TemplateValue) -> Option<TemplateValue> {
        let reference = self.0.document.refs.get(MAX_DETAILED_REFS..)?.get(index.as_usize()?)?;
        Some(TemplateValue::from(Serde(reference)))
    }
}

#[derive(Serialize)]
struct ImageView<'a> {
    page: PageView,
    name: String,
    /// The path up to its last segment, with a slash.
    above: String,
    /// The last segment.
    last: String,
    /// The URL of the document, relative to the root.
    document: String,
    /// How many refs there are.
    count: u64,
    /// The newest refs, those that are the same thing together.
    releases: Vec<ReleaseView<'a>>,
    /// The refs that are only summed up.
    older: TemplateValue,
    /// How many refs are in the document only.
    left_out: u64,
}

/// Refs that lead to the same entries.
#[derive(Serialize)]
struct ReleaseView<'a> {
    refs: Vec<RefName<'a>>,
    /// An anchor for an image without refs.
    anchor: String,
    summary: &'a Ref,
    annotations: Vec<Annotation<'a>>,
    commands: Vec<Command>,
    images: Vec<PlatformView<'a>>,
    artifacts: Vec<ArtifactView<'a>>,
    referrers: Vec<ReferrersView<'a>>,
}

#[derive(Serialize)]
struct RefName<'a> {
    name: &'a str,
    anchor: String,
}

impl RefName<'_> {
    fn of(reference: &Ref) -> Option<RefName<'_>> {
        let name = reference.reference.as_deref()?;
        Some(RefName { name, anchor: anchor(name) })
    }
}

#[derive(Serialize)]
struct Annotation<'a> {
    key: &'a str,
    label: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
struct PlatformView<'a> {
    platform: &'a str,
    digest: &'a Digest,
    facts: &'a ImageFacts,
    layers: Vec<LayerView<'a>>,
    settings: Vec<Setting>,
}

#[derive(Serialize)]
struct ArtifactView<'a> {
    digest: &'a Digest,
    facts: &'a ArtifactFacts,
    layers: Vec<LayerView<'a>>,
}

#[derive(Serialize)]
struct LayerView<'a> {
    layer: &'a Layer,
    /// Where it stands in the picture.
    x: u64,
    width: u64,
}

/// A line of the config.
#[derive(Serialize)]
struct Setting {
    label: &'static str,
    values: Vec<String>,
}

/// What refers to a release, of one type.
#[derive(Serialize)]
struct ReferrersView<'a> {
    artifact_type: &'a str,
    manifests: Vec<ReferrerView<'a>>,
}

#[derive(Serialize)]
struct ReferrerView<'a> {
    digest: &'a Digest,
    size: u64,
    /// The platform it is about, where the release has several.
    platform: Option<&'a str>,
}

fn release<'a>(document: &'a ImageDocument, reference: &'a Ref, registry: bool) -> ReleaseView<'a> {
    let annotations = document.annotations(reference);
    let labels = LABELS.iter().filter_map(|(key, label)| {
        let value = annotations.get(key)?;
        Some(Annotation { key, label, value })
    });
    let mut artifacts = Vec::new();
    for entry in &reference.entries {
        if let Some(Facts::Artifact(facts)) = document.manifests.get(&entry.digest) {
            let layers = layer_views(&facts.layers);
            artifacts.push(ArtifactView { digest: &entry.digest, facts, layers });
        }
    }
    let images = reference.images.iter().filter_map(|image| match document.manifests.get(&image.digest) {
        Some(Facts::Image(facts)) => Some(platform_view(&image.platform, &image.digest, facts)),
        _ => None,
    });
    ReleaseView {
        refs: RefName::of(reference).into_iter().collect(),
        anchor: "untagged".into(),
        summary: reference,
        annotations: labels.collect(),
        commands: commands(document, reference, registry),
        images: images.collect(),
        artifacts,
        referrers: referrer_views(document, reference),
    }
}

/// The annotations of a release, in the order in which a page shows them. Title and description have places of their own.
const LABELS: [(&str, &str); 12] = [
    ("title", "Title"),
    ("description", "Description"),
    ("version", "Version"),
    ("licenses", "Licence"),
    ("source", "Source"),
    ("revision", "Revision"),
    ("url", "Home page"),
    ("documentation", "Documentation"),
    ("vendor", "Vendor"),
    ("authors", "Authors"),
    ("base.name", "Base image"),
    ("base.digest", "Base digest"),
];

fn platform_view<'a>(platform: &'a str, digest: &'a Digest, facts: &'a ImageFacts) -> PlatformView<'a> {
    PlatformView { platform, digest, facts, layers: layer_views(&facts.layers), settings: settings(facts) }
}

/// Layers as parts of one bar: each as wide as its share of the bytes, and none too thin to be seen.
fn layer_views(layers: &[Layer]) -> Vec<LayerView<'_>> {
    let total: u128 = layers.iter().map(|layer| u128::from(layer.size)).sum();
    let least = BAR_LEAST.min(BAR_WIDTH / (layers.len() as u64).max(1));
    let free = BAR_WIDTH - least * layers.len() as u64;
    let mut passed: u128 = 0;
    let mut views = Vec::with_capacity(layers.len());
    for (position, layer) in layers.iter().enumerate() {
        let end = passed + u128::from(layer.size);
        let scaled = |bytes: u128| (bytes * u128::from(free)).checked_div(total).unwrap_or(0) as u64;
        views.push(LayerView {
            layer,
            x: scaled(passed) + least * position as u64,
            width: scaled(end) - scaled(passed) + least,
        });
        passed = end;
    }
    views
}

fn settings(facts: &ImageFacts) -> Vec<Setting> {
    let Some(config) = &facts.config else { return vec![] };
    let line = |words: &[String]| match words {
        [] => vec![],
        words => vec![CommandLine::new(words).to_string()],
    };
    let one = |text: &String| if text.is_empty() { vec![] } else { vec![text.clone()] };
    let all = [
        Setting { label: "Entrypoint", values: line(&config.entrypoint) },
        Setting { label: "Command", values: line(&config.command) },
        Setting { label: "User", values: one(&config.user) },
        Setting { label: "Working directory", values: one(&config.working_directory) },
        Setting { label: "Ports", values: config.exposed_ports.clone() },
        Setting { label: "Volumes", values: config.volumes.clone() },
        Setting { label: "Environment", values: config.environment.clone() },
    ];
    all.into_iter().filter(|setting| !setting.values.is_empty()).collect()
}

/// What refers to a release or to one of its images, by type: referrers of the image's index, and BuildKit's attestations.
fn referrer_views<'a>(document: &'a ImageDocument, reference: &'a Ref) -> Vec<ReferrersView<'a>> {
    let several = reference.images.len() > 1;
    let subjects = reference.entries.iter().map(|entry| (&entry.digest, None));
    let images = reference.images.iter().map(|image| (&image.digest, several.then_some(image.platform.as_str())));
    let mut seen = std::collections::BTreeSet::new();
    let mut found: Vec<(&str, ReferrerView)> = Vec::new();
    for (subject, platform) in images.chain(subjects) {
        for Referrer { artifact_type, digest, size, .. } in document.referrers.get(subject).into_iter().flatten() {
            if seen.insert(digest) {
                found.push((artifact_type, ReferrerView { digest, size: *size, platform }));
            }
        }
        let Some(Facts::Index(index)) = document.manifests.get(subject) else { continue };
        for listed in &index.manifests {
            let Some(about) = &listed.about else { continue };
            let platform = reference.images.iter().find(|image| image.digest == *about && several);
            let platform = platform.map(|image| image.platform.as_str());
            let artifact_type = listed.artifact_type.as_deref().unwrap_or(&listed.media_type);
            if seen.insert(&listed.digest) {
                found.push((artifact_type, ReferrerView { digest: &listed.digest, size: listed.size, platform }));
            }
        }
    }
    found.sort_by(|(one, a), (other, b)| (one, a.platform, a.digest).cmp(&(other, b.platform, b.digest)));
    let mut views: Vec<ReferrersView> = Vec::new();
    for (artifact_type, manifest) in found {
        match views.last_mut().filter(|last| last.artifact_type == artifact_type) {
            Some(last) => last.manifests.push(manifest),
            None => views.push(ReferrersView { artifact_type, manifests: vec![manifest] }),
        }
    }
    views
}

/// The anchor of a ref on its page: text for an `id`, and for the fragment of a URL.
fn anchor(reference: &str) -> String {
    // An id may hold anything but white space; encoded, it is the same in a URL.
    format!("ref-{}", utf8_percent_encode(reference, ANCHOR))
}

const ANCHOR: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

/// An http or https URL that may stand in a link. None: the text is something else, and stays text. With user information it
/// is something else, too: `https://example.com@evil.example/` reads as one host and leads to another.
fn link(text: &str) -> Option<String> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://")?;
    let is_http = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    // Looked for in the text, because the parser drops slashes, control characters and an empty user name.
    let authority = rest.trim_start_matches(['/', '\\']).split(['/', '\\', '?', '#']).next()?;
    if !is_http || authority.contains('@') || text.contains(char::is_control) {
        return None;
    }
    Url::parse(text).ok().map(|url| url.to_string())
}

/// A digest as a person recognises it: the algorithm, and as much of the rest as tells it from others on a page.
fn short(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, encoded)) => format!("{algorithm}:{}…", encoded.chars().take(12).collect::<String>()),
        None => digest.into(),
    }
}

/// A number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::document::Row;
    use oci_discovery::digest::Algorithm;
    use oci_discovery::json;
    use proptest::prelude::*;
    use regex::Regex;
    use serde_json::json;

    #[test]
    fn only_http_and_https_become_links() {
        assert_eq!(link("https://example.com/a?b=c").as_deref(), Some("https://example.com/a?b=c"));
        assert_eq!(link(" HTTP://Example.com ").as_deref(), Some("http://example.com/"));
        for text in [
            "javascript:alert(1)",
            "java\tscript:alert(1)",
            " javascript:alert(1)",
            "data:text/html,x",
            "//example.com",
            "git@example.com:a/b",
            "https:javascript:alert(1)",
            "http:\\\\example.com",
            "https://",
            "https://a@b/",
            "https://example.com:secret@evil.example",
            "https://@evil.example/",
            "https:////a@evil.example/",
            "https://\t/@evil.example/",
            "",
        ] {
            assert_eq!(link(text), None, "{text:?}");
        }
        assert_eq!(link("https://example.com/\"><script>").as_deref(), Some("https://example.com/%22%3E%3Cscript%3E"));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    /// A document of one image, all of whose texts are `text`.
    fn shown(text: &str) -> Arc<PageContent> {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let annotations: serde_json::Map<String, serde_json::Value> =
            crate::catalogue::facts::ANNOTATIONS.iter().map(|key| (key.to_string(), text.into())).collect();
        let texts = json!([text, text]);
        let document = json!({
            "catalogue": crate::catalogue::VERSION,
            "index": digest,
            "name": "example.com/team/app",
            "refs": [{
                "ref": text, "entries": [{"digest": digest}], "created": "2024-01-02T03:04:05Z", "size": 1,
                "images": [{"platform": text, "digest": digest, "size": 1}],
            }],
            "manifests": {digest: {
                "kind": "image", "size": 1, "configDigest": digest, "annotations": annotations, "platform": text,
                "layers": [{"digest": digest, "size": 1, "mediaType": text}],
                "config": {
                    "entrypoint": texts, "command": texts, "user": text, "workingDirectory": text,
                    "exposedPorts": texts, "volumes": texts, "environment": texts,
                },
            }},
            "referrers": {digest: [{"artifactType": text, "digest": digest, "size": 1, "declared": true}]},
        });
        Arc::new(PageContent::parse(&json::canonical(&document)).unwrap())
    }

    fn list(text: &str) -> Arc<ListDocument> {
        let mut list = ListDocument::new(true, "sha256:".into(), vec!["example.com".into()]);
        let row = Row { description: Some(text.into()), ..shown(text).document.row().unwrap() };
        list.images = vec![Row { artifact_type: Some(text.into()), platforms: vec![], ..row.clone() }, row];
        Arc::new(list)
    }

    /// The elements of a page with the names of their attributes: what the page is made of, whatever its text says.
    fn structure(page: &[u8]) -> Vec<String> {
        let page = std::str::from_utf8(page).unwrap();
        let tag = Regex::new(r#"<(/?[a-zA-Z!][^\s>]*)((?:[^"'>]|"[^"]*"|'[^']*')*)>"#).unwrap();
        let attribute = Regex::new(r#"([^\s=]+)(?:="[^"]*")?"#).unwrap();
        let names = |attributes: &str| attribute.captures_iter(attributes).map(|found| found[1].to_string()).collect();
        let tags = tag.captures_iter(page).map(|found| (found[1].to_string(), names(&found[2])));
        tags.map(|(name, attributes): (String, Vec<String>)| format!("{name} {}", attributes.join(" "))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_changes_what_a_page_is_made_of(text in "[a-z<>&\"'/=`{}%#!;: \t\n\u{202e}🦀-]{1,40}") {
            prop_assume!(link(&text).is_none() && !text.trim().is_empty());
            let pages = Pages::new(Templates::built_in()).unwrap();
            // Harmless text that has the same effects: it is no fragment of a name, and no tag.
            let harmless = "a b";
            prop_assume!(!oci_discovery::name::is_fragment(&text));
            prop_assert_eq!(
                structure(&pages.image(&shown(&text), true).unwrap()),
                structure(&pages.image(&shown(harmless), true).unwrap())
            );
            prop_assert_eq!(
                structure(&pages.list(&list(&text)).unwrap()),
                structure(&pages.list(&list(harmless)).unwrap())
            );
        }
    }

    #[test]
    fn the_layers_of_a_bar_fill_it_and_each_is_seen() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        let layer = |size| Layer { digest: digest.clone(), size, media_type: String::new() };
        for sizes in [vec![1, u64::MAX / 2, 0], vec![0, 0], vec![5; 600]] {
            let layers: Vec<Layer> = sizes.into_iter().map(layer).collect();
            let views = layer_views(&layers);
            let is_empty = layers.iter().all(|layer| layer.size == 0);
            assert!(views.iter().all(|view| view.width > 0));
            for pair in views.windows(2) {
                assert_eq!(pair[0].x + pair[0].width, pair[1].x);
            }
            let end = views.last().map(|view| view.x + view.width).unwrap();
            assert!(end == BAR_WIDTH || is_empty, "{end}");
        }
    }
}
