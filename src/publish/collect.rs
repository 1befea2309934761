//! From layouts to the entries and blobs of each image: which entries are published, under which refs, with what added to
//! their descriptors, and every blob their graphs reach.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::layout::graph::{Found, FoundBlob, GraphError, LayoutGraph, Missing, Mistyped, read_links};
use crate::layout::{INDEX_FILE, Layout, LayoutError};
use crate::publish::input::{Gathered, Source};
use crate::shell;
use crate::site::index::{Entry, list_refs};
use oci_discovery::digest::Digest;
use oci_discovery::discovery::CAS_ENGINES;
use oci_discovery::json;
use oci_discovery::name::{self, ImageName};
use oci_discovery::oci::descriptor::CONTAINERD_IMAGE_NAME;
use oci_discovery::oci::manifest::{Links, may_hold_descriptors};
use oci_discovery::oci::referrers::{fallback_stem, fallback_subject, fallback_tag};
use oci_discovery::oci::relations::{Relations, TooManyReferrers};
use oci_discovery::oci::walk::{Limit, MAX_DEPTH, Manifests, TooLarge};
use oci_discovery::oci::{Descriptor, Platform, media_type};
use oci_discovery::parallel;
use oci_discovery::pool::Pool;
use oci_discovery::seen::Key;

/// One image with all that is published of it.
#[derive(Clone, Debug)]
pub struct Image {
    /// The name, without a fragment.
    pub name: ImageName,
    /// Its entries, with refs, platforms and artifact types in place, and without CAS engines.
    pub entries: Vec<PublishedEntry>,
    /// The blobs its entries reach.
    pub blobs: Vec<FoundBlob>,
    /// The blobs that its layouts lack.
    pub missing: Vec<MissingBlob>,
    /// What its manifests refer to.
    pub relations: Relations,
    /// What a person should hear of.
    pub warnings: Vec<String>,
}

/// An entry for an image's index, but for the site's CAS engine. There may be tens of thousands, so the descriptor is kept as
/// its text: a tree of values takes many times the memory.
#[derive(Clone, Debug)]
pub struct PublishedEntry {
    /// The ref it is published under.
    pub reference: Option<Arc<str>>,
    /// The digest it points to.
    pub digest: Digest,
    /// Whether it refers to another manifest and has no ref of its own.
    pub is_untagged_referrer: bool,
    /// The position in [`Gathered::layouts`] of the layout it comes from.
    pub layout: usize,
    platform: Option<Arc<Platform>>,
    is_manifest: bool,
    /// Canonical JSON of the properties that stand before `casEngines`, and of those behind it.
    json: [Box<str>; 2],
    /// The CAS engines that the descriptor brought from elsewhere.
    engines: Vec<Value>,
}

impl PublishedEntry {
    fn new(
        descriptor: Descriptor,
        is_untagged_referrer: bool,
        layout: usize,
        platforms: &mut Pool<Platform>,
    ) -> PublishedEntry {
        let mut properties = descriptor.to_map();
        let engines = match properties.remove(CAS_ENGINES) {
            Some(Value::Array(engines)) => engines,
            _ => vec![],
        };
        let reference = descriptor.ref_name().map(Into::into);
        let platform = descriptor.platform().map(|platform| platforms.share(platform));
        let (before, after): (Map<_, _>, Map<_, _>) =
            properties.into_iter().partition(|(key, _)| key.as_str() < CAS_ENGINES);
        let json = [&before, &after].map(|properties| json::canonical_text(properties).into());
        let (digest, is_manifest) = (descriptor.digest, may_hold_descriptors(&descriptor.media_type));
        PublishedEntry { reference, digest, is_untagged_referrer, layout, platform, is_manifest, json, engines }
    }

    /// The entry with the site's CAS engine, which comes first; those that the descriptor brought are kept behind it.
    pub fn with_cas_engine(self, engine: &Value) -> Entry {
        let others = self.engines.into_iter().filter(|other| other != engine);
        let engines = Value::from_iter([engine.clone()].into_iter().chain(others));
        let [before, after] = &self.json;
        // Both are objects; the second has a digest in it and so is not empty.
        let before = before.strip_suffix('}').unwrap_or_default();
        let separator = if before == "{" { "" } else { "," };
        let after = after.strip_prefix('{').unwrap_or_default();
        let engines = json::canonical_text(&engines);
        let json = format!("{before}{separator}\"{CAS_ENGINES}\":{engines},{after}").into();
        let PublishedEntry { reference, platform, digest, is_manifest, .. } = self;
        Entry { reference, platform, digest, json, is_manifest }
    }
}

