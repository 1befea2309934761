//! "Serving everything from one Nginx server": the configuration of the document, as it is there but for ports, paths and
//! certificates, serves both of its sites.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::client::program::{json_of, ocisite};
use crate::support::fixtures::{EXAMPLES, readable_directory};
use crate::support::layout::Layout;
use crate::support::nginx::Nginx;
use crate::support::program::{publish, text};
use crate::support::resolvers::{Resolver, tls};
use crate::support::web_server::free_port;
use crate::verify::program::Verified;

/// The configuration. nginx needs the first two lines and `access_log` to run without privileges.
const CONFIGURATION: &str = r#"
pid STATE/nginx.pid;
error_log STATE/error.log;
events {
  worker_connections 1024;
}
http {
  access_log off;
  client_body_temp_path STATE/client_temp;
  proxy_temp_path STATE/proxy_temp;
  fastcgi_temp_path STATE/fastcgi_temp;
  scgi_temp_path STATE/scgi_temp;
  uwsgi_temp_path STATE/uwsgi_temp;
  server {
    listen 127.0.0.1:PLAIN;
    listen [::1]:PLAIN;
    server_name example.com;
    location / {
      return 301 https://$host$request_uri;
    }
  }
  server {
    listen 127.0.0.1:PORT ssl;
    listen [::1]:PORT ssl;
    server_name example.com;
    ssl_certificate TLS/server.pem;
    ssl_certificate_key TLS/server.key;
    root ROOT;
    location /.well-known/oci-host-ref-engines {
      types {}
      default_type application/vnd.oci.ref-engines.v1+json;
    }
    LOCATION
  }
}
"#;

/// Where indexes are in the first site.
const OF_INDEXES: &str = "location /oci-index {
      types {}
      default_type application/vnd.oci.image.index.v1+json;
    }";

/// Where they are in the second: the document's "adjusted location".
const OF_LAYOUTS: &str = "location ~ ^/oci-image/.*/index.json$ {
      types {}
      default_type application/vnd.oci.image.index.v1+json;
    }";

/// The second site's ref-engines object.
const REF_ENGINES_OF_LAYOUTS: &str = r#"{
  "refEngines": [
    {
      "protocol": "oci-index-template-v1",
      "uri": "https://{host}/oci-image/{path}/index.json"
    }
  ],
  "casEngines": [
    {
      "protocol": "oci-cas-template-v1",
      "uri": "https://example.com/oci-image/{path}/blobs/{algorithm}/{encoded}"
    }
  ]
}
"#;

/// The certificates of the client's tests, for `example.com`.
pub fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/client/tls").join(name)
}

/// Serves the first site with the document's configuration.
pub fn serve(root: &Path) -> Nginx {
    serve_with(root, OF_INDEXES, &[])
}

/// Serves a site with the document's configuration for a location of indexes, and more lines in each location of documents.
fn serve_with(root: &Path, location: &str, more: &[&str]) -> Nginx {
    Nginx::start_with(root, |state, port| {
        let configuration = CONFIGURATION
            .replace("LOCATION", location)
            .replace("types {}", &format!("types {{}}\n{}", more.join("\n")))
            .replace("STATE", text(state))
            .replace("TLS", text(&certificate("")).trim_end_matches('/'))
            .replace("ROOT", text(root))
            .replace("PLAIN", &free_port().to_string())
            .replace("PORT", &port.to_string());
        let file = state.join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        file
    })
}

/// Resolves and pulls an image of one entry, with ocisite and as the reference implementations do.
fn check(root: &Path, location: &str, name: &str) {
    let server = serve_with(root, location, &[]);
    let address = server.address.to_string();
    let authority = certificate("authority.pem");
    let ocisite = |subcommand: &str| {
        let mut command = ocisite();
        command.args([subcommand, "--connect-to", &address, name]).env("SSL_CERT_FILE", &authority);
        command
    };
    let resolved = json_of(&mut ocisite("resolve"));
    let digest = resolved[name][0]["root"]["digest"].as_str().unwrap().to_string();
    let pulled = tempfile::tempdir().unwrap();
    let report = json_of(ocisite("pull").args(["--json", "--to"]).arg(pulled.path().join("layout")));
    assert!(report.to_string().contains(&digest), "{report:#}");

    let go = Resolver::Go.resolve(&tls(&server, &authority), name);
    assert_eq!((go.digests, go.warnings), ([digest.clone()].into(), vec![]));
    // Python's refuses documents without a charset, which the document's later version adds.
    let python = Resolver::Python.resolve(&tls(&server, &authority), name);
    assert!(python.digests.is_empty() && python.warnings[0].ends_with("does not declare a charset"), "{python:?}");
    let server = serve_with(root, location, &["charset utf-8;", "charset_types *;"]);
    let python = Resolver::Python.resolve(&tls(&server, &authority), name);
    assert_eq!((python.digests, python.warnings), ([digest].into(), vec![]));
}

#[test]
fn the_first_site_is_resolved_and_pulled() {
    let directory = readable_directory();
    let site = directory.path().join("site");
    let layout = Layout::of_image(directory.path().join("layout"), "content");
    let (_, templates) = EXAMPLES[0];
    publish(&site, &[&templates[..], &[&layout.input("app")]].concat());
    check(&site, OF_INDEXES, "example.com/app#1.0");
}

#[test]
fn the_second_site_is_resolved_pulled_and_verified() {
    // Given a layout that is copied as it is, so that only the ref-engines object has a CAS engine.
    let directory = readable_directory();
    let root = directory.path().join("site");
    fs::create_dir_all(root.join(".well-known")).unwrap();
    fs::create_dir_all(root.join("oci-image/app")).unwrap();
    fs::write(root.join(".well-known/oci-host-ref-engines"), REF_ENGINES_OF_LAYOUTS).unwrap();
    Layout::of_image(root.join("oci-image/app"), "content");
    check(&root, OF_LAYOUTS, "example.com/app#1.0");

    // Its CAS template has `{path}`, which stricter consumers expand to nothing: a warning, as a directory and from the server.
    let name_in_cas = "template-name-in-cas .well-known/oci-host-ref-engines, casEngines".to_string();
    let mut command = crate::verify::program::ocisite();
    let verified = Verified::of(command.args(["verify", text(&root), "--host", "example.com", "--deep", "--json"]));
    assert_eq!((verified.code, verified.of_severity("warning")), (0, vec![name_in_cas.clone()]));
    let server = serve_with(&root, OF_LAYOUTS, &[]);
    let mut command = crate::verify::program::ocisite();
    command.args(["verify", "https://example.com", "example.com/app", "--deep", "--json", "--connect-to"]);
    command.arg(server.address.to_string()).env("SSL_CERT_FILE", certificate("authority.pem"));
    let verified = Verified::of(&mut command);
    let errors: Vec<&Value> = verified.findings().iter().filter(|found| found["severity"] == "error").collect();
    assert!(errors.is_empty() && verified.of_severity("warning").contains(&name_in_cas), "{:#}", verified.report);
}
