//! The connections of the HTTP client: a `ureq` agent whose resolver returns only permitted addresses, and whose
//! connections are measured.
//!
//! All requests go through this resolver and these connections, so the policy holds for every request: there is no
//! other look-up, and the meter counts every byte.

#![allow(clippy::disallowed_methods, reason = "this module is what the others go through")]

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector, Transport,
};
use ureq::{Agent, Proxy, http};
use url::Url;

use super::pace::{Meter, Pace};
use super::proxy::{self, ProxyError};
use super::reach::{OutOfReach, Reach};

/// The most bytes of status line and headers.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// The time limit of a connection: name look-up, TCP and TLS.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// The idle connections per host: one for each of the usual number of workers.
const IDLE_CONNECTIONS: usize = 16;

/// Sends the requests for some hosts, on any port, to one address. URLs, the `Host` header and the name in TLS are
/// still those of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectTo {
    /// The hosts, in lower case.
    pub hosts: Vec<String>,
    /// The address of the connection.
    pub address: Address,
    /// Whether the server there has no TLS, so that requests for https URLs are sent in plain http.
    pub is_plain: bool,
}

/// A host and a port to connect to: `127.0.0.1:8080`, `[::1]:8080`, `staging.example.com:443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(http::uri::Authority);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address to connect to: expected HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080")]
pub struct AddressError {
    pub text: String,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let wrong = || AddressError { text: text.into() };
        let authority: http::uri::Authority = text.parse().map_err(|_| wrong())?;
        let is_complete = !authority.host().is_empty() && authority.port_u16().is_some_and(|port| port > 0);
        if !is_complete || text.contains('@') {
            return Err(wrong());
        }
        Ok(Address(authority))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(
        "cannot read certificates from SSL_CERT_FILE or SSL_CERT_DIR ({problem}): correct the variable, or unset it"
    )]
    Certificates { problem: String },
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

/// The agents: direct, and through the proxy of the environment.
pub struct Agents {
    direct: Agent,
    /// The proxy of the environment, and the agent that uses it.
    proxied: Option<(Proxy, Agent)>,
    reach: Arc<Reach>,
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agents").field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl ConnectTo {
    /// The URL as it is sent.
    pub fn sent(&self, url: &Url) -> Url {
        let mut sent = url.clone();
        if self.is_plain && url.host_str().is_some_and(|host| self.hosts.iter().any(|known| known == host)) {
            // From one web scheme to another is always possible.
            let _ = sent.set_scheme("http");
        }
        sent
    }
}

impl Agents {
    /// Creates the agents.
    ///
    /// # Errors
    /// The environment names unusable certificates or an unusable proxy.
    pub fn new(pace: Pace, connect_to: Option<ConnectTo>, reach: Arc<Reach>) -> Result<Agents, SetupError> {
        // A proxy would defeat a given address.
        let proxy = if connect_to.is_some() { None } else { proxy::from_environment()? };
        let tls = TlsConfig::builder().root_certs(root_certificates()?).build();
        let proxied = proxy.map(|proxy| {
            // This agent looks up and connects to the proxy itself.
            let connector = connector(Watch { pace, reach: None });
            let config = config(pace, &tls, Some(proxy.clone()));
            (proxy, Agent::with_parts(config, connector, DefaultResolver::default()))
        });
        let resolver = Guide { connect_to, reach: reach.clone(), dns: DefaultResolver::default() };
        let connector = connector(Watch { pace, reach: Some(reach.clone()) });
        let direct = Agent::with_parts(config(pace, &tls, None), connector, resolver);
        Ok(Agents { direct, proxied, reach })
    }

    /// The agent for a URL.
    ///
    /// # Errors
    /// The proxy would be asked for an address to which a site may not lead.
    pub fn of(&self, url: &Url) -> Result<&Agent, ureq::Error> {
        let Some((_, agent)) = self.proxied.as_ref().filter(|(proxy, _)| proxy::applies(proxy, url)) else {
            return Ok(&self.direct);
        };
        if let Some(host) = url.host() {
            self.reach.allowed_for_proxy(&host).map_err(out_of_reach)?;
        }
        Ok(agent)
    }

    /// The addresses of a URL's host that its look-up omitted.
    pub fn left_out(&self, url: &Url) -> Option<OutOfReach> {
        self.reach.left_out(url.host_str()?)
    }
}

