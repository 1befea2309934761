//! The checks of the registry view, against every server: what a client that pulls with the distribution API relies on.
//!
//! Where servers differ is a table in the README, which is made from what each of them does when it is asked. With
//! `UPDATE_README=1` in the environment, the test that compares it writes it.

use serde_json::{Value, json};

use super::checks::{assert_error, assert_served};
use super::suite::{Checks, checks_of, run};
use crate::support::fixtures::{self, PRESETS, Site};
use crate::support::http::Base;
use crate::support::preview::Preview;
use crate::support::web_server::{APACHE, CADDY, LIGHTTPD, NGINX, WebServer};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
const MINUTE: &str = "public, max-age=60";

/// Something of the distribution API that a server may or may not do, and how it shows.
struct Capability {
    /// As the README says it.
    what: &'static str,
    /// Whether this server does it.
    shows: fn(&Base) -> bool,
}

const CAPABILITIES: [Capability; 10] = [
    Capability {
        what: "`Docker-Content-Digest` where the request names a digest",
        shows: |base| {
            let digest = digest_of_tag(base, "app", "1.0");
            base.get(&format!("/v2/app/manifests/{digest}")).header("Docker-Content-Digest") == Some(&digest)
        },
    },
    Capability {
        what: "`Docker-Content-Digest` where the request names a tag",
        shows: |base| base.get("/v2/app/manifests/1.0").header("Docker-Content-Digest").is_some(),
    },
    Capability {
        what: "`tags/list?last=TAG`, up to 100 tags",
        shows: |base| base.get("/v2/app/tags/list?last=1.0").json()["tags"] == json!(["1.1"]),
    },
    Capability {
        what: "`tags/list?n=NUMBER` with `Link`",
        shows: |base| base.get("/v2/app/tags/list?n=1").header("Link").is_some(),
    },
    Capability {
        what: "`referrers/DIGEST?artifactType=TYPE` with `OCI-Filters-Applied`",
        shows: |base| {
            let digest = digest_of_tag(base, "app", "1.0");
            base.get(&format!("/v2/app/referrers/{digest}?artifactType=a/b")).header("OCI-Filters-Applied").is_some()
        },
    },
    Capability {
        what: "`Content-Length` of an error in the response to HEAD",
        shows: |base| base.request("HEAD", "/v2/app/manifests/none", &[]).header("Content-Length").is_some(),
    },
    Capability {
        what: "`Content-Length` of an empty blob in the response to HEAD",
        shows: |base| {
            let empty = format!("sha256:{}", sha256(b""));
            let response = base.request("HEAD", &format!("/v2/artifact/blobs/{empty}"), &[]);
            assert_eq!((response.status, response.header("Docker-Content-Digest")), (200, Some(&*empty)));
            response.header("Content-Length") == Some("0")
        },
    },
    Capability {
        what: "More than ten ranges of a blob in one response; otherwise the whole blob",
        shows: |base| {
            let path = format!("/v2/app/manifests/{}", digest_of_tag(base, "app", "1.0"));
            let ranges: Vec<String> = (0..11).map(|at| format!("{}-{}", at * 20, at * 20)).collect();
            let response = base.get_with(&path, &[("Range", &format!("bytes={}", ranges.join(",")))]);
            let parts = String::from_utf8_lossy(&response.body).to_ascii_lowercase().matches("content-range:").count();
            assert!(matches!((response.status, parts), (206, 11) | (200, 0)), "{} {parts}", response.status);
            response.status == 206
        },
    },
    Capability {
        what: "`Content-Range` in the refusal of a range",
        shows: |base| {
            let path = format!("/v2/app/manifests/{}", digest_of_tag(base, "app", "1.0"));
            let response = base.get_with(&path, &[("Range", "bytes=100000-")]);
            assert_eq!(response.status, 416);
            response.header("Content-Range").is_some()
        },
    },
    Capability {
        what: "`X-Content-Type-Options` in the refusal of a range",
        shows: |base| {
            let path = format!("/v2/app/manifests/{}", digest_of_tag(base, "app", "1.0"));
            let response = base.get_with(&path, &[("Range", "bytes=100000-")]);
            // nginx says it twice here: it finds out about the range when it has added its headers already.
            response.headers.contains(&("X-Content-Type-Options".into(), "nosniff".into()))
        },
    },
];

/// The first row of the README's table begins so.
const FIRST_CELL: &str = "What it does";

/// The table of the README, made by asking each server.
fn table(servers: &[(&str, &Base)]) -> String {
    let row = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let mut table = row(std::iter::once(FIRST_CELL).chain(servers.iter().map(|(name, _)| *name)).collect());
    table += &row(vec!["---"; servers.len() + 1]);
    for capability in CAPABILITIES {
        let cells = servers.iter().map(|(_, base)| if (capability.shows)(base) { "yes" } else { "no" });
        table += &row(std::iter::once(capability.what).chain(cells).collect());
    }
    table
}

