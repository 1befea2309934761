//! The preview server: serves a site's directory over HTTP on loopback, with the media types and cache policy of a web
//! server.
//!
//! Every response comes from the current files, so a publish is visible at once. [`respond`] decides on responses, and
//! [`computed`] computes documents that are not files. The gate (`gate.rs`) limits the connections (`connections.rs`),
//! reads and checks the head of each request (`head.rs`), and passes it on to `tiny_http`; a worker (`workers.rs`)
//! takes the request from `tiny_http` and sends the response ([`http`]).

mod client;
pub mod computed;
mod connections;
mod cors;
mod file_reader;
mod gate;
mod head;
pub mod host;
pub mod http;
pub mod json_scan;
pub mod local;
pub mod multipart;
pub mod preview;
pub mod range;
pub mod registry;
pub mod request_path;
pub mod respond;
mod sites;
mod workers;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use client::Client;
use computed::Computations;
use gate::Gate;
use preview::Preview;
use respond::{PreviewRequest, Response};
use sites::{Current, Sites, SitesError};
use workers::Workers;

/// The time that a stopping server has to complete responses.
const GRACE: Duration = Duration::from_secs(10);
/// The most hosts of the site in a message.
const MAX_NAMED_HOSTS: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Sites(#[from] SitesError),
    #[error("cannot listen on {address}: {reason}; choose another with --listen, or port 0 for a free one")]
    Listen { address: String, reason: String },
    #[error(
        "cannot create a socket below {}: {source}; set TMPDIR to a writable directory with a short path",
        std::env::temp_dir().display()
    )]
    Socket { source: std::io::Error },
    #[error("cannot accept connections on {address} any more")]
    Accept {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
}

/// A bound server.
pub struct Server {
    http: tiny_http::Server,
    gate: Arc<Gate>,
    address: SocketAddr,
    sites: Sites,
    stopping: Arc<AtomicBool>,
    log: bool,
    cors: bool,
}

/// Stops a server from another thread.
#[derive(Clone)]
pub struct Handle {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
}

impl Handle {
    /// Accepts no further requests. Responses in progress are completed.
    #[allow(clippy::disallowed_methods, reason = "the server wakes its own listener")]
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        // The gate waits for a connection. It checks whether to stop before it passes a request on.
        drop(TcpStream::connect(reachable(self.address)));
    }
}

/// What the requests to a server have in common.
struct Answers {
    sites: Sites,
    computations: Computations,
    /// Whether the server listens on loopback.
    is_local: bool,
    /// Whether pages of other origins may read the site.
    cors: bool,
}

impl Answers {
    /// Answers a request. On loopback, only for hosts that [`host`] accepts.
    fn answer(&self, request: &PreviewRequest, client: &Client) -> Response {
        let Some(site) = self.sites.of(request) else {
            return unknown_host(request, "", self.sites.hosts().unwrap_or_default());
        };
        let Current { root, map, .. } = site.current();
        let hosts = self.sites.hosts().unwrap_or(&map.settings().hosts);
        let is_served = |host: &String| !self.is_local || host::is_served(host, hosts);
        if !request.host.as_ref().is_none_or(is_served) {
            let local = if self.sites.hosts().is_some() { "" } else { "localhost and " };
            return unknown_host(request, local, hosts);
        }
        let (computations, client) = (&self.computations, Some(&*client.stream));
        let preview = Preview { root: &root, map: &map, computations, client };
        let preflight = cors::preflight(request).filter(|_| self.cors);
        let mut response = preflight.unwrap_or_else(|| respond::respond(&preview, request));
        if self.cors {
            cors::allow(request, self.is_local.then_some(hosts), &mut response);
        }
        response
    }
}

fn unknown_host(request: &PreviewRequest, local: &str, hosts: &[String]) -> Response {
    let hosts = hosts[..hosts.len().min(MAX_NAMED_HOSTS)].join(", ");
    let host = request.host.as_deref().unwrap_or_default();
    let message = format!(
        "this preview serves {local}{hosts}, not {host:?}: open it under one of these names (a reverse proxy has to send one of them \
         as Host)"
    );
    respond::error(421, "HOST_UNKNOWN", &message)
}

impl Server {
    /// Binds to an address (`127.0.0.1:8000`; port 0 selects a free one). No request is answered yet.
    pub fn bind(root: &Path, address: &str, log: bool) -> Result<Server, ServeError> {
        let sites = Sites::open(root)?;
        let failed = |reason: String| ServeError::Listen { address: address.into(), reason };
        let listener = TcpListener::bind(address).map_err(|error| failed(error.to_string()))?;
        let bound = listener.local_addr().map_err(|error| failed(error.to_string()))?;
        let socket = |source: std::io::Error| ServeError::Socket { source };
        let (gate, inner) = Gate::new(listener, log).map_err(socket)?;
        let http =
            tiny_http::Server::from_listener(inner, None).map_err(|error| socket(std::io::Error::other(error)))?;
        Ok(Server { http, gate: Arc::new(gate), address: bound, sites, stopping: Arc::default(), log, cors: true })
    }

    /// The same server without CORS headers.
    #[must_use]
    pub fn without_cors(self) -> Server {
        Server { cors: false, ..self }
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The hosts, if there are several sites.
    pub fn hosts(&self) -> Option<&[String]> {
        self.sites.hosts()
    }

    /// Stops the server.
    pub fn handle(&self) -> Handle {
        Handle { address: self.address, stopping: Arc::clone(&self.stopping) }
    }

    /// Answers requests until the server is stopped, and then completes the responses in progress.
    ///
    /// # Errors
    /// The system accepts no more connections.
    pub fn run(self) -> Result<(), ServeError> {
        let handle = self.handle();
        let Server { http, gate, address, sites, stopping, log, cors } = self;
        let is_local = address.ip().to_canonical().is_loopback();
        let answers = Answers { sites, computations: Computations::default(), is_local, cors };
        let entered = Arc::clone(&gate);
        let answer = move |http| {
            if let Some(client) = entered.client_of(&http) {
                http::exchange(http, client, log, |request, client| answers.answer(request, client));
            }
        };
        let (failed, failure) = mpsc::channel();
        let workers = Workers::start(http, answer, move |error| {
            if !handle.stopping.load(Ordering::SeqCst) {
                let _ = failed.send(error);
                handle.stop();
            }
        });
        let failed = |source| ServeError::Accept { address, source };
        let workers = workers.map_err(failed)?;
        let accepted = gate.run(&stopping);
        gate.close(GRACE);
        stopping.store(true, Ordering::SeqCst);
        workers.stop();
        accepted.and(failure.try_recv().map_or(Ok(()), Err)).map_err(failed)
    }
}

/// The address to connect to a listener, which may listen on all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
