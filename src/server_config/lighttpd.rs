//! lighttpd 1.4.60 and later: how a text is written in its configuration.
//!
//! A text stands in double quotes, in which nothing has a meaning but a quote, and a backslash before a quote; so a text
//! that ends with a backslash cannot be written. lighttpd's own language matches paths but finds no files, so the
//! configuration calls [`SCRIPT`], which does.

use super::{Dialect, QuoteError, is_text};

pub(super) const DIALECT: Dialect = Dialect {
    server: "lighttpd",
    template_name: "lighttpd.conf.j2",
    template: include_str!("../../templates/lighttpd.conf.j2"),
    quote,
    quote_regex,
};

/// The Lua script that finds files, for mod_magnet. It is the same for every site: what it needs to know of one, the
/// configuration says.
pub const SCRIPT: &str = include_str!("../../templates/lighttpd.lua");

/// Writes a text as one string.
fn quote(text: &str) -> Result<String, QuoteError> {
    if text.ends_with('\\') {
        return Err(refuse(text, "lighttpd would read a backslash at the end as escaping the closing quote"));
    }
    check(text)?;
    Ok(format!("\"{}\"", text.replace('"', r#"\""#)))
}

/// Writes a regular expression as one string. A backslash in it stands before what it escapes, never last.
fn quote_regex(text: &str) -> Result<String, QuoteError> {
    check(text)?;
    Ok(format!("\"{}\"", text.replace('"', r"\x22")))
}

fn check(text: &str) -> Result<(), QuoteError> {
    match is_text(text) {
        false => Err(refuse(text, "it has a control character or an invisible character")),
        true => Ok(()),
    }
}

fn refuse(text: &str, reason: &'static str) -> QuoteError {
    QuoteError { text: text.into(), server: "lighttpd", reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads the strings of a line as lighttpd's own reader does (`config_tokenizer`).
    fn strings(line: &str) -> Vec<String> {
        let mut strings = Vec::new();
        let mut rest = line.chars().peekable();
        while rest.by_ref().any(|c| c == '"') {
            let mut string = String::new();
            while let Some(character) = rest.next().filter(|c| *c != '"') {
                let escaped = if character == '\\' { rest.next_if_eq(&'"') } else { None };
                string.push(escaped.unwrap_or(character));
            }
            strings.push(string);
        }
        strings
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        assert!(quote(r"/srv/a\").is_err());
        assert!(quote("/srv/a\nb").is_err());
        assert!(quote_regex("a\tb").is_err());
        assert_eq!(quote(r#"/srv/$a "b" \c"#).unwrap(), r#""/srv/$a \"b\" \c""#);
    }

    proptest! {
        #[test]
        fn a_quoted_text_is_one_string_with_that_text(text in r#"[a-c"'\\<>#~ /.$é-]{0,12}"#) {
            if let Ok(quoted) = quote(&text) {
                prop_assert_eq!(strings(&format!("server.document-root = {quoted} # \"end\"")), [text, "end".into()]);
            }
        }

        #[test]
        fn an_expression_matches_the_text_and_has_no_quote_inside(text in r#"[a-c"'\\<>#~ /.$é-]{0,12}"#) {
            let quoted = quote_regex(&format!("^{}$", regex::escape(&text))).unwrap();
            let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
            prop_assert!(!inner.contains('"') && regex::Regex::new(inner).unwrap().is_match(&text));
        }
    }
}
