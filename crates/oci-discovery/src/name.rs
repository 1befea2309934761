//! Host-based image names: `example.com/team/app#1.0`.
//!
//! A name is `host "/" path-rootless [ "#" fragment ]` (host-based-image-names), and RFC 3986 defines the three parts.
//! A name has no port, no user information and no query, because discovery turns the host alone into an origin. File
//! paths, template values and server directives are made of names, so [`ImageName::parse`] rejects malformed text, with
//! the place and a correction, and never repairs it.
//!
//! | rule | section | function |
//! | --- | --- | --- |
//! | the three parts | host-based-image-names | [`ImageName::parse`] |
//! | host | RFC 3986, 3.2.2 | `check_host` |
//! | path | RFC 3986, 3.3 | `check_path` |
//! | fragment | RFC 3986, 3.5 | [`is_fragment`] |
//! | percent triplets | RFC 3986, 2.1 | `starts_with_triplet` |
//! | equal hosts compare equal | RFC 3986, 6.2.2.1 | `normal_host` |
//! | the hosts that discovery asks | well-known-uri-ref-engine-discovery | [`ImageName::discovery_hosts`] |
//!
//! Only the host is case-insensitive. The host is kept in its normal form: letters in lower case, the digits of percent
//! triplets in upper case. Path and fragment are kept as written, because servers and annotations compare them byte for
//! byte.

use std::cmp::Ordering;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

use crate::rfc3986::{is_sub_delim, is_unreserved, starts_with_triplet};

/// A host-based image name; see the [module](self) for its parts.
///
/// Names order by host, then path, then fragment; a name without a fragment comes first. A name is stored as its text,
/// and its parts are slices of the text: a site may have a million names, and three strings take three times the memory
/// of one.
///
/// ```
/// use oci_discovery::name::{ImageName, NameError};
///
/// let name = ImageName::parse("A.Example.com/team/app#1.0")?;
/// assert_eq!((name.host(), name.path(), name.fragment()), ("a.example.com", "team/app", Some("1.0")));
/// assert_eq!(name.image(), ImageName::new("a.example.com", "team/app", None)?);
/// assert_eq!(name.with_fragment(Some("2.0"))?.to_string(), "a.example.com/team/app#2.0");
/// assert_eq!(name.discovery_hosts(), ["a.example.com", "example.com"]);
///
/// let error = ImageName::parse("example.com:5000/app").unwrap_err();
/// assert!(matches!(&error, NameError::Port { at, .. } if at.column == 12), "{error}");
/// # Ok::<(), NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct ImageName(Box<str>);