/// A blob that a layout lacks and that nobody minds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MissingBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The layout that lacks it.
    pub layout: PathBuf,
    /// Who refers to it.
    pub referrer: String,
}

/// Why the content of a layout cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A layout cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The graph of an entry is broken.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A ref that the layout does not have.
    #[error("{} has no entry with the ref {reference:?}: it has {available}", .layout.display())]
    NoSuchRef {
        /// The layout.
        layout: PathBuf,
        /// The ref that was asked for.
        reference: String,
        /// The refs it has.
        available: String,
    },
    /// A blob is not there.
    #[error(
        "{} is missing the blob {digest} ({size} bytes), to which {referrer} refers; create the layout again, or \
         publish without the blob with --allow-missing", .layout.display()
    )]
    Missing {
        /// The layout.
        layout: PathBuf,
        /// The digest.
        digest: Digest,
        /// The size in its descriptor.
        size: u64,
        /// The manifest, or `index.json`.
        referrer: String,
    },
    /// One ref for two things.
    #[error(
        "{image}#{reference} is given twice with different content for {platform}: {first_digest} in {} and \
         {second_digest} in {}; publish one of them, or publish one under another ref with {image}#REF=LAYOUT:REF",
        .first.display(), .second.display()
    )]
    SameRef {
        /// The image.
        image: ImageName,
        /// The ref.
        reference: String,
        /// The platform both are for.
        platform: String,
        /// The first layout.
        first: PathBuf,
        /// What it has under the ref.
        first_digest: Digest,
        /// The second layout.
        second: PathBuf,
        /// What it has under the ref.
        second_digest: Digest,
    },
    /// One ref for two things in one layout, which no selection by ref tells apart.
    #[error(
        "{image}#{reference} is given twice with different content: {} has the ref twice, for {first_digest} and \
         {second_digest}, both for {platform}; remove one of these entries from its index.json, or give it another ref there",
        .layout.display()
    )]
    SameRefInLayout {
        /// The image.
        image: ImageName,
        /// The ref.
        reference: String,
        /// The platform both are for.
        platform: String,
        /// The layout.
        layout: PathBuf,
        /// What it has under the ref.
        first_digest: Digest,
        /// What it has under the ref as well.
        second_digest: Digest,
    },
    /// One ref for all entries of a layout, which have refs of their own.
    #[error(
        "{image}#{reference} is given twice with different content: {} has {available}, and all of its entries would get the one \
         ref {reference:?}; choose one with {}", .layout.display(), choice(.image, .reference, .layout, .example)
    )]
    OneRefForAll {
        image: ImageName,
        /// The ref that was given.
        reference: String,
        layout: PathBuf,
        /// The refs of the layout.
        available: String,
        /// One of them.
        example: String,
    },
    /// Too many referrers of one image in all of its layouts together.
    #[error(
        "the layouts of {image} cannot be published: create them with fewer referrers, or with shorter annotations"
    )]
    TooManyReferrers {
        /// The image.
        image: ImageName,
        /// The limit.
        #[source]
        source: TooManyReferrers,
    },
    /// A layout without entries.
    #[error("{} has no entries: there is nothing to publish in the layout", .layout.join(INDEX_FILE).display())]
    Empty {
        /// The layout.
        layout: PathBuf,
    },
}

/// The argument that publishes one ref of a layout under a ref.
fn choice(image: &ImageName, reference: &str, layout: &Path, from: &str) -> String {
    shell::quote(&format!("{image}#{reference}={}:{from}", layout.display()))
}

