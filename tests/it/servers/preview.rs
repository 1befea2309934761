//! The preview as a program: what it prints, how it starts and ends, what clients cannot do to it, and what it chose where the
//! standards leave a choice.

use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use super::checks::{LARGE, add_large_blob};
use crate::support::fixtures::{IMAGES, PROGRAM, Site, run};
use crate::support::http::PATIENCE;
use crate::support::preview::Preview;
use crate::support::program;

const INDEX: &str = "/oci-index/app";

fn start() -> (Site, Preview) {
    let site = Site::of_fixtures(&[]);
    let server = Preview::start(&site.root());
    (site, server)
}

#[test]
fn it_prints_a_command_per_image_that_resolves_it() {
    // Given: a preview.
    let (_site, server) = start();
    // When: a consumer resolves a name as the printed command does.
    let port = server.address.port().to_string();
    let args = ["resolve", "--protocol", "http", "--port", &port];
    let resolved = run(Command::new(PROGRAM).args(args).args(["localhost/team/app", "--no-xdg"]));
    // Then: it has a root, and every image has such a command.
    let document: Value = serde_json::from_str(&resolved).unwrap();
    assert!(document["localhost/team/app"][0]["root"]["digest"].is_string(), "{document}");
    let (printed, _) = server.stop();
    assert!(printed.contains(&format!("{} 'localhost/team/app#", args.join(" "))), "{printed}");
    assert_eq!(printed.matches("ocisite resolve").count(), IMAGES.len(), "{printed}");
}

#[test]
fn verbose_it_logs_each_request() {
    let site = Site::of_fixtures(&[]);
    let server = Preview::start_heard(&site.root(), &["-v"]);
    // On one connection, because the lines of several come in any order.
    let mut connection = server.connect();
    connection.send("GET", &format!("{INDEX}?a=b"), &[], 1);
    let length = connection.response().body.len();
    connection.send("HEAD", INDEX, &[], 1);
    connection.head();
    connection.send("GET", "/%zz", &[], 1);
    connection.response();
    connection.send("GET", "/nothing\u{1b}[31m", &[], 1);
    assert_eq!(connection.response().status, 400);
    drop(connection);
    let (_, log) = server.stop();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 4, "{log}");
    assert!(lines[0].starts_with(&format!("GET {INDEX}?a=b 200 {length} ")), "{log}");
    assert!(lines[1].starts_with(&format!("HEAD {INDEX} 200 0 ")), "{log}");
    assert!(lines[2].starts_with("GET /%zz 400 "), "{log}");
    assert!(lines[3].starts_with("a request was refused with 400: "), "{log}");
    assert!(!log.contains('\u{1b}'), "a path cannot colour the terminal: {log}");
}

#[test]
fn without_verbose_it_logs_nothing() {
    let site = Site::of_fixtures(&[]);
    let server = Preview::start_heard(&site.root(), &[]);
    assert_eq!(server.get(INDEX).status, 200);
    let (_, log) = server.stop();
    assert_eq!(log, "");
}

#[test]
fn a_signal_ends_it_after_what_is_being_sent() {
    for signal in [Signal::INT, Signal::TERM] {
        // Given: a client in the middle of a large blob, and one that waits with its next request.
        let (_site, mut server) = start();
        let large = add_large_blob(&server);
        let mut waiting = server.connect();
        waiting.send("GET", INDEX, &[], 1);
        assert_eq!(waiting.response().status, 200);
        let mut connection = server.connect();
        connection.send("GET", &large, &[("Connection", "close")], 1);
        assert_eq!(connection.head().status, 200);
        // When: the server is told to end.
        server.signal(signal);
        // Then: the client gets the rest to the last byte, and the server ends as one that has done its work.
        assert_eq!(connection.count_rest(), LARGE, "{signal:?}");
        assert_eq!(server.wait().code(), Some(0), "{signal:?}");
    }
}

#[test]
fn stalled_clients_do_not_keep_it_from_ending() {
    // Given: a client that asks for much more than it reads.
    let (_site, mut server) = start();
    let large = add_large_blob(&server);
    let mut connection = server.connect();
    connection.send("GET", &large, &[], 300);
    assert_eq!(connection.head().status, 200);
    // When: the server is told to end.
    server.signal(Signal::TERM);
    // Then: it does, although that client is still there.
    assert_eq!(server.wait().code(), Some(0));
    drop(connection);
}

