//! The templates of engines, checked before they are used.

use std::sync::Arc;

use serde_json::Value;
use url::Url;

use super::finding::{Collected, Finding};
use super::rule::{self, Rule};
use super::source::Source;
use oci_discovery::digest::{Algorithm, Digest};
use oci_discovery::discovery::engine::{self, read_list};
use oci_discovery::discovery::{CAS_TEMPLATE_PROTOCOL, EngineError, Remark, Remarks};
use oci_discovery::json;
use oci_discovery::name::ImageName;
use oci_discovery::oci::Descriptor;
use oci_discovery::template::{self, DIGEST_VARIABLES, NAME_VARIABLES, Template, Variables};

/// Where a list of engines stands, for messages and to expand its templates by.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// What is being verified.
    pub source: &'a dyn Source,
    /// The document that has the list. Its URL may be long and its lists many, so they share it.
    pub document: &'a Arc<Url>,
    /// How a person would call the place: a path, or an entry of an index.
    pub object: &'a str,
    /// An image to try the templates with.
    pub image: &'a ImageName,
}

/// The templates of the engines of one protocol in the list `field`; what is wrong goes to `findings`.
pub fn read(
    setting: Setting<'_>,
    list: Option<&Value>,
    field: &'static str,
    protocol: &str,
    findings: &mut Collected,
) -> Vec<Template> {
    let mut remarks = Remarks::default();
    let engines = read_list(list, field, protocol, setting.document, &mut remarks);
    findings.extend(remarks.iter().filter_map(|remark| engine_finding(setting.object, remark)));
    let spoken = engines.iter().filter(|engine| engine.protocol() == protocol);
    spoken.filter_map(|engine| parse(setting, field, engine.config.get("uri").as_ref(), findings)).collect()
}

fn engine_finding(object: &str, remark: &Remark) -> Option<Finding> {
    match remark {
        Remark::EngineForm { place, source, .. } => {
            let (expected, found) = match source {
                json::JsonError::Type { expected, found } => (expected.clone(), found.to_string()),
                other => ("an engine".into(), other.to_string()),
            };
            Some(Finding::new(&rule::ENGINE_FORM, format!("{object}, {place}"), expected, found))
        }
        Remark::TooManyEngines { list, count, limit, .. } => {
            let (expected, found) = (format!("at most {limit} entries"), format!("{count}"));
            Some(Finding::new(&rule::ENGINE_FORM, format!("{object}, {list:?}"), expected, found))
        }
        Remark::UnknownProtocol { list, position, protocol, .. } => {
            let (place, found) = (format!("{object}, {list}[{position}]"), format!("{protocol:?}"));
            Some(Finding::new(&rule::ENGINE_PROTOCOL, place, "a protocol that is known", found))
        }
        _ => None,
    }
}

fn parse(setting: Setting<'_>, field: &str, uri: Option<&Value>, findings: &mut Collected) -> Option<Template> {
    let object = format!("{}, {field}", setting.object);
    let wrong = |found| Finding::new(&rule::TEMPLATE_SYNTAX, object.clone(), "a URI template (RFC 6570)", found);
    let Some(Value::String(text)) = uri else {
        let found = uri.map_or("no \"uri\"".into(), |uri| format!("{} as \"uri\"", json::type_name(uri)));
        findings.push(wrong(found));
        return None;
    };
    match Template::parse(text) {
        Ok(template) => {
            check(setting, &object, field, &template, findings);
            Some(template)
        }
        Err(error) => {
            findings.push(wrong(error.to_string()));
            None
        }
    }
}

