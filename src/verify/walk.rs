//! Walks a site image by image, from the index down to the last blob.
//!
//! Images and the nodes of their graphs are tasks of one queue, so that all workers are busy, whether a site has many
//! images or one image with many refs. The newest task comes first, so that an image is complete before the next one
//! begins: its state is then dropped, and memory does not grow with the number of images.
//!
//! A site may change while it is verified. An image with errors whose index has changed is verified again. Missing
//! objects may belong to an image that was removed, so such findings are held back until the site's description is
//! read again: once for many images, because it can be large.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use url::Url;

use super::deep::{self, Blob, Readings, content_finding};
use super::discovery::{Discovery, check_type};
use super::finding::{Collected, Finding, Findings};
use super::index::IndexCheck;
use super::manifest::{self, Described};
use super::registry::{Met, Repository, Wrong};
use super::rule;
use super::source::{Fault, Source, SourceDocument};
use super::templates::{self, Setting};
use crate::progress::Progress;
use crate::registry::view::{Tag, tags};
use crate::site::description::listed_of;
use crate::site::index::Entry;
use crate::site::path::DESCRIPTION;
use oci_discovery::discovery::CasEngines;
use oci_discovery::json::{MAX_INDEX_BYTES, MAX_MANIFEST_BYTES};
use oci_discovery::name::ImageName;
use oci_discovery::oci::manifest::Links;
use oci_discovery::oci::verified::ReadError;
use oci_discovery::oci::walk::{self, Graph, Limit, MAX_BYTES, MAX_DEPTH, MAX_STEPS, Next};
use oci_discovery::oci::{Descriptor, Platform, Verified, index, media_type};
use oci_discovery::parallel::lock;
use oci_discovery::seen::{Key, Seen, key};

/// The attempts to verify an image that changes meanwhile.
const MAX_ATTEMPTS: usize = 5;
/// The held findings after which the description is read again. They take a few megabytes.
pub const MAX_HELD: usize = 16 * 1024;

pub struct Walk<'a> {
    /// The directory or the server that is checked.
    pub source: &'a dyn Source,
    pub discovery: &'a Discovery,
    /// Whether the images come from the site's description, so that they may be removed meanwhile.
    pub is_listed: bool,
    pub has_registry: bool,
    pub findings: &'a Findings,
    pub progress: &'a dyn Progress,
    /// The state of `--deep`. None: blobs are not read.
    pub deep: Option<Readings>,
    /// The reached blobs (see [`Source::key`]).
    pub reached: Seen,
    pub counts: Counts,
    /// Whether a part of a graph was not followed, so that unreached blobs may be needed.
    pub is_incomplete: AtomicBool,
    /// Findings that count only if the site still lists their images.
    pub held: Mutex<Held>,
}

#[derive(Debug, Default)]
pub struct Held {
    images: Vec<(ImageName, Collected)>,
    /// The number of kept findings.
    kept: usize,
}

/// The amounts verified.
#[derive(Debug, Default)]
pub struct Counts {
    pub entries: AtomicU64,
    /// Distinct blobs.
    pub blobs: AtomicU64,
    pub bytes: AtomicU64,
}

/// The state of an image while it is verified.
pub struct Image {
    name: ImageName,
    text: Arc<str>,
    attempt: usize,
    seen: Seen,
    findings: Mutex<Collected>,
    /// Findings that count only if the site still lists the image.
    held: Mutex<Collected>,
    /// Its indexes, each with a hash of its bytes.
    indexes: Mutex<Vec<(Url, Option<Key>)>>,
    entries: AtomicU64,
    /// The number of its objects at origins that are not checked.
    elsewhere: AtomicU64,
    /// The number of its open tasks.
    open: AtomicUsize,
    is_incomplete: AtomicBool,
    /// The met entries and manifests, from which its repository in the registry view follows.
    met: Mutex<Met>,
}

