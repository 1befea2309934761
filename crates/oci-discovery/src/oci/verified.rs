//! Bytes that have the digest they were asked for by.
//!
//! Only [`Verified::read`] makes a value of this type, and it hashes what it reads. Whoever parses a manifest, or copies its bytes
//! on, asks for [`Verified`] and cannot be handed bytes that were not checked (design rule: bytes that carry a digest are
//! checked against it when they are read).

use std::io::{self, Read};
use std::ops::Deref;
use std::sync::Arc;

use super::descriptor::Descriptor;
use crate::digest::{ContentError, Digest, VerifyingReader};
use crate::json::MAX_MANIFEST_BYTES;

/// The bytes of a manifest or a config, checked against its descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    digest: Digest,
    bytes: Arc<[u8]>,
}

/// Why bytes were not read, or are not the ones that were asked for.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Larger than manifests are. Nothing was read.
    #[error("the manifest {digest} has {size} bytes: expected at most {MAX_MANIFEST_BYTES}, the limit of registries")]
    TooLarge {
        /// The digest that was asked for.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// Other bytes than the descriptor says.
    #[error(transparent)]
    Content(ContentError),
    /// Reading failed.
    #[error(transparent)]
    Io(io::Error),
}

impl Verified {
    /// Reads all of `reader`, which must be what `descriptor` describes.
    ///
    /// # Errors
    /// The descriptor says more than [`MAX_MANIFEST_BYTES`], the bytes are not those it describes, or reading fails.
    pub fn read(reader: impl Read, descriptor: &Descriptor) -> Result<Verified, ReadError> {
        let Descriptor { digest, size, .. } = descriptor;
        if *size > MAX_MANIFEST_BYTES {
            return Err(ReadError::TooLarge { digest: digest.clone(), size: *size });
        }
        let mut bytes = Vec::with_capacity(*size as usize);
        match VerifyingReader::new(reader, digest, *size).read_to_end(&mut bytes) {
            Ok(_) => Ok(Verified { digest: digest.clone(), bytes: bytes.into() }),
            Err(error) => Err(match ContentError::of(&error) {
                Some(problem) => ReadError::Content(problem.clone()),
                None => ReadError::Io(error),
            }),
        }
    }

    /// The digest that the bytes have.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Deref for Verified {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    #[test]
    fn only_bytes_that_match_their_descriptor_are_verified() {
        let descriptor = Descriptor::new("a/b", Digest::of(Algorithm::Sha256, b"right"), 5);
        let verified = Verified::read(&b"right"[..], &descriptor).unwrap();
        assert_eq!((&*verified, verified.digest()), (&b"right"[..], &descriptor.digest));
        for wrong in ["wrong", "righ", "right!"] {
            let error = Verified::read(wrong.as_bytes(), &descriptor).unwrap_err();
            assert!(matches!(error, ReadError::Content(_)), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_is_larger_than_manifests_are_is_not_read() {
        let descriptor = Descriptor::new("a/b", Digest::of(Algorithm::Sha256, b""), MAX_MANIFEST_BYTES + 1);
        let error = Verified::read(io::repeat(0), &descriptor).unwrap_err();
        assert!(matches!(error, ReadError::TooLarge { .. }), "{error}");
    }
}
