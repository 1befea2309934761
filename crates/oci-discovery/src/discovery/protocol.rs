//! The fixed names of the protocol.

/// The path of the ref-engines object below a host (well-known-uri-ref-engine-discovery).
pub const WELL_KNOWN_PATH: &str = ".well-known/oci-host-ref-engines";
/// The protocol of a ref engine that is a URI template of indexes (index-template).
pub const INDEX_TEMPLATE_PROTOCOL: &str = "oci-index-template-v1";
/// The protocol of a CAS engine that is a URI template of blobs (cas-template).
pub const CAS_TEMPLATE_PROTOCOL: &str = "oci-cas-template-v1";
/// The property of the ref-engines object that lists ref engines (xdg-ref-engine-discovery, "Ref-engines objects").
pub const REF_ENGINES: &str = "refEngines";
/// The property of a descriptor, and of the ref-engines object, that lists CAS engines (xdg-ref-engine-discovery,
/// "Ref-engines objects").
pub const CAS_ENGINES: &str = "casEngines";
