//! A web server for tests: it answers what it was told to, also what no server should.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub const REF_ENGINES: &str = "application/vnd.oci.ref-engines.v1+json; charset=utf-8";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json; charset=utf-8";
pub const WELL_KNOWN: &str = "/.well-known/oci-host-ref-engines";

/// No answer goes on for longer, whether or not the client has gone away.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `http`, or `https` when it came over TLS.
    pub scheme: &'static str,
    pub method: String,
    /// `Host`, without a port.
    pub host: String,
    pub path: String,
    pub accept: String,
    /// The first byte that `Range` asks for.
    pub from: Option<usize>,
}

/// What is answered.
#[derive(Clone)]
pub enum Answer {
    /// A status, a `Content-Type` and a body. `Range` is honoured.
    Content(u16, &'static str, Vec<u8>),
    /// 302 to a location.
    Redirect(String),
    /// Exactly these bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, then the same chunk over and over.
    Endless(Vec<u8>, Vec<u8>),
    /// These bytes, then one of the second kind every fifth of a second.
    Drip(Vec<u8>, u8),
    /// One byte of a body of so many, the one that `Range` asks for first, and then the end of the connection.
    OneByte(usize),
    /// Nothing at all, until the client goes away.
    Silence,
    /// Each time the next, and in the end the last.
    InTurn(Vec<Answer>),
}

impl Answer {
    pub fn ref_engines(document: serde_json::Value) -> Answer {
        Answer::Content(200, REF_ENGINES, document.to_string().into_bytes())
    }

    pub fn index(document: serde_json::Value) -> Answer {
        Answer::Content(200, INDEX, document.to_string().into_bytes())
    }

    pub fn blob(bytes: &[u8]) -> Answer {
        Answer::Content(200, "application/octet-stream", bytes.to_vec())
    }

    /// 200, a type and a length, with a body of another length.
    pub fn with_length(content_type: &str, length: usize, body: &[u8]) -> Answer {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n");
        Answer::Raw([head.as_bytes(), body].concat())
    }

    /// 200 and a type, with a body that goes on until the connection ends.
    pub fn head_of_endless(content_type: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n").into_bytes()
    }
}

#[derive(Default)]
struct State {
    /// By path, or by host and path.
    answers: Mutex<HashMap<String, Answer>>,
    requests: Mutex<Vec<Request>>,
    stopped: AtomicBool,
    has_no_tls: bool,
}

/// A server on a free port of this machine, stopped when it is dropped. It speaks TLS with who does, as `example.com` and as
/// each name directly below, and plain HTTP with all others. As a proxy it answers for every host itself, in plain HTTP.
pub struct Server {
    pub address: SocketAddr,
    state: Arc<State>,
}

impl Server {
    pub fn start() -> Server {
        Server::at(([127, 0, 0, 1], 0).into())
    }

    /// A server that does not speak TLS.
    pub fn without_tls() -> Server {
        Server::with(([127, 0, 0, 1], 0).into(), State { has_no_tls: true, ..State::default() })
    }

    /// A server at an address.
    pub fn at(address: SocketAddr) -> Server {
        Server::with(address, State::default())
    }

