//! The objects that a command changed or removed, for caches in front of a site.
//!
//! Every store records the documents that it writes and the objects that it removes, so that no command can omit one. A new document
//! counts, because a cache may have the answer that it is missing; a new blob does not, because no document named it before. A store
//! cannot tell a new blob from one that replaces another, so publish and copy record those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::location::Location;
use crate::site::SitePath;
use crate::site::path::PRIVATE_DIRECTORY;
use oci_discovery::parallel::lock;

/// The part of the web that a store serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Served {
    /// The hosts of the site at this location.
    Site(Location),
    /// This origin.
    Origin(String),
}

type Record = BTreeMap<Served, BTreeSet<SitePath>>;

/// The record of the changes of all stores of a command. By default, nothing is recorded.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    served: Option<Served>,
    record: Option<Arc<Mutex<Record>>>,
}

impl Changes {
    /// A record, which is empty.
    pub fn recorded() -> Changes {
        Changes { served: None, record: Some(Arc::default()) }
    }

    /// The record for the store of another origin.
    pub fn of_origin(&self, origin: &str) -> Changes {
        Changes { served: Some(Served::Origin(origin.into())), ..self.clone() }
    }

    /// The record for a store. It is that of a site, unless the record is for another origin.
    pub fn of_store(&self, location: &Location) -> Changes {
        let served = self.served.clone().unwrap_or_else(|| Served::Site(location.clone()));
        Changes { served: Some(served), ..self.clone() }
    }

    /// Records an object that gets other bytes, or is removed. Private state has no readers.
    pub fn add(&self, path: &SitePath) {
        if let (Some(record), Some(served)) = (&self.record, &self.served)
            && path.top() != PRIVATE_DIRECTORY
        {
            lock(record).entry(served.clone()).or_default().insert(path.clone());
        }
    }

    /// The recorded objects, by what serves them.
    pub fn objects(&self) -> BTreeMap<Served, BTreeSet<SitePath>> {
        self.record.as_ref().map(|record| lock(record).clone()).unwrap_or_default()
    }
}
