//! The `Range` header (RFC 9110, section 14): single ranges of bytes.

/// What a `Range` header asks of a representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Nothing that is understood here, so all of it: other units, several ranges, or wrong syntax (section 14.2).
    Whole,
    /// The bytes from `start` to `end`, both included.
    Part {
        /// The first byte.
        start: u64,
        /// The last byte.
        end: u64,
    },
    /// A range that begins behind the end.
    Unsatisfiable,
}

/// Reads a header's value for a representation of `size` bytes.
pub fn parse(value: &str, size: u64) -> Range {
    let Some((unit, spec)) = value.split_once('=') else { return Range::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Range::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || spec.contains(',') {
        return Range::Whole;
    }
    match (number(first), number(last)) {
        (Some(Some(start)), Some(Some(end))) if start <= end => part(start, end, size),
        (Some(Some(start)), Some(None)) => part(start, u64::MAX, size),
        (Some(None), Some(Some(length))) if length > 0 && size > 0 => part(size.saturating_sub(length), u64::MAX, size),
        (Some(None), Some(Some(_))) => Range::Unsatisfiable,
        _ => Range::Whole,
    }
}

fn part(start: u64, end: u64, size: u64) -> Range {
    match start < size {
        true => Range::Part { start, end: end.min(size - 1) },
        false => Range::Unsatisfiable,
    }
}

/// A position: absent, a number, or (None) no position at all. One too large for 64 bits is behind every end.
fn number(text: &str) -> Option<Option<u64>> {
    match text.trim() {
        "" => Some(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(Some(digits.parse().unwrap_or(u64::MAX))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn single_ranges_are_cut_to_the_size() {
        assert_eq!(parse("bytes=0-0", 10), Range::Part { start: 0, end: 0 });
        assert_eq!(parse("bytes=2-", 10), Range::Part { start: 2, end: 9 });
        assert_eq!(parse("bytes=2-99", 10), Range::Part { start: 2, end: 9 });
        assert_eq!(parse("bytes=-3", 10), Range::Part { start: 7, end: 9 });
        assert_eq!(parse("bytes=-30", 10), Range::Part { start: 0, end: 9 });
        assert_eq!(parse("bytes=10-", 10), Range::Unsatisfiable);
        assert_eq!(parse("bytes=-0", 10), Range::Unsatisfiable);
        assert_eq!(parse("bytes=0-", 0), Range::Unsatisfiable);
        assert_eq!(parse("bytes=99999999999999999999-", 10), Range::Unsatisfiable);
    }

    #[test]
    fn what_is_not_understood_gets_all() {
        for value in ["bytes=1-2,4-5", "lines=1-2", "bytes", "bytes=a-b", "bytes=5-2", "bytes=-", "bytes=+1-2", ""] {
            assert_eq!(parse(value, 10), Range::Whole, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_part_always_lies_inside(value in "bytes=[0-9]{0,22}-[0-9]{0,22}", size in 0u64..1000) {
            if let Range::Part { start, end } = parse(&value, size) {
                prop_assert!(start <= end && end < size);
            }
        }
    }
}
