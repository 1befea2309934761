//! Which addresses a site may lead a client to.
//!
//! A site says where its indexes and blobs are, and a server where a request goes on. Either could send a client that stands
//! inside of a private network to what only that network reaches: a router, the metadata service of a cloud (server-side
//! request forgery). A host that the user named may be anywhere. Any other host may have a private address only when a host that
//! the user named has one, too: then all of this happens within the network.
//!
//! Who names an image names its host. The host's ancestors are asked for ref engines, too, but they stand for it only when it
//! has no address itself: otherwise whoever has the host could lead to what is inside by an ancestor that is his as well.
//!
//! What was found at first counts, so that a name whose address changes meanwhile (DNS rebinding) leads nowhere else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use url::Host;

/// What is known of the hosts that the user named.
#[derive(Debug)]
pub struct Reach {
    named: Mutex<Vec<Named>>,
}

/// A host that the user named, and what is found of it.
#[derive(Debug)]
struct Named {
    /// The host, and then those that may stand for it.
    hosts: Vec<String>,
    /// Whether it was looked up.
    is_looked_up: bool,
    /// Whether the first of its hosts that had an address had a private one.
    is_private: Option<bool>,
}

/// A host that is not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} is at {address}, an address of a private network, to which only a host that was named can lead; \
     `--connect-to` names an address"
)]
pub struct OutOfReach {
    /// The host.
    pub host: String,
    /// Its address.
    pub address: IpAddr,
}

impl Reach {
    /// For a user who named these hosts, each before those that may stand for it, as [`canonical`] writes them.
    pub fn new(named: impl IntoIterator<Item = Vec<String>>) -> Reach {
        let named = named.into_iter().map(|hosts| Named { hosts, is_looked_up: false, is_private: None });
        Reach { named: Mutex::new(named.collect()) }
    }

    /// Whether a host that was looked up and has these addresses may be asked.
    pub fn check(&self, host: &str, addresses: &[IpAddr]) -> Result<(), OutOfReach> {
        let private = addresses.iter().copied().find(|address| is_private(*address));
        let is_within = self.hear(host, (!addresses.is_empty()).then_some(private.is_some()));
        match private {
            Some(address) if !is_within => Err(OutOfReach { host: host.into(), address }),
            _ => Ok(()),
        }
    }

    /// Whether a proxy may be asked for a host. It looks names up itself, and what they lead to is for it to say.
    pub fn check_for_proxy(&self, host: &Host<&str>) -> Result<(), OutOfReach> {
        let address = match host {
            Host::Ipv4(address) => IpAddr::V4(*address),
            Host::Ipv6(address) => IpAddr::V6(*address),
            Host::Domain(name) if is_localhost(name) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Host::Domain(name) => {
                self.hear(name, Some(false));
                return Ok(());
            }
        };
        self.check(&host.to_string(), &[address])
    }

    /// Hears what was found of a host (see [`Named::hear`]), and says whether a host that the user named is private.
    fn hear(&self, host: &str, is_private: Option<bool>) -> bool {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.iter_mut().for_each(|one| one.hear(host, is_private));
        named.iter().any(|one| one.is_private == Some(true))
    }
}

impl Named {
    /// Hears whether a host has a private address; none: it has no address.
    fn hear(&mut self, host: &str, is_private: Option<bool>) {
        match self.hosts.iter().position(|one| one == host) {
            Some(0) => self.is_looked_up = true,
            Some(_) if self.is_looked_up => {}
            _ => return,
        }
        self.is_private = self.is_private.or(is_private);
    }
}

/// A host as URLs have it: in lower case, with addresses in their usual form.
pub fn canonical(host: &str) -> String {
    Host::parse(host).map_or_else(|_| host.to_ascii_lowercase(), |host| host.to_string())
}

