//! Publishing into a bucket: the same site as in a directory, readable without anything in between.

use std::collections::BTreeMap;

use serde_json::Value;
use tempfile::TempDir;

use super::endpoint::{Endpoint, Object, assert_same};
use super::proxy::{Proxy, Seen};
use super::s3fs::S3Fs;
use super::tools;
use crate::support::layout::Layout;
use crate::support::many_refs::Documents;
use crate::support::program;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/layouts");

/// The objects of a site in a directory, with the media types that the plan gives them.
fn objects_of_a_directory(args: &[&str]) -> BTreeMap<String, Object> {
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    let plan = program::publish_json(&site, &[args, &["--dry-run"]].concat());
    program::publish(&site, args);
    let object = |object: &Value| {
        let text = |key: &str| object[key].as_str().unwrap().to_string();
        let bytes = std::fs::read(site.join(text("path"))).unwrap();
        (text("path"), Object { bytes, media_type: text("mediaType"), cache_control: text("cacheControl") })
    };
    let objects: BTreeMap<String, Object> = plan["objects"].as_array().unwrap().iter().map(object).collect();
    let files = walkdir::WalkDir::new(&site).into_iter().map(Result::unwrap).filter(|file| file.file_type().is_file());
    let is_public = |file: &walkdir::DirEntry| !file.path().starts_with(site.join(".ocisite"));
    assert_eq!(files.filter(is_public).count(), objects.len());
    objects
}

fn assert_same_everywhere(args: &[&str]) {
    let expected = objects_of_a_directory(args);
    let s3fs = S3Fs::start();
    let (_moto, moto) = tools::moto();
    let (_azurite, azurite) = tools::azurite();
    for endpoint in [s3fs.endpoint(), moto, azurite] {
        endpoint.publish(args);
        assert_same(&endpoint.objects(), &expected);
    }
}

#[test]
fn a_directory_s3s_fs_moto_and_azurite_get_the_same_objects_with_the_same_media_types() {
    assert_same_everywhere(&["--host", "example.com", FIXTURES]);
}

#[test]
fn and_so_with_the_registry_view_and_blobs_beside_their_images() {
    // Not the layouts with sha512: s3s-fs keeps what it knows of an object in a file whose name has the key in it, twice as
    // long, and some of these keys are too long for that.
    let images: Vec<String> = ["app", "team/app", "docker", "artifact", "nested"]
        .iter()
        .map(|image| format!("example.com/{image}={FIXTURES}/{image}"))
        .collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    assert_same_everywhere(&[&["--preset", "layout", "--registry"], &images[..]].concat());
}

#[test]
fn a_consumer_works_against_the_bucket_with_no_web_server_in_between() {
    // Given a site in a bucket that answers for the host itself,
    let s3fs = S3Fs::start();
    let index_template = "http://{host}/oci-index/{+path}";
    s3fs.endpoint().publish(&["--host", "example.com", "--index-template", index_template, FIXTURES]);
    let directory = TempDir::new().unwrap();
    let web = s3fs.web().to_string();

    // when its images are pulled by their names,
    for (name, layout) in
        [("app#1.0", "app"), ("team/app#2.0", "team"), ("artifact#1.0", "artifact"), ("docker#list", "docker")]
    {
        let target = directory.path().join(layout);
        let name = format!("example.com/{name}");
        let mut pull = program::ocisite();
        pull.args(["pull", "--no-xdg", "--protocol", "http", "--connect-to", &web, &name, "--to"]).arg(&target);
        let output = pull.assert().success().get_output().clone();

        // then all of each arrives, and the consumer had nothing to tolerate.
        assert!(target.join("index.json").exists());
        assert_eq!(String::from_utf8_lossy(&output.stderr).matches("warning").count(), 0, "{output:?}");
    }
}

