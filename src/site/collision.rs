//! Which names one site can have. Each image needs an index of its own at a path that no other name leads to, on file systems that
//! ignore case, too. A publish and a copy ask here before they write anything.

use std::collections::BTreeMap;

use super::index::{Index, by_ref};
use super::map::{MapError, RefPlaces, SiteMap};
use super::{Place, SitePath};
use oci_discovery::name::ImageName;

/// Two names that cannot be in one site.
#[derive(Debug, thiserror::Error)]
pub enum Collision {
    /// A name has no place in the site.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A file and a directory of one name.
    #[error(
        "{first} and {second} cannot be in one site: the index of the first is the file {path}, and the second needs \
         a directory at this path; choose another name for one of them, or publish both to a new site with \
         --index-template 'https://{{host}}/oci-index/{{+path}}/index.json'"
    )]
    FileAndDirectory {
        /// The image whose index is a file.
        first: ImageName,
        /// The image that needs a directory there.
        second: ImageName,
        /// The path.
        path: SitePath,
    },
    /// One path for two images.
    #[error(
        "{first} and {second} would share the index {path}{}; choose another name for one of them, or publish both \
         to a new site with another --index-template, or with --root-per-host if they have different hosts",
        if *.only_case { " on a file system that ignores case" } else { "" }
    )]
    SamePath {
        /// One image.
        first: ImageName,
        /// The other.
        second: ImageName,
        /// The path of the first.
        path: SitePath,
        /// Whether their paths differ in case.
        only_case: bool,
    },
    /// Names of several hosts in one root that does not tell them apart.
    #[error(
        "{first} and {second} have different hosts, but paths of the index template {template} have no {{host}}: \
         each host would serve the other's images; keep each host in a site of its own (`ocisite publish --root-per-host`), or \
         publish both to a new site with --index-template 'https://{{host}}/oci-index/{{host}}/{{+path}}'"
    )]
    SeveralHosts {
        /// A name of one host.
        first: String,
        /// A name of another.
        second: String,
        /// The template.
        template: String,
    },
    /// Two hosts cannot share one `v2/`.
    #[error(
        "a site with the registry view has images of one host only, found {first} and {second}: publish each host to \
         a site of its own with --root-per-host"
    )]
    HostsOfRegistry {
        /// One host.
        first: String,
        /// The other.
        second: String,
    },
}

/// Refuses images that cannot be in one site: `new` beside `known`, which are sorted, with all `hosts` of the site.
///
/// # Errors
/// The first collision. Only a new name costs anything: publishing another ref of a known image does not.
pub fn refuse_images(
    map: &SiteMap,
    hosts: &[String],
    known: &[ImageName],
    images: &[&ImageName],
) -> Result<(), Collision> {
    refuse_several_hosts(map, hosts, known.iter().chain(images.iter().copied()))?;
    let new: Vec<&ImageName> = images.iter().filter(|name| known.binary_search(name).is_err()).copied().collect();
    if new.is_empty() {
        return Ok(());
    }
    let places = known.iter().chain(new).map(|name| Ok((name.clone(), map.index_place(name)?)));
    refuse_meeting(places.collect::<Result<Vec<_>, MapError>>()?)
}

fn refuse_several_hosts<'a>(
    map: &SiteMap,
    hosts: &[String],
    names: impl Iterator<Item = &'a ImageName> + Clone,
) -> Result<(), Collision> {
    let [first, second, ..] = hosts else { return Ok(()) };
    if map.index_pattern().has("host") {
        let (first, second) = (first.clone(), second.clone());
        let is_refused = map.settings().views.registry;
        return if is_refused { Err(Collision::HostsOfRegistry { first, second }) } else { Ok(()) };
    }
    let example =
        |host: &str| names.clone().find(|name| name.host() == host).map_or(host.to_string(), ToString::to_string);
    Err(Collision::SeveralHosts {
        first: example(first),
        second: example(second),
        template: map.settings().index_template.to_string(),
    })
}

/// The places that indexes of the refs of images can have, where one can be mistaken for another image's.
pub struct RefCollisions<'a> {
    map: &'a SiteMap,
    known: Vec<(&'a ImageName, RefPlaces)>,
}

impl<'a> RefCollisions<'a> {
    /// Those of these images.
    pub fn with(map: &'a SiteMap, images: impl IntoIterator<Item = &'a ImageName>) -> RefCollisions<'a> {
        let known = images.into_iter().filter_map(|image| Some((image, map.ref_places(image)?)));
        RefCollisions { map, known: known.collect() }
    }

    /// Refuses an image if its index or that of one of its refs has no place, or one that the index of a ref of another image could
    /// have, whichever refs that has.
    ///
    /// # Errors
    /// The first collision.
    pub fn refuse(&self, image: &ImageName, index: &Index) -> Result<(), Collision> {
        if !self.map.has_ref_indexes() {
            return Ok(());
        }
        let mut places = Vec::new();
        let refs = by_ref(index.entries()).into_keys();
        for name in refs.filter_map(|reference| self.map.ref_index_name(image, reference)).chain([image.clone()]) {
            let place = self.map.index_place(&name)?;
            let mut others = self.known.iter().filter(|(other, _)| *other != image);
            if let Some((other, _)) = others.find(|(_, places)| places.may_have(&place)) {
                let (first, second, path) = (ImageName::clone(other), name, place.path);
                return Err(Collision::SamePath { first, second, path, only_case: false });
            }
            places.push((name, place));
        }
        // The image comes first, as the one that has the others.
        places.rotate_right(1);
        refuse_meeting(places)
    }
}

/// Refuses indexes that would meet: at one path, at paths that differ in case, or one above the other.
fn refuse_meeting(names: Vec<(ImageName, Place)>) -> Result<(), Collision> {
    type FoldedPlace = (Option<usize>, Vec<String>);
    let mut places: BTreeMap<FoldedPlace, (ImageName, SitePath)> = BTreeMap::new();
    for (name, place) in names {
        let folded: Vec<String> = place.path.folded().split('/').map(str::to_string).collect();
        let same = places.insert((place.origin, folded), (name.clone(), place.path.clone()));
        if let Some((first, path)) = same {
            return Err(Collision::SamePath { first, second: name, only_case: path != place.path, path });
        }
    }
    // Sorted by segments, a path stands directly before the paths below it.
    let sorted: Vec<_> = places.iter().collect();
    for pair in sorted.windows(2) {
        let [((origin, above), (first, path)), ((other_origin, below), (second, _))] = pair else { continue };
        if origin == other_origin && below.starts_with(above) {
            let (first, second, path) = ((*first).clone(), (*second).clone(), path.clone());
            return Err(Collision::FileAndDirectory { first, second, path });
        }
    }
    Ok(())
}
