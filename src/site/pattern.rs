//! The paths of a template as pieces: literal text, and values of variables.
//!
//! A template is expanded once, as a consumer expands it, with a marker in place of each value ([`Marks`]). The result
//! is resolved as a URI, and its decoded path is cut at the markers ([`PathPattern`]). The pieces give the path of a
//! digest, the regular expression for server configurations, and the parser of paths, so that all three agree.

use std::collections::BTreeSet;
use std::iter::zip;

use oci_discovery::template::{Template, TemplateError, Variables};
use regex::Regex;

/// The end of a name: its fragment with the `#` before it, or nothing.
const TAIL: &str = "tail";
/// The uses that give each ref an index of its own.
const OF_REFS: [&str; 2] = ["fragment", TAIL];

/// The names that a template is expanded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Names of images, without a fragment.
    Images,
    /// Names of images and of their refs.
    Refs,
}

/// One use of a variable in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The variable; a use of `name` counts as one of `host`, one of `path` and, where names have refs, one of `TAIL`.
    pub variable: String,
    /// The characters of the value that are used. None: all.
    pub prefix: Option<u16>,
}

/// A template, expanded with markers.
#[derive(Clone, Debug)]
pub struct Marks {
    pub expanded: String,
    /// The prefix of all markers. The literals of the template do not contain it.
    stem: String,
    names: Names,
    uses: Vec<Use>,
}

impl Marks {
    /// Expands a template.
    pub fn new(template: &Template, names: Names) -> Result<Marks, TemplateError> {
        let mut marks = Marks { expanded: String::new(), stem: stem(template), names, uses: vec![] };
        let mut values = Variables::new();
        let mut named = Vec::new();
        let mut marked = String::new();
        let mut rest = template.as_str();
        for expression in template.expressions() {
            let Some((literal, after)) = rest.split_once('{') else { break };
            marked.push_str(literal);
            rest = after.split_once('}').map_or("", |(_, after)| after);
            let mut markers = Vec::new();
            for variable in &expression.variables {
                let marker = marks.marker(marks.uses.len());
                values = values.with(&marker, marks.add(&variable.name, variable.prefix));
                named.push((format!("{marker}={marker}"), format!("{}={marker}", variable.name)));
                markers.push(marker);
            }
            let operator = expression.operator.map(String::from).unwrap_or_default();
            marked.push_str(&format!("{{{operator}{}}}", markers.join(",")));
        }
        marked.push_str(rest);
        marks.expanded = Template::parse(&marked)?.expand(&values)?;
        // Operators that write the name of a variable before its value have written it before the marker.
        for (marker, name) in named {
            marks.expanded = marks.expanded.replace(&marker, &name);
        }
        Ok(marks)
    }

    /// Records a use, and returns its marker.
    fn add(&mut self, variable: &str, prefix: Option<u16>) -> String {
        // A name is a host and a path. The URI parser must see the slash between them where the operator keeps it.
        let (separators, variables): (&[&str], &[&str]) = match (variable, self.names) {
            ("name", Names::Images) => (&["", "/"], &["host", "path"]),
            ("name", Names::Refs) => (&["", "/", ""], &["host", "path", TAIL]),
            _ => (&[""], &[variable]),
        };
        let mut value = String::new();
        for (separator, variable) in zip(separators, variables) {
            self.uses.push(Use { variable: (*variable).into(), prefix });
            value.push_str(separator);
            value.push_str(&self.marker(self.uses.len() - 1));
        }
        value
    }

    /// The use whose marker is in a part of the expansion.
    pub fn find_in(&self, part: &str) -> Option<&Use> {
        (0..).zip(&self.uses).find(|(position, _)| part.contains(&self.marker(*position))).map(|(_, found)| found)
    }

    /// A text with variables in place of markers, for messages.
    pub fn readable(&self, text: &str) -> String {
        let mut text = text.to_string();
        for (position, used) in self.uses.iter().enumerate().rev() {
            let variable = if used.variable == TAIL { String::new() } else { format!("{{{}}}", used.variable) };
            text = text.replace(&self.marker(position), &variable);
        }
        text
    }

    /// Lower-case letters and digits pass through expansion, URI parsing and percent-decoding unchanged, also in a
    /// host.
    fn marker(&self, position: usize) -> String {
        format!("{}{position}end", self.stem)
    }
}

fn stem(template: &Template) -> String {
    let literals = percent_encoding::percent_decode_str(template.as_str()).decode_utf8_lossy().to_lowercase();
    let mut stem = String::from("marker");
    while literals.contains(&stem) {
        stem.push('x');
    }
    stem
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Value(Use),
}

/// The paths of a template, in the root of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// The position in [`Settings::origins`](super::Settings::origins). None: the site's own root.
    pub origin: Option<usize>,
    pieces: Vec<Piece>,
}

