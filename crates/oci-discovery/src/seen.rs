//! Sets of texts too many to keep: sixteen bytes of each.
//!
//! To check a site, or to find out what of it can go, is to remember every blob that was reached. A site may have millions,
//! and their paths would take more memory than all else together. A [`Key`] is the beginning of a BLAKE3 hash: whoever
//! publishes chooses the texts, so it has to be a hash in which nobody finds two texts of one key (that takes 2^64 tries).

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// What is kept of a text.
pub type Key = u128;

/// The key of a text that is given in parts; how it is cut into parts matters.
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

/// So many parts that threads seldom wait for each other.
const PARTS: usize = 16;

/// A set of keys that several threads fill.
#[derive(Debug, Default)]
pub struct Seen([Mutex<HashSet<Key>>; PARTS]);

impl Seen {
    /// An empty set.
    pub fn new() -> Seen {
        Seen::default()
    }

    /// Adds a key. Whether it is new.
    pub fn insert(&self, key: Key) -> bool {
        self.part(key).lock().unwrap_or_else(PoisonError::into_inner).insert(key)
    }

    /// Whether a key was added.
    pub fn contains(&self, key: Key) -> bool {
        self.part(key).lock().unwrap_or_else(PoisonError::into_inner).contains(&key)
    }

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
