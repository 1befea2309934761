//! Properties of a URL by its text, without a look-up of names.

use url::{Host, Url};

/// Whether a URL's scheme is http or https.
///
/// ```
/// use oci_discovery::discovery::url::is_web;
///
/// assert!(is_web(&"https://example.com/".parse()?) && !is_web(&"file:///etc/passwd".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// Whether requests to a URL stay on this machine: `localhost` itself, or a literal loopback address. Other names may
/// resolve to loopback addresses, but an attacker on the network may choose the addresses of a name.
pub(super) fn is_on_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_localhost_and_loopback_addresses_are_this_machine_by_their_spelling() {
        let is_here = |host: &str| is_on_this_machine(&format!("http://{host}/").parse().unwrap());
        for here in ["localhost", "LOCALHOST", "localhost:8080", "127.0.0.1", "127.9.9.9", "0x7f.1", "[::1]"] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in ["example.com", "localhost.example.com", "a.localhost", "10.0.0.1", "[fd00::1]", "0.0.0.0"] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }
}