/// A task of the walk.
pub enum Task {
    /// An image, and the number of the attempt.
    Image(ImageName, usize),
    Node(Arc<Image>, Node),
    /// A tag of an image in the registry view.
    Tag(Arc<Image>, Arc<str>, Tag),
    /// A ref of an image that may have an index of its own.
    Ref(Arc<Image>, Ref),
}

/// A ref, as the index of its image has it.
pub struct Ref {
    name: ImageName,
    /// The keys of its entries.
    entries: BTreeSet<Key>,
}

/// A blob, as a document describes it.
pub struct Node {
    described: Described,
    engines: Arc<CasEngines>,
    role: Role,
    /// The document that refers to the blob, for messages.
    referrer: String,
}

/// The role of a node in the document that refers to it.
enum Role {
    /// A manifest or blob of the document.
    Part,
    /// The config of an image. The descriptor of its manifest has this platform.
    Config(Platform),
    /// The subject, which may be missing.
    Subject,
}

impl Graph for Walk<'_> {
    type Node = Task;
    type Error = Infallible;

    fn identity<'n>(&'n self, task: &'n Task) -> Option<(&'n Seen, Key)> {
        match task {
            Task::Node(image, node) => Some((&image.seen, Walk::node_key(node))),
            Task::Image(..) | Task::Tag(..) | Task::Ref(..) => None,
        }
    }

    fn bytes(&self, task: &Task) -> u64 {
        match task {
            Task::Node(_, Node { described, .. }) => walk::bytes_to_read(&described.media_type, described.size),
            Task::Image(..) | Task::Tag(..) | Task::Ref(..) => 0,
        }
    }

    fn visit(&self, task: Task, next: &mut Next<Task>) -> Result<(), Infallible> {
        let image = match task {
            Task::Image(name, attempt) => {
                let image = Arc::new(Image::new(name, attempt));
                self.image(&image, next);
                image
            }
            Task::Node(image, node) => {
                self.node(&image, node, next);
                image
            }
            Task::Tag(image, name, tag) => {
                self.tag(&image, &name, &tag);
                image
            }
            Task::Ref(image, reference) => {
                self.ref_index(&image, &reference);
                image
            }
        };
        self.done(&image, next);
        Ok(())
    }

    fn pass(&self, task: Task, next: &mut Next<Task>) -> Result<(), Infallible> {
        if let Task::Node(image, _) = task {
            self.done(&image, next);
        }
        Ok(())
    }

    fn refuse(&self, task: Task, limit: Limit, next: &mut Next<Task>) -> Result<(), Infallible> {
        if let Task::Node(image, node) = task {
            self.refused(&image, &node, limit);
            self.done(&image, next);
        }
        Ok(())
    }
}

