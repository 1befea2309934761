//! One copy of a value for all that have it.
//!
//! Platforms and media types are few, and what has them is many: fifty thousand entries of an index share a handful.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// Values that are shared.
#[derive(Debug)]
pub struct Pool<T: ?Sized>(HashSet<Arc<T>>);

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool(HashSet::new())
    }
}

impl<T: ?Sized + Eq + Hash> Pool<T> {
    /// The pool's copy of a value, which is made where there is none.
    pub fn share(&mut self, value: impl Borrow<T> + Into<Arc<T>>) -> Arc<T> {
        if let Some(known) = self.0.get(value.borrow()) {
            return known.clone();
        }
        let shared: Arc<T> = value.into();
        self.0.insert(shared.clone());
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one() {
        let mut pool: Pool<str> = Pool::default();
        let (first, other, again) = (pool.share("a/b"), pool.share("c/d"), pool.share("a/b"));
        assert!(Arc::ptr_eq(&first, &again) && !Arc::ptr_eq(&first, &other));
        assert_eq!((&*again, &*other), ("a/b", "c/d"));
    }
}
