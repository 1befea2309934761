//! The registry view: the pull side of the OCI distribution API as files, so that `docker pull` works from any web server.
//!
//! The paths of the API become paths of files. But a path does not contain the media type of a manifest, and clients
//! refuse manifests with another type. An object store keeps the type with the object. For web servers, every manifest
//! has a second name that ends in its type: `_manifests/REF.oci-index` beside `manifests/REF`. A server tries the few
//! endings, and its configuration does not depend on the images. No component of a repository's name begins with `_`,
//! so these names are free.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::object::Kind;
use super::path::{PathError, SitePath};
use oci_discovery::digest::{Algorithm, Digest};
use oci_discovery::discovery::CAS_ENGINES;
use oci_discovery::json;
use oci_discovery::oci::{Descriptor, manifest, media_type};

/// The first segment of all paths of the view.
pub const ROOT: &str = "v2";

/// The media types of manifests, each with the ending of its typed name.
///
/// Servers try them in this order. A tag has several only while its type changes.
pub const TYPED_ENDINGS: [(&str, &str); 7] = [
    ("oci-index", media_type::INDEX),
    ("oci-manifest", media_type::MANIFEST),
    ("docker-list", media_type::DOCKER_MANIFEST_LIST),
    ("docker-manifest", media_type::DOCKER_MANIFEST),
    ("oci-artifact", media_type::ARTIFACT_MANIFEST),
    ("oras-artifact", media_type::ORAS_ARTIFACT_MANIFEST),
    ("docker-generic", media_type::DOCKER_GENERIC_MANIFEST),
];

/// The last segment of [`facts_path`].
const FACTS: &str = "_facts.json";

/// The most tags for which an image gets a precomputed `tags/list` for each value of `?last=`. The total size of these
/// lists is quadratic; with more tags, clients get the whole list.
pub const MAX_TAGS_WITH_LAST: usize = 100;

/// The grammar of a repository's name (distribution-spec, "Pull"), as regular expression.
pub const NAME_PATTERN: &str = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*";
/// The grammar of a tag, as regular expression.
pub const TAG_PATTERN: &str = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}";
/// The digests a request can name, as regular expression.
pub const DIGEST_PATTERN: &str = r"[a-z0-9]+:[a-f0-9]{64,128}";

#[expect(clippy::unwrap_used, reason = "constants of this program, compiled by its tests")]
static NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new(&format!("^{NAME_PATTERN}$")).unwrap());
#[expect(clippy::unwrap_used, reason = "constants of this program, compiled by its tests")]
static TAG: LazyLock<Regex> = LazyLock::new(|| Regex::new(&format!("^{TAG_PATTERN}$")).unwrap());

/// Whether an image's path can be the name of a repository.
pub fn is_name(path: &str) -> bool {
    NAME.is_match(path)
}

/// Whether a ref can be a tag.
pub fn is_tag(reference: &str) -> bool {
    TAG.is_match(reference)
}

/// The content of the document at `/v2/`, which has no meaning.
pub const PING: &[u8] = b"{}";

/// The document at `/v2/`, by which clients detect the API. A file cannot have the name `v2/`, so servers serve this
/// one; a bucket has it under both names ([`Kind::slash_path`]).
pub fn ping_path() -> Result<SitePath, PathError> {
    SitePath::new("v2/_ping.json")
}

/// The empty list, which is served for a digest without referrers.
pub fn no_referrers_path() -> Result<SitePath, PathError> {
    SitePath::new("v2/_no-referrers.json")
}

/// `manifests/REFERENCE` of a repository; the reference is a tag or a digest.
pub fn manifest_path(name: &str, reference: &str) -> Result<SitePath, PathError> {
    SitePath::new(&format!("{ROOT}/{name}/manifests/{reference}"))
}

/// The typed name of a manifest. None: the type has no ending.
pub fn typed_manifest_path(name: &str, reference: &str, media_type: &str) -> Option<Result<SitePath, PathError>> {
    let (ending, _) = TYPED_ENDINGS.iter().find(|(_, known)| *known == media_type)?;
    Some(SitePath::new(&format!("{ROOT}/{name}/_manifests/{reference}.{ending}")))
}

/// All typed names of a manifest, with their media types.
pub fn typed_manifest_paths(name: &str, reference: &str) -> Vec<(SitePath, &'static str)> {
    let path = |ending: &str| SitePath::new(&format!("{ROOT}/{name}/_manifests/{reference}.{ending}"));
    TYPED_ENDINGS.iter().filter_map(|(ending, media_type)| Some((path(ending).ok()?, *media_type))).collect()
}

/// The names of a manifest, in the order of writing: the typed name, if the type has an ending, and the plain name.
pub fn manifest_names(name: &str, reference: &str, media_type: &str) -> Result<Vec<SitePath>, PathError> {
    let typed = typed_manifest_path(name, reference, media_type);
    typed.into_iter().chain([manifest_path(name, reference)]).collect()
}