impl ImageName {
    /// Parses `host/path` or `host/path#fragment` (host-based-image-names).
    ///
    /// # Errors
    ///
    /// [`NameError`] with the first place at which the text is not a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (host, rest) = text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()));
        if host.ends_with(':') && rest.starts_with("//") {
            let scheme = host.trim_end_matches(':').to_owned();
            return Err(NameError::Scheme { at: Place::new(text, 0), scheme });
        }
        check_host(text, 0, host)?;
        let path_start = match rest.chars().next() {
            Some('/') => host.len() + 1,
            Some('?') => return Err(NameError::Query { at: Place::new(text, host.len()) }),
            _ => return Err(NameError::NoPath { at: Place::new(text, host.len()) }),
        };
        let (path, fragment) = match text[path_start..].split_once('#') {
            Some((path, fragment)) => (path, Some(fragment)),
            None => (&text[path_start..], None),
        };
        Self::after_host(text, host, path, fragment)
    }

    /// Joins the parts of a name, without escaping or unescaping.
    ///
    /// # Errors
    ///
    /// [`NameError`], with the column in the whole name, if a part breaks its rule.
    pub fn new(host: &str, path: &str, fragment: Option<&str>) -> Result<Self, NameError> {
        let mut text = format!("{host}/{path}");
        if let Some(fragment) = fragment {
            text.push('#');
            text.push_str(fragment);
        }
        Self::from_parts(&text, host, path, fragment)
    }

    /// Checks the parts in the order of `text`.
    fn from_parts(text: &str, host: &str, path: &str, fragment: Option<&str>) -> Result<Self, NameError> {
        check_host(text, 0, host)?;
        Self::after_host(text, host, path, fragment)
    }

    /// Checks the path and the fragment; the host has been checked.
    fn after_host(text: &str, host: &str, path: &str, fragment: Option<&str>) -> Result<Self, NameError> {
        let path_start = host.len() + 1;
        check_path(text, path_start, path)?;
        if let Some(fragment) = fragment {
            check_characters(text, path_start + path.len() + 1, fragment, Part::Fragment)?;
        }
        let host = normal_host(host);
        Ok(Self(match fragment {
            Some(fragment) => format!("{host}/{path}#{fragment}").into(),
            None => format!("{host}/{path}").into(),
        }))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Host, path and fragment. No host has a slash, and no path has a `#`.
    fn parts(&self) -> (&str, &str, Option<&str>) {
        let (host, rest) = self.0.split_once('/').unwrap_or((&self.0, ""));
        match rest.split_once('#') {
            Some((path, fragment)) => (host, path, Some(fragment)),
            None => (host, rest, None),
        }
    }

    /// The host in its normal form; an IPv6 address keeps its brackets.
    pub fn host(&self) -> &str {
        self.parts().0
    }

    /// The path as written, without a leading slash.
    pub fn path(&self) -> &str {
        self.parts().1
    }

    /// The fragment as written, without `#`; `Some("")` for a name that ends in `#`.
    pub fn fragment(&self) -> Option<&str> {
        self.parts().2
    }

    /// The name without its fragment: the image, whose refs are in one index.
    pub fn image(&self) -> Self {
        Self(self.0.split('#').next().unwrap_or_default().into())
    }

    /// The same image under another ref, or under none.
    ///
    /// # Errors
    ///
    /// [`NameError`] if `fragment` is malformed; [`is_fragment`] checks beforehand.
    pub fn with_fragment(&self, fragment: Option<&str>) -> Result<Self, NameError> {
        Self::new(self.host(), self.path(), fragment)
    }

    /// The name with the tag as its fragment, where the path ends in what other programs write for a tag: `app:1.0`. A colon
    /// is a character like others in a path, so this is only a suggestion.
    ///
    /// ```
    /// use oci_discovery::name::ImageName;
    ///
    /// let name = ImageName::parse("example.com/app:1.0")?;
    /// assert_eq!(name.with_tag_as_fragment(), Some(ImageName::parse("example.com/app#1.0")?));
    /// # Ok::<(), oci_discovery::name::NameError>(())
    /// ```
    pub fn with_tag_as_fragment(&self) -> Option<Self> {
        let (host, path, None) = self.parts() else { return None };
        let (path, tag) = path.rsplit_once(':')?;
        let is_tag = !path.is_empty() && !path.ends_with('/') && !tag.is_empty() && !tag.contains('/');
        Self::new(host, path, Some(tag)).ok().filter(|_| is_tag)
    }

    /// The hosts that are asked for a ref-engines object, in order: the name's own, then its DNS ancestors down to two
    /// labels (well-known-uri-ref-engine-discovery, "Images associated with a host's `oci-host-ref-engines`").
    ///
    /// IP addresses and single labels have no ancestors. A host with an empty label has none either: DNS has no such
    /// name.
    pub fn discovery_hosts(&self) -> Vec<&str> {
        let host = self.host();
        // A final dot marks a complete domain name (RFC 3986, 3.2.2) and ends no label of its own.
        let labels = host.strip_suffix('.').unwrap_or(host);
        if host.starts_with('[') || Ipv4Addr::from_str(labels).is_ok() || labels.split('.').any(str::is_empty) {
            return vec![host];
        }
        let ancestors = labels.match_indices('.').map(|(dot, _)| dot + 1);
        let with_two_labels = ancestors.filter(|&start| labels[start..].contains('.'));
        std::iter::once(host).chain(with_two_labels.map(|start| &host[start..])).collect()
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageName({:?})", &self.0)
    }
}

