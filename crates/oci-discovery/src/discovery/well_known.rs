//! Ref-engine discovery: which ref-engines objects there are for an image name, in the order of preference.
//!
//! The local configuration comes first, because it is how a consumer overrules a publisher: all of its keys that match
//! count together, longest first, and where they lead to a root nothing else is asked. Then come the well-known URIs, one at
//! a time: for each protocol, `https` before `http`, the name's host and then its DNS ancestors. The next is asked
//! when one cannot be had (so the specification) or leads to no root (as the specification permits, and as the existing
//! Python resolver does). A host that gave an object over one protocol is not asked again over the next: the answer "no such
//! image" over `https` is not to be overruled by what comes over `http`.
//!
//! An index has no digest that a consumer knows, so only the connection protects it. Plain `http` is used when the user asks for
//! it, and for this machine itself. Once a certificate was not trusted, nothing more of the name is asked over `http`, whoever
//! asked for it: the one who answered with the wrong certificate would answer there, too.

use std::collections::HashSet;

use url::Url;

use super::fetch::Fetch;
use super::protocol::WELL_KNOWN_PATH;
use super::ref_engines::{self, RefEngines};
use super::remark::{Remark, Remarks};
use super::url::is_on_this_machine;
use super::xdg;
use crate::name::ImageName;

/// A protocol to ask well-known URIs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP over TLS.
    Https,
    /// Plain HTTP.
    Http,
}

impl Protocol {
    /// The URI scheme.
    pub fn scheme(self) -> &'static str {
        match self {
            Protocol::Https => "https",
            Protocol::Http => "http",
        }
    }
}

/// How ref engines are discovered.
#[derive(Debug, Default)]
pub struct Settings {
    /// The protocols for well-known URIs that the user asked for, in the order in which they are tried; none: `https`, and then
    /// `http` for this machine itself.
    pub protocols: Vec<Protocol>,
    /// The port for well-known URIs; none: the protocol's own.
    pub port: Option<u16>,
    /// The local configuration; empty where it is not to be used.
    pub configuration: xdg::Configuration,
}

/// The well-known documents of a name, asked one at a time, as long as the caller wants another.
pub(super) struct WellKnown<'a> {
    fetch: &'a dyn Fetch,
    candidates: std::vec::IntoIter<(Protocol, &'a str)>,
    port: Option<u16>,
    answered: HashSet<&'a str>,
    /// Whether a certificate was not trusted.
    is_distrusted: bool,
    /// Whether it is worth telling how to ask over http: the user has not said, and no host answered over https.
    may_need_http: bool,
}

impl<'a> WellKnown<'a> {
    /// The documents for `name`; nothing is asked yet.
    pub(super) fn new(fetch: &'a dyn Fetch, settings: &Settings, name: &'a ImageName) -> WellKnown<'a> {
        WellKnown {
            fetch,
            candidates: candidates(&settings.protocols, name).into_iter(),
            port: settings.port,
            answered: HashSet::new(),
            is_distrusted: false,
            may_need_http: settings.protocols.is_empty(),
        }
    }

    /// The next object that can be had. What could not goes to `remarks`.
    pub(super) fn next(&mut self, remarks: &mut Remarks) -> Option<RefEngines> {
        for (protocol, host) in self.candidates.by_ref() {
            if self.answered.contains(host) {
                continue;
            }
            if self.is_distrusted && protocol == Protocol::Http {
                remarks.push(Remark::Distrusted { host: host.into() });
                continue;
            }
            let url = match well_known_url(protocol, host, self.port) {
                Ok(url) => url,
                Err(remark) => {
                    remarks.push(remark);
                    continue;
                }
            };
            match ref_engines::get(self.fetch, &url, remarks) {
                Ok(engines) => {
                    self.may_need_http = false;
                    self.answered.insert(host);
                    return Some(engines);
                }
                Err(error) => {
                    self.is_distrusted |= error.is_certificate();
                    self.may_need_http &= error.is_no_answer() && !self.is_distrusted;
                    remarks.push(Remark::NoRefEngines(error));
                }
            }
        }
        if std::mem::take(&mut self.may_need_http) {
            remarks.push(Remark::OnlyHttps);
        }
        None
    }
}

/// The hosts to ask and the protocol for each, in order: for every protocol the hosts of the name (well-known-uri-ref-engine-discovery,
/// "Images associated with a host's `oci-host-ref-engines`"). Without protocols from the user: `https`, then `http` for this machine.
fn candidates<'a>(protocols: &[Protocol], name: &'a ImageName) -> Vec<(Protocol, &'a str)> {
    let hosts = name.discovery_hosts();
    let of = |protocol: Protocol| hosts.iter().map(move |host| (protocol, *host));
    if !protocols.is_empty() {
        return protocols.iter().copied().flat_map(of).collect();
    }
    let is_here = |(protocol, host): &(Protocol, &str)| {
        well_known_url(*protocol, host, None).is_ok_and(|url| is_on_this_machine(&url))
    };
    of(Protocol::Https).chain(of(Protocol::Http).filter(is_here)).collect()
}

/// The URL of a host's ref-engines object (well-known-uri-ref-engine-discovery, "`oci-host-ref-engines` well-known URI registration").
fn well_known_url(protocol: Protocol, host: &str, port: Option<u16>) -> Result<Url, Remark> {
    let host = port.map_or(host.to_string(), |port| format!("{host}:{port}"));
    let url = Url::parse(&format!("{}://{host}/{WELL_KNOWN_PATH}", protocol.scheme()));
    url.map_err(|problem| Remark::Host { host, problem: problem.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_asked_over_https_and_only_this_machine_over_http_too() {
        let asked = |protocols: &[Protocol], name: &str| {
            let name = ImageName::parse(name).unwrap();
            let asked = candidates(protocols, &name);
            asked.iter().map(|(protocol, host)| format!("{}://{host}", protocol.scheme())).collect::<Vec<_>>()
        };
        assert_eq!(asked(&[], "a.example.com/app"), ["https://a.example.com", "https://example.com"]);
        assert_eq!(asked(&[], "localhost/app"), ["https://localhost", "http://localhost"]);
        let both = [Protocol::Http, Protocol::Https];
        assert_eq!(asked(&both, "example.com/app"), ["http://example.com", "https://example.com"]);
    }

    #[test]
    fn a_port_replaces_the_protocol_s_own_and_addresses_keep_their_brackets() {
        let url = |protocol, host, port| well_known_url(protocol, host, port).unwrap().to_string();
        assert_eq!(url(Protocol::Https, "example.com", None), "https://example.com/.well-known/oci-host-ref-engines");
        assert_eq!(url(Protocol::Http, "[::1]", Some(81)), "http://[::1]:81/.well-known/oci-host-ref-engines");
        assert!(well_known_url(Protocol::Https, "a%20b", None).is_err());
    }
}
