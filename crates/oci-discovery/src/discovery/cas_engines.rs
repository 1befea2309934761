//! CAS engines: where the blob of a descriptor is (cas-template; ref-engine discovery, "Ref-engines objects").
//!
//! A publisher names CAS engines in the ref-engines object, in an entry of the index, and in any descriptor below. The
//! nearest engine is asked first. The digest decides whether a blob is correct, so any order is safe.

use std::collections::HashSet;
use std::sync::Arc;

use url::Url;

use super::engine::{Engine, read_list};
use super::error::EngineError;
use super::protocol::{CAS_ENGINES, CAS_TEMPLATE_PROTOCOL};
use super::remark::Remarks;
use super::url::is_web;
use crate::digest::Digest;
use crate::name::ImageName;
use crate::oci::Descriptor;
use crate::template::cas_variables;

/// The CAS engines for the blob of a descriptor, in the order of requests: those of the descriptor itself, then those
/// of the documents that led to the descriptor, the nearest first.
///
/// ```
/// use oci_discovery::discovery::{CasEngines, RefEngines, Remarks};
/// use oci_discovery::name::ImageName;
/// use oci_discovery::oci::Descriptor;
/// use serde_json::json;
/// use std::sync::Arc;
///
/// let site = "https://example.com/.well-known/oci-host-ref-engines".parse()?;
/// let engine = |uri| json!({"protocol": "oci-cas-template-v1", "uri": uri});
/// let object = RefEngines::read(&site, &json!({"casEngines": [engine("/cas/{encoded}")]}), &mut Remarks::default())?;
/// let outer = CasEngines::new(&ImageName::parse("example.com/app")?, &object.cas_engines);
///
/// let digest = format!("sha256:{}", "0".repeat(64));
/// let entry = json!({"digest": digest, "size": 7, "casEngines": [engine("https://cdn.example.net/{digest}")]});
/// let entry = Descriptor::from_value(entry)?;
/// let engines = outer.with(&entry, &Arc::new("https://example.com/index/app".parse()?), &mut Remarks::default());
/// let hosts: Vec<_> = engines.urls(&entry).flatten().filter_map(|url| url.host_str().map(String::from)).collect();
/// assert_eq!(hosts, ["cdn.example.net", "example.com"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CasEngines {
    name: Arc<ImageName>,
    own: Arc<[Engine]>,
    outer: Option<Arc<CasEngines>>,
}

impl CasEngines {
    /// The engines of the ref-engines object through which `name` was resolved.
    pub fn new(name: &ImageName, engines: &Arc<[Engine]>) -> Arc<CasEngines> {
        Arc::new(CasEngines { name: Arc::new(name.clone()), own: engines.clone(), outer: None })
    }

    /// These engines behind those of `descriptor`, which is in the document `uri`. Malformed entries go to `remarks`.
    pub fn with(
        self: &Arc<CasEngines>,
        descriptor: &Descriptor,
        uri: &Arc<Url>,
        remarks: &mut Remarks,
    ) -> Arc<CasEngines> {
        let list = descriptor.property(CAS_ENGINES);
        self.behind(read_list(list.as_ref(), CAS_ENGINES, CAS_TEMPLATE_PROTOCOL, uri, remarks))
    }

    /// These engines behind the engines `own`.
    pub fn behind(self: &Arc<CasEngines>, own: Vec<Engine>) -> Arc<CasEngines> {
        match own.is_empty() {
            true => self.clone(),
            false => Arc::new(CasEngines { name: self.name.clone(), own: own.into(), outer: Some(self.clone()) }),
        }
    }

