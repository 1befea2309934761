//! Many publishers at once, each a process of its own.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;

use serde_json::Value;
use tempfile::TempDir;

use super::endpoint::{Endpoint, Run};
use super::proxy::{Proxy, Seen};
use super::s3fs::S3Fs;
use crate::support::layout::{Layout, REF_NAME};

const PUBLISHERS: usize = 16;

/// A few rounds in every run of the tests; `OCISITE_ROUNDS=50` for all of them.
fn rounds(few: usize) -> usize {
    std::env::var("OCISITE_ROUNDS").map_or(few, |rounds| rounds.parse().expect("OCISITE_ROUNDS is a number"))
}

/// The same for what the long runs do but a tenth as often, because it takes longer than all the rest.
fn long_rounds(few: usize) -> usize {
    rounds(few * 10).div_ceil(10)
}

/// All publishers at once publish a ref of one image, and an image of their own. Gives the retries.
fn publish_rounds(endpoint: &Endpoint, options: &[&str], rounds: usize) -> u64 {
    let directory = TempDir::new().unwrap();
    let layouts: Vec<Layout> = (0..PUBLISHERS)
        .map(|publisher| Layout::of_image(directory.path().join(publisher.to_string()), &publisher.to_string()))
        .collect();
    let mut retries = 0;
    for round in 0..rounds {
        let publisher = |(publisher, layout): (usize, &Layout)| -> Child {
            let layout = layout.arg();
            let shared = format!("example.com/shared#r{round}-{publisher}={layout}:1.0");
            let new = format!("example.com/new/r{round}-{publisher}={layout}");
            let args =
                [&["publish", "--json", "--jobs", "2", "--site", "s3://site"], options, &[&shared, &new]].concat();
            endpoint.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let children: Vec<Child> = layouts.iter().enumerate().map(publisher).collect();
        for child in children {
            let summary = Run::of(child.wait_with_output().unwrap()).success();
            retries += summary["retries"].as_u64().unwrap();
        }
    }
    retries
}

fn json(endpoint: &Endpoint, key: &str) -> Value {
    serde_json::from_slice(&endpoint.objects()[key].bytes).unwrap()
}

#[test]
fn no_update_is_lost_when_sixteen_processes_publish_at_the_same_time() {
    let s3fs = S3Fs::start();
    let endpoint = s3fs.endpoint();
    let rounds = rounds(3);

    let retries = publish_rounds(&endpoint, &["--no-catalogue"], rounds);
    println!("{rounds} rounds of {PUBLISHERS} publishers took {retries} retries");

    let index = json(&endpoint, "oci-index/shared");
    let refs: BTreeSet<&str> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["annotations"][REF_NAME].as_str().unwrap())
        .collect();
    assert_eq!(refs.len(), PUBLISHERS * rounds);
    let description = json(&endpoint, "ocisite.json");
    assert_eq!(description["images"].as_array().unwrap().len(), PUBLISHERS * rounds + 1);
    let run = endpoint.run(&["verify", "s3://site", "--deep", "--strict"]);
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn no_tag_is_lost_in_the_registry_view() {
    let s3fs = S3Fs::start();
    let endpoint = s3fs.endpoint();
    let rounds = long_rounds(1);

    let retries = publish_rounds(&endpoint, &["--no-catalogue", "--registry"], rounds);
    println!("{rounds} rounds of {PUBLISHERS} publishers took {retries} retries");

    let tags = json(&endpoint, "v2/shared/tags/list");
    assert_eq!(tags["tags"].as_array().unwrap().len(), PUBLISHERS * rounds);
    let objects = endpoint.objects();
    for tag in tags["tags"].as_array().unwrap() {
        let key = format!("v2/shared/manifests/{}", tag.as_str().unwrap());
        assert!(objects.contains_key(&key), "{key}");
    }
    endpoint.assert_whole();
}

#[test]
fn no_image_is_lost_in_the_catalogue() {
    // Given publishers of a new image each, while there is no site yet,
    let s3fs = S3Fs::start();
    let endpoint = s3fs.endpoint();
    let directory = TempDir::new().unwrap();
    let children: Vec<Child> = (0..PUBLISHERS)
        .map(|publisher| {
            let name = format!("app{publisher}");
            let layout = Layout::of_image(directory.path().join(&name), &name);
            let input = format!("example.com/{name}={}", layout.arg());
            let args = ["publish", "--json", "--site", "s3://site", &input];
            endpoint.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let summaries = children.into_iter().map(|child| Run::of(child.wait_with_output().unwrap()).success());
    let retries: u64 = summaries.map(|summary| summary["retries"].as_u64().unwrap()).sum();
    println!("{PUBLISHERS} publishers of a new site took {retries} retries");

    // then each has its page, and the list has all of them.
    assert_eq!(json(&endpoint, "catalogue.json")["images"].as_array().unwrap().len(), PUBLISHERS);
    let run = endpoint.run(&["verify", "s3://site", "--deep", "--strict"]);
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn publishers_of_one_ref_leave_the_index_and_the_tag_in_agreement() {
    // Given publishers that all publish another image under the same ref, at the same time,
    let s3fs = S3Fs::start();
    let endpoint = s3fs.endpoint();
    let directory = TempDir::new().unwrap();
    for round in 0..long_rounds(2) {
        let children: Vec<Child> = (0..PUBLISHERS)
            .map(|publisher| {
                let name = format!("{round}-{publisher}");
                let layout = Layout::of_image(directory.path().join(&name), &name);
                let input = format!("example.com/app={}", layout.arg());
                let args = ["publish", "--json", "--no-catalogue", "--registry", "--site", "s3://site", &input];
                endpoint.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for child in children {
            Run::of(child.wait_with_output().unwrap()).success();
        }
        // then one of them is what everybody sees, however they look.
        let index = json(&endpoint, "oci-index/app");
        let [entry] = index["manifests"].as_array().unwrap().as_slice() else { panic!("{index}") };
        let digest = entry["digest"].as_str().unwrap();
        let objects = endpoint.objects();
        for key in ["v2/app/manifests/1.0", "v2/app/_manifests/1.0.oci-manifest"] {
            assert_eq!(
                crate::support::site::digest_like(digest, &objects[key].bytes),
                digest,
                "{key} in round {round}"
            );
        }
    }
}

#[test]
fn publishers_of_one_image_leave_its_catalogue_in_agreement() {
    // Given publishers of three refs of one image, two for each ref, at the same time,
    let s3fs = S3Fs::start();
    let endpoint = s3fs.endpoint();
    let directory = TempDir::new().unwrap();
    for round in 0..long_rounds(2) {
        let children: Vec<Child> = (0..6)
            .map(|publisher| {
                let name = format!("{round}-{publisher}");
                let layout = Layout::of_image(directory.path().join(&name), &name);
                let input = format!("example.com/app#{}={}:1.0", publisher % 3, layout.arg());
                let args = ["publish", "--json", "--site", "s3://site", &input];
                endpoint.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for child in children {
            Run::of(child.wait_with_output().unwrap()).success();
        }
        // then the image's document and those of its layers are what the index says.
        let run = endpoint.run(&["verify", "s3://site", "--deep", "--strict"]);
        assert_eq!(run.code, Some(0), "round {round}: {run:?}");
    }
}

/// A bucket with an image, and an index of it and the only manifest that refers to it.
struct SignedImage {
    s3fs: S3Fs,
    directory: TempDir,
    /// The path of the list of the image's referrers.
    list: String,
}

impl SignedImage {
    fn new() -> SignedImage {
        let (s3fs, directory) = (S3Fs::start(), TempDir::new().unwrap());
        let (image, layout) = signed(directory.path(), "signed", "one");
        s3fs.endpoint().publish(&["--registry", "--no-catalogue", &layout.input("app")]);
        let list = format!("v2/app/referrers/{}", image["digest"].as_str().unwrap());
        SignedImage { s3fs, directory, list }
    }

    /// The arguments of a publish of another index of the image and a manifest that refers to it.
    fn publish_again(&self, content: &str) -> Vec<String> {
        let (_, layout) = signed(self.directory.path(), "again", content);
        self.publish(&format!("example.com/app={}:again", layout.arg()))
    }

    /// The arguments of a publish of another image in place of the index.
    fn replace(&self) -> Vec<String> {
        let other = Layout::of_image(self.directory.path().join("other"), "other");
        self.publish(&format!("example.com/app#signed={}:1.0", other.arg()))
    }

    fn publish(&self, input: &str) -> Vec<String> {
        ["publish", "--no-catalogue", "--site", "s3://site", input].map(str::to_string).into()
    }

    /// Fails unless the list has one referrer, and the site is what its indexes say.
    fn assert_listed(&self, case: &str) {
        let endpoint = self.s3fs.endpoint();
        assert!(endpoint.objects().contains_key(&self.list), "{case}");
        assert_eq!(json(&endpoint, &self.list)["manifests"].as_array().unwrap().len(), 1, "{case}");
        let run = endpoint.run(&["verify", "s3://site", "--strict"]);
        assert_eq!(run.code, Some(0), "{case}: {run:?}");
    }
}

/// An image, and a layout of it and of an index of it and a manifest that refers to it.
fn signed(directory: &Path, name: &str, content: &str) -> (Value, Layout) {
    let mut layout = Layout::new(directory.join(name));
    let image = layout.image("image");
    layout.add("1.0", image.clone());
    layout.add(name, layout.index_of(&[image.clone(), layout.artifact(content, &image)]));
    (image, layout)
}

fn run(endpoint: &Endpoint, args: &[String]) {
    let run = endpoint.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(run.code, Some(0), "{run:?}");
}

/// A moment in what a command does: the first request for which this holds, and whether the facts were written before.
type Moment = (&'static str, fn(&Seen, bool) -> bool);

/// The moments at which another publisher can come between, after the plan was made.
const MOMENTS: [Moment; 3] = [
    ("the tag or the list of tags", |seen, _| {
        seen.method == "PUT" && ["v2/app/manifests/signed", "v2/app/tags/list"].contains(&seen.key.as_str())
    }),
    ("the facts", |seen, _| is_put(seen, FACTS)),
    // The keys to delete are in the body of the request.
    ("the removal of the list", |seen, has_facts| has_facts && seen.method == "POST"),
];
const FACTS: &str = "v2/app/_facts.json";

fn is_put(seen: &Seen, key: &str) -> bool {
    seen.method == "PUT" && seen.key == key
}

#[test]
fn a_list_of_referrers_that_another_publisher_writes_is_not_lost() {
    // Given commands that take the only referrer of an image away,
    let commands: [fn(&SignedImage) -> Vec<String>; 2] =
        [SignedImage::replace, |_| ["remove", "s3://site", "example.com/app#signed"].map(str::to_string).into()];
    // and another publisher, which brings that referrer again, or another one.
    for (command, content) in commands.iter().flat_map(|command| [(command, "one"), (command, "two")]) {
        for (moment, is_now) in MOMENTS {
            let site = SignedImage::new();
            let (args, again, publisher) = (command(&site), site.publish_again(content), site.s3fs.endpoint());
            let proxy = Proxy::to(site.s3fs.address());
            let (mut has_facts, mut has_run) = (false, false);
            proxy.fail(move |seen| {
                if !has_run && is_now(seen, has_facts) {
                    has_run = true;
                    run(&publisher, &again);
                }
                has_facts |= is_put(seen, FACTS);
                None
            });
            // When the publisher comes between, then the list has the referrer that the index leads to.
            run(&site.s3fs.endpoint().at(proxy.address), &args);
            site.assert_listed(&format!("{args:?}, {content}, {moment}"));
        }
    }
}

#[test]
fn a_list_of_referrers_that_another_publisher_keeps_is_not_lost() {
    // Given a publisher that takes the only referrer of an image away, and is about to write the facts,
    let site = SignedImage::new();
    let [takes_away, brings] = [(); 2].map(|()| Proxy::to(site.s3fs.address()));
    let (read, is_read) = mpsc::channel();
    let (write, may_write) = mpsc::channel::<()>();
    // and one that brings it again, has found it in the list, and is about to write the index.
    brings.fail(move |seen| {
        if is_put(seen, "oci-index/app") && read.send(()).is_ok() {
            // Once the first has ended, every write may go on.
            let _ = may_write.recv();
        }
        None
    });
    let input = format!("example.com/app={}", site.directory.path().join("signed").display());
    let again = site.publish(&format!("{input}:signed"));
    let publisher = site.s3fs.endpoint().at(brings.address);
    let mut has_begun = false;
    let (spawn, spawned) = mpsc::channel();
    takes_away.fail(move |seen| {
        if !has_begun && is_put(seen, FACTS) {
            let (publisher, again) = (publisher.clone(), again.clone());
            has_begun = true;
            spawn.send(std::thread::spawn(move || run(&publisher, &again))).unwrap();
            is_read.recv().unwrap();
        }
        None
    });
    // When the first ends before the second writes,
    let mut replace = site.publish(&format!("{input}:1.0"));
    replace.push("--replace".into());
    run(&site.s3fs.endpoint().at(takes_away.address), &replace);
    drop(write);
    spawned.recv().unwrap().join().unwrap();
    // then the list has the referrer.
    site.assert_listed("kept");
}