/// Reads all layouts and collects their images, sorted by name.
pub fn collect(gathered: &Gathered, allow_missing: bool, jobs: NonZeroUsize) -> Result<Vec<Image>, CollectError> {
    let parts = parallel::map(&gathered.sources, jobs, |source| collect_source(gathered, source, allow_missing))?;
    let mut images: BTreeMap<ImageName, Image> = BTreeMap::new();
    for part in parts {
        match images.get_mut(&part.name) {
            None => {
                images.insert(part.name.clone(), part);
            }
            Some(image) => {
                image.entries.extend(part.entries);
                image.blobs.extend(part.blobs);
                image.missing.extend(part.missing);
                image.relations.extend(part.relations);
                let too_many = |source| CollectError::TooManyReferrers { image: image.name.clone(), source };
                image.relations.refuse_too_many().map_err(too_many)?;
                image.warnings.extend(part.warnings);
            }
        }
    }
    for image in images.values_mut() {
        refuse_one_ref_for_two_things(gathered, image)?;
        image.warnings.extend(tag_in_path(&image.name));
    }
    Ok(images.into_values().collect())
}

fn collect_source(gathered: &Gathered, source: &Source, allow_missing: bool) -> Result<Image, CollectError> {
    let layout = &gathered.layouts[source.layout];
    let graph = LayoutGraph::new(layout);
    let mut reading = Reading::new(layout, source.layout, &graph);
    let mut entries = vec![];
    let rename = source.rename.as_deref();
    match &source.select {
        None => layout.visit_entries(|entry| -> Result<(), CollectError> {
            entries.push(reading.publish_entry(entry, rename)?);
            Ok(())
        })?,
        Some(wanted) => {
            let (selected, rest) = select(layout, wanted)?;
            for entry in selected {
                entries.push(reading.publish_entry(entry, rename)?);
            }
            reading.add_referrers(rest, &mut entries)?;
        }
    }
    if entries.is_empty() {
        return Err(CollectError::Empty { layout: layout.path().into() });
    }
    // There may be tens of thousands, and they are kept for a while.
    entries.shrink_to_fit();
    add_fallback_referrers(&graph, layout, &entries)?;
    let Found { reached, missing, relations, mistyped, .. } = graph.into_found();
    let missing = missing.into_iter().map(|missing| check_missing(layout, missing, allow_missing));
    let missing = missing.collect::<Result<_, _>>()?;
    let found = reached.into_iter().map(|blob| FoundBlob { blob, layout: source.layout });
    let unspellable = entries.iter().filter_map(|entry| unspellable_ref(&source.image, entry));
    let warnings = unspellable.chain(mistyped_manifests(layout, &mistyped)).collect();
    Ok(Image { name: source.image.clone(), blobs: found.collect(), entries, missing, relations, warnings })
}

/// The entries of one ref, and those that are left.
fn select(layout: &Layout, wanted: &str) -> Result<(Vec<Descriptor>, Vec<Descriptor>), CollectError> {
    let entries = layout.entries()?;
    let is_wanted = |entry: &Descriptor| entry.ref_name() == Some(wanted) || tag(entry).as_deref() == Some(wanted);
    if !entries.is_empty() && !entries.iter().any(is_wanted) {
        let available = list_refs(entries.iter().filter_map(tag));
        let (layout, reference) = (layout.path().into(), wanted.into());
        return Err(CollectError::NoSuchRef { layout, reference, available });
    }
    Ok(entries.into_iter().partition(is_wanted))
}

/// A layout that is being read.
struct Reading<'a> {
    layout: &'a Layout,
    /// Its position in [`Gathered::layouts`].
    position: usize,
    graph: &'a LayoutGraph<'a>,
    /// The platforms of its entries.
    platforms: Pool<Platform>,
    /// What was read for an entry, with and without a platform, since a great many entries may be the same but for their refs.
    read: HashMap<(Key, bool), Read>,
    /// The platforms of the configs that were read.
    configs: HashMap<Key, Option<Arc<Platform>>>,
}

/// What an entry says only in its manifest and its config.
#[derive(Clone, Debug)]
struct Read {
    has_subject: bool,
    /// Its own media type, where the entry gives another.
    other_type: Option<Arc<str>>,
    artifact_type: Option<Arc<str>>,
    /// None also where the entry has a platform of its own.
    platform: Option<Arc<Platform>>,
}

