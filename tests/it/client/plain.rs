//! A server without TLS under another name, such as a staging server: `--protocol http` with `--connect-to` asks it also for what
//! the documents have under https. And hosts that are addresses.

use serde_json::json;

use super::images::{cas_engine, ref_engine, tagged};
use super::program::{fails, json_of, messages, ocisite, ocisite_at};
use super::server::{Answer, Server, WELL_KNOWN};
use crate::support::preview::Preview;
use crate::support::program::{Succeeds, text};
use crate::support::scene::Scene;

/// A server without TLS that has `example.com/app#1.0` and, as a site should, leads to it under https.
fn server_with_image(index: &str) -> Server {
    let server = Server::without_tls();
    let image = server.image("linux/amd64", b"layer");
    let cas = cas_engine("https://example.com/cas/{encoded}");
    server.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": [ref_engine(index)], "casEngines": [cas]})));
    server.with_index("app", &[tagged(&image, "1.0")]);
    server
}

#[test]
fn what_documents_have_under_https_is_asked_for_in_plain_http() {
    let server = server_with_image("https://{host}/index/{+path}");
    let resolved = json_of(ocisite_at(&server, "resolve").arg("example.com/app#1.0"));
    assert_eq!(resolved["example.com/app#1.0"][0]["uri"], "https://example.com/index/app");

    let scene = Scene::new();
    let pulled = scene.path("pulled");
    json_of(ocisite_at(&server, "pull").args(["--json", "example.com/app#1.0", "--to", text(&pulled)]));

    // Verify takes the root that is given for that of the same server.
    for root in ["http://example.com", "https://example.com"] {
        let output =
            ocisite_at(&server, "verify").args([root, "example.com/app", "--deep", "--json"]).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["errors"], &report["blobs"]), (&0.into(), &3.into()), "{report:#}");
    }
}

#[test]
fn a_server_without_tls_that_is_asked_over_it_is_said_to_be_that() {
    // Given a server that answers the first bytes of TLS as a request that it does not understand.
    let scene = Scene::of_image("content");
    scene.publish().arg("example.com/app=layout").succeeds();
    let preview = Preview::start(&scene.site);
    let address = preview.address.to_string();
    for command in [&["resolve"][..], &["verify", "https://example.com"]] {
        let output = ocisite().args(command).args(["--connect-to", &address, "example.com/app"]).output().unwrap();
        let said = messages(&output);
        assert!(said.contains("the server does not speak TLS; to use plain HTTP, add --protocol http"), "{said}");
        assert!(!said.contains("certificate"), "{said}");
    }
}

#[test]
fn other_hosts_are_asked_as_the_documents_say() {
    // Given an index of another host, which the user did not name.
    let server = server_with_image("https://localhost:1/index/{+path}");
    let said =
        fails(ocisite_at(&server, "resolve").arg("example.com/app"), &["no answer from https://localhost:1/index/app"]);
    assert!(!said.contains("http://localhost"), "{said}");
    // Nor is a server with TLS asked without it, unless the user says so.
    let server = server_with_image("https://{host}/index/{+path}");
    let address = server.address.to_string();
    for protocols in [&["--protocol", "https"][..], &["--protocol", "http", "--protocol", "https"]] {
        let mut command = ocisite();
        command.args(["resolve", "--connect-to", &address, "example.com/app"]).args(protocols);
        fails(&mut command, &["no answer from https://example.com/"]);
    }
}

#[test]
fn an_answer_for_an_unknown_host_is_said_to_be_that() {
    let scene = Scene::of_image("content");
    scene.publish().arg("example.com/app=layout").succeeds();
    let preview = Preview::start(&scene.site);
    let address = preview.address.to_string();
    let at = ["--protocol", "http", "--connect-to", &address, "example.net/app"];
    fails(ocisite().arg("resolve").args(at), &["status 421: the server does not answer for this host"]);
    let output = ocisite().args(["verify", "http://example.net"]).args(at).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("found status 421: the server does not answer for this host"), "{said}");
}

#[test]
fn a_name_may_have_an_ipv4_address() {
    let scene = Scene::of_image("content");
    scene.publish().arg("192.0.2.1/app=layout").succeeds();
    scene.ocisite().args(["verify", "site", "--strict"]).succeeds();
    let preview = Preview::start(&scene.site);
    let address = preview.address.to_string();
    let name = "192.0.2.1/app#1.0";
    let resolved = json_of(ocisite().args(["resolve", "--protocol", "http", "--connect-to", &address, name]));
    assert_eq!(resolved[name][0]["uri"], "http://192.0.2.1/oci-index/app");
}

#[test]
fn a_name_may_have_an_ipv6_address_where_the_template_allows_its_brackets() {
    // `{host}` encodes brackets (RFC 6570, 3.2.2), and no URI has an encoded one in its host. All consumers fail there alike.
    let scene = Scene::of_image("content");
    let name = "[2001:db8::1]/app#1.0";
    let words = ["for [2001:db8::1]/app", "consumers encode the brackets of an address", "use {+host}"];
    scene.refused(&["[2001:db8::1]/app=layout"], &words);
    let server = server_with_image("https://{host}/index/{+path}");
    fails(ocisite_at(&server, "resolve").arg(name), &[name, "%5B2001%3Adb8%3A%3A1%5D", "the site needs {+host}"]);

    // `{+host}` keeps them, however the address is written.
    let template = ["--index-template", "https://{+host}/oci-index/{+path}"];
    scene.publish().args(template).arg("[2001:db8:0::1]/app=layout").succeeds();
    scene.ocisite().args(["verify", "site", "--strict"]).succeeds();
    let preview = Preview::start(&scene.site);
    let address = preview.address.to_string();
    let at = ["--protocol", "http", "--connect-to", &address];
    let resolved = json_of(ocisite().arg("resolve").args(at).arg(name));
    assert_eq!(resolved[name].as_array().map(Vec::len), Some(1), "{resolved:#}");
    let pulled = scene.path("pulled");
    json_of(ocisite().arg("pull").args(at).args(["--json", name, "--to", text(&pulled)]));
}
