//! The end of a listing: a store can make up new tokens for further pages for ever.
//!
//! So each page has to bring a new key, and a listing ends when its keys do. The order of the keys does not count, since
//! directory buckets of S3 Express list in an order of their own.

use std::collections::HashSet;

use crate::store::BucketProblem;
use oci_discovery::digest::{Algorithm, Digest};

/// The most pages in a row without a key. Stores give some where they pass over deleted objects.
const MAX_EMPTY_PAGES: usize = 50;
/// How much of a key is told.
const MAX_TOLD: usize = 200;

/// The pages of one listing, as far as they were read.
#[derive(Debug, Default)]
pub struct Pages {
    /// The last key of each page.
    ends: HashSet<Digest>,
    /// The pages without a key since the last one that had any.
    empty: usize,
}

impl Pages {
    /// Takes the last key of a page that another page follows.
    ///
    /// # Errors
    /// The pages go on without anything new.
    pub fn next(&mut self, last: Option<&str>) -> Result<(), BucketProblem> {
        self.empty = if last.is_none() { self.empty + 1 } else { 0 };
        let is_new = last.is_none_or(|last| self.ends.insert(Digest::of(Algorithm::Sha256, last.as_bytes())));
        let sign = match last {
            Some(last) if !is_new => {
                format!("a second page ends at the key {:?}", last.chars().take(MAX_TOLD).collect::<String>())
            }
            None if self.empty > MAX_EMPTY_PAGES => format!("{} pages in a row have no key", self.empty),
            _ => return Ok(()),
        };
        Err(BucketProblem::Endless { sign })
    }
}
