//! Caddy 2: the quoting in a Caddyfile.
//!
//! Between backticks, every character but the backtick is plain, and a regular expression has a numeric escape for it.
//! Double quotes cannot express a backslash before a quote. Braces begin a placeholder in any text, so they are
//! refused there; in a regular expression only `{$`, which is replaced before parsing, has a meaning. Caddy treats the
//! directory of files as a pattern, so a path cannot have characters with a meaning in patterns.

use super::{Dialect, QuoteError, is_text};

pub(super) const DIALECT: Dialect = Dialect {
    server: "Caddy",
    template_name: "Caddyfile.j2",
    template: include_str!("../../templates/Caddyfile.j2"),
    quote,
    quote_regex,
};

/// A text as one token.
fn quote(text: &str) -> Result<String, QuoteError> {
    if text.contains(['{', '}']) {
        return Err(refuse(text, "Caddy would read a brace as the beginning or the end of a placeholder"));
    }
    if text.contains('`') {
        return Err(refuse(text, "it has a backtick, which Caddy's quotes cannot contain"));
    }
    if text.starts_with('/') && text.contains(['*', '?', '[', '\\']) {
        return Err(refuse(text, "Caddy would read *, ?, [ or a backslash in a path as part of a pattern"));
    }
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_./:-+*[]".contains(&b);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return Ok(text.into());
    }
    quote_regex(text)
}

/// A regular expression as one token.
fn quote_regex(text: &str) -> Result<String, QuoteError> {
    if !is_text(text) {
        return Err(refuse(text, "it has a control character or an invisible character"));
    }
    if text.contains("{$") {
        return Err(refuse(text, "Caddy would read {$ as the beginning of a variable"));
    }
    Ok(format!("`{}`", text.replace('`', r"\x60")))
}

fn refuse(text: &str, reason: &'static str) -> QuoteError {
    QuoteError { text: text.into(), server: "Caddy", reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    #[test]
    fn quotes_are_used_where_they_are_needed() {
        assert_eq!(quote("/srv/example.com").unwrap(), "/srv/example.com");
        assert_eq!(quote(r#"/srv/a "b" #"#).unwrap(), r#"`/srv/a "b" #`"#);
        assert_eq!(quote("").unwrap(), "``");
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        for text in ["/srv/{host}", "/srv/{$HOME}", "/srv/a`b", "/srv/a\nb", r"/srv/a\b", "/srv/*", "/srv/[a]"] {
            assert!(quote(text).is_err(), "{text}");
        }
        assert!(quote_regex("{$HOME}").is_err());
    }

    #[test]
    fn a_backtick_in_an_expression_is_written_by_its_number() {
        let quoted = quote_regex(r"^/a`\\`$").unwrap();
        let inner = quoted.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).unwrap();
        assert!(!inner.contains('`'));
        assert!(Regex::new(inner).unwrap().is_match(r"/a`\`"));
    }
}