/// The digest of what a tag names, found as a client finds it: by hashing what the server sends.
fn digest_of_tag(base: &Base, name: &str, tag: &str) -> String {
    format!("sha256:{}", sha256(&base.get(&format!("/v2/{name}/manifests/{tag}")).body))
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The image name, a tag, and the media type of what it names.
const MANIFESTS: [(&str, &str, &str); 5] = [
    ("app", "1.0", OCI_MANIFEST),
    ("team/app", "2.0", OCI_INDEX),
    ("zstd", "1.0", OCI_MANIFEST),
    ("docker", "list", DOCKER_LIST),
    ("attested", "1.0", OCI_INDEX),
];

fn the_api_says_that_it_is_here(base: &Base) {
    for path in ["/v2", "/v2/"] {
        let response = base.get(path);
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.expect("Docker-Distribution-Api-Version"), "registry/2.0");
        assert_eq!(response.json(), json!({}));
        assert_eq!(base.request("HEAD", path, &[]).status, 200, "{path}");
    }
}

fn manifests_have_their_media_types_by_tag_and_by_digest(base: &Base) {
    for (name, tag, media_type) in MANIFESTS {
        let by_tag = base.get(&format!("/v2/{name}/manifests/{tag}"));
        assert_served(&by_tag, media_type, MINUTE);
        let path = format!("/v2/{name}/manifests/{}", digest_of_tag(base, name, tag));
        let by_digest = base.get(&path);
        assert_served(&by_digest, media_type, IMMUTABLE);
        assert_eq!(by_digest.body, by_tag.body);
        let children = by_digest.json()["manifests"].as_array().cloned().unwrap_or_default();
        for child in children {
            let response = base.get(&format!("/v2/{name}/manifests/{}", child["digest"].as_str().unwrap()));
            assert_served(&response, child["mediaType"].as_str().unwrap(), IMMUTABLE);
            assert_eq!(response.expect("Docker-Content-Digest"), child["digest"]);
        }
    }
}

fn blobs_are_the_layouts(base: &Base) {
    let manifest = base.get("/v2/app/manifests/1.0").json();
    let layers = manifest["layers"].as_array().unwrap();
    for descriptor in layers.iter().chain([&manifest["config"]]) {
        let digest = descriptor["digest"].as_str().unwrap();
        let response = base.get(&format!("/v2/app/blobs/{digest}"));
        assert_served(&response, "application/octet-stream", IMMUTABLE);
        assert_eq!(response.expect("Docker-Content-Digest"), digest);
        assert_eq!(response.body, fixtures::blobs()[digest]);
    }
}

fn head_says_what_get_says(base: &Base) {
    let digest = digest_of_tag(base, "app", "1.0");
    let config = base.get("/v2/app/manifests/1.0").json()["config"]["digest"].as_str().unwrap().to_string();
    for path in [
        "/v2/app/manifests/1.0".to_string(),
        format!("/v2/app/manifests/{digest}"),
        format!("/v2/app/blobs/{config}"),
        "/v2/app/tags/list".into(),
        format!("/v2/app/referrers/{digest}"),
    ] {
        let (get, head) = (base.get(&path), base.request("HEAD", &path, &[]));
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        for name in ["Content-Type", "Content-Length", "Docker-Content-Digest", "Cache-Control", "ETag"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
        assert_eq!(get.expect("Content-Length"), get.body.len().to_string());
    }
}

fn tags_are_listed(base: &Base) {
    let tags = |query: &str| {
        let response = base.get(&format!("/v2/app/tags/list{query}"));
        assert_served(&response, "application/json", MINUTE);
        response.json()
    };
    let all = json!({"name": "app", "tags": ["1.0", "1.1"]});
    assert_eq!(tags(""), all);
    assert_eq!(tags("?n=100"), all);
    assert_eq!(tags("?last=1.0&n=100")["tags"], json!(["1.1"]));
    assert_eq!(tags("?n=100&last=1.1")["tags"], json!([]));
}

fn what_is_no_tag_after_last_harms_nothing(base: &Base) {
    for last in ["../../x", "..%2f..%2fx", "../list", "%2e%2e/list", "-", "", ".", "..", "1.0/../1.0", "a%00"] {
        eprintln!("{last}");
        let response = base.get(&format!("/v2/app/tags/list?last={last}"));
        assert!(matches!(response.status, 200 | 400), "{last}: {}", response.status);
        if response.status == 200 {
            assert_eq!(response.json()["name"], "app", "{last}");
        }
    }
}

fn referrers_are_listed_and_none_are_an_empty_list(base: &Base) {
    let none = format!("/v2/app/referrers/sha256:{}", "0".repeat(64));
    let response = base.get(&none);
    assert_served(&response, OCI_INDEX, MINUTE);
    assert_eq!(response.json()["manifests"], json!([]));

    let directory = base.root.join("v2/artifact/referrers");
    let lists: Vec<String> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!lists.is_empty(), "the fixture has referrers");
    for subject in lists {
        let response = base.get(&format!("/v2/artifact/referrers/{subject}"));
        assert_served(&response, OCI_INDEX, MINUTE);
        let referrers: Vec<Value> = response.json()["manifests"].as_array().unwrap().clone();
        assert!(!referrers.is_empty());
        for referrer in referrers {
            let digest = referrer["digest"].as_str().unwrap();
            let manifest = base.get(&format!("/v2/artifact/manifests/{digest}"));
            assert_served(&manifest, referrer["mediaType"].as_str().unwrap(), IMMUTABLE);
        }
    }
}

