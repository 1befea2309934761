//! Finds out which of many objects exist, with few requests.
//!
//! One way is a request per object, the other a listing of the bucket. Which takes fewer requests depends on the
//! content of the bucket, which is unknown. Therefore the keys are sorted, and a listing begins at the first one. Its
//! page answers for all keys up to the last one on the page; the next listing begins at the first key without an
//! answer. Each request answers for at least one key, and there are never more requests than pages in the bucket.

use std::cell::Cell;
use std::num::NonZeroUsize;

use object_store::list::{PaginatedListOptions, PaginatedListResult};

use super::{BucketStore, Stop, stat};
use crate::outbound::object_store::Listing;
use crate::site::SitePath;
use crate::store::{Stat, Store, StoreError};
use oci_discovery::parallel;

/// The keys of one thread. Smaller chunks would read the same page several times.
const KEYS_PER_WALK: usize = 256;
/// If a listing cannot begin at a key: one page is read for this many keys, and the remaining keys get a request each.
const KEYS_PER_PAGE: usize = 8;

/// The stat of each path, in their order.
pub(super) fn stats(
    store: &BucketStore,
    paths: &[SitePath],
    jobs: NonZeroUsize,
) -> Result<Vec<Option<Stat>>, StoreError> {
    let mut wanted = Vec::with_capacity(paths.len());
    for (position, path) in paths.iter().enumerate() {
        wanted.push((store.key(path.as_str())?.to_string(), position));
    }
    wanted.sort();
    let walks = wanted.len().div_ceil(KEYS_PER_WALK).clamp(1, jobs.get());
    let chunks: Vec<&[(String, usize)]> = wanted.chunks(wanted.len().div_ceil(walks).max(1)).collect();
    let mut stats = vec![None; paths.len()];
    for found in parallel::map(&chunks, jobs, |chunk| walk(store, paths, chunk))? {
        for (position, stat) in found {
            stats[position] = stat;
        }
    }
    Ok(stats)
}

type Found = Vec<(usize, Option<Stat>)>;

/// Finds the keys of one chunk, which is sorted.
fn walk(store: &BucketStore, paths: &[SitePath], wanted: &[(String, usize)]) -> Result<Found, StoreError> {
    let prefix = common_prefix(wanted);
    let mut found = Vec::with_capacity(wanted.len());
    let pages = Cell::new(0);
    let mut page_token = None;
    // For one key, a request for its object is smaller than a listing.
    while wanted.len() - found.len() > 1 {
        let open = &wanted[found.len()..];
        let (offset, token) = match store.client.has_offsets {
            true => (Some(before(&open[0].0)), None),
            false if pages.get() * KEYS_PER_PAGE >= wanted.len() => break,
            false => (None, page_token.take()),
        };
        let page = store.page(prefix, offset, token).map_err(|stop| store.stopped("list", "", stop))?;
        pages.set(pages.get() + 1);
        let settled = found.len();
        settle(open, &page, &mut found);
        page_token = page.page_token;
        if page_token.is_none() || (store.client.has_offsets && found.len() == settled) {
            break;
        }
    }
    for (_, position) in &wanted[found.len()..] {
        found.push((*position, store.stat(&paths[*position])?));
    }
    Ok(found)
}

/// Adds the answers of a page for the next keys.
fn settle(open: &[(String, usize)], page: &PaginatedListResult, found: &mut Found) {
    let objects = &page.result.objects;
    let is_last = page.page_token.is_none();
    let is_sorted = objects.windows(2).all(|pair| pair[0].location < pair[1].location);
    if !is_sorted {
        return;
    }
    let end = objects.last().map(|object| object.location.as_ref());
    for (key, position) in open {
        if !is_last && end.is_none_or(|end| key.as_str() > end) {
            return;
        }
        let at = objects.binary_search_by(|object| object.location.as_ref().cmp(key));
        found.push((*position, at.ok().map(|at| stat(&objects[at]))));
    }
}

/// A key that sorts directly before all keys with this prefix: the key without its last character.
fn before(key: &str) -> String {
    let mut characters = key.chars();
    characters.next_back();
    characters.as_str().to_string()
}

/// The common prefix of sorted keys.
fn common_prefix(sorted: &[(String, usize)]) -> &str {
    let (Some((first, _)), Some((last, _))) = (sorted.first(), sorted.last()) else { return "" };
    let same = first.char_indices().zip(last.chars()).take_while(|((_, a), b)| a == b);
    let length = same.last().map_or(0, |((at, character), _)| at + character.len_utf8());
    &first[..length]
}

impl BucketStore {
    /// One page of the keys with `prefix` after `offset`.
    pub(super) fn page(
        &self,
        prefix: &str,
        offset: Option<String>,
        page_token: Option<String>,
    ) -> Result<PaginatedListResult, Stop> {
        let prefix = (!prefix.is_empty()).then_some(prefix);
        self.run(async || {
            let mut options = PaginatedListOptions {
                offset: offset.clone(),
                page_token: page_token.clone(),
                ..PaginatedListOptions::default()
            };
            options.extensions.insert(Listing);
            self.client.pages.list_paginated(prefix, options).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_prefix_is_cut_between_characters() {
        let keys =
            |texts: &[&str]| -> Vec<(String, usize)> { texts.iter().map(|text| (text.to_string(), 0)).collect() };
        assert_eq!(common_prefix(&keys(&["cas/ab/1", "cas/ab/2", "cas/ac/1"])), "cas/a");
        assert_eq!(common_prefix(&keys(&["ä", "ö"])), "");
        assert_eq!(common_prefix(&keys(&["same"])), "same");
        assert_eq!(common_prefix(&[]), "");
    }

    #[test]
    fn a_listing_from_before_a_key_has_the_key() {
        for key in ["oci-cas/sha256/ab/abcd", "ä", "a"] {
            assert!(before(key).as_str() < key);
        }
    }
}
