//! When plain http is used: for this machine itself, and when the user asks for it; never where a certificate was not trusted.

use assert_cmd::Command;
use tempfile::TempDir;

use super::images::{descriptor, tagged};
use super::program::{fails, json_of, messages, ocisite};
use super::server::Server;
use crate::support::site::Snapshot;

/// A server with an image `app`, which is forged where it comes over http.
fn server(server: Server) -> Server {
    server.with_engines().with_index("app", &[tagged(&descriptor("a/b", b"forged"), "1.0")]);
    server
}

fn resolve_at(server: &Server, args: &[&str]) -> Command {
    let mut command = ocisite();
    command.args(["resolve", "--connect-to", &server.address.to_string()]).args(args);
    command
}

fn schemes(server: &Server) -> Vec<&'static str> {
    server.requests().into_iter().map(|request| request.scheme).collect()
}

#[test]
fn a_certificate_that_is_not_trusted_is_not_gone_around() {
    // Given a server whose certificate is not trusted, and which would answer over http.
    let server = server(Server::start());
    for protocols in [&[][..], &["--protocol", "https", "--protocol", "http"]] {
        let args = [protocols, &["b.example.com/app"]].concat();
        fails(&mut resolve_at(&server, &args), &["UnknownIssuer", "SSL_CERT_FILE", "resolves to nothing"]);
    }
    assert!(schemes(&server).is_empty(), "{:?}", server.requests());
}

#[test]
fn a_pull_over_a_certificate_that_is_not_trusted_changes_nothing() {
    let server = server(Server::start());
    let directory = TempDir::new().unwrap();
    let before = Snapshot::of(directory.path());
    let layout = directory.path().join("layout");
    let mut command = ocisite();
    command.args(["pull", "--protocol", "https", "--protocol", "http", "--connect-to", &server.address.to_string()]);
    command.args(["example.com/app", "--to", layout.to_str().unwrap()]);
    fails(&mut command, &["UnknownIssuer", "skipping example.com over http, because a certificate was not trusted"]);
    before.assert_unchanged(directory.path());
    assert!(schemes(&server).is_empty(), "{:?}", server.requests());
}

#[test]
fn a_server_without_tls_is_asked_over_http_only_when_the_user_asks_for_it() {
    let server = server(Server::without_tls());
    // By default it is not, although the address is of this machine: the name is not.
    fails(&mut resolve_at(&server, &["example.com/app"]), &["no host answered over https", "--protocol http"]);
    assert!(schemes(&server).is_empty(), "{:?}", server.requests());
    // With both protocols, https comes first for all hosts, and that nobody speaks it is no reason to stop.
    let both = ["-v", "--protocol", "https", "--protocol", "http", "b.example.com/app"];
    let output = resolve_at(&server, &both).output().unwrap();
    let printed = messages(&output);
    let place = |text: &str| printed.find(text).unwrap_or_else(|| panic!("expected {text:?} in: {printed}"));
    let attempts = [
        "GET https://b.example.com/.well-known/oci-host-ref-engines failed",
        "GET https://example.com/.well-known/oci-host-ref-engines failed",
        "GET http://b.example.com/.well-known/oci-host-ref-engines 200",
    ];
    assert!(attempts.map(place).is_sorted(), "{printed}");
    assert_eq!(output.status.code(), Some(0), "{printed}");
}

#[test]
fn localhost_and_loopback_addresses_are_asked_over_http_by_default() {
    let server = server(Server::without_tls());
    let port = server.address.port().to_string();
    for host in ["localhost", "127.0.0.1"] {
        let name = format!("{host}/app");
        let resolved = json_of(ocisite().args(["resolve", "--port", &port, &name]));
        assert_eq!(resolved[&name].as_array().unwrap().len(), 1);
    }
    // Not when the user wants https alone,
    fails(
        ocisite().args(["resolve", "--port", &port, "--protocol", "https", "localhost/app"]),
        &["resolves to nothing"],
    );
    // and not other names that lead to this machine.
    fails(&mut resolve_at(&server, &["a.localhost/app"]), &["resolves to nothing"]);
}
