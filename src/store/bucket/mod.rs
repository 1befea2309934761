//! A bucket of an object store: S3 and compatible stores, Google Cloud Storage, Azure Blob Storage.
//!
//! Many machines publish into one bucket at once, and a bucket has no lock. Therefore documents change by
//! compare-and-swap: a write succeeds only if the document still has the ETag that was read. Blobs need no condition,
//! because a path with a digest always gets the same bytes. Nothing that this process wrote is removed after a
//! failure, because another publisher may have found it and refer to it.
//!
//! The rest of the program is synchronous. The runtime of the client is private to the store; a call blocks its thread
//! until the response is complete, and several threads may call at once.

mod connect;
mod endpoint;
mod gc_mark;
mod pages;
mod presence;
mod problem;
mod signed;
mod slash_key;
mod upload;
mod uploads;

use std::fmt;
use std::future::Future;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::ops::AsyncFn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};
use futures_util::future::{Either, select};
use futures_util::stream::{BoxStream, StreamExt};
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, GetOptions, ListResult, ObjectMeta, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    PutResult, UpdateVersion,
};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

pub use self::connect::Variables;
use self::connect::{Client, connect};
use self::pages::Pages;
use self::problem::Failure;
use super::gc_mark::GcMark;
use super::{
    BlobSource, BucketLocation, BucketProblem, Changes, Conflict, Expected, Interrupt, Link, Location, Lock,
    MIN_PART_SIZE, Stat, Store, StoreError, StoreOptions, StoredDocument, Upload, Version, Written,
};
use crate::outbound::object_store::{Budget, Unusable};
use crate::root::FileError;
use crate::site::path::PRIVATE_DIRECTORY;
use crate::site::{Kind, SitePath};
use oci_discovery::digest::Digest;

/// Threads of the runtime. They wait for sockets; hashing happens on the callers' threads.
const RUNTIME_THREADS: usize = 2;
/// The time between two checks for an interruption.
const INTERRUPT_POLL: Duration = Duration::from_millis(50);
/// The attempts of a call whose connection breaks, each with the retries of the client.
const MAX_ATTEMPTS: u32 = 5;
/// The longest first pause between attempts; each further pause is up to twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The largest object that S3 copies in one request.
const MAX_COPY_BYTES: u64 = 5 * 1024 * 1024 * 1024;
/// The object that shows whether the store honours conditions.
const PROBE: &str = ".ocisite/conditional-writes";
const PROBE_CONTENT: &[u8] = b"ocisite writes this object to learn whether the store honours conditional writes.\n";
/// A version that no object has: an ETag, and a generation for Google's store.
const NO_VERSION: &str = "\"00000000000000000000000000000000\"";

/// A bucket, or a part of a bucket below a prefix.
pub struct BucketStore {
    location: BucketLocation,
    client: Client,
    runtime: Runtime,
    part_size: u64,
    conditional: bool,
    interrupt: Interrupt,
    changes: Changes,
    /// Limits the memory of the parts of uploads.
    parts_in_flight: Arc<Semaphore>,
    /// The conditions that the store has proved to honour.
    honoured: Mutex<Honoured>,
    /// The mark of the gc that this process runs.
    own_gc: Mutex<Option<UpdateVersion>>,
}

#[derive(Clone, Copy, Default)]
struct Honoured {
    create: bool,
    update: bool,
}

enum Stop {
    Failed(object_store::Error),
    Interrupted,
}

impl fmt::Debug for BucketStore {
    // Written by hand: the client's own form contains credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BucketStore").field(&self.location.to_string()).finish()
    }
}

impl BucketStore {
    /// Creates the client of a bucket, with settings from the environment. No request is sent.
    ///
    /// # Errors
    /// The settings are incomplete.
    pub fn open(location: &BucketLocation, options: &StoreOptions) -> Result<BucketStore, StoreError> {
        BucketStore::with_settings(location, options, &connect::process_variables())
    }

