//! The registry view, where a site says that it has one: whether `docker pull` gets what discovery finds.
//!
//! A publish writes blobs, then manifests, then tags, then lists, and a removal the other way round; both write the index last.
//! So the view always holds what it lists, and that it does not is an error. That it says something else than the index is a
//! warning: a publish is running, or was interrupted.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use url::Url;

use super::finding::{Collected, Finding};
use super::rule;
use super::source::{DeclaredType, Fault, Source, SourceDocument};
use crate::site::path::PathError;
use crate::site::{SitePath, registry};
use oci_discovery::digest::Digest;
use oci_discovery::error::chain;
use oci_discovery::json::{self, MAX_INDEX_BYTES, MAX_MANIFEST_BYTES};
use oci_discovery::name::ImageName;
use oci_discovery::oci::{Descriptor, index, media_type};

/// What a client says it can read: every type that a manifest of the view can have.
fn accepted() -> String {
    registry::TYPED_ENDINGS.map(|(_, media_type)| media_type).join(", ")
}

/// The URL of a path of the view, on the host where an image is found.
fn url(source: &dyn Source, image: &ImageName, path: &str) -> Url {
    let mut url = source.ref_engines_url(image);
    url.set_path(path);
    url
}

/// Checks that the API says it is there.
pub fn check_ping(source: &dyn Source, image: &ImageName) -> Option<Finding> {
    let ping = registry::ping_path().ok()?;
    let path = if source.is_live() { "v2/" } else { ping.as_str() };
    let url = url(source, image, path);
    let fault = source.document(&url, media_type::JSON, MAX_MANIFEST_BYTES).err()?;
    fault.finding(source.object(&url), "the response to registry clients", &rule::REGISTRY_PING)
}

/// What is wrong with a repository.
#[derive(Debug, Default)]
pub struct Wrong {
    /// What is wrong in any case.
    pub findings: Collected,
    /// What is wrong if the site still lists the image: a removal takes the image out of the site's description, then the
    /// repository's documents away, and then the index.
    pub if_listed: Collected,
}

/// Why there are no tags.
enum NoTags {
    /// The repository has no list.
    Absent(Option<Finding>),
    /// The list cannot be used.
    Wrong(Option<Finding>),
}

/// The repository of an image.
#[derive(Clone, Copy)]
pub struct Repository<'a> {
    source: &'a dyn Source,
    image: &'a ImageName,
}

