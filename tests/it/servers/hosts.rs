//! Virtual hosts: each request gets the root that its host name, address and port belong to, and no other. Servers that listen
//! on all addresses do so in a network of the test's own.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::configurations::{KINDS, certificate, https_get};
use crate::client::network::in_network;
use crate::support::fixtures::{PROGRAM, Site, readable_directory};
use crate::support::http::{Base, PATIENCE};
use crate::support::web_server::{CADDY, LIGHTTPD, NGINX, WebServer, free_port, write_config};

/// A site whose blobs are in the store of another origin, `cdn` beside it.
struct Split {
    site: Site,
    /// `ORIGIN=DIR`.
    store: String,
    /// The path of a blob below the origin.
    blob: String,
}

fn split(origin: &str) -> Split {
    let directory = readable_directory();
    let cdn = directory.path().join("cdn");
    let site = Site::of_fixtures(&[
        "--registry",
        "--cas-template",
        &format!("{origin}/{{algorithm}}/{{encoded}}"),
        "--store",
        &format!("{origin}={}", cdn.display()),
    ]);
    std::fs::rename(&cdn, site.beside("cdn")).unwrap();
    let cdn = site.beside("cdn");
    Split { store: format!("{origin}={}", cdn.display()), blob: a_blob(&cdn), site }
}

fn a_blob(cdn: &Path) -> String {
    let mut blobs = std::fs::read_dir(cdn.join("sha256")).unwrap();
    format!("/sha256/{}", blobs.next().unwrap().unwrap().file_name().to_str().unwrap())
}

/// Asks for a document of the site, for the registry view, and for a blob of the store.
fn statuses(base: &Base, host: &str, blob: &str) -> [u16; 3] {
    ["/ocisite.json", "/v2/", blob].map(|path| base.request_to(host, "GET", path, &[]).status)
}

const SITE: [u16; 3] = [200, 200, 404];
const STORE: [u16; 3] = [404, 404, 200];

#[test]
fn a_wildcard_of_the_site_does_not_hide_the_host_of_a_store() {
    let Split { site, store, blob } = split("http://cdn.example.com");
    for kind in KINDS {
        let server = WebServer::start(kind, &site.root(), &["--server-name", "*.example.com", "--store", &store]);
        for (host, expected) in [("example.com", SITE), ("www.example.com", SITE), ("cdn.example.com", STORE)] {
            assert_eq!(statuses(&server, host, &blob), expected, "{} {host}", kind.name);
        }
    }
}

#[test]
fn lighttpd_tells_roots_of_one_name_apart_by_their_ports() {
    in_network(module_path!(), "lighttpd_tells_roots_of_one_name_apart_by_their_ports", |_| {
        // Given: the site on the default port of HTTP, and a store with the same host on another.
        let store_port = free_port();
        let Split { site, store, blob } = split(&format!("http://example.com:{store_port}"));
        let server = WebServer::start_with(&LIGHTTPD, &site.root(), |state, port| {
            let file = write_config(&LIGHTTPD, &site.root(), state, &["--store", &store]);
            // A test may not listen on port 80.
            let config = std::fs::read_to_string(&file).unwrap();
            let config =
                config.replace(":80\"", &format!(":{port}\"")).replace("port = 80\n", &format!("port = {port}\n"));
            std::fs::write(&file, config).unwrap();
            file
        });
        assert_eq!(statuses(&server, "example.com", &blob), SITE);
        let store = server.at(([127, 0, 0, 1], store_port));
        assert_eq!(statuses(&store, &format!("example.com:{store_port}"), &blob), STORE);
    });
}

#[test]
fn one_port_has_https_on_one_address_and_the_redirect_on_another() {
    let site = Site::of_fixtures(&[]);
    let directory = readable_directory();
    let tls = certificate(directory.path());
    for kind in KINDS {
        eprintln!("{}", kind.name);
        let server = WebServer::start_with(kind, &site.root(), |state, port| {
            let (https, http) = (format!("127.0.0.1:{port}"), format!("127.0.0.2:{port}"));
            let listen = ["--server-name", "localhost", "--listen", &https, "--listen-http", &http];
            write_config(kind, &site.root(), state, &[&tls.each_ref().map(String::as_str)[..], &listen].concat())
        });
        let port = server.address.port();
        let plain = server.at(([127, 0, 0, 2], port));
        let redirect = plain.request_to("localhost", "GET", "/ocisite.json", &[]);
        assert_eq!(redirect.expect("Location"), format!("https://localhost:{port}/ocisite.json"));
        let served = https_get(&format!("https://localhost:{port}/ocisite.json"));
        assert_eq!(served, std::fs::read(site.root().join("ocisite.json")).unwrap());
    }
}

