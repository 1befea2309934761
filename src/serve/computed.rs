//! Documents that are computed from a file of the site: once for each version of the file, for all clients that
//! request one.
//!
//! A document is written to an unnamed temporary file and then sent like any other file, so ranges, `HEAD` and 304
//! work. The latest documents are kept. A computation has a thread with buffers, so only a few run at a time, and the
//! others wait. It continues while a client waits for it: the clients hold the job (`Arc`), and the thread does not
//! (`Weak`). A client that has closed its side of the connection counts as gone: the server cannot detect whether it
//! still reads.

#![allow(clippy::disallowed_methods, reason = "its temporary files have no name, and are of no site")]

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::client::has_left;
use super::connections::network;
use super::file_reader::{self, FileReader};
use oci_discovery::digest::{Algorithm, Hasher};
use oci_discovery::json::MAX_INDEX_BYTES;
use oci_discovery::parallel::lock;
use oci_discovery::seen::Key;

/// The number of kept documents. Each has an open file.
pub const MAX_KEPT: usize = 32;
/// The most computations at a time.
const MAX_COMPUTING: usize = 4;
/// The most peers whose latest turns are known: as many as there are connections.
const MAX_PEERS: usize = 256;
/// The time that a client waits for a computation to begin.
const WAIT: Duration = Duration::from_secs(30);
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
    #[error("too many documents are being computed: try again later")]
    Busy,
}

impl From<io::Error> for ComputeError {
    fn from(error: io::Error) -> ComputeError {
        ComputeError::Failed(error.to_string())
    }
}

pub struct Computations {
    state: Arc<Mutex<State>>,
    /// The time that a client waits for a computation to begin.
    wait: Duration,
}

#[derive(Default)]
struct State {
    /// The computations that have not begun, in the order of their requests.
    queue: Vec<Task>,
    /// The number of threads that compute.
    computing: usize,
    /// The peers for which a computation began, the latest last.
    served: Vec<Peer>,
    /// The jobs in progress, the kept ones, and some that have ended.
    jobs: HashMap<(Version, Key), Weak<Job>>,
    /// The kept documents, the latest last.
    kept: VecDeque<Arc<Job>>,
}

#[derive(Default)]
struct Job {
    progress: Mutex<Progress>,
    finished: Condvar,
}

#[derive(Default)]
enum Progress {
    #[default]
    Queued,
    Computing,
    Ended(Result<Computed, ComputeError>),
}

/// A computation that has not begun.
struct Task {
    job: Weak<Job>,
    /// The peers of the clients that wait for it.
    peers: Vec<Peer>,
    run: Box<dyn FnOnce() + Send>,
}

/// A peer, as [`network`] tells peers apart. None: the address is unknown.
type Peer = Option<IpAddr>;

/// The version of a file: its device and number, its size, and the times of its last changes.
#[derive(PartialEq, Eq, Hash)]
struct Version([u64; 3], [i64; 4]);

impl fmt::Debug for Computations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Computations").field("kept", &lock(&self.state).kept.len()).finish_non_exhaustive()
    }
}

impl Default for Computations {
    fn default() -> Computations {
        Computations { state: Arc::default(), wait: WAIT }
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
        let peer = client.and_then(|client| Some(network(client.peer_addr().ok()?.ip())));
        let job = {
            let mut state = lock(&self.state);
            let key = (Version::of(file)?, what);
            match state.jobs.get(&key).and_then(Weak::upgrade) {
                Some(job) => {
                    state.join(&job, peer);
                    job
                }
                None => {
                    let job = Arc::new(Job::default());
                    state.jobs.retain(|_, job| job.strong_count() > 0);
                    state.jobs.insert(key, Arc::downgrade(&job));
                    state.enter(Task::new(&job, peer, file, write));
                    self.work(&mut state)?;
                    job
                }
            }
        };
        let computed = job.wait(client, self.wait)?;
        self.keep(job);
        Ok(computed)
    }

