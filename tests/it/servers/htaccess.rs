//! `ocisite server-config apache --htaccess`: the checks of all servers, on an Apache that others configure.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::suite::run;
use super::{checks, conformity, registry};
use crate::support::fixtures::{self, PRESETS, PROGRAM, Site};
use crate::support::http::Base;
use crate::support::program::ocisite;
use crate::support::web_server::{APACHE, WebServer};

/// What a `.htaccess` file cannot say, as a comment in it says. The parts of the last two that it can say are checked below.
const IMPOSSIBLE: [&str; 3] = [
    "checks::an_encoded_slash_is_a_slash",
    "checks::nothing_outside_of_the_site_is_served",
    "checks::other_methods_are_not_allowed",
];

/// Writes the configuration of a shared host, which lets sites override it and knows nothing of ocisite.
fn shared_host(root: &Path, state: &Path, port: u16) -> PathBuf {
    let modules = ["mpm_event", "unixd", "authz_core", "mime", "dir", "headers", "rewrite"];
    let load = |module: &str| {
        let file = format!("/usr/lib/apache2/modules/mod_{module}.so");
        format!("<IfModule !{module}_module>\n  LoadModule {module}_module {file}\n</IfModule>\n")
    };
    let (root, state_text) = (root.display(), state.display());
    let configuration = format!(
        "ServerRoot {state_text}\nDefaultRuntimeDir {state_text}\nPidFile {state_text}/apache.pid\n\
         ErrorLog {state_text}/error.log\nUser \"#65534\"\nGroup \"#65534\"\n{}TypesConfig /dev/null\nAddType text/x-wrong .json\nAddEncoding x-gzip .gz\n\
         Listen 127.0.0.1:{port}\nServerName localhost\nDocumentRoot {root}\n\
         <Directory {root}>\n  AllowOverride FileInfo Indexes\n  Options Indexes FollowSymLinks\n  Require all granted\n</Directory>\n",
        modules.map(load).concat()
    );
    let file = state.join("server.conf");
    std::fs::write(&file, configuration).unwrap();
    file
}

/// Puts the file into the site, and serves the site.
fn start(site: &Site) -> WebServer {
    let mut command = Command::new(PROGRAM);
    command.args(["server-config", "apache", "--htaccess", "--site"]).arg(site.root());
    std::fs::write(site.root().join(".htaccess"), fixtures::run(&mut command)).unwrap();
    WebServer::start_with(&APACHE, &site.root(), |state, port| shared_host(&site.root(), state, port))
}

fn possible(all: &[(&'static str, fn(&Base))]) -> Vec<(&'static str, fn(&Base))> {
    all.iter().filter(|(name, _)| !IMPOSSIBLE.contains(name)).copied().collect()
}

#[test]
fn a_shared_host_serves_a_site_as_other_servers_do() {
    for preset in PRESETS {
        let site = Site::of_fixtures(&["--preset", preset]);
        checks::prepare(&site);
        let server = start(&site);
        run(&format!("preset {preset}"), &possible(conformity::CHECKS), &server);
        for path in ["/.htaccess", "/other.txt", "/.ocisite/", "/.ocisite/lock", "/oci-index", "/../secret"] {
            // Apache looks for another .htaccess in the private state, and may not.
            assert!(matches!(server.get(path).status, 400 | 403 | 404), "{path}");
        }
        for method in ["POST", "DELETE", "OPTIONS"] {
            assert_eq!(server.request(method, "/ocisite.json", &[("Content-Length", "0")]).status, 405, "{method}");
        }
    }
}

#[test]
fn a_shared_host_serves_the_registry_view() {
    for preset in PRESETS {
        let site = Site::of_fixtures(&["--registry", "--preset", preset]);
        run(&format!("preset {preset}"), &possible(registry::CHECKS), &start(&site));
    }
}

#[test]
fn what_a_server_configures_is_not_for_a_site() {
    let site = Site::of_fixtures(&[]);
    let mut command = ocisite();
    command.args(["server-config", "apache", "--htaccess", "--listen", "8080", "--site"]).arg(site.root());
    let refused = command.assert().failure();
    assert!(String::from_utf8_lossy(&refused.get_output().stderr).contains("cannot be used with '--listen <ADDRESS>'"));
}
