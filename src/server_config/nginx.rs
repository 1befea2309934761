//! nginx: the quoting in its configuration.
//!
//! In double quotes, braces, semicolons and white space are plain characters. A dollar sign begins a variable in many
//! directives and cannot be escaped, so it is refused. The regular expression of a `location` has no variables.

use super::{Dialect, QuoteError, is_text};

pub(super) const DIALECT: Dialect = Dialect {
    server: "nginx",
    template_name: "nginx.conf.j2",
    template: include_str!("../../templates/nginx.conf.j2"),
    quote,
    quote_regex,
};

/// A text as one token.
fn quote(text: &str) -> Result<String, QuoteError> {
    if text.contains('$') {
        return Err(refuse(text, "nginx would read $ as the beginning of a variable, and has no way to escape it"));
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
    let mut quoted = String::from("\"");
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        // nginx removes a backslash before these characters and keeps all others: `\.` needs no second one.
        let is_special = match character {
            '"' => true,
            '\\' => matches!(rest.peek(), None | Some('"' | '\'' | '\\' | 't' | 'r' | 'n')),
            _ => false,
        };
        if is_special {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    Ok(quoted)
}

fn refuse(text: &str, reason: &'static str) -> QuoteError {
    QuoteError { text: text.into(), server: "nginx", reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Parses the tokens of a line like nginx (`ngx_conf_read_token`).
    fn tokens(line: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        let mut rest = line.chars().peekable();
        while let Some(first) = rest.next() {
            if first == ' ' {
                continue;
            }
            if matches!(first, ';' | '{' | '}' | '#') {
                tokens.push(format!("<{first}>"));
                continue;
            }
            let quote = Some(first).filter(|c| matches!(c, '"' | '\''));
            let mut token = String::new();
            let mut next = if quote.is_some() { rest.next() } else { Some(first) };
            while let Some(character) = next {
                match (character, quote) {
                    ('\\', _) => {
                        match rest.next() {
                            Some(c @ ('"' | '\'' | '\\')) => token.push(c),
                            Some('t') => token.push('\t'),
                            Some('r') => token.push('\r'),
                            Some('n') => token.push('\n'),
                            Some(c) => token.extend(['\\', c]),
                            None => token.push('\\'),
                        };
                    }
                    (c, Some(quote)) if c == quote => break,
                    (c, _) => token.push(c),
                }
                if quote.is_none() && matches!(rest.peek(), Some(' ' | ';' | '{')) {
                    break;
                }
                next = rest.next();
            }
            tokens.push(token);
        }
        tokens
    }

    #[test]
    fn quotes_are_used_where_they_are_needed() {
        assert_eq!(quote("/srv/example.com").unwrap(), "/srv/example.com");
        assert_eq!(quote("[::]:80").unwrap(), "[::]:80");
        assert_eq!(quote("application/json; charset=utf-8").unwrap(), "\"application/json; charset=utf-8\"");
        assert_eq!(quote("").unwrap(), "\"\"");
        assert_eq!(quote_regex(r"^/a\.b/[a-f0-9]{1,2}$").unwrap(), r#""^/a\.b/[a-f0-9]{1,2}$""#);
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        assert!(quote("/srv/$host").is_err());
        assert!(quote("/srv/a\nb").is_err());
        assert!(quote_regex("a\tb").is_err());
    }

    proptest! {
        #[test]
        fn a_quoted_text_is_one_token_with_that_text(text in r#"[a-cntr"'\\{};#~ /.$é-]{0,12}"#) {
            let expected = vec!["root".to_string(), text.clone(), "<;>".to_string()];
            if let Ok(quoted) = quote(&text) {
                prop_assert_eq!(tokens(&format!("root {quoted};")), expected.clone());
            }
            prop_assert_eq!(tokens(&format!("root {};", quote_regex(&text).unwrap())), expected);
        }
    }
}
