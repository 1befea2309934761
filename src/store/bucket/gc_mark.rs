//! The mark that a gc leaves in a bucket (see [`crate::store::gc_mark`]): a small private document.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::{Attributes, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};

use super::{BucketStore, Stop, is_conflict, version};
use crate::store::StoreError;
use crate::store::gc_mark::{GcMark, LIFE};
use oci_discovery::json;
use oci_discovery::parallel::lock;

const MARK: &str = ".ocisite/gc.json";
/// The most bytes of a mark.
const MAX_BYTES: u64 = 64 * 1024;

/// The time limit for marking the end of a gc.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// The content of the mark.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    /// Whether the gc is running.
    running: bool,
    /// A random number, so that each mark has another ETag.
    id: u64,
}

impl BucketStore {
    /// The mark of the latest gc. A malformed mark comes from a later version of this program, or is truncated: while
    /// it is young, a gc may be running.
    pub(super) fn read_gc_mark(&self) -> Result<Option<GcMark>, StoreError> {
        let Some((meta, bytes)) = self.read_up_to(MARK, MAX_BYTES)? else { return Ok(None) };
        let is_young = SystemTime::now().duration_since(meta.last_modified.into()).is_ok_and(|age| age < LIFE);
        let is_running = bytes
            .and_then(|bytes| json::parse_as(&bytes, json::MAX_VALUE_BYTES).ok())
            .is_none_or(|content: Content| content.running);
        Ok(Some(GcMark { version: version(&meta), is_running: is_running && is_young }))
    }

    /// Marks the beginning of a gc.
    ///
    /// # Errors
    /// [`StoreError::GcRunning`]: another gc is running.
    pub(super) fn begin_gc(&self) -> Result<(), StoreError> {
        let stored = self.read_gc_mark()?;
        if stored.as_ref().is_some_and(|mark| mark.is_running) {
            return Err(StoreError::GcRunning { store: self.location.to_string() });
        }
        let mode = match &stored {
            _ if !self.conditional => PutMode::Overwrite,
            None => PutMode::Create,
            Some(mark) => PutMode::Update((&mark.version).into()),
        };
        match self.put(&self.key(MARK)?, &Attributes::default(), &content(true), mode) {
            Ok(result) => {
                *lock(&self.own_gc) = Some(result.into());
                Ok(())
            }
            Err(stop) if is_conflict(&stop) => Err(StoreError::GcRunning { store: self.location.to_string() }),
            Err(stop) => Err(self.stopped("write", MARK, stop)),
        }
    }

    /// Marks the end of a gc. An interruption does not stop this, because an interrupted gc has ended, too.
    pub(super) fn end_gc(&self) -> Result<(), StoreError> {
        let Some(own) = lock(&self.own_gc).take() else { return Ok(()) };
        let mode = if self.conditional { PutMode::Update(own) } else { PutMode::Overwrite };
        let (key, options) = (self.key(MARK)?, PutOptions { mode, ..PutOptions::default() });
        let put = self.client.objects.put_opts(&key, PutPayload::from_bytes(content(false)), options);
        match self.runtime.block_on(async { tokio::time::timeout(END_TIMEOUT, put).await }) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.stopped("write", MARK, Stop::Failed(error))),
            Err(_) => Err(self.stopped("write", MARK, Stop::Interrupted)),
        }
    }
}

fn content(running: bool) -> Bytes {
    serde_json::to_vec(&Content { running, id: fastrand::u64(..) }).unwrap_or_default().into()
}
