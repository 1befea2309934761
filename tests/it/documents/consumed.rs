//! The documents that the examples show, as a server or a local configuration gives them to a consumer.

use serde_json::{Value, json};

use crate::client::images::{INDEX, MANIFEST};
use crate::client::program::{digests, json_of, messages, ocisite_at};
use crate::client::server::{self, Answer, Server, WELL_KNOWN};

/// index-template, "Example": the index at `https://a.b.example.com/ref/a.b.example.com/c/d`.
const INDEX_OF_DOCUMENT: &str = r#"{
  "schemaVersion": 2,
  "manifests": [
    {
      "mediaType": "application/vnd.oci.image.manifest.v1+json",
      "size": 799,
      "digest": "sha256:e9770a03fbdccdd4632895151a93f9af58bbe2c91fdfaaf73160648d250e6ec3",
      "platform": {
        "architecture": "ppc64le",
        "os": "linux"
      },
      "annotations": {
        "org.opencontainers.image.ref.name": "1.0"
      },
      "casEngines": [
        {
          "protocol": "oci-cas-template-v1",
          "uri": "https://a.example.com/cas/{algorithm}/{encoded:2}/{encoded}"
        }
      ]
    },
    {
      "mediaType": "application/xml",
      "size": 7143,
      "digest": "sha256:b3d63d132d21c3ff4c35a061adf23cf43da8ae054247e32faa95494d904a007e",
      "annotations": {
        "org.freedesktop.specifications.metainfo.version": "1.0",
        "org.freedesktop.specifications.metainfo.type": "AppStream"
      },
      "casEngines": [
        {
          "protocol": "oci-cas-template-v1",
          "uri": "https://b.example.com/cas/{algorithm}/{encoded}"
        }
      ]
    }
  ]
}"#;

/// well-known-uri-ref-engine-discovery, "Example 1". The comma behind `authService` is the document's.
const EXAMPLE_1: &str = r#"{
  "refEngines": [
    {
      "protocol": "oci-index-template-v1",
      "uri": "https://{host}/ref/{name}"
    },
    {
      "protocol": "docker",
      "uri": "https://index.docker.io/v2",
      "authUri": "https://auth.docker.io/token",
      "authService": "registry.docker.io",
    }
  ]
}"#;

/// well-known-uri-ref-engine-discovery, "Example 2".
const EXAMPLE_2: &str = r#"{
  "refEngines": [
    {
      "protocol": "oci-index-template-v1",
      "uri": "https://{host}/ref/{name}"
    }
  ],
  "casEngines": [
    {
      "protocol": "oci-cas-template-v1",
      "uri": "https://a.example.com/cas/{algorithm}/{encoded:2}/{encoded}"
    }
  ]
}"#;

/// xdg-ref-engine-discovery, "XDG representation", "Example". The backslashes are the document's.
const CONFIGURATION: &str = r#"{
  "^[^/]*example\.com/.*$": {
    "refEngines": [
      {
        "protocol": "oci-index-template-v1",
        "uri": "https://{host}/ref/{name}"
      }
    ]
  },
  "^a\.example\.com/app#.*$": {
    "refEngines": [
      {
        "protocol": "oci-index-template-v1",
        "uri": "https://{host}/oci-ref/{name}"
      }
    ],
    "casEngines": [
      {
        "protocol": "oci-cas-template-v1",
        "uri": "https://a.example.com/cas/{algorithm}/{encoded:2}/{encoded}"
      }
    ]
  }
}"#;

fn engines(text: &str) -> Answer {
    Answer::Content(200, server::REF_ENGINES, text.as_bytes().to_vec())
}

#[test]
fn index_template_example() {
    // The document writes the path as `c/d`; `{path}` expands to `c%2Fd` (RFC 6570, 3.2.2), which servers decode.
    let server = Server::start();
    let template = json!({"protocol": "oci-index-template-v1", "uri": "https://{host}/ref/{host}/{path}"});
    server.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": [template]})));
    let place = "a.b.example.com/ref/a.b.example.com/c%2Fd";
    server.answer(place, Answer::Content(200, server::INDEX, INDEX_OF_DOCUMENT.into()));
    let manifest = "sha256:e9770a03fbdccdd4632895151a93f9af58bbe2c91fdfaaf73160648d250e6ec3";
    let metainfo = "sha256:b3d63d132d21c3ff4c35a061adf23cf43da8ae054247e32faa95494d904a007e";

    let (tagged, whole) = ("a.b.example.com/c/d#1.0", "a.b.example.com/c/d");
    let resolved = json_of(ocisite_at(&server, "resolve").args([tagged, whole]));
    assert_eq!(digests(&resolved, tagged), [manifest]);
    assert_eq!(digests(&resolved, whole), [manifest, metainfo]);
    assert_eq!(resolved[tagged][0]["uri"], "https://a.b.example.com/ref/a.b.example.com/c%2Fd");
    let entry: Value = serde_json::from_str(INDEX_OF_DOCUMENT).unwrap();
    assert_eq!(resolved[tagged][0]["root"], entry["manifests"][0]);
}

