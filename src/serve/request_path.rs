//! From the target of a request line to a path of the site, percent-decoded exactly once.
//!
//! The whole path is decoded, as in web servers, so that `%2F` is a separator. [`SitePath`](crate::site::SitePath)
//! checks the result.

use percent_encoding::percent_decode_str;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestPathError {
    #[error("it does not begin with a slash")]
    NoSlash,
    #[error("the percent sign at byte {position} is not followed by two hexadecimal digits")]
    Triplet {
        /// The position of the percent sign in the encoded path, from 0.
        position: usize,
    },
    #[error("it is not UTF-8 when it is percent-decoded")]
    Encoding,
}

/// Splits a target into the encoded path, and the query without its question mark.
pub fn split(target: &str) -> (&str, &str) {
    let (before, query) = target.split_once('?').unwrap_or((target, ""));
    let path = match whole_uri(before) {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => before,
    };
    (path, query)
}

/// The authority of a target that is a whole URI, which clients send to proxies. It precedes the `Host` header (RFC
/// 9112, section 3.2.2).
pub fn authority(target: &str) -> Option<&str> {
    whole_uri(target).and_then(|rest| rest.split(['/', '?']).next())
}

/// The rest of a whole URI after its scheme.
fn whole_uri(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then_some(rest)
}

/// Decodes a path and removes its leading slash.
pub fn decode(path: &str) -> Result<String, RequestPathError> {
    let path = path.strip_prefix('/').ok_or(RequestPathError::NoSlash)?;
    if let Some(position) = wrong_triplet(path) {
        return Err(RequestPathError::Triplet { position: position + 1 });
    }
    let decoded = percent_decode_str(path).decode_utf8().map_err(|_| RequestPathError::Encoding)?;
    Ok(decoded.into_owned())
}

fn wrong_triplet(path: &str) -> Option<usize> {
    let is_triplet = |position: usize| {
        path.as_bytes().get(position + 1..position + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    path.match_indices('%').map(|(position, _)| position).find(|position| !is_triplet(*position))
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;
    use crate::site::SitePath;

    #[test]
    fn a_path_is_decoded_once_as_a_whole() {
        for (path, decoded) in [
            ("/", ""),
            ("/a/b", "a/b"),
            ("/team%2Fapp", "team/app"),
            ("/team%2fapp", "team/app"),
            ("/%61pp", "app"),
            ("/sha256%3Aabc", "sha256:abc"),
            ("/%252e%252e/x", "%2e%2e/x"),
            ("/a+b", "a+b"),
            ("/caf%C3%A9", "café"),
            ("//a", "/a"),
        ] {
            assert_eq!(decode(path).as_deref(), Ok(decoded), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused_with_the_reason() {
        for (path, error) in [
            ("", RequestPathError::NoSlash),
            ("a", RequestPathError::NoSlash),
            ("*", RequestPathError::NoSlash),
            ("/%", RequestPathError::Triplet { position: 1 }),
            ("/a%2", RequestPathError::Triplet { position: 2 }),
            ("/%41%4x", RequestPathError::Triplet { position: 4 }),
            ("/%+1", RequestPathError::Triplet { position: 1 }),
            ("/%ff", RequestPathError::Encoding),
            ("/%c0%ae", RequestPathError::Encoding),
        ] {
            assert_eq!(decode(path), Err(error), "{path}");
        }
    }

    #[test]
    fn a_target_has_a_path_and_a_query_and_perhaps_an_authority() {
        for (target, host, path, query) in [
            ("/a?b=c", None, "/a", "b=c"),
            ("/a?b?c", None, "/a", "b?c"),
            ("/a?u=http://x/y", None, "/a", "u=http://x/y"),
            ("http://localhost:8000/a?b", Some("localhost:8000"), "/a", "b"),
            ("HTTPS://localhost/a", Some("localhost"), "/a", ""),
            ("http://localhost", Some("localhost"), "/", ""),
            ("http://localhost?b", Some("localhost"), "/", "b"),
            ("http:///a", Some(""), "/a", ""),
            ("/http://x/y", None, "/http://x/y", ""),
            ("ftp://x/y", None, "ftp://x/y", ""),
            ("*", None, "*", ""),
        ] {
            assert_eq!((authority(target), split(target)), (host, (path, query)), "{target}");
        }
    }

    proptest! {
        #[test]
        fn no_target_leads_out_of_the_root(target in r"(http://x|/|)([a./\\%]|%2e|%2F|%5c|%25|%00|%c0%ae|\.\.){0,12}") {
            let (path, _) = split(&target);
            let Ok(decoded) = decode(path) else { return Ok(()) };
            let Ok(path) = SitePath::new(&decoded) else { return Ok(()) };
            let file = Path::new("/site").join(path.as_str());
            prop_assert!(file.starts_with("/site"));
            prop_assert!(file.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_))));
        }
    }
}
