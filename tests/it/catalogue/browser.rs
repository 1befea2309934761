//! The pages in a real browser: `browser.test.mjs` says what has to hold; here are the servers, and what it needs to run.

use std::path::{Path, PathBuf};

use super::site;
use crate::support::http::Base;
use crate::support::nginx::Nginx;
use crate::support::preview::Preview;
use crate::support::tools::{self, node};

/// The browser of this machine. Without one the test fails: nothing else shows that the pages work.
fn chromium() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&path).flat_map(|directory| names.map(|name| directory.join(name)));
    let found = found.into_iter().find(|program| program.is_file());
    found.expect("this test needs chromium in PATH: scripts/test installs it")
}

fn run(base: &Base) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/catalogue/browser.test.mjs");
    let mut node = node();
    node.arg("--test").arg("--test-reporter=spec").arg(script);
    node.env("OCISITE_URL", format!("http://{}/", base.address));
    node.env("OCISITE_MODULES", tools::path("node")).env("OCISITE_BROWSER", chromium());
    let output = node.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn pages_work_in_a_browser_from_the_preview() {
    let demo = site::team();
    run(&Preview::start(&demo.site));
}

#[test]
fn pages_work_in_a_browser_from_nginx() {
    let demo = site::team();
    run(&Nginx::start(&demo.site, &[]));
}
