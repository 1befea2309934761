//! A server that answers as the preview does, but for the faults that a test gives it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ocisite::root::Root;
use ocisite::serve::computed::Computations;
use ocisite::serve::preview::{Preview, SharedMap};
use ocisite::serve::respond::{PreviewRequest, Response, respond};
use ocisite::site::SiteMap;
use ocisite::store::directory::{DirectoryStore, LinkMode};
use ocisite::store::site;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A client that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server does wrong.
#[derive(Clone, Copy)]
pub struct Faults {
    /// Misreads a request.
    pub request: fn(&mut PreviewRequest),
    /// Spoils the response to a request, as it was read.
    pub response: fn(&PreviewRequest, &mut Response),
    /// Spoils the response to a path, as it was asked for.
    pub asked: fn(&str, &mut Response),
}

impl Faults {
    pub const NONE: Faults = Faults { request: |_| {}, response: |_, _| {}, asked: |_, _| {} };
}

/// A server on a free port of this machine, stopped when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Server {
    /// Serves a site over HTTP.
    pub fn start(root: &Path, faults: Faults) -> Server {
        let root = Root::open(root).unwrap();
        Server::listen(move |mut stream| answer(&mut stream, &root, faults))
    }

    /// Speaks TLS as `example.com`, with a certificate that nobody trusts.
    pub fn start_tls() -> Server {
        let config = Arc::new(tls_config());
        Server::listen(move |stream| {
            let tls = ServerConnection::new(config.clone()).unwrap();
            let mut line = String::new();
            // The client ends the connection as soon as it has seen the certificate.
            let _ = BufReader::new(StreamOwned::new(tls, stream)).read_line(&mut line);
        })
    }

    fn listen(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let (is_stopped, answer) = (stopped.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_stopped.load(Ordering::Relaxed) {
                    break;
                }
                let (stream, answer) = (stream.unwrap(), answer.clone());
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                std::thread::spawn(move || answer(stream));
            }
        });
        Server { address, stopped }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers one request, and ends the connection.
fn answer(stream: &mut TcpStream, root: &Root, faults: Faults) {
    let Some(mut request) = read(stream) else { return };
    let asked = request.path.clone();
    (faults.request)(&mut request);
    let store = DirectoryStore::new(root.path(), LinkMode::Copy, true).unwrap();
    let map = SharedMap::new(SiteMap::new(site::settings(&store).unwrap().unwrap()).unwrap());
    let mut response =
        respond(&Preview { root, map: &map, computations: &Computations::default(), client: None }, &request);
    (faults.response)(&request, &mut response);
    (faults.asked)(&asked, &mut response);
    // The client may go away in the middle.
    let _ = write(stream, &request, response);
}

fn read(stream: &TcpStream) -> Option<PreviewRequest> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
    let mut request = PreviewRequest { method, path, ..PreviewRequest::default() };
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        let value = Some(value.trim().to_string());
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = value,
            "if-none-match" => request.if_none_match = value,
            "if-modified-since" => request.if_modified_since = value,
            _ => {}
        }
    }
    Some(request)
}

fn write(stream: &mut TcpStream, request: &PreviewRequest, response: Response) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", response.status);
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if response.status != 304 {
        head.push_str(&format!("Content-Length: {}\r\n", response.body.length()));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if request.method == "HEAD" || response.status == 304 {
        return Ok(());
    }
    response.body.write_to(stream)
}

/// The certificate of the client's tests, whose authority is trusted only where it is named.
fn tls_config() -> ServerConfig {
    let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/client/tls").join(name);
    let certificates = CertificateDer::pem_file_iter(file("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key).unwrap()
}
