//! URI templates (RFC 6570), and the variables of the index and CAS template protocols.
//!
//! | rule | section | function |
//! | --- | --- | --- |
//! | the grammar of a template | RFC 6570, 2 | [`Template::parse`] |
//! | expansion | RFC 6570, 3 | [`Template::expand`] |
//! | expansion of some variables, by a publisher | | [`Template::expand_some`] |
//! | the variables of an index template | index-template | [`name_variables`] |
//! | the variables that a CAS template requires | cas-template | [`digest_variables`] |
//! | the variables that a consumer gives to a CAS template | cas-template ("at least") | [`cas_variables`] |
//! | resolution of a relative result | RFC 3986, 5 | [`engine::expand`](crate::discovery::engine::expand) |
//!
//! Publisher and consumer expand the same template, so all readers must agree on its meaning. [`Template::parse`]
//! therefore follows the RFC's grammar literally (level 4, with the verified erratum 6937, which allows an apostrophe
//! in a literal) and rejects templates that implementations expand differently. `uritemplate-next` expands the
//! expressions, correctly after these checks:
//!
//! - The library accepts malformed templates (`{/id*`, `{x:0}`, `{with space}`). It gets only expressions that
//!   [`Template::parse`] accepted.
//! - The library counts a prefix (`{x:3}`) in bytes and panics inside a multibyte character. Values must be ASCII;
//!   names and digests are by their grammars.
//! - The library cuts percent triplets with a prefix under `+` and `#` (`{+x:2}` of `a%20b` becomes `a%25`). Other
//!   implementations count a triplet as one character, so a prefix that would reach a triplet is an error.
//! - The library compiles regular expressions at every expansion, for each literal and for each value that keeps
//!   reserved characters. Literals, and values that need no encoding, are copied here instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use percent_encoding::{CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use uritemplate::UriTemplate;

use crate::digest::Digest;
use crate::name::ImageName;
use crate::rfc3986::{is_reserved, is_unreserved, starts_with_triplet};

/// The variables of an `oci-index-template-v1` URI, from an image name (index-template).
pub const NAME_VARIABLES: [&str; 4] = ["name", "host", "path", "fragment"];

/// The variables of an `oci-cas-template-v1` URI, from a digest (cas-template).
pub const DIGEST_VARIABLES: [&str; 3] = ["digest", "algorithm", "encoded"];

/// The variables that a consumer gives to an index template (index-template): `name` (the whole name), `host`, `path`
/// and `fragment`, which is empty if the name has none.
///
/// ```
/// use oci_discovery::name::ImageName;
/// use oci_discovery::template::{Template, name_variables};
///
/// let name = ImageName::parse("a.b.example.com/c/d#1.0")?;
/// let template = Template::parse("https://{host}/ref/{name}{#fragment}")?;
/// assert_eq!(template.expand(&name_variables(&name))?, "https://a.b.example.com/ref/a.b.example.com%2Fc%2Fd%231.0#1.0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn name_variables(name: &ImageName) -> Variables {
    Variables::new()
        .with("name", name.to_string())
        .with("host", name.host())
        .with("path", name.path())
        .with("fragment", name.fragment().unwrap_or_default())
}

/// The variables that a publisher knows of an image, for all its refs: `name` (without fragment), `host` and `path`.
///
/// ```
/// use oci_discovery::name::ImageName;
/// use oci_discovery::template::{Template, image_variables};
///
/// let name = ImageName::parse("example.com/team/app#1.0")?;
/// let published = Template::parse("/{+path}/blobs/{algorithm}/{encoded}")?.expand_some(&image_variables(&name))?;
/// assert_eq!(published.as_str(), "/team/app/blobs/{algorithm}/{encoded}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn image_variables(name: &ImageName) -> Variables {
    Variables::new().with("name", name.image().to_string()).with("host", name.host()).with("path", name.path())
}

/// The variables that a CAS template requires of a consumer (cas-template): `digest` (the whole digest), `algorithm`
/// and `encoded`.
///
/// ```
/// use oci_discovery::digest::{Algorithm, Digest};
/// use oci_discovery::template::{Template, digest_variables};
///
/// let template = Template::parse("https://a.example.com/cas/{algorithm}/{encoded:2}/{encoded}")?;
/// let url = template.expand(&digest_variables(&Digest::of(Algorithm::Sha256, b"")))?;
/// assert!(url.starts_with("https://a.example.com/cas/sha256/e3/e3b0c442"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn digest_variables(digest: &Digest) -> Variables {
    Variables::new()
        .with("digest", digest.as_str())
        .with("algorithm", digest.algorithm().name())
        .with("encoded", digest.encoded())
}

/// The variables that a consumer gives to a CAS template: those of the digest, and those of the name. cas-template
/// requires "at least" the digest's; with the name's, a site can serve the layout of each image unchanged.
///
/// ```
/// use oci_discovery::digest::{Algorithm, Digest};
/// use oci_discovery::name::ImageName;
/// use oci_discovery::template::{Template, cas_variables};
///
/// let (name, digest) = (ImageName::parse("example.com/app#1.0")?, Digest::of(Algorithm::Sha256, b""));
/// let template = Template::parse("/oci-image/{path}/blobs/{algorithm}/{encoded:4}")?;
/// assert_eq!(template.expand(&cas_variables(&name, &digest))?, "/oci-image/app/blobs/sha256/e3b0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn cas_variables(name: &ImageName, digest: &Digest) -> Variables {
    let Variables(mut variables) = name_variables(name);
    variables.extend(digest_variables(digest).0);
    Variables(variables)
}