impl Ord for ImageName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for ImageName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Deserializes without a copy of the text: a site may have ten thousand names, and each publish reads them.
impl<'de> Deserialize<'de> for ImageName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ImageName, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = ImageName;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an image name")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ImageName, E> {
        ImageName::parse(text).map_err(E::custom)
    }
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// Whether `text` can follow the `#` of an image name (RFC 3986, 3.5). Only such a ref has a name.
///
/// ```
/// use oci_discovery::name::is_fragment;
///
/// assert!(is_fragment("docker.io/library/busybox:1.36"));
/// assert!(!is_fragment("1 0") && !is_fragment("#1"));
/// ```
pub fn is_fragment(text: &str) -> bool {
    check_characters(text, 0, text, Part::Fragment).is_ok()
}

/// A place in an image name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The whole name, as given.
    pub text: String,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Place {
    fn new(text: &str, byte: usize) -> Self {
        Self { text: text.to_owned(), column: text[..byte].chars().count() + 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "image name {:?}, column {}", self.text, self.column)
    }
}

/// A part of an image name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Before the first slash.
    Host,
    /// Between the first slash and `#`.
    Path,
    /// After `#`.
    Fragment,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Path => "path",
            Self::Fragment => "fragment",
        })
    }
}

/// Why a text is not an image name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of a variant is its documentation; `at` is the place")]
pub enum NameError {
    #[error("{at}: a name has no scheme; leave out `{scheme}://`")]
    Scheme { at: Place, scheme: String },
    #[error("{at}: the host is empty; write HOST/PATH, as in `example.com/app`")]
    EmptyHost { at: Place },
    #[error("{at}: a name has no user information; leave out everything up to `@`")]
    UserInfo { at: Place },
    #[error("{at}: a name has no port; leave out `{port}`")]
    Port { at: Place, port: String },
    #[error(
        "{at}: `{found}` is not an IP address in brackets (RFC 3986, 3.2.2); write it like `[2001:db8::1]`, without a zone"
    )]
    IpLiteral { at: Place, found: String },
    #[error("{at}: the name has no path; write HOST/PATH, as in `example.com/app`")]
    NoPath { at: Place },
    #[error("{at}: the path's first segment is empty; write one slash after the host")]
    EmptyFirstSegment { at: Place },
    #[error(
        "{at}: a name has no query; leave out `?` and what follows, or write `%3F` for a question mark in the path"
    )]
    Query { at: Place },
    #[error("{at}: `%` is not followed by two hexadecimal digits; write `%25` for a percent sign")]
    Triplet { at: Place },
    #[error("{at}: a {part} must not have non-ASCII characters, found {found:?}; {}", non_ascii_hint(*.part))]
    NonAscii { at: Place, part: Part, found: char },
    #[error("{at}: a {part} must not have {found:?} (RFC 3986); percent-encode it as `%{:02X}` or leave it out", *.found as u32)]
    Forbidden { at: Place, part: Part, found: char },
}

impl NameError {
    /// The first place at which the text is not a name.
    pub fn place(&self) -> &Place {
        match self {
            Self::Scheme { at, .. }
            | Self::EmptyHost { at }
            | Self::UserInfo { at }
            | Self::Port { at, .. }
            | Self::IpLiteral { at, .. }
            | Self::NoPath { at }
            | Self::EmptyFirstSegment { at }
            | Self::Query { at }
            | Self::Triplet { at }
            | Self::NonAscii { at, .. }
            | Self::Forbidden { at, .. } => at,
        }
    }
}

fn non_ascii_hint(part: Part) -> &'static str {
    match part {
        Part::Host => "write the host's ASCII form (`xn--…`)",
        Part::Path | Part::Fragment => "percent-encode its UTF-8 bytes",
    }
}

