//! Large sets of texts, with sixteen bytes for each text.
//!
//! A verification or a collection of garbage remembers every blob that it reached. A site may have millions of blobs,
//! and their paths would take more memory than everything else. A [`Key`] is the beginning of a BLAKE3 hash. Publishers
//! choose the texts, so the hash has to resist collisions; one takes 2^64 tries.

use crate::parallel::lock;
use std::collections::HashSet;
use std::sync::Mutex;

/// The beginning of the hash of a text.
pub type Key = u128;

/// The key of a text in parts. Other parts of the same text have another key.
///
/// ```
/// use oci_discovery::seen::key;
///
/// assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
/// assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
/// ```
pub fn key(parts: &[&str]) -> Key {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut key = [0; 16];
    hasher.finalize_xof().fill(&mut key);
    Key::from_le_bytes(key)
}

/// The number of locks, so high that threads seldom wait for each other.
const PARTS: usize = 16;

/// A set of keys for several threads.
///
/// ```
/// use oci_discovery::seen::{Seen, key};
///
/// let seen = Seen::new();
/// assert!(seen.insert(key(&["a"])));
/// assert!(!seen.insert(key(&["a"])) && seen.contains(key(&["a"])));
/// ```
#[derive(Debug, Default)]
pub struct Seen([Mutex<HashSet<Key>>; PARTS]);

impl Seen {
    /// An empty set.
    pub fn new() -> Seen {
        Seen::default()
    }

    /// Adds a key, and returns whether the key is new.
    pub fn insert(&self, key: Key) -> bool {
        lock(self.part(key)).insert(key)
    }

    /// Whether a key was added.
    pub fn contains(&self, key: Key) -> bool {
        lock(self.part(key)).contains(&key)
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is less than the number of parts")]
    fn part(&self, key: Key) -> &Mutex<HashSet<Key>> {
        &self.0[(key % PARTS as Key) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_texts_and_their_parts_apart() {
        assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["abc"]), key(&["abc", ""]));
    }

    #[test]
    fn a_key_is_new_once() {
        let seen = Seen::new();
        assert!(!seen.contains(key(&["a"])));
        assert!(seen.insert(key(&["a"])));
        assert!(!seen.insert(key(&["a"])));
        assert!(seen.contains(key(&["a"])) && !seen.contains(key(&["b"])));
    }
}
