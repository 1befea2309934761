//! Object stores, and whoever answers in their place, that mean harm: redirects that collect credentials, listings without an end,
//! and keys that are no paths.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;

use super::endpoint::{Endpoint, Run};
use super::proxy::{Fault, Proxy, Seen};
use super::s3fs::S3Fs;
use super::tools;
use crate::support::layout::Layout;

const TOKEN: &str = "sessiontokenofthetests";
const SIGNATURE: &str = "signatureofthetests";

/// A server to which clients are sent. It keeps what they say, and has nothing.
struct Elsewhere {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Elsewhere {
    fn start() -> Elsewhere {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let shared = Arc::clone(&heard);
        std::thread::spawn(move || {
            for mut connection in listener.incoming().map_while(Result::ok) {
                let lines = BufReader::new(&connection).lines().map_while(Result::ok);
                let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                shared.lock().unwrap().push(request.join("\n"));
                let _ =
                    connection.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Elsewhere { address, heard }
    }

    fn assert_untouched(&self) {
        assert_eq!(*self.heard.lock().unwrap(), Vec::<String>::new());
    }
}

fn image(directory: &TempDir, name: &str) -> String {
    format!("example.com/{name}={}", Layout::of_image(directory.path().join(name), name).arg())
}

#[test]
fn a_redirect_takes_no_credentials_elsewhere() {
    let directory = TempDir::new().unwrap();
    let input = image(&directory, "app");
    let s3fs = S3Fs::start();
    let (elsewhere, proxy) = (Elsewhere::start(), Proxy::to(s3fs.address()));
    let url = format!("http://{}", proxy.address);
    let s3 = Endpoint::s3(&url).with("AWS_SESSION_TOKEN", TOKEN);
    let mut azure = Endpoint::azure(&format!("{url}/account"), "account");
    azure.environment.retain(|(name, _)| name != "AZURE_STORAGE_ACCOUNT_KEY");
    let azure = azure.with("AZURE_STORAGE_SAS_KEY", &format!("sv=2021-12-02&ss=b&sig={SIGNATURE}"));
    let address = elsewhere.address;
    proxy.fail(move |_| Some(Fault::Redirect(address)));
    for (endpoint, site) in [(&s3, "s3://site"), (&azure, "az://site")] {
        let copy = directory.path().join("copy");
        for args in [
            &["publish", "--site", site, &input][..],
            &["verify", site],
            &["list", site],
            &["gc", site],
            &["copy", site, copy.to_str().unwrap()],
        ] {
            let run = endpoint.run(args);
            let said = run.failure(&["redirects to 127.0.0.1, which is not followed", "credentials"]);
            assert!(!said.contains(TOKEN) && !said.contains(SIGNATURE), "{said}");
        }
        assert!(!copy.exists());
    }
    elsewhere.assert_untouched();
}

/// A page of a listing that says that there is another page, always after the same token. It stops after a hundred, so that a
/// program that goes on is seen to.
fn without_end() -> impl FnMut(&Seen, Bytes) -> Bytes + Send {
    let mut left = 100;
    move |seen, body| {
        if !seen.query.contains("list-type=2") || left == 0 {
            return body;
        }
        left -= 1;
        let text = String::from_utf8(body.to_vec()).unwrap();
        let next = "<NextContinuationToken>the same again</NextContinuationToken></ListBucketResult>";
        text.replace("</ListBucketResult>", next).into()
    }
}

#[test]
fn a_listing_that_repeats_its_token_ends() {
    // Given a store whose listings have no end: a proxy makes them so, for no real store does.
    let directory = TempDir::new().unwrap();
    let s3fs = S3Fs::start();
    let proxy = Proxy::to(s3fs.address());
    let endpoint = s3fs.endpoint().at(proxy.address);
    endpoint.publish(&[&image(&directory, "app")]);
    let before = endpoint.objects();
    let copy = directory.path().join("copy");
    for args in [
        &["gc", "--grace", "0", "s3://site"][..],
        &["verify", "s3://site"],
        &["copy", "s3://site", copy.to_str().unwrap()],
    ] {
        proxy.rewrite(without_end());
        endpoint.run(args).failure(&["list", "s3://site", "the same again", "no end"]);
    }
    proxy.rewrite(|_, body| body);
    assert_eq!(endpoint.objects(), before);
}

/// Keys that S3 takes and no path of a site can be.
const STRANGE: [&str; 3] = ["oci-cas//x", "oci-cas/../secret", "oci-index/./app"];

/// Puts an object into moto, which believes any credentials, under a key as it is.
fn put_strange(server: SocketAddr, key: &str) {
    use std::net::TcpStream;
    let mut connection = TcpStream::connect(server).unwrap();
    // As S3's clients encode a key: not as a path, in which dots would go.
    let encoded = key.replace("/./", "/%2E/").replace("/../", "/%2E%2E/");
    let head =
        format!("PUT /site/{encoded} HTTP/1.1\r\nHost: {server}\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
    connection.write_all(head.as_bytes()).unwrap();
    let mut status = String::new();
    BufReader::new(connection).read_line(&mut status).unwrap();
    assert!(status.contains("200"), "{key}: {status}");
}

fn findings(run: &Run) -> Vec<String> {
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| format!("{} {}", finding["rule"].as_str().unwrap(), finding["object"].as_str().unwrap()))
        .collect()
}

#[test]
fn keys_that_are_no_paths_are_named_and_left_alone() {
    // Given a site in a bucket with keys in it that no path can be, and one that stands for a directory,
    let (moto, endpoint) = tools::moto();
    let directory = TempDir::new().unwrap();
    endpoint.publish(&[&image(&directory, "app"), &image(&directory, "removed")]);
    endpoint.run(&["remove", "--json", "s3://site", "example.com/removed"]).success();
    for key in STRANGE {
        put_strange(moto.address, key);
    }
    put_strange(moto.address, "oci-cas/");
    // when it is verified, then they are found;
    let run = endpoint.run(&["verify", "--json", "s3://site"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let mut expected: Vec<String> = STRANGE.iter().map(|key| format!("name-unusable {key:?}")).collect();
    expected.push("orphans oci-cas/".into());
    let mut found = findings(&run);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(endpoint.run(&["verify", "--strict", "s3://site"]).code, Some(1));
    // gc frees what it should,
    let freed = endpoint.run(&["gc", "--json", "--grace", "0", "s3://site"]).success();
    assert_eq!(freed["blobs"]["objects"], 2);
    // and a copy has the site, and nothing else.
    let copy = directory.path().join("copy");
    endpoint.run(&["copy", "--json", "s3://site", copy.to_str().unwrap()]).success();
    assert_eq!(endpoint.run(&["verify", "--strict", "--deep", copy.to_str().unwrap()]).code, Some(0));
    assert!(!directory.path().join("secret").exists() && !copy.join("oci-cas/x").exists());
    // They are still there.
    assert_eq!(findings(&endpoint.run(&["verify", "--json", "s3://site"])).len(), STRANGE.len());
}

#[test]
fn a_proxy_that_cannot_be_used_is_not_gone_around() {
    let s3fs = S3Fs::start();
    let proxy = Proxy::to(s3fs.address());
    let endpoint = s3fs.endpoint().at(proxy.address);
    for (variable, value) in [("ALL_PROXY", "socks5://user:hunter2@127.0.0.1:1"), ("http_proxy", "http://[bad")] {
        let endpoint = endpoint.clone().with(variable, value);
        let run = endpoint.run(&["list", "s3://site"]);
        let said = run.failure(&[variable, "cannot be used as a proxy", "unset it"]);
        assert!(!said.contains("hunter2"), "{said}");
    }
    assert_eq!(proxy.seen(), 0);
}
