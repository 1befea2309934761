//! zstd:chunked: podman knows the files of a layer, and asks for the parts that it does not have, several in one request.
//!
//! Only the driver overlay takes parts of a layer, and only where the storage is configured so.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::Digest;

use crate::support::fixtures::{Site, readable_directory, run};
use crate::support::layout::Layout;
use crate::support::web_server::{NGINX, WebServer};

const FILES: usize = 20;

/// Bytes that do not compress, the same in each run.
fn content(seed: &str) -> Vec<u8> {
    (0..1600).flat_map(|block| sha2::Sha256::digest(format!("{seed} {block}"))).collect()
}

/// Files that each image has its own version of: not beside each other, so that podman asks for two ranges.
const CHANGED: [usize; 2] = [3, 14];

/// A layout with an image of one layer that skopeo compressed as zstd:chunked.
fn image(directory: &Path, name: &str) -> PathBuf {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    header.set_mode(0o755);
    tar.append_data(&mut header, "data/", &[][..]).unwrap();
    for file in 0..FILES {
        let bytes = content(&if CHANGED.contains(&file) { format!("{name} {file}") } else { file.to_string() });
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("data/{file}"), &bytes[..]).unwrap();
    }
    let mut plain = Layout::new(directory.join(format!("{name}-plain")));
    let layer = plain.blob("application/vnd.oci.image.layer.v1.tar", tar.into_inner().unwrap());
    let rootfs = json!({"type": "layers", "diff_ids": [layer["digest"]]});
    let config = json!({"os": "linux", "architecture": "amd64", "rootfs": rootfs});
    let config = plain.document("application/vnd.oci.image.config.v1+json", &config);
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let image = json!({"schemaVersion": 2, "mediaType": manifest, "config": config, "layers": [layer]});
    let image = plain.document(manifest, &image);
    plain.add("1.0", image);
    let chunked = directory.join(name);
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-compress-format=zstd:chunked"]);
    run(skopeo.arg(format!("oci:{}:1.0", plain.path.display())).arg(format!("oci:{}:1.0", chunked.display())));
    chunked
}

/// Pulls an image into the storage of the directory. Gives its layer, as the server has it.
fn pull(server: &WebServer, directory: &Path, name: &str) -> Value {
    let storage = directory.join("storage.conf");
    let path = |name: &str| directory.join(name).display().to_string();
    let config = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = {:?}\nrunroot = {:?}\n[storage.options]\npull_options = {{enable_partial_images = \
         \"true\"}}\n",
        path("root"),
        path("run")
    );
    std::fs::write(&storage, config).unwrap();
    let policy = directory.join("policy.json");
    std::fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
    let mut podman = Command::new("podman");
    podman.env("CONTAINERS_STORAGE_CONF", &storage).args(["pull", "--quiet", "--tls-verify=false", "--os=linux"]);
    podman.args(["--arch=amd64", "--signature-policy"]).arg(policy).arg(format!("{}/{name}:1.0", server.address));
    let manifest = server.get(&format!("/v2/{name}/manifests/1.0")).json();
    let config = manifest["config"]["digest"].as_str().unwrap().replace("sha256:", "");
    assert_eq!(run(&mut podman).trim(), config, "podman has checked what it got");
    manifest["layers"][0].clone()
}

/// The bytes of the bodies that the server sent of a blob.
fn sent(server: &WebServer, layer: &Value) -> u64 {
    let digest = layer["digest"].as_str().unwrap();
    let log = server.access_log();
    let requests = log.lines().filter(|line| line.contains(digest));
    // … "GET PATH HTTP/1.1" STATUS BYTES "REFERER" "CLIENT"
    requests.map(|line| line.split('"').nth(2).unwrap().split(' ').nth(2).unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn podman_pulls_the_changed_part_of_a_layer() {
    // Given two images whose layers differ in two of twenty files, behind nginx with the rendered configuration.
    let directory = readable_directory();
    let layouts = ["old", "new"].map(|name| (name, image(directory.path(), name)));
    let site = Site::empty();
    for (name, layout) in &layouts {
        site.publish(&["--registry", &format!("example.com/{name}={}", layout.display())]);
    }
    let server = WebServer::start_at_its_address(&NGINX, &site.root());
    // When podman pulls the first, then it gets the whole layer,
    let old = pull(&server, directory.path(), "old");
    let size = old["size"].as_u64().unwrap();
    assert!(sent(&server, &old) > size / 10 * 9, "{} of {size}", sent(&server, &old));
    // and of the second it gets the files that differ, and the list of files.
    let new = pull(&server, directory.path(), "new");
    let (size, sent) = (new["size"].as_u64().unwrap(), sent(&server, &new));
    assert!(sent > size / 10 && sent < size / 2, "{sent} of {size}");
}
