//! The one table of how objects are served: media type, cache policy, and the phase in which a publish writes them.
//!
//! Bucket uploads, the preview server and the server configurations all read this table, so that they cannot disagree.

use std::borrow::Cow;

use oci_discovery::oci::media_type;

/// The time in seconds for which caches may serve a document. A publish takes at most this long to be visible
/// everywhere.
pub const DOCUMENT_MAX_AGE: u32 = 60;
/// The time in seconds for which caches may serve a blob: a year, the most that RFC 9111 caches respect.
pub const BLOB_MAX_AGE: u32 = 31_536_000;

/// The most ranges of an object that a server sends in one response: what podman and its relatives ask for at most, of the missing
/// parts of a layer.
pub const MAX_RANGES: usize = 1024;

/// Headers of every response, by which pages of other origins may read a site (Fetch, "CORS protocol"). Nothing in a site depends
/// on who asks.
pub const CORS: [(&str, &str); 2] = [
    ("Access-Control-Allow-Origin", "*"),
    (
        "Access-Control-Expose-Headers",
        "Content-Length, Content-Range, Docker-Content-Digest, ETag, Link, OCI-Filters-Applied",
    ),
];

/// Headers of the answer to a preflight beside [`CORS`]: what a page of another origin may send.
pub const PREFLIGHT: [(&str, &str); 3] = [
    ("Access-Control-Allow-Methods", "GET, HEAD"),
    ("Access-Control-Allow-Headers", "*"),
    ("Access-Control-Max-Age", "86400"),
];

/// What an object of a site is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `.well-known/oci-host-ref-engines`.
    RefEngines,
    /// The index of an image name.
    Index,
    /// A blob in the CAS, with the media type of its descriptor if it is known.
    Blob(Option<String>),
    /// The `oci-layout` file beside an index (preset `layout`).
    LayoutMarker,
    /// `ocisite.json`.
    Description,
    /// The response at `/v2/` in the registry view.
    RegistryPing,
    /// A manifest by digest in the registry view, with its media type if it is known.
    RegistryManifest(Option<String>),
    /// A manifest by tag in the registry view, with its media type if it is known.
    RegistryTag(Option<String>),
    /// A list of tags in the registry view.
    TagsList,
    /// A list of referrers in the registry view.
    Referrers,
    /// What the manifests of a repository of the registry view refer to.
    RegistryFacts,
    /// A page of the catalogue.
    CataloguePage,
    /// A document of the catalogue, for programs.
    CatalogueDocument,
    /// The catalogue's style sheet.
    CatalogueStyle,
    /// The catalogue's script.
    CatalogueScript,
}

/// The phase of a write: objects are written after the objects that they point to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Blobs, including manifests: they point only to each other, by digest.
    Blobs,
    /// Indexes, tags and lists: they point to blobs.
    Indexes,
    /// The ref-engines object and the description: they point to indexes.
    Discovery,
    /// The catalogue: it describes all others.
    Catalogue,
}

/// The content that a page of the catalogue may load: its own style sheet and script, and inline images. Even if
/// escaping failed, a browser would not run or fetch anything from an image's metadata.
///
/// Pages also contain this policy, for hosts that send no headers; `frame-ancestors` works in a header only.
pub const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'";

/// [`PAGE_POLICY`] as a header.
const PAGE_POLICY_HEADER: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl Kind {
    /// The value of `Content-Type`.
    ///
    /// Both discovery documents name their charset, because a common client refuses JSON without it.
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
            Kind::RegistryPing | Kind::TagsList | Kind::RegistryFacts | Kind::CatalogueDocument => {
                Cow::Borrowed(media_type::JSON)
            }
            Kind::CataloguePage => Cow::Owned(with_charset("text/html")),
            Kind::CatalogueStyle => Cow::Owned(with_charset("text/css")),
            Kind::CatalogueScript => Cow::Owned(with_charset("text/javascript")),
            Kind::Referrers => Cow::Borrowed(media_type::INDEX),
            Kind::LayoutMarker => Cow::Borrowed(media_type::LAYOUT_HEADER),
            Kind::Description => Cow::Owned(with_charset(media_type::JSON)),
        }
    }

    /// The same kind with a media type, if it can have one.
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

    /// Headers that not every object has.
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Kind::CataloguePage => {
                &[("Content-Security-Policy", PAGE_POLICY_HEADER), ("Referrer-Policy", "no-referrer")]
            }
            _ => &[],
        }
    }

    /// The path, with a slash at its end, at which clients request the object, too. A web server rewrites it, because no file has
    /// such a name; in a bucket it is a second key of the object.
    pub fn slash_path(&self) -> Option<&'static str> {
        match self {
            Kind::RegistryPing => Some("v2/"),
            _ => None,
        }
    }

    /// Whether a server may compress the object. Objects with a digest, or with lengths and ranges, are sent
    /// unchanged.
    pub fn may_be_compressed(&self) -> bool {
        self.phase() == Phase::Catalogue
    }

    /// Whether the bytes can never change, because the path contains their digest.
    pub fn is_immutable(&self) -> bool {
        matches!(self, Kind::Blob(_) | Kind::RegistryManifest(_))
    }

    /// The phase in which a publish writes the object.
    pub fn phase(&self) -> Phase {
        match self {
            Kind::Blob(_) | Kind::RegistryManifest(_) | Kind::LayoutMarker => Phase::Blobs,
            Kind::Index
            | Kind::RegistryTag(_)
            | Kind::TagsList
            | Kind::Referrers
            | Kind::RegistryFacts
            | Kind::RegistryPing => Phase::Indexes,
            Kind::RefEngines | Kind::Description => Phase::Discovery,
            Kind::CataloguePage | Kind::CatalogueDocument | Kind::CatalogueStyle | Kind::CatalogueScript => {
                Phase::Catalogue
            }
        }
    }
}

fn with_charset(media_type: &str) -> String {
    format!("{media_type}; charset=utf-8")
}

/// The media type of a descriptor is untrusted: only the characters of RFC 6838 may be in a header.
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
    fn pages_are_served_with_the_policy_they_carry() {
        let headers = Kind::CataloguePage.headers();
        let (_, policy) = headers.iter().find(|(name, _)| *name == "Content-Security-Policy").unwrap();
        assert_eq!(*policy, format!("{PAGE_POLICY}; frame-ancestors 'none'"));
        assert!(Kind::Index.headers().is_empty());
    }

    #[test]
    fn a_media_type_that_could_split_a_header_is_not_sent() {
        let hostile = Kind::Blob(Some("text/html\r\nSet-Cookie: a=b".into()));
        assert_eq!(hostile.content_type(), "application/octet-stream");
        assert_eq!(Kind::Blob(Some("application/x.y+json".into())).content_type(), "application/x.y+json");
    }
}