    /// Begins a thread for the queue, unless there are enough.
    fn work(&self, state: &mut State) -> io::Result<()> {
        if state.computing == MAX_COMPUTING {
            return Ok(());
        }
        let shared = Arc::clone(&self.state);
        std::thread::Builder::new().spawn(move || {
            // The lock is held only here.
            let next = || lock(&shared).next();
            while let Some(task) = next() {
                (task.run)();
            }
        })?;
        state.computing += 1;
        Ok(())
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

impl State {
    /// Adds a computation to the queue, without those for which no client waits any more.
    fn enter(&mut self, task: Task) {
        self.queue.retain(|task| task.job.strong_count() > 0);
        self.queue.push(task);
    }

    /// Records that a client of this peer waits, too.
    fn join(&mut self, job: &Arc<Job>, peer: Peer) {
        let queued = self.queue.iter_mut().find(|task| task.job.as_ptr() == Arc::as_ptr(job));
        if let Some(task) = queued.filter(|task| !task.peers.contains(&peer)) {
            task.peers.push(peer);
        }
    }

    /// Takes the next computation: the first one of the peer for which none has begun for the longest time. So a peer
    /// that requests many documents delays mostly itself. None: the thread ends.
    fn next(&mut self) -> Option<Task> {
        self.queue.retain(|task| task.job.strong_count() > 0);
        let turn = |peer: &Peer| self.served.iter().position(|served| served == peer);
        let turn = |task: &Task| task.peers.iter().map(turn).min();
        let Some(number) = (0..self.queue.len()).min_by_key(|number| turn(&self.queue[*number])) else {
            self.computing -= 1;
            return None;
        };
        let task = self.queue.remove(number);
        self.served.retain(|peer| !task.peers.contains(peer));
        self.served.extend(&task.peers);
        self.served.drain(..self.served.len().saturating_sub(MAX_PEERS));
        Some(task)
    }
}

impl Task {
    fn new(
        job: &Arc<Job>,
        peer: Peer,
        file: &Arc<File>,
        write: impl FnOnce(Source, &mut Output) -> io::Result<String> + Send + 'static,
    ) -> Task {
        let waited_for = Arc::downgrade(job);
        let source = Source { reader: FileReader::new(Arc::clone(file), 0), job: Weak::clone(&waited_for) };
        let run = move || {
            let advance = |progress| waited_for.upgrade().map(|job| job.advance(progress));
            advance(Progress::Computing);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let mut out = Output::new(MAX_INDEX_BYTES);
                let note = write(source, &mut out)?;
                out.finish(note)
            }));
            // After a panic, the clients must not wait for ever.
            let outcome = outcome.unwrap_or_else(|_| Err(io::Error::other("the program panicked")));
            advance(Progress::Ended(outcome.map_err(ComputeError::from)));
        };
        Task { job: Arc::downgrade(job), peers: vec![peer], run: Box::new(run) }
    }
}

impl Job {
    fn advance(&self, progress: Progress) {
        *lock(&self.progress) = progress;
        self.finished.notify_all();
    }

    /// Waits for the end, and at most `limit` for the beginning.
    fn wait(&self, client: Option<&TcpStream>, limit: Duration) -> Result<Computed, ComputeError> {
        let begin = Instant::now();
        let mut progress = lock(&self.progress);
        loop {
            let goes_on = |progress: &mut Progress| !matches!(progress, Progress::Ended(_));
            let waited = self.finished.wait_timeout_while(progress, LOOK, goes_on);
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
            match &*progress {
                Progress::Ended(outcome) => return outcome.clone(),
                _ if client.is_some_and(has_left) => return Err(ComputeError::ClientLeft),
                Progress::Queued if begin.elapsed() > limit => return Err(ComputeError::Busy),
                Progress::Queued | Progress::Computing => {}
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
    fn a_few_documents_are_computed_at_a_time_and_the_others_wait_for_a_limited_time() {
        let computations = Computations { wait: Duration::ZERO, ..Computations::default() };
        let (begun, begin) = channel();
        std::thread::scope(|scope| {
            // Given: as many computations as there may be at a time. They end when they can receive nothing any more.
            let ends: Vec<_> = (0..MAX_COMPUTING)
                .map(|_| {
                    let (end, wait) = channel::<()>();
                    let (computations, begun) = (&computations, begun.clone());
                    scope.spawn(move || {
                        compute(computations, None, move |_, _| {
                            begun.send(()).unwrap();
                            Ok(wait.recv().map_or(String::new(), |()| String::new()))
                        })
                    });
                    begin.recv().unwrap();
                    end
                })
                .collect();
            // Then: another one does not begin.
            let refused = compute(&computations, None, |_, _| Ok(String::new())).unwrap_err();
            assert!(matches!(refused, ComputeError::Busy), "{refused}");
            // When: they have ended, then others begin.
            drop(ends);
        });
        let patient = Computations { state: Arc::clone(&computations.state), wait: WAIT };
        assert!(compute(&patient, None, |_, _| Ok(String::new())).is_ok());
    }

    #[test]
    fn peers_take_turns() {
        // Given: five computations of one peer, then two of another, the first of which a third one wants, too.
        let job = Arc::new(Job::default());
        let shared = Arc::new(Job::default());
        let [first, second, third] = [1, 2, 3].map(|last| Some(IpAddr::from([192, 0, 2, last])));
        let mut state = State { computing: 1, ..State::default() };
        let file = Arc::new(tempfile::tempfile().unwrap());
        for (job, peer) in [(&job, first); 5].into_iter().chain([(&shared, second), (&job, second)]) {
            state.enter(Task::new(job, peer, &file, |_, _| Ok(String::new())));
        }
        state.join(&shared, third);
        // Then: they take turns.
        let order: Vec<_> = std::iter::from_fn(|| state.next()).map(|task| task.peers[0]).collect();
        assert_eq!(order, [first, second, first, second, first, first, first]);
        assert_eq!((state.computing, state.served.len()), (0, 3));
    }

    #[test]
    fn a_document_has_a_largest_size() {
        let mut out = Output::new(10);
        out.write_all(b"0123456789").unwrap();
        assert!(out.write_all(b"0").unwrap_err().to_string().contains("10 bytes"));
    }
}
