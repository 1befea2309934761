//! `ocisite server-config kubernetes`: the manifest is YAML, and has nginx's configuration as `server-config nginx` prints it.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::fixtures::{PROGRAM, Site, readable_directory, run};
use crate::support::program::ocisite;
use crate::support::web_server::{NGINX, test_config};

/// The documents of a text of YAML, read by Python's parser.
fn documents(text: &str) -> Vec<Value> {
    let script = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    let mut python = Command::new("python3");
    let mut child = python.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "this test needs python3 with yaml: scripts/test installs python3-yaml");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_manifest_serves_a_volume_with_the_configuration_of_nginx() {
    // Given a site with the registry view, and its manifest.
    let site = Site::of_fixtures(&["--registry"]);
    let print =
        |args: &[&str]| run(Command::new(PROGRAM).arg("server-config").args(args).arg("--site").arg(site.root()));
    let manifest = print(&["kubernetes", "--claim", "images", "--name", "registry"]);
    let documents = documents(&manifest);
    let kinds: Vec<&Value> = documents.iter().map(|document| &document["kind"]).collect();
    assert_eq!(kinds, ["ConfigMap", "Deployment", "Service"]);
    assert!(documents.iter().all(|document| document["metadata"]["name"] == "registry"));
    // Then the configuration is nginx's, and nginx takes it.
    let configuration = documents[0]["data"]["nginx.conf"].as_str().unwrap();
    let args = ["--root", "/srv/site", "--listen", "0.0.0.0:8080", "--standalone", "/run/nginx"];
    assert_eq!(configuration, print(&[&["nginx"], &args[..]].concat()));
    let state = readable_directory();
    let file = state.path().join("nginx.conf");
    std::fs::write(&file, configuration.replace("/run/nginx", state.path().to_str().unwrap())).unwrap();
    test_config(&NGINX, &file).unwrap();
    // And the paths, names and ports of the pod are those of the configuration.
    let pod = &documents[1]["spec"]["template"];
    assert_eq!(documents[2]["spec"]["selector"], pod["metadata"]["labels"]);
    assert_eq!(documents[1]["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"]);
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["ports"][0]["containerPort"], 8080);
    let mounts = container["volumeMounts"].as_array().unwrap();
    let paths: Vec<&Value> = mounts.iter().map(|mount| &mount["mountPath"]).collect();
    assert_eq!(paths, ["/etc/ocisite", "/srv/site", "/run/nginx"]);
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    assert!(mounts.iter().all(|mount| volumes.iter().any(|volume| volume["name"] == mount["name"])));
    assert_eq!(volumes[1]["persistentVolumeClaim"]["claimName"], "images");
    assert!(container["command"][2].as_str().unwrap().contains("nginx -c /etc/ocisite/nginx.conf"));
}

#[test]
fn a_name_that_kubernetes_would_refuse_is_refused() {
    let mut command = ocisite();
    let refused = command.args(["server-config", "kubernetes", "--site", "site", "--claim", "a: b"]).assert().failure();
    assert!(String::from_utf8_lossy(&refused.get_output().stderr).contains("63 characters"));
}
