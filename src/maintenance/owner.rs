//! Whose an index is that is not the whole index of a listed image: an image that a publish was killed before it listed, or a ref
//! of an image.
//!
//! What an index leads to lies where its image has it. Taken for the index of another image, all that it leads to would seem to be
//! missing from one place and unneeded in the other. A path can be read as several names, so the answer takes the document and what
//! the site has, too, and none is guessed.

use super::MaintenanceError;
use crate::site::index::Index;
use crate::site::{Place, SiteMap};
use crate::store::site::Site;
use oci_discovery::name::ImageName;

/// The images whose index a document can be: more than one, if each of them has something to which the document leads.
///
/// # Errors
/// The image cannot be told, so nothing is known of what the index needs.
pub(super) fn images_of_index(site: &Site, place: &Place, index: &Index) -> Result<Vec<ImageName>, MaintenanceError> {
    let known = names(site, place, Some(index));
    if site.map.cas_is_shared() {
        // One pool serves all images, so any will do.
        return if known.is_empty() { Ok(vec![any_image(site)?]) } else { Ok(known) };
    }
    let mut owners = Vec::new();
    for image in &known {
        let blobs = site.map.blob_places(image)?;
        for entry in index.entries() {
            let blob = blobs.place(&entry.digest)?;
            if site.store(blob.origin).stat(&blob.path)?.is_some() {
                owners.push(image.clone());
                break;
            }
        }
    }
    if owners.is_empty() {
        // A site may lack what a listed image needs (`--allow-missing`), and the image's own index leads to it as well.
        owners = known.into_iter().filter(|image| is_listed(site, image)).collect();
    }
    match owners.is_empty() && !index.entries().is_empty() {
        true => Err(MaintenanceError::UnknownImage { object: format!("the index {}", site.map.show(place)) }),
        false => Ok(owners),
    }
}

/// The listed image whose index, or whose index of a ref, a document at a place should be that is no index.
pub(super) fn listed_image_at(site: &Site, place: &Place) -> Option<ImageName> {
    names(site, place, None).into_iter().find(|image| is_listed(site, image))
}

fn is_listed(site: &Site, image: &ImageName) -> bool {
    site.images.binary_search(image).is_ok()
}

/// The images that the path of an index tells, and those that the document agrees with.
fn names(site: &Site, place: &Place, index: Option<&Index>) -> Vec<ImageName> {
    let map = &site.map;
    let names = index.map_or_else(|| map.names_at(&place.path), |index| map.names_of(&place.path, index));
    let mut images: Vec<ImageName> = names.iter().map(ImageName::image).collect();
    if images.is_empty() {
        let may_have = |image: &&ImageName| map.ref_places(image).is_some_and(|places| places.may_have(place));
        images = site.images.iter().filter(may_have).cloned().collect();
    }
    images.dedup();
    images
}

fn any_image(site: &Site) -> Result<ImageName, MaintenanceError> {
    let object = || format!("an index of the host {}", host(&site.map));
    image_at(&site.map, "any").ok_or_else(|| MaintenanceError::UnknownImage { object: object() })
}

/// The image of a path: at the host of a site that has one, because the registry view and one pool of blobs name no hosts.
pub(super) fn image_at(map: &SiteMap, path: &str) -> Option<ImageName> {
    ImageName::new(host(map), path, None).ok()
}

fn host(map: &SiteMap) -> &str {
    map.settings().hosts.first().map_or("example.com", String::as_str)
}
