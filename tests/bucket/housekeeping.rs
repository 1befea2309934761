//! `list`, `remove`, `gc`, `verify` and `copy` on buckets.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::endpoint::{Endpoint, Run, assert_same};
use super::proxy::{Fault, Proxy};
use super::s3fs::S3Fs;
use super::tools;
use crate::support::layout::Layout;
use crate::support::program;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/layouts");

fn one_image(directory: &TempDir, content: &str) -> String {
    let layout = Layout::of_image(directory.path().join(content), content);
    format!("example.com/{content}={}", layout.arg())
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
        assert_eq!(dry["paths"], freed["paths"]);
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