/// Values by variable name. A missing name is undefined, which differs from empty (RFC 6570, 2.3).
///
/// ```
/// use oci_discovery::template::{Template, Variables};
///
/// let template = Template::parse("/search{?q,page}")?;
/// let empty = Variables::new().with("q", "");
/// assert_eq!((template.expand(&empty)?, empty.get("page")), ("/search?q=".into(), None));
/// # Ok::<(), oci_discovery::template::TemplateError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a variable; a later value replaces an earlier one.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// The value of a variable, if it is defined.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// A URI template that fits the grammar of RFC 6570.
///
/// ```
/// use oci_discovery::template::{Template, TemplateError, Variables};
///
/// let template = Template::parse("https://{host}/index/{+path}")?;
/// let variables = Variables::new().with("host", "example.com").with("path", "team/app");
/// assert_eq!(template.expand(&variables)?, "https://example.com/index/team/app");
/// assert_eq!(template.variables().into_iter().collect::<Vec<_>>(), ["host", "path"]);
///
/// assert!(matches!(Template::parse("/{path"), Err(TemplateError::Syntax { column: 2, .. })));
/// # Ok::<(), TemplateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Expression(Expression),
}

/// One `{…}` of a template; displayed as written.
///
/// ```
/// use oci_discovery::template::{Template, TemplateError};
///
/// let template = Template::parse("/cas{/algorithm,encoded:2}")?;
/// let expression = template.expressions().next().unwrap();
/// assert_eq!((expression.operator, expression.variables[1].prefix), (Some('/'), Some(2)));
/// assert_eq!(expression.to_string(), "{/algorithm,encoded:2}");
/// # Ok::<(), TemplateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// One of `+ # . / ; ? &`, or none for simple expansion.
    pub operator: Option<char>,
    /// At least one variable, in the order written.
    pub variables: Vec<Variable>,
}

/// A variable in an expression, with its modifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The name, with percent triplets as written (RFC 6570, 2.3).
    pub name: String,
    /// `:N`, the number of characters to take, 1 to 9999.
    pub prefix: Option<u16>,
    /// `*`, without effect on a string.
    pub explode: bool,
}

impl Template {
    /// Parses a template (RFC 6570, 2).
    ///
    /// # Errors
    ///
    /// [`TemplateError::Syntax`] at the first place that breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        Ok(Self { text: text.to_owned(), pieces: Parser { text, at: 0 }.template()? })
    }

    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of all variables.
    pub fn variables(&self) -> BTreeSet<&str> {
        self.expressions().flat_map(Expression::names).collect()
    }

    /// The expressions, in order.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Expression(expression) => Some(expression),
            Piece::Literal(_) => None,
        })
    }

    /// Expands the template to a URI reference (RFC 6570, 3). Undefined variables expand to nothing.
    ///
    /// # Errors
    ///
    /// [`TemplateError::NonAscii`] and [`TemplateError::PrefixMeetsTriplet`] for values that the template uses.
    pub fn expand(&self, values: &Variables) -> Result<String, TemplateError> {
        let mut uri = String::with_capacity(2 * self.text.len());
        for piece in &self.pieces {
            match piece {
                // A literal has no controls, so only what is not ASCII is encoded (RFC 6570, 3.1).
                Piece::Literal(literal) => uri.extend(utf8_percent_encode(literal, CONTROLS)),
                Piece::Expression(expression) => uri.push_str(&self.expand_expression(expression, values)?),
            }
        }
        Ok(uri)
    }

    /// Expands the expressions whose variables are all in `values`, and keeps the others. Expanding the result equals
    /// expanding this template with all values at once.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Mixed`] for an expression with only some of its variables in `values`: an expression expands as
    /// a whole. Otherwise as for [`expand`](Self::expand).
    pub fn expand_some(&self, values: &Variables) -> Result<Self, TemplateError> {
        let mut text = String::with_capacity(2 * self.text.len());
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Expression(expression) => match expression.coverage(values) {
                    (_, None) => text.push_str(&self.expand_expression(expression, values)?),
                    (None, Some(_)) => text.push_str(&expression.to_string()),
                    (Some(given), Some(missing)) => {
                        return Err(TemplateError::Mixed {
                            template: self.text.clone(),
                            expression: expression.to_string(),
                            given: given.to_owned(),
                            missing: missing.to_owned(),
                        });
                    }
                },
            }
        }
        // An expansion has reserved and unreserved characters and triplets. A literal may have all of them.
        Self::parse(&text)
    }

    fn expand_expression(&self, expression: &Expression, values: &Variables) -> Result<String, TemplateError> {
        if let Some(value) = expression.verbatim(values) {
            return Ok(value.to_owned());
        }
        let mut expander = UriTemplate::new(&expression.to_string());
        for variable in &expression.variables {
            let Some(value) = values.get(&variable.name) else { continue };
            if !value.is_ascii() {
                return Err(TemplateError::NonAscii {
                    template: self.text.clone(),
                    variable: variable.name.clone(),
                    value: value.to_owned(),
                });
            }
            if expression.keeps_triplets() && variable.prefix_meets_triplet(value) {
                return Err(TemplateError::PrefixMeetsTriplet {
                    template: self.text.clone(),
                    expression: expression.to_string(),
                    variable: variable.name.clone(),
                    value: value.to_owned(),
                });
            }
            expander.set(&variable.name, value);
        }
        Ok(expander.build())
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        Self::parse(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.text
    }
}

