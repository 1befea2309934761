//! A note in a site that a change is in progress, so that the next change detects a killed one.
//!
//! Documents are written in an order that makes a kill harmless to readers, and the same command can be repeated. But
//! the next command may be another one, and the documents do not show which of them depend on others that were never
//! written. With the note, the catalogue is made again from the indexes, and a repeated removal accepts names that the
//! killed one removed.
//!
//! Only stores with a lock have the note. In the others, another publisher may be in the middle of a change at any
//! time, and the order of writes has to suffice.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use serde::{Deserialize, Serialize};

use super::site::SiteError;
use super::{Expected, Store, StoreError, StoredDocument};
use crate::site::{Kind, SitePath};
use oci_discovery::json;
use oci_discovery::name::ImageName;

/// The note. It is private state, which no server serves.
const PATH: &str = ".ocisite/unfinished.json";
/// The most bytes of a note that are read: some thousand names. A larger note counts as a note without names.
const MAX_BYTES: u64 = 1024 * 1024;

/// A change that was not completed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// The names that were being removed.
    #[serde(default)]
    pub removing: BTreeSet<ImageName>,
}

/// The change that was not completed. None: all changes are complete.
pub fn read(store: &dyn Store) -> Result<Option<Unfinished>, SiteError> {
    let path = SitePath::new(PATH)?;
    if !store.has_lock() {
        return Ok(None);
    }
    match store.stat(&path) {
        Ok(Some(_)) => {}
        Ok(None) => return Ok(None),
        // A user without access to the private state only reads the site.
        Err(StoreError::File(error)) if error.kind() == Some(ErrorKind::PermissionDenied) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let stored = store.read_document(&path, MAX_BYTES).ok().flatten();
    // A malformed note still shows that a change began.
    let read = |stored: StoredDocument| json::parse_as(&stored.bytes, json::MAX_VALUE_BYTES).ok();
    Ok(Some(stored.and_then(read).unwrap_or_default()))
}

/// Writes the note, before a change begins. The content of an earlier note is kept.
pub fn begin(store: &dyn Store, removing: impl IntoIterator<Item = ImageName>) -> Result<(), SiteError> {
    if !store.has_lock() {
        return Ok(());
    }
    let mut unfinished = read(store)?.unwrap_or_default();
    unfinished.removing.extend(removing);
    let path = SitePath::new(PATH)?;
    let stored = match store.read_document(&path, MAX_BYTES) {
        // A note exists, and further names in it would not be read.
        Err(StoreError::TooLarge { .. }) => return Ok(()),
        stored => stored?,
    };
    let expected = stored.map_or(Expected::Absent, |stored| Expected::Version(stored.version));
    // No server serves the note, so its kind does not matter.
    Ok(store.write_document(&path, &Kind::Description, &json::canonical(&unfinished), &expected)?)
}

/// Removes the note: the change is complete.
pub fn end(store: &dyn Store) -> Result<(), SiteError> {
    match store.has_lock() {
        true => Ok(store.remove_document(&SitePath::new(PATH)?)?),
        false => Ok(()),
    }
}
