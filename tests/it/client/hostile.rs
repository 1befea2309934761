//! Servers that do what no server should: every command ends, says why, and leaves no part of a file.
//!
//! That each ends in bounded time is checked by the bound on the program in `program.rs`: one that hung would be killed.

use std::path::Path;

use serde_json::json;

use super::images::*;
use super::program::{fails, json_of, ocisite_at};
use super::server::{Answer, INDEX as INDEX_TYPE, REF_ENGINES, Server, WELL_KNOWN};

/// One way to misbehave, and what has to be said of it.
struct Case {
    what: &'static str,
    answer: Answer,
    says: &'static str,
}

impl Case {
    /// Seconds: few where waiting is the point, and otherwise more than the slowest machine needs.
    fn timeout(&self) -> &'static str {
        match self.says {
            "took too long" => "1",
            _ => "30",
        }
    }
}

fn case(what: &'static str, answer: Answer, says: &'static str) -> Case {
    Case { what, answer, says }
}

/// Everything that can go wrong before the content of a document matters.
fn transport_cases(server: &Server, content_type: &'static str) -> Vec<Case> {
    let head = Answer::head_of_endless(content_type);
    let header = b"HTTP/1.1 200 OK\r\n".to_vec();
    vec![
        case("an endless body", Answer::Endless(head.clone(), vec![b' '; 1 << 20]), "more than"),
        case("a body that drips", Answer::Drip(head.clone(), b' '), "took too long"),
        case("headers that drip", Answer::Drip(header.clone(), b'x'), "took too long"),
        case("no answer", Answer::Silence, "took too long"),
        case("a huge length", Answer::with_length(content_type, 1 << 40, b"{}"), "more than"),
        case("a length that is too long", Answer::with_length(content_type, 100, b"{}"), "failed"),
        case(
            "endless headers",
            Answer::Endless(header, b"X-Header: xxxxxxxxxxxxxxxxxxxxxxxxx\r\n".to_vec()),
            "no answer from",
        ),
        case("no HTTP", Answer::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), "no answer from"),
        case("nothing", Answer::Raw(vec![]), "no answer from"),
        case("a chunk of a strange size", chunked(content_type, "zz\r\n{}\r\n0\r\n\r\n"), "failed"),
        case("chunks without an end", chunked(content_type, "2\r\n{}\r\n"), "failed"),
        case("an error", Answer::Content(500, content_type, b"{}".to_vec()), "status 500"),
        case("a part that was not asked for", Answer::Raw(part(content_type)), "status 206"),
        case("a redirect to a file", Answer::Redirect("file:///etc/passwd".into()), "only http and https"),
        case("a redirect to another scheme", Answer::Redirect("gopher://example.com/".into()), "only http and https"),
        case("a redirect to no URL", Answer::Redirect("http://[::1".into()), "is not a URL"),
        case("a redirect to nowhere", Answer::Redirect(String::new()), "no Location"),
        case("a redirect with a password", Answer::Redirect("http://a:b@example.com/".into()), "user information"),
        case("a redirect loop", Answer::Redirect(server.url("/loop")), "more than 10 times"),
    ]
}

fn chunked(content_type: &str, body: &str) -> Answer {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n");
    Answer::Raw((head + body).into_bytes())
}

fn part(content_type: &str) -> Vec<u8> {
    let head = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-6/7\r\nContent-Length: 2\r\n";
    format!("{head}Content-Type: {content_type}\r\n\r\n{{}}").into_bytes()
}

/// Contents of a document that are no use.
fn content_cases(content_type: &'static str) -> Vec<Case> {
    let content = |body: String| Answer::Content(200, content_type, body.into_bytes());
    vec![
        case("deep JSON", content("[".repeat(60_000)), "invalid JSON"),
        case("deep JSON in a property", content(format!("{{\"x\":{}1", "{\"x\":".repeat(10_000))), "invalid JSON"),
        case("no JSON", content("<html>".into()), "invalid JSON"),
        case("nothing", content(String::new()), "invalid JSON"),
        case("not UTF-8", Answer::Content(200, content_type, b"{\"\xff\": 1}".to_vec()), "invalid JSON"),
        case("an array", content("[]".into()), "found an array"),
        case("compressed", Answer::Raw(compressed(content_type)), "encoding \"gzip\""),
    ]
}