    /// Whether no engine has a known protocol.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    fn iter(&self) -> impl Iterator<Item = &Engine> {
        let levels = std::iter::successors(Some(self), |engines| engines.outer.as_deref());
        levels.flat_map(|engines| &*engines.own).filter(|engine| engine.protocol() == CAS_TEMPLATE_PROTOCOL)
    }

    /// The URLs that the engines give for the blob `digest`, each once.
    pub fn engine_urls<'a>(&'a self, digest: &Digest) -> impl Iterator<Item = Result<Url, EngineError>> + use<'a> {
        let variables = cas_variables(&self.name, digest);
        distinct(self.iter().map(move |engine| engine.expand(&variables)))
    }

    /// The URLs at which the blob of `descriptor` may be, each once: those of the engines, then the descriptor's own
    /// `urls` (image-spec, descriptor, "Properties").
    pub fn urls<'a>(&'a self, descriptor: &Descriptor) -> impl Iterator<Item = Result<Url, EngineError>> + use<'a> {
        let own = descriptor.property("urls").and_then(|mut urls| urls.as_array_mut().map(std::mem::take));
        let own = own.into_iter().flatten().filter_map(|url| url.as_str()?.parse().ok()).filter(is_web).map(Ok);
        distinct(self.engine_urls(&descriptor.digest).chain(own))
    }
}

/// The URLs without repetitions, and all errors.
fn distinct(urls: impl Iterator<Item = Result<Url, EngineError>>) -> impl Iterator<Item = Result<Url, EngineError>> {
    let mut seen = HashSet::new();
    urls.filter(move |url| url.as_ref().map_or(true, |url| seen.insert(url.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use serde_json::{Value, json};

    fn descriptor(properties: Value) -> Descriptor {
        let mut descriptor = Descriptor::new("a/b", Digest::of(Algorithm::Sha256, b""), 0);
        descriptor.edit(|map| map.extend(properties.as_object().unwrap().clone()));
        descriptor
    }

    fn engine(template: &str) -> Value {
        json!({"protocol": CAS_TEMPLATE_PROTOCOL, "uri": template})
    }

    fn of_ref_engines(engines: Vec<Engine>) -> Arc<CasEngines> {
        CasEngines::new(&ImageName::parse("example.com/team/app#1.0").unwrap(), &engines.into())
    }

    fn urls(engines: &CasEngines, descriptor: &Descriptor) -> Vec<String> {
        engines.urls(descriptor).map(|url| url.map_or_else(|error| error.to_string(), String::from)).collect()
    }

    #[test]
    fn the_nearest_engine_comes_first_and_each_url_once() {
        let uri: Arc<Url> = Arc::new("https://example.com/i/app".parse().unwrap());
        let outer = Engine { config: (&engine("/outer/{encoded:2}")).into(), uri: uri.clone() };
        let engines = of_ref_engines(vec![outer]);
        let entry =
            descriptor(json!({"casEngines": [engine("/entry"), engine("/outer/{encoded:2}"), {"protocol": "x"}]}));
        let engines = engines.with(&entry, &uri, &mut Remarks::default());
        let layer = descriptor(json!({
            "casEngines": [engine("layer")],
            "urls": ["https://cdn.example.net/x", "ftp://cdn.example.net/x", 7],
        }));
        let engines = engines.with(&layer, &uri, &mut Remarks::default());
        let expected = ["i/layer", "entry", "outer/e3"].map(|path| format!("https://example.com/{path}"));
        assert_eq!(urls(&engines, &layer)[..3], expected);
        assert_eq!(urls(&engines, &layer)[3..], ["https://cdn.example.net/x"]);
    }

    #[test]
    fn a_descriptor_without_engines_adds_none() {
        let uri: Arc<Url> = Arc::new("https://example.com/".parse().unwrap());
        let engines = of_ref_engines(vec![]);
        assert!(
            urls(&engines.with(&descriptor(json!({})), &uri, &mut Remarks::default()), &descriptor(json!({})))
                .is_empty()
        );
    }

    #[test]
    fn a_template_may_use_the_variables_of_the_name() {
        let uri: Arc<Url> = Arc::new("https://example.com/".parse().unwrap());
        let entry = descriptor(json!({"casEngines": [engine("/oci-image/{+path}/blobs/{algorithm}/{encoded:2}")]}));
        let engines = of_ref_engines(vec![]).with(&entry, &uri, &mut Remarks::default());
        assert_eq!(urls(&engines, &entry), ["https://example.com/oci-image/team/app/blobs/sha256/e3"]);
    }
}
