//! The referrers tag schema (distribution-spec, "Referrers Tag Schema"): the tags of clients without the referrers API
//! for the list of a manifest's referrers.
//!
//! ```
//! use oci_discovery::digest::{Algorithm, Digest};
//! use oci_discovery::oci::media_type::{INDEX, MANIFEST};
//! use oci_discovery::oci::referrers::{fallback_subject, fallback_tag, is_fallback_list};
//!
//! let tag = fallback_tag(&Digest::of(Algorithm::Sha256, b""));
//! assert!(tag.starts_with("sha256-e3b0c442") && is_fallback_list(&tag, INDEX));
//! assert_eq!(fallback_subject(&tag, MANIFEST), None, "an image that has the name of a list");
//! let signature = format!("{tag}.sig");
//! assert_eq!(fallback_subject(&signature, MANIFEST), Some(&*tag));
//! ```

use super::media_type::is_index;
use crate::digest::{Algorithm, Digest};

/// The encoded part of a fallback tag is cut to this length.
const FALLBACK_ENCODED: usize = 64;

/// The fallback tag of a digest: the tag whose index lists the referrers of the digest.
pub fn fallback_tag(digest: &Digest) -> String {
    let encoded = digest.encoded();
    format!("{}-{}", digest.algorithm(), &encoded[..encoded.len().min(FALLBACK_ENCODED)])
}

/// Whether a tag that leads to this media type is the list of a digest's referrers. Only an index is such a list.
pub fn is_fallback_list(tag: &str, media_type: &str) -> bool {
    fallback_subject(tag, media_type) == Some(tag)
}

/// The fallback tag of what the referrers under a tag refer to: under a fallback tag that leads to an index, or under one of
/// cosign's tags (`sha256-HEX.sig`), which extend fallback tags. None: the tag is one like others.
pub fn fallback_subject<'t>(tag: &'t str, media_type: &str) -> Option<&'t str> {
    fallback_stem(tag).filter(|stem| *stem != tag || is_index(media_type))
}

/// The fallback tag that a fallback tag, or one of cosign's tags, begins with. None for other tags.
pub fn fallback_stem(tag: &str) -> Option<&str> {
    let stem = tag.split('.').next()?;
    let (algorithm, encoded) = stem.split_once('-')?;
    let is_fallback = encoded.len() == FALLBACK_ENCODED
        && encoded.bytes().all(|byte| byte.is_ascii_hexdigit())
        && algorithm.parse::<Algorithm>().is_ok();
    is_fallback.then_some(stem)
}

/// The digest whose fallback tag a tag is. The tag of a long digest is cut, so the digest must be one that is `known`.
///
/// ```
/// use oci_discovery::digest::{Algorithm, Digest};
/// use oci_discovery::oci::referrers::{fallback_tag, subject_of_list};
///
/// let [short, long] = [Algorithm::Sha256, Algorithm::Sha512].map(|algorithm| Digest::of(algorithm, b""));
/// assert_eq!(subject_of_list(&fallback_tag(&short), []), Some(short));
/// assert_eq!(subject_of_list(&fallback_tag(&long), []), None);
/// assert_eq!(subject_of_list(&fallback_tag(&long), [&long]), Some(long.clone()));
/// ```
pub fn subject_of_list<'d>(tag: &str, known: impl IntoIterator<Item = &'d Digest>) -> Option<Digest> {
    if fallback_stem(tag) != Some(tag) {
        return None;
    }
    let whole = Digest::parse(&tag.replacen('-', ":", 1)).ok();
    whole.or_else(|| known.into_iter().find(|digest| fallback_tag(digest) == tag).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fallback_tags_are_recognised_and_cut() {
        let digest = Digest::of(Algorithm::Sha512, b"");
        assert_eq!(fallback_tag(&digest).len(), "sha512-".len() + 64);
        assert!(is_fallback_list(&fallback_tag(&digest), super::super::media_type::INDEX));
        assert_eq!(fallback_stem(&format!("{}.sig", fallback_tag(&digest))), Some(&*fallback_tag(&digest)));
        assert_eq!((fallback_stem("sha256-abc"), fallback_stem("1.0")), (None, None));
    }
}
