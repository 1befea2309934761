//! lighttpd 1.4.60 and later: the quoting in its configuration.
//!
//! In double quotes, only the quote and a backslash before a quote have a meaning; so a text that ends with a
//! backslash cannot be written. lighttpd's language matches paths but cannot look for files, so the configuration
//! calls [`SCRIPT`].

use super::{Dialect, QuoteError, is_text};

pub(super) const DIALECT: Dialect = Dialect {
    server: "lighttpd",
    template_name: "lighttpd.conf.j2",
    template: include_str!("../../templates/lighttpd.conf.j2"),
    quote,
    quote_regex,
};

/// The Lua script that finds files, for mod_magnet. It is the same for every site; the configuration gives it the
/// site's properties.
pub const SCRIPT: &str = include_str!("../../templates/lighttpd.lua");

/// A text as one string.
fn quote(text: &str) -> Result<String, QuoteError> {
    if text.ends_with('\\') {
        return Err(refuse(text, "lighttpd would read a backslash at the end as escaping the closing quote"));
    }
    check(text)?;
    Ok(format!("\"{}\"", text.replace('"', r#"\""#)))
}

/// A regular expression as one string. Its backslashes stand before escaped characters, never last.
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

    /// Parses the strings of a line like lighttpd (`config_tokenizer`).
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
