//! Reads an open file from several positions at once, so that responses share it.

use std::fs::File;
use std::io::{self, Read, Take, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A file, and the position of the next byte.
#[derive(Clone, Debug)]
pub(super) struct FileReader {
    file: Arc<File>,
    position: u64,
}

impl FileReader {
    /// Reads from `position` on.
    pub(super) fn new(file: Arc<File>, position: u64) -> FileReader {
        FileReader { file, position }
    }

    /// Reads from another position on.
    pub(super) fn at(&self, position: u64) -> FileReader {
        FileReader { file: Arc::clone(&self.file), position }
    }
}

impl Read for FileReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(bytes, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// Copies a part of a file.
///
/// # Errors
/// The file has become shorter or cannot be read, or writing to `out` fails.
pub(super) fn copy(mut part: Take<impl Read>, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    io::copy(&mut part, out)?;
    if part.limit() > 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}