fn compressed(content_type: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{{}}"
    )
    .into_bytes()
}

fn assert_empty(directory: &Path, what: &str) {
    let left: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{what}: {left:?}");
}

/// Both commands with every case at one place of a site that is right otherwise. Nothing is written.
fn both_commands_fail(place: &str, cases: impl Fn(&Server) -> Vec<Case>) {
    let server = Server::start();
    server.with_engines().with_index("app", &[tagged(&server.image("linux/amd64", b"layer"), "1.0")]);
    server.answer("/loop", Answer::Redirect("/loop".into()));
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("layout");
    for case in cases(&server) {
        let timeout = case.timeout();
        let Case { what, answer, says } = case;
        eprintln!("{place}: {what}");
        server.answer(place, answer);
        let resolve = ["--timeout", timeout, "example.com/app#1.0"];
        fails(ocisite_at(&server, "resolve").args(resolve), &[says, "resolves to nothing"]);
        let pull = ["--timeout", timeout, "example.com/app#1.0", "--to", target.to_str().unwrap()];
        fails(ocisite_at(&server, "pull").args(pull), &[says, "resolves to nothing"]);
        assert_empty(directory.path(), what);
    }
}

#[test]
fn a_hostile_ref_engines_object_cannot_hurt() {
    both_commands_fail(WELL_KNOWN, |server| {
        let mut cases = transport_cases(server, REF_ENGINES);
        cases.extend(content_cases(REF_ENGINES));
        cases
    });
}

#[test]
fn a_hostile_index_cannot_hurt() {
    both_commands_fail("/index/app", |server| {
        let mut cases = transport_cases(server, INDEX_TYPE);
        cases.extend(content_cases(INDEX_TYPE));
        let deep_entry = format!("{{\"manifests\":[{}{}]}}", "[".repeat(100_000), "]".repeat(100_000));
        cases.push(case("a deep entry", Answer::Content(200, INDEX_TYPE, deep_entry.into_bytes()), "entry 0"));
        let many = format!("{{\"manifests\":[{}1]}}", "1,".repeat(300_000));
        cases.push(case(
            "wrong entries without end",
            Answer::Content(200, INDEX_TYPE, many.into_bytes()),
            "299991 more entries",
        ));
        cases
    });
}

#[test]
fn templates_that_are_malformed_cannot_hurt() {
    both_commands_fail(WELL_KNOWN, |_| {
        let of = |template: serde_json::Value| {
            let engine = json!({"protocol": "oci-index-template-v1", "uri": template});
            Answer::ref_engines(json!({"refEngines": [engine]}))
        };
        let mut cases = Vec::new();
        for template in [
            "{",
            "}",
            "{}",
            "{host",
            "{/id*",
            "{host:0}",
            "{host:99999}",
            "{hello:2*}",
            "{with space}",
            "{!x}",
            "%zz",
            "{host}\\x",
            "\u{0}",
        ] {
            cases.push(case("a malformed template", of(template.into()), "cannot be used"));
        }
        cases.push(case("a template without a host", of("https://{nothing}/".into()), "not a URL"));
        cases.push(case("a template of a file", of("file:///{+path}".into()), "only http and https"));
        cases.push(case("a template with a password", of("http://a:b@{host}/".into()), "user information"));
        cases.push(case("a template that is none", of(json!({"a": 1})), "found an object"));
        cases.push(case("a template beside ASCII", of("/αβ{path:2}γ".into()), "status 404"));
        cases.push(case("a template that is long", of(("{path}".repeat(10_000)).into()), "longer than 8000 bytes"));
        let engines: Vec<_> = (0..1000).map(|number| ref_engine(&format!("/{number}"))).collect();
        cases.push(case(
            "engines without end",
            Answer::ref_engines(json!({"refEngines": engines})),
            "the first 16 are used",
        ));
        cases
    });
}

