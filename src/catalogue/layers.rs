//! Which images have a layer.
//!
//! A page marks the layers that some other image has, too. Its own document does not say so: then publishing one image would
//! change the documents and pages of others. Who has what stands in documents of their own, one for all layers whose digests
//! begin alike. The script of a page asks them when the page is opened; they answer "which images have this layer?" for
//! programs, too.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::VERSION;
use oci_discovery::digest::Digest;
use oci_discovery::json;
use oci_discovery::name::ImageName;

/// The images that have certain layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayersDocument {
    /// The version of the form.
    catalogue: u32,
    /// The images that have a layer, which are at least one.
    layers: BTreeMap<Digest, Owners>,
}

impl Default for LayersDocument {
    fn default() -> LayersDocument {
        LayersDocument { catalogue: VERSION, layers: BTreeMap::new() }
    }
}

impl LayersDocument {
    /// Reads the document. None: it is of another form, and says nothing.
    pub fn parse(bytes: &[u8]) -> Option<LayersDocument> {
        json::parse_as(bytes, json::MAX_LIST_BYTES)
            .ok()
            .filter(|document: &LayersDocument| document.catalogue == VERSION)
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::canonical(self)
    }

    /// Notes that an image has a layer.
    pub fn add(&mut self, layer: &Digest, image: &ImageName) {
        self.layers.entry(layer.clone()).or_default().insert(image);
    }

    /// Notes that an image does not have a layer any more.
    pub fn remove(&mut self, layer: &Digest, image: &ImageName) {
        if let Some(owners) = self.layers.get_mut(layer) {
            owners.remove(image);
            if owners.0.is_empty() {
                self.layers.remove(layer);
            }
        }
    }

    /// Notes that an image has none of the layers.
    pub fn forget(&mut self, image: &ImageName) {
        self.layers.values_mut().for_each(|owners| owners.remove(image));
        self.layers.retain(|_, owners| !owners.0.is_empty());
    }
}

/// The images that have a layer: a sorted list, and not a tree, because most layers have one owner, for which a tree takes ten
/// times the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<ImageName>")]
struct Owners(Vec<ImageName>);

impl Owners {
    fn insert(&mut self, image: &ImageName) {
        if let Err(position) = self.0.binary_search(image) {
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            self.0.insert(position, image.clone());
        }
    }

    fn remove(&mut self, image: &ImageName) {
        if let Ok(position) = self.0.binary_search(image) {
            self.0.remove(position);
        }
    }
}

impl From<Vec<ImageName>> for Owners {
    fn from(mut images: Vec<ImageName>) -> Owners {
        images.sort();
        images.dedup();
        images.shrink_to_fit();
        Owners(images)
    }
}

/// The layers that an image gains and loses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayersChange {
    /// The image.
    pub image: ImageName,
    /// Layers that it has now, and had not.
    pub gained: Vec<Digest>,
    /// Layers that it had, and has not any more.
    pub lost: Vec<Digest>,
}

impl LayersChange {
    /// The change of an image's layers.
    pub fn between(image: &ImageName, before: &BTreeSet<Digest>, after: &BTreeSet<Digest>) -> LayersChange {
        let gained = after.difference(before).cloned().collect();
        LayersChange { image: image.clone(), gained, lost: before.difference(after).cloned().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_discovery::digest::Algorithm;
    use proptest::prelude::*;

    type Layers = BTreeSet<Digest>;

    fn name(number: u8) -> ImageName {
        ImageName::new("example.com", &format!("app{number}"), None).unwrap()
    }

    fn layer(number: u8) -> Digest {
        Digest::of(Algorithm::Sha256, &[number])
    }

    proptest! {
        #[test]
        fn a_document_says_who_has_what_however_the_site_came_about(
            steps in prop::collection::vec((0u8..5, prop::collection::btree_set(0u8..5, 0..4)), 1..12),
        ) {
            let (mut images, mut document) = (BTreeMap::<ImageName, Layers>::new(), LayersDocument::default());
            for (image, layers) in steps {
                let (image, after): (_, Layers) = (name(image), layers.into_iter().map(layer).collect());
                let before = images.insert(image.clone(), after.clone()).unwrap_or_default();
                let change = LayersChange::between(&image, &before, &after);
                change.gained.iter().for_each(|layer| document.add(layer, &image));
                change.lost.iter().for_each(|layer| document.remove(layer, &image));
            }
            let mut expected = LayersDocument::default();
            for (image, layers) in &images {
                layers.iter().for_each(|layer| expected.add(layer, image));
            }
            prop_assert_eq!(&document, &expected);
            prop_assert_eq!(LayersDocument::parse(&document.to_bytes()), Some(document));
        }
    }
}
