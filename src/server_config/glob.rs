//! Paths with wildcards, for hosts that have no regular expressions.
//!
//! Each host writes wildcards differently, and each limits where they may stand. A [`Glob`] has the parts of a path, and the
//! format of a host ([`super::static_host`]) writes them.

use std::collections::BTreeSet;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::site::SitePath;
use crate::site::pattern::PathPattern;

/// Characters that a path of a URL cannot have unencoded, and `*`, which is a wildcard. Clients send colons unencoded:
/// `sha256:…`.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'*')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// This text, as in a URL.
    Text(String),
    /// Characters of one segment.
    Segment,
    /// Any characters, slashes included.
    Any,
}

/// Paths of a URL, with their leading slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<Part>);

impl Glob {
    /// One path, without a leading slash.
    pub fn exact(path: &str) -> Glob {
        Glob(vec![text(&format!("/{path}"))])
    }

    /// All paths that begin with `prefix`, which has no leading slash.
    pub fn below(prefix: &str) -> Glob {
        Glob(vec![text(&format!("/{prefix}")), Part::Any])
    }

    /// Reads `*` as one segment and `**` as any characters.
    pub fn parse(path: &str) -> Glob {
        let mut parts = Vec::new();
        for (position, piece) in path.split("**").enumerate() {
            if position > 0 {
                parts.push(Part::Any);
            }
            for (position, literal) in piece.split('*').enumerate() {
                if position > 0 {
                    parts.push(Part::Segment);
                }
                if !literal.is_empty() {
                    parts.push(text(literal));
                }
            }
        }
        Glob(parts)
    }

    /// The paths of a template. Two values without text between them are one wildcard.
    pub fn of(pattern: &PathPattern) -> Glob {
        let mut parts = vec![text("/")];
        for (literal, has_slashes) in pattern.outline() {
            let wildcard = if has_slashes { Part::Any } else { Part::Segment };
            match (parts.last_mut(), literal) {
                (Some(Part::Text(text)), Some(literal)) => text.push_str(&encode(literal)),
                (_, Some("")) | (Some(Part::Any), None) => {}
                (_, Some(literal)) => parts.push(text(literal)),
                (Some(last @ Part::Segment), None) => *last = wildcard,
                (_, None) => parts.push(wildcard),
            }
        }
        Glob(parts)
    }

    /// The parts, for a format.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The text before the first wildcard.
    pub fn prefix(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Whether this is one path.
    pub fn is_exact(&self) -> bool {
        matches!(self.0[..], [Part::Text(_)])
    }

    /// Whether a path of a URL is one of these.
    pub fn matches(&self, path: &str) -> bool {
        match_parts(&self.0, path)
    }

    /// A regular expression for the whole path, with a group for each wildcard, in the syntax that RE2 and Rust share.
    pub fn regex(&self) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => regex::escape(text),
            Part::Segment => "([^/]+)".into(),
            Part::Any => "(.+)".into(),
        });
        format!("^{}$", parts.collect::<String>())
    }

    /// Globs with wildcards at their ends only, which together match all of `paths` that this one matches.
    pub fn with_wildcard_at_end(&self, paths: &[SitePath]) -> Result<Vec<Glob>, regex::Error> {
        let is_name = |part: &Part| matches!(part, Part::Text(text) if text != "/");
        let last = self.0.iter().rposition(is_name).unwrap_or_default();
        if self.0.iter().take(last).all(|part| matches!(part, Part::Text(_))) {
            return Ok(vec![self.clone()]);
        }
        let regex = regex::Regex::new(&self.regex())?;
        let mut found = BTreeSet::new();
        for path in paths {
            let path = encode(&format!("/{path}"));
            let Some(captures) = regex.captures(&path) else { continue };
            let mut values = captures.iter().skip(1).map(|group| group.map_or("", |group| group.as_str()));
            let fixed = self.0.iter().take(last + 1).map(|part| match part {
                Part::Text(text) => text.as_str(),
                _ => values.next().unwrap_or_default(),
            });
            found.insert(fixed.collect::<String>());
        }
        let wildcard = (last + 1 < self.0.len()).then_some(Part::Any);
        Ok(found
            .into_iter()
            .map(|text| Glob([Part::Text(text)].into_iter().chain(wildcard.clone()).collect()))
            .collect())
    }
}

/// For people and for programs of other hosts: `*` is one segment or a part of one, `**` any characters.
impl std::fmt::Display for Glob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|part| {
            f.write_str(match part {
                Part::Text(text) => text,
                Part::Segment => "*",
                Part::Any => "**",
            })
        })
    }
}

fn match_parts(parts: &[Part], path: &str) -> bool {
    let Some((part, rest)) = parts.split_first() else { return path.is_empty() };
    let end = match part {
        Part::Text(text) => return path.strip_prefix(text.as_str()).is_some_and(|path| match_parts(rest, path)),
        Part::Segment => path.find('/').unwrap_or(path.len()),
        Part::Any => path.len(),
    };
    (1..=end).any(|taken| path.get(taken..).is_some_and(|path| match_parts(rest, path)))
}

fn text(decoded: &str) -> Part {
    Part::Text(encode(decoded))
}

fn encode(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_reads_as_it_is_written() {
        for glob in ["/v2/**/manifests/*", "/oci-cas/**", "/v2/**/manifests/*:*", "/index.html"] {
            assert_eq!(Glob::parse(glob).to_string(), glob);
        }
        assert_eq!(Glob::exact("a b/*").to_string(), "/a%20b/%2A");
    }

    #[test]
    fn a_segment_has_no_slash() {
        let regex = regex::Regex::new(&Glob::parse("/v2/**/manifests/*").regex()).unwrap();
        assert!(regex.is_match("/v2/team/app/manifests/1.0") && !regex.is_match("/v2/app/manifests/a/b"));
        assert!(!regex.is_match("/v2/app/_manifests/1.0"));
        for path in
            ["/v2/team/app/manifests/1.0", "/v2/app/manifests/a/b", "/v2/app/_manifests/1.0", "/v2//manifests/1"]
        {
            assert_eq!(Glob::parse("/v2/**/manifests/*").matches(path), regex.is_match(path), "{path}");
        }
    }

    #[test]
    fn existing_paths_take_the_place_of_wildcards_that_stand_within() {
        let paths = ["v2/app/tags/list", "v2/team/app/tags/list", "v2/app/manifests/1.0"];
        let paths = paths.map(|path| SitePath::new(path).unwrap());
        let at_end = |glob| {
            let globs = Glob::parse(glob).with_wildcard_at_end(&paths).unwrap();
            globs.iter().map(Glob::to_string).collect::<Vec<_>>()
        };
        assert_eq!(at_end("/v2/**/tags/list"), ["/v2/app/tags/list", "/v2/team/app/tags/list"]);
        assert_eq!(at_end("/v2/**/manifests/*"), ["/v2/app/manifests/**"]);
        assert_eq!(at_end("/oci-cas/**"), ["/oci-cas/**"]);
    }
}
