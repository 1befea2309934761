//! Classifies addresses and host names: private networks, and this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Host;

/// A host in the form of URLs: in lower case, with addresses in their canonical form.
pub fn canonical(host: &str) -> String {
    Host::parse(host).map_or_else(|_| host.to_ascii_lowercase(), |host| host.to_string())
}

/// The address of a host that needs no look-up: a literal one, or loopback for the reserved names.
pub fn literal(host: &Host<&str>) -> Option<IpAddr> {
    match host {
        Host::Ipv4(address) => Some(IpAddr::V4(*address)),
        Host::Ipv6(address) => Some(IpAddr::V6(*address)),
        Host::Domain(name) => is_localhost(name).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    }
}

/// Whether a name in lower case is `localhost`, or one below it, which are loopback as well (RFC 6761, section 6.3).
pub fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether an address is not public (IANA's registries of special-purpose addresses, RFC 6890).
pub fn is_private(address: IpAddr) -> bool {
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
        // Addresses that contain an IPv4 address: mapped (RFC 4291, section 2.5.5.2), translated (RFC 6052, section
        // 2.1), 6to4 (RFC 3056, section 2).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_private_v4(v4_at(0)),
        [0x2002, ..] => is_private_v4(v4_at(80)),
        // Protocol assignments, including Teredo; documentation (RFC 3849, RFC 9637).
        [0x2001, 0..0x200, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..0x1000, ..] => true,
        // The allocated part of global unicast (RFC 4291, section 2.4). All others are private.
        [0x2000..0x4000, ..] => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_public_network_are_told_from_all_others() {
        let is_private = |text: &str| is_private(text.parse().unwrap());
        for public in [
            "93.184.215.14",
            "2606:2800:21f:cb07::1",
            "::ffff:93.184.215.14",
            "2002:5db8:d70e::1",
            "64:ff9b::93.184.215.14",
        ] {
            assert!(!is_private(public), "{public}");
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
            assert!(is_private(private), "{private}");
        }
    }

    #[test]
    fn hosts_are_compared_as_urls_have_them() {
        for (name, url) in [("Example.COM", "example.com"), ("127.1", "127.0.0.1"), ("[0:0::1]", "[::1]")] {
            assert_eq!(canonical(name), url);
        }
    }
}
