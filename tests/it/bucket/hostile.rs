//! Object stores, and whoever answers in their place, that mean harm: redirects that collect credentials, listings and responses
//! without an end, and keys that are no paths.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;

use super::endpoint::{Endpoint, Run};
use super::proxy::{Fault, Proxy, Seen};
use super::s3fs::S3Fs;
use super::tools;
use crate::support::layout::Layout;
use crate::support::memory::MIB;

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

/// A bucket with a site of these images, and a proxy through which it is used.
fn site_behind_a_proxy(directory: &TempDir, names: &[&str]) -> (S3Fs, Proxy, Endpoint) {
    let s3fs = S3Fs::start();
    let proxy = Proxy::to(s3fs.address());
    let endpoint = s3fs.endpoint().at(proxy.address);
    let images: Vec<String> = names.iter().map(|name| image(directory, name)).collect();
    endpoint.publish(&images.iter().map(String::as_str).collect::<Vec<_>>());
    (s3fs, proxy, endpoint)
}

/// The commands that list the whole site of a bucket.
fn commands_that_list(copy: &str) -> [Vec<&str>; 3] {
    [vec!["gc", "--grace", "0", "s3://site"], vec!["verify", "s3://site"], vec!["copy", "s3://site", copy]]
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
            let printed = run.failure(&["redirects to 127.0.0.1; ocisite does not follow", "credentials"]);
            assert!(!printed.contains(TOKEN) && !printed.contains(SIGNATURE), "{printed}");
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
    let (_s3fs, proxy, endpoint) = site_behind_a_proxy(&directory, &["app"]);
    let before = endpoint.objects();
    let copy = directory.path().join("copy");
    for args in commands_that_list(copy.to_str().unwrap()) {
        proxy.rewrite(without_end());
        endpoint.run(&args).failure(&["list", "s3://site", "does not end"]);
    }
    proxy.rewrite(|_, body| body);
    assert_eq!(endpoint.objects(), before);
}

/// Says on each page of a listing that another page follows, after a new token. It ends after a thousand pages.
fn with_fresh_tokens(is_empty: bool) -> impl FnMut(&Seen, Bytes) -> Bytes + Send {
    let mut pages = 0;
    move |seen, body| {
        if !seen.query.contains("list-type=2") || pages == 1000 {
            return body;
        }
        pages += 1;
        let next = format!("<NextContinuationToken>token {pages}</NextContinuationToken></ListBucketResult>");
        let text = match is_empty {
            true => "<ListBucketResult><Name>site</Name><KeyCount>0</KeyCount></ListBucketResult>".to_string(),
            false => String::from_utf8(body.to_vec()).unwrap(),
        };
        text.replace("</ListBucketResult>", &next).into()
    }
}

#[test]
fn a_listing_without_new_keys_ends_whatever_its_tokens() {
    let directory = TempDir::new().unwrap();
    let (_s3fs, proxy, endpoint) = site_behind_a_proxy(&directory, &["app"]);
    let copy = directory.path().join("copy");
    for args in commands_that_list(copy.to_str().unwrap()) {
        proxy.rewrite(with_fresh_tokens(true));
        endpoint.run(&args).failure(&["list", "s3://site", "does not end", "pages in a row have no key"]);
    }
    // A store that begins again with each token: it takes a token for the last key before the page.
    proxy.rewrite(with_fresh_tokens(false));
    endpoint.run(&["verify", "s3://site"]).failure(&["list", "s3://site", "does not end"]);
}

#[test]
fn pages_without_keys_are_passed_over() {
    let directory = TempDir::new().unwrap();
    let (_s3fs, proxy, endpoint) = site_behind_a_proxy(&directory, &["app", "removed"]);
    endpoint.run(&["remove", "--json", "s3://site", "example.com/removed"]).success();
    // Given a listing that begins with empty pages, after each of which it goes on.
    let mut left = 20;
    proxy.rewrite(move |seen, body| {
        if !seen.query.contains("list-type=2") || left == 0 {
            return body;
        }
        left -= 1;
        format!(
            "<ListBucketResult><Name>site</Name><KeyCount>0</KeyCount><NextContinuationToken>!{left}\
             </NextContinuationToken></ListBucketResult>"
        )
        .into()
    });
    let freed = endpoint.run(&["gc", "--json", "--grace", "0", "s3://site"]).success();
    assert_eq!(freed["blobs"]["objects"], 2);
}

