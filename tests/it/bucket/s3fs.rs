//! `s3s-fs`, an S3 server on a directory, in this process.
//!
//! It compares and writes in two steps, so two writers could both find their condition true. Requests for one object are
//! therefore let in one after the other, which makes conditional writes what S3 says they are.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::host::{S3Host, VirtualHost};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::RwLock;

use super::endpoint::{BUCKET, Endpoint, KEY_ID, SECRET};

/// A running server with one bucket. It stops when it is dropped.
pub struct S3Fs {
    root: TempDir,
    api: SocketAddr,
    web: SocketAddr,
    _runtime: Runtime,
}

impl S3Fs {
    /// Starts the server on a free port.
    pub fn start() -> S3Fs {
        let root = TempDir::new().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let service = |is_web: bool| {
            let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
            builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
            builder.set_access(PublicRead);
            if is_web {
                builder.set_host(AnyHost);
            }
            builder.build()
        };
        let locks = Arc::new(Locks::default());
        let api = runtime.block_on(serve(service(false), Arc::clone(&locks), |_| {}));
        let web = runtime.block_on(serve(service(true), locks, rewrite_ping));
        S3Fs { root, api, web, _runtime: runtime }
    }

    /// The S3 API.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::s3(&format!("http://{}", self.api))
    }

    /// The address of the S3 API.
    pub fn address(&self) -> SocketAddr {
        self.api
    }

    /// The bucket as its readers see it: a host of its own, without credentials, and with [`rewrite_ping`].
    pub fn web(&self) -> SocketAddr {
        self.web
    }

    /// The parts of unfinished uploads, which the server keeps beside its buckets.
    pub fn unfinished_parts(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.root.path()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(".upload")).collect()
    }
}

/// Everybody reads objects; all else needs credentials.
struct PublicRead;

#[async_trait::async_trait]
impl S3Access for PublicRead {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let is_read = matches!(context.s3_op().name(), "GetObject" | "HeadObject");
        match is_read || context.credentials().is_some() {
            true => Ok(()),
            false => Err(s3_error!(AccessDenied)),
        }
    }
}

/// Any host is the bucket's, as when a name server points a name at it.
struct AnyHost;

impl S3Host for AnyHost {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        Ok(VirtualHost::new(host).with_bucket(BUCKET))
    }
}

#[derive(Default)]
struct Locks(Mutex<HashMap<String, Arc<RwLock<()>>>>);

impl Locks {
    fn of(&self, path: &str) -> Arc<RwLock<()>> {
        Arc::clone(self.0.lock().unwrap().entry(path.to_string()).or_default())
    }
}

type Request = hyper::Request<hyper::body::Incoming>;

/// The rule that a CDN needs before a store that does not serve the key `v2/`: to this one, the key is a directory.
fn rewrite_ping(request: &mut Request) {
    if request.uri().path() == "/v2/" {
        *request.uri_mut() = hyper::Uri::from_static("/v2/_ping.json");
    }
}

async fn serve(service: S3Service, locks: Arc<Locks>, rewrite: fn(&mut Request)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (service, locks) = (service.clone(), Arc::clone(&locks));
            let answer = service_fn(move |mut request: Request| {
                rewrite(&mut request);
                let lock = locks.of(request.uri().path());
                let is_read = matches!(*request.method(), hyper::Method::GET | hyper::Method::HEAD);
                let service = service.clone();
                async move {
                    if is_read {
                        let _guard = lock.read().await;
                        service.call(request.map(s3s::Body::from)).await
                    } else {
                        let _guard = lock.write().await;
                        service.call(request.map(s3s::Body::from)).await
                    }
                }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer);
            tokio::spawn(async move {
                // A client that goes away is what some tests are about.
                let _ = connection.await;
            });
        }
    });
    address
}
