//! What networks and stores do wrong: each ends in success after retries, or in a clear message with the site whole.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::endpoint::{Endpoint, Run, SECRET};
use super::proxy::{Fault, Proxy, Seen};
use super::s3fs::S3Fs;
use super::tools;
use crate::support::layout::Layout;

/// A bucket behind a proxy, with one image in it, and another image to publish.
struct Stage {
    proxy: Proxy,
    s3fs: S3Fs,
    endpoint: Endpoint,
    _directory: TempDir,
    input: String,
}

impl Stage {
    fn new() -> Stage {
        let s3fs = S3Fs::start();
        let proxy = Proxy::to(s3fs.address());
        let endpoint = s3fs.endpoint().at(proxy.address);
        let directory = TempDir::new().unwrap();
        let old = Layout::of_image(directory.path().join("old"), "old");
        // Large enough to be sent in parts, of which there are two.
        let new = Layout::of_image(directory.path().join("new"), &"new".repeat(2 << 20));
        endpoint.publish(&[&format!("example.com/app#old={}:1.0", old.arg())]);
        let input = format!("example.com/app#new={}:1.0", new.arg());
        Stage { proxy, s3fs, endpoint, _directory: directory, input }
    }

    fn publish(&self) -> Run {
        let args = ["publish", "--json", "--verbose", "--part-size", "5MiB", "--site", "s3://site", &self.input];
        self.endpoint.run(&args)
    }

    /// The refs that a reader sees, after everything they lead to was followed.
    fn refs(&self) -> Vec<String> {
        self.proxy.heal();
        self.endpoint.assert_whole();
        let objects = self.endpoint.objects();
        let index: serde_json::Value = serde_json::from_slice(&objects["oci-index/app"].bytes).unwrap();
        let name = |entry: &serde_json::Value| entry["annotations"][crate::support::layout::REF_NAME].clone();
        index["manifests"].as_array().unwrap().iter().map(|entry| name(entry).as_str().unwrap().to_string()).collect()
    }
}

/// A rule that makes a fault of the first so many requests that fit.
fn first(
    times: usize,
    fault: Fault,
    fits: impl Fn(&Seen) -> bool + Send + 'static,
) -> impl FnMut(&Seen) -> Option<Fault> + Send + 'static {
    let mut left = times;
    move |seen| {
        let hit = left > 0 && fits(seen);
        left -= usize::from(hit);
        hit.then_some(fault)
    }
}

#[test]
fn what_passes_is_retried_until_it_does() {
    let slow_down = Fault::Answer(503, "SlowDown");
    let every: fn(&Seen) -> bool = |_| true;
    let reads: fn(&Seen) -> bool = |seen| seen.method == "GET";
    let writes: fn(&Seen) -> bool = |seen| seen.method == "PUT";
    let documents: fn(&Seen) -> bool = |seen| seen.is_conditional && !seen.key.starts_with(".ocisite");
    let parts: fn(&Seen) -> bool = |seen| seen.query.contains("partNumber");
    let completion: fn(&Seen) -> bool = |seen| seen.method == "POST" && seen.query.contains("uploadId");
    let cases: [(&str, Fault, usize, fn(&Seen) -> bool); 15] = [
        ("503 SlowDown", slow_down, 4, every),
        ("503 to writes", slow_down, 3, writes),
        ("429", Fault::Answer(429, "TooManyRequests"), 3, every),
        ("500", Fault::Answer(500, "InternalError"), 3, every),
        ("broken connections", Fault::Drop, 4, every),
        ("lost answers to reads", Fault::DropAnswer, 3, reads),
        ("lost answers to writes", Fault::DropAnswer, 4, writes),
        ("lost answers to documents", Fault::DropAnswer, 1, documents),
        ("truncated answers", Fault::Truncate, 4, reads),
        ("delays", Fault::Delay(Duration::from_millis(300)), 5, every),
        ("broken parts", Fault::Drop, 2, parts),
        ("lost answers to parts", Fault::DropAnswer, 2, parts),
        ("a completion that is refused at first", slow_down, 1, completion),
        ("a completion whose answer is lost", Fault::DropAnswer, 1, completion),
        ("another publisher came first", Fault::Answer(412, "PreconditionFailed"), 2, documents),
    ];
    for (name, fault, times, fits) in cases {
        let stage = Stage::new();
        stage.proxy.fail(first(times, fault, fits));
        let summary = stage.publish();
        assert_eq!(summary.code, Some(0), "{name}: {summary:?}");
        assert_eq!(stage.refs(), ["new", "old"], "{name}");
        assert!(stage.s3fs.unfinished_parts().is_empty(), "{name}");
    }
}

