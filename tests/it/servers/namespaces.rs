//! Several registries behind one server (`publish --root-per-host`): a client that uses the server as a mirror names the registry,
//! `?ns=REGISTRY`, and any other gets the site of its host.

use super::configurations::{KINDS, certificate, https_get};
use crate::support::fixtures::{Site, layouts, readable_directory};
use crate::support::http::Base;
use crate::support::preview::Preview;
use crate::support::program::{fails, ocisite};
use crate::support::web_server::{WebServer, free_port, write_config};

/// Sites for two hosts, each with an image `app` of its own.
pub fn registries() -> Site {
    let site = Site::empty();
    let image = |name: &str, layout: &str| format!("{name}={}", layouts().join(layout).display());
    let images =
        [image("example.com/app", "app"), image("docker.io/app", "zstd"), image("docker.io/library/app", "app")];
    site.publish(&[&["--registry", "--root-per-host"][..], &images.each_ref().map(String::as_str)].concat());
    site
}

/// The tags of `app` at a host, which tell the sites apart.
fn tags(base: &Base, host: &str, query: &str) -> (u16, Option<String>) {
    let response = base.request_to(host, "GET", &format!("/v2/app/tags/list{query}"), &[]);
    let is_found = response.status == 200;
    (response.status, is_found.then(|| response.json()["tags"].to_string()))
}

fn check(base: &Base, nameless: &str) {
    let (example, docker) = ((200, Some(r#"["1.0","1.1"]"#.into())), (200, Some(r#"["1.0"]"#.into())));
    for (host, query, expected) in [
        ("example.com", "", &example),
        ("docker.io", "", &docker),
        ("example.com", "?ns=docker.io", &docker),
        ("example.com", "?n=9&ns=docker.io&last=0", &docker),
        ("docker.io", "?ns=example.com", &example),
        (nameless, "?ns=docker.io", &docker),
        // The host decides where the registry is not one of the sites.
        ("example.com", "?ns=quay.io", &example),
        ("example.com", "?ns=", &example),
        ("example.com", "?ns=dockerXio", &example),
        ("example.com", "?ns=docker.io.example.net", &example),
        ("example.com", "?xns=docker.io", &example),
        ("docker.io", "?ns=../example.com", &docker),
        ("docker.io", "?ns=..%2Fexample.com", &docker),
    ] {
        assert_eq!(&tags(base, host, query), expected, "{host} {query}");
    }
    assert!([404, 421].contains(&tags(base, nameless, "").0));
    assert!([404, 421].contains(&tags(base, nameless, "?ns=quay.io").0));

    // A manifest, a blob, the referrers and the first question come from the same site.
    for path in ["/v2/library/app/manifests/1.0", "/v2/"] {
        let found = base.request_to("example.com", "GET", &format!("{path}?ns=docker.io"), &[]);
        let there = base.request_to("docker.io", "GET", path, &[]);
        assert_eq!((found.status, &found.body), (200, &there.body), "{path}");
        assert_eq!(found.header("Content-Type"), there.header("Content-Type"));
    }
    let manifest = base.request_to("docker.io", "GET", "/v2/app/manifests/1.0", &[]).json();
    let path = format!("/v2/app/blobs/{}", manifest["layers"][0]["digest"].as_str().unwrap());
    for (host, query, status) in
        [("docker.io", "", 200), ("example.com", "", 404), ("example.com", "?ns=docker.io", 200)]
    {
        assert_eq!(base.request_to(host, "GET", &format!("{path}{query}"), &[]).status, status, "{host} {query}");
    }
    // Discovery uses the hosts of names only.
    let index = |host, query| base.request_to(host, "GET", &format!("/oci-index/app{query}"), &[]).body;
    assert_eq!(index("example.com", "?ns=docker.io"), index("example.com", ""));
    assert_ne!(index("example.com", ""), index("docker.io", ""));
}

#[test]
fn web_servers_choose_the_site_by_the_registry_that_a_client_names() {
    let site = registries();
    for kind in KINDS {
        eprintln!("{}", kind.name);
        check(&WebServer::start_at_its_address(kind, &site.root()), "127.0.0.1");
    }
}

#[test]
fn web_servers_take_several_sites_with_tls_and_a_directory_with_spaces() {
    let site = registries();
    let directory = readable_directory();
    let tls = certificate(directory.path());
    let root = site.beside("several sites");
    std::fs::rename(site.root(), &root).unwrap();
    for kind in KINDS {
        eprintln!("{}", kind.name);
        let plain = format!("127.0.0.1:{}", free_port());
        let server = WebServer::start_with(kind, &root, |state, port| {
            let listen = format!("127.0.0.1:{port}");
            let args = ["--listen", &listen, "--listen-http", &plain, "--server-name", "localhost"];
            write_config(kind, &root, state, &[&tls.each_ref().map(String::as_str)[..], &args].concat())
        });
        let tags = format!("https://localhost:{}/v2/library/app/tags/list?ns=docker.io", server.address.port());
        assert_eq!(https_get(&tags), std::fs::read(root.join("docker.io/v2/library/app/tags/list")).unwrap());
    }
}

#[test]
fn a_directory_of_sites_that_apache_cannot_name_is_refused() {
    let site = registries();
    let mut command = ocisite();
    command.args(["server-config", "apache", "--root", "/srv/a,b", "--site"]).arg(site.root());
    fails(&mut command, &["/srv/a,b", "Apache", "choose another name or path"]);
}

#[test]
fn the_preview_chooses_the_site_by_the_registry_that_a_client_names() {
    let site = registries();
    let preview = Preview::start(&site.root());
    check(&preview, "localhost");
    assert_eq!(tags(&preview, "evil.example", "?ns=docker.io").0, 421);
}
