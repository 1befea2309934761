//! Shared values: one copy for all owners.
//!
//! Fifty thousand entries of an index share a few platforms and media types.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// Shared values.
///
/// ```
/// use std::sync::Arc;
/// use oci_discovery::pool::Pool;
///
/// let mut pool: Pool<str> = Pool::default();
/// assert!(Arc::ptr_eq(&pool.share("linux/amd64"), &pool.share("linux/amd64")));
/// ```
#[derive(Debug)]
pub struct Pool<T: ?Sized>(HashSet<Arc<T>>);

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool(HashSet::new())
    }
}

impl<T: ?Sized + Eq + Hash> Pool<T> {
    /// The pool's copy of a value, made at the first use.
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
