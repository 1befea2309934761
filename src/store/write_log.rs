//! Writes documents of a site, and counts them.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;

use super::change::PlannedDocument;
use super::site::Site;
use super::{StoreError, Written};
use crate::progress::Progress;
use crate::site::Place;
use oci_discovery::parallel;
use oci_discovery::parallel::lock;
use serde::Serialize;

/// A number of objects, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub objects: u64,
    pub bytes: u64,
}

impl Count {
    /// Adds one object.
    pub fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }

    /// The difference, at least 0.
    pub fn without(self, other: Count) -> Count {
        Count { objects: self.objects.saturating_sub(other.objects), bytes: self.bytes.saturating_sub(other.bytes) }
    }

    pub fn join(&mut self, other: Count) {
        self.objects += other.objects;
        self.bytes += other.bytes;
    }
}

/// The documents that a command writes, over all its attempts.
pub struct WriteLog<'a> {
    progress: &'a dyn Progress,
    /// Whether each document was written, and its size in bytes.
    documents: Mutex<BTreeMap<Place, (bool, u64)>>,
}

impl<'a> WriteLog<'a> {
    pub fn new(progress: &'a dyn Progress) -> WriteLog<'a> {
        WriteLog { progress, documents: Mutex::default() }
    }

    /// Writes the documents that change, in any order.
    pub fn write_all<'d, I>(&self, site: &Site, documents: I, jobs: NonZeroUsize) -> Result<(), StoreError>
    where
        I: IntoIterator<Item = &'d PlannedDocument, IntoIter: ExactSizeIterator + Send>,
    {
        parallel::map(documents, jobs, |document| self.write(site, document))?;
        Ok(())
    }

    /// Writes a document, if it changes.
    pub fn write(&self, site: &Site, document: &PlannedDocument) -> Result<(), StoreError> {
        let is_written = document.write(site.store(document.place.origin))?;
        self.add(site, document.place.clone(), is_written, document.size);
        Ok(())
    }

    /// Records a document, written or unchanged.
    pub fn add(&self, site: &Site, place: Place, is_written: bool, bytes: u64) {
        if is_written {
            self.tell(site, Written::Copied, &place);
        }
        let mut documents = lock(&self.documents);
        let entry = documents.entry(place).or_default();
        *entry = (entry.0 || is_written, bytes);
    }

    /// Reports an object as written.
    pub fn tell(&self, site: &Site, how: Written, place: &Place) {
        let how = match how {
            Written::Copied => "written",
            Written::Linked => "linked",
        };
        self.progress.wrote(&format_args!("{how:7}  {}", site.map.show(place)));
    }

    /// The documents, with whether they were written, and their size.
    pub fn documents(&self) -> BTreeMap<Place, (bool, u64)> {
        lock(&self.documents).clone()
    }

    /// The number of written documents.
    pub fn count_written(&self) -> u64 {
        let documents = lock(&self.documents);
        documents.values().filter(|(is_written, _)| *is_written).count() as u64
    }
}
