//! Sizes in bytes and numbers of tasks, as options take them.

use std::num::NonZeroUsize;

/// Reads a size: `8388608`, `8MiB`, `1TiB`.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        unit => return Err(format!("{unit:?} is not a unit: expected KiB, MiB, GiB or TiB")),
    };
    let number: u64 = digits.trim().parse().map_err(|_| "expected a number and a unit, such as 64MiB".to_string())?;
    Ok(number.saturating_mul(unit))
}

/// Reads a number of parallel tasks.
pub fn parse_jobs(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected a number from 1, such as 4".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse("8MiB"), Ok(8 << 20));
        assert_eq!(parse("8388608"), Ok(8 << 20));
        assert_eq!(parse("1g"), Ok(1 << 30));
        assert_eq!(parse("2TiB"), Ok(2 << 40));
        assert_eq!(parse("18446744073709551615TiB"), Ok(u64::MAX));
        assert!(parse("8MB").unwrap_err().contains("not a unit"));
        assert!(parse("MiB").unwrap_err().contains("expected a number"));
    }

    #[test]
    fn there_is_at_least_one_job() {
        assert_eq!(parse_jobs("4").map(NonZeroUsize::get), Ok(4));
        for wrong in ["0", "x", "-1", ""] {
            assert_eq!(parse_jobs(wrong).unwrap_err(), "expected a number from 1, such as 4");
        }
    }
}