/// RFC 3986, 3.2.2: `IP-literal / IPv4address / reg-name`. An IPv4 address is also a reg-name and needs no rule of its
/// own.
fn check_host(text: &str, start: usize, host: &str) -> Result<(), NameError> {
    let at = |offset: usize| Place::new(text, start + offset);
    if host.is_empty() {
        return Err(NameError::EmptyHost { at: at(0) });
    }
    // Checked before the port, because user information may have a colon.
    if let Some(offset) = host.find('@') {
        return Err(NameError::UserInfo { at: at(offset) });
    }
    let literal_end = match host.starts_with('[') {
        true => host.find(']').map_or(host.len(), |bracket| bracket + 1),
        false => 0,
    };
    let (literal, rest) = host.split_at(literal_end);
    if !literal.is_empty() && !is_ip_literal(literal) {
        return Err(NameError::IpLiteral { at: at(0), found: literal.to_owned() });
    }
    if let Some(offset) = rest.find(':') {
        let port = rest[offset..].to_owned();
        return Err(NameError::Port { at: at(literal_end + offset), port });
    }
    if !literal.is_empty() && !rest.is_empty() {
        return Err(NameError::IpLiteral { at: at(0), found: host.to_owned() });
    }
    check_characters(text, start + literal_end, rest, Part::Host)
}

/// RFC 3986, 3.2.2: `"[" ( IPv6address / IPvFuture ) "]"`.
fn is_ip_literal(literal: &str) -> bool {
    let Some(address) = literal.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    let Some(future) = address.strip_prefix(['v', 'V']) else {
        return Ipv6Addr::from_str(address).is_ok();
    };
    future.split_once('.').is_some_and(|(version, address)| {
        !version.is_empty()
            && version.bytes().all(|byte| byte.is_ascii_hexdigit())
            && !address.is_empty()
            && address.chars().all(|c| is_unreserved(c) || is_sub_delim(c) || c == ':')
    })
}

/// RFC 3986, 3.3: `path-rootless`.
fn check_path(text: &str, start: usize, path: &str) -> Result<(), NameError> {
    match path.chars().next() {
        None => Err(NameError::NoPath { at: Place::new(text, start) }),
        Some('/') => Err(NameError::EmptyFirstSegment { at: Place::new(text, start) }),
        Some(_) => check_characters(text, start, path, Part::Path),
    }
}

/// Checks each character of `part`, which begins at byte `start` of `text` (RFC 3986: `reg-name` in 3.2.2, `pchar` in
/// 3.3, `fragment` in 3.5).
fn check_characters(text: &str, start: usize, part: &str, kind: Part) -> Result<(), NameError> {
    // Nearly all parts have only these characters. This check takes a fraction of the time.
    if part.bytes().all(|byte| is_unreserved(byte.into()) || (byte == b'/' && kind != Part::Host)) {
        return Ok(());
    }
    for (offset, found) in part.char_indices() {
        let at = || Place::new(text, start + offset);
        let allowed = match (kind, found) {
            (_, '%') if !starts_with_triplet(&part[offset..]) => return Err(NameError::Triplet { at: at() }),
            (_, '%') => true,
            (Part::Host | Part::Path, '?') => return Err(NameError::Query { at: at() }),
            (Part::Path, ':' | '@' | '/') | (Part::Fragment, ':' | '@' | '/' | '?') => true,
            _ => is_unreserved(found) || is_sub_delim(found),
        };
        match (allowed, found.is_ascii()) {
            (true, _) => {}
            (false, true) => return Err(NameError::Forbidden { at: at(), part: kind, found }),
            (false, false) => return Err(NameError::NonAscii { at: at(), part: kind, found }),
        }
    }
    Ok(())
}

