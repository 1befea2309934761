//! Image indexes that share what they list: twenty-eight levels, each of which lists its one child ten times. The files take 67 KB;
//! 10^28 ways lead down to the image. Every command comes to an end, with 64 MiB of data.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::program::verify;
use crate::images::{INDEX, for_platform, tagged};
use crate::server::Server;
use crate::support::layout::Layout;
use crate::support::memory::{MIB, ocisite_within};
use crate::support::site::assert_whole;

const LEVELS: usize = 28;
const TIMES: usize = 10;

/// The program, with as much data as any command may have.
fn ocisite() -> Command {
    ocisite_within(64 * MIB)
}

/// A layout of such an image under the ref `1.0`.
fn nested_layout(path: PathBuf) -> Layout {
    let mut layout = Layout::new(path);
    let mut top = layout.image("shared");
    top["platform"] = json!({"os": "linux", "architecture": "amd64"});
    for _ in 0..LEVELS {
        top = layout.index_of(&vec![top; TIMES]);
    }
    layout.add("1.0", top);
    layout
}

fn succeeds(args: &[&str]) -> String {
    let output = ocisite().args(args).assert().success().get_output().clone();
    String::from_utf8(output.stdout).unwrap()
}

/// The layout, and a site with it, in which the catalogue and the registry view are, too.
fn site(directory: &TempDir) -> (Layout, PathBuf) {
    let layout = nested_layout(directory.path().join("layout"));
    let site = directory.path().join("site");
    let image = format!("example.com/app={}", layout.arg());
    succeeds(&["publish", "--jobs", "2", "--registry", "--site", text(&site), &image]);
    (layout, site)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_command_on_a_site_comes_to_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let (layout, site) = site(&directory);
    // Then all of it is there: 28 indexes, a manifest, a config and two layers.
    assert_eq!(assert_whole(&site), LEVELS + 4);
    let list: Value = serde_json::from_str(&succeeds(&["list", "--json", text(&site)])).unwrap();
    let entry = &list[0]["entries"][0];
    assert_eq!(entry["platforms"], json!(["linux/amd64"]), "{list:#}");
    succeeds(&["verify", "--jobs", "2", text(&site)]);
    let copy = directory.path().join("copy");
    succeeds(&["copy", "--jobs", "2", text(&site), text(&copy)]);
    verify(&[text(&copy)]).assert_clean();
    succeeds(&[
        "publish",
        "--jobs",
        "2",
        "--recheck",
        "--site",
        text(&site),
        &format!("example.com/app={}", layout.arg()),
    ]);
    succeeds(&["remove", text(&site), "example.com/app#1.0"]);
    succeeds(&["gc", "--jobs", "2", "--grace", "0s", text(&site)]);
    assert!(!site.join("oci-cas").exists());
}

#[test]
fn every_pull_comes_to_an_end() {
    let server = Server::start();
    let mut top = for_platform(&server.image("linux/amd64", b"layer"), "linux/amd64");
    for _ in 0..LEVELS {
        let index = json!({"schemaVersion": 2, "manifests": vec![top; TIMES]});
        top = server.blob(INDEX, index.to_string().as_bytes());
    }
    server.with_engines().with_index("app", &[tagged(&top, "1.0")]);
    let directory = tempfile::tempdir().unwrap();
    for (number, (args, blobs)) in
        [(&[][..], 3), (&["--platform", "linux/amd64"][..], 3), (&["--all-platforms", "--referrers"][..], LEVELS + 3)]
            .into_iter()
            .enumerate()
    {
        let layout = directory.path().join(number.to_string());
        let mut pull = ocisite();
        pull.args(["pull", "--jobs", "2", "--protocol", "http", "--connect-to", &server.address.to_string()]);
        pull.args(["example.com/app", "--to", text(&layout)]).args(args);
        pull.env("HOME", "/nonexistent").env("XDG_CONFIG_DIRS", "/nonexistent").assert().success();
        assert_eq!(layout.join("blobs/sha256").read_dir().unwrap().count(), blobs, "{args:?}");
    }
}
