//! A note in a site that it is being changed, by which the next to change it knows that the last was killed.
//!
//! Documents are written in an order that makes a kill harmless to readers, and lets the same command complete what it began.
//! But something else may come next: what was published before, say, or another image. Then nobody could tell from the
//! documents which of them follow from others that were never written. With the note, the catalogue is made again from the
//! indexes, and a removal that is done again knows which of its names were there.
//!
//! Only where a lock keeps others out. Without one, somebody may be in the middle of a change at any time, and the order of
//! writing has to do without a note.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use serde::{Deserialize, Serialize};

use super::site::SiteError;
use super::{Document, Expected, Store, StoreError};
use crate::site::{Kind, SitePath};
use oci_discovery::json;
use oci_discovery::name::ImageName;

/// Where the note is: with the locks and temporary files, which nobody serves.
const PATH: &str = ".ocisite/unfinished.json";
/// The largest note that is read: some thousand names. A larger one is one all the same.
const MAX_BYTES: u64 = 1024 * 1024;

/// What was begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// The names that were to be removed.
    #[serde(default)]
    pub removing: BTreeSet<ImageName>,
}

/// What was begun and never ended. None: all was ended.
pub fn read(store: &dyn Store) -> Result<Option<Unfinished>, SiteError> {
    let path = SitePath::new(PATH)?;
    if !store.has_lock() {
        return Ok(None);
    }
    match store.stat(&path) {
        Ok(Some(_)) => {}
        Ok(None) => return Ok(None),
        // A user who may not look at the site's private state only reads the site.
        Err(StoreError::File(error)) if error.kind() == Some(ErrorKind::PermissionDenied) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let there = store.read_document(&path, MAX_BYTES).ok().flatten();
    // One that cannot be read still says that something was begun.
    let read = |there: Document| json::parse_as(&there.bytes, json::MAX_VALUE_BYTES).ok();
    Ok(Some(there.and_then(read).unwrap_or_default()))
}

/// Notes that the site is going to be changed, before anything is. What was begun before stays noted.
pub fn begin(store: &dyn Store, removing: impl IntoIterator<Item = ImageName>) -> Result<(), SiteError> {
    if !store.has_lock() {
        return Ok(());
    }
    let mut unfinished = read(store)?.unwrap_or_default();
    unfinished.removing.extend(removing);
    let path = SitePath::new(PATH)?;
    let there = match store.read_document(&path, MAX_BYTES) {
        // It says already that something was begun, and names in it would not be read.
        Err(StoreError::TooLarge { .. }) => return Ok(()),
        there => there?,
    };
    let expected = there.map_or(Expected::Absent, |there| Expected::Version(there.version));
    // Nobody serves it, so its kind does not matter.
    Ok(store.write_document(&path, &Kind::Description, &json::canonical(&unfinished), &expected)?)
}

/// Notes that the site is whole.
pub fn end(store: &dyn Store) -> Result<(), SiteError> {
    match store.has_lock() {
        true => Ok(store.remove_document(&SitePath::new(PATH)?)?),
        false => Ok(()),
    }
}
