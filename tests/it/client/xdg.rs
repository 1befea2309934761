//! The local configuration, as `resolve` uses it.

use std::path::Path;

use serde_json::{Value, json};

use super::images::{descriptor, ref_engine};
use super::program::{json_of, messages, ocisite_at};
use super::server::{Server, WELL_KNOWN};

/// Writes a local configuration.
pub fn configure(directory: &Path, content: &Value) {
    std::fs::create_dir_all(directory.join("oci-discovery")).unwrap();
    std::fs::write(directory.join("oci-discovery/ref-engine-discovery.json"), content.to_string()).unwrap();
}

fn engines(template: &str) -> Value {
    json!({"refEngines": [ref_engine(template)]})
}

/// A server that has a different image at each path.
fn server_with(paths: &[&str]) -> Server {
    let server = Server::start();
    for path in paths {
        server.with_index(path, &[descriptor("a/b", path.as_bytes())]);
    }
    server
}

fn uris(resolved: &Value, name: &str) -> Vec<String> {
    let roots = resolved[name].as_array().unwrap();
    roots.iter().map(|root| root["uri"].as_str().unwrap().replace("http://example.com/index/", "")).collect()
}

#[test]
fn all_matching_keys_count_longest_first_and_nothing_else_is_asked() {
    let server = server_with(&["short", "long", "default"]);
    server.with_engines();
    let directory = tempfile::tempdir().unwrap();
    configure(
        directory.path(),
        &json!({
            "^example\\.com/": engines("http://{host}/index/short"),
            "^example\\.(com|net)/[a-z]+$": engines("http://{host}/index/long"),
            "^example\\.org/": engines("http://{host}/index/default"),
        }),
    );
    let mut command = ocisite_at(&server, "resolve");
    let resolved = json_of(command.env("XDG_CONFIG_HOME", directory.path()).arg("example.com/app"));
    assert_eq!(uris(&resolved, "example.com/app"), ["long", "short"]);
    assert!(!server.asked().contains(&format!("example.com{WELL_KNOWN}")));
}

#[test]
fn the_home_s_value_wins_over_the_system_s() {
    let server = server_with(&["home", "system", "only-system"]);
    let (home, system) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    configure(home.path(), &json!({"example": engines("http://{host}/index/home")}));
    configure(
        system.path(),
        &json!({"example": engines("http://{host}/index/system"), "app": engines("http://{host}/index/only-system")}),
    );
    let mut command = ocisite_at(&server, "resolve");
    command.env("XDG_CONFIG_HOME", home.path()).env("XDG_CONFIG_DIRS", system.path());
    let resolved = json_of(command.arg("example.com/app"));
    assert_eq!(uris(&resolved, "example.com/app"), ["home", "only-system"]);
}

#[test]
fn without_a_root_from_the_configuration_the_well_known_uri_is_asked() {
    let server = server_with(&["app"]);
    server.with_engines();
    let directory = tempfile::tempdir().unwrap();
    configure(directory.path(), &json!({"example": engines("http://{host}/index/gone")}));
    let mut command = ocisite_at(&server, "resolve");
    let resolved = json_of(command.env("XDG_CONFIG_HOME", directory.path()).arg("example.com/app"));
    assert_eq!(uris(&resolved, "example.com/app"), ["app"]);
}

#[test]
fn no_xdg_leaves_the_configuration_out() {
    let server = server_with(&["local", "app"]);
    server.with_engines();
    let directory = tempfile::tempdir().unwrap();
    configure(directory.path(), &json!({"example": engines("http://{host}/index/local")}));
    let mut command = ocisite_at(&server, "resolve");
    let resolved = json_of(command.env("XDG_CONFIG_HOME", directory.path()).args(["--no-xdg", "example.com/app"]));
    assert_eq!(uris(&resolved, "example.com/app"), ["app"]);
}

#[test]
fn a_broken_configuration_is_a_warning() {
    let server = server_with(&["app"]);
    server.with_engines();
    let directory = tempfile::tempdir().unwrap();
    configure(directory.path(), &json!({"(": {}, "example\\d": {}}));
    let mut command = ocisite_at(&server, "resolve");
    let output = command.env("XDG_CONFIG_HOME", directory.path()).arg("example.com/app").output().unwrap();
    let printed = messages(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(
        printed.contains("warning") && printed.contains("not closed") && printed.contains("`\\d` has no meaning"),
        "{printed}"
    );
}
