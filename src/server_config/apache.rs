//! Apache httpd 2.4: the quoting in its configuration.
//!
//! In double quotes, a backslash escapes a quote and a backslash. But mod_rewrite parses its arguments itself and
//! keeps every backslash, so an expression has a numeric escape for quotes. Before either, `${NAME}` is replaced in
//! the whole line, quoted or not, and cannot be escaped, so it is refused. So is `%{`, which begins an expression in
//! some directives.

use minijinja::Value;

use super::{Dialect, QuoteError, is_text};

pub(super) const DIALECT: Dialect = Dialect {
    server: "Apache",
    template_name: "apache.conf.j2",
    template: include_str!("../../templates/apache.conf.j2"),
    quote,
    quote_regex,
};

/// A text as one argument.
fn quote(text: &str) -> Result<String, QuoteError> {
    if text.contains("%{") {
        return Err(refuse(text, "Apache would read %{ as the beginning of an expression, and cannot escape it"));
    }
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_./:-+*[]".contains(&b);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return Ok(text.into());
    }
    check(text)?;
    Ok(format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#)))
}

/// The path of a root in a `<Directory>` section: unchanged or, if Apache would treat it as a pattern, as a pattern
/// that only this path matches. A root with `?` is refused: the rules of a virtual host lead to files below
/// `%{DOCUMENT_ROOT}`, and mod_rewrite splits a path at `?` before it looks for the file.
pub(super) fn directory(path: &str) -> Result<String, QuoteError> {
    if path.contains('?') {
        return Err(refuse(
            path,
            "a RewriteRule would read the text after ? as the query, and Apache before 2.4.60 cannot prevent this",
        ));
    }
    if !path.contains(['*', '[']) {
        return Ok(path.into());
    }
    let mut pattern = String::new();
    for character in path.chars() {
        match character {
            '*' | '[' => pattern.extend(['[', character, ']']),
            '\\' => pattern.push_str(r"\\"),
            other => pattern.push(other),
        }
    }
    Ok(pattern)
}

/// A path as a part of the substitution or the flags of a RewriteRule, in which mod_rewrite expands variables. Flags end at a comma,
/// and substitutions at a question mark. The caller adds the quotes.
pub(super) fn flag(path: &str) -> Result<Value, QuoteError> {
    check(path)?;
    if path.contains([',', '?', '"', '\\', '$', '%']) {
        return Err(refuse(path, "a RewriteRule would give a comma, ?, a quote, a backslash, $ and % a meaning"));
    }
    Ok(Value::from_safe_string(path.into()))
}

/// A regular expression as one argument. Its backslashes stand before escaped characters, never last.
fn quote_regex(text: &str) -> Result<String, QuoteError> {
    check(text)?;
    Ok(format!("\"{}\"", text.replace('"', r"\x22")))
}

fn check(text: &str) -> Result<(), QuoteError> {
    if !is_text(text) {
        return Err(refuse(text, "it has a control character or an invisible character"));
    }
    if text.contains("${") {
        return Err(refuse(text, "Apache would read ${ as the beginning of a variable, and cannot escape it"));
    }
    Ok(())
}

fn refuse(text: &str, reason: &'static str) -> QuoteError {
    QuoteError { text: text.into(), server: "Apache", reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Parses arguments like Apache (`ap_getword_conf`).
    fn arguments(line: &str) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut rest = line.chars().peekable();
        while let Some(first) = rest.next() {
            if first == ' ' {
                continue;
            }
            let mut argument = String::new();
            if first != '"' {
                argument.push(first);
                argument.extend(std::iter::from_fn(|| rest.next_if(|c| *c != ' ')));
                arguments.push(argument);
                continue;
            }
            while let Some(character) = rest.next().filter(|c| *c != '"') {
                let escaped = if character == '\\' { rest.next_if(|c| matches!(c, '"' | '\\')) } else { None };
                argument.push(escaped.unwrap_or(character));
            }
            arguments.push(argument);
        }
        arguments
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        assert!(quote("/srv/${HOME}").is_err());
        assert!(quote("/srv/%{HTTP_HOST}").is_err());
        assert!(quote("/srv/a\nb").is_err());
        assert!(quote_regex("a\tb").is_err());
        assert_eq!(quote("/srv/$host").unwrap(), "\"/srv/$host\"");
    }

    #[test]
    fn a_directory_is_no_pattern() {
        assert_eq!(directory(r"/srv/a\b]").unwrap(), r"/srv/a\b]");
        assert_eq!(directory(r"/srv/[a]*\b").unwrap(), r"/srv/[[]a][*]\\b");
        assert!(directory("/srv/a?b").is_err());
    }

    #[test]
    fn a_flag_is_a_plain_text() {
        assert_eq!(flag("/srv/a 'b' é]").unwrap().as_str(), Some("/srv/a 'b' é]"));
        for path in ["/a,b", "/a?b", "/a\"b", "/a\\b", "/a$1", "/a%1", "/a\nb"] {
            assert!(flag(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_quoted_text_is_one_argument_with_that_text(text in r#"[a-c"'\\<>#~ /.$é-]{0,12}"#) {
            let expected = vec!["DocumentRoot".to_string(), text.clone()];
            prop_assert_eq!(arguments(&format!("DocumentRoot {}", quote(&text).unwrap())), expected);
        }

        #[test]
        fn an_expression_matches_the_text_and_has_no_quote_inside(text in r#"[a-c"'\\<>#~ /.$é-]{0,12}"#) {
            let quoted = quote_regex(&format!("^{}$", regex::escape(&text))).unwrap();
            let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
            prop_assert!(!inner.contains('"') && regex::Regex::new(inner).unwrap().is_match(&text));
        }
    }
}
