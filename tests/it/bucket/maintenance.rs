//! `list`, `remove`, `gc`, `verify` and `copy` on buckets.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use super::endpoint::{Endpoint, Run, assert_same};
use super::proxy::{Fault, Proxy, Seen};
use super::s3fs::S3Fs;
use super::tools;
use crate::support::layout::Layout;
use crate::support::program::{self, Succeeds};
use crate::support::scene::Scene;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/layouts");

fn one_image(directory: &TempDir, content: &str) -> String {
    let layout = Layout::of_image(directory.path().join(content), content);
    format!("example.com/{content}={}", layout.arg())
}

/// A bucket behind a proxy, and a layout to publish under any name.
struct Proxied {
    s3fs: S3Fs,
    proxy: Proxy,
    endpoint: Endpoint,
    directory: TempDir,
    layout: Layout,
}

impl Proxied {
    fn new() -> Proxied {
        let s3fs = S3Fs::start();
        let proxy = Proxy::to(s3fs.address());
        let endpoint = s3fs.endpoint().at(proxy.address);
        let directory = TempDir::new().unwrap();
        let layout = Layout::of_image(directory.path().join("layout"), "x");
        Proxied { s3fs, proxy, endpoint, directory, layout }
    }

    fn input(&self, name: &str) -> String {
        format!("example.com/{name}={}", self.layout.arg())
    }
}

fn verify(endpoint: &Endpoint, site: &str) -> Run {
    endpoint.run(&["verify", site, "--deep", "--strict"])
}

#[test]
fn the_verbs_take_urls_and_do_the_same() {
    let directory = TempDir::new().unwrap();
    let s3fs = S3Fs::start();
    let (_moto, moto) = tools::moto();
    let (_azurite, azurite) = tools::azurite();
    for endpoint in [s3fs.endpoint(), moto, azurite] {
        // Given a site with two images, one of which is removed,
        let site = endpoint.site();
        endpoint.publish(&[&one_image(&directory, "kept"), &one_image(&directory, "removed")]);
        assert_eq!(verify(&endpoint, &site).code, Some(0), "{:?}", verify(&endpoint, &site));
        let list = endpoint.run(&["list", "--json", &site]).success();
        assert_eq!(list.as_array().unwrap().len(), 2);
        let removed = endpoint.run(&["remove", "--json", &site, "example.com/removed"]).success();
        assert_eq!(removed["images"], serde_json::json!(["example.com/removed"]));

        // when gc is run with a grace, what nothing needs stays while it is young; without one it goes,
        let young = endpoint.run(&["gc", "--json", &site]).success();
        assert_eq!((&young["blobs"]["objects"], &young["young"]["objects"]), (&0.into(), &2.into()));
        let dry = endpoint.run(&["gc", "--json", "--dry-run", "--grace", "0", &site]).success();
        let freed = endpoint.run(&["gc", "--json", "--grace", "0", &site]).success();
        assert_eq!(dry["objects"], freed["objects"]);
        assert_eq!(freed["blobs"]["objects"], 2);

        // then the rest is whole.
        assert_eq!(verify(&endpoint, &site).code, Some(0));
        assert_eq!(endpoint.assert_whole(), 4);
    }
}

