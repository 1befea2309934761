//! What the documents of a site lead to, and whether the site has it.
//!
//! A copy reads the documents of a site and lists its objects while others publish to it and collect garbage. So the listing may
//! lack what the documents lead to, which must not become a destination that leads to something missing, nor a reason to remove it
//! there. Documents are worked on one by one, and of what they lead to only keys are kept: a site may have millions of blobs.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{MaintenanceError, owner};
use crate::registry::view::{Tag, tags};
use crate::site::index::Index;
use crate::site::map::{BlobPlaces, MapError};
use crate::site::registry::{self, Endpoint};
use crate::site::{Place, SitePath};
use crate::store::site::Site;
use crate::store::site_image::{SiteImage, SiteImageError};
use oci_discovery::digest::{Algorithm, Digest};
use oci_discovery::name::ImageName;
use oci_discovery::oci::referrers::is_fallback_list;
use oci_discovery::oci::{Descriptor, Verified, index, manifest, media_type, walk};
use oci_discovery::parallel::{into_inner, lock};
use oci_discovery::seen::{Key, Seen, key};

/// The key of a path.
pub(super) fn path_key(path: &SitePath) -> Key {
    key(&[path.as_str()])
}

/// The referrers in a list under a fallback tag. None: the tag has another document.
pub(super) fn fallback_list(reference: &str, bytes: &[u8]) -> Option<Vec<Descriptor>> {
    is_fallback_list(reference, media_type::INDEX).then(|| index::descriptors(bytes).ok()).flatten()
}

/// The images of a site, by the paths of their indexes.
pub(super) struct Images<'a> {
    site: &'a Site,
    listed: HashMap<SitePath, &'a ImageName>,
}

impl<'a> Images<'a> {
    /// Those that the site lists; others are found by the template.
    pub(super) fn of(site: &'a Site) -> Result<Images<'a>, MapError> {
        let place = |image| Ok((site.map.index_place(image)?.path, image));
        Ok(Images { site, listed: site.images.iter().map(place).collect::<Result<_, MapError>>()? })
    }

    /// The image that the site lists and whose index has this path.
    pub(super) fn listed_at(&self, path: &SitePath) -> Option<&'a ImageName> {
        self.listed.get(path).copied()
    }

    /// The images whose index this is.
    pub(super) fn of_index(&self, path: &SitePath, index: &Index) -> Result<Vec<ImageName>, MaintenanceError> {
        if let Some(image) = self.listed_at(path) {
            return Ok(vec![image.clone()]);
        }
        let place = Place { origin: None, path: path.clone() };
        owner::images_of_index(self.site, &place, index)
    }

    /// The listed image whose index, or whose index of a ref, should be at a path.
    fn expected_at(&self, path: &SitePath) -> Option<ImageName> {
        let place = Place { origin: None, path: path.clone() };
        self.listed_at(path).cloned().or_else(|| owner::listed_image_at(self.site, &place))
    }
}

/// The position of the document that leads to a blob, and the media type. The first document counts, whichever is read first.
type DescribedType = (usize, Arc<str>);

/// The media types of blobs: one blob can be of two, in two images.
#[derive(Debug, Default)]
pub(super) struct MediaTypes {
    texts: HashSet<Arc<str>>,
    /// By the path of the image's name, which is its repository in the registry view.
    by_image: HashMap<Key, DescribedType>,
    /// For all images.
    by_digest: HashMap<Key, DescribedType>,
}

impl MediaTypes {
    /// Adds what a descriptor of an image says.
    fn add(&mut self, places: &Places<'_>, digest: &Digest, media_type: &str) {
        let described = (places.position, self.text(media_type));
        for (map, key) in [
            (&mut self.by_digest, key(&[digest.as_str()])),
            (&mut self.by_image, key(&[places.image.path(), digest.as_str()])),
        ] {
            let known = map.entry(key).or_insert_with(|| described.clone());
            if described.0 < known.0 {
                *known = described.clone();
            }
        }
    }

    fn text(&mut self, media_type: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(media_type) {
            return known.clone();
        }
        let text: Arc<str> = media_type.into();
        self.texts.insert(text.clone());
        text
    }

    /// The media type of what lies at a path.
    pub(super) fn at(&self, path: &SitePath, digest: &Digest) -> Option<&str> {
        let repository = Endpoint::parse(path.as_str()).and_then(|endpoint| endpoint.name());
        let own = repository.and_then(|name| self.by_image.get(&key(&[name, digest.as_str()])));
        own.or_else(|| self.by_digest.get(&key(&[digest.as_str()]))).map(|(_, text)| &**text)
    }
}

