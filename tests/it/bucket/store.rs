//! What every store has to do, written against the interface alone. A further store is one more line in `stores!`.

use std::io::Read;
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use oci_discovery::digest::{Algorithm, Digest};
use ocisite::site::{Kind, SitePath};
use ocisite::store::bucket::BucketStore;
use ocisite::store::directory::{DirectoryStore, LinkMode};
use ocisite::store::{
    BlobSource, Content, Expected, Link, ListedObject, Location, MIN_PART_SIZE, Store, StoreError, StoreOptions,
    Written,
};
use tempfile::TempDir;

use super::endpoint::Endpoint;
use super::s3fs::S3Fs;
use super::tools;
use crate::support::layout::MANIFEST;

/// A store that is being tested, and what has to live as long.
type Opened = (Box<dyn Store>, Box<dyn std::any::Any>);

fn directory() -> Opened {
    let directory = TempDir::new().unwrap();
    let store = DirectoryStore::new(&directory.path().join("site"), LinkMode::Copy, false).unwrap();
    (Box::new(store), Box::new(directory))
}

fn bucket(endpoint: &Endpoint, site: &str) -> Box<dyn Store> {
    let Location::Bucket(location) = Location::parse(site).unwrap() else { panic!("{site} is no bucket") };
    let options = StoreOptions { part_size: MIN_PART_SIZE, ..StoreOptions::default() };
    Box::new(BucketStore::with_settings(&location, &options, &endpoint.environment).unwrap())
}

fn s3fs() -> Opened {
    let server = S3Fs::start();
    (bucket(&server.endpoint(), "s3://site"), Box::new(server))
}

fn s3fs_below_a_prefix() -> Opened {
    let server = S3Fs::start();
    (bucket(&server.endpoint(), "s3://site/a/b"), Box::new(server))
}

fn moto() -> Opened {
    let (server, endpoint) = tools::moto();
    (bucket(&endpoint, "s3://site"), Box::new(server))
}

fn azurite() -> Opened {
    let (server, endpoint) = tools::azurite();
    (bucket(&endpoint, "az://site"), Box::new(server))
}

macro_rules! stores {
    ($($store:ident),*) => {
        $(mod $store {
            #[test]
            fn does_what_every_store_does() {
                let (store, _keep) = super::$store();
                super::suite(&*store);
            }
        })*
    };
}

stores!(directory, s3fs, s3fs_below_a_prefix, moto, azurite);

fn suite(store: &dyn Store) {
    let _lock = store.lock(Duration::from_secs(1)).unwrap();
    an_empty_store_has_nothing(store);
    a_document_changes_only_from_what_it_is_expected_to_be(store);
    a_blob_is_there_when_it_was_verified(store);
    a_blob_that_is_not_what_it_should_be_is_not_there(store);
    a_blob_appears_at_a_second_path(store);
    many_are_asked_for_at_once(store);
    what_is_listed_is_what_is_there(store);
    what_is_removed_is_gone(store);
    nothing_is_left_unfinished(store);
    store.flush().unwrap();
}

fn path(text: &str) -> SitePath {
    SitePath::new(text).unwrap()
}

fn read(store: &dyn Store, path: &SitePath) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    store.open(path).unwrap()?.read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

/// A blob whose bytes may not be what they should be.
struct Source {
    digest: Digest,
    size: u64,
    bytes: Vec<u8>,
}

impl Source {
    fn of(bytes: &[u8]) -> Source {
        Source { digest: Digest::of(Algorithm::Sha256, bytes), size: bytes.len() as u64, bytes: bytes.into() }
    }
}

impl BlobSource for Source {
    fn digest(&self) -> &Digest {
        &self.digest
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self) -> Result<Content, StoreError> {
        Ok(Content::Stream { reader: Box::new(std::io::Cursor::new(self.bytes.clone())), from: "memory".into() })
    }

    fn advanced(&self, _bytes: u64) {}
}

const BLOB: Kind = Kind::Blob(None);

fn an_empty_store_has_nothing(store: &dyn Store) {
    let document = path("documents/one");
    assert_eq!(store.stat(&document).unwrap(), None);
    assert_eq!(store.read_document(&document, 100).unwrap(), None);
    assert!(store.open(&document).unwrap().is_none());
    store.delete(&document).unwrap();
    store.list("", &mut |listed| panic!("{listed:?}")).unwrap();
}

fn a_document_changes_only_from_what_it_is_expected_to_be(store: &dyn Store) {
    let document = path("documents/one");
    let write = |bytes: &[u8], expected: &Expected| store.write_document(&document, &Kind::Index, bytes, expected);
    let is_conflict = |result| matches!(result, Err(StoreError::Conflict(_)));

    write(b"first", &Expected::Absent).unwrap();
    let first = store.read_document(&document, 100).unwrap().unwrap();
    assert_eq!(first.bytes, b"first");
    // Who expects nothing there, or another version, comes too late, and changes nothing.
    assert!(is_conflict(write(b"second", &Expected::Absent)));
    write(b"second", &Expected::Version(first.version.clone())).unwrap();
    assert!(is_conflict(write(b"third", &Expected::Version(first.version.clone()))));
    assert!(is_conflict(store.write_document(
        &path("documents/none"),
        &Kind::Index,
        b"x",
        &Expected::Version(first.version)
    )));
    assert_eq!(store.read_document(&document, 100).unwrap().unwrap().bytes, b"second");
    // A document is read up to a limit.
    assert!(store.read_document(&document, 6).unwrap().is_some());
    assert!(matches!(store.read_document(&document, 5), Err(StoreError::TooLarge { limit: 5, .. })));
}

