//! The pages in a real browser: `browser.test.mjs` says what has to hold; here are the servers, and what it needs to run.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::site;
use crate::support::http::Base;
use crate::support::nginx::Nginx;
use crate::support::preview::Preview;

/// Where the packages of `package.json` are installed.
fn modules() -> &'static Path {
    static MODULES: OnceLock<PathBuf> = OnceLock::new();
    MODULES.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/catalogue/package.json");
        let wanted = std::fs::read(&manifest).unwrap();
        let installed = directory.join("installed.json");
        // Test processes run side by side: the first installs, and the others wait for it.
        std::fs::create_dir_all(&directory).unwrap();
        let lock = File::create(directory.join("lock")).unwrap();
        lock.lock().unwrap();
        if std::fs::read(&installed).ok().as_ref() != Some(&wanted) {
            std::fs::copy(&manifest, directory.join("package.json")).unwrap();
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent"]);
            let status = npm.current_dir(&directory).status();
            let status = status.expect("this test needs npm: scripts/test installs it");
            assert!(status.success(), "npm install: {status}");
            std::fs::write(&installed, &wanted).unwrap();
        }
        directory
    })
}

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
    let mut node = Command::new("node");
    node.arg("--test").arg("--test-reporter=spec").arg(script);
    node.env("OCISITE_URL", format!("http://{}/", base.address));
    node.env("OCISITE_MODULES", modules()).env("OCISITE_BROWSER", chromium());
    let output = node.output().expect("this test needs node: scripts/test installs it");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn pages_work_in_a_browser_from_the_preview() {
    let demo = site::team();
    run(&Preview::start(&demo.site()));
}

#[test]
fn pages_work_in_a_browser_from_nginx() {
    let demo = site::team();
    run(&Nginx::start(&demo.site(), &[]));
}
