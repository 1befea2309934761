//! Clients that mean harm to the preview: bodies, endless heads, other protocols, slow connections, foreign hosts, many requests
//! for documents that are computed, and a file that shrinks while it is sent. During each attack another client is answered within a second, and the process stays small.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::checks::{LARGE, add_large_blob};
use crate::support::fixtures::{PROGRAM, Site};
use crate::support::http::{Base, Connection, PATIENCE};
use crate::support::preview::Preview;

const INDEX: &str = "/oci-index/app";
/// How long the preview may take to answer another client during an attack.
const ANSWER: Duration = Duration::from_secs(1);
/// The most memory that the preview may ever have taken.
const MAX_MEMORY_KIB: u64 = 64 * 1024;
/// The address of another client: the attackers have the first of this machine's loopback addresses.
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A preview with the usual limit of open files.
fn start() -> (Site, Preview) {
    let site = Site::of_fixtures(&[]);
    let server = Preview::start_with_few_files(&site.root(), 1024);
    (site, server)
}

/// A client of another address gets a document within a second, and the process has stayed small.
fn assert_unharmed(server: &Preview) {
    let start = Instant::now();
    let mut client = connect_from(OTHER, server.address);
    client
        .write_all(format!("GET {INDEX} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(start.elapsed() < ANSWER, "another client waited for {:?}", start.elapsed());
    let kibibytes = server.peak_memory_kib();
    assert!(kibibytes < MAX_MEMORY_KIB, "the preview took {kibibytes} KiB of memory");
}

/// A connection from one of this machine's loopback addresses.
fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
    // Not for the previews that other tests start, which have few files.
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&socket, &SocketAddr::from((from, 0))).unwrap();
    connect(&socket, &to).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Connections that each sent the same text.
fn attack(server: &Base, count: usize, text: &str) -> Vec<Connection> {
    let connections = (0..count).map(|_| {
        let mut connection = server.connect();
        // The preview may have closed it already.
        let _ = connection.try_send(text.as_bytes());
        connection
    });
    connections.collect()
}

#[test]
fn announced_bodies_are_refused_and_hold_nothing() {
    let (_site, server) = start();
    let before = server.open_files();
    for (header, status) in [
        ("Content-Length: 99999999999999", 413),
        ("Content-Length: 1", 413),
        ("Content-Length: 0\r\nContent-Length: 1", 413),
        ("Content-Length: +0", 413),
        ("Transfer-Encoding: chunked", 413),
        ("Transfer-Encoding: identity", 413),
        ("Content-Length: 0", 405),
    ] {
        // When: a request announces a body, and some of the body follows.
        let mut connection = server.connect();
        connection.send_text(&format!("POST {INDEX} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n0\r\n\r\n"));
        // Then: the preview refuses the request, and closes the connection rather than reading a body.
        let response = connection.response();
        assert_eq!(response.status, status, "{header}");
        if status == 413 {
            assert_eq!(response.expect("Connection"), "close");
            assert!(response.json()["errors"][0]["message"].as_str().unwrap().contains("body"), "{response:?}");
            assert_eq!(connection.rest(), b"", "{header}");
        }
    }
    // When: more clients do so than the process may open files.
    for method in ["GET", "POST"] {
        let request = format!("{method} {INDEX} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\n");
        for _ in 0..12 {
            let mut connections = attack(&server, 50, &request);
            assert_unharmed(&server);
            connections.iter_mut().for_each(|connection| drop(connection.try_rest()));
        }
    }
    // Then: none of them costs a file.
    let start = Instant::now();
    while server.open_files() > before {
        assert!(start.elapsed() < PATIENCE, "{} files are open, {before} were", server.open_files());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn every_head_of_a_connection_has_a_size() {
    let (_site, server) = start();
    for (before, part) in [(0, "X-Header: value\r\n"), (1, "X-Header: value\r\n"), (1, "xxxxxxxxxxxxxxxx"), (3, "\r\n")]
    {
        // Given: a connection that has had answers.
        let mut connection = server.connect();
        for _ in 0..before {
            connection.send("GET", INDEX, &[], 1);
            assert_eq!(connection.response().status, 200);
        }
        // When: its next head does not end.
        let part = part.repeat(64 * 1024 / part.len());
        let _ = connection.try_send(if part.starts_with("\r\n") { b"" } else { b"GET / HTTP/1.1\r\nA: " });
        let sent = (0..4096).take_while(|_| connection.try_send(part.as_bytes()).is_ok()).count();
        // Then: the preview takes no more than it needs to refuse the head.
        assert!(sent < 4096, "the preview took {sent} times 64 KiB of one head");
        assert_unharmed(&server);
    }
}

#[test]
fn a_head_that_is_too_large_is_refused_with_the_limit() {
    let (_site, server) = start();
    let long = "x".repeat(20_000);
    for headers in [format!("X-Long: {long}\r\n"), "X-Header: value\r\n".repeat(200)] {
        let mut connection = server.connect();
        connection.send_text(&format!("GET {INDEX} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
        let response = connection.response();
        assert_eq!((response.status, response.expect("Connection")), (431, "close"));
        assert!(response.json()["errors"][0]["message"].as_str().unwrap().contains("16384 bytes"), "{response:?}");
    }
    // A head that real clients send, with a long token for a registry, is small enough.
    let authorization = format!("Bearer {}", "x".repeat(12_000));
    assert_eq!(server.get_with(INDEX, &[("Authorization", &authorization)]).status, 200);
}

#[test]
fn what_is_not_http_1_is_refused_at_once_and_blocks_nobody() {
    let (_site, server) = start();
    let tls = "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}";
    for (greeting, status) in [
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("GET / HTTP/3.0\r\n\r\n", 505),
        (tls, 400),
        ("SSH-2.0-OpenSSH_9.9\r\n", 400),
        ("GET /\r\n\r\n", 400),
    ] {
        // When: many clients begin so, and stay.
        let start = Instant::now();
        let mut connections = attack(&server, 30, greeting);
        // Then: another client is answered, and each of them is refused.
        assert_unharmed(&server);
        for connection in &mut connections {
            let response = connection.response();
            assert_eq!((response.status, response.expect("Connection")), (status, "close"), "{greeting:?}");
        }
        assert!(start.elapsed() < PATIENCE / 2, "{greeting:?} took {:?}", start.elapsed());
    }
}

#[test]
fn slow_requests_give_way_to_other_clients() {
    let (_site, server) = start();
    for beginning in ["", "GET /oci-ind", "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "] {
        // Given: many connections of one client, which send no whole head.
        let slow = attack(&server, 512, beginning);
        // Then: clients of another address are answered, and of the same address, too.
        assert_unharmed(&server);
        assert_eq!(server.get(INDEX).status, 200);
        drop(slow);
    }
}

#[test]
fn one_client_that_reads_slowly_leaves_room_for_others() {
    let (_site, server) = start();
    let large = add_large_blob(&server);
    // Given: many connections of one client, each of which asks for a large blob and reads nothing.
    let slow = attack(&server, 512, &format!("GET {large} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    // Then: clients of another address are answered.
    assert_unharmed(&server);
    drop(slow);
}

/// As many connections as the preview takes, of several addresses, each of which asks and reads no more than the beginning of
/// the response.
fn clients_that_do_not_read(server: &Base, request: &str) -> Vec<TcpStream> {
    let addresses = (3..7).flat_map(|last| std::iter::repeat_n(Ipv4Addr::new(127, 0, 0, last), 64));
    let clients = addresses.map(|address| {
        let mut client = connect_from(address, server.address);
        client.write_all(request.as_bytes()).unwrap();
        // Until its answer has begun, or is a refusal.
        client.read_exact(&mut [0; 8]).unwrap();
        client
    });
    clients.collect()
}

#[test]
fn an_error_repeats_little_of_a_large_request() {
    let (_site, server) = start();
    // Given: clients that send heads of the largest size, whose host doubles with each escape, and read no error.
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "\"".repeat(16_200));
    let slow = clients_that_do_not_read(&server, &request.repeat(8));
    // Then: the errors take little memory, and name the beginning of the host.
    assert_unharmed(&server);
    drop(slow);
    let response = server.request_to(&"x".repeat(16_000), "GET", "/", &[]);
    let message = response.json()["errors"][0]["message"].to_string();
    assert!(message.len() < 1100 && message.contains("xxx") && message.contains("localhost"), "{message}");
}

#[test]
fn many_clients_that_read_slowly_give_way_to_another() {
    let (_site, server) = start();
    let large = add_large_blob(&server);
    // Given: more connections than the preview takes, of several addresses. Each asks for a large blob and reads nothing.
    let request = format!("GET {large} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let slow = clients_that_do_not_read(&server, &request);
    // Then: clients of another address are answered, however often.
    for _ in 0..3 {
        assert_unharmed(&server);
    }
    drop(slow);
}

#[test]
fn large_documents_take_no_memory_for_each_request() {
    // Given: documents that the preview changes, each of some megabytes.
    let site = Site::of_fixtures(&["--registry"]);
    let server = Preview::start_with_few_files(&site.root(), 1024);
    let digest = format!("sha256:{}", "1".repeat(64));
    let entry = |number: usize| {
        serde_json::json!({
            "annotations": {"see": format!("https://example.com/{}", "<\\\"é".repeat(40)), "number": number.to_string()},
            "artifactType": format!("application/{}", number % 2), "casEngines": [{"uri": "https://example.com/cas"}],
        })
    };
    let index = serde_json::json!({"manifests": (0..4000).map(entry).collect::<Vec<_>>()});
    let tags: Vec<String> = (0..100_000).map(|number| format!("tag-of-this-image-{number:06}")).collect();
    let place = |path: &str, document: &serde_json::Value| {
        let file = site.root().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, document.to_string()).unwrap();
    };
    place("oci-index/large", &index);
    place("v2/app/tags/list", &serde_json::json!({"name": "app", "tags": tags}));
    place(&format!("v2/app/referrers/{digest}"), &index);
    let referrers = format!("/v2/app/referrers/{digest}?artifactType=application/1");
    for path in ["/oci-index/large", "/v2/app/tags/list?last=tag-of-this-image-000001&n=9000", &referrers] {
        // When: many clients ask for one at once.
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut clients = attack(&server, 16, &request);
        // Then: each has the whole document as it should be, and the process has stayed small.
        let answers: Vec<_> = clients.iter_mut().map(Connection::response).collect();
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body), "{path}");
        let document = answers[0].json();
        match path {
            "/oci-index/large" => {
                assert_eq!(document["manifests"][3999]["casEngines"][0]["uri"], "/cas");
                assert_eq!(document["manifests"][3999]["annotations"], index["manifests"][3999]["annotations"]);
            }
            _ if path == referrers => {
                assert_eq!(document["manifests"].as_array().unwrap().len(), 2000);
                assert_eq!(document["manifests"][1999], index["manifests"][3999]);
            }
            _ => {
                assert_eq!(
                    document["tags"].as_array().unwrap()[..],
                    *tags[2..9_002].iter().map(String::as_str).collect::<Vec<_>>()
                );
                assert!(answers[0].expect("Link").contains("last=tag-of-this-image-009001>"));
            }
        }
        assert_unharmed(&server);
    }
}

#[test]
fn clients_that_leave_while_their_document_is_computed_hold_no_place() {
    // Given: a preview with few places, and documents that take days to compute.
    let site = Site::of_fixtures(&["--registry"]);
    let server = Preview::start_with_few_files(&site.root(), 80);
    let referrers = format!("v2/app/referrers/sha256:{}", "1".repeat(64));
    for (path, query) in [("oci-index/endless", ""), (&referrers, "?artifactType=a/b")] {
        let file = site.root().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::File::create(file).unwrap().set_len(1 << 40).unwrap();
        let request = format!("GET /{path}{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        for times in [1, 1000] {
            // When: more clients than there are places ask for one, perhaps many times, and leave.
            drop(attack(&server, 40, &request.repeat(times)));
            // Then: the next client is answered as soon as the preview has seen them go.
            let start = Instant::now();
            while server.connect().try_get(INDEX) != Some(200) {
                assert!(start.elapsed() < PATIENCE, "the clients that left hold every place");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

#[test]
fn many_clients_that_wait_for_a_computation_give_way_to_another() {
    let (site, server) = start();
    std::fs::File::create(site.root().join("oci-index/endless")).unwrap().set_len(1 << 40).unwrap();
    // Given: more connections than the preview takes, of several addresses, which wait for a document that takes days.
    let addresses = (3..7).flat_map(|last| std::iter::repeat_n(Ipv4Addr::new(127, 0, 0, last), 64));
    let waiting: Vec<TcpStream> = addresses
        .map(|address| {
            let mut client = connect_from(address, server.address);
            client.write_all(b"GET /oci-index/endless HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            client
        })
        .collect();
    // Then: clients of another address are answered, however often.
    for _ in 0..3 {
        assert_unharmed(&server);
    }
    drop(waiting);
}

#[test]
fn many_different_documents_are_computed_a_few_at_a_time() {
    // Given: a large list of tags.
    let site = Site::of_fixtures(&["--registry"]);
    let server = Preview::start_with_few_files(&site.root(), 1024);
    let tags: Vec<String> = (0..20_000).map(|number| format!("tag-of-this-image-{number:06}")).collect();
    let list = serde_json::json!({"name": "app", "tags": tags});
    std::fs::write(site.root().join("v2/app/tags/list"), list.to_string()).unwrap();
    // When: nearly as many clients as the preview takes, of two addresses, each ask for a part of their own, which is
    // computed with a long text.
    let clients: Vec<TcpStream> = (0..120u8)
        .map(|number| {
            let mut client = connect_from(Ipv4Addr::new(127, 0, 0, 3 + number / 64), server.address);
            let last = format!("{number:05}{}", "!".repeat(15_800));
            let head = format!("GET /v2/app/tags/list?last={last}&n=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client.write_all(head.as_bytes()).unwrap();
            client
        })
        .collect();
    // Then: clients of another address are answered, whose document is computed, too.
    for _ in 0..3 {
        assert_unharmed(&server);
    }
    // Then: so are they, one after the other.
    for mut client in clients.iter().take(8) {
        let mut status = [0; 13];
        client.read_exact(&mut status).unwrap();
        assert_eq!(status, *b"HTTP/1.1 200 ");
    }
    assert_unharmed(&server);
}

#[test]
fn what_is_computed_is_computed_once_for_each_version_of_a_file() {
    // Given: documents that the preview computes, or looks through and leaves as they are.
    let site = Site::of_fixtures(&["--registry"]);
    let server = Preview::start_with_few_files(&site.root(), 1024);
    let tags: Vec<String> = (0..100_000).map(|number| format!("tag-of-this-image-{number:06}")).collect();
    let index =
        |uri: &str| serde_json::json!({"manifests": [{"casEngines": [{"uri": uri}]}], "tags": tags}).to_string();
    for (path, query, document) in [
        ("oci-index/changed", "", index("https://example.com/cas")),
        ("oci-index/same", "", index("/cas")),
        ("v2/app/tags/list", "?last=tag-of-this-image-000001&n=9000", index("")),
        ("v2/app/manifests/large", "", index("")),
    ] {
        let (file, target, size) = (site.root().join(path), format!("/{path}{query}"), document.len() as u64);
        std::fs::write(&file, document).unwrap();
        // When: many clients ask for one at once.
        let before = server.bytes_read();
        let mut clients = attack(&server, 16, &format!("HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let heads: Vec<_> = clients.iter_mut().map(Connection::head).collect();
        // Then: it is computed once for all.
        assert!(heads.iter().all(|head| head.status == 200 && head.headers == heads[0].headers), "{heads:?}");
        assert!(server.bytes_read() - before < 2 * size, "{path}: {} of {size}", server.bytes_read() - before);
        // When: clients ask for the end of it, or whether it has changed.
        let whole = server.get(&target);
        let (before, etag) = (server.bytes_read(), whole.expect("ETag"));
        for _ in 0..16 {
            let end = server.get_with(&target, &[("Range", "bytes=-100")]);
            assert_eq!((end.status, &end.body[..]), (206, &whole.body[whole.body.len() - 100..]), "{path}");
            assert_eq!(server.get_with(&target, &[("If-None-Match", etag)]).status, 304, "{path}");
        }
        // Then: it is not computed again.
        assert!(server.bytes_read() - before < size, "{path}: {} of {size}", server.bytes_read() - before);
        // When: the file has another version, of the same size.
        let text = std::fs::read_to_string(&file).unwrap().replace("image-00", "image-xx");
        std::fs::write(&file, text).unwrap();
        // Then: that one is served.
        let changed = server.get(&target);
        assert_ne!(changed.expect("ETag"), etag);
        assert!(String::from_utf8(changed.body).unwrap().contains("image-xx"), "{path}");
    }
}

#[test]
fn few_computed_documents_are_kept() {
    let site = Site::of_fixtures(&["--registry"]);
    let server = Preview::start_with_few_files(&site.root(), 1024);
    let before = server.open_files();
    // When: clients ask for more documents than the preview keeps.
    for number in 0..200 {
        assert_eq!(server.get(&format!("/v2/app/tags/list?last={number}")).status, 200);
    }
    // Then: the others cost no file.
    let start = Instant::now();
    while server.open_files() > before + 32 {
        assert!(start.elapsed() < PATIENCE, "{} files are open, {before} were", server.open_files());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Changes a property of the description of a site.
fn describe(site: &Site, property: &str, values: Vec<String>) {
    let path = site.root().join("ocisite.json");
    let mut description: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    description[property].as_array_mut().unwrap().extend(values.into_iter().map(Value::from));
    std::fs::write(&path, serde_json::to_vec(&description).unwrap()).unwrap();
}

#[test]
fn the_hosts_of_a_site_are_in_memory_once() {
    // Given: a site of very many hosts, and more documents with templates than the preview keeps.
    let site = Site::of_fixtures(&[]);
    describe(&site, "hosts", (0..100_000).map(|number| format!("h{number}.example.com")).collect());
    let index = site.root().join("oci-index/app");
    for number in 0..40 {
        std::fs::copy(&index, site.root().join(format!("oci-index/app{number}"))).unwrap();
    }
    let server = Preview::start_with_few_files(&site.root(), 1024);
    // When: all are made local.
    for number in 0..40 {
        assert_eq!(server.get(&format!("/oci-index/app{number}")).status, 200);
    }
    // Then: the process has stayed small, and so has the answer that names the hosts.
    assert!(server.request_to("evil.example", "GET", INDEX, &[]).body.len() < 1000);
    assert_unharmed(&server);
}

#[test]
fn the_images_of_a_site_are_not_kept() {
    // Given: the preview of a site that gets very many images.
    let (site, server) = start();
    let name = |number| format!("example.com/{}/{number}", "x".repeat(64));
    describe(&site, "images", (0..200_000).map(name).collect());
    // Then: the preview reads the description again, and stays small.
    assert_unharmed(&server);
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_the_connection() {
    // Given: a client in the middle of a large blob.
    let (site, server) = start();
    let large = add_large_blob(&server);
    let mut connection = server.connect();
    connection.send("GET", &large, &[], 2);
    assert_eq!(connection.head().expect("Content-Length"), LARGE.to_string());
    // When: the file becomes shorter.
    let start = Instant::now();
    std::fs::File::options().write(true).open(site.root().join(&large[1..])).unwrap().set_len(1000).unwrap();
    // Then: the connection ends early, so that the client knows, and carries no other answer.
    let rest = connection.try_rest();
    assert!((rest.len() as u64) < LARGE, "{} bytes came", rest.len());
    assert!(rest.iter().all(|byte| *byte == 0), "the next answer stands in the place of the missing bytes");
    assert!(start.elapsed() < PATIENCE / 2, "it took {:?}", start.elapsed());
    assert_eq!(server.get(&large).body.len(), 1000);
}

#[test]
fn on_loopback_only_local_names_and_the_sites_hosts_are_answered() {
    let (_site, server) = start();
    let port = server.address.port();
    for (host, status) in [
        ("localhost".to_string(), 200),
        (format!("LocalHost:{port}"), 200),
        ("app.localhost:1".into(), 200),
        (format!("127.0.0.1:{port}"), 200),
        ("127.8.9.1".into(), 200),
        ("[::1]:8000".into(), 200),
        ("example.com".into(), 200),
        ("EXAMPLE.com.:8000".into(), 200),
        // Whatever a browser resolved to this address.
        ("evil.example".into(), 421),
        (format!("evil.example:{port}"), 421),
        ("notlocalhost".into(), 421),
        ("localhost.evil.example".into(), 421),
        ("127.0.0.1.evil.example".into(), 421),
        ("example.com.evil.example".into(), 421),
        ("192.0.2.1".into(), 421),
        ("[2001:db8::1]".into(), 421),
        (String::new(), 421),
    ] {
        let response = server.request_to(&host, "GET", INDEX, &[]);
        assert_eq!(response.status, status, "{host}");
        if status == 421 {
            let message = response.json()["errors"][0]["message"].as_str().unwrap().to_string();
            assert!(message.contains("localhost") && message.contains("example.com"), "{message}");
        }
    }
    // The host of a whole URI counts, and not the header (RFC 9112, section 3.2.2).
    assert_eq!(server.get(&format!("http://evil.example{INDEX}")).status, 421);
    assert_eq!(server.request_to("evil.example", "GET", &format!("http://localhost{INDEX}"), &[]).status, 200);
    // Exactly one Host (RFC 9112, section 3.2); HTTP/1.0 has none.
    for (head, status) in
        [("HTTP/1.1", 400), ("HTTP/1.1\r\nHost: localhost\r\nHost: localhost", 400), ("HTTP/1.0", 200)]
    {
        let mut connection = server.connect();
        connection.send_text(&format!("GET {INDEX} {head}\r\n\r\n"));
        assert_eq!(connection.response().status, status, "{head}");
    }
}

#[test]
fn listening_beyond_loopback_is_warned_of() {
    let site = Site::of_fixtures(&[]);
    // In a network of its own, where no other machine can reach it.
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "sh", "-c", script, PROGRAM]).arg(site.root());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    if !unshare("ip link set lo up").status().is_ok_and(|status| status.success()) {
        eprintln!("NOT TESTED: a network namespace cannot be made here, so nothing listens beyond loopback");
        return;
    }
    for (address, warns) in [("127.0.0.1:0", false), ("[::1]:0", false), ("0.0.0.0:0", true), ("[::]:0", true)] {
        // When: the preview listens at an address.
        let script = format!("ip link set lo up && exec \"$0\" serve \"$1\" --listen {address}");
        let mut child = unshare(&script).spawn().unwrap();
        let mut greeting = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut greeting).unwrap();
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        // Then: it warns if other machines could reach it.
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(greeting.starts_with("Serving "), "{error}");
        assert_eq!(error.contains("warning: ") && error.contains("--listen 127.0.0.1"), warns, "{address}: {error}");
    }
}

#[test]
fn a_tag_with_line_feeds_makes_no_headers() {
    // Given: a list of tags from elsewhere, one of which would end a head and begin an answer of its own.
    let site = Site::of_fixtures(&["--registry"]);
    let server = Preview::start_with_few_files(&site.root(), 1024);
    let list = serde_json::json!({"name": "app", "tags": ["a\r\nSet-Cookie: planted=1\r\n\r\n<script>", "b", "c"]});
    let path = site.root().join("v2/app/tags/list");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, list.to_string()).unwrap();
    // When: a client asks for a page that ends with it.
    let answer = server.get("/v2/app/tags/list?n=1");
    // Then: the page has the first of the others.
    assert_eq!(answer.json()["tags"], serde_json::json!(["b"]));
    assert_eq!(answer.header("Set-Cookie"), None);
    assert_eq!(answer.expect("Link"), "</v2/app/tags/list?n=1&last=b>; rel=\"next\"");
}
