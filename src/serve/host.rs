//! Checks the `Host` headers of requests to a preview on loopback.
//!
//! With DNS rebinding, a web page makes its own host name resolve to a loopback address. The browser then treats the preview as
//! part of that page's origin, and the page can read the site. The `Host` header still carries the page's host name, so a
//! preview on loopback accepts the names of this machine and the hosts of its site, and refuses every other.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::outbound::address::{canonical, is_localhost};

/// Whether an authority (`localhost:8000`) names this machine or a host of the site, on any port.
pub fn is_served(authority: &str, site_hosts: &[String]) -> bool {
    is_loopback(&normal(authority)) || is_one_of(authority, site_hosts)
}

/// Whether an authority names a host of the site, on any port.
pub fn is_one_of(authority: &str, site_hosts: &[String]) -> bool {
    let host = normal(authority);
    // A name may have an address in another form than the one that clients send.
    let is_same = |known: &String| *known == host || (known.starts_with('[') && canonical(known) == canonical(&host));
    site_hosts.iter().any(is_same)
}

/// The host of an authority in lower case, without a dot at its end.
fn normal(authority: &str) -> String {
    let host = without_port(authority).to_ascii_lowercase();
    host.strip_suffix('.').map(str::to_string).unwrap_or(host)
}

/// The host of an authority. An IPv6 address keeps its brackets, as in the names of images.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn is_loopback(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok_and(|address| address.to_canonical().is_loopback());
    }
    is_localhost(host) || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_names_and_the_sites_hosts_are_served_on_any_port() {
        let hosts = ["example.com".to_string(), "[2001:db8:0::1]".to_string()];
        for (authority, is_served_here) in [
            ("localhost", true),
            ("localhost:", true),
            ("LOCALHOST.:80", true),
            ("a.localhost:80", true),
            ("127.255.0.1:80", true),
            ("[::1]", true),
            ("[::1]:80", true),
            ("[::ffff:127.0.0.1]:80", true),
            ("example.com:80", true),
            ("Example.Com", true),
            ("[2001:db8::1]:80", true),
            ("", false),
            (":80", false),
            ("::1", false),
            ("localhost@evil.example", false),
            ("evil.example@localhost", false),
            ("localhost:80:80", false),
            ("xlocalhost", false),
            (".localhost.evil.example", false),
            ("128.0.0.1", false),
            ("0.0.0.0", false),
            ("[::]", false),
            ("[2001:db8::2]", false),
            ("a.example.com", false),
        ] {
            assert_eq!(is_served(authority, &hosts), is_served_here, "{authority:?}");
        }
    }
}