    fn with(address: SocketAddr, state: State) -> Server {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(state);
        let shared = state.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if shared.stopped.load(Ordering::Relaxed) {
                    break;
                }
                let shared = shared.clone();
                std::thread::spawn(move || connection.map(|connection| shared.serve(connection)));
            }
        });
        Server { address, state }
    }

    /// Answers a path (`/x`), for any host, or a host and a path (`example.com/x`).
    pub fn answer(&self, place: &str, answer: Answer) -> &Server {
        self.state.answers.lock().unwrap().insert(place.into(), answer);
        self
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// What was asked so far, as `host/path`.
    pub fn asked(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| format!("{}{}", request.host, request.path)).collect()
    }

    pub fn forget_requests(&self) {
        self.state.requests.lock().unwrap().clear();
    }

    /// Where the certificate of the authority is that the server's is from.
    pub fn authority() -> PathBuf {
        tls_file("authority.pem")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    /// One request for each connection: what goes wrong in one then concerns no other.
    fn serve(&self, connection: TcpStream) {
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut first = [0];
        let is_tls = connection.peek(&mut first).is_ok() && first[0] == TLS_HANDSHAKE && !self.has_no_tls;
        // The client may go away in the middle of any answer.
        let _ = match is_tls {
            true => {
                let tls = ServerConnection::new(Arc::new(tls_config())).unwrap();
                self.converse("https", &mut StreamOwned::new(tls, connection))
            }
            false => self.converse("http", &mut &connection),
        };
    }

    fn converse(&self, scheme: &'static str, connection: &mut (impl Read + Write)) -> std::io::Result<()> {
        let Some(mut request) = read_request(scheme, connection) else { return Ok(()) };
        if request.method == "CONNECT" {
            connection.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
            let Some(tunnelled) = read_request(scheme, connection) else { return Ok(()) };
            request = tunnelled;
        }
        let answer = self.answer_to(&request);
        self.requests.lock().unwrap().push(request.clone());
        self.write(connection, &request, answer)?;
        connection.flush()
    }

    fn answer_to(&self, request: &Request) -> Answer {
        let mut answers = self.answers.lock().unwrap();
        let by_host = format!("{}{}", request.host, request.path);
        let place = if answers.contains_key(&by_host) { by_host } else { request.path.clone() };
        match answers.get_mut(&place) {
            None => Answer::Content(404, "text/plain", b"no such thing".to_vec()),
            Some(Answer::InTurn(turns)) if turns.len() > 1 => turns.remove(0),
            Some(Answer::InTurn(turns)) => turns[0].clone(),
            Some(answer) => answer.clone(),
        }
    }

    fn write(&self, connection: &mut (impl Read + Write), request: &Request, answer: Answer) -> std::io::Result<()> {
        let start = Instant::now();
        let goes_on = || start.elapsed() < PATIENCE && !self.stopped.load(Ordering::Relaxed);
        match answer {
            Answer::Content(status, content_type, body) => {
                let from = request.from.filter(|from| status == 200 && *from < body.len());
                let (status, range) = match from {
                    Some(from) => (206, format!("Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len())),
                    None => (status, String::new()),
                };
                let body = &body[from.unwrap_or(0)..];
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{range}Connection: close\r\n\r\n",
                    body.len()
                );
                connection.write_all(head.as_bytes())?;
                connection.write_all(body)
            }
            Answer::Redirect(location) => write!(
                connection,
                "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ),
            Answer::Raw(bytes) => connection.write_all(&bytes),
            Answer::Endless(head, chunk) => {
                connection.write_all(&head)?;
                while goes_on() {
                    connection.write_all(&chunk)?;
                }
                Ok(())
            }
            Answer::Drip(head, byte) => {
                connection.write_all(&head)?;
                while goes_on() {
                    connection.write_all(&[byte])?;
                    std::thread::sleep(Duration::from_millis(200));
                }
                Ok(())
            }
            Answer::OneByte(size) => {
                let from = request.from.unwrap_or(0);
                let (status, left) = if from == 0 { ("200 OK", size) } else { ("206 Partial Content", size - from) };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {left}\r\n");
                let range = format!("Content-Range: bytes {from}-{}/{size}\r\nConnection: close\r\n\r\nx", size - 1);
                connection.write_all((head + &range).as_bytes())
            }
            Answer::Silence => {
                // Ends when the client closes the connection, or its patience is over.
                connection.read(&mut [0; 1]).map(|_| ())
            }
            Answer::InTurn(_) => Ok(()),
        }
    }
}

/// The first byte of a TLS connection (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;

fn tls_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/client/tls").join(name)
}

fn tls_config() -> ServerConfig {
    let certificate = CertificateDer::from_pem_file(tls_file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(tls_file("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()
}

fn read_request(scheme: &'static str, connection: &mut impl Read) -> Option<Request> {
    let mut lines = BufReader::new(connection).lines().map_while(Result::ok);
    let first = lines.next()?;
    let (method, rest) = first.split_once(' ')?;
    let (method, path) = (method.to_string(), rest.split(' ').next()?.to_string());
    let mut request = Request { scheme, method, host: String::new(), path, accept: String::new(), from: None };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "host" => request.host = value.split(':').next()?.to_string(),
            "accept" => request.accept = value.to_string(),
            "range" => request.from = value.strip_prefix("bytes=")?.split('-').next()?.parse().ok(),
            _ => {}
        }
    }
    Some(request)
}
