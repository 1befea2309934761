//! What every server does with its configuration: it takes each that can be rendered, speaks TLS, and is not misled by names.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::network::in_network;
use crate::support::consumer::Consumer;
use crate::support::fixtures::{self, PRESETS, PROGRAM, Site, readable_directory, run};
use crate::support::http::Base;
use crate::support::preview::Preview;
use crate::support::program::{Succeeds, ocisite};
use crate::support::web_server::{
    APACHE, CADDY, Kind, LIGHTTPD, NGINX, WebServer, free_port, test_config, write_config,
};

/// All servers that there are configurations for.
pub const KINDS: [&Kind; 4] = [&NGINX, &APACHE, &CADDY, &LIGHTTPD];

/// A certificate that nobody trusts, for localhost and example.com.
pub fn certificate(directory: &Path) -> [String; 4] {
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=example.com", "-out"]);
    fixtures::run(openssl.arg(&certificate).arg("-keyout").arg(&key));
    let text = |path: PathBuf| path.to_str().unwrap().to_string();
    ["--tls-certificate".into(), text(certificate), "--tls-key".into(), text(key)]
}

/// `GET` over TLS. Who trusts the certificate is not the question here.
pub fn https_get(url: &str) -> Vec<u8> {
    let tls = ureq::tls::TlsConfig::builder().disable_verification(true).build();
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().tls_config(tls).build());
    agent.get(url).call().unwrap().body_mut().read_to_vec().unwrap()
}

#[test]
fn a_server_takes_every_configuration() {
    let tls = readable_directory();
    let tls = certificate(tls.path());
    for preset in PRESETS {
        let site = Site::of_fixtures(&["--registry", "--preset", preset]);
        let (http, https) = (format!("127.0.0.1:{}", free_port()), format!("[::1]:{}", free_port()));
        let redirected: Vec<&str> =
            tls.iter().map(String::as_str).chain(["--listen", &https, "--listen-http", &http]).collect();
        let names = ["--listen", &http, "--server-name", "*.example.com", "127.0.0.1", "[::1]"];
        for args in [&["--listen", &http][..], &redirected, &names] {
            for kind in KINDS {
                let state = readable_directory();
                let file = write_config(kind, &site.root(), state.path(), args);
                test_config(kind, &file).unwrap_or_else(|printed| panic!("{} {preset} {args:?}: {printed}", kind.name));
            }
        }
    }
}

#[test]
fn a_configuration_does_not_change_with_what_is_published() {
    for preset in PRESETS {
        let site = Site::of_fixtures(&["--registry", "--preset", preset]);
        let configurations = || {
            KINDS.map(|kind| {
                let mut command = Command::new(PROGRAM);
                fixtures::run(command.args(["server-config", kind.name, "--site"]).arg(site.root()))
            })
        };
        let before = configurations();
        let image = format!("example.com/another={}", fixtures::layouts().join("zstd").display());
        site.publish(&[&image]);
        assert_eq!(configurations(), before);
    }
}

#[test]
fn a_site_may_be_closed_to_pages_of_other_origins() {
    let site = Site::of_fixtures(&["--registry"]);
    let preflight = [("Origin", "http://localhost:3000"), ("Access-Control-Request-Method", "GET")];
    let check = |base: &Base| {
        for path in ["/oci-index/app", "/v2/app/manifests/1.0", "/missing"] {
            assert_eq!(base.get_with(path, &preflight[..1]).header("Access-Control-Allow-Origin"), None);
            assert_eq!(base.request("OPTIONS", path, &preflight).status, 405);
        }
    };
    for kind in KINDS {
        eprintln!("{}", kind.name);
        check(&WebServer::start(kind, &site.root(), &["--no-cors"]));
    }
    check(&Preview::start_heard(&site.root(), &["--no-cors"]));
}

#[test]
fn a_local_preview_is_closed_to_pages_of_the_internet() {
    let site = Site::of_fixtures(&[]);
    let server = Preview::start(&site.root());
    for (origin, is_allowed) in [
        ("http://localhost:3000", true),
        ("http://127.0.0.1", true),
        ("https://example.com", true),
        ("https://other.example", false),
        ("null", false),
    ] {
        let response = server.get_with("/oci-index/app", &[("Origin", origin)]);
        assert_eq!(response.header("Access-Control-Allow-Origin"), is_allowed.then_some(origin));
    }
}

#[test]
fn a_view_that_is_added_later_says_that_servers_need_to_know() {
    // Given a site without the registry view, and configurations with and without the view's rules.
    let site = Site::of_fixtures(&[]);
    let config = |kind: &Kind, args: &[&str]| {
        run(Command::new(PROGRAM).args(["server-config", kind.name, "--site"]).arg(site.root()).args(args))
    };
    let with_view = KINDS.map(|kind| config(kind, &["--registry"]));
    assert_ne!(config(&NGINX, &[]), with_view[0]);
    // When the view is added, then there is a warning with the command, and the rendered configurations have the same rules.
    let image = format!("example.com/app={}", fixtures::layouts().join("app").display());
    let said = ocisite().args(["publish", "--registry", "--site"]).arg(site.root()).arg(&image).warns();
    assert!(said.contains("`ocisite server-config nginx --site "), "{said}");
    assert_eq!(KINDS.map(|kind| config(kind, &[])), with_view);
    // When it is there already, or the site is new, then there is none.
    for root in [site.root(), site.beside("new")] {
        assert_eq!(ocisite().args(["publish", "--registry", "--site"]).arg(root).arg(&image).warns(), "");
    }
}