#[test]
fn what_does_not_pass_ends_in_a_message_and_the_site_is_whole() {
    let writes: fn(&Seen) -> bool = |seen| seen.method == "PUT";
    let documents: fn(&Seen) -> bool = |seen| seen.is_conditional && !seen.key.starts_with(".ocisite");
    let parts: fn(&Seen) -> bool = |seen| seen.query.contains("partNumber");
    let cases: [(&str, Fault, fn(&Seen) -> bool, &[&str]); 5] = [
        ("no permission to write", Fault::Answer(403, "AccessDenied"), writes, &["do not permit this", "AccessDenied"]),
        ("no room", Fault::Answer(400, "QuotaExceeded"), writes, &["the store answered QuotaExceeded"]),
        ("a part is refused", Fault::Answer(400, "BadDigest"), parts, &["BadDigest", "oci-cas/sha256"]),
        ("connections to documents break", Fault::Drop, documents, &["no answer from 127.0.0.1", "oci-index/app"]),
        ("the bucket goes", Fault::Answer(404, "NoSuchBucket"), writes, &["the bucket site does not exist"]),
    ];
    for (name, fault, fits, words) in cases {
        let stage = Stage::new();
        stage.proxy.fail(first(usize::MAX, fault, fits));
        let run = stage.publish();
        run.failure(words);
        assert_eq!(stage.refs(), ["old"], "{name}");
        assert!(stage.s3fs.unfinished_parts().is_empty(), "{name}: {:?}", stage.s3fs.unfinished_parts());
    }
}

#[test]
fn others_who_always_come_first_are_waited_for_as_long_as_was_said() {
    let stage = Stage::new();
    let documents = |seen: &Seen| seen.is_conditional && !seen.key.starts_with(".ocisite");
    stage.proxy.fail(first(usize::MAX, Fault::Answer(412, "PreconditionFailed"), documents));
    let run = stage.endpoint.run(&["publish", "--wait", "1", "--site", "s3://site", &stage.input]);
    run.failure(&["other publishers changed oci-index/app", "--wait SECONDS"]);
    assert_eq!(stage.refs(), ["old"]);
}

#[test]
fn a_publish_that_is_interrupted_takes_back_its_parts() {
    // Given a publish whose second part never arrives,
    let stage = Stage::new();
    stage
        .proxy
        .fail(first(usize::MAX, Fault::Delay(Duration::from_secs(600)), |seen| seen.query.contains("partNumber=2")));
    let args = ["publish", "--part-size", "5MiB", "--site", "s3://site", &stage.input];
    let mut command = stage.endpoint.command(&args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while stage.s3fs.unfinished_parts().len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no part arrives");
        std::thread::sleep(Duration::from_millis(20));
    }

    // when Ctrl-C is pressed,
    let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let run = Run::of(child.wait_with_output().unwrap());

    // then it ends with a message, the parts are gone, and the site is as it was.
    run.failure(&["interrupted"]);
    assert!(stage.s3fs.unfinished_parts().is_empty(), "{:?}", stage.s3fs.unfinished_parts());
    assert_eq!(stage.refs(), ["old"]);
}

#[test]
fn a_publish_that_is_killed_leaves_the_site_whole_and_the_next_one_succeeds() {
    // Killed before each request it makes, one after the other.
    let stage = Stage::new();
    let mut requests = 0;
    loop {
        requests += 1;
        let mut left = requests;
        stage.proxy.fail(move |_| {
            left -= usize::from(left > 0);
            (left == 0).then_some(Fault::Delay(Duration::from_secs(600)))
        });
        stage.proxy.take_seen();
        let args = ["publish", "--jobs", "1", "--part-size", "5MiB", "--site", "s3://site", &stage.input];
        let mut child = stage.endpoint.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let is_done = loop {
            let mut seen = 0;
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success());
                break true;
            }
            seen += stage.proxy.seen();
            if seen >= requests {
                child.kill().unwrap();
                child.wait().unwrap();
                break false;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let refs = stage.refs();
        if is_done {
            assert_eq!(refs, ["new", "old"]);
            break;
        }
        assert!(refs == ["old"] || refs == ["new", "old"], "{refs:?}");
        assert!(requests < 100);
    }
    assert!(requests > 8, "only {requests} requests to be killed at");
}

