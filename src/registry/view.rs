//! The view as a function: from an image's name, the entries of its index, and what its manifests refer to, to the documents of
//! its repository. A publish and a removal write the difference of two results, a copy and a verification compare one with what
//! they find.
//!
//! Manifests and blobs under their digests are no part of the result: they follow from the graph of the image, one by one
//! ([`registry::blob_names`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::site::index::{Entry, by_ref};
use crate::site::path::PathError;
use crate::site::{Kind, SitePath, registry};
use oci_discovery::digest::Digest;
use oci_discovery::oci::referrers::fallback_tag;
use oci_discovery::oci::relations::{Lists, Relations, TooManyReferrers};
use oci_discovery::oci::{Descriptor, media_type};

/// The repository of an image.
pub struct Repository<'a> {
    name: &'a str,
    /// The tags, with the entries of their refs.
    refs: Refs<'a>,
    /// Refs that are no tags, or that lead to no manifest.
    omitted: Refs<'a>,
    lists: Lists,
    entries: &'a [Entry],
}

/// Refs, with their entries.
type Refs<'a> = BTreeMap<&'a str, Vec<&'a Entry>>;

/// What a tag leads to: the manifest of a ref's entry, or an index made of its entries, a platform each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The digest of the manifest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
    /// The bytes of an index that was made for the tag.
    pub index: Option<Vec<u8>>,
}

/// A document of the view.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its path.
    pub path: SitePath,
    /// Its kind.
    pub kind: Kind,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Tag {
    /// The tag of a ref with these entries. None: it has none.
    pub fn of(entries: &[&Entry]) -> Option<Tag> {
        let descriptors: Vec<Descriptor> = entries.iter().filter_map(|entry| entry.descriptor().ok()).collect();
        match <[Descriptor; 1]>::try_from(descriptors) {
            Ok([Descriptor { digest, size, media_type, .. }]) => Some(Tag { digest, size, media_type, index: None }),
            Err(descriptors) if descriptors.is_empty() => None,
            Err(descriptors) => {
                let (digest, bytes) = registry::index_of_platforms(descriptors);
                let (size, media_type) = (bytes.len() as u64, media_type::INDEX.into());
                Some(Tag { digest, size, media_type, index: Some(bytes) })
            }
        }
    }
}

impl<'a> Repository<'a> {
    /// The repository of an image with these entries, without lists of referrers.
    pub fn without_referrers(name: &'a str, entries: &'a [Entry]) -> Repository<'a> {
        let (refs, omitted) =
            by_ref(entries).into_iter().partition(|(reference, entries)| is_served(reference, entries));
        Repository { name, refs, omitted, lists: Lists::new(), entries }
    }

    /// The repository of an image with these entries, whose manifests have these relations.
    ///
    /// # Errors
    /// The lists of referrers are too large together.
    pub fn new(name: &'a str, entries: &'a [Entry], relations: &Relations) -> Result<Repository<'a>, TooManyReferrers> {
        let repository = Repository::without_referrers(name, entries);
        let lists = relations.lists(repository.fallback_indexes())?;
        Ok(Repository { lists, ..repository })
    }

    /// The refs that are omitted, because they are no tags or lead to no manifest.
    pub fn omitted(&self) -> &Refs<'a> {
        &self.omitted
    }

    /// The tags, with the entries of their refs.
    pub fn refs(&self) -> &Refs<'a> {
        &self.refs
    }

    /// The lists of referrers.
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// The indexes that have fallback tags, with their tags.
    pub fn fallback_indexes(&self) -> impl Iterator<Item = (&'a str, &'a Digest)> {
        self.entries.iter().filter_map(|entry| Some((entry.fallback_list()?, &entry.digest)))
    }

    /// The lists of tags, beginning with the whole one.
    pub fn tags_lists(&self) -> Result<Vec<Object>, PathError> {
        let tags: Vec<&str> = self.refs.keys().copied().collect();
        let list = |path: SitePath, tags: &[&str]| Object {
            path,
            kind: Kind::TagsList,
            bytes: registry::tags_list(self.name, tags),
        };
        let mut lists = vec![list(registry::tags_list_path(self.name)?, &tags)];
        if tags.len() <= registry::MAX_TAGS_WITH_LAST {
            for (position, tag) in tags.iter().enumerate() {
                let after = tags.get(position + 1..).unwrap_or_default();
                lists.push(list(registry::tags_after_path(self.name, tag)?, after));
            }
        }
        Ok(lists)
    }

    /// The list of a subject's referrers, at its own path and, where no ref has the name, under the fallback tag.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Object>, PathError> {
        let Some(referrers) = self.lists.get(subject) else { return Ok(vec![]) };
        let bytes = registry::referrers_list(referrers.values().map(|referrer| &**referrer));
        let kind = |path: &SitePath| match registry::Endpoint::parse(path.as_str()) {
            Some(registry::Endpoint::Referrers { .. }) => Kind::Referrers,
            _ => Kind::RegistryTag(Some(media_type::INDEX.into())),
        };
        let object = |path: SitePath| Object { kind: kind(&path), path, bytes: bytes.clone() };
        Ok(self.referrers_paths(subject)?.into_iter().map(object).collect())
    }

    /// The paths at which a list of a subject's referrers is, if there is one.
    pub fn referrers_paths(&self, subject: &Digest) -> Result<Vec<SitePath>, PathError> {
        let tag = fallback_tag(subject);
        let has_ref = [&self.refs, &self.omitted].iter().any(|refs| refs.contains_key(tag.as_str()));
        let mut paths = match has_ref {
            true => vec![],
            false => registry::manifest_names(self.name, &tag, media_type::INDEX)?,
        };
        paths.push(registry::referrers_path(self.name, subject)?);
        Ok(paths)
    }
}

/// Whether a ref with these entries is a tag: the view lists no tag without a manifest.
fn is_served(reference: &str, entries: &[&Entry]) -> bool {
    registry::is_tag(reference) && entries.iter().any(|entry| entry.is_manifest)
}

/// The tags of an index, and what they lead to.
pub fn tags(entries: &[Entry]) -> impl Iterator<Item = (Arc<str>, Tag)> {
    let refs = by_ref(entries).into_iter().filter(|(reference, entries)| is_served(reference, entries));
    refs.filter_map(|(reference, entries)| Some((reference.into(), Tag::of(&entries)?)))
}
