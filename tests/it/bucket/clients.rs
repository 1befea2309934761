//! Clients against a bucket's own endpoint: the registry view needs no server that knows anything of it.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::endpoint::BUCKET;
use super::s3fs::S3Fs;
use super::tools;
use crate::clients::containerd::Containerd;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/layouts");

/// Runs a program that has to succeed. Gives what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; ./scripts/test installs it"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A policy that lets images without signatures in, whatever this machine's own says.
fn policy(directory: &Path) -> String {
    let file = directory.join("policy.json");
    std::fs::write(&file, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
    file.to_str().unwrap().into()
}

#[test]
fn clients_pull_from_the_bucket() {
    for preset in ["cas", "registry"] {
        // Given a site with the registry view in a bucket,
        let s3fs = S3Fs::start();
        let images = ["app", "docker", "artifact"].map(|image| format!("example.com/{image}={FIXTURES}/{image}"));
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        s3fs.endpoint().publish(&[&["--preset", preset, "--registry"], &images[..]].concat());
        // (The server takes a host that is an address for its own, and not for a bucket's.)
        assert_is_pulled(&format!("docker://localhost:{}", s3fs.web().port()), Command::new);
    }
}

#[test]
fn clients_pull_from_the_host_of_a_bucket_without_any_rule() {
    // Given a site in a bucket that the store serves as a host,
    let (moto, endpoint) = tools::moto();
    let images = ["app", "docker"].map(|image| format!("example.com/{image}={FIXTURES}/{image}"));
    endpoint.publish(&["--registry", &images[0], &images[1]]);
    // (No name service here knows hosts below localhost, so the server is the clients' proxy, too.)
    let proxy = format!("http://{}", moto.address);
    let through = |program: &'static str| {
        let mut command = Command::new(program);
        command.env("http_proxy", &proxy).env("https_proxy", &proxy).env_remove("no_proxy").env_remove("NO_PROXY");
        command
    };
    // then clients pull: those that first ask for `/v2/`,
    let registry = format!("{BUCKET}.localhost:{}", moto.address.port());
    assert_is_pulled(&format!("docker://{registry}"), through);
    // and containerd,
    let containerd = Containerd::start();
    for image in ["app:1.0", "docker:list"] {
        run(containerd.pull(&format!("{registry}/{image}")).env("http_proxy", &proxy).env("https_proxy", &proxy));
    }
    // and ocisite, which finds the image by its name.
    let directory = TempDir::new().unwrap();
    let address = moto.address.to_string();
    let mut pull = Command::new(env!("CARGO_BIN_EXE_ocisite"));
    pull.args(["pull", "--no-xdg", "--protocol", "http", "--connect-to", &address, "--to"])
        .arg(directory.path().join("layout"));
    run(pull.arg(format!("{BUCKET}.localhost/app#1.0")));
}

/// Pulls `docker:list` and `app:1.0` from a registry.
fn assert_is_pulled(registry: &str, command: impl Fn(&'static str) -> Command) {
    // When an index of several platforms is copied, then skopeo has compared every digest;
    let directory = TempDir::new().unwrap();
    let policy = policy(directory.path());
    let target = format!("dir:{}", directory.path().join("copied").display());
    let copy = ["copy", "--all", "--preserve-digests", "--src-tls-verify=false"];
    run(command("skopeo").args(["--policy", &policy]).args(copy).args([&format!("{registry}/docker:list"), &target]));
    let tags = run(command("skopeo").args(["list-tags", "--tls-verify=false", &format!("{registry}/app")]));
    let tags: serde_json::Value = serde_json::from_str(&tags).unwrap();
    assert_eq!(tags["Tags"], serde_json::json!(["1.0", "1.1"]));

    // and podman and buildah pull into stores of their own.
    for engine in ["podman", "buildah"] {
        let mut engine = command(engine);
        engine.arg("--root").arg(directory.path().join("root")).arg("--runroot").arg(directory.path().join("run"));
        engine.args(["--storage-driver=vfs", "pull", "--quiet", "--tls-verify=false", "--signature-policy", &policy]);
        let id = run(engine.args(["--os=linux", "--arch=amd64", &format!("{registry}/app:1.0")]));
        assert_eq!(id.trim().len(), 64, "{id}");
    }
}