#[test]
fn a_store_that_ignores_conditions_is_refused_unless_told_not_to_care() {
    // Given a store that does not see conditions: the proxy takes them away, and moto does not mind about signatures,
    let (moto, endpoint) = tools::moto();
    let proxy = Proxy::to(moto.address);
    proxy.remove_conditions();
    let endpoint = endpoint.at(proxy.address);
    let directory = TempDir::new().unwrap();
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    let input = format!("example.com/app={}", layout.arg());

    // when something is published, then nothing that a reader sees is written;
    let run = endpoint.run(&["publish", "--site", "s3://site", &input]);
    run.failure(&[
        "s3://site does not support conditional writes",
        "overwrite each other's changes",
        "--no-conditional",
    ]);
    assert!(endpoint.objects().keys().all(|key| key.starts_with("oci-cas/")));

    // and with --no-conditional it is published.
    endpoint.publish(&["--no-conditional", &input]);
    endpoint.publish(&["--no-conditional", &format!("example.com/app#2.0={}:1.0", layout.arg())]);
    assert_eq!(endpoint.assert_whole(), 4);
}

#[test]
fn a_wrong_credential_bucket_or_region_is_told_by_its_name() {
    let s3fs = S3Fs::start();
    let proxy = Proxy::to(s3fs.address());
    let endpoint = s3fs.endpoint().at(proxy.address);
    let directory = TempDir::new().unwrap();
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    let input = format!("example.com/app={}", layout.arg());
    let publish = |endpoint: &Endpoint, site: &str| {
        // Verbose and as JSON: no way of saying it may tell a secret.
        endpoint.run(&["publish", "--verbose", "--json", "--site", site, &input])
    };

    publish(&endpoint, "s3://another").failure(&["the bucket another does not exist", "NoSuchBucket"]);
    let wrong = endpoint.clone().with("AWS_SECRET_ACCESS_KEY", &SECRET.to_uppercase());
    publish(&wrong, "s3://site").failure(&["the credentials are wrong (SignatureDoesNotMatch)"]);
    let wrong = endpoint.clone().with("AWS_ACCESS_KEY_ID", "AKIDOFSOMEBODYELSE");
    publish(&wrong, "s3://site").failure(&["the credentials are wrong", "access key id"]);
    let mut half = endpoint.clone();
    half.environment.retain(|(name, _)| name != "AWS_SECRET_ACCESS_KEY");
    publish(&half, "s3://site").failure(&["AWS_SECRET_ACCESS_KEY is not"]);
    // S3 says that a bucket is in another region in one of these ways.
    for (status, code) in [(400, "AuthorizationHeaderMalformed"), (301, "PermanentRedirect")] {
        proxy.fail(first(usize::MAX, Fault::Answer(status, code), |_| true));
        publish(&endpoint, "s3://site").failure(&["the region is wrong", "not in us-east-1", "AWS_REGION"]);
    }
    proxy.heal();
    let nobody = endpoint.clone().with("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    publish(&nobody, "s3://site").failure(&["no answer from 127.0.0.1:1", "refused"]);

    let (_azurite, azurite) = tools::azurite();
    publish(&azurite, "az://another").failure(&["the bucket another does not exist", "ContainerNotFound"]);
    let wrong = azurite.clone().with("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc=");
    // What Azure itself calls AuthenticationFailed.
    publish(&wrong, "az://site").failure(&["the credentials", "AuthorizationFailure"]);
}

#[test]
fn a_secret_in_a_url_is_not_repeated() {
    let s3fs = S3Fs::start();
    let directory = TempDir::new().unwrap();
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    let input = format!("example.com/app={}", layout.arg());
    let url = format!("s3://key:{SECRET}@site");
    s3fs.endpoint().run(&["publish", "--site", &url, &input]).failure(&["must not contain credentials"]);
    let store = format!("https://cdn.example.net={url}");
    let args = ["publish", "--site", "s3://site", "--store", &store, &input];
    s3fs.endpoint().run(&args).failure(&["must not contain credentials"]);
    let config = directory.path().join("ocisite.toml");
    std::fs::write(&config, format!("site = {url:?}\nfolders = [\".\"]\n")).unwrap();
    let args = ["publish", "--config", config.to_str().unwrap()];
    s3fs.endpoint().run(&args).failure(&["must not contain credentials"]);
}
