//! Many publishers at once, each a process of its own.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::endpoint::{Endpoint, Run};
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
