//! The fixed words of the protocol.

/// The path of the ref-engines object below a host (oci-discovery, "Well-known URI").
pub const WELL_KNOWN_PATH: &str = ".well-known/oci-host-ref-engines";
/// The protocol of a ref engine that is a URI template of indexes (oci-index-template-v1).
pub const INDEX_TEMPLATE_PROTOCOL: &str = "oci-index-template-v1";
/// The protocol of a CAS engine that is a URI template of blobs (oci-cas-template-v1).
pub const CAS_TEMPLATE_PROTOCOL: &str = "oci-cas-template-v1";
/// The property of a descriptor, and of the ref-engines object, that lists CAS engines.
pub const CAS_ENGINES: &str = "casEngines";
