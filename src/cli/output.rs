//! How the program speaks: numbers that people can read, and errors with their causes.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

/// How much is said.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Verbosity {
    /// Say only what went wrong.
    #[arg(long, short, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more: each object, each request.
    #[arg(long, short)]
    pub verbose: bool,
}

/// An error and its causes on one line, without what is said twice.
pub fn chain(error: &anyhow::Error) -> String {
    crate::client::remark::chain(error.as_ref())
}

/// `1 image`, `2 images`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A number of bytes in binary units.
pub fn bytes(number: u64) -> String {
    indicatif::BinaryBytes(number).to_string()
}

/// A duration in seconds with as many digits as matter.
pub fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// Prints to standard output. A reader that went away (`| head`) is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// Prints one JSON document and a newline to standard output.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}
