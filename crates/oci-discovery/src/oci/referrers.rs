//! The referrers tag schema (distribution-spec, "Referrers Tag Schema"): the tags of clients without the referrers API
//! for the list of a manifest's referrers.
//!
//! ```
//! use oci_discovery::digest::{Algorithm, Digest};
//! use oci_discovery::oci::referrers::{fallback_tag, is_fallback_list_tag, is_fallback_tag};
//!
//! let tag = fallback_tag(&Digest::of(Algorithm::Sha256, b""));
//! assert!(tag.starts_with("sha256-e3b0c442") && is_fallback_list_tag(&tag));
//! let signature = format!("{tag}.sig");
//! assert!(is_fallback_tag(&signature) && !is_fallback_list_tag(&signature));
//! ```

use crate::digest::{Algorithm, Digest};

/// The encoded part of a fallback tag is cut to this length.
const FALLBACK_ENCODED: usize = 64;

/// The fallback tag of a digest: the tag whose index lists the referrers of the digest.
pub fn fallback_tag(digest: &Digest) -> String {
    let encoded = digest.encoded();
    format!("{}-{}", digest.algorithm(), &encoded[..encoded.len().min(FALLBACK_ENCODED)])
}

/// Whether a tag is the fallback tag of a digest.
pub fn is_fallback_list_tag(tag: &str) -> bool {
    is_fallback_tag(tag) && !tag.contains('.')
}

/// Whether a tag is a fallback tag, or one of cosign's tags (`sha256-HEX.sig`), which extend fallback tags.
pub fn is_fallback_tag(tag: &str) -> bool {
    fallback_stem(tag).is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fallback_tags_are_recognised_and_cut() {
        let digest = Digest::of(Algorithm::Sha512, b"");
        assert_eq!(fallback_tag(&digest).len(), "sha512-".len() + 64);
        assert!(is_fallback_tag(&fallback_tag(&digest)));
        assert!(is_fallback_tag(&format!("{}.sig", fallback_tag(&digest))));
        assert_eq!(fallback_stem(&format!("{}.sig", fallback_tag(&digest))), Some(&*fallback_tag(&digest)));
        assert!(!is_fallback_tag("sha256-abc"));
        assert!(!is_fallback_tag("1.0"));
    }
}