#[test]
fn plain_http_is_redirected_to_https() {
    let site = Site::of_fixtures(&[]);
    let directory = readable_directory();
    let tls = certificate(directory.path());
    for kind in KINDS {
        eprintln!("{}", kind.name);
        let plain = format!("127.0.0.1:{}", free_port());
        let args: Vec<&str> =
            tls.iter().map(String::as_str).chain(["--listen-http", &plain, "--server-name", "localhost"]).collect();
        let server = WebServer::start(kind, &site.root(), &args);
        let path = "/oci-index/team/app";
        let redirect =
            server.at(plain.parse::<SocketAddr>().unwrap()).request_to("localhost", "GET", &format!("{path}?a=b"), &[]);
        assert_eq!(redirect.status, 301);
        let port = server.address.port();
        assert_eq!(redirect.expect("Location"), format!("https://localhost:{port}{path}?a=b"));
        let body = https_get(&format!("https://localhost:{port}{path}"));
        assert_eq!(body, std::fs::read(site.root().join("oci-index/team/app")).unwrap());
    }
}

/// As with the default of `--listen`, whose ports only root may use.
#[test]
fn tls_is_served_on_all_addresses_of_both_ip_versions() {
    in_network(module_path!(), "tls_is_served_on_all_addresses_of_both_ip_versions", |_| {
        let site = Site::of_fixtures(&["--registry"]);
        let directory = readable_directory();
        let tls = certificate(directory.path());
        for kind in KINDS {
            eprintln!("{}", kind.name);
            let on_all = |option: &str, port: u16| {
                [option.to_string(), format!("0.0.0.0:{port}"), option.into(), format!("[::]:{port}")]
            };
            let server = WebServer::start_with(kind, &site.root(), |state, port| {
                let listen = [on_all("--listen", port), on_all("--listen-http", free_port())].concat();
                let args = tls.iter().chain(&listen).map(String::as_str).chain(["--server-name", "localhost"]);
                write_config(kind, &site.root(), state, &args.collect::<Vec<_>>())
            });
            let port = server.address.port();
            for address in ["127.0.0.1", "[::1]"] {
                let (url, to) = (format!("https://localhost:{port}/oci-index/app"), format!("::{address}:{port}"));
                let body = fixtures::run(Command::new("curl").args(["-skf", "--connect-to", &to, &url]));
                assert_eq!(body, std::fs::read_to_string(site.root().join("oci-index/app")).unwrap(), "{address}");
            }
        }
    });
}

/// What a server has to refuse is tested beside its way of quoting.
#[test]
fn a_root_with_what_configurations_give_a_meaning_is_served() {
    for kind in KINDS {
        eprintln!("{}", kind.name);
        let directory = readable_directory();
        let pattern = match kind.name {
            "caddy" => "",
            "apache" => r"\e \\n [f] *",
            _ => r"\e \\n [f]? *",
        };
        let root = directory.path().join(format!(r#"a "b" 'c'; # <d> + %1 ~ ^ {pattern}z"#));
        let image = format!("example.com/app={}", fixtures::layouts().join("app").display());
        fixtures::run(Command::new(PROGRAM).args(["publish", "--site"]).arg(&root).arg(image));
        let server = WebServer::start(kind, &root, &[]);
        assert!(!Consumer::new(&server).walk("app", Some("1.0")).is_empty());
    }
}

#[test]
fn a_root_that_apache_would_cut_is_refused() {
    let site = Site::of_fixtures(&["--registry"]);
    let mut command = Command::new(PROGRAM);
    command.args(["server-config", "apache", "--root", "/srv/a?b", "--site"]).arg(site.root());
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty(), "{error}");
    assert!(error.contains("\"/srv/a?b\" cannot be written in a configuration of Apache: "), "{error}");
    assert!(error.contains("choose another name or path"), "{error}");
}

#[test]
fn templates_with_what_configurations_give_a_meaning_are_served() {
    let index = "https://{host}/%22%27;%7D%20%7Badd_header%20x%20y;%7D$host(a).*[b]+%3F%3Cc%3E/{+path}";
    let site = Site::of_fixtures(&["--index-template", index]);
    for kind in KINDS {
        eprintln!("{}", kind.name);
        let server = WebServer::start(kind, &site.root(), &[]);
        assert!(!Consumer::new(&server).walk("team/app", Some("2.0")).is_empty());
        assert_eq!(server.get("/oci-cas/").header("x"), None);
    }
}
