//! A good site behind a server that is wrong in one way for each rule.

use ocisite::serve::respond::{Body, PreviewRequest, Response};

use super::good_site::GoodSite;
use super::live::{Faults, Server};
use super::program::{Verified, verify};

/// One test for each rule, and the list of them.
macro_rules! rules {
    ($($name:ident: $faults:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let site = GoodSite::new();
                let server = Server::start(&site.root(), $faults);
                let address = server.address.to_string();
                let args = ["http://example.com", "--connect-to", &address];
                verify(&args).assert_breaks(&stringify!($name).replace('_', "-"));
            }
        )*

        /// The rules with a test here.
        pub const TESTED: &[&str] = &[
            $(stringify!($name),)* "encoded_slash", "tls", "registry_media_type", "registry_digest_header",
        ];
    };
}

fn request(change: fn(&mut PreviewRequest)) -> Faults {
    Faults { request: change, ..Faults::NONE }
}

fn response(change: fn(&PreviewRequest, &mut Response)) -> Faults {
    Faults { response: change, ..Faults::NONE }
}

const APP: &str = "/oci-index/app";

fn set(response: &mut Response, name: &'static str, value: &str) {
    response.headers.retain(|(known, _)| *known != name);
    response.headers.push((name, value.into()));
}

fn drop_headers(response: &mut Response, names: &[&str]) {
    response.headers.retain(|(name, _)| !names.contains(name));
}

fn send_on(response: &mut Response, location: &str) {
    *response = Response { status: 302, headers: vec![("Location", location.into())], body: Body::Bytes(vec![]) };
}

rules! {
    unreadable: response(|request, response| {
        if request.path == APP {
            response.status = 500;
        }
    });
    media_type: response(|request, response| {
        if request.path == APP {
            set(response, "Content-Type", "application/json; charset=utf-8");
        }
    });
    charset: response(|request, response| {
        if request.path == APP {
            set(response, "Content-Type", "application/vnd.oci.image.index.v1+json");
        }
    });
    content_encoding: response(|request, response| {
        if request.path == APP {
            set(response, "Content-Encoding", "gzip");
        }
    });
    redirect_refused: response(|request, response| {
        if request.path == APP {
            send_on(response, "ftp://example.com/app");
        }
    });
    redirect: Faults {
        request: |request| request.path = request.path.replace("/moved/", "/oci-index/"),
        asked: |asked, response| {
            if asked == "/oci-index/app" {
                send_on(response, "/moved/app");
            }
        },
        ..Faults::NONE
    };
    not_found: response(|request, response| {
        if response.status == 404 && request.path.starts_with("/oci-") {
            *response = Response { status: 200, headers: vec![], body: Body::Bytes(b"<h1>Welcome".to_vec()) };
        }
    });
    head_differs: response(|request, response| {
        if request.method == "HEAD" {
            drop_headers(response, &["ETag"]);
        }
    });
    ranges: request(|request| request.range = None);
    validator: response(|_, response| drop_headers(response, &["ETag", "Last-Modified"]));
    not_modified: request(|request| request.if_none_match = None);
    cache_blob: response(|request, response| {
        if request.path.starts_with("/oci-cas/") {
            set(response, "Cache-Control", "public, max-age=60");
        }
    });
    cache_document: response(|request, response| {
        if !request.path.starts_with("/oci-cas/") {
            drop_headers(response, &["Cache-Control"]);
        }
    });
    nosniff: response(|_, response| drop_headers(response, &["X-Content-Type-Options"]));
    private_served: response(|request, response| {
        if request.path == "/.ocisite/lock" {
            response.status = 200;
        }
    });
}

#[test]
fn encoded_slash() {
    // Given a site whose template writes `team%2Fapp`, which a server that decodes it serves.
    let site = GoodSite::with(&["--index-template", "https://{host}/oci-index/{path}"]);
    let verify_with = |faults| {
        let server = Server::start(&site.root(), faults);
        verify(&["http://example.com", "--connect-to", &server.address.to_string()])
    };
    verify_with(Faults::NONE).assert_clean();
    // And a server that does not.
    let refuse = |request: &mut PreviewRequest| {
        if request.path.contains("%2F") {
            request.path = "/nothing".into();
        }
    };
    verify_with(Faults { request: refuse, ..Faults::NONE }).assert_breaks("encoded-slash");
}

fn verify_registry(faults: Faults) -> Verified {
    let site = GoodSite::with(&["--registry"]);
    let server = Server::start(&site.root(), faults);
    verify(&["http://example.com", "--connect-to", &server.address.to_string()])
}

#[test]
fn registry_media_type() {
    verify_registry(Faults::NONE).assert_clean();
    let spoilt = response(|request, response| {
        if request.path == "/v2/app/manifests/1.0" {
            set(response, "Content-Type", "application/octet-stream");
        }
    });
    verify_registry(spoilt).assert_breaks("registry-media-type");
}

#[test]
fn registry_digest_header() {
    let spoilt = response(|_, response| drop_headers(response, &["Docker-Content-Digest"]));
    verify_registry(spoilt).assert_breaks("registry-digest-header");
}

#[test]
fn a_server_that_does_not_know_the_registry_view() {
    // Given a server that hands out the files of the site, and no more.
    let spoilt = response(|request, response| {
        if request.path == "/v2/" {
            response.status = 404;
        }
    });
    assert_eq!(verify_registry(spoilt).rules(), ["registry-ping"].into());
}

#[test]
fn tls() {
    // Given a server whose certificate is from an authority that nobody knows.
    let server = Server::start_tls();
    verify(&["https://example.com", "--connect-to", &server.address.to_string(), "example.com/app"])
        .assert_breaks("tls");
}

#[test]
fn head_that_is_not_spoken_is_read_around() {
    // Given a server without HEAD: sizes are known only from reading.
    let site = GoodSite::new();
    let faults = response(|request, response| {
        if request.method == "HEAD" {
            response.status = 405;
        }
    });
    let server = Server::start(&site.root(), faults);
    let verified = verify(&["http://example.com", "--connect-to", &server.address.to_string()]);
    assert_eq!(verified.rules(), ["head-differs"].into());
    // And a layer that is shorter than its descriptor says.
    std::fs::write(site.layer(), "short").unwrap();
    let verified = verify(&["http://example.com", "--connect-to", &server.address.to_string()]);
    assert_eq!(verified.rules(), ["head-differs", "blob-size"].into());
}

#[test]
fn a_good_server_has_no_finding() {
    let site = GoodSite::new();
    let server = Server::start(&site.root(), Faults::NONE);
    let args = ["http://example.com", "--strict", "--connect-to", &server.address.to_string()];
    verify(&args).assert_clean();
    let deep = verify(&[&args[..], &["--deep"]].concat());
    deep.assert_clean();
    assert_eq!(deep.report["blobs"], 15);
}

#[test]
fn what_is_wrong_with_the_site_is_found_over_http_as_well() {
    let site = GoodSite::new();
    let server = Server::start(&site.root(), Faults::NONE);
    std::fs::write(site.layer(), "CONTENT").unwrap();
    let args = ["http://example.com", "--connect-to", &server.address.to_string()];
    verify(&args).assert_clean();
    assert_eq!(verify(&[&args[..], &["--deep"]].concat()).rules(), ["blob-digest"].into());
    std::fs::remove_file(site.layer()).unwrap();
    assert_eq!(verify(&args).rules(), ["blob-missing"].into());
}
