//! Detects listings without end: a store can return new tokens for further pages for ever.
//!
//! So each page has to bring a new key, and a listing ends when its keys do. The order of the keys does not count, since
//! directory buckets of S3 Express list in an order of their own. A store can make up new keys for ever, too, so that a
//! listing has a most of them: what a command keeps of a listing is bounded by it.

use std::collections::HashSet;

use crate::store::BucketProblem;
use oci_discovery::seen::{Key, key};

/// The most consecutive pages without a key. Stores return some for deleted objects.
const MAX_EMPTY_PAGES: usize = 50;
/// The most keys of one listing. A site of a million images has some 13 million, of fewer bytes than [`KEY_BYTES`].
const MAX_KEYS: usize = 1 << 24;
/// A key counts once for each started part of this many bytes.
const KEY_BYTES: usize = 256;
/// A page counts as no fewer keys than this, because its end is kept.
const MIN_PAGE_KEYS: usize = 16;
/// How much of a key is told.
const MAX_TOLD: usize = 200;

/// The pages of a listing that were read.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// The last key of each page.
    ends: HashSet<Key>,
    /// The keys of all pages.
    keys: usize,
    /// The pages without a key since the last one that had any.
    empty: usize,
}

impl Pages {
    /// Takes the keys of a page that another page follows.
    ///
    /// # Errors
    /// The pages go on without anything new, or beyond the most keys of a listing.
    pub(super) fn next<'k>(&mut self, page: impl IntoIterator<Item = &'k str>) -> Result<(), BucketProblem> {
        let (mut keys, mut last) = (0, None);
        for key in page {
            keys += key.len().div_ceil(KEY_BYTES).max(1);
            last = Some(key);
        }
        self.keys += keys.max(MIN_PAGE_KEYS);
        if self.keys > MAX_KEYS {
            return Err(BucketProblem::TooManyKeys { limit: MAX_KEYS, bytes: KEY_BYTES });
        }
        self.empty = if last.is_none() { self.empty + 1 } else { 0 };
        let is_new = last.is_none_or(|last| self.ends.insert(key(&[last])));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of pages that are read, where each has `per_page` keys of `bytes` bytes.
    fn pages_read(per_page: usize, bytes: usize) -> usize {
        let mut pages = Pages::default();
        let rest = "x".repeat(bytes - 8);
        let is_read = |page: &usize| {
            let end = format!("{page:08}{rest}");
            pages.next(std::iter::repeat_n(end.as_str(), per_page)).is_ok()
        };
        (0..).take_while(is_read).count()
    }

    #[test]
    fn a_listing_has_so_many_keys_and_no_more() {
        assert_eq!(pages_read(1 << 16, 256), 256);
    }

    #[test]
    fn a_long_key_counts_more_than_once() {
        assert_eq!(pages_read(1 << 16, 1024), 64);
    }

    #[test]
    fn a_page_of_few_keys_counts_for_its_end() {
        assert_eq!(pages_read(1, 8), 1 << 20);
    }

    #[test]
    fn the_error_says_the_limit_and_what_to_do() {
        let mut pages = Pages { keys: MAX_KEYS, ..Pages::default() };
        let error = pages.next(["key"]).unwrap_err().to_string();
        assert!(error.contains("more than 16777216 keys") && error.contains("divide the site"), "{error}");
    }
}
