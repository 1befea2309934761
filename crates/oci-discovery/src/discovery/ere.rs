//! POSIX extended regular expressions (IEEE Std 1003.1, section 9.4): the keys of a local configuration.
//!
//! [`compile`] translates an expression to the syntax of the `regex` crate, which matches every expression in linear
//! time. A consumer asks only whether an expression matches, so the rules for choosing between several matches have no
//! effect. Forms that the standard leaves undefined or that have another meaning in other dialects (`\d`, `(?:`, a lone
//! `{`, `*` at the beginning) are errors. Two undefined forms are accepted, because all implementations agree on them:
//! a repetition of a repetition (`a**`), and an empty alternative (`a|`, `()`).

use regex::Regex;

/// A malformed expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expression:?}, column {column}: {problem}")]
pub(super) struct EreError {
    /// The expression.
    pub expression: String,
    /// The column, in characters from 1.
    pub column: usize,
    /// The fault there.
    pub problem: String,
}

/// The most repetitions in an interval such as `{1,255}`: `RE_DUP_MAX` of POSIX.
const MAX_REPETITIONS: u32 = 255;
/// The most nested groups. Each level is a recursive call, here and in the parser of `regex`.
const MAX_NESTING: usize = 50;

/// Compiles an expression (IEEE Std 1003.1, section 9.4).
pub(super) fn compile(expression: &str) -> Result<Regex, EreError> {
    let mut translator = Translator { expression, rest: expression, out: String::with_capacity(2 * expression.len()) };
    translator.alternatives(0)?;
    if translator.rest.starts_with(')') {
        return Err(translator.error("`)` closes nothing; write `\\)` for a parenthesis"));
    }
    Regex::new(&translator.out).map_err(|error| EreError {
        expression: expression.into(),
        column: 1,
        problem: match error {
            regex::Error::CompiledTooBig(limit) => format!("it needs more than {limit} bytes when compiled"),
            error => error.to_string(),
        },
    })
}

struct Translator<'a> {
    expression: &'a str,
    rest: &'a str,
    out: String,
}