/// The names of a blob under its digest: those of a manifest, or the name of another blob.
pub fn blob_names(name: &str, digest: &Digest, media_type: &str) -> Result<Vec<SitePath>, PathError> {
    match manifest::may_hold_descriptors(media_type) {
        true => manifest_names(name, digest.as_str(), media_type),
        false => Ok(vec![blob_path(name, digest)?]),
    }
}

/// `blobs/DIGEST` of a repository.
pub fn blob_path(name: &str, digest: &Digest) -> Result<SitePath, PathError> {
    SitePath::new(&format!("{ROOT}/{name}/blobs/{digest}"))
}

/// `tags/list` of a repository.
pub fn tags_list_path(name: &str) -> Result<SitePath, PathError> {
    SitePath::new(&format!("{ROOT}/{name}/tags/list"))
}

/// The precomputed `tags/list?last=TAG`.
pub fn tags_after_path(name: &str, tag: &str) -> Result<SitePath, PathError> {
    SitePath::new(&format!("{ROOT}/{name}/tags/_last/{tag}"))
}

/// `referrers/DIGEST` of a repository.
pub fn referrers_path(name: &str, digest: &Digest) -> Result<SitePath, PathError> {
    SitePath::new(&format!("{ROOT}/{name}/referrers/{digest}"))
}

/// The document of what the manifests of a repository refer to, so that no publish reads them again.
pub fn facts_path(name: &str) -> Result<SitePath, PathError> {
    SitePath::new(&format!("{ROOT}/{name}/{FACTS}"))
}

/// A parsed path of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// `v2/_ping.json`.
    Ping,
    /// `v2/_no-referrers.json`.
    NoReferrers,
    /// `manifests/REFERENCE`.
    Manifest {
        name: &'a str,
        /// A tag or a digest.
        reference: &'a str,
    },
    /// `_manifests/REFERENCE.ENDING`.
    TypedManifest {
        name: &'a str,
        /// A tag or a digest.
        reference: &'a str,
        media_type: &'static str,
    },
    /// `blobs/DIGEST`.
    Blob {
        /// The repository.
        name: &'a str,
        /// The digest of the blob.
        digest: Digest,
    },
    /// `tags/list`.
    TagsList { name: &'a str },
    /// `tags/_last/TAG`.
    TagsAfter { name: &'a str, tag: &'a str },
    /// `referrers/DIGEST`.
    Referrers { name: &'a str, digest: Digest },
    /// `_facts.json`.
    Facts { name: &'a str },
}

impl<'a> Endpoint<'a> {
    /// Parses a path without a leading slash. None: the path is not of the view.
    pub fn parse(path: &'a str) -> Option<Endpoint<'a>> {
        let rest = path.strip_prefix("v2/")?;
        match rest {
            "_ping.json" => return Some(Endpoint::Ping),
            "_no-referrers.json" => return Some(Endpoint::NoReferrers),
            _ => {}
        }
        let (before, last) = rest.rsplit_once('/')?;
        if last == FACTS {
            return is_name(before).then_some(Endpoint::Facts { name: before });
        }
        let (name, endpoint) = before.rsplit_once('/')?;
        let found = match endpoint {
            "manifests" if is_tag(last) || Digest::parse(last).is_ok() => Endpoint::Manifest { name, reference: last },
            "_manifests" => {
                let (reference, ending) = last.rsplit_once('.')?;
                let (_, media_type) = TYPED_ENDINGS.iter().find(|(known, _)| *known == ending)?;
                Endpoint::TypedManifest { name, reference, media_type }
            }
            "blobs" => Endpoint::Blob { name, digest: Digest::parse(last).ok()? },
            "referrers" => Endpoint::Referrers { name, digest: Digest::parse(last).ok()? },
            "tags" if last == "list" => Endpoint::TagsList { name },
            "_last" => Endpoint::TagsAfter { name: name.strip_suffix("/tags")?, tag: last },
            _ => return None,
        };
        found.name().is_none_or(is_name).then_some(found)
    }

    /// The repository, if the endpoint belongs to one.
    pub fn name(&self) -> Option<&'a str> {
        match self {
            Endpoint::Ping | Endpoint::NoReferrers => None,
            Endpoint::Manifest { name, .. }
            | Endpoint::TypedManifest { name, .. }
            | Endpoint::Blob { name, .. }
            | Endpoint::TagsList { name }
            | Endpoint::TagsAfter { name, .. }
            | Endpoint::Referrers { name, .. }
            | Endpoint::Facts { name } => Some(name),
        }
    }

    /// The kind of the object. The plain name of a manifest does not give its media type.
    pub fn kind(&self) -> Kind {
        let manifest = |reference: &str, media_type: Option<String>| match is_tag(reference) {
            true => Kind::RegistryTag(media_type),
            false => Kind::RegistryManifest(media_type),
        };
        match self {
            Endpoint::Ping => Kind::RegistryPing,
            Endpoint::Manifest { reference, .. } => manifest(reference, None),
            Endpoint::TypedManifest { reference, media_type, .. } => manifest(reference, Some(media_type.to_string())),
            Endpoint::Blob { .. } => Kind::Blob(None),
            Endpoint::TagsList { .. } | Endpoint::TagsAfter { .. } => Kind::TagsList,
            Endpoint::Referrers { .. } | Endpoint::NoReferrers => Kind::Referrers,
            Endpoint::Facts { .. } => Kind::RegistryFacts,
        }
    }
}

/// The bytes of a tags list (distribution-spec, "Listing Tags"). `tags` are sorted.
pub fn tags_list(name: &str, tags: &[&str]) -> Vec<u8> {
    #[derive(Serialize)]
    struct List<'a> {
        name: &'a str,
        tags: &'a [&'a str],
    }
    json::canonical(&List { name, tags })
}