impl PathPattern {
    /// The pattern of a decoded path with markers, without a leading slash.
    pub fn new(origin: Option<usize>, path: &str, marks: &Marks) -> PathPattern {
        let mut found: Vec<(usize, String, &Use)> = Vec::new();
        for (position, used) in marks.uses.iter().enumerate() {
            let marker = marks.marker(position);
            found.extend(path.match_indices(&marker).map(|(at, _)| (at, marker.clone(), used)));
        }
        found.sort_by_key(|(at, ..)| *at);
        let mut pieces = Vec::new();
        let mut rest = path;
        for (_, marker, used) in found {
            let Some((literal, after)) = rest.split_once(&marker) else { continue };
            pieces.extend([Piece::Literal(literal.into()), Piece::Value(used.clone())]);
            rest = after;
        }
        pieces.push(Piece::Literal(rest.into()));
        PathPattern { origin, pieces }
    }

    /// The path for these values.
    pub fn path<'v>(&self, value: impl Fn(&str) -> &'v str) -> String {
        let mut path = String::with_capacity(160);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => path.push_str(literal),
                Piece::Value(used) => path.push_str(cut(value(&used.variable), used.prefix)),
            }
        }
        path
    }

    /// Whether the path contains the whole value of a variable.
    pub fn has(&self, variable: &str) -> bool {
        self.uses().any(|used| used.variable == variable && used.prefix.is_none())
    }

    /// Whether the path differs from one ref of an image to the next.
    pub fn depends_on_ref(&self) -> bool {
        self.uses().any(|used| OF_REFS.contains(&used.variable.as_str()))
    }

    fn uses(&self) -> impl Iterator<Item = &Use> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value(used) => Some(used),
            Piece::Literal(_) => None,
        })
    }

    /// The pieces: a literal text or, as `None`, a value, with whether it can contain slashes.
    pub fn outline(&self) -> impl Iterator<Item = (Option<&str>, bool)> {
        self.pieces.iter().map(|piece| match piece {
            Piece::Literal(literal) => (Some(literal.as_str()), false),
            Piece::Value(used) => (None, used.variable == "path" || OF_REFS.contains(&used.variable.as_str())),
        })
    }

    /// The longest common prefix of all paths, including its last slash: `oci-cas/`.
    pub fn static_prefix(&self) -> &str {
        let Some(Piece::Literal(first)) = self.pieces.first() else { return "" };
        first.rfind('/').and_then(|end| first.get(..=end)).unwrap_or_default()
    }

    /// The pattern of files called `other` beside those called `file`. None: the paths do not end in a slash and
    /// `file`.
    pub fn beside(&self, file: &str, other: &str) -> Option<PathPattern> {
        let mut pieces = self.pieces.clone();
        let Some(Piece::Literal(last)) = pieces.last_mut() else { return None };
        let directory = last.strip_suffix(file).filter(|directory| directory.ends_with('/'))?;
        *last = format!("{directory}{other}");
        Some(PathPattern { origin: self.origin, pieces })
    }

    /// A regular expression for the whole path, without a leading slash. The first whole use of a variable is a group
    /// with its name.
    pub fn regex(&self) -> String {
        let mut regex = String::from("^");
        let mut named = BTreeSet::new();
        let names = if self.depends_on_ref() { Names::Refs } else { Names::Images };
        for (position, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Literal(literal) => regex.push_str(&regex::escape(literal)),
                Piece::Value(Use { variable, prefix }) => {
                    let is_first = prefix.is_none() && named.insert(variable);
                    let name = if is_first { variable.clone() } else { format!("{variable}_prefix{position}") };
                    regex.push_str(&format!("(?<{name}>{})", value_pattern(variable, *prefix, names)));
                }
            }
        }
        regex.push('$');
        regex
    }

    /// The parser of these paths.
    pub fn parser(&self) -> Result<PathParser, regex::Error> {
        let regex = Regex::new(&self.regex())?;
        let names = if self.depends_on_ref() { Names::Refs } else { Names::Images };
        let (mut before, mut parts) = (String::new(), Vec::<Part>::new());
        for piece in &self.pieces {
            match (piece, parts.last_mut()) {
                (Piece::Literal(literal), Some(part)) => part.after.push_str(literal),
                (Piece::Literal(literal), None) => before.push_str(literal),
                (Piece::Value(used), _) => {
                    let value = Regex::new(&format!("^{}$", value_pattern(&used.variable, used.prefix, names)))?;
                    parts.push(Part { used: used.clone(), value, after: String::new() });
                }
            }
        }
        Ok(PathParser { regex, before, parts })
    }
}

/// The first characters of a value. Values with a limit are ASCII.
fn cut(value: &str, prefix: Option<u16>) -> &str {
    prefix.and_then(|prefix| value.get(..prefix.into())).unwrap_or(value)
}

