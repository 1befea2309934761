//! Servers that send too little for the time that they take.

use std::time::{Duration, Instant};

use serde_json::json;

use super::images::{MANIFEST, descriptor, tagged};
use super::program::{fails, messages, ocisite, ocisite_at};
use super::server::{Answer, Server};

/// A layer that is said to have so many bytes, with an answer for whoever asks for it, and the path at which it is.
fn with_layer(server: &Server, size: u64, answer: Answer) -> String {
    let mut layer = descriptor("a/b", b"a large layer");
    layer["size"] = size.into();
    let path = format!("/cas/{}", &layer["digest"].as_str().unwrap()[7..]);
    server.answer(&path, answer);
    let manifest = json!({"schemaVersion": 2, "config": server.blob("a/b", b"{}"), "layers": [layer]});
    let manifest = server.blob(MANIFEST, manifest.to_string().as_bytes());
    server.with_engines().with_index("app", &[tagged(&manifest, "1.0")]);
    path
}

fn pull<'a>(layout: &'a std::path::Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["--json", "example.com/app", "--to", layout.to_str().unwrap()], more].concat()
}

#[test]
fn a_large_layer_that_drips_ends_whatever_its_size() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path().join("layout");
    let drip = Answer::Drip(Answer::head_of_endless("a/b"), b'x');
    with_layer(&server, 1 << 20, drip.clone());
    let begun = Instant::now();
    let expected = ["took too long", "fewer than 16384 bytes per second arrived over 1 seconds", "--speed-limit"];
    fails(ocisite_at(&server, "pull").args(pull(&layout, &["--timeout", "1"])), &expected);
    // A size from which the time was once reckoned, at 64 KiB a second: a whole day.
    with_layer(&server, 64 * 1024 * 24 * 3600, drip);
    fails(ocisite_at(&server, "pull").args(pull(&layout, &["--timeout", "1"])), &expected);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn a_layer_of_which_nothing_comes_ends() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    with_layer(&server, 64 * 1024 * 24 * 3600, Answer::Silence);
    let layout = directory.path().join("layout");
    fails(ocisite_at(&server, "pull").args(pull(&layout, &["--timeout", "1"])), &["took too long"]);
}

#[test]
fn a_slow_layer_is_waited_for_when_the_user_wants_it() {
    // Given a layer that comes at five bytes a second, over twice the time of --timeout,
    let server = Server::start();
    let layer = b"xxxxxxxxxxxx";
    let path = format!("/cas/{}", super::images::encoded(layer));
    let image = server.image("linux/amd64", layer);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", layer.len());
    server.answer(&path, Answer::Drip(head.into_bytes(), b'x'));
    server.with_engines().with_index("app", &[tagged(&image, "1.0")]);
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path().join("layout");
    // when no speed is asked for, then it is pulled.
    let output =
        ocisite_at(&server, "pull").args(pull(&layout, &["--timeout", "1", "--speed-limit", "0"])).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
}

#[test]
fn a_byte_for_each_connection_is_not_asked_for_without_end() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let path = with_layer(&server, 1 << 20, Answer::OneByte(1 << 20));
    let layout = directory.path().join("layout");
    fails(ocisite_at(&server, "pull").args(pull(&layout, &[])), &["cannot fetch sha256:"]);
    let requests = server.asked().iter().filter(|place| place.ends_with(&path)).count();
    assert!((2..=5).contains(&requests), "{requests} requests");
}

#[test]
fn a_time_beyond_all_clocks_is_refused() {
    for args in [
        &["resolve", "--timeout", "18446744073709551615", "example.com/app"][..],
        &["pull", "--timeout", "18446744073709551615", "example.com/app", "--to", "layout"],
        &["verify", "--timeout", "18446744073709551615", "https://example.com"],
        &["verify", "--timeout", "0", "https://example.com"],
    ] {
        let output = ocisite().args(args).output().unwrap();
        let printed = messages(&output);
        assert_eq!(output.status.code(), Some(2), "{printed}");
        assert!(printed.contains("--timeout") && printed.contains("is not in 1..="), "{printed}");
    }
    // The longest that is taken does no harm.
    let server = Server::start();
    server.with_engines().with_index("app", &[descriptor("a/b", b"image")]);
    ocisite_at(&server, "resolve").args(["--timeout", "31536000", "example.com/app"]).assert().success();
}