/// An object to which the documents of an image lead, and which the site does not have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Missing {
    pub image: ImageName,
    pub path: SitePath,
    /// Whether it is a layer that a site may lack, because its descriptor says where else to get it.
    pub is_foreign: bool,
}

/// What documents lead to, as it is found.
pub(super) struct Reaching<'a> {
    site: &'a Site,
    images: Images<'a>,
    /// The paths of what the site has.
    had: Seen,
    /// Whether media types are kept.
    keeps_media_types: bool,
    /// In the registry view: digests, by repository.
    digests: Seen,
    found: Mutex<Reached>,
}

/// What documents lead to.
#[derive(Default)]
pub(super) struct Reached {
    /// The paths.
    pub paths: Seen,
    pub media_types: MediaTypes,
    /// In the order of image and path.
    pub missing: Vec<Missing>,
}

/// The places of what an image leads to.
struct Places<'a> {
    image: &'a ImageName,
    /// The position of the document that leads there.
    position: usize,
    blobs: BlobPlaces,
    /// The repository of the registry view. None: the view omits the image.
    repository: Option<&'a str>,
}

impl Places<'_> {
    /// Where a blob is: in the CAS, and in the registry view.
    fn of(&self, Descriptor { digest, media_type, .. }: &Descriptor) -> Result<Vec<SitePath>, MaintenanceError> {
        let mut paths = vec![self.blobs.place(digest)?.path];
        if let Some(name) = self.repository {
            paths.extend(registry::blob_names(name, digest, media_type)?);
        }
        Ok(paths)
    }
}

impl<'a> Reaching<'a> {
    /// Begins with the paths of what a site has, and the images that it lists.
    pub(super) fn new(site: &'a Site, had: Seen, keeps_media_types: bool) -> Result<Reaching<'a>, MaintenanceError> {
        let images = Images::of(site)?;
        let reaching = Reaching { site, images, had, keeps_media_types, digests: Seen::new(), found: Mutex::default() };
        for (path, image) in &reaching.images.listed {
            reaching.note(image, std::slice::from_ref(path), false);
        }
        Ok(reaching)
    }

    /// What was found.
    pub(super) fn finish(self) -> Reached {
        let mut reached = into_inner(self.found);
        reached.missing.sort();
        reached.missing.dedup();
        reached
    }

    fn found(&self) -> MutexGuard<'_, Reached> {
        lock(&self.found)
    }

    /// Records paths of one object, and the first of them that is missing.
    fn note(&self, image: &ImageName, paths: &[SitePath], is_foreign: bool) {
        if let Some(path) = paths.iter().find(|path| !self.had.contains(path_key(path))) {
            let mut found = self.found();
            found.paths.insert(path_key(path));
            found.missing.push(Missing { image: image.clone(), path: path.clone(), is_foreign });
        }
    }