/// The keys of one page of [`with_fresh_keys`]: as many as stores give.
const PAGE_KEYS: usize = 1000;
/// The bytes of one of these keys, near to the most of S3.
const KEY_BYTES: usize = 900;

/// Says on each page of a listing of indexes that another page follows, and gives each page new keys. It ends after so
/// many pages.
fn with_fresh_keys(pages: usize) -> impl FnMut(&Seen, Bytes) -> Bytes + Send {
    let mut page = 0;
    move |seen, body| {
        if !seen.query.contains("list-type=2") || !seen.query.contains("prefix=oci-index") {
            return body;
        }
        page = if seen.query.contains("continuation-token") { page + 1 } else { 0 };
        if page >= pages {
            return body;
        }
        let directories = ["x"; KEY_BYTES / 200].map(|x| x.repeat(199)).join("/");
        let keys = (0..PAGE_KEYS).map(|key| {
            format!(
                "<Contents><Key>oci-index/{directories}/{page}-{key}</Key><LastModified>2020-01-01T00:00:00.000Z</LastModified>\
                 <ETag>&quot;x&quot;</ETag><Size>2</Size></Contents>"
            )
        });
        let keys: String = keys.collect();
        format!(
            "<ListBucketResult><Name>site</Name><KeyCount>{PAGE_KEYS}</KeyCount><IsTruncated>true</IsTruncated>{keys}\
             <NextContinuationToken>token {page}</NextContinuationToken></ListBucketResult>"
        )
        .into()
    }
}

/// Of images that the description does not list, verify keeps a thousand.
#[test]
fn a_listing_of_ever_more_images_takes_verify_no_more_memory() {
    let directory = TempDir::new().unwrap();
    let (_s3fs, proxy, endpoint) = site_behind_a_proxy(&directory, &["app"]);
    // Given a store whose listing has more names than the program, which takes the rest of the memory, could keep.
    proxy.rewrite(with_fresh_keys(12));
    // When the site is verified, then the images are counted.
    let mut command = endpoint.command_within(20 * MIB, &["verify", "--json", "--jobs", "2", "s3://site"]);
    let run = Run::of(command.output().unwrap());
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
    assert_eq!(report["images"].as_array().unwrap().len(), 1001, "{run:?}");
}

/// How much a [`Flood`] sends for one request, above what any response may have.
const FLOOD_BYTES: usize = 96 * 1024 * 1024;

/// A store that answers with a head and then far more than it says. It counts what clients take.
struct Flood {
    address: SocketAddr,
    sent: Arc<AtomicUsize>,
}

impl Flood {
    /// Answers each request but listings and HEAD with `head` and the flood; the others with nothing.
    fn start(head: &'static str) -> Flood {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sent: Arc<AtomicUsize> = Arc::default();
        let counter = Arc::clone(&sent);
        std::thread::spawn(move || {
            for mut connection in listener.incoming().map_while(Result::ok) {
                let lines = BufReader::new(&connection).lines().map_while(Result::ok);
                let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                if request.first().is_none_or(|line| !line.starts_with("GET") || line.contains("list-type")) {
                    let _ = connection
                        .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    continue;
                }
                let _ = connection.write_all(head.as_bytes());
                let mut chunk = b"100000\r\n".to_vec();
                chunk.resize(chunk.len() + 0x10_0000, b' ');
                chunk.extend(b"\r\n");
                for _ in 0..FLOOD_BYTES / 0x10_0000 {
                    if connection.write_all(&chunk).is_err() {
                        break;
                    }
                    counter.fetch_add(chunk.len(), Ordering::Relaxed);
                }
                let _ = connection.write_all(b"0\r\n\r\n");
            }
        });
        Flood { address, sent }
    }
}