/// The regular expression of a variable's value, without a group around it. No segment of a name begins with a dot: where names
/// are at the root, what lies beside the site (`.git`, `.env`) is not of the site.
///
/// A path takes as little as it can where a ref may follow: `{name}` ends in `app#1.0`, and the path is `app`.
fn value_pattern(variable: &str, prefix: Option<u16>, names: Names) -> String {
    match (variable, prefix) {
        ("fragment", None) => "(?:[^/.][^/]*(?:/[^/.][^/]*)*)?".into(),
        (TAIL, None) => "(?:#[^/]*(?:/[^/.][^/]*)*)?".into(),
        ("fragment" | TAIL, Some(length)) => format!(".{{0,{length}}}"),
        ("host", _) => "[^/.][^/]*".into(),
        ("path", _) if names == Names::Refs => "[^/.][^/]*?(?:/[^/.][^/]*?)*?".into(),
        ("path", _) => "[^/.][^/]*(?:/[^/.][^/]*)*".into(),
        ("algorithm", None) => "[a-z0-9]+".into(),
        ("algorithm", Some(length)) => format!("[a-z0-9]{{1,{length}}}"),
        ("encoded", None) => "[a-f0-9]+".into(),
        ("encoded", Some(length)) => format!("[a-f0-9]{{1,{length}}}"),
        ("digest", None) => "[a-z0-9]+:[a-f0-9]+".into(),
        (_, Some(length)) => format!(".{{1,{length}}}"),
        (_, None) => ".+".into(),
    }
}

/// The most values that a search for the readings of one path tries.
const MAX_TRIED: usize = 4096;

/// Parses paths.
#[derive(Clone, Debug)]
pub struct PathParser {
    regex: Regex,
    /// The literal before the first value.
    before: String,
    /// One for each group of the regular expression.
    parts: Vec<Part>,
}

/// A value, and the literal after it.
#[derive(Clone, Debug)]
struct Part {
    used: Use,
    value: Regex,
    after: String,
}

impl PathParser {
    /// Whether a path matches the pattern.
    pub fn is_match(&self, path: &str) -> bool {
        self.regex.is_match(path)
    }

    /// The values in a path. None: the path does not match. Where a path has several readings, these are the values of one.
    pub fn parse<'p>(&'p self, path: &'p str) -> Option<Values<'p>> {
        let captures = self.regex.captures(path)?;
        let values = captures.iter().skip(1).map(|group| group.map_or("", |group| group.as_str()));
        Some(Values(zip(self.parts.iter().map(|part| &part.used), values).collect()))
    }

    /// The values of each reading of a path: `a-b-c` is `{path}-{fragment}` in two ways. None: too many to try.
    pub fn readings<'p>(&'p self, path: &'p str) -> Option<Vec<Values<'p>>> {
        let mut search = Search { parts: &self.parts, left: MAX_TRIED, values: vec![], found: vec![] };
        path.strip_prefix(self.before.as_str()).is_none_or(|rest| search.read(rest)).then_some(search.found)
    }
}

/// A search for all readings of a path.
struct Search<'p> {
    parts: &'p [Part],
    /// How many values may still be tried.
    left: usize,
    /// The values of the parts before.
    values: Vec<(&'p Use, &'p str)>,
    found: Vec<Values<'p>>,
}

impl<'p> Search<'p> {
    /// Reads the next part at the beginning of `rest` in each way, and returns whether the search was completed.
    fn read(&mut self, rest: &'p str) -> bool {
        let parts = self.parts;
        let Some(part) = parts.get(self.values.len()) else {
            self.found.extend(rest.is_empty().then(|| Values(self.values.clone())));
            return true;
        };
        let is_last = self.values.len() + 1 == parts.len();
        for (end, _) in rest.char_indices().chain([(rest.len(), ' ')]) {
            let (value, after) = rest.split_at(end);
            let Some(after) = after.strip_prefix(part.after.as_str()) else { continue };
            if is_last && !after.is_empty() {
                continue;
            }
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                return false;
            }
            if !self.agrees(&part.used, value) || !part.value.is_match(value) {
                continue;
            }
            self.values.push((&part.used, value));
            let is_complete = self.read(after);
            self.values.pop();
            if !is_complete {
                return false;
            }
        }
        true
    }

    /// Whether a value is that of earlier uses of the variable.
    fn agrees(&self, used: &Use, value: &str) -> bool {
        let is_whole = |known: &Use| known.variable == used.variable && known.prefix.is_none();
        let known = self.values.iter().find(|(known, _)| is_whole(known));
        known.is_none_or(|(_, known)| cut(known, used.prefix) == value)
    }
}

/// The values in a path, with their uses.
#[derive(Clone, Debug)]
pub struct Values<'p>(Vec<(&'p Use, &'p str)>);

impl Values<'_> {
    /// The ref: the fragment, wherever it stands. None: the name has none.
    pub fn reference(&self) -> Option<&str> {
        let fragment = self.get("fragment").or_else(|| self.get(TAIL)?.strip_prefix('#'));
        fragment.filter(|fragment| !fragment.is_empty())
    }

    /// The value of a variable that stands in the path as a whole.
    pub fn get(&self, variable: &str) -> Option<&str> {
        let is_it = |used: &Use| used.variable == variable && used.prefix.is_none();
        self.0.iter().find(|(used, _)| is_it(used)).map(|(_, value)| *value)
    }

    /// Whether all uses of a variable have the same value, which a regular expression cannot require.
    pub fn agree(&self, variable: &str, value: &str) -> bool {
        self.0
            .iter()
            .filter(|(used, _)| used.variable == variable)
            .all(|(used, found)| cut(value, used.prefix) == *found)
    }
}
