//! The one table of how objects are served: media type, cache policy, and the phase in which a publish writes them.
//!
//! Bucket uploads, the preview server and the server configurations all read this table, so that they cannot disagree.

use std::borrow::Cow;

use crate::oci::media_type;

/// How long, in seconds, a document may be served from a cache. Publishing is seen by everyone after that time.
pub const DOCUMENT_MAX_AGE: u32 = 60;
/// How long, in seconds, a blob may be served from a cache: a year, the longest that RFC 9111 caches respect.
pub const BLOB_MAX_AGE: u32 = 31_536_000;

/// What an object of a site is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `.well-known/oci-host-ref-engines`.
    RefEngines,
    /// The index of an image name.
    Index,
    /// A blob in the CAS, with the media type of its descriptor where that is known.
    Blob(Option<String>),
    /// The `oci-layout` file beside an index (preset `layout`).
    LayoutMarker,
    /// `ocisite.json`.
    Description,
    /// What answers at `/v2/` in the registry view.
    RegistryPing,
    /// A manifest by its digest in the registry view, with its media type where that is known.
    RegistryManifest(Option<String>),
    /// A manifest by its tag in the registry view, with its media type where that is known.
    RegistryTag(Option<String>),
    /// A list of tags in the registry view.
    TagsList,
    /// A list of referrers in the registry view.
    Referrers,
}

/// When an object is written: nothing is written before what it points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Blobs, manifests among them: they point only to each other, by digest.
    Blobs,
    /// Indexes, tags and lists: they point to blobs.
    Indexes,
    /// The ref-engines object and the description: they point to indexes.
    Discovery,
}

impl Kind {
    /// The value of `Content-Type`.
    ///
    /// Both discovery documents name their charset, because a client in use refuses JSON that does not.
    pub fn content_type(&self) -> Cow<'static, str> {
        match self {
            Kind::RefEngines => Cow::Owned(with_charset(media_type::REF_ENGINES)),
            Kind::Index => Cow::Owned(with_charset(media_type::INDEX)),
            Kind::Blob(Some(media_type))
            | Kind::RegistryManifest(Some(media_type))
            | Kind::RegistryTag(Some(media_type))
                if is_header_value(media_type) =>
            {
                Cow::Owned(media_type.clone())
            }
            Kind::Blob(_) | Kind::RegistryManifest(_) | Kind::RegistryTag(_) => Cow::Borrowed(media_type::OCTET_STREAM),
            Kind::RegistryPing | Kind::TagsList => Cow::Borrowed(media_type::JSON),
            Kind::Referrers => Cow::Borrowed(media_type::INDEX),
            Kind::LayoutMarker => Cow::Borrowed(media_type::LAYOUT_HEADER),
            Kind::Description => Cow::Owned(with_charset(media_type::JSON)),
        }
    }

    /// The same kind with a media type, where it can have one.
    pub fn with_media_type(self, media_type: &str) -> Kind {
        match self {
            Kind::Blob(_) => Kind::Blob(Some(media_type.into())),
            Kind::RegistryManifest(_) => Kind::RegistryManifest(Some(media_type.into())),
            Kind::RegistryTag(_) => Kind::RegistryTag(Some(media_type.into())),
            other => other,
        }
    }

    /// The value of `Cache-Control`.
    pub fn cache_control(&self) -> String {
        if self.is_immutable() {
            format!("public, max-age={BLOB_MAX_AGE}, immutable")
        } else {
            format!("public, max-age={DOCUMENT_MAX_AGE}")
        }
    }

    /// Whether the bytes at the path can never change, because the path carries their digest.
    pub fn is_immutable(&self) -> bool {
        matches!(self, Kind::Blob(_) | Kind::RegistryManifest(_))
    }

    /// The phase in which a publish writes the object.
    pub fn phase(&self) -> Phase {
        match self {
            Kind::Blob(_) | Kind::RegistryManifest(_) | Kind::LayoutMarker => Phase::Blobs,
            Kind::Index | Kind::RegistryTag(_) | Kind::TagsList | Kind::Referrers | Kind::RegistryPing => {
                Phase::Indexes
            }
            Kind::RefEngines | Kind::Description => Phase::Discovery,
        }
    }
}

fn with_charset(media_type: &str) -> String {
    format!("{media_type}; charset=utf-8")
}

/// A descriptor's media type comes from outside: only what RFC 6838 allows in one may become a header's value.
fn is_header_value(media_type: &str) -> bool {
    let name =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    media_type.split_once('/').is_some_and(|(top, sub)| name(top) && name(sub))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discovery_documents_name_their_charset_and_blobs_are_immutable() {
        assert_eq!(Kind::Index.content_type(), "application/vnd.oci.image.index.v1+json; charset=utf-8");
        assert_eq!(Kind::RefEngines.content_type(), "application/vnd.oci.ref-engines.v1+json; charset=utf-8");
        assert_eq!(Kind::Blob(None).cache_control(), "public, max-age=31536000, immutable");
        assert_eq!(Kind::Index.cache_control(), "public, max-age=60");
    }

    #[test]
    fn a_media_type_that_could_split_a_header_is_not_sent() {
        let hostile = Kind::Blob(Some("text/html\r\nSet-Cookie: a=b".into()));
        assert_eq!(hostile.content_type(), "application/octet-stream");
        assert_eq!(Kind::Blob(Some("application/x.y+json".into())).content_type(), "application/x.y+json");
    }
}