impl<'a> Repository<'a> {
    /// None: the image's path is no name of a repository, and the view leaves it out.
    pub fn new(source: &'a dyn Source, image: &'a ImageName) -> Option<Repository<'a>> {
        registry::is_name(image.path()).then_some(Repository { source, image })
    }

    fn name(&self) -> &'a str {
        self.image.path()
    }

    fn url(&self, path: &SitePath) -> Url {
        url(self.source, self.image, path.as_str())
    }

    fn read(&self, path: &SitePath, accept: &str, limit: u64) -> Result<SourceDocument, Fault> {
        self.source.document(&self.url(path), accept, limit)
    }

    /// Compares the list of tags with the refs of the index. Gives the listed ones of them, whose manifests should be there.
    pub fn check_list(&self, refs: &BTreeSet<&str>, wrong: &mut Wrong) -> BTreeSet<String> {
        let listed = match self.tags() {
            Ok(listed) => listed,
            Err(NoTags::Absent(finding)) => {
                wrong.if_listed.extend(finding);
                return BTreeSet::new();
            }
            Err(NoTags::Wrong(finding)) => {
                wrong.findings.extend(finding);
                return BTreeSet::new();
            }
        };
        // A name with a fragment means some of the entries only.
        let is_all = self.image.fragment().is_none();
        let lacking = refs.iter().find(|tag| !listed.contains(**tag));
        let extra = listed.iter().find(|tag| is_all && !refs.contains(tag.as_str()));
        let difference = match (lacking, extra) {
            (Some(tag), _) => Some((format!("the tag {tag}, as in the index"), "a list without it".to_string())),
            (None, Some(tag)) => Some(("refs of the index only".to_string(), format!("the tag {tag}"))),
            (None, None) => None,
        };
        if let (Some((expected, found)), Ok(path)) = (difference, self.list_path()) {
            let object = self.source.object(&self.url(&path));
            wrong.findings.push(Finding::new(&rule::REGISTRY_DIFFERS, object, expected, found));
        }
        listed.into_iter().filter(|tag| refs.contains(tag.as_str())).collect()
    }

    fn list_path(&self) -> Result<SitePath, PathError> {
        registry::tags_list_path(self.name())
    }

    /// The tags that are listed.
    fn tags(&self) -> Result<BTreeSet<String>, NoTags> {
        #[derive(Deserialize)]
        struct List {
            tags: BTreeSet<String>,
        }
        let path = self.list_path().map_err(|_| NoTags::Wrong(None))?;
        let object = || self.source.object(&self.url(&path));
        let expected = "a list of tags";
        let document = self.read(&path, media_type::JSON, MAX_INDEX_BYTES).map_err(|fault| {
            let finding = fault.finding(object(), expected, &rule::REGISTRY_TAGS_LIST);
            if fault == Fault::Absent { NoTags::Absent(finding) } else { NoTags::Wrong(finding) }
        })?;
        let list: Result<List, _> = json::parse_as(&document.bytes, json::MAX_VALUE_BYTES);
        let wrong =
            |error| Finding::new(&rule::REGISTRY_TAGS_LIST, object(), expected, format!("none: {}", chain(&error)));
        list.map(|list| list.tags).map_err(|error| NoTags::Wrong(Some(wrong(error))))
    }

    /// Checks that a listed tag leads to what the entries of its ref say.
    pub fn check_tag(&self, tag: &Tag, wrong: &mut Wrong) {
        let Ok(path) = registry::manifest_path(self.name(), &tag.name) else { return };
        let object = self.source.object(&self.url(&path));
        let document = match self.read(&path, &accepted(), MAX_MANIFEST_BYTES) {
            Ok(document) => document,
            Err(fault) => {
                let expected = format!("{}, which is listed as a tag", tag.digest);
                let finding = fault.finding(object, &expected, &rule::REGISTRY_TAG);
                match (fault == Fault::Absent).then(|| self.tags()) {
                    // A removal takes a tag out of the list before it takes the tag away.
                    Some(Ok(tags)) if !tags.contains(&tag.name) => {}
                    Some(Err(NoTags::Absent(_))) => wrong.if_listed.extend(finding),
                    _ => wrong.findings.extend(finding),
                }
                return;
            }
        };
        let findings = &mut wrong.findings;
        let found = Digest::of(tag.digest.algorithm(), &document.bytes);
        if found != tag.digest {
            let expected = format!("{}, as in the index", tag.digest);
            findings.push(Finding::new(&rule::REGISTRY_DIFFERS, object, expected, found.to_string()));
            return;
        }
        self.check_type(&document, &object, &tag.media_type, findings);
        if !self.source.is_live() {
            self.check_typed(tag, &document.bytes, findings);
        }
    }

    fn check_type(&self, document: &SourceDocument, object: &str, expected: &str, findings: &mut Collected) {
        let found = match &document.content_type {
            DeclaredType::Unavailable => return,
            DeclaredType::Type(found) if found.media_type == expected => return,
            DeclaredType::Type(found) => found.media_type.clone(),
            DeclaredType::Missing => "no Content-Type".into(),
        };
        findings.push(Finding::new(&rule::REGISTRY_MEDIA_TYPE, object, expected, found));
    }

    /// Web servers learn a manifest's type from the name under which it lies a second time.
    fn check_typed(&self, tag: &Tag, bytes: &[u8], findings: &mut Collected) {
        let Some(Ok(path)) = registry::typed_manifest_path(self.name(), &tag.name, &tag.media_type) else { return };
        let object = self.source.object(&self.url(&path));
        match self.read(&path, &tag.media_type, MAX_MANIFEST_BYTES) {
            Ok(document) if document.bytes == bytes => {}
            Ok(_) => {
                let (expected, found) = (format!("{}, as in the index", tag.digest), "other bytes");
                findings.push(Finding::new(&rule::REGISTRY_DIFFERS, object, expected, found));
            }
            Err(fault) => {
                findings.extend(fault.finding(object, &format!("{}, a second time", tag.digest), &rule::REGISTRY_TAG));
            }
        }
        // A server takes the first name that it finds.
        let others = registry::typed_manifest_paths(self.name(), &tag.name);
        for (other, media_type) in others.into_iter().filter(|(other, _)| *other != path) {
            let url = self.url(&other);
            if self.source.size(&url).is_ok() {
                let (expected, found) = (format!("nothing: the tag is {}", tag.media_type), media_type);
                findings.push(Finding::new(&rule::REGISTRY_DIFFERS, self.source.object(&url), expected, found));
            }
        }
    }

    /// Checks that a manifest or blob is there under its digest.
    pub fn check_blob(&self, descriptor: (&Digest, u64, &str), is_manifest: bool) -> Option<Finding> {
        let (digest, size, media_type) = descriptor;
        let mut paths = Vec::new();
        match is_manifest {
            false => paths.extend(registry::blob_path(self.name(), digest)),
            true => {
                let typed = registry::typed_manifest_path(self.name(), digest.as_str(), media_type);
                paths.extend(typed.filter(|_| !self.source.is_live()).into_iter().flatten());
                paths.extend(registry::manifest_path(self.name(), digest.as_str()));
            }
        }
        paths.iter().find_map(|path| {
            let url = self.url(path);
            let expected = format!("{size} bytes");
            match self.source.size(&url) {
                Ok(found) if found.is_none_or(|found| found == size) => None,
                Ok(found) => {
                    let found = format!("{} bytes", found.unwrap_or_default());
                    Some(Finding::new(&rule::REGISTRY_BLOB, self.source.object(&url), expected, found))
                }
                Err(fault) => fault.finding(self.source.object(&url), &expected, &rule::REGISTRY_BLOB),
            }
        })
    }

    /// Checks that the list of what refers to a digest has these referrers.
    pub fn check_referrers(&self, subject: &Digest, referrers: &BTreeSet<Digest>, findings: &mut Collected) {
        let Ok(path) = registry::referrers_path(self.name(), subject) else { return };
        let object = self.source.object(&self.url(&path));
        let (listed, document) = match self.read(&path, media_type::INDEX, MAX_INDEX_BYTES) {
            Ok(document) => {
                let listed = index::descriptors(&document.bytes).unwrap_or_default();
                (listed.into_iter().map(|listed| listed.digest).collect(), Some(document))
            }
            Err(Fault::Absent) => (BTreeSet::new(), None),
            Err(fault) => return findings.extend(fault.finding(object, "a referrers list", &rule::REGISTRY_DIFFERS)),
        };
        if let Some(lacking) = referrers.iter().find(|referrer| !listed.contains(referrer)) {
            let found = if document.is_some() { "a list without it" } else { "nothing" };
            findings.push(Finding::new(&rule::REGISTRY_DIFFERS, object, format!("the referrer {lacking}"), found));
        } else if let Some(document) = document {
            self.check_type(&document, &object, media_type::INDEX, findings);
        }
    }
}