    fn repository<'n>(&self, image: &'n ImageName) -> Option<&'n str> {
        (self.site.map.settings().views.registry && registry::is_name(image.path())).then_some(image.path())
    }

    /// Goes through what an index leads to.
    pub(super) fn index(&self, position: usize, path: &SitePath, bytes: &[u8]) -> Result<(), MaintenanceError> {
        let index = match Index::parse(bytes) {
            Ok(index) => index,
            // A template may be so wide that any file stands where an index could; one that is no index leads to nothing.
            Err(source) => {
                let Some(image) = self.images.expected_at(path) else { return Ok(()) };
                return Err(SiteImageError::Index { path: path.clone(), image, source }.into());
            }
        };
        let entries: Vec<Descriptor> = index.entries().iter().filter_map(|entry| entry.descriptor().ok()).collect();
        for image in self.images.of_index(path, &index)? {
            let mut roots = entries.clone();
            if let Some(name) = self.repository(&image) {
                for (reference, Tag { digest, size, media_type, index }) in tags(index.entries()) {
                    if index.is_some() && self.had.contains(path_key(&registry::manifest_path(name, &reference)?)) {
                        roots.push(Descriptor::new(&media_type, digest, size));
                    }
                }
            }
            self.graph(self.places(&image, position)?, roots)?;
        }
        Ok(())
    }

    /// Goes through what a tag leads to, unless an index was found to lead there. The tags of a publish into a directory come before
    /// its index, so a publish that was killed leaves some that no index has.
    pub(super) fn tag(&self, position: usize, path: &SitePath, bytes: &[u8]) -> Result<(), MaintenanceError> {
        let (name, reference, described) = match Endpoint::parse(path.as_str()) {
            Some(Endpoint::Manifest { name, reference }) => (name, reference, ""),
            Some(Endpoint::TypedManifest { name, reference, media_type }) => (name, reference, media_type),
            _ => return Ok(()),
        };
        let Some(image) = owner::image_at(&self.site.map, name) else { return Ok(()) };
        let is_reached = |digest: &Digest| self.digests.contains(key(&[name, digest.as_str()]));
        let digests = Algorithm::ALL.map(|algorithm| Digest::of(algorithm, bytes));
        if digests.iter().any(is_reached) {
            return Ok(());
        }
        let mut original = None;
        for digest in &digests {
            let paths = [registry::manifest_path(name, digest.as_str())?, registry::blob_path(name, digest)?];
            let is_there = paths.iter().any(|path| self.had.contains(path_key(path)));
            original = original.or(is_there.then_some(digest));
        }
        let places = self.places(&image, position)?;
        let [first, ..] = &digests;
        if original.is_none()
            && let Some(mut referrers) = fallback_list(reference, bytes)
        {
            if self.keeps_media_types {
                self.found().media_types.add(&places, first, media_type::INDEX);
            }
            referrers.retain(|referrer| !is_reached(&referrer.digest));
            return self.graph(places, referrers);
        }
        let own = Descriptor::new(described, original.unwrap_or(first).clone(), bytes.len() as u64);
        // One that is no manifest leads to nothing.
        let Some(links) = Verified::read(bytes, &own).ok().and_then(|bytes| manifest::links(described, &bytes).ok())
        else {
            return Ok(());
        };
        let media_type = links.type_or(described);
        if !media_type::holds_descriptors(media_type) {
            return Ok(());
        }
        self.graph(places, vec![Descriptor::new(media_type, own.digest, own.size)])
    }

    /// Goes through what a list of referrers leads to. The subject may be missing: a client may ask for its referrers all the same.
    pub(super) fn referrers(&self, position: usize, path: &SitePath, bytes: &[u8]) -> Result<(), MaintenanceError> {
        let Some(Endpoint::Referrers { name, .. }) = Endpoint::parse(path.as_str()) else { return Ok(()) };
        match (owner::image_at(&self.site.map, name), index::descriptors(bytes)) {
            (Some(image), Ok(referrers)) => self.graph(self.places(&image, position)?, referrers),
            _ => Ok(()),
        }
    }

    /// Looks for the tags in a list of tags.
    pub(super) fn tags_list(&self, path: &SitePath, bytes: &[u8]) -> Result<(), MaintenanceError> {
        let Some(Endpoint::TagsList { name } | Endpoint::TagsAfter { name, .. }) = Endpoint::parse(path.as_str())
        else {
            return Ok(());
        };
        let Some(image) = owner::image_at(&self.site.map, name) else { return Ok(()) };
        for tag in registry::listed_tags(bytes).iter().filter(|tag| registry::is_tag(tag)) {
            self.note(&image, &[registry::manifest_path(name, tag)?], false);
        }
        Ok(())
    }

    fn places<'n>(&self, image: &'n ImageName, position: usize) -> Result<Places<'n>, MapError> {
        let (blobs, repository) = (self.site.map.blob_places(image)?, self.repository(image));
        Ok(Places { image, position, blobs, repository })
    }

    /// Visits what descriptors reach, themselves included. Only manifests are read: the listing tells of layers.
    fn graph(&self, places: Places<'_>, roots: Vec<Descriptor>) -> Result<(), MaintenanceError> {
        let published = SiteImage { site: self.site, image: places.image };
        let links = |descriptor: &Descriptor| match manifest::may_hold_descriptors(&descriptor.media_type) {
            true => Ok(published.links(descriptor)?),
            false => Ok(None),
        };
        walk::reach(&Seen::new(), roots, links, |descriptor, _| self.blob(&places, descriptor))
    }

    fn blob(&self, places: &Places<'_>, descriptor: &Descriptor) -> Result<(), MaintenanceError> {
        let paths = places.of(descriptor)?;
        if let Some(name) = places.repository {
            self.digests.insert(key(&[name, descriptor.digest.as_str()]));
        }
        if self.keeps_media_types {
            self.found().media_types.add(places, &descriptor.digest, &descriptor.media_type);
        }
        self.note(places.image, &paths, descriptor.is_foreign());
        let found = self.found();
        for path in &paths {
            found.paths.insert(path_key(path));
        }
        Ok(())
    }
}