#[test]
fn blobs_larger_than_a_part_arrive_whole_and_with_their_media_type() {
    // Given a layer of three parts and a bit,
    let s3fs = S3Fs::start();
    let proxy = Proxy::to(s3fs.address());
    let endpoint = s3fs.endpoint().at(proxy.address);
    let directory = TempDir::new().unwrap();
    let content: String = "0123456789abcdef".repeat(16 << 16) + "and a bit";
    let layout = Layout::of_image(directory.path().join("layout"), &content);

    // when it is published in parts,
    endpoint.publish(&["--part-size", "5MiB", &format!("example.com/app={}", layout.arg())]);

    // then it was sent in four, which the store could check as it could the smaller blobs, and is one object.
    let seen = proxy.take_seen();
    let sent: Vec<_> = seen.iter().filter(|seen| seen.method == "PUT" && seen.key.starts_with("oci-cas/")).collect();
    assert_eq!(sent.iter().filter(|seen| seen.query.contains("partNumber=")).count(), 4);
    assert!(sent.iter().all(|seen| seen.has_checksum), "{sent:#?}");
    assert_eq!(endpoint.assert_whole(), 4);
    let layer = endpoint.objects().into_values().find(|object| object.bytes.len() == content.len()).unwrap();
    assert_eq!(layer.media_type, crate::support::layout::LAYER);
    assert!(s3fs.unfinished_parts().is_empty());
}

#[test]
fn a_publish_of_one_tag_sends_no_more_requests_for_a_great_many_refs() {
    let requests = [200, 50_000].map(|refs| {
        // Given an image with many refs and referrers, and a bucket without their manifests,
        let s3fs = S3Fs::start();
        let proxy = Proxy::to(s3fs.address());
        let endpoint = s3fs.endpoint().at(proxy.address);
        let directory = TempDir::new().unwrap();
        let layout = |content| Layout::of_image(directory.path().join(content), content);
        endpoint.publish(&["--registry", "--no-catalogue", &layout("content").input("app")]);
        let objects = endpoint.objects();
        let json = |path: &str| serde_json::from_slice(&objects[path].bytes).unwrap();
        let mut documents = Documents {
            index: json("oci-index/app"),
            facts: json("v2/app/_facts.json"),
            tags: json("v2/app/tags/list"),
        };
        documents.add(refs);
        documents
            .each()
            .into_iter()
            .for_each(|(path, document)| endpoint.put(path, serde_json::to_vec(document).unwrap()));
        proxy.take_seen();

        // when one more is published,
        let more = layout("more");
        endpoint.publish(&[&format!("example.com/app#more={}", more.arg())]);

        // then the requests are those for what is published.
        proxy.take_seen().len()
    });
    assert_eq!(requests[0], requests[1]);
}

#[test]
fn a_blob_that_is_not_what_its_digest_says_leaves_no_object() {
    for (size, part_size) in [(1000, "8MiB"), (16 << 20, "5MiB")] {
        // Given a layer with a wrong last byte, small or in parts,
        let s3fs = S3Fs::start();
        let endpoint = s3fs.endpoint();
        let directory = TempDir::new().unwrap();
        let mut layout = Layout::new(directory.path().join("layout"));
        let content = "x".repeat(size);
        let image = layout.image(&content);
        let layer = layout.blob(crate::support::layout::LAYER, &content);
        layout.add("1.0", image);
        std::fs::write(layout.blob_file(&layer), "x".repeat(size - 1) + "y").unwrap();

        // when it is published,
        let input = format!("example.com/app={}", layout.arg());
        let run = endpoint.run(&["publish", "--site", "s3://site", "--part-size", part_size, &input]);

        // then the message names the file, and there is neither the blob, nor a part of it, nor anything that refers to it.
        run.failure(&[&layout.blob_name(&layer), "the layout is damaged"]);
        let objects = endpoint.objects();
        assert!(objects.values().all(|object| object.bytes.len() < 1000), "{objects:?}");
        assert!(!objects.contains_key("ocisite.json"));
        assert!(s3fs.unfinished_parts().is_empty());
    }
}

