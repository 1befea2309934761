//! What comes first: points in time, and names of versions.

use std::cmp::Ordering;

use chrono::{DateTime, SecondsFormat, Utc};

/// A point in time as documents carry it: UTC to the second, so that text order is time order. None: the text is no RFC 3339
/// date, and says nothing.
pub fn timestamp(text: &str) -> Option<String> {
    let parsed = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
    let text = parsed.to_rfc3339_opts(SecondsFormat::Secs, true);
    // Years outside of 0000 to 9999 carry a sign, and would sort wrongly.
    text.starts_with(|first: char| first.is_ascii_digit()).then_some(text)
}

/// Compares refs as versions: the greater one is the newer. Numbers count as numbers; `1.0` is newer than `1.0-rc1`; what is
/// no version (`latest`, `main`) is older than all versions, in reverse alphabetical order, so that newest first reads right.
pub fn compare_versions(one: &str, other: &str) -> Ordering {
    match (is_version(one), is_version(other)) {
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => other.cmp(one),
        (true, true) => compare_parts(one, other).then_with(|| one.cmp(other)),
    }
}

fn is_version(text: &str) -> bool {
    text.strip_prefix('v').unwrap_or(text).starts_with(|first: char| first.is_ascii_digit())
}

/// A part of a version. The order of the variants is the order of age: `1.0-rc`, `1.0`, `1.0.1`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Word(&'a str),
    End,
    // Without leading zeros, a number with more digits is greater.
    Number(usize, &'a str),
}

fn compare_parts(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.strip_prefix('v').unwrap_or(one), other.strip_prefix('v').unwrap_or(other));
    loop {
        let (first, second) = (next_part(&mut one), next_part(&mut other));
        let order = first.cmp(&second);
        if order.is_ne() || first == Part::End {
            return order;
        }
    }
}

fn next_part<'a>(rest: &mut &'a str) -> Part<'a> {
    *rest = rest.trim_start_matches(|c: char| !c.is_alphanumeric());
    let Some(first) = rest.chars().next() else { return Part::End };
    let is_same = |c: char| c.is_alphanumeric() && c.is_ascii_digit() == first.is_ascii_digit();
    let (part, after) = rest.split_at(rest.find(|c: char| !is_same(c)).unwrap_or(rest.len()));
    *rest = after;
    if !first.is_ascii_digit() {
        return Part::Word(part);
    }
    let number = part.trim_start_matches('0');
    Part::Number(number.len(), number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_are_ordered_as_people_order_them() {
        let newest_first = [
            "v10.0", "2.0.1", "2.0", "2.0-rc10", "2.0-rc2", "2.0-beta", "1.10", "1.9", "v1.9-rc1", "1", "latest",
            "main",
        ];
        let mut sorted = newest_first;
        sorted.reverse();
        sorted.sort_by(|one, other| compare_versions(other, one));
        assert_eq!(sorted, newest_first);
    }

    #[test]
    fn a_point_in_time_is_utc_to_the_second_or_nothing() {
        assert_eq!(timestamp("2024-01-02T03:04:05.678+02:00").as_deref(), Some("2024-01-02T01:04:05Z"));
        for text in ["", "yesterday", "2024-13-01T00:00:00Z", "<b>2024-01-02T03:04:05Z", "2024-01-02"] {
            assert_eq!(timestamp(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_order_of_versions_is_total(a in "[v01a.-]{0,6}", b in "[v01a.-]{0,6}", c in "[v01a.-]{0,6}") {
            prop_assert_eq!(compare_versions(&a, &b), compare_versions(&b, &a).reverse());
            prop_assert_eq!(compare_versions(&a, &b).is_eq(), a == b);
            if compare_versions(&a, &b).is_le() && compare_versions(&b, &c).is_le() {
                prop_assert!(compare_versions(&a, &c).is_le());
            }
        }
    }
}
