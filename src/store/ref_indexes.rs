//! The indexes of refs, where the index template depends on the ref: each has the entries of its ref, as the index of the image
//! has them.
//!
//! They follow from the index of the image, which is what is merged, compared and read back. Whatever changes that index changes
//! these through [`RefIndexes`].

use std::num::NonZeroUsize;

use super::change::PlannedDocument;
use super::site::Site;
use super::site_image::SiteImageError;
use crate::site::index::{IndexChange, by_ref};
use crate::site::{Kind, Place};
use oci_discovery::name::ImageName;
use oci_discovery::parallel;

/// What becomes of the indexes of refs.
#[derive(Debug, Default)]
pub struct RefIndexes {
    /// Those that the refs have, in any order.
    pub documents: Vec<PlannedDocument>,
    /// Those of refs that are gone.
    pub removals: Vec<Place>,
}

impl RefIndexes {
    /// What follows from the change of one image: the indexes of the refs whose entries differ, and of those that are written in
    /// any case, because an earlier command may have been interrupted before it wrote them.
    pub fn of(
        site: &Site,
        image: &ImageName,
        change: &IndexChange,
        in_any_case: impl Fn(&str) -> bool,
        jobs: NonZeroUsize,
    ) -> Result<RefIndexes, SiteImageError> {
        if !site.map.has_ref_indexes() {
            return Ok(RefIndexes::default());
        }
        let (before, after) = (by_ref(&change.before), by_ref(change.after.entries()));
        let is_changed = |reference: &str| in_any_case(reference) || before.get(reference) != after.get(reference);
        let names = after
            .iter()
            .filter(|(reference, _)| is_changed(reference))
            .filter_map(|(reference, entries)| Some((site.map.ref_index_name(image, reference)?, entries)));
        let plan = |(name, entries): (ImageName, &Vec<_>)| -> Result<PlannedDocument, SiteImageError> {
            let place = site.map.index_place(&name)?;
            Ok(site.planned(place, Kind::Index, change.after.bytes_of(entries))?)
        };
        let documents = parallel::map(names.collect::<Vec<_>>(), jobs, plan)?;
        let gone = before.keys().filter(|reference| !after.contains_key(*reference));
        let names = gone.filter_map(|reference| site.map.ref_index_name(image, reference));
        // A name without a place has no index. An existing site may have such refs, and can lose them.
        let removals = names.filter_map(|name| site.map.index_place(&name).ok()).collect();
        Ok(RefIndexes { documents, removals })
    }

    /// Adds those of another image.
    pub fn extend(&mut self, other: RefIndexes) {
        self.documents.extend(other.documents);
        self.removals.extend(other.removals);
    }

    /// Whether there is anything to write or to remove.
    pub fn changes_something(&self) -> bool {
        !self.removals.is_empty() || self.documents.iter().any(|document| document.new_bytes().is_some())
    }
}