#[test]
fn plain_http_leads_each_name_to_the_port_of_its_https() {
    in_network(module_path!(), "plain_http_leads_each_name_to_the_port_of_its_https", |_| {
        let directory = readable_directory();
        let tls = certificate(directory.path());
        for kind in KINDS {
            eprintln!("{}", kind.name);
            // Given: the site on the default port of HTTPS, and a store with a port of its own.
            let (store_port, plain_port) = (port_without_443(), port_without_443());
            let Split { site, store, .. } = split(&format!("https://cdn.example.net:{store_port}"));
            let server = WebServer::start_with(kind, &site.root(), |state, port| {
                let http = format!("127.0.0.1:{plain_port}");
                let listen = ["--store", &store, "--listen-http", &http];
                let args = [&tls.each_ref().map(String::as_str)[..], &listen].concat();
                let file = write_config(kind, &site.root(), state, &args);
                // A test may not listen on port 443.
                let config = std::fs::read_to_string(&file).unwrap();
                std::fs::write(&file, config.replace("443", &port.to_string())).unwrap();
                file
            });
            let plain = server.at(([127, 0, 0, 1], plain_port));
            let location = |host| plain.request_to(host, "GET", "/a/b?c", &[]).expect("Location").to_string();
            assert_eq!(location("example.com"), "https://example.com/a/b?c");
            assert_eq!(location("cdn.example.net"), format!("https://cdn.example.net:{store_port}/a/b?c"));
        }
    });
}

/// A free port whose digits a replacement of the default port leaves alone.
fn port_without_443() -> u16 {
    std::iter::repeat_with(free_port).find(|port| !port.to_string().contains("443")).unwrap()
}

#[test]
fn a_server_listens_on_the_given_addresses_and_no_other() {
    in_network(module_path!(), "a_server_listens_on_the_given_addresses_and_no_other", |network| {
        // Given: a machine with an address of each IP version besides loopback.
        let site = Site::of_fixtures(&[]);
        let addresses = ["127.0.0.1", "10.9.9.9", "::1", "fd09::9"];
        network.add(addresses[1]);
        network.add(addresses[3]);
        for (kinds, listen, expected) in [
            // Apache refuses these.
            (&[&NGINX, &CADDY, &LIGHTTPD][..], ["127.0.0.1:PORT", "[::]:PORT"].as_slice(), [true, false, true, true]),
            (&KINDS, &["127.0.0.1:PORT", "[::1]:PORT"], [true, false, true, false]),
            (&KINDS, &["PORT"], [true, true, false, false]),
            (&KINDS, &["PORT", "127.0.0.1:PORT", "[::1]:PORT"], [true, true, true, false]),
            (&KINDS, &["PORT", "[::]:PORT", "[::1]:PORT"], [true; 4]),
        ] {
            for kind in kinds {
                // When: the server runs.
                let server = WebServer::start_with(kind, &site.root(), |state, port| {
                    let listen =
                        listen.iter().flat_map(|one| ["--listen".into(), one.replace("PORT", &port.to_string())]);
                    let listen: Vec<String> = listen.collect();
                    write_config(kind, &site.root(), state, &listen.iter().map(String::as_str).collect::<Vec<_>>())
                });
                // Then: it accepts connections at the given addresses. It opens one after the other.
                let port = server.address.port();
                let accepts = || addresses.map(|ip| TcpStream::connect((ip, port)).is_ok());
                let start = Instant::now();
                while accepts() != expected && start.elapsed() < PATIENCE {
                    std::thread::yield_now();
                }
                assert_eq!(accepts(), expected, "{} {listen:?}", kind.name);
            }
        }
    });
}

#[test]
fn apache_that_would_listen_on_more_addresses_is_refused() {
    let site = Site::of_fixtures(&[]);
    let tls = ["--tls-certificate", "/a", "--tls-key", "/b"];
    refused("apache", &site, &["--listen", "127.0.0.1:81", "--listen", "[::]:81"], &["[::]:81", "add 81 for both"]);
    refused("apache", &site, &[&tls[..], &["--listen-http", "[::]:81"]].concat(), &["[::]:81", "add 81 for both"]);
}

