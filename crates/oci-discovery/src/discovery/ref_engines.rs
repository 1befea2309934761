//! The ref-engines object (xdg-ref-engine-discovery, "Ref-engines objects"), which a host serves at
//! `/.well-known/oci-host-ref-engines`. A consumer reads it ([`RefEngines::read`]), a publisher writes it
//! ([`write()`]).

use std::sync::Arc;

use serde_json::{Map, Value, json};
use url::Url;

use super::document::{self, FetchedDocument};
use super::engine::{Engine, read_list};
use super::error::DocumentError;
use super::fetch::Fetch;
use super::protocol::{CAS_ENGINES, CAS_TEMPLATE_PROTOCOL, INDEX_TEMPLATE_PROTOCOL, REF_ENGINES};
use super::remark::Remarks;
use crate::json;
use crate::oci::media_type;

/// The most bytes of a ref-engines object; most have some hundred.
pub const MAX_BYTES: u64 = 64 * 1024;

/// The well-formed part of a ref-engines object.
///
/// ```
/// use oci_discovery::discovery::{RefEngines, Remarks};
/// use serde_json::json;
///
/// let object = json!({"refEngines": [{"protocol": "oci-index-template-v1", "uri": "https://{host}/index/{+path}"}]});
/// let read = RefEngines::read(&"https://example.com/".parse()?, &object, &mut Remarks::default())?;
/// assert_eq!((read.ref_engines.len(), read.cas_engines.len()), (1, 0));
/// assert!(RefEngines::read(&read.uri, &json!([]), &mut Remarks::default()).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RefEngines {
    /// The URL after redirects; a `file` URI for a local configuration.
    pub uri: Arc<Url>,
    /// `refEngines`, of any protocol.
    pub ref_engines: Vec<Engine>,
    /// `casEngines`, of any protocol.
    pub cas_engines: Arc<[Engine]>,
}

impl RefEngines {
    /// Reads a ref-engines object (xdg-ref-engine-discovery, "Ref-engines objects"). Both lists are optional. Malformed
    /// parts are skipped, with a remark.
    ///
    /// # Errors
    /// The value is not a JSON object.
    pub fn read(uri: &Url, value: &Value, remarks: &mut Remarks) -> Result<RefEngines, json::JsonError> {
        let object = json::object(value, "the ref-engines object")?;
        let (uri, list) = (Arc::new(uri.clone()), |name: &str| object.get(name));
        let ref_engines = read_list(list(REF_ENGINES), REF_ENGINES, INDEX_TEMPLATE_PROTOCOL, &uri, remarks);
        let cas_engines = read_list(list(CAS_ENGINES), CAS_ENGINES, CAS_TEMPLATE_PROTOCOL, &uri, remarks).into();
        Ok(RefEngines { uri, ref_engines, cas_engines })
    }
}

/// Fetches and reads the ref-engines object at a URL.
pub(super) fn get(fetch: &dyn Fetch, url: &Url, remarks: &mut Remarks) -> Result<RefEngines, DocumentError> {
    let document = document::get(fetch, url, media_type::REF_ENGINES, &mut { MAX_BYTES }, remarks)?;
    let value = document.value()?;
    let FetchedDocument { url, .. } = document;
    RefEngines::read(&url, &value, remarks).map_err(|source| DocumentError::Json { url, source })
}

/// The canonical bytes of a ref-engines object with one index template. A CAS template that depends on the image
/// belongs into the index instead.
///
/// ```
/// use oci_discovery::discovery::ref_engines::write;
///
/// let object = write("https://{host}/index/{+path}", None);
/// assert_eq!(object, br#"{"refEngines":[{"protocol":"oci-index-template-v1","uri":"https://{host}/index/{+path}"}]}"#);
/// ```
pub fn write(index_template: &str, cas_template: Option<&str>) -> Vec<u8> {
    let mut object = Map::new();
    let ref_engine = json!({"protocol": INDEX_TEMPLATE_PROTOCOL, "uri": index_template});
    object.insert(REF_ENGINES.into(), vec![ref_engine].into());
    if let Some(template) = cas_template {
        object.insert(CAS_ENGINES.into(), vec![cas_engine(template)].into());
    }
    json::canonical(&Value::Object(object))
}

/// An entry of `casEngines` for a template (cas-template).
///
/// ```
/// let entry = oci_discovery::discovery::ref_engines::cas_engine("/cas/{encoded}");
/// assert_eq!(entry["protocol"], "oci-cas-template-v1");
/// ```
pub fn cas_engine(template: &str) -> Value {
    json!({"protocol": CAS_TEMPLATE_PROTOCOL, "uri": template})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_are_optional_and_nothing_but_an_object_will_do() {
        let uri: Url = "https://example.com/".parse().unwrap();
        let mut remarks = Remarks::default();
        let empty = RefEngines::read(&uri, &json!({"x": 1}), &mut remarks).unwrap();
        assert!(empty.ref_engines.is_empty() && empty.cas_engines.is_empty() && remarks.is_empty());
        assert!(RefEngines::read(&uri, &json!([]), &mut remarks).is_err());
        RefEngines::read(&uri, &json!({"refEngines": {}}), &mut remarks).unwrap();
        assert!(remarks[0].to_string().contains("expected an array, found an object"), "{}", remarks[0]);
    }
}