impl<'a> Reading<'a> {
    fn new(layout: &'a Layout, position: usize, graph: &'a LayoutGraph<'a>) -> Reading<'a> {
        let (platforms, read, configs) = Default::default();
        Reading { layout, position, graph, platforms, read, configs }
    }

    fn publish_entry(
        &mut self,
        mut descriptor: Descriptor,
        rename: Option<&str>,
    ) -> Result<PublishedEntry, CollectError> {
        let read = self.read(&descriptor)?;
        if let Some(own) = &read.other_type {
            descriptor.set_media_type(own);
        }
        let tag = tag(&descriptor);
        let is_fallback = |tag: &str| fallback_subject(tag, &descriptor.media_type).is_some();
        let refers = read.has_subject || tag.as_deref().is_some_and(is_fallback);
        // A name for the image is no name for its signatures.
        let reference = if refers { tag.as_deref() } else { rename.or(tag.as_deref()) };
        let is_untagged_referrer = refers && reference.is_none();
        if reference != descriptor.ref_name() {
            descriptor.set_ref_name(reference);
        }
        let artifact_type = read.artifact_type.filter(|_| descriptor.artifact_type().is_none());
        if read.platform.is_some() || artifact_type.is_some() {
            descriptor.edit(|properties| {
                properties.extend(read.platform.map(|platform| ("platform".into(), platform.to_value())));
                properties.extend(artifact_type.map(|artifact_type| ("artifactType".into(), (*artifact_type).into())));
            });
        }
        Ok(PublishedEntry::new(descriptor, is_untagged_referrer, self.position, &mut self.platforms))
    }

    /// Adds an entry to the graph, and reads what only its manifest and its config say.
    fn read(&mut self, entry: &Descriptor) -> Result<Read, GraphError> {
        let has_platform = entry.platform().is_some();
        let key = (entry.key(), has_platform);
        if let Some(read) = self.read.get(&key) {
            return Ok(read.clone());
        }
        let links = self.graph.add(entry)?;
        let read = Read {
            has_subject: links.subject.is_some(),
            platform: if has_platform { None } else { self.platform(&links)? },
            artifact_type: links.artifact_type.map(Into::into),
            other_type: links.other_type.filter(|own| media_type::holds_descriptors(own)).map(Into::into),
        };
        self.read.insert(key, read.clone());
        Ok(read)
    }

    /// What the image config says of the platform.
    fn platform(&mut self, links: &Links) -> Result<Option<Arc<Platform>>, GraphError> {
        let Some(config) = links.config.as_ref().filter(|config| media_type::is_image_config(&config.media_type))
        else {
            return Ok(None);
        };
        let key = config.key();
        if let Some(platform) = self.configs.get(&key) {
            return Ok(platform.clone());
        }
        // A config that is missing, or too large to be one, is judged by the walk; here it only gives no platform.
        let bytes = unless_broken(self.layout.read(config))?.flatten();
        let platform =
            bytes.and_then(|bytes| Platform::from_config(&bytes)).map(|platform| self.platforms.share(platform));
        self.configs.insert(key, platform.clone());
        Ok(platform)
    }

    /// Adds the entries that refer to what is published, and what refers to those, until there are no more.
    fn add_referrers(&mut self, rest: Vec<Descriptor>, entries: &mut Vec<PublishedEntry>) -> Result<(), CollectError> {
        let mut subjects: HashMap<Key, Option<Digest>> = HashMap::new();
        let mut candidates = Vec::with_capacity(rest.len());
        for entry in rest {
            let subject = match subjects.entry(entry.key()) {
                Occupied(known) => known.get().clone(),
                Vacant(unknown) => unknown.insert(subject(self.layout, &entry)?).clone(),
            };
            candidates.push((entry, subject));
        }
        let mut tags: HashSet<String> = HashSet::new();
        for depth in 0.. {
            tags.extend(self.graph.manifests().iter().map(fallback_tag));
            let refers = |(entry, subject): &(Descriptor, Option<Digest>)| {
                let by_subject = subject.as_ref().is_some_and(|subject| self.graph.has_seen(subject));
                by_subject || tag(entry).is_some_and(|tag| tags.contains(tag.split('.').next().unwrap_or_default()))
            };
            let (found, left): (Vec<_>, Vec<_>) = candidates.into_iter().partition(refers);
            if found.is_empty() {
                return Ok(());
            }
            for (entry, _) in found {
                if depth > MAX_DEPTH {
                    let source = TooLarge { digest: entry.digest, limit: Limit::Depth };
                    return Err(GraphError::TooLarge { path: self.layout.path().into(), source }.into());
                }
                entries.push(self.publish_entry(entry, None)?);
            }
            candidates = left;
        }
        Ok(())
    }
}

/// What an entry refers to. One that is not published may be broken without harm; it only refers to nothing.
fn subject(layout: &Layout, entry: &Descriptor) -> Result<Option<Digest>, GraphError> {
    let links = unless_broken(read_links(layout, entry))?.flatten();
    Ok(links.and_then(|links| links.subject).map(|subject| subject.digest))
}

/// What was read; none of what is broken. That something cannot be read now says nothing of what it is: to go on would leave out,
/// without a word, what it has to say.
fn unless_broken<T>(read: Result<T, impl Into<GraphError>>) -> Result<Option<T>, GraphError> {
    match read.map_err(Into::into) {
        Ok(value) => Ok(Some(value)),
        Err(error @ GraphError::Layout(LayoutError::Read { .. })) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Adds what only the indexes under fallback tags say: their entries refer to the manifests that the tags are named after.
fn add_fallback_referrers(graph: &LayoutGraph, layout: &Layout, entries: &[PublishedEntry]) -> Result<(), GraphError> {
    let may_be_list = |entry: &&PublishedEntry| {
        entry.reference.as_deref().is_some_and(|reference| fallback_stem(reference) == Some(reference))
    };
    let roots: HashSet<&Digest> = entries.iter().filter(may_be_list).map(|entry| &entry.digest).collect();
    for index in roots {
        let root = graph.descriptor(index).filter(|root| media_type::is_index(&root.media_type));
        let links = root.map(|root| unless_broken(read_links(layout, &root))).transpose()?.flatten().flatten();
        graph.add_listed(index, links.unwrap_or_default().children)?;
    }
    Ok(())
}

fn check_missing(layout: &Layout, missing: Missing, allow_missing: bool) -> Result<MissingBlob, CollectError> {
    let referrer = match &missing.referrer {
        Some(digest) => format!("the manifest {digest}"),
        None => "its index.json".to_string(),
    };
    let Missing { digest, size, is_foreign, .. } = missing;
    let layout = layout.path().to_path_buf();
    match allow_missing || is_foreign {
        true => Ok(MissingBlob { digest, size, layout, referrer }),
        false => Err(CollectError::Missing { layout, digest, size, referrer }),
    }
}

/// The ref of an entry, out of whatever a tool wrote there.
///
/// skopeo and umoci write the tag itself; podman writes a full image name; BuildKit writes the full name beside the tag.
fn tag(entry: &Descriptor) -> Option<String> {
    match (entry.ref_name(), entry.annotation(CONTAINERD_IMAGE_NAME)) {
        (Some(text), _) => Some(tag_of_full_name(text).unwrap_or(text).to_string()),
        (None, Some(text)) => tag_of_full_name(&text).map(str::to_string),
        (None, None) => None,
    }
}

/// The tag of `HOST[:PORT]/PATH:TAG`. None: the text is no full image name with a tag, but itself a ref.
fn tag_of_full_name(text: &str) -> Option<&str> {
    let name = text.split_once('@').map_or(text, |(name, _)| name);
    let (host, _) = name.split_once('/')?;
    let looks_like_host = host.contains('.') || host.contains(':') || host == "localhost";
    let (_, last) = name.rsplit_once('/')?;
    let (_, tag) = last.split_once(':')?;
    (looks_like_host && !tag.is_empty()).then_some(tag)
}

fn unspellable_ref(image: &ImageName, entry: &PublishedEntry) -> Option<String> {
    let reference = entry.reference.as_deref()?;
    (!name::is_fragment(reference)).then(|| {
        format!(
            "the ref {reference:?} of {image} cannot follow `#` in an image name, so clients cannot choose it; \
             publish it under another ref with {image}#REF=LAYOUT:REF"
        )
    })
}

/// The most manifests with another media type that are warned of one by one.
const LISTED_MISTYPED: usize = 10;

fn mistyped_manifests(layout: &Layout, mistyped: &[Mistyped]) -> Vec<String> {
    let warning = |Mistyped { digest, described, own }: &Mistyped| {
        let used = if media_type::holds_descriptors(own) { own } else { described };
        format!(
            "{} describes the manifest {digest} as {described}, and the manifest says {own}: published as {used}; clients \
             that compare the two refuse it wherever an index describes it so",
            layout.path().display()
        )
    };
    let mut warnings: Vec<String> = mistyped.iter().take(LISTED_MISTYPED).map(warning).collect();
    if mistyped.len() > LISTED_MISTYPED {
        warnings.push(format!(
            "{} has {} more such manifests",
            layout.path().display(),
            mistyped.len() - LISTED_MISTYPED
        ));
    }
    warnings
}

fn tag_in_path(image: &ImageName) -> Option<String> {
    let meant = image.with_tag_as_fragment()?;
    Some(format!(
        "{image} has no ref, because a ref follows a `#`, and a colon is part of the path; did you mean {meant}?"
    ))
}

/// Several entries may share a ref when each is for a platform of its own.
fn refuse_one_ref_for_two_things(gathered: &Gathered, image: &Image) -> Result<(), CollectError> {
    let mut refs: HashMap<&str, ByPlatform> = HashMap::with_capacity(image.entries.len());
    for entry in &image.entries {
        let Some(reference) = entry.reference.as_deref() else { continue };
        let others = refs.entry(reference).or_default();
        if let Some(other) = other_content(others, entry) {
            return Err(same_ref(gathered, &image.name, other, entry));
        }
        others.entry(entry.platform.as_deref()).or_insert(entry);
    }
    Ok(())
}

fn same_ref(gathered: &Gathered, image: &ImageName, one: &PublishedEntry, other: &PublishedEntry) -> CollectError {
    let image = image.clone();
    let reference = other.reference.as_deref().unwrap_or_default().to_string();
    let platform = other.platform.as_ref().map_or("every platform".into(), |platform| platform.to_string());
    let path = |entry: &PublishedEntry| gathered.layouts[entry.layout].path().to_path_buf();
    let (first_digest, second_digest) = (one.digest.clone(), other.digest.clone());
    let (first, second) = (path(one), path(other));
    match one.layout == other.layout {
        true => match refs_apart(&gathered.layouts[one.layout], &first_digest, &second_digest) {
            Some((available, example)) => {
                CollectError::OneRefForAll { image, reference, layout: first, available, example }
            }
            None => {
                CollectError::SameRefInLayout { image, reference, platform, layout: first, first_digest, second_digest }
            }
        },
        false => CollectError::SameRef { image, reference, platform, first, first_digest, second, second_digest },
    }
}

/// The refs of a layout, and one of the second entry's. None: the layout itself has the two under one ref.
fn refs_apart(layout: &Layout, first: &Digest, second: &Digest) -> Option<(String, String)> {
    let entries = layout.entries().ok()?;
    let refs = |digest: &Digest| -> HashSet<String> {
        entries.iter().filter(|entry| entry.digest == *digest).filter_map(tag).collect()
    };
    let (first, second) = (refs(first), refs(second));
    let example = first.iter().min().or(second.iter().min())?.clone();
    first.is_disjoint(&second).then(|| (list_refs(entries.iter().filter_map(tag)), example))
}

/// The first entry of a ref for each platform; None: the entry for every platform.
type ByPlatform<'a> = BTreeMap<Option<&'a Platform>, &'a PublishedEntry>;

/// An entry with different content for the platform of an entry. Of the entries of one ref, the first one for every platform is
/// compared with all others, and each further one with that.
fn other_content<'a>(others: &ByPlatform<'a>, entry: &PublishedEntry) -> Option<&'a PublishedEntry> {
    let differs = |other: &&PublishedEntry| other.digest != entry.digest;
    let at = |platform| others.get(&platform).copied();
    match (entry.platform.as_deref(), at(None)) {
        (None, None) => others.values().copied().find(differs),
        (platform, every) => every.into_iter().chain(at(platform)).find(differs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_image_name_gives_its_tag_and_a_ref_stays_what_it_is() {
        assert_eq!(tag_of_full_name("localhost/app:1.0"), Some("1.0"));
        assert_eq!(tag_of_full_name("docker.io/library/app:1.0@sha256:ab"), Some("1.0"));
        assert_eq!(tag_of_full_name("registry.example.com:5000/team/app:latest"), Some("latest"));
        for text in ["1.0", "v1:amd64", "release/1.0", "release/1.0:amd64", "example.com/app"] {
            assert_eq!(tag_of_full_name(text), None, "{text}");
        }
    }
}
