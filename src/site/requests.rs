//! The URLs at which clients get an object: its own path, and those that a server answers with the object.

use super::SitePath;
use super::catalogue::LIST_PAGE;
use super::registry::{Endpoint, ROOT};

/// The paths of an object in URLs, without a leading slash, its own first.
pub fn paths(path: &SitePath) -> Vec<String> {
    let other = match Endpoint::parse(path.as_str()) {
        Some(Endpoint::TagsAfter { name, tag }) => Some(format!("{ROOT}/{name}/tags/list?last={tag}")),
        Some(endpoint) => endpoint.kind().slash_path().map(str::to_string),
        None => (path.as_str() == LIST_PAGE).then(String::new),
    };
    [path.to_uri_path()].into_iter().chain(other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_its_own_path_and_those_that_clients_request() {
        let paths = |path: &str| paths(&SitePath::new(path).unwrap());
        assert_eq!(paths("oci-index/a b#1"), ["oci-index/a%20b%231"]);
        assert_eq!(paths("v2/app/blobs/sha256:00"), ["v2/app/blobs/sha256:00"]);
        assert_eq!(paths("v2/_ping.json"), ["v2/_ping.json", "v2/"]);
        assert_eq!(paths("v2/app/tags/_last/1.0"), ["v2/app/tags/_last/1.0", "v2/app/tags/list?last=1.0"]);
        assert_eq!(paths("index.html"), ["index.html", ""]);
    }
}
