//! Several registries behind one server. A client that uses the server as a mirror asks it for the names of another registry:
//! containerd adds `?ns=REGISTRY` to its requests.
//!
//! A configuration compares that value with the hosts of the sites, which it lists, so that no path is made from a request. Only
//! the registry view depends on it: discovery uses the hosts of names.

use serde::Serialize;
use url::form_urlencoded::byte_serialize;

/// A registry, and the root that has its names.
#[derive(Debug, Serialize)]
pub(super) struct Namespace<'a> {
    pub host: &'a str,
    /// An expression for the host in a query, as clients encode it.
    pub pattern: String,
    pub root: &'a str,
    /// The directory with the roots of all sites.
    pub parent: &'a str,
}

impl<'a> Namespace<'a> {
    pub(super) fn new(host: &'a str, root: &'a str) -> Namespace<'a> {
        let encoded: String = byte_serialize(host.as_bytes()).collect();
        let parent = root.rsplit_once('/').map_or("", |(parent, _)| parent);
        Namespace { host, pattern: regex::escape(&encoded), root, parent }
    }
}
