//! Sending blobs: whole when they are small, in parts when they are large, and never visible before they are verified.
//!
//! A blob is read once and hashed while it is read. A small one is in memory before it is sent, so its digest is known by
//! then. A large one is sent in parts while the rest is still being read, and appears only when the store is told to put
//! the parts together, which it is after the digest matched; otherwise the parts are given up.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::{MultipartUpload, PutMode, PutMultipartOptions, PutPayload};
use tokio::task::JoinSet;

use super::{BucketStore, Stop};
use crate::site::{Kind, SitePath};
use crate::store::{BlobSource, Origin, Store, StoreError};

/// How many parts are in memory and on their way at once, whatever the number of blobs: with parts of 8 MiB, 128 MiB.
pub(super) const PARTS_IN_FLIGHT: usize = 16;
/// The most parts that a blob can have on S3.
const MAX_PARTS: u64 = 10_000;
/// How much is read and hashed at a time.
const READ_BYTES: usize = 256 * 1024;
/// How long an upload that failed may take to be given up.
const ABORT_TIMEOUT: Duration = Duration::from_secs(20);

impl BucketStore {
    /// Sends what `reader` gives, which checks it.
    pub(super) fn upload(
        &self,
        path: &SitePath,
        kind: &Kind,
        reader: &mut impl Read,
        source: &dyn BlobSource,
        origin: &Origin,
    ) -> Result<(), StoreError> {
        let part_size = self.part_size.max(source.size().div_ceil(MAX_PARTS));
        if source.size() > part_size {
            return self.upload_in_parts(path, kind, reader, source, origin, part_size);
        }
        let bytes = read_part(reader, source.size(), source).map_err(|error| origin.error(error))?;
        read_end(reader).map_err(|error| origin.error(error))?;
        self.put(&self.key(path.as_str())?, &Self::attributes(kind), &bytes, PutMode::Overwrite)
            .map(drop)
            .map_err(|stop| self.stopped("write", path.as_str(), stop))
    }

    fn upload_in_parts(
        &self,
        path: &SitePath,
        kind: &Kind,
        reader: &mut impl Read,
        source: &dyn BlobSource,
        origin: &Origin,
        part_size: u64,
    ) -> Result<(), StoreError> {
        let key = self.key(path.as_str())?;
        let options = || PutMultipartOptions { attributes: Self::attributes(kind), ..PutMultipartOptions::default() };
        let stopped = |stop| self.stopped("write", path.as_str(), stop);
        let begin = async || self.client.objects.put_multipart_opts(&key, options()).await;
        let mut upload = self.run(begin).map_err(stopped)?;
        let mut parts = JoinSet::new();
        let sent =
            self.send_parts(&mut *upload, &mut parts, reader, source, origin, part_size).map_err(
                |unsent| match unsent {
                    Unsent::Source(error) => error,
                    Unsent::Stop(stop) => stopped(stop),
                },
            );
        if let Err(error) = sent {
            self.give_up(upload, parts);
            return Err(error);
        }
        match self.wait(upload.complete()) {
            Ok(_) => Ok(()),
            // A store that was told twice, because the first answer was lost, knows no such upload the second time.
            Err(stop) if !matches!(stop, Stop::Interrupted) && self.has(path, source.size()) => {
                drop(stop);
                Ok(())
            }
            Err(stop) => {
                self.give_up(upload, parts);
                Err(stopped(stop))
            }
        }
    }

    fn has(&self, path: &SitePath, size: u64) -> bool {
        matches!(self.stat(path), Ok(Some(stat)) if stat.size == size)
    }

    /// Reads, hashes and sends one part after the other, several on their way at once. Returns when all have arrived and the
    /// reader found them right.
    fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        parts: &mut JoinSet<object_store::Result<()>>,
        reader: &mut impl Read,
        source: &dyn BlobSource,
        origin: &Origin,
        part_size: u64,
    ) -> Result<(), Unsent> {
        let mut left = source.size();
        while left > 0 {
            let permit = self.wait(async { Ok(Arc::clone(&self.parts_in_flight).acquire_owned().await) })?;
            let bytes = read_part(reader, left.min(part_size), source).map_err(|error| origin.error(error))?;
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
        read_end(reader).map_err(|error| origin.error(error))?;
        while let Some(finished) = self.wait(async { Ok(parts.join_next().await) })? {
            joined(finished)?;
        }
        Ok(())
    }

    /// Takes back the parts that were sent. What cannot be taken back now is found by gc.
    fn give_up(&self, mut upload: Box<dyn MultipartUpload>, mut parts: JoinSet<object_store::Result<()>>) {
        let abort = async {
            // A part that arrived after the upload was given up would stay.
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

/// Reads `size` bytes, or to the end. What is missing at the end is for [`read_end`] to find.
fn read_part(reader: &mut impl Read, size: u64, source: &dyn BlobSource) -> io::Result<Bytes> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        let end = size.min(filled + READ_BYTES);
        match reader.read(&mut bytes[filled..end]) {
            Ok(0) => break,
            Ok(count) => {
                filled += count;
                source.advanced(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes.into())
}

/// Reads the end of the input, where the reader says whether it was what was promised.
fn read_end(reader: &mut impl Read) -> io::Result<()> {
    // The reader hands on no byte beyond the promised size, so there is nothing to read here but the end or an error.
    let mut nothing = [0];
    loop {
        match reader.read(&mut nothing) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
