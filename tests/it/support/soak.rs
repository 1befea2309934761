//! How long the long tests go on: a little in every run, and as long as `scripts/soak` says there.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A number from the environment; without one, `usual`.
pub fn number(variable: &str, usual: u32) -> u32 {
    let Ok(value) = std::env::var(variable) else { return usual };
    value.parse().unwrap_or_else(|_| panic!("{variable} has to be a number, and is {value:?}"))
}

/// When a command is killed, as parts of its usual duration: moments at random, one in each of as many equal parts, and a few
/// beyond its end.
pub fn moments_to_kill() -> impl Iterator<Item = f64> {
    let kills = number("OCISITE_KILLS", 200);
    (0..kills).map(move |kill| 1.1 * (f64::from(kill) + random()) / f64::from(kills))
}

/// From 0 to 1.
fn random() -> f64 {
    // The standard library's one source of randomness.
    let random = RandomState::new().build_hasher().finish();
    (random >> 32) as f64 / f64::from(u32::MAX)
}
