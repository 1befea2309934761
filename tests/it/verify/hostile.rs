//! Servers that do what no server should: a verification ends, and says why.
//!
//! That it ends in bounded time is checked by the bound on the program in `support::program`: one that hung would be killed.

use serde_json::{Value, json};

use super::program::{Verified, ocisite};
use crate::client::images::{self, cas_engine, descriptor, encoded, entry, ref_engine, tagged};
use crate::client::server::{Answer, INDEX, REF_ENGINES, Server, WELL_KNOWN};
use crate::support::memory::{MIB, ocisite_within};
use crate::support::program::fails;

/// A site with `example.com/app#1.0` at a server, and the manifest's place there.
fn site() -> (Server, String) {
    let server = Server::start();
    let image = server.image("linux/amd64", b"layer");
    server.with_engines().with_index("app", &[tagged(&image, "1.0")]);
    server.answer("/loop", Answer::Redirect("/loop".into()));
    let digest = image["digest"].as_str().unwrap().replace("sha256:", "");
    (server, format!("/cas/{digest}"))
}

fn args(server: &Server, timeout: &str) -> Vec<String> {
    let address = server.address.to_string();
    let args = ["verify", "http://example.com", "example.com/app", "--connect-to", &address, "--timeout", timeout];
    args.map(String::from).into()
}

/// The error that a verification comes to, as `RULE: found WHAT`.
fn error(server: &Server, timeout: &str, more: &[&str]) -> String {
    let verified = Verified::of(ocisite().args(args(server, timeout)).args(more).arg("--json"));
    let findings = verified.report["findings"].as_array().unwrap();
    let error = findings.iter().find(|finding| finding["severity"] == "error");
    let error = error.unwrap_or_else(|| panic!("no error in {:#}", verified.report));
    assert_eq!(verified.code, 1);
    format!("{}: found {}", error["rule"].as_str().unwrap(), error["found"].as_str().unwrap())
}

#[test]
fn documents_that_cannot_be_used_are_errors() {
    let head = |kind| Answer::head_of_endless(kind);
    for (place, kind) in [(WELL_KNOWN, REF_ENGINES), ("/index/app", INDEX)] {
        let content = |body: String| Answer::Content(200, kind, body.into_bytes());
        for (answer, timeout, expected) in [
            (Answer::Endless(head(kind), vec![b' '; 1 << 20]), "30", "too-large: found more than"),
            (Answer::Drip(head(kind), b' '), "1", "unreadable: found"),
            (Answer::with_length(kind, 1 << 40, b"{}"), "30", "too-large: found more than"),
            (Answer::with_length(kind, 100, b"{}"), "30", "unreadable: found reading"),
            (Answer::Redirect("file:///etc/passwd".into()), "30", "redirect-refused: found a redirect to \"file:"),
            (Answer::Redirect("/loop".into()), "30", "redirect-refused: found redirects without end"),
            (Answer::Content(500, kind, vec![]), "30", "unreadable: found status 500"),
            (content("[".repeat(60_000)), "30", "-form: found invalid JSON"),
            (content("[]".into()), "30", "-form: found an array"),
        ] {
            let (server, _) = site();
            server.answer(place, answer);
            let error = error(&server, timeout, &[]);
            assert!(error.contains(expected), "{place}: {error} is not {expected}");
        }
    }
}

#[test]
fn a_server_that_never_answers_is_no_site_at_all() {
    for answer in [Answer::Silence, Answer::Drip(b"HTTP/1.1 200 OK\r\n".to_vec(), b'x')] {
        let (server, _) = site();
        server.answer(WELL_KNOWN, answer);
        fails(ocisite().args(args(&server, "1")), &["http://example.com/.well-known/", "took too long"]);
    }
}

#[test]
fn blobs_that_are_not_what_they_should_be_are_errors() {
    let octets = "application/octet-stream";
    for (answer, timeout, expected) in [
        (Answer::Endless(Answer::head_of_endless(octets), vec![b' '; 1 << 20]), "30", "blob-size: found more"),
        (Answer::Silence, "1", "unreadable: found"),
        (Answer::blob(b"something else"), "30", "blob-size: found 14 bytes"),
        (Answer::Redirect("ftp://example.com/".into()), "30", "redirect-refused: found"),
        (Answer::with_length(octets, 1 << 40, b"{}"), "30", "blob-size: found 1099511627776 bytes"),
    ] {
        let (server, manifest) = site();
        server.answer(&manifest, answer);
        let error = error(&server, timeout, &["--deep"]);
        assert!(error.starts_with(expected), "{error} is not {expected}");
    }
}

#[test]
fn malformed_templates_are_errors() {
    for (template, expected) in [
        ("/{path", "template-syntax: found template \"/{path\", column 2"),
        ("file:///{+path}", "template-url: found file:///app"),
        ("http://[/{+path}", "template-url: found \"http://[/app\""),
        ("/{path:0}", "template-syntax: found"),
        ("http://exa mple.com/{+path}", "template-syntax: found"),
    ] {
        let (server, _) = site();
        server.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": [ref_engine(template)]})));
        let error = error(&server, "30", &[]);
        assert!(error.starts_with(expected), "{template}: {error} is not {expected}");
    }
}

