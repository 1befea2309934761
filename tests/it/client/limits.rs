//! How much a site can make a client read, keep and write.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::images::{self, MANIFEST, descriptor, encoded, ref_engine, tagged};
use super::program::{fails, json_of, messages, ocisite_at};
use super::server::{Answer, INDEX, Server, WELL_KNOWN};
use crate::support::memory::{MIB, ocisite_within};
use crate::support::site::Snapshot;

/// A site with an image whose layer is said to have so many bytes.
fn with_layer_of(size: u64) -> Server {
    let server = Server::start();
    let mut layer = descriptor("a/b", b"a layer");
    layer["size"] = size.into();
    let manifest = json!({"schemaVersion": 2, "config": server.blob("a/b", b"{}"), "layers": [layer]});
    let manifest = server.blob(MANIFEST, manifest.to_string().as_bytes());
    server.with_engines().with_index("app", &[tagged(&manifest, "1.0")]);
    server
}

/// A site with an image whose layer is at none of the URLs that its descriptor gives, each of which gets this answer.
fn with_layer_at(urls: usize, answer: &Answer) -> Server {
    let server = Server::start();
    let mut layer = descriptor("a/b", b"a layer");
    let url = |number: usize| {
        let path = format!("/urls/{number}");
        server.answer(&path, answer.clone());
        format!("http://example.com{path}")
    };
    layer["urls"] = (0..urls).flat_map(|number| [url(number), url(0)]).collect();
    let manifest = json!({"schemaVersion": 2, "config": server.blob("a/b", b"{}"), "layers": [layer]});
    let manifest = server.blob(MANIFEST, manifest.to_string().as_bytes());
    server.with_engines().with_index("app", &[tagged(&manifest, "1.0")]);
    server
}

/// A pull that does not get the layer, and says so with these words. How many of its URLs were asked.
fn asked_for_layer(server: &Server, words: &[&str]) -> usize {
    let directory = TempDir::new().unwrap();
    let layout = directory.path().join("layout");
    let args = ["--timeout", "1", "example.com/app", "--to", layout.to_str().unwrap()];
    fails(ocisite_at(server, "pull").args(args), words);
    server.asked().iter().filter(|place| place.starts_with("example.com/urls/")).count()
}

#[test]
fn a_blob_is_looked_for_at_so_many_urls_and_each_once() {
    // The engine's URL is the first of them.
    let server = with_layer_at(40, &Answer::Content(404, "text/plain", vec![]));
    assert_eq!(asked_for_layer(&server, &["cannot fetch sha256:", "one blob is requested from at most 16 URLs"]), 15);
    let server = with_layer_at(10, &Answer::Content(404, "text/plain", vec![]));
    assert_eq!(asked_for_layer(&server, &["cannot fetch sha256:"]), 10);
}

#[test]
fn all_urls_of_a_blob_together_have_one_limit_of_time() {
    let server = with_layer_at(10, &Answer::Silence);
    let asked = asked_for_layer(&server, &["took too long", "the time limit of the blob is over", "--timeout"]);
    assert!((2..=3).contains(&asked), "{asked} were asked");
}

/// A pull that is refused with this exit code and these words, into a new layout, an existing one and an archive; each of them, and
/// everything beside, is as it was.
fn is_refused(server: &Server, options: &[&str], code: i32, words: &[&str]) {
    let directory = TempDir::new().unwrap();
    let existing = directory.path().join("existing");
    let other = Server::start();
    other.with_engines().with_index("app", &[tagged(&other.image("linux/amd64", b"other"), "old")]);
    json_of(ocisite_at(&other, "pull").args(["--json", "example.com/app", "--to", existing.to_str().unwrap()]));
    let before = Snapshot::of(directory.path());
    for target in ["existing", "new", "new.tar"] {
        let target = directory.path().join(target);
        let output = ocisite_at(server, "pull")
            .args(options)
            .args(["example.com/app", "--to", target.to_str().unwrap()])
            .output()
            .unwrap();
        let printed = messages(&output);
        assert_eq!(output.status.code(), Some(code), "{printed}");
        assert!(words.iter().all(|word| printed.contains(word)), "expected {words:?} in: {printed}");
        before.assert_unchanged(directory.path());
    }
}

