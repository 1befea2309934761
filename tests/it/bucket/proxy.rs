//! A proxy between the program and a store: it counts requests, and makes the faults that networks and stores make.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// A request as the proxy saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    /// Its path in the bucket, without the bucket.
    pub key: String,
    pub query: String,
    /// The length of its body in bytes.
    pub body: usize,
    /// Whether it has a condition.
    pub is_conditional: bool,
    /// Whether it lets the store check the body.
    pub has_checksum: bool,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The connection breaks before the store hears of the request.
    Drop,
    /// The connection breaks after the store has done what was asked.
    DropAnswer,
    /// The store answers with an error: a status and S3's code for it.
    Answer(u16, &'static str),
    /// The store sends the client to another server.
    Redirect(SocketAddr),
    /// The answer's body ends too early.
    Truncate,
    /// The request arrives late.
    Delay(Duration),
}

type Rule = Box<dyn FnMut(&Seen) -> Option<Fault> + Send>;
type Rewrite = Box<dyn FnMut(&Seen, Bytes) -> Bytes + Send>;

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    rule: Option<Rule>,
    rewrite: Option<Rewrite>,
    removes_conditions: bool,
}

/// A running proxy. It stops when it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

impl Proxy {
    /// Starts a proxy on a free port, in front of a store.
    pub fn to(upstream: SocketAddr) -> Proxy {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(accept(listener, upstream, Arc::clone(&state)));
        Proxy { address, state, _runtime: runtime }
    }

    /// What shall go wrong from now on.
    pub fn fail(&self, rule: impl FnMut(&Seen) -> Option<Fault> + Send + 'static) {
        self.state.lock().unwrap().rule = Some(Box::new(rule));
    }

    /// What shall become of the bodies of answers from now on.
    pub fn rewrite(&self, rewrite: impl FnMut(&Seen, Bytes) -> Bytes + Send + 'static) {
        self.state.lock().unwrap().rewrite = Some(Box::new(rewrite));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.state.lock().unwrap().rule = None;
    }

    /// From now on the store sees no conditions.
    pub fn remove_conditions(&self) {
        self.state.lock().unwrap().removes_conditions = true;
    }

    /// Whether such a request came since they were last taken.
    pub fn has_seen(&self, fits: impl Fn(&Seen) -> bool) -> bool {
        self.state.lock().unwrap().seen.iter().any(fits)
    }

    /// How many requests came since they were last taken.
    pub fn seen(&self) -> usize {
        self.state.lock().unwrap().seen.len()
    }

    /// The requests since this was last asked.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, state: Arc<Mutex<State>>) {
    while let Ok((socket, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let answer = service_fn(move |request| pass(request, upstream, Arc::clone(&state)));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer);
        tokio::spawn(async move {
            // That it breaks is what the proxy is for.
            let _ = connection.await;
        });
    }
}

type Answer = Response<BoxBody<Bytes, io::Error>>;

async fn pass(request: Request<Incoming>, upstream: SocketAddr, state: Arc<Mutex<State>>) -> io::Result<Answer> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = parts.uri.path().trim_start_matches('/');
    let seen = Seen {
        method: parts.method.to_string(),
        key: path.split_once('/').map_or("", |(_, key)| key).to_string(),
        query: parts.uri.query().unwrap_or_default().to_string(),
        body: body.len(),
        has_checksum: parts.headers.contains_key("x-amz-checksum-sha256"),
        is_conditional: parts.headers.contains_key("if-match") || parts.headers.contains_key("if-none-match"),
    };
    let fault = {
        let mut state = state.lock().unwrap();
        state.seen.push(seen.clone());
        if state.removes_conditions {
            parts.headers.remove("if-match");
            parts.headers.remove("if-none-match");
        }
        state.rule.as_mut().and_then(|rule| rule(&seen))
    };
    match fault {
        Some(Fault::Drop) => return Err(broken()),
        Some(Fault::Answer(status, code)) => return Ok(error(status, code)),
        Some(Fault::Redirect(address)) => {
            let mut answer = error(307, "TemporaryRedirect");
            answer.headers_mut().insert("location", format!("http://{address}{}", parts.uri).parse().unwrap());
            return Ok(answer);
        }
        Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
        _ => {}
    }
    let answer = forward(Request::from_parts(parts, Full::new(body)), upstream).await.map_err(io::Error::other)?;
    let rewritten = |answer: Response<Bytes>| {
        let (mut parts, body) = answer.into_parts();
        let body = match state.lock().unwrap().rewrite.as_mut() {
            Some(rewrite) => rewrite(&seen, body),
            None => return Response::from_parts(parts, body),
        };
        parts.headers.remove("content-length");
        Response::from_parts(parts, body)
    };
    let answer = rewritten(answer);
    match fault {
        Some(Fault::DropAnswer) => Err(broken()),
        Some(Fault::Truncate) => Ok(truncated(answer)),
        _ => Ok(answer.map(|body| Full::new(body).map_err(|never: Infallible| match never {}).boxed())),
    }
}

async fn forward(request: Request<Full<Bytes>>, upstream: SocketAddr) -> hyper::Result<Response<Bytes>> {
    let socket = TcpStream::connect(upstream).await.expect("the store is up for as long as the proxy is");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the proxy breaks this connection")
}

fn error(status: u16, code: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>made by the proxy</Message></Error>");
    let mut answer = Response::new(Full::new(Bytes::from(body)).map_err(|never: Infallible| match never {}).boxed());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

/// The headers promise all of the body; half of it comes.
fn truncated(answer: Response<Bytes>) -> Answer {
    let (mut parts, body) = answer.into_parts();
    parts.headers.insert("content-length", body.len().into());
    let half = body.slice(..body.len() / 2);
    let frames = futures_util::stream::iter([Ok(Frame::data(half)), Err(broken())]);
    Response::from_parts(parts, BodyExt::boxed(StreamBody::new(frames)))
}
