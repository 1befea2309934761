//! Paths of objects below a site's root, safe to use as file names.
//!
//! Image names come from outside and end up as file names, so the one way to get a [`SitePath`] is through a check: no `.`
//! or `..`, no empty segment, no separator or control character inside a segment, nothing longer than file systems take.

use std::fmt;

/// The directory for locks and temporary files: no server serves it, no verification walks it.
pub const PRIVATE_DIRECTORY: &str = ".ocisite";
/// The file in which a site describes itself.
pub const DESCRIPTION: &str = "ocisite.json";
/// The directory of well-known resources (RFC 8615).
pub const WELL_KNOWN: &str = ".well-known";

/// The longest file name that common file systems take, in bytes.
const MAX_SEGMENT: usize = 255;
/// The longest path, in bytes: an object store's limit for keys, and well below every file system's.
const MAX_PATH: usize = 1024;

/// Endings of names by which a host that knows nothing of media types tells a browser to run what it gets: pages and scripts.
const RUN_BY_BROWSERS: [&str; 14] =
    ["htm", "html", "js", "mht", "mhtml", "mjs", "shtml", "svg", "svgz", "xht", "xhtml", "xml", "xsl", "xslt"];

/// A relative path of one or more safe segments, separated by `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SitePath(Box<str>);

/// Why a path cannot be a file of a site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant is its documentation")]
pub enum PathError {
    /// A segment is `.`, `..` or empty.
    #[error("the path {path:?} has the segment {segment:?}: it would leave its place in the site")]
    Dots {
        /// The whole path, decoded.
        path: String,
        segment: String,
    },
    /// A segment has a character that no file name should have.
    #[error("the path {path:?} has the character {character:?} in a segment: it cannot be a file name")]
    Character {
        /// The whole path, decoded.
        path: String,
        character: char,
    },
    /// The path, percent-decoded, is no UTF-8.
    #[error("the path {path:?} is not UTF-8 after percent-decoding: not every system accepts it as a file name")]
    Encoding {
        /// The path as it was, encoded.
        path: String,
    },
    /// A segment, or the path as a whole, is too long.
    #[error(
        "the path {path:?} has {what} of {found} bytes: file systems accept at most {limit}; choose a shorter name"
    )]
    Long {
        /// The whole path, decoded.
        path: String,
        /// `a segment` or `a length`.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
}

impl SitePath {
    /// Checks a decoded path. A leading slash is not part of it.
    pub fn new(path: &str) -> Result<SitePath, PathError> {
        for segment in path.split('/') {
            check_segment(path, segment)?;
        }
        if path.len() > MAX_PATH {
            return Err(PathError::Long { path: path.into(), what: "a length", found: path.len(), limit: MAX_PATH });
        }
        Ok(SitePath(path.into()))
    }

    /// Decodes the path of a URI, segment by segment, so that an encoded slash cannot make two segments of one.
    pub fn from_uri_path(path: &str) -> Result<SitePath, PathError> {
        let mut decoded = String::new();
        for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
            let segment = percent_encoding::percent_decode_str(segment)
                .decode_utf8()
                .map_err(|_| PathError::Encoding { path: path.into() })?;
            if segment.contains('/') {
                return Err(PathError::Character { path: path.into(), character: '/' });
            }
            if !decoded.is_empty() {
                decoded.push('/');
            } else if segment.is_empty() {
                return Err(PathError::Dots { path: path.into(), segment: String::new() });
            }
            decoded.push_str(&segment);
        }
        SitePath::new(&decoded)
    }

    /// The path as text, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first segment.
    pub fn top(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The path as a file system that ignores case compares it. Upper case first, because `ſ` has no other lower case.
    pub fn folded(&self) -> String {
        self.0.to_uppercase().to_lowercase()
    }

    /// The ending, if a host that goes by endings would make browsers run what is there.
    pub fn ending_run_by_browsers(&self) -> Option<&str> {
        let (_, ending) = self.0.rsplit('/').next()?.rsplit_once('.')?;
        RUN_BY_BROWSERS.iter().any(|known| ending.eq_ignore_ascii_case(known)).then_some(ending)
    }

    /// Whether `self` would be a directory above `other`.
    pub fn is_above(&self, other: &SitePath) -> bool {
        other.0.strip_prefix(&*self.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for SitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_segment(path: &str, segment: &str) -> Result<(), PathError> {
    if matches!(segment, "" | "." | "..") {
        return Err(PathError::Dots { path: path.into(), segment: segment.into() });
    }
    if let Some(character) = segment.chars().find(|c| c.is_control() || *c == '\\') {
        return Err(PathError::Character { path: path.into(), character });
    }
    if segment.len() > MAX_SEGMENT {
        return Err(PathError::Long { path: path.into(), what: "a segment", found: segment.len(), limit: MAX_SEGMENT });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_that_would_leave_the_site_are_refused() {
        for path in ["", "/", "..", "a/..", "a//b", "./a", "a/./b", "a/", "a\\b", "a\0b", "a\nb"] {
            assert!(SitePath::new(path).is_err(), "{path:?}");
        }
        for path in ["%2e%2e/a", "a/%2E%2e", "a%2Fb", "a%00b", "%ff", "a%5Cb"] {
            assert!(SitePath::from_uri_path(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_segment_longer_than_a_file_name_is_refused() {
        assert!(SitePath::new(&"a".repeat(255)).is_ok());
        assert!(SitePath::new(&"a".repeat(256)).is_err());
        assert!(SitePath::new("abc/".repeat(300).trim_end_matches('/')).is_err());
    }

    proptest! {
        #[test]
        fn a_path_never_leaves_the_root(text in "[a./%2eEfF0\\\\-]{0,20}") {
            if let Ok(path) = SitePath::from_uri_path(&text) {
                prop_assert!(path.as_str().split('/').all(|segment| !matches!(segment, "" | "." | "..")));
            }
        }
    }
}
