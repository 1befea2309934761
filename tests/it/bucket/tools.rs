//! Object stores that run as programs: moto for S3, azurite for Azure.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::endpoint::{AZURE_KEY, BUCKET, Endpoint};
use crate::support::tools::{self, node};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
const AZURE_ACCOUNT: &str = "ocisitetests";

/// A running server. It is ended when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    child: Child,
    _state: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts moto and makes the bucket, which everybody may read. It believes any credentials.
pub fn moto() -> (Server, Endpoint) {
    let server = start(Command::new(tools::path("python/bin/moto_server")), |address, _| {
        vec!["-H".into(), address.ip().to_string(), "-p".into(), address.port().to_string()]
    });
    let url = format!("http://{}", server.address);
    ureq::put(format!("{url}/{BUCKET}")).header("x-amz-acl", "public-read").send_empty().unwrap();
    (server, Endpoint::s3(&url))
}

/// Starts azurite and makes the container.
pub fn azurite() -> (Server, Endpoint) {
    let mut program = node();
    program.arg(tools::path("node/node_modules/.bin/azurite-blob"));
    let server = start(program, |address, state| {
        let arguments = format!(
            "--silent --skipApiVersionCheck --blobHost {} --blobPort {} --location {}",
            address.ip(),
            address.port(),
            state.display()
        );
        arguments.split(' ').map(str::to_string).collect()
    });
    let url = format!("http://{}/{AZURE_ACCOUNT}", server.address);
    make_container(&url);
    (server, Endpoint::azure(&url, AZURE_ACCOUNT))
}

fn start(mut program: Command, arguments: impl Fn(SocketAddr, &Path) -> Vec<String>) -> Server {
    let state = TempDir::new().unwrap();
    // Whoever takes the port in between makes the server fail, and this test with it.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let child = program
        .args(arguments(address, state.path()))
        .env("AZURITE_ACCOUNTS", format!("{AZURE_ACCOUNT}:{AZURE_KEY}"))
        .current_dir(state.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server { address, child, _state: state };
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < PATIENCE, "{program:?} does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    server
}

/// Containers are made with a signed request (Azure's "Shared Key"), for which the client library has no call.
fn make_container(url: &str) {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let version = "2021-12-02";
    let headers = format!("x-ms-date:{date}\nx-ms-version:{version}\n");
    let resource = format!("/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{BUCKET}\nrestype:container");
    let to_sign = format!("PUT\n{}{headers}{resource}", "\n".repeat(11));
    let key = BASE64_STANDARD.decode(AZURE_KEY).unwrap();
    let signature = BASE64_STANDARD.encode(hmac_sha256(&key, to_sign.as_bytes()));
    ureq::put(format!("{url}/{BUCKET}?restype=container"))
        .header("x-ms-date", &date)
        .header("x-ms-version", version)
        .header("authorization", format!("SharedKey {AZURE_ACCOUNT}:{signature}"))
        .send_empty()
        .unwrap();
}

/// RFC 2104.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    assert!(key.len() <= 64);
    let padded = |pad: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ pad).collect() };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}
