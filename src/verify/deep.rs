//! `--deep`: reads and hashes every blob once, however many images share it.
//!
//! Small blobs are read during the walk. Large blobs are read after the walk, the largest first, so that all workers
//! end at about the same time. A blob keeps the list of images that have it until it is read, so that a damaged blob
//! is reported for each of them, whichever thread found it first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use url::Url;

use super::finding::{Finding, Findings};
use super::rule;
use super::source::{Fault, Source};
use crate::progress::Progress;
use oci_discovery::digest::{ContentError, Digest, VerifyingReader};
use oci_discovery::parallel;
use oci_discovery::parallel::lock;
use oci_discovery::seen::Key;

/// Blobs of at least this size are read after the walk. Reading them takes far longer than remembering them.
const LARGE: u64 = 4 * 1024 * 1024;
/// The bytes read and hashed at a time.
const BUFFER_BYTES: usize = 256 * 1024;

#[derive(Clone, Debug)]
pub struct Blob {
    pub url: Url,
    pub digest: Digest,
    pub size: u64,
}

/// The blobs that the walk met, and the outcome of reading them.
#[derive(Debug, Default)]
pub struct Readings {
    states: Mutex<HashMap<Key, State>>,
    large: Mutex<Vec<(Key, Blob)>>,
    vanished: Mutex<Vec<Arc<str>>>,
}

#[derive(Debug)]
enum State {
    /// Not read yet. A finding will be reported for these images.
    Open(Vec<Arc<str>>),
    /// The bytes have the digest.
    Good,
    Bad(Box<Finding>),
}

impl Readings {
    /// Checks a blob of `image`: small ones now, large ones in [`Readings::read_large`].
    pub fn meet(&self, source: &dyn Source, blob: Blob, image: &Arc<str>, findings: &Findings) {
        let key = source.key(&blob.url);
        match lock(&self.states).entry(key) {
            Entry::Vacant(entry) => drop(entry.insert(State::Open(vec![image.clone()]))),
            Entry::Occupied(mut entry) => {
                match entry.get_mut() {
                    State::Good => {}
                    State::Bad(finding) => findings.push(finding.as_ref().clone().of(&**image)),
                    State::Open(images) if images.last() == Some(image) => {}
                    State::Open(images) => images.push(image.clone()),
                }
                return;
            }
        }
        if blob.size >= LARGE {
            lock(&self.large).push((key, blob));
        } else {
            self.settle(key, read(source, &blob, &mut |_| {}), findings);
        }
    }

    /// Reads the large blobs.
    pub fn read_large(&self, source: &dyn Source, jobs: NonZeroUsize, progress: &dyn Progress, findings: &Findings) {
        let mut large = std::mem::take(&mut *lock(&self.large));
        large.sort_by_key(|(_, blob)| std::cmp::Reverse(blob.size));
        progress.start("blobs", large.iter().map(|(_, blob)| blob.size).sum());
        parallel::work(large.into_iter(), jobs, |(key, blob), _| {
            self.settle(key, read(source, &blob, &mut |bytes| progress.advance(bytes)), findings);
        });
        progress.finish();
    }

    /// The images whose blobs disappeared between the walk and the read. They have to be verified again: after a
    /// removal and a gc, an image may not need the blob any more.
    pub fn vanished(&self) -> Vec<Arc<str>> {
        let mut vanished = std::mem::take(&mut *lock(&self.vanished));
        vanished.sort();
        vanished.dedup();
        vanished
    }

    fn settle(&self, key: Key, result: Result<(), Outcome>, findings: &Findings) {
        let (state, finding) = match result {
            Ok(()) => (Some(State::Good), None),
            Err(Outcome::Vanished) => (None, None),
            Err(Outcome::Wrong(finding)) => (Some(State::Bad(Box::new(finding.clone()))), Some(finding)),
        };
        let mut states = lock(&self.states);
        let before = states.remove(&key);
        let is_gone = state.is_none();
        states.extend(state.map(|state| (key, state)));
        drop(states);
        let Some(State::Open(images)) = before else { return };
        findings.extend(finding.iter().flat_map(|finding| images.iter().map(|image| finding.clone().of(&**image))));
        if is_gone {
            lock(&self.vanished).extend(images);
        }
    }
}

enum Outcome {
    Vanished,
    Wrong(Finding),
}

/// Reads one blob. Returns a finding if it is wrong.
pub fn check(source: &dyn Source, blob: &Blob) -> Option<Finding> {
    match read(source, blob, &mut |_| {}) {
        Ok(()) => None,
        Err(Outcome::Wrong(finding)) => Some(finding),
        Err(Outcome::Vanished) => {
            let expected = format!("{} bytes", blob.size);
            Some(Finding::new(&rule::BLOB_MISSING, source.object(&blob.url), expected, "nothing"))
        }
    }
}

fn read(source: &dyn Source, blob: &Blob, advance: &mut dyn FnMut(u64)) -> Result<(), Outcome> {
    let fault = |fault: Fault| {
        let expected = format!("{} bytes", blob.size);
        let finding = fault.finding(source.object(&blob.url), &expected, &rule::BLOB_MISSING);
        finding.filter(|finding| *finding.rule != rule::BLOB_MISSING).map_or(Outcome::Vanished, Outcome::Wrong)
    };
    let reader = source.open(&blob.url, blob.size).map_err(fault)?;
    let mut reader = VerifyingReader::new(reader, &blob.digest, blob.size);
    let mut buffer = vec![0; BUFFER_BYTES.min(blob.size as usize + 1)];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => advance(count as u64),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(match ContentError::of(&error) {
                    Some(error) => Outcome::Wrong(content_finding(source.object(&blob.url), error)),
                    None => fault(source.read_fault(error)),
                });
            }
        }
    }
}

/// The finding for wrong content.
pub fn content_finding(object: String, error: &ContentError) -> Finding {
    match error {
        ContentError::Mismatch { expected, found } => {
            Finding::new(&rule::BLOB_DIGEST, object, expected.as_str(), found.as_str())
        }
        ContentError::TooLong { expected, .. } => {
            Finding::new(&rule::BLOB_SIZE, object, format!("{expected} bytes"), "more")
        }
        ContentError::TooShort { expected, found, .. } => {
            Finding::new(&rule::BLOB_SIZE, object, format!("{expected} bytes"), format!("{found} bytes"))
        }
    }
}
