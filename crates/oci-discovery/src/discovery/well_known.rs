//! Well-known URIs: the ref-engines objects of a name's hosts, one at a time (well-known-uri-ref-engine-discovery).
//!
//! The [front page of discovery](super) has the order and its reasons.

use std::collections::HashSet;

use url::Url;

use super::fetch::Fetch;
use super::protocol::WELL_KNOWN_PATH;
use super::ref_engines::{self, RefEngines};
use super::remark::{Remark, Remarks};
use super::url::is_on_this_machine;
use super::xdg;
use crate::name::ImageName;

/// A protocol for well-known URIs.
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

/// The settings of ref-engine discovery.
///
/// ```
/// use oci_discovery::discovery::{DiscoverySettings, Protocol};
///
/// // A test server on this machine: http, with a port, and without the user's configuration.
/// let settings = DiscoverySettings { protocols: vec![Protocol::Http], port: Some(8080), ..DiscoverySettings::default() };
/// assert_eq!(settings.protocols[0].scheme(), "http");
/// ```
#[derive(Debug, Default)]
pub struct DiscoverySettings {
    /// The protocols for well-known URIs, in order. Empty: `https`, and then `http` for this machine itself.
    pub protocols: Vec<Protocol>,
    /// The port for well-known URIs. None: the default of the protocol.
    pub port: Option<u16>,
    /// The local configuration; empty to ignore it.
    pub configuration: xdg::Configuration,
}

/// The ref-engines objects of a name's hosts, requested one at a time.
pub(super) struct WellKnown<'a> {
    fetch: &'a dyn Fetch,
    candidates: std::vec::IntoIter<(Protocol, &'a str)>,
    port: Option<u16>,
    answered: HashSet<&'a str>,
    /// Whether a certificate failed.
    is_distrusted: bool,
    /// Whether to suggest http: the user chose no protocol, and no host answered over https.
    may_need_http: bool,
    /// Whether one of the hosts has an address.
    is_known: bool,
}

impl<'a> WellKnown<'a> {
    /// The objects for `name`; no request is sent yet.
    pub(super) fn new(fetch: &'a dyn Fetch, settings: &DiscoverySettings, name: &'a ImageName) -> WellKnown<'a> {
        WellKnown {
            fetch,
            candidates: candidates(&settings.protocols, name).into_iter(),
            port: settings.port,
            answered: HashSet::new(),
            is_distrusted: false,
            may_need_http: settings.protocols.is_empty(),
            is_known: false,
        }
    }

    /// The next usable object. Failures go to `remarks`.
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
                    self.is_known |= !error.is_unknown_host();
                    self.may_need_http &= (error.is_no_answer() || error.is_unknown_host()) && !self.is_distrusted;
                    remarks.push(Remark::NoRefEngines(error));
                }
            }
        }
        if std::mem::take(&mut self.may_need_http) && self.is_known {
            remarks.push(Remark::OnlyHttps);
        }
        None
    }
}

/// The hosts to ask and the protocol for each, in order: for every protocol the hosts of the name
/// (well-known-uri-ref-engine-discovery, "Images associated with a host's `oci-host-ref-engines`"). Without protocols
/// from the user: `https`, then `http` for this machine.
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

/// The URL of a host's ref-engines object (well-known-uri-ref-engine-discovery, "`oci-host-ref-engines` well-known URI
/// registration").
fn well_known_url(protocol: Protocol, host: &str, port: Option<u16>) -> Result<Url, Remark> {
    let host = port.map_or(host.to_string(), |port| format!("{host}:{port}"));
    let url = Url::parse(&format!("{}://{host}/{WELL_KNOWN_PATH}", protocol.scheme()));
    url.map_err(|problem| Remark::Host { host, problem: problem.to_string() })
}

#[cfg(test)]
mod tests {
    use super::super::fetch::{FetchError, FetchErrorKind, Response};
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
    fn http_is_suggested_only_if_a_host_has_an_address() {
        struct Failing(&'static [(&'static str, FetchErrorKind)]);
        impl Fetch for Failing {
            fn get(&self, url: &Url, _accept: &'static str) -> Result<Response<'_>, FetchError> {
                let found = self.0.iter().find(|(host, _)| url.host_str() == Some(host));
                Err(FetchError::new(found.map_or(FetchErrorKind::UnknownHost, |(_, kind)| *kind), "no response"))
            }
        }
        let suggests_http = |answers| {
            let (name, mut remarks) = (ImageName::parse("a.example.com/app").unwrap(), Remarks::default());
            assert!(
                WellKnown::new(&Failing(answers), &DiscoverySettings::default(), &name).next(&mut remarks).is_none()
            );
            remarks.iter().any(|remark| matches!(remark, Remark::OnlyHttps))
        };
        assert!(!suggests_http(&[]));
        assert!(suggests_http(&[("example.com", FetchErrorKind::NoAnswer)]));
        assert!(!suggests_http(&[("example.com", FetchErrorKind::Certificate)]));
    }

    #[test]
    fn a_port_replaces_the_protocol_s_own_and_addresses_keep_their_brackets() {
        let url = |protocol, host, port| well_known_url(protocol, host, port).unwrap().to_string();
        assert_eq!(url(Protocol::Https, "example.com", None), "https://example.com/.well-known/oci-host-ref-engines");
        assert_eq!(url(Protocol::Http, "[::1]", Some(81)), "http://[::1]:81/.well-known/oci-host-ref-engines");
        assert!(well_known_url(Protocol::Https, "a%20b", None).is_err());
    }
}