#[test]
fn gc_gives_up_uploads_that_a_killed_publish_left() {
    // Given a publish that is killed between two parts,
    let (moto, endpoint) = tools::moto();
    let proxy = Proxy::to(moto.address);
    let endpoint = endpoint.at(proxy.address);
    let directory = TempDir::new().unwrap();
    let layout = Layout::of_image(directory.path().join("layout"), &"new".repeat(4 << 20));
    endpoint.publish(&[&one_image(&directory, "app")]);
    proxy.fail(|seen| seen.query.contains("partNumber=2").then_some(Fault::Delay(Duration::from_secs(600))));
    let input = format!("example.com/new={}", layout.arg());
    let args = ["publish", "--part-size", "5MiB", "--site", "s3://site", &input];
    let mut child = endpoint.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !proxy.has_seen(|seen| seen.query.contains("partNumber=2")) {
        assert!(begun.elapsed() < Duration::from_secs(60), "no second part is sent");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    proxy.heal();

    // when gc is run, then it gives the upload up. (How young ones are kept is not to be seen here: moto says of all of them
    // that they were begun in 2010.)
    let uploads =
        |args: &[&str]| endpoint.run(&[&["gc", "--json", "s3://site"], args].concat()).success()["uploads"].clone();
    assert_eq!(uploads(&["--dry-run"]), 1);
    assert_eq!(uploads(&[]), 1);
    assert_eq!(uploads(&[]), 0);
    assert_eq!(verify(&endpoint, "s3://site").code, Some(0));
}

#[test]
fn a_publish_sends_again_what_a_gc_took_before_its_index_was_written() {
    // Given blobs in a bucket that nothing leads to any more,
    let proxied = Proxied::new();
    let Proxied { s3fs, proxy, endpoint, .. } = &proxied;
    endpoint.publish(&[&proxied.input("kept"), &proxied.input("removed")]);
    endpoint.run(&["remove", "--json", "s3://site", "example.com/kept", "example.com/removed"]).success();

    // when a publish finds them there, and a gc runs just before it writes its index,
    let mut direct = Some(s3fs.endpoint());
    proxy.fail(move |seen| {
        if seen.method == "PUT" && seen.key == "oci-index/again" {
            let freed =
                direct.take().map(|direct| direct.run(&["gc", "--json", "--grace", "0", "s3://site"]).success());
            assert_eq!(freed.expect("the index is written once")["blobs"]["objects"], 4);
        }
        None
    });
    let summary = endpoint.publish(&["--registry", &proxied.input("again")]);

    // then the publish has seen it, and sent them once more.
    assert_eq!((&summary["blobsPresent"]["objects"], &summary["blobsWritten"]["objects"]), (&0.into(), &4.into()));
    assert_eq!(verify(endpoint, "s3://site").code, Some(0));
    assert_eq!(endpoint.assert_whole(), 4);
}

#[test]
fn a_gc_that_was_killed_is_told_of_and_one_that_was_interrupted_has_ended() {
    let proxied = Proxied::new();
    let Proxied { proxy, endpoint, directory, .. } = &proxied;
    endpoint.publish(&[&proxied.input("kept"), &one_image(directory, "removed")]);
    endpoint.run(&["remove", "--json", "s3://site", "example.com/removed"]).success();
    for signal in [Signal::INT, Signal::KILL] {
        // Given a gc that gets a signal before it has removed anything,
        let removes = |seen: &Seen| seen.method == "DELETE" || seen.query.contains("delete");
        proxy.fail(move |seen| removes(seen).then_some(Fault::Delay(Duration::from_secs(600))));
        proxy.take_seen();
        let mut command = endpoint.command(&["gc", "--grace", "0", "s3://site"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while !proxy.has_seen(removes) {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing is removed");
            std::thread::sleep(Duration::from_millis(20));
        }
        rustix::process::kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait_with_output().unwrap();
        proxy.heal();

        // when somebody publishes what is there already under another name, then it is done at once after an interruption,
        // and after a kill a warning says what can have happened.
        let name = if signal == Signal::INT { "one" } else { "two" };
        let summary = endpoint.publish(&["--wait", "1", &proxied.input(name)]);
        let warnings = summary["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), usize::from(signal == Signal::KILL), "{warnings:?}");
        assert_eq!(endpoint.assert_whole(), 4);
    }
    endpoint.run(&["gc", "s3://site"]).failure(&["another gc of s3://site is running"]);
}

#[test]
fn a_store_that_cannot_list_uploads_has_a_rule_to_be_told_of() {
    let s3fs = S3Fs::start();
    let directory = TempDir::new().unwrap();
    let endpoint = s3fs.endpoint();
    endpoint.publish(&[&one_image(&directory, "app")]);
    assert_eq!(endpoint.run(&["gc", "--json", "s3://site"]).success()["uploads"], Value::Null);
    assert!(endpoint.run(&["gc", "s3://site"]).stdout.contains("AbortIncompleteMultipartUpload"));
}

#[test]
fn a_copy_is_the_same_site_wherever_it_goes() {
    // Given a site in a directory, with all that a site can have,
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    let images: Vec<String> = ["app", "team/app", "docker", "artifact", "nested"]
        .iter()
        .map(|image| format!("example.com/{image}={FIXTURES}/{image}"))
        .collect();
    let mut args = vec!["--registry"];
    args.extend(images.iter().map(String::as_str));
    program::publish(&site, &args);

    // when it is copied to a bucket, then the bucket is as if it had been published there;
    let (s3fs, other) = (S3Fs::start(), S3Fs::start());
    let (bucket, published) = (s3fs.endpoint(), other.endpoint());
    published.publish(&args);
    let copy = |endpoint: &Endpoint, args: &[&str]| endpoint.run(&[&["copy", "--json"], args].concat()).success();
    let source = site.to_str().unwrap();
    let dry = copy(&bucket, &[source, "s3://site", "--dry-run"]);
    assert!(bucket.objects().is_empty());
    let copied = copy(&bucket, &[source, "s3://site"]);
    assert_eq!(dry["paths"], copied["paths"]);
    assert_same(&bucket.objects(), &published.objects());

    // copied again, nothing is moved;
    let again = copy(&bucket, &[source, "s3://site"]);
    assert_eq!((&again["blobs"]["objects"], &again["documents"]["objects"]), (&0.into(), &0.into()));

    // copied back, and from bucket to bucket, it is the same again.
    let back = directory.path().join("back");
    copy(&bucket, &["s3://site", back.to_str().unwrap()]);
    crate::support::site::Snapshot::public(&site).assert_same(&crate::support::site::Snapshot::public(&back));
    copy(&bucket, &["s3://site", "s3://site/staging"]);
    let objects = bucket.objects();
    let staged = objects
        .iter()
        .filter_map(|(key, object)| Some((key.strip_prefix("staging/")?.to_string(), object.clone())))
        .filter(|(key, _)| !key.starts_with(".ocisite/"));
    assert_same(&staged.collect(), &published.objects());
}

#[test]
fn a_copy_has_all_that_a_tag_leads_to_when_its_publish_was_killed() {
    for preset in [&[][..], &["--preset", "layout"]] {
        // Given a site in a directory with the tag of a publish that was killed before it wrote the index.
        let scene = Scene::of_image("app");
        scene.publish().args(preset).args(["--registry", "example.com/app=layout"]).succeeds();
        let index = ["oci-index/app", "oci-image/app/index.json"].map(|path| scene.site.join(path));
        let index = index.iter().find(|path| path.exists()).unwrap();
        let before = std::fs::read(index).unwrap();
        let mut other = Layout::new(scene.path("other"));
        other.add("2.0", other.image("other"));
        scene.publish().args(["example.com/app=other"]).succeeds();
        std::fs::write(index, before).unwrap();
        // When it is copied to a bucket.
        let s3fs = S3Fs::start();
        let endpoint = s3fs.endpoint();
        endpoint.run(&["copy", "--json", program::text(&scene.site), &endpoint.site()]).success();
        // Then the bucket has the tag, and all that it leads to.
        let objects = endpoint.objects();
        let manifest: Value = serde_json::from_slice(&objects["v2/app/manifests/2.0"].bytes).unwrap();
        for blob in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
            let digest = blob["digest"].as_str().unwrap();
            assert!(objects.contains_key(&format!("v2/app/blobs/{digest}")), "{digest}");
            let in_cas = objects.keys().any(|path| !path.starts_with("v2/") && path.ends_with(&digest[7..]));
            assert!(in_cas, "{digest}");
        }
    }
}

#[test]
fn a_copy_keeps_what_only_the_destination_has_unless_told_to_delete() {
    let directory = TempDir::new().unwrap();
    let s3fs = S3Fs::start();
    let endpoint = s3fs.endpoint();
    endpoint.publish_to("s3://site/staging", &[&one_image(&directory, "both"), &one_image(&directory, "new")]);
    endpoint.publish_to("s3://site/production", &[&one_image(&directory, "both"), &one_image(&directory, "old")]);
    let names = |site: &str| -> Vec<String> {
        let list = endpoint.run(&["list", "--json", site]).success();
        list.as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap().to_string()).collect()
    };
    let copy = |args: &[&str]| {
        let args = [&["copy", "--json", "s3://site/staging", "s3://site/production"], args].concat();
        endpoint.run(&args).success()
    };

    copy(&[]);
    assert_eq!(names("s3://site/production"), ["example.com/both", "example.com/new", "example.com/old"]);
    // The catalogue is that of all three: a site of the same images has the same.
    let all = ["both", "new", "old"].map(|image| one_image(&directory, image));
    endpoint.publish_to("s3://site/all", &all.each_ref().map(String::as_str));
    let catalogue = |site: &str| -> Vec<(String, Vec<u8>)> {
        let objects = endpoint.objects().into_iter();
        let below = objects.filter_map(|(key, object)| Some((key.strip_prefix(site)?.to_string(), object.bytes)));
        below.filter(|(key, _)| key.contains("catalogue")).collect()
    };
    assert!(catalogue("all/").len() > 5 && catalogue("all/") == catalogue("production/"));
    let dry = copy(&["--delete", "--dry-run"]);
    let deleted = copy(&["--delete"]);
    assert_eq!(dry["removedPaths"], deleted["removedPaths"]);
    assert_eq!(names("s3://site/production"), ["example.com/both", "example.com/new"]);
    let run = verify(&endpoint, "s3://site/production");
    assert_eq!(run.code, Some(0), "{run:?}");
    let below = |prefix: &str| -> Vec<String> {
        endpoint.objects().keys().filter_map(|key| Some(key.strip_prefix(prefix)?.to_string())).collect()
    };
    assert_eq!(below("production/"), below("staging/"));
}

#[test]
fn a_copy_of_a_damaged_blob_is_refused_and_the_destination_is_whole() {
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    program::publish(&site, &[&one_image(&directory, "app")]);
    let blob = walkdir::WalkDir::new(site.join("oci-cas"))
        .into_iter()
        .map(Result::unwrap)
        .find(|file| file.file_type().is_file());
    let blob = blob.unwrap().into_path();
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let s3fs = S3Fs::start();
    // A directory needs no media types, so that nothing but the copying looks at the blob.
    let back = directory.path().join("copy");
    let name = blob.file_name().unwrap().to_str().unwrap();
    s3fs.endpoint().run(&["copy", site.to_str().unwrap(), back.to_str().unwrap()]).failure(&[name, "is damaged"]);
    assert!(!back.join("ocisite.json").exists());
    s3fs.endpoint().run(&["copy", site.to_str().unwrap(), "s3://site"]).failure(&[name, "damaged"]);
    assert!(s3fs.endpoint().objects().keys().all(|key| key.starts_with("oci-cas/")));
}

#[test]
fn a_copy_of_a_site_in_use_is_whole() {
    // Given a site that is published to all the time: refs come, and are moved to other images,
    let directory = TempDir::new().unwrap();
    let s3fs = S3Fs::start();
    let endpoint = s3fs.endpoint();
    endpoint.publish_to("s3://site/staging", &[&one_image(&directory, "kept")]);
    let is_over = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut round = 0;
            while !is_over.load(Ordering::Relaxed) && round < 1000 {
                round += 1;
                let content = format!("content{round}");
                let layout = Layout::of_image(directory.path().join(&content), &content);
                let input = format!("example.com/app#{}={}:1.0", round % 3, layout.arg());
                endpoint.publish_to("s3://site/staging", &[&input]);
            }
            round
        });
        // when it is copied meanwhile, then every copy is whole (the catalogue may be a publish behind the indexes, which is a
        // warning),
        let copies: Vec<Run> = (0..4)
            .map(|_| {
                endpoint.run(&["copy", "--json", "--delete", "s3://site/staging", "s3://site/production"]);
                endpoint.run(&["verify", "s3://site/production", "--deep"])
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        for run in copies {
            assert_eq!(run.code, Some(0), "{run:?}");
        }
        publisher.join().unwrap()
    });
    assert!(rounds > 0);
    // And the last one is the site,
    // when nothing is left in it that no index reaches.
    endpoint.run(&["gc", "--json", "--grace", "0", "s3://site/staging"]).success();
    endpoint.run(&["copy", "--json", "--delete", "s3://site/staging", "s3://site/production"]).success();
    let objects = endpoint.objects();
    let below = |prefix: &str| {
        let below =
            objects.iter().filter_map(|(key, object)| Some((key.strip_prefix(prefix)?.to_string(), object.clone())));
        below.filter(|(key, _)| !key.starts_with(".ocisite/")).collect()
    };
    assert_same(&below("production/"), &below("staging/"));
}

#[test]
fn a_removal_waits_for_publishers_and_loses_nothing_of_theirs() {
    // Given publishers of other refs of an image, while a ref of it is removed, many times,
    let s3fs = S3Fs::start();
    let endpoint = s3fs.endpoint();
    let directory = TempDir::new().unwrap();
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    let input = |reference: &str| format!("example.com/app#{reference}={}:1.0", layout.arg());
    for round in 0..3 {
        endpoint.publish(&[&input("doomed")]);
        let publishers: Vec<_> = (0..6)
            .map(|number| {
                let input = input(&format!("r{round}-{number}"));
                let args = ["publish", "--json", "--site", "s3://site", &input];
                endpoint.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        endpoint.run(&["remove", "--json", "s3://site", "example.com/app#doomed"]).success();
        publishers.into_iter().for_each(|child| drop(Run::of(child.wait_with_output().unwrap()).success()));
    }
    let list = endpoint.run(&["list", "--json", "s3://site"]).success();
    assert_eq!(list[0]["entries"].as_array().unwrap().len(), 18);
    assert_eq!(verify(&endpoint, "s3://site").code, Some(0));
}
