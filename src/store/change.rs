//! Documents of a plan, and whether they change.

use super::{Conflict, Expected, Store, StoreError, StoredDocument, Version};
use crate::site::{Kind, Place};

/// A planned document.
#[derive(Clone, Debug)]
pub struct PlannedDocument {
    pub place: Place,
    pub kind: Kind,
    /// In bytes.
    pub size: u64,
    pub change: Change,
}

/// The change of a document.
#[derive(Clone, Debug)]
pub enum Change {
    /// No change: the version has the right bytes.
    Keep(Version),
    /// The document is missing, and gets these bytes.
    Create(Vec<u8>),
    /// The document gets these bytes, if it still has the version.
    Replace(Vec<u8>, Version),
}

impl PlannedDocument {
    /// A document that gets `bytes`, compared with the version found.
    pub fn new(place: Place, kind: Kind, bytes: Vec<u8>, found: Option<StoredDocument>) -> PlannedDocument {
        let size = bytes.len() as u64;
        let change = match found {
            None => Change::Create(bytes),
            Some(found) if found.bytes == bytes => Change::Keep(found.version),
            Some(found) => Change::Replace(bytes, found.version),
        };
        PlannedDocument { place, kind, size, change }
    }

    /// A document that does not change.
    pub fn unchanged(place: Place, kind: Kind, found: StoredDocument) -> PlannedDocument {
        let size = found.bytes.len() as u64;
        PlannedDocument { place, kind, size, change: Change::Keep(found.version) }
    }

    /// The new bytes. None: the document does not change.
    pub fn new_bytes(&self) -> Option<&[u8]> {
        match &self.change {
            Change::Keep(_) => None,
            Change::Create(bytes) | Change::Replace(bytes, _) => Some(bytes),
        }
    }

    /// Writes the document, if it changes, to the store of its place. Returns whether it was written.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: another writer changed it since the plan was made.
    pub fn write(&self, store: &dyn Store) -> Result<bool, StoreError> {
        let (bytes, expected) = match &self.change {
            Change::Keep(_) => {
                store.keep_document(&self.place.path, &self.kind)?;
                return Ok(false);
            }
            Change::Create(bytes) => (bytes, Expected::Absent),
            Change::Replace(bytes, version) => (bytes, Expected::Version(version.clone())),
        };
        store.write_document(&self.place.path, &self.kind, bytes, &expected)?;
        Ok(true)
    }

    /// Fails if another writer changed a document that the plan keeps: the plan may depend on its content. (A write
    /// compares versions itself.)
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: the document changed.
    pub fn refuse_change(&self, store: &dyn Store, limit: u64) -> Result<(), StoreError> {
        match self.change {
            Change::Keep(_) => self.refuse_successor(store, limit),
            Change::Create(_) | Change::Replace(..) => Ok(()),
        }
    }

    /// Fails if another writer changed the document since this plan wrote or kept it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: the document changed.
    pub fn refuse_successor(&self, store: &dyn Store, limit: u64) -> Result<(), StoreError> {
        if store.has_lock() {
            return Ok(());
        }
        let found = store.read_document(&self.place.path, limit)?;
        let is_same = found.is_some_and(|found| match &self.change {
            Change::Keep(version) => found.version == *version,
            Change::Create(bytes) | Change::Replace(bytes, _) => found.bytes == *bytes,
        });
        if is_same { Ok(()) } else { Err(Conflict { path: self.place.path.clone() }.into()) }
    }
}