    /// [`BucketStore::open`] with other settings than the environment's: `AWS_REGION`, `AZURE_STORAGE_ACCOUNT_NAME`, …
    ///
    /// # Errors
    /// The settings are incomplete.
    pub fn with_settings(
        location: &BucketLocation,
        options: &StoreOptions,
        settings: &Variables,
    ) -> Result<BucketStore, StoreError> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build().map_err(
                |source| FileError::Io { action: "start the threads for", path: location.to_string().into(), source },
            )?;
        Ok(BucketStore {
            location: location.clone(),
            client: connect(location, settings)?,
            runtime,
            part_size: options.part_size.max(MIN_PART_SIZE),
            conditional: options.conditional,
            interrupt: options.interrupt.clone(),
            changes: options.changes.of_store(&Location::Bucket(location.clone())),
            parts_in_flight: Arc::new(Semaphore::new(upload::PARTS_IN_FLIGHT)),
            honoured: Mutex::default(),
            own_gc: Mutex::default(),
        })
    }

    fn key(&self, path: &str) -> Result<Key, StoreError> {
        let text = match &self.location.prefix {
            Some(prefix) => format!("{prefix}/{path}"),
            None => path.to_string(),
        };
        Key::parse(&text).map_err(|_| StoreError::Bucket {
            action: "use",
            object: self.url(path),
            problem: BucketProblem::Settings { what: "the path is no key of an object store".into() },
        })
    }

    /// The path of a key. None: the key is not below the prefix, or is invalid as a path.
    fn path(&self, key: &str) -> Option<SitePath> {
        let relative = match &self.location.prefix {
            Some(prefix) => key.strip_prefix(prefix.as_str())?.strip_prefix('/')?,
            None => key,
        };
        SitePath::new(relative).ok()
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.location)
    }

    /// Waits for one call, or for an interruption.
    fn wait<T>(&self, call: impl Future<Output = object_store::Result<T>>) -> Result<T, Stop> {
        let interrupted = async {
            while !self.interrupt.is_set() {
                tokio::time::sleep(INTERRUPT_POLL).await;
            }
        };
        self.runtime.block_on(async {
            match select(pin!(call), pin!(interrupted)).await {
                Either::Left((result, _)) => result.map_err(Stop::Failed),
                Either::Right(_) => Err(Stop::Interrupted),
            }
        })
    }

    /// Repeats a call while its connection breaks, up to the limit of attempts.
    fn run<T>(&self, call: impl AsyncFn() -> object_store::Result<T>) -> Result<T, Stop> {
        let mut attempt = 1;
        loop {
            match self.wait(call()) {
                Err(Stop::Failed(error)) if attempt < MAX_ATTEMPTS && Failure::of(&error).is_transport() => {
                    self.pause(attempt);
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// Waits before a repetition, each time longer, and for a random time so that publishers spread out.
    fn pause(&self, attempt: u32) {
        let most = FIRST_DELAY * 2_u32.pow(attempt);
        let delay = most.mul_f64(0.5 + fastrand::f64() / 2.0);
        // The pause is short, and the next call checks for an interruption.
        std::thread::sleep(delay);
    }

    fn stopped(&self, action: &'static str, path: &str, stop: Stop) -> StoreError {
        match stop {
            Stop::Interrupted => StoreError::Interrupted { store: self.name() },
            Stop::Failed(error) => {
                let problem = Failure::of(&error).problem(&self.client.endpoint);
                StoreError::Bucket { action, object: self.url(path), problem }
            }
        }
    }

    /// Whether an object is missing, as opposed to its bucket.
    fn is_absent(&self, stop: &Stop) -> bool {
        let Stop::Failed(error @ object_store::Error::NotFound { .. }) = stop else { return false };
        !matches!(Failure::of(error).problem(&self.client.endpoint), BucketProblem::NoBucket { .. })
    }

    /// The attributes with which the bucket's own HTTP endpoint serves the object.
    fn attributes(kind: &Kind) -> Attributes {
        [(Attribute::ContentType, kind.content_type().into_owned()), (Attribute::CacheControl, kind.cache_control())]
            .into_iter()
            .collect()
    }

    fn put(&self, key: &Key, attributes: &Attributes, bytes: &Bytes, mode: PutMode) -> Result<PutResult, Stop> {
        let options = || PutOptions { mode: mode.clone(), attributes: attributes.clone(), ..PutOptions::default() };
        let call = async || self.client.objects.put_opts(key, PutPayload::from_bytes(bytes.clone()), options()).await;
        // Overwriting can be repeated. A conditional write cannot: the first one may have succeeded although its
        // response was lost.
        if mode == PutMode::Overwrite { self.run(call) } else { self.wait(call()) }
    }

    /// Writes under a condition. If the response is lost, reads the document to find out whether this write succeeded,
    /// another writer's did, or none.
    fn put_conditionally(
        &self,
        path: &SitePath,
        kind: &Kind,
        bytes: &[u8],
        expected: &Expected,
    ) -> Result<(), StoreError> {
        let key = self.key(path.as_str())?;
        let bytes = Bytes::copy_from_slice(bytes);
        let mode = match expected {
            Expected::Absent => PutMode::Create,
            Expected::Version(version) => PutMode::Update(version.into()),
        };
        let mut attempt = 1;
        loop {
            let stop = match self.put(&key, &Self::attributes(kind), &bytes, mode.clone()) {
                Ok(_) => return Ok(()),
                Err(stop) if is_conflict(&stop) => return Err(Conflict { path: path.clone() }.into()),
                Err(stop) => stop,
            };
            let is_unheard = matches!(&stop, Stop::Failed(error) if Failure::of(error).is_transport());
            if !is_unheard || attempt == MAX_ATTEMPTS {
                return Err(self.stopped("write", path.as_str(), stop));
            }
            self.pause(attempt);
            attempt += 1;
            if self.current(path)? == *expected {
                continue;
            }
            return match self.read_document(path, bytes.len() as u64) {
                Ok(Some(stored)) if stored.bytes == bytes => Ok(()),
                Ok(_) | Err(StoreError::TooLarge { .. }) => Err(Conflict { path: path.clone() }.into()),
                Err(error) => Err(error),
            };
        }
    }

    /// The current version of a document.
    fn current(&self, path: &SitePath) -> Result<Expected, StoreError> {
        Ok(self.head(path)?.map_or(Expected::Absent, |(meta, _)| Expected::Version(version(&meta))))
    }

    /// Compares and writes in two steps, for stores without conditional writes.
    fn put_without_condition(
        &self,
        path: &SitePath,
        kind: &Kind,
        bytes: &[u8],
        expected: &Expected,
    ) -> Result<(), StoreError> {
        if self.current(path)? != *expected {
            return Err(Conflict { path: path.clone() }.into());
        }
        let (key, attributes) = (self.key(path.as_str())?, Self::attributes(kind));
        self.put(&key, &attributes, &Bytes::copy_from_slice(bytes), PutMode::Overwrite)
            .map(drop)
            .map_err(|stop| self.stopped("write", path.as_str(), stop))
    }

    /// Checks once that the store refuses a write whose condition is false.
    fn check_condition(&self, expected: &Expected) -> Result<(), StoreError> {
        let mut honoured = self.honoured.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let key = self.key(PROBE)?;
        let content = Bytes::from_static(PROBE_CONTENT);
        let is_refused = |mode: PutMode| match self.put(&key, &Attributes::default(), &content, mode) {
            Ok(_) => Ok(false),
            Err(stop) if is_conflict(&stop) => Ok(true),
            Err(Stop::Failed(object_store::Error::NotImplemented { .. })) => Ok(false),
            Err(stop) => Err(self.stopped("write", PROBE, stop)),
        };
        let condition = match expected {
            Expected::Absent if honoured.create => return Ok(()),
            Expected::Version(_) if honoured.update => return Ok(()),
            // The first write creates the object, unless an earlier publish did; the store must refuse the second one.
            Expected::Absent if is_refused(PutMode::Create)? || is_refused(PutMode::Create)? => {
                honoured.create = true;
                return Ok(());
            }
            Expected::Version(_) if is_refused(PutMode::Update((&Version(NO_VERSION.into())).into()))? => {
                honoured.update = true;
                return Ok(());
            }
            Expected::Absent => "If-None-Match",
            Expected::Version(_) => "If-Match",
        };
        Err(StoreError::Unconditional { store: self.name(), condition })
    }

    /// Reads the listing of a prefix, page by page.
    fn each_page(&self, prefix: &str, visit: &mut dyn FnMut(ListResult)) -> Result<(), StoreError> {
        let start = match (&self.location.prefix, prefix) {
            (None, prefix) => prefix.to_string(),
            (Some(own), prefix) => format!("{own}/{prefix}"),
        };
        let (mut pages, mut page_token) = (Pages::default(), None);
        loop {
            let page = self.page(&start, None, page_token).map_err(|stop| self.stopped("list", prefix, stop))?;
            if page.page_token.is_some() {
                pages.next(keys(&page.result)).map_err(|problem| self.endless(problem))?;
            }
            visit(page.result);
            if page.page_token.is_none() {
                return Ok(());
            }
            page_token = page.page_token;
        }
    }

    fn endless(&self, problem: BucketProblem) -> StoreError {
        StoreError::Bucket { action: "list", object: self.name(), problem }
    }

    /// An object, with its bytes if they are at most `limit`. None: missing.
    fn read_up_to(&self, path: &str, limit: u64) -> Result<Option<(ObjectMeta, Option<Bytes>)>, StoreError> {
        let key = self.key(path)?;
        let call = async || {
            let result = self.client.objects.get_opts(&key, reading(limit)).await?;
            let meta = result.meta.clone();
            let bytes = if meta.size > limit { None } else { Some(result.bytes().await?) };
            Ok((meta, bytes))
        };
        match self.run(call) {
            Ok(found) => Ok(Some(found)),
            Err(stop) if self.is_absent(&stop) => Ok(None),
            Err(stop) => Err(self.stopped("read", path, stop)),
        }
    }

    /// The stat of an object, and its attributes.
    fn head(&self, path: &SitePath) -> Result<Option<(ObjectMeta, Attributes)>, StoreError> {
        let key = self.key(path.as_str())?;
        let call = async || {
            let result = self.client.objects.get_opts(&key, GetOptions { head: true, ..GetOptions::default() }).await?;
            Ok((result.meta, result.attributes))
        };
        match self.run(call) {
            Ok(found) => Ok(Some(found)),
            Err(stop) if self.is_absent(&stop) => Ok(None),
            Err(stop) => Err(self.stopped("look at", path.as_str(), stop)),
        }
    }
}

impl Store for BucketStore {
    fn name(&self) -> String {
        self.location.to_string()
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn stat(&self, path: &SitePath) -> Result<Option<Stat>, StoreError> {
        Ok(self.head(path)?.map(|(meta, _)| stat(&meta)))
    }

    fn stats(&self, paths: &[SitePath], jobs: NonZeroUsize) -> Result<Vec<Option<Stat>>, StoreError> {
        presence::stats(self, paths, jobs)
    }

    fn read_document(&self, path: &SitePath, limit: u64) -> Result<Option<StoredDocument>, StoreError> {
        match self.read_up_to(path.as_str(), limit)? {
            Some((meta, Some(bytes))) => Ok(Some(StoredDocument { bytes: bytes.into(), version: version(&meta) })),
            Some((_, None)) => Err(StoreError::TooLarge { path: self.url(path.as_str()).into(), limit }),
            None => Ok(None),
        }
    }

    fn open(&self, path: &SitePath) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let key = self.key(path.as_str())?;
        match self.run(async || self.client.objects.get_opts(&key, reading(u64::MAX)).await) {
            Ok(result) => Ok(Some(Box::new(Reader {
                runtime: self.runtime.handle().clone(),
                chunks: result.into_stream(),
                chunk: Bytes::new(),
                url: self.url(path.as_str()),
                endpoint: self.client.endpoint.clone(),
            }))),
            Err(stop) if self.is_absent(&stop) => Ok(None),
            Err(stop) => Err(self.stopped("read", path.as_str(), stop)),
        }
    }

    fn write_document(
        &self,
        path: &SitePath,
        kind: &Kind,
        bytes: &[u8],
        expected: &Expected,
    ) -> Result<(), StoreError> {
        self.changes.add(path);
        self.put_slash_key(kind)?;
        if !self.conditional {
            return self.put_without_condition(path, kind, bytes, expected);
        }
        self.check_condition(expected)?;
        self.put_conditionally(path, kind, bytes, expected)
    }

    fn keep_document(&self, path: &SitePath, kind: &Kind) -> Result<(), StoreError> {
        match self.lacks_slash_key(kind)? {
            true => {
                self.changes.add(path);
                self.put_slash_key(kind)
            }
            false => Ok(()),
        }
    }

    fn write_blob(&self, path: &SitePath, kind: &Kind, source: &dyn BlobSource) -> Result<Written, StoreError> {
        self.upload(path, kind, source)?;
        Ok(Written::Copied)
    }

    fn link_blob(&self, from: &SitePath, to: &SitePath, link: &Link<'_>) -> Result<Written, StoreError> {
        let missing = || self.stopped("copy", from.as_str(), Stop::Failed(not_found(from)));
        let (meta, attributes) = self.head(from)?.ok_or_else(missing)?;
        // A copy inside the store keeps the attributes, so it is used only if they are right.
        let is_served_alike =
            Self::attributes(link.kind).iter().all(|(name, value)| attributes.get(name) == Some(value));
        if is_served_alike && meta.size <= MAX_COPY_BYTES {
            if link.is_hashed() {
                let reader = self.open(from)?.ok_or_else(missing)?;
                link.hash(reader, self.url(from.as_str()))?;
            }
            let (from, to_key) = (self.key(from.as_str())?, self.key(to.as_str())?);
            return match self.run(async || self.client.objects.copy(&from, &to_key).await) {
                Ok(()) => Ok(Written::Linked),
                Err(stop) => Err(self.stopped("copy to", to.as_str(), stop)),
            };
        }
        self.write_blob(to, link.kind, &StoredBlob { store: self, path: from, digest: link.digest, size: link.size })
    }

    fn delete(&self, path: &SitePath) -> Result<(), StoreError> {
        self.changes.add(path);
        self.delete_slash_key(path)?;
        let key = self.key(path.as_str())?;
        match self.run(async || self.client.objects.delete(&key).await) {
            Ok(()) => Ok(()),
            Err(stop) if self.is_absent(&stop) => Ok(()),
            Err(stop) => Err(self.stopped("remove", path.as_str(), stop)),
        }
    }

    fn restore(&self) -> Result<(), StoreError> {
        // Other publishers may have changed these documents again.
        Ok(())
    }

    fn take_back(&self, _blobs: &[SitePath]) -> Result<(), StoreError> {
        // Another publisher may have found the blobs and refer to them. A gc removes unreferenced ones.
        Ok(())
    }

    fn scan(&self, prefix: &str, visit: &mut dyn FnMut(SitePath, Result<Stat, FileError>)) -> Result<(), StoreError> {
        self.each_page(prefix, &mut |result| {
            for meta in result.objects {
                let Some(path) = self.path(meta.location.as_ref()) else { continue };
                if path.top() != PRIVATE_DIRECTORY {
                    visit(path, Ok(stat(&meta)));
                }
            }
        })
    }

    fn list_unusable(&self, visit: &mut dyn FnMut(&str)) -> Result<(), StoreError> {
        self.each_page("", &mut |result| {
            // A key that ends in a slash is how consoles show an empty directory, and holds nothing.
            let is_told = |key: &&str| self.path(key).is_none() && !key.ends_with('/');
            keys(&result).filter(is_told).for_each(&mut *visit);
        })
    }

    fn keeps_media_types(&self) -> bool {
        true
    }

    fn has_lock(&self) -> bool {
        false
    }

    fn lock(&self, _wait: Duration) -> Result<Box<dyn Lock>, StoreError> {
        // A lock object would outlive a killed holder. Instead, writes of documents are conditional.
        Ok(Box::new(NoLock))
    }

    fn begin_gc(&self) -> Result<(), StoreError> {
        self.begin_gc()
    }

    fn end_gc(&self) -> Result<(), StoreError> {
        self.end_gc()
    }

    fn gc_mark(&self) -> Result<Option<GcMark>, StoreError> {
        self.read_gc_mark()
    }

    fn flush(&self) -> Result<(), StoreError> {
        // A write is durable when the store answers.
        Ok(())
    }

    fn abandoned_uploads(&self, before: SystemTime) -> Result<Option<Vec<Upload>>, StoreError> {
        self.uploads_before(before)
    }

    fn abort_upload(&self, upload: &Upload) -> Result<(), StoreError> {
        self.abort(upload)
    }
}

#[derive(Debug)]
struct NoLock;

impl Lock for NoLock {}

/// A blob of this store, as the source of another.
struct StoredBlob<'a> {
    store: &'a BucketStore,
    path: &'a SitePath,
    digest: &'a Digest,
    size: u64,
}

impl BlobSource for StoredBlob<'_> {
    fn digest(&self) -> &Digest {
        self.digest
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self) -> Result<super::Content, StoreError> {
        super::Content::of(self.store, self.path)
    }

    fn advanced(&self, _bytes: u64) {}
}

/// Reads an object while its bytes arrive.
struct Reader {
    runtime: tokio::runtime::Handle,
    chunks: BoxStream<'static, object_store::Result<Bytes>>,
    chunk: Bytes,
    url: String,
    endpoint: endpoint::Endpoint,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(self.chunks.next()) {
                None => return Ok(0),
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => {
                    let problem = Failure::of(&error).problem(&self.endpoint);
                    let error = StoreError::Bucket { action: "read", object: self.url.clone(), problem };
                    return Err(io::Error::other(error));
                }
            }
        }
        let count = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Options that limit a read to `limit` bytes.
fn reading(limit: u64) -> GetOptions {
    let mut options = GetOptions::default();
    options.extensions.insert(Budget::of(limit));
    options
}

fn stat(meta: &ObjectMeta) -> Stat {
    Stat { size: meta.size, modified: meta.last_modified.into() }
}

/// The keys of a page, those that the library cannot hold first.
fn keys(page: &ListResult) -> impl Iterator<Item = &str> {
    let unusable = page.extensions.get::<Unusable>().into_iter().flat_map(|Unusable(keys)| keys);
    unusable.map(String::as_str).chain(page.objects.iter().map(|meta| meta.location.as_ref()))
}

/// The value that the store compares: an ETag, or a generation on Google's store. Both are kept, one on each line.
fn version(meta: &ObjectMeta) -> Version {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    Version(format!("{}\n{}", part(&meta.e_tag), part(&meta.version)))
}

impl From<&Version> for UpdateVersion {
    fn from(version: &Version) -> UpdateVersion {
        let (e_tag, generation) = version.0.split_once('\n').unwrap_or((&version.0, "1"));
        let some = |text: &str| (!text.is_empty()).then(|| text.to_string());
        UpdateVersion { e_tag: some(e_tag), version: some(generation) }
    }
}

fn is_conflict(stop: &Stop) -> bool {
    use object_store::Error;
    matches!(stop, Stop::Failed(Error::AlreadyExists { .. } | Error::Precondition { .. }))
}

fn not_found(path: &SitePath) -> object_store::Error {
    object_store::Error::NotFound { path: path.to_string(), source: "status code: 404".into() }
}
