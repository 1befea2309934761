//! Which of many objects are there, with as few requests as the store allows.
//!
//! One way is a request per object, the other to list the bucket a page at a time. Which is less depends on how full the
//! bucket is, which nobody knows beforehand. So the wanted keys are sorted, and the listing begins at the first; the page
//! that comes settles every wanted key up to its last one; the next page begins at the first key that is still open, which
//! may be far behind. Each request settles at least one key, and never are there more than the listing has pages: the lesser
//! of the two, whatever the bucket holds.

use std::cell::Cell;
use std::num::NonZeroUsize;

use object_store::list::{PaginatedListOptions, PaginatedListResult};

use super::{BucketStore, Stop, stat};
use crate::outbound::object_store::Listing;
use crate::site::SitePath;
use crate::store::{Stat, Store, StoreError};
use oci_discovery::parallel;

/// Keys that one thread walks alone: fewer would make more requests of what one page could settle.
const KEYS_PER_WALK: usize = 256;
/// Where a listing cannot begin at a key, as many pages are read as this part of the number of keys; what is not found in
/// them is asked for one by one.
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

/// Settles one chunk of sorted keys.
fn walk(store: &BucketStore, paths: &[SitePath], wanted: &[(String, usize)]) -> Result<Found, StoreError> {
    let prefix = common_prefix(wanted);
    let mut found = Vec::with_capacity(wanted.len());
    let pages = Cell::new(0);
    let mut page_token = None;
    // One key is one request either way, and the smaller one where it is asked for by name.
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

/// Notes what a page tells of the keys that are open, in their order.
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

/// A key that sorts directly before keys that begin as this one does: the key without its last character.
fn before(key: &str) -> String {
    let mut characters = key.chars();
    characters.next_back();
    characters.as_str().to_string()
}

/// The beginning that sorted keys share.
fn common_prefix(sorted: &[(String, usize)]) -> &str {
    let (Some((first, _)), Some((last, _))) = (sorted.first(), sorted.last()) else { return "" };
    let same = first.char_indices().zip(last.chars()).take_while(|((_, a), b)| a == b);
    let length = same.last().map_or(0, |((at, character), _)| at + character.len_utf8());
    &first[..length]
}

impl BucketStore {
    /// One page of a listing, of keys that begin with `prefix` and come after `offset`.
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