#[test]
fn an_image_larger_than_is_accepted_is_refused_before_anything_is_written() {
    let server = with_layer_of((1 << 53) - 1);
    is_refused(&server, &[], 1, &["example.com/app has 900719925474", "at most 274877906944", "--max-size"]);
    let server = with_layer_of(1000);
    is_refused(&server, &["--max-size", "1000"], 1, &["at most 1000"]);
    assert!(server.asked().iter().all(|place| !place.contains(&encoded(b"a layer"))));
}

#[test]
fn an_image_for_which_there_is_no_room_is_refused_before_anything_is_written() {
    let server = with_layer_of((1 << 53) - 1);
    is_refused(&server, &["--max-size", "16384TiB"], 2, &["bytes of free space", "expected", "free some space"]);
}

#[test]
fn manifests_of_an_image_larger_than_is_accepted_are_not_read() {
    // Given an index of three images,
    let server = Server::start();
    let images = ["amd64", "arm64", "s390x"].map(|name| server.image(&format!("linux/{name}"), name.as_bytes()));
    let index = json!({"schemaVersion": 2, "manifests": images}).to_string();
    let entry = tagged(&server.blob(images::INDEX, index.as_bytes()), "1.0");
    server.with_engines().with_index("app", &[entry]);
    // when no more than its bytes are accepted,
    let (limit, directory) = (index.len().to_string(), TempDir::new().unwrap());
    let mut pull = ocisite_at(&server, "pull");
    pull.args(["--all-platforms", "--max-size", &limit, "example.com/app", "--to"])
        .arg(directory.path().join("layout"));
    // then no blob below it is asked for.
    fails(&mut pull, &[&format!("at most {limit}"), "--max-size"]);
    let asked = server.asked();
    let blobs: Vec<&String> = asked.iter().filter(|place| place.contains("/cas/")).collect();
    assert_eq!(blobs, [&format!("example.com/cas/{}", encoded(index.as_bytes()))]);
}

/// Serves a manifest of nearly 4 MiB.
fn large_manifest(server: &Server, number: usize, subject: &Value) -> Value {
    let config = server.blob("a/config", b"{}");
    let annotations = json!({"number": number.to_string(), "long": "x".repeat(4_000_000)});
    let manifest =
        json!({"schemaVersion": 2, "config": config, "subject": subject, "layers": [], "annotations": annotations});
    server.blob(MANIFEST, manifest.to_string().as_bytes())
}

#[test]
fn all_manifests_of_a_pull_together_have_one_limit() {
    // Given an image with ten large referrers, and a ref of ten large manifests,
    let server = Server::start();
    let image = server.image("linux/amd64", b"layer");
    let large: Vec<Value> = (0..10).map(|number| large_manifest(&server, number, &image)).collect();
    server.with_engines().with_index("referrers", &[&[tagged(&image, "1.0")], &large[..]].concat());
    server.with_index("images", &large.iter().map(|entry| tagged(entry, "1.0")).collect::<Vec<_>>());
    let directory = TempDir::new().unwrap();
    let layout = directory.path().join("layout");
    for (name, option) in [("referrers", "--referrers"), ("images", "--all-platforms")] {
        // when they are pulled,
        let mut pull = ocisite_at(&server, "pull");
        pull.args(["--jobs", "1", option, &format!("example.com/{name}#1.0"), "--to", layout.to_str().unwrap()]);
        // then the pull is refused, and nothing is written.
        fails(&mut pull, &["more than 32 MiB of manifests that are read together", "omit", option]);
        assert!(!layout.exists());
    }
}

/// Sixteen ref engines, each with an index of so many bytes, of which nearly all are one text.
fn with_large_indexes(bytes: usize) -> (Server, Vec<Value>) {
    let server = Server::start();
    let engines: Vec<Value> = (0..16).map(|number| ref_engine(&format!("/index/{number}"))).collect();
    server.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": engines})));
    let entries: Vec<Value> =
        (0..16).map(|number| tagged(&descriptor("a/b", format!("{number}").as_bytes()), "1.0")).collect();
    for (number, entry) in entries.iter().enumerate() {
        let index = json!({"schemaVersion": 2, "x": " ".repeat(bytes), "manifests": [entry]});
        server.answer(&format!("/index/{number}"), Answer::Content(200, INDEX, index.to_string().into_bytes()));
    }
    (server, entries)
}