/// A tag, as the entries of its ref say it should be.
#[derive(Clone, Debug)]
pub struct Tag {
    /// The ref.
    pub name: String,
    /// Its manifest.
    pub digest: Digest,
    /// The manifest's media type.
    pub media_type: String,
}

/// The entries of an index, collected by those refs that can be tags.
#[derive(Debug, Default)]
pub struct Refs(BTreeMap<String, Vec<Descriptor>>);

impl Refs {
    /// Adds an entry.
    pub fn add(&mut self, descriptor: &Descriptor) {
        if let Some(reference) = descriptor.ref_name().filter(|reference| registry::is_tag(reference)) {
            self.0.entry(reference.to_string()).or_default().push(descriptor.clone());
        }
    }

    /// The refs.
    pub fn names(&self) -> BTreeSet<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Those of them that are listed, as tags.
    pub fn tags(self, listed: &BTreeSet<String>) -> impl Iterator<Item = Tag> {
        let listed_refs = self.0.into_iter().filter(|(name, _)| listed.contains(name));
        listed_refs.map(|(name, descriptors)| match <[Descriptor; 1]>::try_from(descriptors) {
            Ok([descriptor]) => Tag { name, digest: descriptor.digest, media_type: descriptor.media_type },
            Err(descriptors) => {
                let (digest, _) = registry::index_of_platforms(descriptors);
                Tag { name, digest, media_type: media_type::INDEX.into() }
            }
        })
    }
}