impl Translator<'_> {
    fn error(&self, problem: impl Into<String>) -> EreError {
        let consumed = self.expression.len() - self.rest.len();
        let column = self.expression[..consumed].chars().count() + 1;
        EreError { expression: self.expression.into(), column, problem: problem.into() }
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Alternatives up to the end or before a `)`.
    fn alternatives(&mut self, depth: usize) -> Result<(), EreError> {
        if depth > MAX_NESTING {
            return Err(self.error(format!("groups are nested more than {MAX_NESTING} deep")));
        }
        while !self.rest.is_empty() && !self.rest.starts_with(')') {
            if self.eat("|") {
                self.out.push('|');
                continue;
            }
            let start = self.out.len();
            let repeats = self.atom(depth)?;
            self.repetitions(start, repeats)?;
        }
        Ok(())
    }

    /// One atom or anchor. Returns whether a repetition may follow.
    fn atom(&mut self, depth: usize) -> Result<bool, EreError> {
        match self.rest.chars().next() {
            Some('(') => return self.group(depth).map(|()| true),
            Some('[') => return self.bracket().map(|()| true),
            Some('\\') => return self.escape().map(|()| true),
            Some(found @ ('*' | '+' | '?' | '{')) => {
                return Err(self.error(format!("`{found}` repeats nothing; write `\\{found}` for the character")));
            }
            _ => {}
        }
        match self.next() {
            Some(anchor @ ('^' | '$')) => {
                self.out.push(anchor);
                return Ok(false);
            }
            // POSIX's dot has no exception for newlines.
            Some('.') => self.out.push_str("(?s:.)"),
            Some(literal) => self.literal(literal),
            None => {}
        }
        Ok(true)
    }

    fn literal(&mut self, literal: char) {
        self.out.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
    }

    fn group(&mut self, depth: usize) -> Result<(), EreError> {
        let unclosed = self.error("the group that starts here is not closed; add `)`, or write `\\(`");
        self.next();
        self.out.push_str("(?:");
        self.alternatives(depth + 1)?;
        if !self.eat(")") {
            return Err(unclosed);
        }
        self.out.push(')');
        Ok(())
    }

    fn escape(&mut self) -> Result<(), EreError> {
        let place = self.rest;
        self.next();
        match self.next() {
            // POSIX defines escapes of special characters only; all implementations agree on other punctuation.
            Some(escaped) if !escaped.is_alphanumeric() => {
                self.literal(escaped);
                Ok(())
            }
            found => {
                self.rest = place;
                Err(self.error(match found {
                    Some(escaped) => format!("`\\{escaped}` has no meaning in a POSIX extended regular expression"),
                    None => "nothing follows the backslash; write `\\\\` for a backslash".into(),
                }))
            }
        }
    }

    /// The repetitions of the output from `start` on.
    fn repetitions(&mut self, start: usize, may_repeat: bool) -> Result<(), EreError> {
        while let Some(symbol @ ('*' | '+' | '?' | '{')) = self.rest.chars().next() {
            if !may_repeat {
                return Err(self.error(format!("`{symbol}` repeats an anchor; write `\\{symbol}` for the character")));
            }
            let repetition = match symbol {
                '{' => self.interval()?,
                _ => {
                    self.next();
                    symbol.to_string()
                }
            };
            // In a group, because `a*?` is not a repetition of `a*` in the syntax of `regex`.
            self.out.insert_str(start, "(?:");
            self.out.push_str(&repetition);
            self.out.push(')');
        }
        Ok(())
    }

    fn interval(&mut self) -> Result<String, EreError> {
        let wrong = self.error(format!(
            "expected a repetition such as {{2}}, {{2,}} or {{2,5}}, with numbers up to {MAX_REPETITIONS}; write `\\{{` for a brace"
        ));
        let body = self.rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let Some((body, rest)) = body else { return Err(wrong) };
        let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n <= MAX_REPETITIONS && !text.starts_with('+'));
        let bounds = match body.split_once(',') {
            None => number(body).map(|n| (n, Some(n))),
            Some((low, "")) => number(low).map(|low| (low, None)),
            Some((low, high)) => number(low).zip(number(high)).map(|(low, high)| (low, Some(high))),
        };
        let Some((low, high)) = bounds.filter(|(low, high)| high.is_none_or(|high| *low <= high)) else {
            return Err(wrong);
        };
        self.rest = rest;
        Ok(format!("{{{low},{}}}", high.map_or(String::new(), |high| high.to_string())))
    }

    /// A bracket expression, in which a backslash is an ordinary character.
    fn bracket(&mut self) -> Result<(), EreError> {
        let unclosed = self.error("the bracket expression that starts here is not closed; add `]`, or write `\\[`");
        self.next();
        let opening = if self.eat("^") { "[^" } else { "[" };
        self.out.push_str(opening);
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            if self.class()? {
                continue;
            }
            let Some(low) = self.element()? else { return Err(unclosed) };
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            if !is_range {
                self.range(low, low);
                continue;
            }
            let place = self.error(format!("the range that starts with {low:?} ends before it"));
            self.next();
            match self.element()? {
                Some(high) if low <= high => self.range(low, high),
                Some(_) => return Err(place),
                None => return Err(unclosed),
            }
        }
        self.next();
        self.out.push(']');
        Ok(())
    }

    fn range(&mut self, low: char, high: char) {
        // As code points, so that no character is special in the syntax of `regex`.
        self.out.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high)));
    }

    /// A class such as `[:alpha:]`. Returns whether there was one.
    fn class(&mut self) -> Result<bool, EreError> {
        const CLASSES: [&str; 12] = [
            "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit",
        ];
        let Some(rest) = self.rest.strip_prefix("[:") else { return Ok(false) };
        let class = rest.split_once(":]").filter(|(name, _)| CLASSES.contains(name));
        let Some((name, rest)) = class else {
            return Err(self.error(format!("expected one of the classes {}", CLASSES.join(", "))));
        };
        self.out.push_str(&format!("[:{name}:]"));
        self.rest = rest;
        Ok(true)
    }

    /// One character of a bracket expression, also as `[.x.]` or `[=x=]`, which stand for the character itself in the
    /// POSIX locale.
    fn element(&mut self) -> Result<Option<char>, EreError> {
        for (open, close) in [("[.", ".]"), ("[=", "=]")] {
            let Some(rest) = self.rest.strip_prefix(open) else { continue };
            let mut chars = rest.chars();
            let element = chars.next();
            let Some(rest) = chars.as_str().strip_prefix(close) else {
                return Err(self.error(format!("expected one character between `{open}` and `{close}`")));
            };
            self.rest = rest;
            return Ok(element);
        }
        if self.rest.starts_with("[:") {
            return Err(self.error("a class cannot end a range"));
        }
        Ok(self.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(expression: &str, text: &str) -> bool {
        compile(expression).unwrap().is_match(text)
    }

    #[test]
    fn expressions_mean_what_posix_says() {
        for (expression, matching, other) in [
            (r"^[^/]*example\.com/.*$", "a.example.com/app", "example.org/app"),
            (r"^a\.example\.com/app#.*$", "a.example.com/app#1.0", "a.example.com/app"),
            ("a|b", "xbx", "xcx"),
            ("^(ab|c)+$", "abcab", "aba"),
            ("^a{2}$", "aa", "aaa"),
            ("^a{2,}$", "aaaa", "a"),
            ("^a{1,2}$", "aa", "aaa"),
            ("^a**$", "aaa", "b"),
            ("^(a*)?b$", "aab", "a"),
            ("^a+?$", "aa", "b"),
            ("^a??$", "", "aa"),
            ("^()x$", "x", "y"),
            ("[]a]", "]", "b"),
            ("^[^]a]$", "b", "]"),
            ("^[a-c]$", "b", "-"),
            ("^[a-]$", "-", "b"),
            ("^[-a]$", "-", "b"),
            (r"^[\d]$", r"\", "5"),
            (r"^[\]$", r"\", "x"),
            ("^[[:digit:]x]+$", "12x", "a"),
            ("^[[.-.]a]$", "-", "b"),
            ("^[[=a=]]$", "a", "b"),
            ("^[a&&b~~]$", "&", "c"),
            ("^[[]$", "[", "]"),
            (r"^\.\*\[\]\(\)\{\}\\\/\-$", r".*[](){}\/-", "x"),
            ("^a]}$", "a]}", "a"),
            ("^#x$", "#x", "x"),
            ("", "anything", "\u{0}not tested"),
        ] {
            assert!(matches(expression, matching), "{expression} should match {matching}");
            assert!(expression.is_empty() || !matches(expression, other), "{expression} should not match {other}");
        }
    }

    #[test]
    fn what_posix_leaves_undefined_is_refused_with_its_place() {
        for (expression, column, says) in [
            (r"a\d", 2, r"`\d` has no meaning"),
            ("a\\", 2, "nothing follows the backslash"),
            ("(?:a)", 2, "`?` repeats nothing"),
            ("*a", 1, "`*` repeats nothing"),
            ("a|+", 3, "`+` repeats nothing"),
            ("^*", 2, "`*` repeats an anchor"),
            ("a{", 2, "expected a repetition"),
            ("a{,3}", 2, "expected a repetition"),
            ("a{3,2}", 2, "expected a repetition"),
            ("a{256}", 2, "expected a repetition"),
            ("a{+1}", 2, "expected a repetition"),
            ("(a", 1, "not closed"),
            ("a)", 2, "closes nothing"),
            ("[a", 1, "not closed"),
            ("[]", 1, "not closed"),
            ("[c-a]", 3, "ends before it"),
            ("[[:word:]]", 2, "expected one of the classes"),
            ("[a-[:digit:]]", 4, "cannot end a range"),
            ("[[.ab.]]", 2, "expected one character"),
        ] {
            let error = compile(expression).unwrap_err();
            assert!(error.problem.contains(says), "{error} should say {says}");
            assert_eq!(error.column, column, "{error}");
        }
    }

    #[test]
    fn an_expression_cannot_exhaust_the_machine() {
        assert!(compile(&("(".repeat(100_000) + &")".repeat(100_000))).unwrap_err().problem.contains("nested"));
        assert!(compile("((((a{255}){255}){255}){255}){255}").unwrap_err().problem.contains("bytes"));
        assert!(!matches(&format!("^({})*$", "a|".repeat(50) + "a"), &("a".repeat(5_000) + "b")));
    }

    proptest::proptest! {
        #[test]
        fn any_text_compiles_or_is_refused(expression in "\\PC{0,40}") {
            let _ = compile(&expression).map(|regex| regex.is_match("example.com/app#1.0"));
        }

        #[test]
        fn any_text_of_special_characters_compiles_or_is_refused(expression in "[]\\[\\\\^$.|?*+(){}:=a1,-]{0,12}") {
            if let Err(error) = compile(&expression) {
                // The `regex` crate accepts every translation.
                proptest::prop_assert!(!error.problem.contains("regex parse error"), "{}", error);
            }
        }
    }
}
