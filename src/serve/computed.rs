//! Bodies that are computed from a file while they are sent, so that an answer takes the same memory whatever its size is.
//!
//! The head of an answer needs the length and the entity tag of the body, so a body is computed once for these, and once more
//! for the client.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use oci_discovery::digest::{Algorithm, Digest, Hasher};

/// A part of what a computation writes.
pub struct Computed {
    write: Box<dyn Fn(&mut dyn Write) -> io::Result<()> + Send + Sync>,
    /// Where the part begins.
    offset: u64,
    length: u64,
}

impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Computed").field("offset", &self.offset).field("length", &self.length).finish_non_exhaustive()
    }
}

impl Computed {
    /// All that `write` writes, which is the same each time; its digest; and what it has returned.
    pub fn new<T>(
        write: impl Fn(&mut dyn Write) -> io::Result<T> + Send + Sync + 'static,
    ) -> io::Result<(Computed, Digest, T)> {
        let mut measure = BufWriter::new(Measure::default());
        let found = write(&mut measure)?;
        let Measure { length, hasher } = measure.into_inner()?;
        let write = Box::new(move |out: &mut dyn Write| write(out).map(drop));
        Ok((Computed { write, offset: 0, length }, hasher.finish(), found))
    }

    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes from `start` on, so many.
    pub fn cut(self, start: u64, length: u64) -> Computed {
        Computed { offset: self.offset + start, length, ..self }
    }

    /// Computes it.
    ///
    /// # Errors
    /// The file cannot be read, or has become shorter; or `out` takes no more.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let mut window = Window { out, skip: self.offset, left: self.length };
        (self.write)(&mut window)?;
        if window.left > 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// The digest of a file.
pub fn digest_of(mut file: &File) -> io::Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    file.seek(SeekFrom::Start(0))?;
    io::copy(&mut file, &mut hasher)?;
    Ok(hasher.finish())
}

struct Measure {
    length: u64,
    hasher: Hasher,
}

impl Default for Measure {
    fn default() -> Measure {
        Measure { length: 0, hasher: Hasher::new(Algorithm::Sha256) }
    }
}

impl Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes on a part of what is written.
struct Window<'a, W> {
    out: &'a mut W,
    /// How many bytes come before the part.
    skip: u64,
    /// How many bytes of the part have not come yet.
    left: u64,
}

impl<W: Write> Write for Window<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        let wanted = (bytes.len() - skipped).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.out.write_all(&bytes[skipped..skipped + wanted])?;
        self.skip -= skipped as u64;
        self.left -= wanted as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_out_of_what_is_written() {
        let new = || {
            Computed::new(|out| {
                out.write_all(b"0123")?;
                out.write_all(b"456789")
            })
        };
        for (start, length) in [(0, 10), (0, 1), (3, 3), (4, 6), (9, 1)] {
            let (computed, digest, ()) = new().unwrap();
            assert_eq!((computed.length(), digest), (10, Digest::of(Algorithm::Sha256, b"0123456789")));
            let mut out = vec![];
            computed.cut(start, length).cut(0, length).write_to(&mut out).unwrap();
            assert_eq!(out, b"0123456789"[start as usize..][..length as usize]);
        }
        let (computed, ..) = new().unwrap();
        assert!(computed.cut(8, 3).write_to(&mut vec![]).is_err(), "less comes than was said");
    }
}
