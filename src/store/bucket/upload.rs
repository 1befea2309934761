//! Sending blobs: whole when they are small, in parts when they are large, and never visible before they are verified.
//!
//! A blob is read once, and hashed while it is read. A small blob is read whole and then sent. A large blob is sent in parts
//! while the rest is still being read; when the digest is verified, a last request makes the parts one object. Otherwise the
//! upload is aborted.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::{MultipartUpload, PutMode, PutMultipartOptions, PutPayload};
use tokio::task::JoinSet;

use super::{BucketStore, Stop};
use crate::site::{Kind, SitePath};
use crate::store::{BlobSource, Origin, Store, StoreError};
use oci_discovery::digest::VerifyingReader;

/// The most parts in memory at once, for all blobs together: with parts of 8 MiB, 128 MiB.
pub(super) const PARTS_IN_FLIGHT: usize = 16;
/// The most parts of an upload on S3.
const MAX_PARTS: u64 = 10_000;
/// The bytes read and hashed at a time.
const READ_BYTES: usize = 256 * 1024;
/// The time limit for aborting an upload.
const ABORT_TIMEOUT: Duration = Duration::from_secs(20);

impl BucketStore {
    /// Sends a blob, and makes it visible when its digest is verified.
    pub(super) fn upload(&self, path: &SitePath, kind: &Kind, source: &dyn BlobSource) -> Result<(), StoreError> {
        let mut blob = BlobReader::open(source)?;
        let part_size = self.part_size.max(source.size().div_ceil(MAX_PARTS));
        if source.size() > part_size {
            return self.upload_in_parts(path, kind, &mut blob, part_size);
        }
        let bytes = blob.read_part(source.size())?;
        blob.read_end()?;
        self.put(&self.key(path.as_str())?, &Self::attributes(kind), &bytes, PutMode::Overwrite)
            .map(drop)
            .map_err(|stop| self.stopped("write", path.as_str(), stop))
    }

    fn upload_in_parts(
        &self,
        path: &SitePath,
        kind: &Kind,
        blob: &mut BlobReader<'_>,
        part_size: u64,
    ) -> Result<(), StoreError> {
        let key = self.key(path.as_str())?;
        let options = || PutMultipartOptions { attributes: Self::attributes(kind), ..PutMultipartOptions::default() };
        let stopped = |stop| self.stopped("write", path.as_str(), stop);
        let begin = async || self.client.objects.put_multipart_opts(&key, options()).await;
        let mut upload = self.run(begin).map_err(stopped)?;
        let mut parts = JoinSet::new();
        if let Err(unsent) = self.send_parts(&mut *upload, &mut parts, blob, part_size) {
            self.abort_parts(upload, parts);
            return Err(match unsent {
                Unsent::Source(error) => error,
                Unsent::Stop(stop) => stopped(stop),
            });
        }
        match self.wait(upload.complete()) {
            Ok(_) => Ok(()),
            // The client repeats a request whose response was lost. The store answers the second one that it has no such upload.
            Err(stop) if !matches!(stop, Stop::Interrupted) && self.has(path, blob.source.size()) => {
                drop(stop);
                Ok(())
            }
            Err(stop) => {
                self.abort_parts(upload, parts);
                Err(stopped(stop))
            }
        }
    }

    fn has(&self, path: &SitePath, size: u64) -> bool {
        matches!(self.stat(path), Ok(Some(stat)) if stat.size == size)
    }

    /// Reads and sends a blob part by part, several at once. Returns when the store has all parts and the digest is verified.
    fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        parts: &mut JoinSet<object_store::Result<()>>,
        blob: &mut BlobReader<'_>,
        part_size: u64,
    ) -> Result<(), Unsent> {
        let mut left = blob.source.size();
        while left > 0 {
            let permit = self.wait(async { Ok(Arc::clone(&self.parts_in_flight).acquire_owned().await) })?;
            let bytes = blob.read_part(left.min(part_size))?;
            left -= bytes.len() as u64;
            let part = upload.put_part(PutPayload::from_bytes(bytes));
            let send = async move {
                let result = part.await;
                drop(permit);
                result
            };
            parts.spawn_on(send, self.runtime.handle());
            while let Some(finished) = parts.try_join_next() {
                joined(finished)?;
            }
        }
        blob.read_end()?;
        while let Some(finished) = self.wait(async { Ok(parts.join_next().await) })? {
            joined(finished)?;
        }
        Ok(())
    }

    /// Aborts an upload. A gc removes the parts of uploads that could not be aborted.
    fn abort_parts(&self, mut upload: Box<dyn MultipartUpload>, mut parts: JoinSet<object_store::Result<()>>) {
        let abort = async {
            // A part that arrived after the abort would stay.
            parts.shutdown().await;
            upload.abort().await
        };
        let _ = self.runtime.block_on(async { tokio::time::timeout(ABORT_TIMEOUT, abort).await });
    }
}

/// Why not all parts arrived.
enum Unsent {
    Source(StoreError),
    Stop(Stop),
}

impl From<StoreError> for Unsent {
    fn from(error: StoreError) -> Unsent {
        Unsent::Source(error)
    }
}

impl From<Stop> for Unsent {
    fn from(stop: Stop) -> Unsent {
        Unsent::Stop(stop)
    }
}

fn joined(finished: Result<object_store::Result<()>, tokio::task::JoinError>) -> Result<(), Unsent> {
    match finished {
        Ok(result) => Ok(result.map_err(Stop::Failed)?),
        Err(source) => Err(Stop::Failed(object_store::Error::JoinError { source }).into()),
    }
}

/// A blob while it is read and hashed.
struct BlobReader<'a> {
    reader: VerifyingReader<Box<dyn Read + Send>>,
    source: &'a dyn BlobSource,
    origin: Origin,
}

impl<'a> BlobReader<'a> {
    fn open(source: &'a dyn BlobSource) -> Result<BlobReader<'a>, StoreError> {
        let (reader, origin) = source.open()?.into_reader();
        let reader = VerifyingReader::new(reader, source.digest(), source.size());
        Ok(BlobReader { reader, source, origin })
    }

    /// Reads `size` bytes, or fewer at the end.
    fn read_part(&mut self, size: u64) -> Result<Bytes, StoreError> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size];
        let mut filled = 0;
        while filled < size {
            let end = size.min(filled + READ_BYTES);
            match self.read(&mut bytes[filled..end])? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(bytes.into())
    }

    /// Reads the end, where the reader compares size and digest.
    fn read_end(&mut self) -> Result<(), StoreError> {
        // The reader returns no byte beyond the expected size.
        self.read(&mut [0]).map(drop)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, StoreError> {
        loop {
            match self.reader.read(buffer) {
                Ok(count) => {
                    self.source.advanced(count as u64);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.origin.error(error)),
            }
        }
    }
}
