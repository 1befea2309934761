//! Verifies the templates of engines.

use std::sync::Arc;

use serde_json::Value;
use url::Url;

use super::finding::{Collected, Finding};
use super::rule::{self, Rule};
use super::source::Source;
use oci_discovery::digest::{Algorithm, Digest};
use oci_discovery::discovery::engine::{self, read_list};
use oci_discovery::discovery::{CAS_TEMPLATE_PROTOCOL, CasEngines, Engine, EngineError, Remark, Remarks};
use oci_discovery::json;
use oci_discovery::name::ImageName;
use oci_discovery::oci::Descriptor;
use oci_discovery::template::{self, DIGEST_VARIABLES, NAME_VARIABLES, Template, Variables};

/// The context of a list of engines.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    pub source: &'a dyn Source,
    /// The document with the list, and base of its templates. Shared, because its URL may be long and its lists many.
    pub document: &'a Arc<Url>,
    /// The list in messages: a path, or an entry of an index.
    pub object: &'a str,
    /// An image to try the templates with.
    pub image: &'a ImageName,
}

/// The usable engines of one protocol in the list `field`, with their templates.
pub fn read(
    setting: Setting<'_>,
    list: Option<&Value>,
    field: &'static str,
    protocol: &str,
    findings: &mut Collected,
) -> Vec<(Engine, Template)> {
    let mut remarks = Remarks::default();
    let engines = read_list(list, field, protocol, setting.document, &mut remarks);
    findings.extend(remarks.iter().filter_map(|remark| engine_finding(setting.object, remark)));
    let supported = engines.into_iter().filter(|engine| engine.protocol() == protocol);
    let parse = |engine: Engine| {
        let template = parse(setting, field, engine.config.get("uri").as_ref(), findings)?;
        Some((engine, template))
    };
    supported.filter_map(parse).collect()
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
            Some(Finding::new(&rule::ENGINE_PROTOCOL, place, "a known protocol", found))
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

/// Verifies a template, also by expanding it.
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
    // On a live server, a request shows whether an encoded slash works.
    if has_encoded_slash(url.path()) && !has_encoded_slash(setting.image.path()) && !setting.source.is_live() {
        push(&rule::TEMPLATE_ENCODED_SLASH, "a path without %2F", format!("{template}, which leads to {}", url.path()));
    }
    if !setting.source.is_own(&url, setting.image) {
        let origin = url.origin().ascii_serialization();
        push(&rule::TEMPLATE_ELSEWHERE, "a part of the site", format!("{template}, which leads to {origin}"));
    }
}

/// Whether a path has an encoded slash, which only some servers decode.
pub fn has_encoded_slash(path: &str) -> bool {
    path.contains("%2F") || path.contains("%2f")
}

fn sample_variables(is_cas: bool, image: &ImageName) -> Variables {
    match is_cas {
        true => template::cas_variables(image, &Digest::of(Algorithm::Sha256, b"")),
        false => template::name_variables(image),
    }
}

/// Expands a template and resolves it against its document. The error is a message.
pub fn expand(template: &Template, document: &Url, variables: &Variables) -> Result<Url, String> {
    engine::expand(template, document, variables).map_err(|error| match error {
        EngineError::Template { source, .. } => source.to_string(),
        EngineError::NotAUrl { reference, problem, .. } => format!("{reference:?} ({problem})"),
        EngineError::Scheme { url, .. } => url.into(),
        EngineError::NoTemplate { .. } => error.to_string(),
    })
}

/// The CAS engines of a descriptor, in front of those that it inherits.
///
/// A strict consumer lacks the variables of the name. Templates that use them are reported once and then followed, so that
/// one mistake is one finding and not one for each blob.
pub fn engines_of(
    setting: Setting<'_>,
    descriptor: &Descriptor,
    inherited: &Arc<CasEngines>,
    findings: &mut Collected,
) -> Arc<CasEngines> {
    let Some(list) = descriptor.property("casEngines") else { return inherited.clone() };
    let own = read(setting, Some(&list), "casEngines", CAS_TEMPLATE_PROTOCOL, findings);
    inherited.behind(own.into_iter().map(|(engine, _)| engine).collect())
}

/// The URLs at which the CAS engines have a blob. [`read`] reported the templates that give none.
pub fn urls(engines: &CasEngines, digest: &Digest) -> Vec<Url> {
    engines.engine_urls(digest).flatten().collect()
}