/// The tags in a list of tags; none if the list is malformed.
pub fn listed_tags(bytes: &[u8]) -> BTreeSet<String> {
    #[derive(Deserialize)]
    struct List {
        tags: BTreeSet<String>,
    }
    json::parse_as::<List>(bytes, json::MAX_VALUE_BYTES).map(|list| list.tags).unwrap_or_default()
}

/// The bytes of a referrers list (distribution-spec, "Listing Referrers"), sorted by digest.
pub fn referrers_list<'d>(referrers: impl IntoIterator<Item = &'d Descriptor>) -> Vec<u8> {
    // Values are made of one descriptor at a time: they take many times the memory of its text.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'d> {
        schema_version: u8,
        media_type: &'d str,
        manifests: Vec<&'d Descriptor>,
    }
    let mut manifests: Vec<&Descriptor> = referrers.into_iter().collect();
    manifests.sort_by(|a, b| a.digest.cmp(&b.digest));
    json::canonical(&List { schema_version: 2, media_type: media_type::INDEX, manifests })
}

/// The image index for a tag whose ref has several entries, one for each platform, without the properties that only a
/// site's own index has.
pub fn index_of_platforms(entries: impl IntoIterator<Item = Descriptor>) -> (Digest, Vec<u8>) {
    let manifests = entries.into_iter().map(|mut descriptor| {
        descriptor.set_ref_name(None);
        descriptor.edit(|properties| {
            properties.remove(CAS_ENGINES);
            if properties.get("annotations").and_then(Value::as_object).is_some_and(|map| map.is_empty()) {
                properties.remove("annotations");
            }
        });
        descriptor.to_value()
    });
    let bytes = image_index(manifests.collect());
    (Digest::of(Algorithm::Sha256, &bytes), bytes)
}

/// The bytes of an image index of these descriptors.
pub fn image_index(manifests: Vec<Value>) -> Vec<u8> {
    json::canonical(&json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": manifests}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_apart_as_they_were_put_together() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        let name = "team/app";
        let kind = |path: &SitePath| Endpoint::parse(path.as_str()).map(|endpoint| endpoint.kind());
        assert_eq!(kind(&ping_path().unwrap()), Some(Kind::RegistryPing));
        assert_eq!(kind(&manifest_path(name, "1.0").unwrap()), Some(Kind::RegistryTag(None)));
        assert_eq!(kind(&manifest_path(name, digest.as_str()).unwrap()), Some(Kind::RegistryManifest(None)));
        assert_eq!(kind(&blob_path(name, &digest).unwrap()), Some(Kind::Blob(None)));
        assert_eq!(kind(&tags_list_path(name).unwrap()), Some(Kind::TagsList));
        assert_eq!(kind(&tags_after_path(name, "1.0").unwrap()), Some(Kind::TagsList));
        assert_eq!(kind(&referrers_path(name, &digest).unwrap()), Some(Kind::Referrers));
        assert_eq!(kind(&facts_path(name).unwrap()), Some(Kind::RegistryFacts));
        assert_eq!(kind(&facts_path("app").unwrap()), Some(Kind::RegistryFacts));
        for (_, media_type) in TYPED_ENDINGS {
            let path = typed_manifest_path(name, "1.0", media_type).unwrap().unwrap();
            assert_eq!(kind(&path), Some(Kind::RegistryTag(Some(media_type.into()))));
        }
    }

    #[test]
    fn what_the_distribution_grammar_does_not_allow_is_no_endpoint() {
        for path in ["v2/Team/manifests/1.0", "v2/a//b/tags/list", "v2/a/manifests/-x", "v2/a/blobs/sha256:zz", "v2/a"]
        {
            assert_eq!(Endpoint::parse(path), None, "{path}");
        }
        assert!(is_name("a/b-c.d__e") && !is_name("a_/b") && !is_name("A") && !is_name("a%20b"));
        assert!(is_tag("1.0-rc_1") && !is_tag(".1") && !is_tag("") && !is_tag(&"a".repeat(129)));
    }
}