fn a_blob_is_there_when_it_was_verified(store: &dyn Store) {
    let in_parts = vec![7; MIN_PART_SIZE as usize * 2 + 1];
    let one_part = vec![8; MIN_PART_SIZE as usize];
    for (name, bytes) in [("empty", &b""[..]), ("small", b"small"), ("one part", &one_part), ("in parts", &in_parts)] {
        let at = path(&format!("blobs/{name}"));
        assert_eq!(store.write_blob(&at, &BLOB, &Source::of(bytes)).unwrap(), Written::Copied);
        assert_eq!(store.stat(&at).unwrap().unwrap().size, bytes.len() as u64, "{name}");
        assert!(read(store, &at).unwrap() == bytes, "{name}");
        // Writing it again does no harm.
        store.write_blob(&at, &BLOB, &Source::of(bytes)).unwrap();
    }
    let age = SystemTime::now().duration_since(store.stat(&path("blobs/small")).unwrap().unwrap().modified);
    assert!(age.unwrap_or_default() < Duration::from_secs(600));
}

fn a_blob_that_is_not_what_it_should_be_is_not_there(store: &dyn Store) {
    let at = path("blobs/wrong");
    let large = vec![1; MIN_PART_SIZE as usize * 2 + 1];
    for bytes in [&b"content"[..], &large] {
        let right = Source::of(bytes);
        let (mut changed, mut longer) = (bytes.to_vec(), bytes.to_vec());
        *changed.last_mut().unwrap() ^= 1;
        longer.push(0);
        let shorter = bytes[..bytes.len() - 1].to_vec();
        for wrong in [changed, longer, shorter] {
            let source = Source { bytes: wrong, ..Source::of(bytes) };
            let error = store.write_blob(&at, &BLOB, &source).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
            assert_eq!(store.stat(&at).unwrap(), None);
        }
        store.write_blob(&at, &BLOB, &right).unwrap();
        store.delete(&at).unwrap();
    }
}

fn a_blob_appears_at_a_second_path(store: &dyn Store) {
    let (from, to) = (path("blobs/small"), path("links/of small"));
    let digest = Digest::of(Algorithm::Sha256, b"small");
    let link = |kind: &Kind, digest: &Digest| store.link_blob(&from, &to, &Link { kind, digest, size: 5 });
    link(&BLOB, &digest).unwrap();
    assert_eq!(read(store, &to).unwrap(), b"small");
    // Again, and as something that is served otherwise.
    link(&BLOB, &digest).unwrap();
    link(&Kind::RegistryManifest(Some("text/plain".into())), &digest).unwrap();
    assert_eq!(read(store, &to).unwrap(), b"small");
    // A manifest with other bytes is not linked, wherever it is.
    store.delete(&to).unwrap();
    let other = Digest::of(Algorithm::Sha256, b"SMALL");
    for kind in [Kind::RegistryManifest(None), Kind::Blob(Some(MANIFEST.into()))] {
        let error = link(&kind, &other).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        assert_eq!(store.stat(&to).unwrap(), None);
    }
    link(&BLOB, &digest).unwrap();
}

fn many_are_asked_for_at_once(store: &dyn Store) {
    let names = ["blobs/small", "blobs/none", "blobs/in parts", "a", "z", "blobs/empty", "links/of small"];
    let paths: Vec<SitePath> = names.iter().map(|name| path(name)).collect();
    for jobs in [1, 4] {
        let stats = store.stats(&paths, NonZeroUsize::new(jobs).unwrap()).unwrap();
        let each: Vec<_> = paths.iter().map(|path| store.stat(path).unwrap()).collect();
        let sizes = |stats: &[Option<ocisite::store::Stat>]| -> Vec<Option<u64>> {
            stats.iter().map(|stat| stat.map(|stat| stat.size)).collect()
        };
        assert_eq!(sizes(&stats), sizes(&each));
        assert_eq!(sizes(&stats)[..2], [Some(5), None]);
    }
    assert_eq!(store.stats(&[], NonZeroUsize::MIN).unwrap(), []);
}

fn what_is_listed_is_what_is_there(store: &dyn Store) {
    let list = |prefix: &str| {
        let mut listed: Vec<ListedObject> = Vec::new();
        store.list(prefix, &mut |object| listed.push(object)).unwrap();
        listed.sort_by(|a, b| a.path.cmp(&b.path));
        for object in &listed {
            assert_eq!(object.stat.size, store.stat(&object.path).unwrap().unwrap().size);
        }
        listed.into_iter().map(|object| object.path.to_string()).collect::<Vec<_>>()
    };
    let blobs = ["blobs/empty", "blobs/in parts", "blobs/one part", "blobs/small"];
    assert_eq!(list("blobs/"), blobs);
    assert_eq!(list("none/"), [""; 0]);
    // Private state (the lock, what a store keeps for itself) is in no listing.
    assert_eq!(list(""), [&blobs[..], &["documents/one", "links/of small"]].concat());
}

fn what_is_removed_is_gone(store: &dyn Store) {
    for name in ["blobs/small", "documents/one"] {
        store.delete(&path(name)).unwrap();
        store.delete(&path(name)).unwrap();
        assert_eq!(store.stat(&path(name)).unwrap(), None);
    }
    store.remove_document(&path("documents/none")).unwrap();
}

fn nothing_is_left_unfinished(store: &dyn Store) {
    let later = SystemTime::now() + Duration::from_secs(3600);
    // Not every store can tell.
    let uploads = store.abandoned_uploads(later).unwrap().unwrap_or_default();
    assert_eq!(uploads, []);
}