#[test]
fn well_known_example_1() {
    // As it stands the document is not JSON.
    let server = Server::start();
    server.answer(WELL_KNOWN, engines(EXAMPLE_1));
    let output = ocisite_at(&server, "resolve").arg("a.b.example.com/c/d#1.0").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(messages(&output).contains("trailing comma at line 12"), "{}", messages(&output));

    // Without the comma the engine with the protocol `docker` is ignored, and the name has its fragment.
    server.answer(WELL_KNOWN, engines(&EXAMPLE_1.replace("docker.io\",\n    }", "docker.io\"\n    }")));
    server.answer(
        "a.b.example.com/ref/a.b.example.com%2Fc%2Fd%231.0",
        Answer::Content(200, server::INDEX, INDEX_OF_DOCUMENT.into()),
    );
    server.forget_requests();
    let output = ocisite_at(&server, "resolve").arg("a.b.example.com/c/d#1.0").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    assert!(messages(&output).contains("docker"), "{}", messages(&output));
    let asked = ["/.well-known/oci-host-ref-engines", "/ref/a.b.example.com%2Fc%2Fd%231.0"];
    assert_eq!(server.asked(), asked.map(|path| format!("a.b.example.com{path}")));
}

#[test]
fn well_known_example_2() {
    // An ancestor's object is for names below it: `{host}` is that of the name.
    let server = Server::start();
    server.answer(&format!("example.com{WELL_KNOWN}"), engines(EXAMPLE_2));
    let bare = json!({"mediaType": MANIFEST, "size": 1, "digest": format!("sha256:{}", "0".repeat(64))});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [bare]});
    server.answer("b.example.com/ref/b.example.com%2Fapp", Answer::index(index));
    let resolved = json_of(ocisite_at(&server, "resolve").arg("b.example.com/app"));
    let root = &resolved["b.example.com/app"][0];
    let uri = "https://a.example.com/cas/{algorithm}/{encoded:2}/{encoded}";
    assert_eq!(root["casEngines"][0]["config"], json!({"protocol": "oci-cas-template-v1", "uri": uri}));
    assert_eq!(root["casEngines"][0]["uri"], format!("http://example.com{WELL_KNOWN}"));
}

#[test]
fn xdg_example() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("oci-discovery/ref-engine-discovery.json");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let name = "a.example.com/app#1.0";
    let resolve =
        || ocisite_at(&server, "resolve").env("XDG_CONFIG_HOME", directory.path()).arg(name).output().unwrap();

    // As it stands the document is not JSON: a backslash in a string is written as two.
    std::fs::write(&file, CONFIGURATION).unwrap();
    assert!(messages(&resolve()).contains("invalid escape at line 2"), "{}", messages(&resolve()));

    // Both keys match, and the longer one counts first (24 characters to 22). The document's last sentence has it the other way
    // round; its rule, in "Regexp ref-engines objects", has not.
    std::fs::write(&file, CONFIGURATION.replace('\\', "\\\\")).unwrap();
    for path in ["oci-ref", "ref"] {
        let index =
            Answer::Content(200, server::INDEX, INDEX_OF_DOCUMENT.replace("7143", &path.len().to_string()).into());
        server.answer(&format!("a.example.com/{path}/a.example.com%2Fapp%231.0"), index);
    }
    server.forget_requests();
    let output = resolve();
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    let asked = ["/oci-ref/a.example.com%2Fapp%231.0", "/ref/a.example.com%2Fapp%231.0"];
    assert_eq!(server.asked(), asked.map(|path| format!("a.example.com{path}")));
    let resolved: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(resolved[name][0]["casEngines"].is_array() && resolved[name][1]["casEngines"].is_null(), "{resolved:#}");
}

#[test]
fn cas_template_example() {
    // The document's digest is that of nothing, and its CAS engine is at another host.
    let server = Server::start();
    let uri = "https://a.example.com/cas/{algorithm}/{encoded:2}/{encoded}";
    let engine = json!({"protocol": "oci-cas-template-v1", "uri": uri});
    let index_engine = json!({"protocol": "oci-index-template-v1", "uri": "/index/{+path}"});
    server.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": [index_engine], "casEngines": [engine]})));
    let encoded = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let empty = json!({"mediaType": "application/octet-stream", "size": 0, "digest": format!("sha256:{encoded}")});
    server.with_index("app", &[empty]);
    server.answer(&format!("a.example.com/cas/sha256/e3/{encoded}"), Answer::blob(b""));
    let pulled = tempfile::tempdir().unwrap();
    // Names whose hosts are those of the document, so that all requests go to the server.
    let to = pulled.path().join("layout");
    json_of(ocisite_at(&server, "pull").args(["--json", "a.example.com/app", "--to"]).arg(&to));
    assert!(server.asked().contains(&format!("a.example.com/cas/sha256/e3/{encoded}")), "{:?}", server.asked());
}
