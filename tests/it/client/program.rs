//! Runs the program, bounded in time and away from this machine's own configuration.

use std::process::Output;
use std::time::Duration;

use assert_cmd::Command;

use super::server::Server;

/// A program that has not ended by then hangs: it is killed, and its test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program without proxies and without local configuration.
pub fn ocisite() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocisite"));
    command.timeout(PATIENCE).env("HOME", "/nonexistent").env("XDG_CONFIG_DIRS", "/nonexistent");
    for name in ["XDG_CONFIG_HOME", "ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "https_proxy", "http_proxy"]
    {
        command.env_remove(name);
    }
    command
}

/// `ocisite SUBCOMMAND` over plain HTTP, with all requests for the name's host sent to `server`.
pub fn ocisite_at(server: &Server, subcommand: &str) -> Command {
    let mut command = ocisite();
    command.args([subcommand, "--protocol", "http", "--connect-to", &server.address.to_string()]);
    command
}

/// What a run printed on standard error.
pub fn messages(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a run that succeeded printed as JSON on standard output.
pub fn json_of(command: &mut Command) -> serde_json::Value {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The digests to which `resolve` says that a name leads.
pub fn digests(resolved: &serde_json::Value, name: &str) -> Vec<String> {
    let roots = resolved[name].as_array().unwrap();
    roots.iter().map(|root| root["root"]["digest"].as_str().unwrap().to_string()).collect()
}

/// Runs a command that has to end with exit code 1 and say all of `words`. Gives all that it said.
pub fn fails(command: &mut Command, words: &[&str]) -> String {
    let output = command.output().unwrap();
    let printed = messages(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    for word in words {
        assert!(printed.contains(word), "expected {word:?} in: {printed}");
    }
    printed
}
