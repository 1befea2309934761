//! A strict consumer goes from every image name to its last blob, and gets what the layouts have.

use std::collections::BTreeMap;

use crate::support::consumer::Consumer;
use crate::support::fixtures::{self, EXAMPLES, IMAGES, PRESETS, Site};
use crate::support::http::Base;
use crate::support::nginx::Nginx;
use crate::support::preview::Preview;
use crate::support::web_server::{APACHE, CADDY, LIGHTTPD, NGINX, WebServer};

/// Resolves every image with and without a ref, and compares all bytes with the layouts'.
fn assert_everything_is_there(base: &Base) {
    let expected = fixtures::blobs();
    let consumer = Consumer::new(base);
    let mut fetched = BTreeMap::new();
    for (path, reference) in IMAGES {
        let all = consumer.walk(path, None);
        let one = consumer.walk(path, Some(reference));
        assert!(one.keys().all(|digest| all.contains_key(digest)), "{path}#{reference}");
        fetched.extend(all);
    }
    for (digest, bytes) in &fetched {
        assert_eq!(expected.get(digest), Some(bytes), "{digest}");
    }
    let left_out: Vec<&String> = expected.keys().filter(|digest| !fetched.contains_key(*digest)).collect();
    assert!(left_out.is_empty(), "in a layout and not found by a consumer: {left_out:?}");
}

#[test]
fn from_nginx_for_every_preset() {
    for preset in PRESETS {
        let site = Site::of_fixtures(&["--preset", preset]);
        assert_everything_is_there(&Nginx::start(&site.root(), &[]));
    }
}

#[test]
fn from_the_preview_for_every_preset() {
    for preset in PRESETS {
        let site = Site::of_fixtures(&["--preset", preset]);
        assert_everything_is_there(&Preview::start(&site.root()));
    }
}

#[test]
fn from_both_servers_for_the_templates_of_the_specification() {
    for (_, templates) in EXAMPLES {
        let site = Site::of_fixtures(&templates);
        assert_everything_is_there(&Nginx::start(&site.root(), &[]));
        assert_everything_is_there(&Preview::start(&site.root()));
    }
}

#[test]
fn from_all_servers_for_a_template_with_the_whole_name() {
    let template = ["--index-template", "https://{host}/ref/{name}"];
    let site = Site::of_fixtures(&template);
    for kind in [&NGINX, &APACHE, &CADDY, &LIGHTTPD] {
        eprintln!("{}", kind.name);
        assert_everything_is_there(&WebServer::start(kind, &site.root(), &[]));
    }
    // A preview answers for the host of the name that is asked for.
    assert_everything_is_there(&Preview::start(&site.root()));
}

#[test]
fn from_templates_that_leave_no_prefix_to_images() {
    let site = Site::of_fixtures(&["--index-template", "https://{host}/{+path}.json", "--cas-template", "{/digest}"]);
    assert_everything_is_there(&Nginx::start(&site.root(), &[]));
}

#[test]
fn from_nginx_with_the_blobs_on_another_origin() {
    let cdn = fixtures::readable_directory();
    let store = format!("https://cdn.example.net={}", cdn.path().join("blobs").display());
    let site =
        Site::of_fixtures(&["--cas-template", "https://cdn.example.net/{algorithm}/{encoded}", "--store", &store]);
    let nginx = Nginx::start(&site.root(), &["--store", &store]);
    assert_everything_is_there(&nginx);
    let index = Consumer::new(&nginx).index_uri("app");
    let elsewhere = nginx.request_to("cdn.example.net", "GET", index.path(), &[]);
    assert_eq!(elsewhere.status, 404, "an origin has the blobs and nothing else");
}
