//! Which addresses a site may lead a client to.
//!
//! A site says where its indexes and blobs are, and a server where a request goes on. Either could send a client that stands
//! inside of a private network to what only that network reaches: a router, the metadata service of a cloud (server-side
//! request forgery). A host that the user named may be anywhere. Any other host may have a private address only when a host that
//! the user named has one, too: then all of this happens within the network.
//!
//! A named host keeps what it was at first, so that a name whose address changes meanwhile (DNS rebinding) leads nowhere else.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// What is known of the hosts that the user named.
#[derive(Debug)]
pub struct Reach {
    /// In lower case, each with whether its first address was private. None: it was not looked up yet.
    named: Mutex<BTreeMap<String, Option<bool>>>,
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
    /// For a user who named these hosts, in lower case.
    pub fn new(named: impl IntoIterator<Item = String>) -> Reach {
        Reach { named: Mutex::new(named.into_iter().map(|host| (host, None)).collect()) }
    }

    /// Whether a host with these addresses may be asked.
    pub fn check(&self, host: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Result<(), OutOfReach> {
        let private = addresses.into_iter().find(|address| is_private(*address));
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let was_private = named.get_mut(host).map(|known| *known.get_or_insert(private.is_some()));
        let Some(address) = private else { return Ok(()) };
        let is_reachable = was_private.unwrap_or_else(|| named.values().any(|known| *known == Some(true)));
        if is_reachable { Ok(()) } else { Err(OutOfReach { host: host.into(), address }) }
    }
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
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || first == 0
        || is_shared
        || is_for_protocols
        || is_for_benchmarks
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let last = || Ipv4Addr::from(u128::from(address) as u32);
    // What carries an IPv4 address: mapped (RFC 4291, section 2.5.5), and translated (RFC 6052, section 2.1).
    let is_mapped = address.to_ipv4_mapped().is_some();
    let is_translated = segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    ((is_mapped || is_translated) && is_private_v4(last()))
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(reach: &Reach, host: &str, address: &str) -> bool {
        reach.check(host, [address.parse().unwrap()]).is_ok()
    }

    #[test]
    fn a_public_site_leads_to_public_hosts_only() {
        let reach = Reach::new(["example.com".into()]);
        assert!(ask(&reach, "example.com", "93.184.215.14"));
        assert!(ask(&reach, "cdn.example.net", "2606:2800:21f:cb07::1"));
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
            "198.18.0.1",
            "192.0.0.8",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a9fe:a9fe",
        ] {
            assert!(!ask(&reach, "internal.example.net", private), "{private}");
            assert!(!ask(&reach, private, private), "{private}");
        }
        assert!(ask(&reach, "mapped.example.net", "::ffff:93.184.215.14"));
    }

    #[test]
    fn a_site_of_a_private_network_leads_anywhere() {
        let reach = Reach::new(["registry.corp.example.com".into(), "corp.example.com".into()]);
        assert!(!ask(&reach, "cas.corp.example.com", "10.0.0.2"), "nobody has been asked yet");
        assert!(ask(&reach, "corp.example.com", "10.0.0.1"));
        assert!(ask(&reach, "cas.corp.example.com", "10.0.0.2"));
    }

    #[test]
    fn a_named_host_whose_address_changes_leads_nowhere() {
        let reach = Reach::new(["example.com".into()]);
        assert!(ask(&reach, "example.com", "93.184.215.14"));
        assert!(!ask(&reach, "example.com", "127.0.0.1"));
        assert!(!ask(&reach, "other.example.net", "127.0.0.1"));
    }
}