impl Expression {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|variable| variable.name.as_str())
    }

    /// The first variable that `values` define, and the first that `values` do not define.
    fn coverage(&self, values: &Variables) -> (Option<&str>, Option<&str>) {
        let defined = |name: &&str| values.get(name).is_some();
        (self.names().find(defined), self.names().find(|name| !defined(name)))
    }

    /// The expansion if it is the value itself: one variable, no operator that adds text, nothing to encode. Most
    /// expansions of names and digests need no more, and `UriTemplate` would compile regular expressions.
    fn verbatim<'a>(&self, values: &'a Variables) -> Option<&'a str> {
        let [variable] = self.variables.as_slice() else { return None };
        let value = values.get(&variable.name)?;
        let is_plain = match self.operator {
            None => value.chars().all(is_unreserved),
            Some('+') => value.chars().all(|c| is_unreserved(c) || is_reserved(c)),
            Some(_) => false,
        };
        let length = variable.prefix.map_or(value.len(), |prefix| value.len().min(prefix.into()));
        is_plain.then(|| &value[..length])
    }

    /// Whether percent triplets of a value are copied and not encoded again (RFC 6570, 3.2.3 and 3.2.4).
    fn keeps_triplets(&self) -> bool {
        matches!(self.operator, Some('+' | '#'))
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        if let Some(operator) = self.operator {
            write!(f, "{operator}")?;
        }
        for (index, variable) in self.variables.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{variable}")?;
        }
        f.write_str("}")
    }
}

impl Variable {
    /// Whether the prefix of `value` reaches a percent triplet, which implementations count as one character or as
    /// three.
    fn prefix_meets_triplet(&self, value: &str) -> bool {
        let Some(prefix) = self.prefix.map(usize::from) else { return false };
        prefix < value.len() && (0..prefix).any(|at| starts_with_triplet(&value[at..]))
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.prefix {
            Some(prefix) => write!(f, ":{prefix}"),
            None if self.explode => f.write_str("*"),
            None => Ok(()),
        }
    }
}

/// Why a text is not a template, or cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of a variant is its documentation; columns count characters from 1")]
pub enum TemplateError {
    #[error("template {template:?}, column {column}: {problem}")]
    Syntax { template: String, column: usize, problem: SyntaxProblem },
    #[error("template {template:?}: the value {value:?} of `{variable}` is not ASCII; percent-encode it first")]
    NonAscii { template: String, variable: String, value: String },
    #[error(
        "template {template:?}: {expression} cuts the value {value:?} of `{variable}` at or after a percent triplet, \
         which implementations count differently; drop the prefix or the operator"
    )]
    PrefixMeetsTriplet { template: String, expression: String, variable: String, value: String },
    #[error(
        "template {template:?}: {expression} mixes `{given}`, which is known, with `{missing}`, which is unknown here; \
         give each an expression of its own"
    )]
    Mixed { template: String, expression: String, given: String, missing: String },
}

/// What breaks RFC 6570's grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of a variant is its documentation")]
pub enum SyntaxProblem {
    #[error("literal text must not have {found:?}; percent-encode it")]
    Literal { found: char },
    #[error("`%` is not followed by two hexadecimal digits; write `%25` for a percent sign")]
    Triplet,
    #[error("`}}` closes nothing; write `%7D` for a brace")]
    Unopened,
    #[error("the expression that starts here is not closed; add `}}`, or write `%7B` for a brace")]
    Unclosed,
    #[error("the operator `{found}` is reserved for extensions; use one of `+ # . / ; ? &` or none")]
    ReservedOperator { found: char },
    #[error("a variable name is missing")]
    NoName,
    #[error("a variable name has letters, digits, `_`, percent triplets and single dots between them, found {found:?}")]
    Name { found: char },
    #[error("a prefix is `:` and a number from 1 to 9999, without leading zeros")]
    Prefix,
    #[error("a variable has one modifier, a prefix or `*`; drop one")]
    TwoModifiers,
    #[error("expected `,` or `}}` after a modifier, found {found:?}")]
    AfterModifier { found: char },
}

/// Parses a template, one function for each rule of the grammar (RFC 6570, 2).
struct Parser<'a> {
    text: &'a str,
    /// The byte where the unread rest begins.
    at: usize,
}