#[test]
fn cas_templates_that_are_malformed_cannot_hurt() {
    let server = Server::start();
    let image = server.image("linux/amd64", b"layer");
    server.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": [ref_engine("/index/app")]})));
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("layout");
    for (template, says) in [
        ("{", "not closed"),
        ("/α{encoded:2}{digest:100}", "status 404"),
        ("file:///x", "only http and https"),
        ("{digest:0}", "template"),
    ] {
        let engines = json!({"casEngines": [cas_engine(template)]});
        server.with_index("app", &[entry(&tagged(&image, "1.0"), engines)]);
        fails(
            ocisite_at(&server, "pull").args(["example.com/app", "--to", target.to_str().unwrap()]),
            &["cannot fetch sha256:", says],
        );
        assert_empty(directory.path(), template);
    }
    server.with_index("app", &[tagged(&image, "1.0")]);
    fails(ocisite_at(&server, "pull").args(["example.com/app", "--to", target.to_str().unwrap()]), &["no CAS engine"]);
}

/// Every case at the place of a blob. The layout may be there, and what is in it is whole.
fn a_hostile_blob_cannot_hurt(bytes: &'static [u8], cases: impl Fn(&Server) -> Vec<Case>) {
    let server = Server::start();
    server.answer("/loop", Answer::Redirect("/loop".into()));
    let image = server.image("linux/amd64", b"layer");
    let manifest =
        json!({"schemaVersion": 2, "config": server.blob("a/b", b"{}"), "layers": [descriptor("a/b", bytes)]});
    let manifest = server.blob(MANIFEST, manifest.to_string().as_bytes());
    server.with_engines().with_index("app", &[tagged(&image, "other"), tagged(&manifest, "1.0")]);
    let directory = tempfile::tempdir().unwrap();
    for (number, case) in cases(&server).into_iter().enumerate() {
        let timeout = case.timeout();
        let Case { what, answer, says } = case;
        eprintln!("{what}");
        server.answer(&format!("/cas/{}", encoded(bytes)), answer);
        for extension in ["", ".tar"] {
            let target = directory.path().join(format!("{number}{extension}"));
            let pull = ["--timeout", timeout, "example.com/app#1.0", "--to", target.to_str().unwrap()];
            fails(ocisite_at(&server, "pull").args(pull), &["cannot fetch sha256:", says]);
            assert_whole(directory.path(), &target, what);
        }
    }
}

/// A layout without an entry, in which each blob has the digest of its name; of an archive, nothing.
fn assert_whole(directory: &Path, target: &Path, what: &str) {
    if target.extension().is_some() {
        let hidden = |name: &str| name.ends_with(".tar") || name.starts_with('.');
        let names =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.filter(|name| hidden(name)).collect::<Vec<_>>(), [""; 0], "{what}");
        return;
    }
    for entry in
        walkdir::WalkDir::new(target).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file())
    {
        let name = entry.file_name().to_str().unwrap();
        let is_document = ["oci-layout", "index.json"].contains(&name) && entry.depth() == 1;
        let is_whole = || encoded(&std::fs::read(entry.path()).unwrap()) == name;
        assert!(is_document || is_whole(), "{what}: {} was left", entry.path().display());
    }
}

#[test]
fn a_hostile_layer_cannot_hurt() {
    const LAYER: &[u8] = b"the bytes of a layer";
    a_hostile_blob_cannot_hurt(LAYER, |server| {
        let wrong = [b'x'; LAYER.len()];
        let endless = Answer::Endless(Answer::head_of_endless("a/b"), LAYER.to_vec());
        let mut cases = transport_cases(server, "a/b");
        // A blob's size is known, so that what concerns sizes is told more exactly.
        cases.retain(|case| {
            ![
                "an endless body",
                "a body that drips",
                "a huge length",
                "a length that is too long",
                "chunks without an end",
                "a chunk of a strange size",
            ]
            .contains(&case.what)
        });
        cases.extend([
            case("an endless body", endless, "expected 20 bytes, found more"),
            case("a body that drips", Answer::Drip(Answer::head_of_endless("a/b"), b' '), "took too long"),
            case("the wrong bytes", Answer::blob(&wrong), "does not match its digest"),
            case("too few bytes", Answer::blob(&LAYER[1..]), "has 19 bytes, expected 20"),
            case("too many bytes", Answer::blob(b"the bytes of a layer."), "has 21 bytes, expected 20"),
            case("no bytes", Answer::blob(b""), "has 0 bytes, expected 20"),
            case("a huge length", Answer::with_length("a/b", 1 << 40, LAYER), "has 1099511627776 bytes, expected 20"),
            case("a length that is not kept", Answer::with_length("a/b", 20, &LAYER[..7]), "failed"),
            case(
                "an early end",
                Answer::Raw([&Answer::head_of_endless("a/b")[..], &LAYER[..7]].concat()),
                "ended after 7 bytes",
            ),
            case("a chunk of a strange size", chunked("a/b", "zz\r\n{}\r\n0\r\n\r\n"), "failed"),
            case("compressed", Answer::Raw(compressed("a/b")), "encoding \"gzip\""),
        ]);
        cases
    });
}

