//! How the library tells whoever runs it how far it is, without knowing who that is.

/// Hears of progress. Called from several threads.
pub trait Progress: Sync {
    /// Work on `total` bytes begins.
    fn start(&self, what: &str, total: u64);
    /// So many bytes more are done.
    fn advance(&self, bytes: u64);
    /// The work that was started has ended.
    fn finish(&self);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _what: &str, _total: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
}