#[test]
fn a_second_publish_of_an_unchanged_site_sends_no_body() {
    let s3fs = S3Fs::start();
    let proxy = Proxy::to(s3fs.address());
    let endpoint = s3fs.endpoint().at(proxy.address);
    let args = ["--host", "example.com", "--no-catalogue", FIXTURES];
    endpoint.publish(&args);
    proxy.take_seen();

    let summary = endpoint.publish(&args);

    let seen = proxy.take_seen();
    assert!(seen.iter().all(|seen| seen.body == 0 && seen.method != "PUT"), "{seen:#?}");
    // Twelve indexes, the description twice, the ref-engines object, what gcs say, whether a catalogue was left; and the blobs
    // in one listing.
    assert_eq!(seen.len(), 12 + 2 + 1 + 1 + 1 + 1, "{seen:#?}");
    assert_eq!(summary["documentsWritten"]["objects"], 0);
}

#[test]
fn nor_does_one_of_a_site_with_all_views() {
    let s3fs = S3Fs::start();
    let proxy = Proxy::to(s3fs.address());
    let endpoint = s3fs.endpoint().at(proxy.address);
    let images = ["app", "team/app", "docker"].map(|image| format!("example.com/{image}={FIXTURES}/{image}"));
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let args = [&["--registry", "--catalogue"], &images[..]].concat();
    endpoint.publish(&args);
    proxy.take_seen();

    endpoint.publish(&args);

    let seen = proxy.take_seen();
    assert!(seen.iter().all(|seen| seen.body == 0 && matches!(seen.method.as_str(), "GET" | "HEAD")), "{seen:#?}");
}

#[test]
fn a_new_tag_costs_the_same_however_many_there_are() {
    // Given an image with ten thousand refs, and one with a single ref,
    let s3fs = S3Fs::start();
    let proxy = Proxy::to(s3fs.address());
    let endpoint = s3fs.endpoint().at(proxy.address);
    let directory = TempDir::new().unwrap();
    let mut many = Layout::new(directory.path().join("many"));
    let entries: Vec<Value> = (0..20).map(|number| many.image(&format!("image {number}"))).collect();
    for number in 0..10_000 {
        many.add_unwritten(&format!("v{number}"), entries[number % 20].clone());
    }
    many.write_index();
    let one = Layout::of_image(directory.path().join("one"), "one");
    // (The catalogue has a page with all refs of an image, which is written anew when one is.)
    let inputs = [&format!("example.com/many={}", many.arg()), &format!("example.com/one={}", one.arg())];
    endpoint.publish(&["--no-catalogue", inputs[0], inputs[1]]);

    // when a new ref of each is published,
    let mut new = Layout::new(directory.path().join("new"));
    let image = new.image("new");
    new.add("new", image);
    let mut requests = Vec::new();
    for image in ["many", "one"] {
        proxy.take_seen();
        endpoint.publish(&[&format!("example.com/{image}={}", new.arg())]);
        let seen = proxy.take_seen();
        requests.push(seen.len());
        let written: Vec<&str> = seen
            .iter()
            .filter(|seen| seen.method == "PUT" && seen.body > 0 && !seen.key.starts_with(".ocisite"))
            .map(|seen| seen.key.as_str())
            .collect();
        let blobs = written.iter().filter(|key| key.starts_with("oci-cas/")).count();
        // then what is sent is its new blobs (the second time there are none) and one index,
        assert_eq!(blobs, if image == "many" { 2 } else { 0 }, "{written:?}");
        assert_eq!(written.iter().filter(|key| **key == format!("oci-index/{image}")).count(), 1);
        assert_eq!(written.len(), blobs + 1);
    }
    // and the requests are those, whatever is in the index.
    assert_eq!(requests[0], requests[1] + 2);
    assert!(requests[0] <= 14, "{requests:?}");
    endpoint.assert_whole();
}