#[test]
fn more_connections_than_there_are_files_for_do_not_end_it() {
    // Given: a preview that may open few files.
    let site = Site::of_fixtures(&[]);
    let server = Preview::start_with_few_files(&site.root(), 100);
    // When: more clients come than it has files for, and stay.
    let mut connections: Vec<_> = (0..200).map(|_| server.connect()).collect();
    let answered = connections.iter_mut().filter_map(|connection| connection.try_get(INDEX)).count();
    assert!((1..200).contains(&answered), "some are served and some are turned away, not {answered}");
    // Then: it serves the next, as soon as it has seen them go.
    drop(connections);
    let start = Instant::now();
    while server.connect().try_get(INDEX) != Some(200) {
        assert!(start.elapsed() < PATIENCE, "nobody is served any more");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_large_blob_takes_little_memory() {
    let (_site, server) = start();
    let large = add_large_blob(&server);
    let mut connection = server.connect();
    connection.send("GET", &large, &[("Connection", "close")], 1);
    assert_eq!(connection.head().expect("Content-Length"), LARGE.to_string());
    assert_eq!(connection.count_rest(), LARGE);
    let kibibytes = server.peak_memory_kib();
    assert!(kibibytes * 1024 < LARGE / 4, "a blob of {LARGE} bytes took {kibibytes} KiB of memory");
}

#[test]
fn links_lead_nowhere() {
    // Given links in the place of indexes: a site that ocisite writes has none.
    let (site, server) = start();
    let index = site.root().join("oci-index");
    std::fs::write(site.beside("secret"), "secret").unwrap();
    for (link, target) in [
        ("inside", "team/app".into()),
        ("absolute", index.join("app")),
        ("outside", "../../secret".into()),
        ("private", "../.ocisite/lock".into()),
        ("dangling", "nothing".into()),
        ("directory", "../oci-index".into()),
    ] {
        std::os::unix::fs::symlink(target, index.join(link)).unwrap();
        // When they are asked for, then nothing is sent, wherever they lead.
        for path in [link.to_string(), format!("{link}/app")] {
            assert_eq!(server.get(&format!("/oci-index/{path}")).status, 404, "{path}");
        }
    }
    assert_eq!(server.get("/oci-index/team/app").status, 200);
}

#[test]
fn a_range_is_of_the_document_that_is_sent() {
    // The preview makes its templates local, so it has another length than the file.
    let (_site, server) = start();
    let path = "/.well-known/oci-host-ref-engines";
    let document = server.get(path);
    assert_eq!(document.json()["refEngines"][0]["uri"], "/oci-index/{+path}");
    let size = document.body.len();
    let part = server.get_with(path, &[("Range", "bytes=3-")]);
    assert_eq!(part.expect("Content-Range"), format!("bytes 3-{}/{size}", size - 1));
    assert_eq!(part.body, document.body[3..]);
}

#[test]
fn it_refuses_to_start_where_it_cannot_serve() {
    let site = Site::of_fixtures(&[]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let (empty, file, missing) = (site.beside("empty"), site.root().join("ocisite.json"), site.beside("missing"));
    std::fs::create_dir(&empty).unwrap();
    for (directory, address, words) in [
        (&site.root(), taken.as_str(), [taken.as_str(), "--listen"]),
        (&site.root(), "nowhere", ["nowhere", "--listen"]),
        (&empty, "127.0.0.1:0", [program::text(&empty), "ocisite publish"]),
        (&file, "127.0.0.1:0", [program::text(&file), "ocisite publish"]),
        (&missing, "127.0.0.1:0", [program::text(&missing), "ocisite publish"]),
    ] {
        program::fails(program::ocisite().arg("serve").arg(directory).args(["--listen", address]), &words);
    }
}

#[test]
fn a_tag_has_a_digest_by_which_its_manifest_is_served() {
    let site = Site::of_fixtures(&["--registry"]);
    let server = Preview::start(&site.root());
    for (image, tag, algorithm) in
        [("app", "1.1", "sha256:"), ("sha512", "1.0", "sha512:"), ("blake3", "1.0", "blake3:")]
    {
        let by_tag = server.get(&format!("/v2/{image}/manifests/{tag}"));
        let digest = by_tag.expect("Docker-Content-Digest");
        assert!(digest.starts_with(algorithm), "{digest}");
        let by_digest = server.get(&format!("/v2/{image}/manifests/{digest}"));
        assert_eq!((by_digest.status, by_digest.body), (200, by_tag.body.clone()), "{digest}");
    }
}
