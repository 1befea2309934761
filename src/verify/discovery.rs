//! Verifies the ref-engines object.

use std::sync::Arc;

use url::Url;

use super::finding::{Collected, Finding};
use super::rule;
use super::source::{DeclaredType, Source, SourceDocument};
use super::templates::{self, Setting};
use crate::site::Settings;
use oci_discovery::discovery::WELL_KNOWN_PATH;
use oci_discovery::discovery::ref_engines::MAX_BYTES;
use oci_discovery::discovery::{CAS_TEMPLATE_PROTOCOL, CasEngines, Engine, INDEX_TEMPLATE_PROTOCOL};
use oci_discovery::error::chain;
use oci_discovery::json;
use oci_discovery::name::ImageName;
use oci_discovery::oci::media_type;
use oci_discovery::template::{Template, name_variables};

/// The usable part of a ref-engines object.
#[derive(Debug)]
pub struct Discovery {
    /// The URL on a server, after redirects.
    url: Arc<Url>,
    pub index: Vec<Template>,
    cas: Vec<(Engine, Template)>,
}

impl Discovery {
    /// Reads and verifies the object. Its templates are tried with one of `images`. None: verification cannot
    /// continue.
    pub fn read(source: &dyn Source, images: &[ImageName], findings: &mut Collected) -> Option<Discovery> {
        // A path with a slash is the hardest test of a template.
        let image = images.iter().find(|image| image.path().contains('/')).or(images.first()).cloned();
        let image = &image.or_else(|| ImageName::parse("example.com/any").ok())?;
        let url = source.ref_engines_url(image);
        let document = match source.document(&url, media_type::REF_ENGINES, MAX_BYTES) {
            Ok(document) => document,
            Err(fault) => {
                let finding =
                    fault.finding(WELL_KNOWN_PATH.into(), "the ref-engines object", &rule::WELL_KNOWN_MISSING);
                findings.extend(finding);
                return None;
            }
        };
        check_type(&document, media_type::REF_ENGINES, WELL_KNOWN_PATH, findings);
        let value = json::parse(&document.bytes);
        let object = match value.as_ref().map(|value| (value.as_object(), json::type_name(value))) {
            Ok((Some(object), _)) => object,
            other => {
                let found = other.map_or_else(chain_of, |(_, found)| found.into());
                findings.push(Finding::new(&rule::WELL_KNOWN_FORM, WELL_KNOWN_PATH, "a JSON object", found));
                return None;
            }
        };
        let setting = Setting { source, document: &document.url, object: WELL_KNOWN_PATH, image };
        let before = findings.total();
        let index = templates::read(setting, object.get("refEngines"), "refEngines", INDEX_TEMPLATE_PROTOCOL, findings);
        let cas = templates::read(setting, object.get("casEngines"), "casEngines", CAS_TEMPLATE_PROTOCOL, findings);
        if index.is_empty() {
            // Findings about the existing engines explain why none is usable.
            if findings.total() == before {
                let expected = format!("a ref engine with the protocol {INDEX_TEMPLATE_PROTOCOL}");
                findings.push(Finding::new(&rule::REF_ENGINE_MISSING, WELL_KNOWN_PATH, expected, "none"));
            }
            return None;
        }
        let index = index.into_iter().map(|(_, template)| template).collect();
        Some(Discovery { url: document.url, index, cas })
    }

    /// The base URL of relative templates, for an image.
    pub fn base(&self, source: &dyn Source, image: &ImageName) -> Arc<Url> {
        match source.is_live() {
            true => self.url.clone(),
            false => Arc::new(source.ref_engines_url(image)),
        }
    }

    /// The URLs of the indexes of a name.
    pub fn index_urls(&self, source: &dyn Source, name: &ImageName) -> Vec<Url> {
        let base = self.base(source, name);
        let mut urls = Vec::new();
        for template in &self.index {
            // A template that leads nowhere has been reported with the ref-engines object.
            let url = templates::expand(template, &base, &name_variables(name));
            urls.extend(url.ok().filter(|url| !urls.contains(url)));
        }
        urls
    }

    /// Whether a ref may have an index of its own.
    pub fn may_have_ref_indexes(&self) -> bool {
        self.index.iter().any(|template| ["name", "fragment"].iter().any(|used| template.variables().contains(used)))
    }

    /// The CAS engines of the ref-engines object.
    pub fn cas_engines(&self, source: &dyn Source, image: &ImageName) -> Arc<CasEngines> {
        let base = self.base(source, image);
        let engines = self.cas.iter().map(|(engine, _)| Engine { uri: base.clone(), ..engine.clone() });
        CasEngines::new(image, &engines.collect())
    }

    /// Compares the templates with those of the site's description.
    pub fn compare(&self, settings: &Settings, findings: &mut Collected) {
        let cas = self.cas.first().map(|(_, template)| template);
        for (is_same, found, expected) in [
            (self.index.first() == Some(&settings.index_template), self.index.first(), &settings.index_template),
            (cas.is_none_or(|cas| *cas == settings.cas_template), cas, &settings.cas_template),
        ] {
            if !is_same {
                let (found, expected) = (found.map_or("none".into(), ToString::to_string), expected.as_str());
                findings.push(Finding::new(&rule::DESCRIPTION_DIFFERS, WELL_KNOWN_PATH, expected, found));
            }
        }
    }
}

fn chain_of(error: &json::JsonError) -> String {
    chain(error)
}

/// Verifies the media type and charset of a discovery document.
pub fn check_type(document: &SourceDocument, expected: &str, object: &str, findings: &mut Collected) {
    let found = match &document.content_type {
        DeclaredType::Unavailable => return,
        DeclaredType::Missing => "no Content-Type".to_string(),
        DeclaredType::Type(found) if found.media_type == expected => {
            if found.charset.as_deref() != Some("utf-8") {
                let found = found.charset.as_ref().map_or("no charset".into(), |charset| format!("charset={charset}"));
                findings.push(Finding::new(&rule::CHARSET, object, "charset=utf-8", found));
            }
            return;
        }
        DeclaredType::Type(found) => found.media_type.clone(),
    };
    findings.push(Finding::new(&rule::MEDIA_TYPE, object, expected, found));
}
