//! The names and addresses of a web server, checked.
//!
//! Some names have a special meaning in web servers (`~` begins a regular expression, `$` a variable), so only host
//! names are accepted, and `*.` before one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::outbound::address::canonical;

/// The default port of plain HTTP.
pub(super) const HTTP: u16 = 80;
/// The default port of HTTPS.
pub(super) const HTTPS: u16 = 443;

/// The longest host name (RFC 1035, section 2.3.4), in bytes.
const MAX_NAME: usize = 253;
/// The longest label of a host name, in bytes.
const MAX_LABEL: usize = 63;

/// A host name, `*.` and a host name, or an IP address (version 6 in brackets), as URLs have them: in lower case, and an IPv6 address
/// in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerName(String);

/// A port on all addresses or on one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A port on all addresses of IP version 4: `80`.
    Port(u16),
    /// A port on one address: `127.0.0.1:8080`, `[::]:80`.
    Address(SocketAddr),
}

/// The addresses of one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// From 1.
    pub port: u16,
    /// IP addresses, version 6 in brackets, each once; `0.0.0.0` and `[::]` are all addresses of a version, and stand for the
    /// others of that version: most servers cannot listen on both.
    pub addresses: Vec<String>,
    /// Whether the addresses include all of a version.
    pub is_any: bool,
}

impl Port {
    /// Groups addresses by port, in the order of the ports.
    pub fn group(listen: &[Listen]) -> Vec<Port> {
        let mut ports: Vec<Port> = Vec::new();
        for one in listen {
            let ip = one.ip();
            let address = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            let position = ports.iter().position(|known| known.port == one.port()).unwrap_or_else(|| {
                ports.push(Port { port: one.port(), addresses: vec![], is_any: false });
                ports.len() - 1
            });
            let port = &mut ports[position];
            port.is_any |= ip.is_unspecified();
            if !port.addresses.contains(&address) {
                port.addresses.push(address);
            }
        }
        for port in &mut ports {
            for (all, is_version_6) in [("0.0.0.0", false), ("[::]", true)] {
                if port.addresses.iter().any(|address| address == all) {
                    port.addresses.retain(|address| address == all || address.starts_with('[') != is_version_6);
                }
            }
        }
        ports
    }

    /// Whether the port of this address is among these.
    pub fn has(&self, address: &str) -> bool {
        let all = if address.starts_with('[') { "[::]" } else { "0.0.0.0" };
        self.addresses.iter().any(|own| own == address || own == all)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("{text:?} is not a server name: {reason}; expected a name such as example.com or *.example.com")]
    Name { text: String, reason: &'static str },
    #[error(
        "{text:?} is not an address to listen on: expected PORT, ADDRESS:PORT or [ADDRESS]:PORT, such as 127.0.0.1:8080"
    )]
    Listen { text: String },
    #[error("{text:?} has a scope (%), which not all servers take: listen on [::], or on an address without a scope")]
    Scope { text: String },
}

impl ServerName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<ServerName, AddressError> {
        let refuse = |reason| Err(AddressError::Name { text: text.into(), reason });
        let name = text.to_ascii_lowercase();
        if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return match address.parse::<Ipv6Addr>() {
                Ok(_) => Ok(ServerName(canonical(&name))),
                Err(_) => refuse("there is no IPv6 address between the brackets"),
            };
        }
        let host = name.strip_prefix("*.").unwrap_or(&name);
        if host.len() > MAX_NAME {
            return refuse("it is longer than 253 bytes");
        }
        for label in host.split('.') {
            match label.as_bytes() {
                [] => return refuse("a label is empty"),
                [b'-', ..] | [.., b'-'] => return refuse("a label begins or ends with a hyphen"),
                bytes if bytes.len() > MAX_LABEL => return refuse("a label is longer than 63 bytes"),
                bytes if !bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) => {
                    return refuse("a label has a character other than letters, digits, hyphens and underscores");
                }
                _ => {}
            }
        }
        Ok(ServerName(name))
    }

    /// Whether the name is a wildcard for all names below a host.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }
}

impl Listen {
    /// A port on all addresses of both IP versions.
    pub fn on_all(port: u16) -> Vec<Listen> {
        vec![Listen::Port(port), Listen::Address(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))]
    }

    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            Listen::Port(port) => *port,
            Listen::Address(address) => address.port(),
        }
    }

    /// The address.
    pub fn ip(&self) -> IpAddr {
        match self {
            Listen::Port(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            Listen::Address(address) => address.ip(),
        }
    }
}

impl FromStr for ServerName {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<ServerName, AddressError> {
        ServerName::parse(text)
    }
}

impl FromStr for Listen {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Listen, AddressError> {
        if text.contains('%') {
            return Err(AddressError::Scope { text: text.into() });
        }
        let port = text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit())).map(Listen::Port);
        let listen = port.or_else(|| text.parse().ok().map(Listen::Address));
        listen.filter(|listen| listen.port() != 0).ok_or_else(|| AddressError::Listen { text: text.into() })
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Port(port) => write!(f, "{port}"),
            Listen::Address(address) => write!(f, "{address}"),
        }
    }
}

impl Serialize for ServerName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_server_names_and_what_a_server_reads_otherwise_is_not() {
        for name in
            ["example.com", "*.example.com", "localhost", "127.0.0.1", "[::1]", "_", "xn--bcher-kva.example.com"]
        {
            assert_eq!(ServerName::parse(name).unwrap().to_string(), name);
        }
        assert_eq!(ServerName::parse("Example.COM").unwrap().to_string(), "example.com");
        assert_eq!(ServerName::parse("[0:0:0:0:0:0:0:1]").unwrap().to_string(), "[::1]");
        for name in
            ["", "~^.*$", ".example.com", "example.com.", "a..b", "*", "*.*.a", "$host", "a b", "a;b", "a{b", "a\nb"]
        {
            assert!(ServerName::parse(name).is_err(), "{name:?}");
        }
        for name in ["bücher.example", "-a.example", "[::1", "[x]", "a/b", "\"a\"", "a#b", "example.com:80"] {
            assert!(ServerName::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn addresses_of_one_port_come_together() {
        let listen =
            ["127.0.0.1:80", "80", "[::]:80", "127.0.0.1:8080", "80", "[::1]:80"].map(|text| text.parse().unwrap());
        let group = |port, addresses: &[&str], is_any| {
            let addresses = addresses.iter().map(|address| address.to_string()).collect();
            Port { port, addresses, is_any }
        };
        let expected = [group(80, &["0.0.0.0", "[::]"], true), group(8080, &["127.0.0.1"], false)];
        assert_eq!(Port::group(&listen), expected);
    }

    #[test]
    fn addresses_are_ports_and_socket_addresses() {
        for text in ["80", "127.0.0.1:8080", "[::]:80", "0.0.0.0:443"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in
            ["", "0", "65536", "+80", "localhost:80", "127.0.0.1", "80 ssl", "80;", "unix:/a", "::1:80", "[::1]:0"]
        {
            assert!(text.parse::<Listen>().is_err(), "{text:?}");
        }
        for text in ["[fe80::1%3]:80", "[fe80::1%eth0]:80", "[fe80::1%0]:80"] {
            assert!(matches!(text.parse::<Listen>(), Err(AddressError::Scope { .. })), "{text:?}");
        }
    }
}
