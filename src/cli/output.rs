//! Readable numbers, errors with their causes, and the verbosity options. Output goes through [`crate::terminal`].

use std::time::Duration;

use clap::Args;

/// How much to print.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Verbosity {
    /// Print errors only.
    #[arg(long, short, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print more: each object, each request.
    #[arg(long, short)]
    pub verbose: bool,
}

/// An error and its causes on one line, without repetitions.
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

/// A duration in seconds with two decimals.
pub fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
