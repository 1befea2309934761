//! The `Range` header (RFC 9110, section 14): ranges of bytes.

use crate::site::object::MAX_RANGES;

/// What a `Range` header asks of a representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// Nothing that is understood here, so all of it: other units, wrong syntax (section 14.2), too many ranges, or ranges that
    /// have more bytes together than there are.
    Whole,
    /// These parts, one at least.
    Parts(Vec<Part>),
    /// Ranges that all begin behind the end.
    Unsatisfiable,
}

/// A part of a representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The first byte.
    pub start: u64,
    /// The last byte.
    pub end: u64,
}

impl Part {
    /// `Content-Range`, of a representation of `size` bytes.
    pub fn content_range(self, size: u64) -> String {
        format!("bytes {}-{}/{size}", self.start, self.end)
    }

    /// How many bytes it has.
    pub fn length(self) -> u64 {
        self.end - self.start + 1
    }
}

/// Reads a header's value for a representation of `size` bytes.
pub fn parse(value: &str, size: u64) -> Ranges {
    let Some((unit, specs)) = value.split_once('=') else { return Ranges::Whole };
    // A list may have empty elements (section 5.6.1.2).
    let specs = specs.split(',').map(str::trim).filter(|spec| !spec.is_empty());
    let parts: Option<Vec<Option<Part>>> = specs.take(MAX_RANGES + 1).map(|spec| part(spec, size)).collect();
    let Some(parts) = parts.filter(|_| unit.trim().eq_ignore_ascii_case("bytes")) else { return Ranges::Whole };
    if parts.is_empty() || parts.len() > MAX_RANGES {
        return Ranges::Whole;
    }
    let parts: Vec<Part> = parts.into_iter().flatten().collect();
    let bytes = parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.length()));
    match parts.is_empty() {
        true => Ranges::Unsatisfiable,
        false if bytes > size => Ranges::Whole,
        false => Ranges::Parts(parts),
    }
}

/// The part that a range means. Some(None): it begins behind the end; None: it is malformed.
fn part(spec: &str, size: u64) -> Option<Option<Part>> {
    let (first, last) = spec.split_once('-')?;
    let (start, end) = match (number(first)?, number(last)?) {
        (Some(start), Some(end)) if start <= end => (start, end),
        (Some(start), None) => (start, u64::MAX),
        (None, Some(length)) if length > 0 => (size.saturating_sub(length), u64::MAX),
        (None, Some(_)) => return Some(None),
        _ => return None,
    };
    Some((start < size).then(|| Part { start, end: end.min(size - 1) }))
}

/// A position: absent, a number, or (None) malformed. A number too large for 64 bits is after every end.
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

    fn one(start: u64, end: u64) -> Ranges {
        Ranges::Parts(vec![Part { start, end }])
    }

    #[test]
    fn single_ranges_are_cut_to_the_size() {
        assert_eq!(parse("bytes=0-0", 10), one(0, 0));
        assert_eq!(parse("bytes=2-", 10), one(2, 9));
        assert_eq!(parse("bytes=2-99", 10), one(2, 9));
        assert_eq!(parse("bytes=-3", 10), one(7, 9));
        assert_eq!(parse("bytes=-30", 10), one(0, 9));
        assert_eq!(parse("bytes=10-", 10), Ranges::Unsatisfiable);
        assert_eq!(parse("bytes=-0", 10), Ranges::Unsatisfiable);
        assert_eq!(parse("bytes=0-", 0), Ranges::Unsatisfiable);
        assert_eq!(parse("bytes=99999999999999999999-", 10), Ranges::Unsatisfiable);
    }

    #[test]
    fn what_is_not_understood_gets_all() {
        for value in
            ["bytes=1-2,a-b", "bytes=,", "lines=1-2", "bytes", "bytes=a-b", "bytes=5-2", "bytes=-", "bytes=+1-2", ""]
        {
            assert_eq!(parse(value, 10), Ranges::Whole, "{value}");
        }
    }

    #[test]
    fn several_ranges_are_parts_in_their_order_without_those_behind_the_end() {
        let part = |start, end| Part { start, end };
        assert_eq!(parse("bytes=7-8, 0-1,,-1,10-", 10), Ranges::Parts(vec![part(7, 8), part(0, 1), part(9, 9)]));
        assert_eq!(parse("bytes=10-11,12-", 10), Ranges::Unsatisfiable);
    }

    #[test]
    fn more_ranges_or_more_bytes_than_a_response_has_are_all() {
        let ranges = |count: u64| (0..count).map(|at| format!("{at}-{at}")).collect::<Vec<_>>().join(",");
        let (most, size) = (MAX_RANGES as u64, 10_000);
        assert!(
            matches!(parse(&format!("bytes={}", ranges(most)), size), Ranges::Parts(parts) if parts.len() == MAX_RANGES)
        );
        assert_eq!(parse(&format!("bytes={}", ranges(most + 1)), size), Ranges::Whole);
        assert_eq!(parse("bytes=0-5,0-5", 10), Ranges::Whole);
    }

    proptest! {
        #[test]
        fn a_part_always_lies_inside(value in "bytes=[0-9]{0,22}-[0-9]{0,22}(,[0-9]{0,3}-[0-9]{0,3}){0,3}", size in 0u64..1000) {
            if let Ranges::Parts(parts) = parse(&value, size) {
                prop_assert!(!parts.is_empty());
                prop_assert!(parts.iter().all(|part| part.start <= part.end && part.end < size));
            }
        }
    }
}
