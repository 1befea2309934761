//! The programs that `scripts/test-tools` installs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A path below the directory in which they are.
pub fn path(name: &str) -> PathBuf {
    let tools = std::env::var_os("OCISITE_TEST_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools"), PathBuf::from);
    let path = tools.join(name);
    assert!(path.exists(), "{} is missing: run scripts/test-tools", path.display());
    path
}

/// Node, ready to be given a script.
pub fn node() -> Command {
    Command::new(path("node/node"))
}