#[test]
fn a_hostile_manifest_cannot_hurt() {
    let server = Server::start();
    server.with_engines();
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("layout");
    let deep = "[".repeat(1_000_000);
    let nested = format!("{{\"layers\":{}", "[".repeat(1_000_000));
    for (document, says) in [
        (deep.as_str(), "invalid JSON"),
        (&nested, "invalid JSON"),
        ("[]", "found an array"),
        (r#"{"layers": [{"digest": "sha256:../../../etc", "size": 1}]}"#, "layers[0]"),
        (r#"{"layers": [{"size": 1}]}"#, "layers[0]"),
        (r#"{"layers": {}}"#, "\"layers\" to be an array"),
    ] {
        let manifest = server.blob(MANIFEST, document.as_bytes());
        server.with_index("app", &[tagged(&manifest, "1.0")]);
        let pull = ["example.com/app", "--to", target.to_str().unwrap()];
        fails(ocisite_at(&server, "pull").args(pull), &["the manifest sha256:", "is malformed", says]);
        assert_empty(directory.path(), document);
    }
}

#[test]
fn sizes_beyond_reason_are_refused_before_anything_is_read() {
    let server = Server::start();
    let huge = json!({"mediaType": MANIFEST, "digest": format!("sha256:{}", encoded(b"x")), "size": 1u64 << 40});
    server.with_engines().with_index("app", &[tagged(&huge, "1.0")]);
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("layout");
    fails(
        ocisite_at(&server, "pull").args(["example.com/app", "--to", target.to_str().unwrap()]),
        &["expected at most 4194304"],
    );
    assert_empty(directory.path(), "a huge manifest");
}

#[test]
fn indexes_nested_beyond_reason_are_refused() {
    let server = Server::start();
    let mut index = server.nested_index(&[("linux/amd64", server.image("linux/amd64", b"layer"))]);
    for _ in 0..40 {
        let document = json!({"schemaVersion": 2, "manifests": [index]}).to_string();
        index = server.blob(INDEX, document.as_bytes());
    }
    server.with_engines().with_index("app", &[tagged(&index, "1.0")]);
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("layout");
    fails(
        ocisite_at(&server, "pull").args(["example.com/app", "--to", target.to_str().unwrap()]),
        &["nested more than 32 levels deep"],
    );
    fails(
        ocisite_at(&server, "pull").args(["--all-platforms", "example.com/app", "--to", target.to_str().unwrap()]),
        &["nested more than 32 levels deep"],
    );
}

/// A site with an image that is the first of a chain of so many referrers.
fn with_chain(referrers: usize) -> Server {
    let server = Server::start();
    let mut chain = vec![tagged(&server.image("linux/amd64", b"layer"), "1.0")];
    for number in 0..referrers {
        let referrer = server.referrer(&chain[number], b"content");
        chain.push(referrer);
    }
    server.with_engines().with_index("app", &chain);
    server
}

#[test]
fn referrers_to_referrers_beyond_reason_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("layout");
    let args = ["--json", "--referrers", "example.com/app#1.0", "--to", target.to_str().unwrap()];
    fails(
        ocisite_at(&with_chain(34), "pull").args(args),
        &["nested more than 32 levels deep, the most that ocisite follows"],
    );
    assert_empty(directory.path(), "a long chain of referrers");
    let pulled = json_of(ocisite_at(&with_chain(33), "pull").args(args));
    assert_eq!(pulled["entries"].as_array().unwrap().len(), 34);
}