/// RFC 6761, section 6.3.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether an address is none of the public network (IANA's registries of special-purpose addresses, RFC 6890).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let is_shared = first == 100 && (64..128).contains(&second);
    let is_for_protocols = (first, second, third) == (192, 0, 0);
    let is_for_benchmarks = first == 198 && (18..20).contains(&second);
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || first == 0
        || is_shared
        || is_for_protocols
        || is_for_benchmarks
        // Multicast, reserved, broadcast.
        || first >= 224
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let v4_at = |bits: u32| Ipv4Addr::from((u128::from(address) >> bits) as u32);
    match segments {
        // What carries an IPv4 address: mapped (RFC 4291, section 2.5.5.2), translated (RFC 6052, section 2.1), 6to4 (RFC 3056,
        // section 2).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_private_v4(v4_at(0)),
        [0x2002, ..] => is_private_v4(v4_at(80)),
        // For protocols, Teredo among them; for documentation (RFC 3849, RFC 9637).
        [0x2001, 0..0x200, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..0x1000, ..] => true,
        // Global unicast (RFC 4291, section 2.4, as far as it has been given out); nothing else is.
        [0x2000..0x4000, ..] => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(named: &[&[&str]]) -> Reach {
        Reach::new(named.iter().map(|hosts| hosts.iter().map(ToString::to_string).collect()))
    }

    fn ask(reach: &Reach, host: &str, address: &str) -> bool {
        reach.check(host, &[address.parse().unwrap()]).is_ok()
    }

    fn ask_proxy(reach: &Reach, host: &str) -> bool {
        reach.check_for_proxy(&format!("http://{host}/").parse::<url::Url>().unwrap().host().unwrap()).is_ok()
    }

    #[test]
    fn a_public_site_leads_to_public_hosts_only() {
        let reach = reach(&[&["example.com"]]);
        assert!(ask(&reach, "example.com", "93.184.215.14"));
        for public in ["2606:2800:21f:cb07::1", "::ffff:93.184.215.14", "2002:5db8:d70e::1", "64:ff9b::93.184.215.14"] {
            assert!(ask(&reach, "cdn.example.net", public), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "240.0.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "::1",
            "::",
            "::127.0.0.1",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
        ] {
            assert!(!ask(&reach, "internal.example.net", private), "{private}");
            assert!(!ask(&reach, private, private), "{private}");
        }
    }

    #[test]
    fn a_site_of_a_private_network_leads_anywhere() {
        let reach = reach(&[&["corp.example.com"]]);
        assert!(!ask(&reach, "cas.corp.example.com", "10.0.0.2"), "nobody has been asked yet");
        assert!(ask(&reach, "corp.example.com", "10.0.0.1"));
        assert!(ask(&reach, "cas.corp.example.com", "10.0.0.2"));
    }

    #[test]
    fn an_ancestor_stands_for_a_host_without_an_address() {
        let reach = reach(&[&["app.corp.example.com", "corp.example.com"]]);
        assert!(!ask(&reach, "corp.example.com", "10.0.0.1"), "before the host itself");
        reach.check("app.corp.example.com", &[]).unwrap();
        assert!(ask(&reach, "corp.example.com", "10.0.0.1"));
        assert!(ask(&reach, "cas.corp.example.com", "10.0.0.2"));
    }

    #[test]
    fn an_ancestor_of_a_public_host_is_like_any_other() {
        let reach = reach(&[&["app.example.com", "example.com"]]);
        assert!(ask(&reach, "app.example.com", "93.184.215.14"));
        assert!(!ask(&reach, "example.com", "127.0.0.1"));
        assert!(!ask(&reach, "other.example.net", "127.0.0.1"));
    }

    #[test]
    fn a_named_host_whose_address_changes_leads_nowhere() {
        let changed = reach(&[&["example.com"]]);
        assert!(ask(&changed, "example.com", "93.184.215.14"));
        assert!(!ask(&changed, "example.com", "127.0.0.1"));
        assert!(!ask(&changed, "other.example.net", "127.0.0.1"));
        // Nor one that had none until its ancestor had spoken.
        let late = reach(&[&["app.example.com", "example.com"]]);
        late.check("app.example.com", &[]).unwrap();
        assert!(ask(&late, "example.com", "93.184.215.14"));
        assert!(!ask(&late, "app.example.com", "127.0.0.1"));
    }

    #[test]
    fn a_proxy_is_asked_for_names_but_not_for_private_addresses() {
        let of_a_name = reach(&[&["example.com"]]);
        assert!(ask_proxy(&of_a_name, "example.com") && ask_proxy(&of_a_name, "cdn.example.net"));
        for private in ["127.0.0.1", "0x7f.1", "[::1]", "localhost", "a.localhost."] {
            assert!(!ask_proxy(&of_a_name, private), "{private}");
        }
        assert!(!ask(&of_a_name, "excepted.example.net", "10.0.0.1"));
        let of_an_address = reach(&[&["127.0.0.1"]]);
        assert!(ask_proxy(&of_an_address, "127.0.0.1") && ask_proxy(&of_an_address, "10.0.0.1"));
    }

    #[test]
    fn hosts_are_compared_as_urls_have_them() {
        for (name, url) in [("Example.COM", "example.com"), ("127.1", "127.0.0.1"), ("[0:0::1]", "[::1]")] {
            assert_eq!(canonical(name), url);
        }
    }
}
