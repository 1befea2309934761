//! What was put below a root and is not of the site: links that lead out of it, files of which no name can be, and a file that
//! Apache would take for its configuration.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::support::consumer::Consumer;
use crate::support::fixtures::{self, PROGRAM, Site, readable_directory};
use crate::support::http::Base;
use crate::support::web_server::{APACHE, CADDY, Kind, LIGHTTPD, NGINX, WebServer};

/// The servers that can refuse links.
const REFUSE_LINKS: [&Kind; 3] = [&NGINX, &APACHE, &LIGHTTPD];
const KINDS: [&Kind; 4] = [&NGINX, &APACHE, &CADDY, &LIGHTTPD];
const SECRET: &str = "a file outside of the site";

fn assert_refused(base: &Base, path: &str) {
    let response = base.get(path);
    assert!(matches!(response.status, 403 | 404), "{path}: {}", response.status);
    assert!(!String::from_utf8_lossy(&response.body).contains(SECRET), "{path}");
}

/// Plants links to a file and to a directory outside of the root. Gives the paths that lead through them.
fn plant_links(site: &Site) -> Vec<String> {
    let (outside, root) = (site.beside("outside"), site.root());
    std::fs::create_dir_all(outside.join("manifests")).unwrap();
    let encoded = "a".repeat(64);
    for name in ["secret", "app", "manifests/1.0", &encoded] {
        std::fs::write(outside.join(name), SECRET).unwrap();
    }
    let digest = format!("sha256:{encoded}");
    let files = [
        "oci-index/planted".to_string(),
        format!("oci-cas/sha256/aa/{encoded}"),
        "catalogue/images/example.com/planted.html".into(),
        "v2/app/manifests/planted".into(),
        "v2/app/_manifests/typed.oci-index".into(),
        format!("v2/app/blobs/{digest}"),
        format!("v2/app/referrers/{digest}"),
    ];
    for path in &files {
        let file = root.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        symlink(outside.join("secret"), &file).unwrap();
    }
    for directory in ["oci-index/directory", "v2/planted"] {
        symlink(&outside, root.join(directory)).unwrap();
    }
    let through = ["oci-index/directory/app", "v2/planted/manifests/1.0", "v2/app/manifests/typed"].map(String::from);
    let paths = files.iter().chain(&through).filter(|path| !path.contains("/_manifests/"));
    paths.map(|path| format!("/{path}")).collect()
}

#[test]
fn a_link_out_of_the_root_is_not_followed() {
    let site = Site::of_fixtures(&["--registry"]);
    let paths = plant_links(&site);
    // Documents that a server finds by another name than the one that is asked for.
    for path in ["index.html", "v2/_ping.json", "v2/_no-referrers.json"] {
        std::fs::remove_file(site.root().join(path)).unwrap();
        symlink(site.beside("outside/secret"), site.root().join(path)).unwrap();
    }
    let nothing = format!("/v2/app/referrers/sha256:{}", "b".repeat(64));
    for kind in REFUSE_LINKS {
        eprintln!("{}", kind.name);
        let server = WebServer::start(kind, &site.root(), &[]);
        for path in paths.iter().map(String::as_str).chain(["/", "/index.html", "/v2/", &nothing]) {
            assert_refused(&server, path);
        }
        assert_eq!(server.get("/oci-index/app").status, 200);
        assert_eq!(server.get("/v2/app/manifests/1.0").status, 200);
    }
}

#[test]
fn a_link_within_the_root_is_not_followed_either() {
    // Given: a link from what is served to what is not.
    let site = Site::of_fixtures(&[]);
    std::fs::write(site.root().join(".ocisite/private"), SECRET).unwrap();
    symlink("../.ocisite/private", site.root().join("oci-index/planted")).unwrap();
    for kind in REFUSE_LINKS {
        eprintln!("{}", kind.name);
        assert_refused(&WebServer::start(kind, &site.root(), &[]), "/oci-index/planted");
    }
}

#[test]
fn a_root_that_is_reached_by_links_is_served() {
    // Given: a root that is a link, in a directory that is one.
    let site = Site::of_fixtures(&[]);
    let directory = readable_directory();
    let (releases, current) = (directory.path().join("releases"), directory.path().join("releases/current"));
    symlink(site.root().parent().unwrap(), &releases).unwrap();
    symlink("site", &current).unwrap();
    let paths = plant_links(&site);
    for kind in [&NGINX, &APACHE] {
        eprintln!("{}", kind.name);
        let server = WebServer::start(kind, &current, &[]);
        assert!(!Consumer::new(&server).walk("team/app", Some("2.0")).is_empty());
        for path in &paths {
            assert_refused(&server, path);
        }
    }
    // lighttpd refuses links anywhere in the path, so the configuration has the root without them, unless it is told which.
    let server = WebServer::start(&LIGHTTPD, &current, &[]);
    assert!(!Consumer::new(&server).walk("team/app", Some("2.0")).is_empty());
}

#[test]
fn caddy_says_that_it_follows_links() {
    let site = Site::of_fixtures(&[]);
    let config = fixtures::run(Command::new(PROGRAM).args(["server-config", "caddy", "--site"]).arg(site.root()));
    assert!(config.contains("Caddy cannot refuse symbolic links"), "{config}");
}

#[test]
fn what_begins_with_a_dot_is_not_served_where_names_are_at_the_root() {
    // Given: a site whose names are at the root, which is a checkout.
    let site = Site::of_fixtures(&["--index-template", "https://{host}/{+path}"]);
    for path in [".git/config", ".env", "team/.git/config", "team/.env", ".htpasswd"] {
        let file = site.root().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, SECRET).unwrap();
    }
    for kind in KINDS {
        eprintln!("{}", kind.name);
        let server = WebServer::start(kind, &site.root(), &[]);
        for path in [
            "/.git/config",
            "/.env",
            "/%2egit/config",
            "/%2Egit%2Fconfig",
            "//.env",
            "/app/../.env",
            "/team/.git/config",
            "/team/.env",
            "/team%2f.env",
            "/.htpasswd",
        ] {
            assert_refused(&server, path);
        }
        assert!(!Consumer::new(&server).walk("team/app", Some("2.0")).is_empty());
    }
}

#[test]
fn the_preview_serves_nothing_that_begins_with_a_dot() {
    let site = Site::of_fixtures(&["--index-template", "https://{host}/{+path}"]);
    std::fs::write(site.root().join(".env"), SECRET).unwrap();
    let preview = crate::support::preview::Preview::start(&site.root());
    assert_refused(&preview, "/.env");
    assert_refused(&preview, "/%2eenv");
}

/// Writes a file that Apache cannot read as configuration.
fn write_htaccess(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join(".htaccess"), "{\"no\":\"directive\"}").unwrap();
}

#[test]
fn an_htaccess_in_the_site_is_no_configuration() {
    let site = Site::of_fixtures(&["--registry"]);
    for directory in ["", "oci-index", "oci-cas", "v2", "v2/app"] {
        write_htaccess(&site.root().join(directory));
    }
    let server = WebServer::start(&APACHE, &site.root(), &[]);
    for path in ["/oci-index/app", "/v2/app/manifests/1.0", "/ocisite.json", "/"] {
        assert_eq!(server.get(path).status, 200, "{path}: {}", server.error_log());
    }
    assert_refused(&server, "/oci-index/.htaccess");
}
