//! Cross-origin requests: whether a page of another origin may read what the preview serves (Fetch, "CORS protocol").
//!
//! A public site may be read by every page. A preview on loopback is not public: any page that its user opens could read it there.
//! So there, only pages of local hosts and of the site's own may.

use super::host;
use super::respond::{Body, PreviewRequest, Response};
use crate::site::object::{CORS, PREFLIGHT};

/// The answer to a preflight. None: the request is none.
pub(super) fn preflight(request: &PreviewRequest) -> Option<Response> {
    let is_preflight = request.method == "OPTIONS" && request.asks_for_method;
    let headers = PREFLIGHT.iter().map(|(name, value)| (*name, value.to_string())).collect();
    is_preflight.then(|| Response { status: 204, headers, body: Body::Bytes(vec![]) })
}

/// Adds the headers of every response. With `local_hosts`, only for pages of these and of local hosts.
pub(super) fn allow(request: &PreviewRequest, local_hosts: Option<&[String]>, response: &mut Response) {
    let Some(hosts) = local_hosts else {
        response.headers.extend(CORS.iter().map(|(name, value)| (*name, value.to_string())));
        return;
    };
    let is_local = |origin: &&String| origin.split_once("://").is_some_and(|(_, host)| host::is_served(host, hosts));
    let Some(origin) = request.origin.as_ref().filter(is_local) else { return };
    response.headers.extend(
        CORS.iter().map(|(name, value)| (*name, if *value == "*" { origin.clone() } else { value.to_string() })),
    );
    response.headers.push(("Vary", "Origin".into()));
}
