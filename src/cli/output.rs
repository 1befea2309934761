//! Numbers that people can read, errors with their causes, and how much is said. What is printed goes through [`crate::terminal`].

use std::time::Duration;

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
    oci_discovery::error::chain(error.as_ref())
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
