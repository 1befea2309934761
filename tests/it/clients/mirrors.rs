//! podman and containerd with the configurations that `ocisite client-config` prints: the site's own names, and those of a registry
//! that the site mirrors.

use std::path::Path;
use std::process::Command;

use super::containerd::Containerd;
use crate::servers::configurations::KINDS;
use crate::servers::namespaces;
use crate::support::fixtures::{self, PROGRAM, Site, readable_directory, run};
use crate::support::preview::Preview;
use crate::support::program::{fails, ocisite};
use crate::support::web_server::{Kind, WebServer};

/// A site with an image of its own, and one that mirrors `docker.io/library/app`.
fn mirror() -> (Site, Preview) {
    let site = Site::of_fixtures(&["--registry"]);
    let app = fixtures::layouts().join("app");
    site.publish(&[&format!("example.com/mirror/docker.io/library/app={}", app.display())]);
    let preview = Preview::start(&site.root());
    (site, preview)
}

fn client_config(site: &Site, server: &Preview, args: &[&str]) -> String {
    let origin = format!("http://{}", server.address);
    run(Command::new(PROGRAM).args(["client-config", "--server", &origin, "--site"]).arg(site.root()).args(args))
}

const MIRROR: [&str; 2] = ["--mirror-for", "docker.io=mirror/docker.io"];

fn write(directory: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let file = directory.join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn podman_pulls_the_sites_names_and_those_that_it_mirrors() {
    // Given a node with the printed configuration.
    let (site, server) = mirror();
    let directory = readable_directory();
    let policy = write(directory.path(), "policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
    let config = client_config(&site, &server, &[&["podman"][..], &MIRROR].concat());
    let config = write(directory.path(), "registries.conf", &config);
    // When podman pulls, then each image is found.
    for image in [format!("{}/app:1.0", server.address), "docker.io/library/app:1.0".into()] {
        let mut podman = Command::new("podman");
        podman.env("CONTAINERS_REGISTRIES_CONF", &config);
        podman.arg("--root").arg(directory.path().join("root")).arg("--runroot").arg(directory.path().join("run"));
        podman.args(["--storage-driver=vfs", "pull", "--quiet", "--signature-policy"]).arg(&policy);
        assert!(!run(podman.args(["--os=linux", "--arch=amd64", &image])).is_empty(), "{image}");
    }
}

#[test]
fn containerd_pulls_the_sites_names_and_those_that_it_mirrors() {
    let (site, server) = mirror();
    let directory = readable_directory();
    let own = client_config(&site, &server, &["containerd"]);
    write(directory.path(), &format!("{}/hosts.toml", server.address), &own);
    let mirrored = client_config(&site, &server, &[&["containerd"][..], &MIRROR].concat());
    write(directory.path(), "docker.io/hosts.toml", &mirrored);
    let containerd = Containerd::start();
    for image in [format!("{}/app:1.0", server.address), "docker.io/library/app:1.0".into()] {
        run(&mut containerd.pull_with_hosts(directory.path(), &image));
    }
}

#[test]
fn containerd_pulls_names_of_several_registries_from_one_server() {
    // Given a site for each of two registries, behind one server.
    let site = namespaces::registries();
    let serve = |kind: &Kind| WebServer::start_at_its_address(kind, &site.root());
    let servers: Vec<WebServer> = KINDS.into_iter().map(serve).collect();
    let preview = Preview::start(&site.root());
    for server in servers.iter().map(|server| &**server).chain([&*preview]) {
        // When a node uses the server as a mirror of both,
        let directory = readable_directory();
        for registry in ["docker.io", "example.com"] {
            let origin = format!("http://{}", server.address);
            let mut config = Command::new(PROGRAM);
            config.args(["client-config", "containerd", "--server", &origin, "--mirror-for", &format!("{registry}=")]);
            let hosts = run(config.arg("--site").arg(site.root().join(registry)));
            write(directory.path(), &format!("{registry}/hosts.toml"), &hosts);
        }
        // then each name leads to the image of its registry.
        let containerd = Containerd::start();
        run(&mut containerd.pull_with_hosts(directory.path(), "docker.io/library/app:1.0"));
        run(&mut containerd.pull_with_hosts(directory.path(), "example.com/app:1.1"));
        let other = containerd.pull_with_hosts(directory.path(), "docker.io/library/missing:1.0").output().unwrap();
        assert!(!other.status.success(), "docker.io has no such image");
    }
}

#[test]
fn options_of_registry_clients_are_refused_for_a_consumer() {
    let site = Site::of_fixtures(&[]);
    for option in [["--server", "https://example.com"], ["--mirror-for", "docker.io="]] {
        let mut command = ocisite();
        command.args(["client-config", "xdg", "--site"]).arg(site.root()).args(option);
        fails(&mut command, &[option[0], "does not apply to xdg", "omit the option"]);
    }
}

#[test]
fn a_consumer_resolves_by_the_printed_document() {
    // Given the document of a site's names, and no ref-engines object at their host.
    let (site, server) = mirror();
    let directory = readable_directory();
    let origin = format!("http://{}", server.address);
    let document = run(Command::new(PROGRAM).args(["client-config", "xdg", "--site"]).arg(site.root()));
    let document = document.replace("https://{host}", &origin);
    write(directory.path(), "oci-discovery/ref-engine-discovery.json", &document);
    // When a name is resolved, then the index is that of the site.
    let mut resolve = Command::new(PROGRAM);
    resolve.env("XDG_CONFIG_HOME", directory.path()).args([
        "resolve",
        "--allow-private",
        "127.0.0.1",
        "example.com/app#1.0",
    ]);
    let resolved: serde_json::Value = serde_json::from_str(&run(&mut resolve)).unwrap();
    assert_eq!(resolved["example.com/app#1.0"][0]["uri"], format!("{origin}/oci-index/app"));
}