fn config(pace: Pace, tls: &TlsConfig, proxy: Option<Proxy>) -> Config {
    Config::builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_response_header_size(MAX_HEADER_BYTES)
        .max_idle_connections(4 * IDLE_CONNECTIONS)
        .max_idle_connections_per_host(IDLE_CONNECTIONS)
        .timeout_connect(Some(CONNECT_TIME))
        .timeout_global(Some(pace.time_for_document()))
        // A transfer without any bytes is too slow as well.
        .timeout_per_read(Some(pace.time_for_document()))
        .user_agent(concat!("ocisite/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .tls_config(tls.clone())
        .proxy(proxy)
        .build()
}

/// TCP, or a tunnel through a proxy; then the meter; then TLS for https.
fn connector(watch: Watch) -> impl Connector<()> {
    ().chain(ConnectProxyConnector::default())
        .chain(TcpConnector::default())
        .chain(watch)
        .chain(RustlsConnector::default())
}

fn root_certificates() -> Result<RootCerts, SetupError> {
    let [file, directory] = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os);
    // Checked now: a later error about an untrusted certificate would hide a misspelled file name.
    if let Some(Err(error)) = file.as_ref().map(std::fs::File::open) {
        return Err(SetupError::Certificates { problem: error.to_string() });
    }
    let loaded = rustls_native_certs::load_native_certs();
    if !loaded.certs.is_empty() {
        let certificates = loaded.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
        return Ok(RootCerts::from(certificates));
    }
    match file.or(directory) {
        Some(_) => {
            let problem = loaded.errors.first().map_or("there are none".into(), ToString::to_string);
            Err(SetupError::Certificates { problem })
        }
        None => Ok(RootCerts::WebPki),
    }
}

/// The resolver of [`ConnectTo`] and [`Reach`]: looks up another name for some hosts and the own name of all others,
/// and returns only permitted addresses.
#[derive(Debug)]
struct Guide {
    connect_to: Option<ConnectTo>,
    reach: Arc<Reach>,
    dns: DefaultResolver,
}

impl Resolver for Guide {
    fn resolve(
        &self,
        uri: &http::Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        if let Some(connect_to) = self.connect_to.as_ref().filter(|connect_to| connect_to.hosts.contains(&host)) {
            let target = http::Uri::builder().scheme("http").authority(connect_to.address.0.clone());
            let found = self.look_up(&target.path_and_query("/").build()?, config, timeout)?;
            self.reach.given(&host, &ips(&found));
            return Ok(found);
        }
        let found = self.look_up(uri, config, timeout);
        let addresses = found.as_ref().map(|found| ips(found)).unwrap_or_default();
        let allowed = self.reach.allowed(&host, &addresses).map_err(out_of_reach)?;
        let mut kept = self.empty();
        for address in found?.iter().filter(|address| allowed.contains(&address.ip())) {
            kept.push(*address);
        }
        Ok(kept)
    }
}

impl Guide {
    /// The addresses of a URL's host. Only a name is looked up in a thread that can be given up: an address is known at once,
    /// and a thread would take memory for its stack.
    fn look_up(
        &self,
        uri: &http::Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        let timeout = if is_address { NextTimeout::default() } else { timeout };
        self.dns.resolve(uri, config, timeout).map_err(|error| match error {
            ureq::Error::Io(source) => io::Error::new(source.kind(), NoAddress(source)).into(),
            error => error,
        })
    }
}

/// The look-up of a name failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAddress(io::Error);

fn ips(addresses: &[SocketAddr]) -> Vec<IpAddr> {
    addresses.iter().map(SocketAddr::ip).collect()
}

fn out_of_reach(refused: OutOfReach) -> ureq::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, refused).into()
}

/// Reports each connection to [`Reach`], and measures its speed.
#[derive(Debug)]
struct Watch {
    pace: Pace,
    /// None: the connection is to a proxy, which the user named.
    reach: Option<Arc<Reach>>,
}

impl<In: Transport> Connector<In> for Watch {
    type Out = Watched<In>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(inner) = chained else { return Ok(None) };
        let target = self.reach.clone().map(|reach| Target {
            reach,
            host: details.uri.host().unwrap_or_default().to_ascii_lowercase(),
            // The connection is to one of these, and Reach permits either only public or only private ones.
            addresses: ips(&details.addrs),
        });
        if let Some(Target { reach, host, addresses }) = &target {
            reach.connected(host, addresses);
        }
        Ok(Some(Watched { inner, target, meter: Meter::new(self.pace, Instant::now()) }))
    }
}

/// The other side of a connection.
#[derive(Debug)]
struct Target {
    reach: Arc<Reach>,
    host: String,
    addresses: Vec<IpAddr>,
}

/// A connection whose speed is measured, separately for each request.
#[derive(Debug)]
struct Watched<T> {
    inner: T,
    /// None: a proxy.
    target: Option<Target>,
    meter: Meter,
}

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let result = self.inner.transmit_output(amount, timeout);
        // The connection may have been idle before a request.
        self.meter.restart(Instant::now());
        result
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let before = self.inner.buffers().input().len();
        let has_input = self.inner.await_input(timeout)?;
        let after = self.inner.buffers().input().len();
        let came = after.saturating_sub(before) as u64;
        self.meter.advance(came, Instant::now()).map_err(io::Error::from)?;
        Ok(has_input)
    }

    /// The agent keeps connections by host name. One that [`Reach`] would not permit now is closed, whatever addresses
    /// the name has now.
    fn is_open(&mut self) -> bool {
        let allows_reuse = |target: &Target| target.reach.allows_reuse(&target.host, &target.addresses);
        self.target.as_ref().is_none_or(allows_reuse) && self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["127.0.0.1:8080", "[::1]:80", "staging.example.com:443"] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1",
            ":80",
            "example.com:0",
            "example.com:99999",
            "me@example.com:80",
            "http://a:80",
            "::1:80x",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