impl Walk<'_> {
    pub fn run(&self, images: &[ImageName], jobs: NonZeroUsize) {
        self.progress.start_items("images", images.len() as u64);
        let Ok(()) = walk::walk(self, images.iter().map(|image| Task::Image(image.clone(), 1)), jobs);
        self.settle(&mut lock(&self.held));
        self.progress.finish();
    }

    fn done(&self, image: &Arc<Image>, next: &mut Next<Task>) {
        if image.open.fetch_sub(1, std::sync::atomic::Ordering::AcqRel) > 1 {
            return;
        }
        self.repository_documents(image);
        let mut findings = std::mem::take(&mut *lock(&image.findings));
        let held = std::mem::take(&mut *lock(&image.held));
        if (findings.has_error() || held.total() > 0) && image.attempt < MAX_ATTEMPTS && self.has_changed(image) {
            next.root(Task::Image(image.name.clone(), image.attempt + 1));
            return;
        }
        let elsewhere = image.elsewhere.load(Relaxed);
        if elsewhere > 0 {
            let found = format!("{elsewhere} at another origin");
            findings.push(Finding::new(
                &rule::BLOB_ELSEWHERE,
                image.name.to_string(),
                "objects in the directory",
                found,
            ));
        }
        self.findings.add_image(&image.text, findings);
        self.hold(&image.name, held);
        self.counts.entries.fetch_add(image.entries.load(Relaxed), Relaxed);
        self.is_incomplete.fetch_or(image.is_incomplete.load(Relaxed), Relaxed);
        self.progress.advance(1);
    }

    fn has_changed(&self, image: &Image) -> bool {
        let indexes = lock(&image.indexes).clone();
        indexes.iter().any(|(url, before)| match self.source.document(url, media_type::INDEX, MAX_INDEX_BYTES) {
            Ok(document) => Some(version(&document)) != *before,
            Err(Fault::Absent) => before.is_some(),
            Err(_) => false,
        })
    }

    /// Holds findings back until the description shows whether the site still lists the image.
    fn hold(&self, image: &ImageName, mut findings: Collected) {
        if findings.total() == 0 {
            return;
        }
        let mut held = lock(&self.held);
        held.kept += findings.kept();
        findings.shrink();
        held.images.push((image.clone(), findings));
        if held.kept >= MAX_HELD {
            self.settle(&mut held);
        }
    }

    /// Reports the held findings whose images the site still lists.
    fn settle(&self, held: &mut Held) {
        let Held { images, .. } = std::mem::take(held);
        if images.is_empty() {
            return;
        }
        // If the description cannot be read, all images count as listed.
        let description = self.source.description();
        let listed = description.and_then(|text| listed_of(text, images.iter().map(|(image, _)| image)));
        for (image, findings) in &images {
            if listed.as_ref().is_none_or(|listed| listed.contains(image)) {
                self.findings.add_image(image.as_str(), findings.clone());
            }
        }
    }

    /// Reads the indexes that the ref engines give for an image.
    fn image(&self, image: &Arc<Image>, next: &mut Next<Task>) {
        let engines = self.discovery.cas_engines(self.source, &image.name);
        let urls = self.discovery.index_urls(self.source, &image.name);
        let mut faults = Vec::new();
        for url in &urls {
            match self.index_document(image, url) {
                Ok(document) => self.index(image, &document, engines.clone(), next),
                Err(fault) => faults.push((url, fault)),
            }
        }
        if !faults.is_empty() && faults.len() == urls.len() {
            self.no_index(image, &faults);
        }
    }

    /// Compares the index of a ref with the entries that the index of the image has for it.
    fn ref_index(&self, image: &Image, Ref { name, entries }: &Ref) {
        let of_image = self.discovery.index_urls(self.source, &image.name);
        let mut urls = self.discovery.index_urls(self.source, name);
        urls.retain(|url| !of_image.contains(url));
        let mut faults = Vec::new();
        for url in &urls {
            self.reached.insert(self.source.key(url));
            let document = match self.index_document(image, url) {
                Ok(document) => document,
                Err(fault) => {
                    faults.push((url, fault));
                    continue;
                }
            };
            let (object, mut findings) = (self.source.object(url), Collected::default());
            check_type(&document, media_type::INDEX, &object, &mut findings);
            let found: BTreeSet<Key> =
                index::descriptors(&document.bytes).unwrap_or_default().iter().map(entry_key).collect();
            if found != *entries {
                let reference = name.fragment().unwrap_or_default();
                let expected = format!("the entries of {reference} in the index of {}", image.name);
                findings.push(Finding::new(&rule::REF_INDEX_DIFFERS, object, expected, "others"));
            }
            image.merge(findings);
        }
        if !faults.is_empty() && faults.len() == urls.len() {
            self.no_index(image, &faults);
        }
    }

    fn index_document(&self, image: &Image, url: &Url) -> Result<SourceDocument, Fault> {
        let result = self.source.document(url, media_type::INDEX, MAX_INDEX_BYTES);
        let version = result.as_ref().ok().map(version);
        if !matches!(result, Err(Fault::Elsewhere)) {
            lock(&image.indexes).push((url.clone(), version));
        }
        result
    }

    fn no_index(&self, image: &Image, faults: &[(&Url, Fault)]) {
        image.mark_incomplete();
        if !self.is_listed && self.is_unlisted(&image.name) && faults.iter().all(|(_, fault)| *fault == Fault::Absent) {
            let object = faults.first().map(|(url, _)| self.source.object(url)).unwrap_or_default();
            let expected = format!("{} in {DESCRIPTION}", image.name.image());
            return image.push(Finding::new(&rule::NAME_UNLISTED, object, expected, "no such name"));
        }
        let push = |finding| match self.is_listed {
            true => lock(&image.held).push(finding),
            false => image.push(finding),
        };
        for (url, fault) in faults {
            if *fault == Fault::Elsewhere {
                image.elsewhere.fetch_add(1, Relaxed);
            }
            if *fault == Fault::Absent && self.is_there_when_decoded(url) {
                let found = "nothing; the same path with slashes exists";
                push(Finding::new(&rule::ENCODED_SLASH, self.source.object(url), "the index", found));
                continue;
            }
            fault.finding(self.source.object(url), "the index", &rule::INDEX_MISSING).into_iter().for_each(push);
        }
    }

    /// Whether the description can be read, and does not list the image of a name.
    fn is_unlisted(&self, name: &ImageName) -> bool {
        let description = self.source.description();
        let listed = description.and_then(|text| listed_of(text, [&name.image()].into_iter()).map(|found| found.len()));
        listed == Some(0)
    }

    fn is_there_when_decoded(&self, url: &Url) -> bool {
        if !self.source.is_live() || !templates::has_encoded_slash(url.path()) {
            return false;
        }
        let mut decoded = url.clone();
        decoded.set_path(&url.path().replace("%2F", "/").replace("%2f", "/"));
        self.source.size(&decoded).is_ok()
    }

    fn index(&self, image: &Arc<Image>, document: &SourceDocument, engines: Arc<CasEngines>, next: &mut Next<Task>) {
        let object = self.source.object(&document.url);
        let index =
            IndexCheck { source: self.source, url: &document.url, object: &object, image: &image.name, engines };
        let mut wrong = Collected::default();
        check_type(document, media_type::INDEX, &object, &mut wrong);
        image.merge(wrong);
        let mut findings = Collected::default();
        let mut view = self.repository(image).map(|repository| (repository, Vec::new()));
        let has_ref_indexes = self.discovery.may_have_ref_indexes() && image.name.fragment().is_none();
        let mut by_ref: BTreeMap<String, BTreeSet<Key>> = BTreeMap::new();
        index.read(&document.bytes, &mut findings, &mut |entry| {
            image.entries.fetch_add(1, Relaxed);
            if let Some((_, entries)) = &mut view {
                entries.push(Entry::new(&entry.descriptor));
            }
            if let Some(reference) = entry.descriptor.ref_name().filter(|_| has_ref_indexes) {
                by_ref.entry(reference.into()).or_default().insert(entry_key(&entry.descriptor));
            }
            let described = Described::new(entry.descriptor);
            let referrer = "the index".into();
            let node = Node { described, engines: entry.engines, role: Role::Part, referrer };
            next.root(image.task(|image| Task::Node(image, node)));
        });
        if findings.has_error() {
            image.mark_incomplete();
        }
        image.merge(findings);
        for (reference, entries) in by_ref.into_iter().filter(|(reference, _)| !reference.is_empty()) {
            if let Ok(name) = image.name.with_fragment(Some(&reference)) {
                next.root(image.task(|image| Task::Ref(image, Ref { name, entries })));
            }
        }
        if let Some((repository, entries)) = view {
            let mut wrong = Wrong::default();
            let listed = repository.check_list(&entries, &mut wrong);
            image.extend_with(wrong);
            for (name, tag) in tags(&entries).filter(|(name, _)| listed.contains(&**name)) {
                next.root(image.task(|image| Task::Tag(image, name, tag)));
            }
            lock(&image.met).add_entries(entries);
        }
    }

    /// The image's repository in the registry view, if the site has the view.
    fn repository<'i>(&'i self, image: &'i Image) -> Option<Repository<'i>> {
        Repository::new(self.source, &image.name).filter(|_| self.has_registry)
    }

    fn tag(&self, image: &Image, name: &str, tag: &Tag) {
        let mut wrong = Wrong::default();
        if let Some(repository) = self.repository(image) {
            repository.check_tag(name, tag, &mut wrong);
        }
        image.extend_with(wrong);
    }

    /// Verifies the documents of the repository that follow from the whole image, after the walk has met all of it.
    fn repository_documents(&self, image: &Image) {
        let met = std::mem::take(&mut *lock(&image.met));
        let Some(repository) = self.repository(image) else { return };
        let mut wrong = Wrong::default();
        // The paths follow from a name and digests that were checked.
        let _ = repository.check_documents(&met, !image.is_incomplete.load(Relaxed), &mut wrong);
        image.extend_with(wrong);
    }

    fn node(&self, image: &Arc<Image>, node: Node, next: &mut Next<Task>) {
        let described = &node.described;
        let urls = templates::urls(&node.engines, &described.digest);
        if let Some(finding) = described.data_finding() {
            image.push(finding);
        }
        let Some((url, size)) = self.find(image, &node, &urls) else { return };
        if matches!(node.role, Role::Subject) {
            return;
        }
        if let Some(repository) = self.repository(image) {
            image.extend(repository.check_blob(&described.digest, described.size, &described.media_type));
        }
        if self.reached.insert(self.source.key(&url)) {
            self.counts.blobs.fetch_add(1, Relaxed);
            self.counts.bytes.fetch_add(described.size, Relaxed);
        }
        for other in urls.iter().filter(|other| **other != url) {
            self.reached.insert(self.source.key(other));
        }
        if let Some(size) = size.filter(|size| *size != described.size) {
            let (expected, found) = (format!("{} bytes", described.size), format!("{size} bytes"));
            image.push(Finding::new(&rule::BLOB_SIZE, self.source.object(&url), expected, found));
            image.mark_incomplete();
            return;
        }
        match (&node.role, described.may_hold_descriptors()) {
            (_, true) => self.document(image, &node, &url, next),
            (Role::Config(platform), _) if described.size <= MAX_MANIFEST_BYTES => {
                self.config(image, &node, &url, platform);
            }
            // If the server sent no size, only reading shows it.
            _ if self.deep.is_some() || size.is_none() => self.read(image, &node, url),
            _ => {}
        }
    }

    /// Identifies a node: its place and its description.
    fn node_key(node: &Node) -> Key {
        let Described { digest, size, media_type, platform, data, .. } = &node.described;
        let platform = match (platform, &node.role) {
            (_, Role::Config(platform)) => format!("config for {platform}"),
            (_, Role::Subject) => "subject".into(),
            (Some(platform), Role::Part) => platform.to_string(),
            (None, Role::Part) => String::new(),
        };
        let urls = templates::urls(&node.engines, digest);
        let url = urls.first().map_or("", |url| url.as_str());
        key(&[url, digest.as_str(), &size.to_string(), media_type, &platform, data.as_deref().unwrap_or("")])
    }

    /// Reports a node that is not followed, because a limit is reached.
    fn refused(&self, image: &Image, node: &Node, limit: Limit) {
        let urls = templates::urls(&node.engines, &node.described.digest);
        let object = urls.first().map_or(node.described.digest.to_string(), |url| self.source.object(url));
        let (rule, expected) = match limit {
            Limit::Depth => (&rule::GRAPH_DEPTH, format!("at most {MAX_DEPTH} levels")),
            Limit::Steps => (&rule::TOO_LARGE, format!("at most {MAX_STEPS} descriptors below one entry")),
            Limit::Bytes => (&rule::TOO_LARGE, format!("at most {MAX_BYTES} bytes of manifests below one entry")),
        };
        image.push(Finding::new(rule, object, expected, "more"));
        image.mark_incomplete();
    }

    /// The first URL that has the blob, with its size there.
    fn find(&self, image: &Image, node: &Node, urls: &[Url]) -> Option<(Url, Option<u64>)> {
        let mut faults: Vec<(&Url, Fault)> = Vec::new();
        for url in urls {
            match self.source.size(url) {
                Ok(size) => {
                    for (lacking, _) in faults.into_iter().filter(|(_, fault)| *fault == Fault::Absent) {
                        let (object, found) = (self.source.object(lacking), self.source.object(url));
                        let found = format!("nothing; it is at {found}");
                        image.push(Finding::new(&rule::CAS_ENGINE_INCOMPLETE, object, node.expected(), found));
                    }
                    return Some((url.clone(), size));
                }
                Err(fault) => faults.push((url, fault)),
            }
        }
        self.not_found(image, node, &faults);
        None
    }

    fn not_found(&self, image: &Image, node: &Node, faults: &[(&Url, Fault)]) {
        let Node { described, role, .. } = node;
        if faults.iter().any(|(_, fault)| *fault == Fault::Elsewhere) {
            image.elsewhere.fetch_add(1, Relaxed);
            image.mark_incomplete();
            return;
        }
        let real = faults.iter().find(|(_, fault)| *fault != Fault::Absent);
        let Some((url, fault)) = real.or(faults.first()) else {
            let object = described.digest.to_string();
            image.push(match described.has_urls {
                true => self.foreign(node, object),
                false => Finding::new(&rule::CAS_ENGINE_MISSING, object, "a CAS engine", "none"),
            });
            return;
        };
        let object = self.source.object(url);
        let finding = match (role, fault) {
            (Role::Subject, Fault::Absent) => Finding::new(&rule::SUBJECT_MISSING, object, node.expected(), "nothing"),
            (_, Fault::Absent) if described.has_urls => self.foreign(node, object),
            _ => {
                image.mark_incomplete();
                let Some(finding) = fault.finding(object, &node.expected(), &rule::BLOB_MISSING) else { return };
                finding
            }
        };
        image.push(finding);
    }

    fn foreign(&self, node: &Node, object: String) -> Finding {
        Finding::new(&rule::BLOB_FOREIGN, object, node.expected(), "nothing here; its descriptor has \"urls\"")
    }

    /// Reads a manifest, and adds its children to the walk.
    fn document(&self, image: &Arc<Image>, node: &Node, url: &Url, next: &mut Next<Task>) {
        let described = &node.described;
        let object = self.source.object(url);
        if described.size > MAX_MANIFEST_BYTES {
            // Without a media type, a large blob may be a layer.
            if !described.media_type.is_empty() {
                let expected = format!("at most {MAX_MANIFEST_BYTES} bytes");
                image.push(Finding::new(&rule::TOO_LARGE, object, expected, format!("{} bytes", described.size)));
                image.mark_incomplete();
            }
            return;
        }
        let Some(bytes) = self.bytes(image, node, url) else { return };
        match manifest::check(described, &object, &bytes) {
            Ok((links, findings)) => {
                image.merge(findings);
                for child in self.children(image, node, url, links) {
                    next.below(image.task(|image| Task::Node(image, child)));
                }
            }
            Err(finding) => {
                image.push(*finding);
                image.mark_incomplete();
            }
        }
    }

    fn children(&self, image: &Image, node: &Node, url: &Url, links: Links) -> Vec<Node> {
        let mut children = Vec::with_capacity(links.children.len() + 1);
        let object = self.source.object(url);
        let document = Arc::new(url.clone());
        let setting = Setting { source: self.source, document: &document, object: &object, image: &image.name };
        let referrer = node.described.digest.to_string();
        let mut findings = Collected::default();
        let mut push = |descriptor: Descriptor, role| {
            let engines = templates::engines_of(setting, &descriptor, &node.engines, &mut findings);
            let described = Described::new(descriptor);
            children.push(Node { described, engines, role, referrer: referrer.clone() });
        };
        self.remember(image, &node.described, &links);
        let config = links.config.as_ref().map(|config| config.digest.clone());
        for child in links.children {
            let is_config = Some(&child.digest) == config.as_ref() && media_type::is_image_config(&child.media_type);
            let platform = node.described.platform.clone().filter(|_| is_config);
            push(child, platform.map_or(Role::Part, |platform| Role::Config(*platform)));
        }
        if let Some(subject) = links.subject {
            push(subject, Role::Subject);
        }
        image.merge(findings);
        children
    }

    /// Adds what a manifest refers to, if the site has the registry view.
    fn remember(&self, image: &Image, described: &Described, links: &Links) {
        if self.repository(image).is_some() {
            let Described { digest, size, media_type, .. } = described;
            lock(&image.met).add_links(&Descriptor::new(media_type, digest.clone(), *size), links);
        }
    }

    /// Compares an image's config with the platform in the descriptor of its manifest.
    fn config(&self, image: &Image, node: &Node, url: &Url, expected: &Platform) {
        let Some(bytes) = self.bytes(image, node, url) else { return };
        let object = self.source.object(url);
        image.extend(manifest::check_platform(&object, &bytes, expected));
    }

    /// The verified bytes of a small blob.
    fn bytes(&self, image: &Image, node: &Node, url: &Url) -> Option<Verified> {
        let Described { digest, size, media_type, .. } = &node.described;
        let object = || self.source.object(url);
        let fault = |fault: Fault| fault.finding(object(), &node.expected(), &rule::BLOB_MISSING);
        let descriptor = Descriptor::new(media_type, digest.clone(), *size);
        let result = match self.source.open(url, *size) {
            Err(error) => Err(fault(error)),
            Ok(reader) => Verified::read(reader, &descriptor).map_err(|error| match error {
                ReadError::Content(error) => Some(content_finding(object(), &error)),
                ReadError::Io(error) => fault(self.source.read_fault(error)),
                ReadError::TooLarge { .. } => fault(Fault::TooLarge { limit: MAX_MANIFEST_BYTES }),
            }),
        };
        match result {
            Ok(bytes) => Some(bytes),
            Err(finding) => {
                image.extend(finding);
                image.mark_incomplete();
                None
            }
        }
    }

    fn read(&self, image: &Image, node: &Node, url: Url) {
        let Described { digest, size, .. } = &node.described;
        let blob = Blob { url, digest: digest.clone(), size: *size };
        match &self.deep {
            Some(deep) => deep.meet(self.source, blob, &image.text, self.findings),
            None => image.extend(deep::check(self.source, &blob)),
        }
    }
}