impl Parser<'_> {
    /// `URI-Template = *( literals / expression )`
    fn template(mut self) -> Result<Vec<Piece>, TemplateError> {
        let mut pieces = Vec::new();
        while let Some(c) = self.peek() {
            pieces.push(match c {
                '{' => Piece::Expression(self.expression()?),
                _ => Piece::Literal(self.literal()?),
            });
        }
        Ok(pieces)
    }

    /// Literals, up to the next expression.
    fn literal(&mut self) -> Result<String, TemplateError> {
        let start = self.at;
        while let Some(found) = self.peek().filter(|&c| c != '{') {
            match found {
                '%' => self.triplet()?,
                '}' => return Err(self.error(SyntaxProblem::Unopened)),
                _ if is_literal(found) => self.at += found.len_utf8(),
                _ => return Err(self.error(SyntaxProblem::Literal { found })),
            }
        }
        Ok(self.text[start..self.at].to_owned())
    }

    /// `expression = "{" [ operator ] variable-list "}"`
    fn expression(&mut self) -> Result<Expression, TemplateError> {
        let start = self.at;
        self.at += 1;
        let operator = self.operator()?;
        let mut variables = Vec::new();
        loop {
            variables.push(self.variable(start)?);
            match self.peek() {
                Some(',') => self.at += 1,
                Some('}') => break,
                Some(found) => return Err(self.error(SyntaxProblem::AfterModifier { found })),
                None => return Err(self.error_at(start, SyntaxProblem::Unclosed)),
            }
        }
        self.at += 1;
        Ok(Expression { operator, variables })
    }

    fn operator(&mut self) -> Result<Option<char>, TemplateError> {
        let operator = self.peek().filter(|c| matches!(c, '+' | '#' | '.' | '/' | ';' | '?' | '&'));
        if let Some(found) = self.peek().filter(|c| matches!(c, '=' | ',' | '!' | '@' | '|')) {
            return Err(self.error(SyntaxProblem::ReservedOperator { found }));
        }
        self.at += operator.map_or(0, char::len_utf8);
        Ok(operator)
    }

    /// `varspec = varname [ ":" max-length / "*" ]`, in the expression that begins at `start`.
    fn variable(&mut self, start: usize) -> Result<Variable, TemplateError> {
        let name = self.name(start)?;
        let prefix = match self.peek() {
            Some(':') => Some(self.prefix()?),
            _ => None,
        };
        let explode = self.peek() == Some('*');
        self.at += usize::from(explode);
        match (explode, self.peek()) {
            (true, _) if prefix.is_some() => Err(self.error_at(self.at - 1, SyntaxProblem::TwoModifiers)),
            (true, Some(':')) => Err(self.error(SyntaxProblem::TwoModifiers)),
            _ => Ok(Variable { name, prefix, explode }),
        }
    }

    /// `varname = varchar *( ["."] varchar )`
    fn name(&mut self, expression: usize) -> Result<String, TemplateError> {
        let start = self.at;
        let mut after_varchar = false;
        loop {
            match self.peek() {
                Some('%') => {
                    self.triplet()?;
                    after_varchar = true;
                }
                Some(c) if c.is_ascii_alphanumeric() || c == '_' => {
                    self.at += 1;
                    after_varchar = true;
                }
                Some('.') if after_varchar => {
                    self.at += 1;
                    after_varchar = false;
                }
                Some(':' | '*' | ',' | '}') if after_varchar => return Ok(self.text[start..self.at].to_owned()),
                Some(',' | '}') if self.at == start => return Err(self.error(SyntaxProblem::NoName)),
                Some(found) => return Err(self.error(SyntaxProblem::Name { found })),
                None => return Err(self.error_at(expression, SyntaxProblem::Unclosed)),
            }
        }
    }

    /// `prefix = ":" max-length`, `max-length` one to four digits, the first not zero.
    fn prefix(&mut self) -> Result<u16, TemplateError> {
        let digits = self.text[self.at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let number = &self.text[self.at + 1..][..digits];
        match number.parse() {
            Ok(prefix @ 1..=9999) if !number.starts_with('0') => {
                self.at += 1 + digits;
                Ok(prefix)
            }
            _ => Err(self.error(SyntaxProblem::Prefix)),
        }
    }

    /// `pct-encoded = "%" HEXDIG HEXDIG`
    fn triplet(&mut self) -> Result<(), TemplateError> {
        if !starts_with_triplet(&self.text[self.at..]) {
            return Err(self.error(SyntaxProblem::Triplet));
        }
        self.at += 3;
        Ok(())
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn error(&self, problem: SyntaxProblem) -> TemplateError {
        self.error_at(self.at, problem)
    }

    fn error_at(&self, byte: usize, problem: SyntaxProblem) -> TemplateError {
        let column = self.text[..byte].chars().count() + 1;
        TemplateError::Syntax { template: self.text.to_owned(), column, problem }
    }
}

/// Whether a literal may have `c` unencoded (RFC 6570, 2.1 and erratum 6937; `ucschar` and `iprivate` of 1.5).
fn is_literal(c: char) -> bool {
    match u32::from(c) {
        0x21..=0x7E => !matches!(c, '"' | '%' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'),
        0xA0..=0xD7FF | 0xE000..=0xFDCF | 0xFDF0..=0xFFEF => true,
        // Of each further plane, all but its two noncharacters; of plane 14, not the first 4096 (tags and others).
        code @ 0x1_0000.. => code & 0xFFFF <= 0xFFFD && !(0xE_0000..=0xE_0FFF).contains(&code),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn template(text: &str) -> Template {
        Template::parse(text).expect("the example is a template")
    }

    /// The string variables of RFC 6570's sections 1.2 and 3.2; `undef` is undefined.
    fn rfc_values() -> Variables {
        [
            ("var", "value"),
            ("hello", "Hello World!"),
            ("path", "/foo/bar"),
            ("empty", ""),
            ("x", "1024"),
            ("y", "768"),
            ("half", "50%"),
            ("base", "http://example.com/home/"),
            ("v", "6"),
            ("who", "fred"),
            ("semi", ";"),
            ("dub", "me/too"),
        ]
        .into_iter()
        .fold(Variables::new(), |values, (name, value)| values.with(name, value))
    }

    fn assert_expansions(examples: &[(&str, &str)]) {
        for (text, expected) in examples {
            assert_eq!(template(text).expand(&rfc_values()).as_deref(), Ok(*expected), "{text}");
        }
    }

    #[test]
    fn rfc_section_1_2_levels_1_and_2() {
        assert_expansions(&[
            ("{var}", "value"),
            ("{hello}", "Hello%20World%21"),
            ("{+var}", "value"),
            ("{+hello}", "Hello%20World!"),
            ("{+path}/here", "/foo/bar/here"),
            ("here?ref={+path}", "here?ref=/foo/bar"),
            ("X{#var}", "X#value"),
            ("X{#hello}", "X#Hello%20World!"),
        ]);
    }

    #[test]
    fn rfc_section_1_2_level_3() {
        assert_expansions(&[
            ("map?{x,y}", "map?1024,768"),
            ("{x,hello,y}", "1024,Hello%20World%21,768"),
            ("{+x,hello,y}", "1024,Hello%20World!,768"),
            ("{+path,x}/here", "/foo/bar,1024/here"),
            ("{#x,hello,y}", "#1024,Hello%20World!,768"),
            ("{#path,x}/here", "#/foo/bar,1024/here"),
            ("X{.var}", "X.value"),
            ("X{.x,y}", "X.1024.768"),
            ("{/var}", "/value"),
            ("{/var,x}/here", "/value/1024/here"),
            ("{;x,y}", ";x=1024;y=768"),
            ("{;x,y,empty}", ";x=1024;y=768;empty"),
            ("{?x,y}", "?x=1024&y=768"),
            ("{?x,y,empty}", "?x=1024&y=768&empty="),
            ("?fixed=yes{&x}", "?fixed=yes&x=1024"),
            ("{&x,y,empty}", "&x=1024&y=768&empty="),
        ]);
    }

    #[test]
    fn rfc_section_1_2_level_4_and_2_4_1() {
        assert_expansions(&[
            ("{var:3}", "val"),
            ("{var:30}", "value"),
            ("{+path:6}/here", "/foo/b/here"),
            ("{#path:6}/here", "#/foo/b/here"),
            ("X{.var:3}", "X.val"),
            ("{/var:1,var}", "/v/value"),
            ("{;hello:5}", ";hello=Hello"),
            ("{?var:3}", "?var=val"),
            ("{&var:3}", "&var=val"),
            ("{semi}", "%3B"),
            ("{semi:2}", "%3B"),
        ]);
    }

    #[test]
    fn rfc_section_3_2_undefined_and_empty_are_not_the_same() {
        assert_expansions(&[
            ("O{empty}X", "OX"),
            ("O{undef}X", "OX"),
            ("?{x,empty}", "?1024,"),
            ("?{x,undef}", "?1024"),
            ("?{undef,y}", "?768"),
            ("O{+empty}X", "OX"),
            ("O{+undef}X", "OX"),
            ("foo{#empty}", "foo#"),
            ("foo{#undef}", "foo"),
            ("X{.empty}", "X."),
            ("X{.undef}", "X"),
            ("{/var,empty}", "/value/"),
            ("{/var,undef}", "/value"),
            ("{;empty}", ";empty"),
            ("{;undef}", ""),
            ("{;v,empty,who}", ";v=6;empty;who=fred"),
            ("{;v,bar,who}", ";v=6;who=fred"),
            ("{;x,y,undef}", ";x=1024;y=768"),
            ("{?x,y,undef}", "?x=1024&y=768"),
            ("{?undef}", ""),
            ("{&x,y,undef}", "&x=1024&y=768"),
        ]);
    }

    #[test]
    fn rfc_section_3_2_each_operator_encodes_its_way() {
        assert_expansions(&[
            ("{half}", "50%25"),
            ("{base}index", "http%3A%2F%2Fexample.com%2Fhome%2Findex"),
            ("{+half}", "50%25"),
            ("{+base}index", "http://example.com/home/index"),
            ("up{+path}{var}/here", "up/foo/barvalue/here"),
            ("{#half}", "#50%25"),
            ("{.who}", ".fred"),
            ("{.who,who}", ".fred.fred"),
            ("{.half,who}", ".50%25.fred"),
            ("{/who}", "/fred"),
            ("{/who,who}", "/fred/fred"),
            ("{/half,who}", "/50%25/fred"),
            ("{/who,dub}", "/fred/me%2Ftoo"),
            ("{;who}", ";who=fred"),
            ("{;half}", ";half=50%25"),
            ("{?who}", "?who=fred"),
            ("{?half}", "?half=50%25"),
            ("{&who}", "&who=fred"),
            ("{&half}", "&half=50%25"),
        ]);
    }

    #[test]
    fn a_template_is_taken_apart_as_written() {
        let parsed = template("/a{/x.y,%41_:12}'é%7e{&b*}");
        let parts: Vec<_> = parsed.expressions().map(|e| (e.operator, e.to_string())).collect();
        assert_eq!(parts, [(Some('/'), "{/x.y,%41_:12}".into()), (Some('&'), "{&b*}".into())]);
        let second = Variable { name: "%41_".into(), prefix: Some(12), explode: false };
        assert_eq!(parsed.expressions().next().map(|e| &e.variables[1]), Some(&second));
        assert_eq!(parsed.variables(), BTreeSet::from(["%41_", "b", "x.y"]));
        assert_eq!(parsed.expand(&Variables::new()).as_deref(), Ok("/a'%C3%A9%7e"));
        assert_eq!(parsed.expand(&Variables::new().with("b", "")).as_deref(), Ok("/a'%C3%A9%7e&b="));
    }

    #[test]
    fn a_malformed_template_is_refused_with_the_column() {
        use SyntaxProblem::*;
        for (text, column, problem) in [
            ("{/id*", 1, Unclosed),
            ("a{", 2, Unclosed),
            ("a{x", 2, Unclosed),
            ("a{x,", 2, Unclosed),
            ("a{x:3", 2, Unclosed),
            ("/id*}", 5, Unopened),
            ("{{x}}", 2, Name { found: '{' }),
            ("{x}}", 4, Unopened),
            ("{}", 2, NoName),
            ("{+}", 3, NoName),
            ("{x,}", 4, NoName),
            ("{x,,y}", 4, NoName),
            ("{,x}", 2, ReservedOperator { found: ',' }),
            ("{=x}", 2, ReservedOperator { found: '=' }),
            ("{!x}", 2, ReservedOperator { found: '!' }),
            ("{@x}", 2, ReservedOperator { found: '@' }),
            ("{|x}", 2, ReservedOperator { found: '|' }),
            ("{$x}", 2, Name { found: '$' }),
            ("{++x}", 3, Name { found: '+' }),
            ("{with space}", 6, Name { found: ' ' }),
            ("{x-y}", 3, Name { found: '-' }),
            ("{..x}", 3, Name { found: '.' }),
            ("{x..y}", 4, Name { found: '.' }),
            ("{x.}", 4, Name { found: '}' }),
            ("{x.:3}", 4, Name { found: ':' }),
            ("{:3}", 2, Name { found: ':' }),
            ("{*}", 2, Name { found: '*' }),
            ("{é}", 2, Name { found: 'é' }),
            ("{%4}", 2, Triplet),
            ("{var:0}", 5, Prefix),
            ("{var:}", 5, Prefix),
            ("{var:01}", 5, Prefix),
            ("{var:-1}", 5, Prefix),
            ("{var:10000}", 5, Prefix),
            ("{var:99999999999999999999}", 5, Prefix),
            ("{hello:2*}", 9, TwoModifiers),
            ("{hello*:2}", 8, TwoModifiers),
            ("{hello**}", 8, AfterModifier { found: '*' }),
            ("{hello:2:3}", 9, AfterModifier { found: ':' }),
            ("{hello:2x}", 9, AfterModifier { found: 'x' }),
            ("a b", 2, Literal { found: ' ' }),
            ("éa<b", 3, Literal { found: '<' }),
            ("a\nb", 2, Literal { found: '\n' }),
            ("a\\b", 2, Literal { found: '\\' }),
            ("a|b", 2, Literal { found: '|' }),
            ("a\"", 2, Literal { found: '"' }),
            ("a\u{FFFF}", 2, Literal { found: '\u{FFFF}' }),
            ("a\u{E0001}", 2, Literal { found: '\u{E0001}' }),
            ("a%2", 2, Triplet),
            ("100%", 4, Triplet),
        ] {
            let expected = TemplateError::Syntax { template: text.into(), column, problem };
            assert_eq!(Template::parse(text), Err(expected.clone()), "{text}");
            assert!(expected.to_string().starts_with(&format!("template {text:?}, column {column}: ")));
        }
    }

    #[test]
    fn prefixes_go_from_1_to_9999() {
        assert!(Template::parse("{x:1}{x:9999}").is_ok());
    }

    #[test]
    fn a_value_that_is_not_ascii_is_an_error_where_it_is_used() {
        let values = Variables::new().with("x", "α");
        let error = template("{x:1}").expand(&values).unwrap_err();
        assert!(matches!(&error, TemplateError::NonAscii { variable, .. } if variable == "x"), "{error}");
        assert_eq!(template("{x:1}").expand_some(&values), Err(error));
        assert_eq!(template("a{y}").expand(&values).as_deref(), Ok("a"));
    }

    #[test]
    fn a_prefix_must_not_meet_a_triplet_that_is_copied() {
        let expand = |text: &str| template(text).expand(&Variables::new().with("x", "ab%20cd"));
        for text in ["{+x:3}", "{+x:4}", "{#x:6}"] {
            assert!(matches!(expand(text), Err(TemplateError::PrefixMeetsTriplet { .. })), "{text}");
        }
        assert_eq!(expand("{+x:2}").as_deref(), Ok("ab"));
        assert_eq!(expand("{+x:7}").as_deref(), Ok("ab%20cd"));
        assert_eq!(expand("{x:3}").as_deref(), Ok("ab%25"));
    }

    #[test]
    fn consumers_expand_names_and_digests() {
        let name = ImageName::parse("example.com/team/app#1.0").unwrap();
        let expand = |text: &str| template(text).expand(&name_variables(&name)).unwrap();
        assert_eq!(expand("https://{host}/oci-index/{+path}"), "https://example.com/oci-index/team/app");
        assert_eq!(expand("https://{host}/oci-index/{path}"), "https://example.com/oci-index/team%2Fapp");
        assert_eq!(expand("/{name}{#fragment}"), "/example.com%2Fteam%2Fapp%231.0#1.0");

        let digest = Digest::parse(&format!("sha256:e3{}", "0".repeat(62))).unwrap();
        let cas = template("https://a.example.com/cas/{algorithm}/{encoded:2}/{encoded}");
        let expected = format!("https://a.example.com/cas/sha256/e3/{}", digest.encoded());
        assert_eq!(cas.expand(&digest_variables(&digest)), Ok(expected));
        let whole = template("{digest}").expand(&digest_variables(&digest));
        assert_eq!(whole, Ok(digest.as_str().replace(':', "%3A")));
    }

    #[test]
    fn an_absent_fragment_is_empty_to_a_consumer_and_undefined_to_a_publisher() {
        let name = ImageName::parse("example.com/app").unwrap();
        assert_eq!(template("x{#fragment}").expand(&name_variables(&name)).as_deref(), Ok("x#"));
        let kept = template("x{#fragment}").expand_some(&image_variables(&name)).unwrap();
        assert_eq!(kept.as_str(), "x{#fragment}");
        let tagged = name.with_fragment(Some("1.0")).unwrap();
        assert_eq!(image_variables(&tagged), image_variables(&name));
    }

    #[test]
    fn the_variables_are_the_ones_listed() {
        let name = ImageName::parse("example.com/app").unwrap();
        let digest = Digest::of(crate::digest::Algorithm::Sha256, b"");
        let names = |values: Variables| values.0.into_keys().collect::<BTreeSet<_>>();
        assert_eq!(names(name_variables(&name)), NAME_VARIABLES.map(String::from).into());
        assert_eq!(names(digest_variables(&digest)), DIGEST_VARIABLES.map(String::from).into());
    }

    #[test]
    fn a_publisher_expands_the_name_and_leaves_the_digest() {
        let name = ImageName::parse("example.com/it's/app%20one").unwrap();
        let cas = template("https://{host}/é/{+path}/blobs/{algorithm}/{encoded:2}/{encoded}");
        let published = cas.expand_some(&image_variables(&name)).unwrap();
        let expected = "https://example.com/é/it's/app%20one/blobs/{algorithm}/{encoded:2}/{encoded}";
        assert_eq!(published.as_str(), expected);
    }

    #[test]
    fn an_expression_that_mixes_known_and_unknown_is_an_error_that_names_it() {
        let values = Variables::new().with("path", "app");
        let error = template("/a{/path,digest}").expand_some(&values).unwrap_err();
        let expected = TemplateError::Mixed {
            template: "/a{/path,digest}".into(),
            expression: "{/path,digest}".into(),
            given: "path".into(),
            missing: "digest".into(),
        };
        assert_eq!(error, expected);
    }

    #[test]
    fn json_holds_a_template_as_a_string_and_checks_it() {
        let json = serde_json::Value::from("/cas/{algorithm}/{encoded}");
        let parsed: Template = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&parsed).unwrap(), json);
        let error = serde_json::from_value::<Template>("/cas/{algorithm".into()).unwrap_err();
        assert!(error.to_string().contains("column 6: the expression that starts here is not closed"), "{error}");
    }

    /// RFC 6570's appendix A for strings, as the yardstick for the library that does it for us.
    fn appendix_a(expression: &Expression, values: &Variables) -> String {
        let (first, separator, named, if_empty) = match expression.operator {
            None | Some('+') => ("", ",", false, ""),
            Some('#') => ("#", ",", false, ""),
            Some('.') => (".", ".", false, ""),
            Some('/') => ("/", "/", false, ""),
            Some(';') => (";", ";", true, ""),
            Some('?') => ("?", "&", true, "="),
            Some('&') => ("&", "&", true, "="),
            Some(other) => panic!("{other} is no operator"),
        };
        let encode = |value: &str| {
            let mut encoded = String::new();
            for (at, c) in value.char_indices() {
                let reserved = expression.keeps_triplets()
                    && (":/?#[]@!$&'()*+,;=".contains(c) || starts_with_triplet(&value[at..]));
                match c.is_ascii_alphanumeric() || "-._~".contains(c) || reserved {
                    true => encoded.push(c),
                    false => encoded.push_str(&format!("%{:02X}", u32::from(c))),
                }
            }
            encoded
        };
        let mut expanded = Vec::new();
        for variable in &expression.variables {
            let Some(value) = values.get(&variable.name) else { continue };
            let value = &value[..value.len().min(variable.prefix.map_or(usize::MAX, usize::from))];
            expanded.push(match (named, value.is_empty()) {
                (false, _) => encode(value),
                (true, true) => format!("{}{if_empty}", variable.name),
                (true, false) => format!("{}={}", variable.name, encode(value)),
            });
        }
        match expanded.is_empty() {
            true => String::new(),
            false => format!("{first}{}", expanded.join(separator)),
        }
    }

    /// Well-formed templates over a few names, `%41` and `x.y` among them.
    fn well_formed() -> impl Strategy<Value = String> {
        let variable = r"(a|b|c|x\.y|%41)(:[1-9][0-9]?|\*)?";
        let expression = format!(r"\{{[+#./;?&]?{variable}(,{variable}){{0,2}}\}}");
        proptest::string::string_regex(&format!(r"([a-z/:?#'~é]{{0,3}}(%[0-9a-fA-F]{{2}})?({expression})?){{0,4}}"))
            .expect("the pattern is a regular expression")
    }

    /// The same, each expression with variables of one group only: `a`, `b` or `c`, `d`.
    fn unmixed() -> impl Strategy<Value = String> {
        let expression = |names: &str| {
            let variable = format!(r"{names}(:[1-9]|\*)?");
            format!(r"\{{[+#./;?&]?{variable}(,{variable})?\}}")
        };
        let (known, later) = (expression("[ab]"), expression("[cd]"));
        proptest::string::string_regex(&format!(r"([a-z/?#'é]{{0,3}}({known}|{later}|%[0-9A-F]{{2}})?){{0,4}}"))
            .expect("the pattern is a regular expression")
    }

    /// ASCII values, of which some are empty and some hold triplets.
    fn value() -> impl Strategy<Value = String> {
        prop_oneof![r"[\x00-\x7f]{0,6}", "[a-z/:%']{0,6}", "([a-z]|%[0-9a-f]{2}){0,4}"]
    }

    fn values_of(names: &'static [&'static str]) -> impl Strategy<Value = Variables> {
        proptest::collection::vec(value(), names.len())
            .prop_map(|values| names.iter().zip(values).fold(Variables::new(), |all, (name, v)| all.with(*name, v)))
    }

    proptest! {
        #[test]
        fn a_printed_template_parses_to_itself(text in well_formed()) {
            let parsed = Template::parse(&text)?;
            prop_assert_eq!(parsed.to_string(), text.as_str());
            let pieces = parsed.pieces.iter().map(|piece| match piece {
                Piece::Literal(literal) => literal.clone(),
                Piece::Expression(expression) => expression.to_string(),
            });
            prop_assert_eq!(pieces.collect::<String>(), text);
        }

        #[test]
        fn expansion_never_panics(
            text in prop_oneof![r"(\PC|[{}%:*,.+#a0-9 ]){0,16}", well_formed()],
            values in proptest::collection::vec((r"a|b|c|x\.y|%41|\PC{0,3}", r"(\PC|[%2a]){0,6}"), 0..5),
        ) {
            let values = values.into_iter().fold(Variables::new(), |all, (name, value)| all.with(name, value));
            if let Ok(parsed) = Template::parse(&text) {
                if let Ok(uri) = parsed.expand(&values) {
                    let uri_characters = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
                    prop_assert!(uri.chars().all(uri_characters), "{}", uri);
                }
                if let Ok(rest) = parsed.expand_some(&values) {
                    prop_assert!(rest.variables().iter().all(|name| values.get(name).is_none()));
                }
            }
        }

        #[test]
        fn each_expression_expands_as_the_rfc_says(text in well_formed(), values in values_of(&["a", "b", "x.y", "%41"])) {
            for expression in Template::parse(&text)?.expressions() {
                match template(&expression.to_string()).expand(&values) {
                    Ok(uri) => prop_assert_eq!(uri, appendix_a(expression, &values)),
                    Err(TemplateError::PrefixMeetsTriplet { variable, .. }) => prop_assert!(expression.names().any(|n| n == variable)),
                    Err(other) => return Err(TestCaseError::fail(other.to_string())),
                }
            }
        }

        #[test]
        fn expanding_in_two_steps_is_expanding_at_once(
            text in unmixed(),
            known in values_of(&["a", "b"]),
            later in values_of(&["c", "d"]),
        ) {
            let parsed = Template::parse(&text)?;
            let all = later.0.iter().fold(known.clone(), |all, (name, value)| all.with(name, value));
            let at_once = parsed.expand(&all);
            let in_two_steps = parsed.expand_some(&known).and_then(|rest| rest.expand(&later));
            match (at_once, in_two_steps) {
                (Ok(at_once), Ok(in_two_steps)) => prop_assert_eq!(at_once, in_two_steps),
                (at_once, in_two_steps) => prop_assert!(at_once.is_err() && in_two_steps.is_err()),
            }
        }
    }
}
