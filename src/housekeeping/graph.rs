//! The graph of an image that is published: from an entry of its index to every blob, through the site's own CAS.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use super::HousekeepingError;
use crate::digest::{ContentError, Digest, VerifyingReader};
use crate::json::{MAX_INDEX_BYTES, MAX_MANIFEST_BYTES};
use crate::name::ImageName;
use crate::oci::Descriptor;
use crate::oci::manifest::{self, Links};
use crate::publish::Site;
use crate::site::index::Index;
use crate::store::{Expected, StoreError};

/// One image of a site.
#[derive(Clone, Copy)]
pub struct Published<'a> {
    /// The site.
    pub site: &'a Site,
    /// The image.
    pub image: &'a ImageName,
}

impl Published<'_> {
    /// The index of the image, and what it has to be when it is written again. None: there is none.
    pub fn index(&self) -> Result<Option<(Index, Expected)>, HousekeepingError> {
        let place = self.site.map.index_place(self.image)?;
        let Some(document) = self.site.store(place.origin).read_document(&place.path, MAX_INDEX_BYTES)? else {
            return Ok(None);
        };
        let index = Index::parse(&document.bytes)
            .map_err(|source| HousekeepingError::Index { path: place.path.to_string(), source })?;
        Ok(Some((index, Expected::Version(document.version))))
    }

    /// What a blob links to, read from the site and checked. None: the site does not have it, which may be meant.
    ///
    /// # Errors
    /// It is there, and is damaged: then nobody knows what it links to.
    pub fn links(&self, descriptor: &Descriptor) -> Result<Option<Links>, HousekeepingError> {
        let Descriptor { media_type, digest, size, .. } = descriptor;
        let place = self.site.map.blob_place(self.image, digest)?;
        let store = self.site.store(place.origin);
        let is_leaf =
            !manifest::may_hold_descriptors(media_type) || (media_type.is_empty() && *size > MAX_MANIFEST_BYTES);
        if is_leaf {
            return Ok(store.stat(&place.path)?.map(|_| Links::default()));
        }
        if *size > MAX_MANIFEST_BYTES {
            let (path, limit) = (place.path.as_str().into(), MAX_MANIFEST_BYTES);
            return Err(StoreError::TooLarge { path, limit }.into());
        }
        let Some(reader) = store.open(&place.path)? else { return Ok(None) };
        let path = place.path.to_string();
        let mut bytes = Vec::new();
        VerifyingReader::new(reader, digest, *size).read_to_end(&mut bytes).map_err(|error| match ContentError::of(
            &error,
        ) {
            Some(problem) => HousekeepingError::Damaged { path: path.clone(), source: problem.clone() },
            None => StoreError::Io { action: "read", path: Path::new(&store.name()).join(&path), source: error }.into(),
        })?;
        manifest::links(media_type, &bytes).map(Some).map_err(|source| HousekeepingError::Manifest { path, source })
    }

    /// Visits every blob that a descriptor reaches, itself included, in the order of the documents, with what it links to; None for one that is not there.
    /// `subject` is not followed.
    pub fn reach(
        &self,
        root: Descriptor,
        visit: &mut dyn FnMut(&Descriptor, Option<&Links>),
    ) -> Result<(), HousekeepingError> {
        let mut seen: HashSet<Digest> = HashSet::new();
        let mut todo = vec![root];
        while let Some(descriptor) = todo.pop() {
            if !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            let links = self.links(&descriptor)?;
            visit(&descriptor, links.as_ref());
            todo.extend(links.into_iter().flat_map(|links| links.children).rev());
        }
        Ok(())
    }
}
