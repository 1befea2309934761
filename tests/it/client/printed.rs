//! What a hostile site says is text on the terminal of its client, and nothing else.

use serde_json::{Value, json};

use super::images::*;
use super::program::{json_of, ocisite_at};
use super::server::{Answer, Server, WELL_KNOWN};
use crate::support::text::{HOSTILE, assert_text};

#[test]
fn what_a_site_says_is_printed_as_text() {
    // Given: a site whose index, remarks and platforms are hostile.
    let server = Server::start();
    let image = server.image("linux/amd64", b"layer");
    let more = json!({"annotations": {REF_NAME: HOSTILE}, "platform": {"os": HOSTILE, "architecture": "amd64"}});
    let engines = json!({
        "refEngines": [{"protocol": HOSTILE}, ref_engine("/index/{+path}")],
        "casEngines": [cas_engine(CAS)],
    });
    server.answer(WELL_KNOWN, Answer::ref_engines(engines));
    server.with_index("app", &[entry(&image, more.clone()), json!({"mediaType": HOSTILE}), json!(HOSTILE)]);
    server.with_index("two", &[entry(&image, more), tagged(&server.image("linux/arm64", b"other"), HOSTILE)]);
    // When: clients look at it.
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path().join("layout");
    for (command, name) in
        [("resolve", "app"), ("resolve", "app#nosuch"), ("pull", "app"), ("pull", "app#nosuch"), ("pull", "two")]
    {
        let name = format!("example.com/{name}");
        let to = ["--to", layout.to_str().unwrap()];
        let mut run = ocisite_at(&server, command);
        run.args(["-v", &name]).args(if command == "pull" { &to[..] } else { &[] });
        let output = run.output().unwrap();
        // Then: they print text, and say what they found.
        assert_text(&output.stdout);
        assert_text(&output.stderr);
        let printed = [output.stdout, output.stderr].concat();
        assert!(String::from_utf8(printed).unwrap().contains(r"\u{202e}"), "{command} {name}");
    }
}

#[test]
fn json_keeps_what_a_site_says() {
    let server = Server::start();
    let image = server.image("linux/amd64", b"layer");
    server.with_engines().with_index("app", &[tagged(&image, HOSTILE)]);
    let resolved = json_of(ocisite_at(&server, "resolve").arg("example.com/app"));
    let root: &Value = &resolved["example.com/app"][0]["root"];
    assert_eq!(root["annotations"][REF_NAME], HOSTILE, "{resolved}");
}
