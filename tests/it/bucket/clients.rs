//! skopeo and podman against a bucket's own endpoint: the registry view needs no server that knows anything of it.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::s3fs::S3Fs;

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
fn skopeo_and_podman_pull_from_the_bucket() {
    for preset in ["cas", "registry"] {
        // Given a site with the registry view in a bucket,
        let s3fs = S3Fs::start();
        let images = ["app", "docker", "artifact"].map(|image| format!("example.com/{image}={FIXTURES}/{image}"));
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        s3fs.endpoint().publish(&[&["--preset", preset, "--registry"], &images[..]].concat());
        // (The server takes a host that is an address for its own, and not for a bucket's.)
        let registry = format!("docker://localhost:{}", s3fs.web().port());

        // when an index of several platforms is copied, then skopeo has compared every digest;
        let directory = TempDir::new().unwrap();
        let policy = policy(directory.path());
        let target = format!("dir:{}", directory.path().join("copied").display());
        let copy = ["copy", "--all", "--preserve-digests", "--src-tls-verify=false"];
        run(Command::new("skopeo")
            .args(["--policy", &policy])
            .args(copy)
            .args([&format!("{registry}/docker:list"), &target]));
        let tags = run(Command::new("skopeo").args(["list-tags", "--tls-verify=false", &format!("{registry}/app")]));
        let tags: serde_json::Value = serde_json::from_str(&tags).unwrap();
        assert_eq!(tags["Tags"], serde_json::json!(["1.0", "1.1"]));

        // and podman pulls into a store of its own.
        let mut podman = Command::new("podman");
        podman.arg("--root").arg(directory.path().join("root")).arg("--runroot").arg(directory.path().join("run"));
        podman.args(["--storage-driver=vfs", "pull", "--quiet", "--tls-verify=false", "--signature-policy", &policy]);
        let id = run(podman.args(["--os=linux", "--arch=amd64", &format!("{registry}/app:1.0")]));
        assert_eq!(id.trim().len(), 64, "{id}");
    }
}
