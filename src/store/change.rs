//! A document of a plan, and what becomes of it.

use super::{Document, Expected, Store, StoreError, Version};
use crate::site::{Kind, Place};

/// A document as it is going to be.
#[derive(Clone, Debug)]
pub struct PlannedDocument {
    /// Where it goes.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes.
    pub size: u64,
    /// What happens to it.
    pub change: Change,
}

/// What happens to a document.
#[derive(Clone, Debug)]
pub enum Change {
    /// It has the right bytes already, in this version.
    Keep(Version),
    /// It is missing, and gets these bytes.
    Create(Vec<u8>),
    /// It gets these bytes, if it still has the version that was read.
    Replace(Vec<u8>, Version),
}

impl PlannedDocument {
    /// A document that gets these bytes in place of those that it has, if any.
    pub fn new(place: Place, kind: Kind, bytes: Vec<u8>, found: Option<Document>) -> PlannedDocument {
        let size = bytes.len() as u64;
        let change = match found {
            None => Change::Create(bytes),
            Some(found) if found.bytes == bytes => Change::Keep(found.version),
            Some(found) => Change::Replace(bytes, found.version),
        };
        PlannedDocument { place, kind, size, change }
    }

    /// A document that stays as it is.
    pub fn unchanged(place: Place, kind: Kind, found: Document) -> PlannedDocument {
        let size = found.bytes.len() as u64;
        PlannedDocument { place, kind, size, change: Change::Keep(found.version) }
    }

    /// The bytes that it gets. None: it has them already.
    pub fn new_bytes(&self) -> Option<&[u8]> {
        match &self.change {
            Change::Keep(_) => None,
            Change::Create(bytes) | Change::Replace(bytes, _) => Some(bytes),
        }
    }

    /// Writes the document, if it changes, to the store of its place. Gives whether it was written.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: another writer changed it since the plan was made.
    pub fn write(&self, store: &dyn Store) -> Result<bool, StoreError> {
        let (bytes, expected) = match &self.change {
            Change::Keep(_) => return Ok(false),
            Change::Create(bytes) => (bytes, Expected::Absent),
            Change::Replace(bytes, version) => (bytes, Expected::Version(version.clone())),
        };
        store.write_document(&self.place.path, &self.kind, bytes, &expected)?;
        Ok(true)
    }

    /// Refuses a document that stays as it is when another writer changed it since the plan was made: what else the plan has
    /// may follow from it. (A document that is written is compared then.)
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: it was changed.
    pub fn refuse_change(&self, store: &dyn Store, limit: u64) -> Result<(), StoreError> {
        let Change::Keep(version) = &self.change else { return Ok(()) };
        if store.has_lock() {
            return Ok(());
        }
        let found = store.read_document(&self.place.path, limit)?;
        match found.is_some_and(|found| found.version == *version) {
            true => Ok(()),
            false => Err(StoreError::Conflict { path: self.place.path.clone() }),
        }
    }
}
