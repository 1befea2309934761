//! The first example that oci-discovery gives to publishers, written out by hand, behind a real nginx with the configuration
//! that it gives: it resolves, and what it names and does not have are the only errors.

use std::fs;

use sha2::Digest;
use tempfile::TempDir;

use super::program::{Verified, ocisite, verify};
use crate::documents::nginx;
use crate::support::fixtures::readable_directory;

const REF_ENGINES: &str = r#"{
  "refEngines": [
    {
      "protocol": "oci-index-template-v1",
      "uri": "https://{host}/oci-index/{path}"
    }
  ]
}
"#;

const INDEX: &str = r#"{
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
          "uri": "https://example.com/oci-cas/{algorithm}/{encoded:2}/{encoded}"
        }
      ]
    }
  ]
}
"#;

const MANIFEST: &str = r#"{
  "schemaVersion": 2,
  "config": {
    "mediaType": "application/vnd.oci.image.config.v1+json",
    "size": 7023,
    "digest": "sha256:b5b2b2c507a0944348e0303114d8d93aaaa081732b86451d9bce1f432a537bc7"
  },
  "layers": [
    {
      "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
      "size": 32654,
      "digest": "sha256:e692418e4cbaf90ca69d05a66403747baa33ee08806650b51fab815ad7fc331f"
    },
    {
      "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
      "size": 16724,
      "digest": "sha256:3c3a4604a545cdc127456d94e421cd355bca5b528f4a9c1905b15da2eb4a4c6b"
    },
    {
      "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
      "size": 73109,
      "digest": "sha256:ec4b8955958665577945c89419d1af06b5f7636b4ac3da7f12184802ad867736"
    }
  ]
}
"#;

/// Where the manifest is, and the four blobs that it names.
const MANIFEST_PATH: &str = "oci-cas/sha256/e9/e9770a03fbdccdd4632895151a93f9af58bbe2c91fdfaaf73160648d250e6ec3";
const MISSING: [&str; 4] = [
    "blob-missing oci-cas/sha256/3c/3c3a4604a545cdc127456d94e421cd355bca5b528f4a9c1905b15da2eb4a4c6b",
    "blob-missing oci-cas/sha256/b5/b5b2b2c507a0944348e0303114d8d93aaaa081732b86451d9bce1f432a537bc7",
    "blob-missing oci-cas/sha256/e6/e692418e4cbaf90ca69d05a66403747baa33ee08806650b51fab815ad7fc331f",
    "blob-missing oci-cas/sha256/ec/ec4b8955958665577945c89419d1af06b5f7636b4ac3da7f12184802ad867736",
];

fn example() -> TempDir {
    let root = readable_directory();
    let write = |path: &str, content: &str| {
        let file = root.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    };
    write(".well-known/oci-host-ref-engines", REF_ENGINES);
    write("oci-index/app", INDEX);
    write(MANIFEST_PATH, MANIFEST);
    root
}

fn assert_only_the_missing_blobs_are_errors(verified: &Verified) {
    assert_eq!(verified.code, 1);
    assert_eq!(verified.of_severity("error"), MISSING);
}

#[test]
fn the_manifest_has_the_799_bytes_of_its_digest() {
    let digest = hex::encode(sha2::Sha256::digest(MANIFEST));
    assert_eq!((MANIFEST.len(), digest.as_str()), (799, MANIFEST_PATH.rsplit('/').next().unwrap()));
}

#[test]
fn as_a_directory_it_lacks_its_config_and_layers_and_nothing_else() {
    let root = example();
    let directory = root.path().to_str().unwrap();
    let verified = verify(&[directory, "example.com/app#1.0"]);
    assert_only_the_missing_blobs_are_errors(&verified);
    assert_eq!((&verified.report["warnings"], &verified.report["notes"]), (&0.into(), &0.into()));
    // The names need not be given: the template tells which files are indexes, and the host is all that it cannot tell.
    let verified = verify(&[directory, "--host", "example.com"]);
    assert_eq!(verified.report["images"], serde_json::json!(["example.com/app"]));
    assert_only_the_missing_blobs_are_errors(&verified);
}

#[test]
fn behind_nginx_it_resolves() {
    let root = example();
    let server = nginx::serve(root.path());
    let output = ocisite()
        .args(["resolve", "--no-xdg", "--protocol", "https", "example.com/app#1.0"])
        .args(["--connect-to", &server.address.to_string()])
        .env("SSL_CERT_FILE", nginx::certificate("authority.pem"))
        .assert()
        .success()
        .get_output()
        .clone();
    let resolved: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let root = &resolved["example.com/app#1.0"][0]["root"];
    assert_eq!(root["digest"], serde_json::from_str::<serde_json::Value>(INDEX).unwrap()["manifests"][0]["digest"]);
}

#[test]
fn behind_nginx_it_lacks_its_config_and_layers_and_nothing_else_is_an_error() {
    let root = example();
    let server = nginx::serve(root.path());
    let address = server.address.to_string();
    let mut command = ocisite();
    command.env("SSL_CERT_FILE", nginx::certificate("authority.pem"));
    command.args(["verify", "https://example.com", "example.com/app", "--json", "--connect-to", &address]);
    let verified = Verified::of(&mut command);
    assert_only_the_missing_blobs_are_errors(&verified);
    // The example's configuration says nothing of these.
    let warnings: Vec<String> = verified.of_severity("warning");
    let rules: Vec<&str> = warnings.iter().map(|warning| warning.split(' ').next().unwrap()).collect();
    assert_eq!(rules, ["cache-blob", "cache-document", "charset", "nosniff", "charset"]);
}
