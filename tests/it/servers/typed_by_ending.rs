//! A server that sends no headers of a site, and types files by the endings of their names: what the README's table says.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::support::fixtures::Site;
use crate::support::http::Base;
use crate::support::program::{Succeeds, ocisite};

/// `python -m http.server`; it ends with the value.
struct Python {
    child: Child,
    base: Base,
}

impl Python {
    fn serve(site: &Site) -> Python {
        let mut command = Command::new("python3");
        command.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"]).arg(site.root()).arg("0");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // Serving HTTP on 127.0.0.1 port 40000 (http://127.0.0.1:40000/) ...
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split(' ').nth(5).unwrap_or_else(|| panic!("{line:?}"));
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        Python { child, base: Base { address, host: "example.com".into(), root: site.root() } }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn our_client_pulls_and_registry_clients_have_no_media_types() {
    for preset in ["cas", "layout"] {
        // Given a site with the registry view, served by a server that knows endings only.
        let site = Site::of_fixtures(&["--registry", "--preset", preset]);
        let python = Python::serve(&site);
        let address = python.base.address.to_string();
        let server = ["--protocol", "http", "--connect-to", &address];
        // When our client resolves and pulls, then it succeeds, with warnings about media types.
        let warned = ocisite().arg("resolve").args(server).arg("example.com/app#1.0").warns();
        assert!(warned.contains("application/octet-stream"), "{warned}");
        let pulled = site.beside("pulled");
        ocisite().arg("pull").args(server).args(["example.com/app#1.0", "--to"]).arg(&pulled).warns();
        assert!(pulled.join("index.json").is_file());
        // Then indexes are JSON if their names say so, and manifests of the view have no media type.
        let index = if preset == "layout" { "/oci-image/app/index.json" } else { "/oci-index/app" };
        let expected = if preset == "layout" { "application/json" } else { "application/octet-stream" };
        assert_eq!(python.base.get(index).expect("Content-Type"), expected);
        let manifest = python.base.get("/v2/app/manifests/1.0");
        assert_eq!(manifest.expect("Content-Type"), "application/octet-stream");
    }
}