fn errors_are_of_the_specifications_form(base: &Base) {
    let digest = format!("sha256:{}", "0".repeat(64));
    for (path, code) in [
        ("/v2/app/manifests/none".to_string(), "MANIFEST_UNKNOWN"),
        (format!("/v2/app/manifests/{digest}"), "MANIFEST_UNKNOWN"),
        ("/v2/none/manifests/1.0".into(), "MANIFEST_UNKNOWN"),
        (format!("/v2/app/blobs/{digest}"), "BLOB_UNKNOWN"),
        ("/v2/none/tags/list".into(), "NAME_UNKNOWN"),
    ] {
        eprintln!("{path}");
        assert_error(&base.get(&path), 404, code);
    }
    for path in ["/v2/App/manifests/1.0", "/v2/a//b/manifests/1.0", "/v2/app/manifests/", "/v2/_catalog"] {
        let status = base.get(path).status;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    assert_error(&base.request("PUT", "/v2/app/manifests/1.0", &[("Content-Length", "0")]), 405, "UNSUPPORTED");
}

fn names_for_look_ups_are_not_reachable(base: &Base) {
    for path in [
        "/v2/_ping.json",
        "/v2/_no-referrers.json",
        "/v2/app/_manifests/1.0.oci-manifest",
        "/v2/app/tags/_last/1.0",
        "/v2/app/manifests/../_manifests/1.0.oci-manifest",
        "/v2/app/manifests/..%2f_manifests%2f1.0.oci-manifest",
        "/v2/app/%5fmanifests/1.0.oci-manifest",
    ] {
        assert!(base.root.join("v2/app/_manifests/1.0.oci-manifest").is_file());
        let response = base.get(path);
        assert!(matches!(response.status, 400 | 404), "{path}: {}", response.status);
    }
}

fn a_publish_is_seen_at_once(base: &Base) {
    assert_eq!(base.get("/v2/new/manifests/1.0").status, 404);
    let image = format!("example.com/new={}", fixtures::layouts().join("zstd").display());
    let mut publish = std::process::Command::new(fixtures::PROGRAM);
    fixtures::run(publish.args(["publish", "--site"]).arg(&base.root).arg(image));
    assert_eq!(base.get("/v2/new/manifests/1.0").body, base.get("/v2/zstd/manifests/1.0").body);
    assert_eq!(base.get("/v2/new/tags/list").json()["name"], "new");
}

#[test]
fn the_readme_has_the_table() {
    // Given every server with one site.
    let site = Site::of_fixtures(&["--registry"]);
    let start = |kind| WebServer::start(kind, &site.root(), &[]);
    let (nginx, apache, caddy, lighttpd) = (start(&NGINX), start(&APACHE), start(&CADDY), start(&LIGHTTPD));
    let preview = Preview::start(&site.root());
    // When each is asked what it can do.
    let servers: [(&str, &Base); 5] =
        [("nginx", &nginx), ("Apache", &apache), ("Caddy", &caddy), ("lighttpd", &lighttpd), ("preview", &preview)];
    let table = table(&servers);
    // Then the README says the same.
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(file).unwrap();
    if std::env::var_os("UPDATE_README").is_some() {
        let (before, rest) = readme.split_once(&format!("| {FIRST_CELL} |")).unwrap();
        let (_, after) = rest.split_once("|\n\n").unwrap();
        std::fs::write(file, format!("{before}{table}\n{after}")).unwrap();
    } else {
        assert!(readme.contains(&table), "README.md should have this table; UPDATE_README=1 writes it:\n{table}");
    }
}

/// All checks, in this order on one site.
pub const CHECKS: Checks = checks_of!(
    the_api_says_that_it_is_here,
    manifests_have_their_media_types_by_tag_and_by_digest,
    blobs_are_the_layouts,
    head_says_what_get_says,
    tags_are_listed,
    what_is_no_tag_after_last_harms_nothing,
    referrers_are_listed_and_none_are_an_empty_list,
    errors_are_of_the_specifications_form,
    names_for_look_ups_are_not_reachable,
    a_publish_is_seen_at_once,
);

macro_rules! of_all_servers {
    ($($server:ident: $start:expr;)*) => {
        $(
            #[test]
            fn $server() {
                for preset in PRESETS {
                    let site = Site::of_fixtures(&["--registry", "--preset", preset]);
                    run(&format!("preset {preset}"), CHECKS, &$start(&site));
                }
            }
        )*
    };
}

of_all_servers! {
    preview: |site: &Site| Preview::start(&site.root());
    nginx: |site: &Site| WebServer::start(&NGINX, &site.root(), &[]);
    apache: |site: &Site| WebServer::start(&APACHE, &site.root(), &[]);
    caddy: |site: &Site| WebServer::start(&CADDY, &site.root(), &[]);
    lighttpd: |site: &Site| WebServer::start(&LIGHTTPD, &site.root(), &[]);
}
