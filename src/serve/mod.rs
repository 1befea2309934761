//! The preview server: a site's directory over HTTP on loopback, with the media types and cache policy it will have.
//!
//! It answers every request from the files as they are at that moment, so a publish is seen at once. What to send is decided
//! in [`respond`], without a socket; here is only the traffic with `tiny_http`, which sits behind a gate (`gate.rs`). Each request has a thread of its own while it
//! is answered, so a slow client holds up nobody; their number is bounded.

mod gate;
pub mod local;
pub mod range;
pub mod registry;
pub mod respond;

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;
use tiny_http::Header;

use crate::publish::{self, PublishError};
use crate::site::SiteMap;
use crate::site::map::MapError;
use crate::site::path::DESCRIPTION;
use crate::store::StoreError;
use crate::store::directory::{DirectoryStore, LinkMode};
use respond::{Body, Preview, Request, Response};

/// So many requests are answered at once; more wait. A preview has few clients, and a thread costs little.
const MAX_REQUESTS: usize = 256;
/// The name of the socket between the gate and `tiny_http`, in a directory that only this user can enter.
const INNER_SOCKET: &str = "http";
/// How long a server that was told to stop goes on sending what it has begun to send.
const GRACE: Duration = Duration::from_secs(10);

/// Why a site cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The directory is no site.
    #[error("{} is no site: expected a directory with a file ocisite.json, which `ocisite publish` writes", .path.display())]
    NotASite {
        /// The directory.
        path: PathBuf,
    },
    /// The site's description cannot be read.
    #[error(transparent)]
    Description(#[from] PublishError),
    /// The directory cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The site's templates are wrong.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}; choose another with --listen, or port 0 for a free one")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// Listening ended.
    #[error("cannot accept connections on {address} any more")]
    Accept {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A bound server.
pub struct Server {
    http: Arc<tiny_http::Server>,
    gate: TcpListener,
    /// Holds the socket between the gate and `tiny_http`; removed with the server.
    inner: TempDir,
    address: SocketAddr,
    site: Arc<ServedSite>,
    stopping: Arc<AtomicBool>,
    log: bool,
}

/// Stops a server from another thread.
#[derive(Clone)]
pub struct Handle {
    http: Arc<tiny_http::Server>,
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
}

impl Handle {
    /// Takes no further request; what is being sent is sent to its end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.http.unblock();
        // The gate waits for a connection, and this is one. It looks whether it should stop before it passes anything on.
        drop(TcpStream::connect(reachable(self.address)));
    }
}

/// The site's directory, and its map as of the description that is there now.
struct ServedSite {
    root: PathBuf,
    map: Mutex<(Option<SystemTime>, Arc<SiteMap>)>,
}

impl ServedSite {
    fn open(root: &Path) -> Result<ServedSite, ServeError> {
        let root = root.canonicalize().map_err(|_| ServeError::NotASite { path: root.into() })?;
        let map = Arc::new(read_map(&root)?);
        Ok(ServedSite { map: Mutex::new((modified(&root), map)), root })
    }

    /// The map; read again when the description has changed. One that cannot be read leaves the map as it was.
    fn map(&self) -> Arc<SiteMap> {
        let mut current = self.map.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = modified(&self.root);
        if now != current.0
            && let Ok(map) = read_map(&self.root)
        {
            *current = (now, Arc::new(map));
        }
        Arc::clone(&current.1)
    }
}

fn modified(root: &Path) -> Option<SystemTime> {
    std::fs::metadata(root.join(DESCRIPTION)).and_then(|metadata| metadata.modified()).ok()
}

fn read_map(root: &Path) -> Result<SiteMap, ServeError> {
    let store = DirectoryStore::new(root, LinkMode::Copy, true)?;
    let description = publish::description(&store)?.ok_or_else(|| ServeError::NotASite { path: root.into() })?;
    Ok(SiteMap::new(description.settings)?)
}

impl Server {
    /// Binds to an address (`127.0.0.1:8000`; port 0 picks a free one) without answering yet.
    pub fn bind(root: &Path, address: &str, log: bool) -> Result<Server, ServeError> {
        let site = Arc::new(ServedSite::open(root)?);
        let failed = |reason: String| ServeError::Listen { address: address.into(), reason };
        let gate = TcpListener::bind(address).map_err(|error| failed(error.to_string()))?;
        let bound = gate.local_addr().map_err(|error| failed(error.to_string()))?;
        let inner = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
        let socket = UnixListener::bind(inner.path().join(INNER_SOCKET)).map_err(|error| failed(error.to_string()))?;
        let http = tiny_http::Server::from_listener(socket, None).map_err(|error| failed(error.to_string()))?;
        Ok(Server { http: Arc::new(http), gate, inner, address: bound, site, stopping: Arc::default(), log })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stops it.
    pub fn handle(&self) -> Handle {
        Handle { http: Arc::clone(&self.http), address: self.address, stopping: Arc::clone(&self.stopping) }
    }

    /// Answers requests until it is stopped.
    ///
    /// # Errors
    /// The system gives no more connections, for example because the process has too many files open.
    pub fn run(self) -> Result<(), ServeError> {
        let Server { http, gate, inner, address, site, stopping, log } = self;
        let socket = inner.path().join(INNER_SOCKET);
        let handle = Handle { http: Arc::clone(&http), address, stopping: Arc::clone(&stopping) };
        let gate = std::thread::spawn(move || {
            let result = gate::run(&gate, &socket, &handle.stopping);
            handle.stop();
            result
        });
        let active = Arc::new(Active::default());
        while !stopping.load(Ordering::SeqCst) {
            let Ok(request) = http.recv() else { break };
            active.begin();
            let (site, ended) = (Arc::clone(&site), Arc::clone(&active));
            std::thread::spawn(move || {
                answer(&site, request, log);
                ended.end();
            });
        }
        active.wait_until_idle(GRACE);
        match gate.join() {
            Ok(Err(source)) => Err(ServeError::Accept { address, source }),
            _ => Ok(()),
        }
    }
}

/// An address to connect to a listener at, which may listen on all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// Counts the requests that are being answered.
#[derive(Default)]
struct Active {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Active {
    fn begin(&self) {
        let count = self.count.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let waited = self.changed.wait_while(count, |count| *count >= MAX_REQUESTS);
        *waited.unwrap_or_else(|poisoned| poisoned.into_inner()) += 1;
    }

    fn end(&self) {
        *self.count.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) -= 1;
        self.changed.notify_all();
    }

    fn wait_until_idle(&self, grace: Duration) {
        let count = self.count.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        drop(self.changed.wait_timeout_while(count, grace, |count| *count > 0));
    }
}

fn answer(site: &ServedSite, http: tiny_http::Request, log: bool) {
    let start = Instant::now();
    let request = read_request(&http);
    let map = site.map();
    let response = respond::respond(&Preview { root: &site.root, map: &map }, &request);
    let (status, length) = (response.status, response.body.length());
    // A client that went away before it had everything is its own affair.
    let _ = send(http, response);
    if log {
        let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
        eprintln!(
            "{} {}{query} {status} {length} {:.1} ms",
            request.method,
            request.path,
            start.elapsed().as_secs_f64() * 1e3
        );
    }
}

fn read_request(http: &tiny_http::Request) -> Request {
    let header = |name: &'static str| {
        let found = http.headers().iter().find(|header| header.field.equiv(name));
        found.map(|header| header.value.as_str().to_string())
    };
    let (path, query) = http.url().split_once('?').unwrap_or((http.url(), ""));
    Request {
        method: http.method().to_string(),
        path: path.into(),
        query: query.into(),
        range: header("Range"),
        if_range: header("If-Range"),
        if_none_match: header("If-None-Match"),
        if_modified_since: header("If-Modified-Since"),
    }
}

fn send(http: tiny_http::Request, response: Response) -> std::io::Result<()> {
    let headers = response.headers.iter().filter_map(|(name, value)| Header::from_bytes(*name, value.as_str()).ok());
    let headers: Vec<Header> = headers.collect();
    let length = usize::try_from(response.body.length()).unwrap_or(usize::MAX);
    let reader: Box<dyn Read + Send> = match response.body {
        Body::Bytes(bytes) => Box::new(Cursor::new(bytes)),
        Body::File { mut file, offset, length } => {
            file.seek(SeekFrom::Start(offset))?;
            Box::new(file.take(length))
        }
    };
    // Past its threshold tiny_http sends chunks without a length, and clients could neither resume nor show progress.
    let response = tiny_http::Response::new(response.status.into(), headers, reader, Some(length), None)
        .with_chunked_threshold(usize::MAX);
    http.respond(response)
}
