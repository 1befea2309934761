//! Verified bytes: manifests and configs that have the digest of their descriptor (image-spec, descriptor,
//! "Verification").
//!
//! [`Verified::read`] hashes the bytes that it reads, and only it makes a [`Verified`]. Code that parses a manifest, or
//! copies its bytes, takes [`Verified`], so no caller can pass unchecked bytes.

use std::io::{self, Read};
use std::ops::Deref;
use std::sync::Arc;

use super::descriptor::Descriptor;
use crate::digest::{ContentError, Digest, VerifyingReader};
use crate::json::MAX_MANIFEST_BYTES;

/// The bytes of a manifest or a config, checked against its descriptor.
///
/// ```
/// use oci_discovery::digest::{Algorithm, Digest};
/// use oci_discovery::oci::verified::ReadError;
/// use oci_discovery::oci::{Descriptor, Verified, media_type};
///
/// let descriptor = Descriptor::new(media_type::CONFIG, Digest::of(Algorithm::Sha256, b"{}"), 2);
/// assert_eq!(*Verified::read(&b"{}"[..], &descriptor)?, *b"{}");
/// assert!(matches!(Verified::read(&b"[]"[..], &descriptor), Err(ReadError::Content(_))));
/// # Ok::<(), ReadError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    digest: Digest,
    bytes: Arc<[u8]>,
}

/// Why bytes were not read, or do not match their descriptor.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Larger than a manifest may be. No byte was read.
    #[error("the manifest {digest} has {size} bytes: expected at most {MAX_MANIFEST_BYTES}, the limit of registries")]
    TooLarge {
        /// The digest of the descriptor.
        digest: Digest,
        /// The size of the descriptor in bytes.
        size: u64,
    },
    /// The bytes do not match the descriptor.
    #[error(transparent)]
    Content(ContentError),
    /// Reading failed.
    #[error(transparent)]
    Io(io::Error),
}

impl Verified {
    /// Reads all of `reader`, and checks size and digest.
    ///
    /// # Errors
    /// The descriptor's size is more than [`MAX_MANIFEST_BYTES`], the bytes do not match the descriptor, or reading
    /// fails.
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

    /// The digest of the bytes.
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