/// What can be said of a template by itself, and by trying it.
fn check(setting: Setting<'_>, object: &str, field: &str, template: &Template, findings: &mut Collected) {
    let mut push = |rule: &'static Rule, expected: &str, found: String| {
        findings.push(Finding::new(rule, object, expected, found));
    };
    let is_cas = field == "casEngines";
    let own: &[&str] = if is_cas { &DIGEST_VARIABLES } else { &NAME_VARIABLES };
    for variable in template.variables().iter().filter(|variable| !own.contains(variable)) {
        let found = format!("{{{variable}}} in {template}");
        match is_cas && NAME_VARIABLES.contains(variable) {
            true => push(&rule::TEMPLATE_NAME_IN_CAS, "digest, algorithm and encoded only", found),
            false => push(&rule::TEMPLATE_VARIABLE, &format!("only {}", own.join(", ")), found),
        }
    }
    let variables = sample_variables(is_cas, setting.image);
    let url = match expand(template, setting.document, &variables) {
        Ok(url) => url,
        Err(problem) => return push(&rule::TEMPLATE_URL, "an http or https URL", problem),
    };
    if template.as_str().starts_with("http://") {
        push(&rule::TEMPLATE_INSECURE, "https, or a path", template.to_string());
    }
    // A live server is tried instead.
    if has_encoded_slash(url.path()) && !has_encoded_slash(setting.image.path()) && !setting.source.is_live() {
        push(&rule::TEMPLATE_ENCODED_SLASH, "a path without %2F", format!("{template}, which leads to {}", url.path()));
    }
    if !setting.source.is_own(&url, setting.image) {
        let origin = url.origin().ascii_serialization();
        push(&rule::TEMPLATE_ELSEWHERE, "a part of the site", format!("{template}, which leads to {origin}"));
    }
}

/// Whether a path has a slash that only a server which decodes it takes for one.
pub fn has_encoded_slash(path: &str) -> bool {
    path.contains("%2F") || path.contains("%2f")
}

fn sample_variables(is_cas: bool, image: &ImageName) -> Variables {
    match is_cas {
        true => template::cas_variables(image, &Digest::of(Algorithm::Sha256, b"")),
        false => template::name_variables(image),
    }
}

/// Expands a template and resolves it against its document. The error says what is wrong.
pub fn expand(template: &Template, document: &Url, variables: &Variables) -> Result<Url, String> {
    engine::expand(template, document, variables).map_err(|error| match error {
        EngineError::Template { source, .. } => source.to_string(),
        EngineError::NotAUrl { reference, problem, .. } => format!("{reference:?} ({problem})"),
        EngineError::Scheme { url, .. } => url.into(),
        EngineError::NoTemplate { .. } => error.to_string(),
    })
}

/// The CAS engines for a blob, in the order in which they are asked: the nearest first.
#[derive(Debug, Default)]
pub struct CasEngines {
    templates: Vec<Template>,
    document: Option<Arc<Url>>,
    outer: Option<Arc<CasEngines>>,
}

impl CasEngines {
    /// The engines that stand in a document, in front of those that it inherits.
    pub fn new(templates: Vec<Template>, document: &Arc<Url>, outer: Option<Arc<CasEngines>>) -> Arc<CasEngines> {
        match outer {
            Some(outer) if templates.is_empty() => outer,
            outer => Arc::new(CasEngines { templates, document: Some(document.clone()), outer }),
        }
    }

    /// The engines of a descriptor, in front of those that it inherits.
    pub fn of_descriptor(
        self: &Arc<CasEngines>,
        setting: Setting<'_>,
        descriptor: &Descriptor,
        findings: &mut Collected,
    ) -> Arc<CasEngines> {
        let Some(list) = descriptor.property("casEngines") else { return self.clone() };
        let templates = read(setting, Some(&list), "casEngines", CAS_TEMPLATE_PROTOCOL, findings);
        CasEngines::new(templates, setting.document, Some(self.clone()))
    }

    /// Whether nobody says where blobs are.
    pub fn is_empty(&self) -> bool {
        self.templates.is_empty() && self.outer.as_ref().is_none_or(|outer| outer.is_empty())
    }

    /// The URLs at which a blob may be, each once.
    pub fn urls(&self, image: &ImageName, digest: &Digest) -> Vec<Url> {
        // A strict consumer lacks the name. Templates that use it are reported once, and then followed, so that one mistake is one
        // finding and not one for each blob.
        let variables = template::cas_variables(image, digest);
        let mut urls: Vec<Url> = Vec::new();
        let mut level = Some(self);
        while let Some(CasEngines { templates, document, outer }) = level {
            for template in templates {
                // What cannot be expanded has been reported where the template was read.
                let url = document.as_ref().and_then(|document| expand(template, document, &variables).ok());
                if let Some(url) = url.filter(|url| !urls.contains(url)) {
                    urls.push(url);
                }
            }
            level = outer.as_deref();
        }
        urls
    }
}