#[test]
fn each_spelling_of_an_ipv6_name_is_one_name() {
    const LONG: &str = "[0:0:0:0:0:0:0:1]";
    let Split { site, store, .. } = split("http://[::1]:8081");
    for kind in KINDS {
        // A client writes the short spelling in its requests.
        let server = WebServer::start(kind, &site.root(), &["--server-name", LONG, "[::1]"]);
        let response = server.request_to("[::1]", "GET", "/ocisite.json", &[]);
        assert_eq!(response.status, 200, "{}", kind.name);
        assert_eq!(response.body, std::fs::read(site.root().join("ocisite.json")).unwrap(), "{}", kind.name);
        let args = ["--server-name", LONG, "--listen", "80", "--store", &store];
        refused(kind.name, &site, &args, &["[::1] at 0.0.0.0:80"]);
    }
}

#[test]
fn a_root_that_has_an_address_for_a_name_takes_no_other_name() {
    let Split { site, store, blob } = split("http://localhost");
    for kind in KINDS {
        let server = WebServer::start(kind, &site.root(), &["--server-name", "[::1]", "--store", &store]);
        assert_eq!(statuses(&server, "localhost", &blob), STORE, "{}", kind.name);
    }
}

#[test]
fn plain_http_leads_to_a_port_that_its_address_has() {
    // Given: HTTPS on one port of loopback, and on another of all addresses; plain HTTP on all addresses.
    let site = Site::of_fixtures(&[]);
    let tls = ["--tls-certificate", "/a", "--tls-key", "/b"];
    for kind in KINDS {
        let args = [&tls[..], &["--listen", "127.0.0.1:8443", "--listen", "443"]].concat();
        let directory = readable_directory();
        let text = std::fs::read_to_string(write_config(kind, &site.root(), directory.path(), &args)).unwrap();
        let redirects: Vec<&str> =
            text.lines().filter(|line| line.contains("https://") && !line.ends_with('{')).collect();
        assert!(!redirects.is_empty() && redirects.iter().all(|line| !line.contains(":8443")), "{redirects:?}");
        let addresses = ["127.0.0.1:8443", "127.0.0.2:9443"].iter().flat_map(|listen| ["--listen", *listen]);
        let plain = ["127.0.0.1:80", "127.0.0.2:80"].iter().flat_map(|listen| ["--listen-http", *listen]);
        let args: Vec<&str> = tls.into_iter().chain(addresses).chain(plain).collect();
        refused(kind.name, &site, &args, &["port 8443", "127.0.0.2", "--listen-http"]);
    }
}

#[test]
fn two_meanings_of_one_address_are_refused() {
    let Split { site, store, .. } = split("http://example.com:8081");
    let tls = ["--tls-certificate", "/a", "--tls-key", "/b"];
    for (args, words) in [
        (["--listen", "80", "--store", &store].as_slice(), ["example.com at 0.0.0.0:80", "--server-name"]),
        (&[&tls[..], &["--listen", "[::1]:81", "--listen-http", "[::1]:81"]].concat(), ["[::1]:81", "--listen-http"]),
        (&[&tls[..], &["--listen", "0.0.0.0:80"]].concat(), ["0.0.0.0:80", "--listen-http"]),
        (&[&tls[..], &["--listen", "127.0.0.1:80"]].concat(), ["0.0.0.0:80", "--listen-http"]),
        // Apache writes all addresses of either IP version as `*`.
        (&[&tls[..], &["--listen", "81", "--listen-http", "[::]:81"]].concat(), ["[::]:81", "--listen-http"]),
        (
            &[&tls[..], &["--listen", "[::]:81", "--listen-http", "127.0.0.1:81"]].concat(),
            ["127.0.0.1:81", "--listen-http"],
        ),
        (&["--listen", "[fe80::1%3]:80"], ["[fe80::1%3]:80", "scope"]),
    ] {
        for kind in KINDS {
            refused(kind.name, &site, args, &words);
        }
    }
}

#[test]
fn an_origin_with_a_wildcard_is_refused() {
    let Split { site, store, .. } = split("http://*.example.com");
    refused("nginx", &site, &["--store", &store], &["http://*.example.com", "wildcard"]);
}

fn refused(server: &str, site: &Site, args: &[&str], words: &[&str]) {
    let mut command = Command::new(PROGRAM);
    let output = command.args(["server-config", server, "--site"]).arg(site.root()).args(args).output().unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{server} {args:?}: {printed}");
    assert!(words.iter().all(|word| printed.contains(word)), "{server} {args:?}: expected {words:?} in {printed}");
}
