//! A site with each template of the examples, literally. Every name that is published resolves with ocisite and as the reference
//! implementations resolve it: Go's each name, Python's those whose template has no `name`, which it does not know.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::client::program::{json_of, ocisite};
use crate::support::fixtures::readable_directory;
use crate::support::layout::Layout;
use crate::support::program::{Succeeds, ocisite as program, text};
use crate::support::resolvers::{Resolver, plain};
use crate::support::web_server::{NGINX, WebServer, write_config};

/// What an example has: the image that is published, and the templates.
struct Example {
    image: &'static str,
    index: &'static str,
    cas: &'static str,
}

/// Publishes two refs of an image, and resolves both and the image.
fn check(example: &Example) {
    // Given a site, with the other origins of its templates.
    let directory = readable_directory();
    let site = directory.path().join("site");
    let mut layout = Layout::new(directory.path().join("layout"));
    for reference in ["1.0", "2.0"] {
        let image = layout.image(reference);
        layout.add(reference, image);
    }
    let mut publish = program();
    publish.args(["publish", "--site", text(&site), "--index-template", example.index, "--cas-template", example.cas]);
    let (host, _) = example.image.split_once('/').unwrap();
    let other = example.cas.split('/').nth(2).filter(|other| example.cas.starts_with("https") && *other != host);
    let stores: Vec<String> =
        other.into_iter().map(|other| format!("https://{other}={}", text(&directory.path().join(other)))).collect();
    let stores: Vec<&str> = stores.iter().flat_map(|store| ["--store", store.as_str()]).collect();
    publish.args(&stores).arg(format!("{}={}", example.image, layout.arg())).succeeds();
    program().args(["verify", text(&site), "--deep"]).args(&stores).succeeds();
    let server = WebServer::start_with(&NGINX, &site, |state, port| {
        write_config(&NGINX, &site, state, &[&["--listen", &format!("127.0.0.1:{port}")], &stores[..]].concat())
    });

    // When its names are resolved, each has its entries.
    let index: Value = serde_json::from_slice(&std::fs::read(layout.path.join("index.json")).unwrap()).unwrap();
    let digests: Vec<String> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["digest"].as_str().unwrap().to_string())
        .collect();
    for (fragment, expected) in [("", &digests[..]), ("#1.0", &digests[..1]), ("#2.0", &digests[1..])] {
        let name = format!("{}{fragment}", example.image);
        let expected: BTreeSet<String> = expected.iter().cloned().collect();
        let address = server.address.to_string();
        let resolved = json_of(ocisite().args(["resolve", "--protocol", "http", "--connect-to", &address, &name]));
        let roots = resolved[&name].as_array().unwrap();
        let found: BTreeSet<String> =
            roots.iter().map(|root| root["root"]["digest"].as_str().unwrap().into()).collect();
        assert_eq!(found, expected, "{name} {}", example.index);
        let get = plain(&server);
        assert_eq!(Resolver::Go.resolve(&get, &name).digests, expected, "{name} {}", example.index);
        let expected = if example.index.contains("{name}") { BTreeSet::new() } else { expected };
        assert_eq!(Resolver::Python.resolve(&get, &name).digests, expected, "{name} {}", example.index);
    }
}

#[test]
fn well_known_example_1() {
    let cas = "/oci-cas/{algorithm}/{encoded:2}/{encoded}";
    check(&Example { image: "a.b.example.com/c/d", index: "https://{host}/ref/{name}", cas });
}

#[test]
fn well_known_example_2() {
    let cas = "https://a.example.com/cas/{algorithm}/{encoded:2}/{encoded}";
    check(&Example { image: "example.com/app", index: "https://{host}/ref/{name}", cas });
}

#[test]
fn xdg_example() {
    let cas = "https://a.example.com/cas/{algorithm}/{encoded:2}/{encoded}";
    check(&Example { image: "a.example.com/app", index: "https://{host}/ref/{name}", cas });
    check(&Example { image: "a.example.com/app", index: "https://{host}/oci-ref/{name}", cas });
}

#[test]
fn index_template_example_and_cas_template_example() {
    for cas in [
        "https://a.example.com/cas/{algorithm}/{encoded:2}/{encoded}",
        "https://b.example.com/cas/{algorithm}/{encoded}",
    ] {
        check(&Example { image: "a.b.example.com/c/d", index: "https://{host}/ref/{host}/{path}", cas });
    }
}

#[test]
fn nginx_examples() {
    let cas = "https://example.com/oci-cas/{algorithm}/{encoded:2}/{encoded}";
    check(&Example { image: "example.com/app", index: "https://{host}/oci-index/{path}", cas });
    let cas = "https://example.com/oci-image/{path}/blobs/{algorithm}/{encoded}";
    check(&Example { image: "example.com/team/app", index: "https://{host}/oci-image/{path}/index.json", cas });
}