#[test]
fn all_indexes_of_a_name_together_have_one_limit() {
    let (server, entries) = with_large_indexes(20 << 20);
    let output = ocisite_at(&server, "resolve").arg("example.com/app").output().unwrap();
    let printed = messages(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert_eq!(printed.matches("expected at most 67108864 bytes in all indexes of one name").count(), 13, "{printed}");
    // What was read counts.
    let resolved: Value = serde_json::from_slice(&output.stdout).unwrap();
    let roots: Vec<&Value> = resolved["example.com/app"].as_array().unwrap().iter().map(|root| &root["root"]).collect();
    assert_eq!(roots, [&entries[0], &entries[1], &entries[2]]);
}

#[test]
fn an_index_of_many_entries_takes_little_memory() {
    // Given an index near the limit, of many entries, one of which is meant.
    let server = Server::start();
    let other = tagged(&descriptor("a/b", b"other"), "other").to_string();
    let entries = vec![other.as_str(); (60 << 20) / (other.len() + 1)].join(",");
    let wanted = tagged(&descriptor("a/b", b"wanted"), "1.0");
    let index = format!("{{\"manifests\":[{entries},{wanted}]}}");
    server.with_engines().answer("/index/app", Answer::Content(200, INDEX, index.into_bytes()));
    // When it is resolved with memory for its bytes, and some.
    let mut command = ocisite_within(100 * MIB);
    command.args(["resolve", "--no-xdg", "--protocol", "http", "--connect-to", &server.address.to_string()]);
    let resolved = json_of(command.arg("example.com/app#1.0"));
    // Then it is found.
    assert_eq!(resolved["example.com/app#1.0"][0]["root"], wanted);
}

/// `ocisite SUBCOMMAND` as [`ocisite_at`] runs it, with at most `bytes` of data.
fn ocisite_at_within(bytes: u64, server: &Server, subcommand: &str) -> assert_cmd::Command {
    let mut command = ocisite_within(bytes);
    let address = server.address.to_string();
    command.args([subcommand, "--no-xdg", "--protocol", "http", "--connect-to", &address]);
    command
}

/// Referrers of an image whose entries have values that take many times the memory of their text: two for each text that is repeated in a
/// list, and two for an object with its keys in the order in which they take most.
fn referrers_with_values(server: &Server, image: &Value) -> Vec<String> {
    let keys: Vec<String> = (100_000..160_000).map(|key| format!(r#""{key}":0"#)).collect();
    let lists = [r#"{"":0},"#.repeat(60_000), r#""a","#.repeat(150_000), "0,".repeat(300_000)];
    let values = lists.map(|list| format!("[{list}0]")).into_iter().chain([format!("{{{}}}", keys.join(","))]);
    let tag = image["digest"].as_str().unwrap().replace(':', "-");
    let referrer = |number: usize, values: &str| {
        let entry = tagged(&server.blob("a/b", number.to_string().as_bytes()), &format!("{tag}.{number}")).to_string();
        format!(r#"{},"x":{values}}}"#, entry.strip_suffix('}').unwrap())
    };
    values.enumerate().flat_map(|(form, values)| [0, 1].map(|copy| referrer(2 * form + copy, &values))).collect()
}

#[test]
fn an_index_of_small_values_takes_little_memory() {
    // Given an index of 5 MB, whose values would take some 200 MiB together.
    let server = Server::start();
    let image = server.image("linux/amd64", b"layer");
    let wanted = tagged(&image, "1.0");
    let index = format!(r#"{{"manifests":[{wanted},{}]}}"#, referrers_with_values(&server, &image).join(","));
    let bytes = index.len() as u64;
    server.with_engines().answer("/index/app", Answer::Content(200, INDEX, index.into_bytes()));
    // With memory for the program and the values of one entry, and for the index as it is received and as it is kept.
    let within = |copies, subcommand| ocisite_at_within(88 * MIB + copies * bytes, &server, subcommand);
    // When all of it is resolved, then all of it is printed.
    let resolved = json_of(within(3, "resolve").arg("example.com/app"));
    let roots = resolved["example.com/app"].as_array().unwrap();
    assert_eq!((roots.len(), &roots[0]["root"]), (9, &wanted));
    // When all of it is pulled, then it is in the layout, which is written besides.
    let directory = TempDir::new().unwrap();
    let layout = directory.path().join("layout");
    let mut pull = within(6, "pull");
    pull.args(["--jobs", "1", "--referrers", "--platform", "linux/amd64", "--to", layout.to_str().unwrap(), "--json"]);
    let pulled = json_of(pull.arg("example.com/app#1.0"));
    assert_eq!(pulled["entries"].as_array().unwrap().len(), 9);
}

#[test]
fn annotations_of_an_entry_take_their_memory_once() {
    // Given an entry with a long annotation, for an index of many images.
    let server = Server::start();
    let image = server.image("linux/amd64", b"layer");
    let others = (0..900).map(|number| {
        let other = descriptor(MANIFEST, number.to_string().as_bytes());
        images::for_platform(&other, &format!("linux/other{number}"))
    });
    let manifests: Vec<Value> = others.chain([images::for_platform(&image, "linux/amd64")]).collect();
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    let index = server.blob(images::INDEX, index.to_string().as_bytes());
    let annotations = json!({images::REF_NAME: "1.0", "long": "x".repeat(1 << 20)});
    let entry = images::entry(&index, json!({"annotations": annotations}));
    server.with_engines().with_index("app", &[entry]);
    // When one of the images is pulled, with memory for the program and a few copies of the annotation.
    let directory = TempDir::new().unwrap();
    let layout = directory.path().join("layout");
    let mut pull = ocisite_at_within(64 * MIB, &server, "pull");
    pull.args(["--jobs", "1", "--platform", "linux/amd64", "--to", layout.to_str().unwrap(), "--json"]);
    let pulled = json_of(pull.arg("example.com/app"));
    // Then the image has the annotations of the index.
    assert_eq!(pulled["entries"].as_array().unwrap().len(), 1);
    let layout: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let entry = &layout["manifests"][0];
    assert_eq!((&entry["digest"], &entry["annotations"]), (&image["digest"], &annotations));
}

#[test]
fn an_index_of_too_many_images_is_refused_by_its_digest() {
    let server = Server::start();
    let images: Vec<Value> = (0..1001).map(|number| descriptor(MANIFEST, number.to_string().as_bytes())).collect();
    let index = json!({"schemaVersion": 2, "manifests": images});
    let index = server.blob(images::INDEX, index.to_string().as_bytes());
    server.with_engines().with_index("app", &[tagged(&index, "1.0")]);
    let message = format!("the index {} has more than 1000 images", index["digest"].as_str().unwrap());
    is_refused(&server, &[], 1, &[&message]);
}

#[test]
fn what_is_said_of_an_index_takes_little_memory() {
    // Given a long URL of an index, whose entries have engines that are not used, each of them worth a warning.
    let server = Server::start();
    let place = format!("/index/{}", "x".repeat(7_000));
    server.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": [ref_engine(&place)]})));
    let engines = vec![json!({"protocol": "x"}); 16];
    let entries = (0..3000).map(|number| {
        let entry = tagged(&descriptor("a/b", format!("{number}").as_bytes()), "1.0");
        images::entry(&entry, json!({"casEngines": engines}))
    });
    server.answer(&place, Answer::index(json!({"schemaVersion": 2, "manifests": entries.collect::<Vec<_>>()})));
    // When one is pulled, then it can be told what is wrong.
    let directory = TempDir::new().unwrap();
    let layout = directory.path().join("layout");
    let mut command = ocisite_at_within(64 * MIB, &server, "pull");
    fails(command.args(["example.com/app#1.0", "--to", layout.to_str().unwrap()]), &["ambiguous"]);
}

#[test]
fn indexes_that_fail_count_too() {
    // Given indexes that are too large to be used: the first takes all that there is.
    let server = Server::start();
    let engines: Vec<Value> = (0..3).map(|number| ref_engine(&format!("/index/{number}"))).collect();
    server.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": engines})));
    let endless = Answer::Endless(Answer::head_of_endless(INDEX), vec![b' '; 1 << 20]);
    for number in 0..3 {
        server.answer(&format!("/index/{number}"), endless.clone());
    }
    let words = ["more than 67108864 bytes", "expected at most 67108864 bytes in all indexes"];
    fails(ocisite_at(&server, "resolve").arg("example.com/app"), &words);
    assert_eq!(server.asked().len(), 2, "{:?}", server.asked());
}