impl Image {
    fn new(name: ImageName, attempt: usize) -> Image {
        Image {
            text: name.to_string().into(),
            name,
            attempt,
            seen: Seen::new(),
            findings: Mutex::default(),
            held: Mutex::default(),
            indexes: Mutex::default(),
            entries: AtomicU64::new(0),
            elsewhere: AtomicU64::new(0),
            open: AtomicUsize::new(1),
            is_incomplete: AtomicBool::new(false),
            met: Mutex::default(),
        }
    }

    fn push(&self, finding: Finding) {
        lock(&self.findings).push(finding);
    }

    fn extend(&self, findings: impl IntoIterator<Item = Finding>) {
        lock(&self.findings).extend(findings);
    }

    fn merge(&self, findings: Collected) {
        lock(&self.findings).merge(findings);
    }

    fn extend_with(&self, wrong: Wrong) {
        self.merge(wrong.findings);
        lock(&self.held).merge(wrong.if_listed);
    }

    /// Counts a task of the image.
    fn task(self: &Arc<Image>, task: impl FnOnce(Arc<Image>) -> Task) -> Task {
        self.open.fetch_add(1, Relaxed);
        task(self.clone())
    }

    fn mark_incomplete(&self) {
        self.is_incomplete.store(true, Relaxed);
    }
}

impl Node {
    fn expected(&self) -> String {
        format!("{} bytes, for {}", self.described.size, self.referrer)
    }
}

fn entry_key(entry: &Descriptor) -> Key {
    key(&[entry.json()])
}

fn version(document: &SourceDocument) -> Key {
    let digest = oci_discovery::digest::Digest::of(oci_discovery::digest::Algorithm::Sha256, &document.bytes);
    key(&[digest.as_str()])
}
