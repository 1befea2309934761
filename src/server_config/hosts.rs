//! Virtual hosts, and the addresses and ports that serve them, so that each request has one meaning.

use serde::Serialize;

use super::address::{HTTPS, Listen, Port, ServerName};
use super::registry::RegistryView;
use super::rules::Rule;

/// A root with its names.
#[derive(Debug, Serialize)]
pub(super) struct VirtualHost<'a> {
    pub names: Vec<ServerName>,
    pub listen: Vec<Listen>,
    /// The names with the port, for servers that match it.
    pub ports: Vec<Port>,
    pub tls: Option<TlsFiles<'a>>,
    pub root: &'a str,
    pub rules: Vec<Rule>,
    /// The registry view. None: the root has none.
    pub registry: Option<RegistryView>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct TlsFiles<'a> {
    pub certificate: &'a str,
    pub key: &'a str,
}

/// The redirect from plain HTTP to HTTPS.
#[derive(Debug, Serialize)]
pub(super) struct Redirect {
    pub listen: Vec<Listen>,
    /// The names with the port, for servers that match it.
    pub ports: Vec<Port>,
    /// In an order in which the first target with a matching name is the right one.
    pub targets: Vec<Target>,
}

/// Where the names of a redirect have HTTPS.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Target {
    pub names: Vec<ServerName>,
    /// None: the default port.
    pub port: Option<u16>,
}

impl Target {
    /// The targets of all names of `hosts` for a redirect at `from`. A name that several hosts have leads to the first.
    pub(super) fn of(hosts: &[VirtualHost], from: &[Port]) -> Result<Vec<Target>, HostError> {
        let mut targets: Vec<Target> = Vec::new();
        for host in hosts {
            let port = https_port(host, from)?.filter(|port| *port != HTTPS);
            let is_known = |name: &&ServerName| targets.iter().any(|target| target.names.contains(name));
            let names: Vec<ServerName> = host.names.iter().filter(|name| !is_known(name)).cloned().collect();
            match targets.last_mut() {
                Some(last) if last.port == port => last.names.extend(names),
                _ if names.is_empty() => {}
                _ => targets.push(Target { names, port }),
            }
        }
        Ok(targets)
    }
}

/// The port of a host to which a redirect at `from` leads: the one that most addresses of the redirect have, the default one of
/// several.
fn https_port(host: &VirtualHost, from: &[Port]) -> Result<Option<u16>, HostError> {
    let addresses: Vec<&String> = from.iter().flat_map(|group| &group.addresses).collect();
    let lacks = |port: &&Port| addresses.iter().filter(|address| !port.has(address)).count();
    let Some(port) = host.ports.iter().min_by_key(|port| (lacks(port), port.port != HTTPS)) else { return Ok(None) };
    let is_elsewhere = |address: &&&String| !port.has(address) && host.ports.iter().any(|other| other.has(address));
    match addresses.iter().find(is_elsewhere) {
        Some(address) => {
            Err(HostError::NoPort { root: host.root.into(), address: address.to_string(), port: port.port })
        }
        None => Ok(Some(port.port)),
    }
}

/// Why virtual hosts cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("{origin} has a wildcard, and clients do not replace it: publish with an origin that has one host")]
    Wildcard { origin: String },
    #[error(
        "{name} at {address} is the name of two roots, {} and {}: name other hosts with --server-name, or give the roots \
         configurations with different --listen",
        .roots[0],
        .roots[1]
    )]
    SameName { name: ServerName, address: String, roots: [String; 2] },
    #[error("{address} has HTTPS and the redirect from plain HTTP: give another address with --listen-http")]
    SameAddress { address: String },
    #[error(
        "plain HTTP would lead to port {port}, and {address} has the root {root} at another port: give one port to all addresses \
         of --listen-http, or fewer addresses"
    )]
    NoPort { root: String, address: String, port: u16 },
    #[error(
        "[::]:{port} means all addresses of IP version 6, and Apache would listen on all addresses of version 4, too: add {port} \
         for both, or list the addresses"
    )]
    BothVersions { port: u16 },
}

/// An address and port to listen on.
#[derive(Debug, Serialize)]
pub(super) struct Socket<'a> {
    /// An IP address, version 6 in brackets.
    address: &'a str,
    port: u16,
    /// The hosts, with distinct names. None: the socket redirects to HTTPS.
    hosts: Vec<&'a VirtualHost<'a>>,
}

/// All sockets, each once.
pub(super) fn sockets<'a>(
    hosts: &'a [VirtualHost<'a>],
    redirect: Option<&'a Redirect>,
) -> Result<Vec<Socket<'a>>, HostError> {
    let mut sockets = Vec::new();
    for host in hosts {
        for (address, port) in addresses(&host.ports) {
            socket(&mut sockets, address, port).add(host)?;
        }
    }
    for (address, port) in redirect.iter().flat_map(|redirect| addresses(&redirect.ports)) {
        let redirect = Socket { address, port, hosts: vec![] };
        if sockets.iter().any(|socket| !socket.hosts.is_empty() && socket.overlaps(&redirect)) {
            return Err(HostError::SameAddress { address: redirect.text() });
        }
        sockets.push(redirect);
    }
    Ok(sockets)
}

/// Refuses what Apache cannot do: where it listens on all addresses of IP version 6, it listens on those of version 4.
pub(super) fn refuse_version_6_alone<'a>(ports: impl IntoIterator<Item = &'a Port>) -> Result<(), HostError> {
    let has = |port: &Port, all: &str| port.addresses.iter().any(|address| address == all);
    match ports.into_iter().find(|port| has(port, "[::]") && !has(port, "0.0.0.0")) {
        Some(port) => Err(HostError::BothVersions { port: port.port }),
        None => Ok(()),
    }
}

fn addresses(ports: &[Port]) -> impl Iterator<Item = (&str, u16)> {
    ports.iter().flat_map(|group| group.addresses.iter().map(|address| (address.as_str(), group.port)))
}

/// The socket of a host: the known one, or a new one.
fn socket<'s, 'a>(sockets: &'s mut Vec<Socket<'a>>, address: &'a str, port: u16) -> &'s mut Socket<'a> {
    let position = sockets.iter().position(|socket| (socket.address, socket.port) == (address, port));
    let position = position.unwrap_or_else(|| {
        sockets.push(Socket { address, port, hosts: vec![] });
        sockets.len() - 1
    });
    &mut sockets[position]
}

impl<'a> Socket<'a> {
    fn add(&mut self, host: &'a VirtualHost<'a>) -> Result<(), HostError> {
        for other in &self.hosts {
            if let Some(name) = host.names.iter().find(|name| other.names.contains(name)) {
                let roots = [other.root.into(), host.root.into()];
                return Err(HostError::SameName { name: name.clone(), address: self.text(), roots });
            }
        }
        self.hosts.push(host);
        Ok(())
    }

    /// Whether an address can belong to both. Servers disagree on which of two overlapping sockets answers there, and on whether
    /// all addresses of one IP version include those of the other: Apache writes either as `*`.
    fn overlaps(&self, other: &Socket) -> bool {
        let is_any = |socket: &Socket| matches!(socket.address, "0.0.0.0" | "[::]");
        self.port == other.port && (self.address == other.address || is_any(self) || is_any(other))
    }

    fn text(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }
}
