//! File systems of a test's own: small ones, full ones, read-only ones.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::program::PROGRAM;

/// Runs a shell script in a mount namespace. In it, `$1` is the program, `$2` a directory that a tmpfs can be mounted on, and `$3`
/// a directory that outlives the namespace.
pub fn in_mount_namespace(script: &str, outside: &Path) -> Output {
    let mount_point = TempDir::new().unwrap();
    // Root needs no user namespace of its own, and in a chroot cannot have one.
    let is_root = rustix::process::geteuid().is_root();
    let namespaces: &[&str] = if is_root { &["--mount"] } else { &["--mount", "--map-root-user"] };
    let output = Command::new("unshare")
        .args(namespaces)
        .args(["sh", "-euc", script, "sh", PROGRAM])
        .args([mount_point.path(), outside])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cannot mount in a namespace (is CAP_SYS_ADMIN missing?): {printed}");
    output
}