#[test]
fn no_response_is_read_beyond_its_limit() {
    let object = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 20\r\nETag: \"x\"\r\n\
                  Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT\r\nConnection: close\r\n\r\n";
    let unversioned = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 20\r\n\
                       Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT\r\nConnection: close\r\n\r\n";
    let error = "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    for (head, limit) in [(object, "20 bytes"), (unversioned, "20 bytes"), (error, "16777216 bytes")] {
        let flood = Flood::start(head);
        let endpoint = Endpoint::s3(&format!("http://{}", flood.address));
        for args in [&["list", "s3://site"][..], &["verify", "s3://site"], &["gc", "s3://site"]] {
            flood.sent.store(0, Ordering::Relaxed);
            endpoint.run(args).failure(&["s3://site", "the response has more than", limit]);
            // What is above the limit was in the buffers of the connection.
            let sent = flood.sent.load(Ordering::Relaxed);
            assert!(sent < FLOOD_BYTES, "{args:?} took {sent} bytes");
        }
    }
}

/// A store that sends a byte of each response a second, so that it is never silent for long.
fn start_drip() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let lines = BufReader::new(&connection).lines().map_while(Result::ok);
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: \"x\"\r\n\
                             Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT\r\n\r\n";
                let mut part = &head[..];
                while connection.write_all(part).is_ok() {
                    part = b" ";
                    std::thread::sleep(Duration::from_secs(1));
                }
            });
        }
    });
    address
}

#[test]
fn a_response_that_drips_ends() {
    let endpoint = Endpoint::s3(&format!("http://{}", start_drip()));
    let begun = Instant::now();
    // When: the description is read, then the program stops after the window of the speed limit, and does not read it again.
    let mut command = endpoint.command(&["list", "s3://site"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(40) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = child.kill();
    let run = Run::of(child.wait_with_output().unwrap());
    run.failure(&["s3://site", "too slowly", "fewer than 16384 bytes per second arrived over 30 seconds"]);
}

#[test]
fn no_page_of_a_listing_is_read_beyond_its_limit() {
    let directory = TempDir::new().unwrap();
    let (_s3fs, proxy, endpoint) = site_behind_a_proxy(&directory, &["app"]);
    for listing in ["list-type=2", "uploads="] {
        proxy.rewrite(move |seen, body| match seen.query.contains(listing) {
            true => [&body[..], &b" ".repeat(16 * 1024 * 1024)].concat().into(),
            false => body,
        });
        let run = endpoint.run(&["gc", "--grace", "0", "s3://site"]);
        run.failure(&["list", "s3://site", "the response has more than 16777216 bytes"]);
    }
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
        let printed = run.failure(&[variable, "cannot be used as a proxy", "unset it"]);
        assert!(!printed.contains("hunter2"), "{printed}");
    }
    assert_eq!(proxy.seen(), 0);
}

/// A request is signed. Without the proxy, it would show the user and the place to whoever watches the network.
#[test]
fn a_proxy_is_never_bypassed_whichever_variable_names_it() {
    // Given: a proxy that reaches a store, and a server at the address of the store that is reached without it.
    let directory = TempDir::new().unwrap();
    let (_s3fs, proxy, _) = site_behind_a_proxy(&directory, &["app"]);
    let elsewhere = Elsewhere::start();
    let url = format!("http://{}", proxy.address);
    let with = |variables: &[(&str, &str)]| {
        let endpoint = Endpoint::s3(&format!("http://{}", elsewhere.address));
        variables.iter().fold(endpoint, |endpoint, (name, value)| endpoint.with(name, value))
    };
    for variables in [
        &[("HTTP_PROXY", ""), ("http_proxy", &*url)][..],
        &[("ALL_PROXY", ""), ("all_proxy", &url)],
        &[("HTTPS_PROXY", &url)],
        &[("HTTP_PROXY", &url), ("REQUEST_METHOD", "GET")],
        &[("ALL_PROXY", &url), ("HTTP_PROXY", "http://127.0.0.1:1"), ("NO_PROXY", "example.com")],
    ] {
        proxy.take_seen();
        // When: the bucket is read, then all requests go to the proxy.
        let list = with(variables).run(&["list", "--json", "s3://site"]).success();
        assert!(list.to_string().contains("example.com/app"), "{variables:?}: {list}");
        assert!(proxy.seen() > 0, "{variables:?}");
        elsewhere.assert_untouched();
    }
    // When: NO_PROXY has the store, then none does.
    proxy.take_seen();
    with(&[("HTTP_PROXY", &url), ("NO_PROXY", "127.0.0.1")]).run(&["list", "s3://site"]).failure(&["s3://site"]);
    assert_eq!(proxy.seen(), 0);
    assert!(!elsewhere.heard.lock().unwrap().is_empty());
}