/// RFC 3986, 6.2.2.1: letters lower-case, the digits of percent triplets upper-case. `host` has been checked.
fn normal_host(host: &str) -> String {
    if !host.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'%') {
        return host.to_owned();
    }
    let mut digits_left = 0;
    host.chars()
        .map(|c| {
            let in_triplet = digits_left > 0;
            digits_left = if c == '%' { 2 } else { usize::saturating_sub(digits_left, 1) };
            if in_triplet { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> ImageName {
        ImageName::parse(text).expect("the example is a name")
    }

    fn message(text: &str) -> String {
        ImageName::parse(text).expect_err("the example is not a name").to_string()
    }

    #[test]
    fn a_name_has_a_host_a_path_and_perhaps_a_fragment() {
        let app = name("example.com/team/app#1.0");
        assert_eq!((app.host(), app.path(), app.fragment()), ("example.com", "team/app", Some("1.0")));
        assert_eq!(app.image().to_string(), "example.com/team/app");
        assert_eq!(name("example.com/app").fragment(), None);
        assert_eq!(name("example.com/app#").fragment(), Some(""));
    }

    #[test]
    fn rfc_3986_allows_more_than_people_type() {
        for text in [
            "localhost/a",
            "192.0.2.7/a",
            "[2001:db8::1]/a",
            "[::ffff:192.0.2.7]/a",
            "[v1.a:b]/a",
            "a_b~!$&'()*+,;=/a",
            "example.com/a:b@c/%2F/.../~x//y/",
            "example.com/a#b/c?d:e@f%20",
        ] {
            assert_eq!(name(text).to_string(), text);
        }
    }

    #[test]
    fn the_host_is_kept_in_its_normal_form_and_nothing_else_is() {
        assert_eq!(name("Example.COM/Team%2fApp#RC%2f1").to_string(), "example.com/Team%2fApp#RC%2f1");
        assert_eq!(name("EX%c3%a4%41A/a").host(), "ex%C3%A4%41a");
        assert_eq!(name("[2001:DB8::A]/a").host(), "[2001:db8::a]");
    }

    #[test]
    fn what_is_not_a_name_is_refused_with_the_column_and_a_way_out() {
        for (text, column, says) in [
            ("", 1, "the host is empty"),
            ("/app", 1, "the host is empty"),
            ("example.com", 12, "no path"),
            ("example.com/", 13, "no path"),
            ("example.com#1.0", 12, "no path"),
            ("example.com/#1.0", 13, "no path"),
            ("example.com//app", 13, "first segment is empty"),
            ("example.com:5000/app", 12, "no port; leave out `:5000`"),
            ("[::1]:80/app", 6, "no port; leave out `:80`"),
            ("me:secret@example.com/app", 10, "no user information"),
            ("https://example.com/app", 1, "leave out `https://`"),
            ("example.com/app?x=1", 16, "no query"),
            ("example.com?x/app", 12, "no query"),
            ("example.com/a%2", 14, "`%` is not followed by two hexadecimal digits"),
            ("example.com/app#%zz", 17, "`%` is not followed by two hexadecimal digits"),
            ("exa%mple.com/app", 4, "`%` is not followed by two hexadecimal digits"),
            ("example.com/my app", 15, "percent-encode it as `%20`"),
            ("example.com/a\0b", 14, "percent-encode it as `%00`"),
            ("example.com/app#a#b", 18, "a fragment must not have '#'"),
            ("example.com/a\\b", 14, "a path must not have '\\\\'"),
            ("bücher.example/app", 2, "xn--"),
            ("example.com/bücher#é", 14, "a path must not have non-ASCII characters"),
            ("example.com/a#üé", 15, "a fragment must not have non-ASCII characters"),
            ("[::1/app", 1, "not an IP address in brackets"),
            ("[::1]x/app", 1, "not an IP address in brackets"),
            ("[fe80::1%25eth0]/app", 1, "without a zone"),
            ("[::01.2.3.4]/app", 1, "not an IP address in brackets"),
            ("[v.a]/app", 1, "not an IP address in brackets"),
            ("exam[ple.com/app", 5, "a host must not have '['"),
        ] {
            let message = message(text);
            assert!(message.starts_with(&format!("image name {text:?}, column {column}: ")), "{message}");
            assert!(message.contains(says), "{message} does not say {says}");
        }
    }

    #[test]
    fn names_order_by_their_parts_and_not_as_text() {
        let mut names =
            ["a-b.example/x", "a.example/x-y", "a.example/x", "a.example/x#", "a.example/x#1", "a.example/x/y"];
        names.sort_by_key(|text| name(text));
        assert_eq!(names.map(|text| name(text).to_string()), names);
        let sorted =
            ["a-b.example/x", "a.example/x", "a.example/x#", "a.example/x#1", "a.example/x-y", "a.example/x/y"];
        assert_eq!(names, sorted);
        assert!(name("a/x") < name("a-b/x"), "a host is less than one that it begins");
    }

    #[test]
    fn parts_cannot_smuggle_in_another_part() {
        let column = |error: NameError| error.place().column;
        assert_eq!(column(ImageName::new("a.example.com/b", "c", None).unwrap_err()), 14);
        assert_eq!(column(ImageName::new("example.com", "app#1", None).unwrap_err()), 16);
        assert_eq!(column(ImageName::new("example.com", "app?1", Some("1")).unwrap_err()), 16);
        assert_eq!(column(name("example.com/app").with_fragment(Some("1#2")).unwrap_err()), 18);
        assert_eq!(name("example.com/app#1").with_fragment(Some("2")), Ok(name("example.com/app#2")));
    }

    #[test]
    fn a_ref_with_a_full_name_can_be_a_fragment_but_one_with_a_space_cannot() {
        assert!(is_fragment("docker.io/library/busybox:1.36"));
        assert!(is_fragment(""));
        assert!(!is_fragment("1 0"));
        assert!(!is_fragment("#1"));
        assert!(!is_fragment("100%"));
    }

    #[test]
    fn discovery_asks_the_host_and_its_ancestors_down_to_two_labels() {
        let hosts = |text: &str| name(text).discovery_hosts().join(" ");
        assert_eq!(hosts("A.b.example.com/x"), "a.b.example.com b.example.com example.com");
        assert_eq!(hosts("example.com/x"), "example.com");
        assert_eq!(hosts("localhost/x"), "localhost");
        assert_eq!(hosts("192.0.2.7/x"), "192.0.2.7");
        assert_eq!(hosts("[2001:db8::192.0.2.7]/x"), "[2001:db8::192.0.2.7]");
        assert_eq!(hosts("a.example.com./x"), "a.example.com. example.com.");
        assert_eq!(hosts("localhost./x"), "localhost.");
        assert_eq!(hosts("a..example.com/x"), "a..example.com");
    }

    const HOST: &str = r"[a-zA-Z0-9._~!$&'()*+,;=-]{1,12}(%[0-9a-fA-F]{2}){0,2}";
    const PATH: &str = r"[a-z@:][a-zA-Z0-9._~!$&'()*+,;=:@/-]{0,8}(%[0-9a-fA-F]{2}[a-z/]?){0,2}";
    const FRAGMENT: &str = r"[a-zA-Z0-9._~!$&'()*+,;=:@/?-]{0,8}(%[0-9a-fA-F]{2}[a-z?]?){0,2}";

    proptest! {
        #[test]
        fn a_printed_name_parses_to_itself(
            host in HOST,
            path in PATH,
            fragment in proptest::option::of(FRAGMENT),
        ) {
            let name = ImageName::new(&host, &path, fragment.as_deref())?;
            prop_assert_eq!(name.path(), &path);
            prop_assert_eq!(name.fragment(), fragment.as_deref());
            prop_assert_eq!(&ImageName::parse(&name.to_string())?, &name);
            prop_assert_eq!(&ImageName::new(&host.to_lowercase(), name.path(), name.fragment())?, &name);
        }

        #[test]
        fn any_text_is_a_name_or_an_error_within_it(text in r"(\PC|[/#?%:@\[\]a.]){0,24}") {
            match ImageName::parse(&text) {
                Ok(name) => prop_assert!(text.ends_with(&name.to_string()[name.host().len()..])),
                Err(error) => {
                    prop_assert_eq!(&error.place().text, &text);
                    prop_assert!(error.place().column <= text.chars().count() + 1);
                }
            }
        }

        #[test]
        fn every_discovery_host_is_the_end_of_the_one_before(labels in proptest::collection::vec("[a-z]{1,4}", 1..6)) {
            let name = ImageName::new(&labels.join("."), "app", None)?;
            let hosts = name.discovery_hosts();
            prop_assert_eq!(hosts.len(), labels.len().saturating_sub(1).max(1));
            for pair in hosts.windows(2) {
                prop_assert_eq!(pair[0].split_once('.').map(|(_, parent)| parent), Some(pair[1]));
            }
        }
    }
}