#[test]
fn a_server_that_stops_answering_is_given_up() {
    // Given an index of many blobs, none of which the server ever answers for.
    let (server, _) = site();
    let entries: Vec<_> = (0..200).map(|number| descriptor("a/b", format!("{number}").as_bytes())).collect();
    server.with_index("app", &entries);
    for number in 0..200 {
        server.answer(&format!("/cas/{}", encoded(format!("{number}").as_bytes())), Answer::Silence);
    }
    let verified = Verified::of(ocisite().args(args(&server, "1")).args(["--jobs", "2", "--json"]));
    assert_eq!((verified.code, &verified.report["errors"]), (1, &json!(200)));
    let asked = server.requests().iter().filter(|request| request.path.starts_with("/cas/")).count();
    assert!(asked <= 12, "{asked} were asked for");
}

#[test]
fn hosts_without_end_that_never_answer_are_given_up() {
    // Given an index of many blobs, each of them at a host of its own, where nothing listens.
    let server = Server::start();
    let entries: Vec<_> = (0..200).map(|number| descriptor("a/b", format!("{number}").as_bytes())).collect();
    server.with_index("app", &entries);
    let engines = json!({
        "refEngines": [ref_engine("/index/app")], "casEngines": [cas_engine("http://127.0x{encoded:6}:1/{encoded}")],
    });
    server.answer(WELL_KNOWN, Answer::ref_engines(engines));
    let url = format!("http://127.0.0.1:{}", server.address.port());
    // When it is verified.
    let verified = Verified::of(ocisite().args(["verify", &url, "127.0.0.1/app", "--jobs", "2", "--json"]));
    // Then each is an error, and all but the first are not asked.
    assert_eq!(verified.code, 1, "{:#}", verified.report);
    let findings = verified.report["findings"].as_array().unwrap();
    let is_unasked = |finding: &&Value| {
        finding["found"]
            .as_str()
            .unwrap()
            .contains("requests to this site and the hosts that it names, so no more were sent")
    };
    let unasked = findings.iter().filter(is_unasked).count();
    assert!((98..=100).contains(&unasked), "{unasked} were not asked: {:#}", verified.report);
}

#[test]
fn wrong_entries_without_end_are_counted_and_not_listed() {
    let (server, _) = site();
    let many = format!("{{\"schemaVersion\":2,\"manifests\":[{}1]}}", "1,".repeat(100_000));
    server.answer("/index/app", Answer::Content(200, INDEX, many.into_bytes()));
    let verified = Verified::of(ocisite().args(args(&server, "30")).arg("--json"));
    assert_eq!(verified.report["errors"], 100_001);
    assert_eq!(verified.report["leftOut"], 99_001);
}

/// A site whose blobs have URLs of so many characters, with an index of ten thousand children, each with these `casEngines`.
fn with_engines_of_children(url: usize, engines: &Value) -> Server {
    let server = Server::start();
    let path = format!("/cas/{{encoded}}/{}", "x".repeat(url));
    let object = json!({"refEngines": [ref_engine("/index/{+path}")], "casEngines": [cas_engine(&path)]});
    server.answer(WELL_KNOWN, Answer::ref_engines(object));
    let blob = |media_type, bytes: &[u8]| {
        server.answer(&path.replace("{encoded}", &encoded(bytes)), Answer::blob(bytes));
        descriptor(media_type, bytes)
    };
    let child = entry(&blob("a/b", b"child"), json!({"casEngines": engines}));
    let index = json!({"schemaVersion": 2, "manifests": vec![child; 10_000]});
    let index = blob(images::INDEX, index.to_string().as_bytes());
    server.with_index("app", &[tagged(&index, "1.0")]);
    server
}

#[test]
fn malformed_engines_without_end_are_counted_and_not_kept() {
    // Given an index of many children, and nothing but malformed engines for each.
    let server = with_engines_of_children(900, &vec![0; 16].into());
    // When it is verified with memory for the program and a thousand findings.
    let mut verify = ocisite_within(64 * MIB);
    verify.args(args(&server, "30")).args(["--jobs", "1", "--json"]);
    let verified = Verified::of(&mut verify);
    // Then all are counted, and a thousand are kept.
    assert_eq!(verified.report["leftOut"], 159_000);
}

#[test]
fn the_url_of_a_document_takes_its_memory_once() {
    // Given an index with a long URL, whose many children have engines that are relative to it.
    let server = with_engines_of_children(7_000, &json!([cas_engine("/cas/{encoded}")]));
    // When it is verified with less memory than the URL takes for each child.
    let mut verify = ocisite_within(64 * MIB);
    verify.args(args(&server, "30")).args(["--jobs", "1", "--json"]);
    // Then the child is reached once, at the URL that the outer engine gives.
    let verified = Verified::of(&mut verify);
    assert_eq!((&verified.report["errors"], &verified.report["blobs"]), (&json!(0), &json!(2)));
}
