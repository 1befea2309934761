//! The characters of a URI (RFC 3986, section 2), which names and templates share.

/// `unreserved` (RFC 3986, section 2.3).
pub(crate) fn is_unreserved(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~')
}

/// `reserved = gen-delims / sub-delims` (RFC 3986, section 2.2).
pub(crate) fn is_reserved(c: char) -> bool {
    matches!(c, ':' | '/' | '?' | '#' | '[' | ']' | '@') || is_sub_delim(c)
}

/// `sub-delims` (RFC 3986, section 2.2).
pub(crate) fn is_sub_delim(c: char) -> bool {
    matches!(c, '!' | '$' | '&' | '\'' | '(' | ')' | '*' | '+' | ',' | ';' | '=')
}

/// Whether `text` starts with `pct-encoded = "%" HEXDIG HEXDIG` (RFC 3986, section 2.1).
pub(crate) fn starts_with_triplet(text: &str) -> bool {
    matches!(text.as_bytes(), [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ascii_character_of_a_uri_is_unreserved_or_reserved_or_the_percent_sign() {
        let in_uri = |c: char| is_unreserved(c) || is_reserved(c) || c == '%';
        let others: String = ('!'..='~').filter(|c| !in_uri(*c)).collect();
        assert_eq!(others, r#""<>\^`{|}"#);
        assert!(!('\0'..='\u{ff}').any(|c| is_unreserved(c) && is_reserved(c)));
        assert!(!in_uri('é') && !in_uri(' '));
    }

    #[test]
    fn a_triplet_has_two_hexadecimal_digits() {
        assert!(starts_with_triplet("%2Fa") && starts_with_triplet("%c3"));
        assert!(!starts_with_triplet("%2") && !starts_with_triplet("%zz") && !starts_with_triplet("a%20"));
    }
}
