//! Paths of objects below a site's root, safe as file names.
//!
//! Image names are untrusted and become file names, so only a check makes a [`SitePath`]: no `.` or `..`, no empty
//! segment, no separator or control character in a segment, and no length over the limits of file systems.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The directory for locks and temporary files. No server serves it, and verification ignores it.
pub const PRIVATE_DIRECTORY: &str = ".ocisite";
/// The description of a site.
pub const DESCRIPTION: &str = "ocisite.json";
/// The directory of well-known resources (RFC 8615).
pub const WELL_KNOWN: &str = ".well-known";

/// The longest file name of common file systems, in bytes.
const MAX_SEGMENT: usize = 255;
/// The longest path, in bytes: the limit of object stores for keys, and below that of every file system.
const MAX_PATH: usize = 1024;

/// File name endings for which a host without media types makes a browser run the content: pages and scripts.
const RUN_BY_BROWSERS: [&str; 14] =
    ["htm", "html", "js", "mht", "mhtml", "mjs", "shtml", "svg", "svgz", "xht", "xhtml", "xml", "xsl", "xslt"];

/// Characters that are encoded in a segment: all but RFC 3986's `pchar`.
pub(super) const NOT_PCHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// A relative path of one or more safe segments, separated by `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SitePath(Box<str>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path {path:?} has the segment {segment:?}: the path would lead outside of the site")]
    Dots {
        /// Decoded.
        path: String,
        segment: String,
    },
    #[error("the path {path:?} has the character {character:?} in a segment: it cannot be a file name")]
    Character {
        /// Decoded.
        path: String,
        character: char,
    },
    #[error("the path {path:?} is not UTF-8 after percent-decoding: not every system accepts it as a file name")]
    Encoding {
        /// Encoded, as given.
        path: String,
    },
    #[error(
        "the path {path:?} has {what} of {found} bytes: file systems accept at most {limit}; choose a shorter name"
    )]
    Long {
        /// Decoded.
        path: String,
        /// `a segment` or `a length`.
        what: &'static str,
        found: usize,
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

    /// Decodes the path of a URI segment by segment, so that an encoded slash does not separate segments.
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

    /// The path in a URL, without a leading slash: what [`SitePath::from_uri_path`] reads.
    pub fn to_uri_path(&self) -> String {
        let segments = self.0.split('/').map(|segment| utf8_percent_encode(segment, NOT_PCHAR).to_string());
        segments.collect::<Vec<_>>().join("/")
    }

    /// The path as text, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first segment.
    pub fn top(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The path as file systems that ignore case compare it. Upper case first, because `ſ` has no other lower case.
    pub fn folded(&self) -> String {
        self.0.to_uppercase().to_lowercase()
    }

    /// The ending, if a host that derives media types from endings would make browsers run the content.
    pub fn ending_run_by_browsers(&self) -> Option<&str> {
        let (_, ending) = self.0.rsplit('/').next()?.rsplit_once('.')?;
        RUN_BY_BROWSERS.iter().any(|known| ending.eq_ignore_ascii_case(known)).then_some(ending)
    }

    /// Whether `self` is a directory above `other`.
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
                prop_assert_eq!(SitePath::from_uri_path(&path.to_uri_path()), Ok(path));
            }
        }
    }
}
