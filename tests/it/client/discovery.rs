//! How a name is resolved: which documents are asked for, in which order, and what is made of them.

use serde_json::{Value, json};

use super::images::{CAS, cas_engine, descriptor, ref_engine, tagged};
use super::program::{digests, fails, json_of, messages, ocisite, ocisite_at};
use super::server::{Answer, Server, WELL_KNOWN};

#[test]
fn the_output_has_the_shape_of_the_python_resolver() {
    let server = Server::start();
    let image = tagged(&descriptor("a/b", b"image"), "1.0");
    server.with_engines().with_index("app", std::slice::from_ref(&image));
    let output = ocisite_at(&server, "resolve").arg("example.com/app#1.0").output().unwrap();
    let expected = json!({
        "example.com/app#1.0": [{
            "casEngines": [{"config": cas_engine(CAS), "uri": format!("http://example.com{WELL_KNOWN}")}],
            "mediaType": "application/vnd.oci.descriptor.v1+json",
            "root": image,
            "uri": "http://example.com/index/app",
        }]
    });
    // Indented by two, with sorted keys.
    assert_eq!(
        String::from_utf8(output.stdout.clone()).unwrap(),
        serde_json::to_string_pretty(&expected).unwrap() + "\n"
    );
    assert_eq!(messages(&output), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn engines_beside_the_root_are_absent_when_the_ref_engines_object_has_none() {
    let server = Server::start();
    server.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": [ref_engine("/index/app")]})));
    server.with_index("app", &[descriptor("a/b", b"image")]);
    let resolved = json_of(ocisite_at(&server, "resolve").arg("example.com/app"));
    assert_eq!(resolved["example.com/app"][0].get("casEngines"), None);
}

#[test]
fn clients_ask_for_the_exact_media_types() {
    let server = Server::start();
    server.with_engines().with_index("app", &[descriptor("a/b", b"image")]);
    json_of(ocisite_at(&server, "resolve").arg("example.com/app"));
    let accepted: Vec<String> = server.requests().into_iter().map(|request| request.accept).collect();
    assert_eq!(accepted, ["application/vnd.oci.ref-engines.v1+json", "application/vnd.oci.image.index.v1+json"]);
}

#[test]
fn ancestors_are_asked_after_the_host_down_to_two_labels() {
    let server = Server::start();
    server.answer(
        &format!("example.com{WELL_KNOWN}"),
        Answer::ref_engines(json!({"refEngines": [ref_engine("/index/{+path}")]})),
    );
    server.with_index("team/app", &[descriptor("a/b", b"image")]);
    let resolved = json_of(ocisite_at(&server, "resolve").arg("a.b.example.com/team/app"));
    assert_eq!(digests(&resolved, "a.b.example.com/team/app").len(), 1);
    let well_known = |host| format!("{host}{WELL_KNOWN}");
    let expected = ["a.b.example.com", "b.example.com", "example.com"].map(well_known);
    assert_eq!(server.asked()[..3], expected);
    assert_eq!(server.asked()[3], "example.com/index/team/app");
}

#[test]
fn an_object_that_leads_nowhere_is_passed_over_and_its_host_not_asked_again() {
    let server = Server::start();
    server.answer(&format!("b.example.com{WELL_KNOWN}"), Answer::ref_engines(json!({})));
    server.answer(
        &format!("example.com{WELL_KNOWN}"),
        Answer::ref_engines(json!({"refEngines": [ref_engine("/index/app")]})),
    );
    let mut command = ocisite_at(&server, "resolve");
    let printed = fails(command.args(["--protocol", "http", "b.example.com/app"]), &["resolves to nothing"]);
    let asked = server.asked();
    assert_eq!(
        asked,
        [format!("b.example.com{WELL_KNOWN}"), format!("example.com{WELL_KNOWN}"), "example.com/index/app".into()]
    );
    assert!(printed.contains("leads to no image with the name b.example.com/app"), "{printed}");
}

#[test]
fn the_port_is_for_discovery() {
    let server = Server::start();
    server.with_engines().with_index("app", &[descriptor("a/b", b"image")]);
    let port = server.address.port().to_string();
    let resolved = json_of(ocisite().args(["resolve", "--protocol", "http", "--port", &port, "127.0.0.1/app"]));
    assert_eq!(resolved["127.0.0.1/app"][0]["uri"], server.url("/index/app"));
}

#[test]
fn every_supported_ref_engine_is_asked_and_others_are_noted() {
    let server = Server::start();
    let engines = json!([{"protocol": "docker", "uri": "x"}, ref_engine("/index/one"), ref_engine("/index/gone"), ref_engine("/index/two")]);
    server.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": engines})));
    let (one, two) = (descriptor("a/b", b"one"), descriptor("a/b", b"two"));
    server.with_index("one", std::slice::from_ref(&one)).with_index("two", std::slice::from_ref(&two));
    let mut command = ocisite_at(&server, "resolve");
    let output = command.arg("example.com/app").output().unwrap();
    let resolved: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        digests(&resolved, "example.com/app"),
        [one["digest"].as_str().unwrap(), two["digest"].as_str().unwrap()]
    );
    let printed = messages(&output);
    assert!(printed.contains("note") && printed.contains("\"docker\" is not supported"), "{printed}");
    assert!(printed.contains("/index/gone answered with status 404"), "{printed}");
}

#[test]
fn relative_templates_are_resolved_against_the_final_url() {
    let server = Server::start();
    let moved = format!("{}/moved/here/engines.json", server.url(""));
    server.answer(WELL_KNOWN, Answer::Redirect("/moved/first".into()));
    server.answer("/moved/first", Answer::Redirect(moved));
    server.answer("/moved/here/engines.json", Answer::ref_engines(json!({"refEngines": [ref_engine("../{path}")]})));
    server.answer("/moved/team%2Fapp", Answer::Redirect("/final/index".into()));
    server.answer("/final/index", Answer::index(json!({"manifests": [descriptor("a/b", b"image")]})));
    let resolved = json_of(ocisite_at(&server, "resolve").arg("example.com/team/app"));
    assert_eq!(resolved["example.com/team/app"][0]["uri"], server.url("/final/index"));
}

#[test]
fn a_fragment_chooses_entries_and_without_one_all_count_each_once() {
    let server = Server::start();
    let (one, two) = (tagged(&descriptor("a/b", b"one"), "1.0"), tagged(&descriptor("a/b", b"two"), "2.0"));
    let full_name = tagged(&descriptor("a/b", b"three"), "example.com/app#1.0");
    server.with_engines().with_index("app", &[one.clone(), two, one.clone(), full_name]);
    let names = ["example.com/app#1.0", "example.com/app", "example.com/app#"];
    let resolved = json_of(ocisite_at(&server, "resolve").args(names));
    assert_eq!(digests(&resolved, names[0]), [one["digest"].as_str().unwrap()]);
    assert_eq!(digests(&resolved, names[1]).len(), 3);
    assert_eq!(digests(&resolved, names[2]).len(), 3);
}

#[test]
fn a_name_without_a_root_is_exit_code_1_and_the_others_are_still_printed() {
    let server = Server::start();
    server.with_engines().with_index("app", &[tagged(&descriptor("a/b", b"one"), "1.0")]);
    let mut command = ocisite_at(&server, "resolve");
    let output = command.args(["example.com/app#2.0", "example.com/app#1.0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let resolved: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(resolved["example.com/app#2.0"], json!([]));
    assert_eq!(digests(&resolved, "example.com/app#1.0").len(), 1);
    let printed = messages(&output);
    assert!(printed.contains("has no entry for \"2.0\"; it has \"1.0\""), "{printed}");
}

#[test]
fn what_is_no_name_is_exit_code_2() {
    ocisite().args(["resolve", "https://example.com/app"]).assert().code(2).stdout("");
}

#[test]
fn only_the_name_s_host_and_its_ancestors_go_to_the_given_address() {
    let (server, elsewhere) = (Server::start(), Server::start());
    let templates = [ref_engine("http://example.com:81/index/app"), ref_engine(&elsewhere.url("/index/app"))];
    server.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": templates})));
    server.with_index("app", &[descriptor("a/b", b"one")]);
    elsewhere.with_index("app", &[descriptor("a/b", b"two")]);
    let resolved = json_of(ocisite_at(&server, "resolve").arg("a.example.com/app"));
    assert_eq!(digests(&resolved, "a.example.com/app").len(), 2);
    assert_eq!(server.asked()[1], "example.com/index/app");
    assert_eq!(elsewhere.asked(), ["127.0.0.1/index/app"]);
}

#[test]
fn faults_that_do_no_harm_are_tolerated_and_reported() {
    for (content_type, says) in [
        ("application/vnd.oci.image.index.v1+json", "without a charset"),
        ("application/vnd.oci.image.index.v1+json; charset=iso-8859-1", "with the charset \"iso-8859-1\""),
        ("application/json", "served as \"application/json\""),
        ("text/plain; charset=utf-8", "served as \"text/plain\""),
        ("application/octet-stream", "served as \"application/octet-stream\""),
    ] {
        let server = Server::start();
        let index = json!({"manifests": [descriptor("a/b", b"image")]});
        server.with_engines().answer("/index/app", Answer::Content(200, content_type, index.to_string().into_bytes()));
        let output = ocisite_at(&server, "resolve").arg("example.com/app").output().unwrap();
        let printed = messages(&output);
        assert_eq!(output.status.code(), Some(0), "{printed}");
        assert!(printed.contains("warning") && printed.contains(says), "{content_type}: {printed}");
    }
}

#[test]
fn a_document_that_says_it_is_something_else_is_refused() {
    for content_type in ["text/html", "application/vnd.oci.image.manifest.v1+json"] {
        let server = Server::start();
        let index = json!({"manifests": [descriptor("a/b", b"image")]});
        server.with_engines().answer("/index/app", Answer::Content(200, content_type, index.to_string().into_bytes()));
        fails(ocisite_at(&server, "resolve").arg("example.com/app"), &["is served as", content_type]);
    }
}

#[test]
fn entries_that_are_no_descriptors_are_skipped() {
    let server = Server::start();
    let future = json!({"mediaType": "a/b", "digest": "sha3-256:ab", "size": 1});
    let good = descriptor("a/b", b"image");
    server.with_engines().with_index("app", &[json!(7), json!({"size": 1}), future, good.clone()]);
    let output = ocisite_at(&server, "resolve").arg("example.com/app").output().unwrap();
    let resolved: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(digests(&resolved, "example.com/app"), [good["digest"].as_str().unwrap()]);
    let printed = messages(&output);
    for text in ["entry 0", "entry 1", "no \"digest\"", "entry 2", "sha3-256"] {
        assert!(printed.contains(text), "expected {text:?} in: {printed}");
    }
}

#[test]
fn certificates_that_are_asked_for_and_cannot_be_read_are_exit_code_2() {
    let output =
        ocisite().env("SSL_CERT_FILE", "/nonexistent.pem").args(["resolve", "example.com/app"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(messages(&output).contains("cannot read certificates from SSL_CERT_FILE"), "{}", messages(&output));
}
