//! The registry view, where a site says that it has one: whether `docker pull` gets what discovery finds.
//!
//! A publish writes blobs, then manifests, then tags, then lists, and a removal the other way round; both write the index last.
//! So the view always holds what it lists, and that it does not is an error. That it says something else than the index is a
//! warning: a publish is running, or was interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use url::Url;

use super::finding::{Collected, Finding};
use super::rule;
use super::source::{DeclaredType, Fault, Source, SourceDocument};
use crate::registry::view::{self, Object, Tag};
use crate::site::index::Entry;
use crate::site::path::PathError;
use crate::site::registry::Endpoint;
use crate::site::{SitePath, registry};
use oci_discovery::digest::Digest;
use oci_discovery::error::chain;
use oci_discovery::json::{self, MAX_INDEX_BYTES, MAX_MANIFEST_BYTES};
use oci_discovery::name::ImageName;
use oci_discovery::oci::manifest::Links;
use oci_discovery::oci::relations::{Lists, Relations};
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
    pub fn check_list(&self, entries: &[Entry], wrong: &mut Wrong) -> BTreeSet<String> {
        let view = view::Repository::without_referrers(self.name(), entries);
        let refs = view.refs();
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
        let lacking = refs.keys().find(|tag| !listed.contains(**tag));
        let extra = listed.iter().find(|tag| is_all && !refs.contains_key(tag.as_str()));
        let difference = match (lacking, extra) {
            (Some(tag), _) => Some((format!("the tag {tag}, as in the index"), "a list without it".to_string())),
            (None, Some(tag)) => Some(("refs of the index only".to_string(), format!("the tag {tag}"))),
            (None, None) => None,
        };
        if let (Some((expected, found)), Ok(path)) = (difference, self.list_path()) {
            let object = self.source.object(&self.url(&path));
            wrong.findings.push(Finding::new(&rule::REGISTRY_DIFFERS, object, expected, found));
        }
        listed.into_iter().filter(|tag| refs.contains_key(tag.as_str())).collect()
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
    pub fn check_tag(&self, name: &str, tag: &Tag, wrong: &mut Wrong) {
        let Ok(path) = registry::manifest_path(self.name(), name) else { return };
        let object = self.source.object(&self.url(&path));
        let document = match self.read(&path, &accepted(), MAX_MANIFEST_BYTES) {
            Ok(document) => document,
            Err(fault) => {
                let expected = format!("{}, which is listed as a tag", tag.digest);
                let finding = fault.finding(object, &expected, &rule::REGISTRY_TAG);
                match (fault == Fault::Absent).then(|| self.tags()) {
                    // A removal takes a tag out of the list before it takes the tag away.
                    Some(Ok(tags)) if !tags.contains(name) => {}
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
            self.check_typed(name, tag, &document.bytes, findings);
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
    fn check_typed(&self, name: &str, tag: &Tag, bytes: &[u8], findings: &mut Collected) {
        let Some(Ok(path)) = registry::typed_manifest_path(self.name(), name, &tag.media_type) else { return };
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
        let others = registry::typed_manifest_paths(self.name(), name);
        for (other, media_type) in others.into_iter().filter(|(other, _)| *other != path) {
            let url = self.url(&other);
            if self.source.size(&url).is_ok() {
                let (expected, found) = (format!("nothing: the tag is {}", tag.media_type), media_type);
                findings.push(Finding::new(&rule::REGISTRY_DIFFERS, self.source.object(&url), expected, found));
            }
        }
    }

    /// Checks that a manifest or blob is there under its digest.
    pub fn check_blob(&self, digest: &Digest, size: u64, media_type: &str) -> Option<Finding> {
        let paths = registry::blob_names(self.name(), digest, media_type).unwrap_or_default();
        // A server gives the plain name, which is the last, the type of the other one.
        let is_asked = |position: usize| !self.source.is_live() || position + 1 == paths.len();
        paths.iter().enumerate().filter(|(position, _)| is_asked(*position)).find_map(|(_, path)| {
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

    /// Checks the documents that follow from the whole image, when all of it was met.
    pub fn check_documents(&self, met: &Met, is_complete: bool, wrong: &mut Wrong) -> Result<(), PathError> {
        if !self.source.is_live() {
            self.check_tags_after(&view::Repository::without_referrers(self.name(), &met.entries), wrong)?;
        }
        match view::Repository::new(self.name(), &met.entries, &met.relations) {
            Ok(view) => {
                self.check_referrers(&view, is_complete, &mut wrong.findings)?;
                if !self.source.is_live() && is_complete {
                    self.check_facts(met, &view, &mut wrong.findings)?;
                }
            }
            // The site does not decide how much memory a comparison takes.
            Err(error) => {
                let path = format!("{}/{}/referrers/", registry::ROOT, self.name());
                let object = self.source.object(&url(self.source, self.image, &path));
                let expected = "fewer referrers or fallback tags, so that the lists of referrers can be compared";
                wrong.findings.push(Finding::new(&rule::REGISTRY_DIFFERS, object, expected, error.to_string()));
            }
        }
        Ok(())
    }

    /// Checks the lists of the tags that follow on a tag. A name with a fragment means some of the tags only.
    fn check_tags_after(&self, view: &view::Repository<'_>, wrong: &mut Wrong) -> Result<(), PathError> {
        let is_all = self.image.fragment().is_none();
        for list in view.tags_lists()?.into_iter().skip(1).filter(|_| is_all) {
            let object = self.source.object(&self.url(&list.path));
            let expected = "the tags of the index that follow";
            match self.read(&list.path, media_type::JSON, MAX_INDEX_BYTES) {
                Ok(document) if document.bytes == list.bytes => {}
                Ok(_) => wrong.findings.push(Finding::new(&rule::REGISTRY_DIFFERS, object, expected, "another list")),
                Err(fault) => {
                    let finding = fault.finding(object, expected, &rule::REGISTRY_DIFFERS);
                    if fault == Fault::Absent { &mut wrong.if_listed } else { &mut wrong.findings }.extend(finding);
                }
            }
        }
        Ok(())
    }

    /// Checks that the lists of referrers are those of the view.
    fn check_referrers(
        &self,
        view: &view::Repository<'_>,
        is_complete: bool,
        findings: &mut Collected,
    ) -> Result<(), PathError> {
        // A name with a fragment means some of the referrers only.
        let is_all = is_complete && self.image.fragment().is_none();
        for (subject, expected) in view.lists() {
            for Object { path, .. } in view.referrers(subject)? {
                if self.source.is_live()
                    && matches!(Endpoint::parse(path.as_str()), Some(Endpoint::TypedManifest { .. }))
                {
                    continue;
                }
                let object = self.source.object(&self.url(&path));
                let found = match self.read(&path, media_type::INDEX, MAX_INDEX_BYTES) {
                    Ok(document) => Some(document),
                    Err(Fault::Absent) => None,
                    Err(fault) => {
                        findings.extend(fault.finding(object, "a referrers list", &rule::REGISTRY_DIFFERS));
                        continue;
                    }
                };
                match (difference(expected, found.as_ref(), is_all), found) {
                    (Some((expected, found)), _) => {
                        findings.push(Finding::new(&rule::REGISTRY_DIFFERS, object, expected, found));
                    }
                    (None, Some(document)) => self.check_type(&document, &object, media_type::INDEX, findings),
                    (None, None) => {}
                }
            }
        }
        Ok(())
    }

    /// Checks that the facts from which the next publish makes lists are those of the manifests. A site that was made before
    /// has none.
    fn check_facts(&self, met: &Met, view: &view::Repository<'_>, findings: &mut Collected) -> Result<(), PathError> {
        let path = registry::facts_path(self.name())?;
        let object = self.source.object(&self.url(&path));
        let expected = "what the manifests refer to";
        let facts = match self.read(&path, media_type::JSON, MAX_INDEX_BYTES) {
            Ok(document) => Relations::parse(&document.bytes),
            Err(Fault::Absent) => return Ok(()),
            Err(fault) => {
                findings.extend(fault.finding(object, expected, &rule::REGISTRY_DIFFERS));
                return Ok(());
            }
        };
        let found = match facts {
            None => Some("a malformed document"),
            Some(mut facts) => {
                let covers = |entry: &Entry| facts.covers(&entry.digest, || entry.descriptor().ok());
                let is_known = met.entries.iter().all(covers);
                facts.keep(met.entries.iter().map(|entry| &entry.digest));
                let (found, expected) = (facts.lists(view.fallback_indexes()), view.lists());
                let is_same = match found {
                    Ok(found) if is_known => found == *expected,
                    Ok(found) => is_part(&found, expected),
                    Err(_) => false,
                };
                (!is_same).then_some("something else")
            }
        };
        findings.extend(found.map(|found| Finding::new(&rule::REGISTRY_DIFFERS, object, expected, found)));
        Ok(())
    }
}

/// How a list of referrers differs from the expected one: what was expected, and what was found.
fn difference(
    expected: &BTreeMap<Digest, Arc<Descriptor>>,
    found: Option<&SourceDocument>,
    is_all: bool,
) -> Option<(String, String)> {
    let listed = found.map(|document| index::descriptors(&document.bytes).unwrap_or_default()).unwrap_or_default();
    let listed: BTreeMap<Digest, Descriptor> = listed.into_iter().map(|it| (it.digest.clone(), it)).collect();
    let without = if found.is_some() { "a list without it" } else { "nothing" };
    for (digest, descriptor) in expected {
        match listed.get(digest) {
            None => return Some((format!("the referrer {digest}"), without.into())),
            Some(listed) if *listed != **descriptor => {
                return Some((format!("the referrer {digest}, as its manifest says"), "another description".into()));
            }
            Some(_) => {}
        }
    }
    let extra = listed.keys().find(|digest| is_all && !expected.contains_key(*digest))?;
    Some(("referrers that the index leads to".into(), format!("the referrer {extra}, too")))
}

fn is_part(lists: &Lists, of: &Lists) -> bool {
    lists.iter().all(|(subject, referrers)| {
        let others = of.get(subject);
        referrers.iter().all(|(digest, descriptor)| others.and_then(|others| others.get(digest)) == Some(descriptor))
    })
}

/// What the walk over an image meets, from which its repository follows.
#[derive(Debug, Default)]
pub struct Met {
    /// The entries of the index.
    entries: Vec<Entry>,
    /// Those of them that have fallback tags.
    fallback: BTreeSet<Digest>,
    relations: Relations,
}

impl Met {
    /// Adds the entries of an index.
    pub fn add_entries(&mut self, entries: Vec<Entry>) {
        self.entries.extend(entries);
        let view = view::Repository::without_referrers("", &self.entries);
        self.fallback = view.fallback_indexes().map(|(_, index)| index.clone()).collect();
    }

    /// Adds what a manifest links to.
    pub fn add_links(&mut self, manifest: &Descriptor, links: &Links) {
        if self.fallback.contains(&manifest.digest) {
            self.relations.record_listed(&manifest.digest, links.children.iter().cloned());
        }
        if links.subject.is_some() {
            self.relations.record(manifest, links);
        }
    }
}
