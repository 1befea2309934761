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
mod workers;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use crate::root::Root;
use crate::site::SiteMap;
use crate::site::map::MapError;
use crate::site::path::DESCRIPTION;
use crate::store::directory::{DirectoryStore, LinkMode};
use crate::store::site::{self, NoSite, SiteError};
use crate::store::{Location, StoreError};
use client::Client;
use computed::Computations;
use gate::Gate;
use preview::{Preview, SharedMap};
use respond::{PreviewRequest, Response};
use workers::Workers;

/// The time that a stopping server has to complete responses.
const GRACE: Duration = Duration::from_secs(10);
/// The most hosts of the site in a message.
const MAX_NAMED_HOSTS: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    NoSite(#[from] NoSite),
    #[error(transparent)]
    Description(#[from] SiteError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Map(#[from] MapError),
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
    site: Arc<ServedSite>,
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

/// The site's directory, and its map for the current description.
struct ServedSite {
    path: PathBuf,
    current: Mutex<Current>,
    computations: Computations,
}

/// The current state, as far as it could be read.
#[derive(Clone)]
struct Current {
    root: Arc<Root>,
    map: SharedMap,
    /// The modification time of the description of the map.
    modified: Option<SystemTime>,
}

impl ServedSite {
    fn open(path: &Path) -> Result<ServedSite, ServeError> {
        let root = Root::open(path).map_err(|_| no_site(path))?;
        let current = Current { modified: modified(&root), map: read_map(path)?, root: Arc::new(root) };
        Ok(ServedSite { path: path.into(), current: Mutex::new(current), computations: Computations::default() })
    }

    /// The directory, opened again because it may have been replaced, and the map, made again when the description
    /// changes. If reading fails, the former state is used.
    fn current(&self) -> Current {
        let mut current = self.current.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Ok(root) = Root::open(&self.path) {
            current.root = Arc::new(root);
        }
        let now = modified(&current.root);
        if now != current.modified
            && let Ok(map) = read_map(&self.path)
        {
            (current.modified, current.map) = (now, map);
        }
        current.clone()
    }

    /// Answers a request. On loopback, only for hosts that [`host`] accepts.
    fn answer(&self, request: &PreviewRequest, client: &Client, options: Options) -> Response {
        let Current { root, map, .. } = self.current();
        let hosts = &map.settings().hosts;
        let Options { is_local, cors } = options;
        match &request.host {
            Some(host) if is_local && !host::is_served(host, hosts) => {
                let hosts = &hosts[..hosts.len().min(MAX_NAMED_HOSTS)];
                let message = format!(
                    "this preview serves localhost and {}, not {host:?}: open it under one of these names (a reverse \
                     proxy has to send one of them as Host)",
                    hosts.join(", ")
                );
                respond::error(421, "HOST_UNKNOWN", &message)
            }
            _ => {
                let (computations, client) = (&self.computations, Some(&*client.stream));
                let preview = Preview { root: &root, map: &map, computations, client };
                let preflight = cors::preflight(request).filter(|_| cors);
                let mut response = preflight.unwrap_or_else(|| respond::respond(&preview, request));
                if cors {
                    cors::allow(request, is_local.then_some(hosts), &mut response);
                }
                response
            }
        }
    }
}

/// How a server answers.
#[derive(Clone, Copy)]
struct Options {
    /// Whether it listens on loopback.
    is_local: bool,
    /// Whether pages of other origins may read the site.
    cors: bool,
}

fn modified(root: &Root) -> Option<SystemTime> {
    Some(root.file_status(DESCRIPTION).ok()??.modified())
}

fn no_site(path: &Path) -> NoSite {
    NoSite::at(&Location::Directory(path.into()))
}

fn read_map(root: &Path) -> Result<SharedMap, ServeError> {
    let store = DirectoryStore::new(root, LinkMode::Copy, true)?;
    let settings = site::settings(&store)?.ok_or_else(|| no_site(root))?;
    Ok(SharedMap::new(SiteMap::new(settings)?))
}

impl Server {
    /// Binds to an address (`127.0.0.1:8000`; port 0 selects a free one). No request is answered yet.
    pub fn bind(root: &Path, address: &str, log: bool) -> Result<Server, ServeError> {
        let site = Arc::new(ServedSite::open(root)?);
        let failed = |reason: String| ServeError::Listen { address: address.into(), reason };
        let listener = TcpListener::bind(address).map_err(|error| failed(error.to_string()))?;
        let bound = listener.local_addr().map_err(|error| failed(error.to_string()))?;
        let socket = |source: std::io::Error| ServeError::Socket { source };
        let (gate, inner) = Gate::new(listener, log).map_err(socket)?;
        let http =
            tiny_http::Server::from_listener(inner, None).map_err(|error| socket(std::io::Error::other(error)))?;
        Ok(Server { http, gate: Arc::new(gate), address: bound, site, stopping: Arc::default(), log, cors: true })
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
        let Server { http, gate, address, site, stopping, log, cors } = self;
        let options = Options { is_local: address.ip().to_canonical().is_loopback(), cors };
        let entered = Arc::clone(&gate);
        let answer = move |http| {
            if let Some(client) = entered.client_of(&http) {
                http::exchange(http, client, log, |request, client| site.answer(request, client, options));
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
