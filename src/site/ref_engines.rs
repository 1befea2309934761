//! The ref-engines object that a site serves at `/.well-known/oci-host-ref-engines` (oci-discovery).

use serde_json::{Map, Value, json};

use super::map::SiteMap;
use oci_discovery::json;

/// The protocol of a ref engine that is a URI template of indexes.
pub const INDEX_TEMPLATE_PROTOCOL: &str = "oci-index-template-v1";
/// The protocol of a CAS engine that is a URI template of blobs.
pub const CAS_TEMPLATE_PROTOCOL: &str = "oci-cas-template-v1";

/// The canonical bytes of a site's ref-engines object.
///
/// The CAS engine stands here too, beside every index entry's own, unless its template depends on the image's name: then
/// only an index can say it rightly.
pub fn document(map: &SiteMap) -> Vec<u8> {
    let mut object = Map::new();
    let ref_engine = json!({"protocol": INDEX_TEMPLATE_PROTOCOL, "uri": map.settings().index_template.as_str()});
    object.insert("refEngines".into(), vec![ref_engine].into());
    if map.cas_is_shared() {
        object.insert(CAS_ENGINES.into(), vec![cas_engine(map.settings().cas_template.as_str())].into());
    }
    json::canonical(&Value::Object(object))
}

/// The property of a descriptor, and of the ref-engines object, that lists CAS engines.
pub const CAS_ENGINES: &str = "casEngines";

/// A `casEngines` entry for a template.
pub fn cas_engine(template: &str) -> Value {
    json!({"protocol": CAS_TEMPLATE_PROTOCOL, "uri": template})
}