#[test]
fn presence_costs_the_lesser_of_a_listing_and_a_request_per_blob() {
    // Given a bucket with three thousand blobs,
    let s3fs = S3Fs::start();
    let proxy = Proxy::to(s3fs.address());
    let endpoint = s3fs.endpoint().at(proxy.address);
    let directory = TempDir::new().unwrap();
    let mut layout = Layout::new(directory.path().join("many"));
    for number in 0..1000 {
        let config = layout.document(crate::support::layout::CONFIG, &serde_json::json!({"number": number}));
        let layer = layout.blob(crate::support::layout::LAYER, format!("layer {number}"));
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]});
        let manifest = layout.document(crate::support::layout::MANIFEST, &manifest);
        layout.add_unwritten(&format!("v{number}"), manifest);
    }
    layout.write_index();
    let many = format!("example.com/many={}", layout.arg());
    endpoint.publish(&[&many]);
    let questions = |args: &[&str]| {
        proxy.take_seen();
        endpoint.publish(args);
        let seen = proxy.take_seen();
        let is_about_blobs = |seen: &&Seen| seen.method == "HEAD" && seen.key.starts_with("oci-cas/");
        seen.iter().filter(|seen| is_about_blobs(seen) || seen.query.contains("list-type")).count()
    };

    // when all of them are asked for, pages of a thousand are read, one more for each thread that walks a part;
    let jobs = 4;
    assert!(questions(&["--jobs", "4", &many]) <= 3 + jobs);
    // when three are asked for, there are at most three requests.
    let few = Layout::of_image(directory.path().join("few"), "few");
    assert!(questions(&[&format!("example.com/few={}", few.arg())]) <= 4);
}

#[test]
fn a_prefix_holds_all_of_a_site_and_a_base_path_all_but_the_discovery() {
    let s3fs = S3Fs::start();
    let endpoint: Endpoint = s3fs.endpoint();
    let directory = TempDir::new().unwrap();
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    let input = format!("example.com/app={}", layout.arg());

    let summary = endpoint.publish_to("s3://site/a/b", &[&input]);
    assert!(endpoint.objects().keys().all(|key| key.starts_with("a/b/")));
    let warning = summary["warnings"][0].as_str().unwrap();
    assert!(warning.contains("/.well-known") && warning.contains("--base-path /a/b"), "{warning}");
    assert_eq!(endpoint.publish_to("s3://site/a/b", &[&input])["blobsPresent"]["objects"], 4);

    let s3fs = S3Fs::start();
    let endpoint = s3fs.endpoint();
    endpoint.publish(&["--base-path", "/a/b", &input]);
    let objects = endpoint.objects();
    let outside: Vec<&String> = objects.keys().filter(|key| !key.starts_with("a/b/")).collect();
    assert_eq!(outside, [".well-known/oci-host-ref-engines", "ocisite.json"]);
    let engines = String::from_utf8(objects[".well-known/oci-host-ref-engines"].bytes.clone()).unwrap();
    assert!(
        engines.contains("https://{host}/a/b/oci-index/{+path}") && engines.contains("\"/a/b/oci-cas/"),
        "{engines}"
    );
}

#[test]
fn a_damaged_object_is_repaired_by_a_recheck() {
    // Given a bucket in which a layer was damaged, under its name in the CAS and under the one in the registry view.
    let s3fs = S3Fs::start();
    let endpoint = s3fs.endpoint();
    let image = format!("example.com/app={FIXTURES}/app");
    endpoint.publish(&["--registry", &image]);
    let before = endpoint.objects();
    let (in_view, layer) = before.iter().find(|(path, _)| path.starts_with("v2/app/blobs/")).unwrap();
    let is_same = |(path, object): &(&String, &Object)| path.starts_with("oci-cas/") && object.bytes == layer.bytes;
    let (in_cas, _) = before.iter().find(is_same).unwrap();
    for path in [in_view, in_cas] {
        endpoint.put(path, vec![b'x'; layer.bytes.len()]);
    }
    // A plain publish takes it for right, and a recheck writes both names anew.
    assert_eq!(endpoint.publish(&[&image])["blobsWritten"]["objects"], 0);
    assert_eq!(endpoint.publish(&["--recheck", &image])["blobsRepaired"]["objects"], 2);
    assert_same(&endpoint.objects(), &before);
}
