//! Documents that are computed from a file of the site: once for each version of the file, for all clients that
//! request one.
//!
//! A document is written to an unnamed temporary file and then sent like any other file, so ranges, `HEAD` and 304
//! work. The latest documents are kept. A computation has its own thread, and continues while a client waits for it:
//! the clients hold the job (`Arc`), and the thread does not (`Weak`). A client that has closed its side of the
//! connection counts as gone: the server cannot detect whether it still reads.

#![allow(clippy::disallowed_methods, reason = "its temporary files have no name, and are of no site")]

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::client::has_left;
use super::file_reader::{self, FileReader};
use oci_discovery::digest::{Algorithm, Hasher};
use oci_discovery::json::MAX_INDEX_BYTES;
use oci_discovery::parallel::lock;
use oci_discovery::seen::Key;

/// The number of kept documents. Each has an open file.
pub const MAX_KEPT: usize = 32;
/// The time between two checks of a waiting client.
const LOOK: Duration = Duration::from_millis(10);

/// A computed document.
#[derive(Clone, Debug)]
pub struct Computed {
    /// Its bytes. None: it is empty.
    pub file: Option<Arc<File>>,
    /// In bytes.
    pub length: u64,
    /// The strong entity tag, with quotes.
    pub etag: String,
    /// The result of the computation.
    pub note: String,
}

/// Why there is no document.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ComputeError {
    #[error("the document cannot be computed: {0}")]
    Failed(String),
    #[error("the client left while the document was computed")]
    ClientLeft,
}

impl From<io::Error> for ComputeError {
    fn from(error: io::Error) -> ComputeError {
        ComputeError::Failed(error.to_string())
    }
}

#[derive(Default)]
pub struct Computations {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The jobs in progress, the kept ones, and some that have ended.
    jobs: HashMap<(Version, Key), Weak<Job>>,
    /// The kept documents, the latest last.
    kept: VecDeque<Arc<Job>>,
}

#[derive(Default)]
struct Job {
    outcome: Mutex<Option<Result<Computed, ComputeError>>>,
    finished: Condvar,
}

/// The version of a file: its device and number, its size, and the times of its last changes.
#[derive(PartialEq, Eq, Hash)]
struct Version([u64; 3], [i64; 4]);

impl fmt::Debug for Computations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Computations").field("kept", &lock(&self.state).kept.len()).finish_non_exhaustive()
    }
}

impl Computations {
    /// The document that `write` computes from a file. `what` is the key of its other inputs.
    pub fn get(
        &self,
        file: &Arc<File>,
        what: Key,
        client: Option<&TcpStream>,
        write: impl FnOnce(Source, &mut Output) -> io::Result<String> + Send + 'static,
    ) -> Result<Computed, ComputeError> {
        let job = {
            let mut state = lock(&self.state);
            let key = (Version::of(file)?, what);
            match state.jobs.get(&key).and_then(Weak::upgrade) {
                Some(job) => job,
                None => {
                    let job = Job::begin(file, write)?;
                    state.jobs.retain(|_, job| job.strong_count() > 0);
                    state.jobs.insert(key, Arc::downgrade(&job));
                    job
                }
            }
        };
        let computed = job.wait(client)?;
        self.keep(job);
        Ok(computed)
    }

    fn keep(&self, job: Arc<Job>) {
        let kept = &mut lock(&self.state).kept;
        kept.retain(|known| !Arc::ptr_eq(known, &job));
        kept.push_back(job);
        if kept.len() > MAX_KEPT {
            kept.pop_front();
        }
    }
}

impl Version {
    fn of(file: &File) -> io::Result<Version> {
        let status = file.metadata()?;
        let times = [status.mtime(), status.mtime_nsec(), status.ctime(), status.ctime_nsec()];
        Ok(Version([status.dev(), status.ino(), status.size()], times))
    }
}

