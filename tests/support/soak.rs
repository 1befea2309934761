//! How long the long tests go on: a little in every run, and as long as `scripts/soak` says there.

/// A number from the environment; without one, `usual`.
pub fn number(variable: &str, usual: u32) -> u32 {
    let Ok(value) = std::env::var(variable) else { return usual };
    value.parse().unwrap_or_else(|_| panic!("{variable} has to be a number, and is {value:?}"))
}

/// How often a command is killed at some moment of its run.
pub fn kills() -> u32 {
    number("OCISITE_KILLS", 12)
}
