//! `--deep`: every blob read and hashed, once, however many images share it.
//!
//! Small blobs are read where the walk meets them. Large ones wait until the walk is over and are then read largest first: two
//! workers that end with a large one each would wait for the slower. Whoever comes by a blob that another is reading, or that
//! waits, leaves word, so that a damaged blob is told of every image that has it, whichever thread found it first.

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

/// Blobs of this size and more wait. So many bytes to read outweigh what remembering one costs.
const LARGE: u64 = 4 * 1024 * 1024;
/// How much is read and hashed at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// A blob that should be read.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Where it is.
    pub url: Url,
    /// What its bytes should have.
    pub digest: Digest,
    /// How many there should be.
    pub size: u64,
}

/// What is known of the blobs that were met.
#[derive(Debug, Default)]
pub struct Readings {
    states: Mutex<HashMap<Key, State>>,
    large: Mutex<Vec<(Key, Blob)>>,
    vanished: Mutex<Vec<Arc<str>>>,
}

#[derive(Debug)]
enum State {
    /// To be read, or being read; these images want to know.
    Open(Vec<Arc<str>>),
    /// Read, and right.
    Good,
    /// Read, and this is wrong with it.
    Bad(Box<Finding>),
}

impl Readings {
    /// Meets a blob, which may take reading it. `key` tells it from others; `image` hears what is wrong with it.
    pub fn meet(&self, source: &dyn Source, key: Key, blob: Blob, image: &Arc<str>, findings: &Findings) {
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

    /// Reads what waits.
    pub fn read_large(&self, source: &dyn Source, jobs: NonZeroUsize, progress: &dyn Progress, findings: &Findings) {
        let mut large = std::mem::take(&mut *lock(&self.large));
        large.sort_by_key(|(_, blob)| std::cmp::Reverse(blob.size));
        progress.start("blobs", large.iter().map(|(_, blob)| blob.size).sum());
        parallel::work(large.into_iter(), jobs, |(key, blob), _| {
            self.settle(key, read(source, &blob, &mut |bytes| progress.advance(bytes)), findings);
        });
        progress.finish();
    }

    /// The images of blobs that were there when the walk came by and gone when they were read. They should be looked at
    /// again: a removal and a gc may have come between, and then the image does not need the blob any more.
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

/// Why a blob was not found right.
enum Outcome {
    Vanished,
    Wrong(Finding),
}

/// Reads a blob by itself, and says what is wrong with it.
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

/// Reads all of a blob.
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

/// What wrong content is called.
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
