//! An object store as the tests use it: the environment in which the program finds it, and a view of what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};
use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::{Attribute, ObjectStore, ObjectStoreExt};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::memory;
use crate::support::program::PROGRAM;
use crate::support::site;

/// The bucket of every server.
pub const BUCKET: &str = "site";
/// What must never be seen in any output. The key id is no secret, and has no business in a message either.
pub const KEY_ID: &str = "AKIDOFTHETESTS";
pub const SECRET: &str = "secretkeyofthetests0123456789";
/// The Azure account's key, in base64 as its users write it.
pub const AZURE_KEY: &str = "YW4gYXp1cmUga2V5IG9mIHRoZSB0ZXN0cw==";
const SECRETS: [&str; 5] = [KEY_ID, SECRET, AZURE_KEY, "an azure key of the tests", "Signature="];

/// An object store and how to reach it.
#[derive(Clone)]
pub struct Endpoint {
    /// The scheme of its URLs.
    pub scheme: &'static str,
    /// The environment of a process that uses it.
    pub environment: Vec<(String, String)>,
}

/// An object as a reader gets it.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    pub bytes: Vec<u8>,
    pub media_type: String,
    pub cache_control: String,
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, {}, {}", self.bytes.len(), self.media_type, self.cache_control)
    }
}

/// Fails unless two sets of objects are the same, and says which objects differ.
pub fn assert_same(found: &BTreeMap<String, Object>, expected: &BTreeMap<String, Object>) {
    let keys: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differing: Vec<String> = keys
        .into_iter()
        .filter(|key| found.get(*key) != expected.get(*key))
        .map(|key| format!("{key}: {:?}, expected {:?}", found.get(key), expected.get(key)))
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

impl Endpoint {
    /// An S3 endpoint that knows the tests' key.
    pub fn s3(url: &str) -> Endpoint {
        let variables = [
            ("AWS_ENDPOINT_URL", url),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
        ];
        Endpoint { scheme: "s3", environment: owned(&variables) }
    }

    /// An Azure endpoint with an account of its own.
    pub fn azure(url: &str, account: &str) -> Endpoint {
        let variables = [
            ("AZURE_STORAGE_ENDPOINT", url),
            ("AZURE_STORAGE_ACCOUNT_NAME", account),
            ("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY),
        ];
        Endpoint { scheme: "az", environment: owned(&variables) }
    }

    /// The same with another value of a variable.
    pub fn with(mut self, name: &str, value: &str) -> Endpoint {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The same behind another address.
    pub fn at(self, address: std::net::SocketAddr) -> Endpoint {
        self.with("AWS_ENDPOINT_URL", &format!("http://{address}"))
    }

    /// The URL of the site: the whole bucket.
    pub fn site(&self) -> String {
        format!("{}://{BUCKET}", self.scheme)
    }

    /// The program, in the environment of this store and no other.
    pub fn command(&self, args: &[&str]) -> Command {
        self.prepare(Command::new(PROGRAM), args)
    }

    /// The same within a limit of memory, see [`memory`].
    pub fn command_within(&self, bytes: u64, args: &[&str]) -> Command {
        self.prepare(memory::within(bytes), args)
    }

    fn prepare(&self, mut command: Command, args: &[&str]) -> Command {
        let is_setting = |name: &str| {
            name.starts_with("AWS_") || name.starts_with("AZURE_") || name.to_ascii_lowercase().ends_with("_proxy")
        };
        for (name, _) in std::env::vars().filter(|(name, _)| is_setting(name)) {
            command.env_remove(name);
        }
        command.args(args).envs(self.environment.iter().cloned());
        command
    }

    /// Runs the program to its end, and looks for secrets in what it says.
    pub fn run(&self, args: &[&str]) -> Run {
        Run::of(self.command(args).output().unwrap())
    }

    /// `ocisite publish --site SITE ARGS…`, which has to succeed. Gives its JSON.
    pub fn publish(&self, args: &[&str]) -> serde_json::Value {
        self.publish_to(&self.site(), args)
    }

    /// The same to another site of this store.
    pub fn publish_to(&self, site: &str, args: &[&str]) -> serde_json::Value {
        let args = [&["publish", "--json", "--site", site], args].concat();
        self.run(&args).success()
    }

    /// Overwrites an object, as somebody else might.
    pub fn put(&self, path: &str, bytes: Vec<u8>) {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(self.store().put(&path.into(), bytes.into())).unwrap();
    }

    /// Everything in the bucket, private state aside.
    pub fn objects(&self) -> BTreeMap<String, Object> {
        let runtime = Runtime::new().unwrap();
        let store = self.store();
        let metas: Vec<_> =
            runtime.block_on(async { futures_util::TryStreamExt::try_collect(store.list(None)).await.unwrap() });
        let mut objects = BTreeMap::new();
        for meta in metas {
            let meta: object_store::ObjectMeta = meta;
            // The client reads the key `v2/` so, and cannot ask for it.
            if meta.location.as_ref() == "v2" {
                continue;
            }
            let result = runtime.block_on(store.get(&meta.location)).unwrap();
            let attribute = |name| result.attributes.get(&name).map(|value| value.to_string()).unwrap_or_default();
            let (media_type, cache_control) = (attribute(Attribute::ContentType), attribute(Attribute::CacheControl));
            let bytes = runtime.block_on(result.bytes()).unwrap().to_vec();
            objects.insert(meta.location.to_string(), Object { bytes, media_type, cache_control });
        }
        objects.retain(|path, _| !path.starts_with(".ocisite/"));
        objects
    }

    /// Fails unless every reference of the site leads to what it says. Gives the number of blobs.
    pub fn assert_whole(&self) -> usize {
        let directory = TempDir::new().unwrap();
        for (path, object) in self.objects() {
            let file = directory.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, object.bytes).unwrap();
        }
        match directory.path().join("ocisite.json").exists() {
            true => site::assert_whole(directory.path()),
            false => 0,
        }
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        // The process's cryptography, which the first test chooses.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let value =
            |name: &str| self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        if self.scheme == "az" {
            let store = MicrosoftAzureBuilder::new()
                .with_endpoint(value("AZURE_STORAGE_ENDPOINT").unwrap())
                .with_account(value("AZURE_STORAGE_ACCOUNT_NAME").unwrap())
                .with_access_key(AZURE_KEY)
                .with_container_name(BUCKET)
                .with_allow_http(true);
            return Arc::new(store.build().unwrap());
        }
        let store = AmazonS3Builder::new()
            .with_endpoint(value("AWS_ENDPOINT_URL").unwrap())
            .with_region("us-east-1")
            .with_access_key_id(KEY_ID)
            .with_secret_access_key(SECRET)
            .with_bucket_name(BUCKET)
            .with_allow_http(true);
        Arc::new(store.build().unwrap())
    }
}

/// What a run of the program said.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Takes what it said, and fails if there is a secret in it.
    pub fn of(output: Output) -> Run {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let run = Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
        for secret in SECRETS {
            assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "{secret} in: {run:?}");
        }
        run
    }

    /// Its JSON; it has to have succeeded.
    pub fn success(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Its message; it has to have failed with one that has all of `words`.
    pub fn failure(&self, words: &[&str]) -> &str {
        assert_eq!(self.code, Some(2), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "expected {word:?} in: {}", self.stderr);
        }
        &self.stderr
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {:?}\n{}\n{}", self.code, self.stdout, self.stderr)
    }
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}