impl Job {
    fn begin(
        file: &Arc<File>,
        write: impl FnOnce(Source, &mut Output) -> io::Result<String> + Send + 'static,
    ) -> io::Result<Arc<Job>> {
        let job = Arc::new(Job::default());
        let waited_for = Arc::downgrade(&job);
        let source = Source { reader: FileReader::new(Arc::clone(file), 0), job: Weak::clone(&waited_for) };
        std::thread::Builder::new().spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let mut out = Output::new(MAX_INDEX_BYTES);
                let note = write(source, &mut out)?;
                out.finish(note)
            }));
            // After a panic, the clients must not wait for ever.
            let outcome = outcome.unwrap_or_else(|_| Err(io::Error::other("the program panicked")));
            if let Some(job) = waited_for.upgrade() {
                *lock(&job.outcome) = Some(outcome.map_err(ComputeError::from));
                job.finished.notify_all();
            }
        })?;
        Ok(job)
    }

    fn wait(&self, client: Option<&TcpStream>) -> Result<Computed, ComputeError> {
        let mut outcome = lock(&self.outcome);
        loop {
            let waited = self.finished.wait_timeout_while(outcome, LOOK, |outcome| outcome.is_none());
            outcome = waited.unwrap_or_else(PoisonError::into_inner).0;
            match &*outcome {
                Some(outcome) => return outcome.clone(),
                None if client.is_some_and(has_left) => return Err(ComputeError::ClientLeft),
                None => {}
            }
        }
    }
}

/// The input file. Reading fails when no client waits any more.
#[derive(Clone)]
pub struct Source {
    reader: FileReader,
    job: Weak<Job>,
}

impl Source {
    pub fn copy(&self, start: u64, end: u64, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let part = Source { reader: self.reader.at(start), job: Weak::clone(&self.job) };
        file_reader::copy(part.take(end - start), out)
    }
}

impl Read for Source {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.job.strong_count() == 0 {
            return Err(io::Error::other("no client waits for the document"));
        }
        self.reader.read(bytes)
    }
}

/// The output: a temporary file, created for the first byte.
pub struct Output {
    file: Option<BufWriter<File>>,
    hasher: Hasher,
    length: u64,
    max: u64,
}

impl Output {
    fn new(max: u64) -> Output {
        Output { file: None, hasher: Hasher::new(Algorithm::Sha256), length: 0, max }
    }

    fn finish(self, note: String) -> io::Result<Computed> {
        let file =
            self.file.map(|file| file.into_inner().map_err(|error| unwritten(error.into_error()))).transpose()?;
        let etag = format!("\"{}\"", self.hasher.finish());
        Ok(Computed { file: file.map(Arc::new), length: self.length, etag, note })
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.length += bytes.len() as u64;
        if self.length > self.max {
            return Err(io::Error::other(format!("it would be larger than {} bytes", self.max)));
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::new(tempfile::tempfile().map_err(unwritten)?)),
        };
        file.write_all(bytes).map_err(unwritten)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unwritten(error: io::Error) -> io::Error {
    let directory = std::env::temp_dir();
    let directory = directory.display();
    io::Error::other(format!(
        "cannot write a temporary file below {directory}: {error}; set TMPDIR to another directory"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::connections::pair;
    use std::sync::mpsc::channel;

    fn compute(
        computations: &Computations,
        client: Option<&TcpStream>,
        write: impl FnOnce(Source, &mut Output) -> io::Result<String> + Send + 'static,
    ) -> Result<Computed, ComputeError> {
        let file = Arc::new(tempfile::tempfile().unwrap());
        file.set_len(1 << 40).unwrap();
        computations.get(&file, 0, client, write)
    }

    #[test]
    fn a_computation_ends_with_the_last_client_that_waits() {
        // Given: a client that has asked, and has closed its side of the connection.
        let (other_end, client) = pair();
        drop(other_end);
        // When: its document takes days.
        let (ended, end) = channel();
        let answer = compute(&Computations::default(), Some(client.as_ref()), move |mut source, _| {
            let copied = io::copy(&mut source, &mut io::sink());
            ended.send(copied.is_err()).unwrap();
            Ok(String::new())
        });
        // Then: neither it nor the computation goes on.
        assert!(matches!(answer, Err(ComputeError::ClientLeft)), "{answer:?}");
        assert!(end.recv().unwrap());
    }

    #[test]
    fn what_fails_is_an_error_and_is_not_kept() {
        let computations = Computations::default();
        let failed = compute(&computations, None, |_, _| panic!("on purpose")).unwrap_err();
        assert!(failed.to_string().contains("panicked"), "{failed}");
        let failed = compute(&computations, None, |_, _| Err(io::Error::other("damaged"))).unwrap_err();
        assert!(failed.to_string().contains("damaged"), "{failed}");
        assert_eq!(lock(&computations.state).kept.len(), 0);
    }

    #[test]
    fn a_document_has_a_largest_size() {
        let mut out = Output::new(10);
        out.write_all(b"0123456789").unwrap();
        assert!(out.write_all(b"0").unwrap_err().to_string().contains("10 bytes"));
    }
}
