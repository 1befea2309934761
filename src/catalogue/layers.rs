//! Which images have a layer in common.
//!
//! A page marks the layers that some other image has, too. It does not say how many: then every page with a common base
//! layer would change with each new image. As it is, publishing an image changes at most one other page per layer, when
//! that layer gets its second owner. Who has what stands in documents of their own, one for all layers whose digests begin
//! alike, which also answer "which images have this layer?" for programs.

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
    /// Who has which layer. A layer that nobody has is not there.
    pub layers: BTreeMap<Digest, Owners>,
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
}

/// The images that have a layer: a sorted list, and not a tree, because most layers have one owner, for which a tree takes ten
/// times the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<ImageName>")]
pub struct Owners(Vec<ImageName>);

impl Owners {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody has the layer.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an image has the layer.
    pub fn contains(&self, image: &ImageName) -> bool {
        self.0.binary_search(image).is_ok()
    }

    /// The images, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &ImageName> {
        self.0.iter()
    }

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

/// An image whose layers may have changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// The image.
    pub image: ImageName,
    /// The layers it was known to have.
    pub before: BTreeSet<Digest>,
    /// Those of them that were marked as shared.
    pub shared_before: BTreeSet<Digest>,
    /// The layers it has.
    pub after: BTreeSet<Digest>,
}

/// What follows from changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Owners of the layers that were looked at, as they are now.
    pub owners: BTreeMap<Digest, Owners>,
    /// For each changed image, its shared layers.
    pub shared: BTreeMap<ImageName, BTreeSet<Digest>>,
    /// Marks to set or take away on other images.
    pub others: BTreeMap<ImageName, BTreeMap<Digest, bool>>,
}

/// Works out who shares what after the changes. `owners` tells who had a layer before; it is asked only for layers that an
/// image gains or loses, so the cost follows the change.
///
/// # Errors
/// Those of `owners`.
pub fn share<E>(changes: &[Change], mut owners: impl FnMut(&Digest) -> Result<Owners, E>) -> Result<Outcome, E> {
    let mut outcome = Outcome::default();
    let changed: BTreeSet<&ImageName> = changes.iter().map(|change| &change.image).collect();
    let mut before: BTreeMap<&Digest, Owners> = BTreeMap::new();
    for change in changes {
        for layer in change.before.symmetric_difference(&change.after) {
            if !before.contains_key(layer) {
                let had = owners(layer)?;
                outcome.owners.insert(layer.clone(), had.clone());
                before.insert(layer, had);
            }
            let now = outcome.owners.entry(layer.clone()).or_default();
            match change.after.contains(layer) {
                true => now.insert(&change.image),
                false => now.remove(&change.image),
            };
        }
    }
    for change in changes {
        let is_shared = |layer: &&Digest| match outcome.owners.get(*layer) {
            Some(owners) => owners.len() > 1,
            None => change.shared_before.contains(*layer),
        };
        outcome.shared.insert(change.image.clone(), change.after.iter().filter(is_shared).cloned().collect());
    }
    for (layer, had) in before {
        let now = &outcome.owners[layer];
        let (was_shared, is_shared) = (had.len() > 1, now.len() > 1);
        if was_shared != is_shared {
            for other in had.iter().filter(|other| now.contains(other) && !changed.contains(other)) {
                outcome.others.entry(other.clone()).or_default().insert(layer.clone(), is_shared);
            }
        }
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_discovery::digest::Algorithm;
    use proptest::prelude::*;
    use std::convert::Infallible;

    type Layers = BTreeSet<Digest>;

    /// The state that documents hold: what each image has, and what it is marked to share.
    #[derive(Debug, Default, PartialEq)]
    struct Site {
        images: BTreeMap<ImageName, (Layers, Layers)>,
        owners: BTreeMap<Digest, Owners>,
    }

    impl Site {
        fn publish(&mut self, images: &[(ImageName, Layers)]) -> usize {
            let change = |(image, after): &(ImageName, Layers)| {
                let (before, shared_before) = self.images.get(image).cloned().unwrap_or_default();
                Change { image: image.clone(), before, shared_before, after: after.clone() }
            };
            let changes: Vec<Change> = images.iter().map(change).collect();
            let had = |layer: &Digest| Ok(self.owners.get(layer).cloned().unwrap_or_default());
            let outcome = share::<Infallible>(&changes, had).unwrap();
            for (image, after) in images {
                self.images.insert(image.clone(), (after.clone(), outcome.shared[image].clone()));
            }
            for (image, marks) in &outcome.others {
                let (_, shared) = self.images.get_mut(image).unwrap();
                for (layer, is_shared) in marks {
                    match is_shared {
                        true => shared.insert(layer.clone()),
                        false => shared.remove(layer),
                    };
                }
            }
            self.owners.extend(outcome.owners);
            self.owners.retain(|_, owners| !owners.is_empty());
            self.images.retain(|_, (layers, _)| !layers.is_empty());
            outcome.others.len()
        }
    }

    fn name(number: u8) -> ImageName {
        ImageName::new("example.com", &format!("app{number}"), None).unwrap()
    }

    fn layer(number: u8) -> Digest {
        Digest::of(Algorithm::Sha256, &[number])
    }

    #[test]
    fn only_the_first_owner_is_told_of_the_second() {
        let mut site = Site::default();
        let base: Layers = [layer(0)].into();
        assert_eq!(site.publish(&[(name(0), base.clone())]), 0);
        assert_eq!(site.publish(&[(name(1), base.clone())]), 1);
        assert_eq!(site.publish(&[(name(2), base.clone())]), 0);
        assert!(site.images.values().all(|(_, shared)| *shared == base));
    }

    proptest! {
        #[test]
        fn marks_are_true_however_the_site_came_about(
            steps in prop::collection::vec(prop::collection::vec((0u8..5, prop::collection::btree_set(0u8..5, 0..4)), 1..3), 1..8),
        ) {
            let mut site = Site::default();
            for step in steps {
                let images: BTreeMap<u8, BTreeSet<u8>> = step.into_iter().collect();
                let images: Vec<(ImageName, Layers)> =
                    images.into_iter().map(|(image, layers)| (name(image), layers.into_iter().map(layer).collect())).collect();
                site.publish(&images);
            }
            let mut at_once = Site::default();
            let all: Vec<_> = site.images.iter().map(|(name, (layers, _))| (name.clone(), layers.clone())).collect();
            at_once.publish(&all);
            prop_assert_eq!(&site, &at_once);
            for (name, (layers, shared)) in &site.images {
                let is_elsewhere = |layer: &&Digest| site.images.iter().any(|(other, (has, _))| other != name && has.contains(*layer));
                let expected: Layers = layers.iter().filter(is_elsewhere).cloned().collect();
                prop_assert_eq!(shared, &expected);
            }
        }
    }
}
