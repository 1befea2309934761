//! How the library tells whoever runs it how far it is, without knowing who that is.

/// Hears of progress. Called from several threads.
pub trait Progress: Sync {
    /// Work on `total` bytes begins.
    fn start(&self, what: &str, total: u64);
    /// Work on `total` items that are not bytes begins.
    fn start_items(&self, what: &str, total: u64);
    /// So many bytes more, or items, are done.
    fn advance(&self, more: u64);
    /// The work that was started has ended.
    fn finish(&self);
    /// An object was written: how, and where.
    fn wrote(&self, _what: &dyn std::fmt::Display) {}
    /// Work on one part of it begins, `total` bytes long. What is returned hears of that part, counts it towards the whole,
    /// and is dropped at its end.
    fn part<'a>(&'a self, _what: &str, _total: u64) -> Box<dyn Part + 'a> {
        Box::new(Silent)
    }
}

/// Hears of one part of the work.
pub trait Part {
    /// So many bytes of the part are done. It may be fewer than before, when some have to be done again.
    fn at(&self, bytes: u64);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _what: &str, _total: u64) {}
    fn start_items(&self, _what: &str, _total: u64) {}
    fn advance(&self, _more: u64) {}
    fn finish(&self) {}
}

impl Part for Silent {
    fn at(&self, _bytes: u64) {}
}
