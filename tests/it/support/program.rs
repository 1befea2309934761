//! Runs the program, bounded in time.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use assert_cmd::Command;

use super::site::Snapshot;

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ocisite");

/// Long enough for the slowest test on the slowest machine; a program that hangs is killed then, and its test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program, ready to be given arguments.
pub fn ocisite() -> Command {
    let mut command = Command::new(PROGRAM);
    command.timeout(PATIENCE).env_remove("NO_COLOR");
    command
}

/// A run of the program that has to succeed.
pub trait Succeeds {
    /// Gives what it printed on standard output.
    fn succeeds(&mut self) -> String;
    /// Gives the JSON that it printed.
    fn json(&mut self) -> serde_json::Value;
    /// Gives what it printed on standard error.
    fn warns(&mut self) -> String;
}

impl Succeeds for Command {
    fn succeeds(&mut self) -> String {
        String::from_utf8(self.assert().success().get_output().stdout.clone()).unwrap()
    }

    fn json(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.succeeds()).unwrap()
    }

    fn warns(&mut self) -> String {
        String::from_utf8(self.assert().success().get_output().stderr.clone()).unwrap()
    }
}

/// `ocisite publish --site SITE ARGS…`, which has to succeed. Gives what it printed.
pub fn publish(site: &Path, args: &[&str]) -> String {
    ocisite().arg("publish").arg("--site").arg(site).args(args).succeeds()
}

/// `ocisite publish --json …`, which has to succeed. Gives its JSON.
pub fn publish_json(site: &Path, args: &[&str]) -> serde_json::Value {
    ocisite().arg("publish").arg("--site").arg(site).args(args).arg("--json").json()
}

/// Runs a publish that has to be refused: exit code 2, nothing on standard output, one message that has all of `words`, and
/// the site as it was. Gives the message.
pub fn refused(site: &Path, args: &[&str], words: &[&str]) -> String {
    let before = Snapshot::of(site);
    let message = fails(ocisite().arg("publish").arg("--site").arg(site).args(args), words);
    before.assert_unchanged(site);
    message
}

/// Runs a command that has to fail with exit code 2 and one message that has all of `words`.
pub fn fails(command: &mut Command, words: &[&str]) -> String {
    let output = command.assert().code(2).stdout("").get_output().clone();
    let message = String::from_utf8(output.stderr).unwrap();
    for word in words {
        assert!(message.contains(word), "expected {word:?} in: {message}");
    }
    assert_eq!(message.matches("ocisite: ").count(), 1, "expected one message, found: {message}");
    message
}

/// An argument from any path.
pub fn text(path: &(impl AsRef<OsStr> + ?Sized)) -> &str {
    path.as_ref().to_str().unwrap()
}
