//! Over TLS, with certificates from an authority of one's own.

use assert_cmd::Command;
use serde_json::json;

use super::images::*;
use super::program::{fails, json_of, ocisite};
use super::server::{Answer, Server, WELL_KNOWN};

/// `ocisite SUBCOMMAND`, over `https` and then `http`, with the test's authority trusted.
fn trusting(server: &Server, subcommand: &str) -> Command {
    let mut command = ocisite();
    command.env("SSL_CERT_FILE", Server::authority()).env_remove("SSL_CERT_DIR");
    command.args([subcommand, "--connect-to", &server.address.to_string()]);
    command
}

#[test]
fn a_private_authority_is_trusted_when_it_is_named() {
    let server = Server::start();
    let image = server.image("linux/amd64", b"layer");
    server.with_engines().with_index("app", &[tagged(&image, "1.0")]);
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path().join("layout");
    let arguments = ["--json", "example.com/app", "--to", layout.to_str().unwrap()];
    let summary = json_of(trusting(&server, "pull").args(arguments));
    assert_eq!(summary["fetched"]["blobs"], 3);
    assert!(server.requests().iter().all(|request| request.scheme == "https" && request.host == "example.com"));
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let server = Server::start();
    server.with_engines().with_index("app", &[descriptor("a/b", b"image")]);
    let mut command = trusting(&server, "resolve");
    fails(command.args(["--protocol", "https", "example.net/app"]), &["not valid for name", "resolves to nothing"]);
}

#[test]
fn a_redirect_never_leaves_https_for_http() {
    let server = Server::start();
    server.with_engines().with_index("app", &[descriptor("a/b", b"image")]);
    server.answer(WELL_KNOWN, Answer::Redirect("http://example.com/engines".into()));
    let mut command = trusting(&server, "resolve");
    fails(command.args(["--protocol", "https", "example.com/app"]), &["leads from https to http"]);
    assert_eq!(server.asked(), [format!("example.com{WELL_KNOWN}")]);
}

#[test]
fn a_redirect_from_http_to_https_is_followed() {
    let server = Server::start();
    server.with_engines().with_index("app", &[descriptor("a/b", b"image")]);
    server.answer("/old", Answer::Redirect("https://example.com/index/app".into()));
    server.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": [ref_engine("http://example.com/old")]})));
    let resolved = json_of(trusting(&server, "resolve").args(["--protocol", "http", "example.com/app"]));
    assert_eq!(resolved["example.com/app"][0]["uri"], "https://example.com/index/app");
}

#[test]
fn what_https_says_is_not_overruled_by_http() {
    // Given a host that has no such image, as it says over https.
    let server = Server::start();
    server.with_engines();
    fails(trusting(&server, "resolve").arg("example.com/app"), &["resolves to nothing"]);
    assert!(server.requests().iter().all(|request| request.scheme == "https"), "{:?}", server.requests());
}

#[test]
fn an_index_over_http_that_https_led_to_is_a_warning() {
    let server = Server::start();
    server.with_index("app", &[descriptor("a/b", b"image")]);
    server.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": [ref_engine("http://{host}/index/app")]})));
    let output = trusting(&server, "resolve").arg("example.com/app").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let printed = super::program::messages(&output);
    assert!(printed.contains("warning") && printed.contains("which is not protected"), "{printed}");
}
