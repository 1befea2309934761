//! Several checks of one running server, so that a server starts once, and every failing check is named.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::http::Base;

/// Checks with their names.
pub type Checks = &'static [(&'static str, fn(&Base))];

/// Functions as [`Checks`].
macro_rules! checks_of {
    ($($check:path),* $(,)?) => { &[$((stringify!($check), $check)),*] };
}
pub(super) use checks_of;

/// Runs each check, also those after one that fails.
pub fn run(server: &str, checks: &[(&str, fn(&Base))], base: &Base) {
    let fails = |(name, check): &&(&str, fn(&Base))| {
        eprintln!("{server}: {name}");
        catch_unwind(AssertUnwindSafe(|| check(base))).is_err()
    };
    let failed: Vec<&str> = checks.iter().filter(fails).map(|(name, _)| *name).collect();
    assert!(failed.is_empty(), "{server}: {failed:?}");
}
