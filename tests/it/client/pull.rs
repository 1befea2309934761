//! Pulling images into layouts.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::images::*;
use super::program::{fails, json_of, messages, ocisite_at};
use super::server::{Answer, Server, WELL_KNOWN};

/// All files below a directory, as relative paths.
fn files(directory: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(directory).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.path().strip_prefix(directory).unwrap().display().to_string()).collect()
}

fn entries(layout: &Path) -> Vec<Value> {
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    index["manifests"].as_array().unwrap().clone()
}

fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    layout.join("blobs").join(descriptor["digest"].as_str().unwrap().replace(':', "/"))
}

/// A directory in which nothing is, and the path of a layout in it.
fn target() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path().join("layout");
    (directory, layout)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn an_image_becomes_a_layout_with_nothing_else_in_it() {
    let server = Server::start();
    let image = server.image("linux/amd64", b"layer");
    server.with_engines().with_index("app", &[tagged(&image, "1.0")]);
    let (_directory, layout) = target();
    let output = ocisite_at(&server, "pull").args(["example.com/app#1.0", "--to", text(&layout)]).output().unwrap();
    assert_eq!(messages(&output), "");
    assert_eq!(output.status.code(), Some(0));
    let mut expected = vec!["index.json".to_string(), "oci-layout".into()];
    let config = json!({"os": "linux", "architecture": "amd64"}).to_string();
    let encoded = [encoded(config.as_bytes()), encoded(b"layer"), image["digest"].as_str().unwrap()[7..].into()];
    expected.extend(encoded.map(|encoded| format!("blobs/sha256/{encoded}")));
    expected.sort();
    assert_eq!(files(&layout), expected);
    assert_eq!(std::fs::read(blob(&layout, &descriptor("", b"layer"))).unwrap(), b"layer");
    assert_eq!(std::fs::read_to_string(layout.join("oci-layout")).unwrap(), r#"{"imageLayoutVersion":"1.0.0"}"#);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("3 blobs fetched") && printed.contains("1.0 sha256:"), "{printed}");
}

#[test]
fn an_entry_keeps_its_properties_but_not_the_site_s_engines() {
    let server = Server::start();
    let image = server.image("linux/amd64", b"layer");
    let own = json!({
        "annotations": {REF_NAME: "1.0", "a": "b"},
        "platform": {"os": "linux", "architecture": "amd64", "variant": "v1"},
        "x-unknown": [1, {"y": null}],
    });
    let published = entry(&entry(&image, own.clone()), json!({"casEngines": [cas_engine(CAS)]}));
    server.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": [ref_engine("/index/{+path}")]})));
    server.with_index("app", &[published]);
    let (_directory, layout) = target();
    json_of(ocisite_at(&server, "pull").args(["--json", "example.com/app#1.0", "--to", text(&layout)]));
    assert_eq!(entries(&layout), [entry(&image, own)]);
}

#[test]
fn other_images_in_the_layout_are_kept_and_a_pulled_ref_is_replaced() {
    let server = Server::start();
    let (one, two) = (server.image("linux/amd64", b"one"), server.image("linux/amd64", b"two"));
    server.with_engines().with_index("app", &[tagged(&one, "1.0"), tagged(&two, "2.0")]);
    let (_directory, layout) = target();
    for (name, to) in [("example.com/app#1.0", ""), ("example.com/app#2.0", ""), ("example.com/app#1.0", ":2.0")] {
        json_of(ocisite_at(&server, "pull").args(["--json", name, "--to", &format!("{}{to}", text(&layout))]));
    }
    assert_eq!(entries(&layout), [tagged(&one, "1.0"), tagged(&one, "2.0")]);
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let server = Server::start();
    let image = server.image("linux/amd64", b"layer");
    server.with_engines().with_index("app", &[tagged(&image, "1.0")]);
    let (_directory, layout) = target();
    let mut arguments = vec!["--json", "example.com/app#1.0", "--to", text(&layout)];
    let first = json_of(ocisite_at(&server, "pull").args(&arguments));
    assert_eq!((&first["fetched"]["blobs"], &first["present"]["blobs"]), (&json!(3), &json!(0)));
    server.forget_requests();
    let second = json_of(ocisite_at(&server, "pull").args(&arguments));
    assert_eq!((&second["fetched"]["blobs"], &second["present"]["blobs"]), (&json!(0), &json!(3)));
    assert_eq!(server.asked().len(), 2, "{:?}", server.asked());

    // A blob of the wrong size is no blob.
    std::fs::write(blob(&layout, &descriptor("", b"layer")), "lay").unwrap();
    arguments[0] = "--quiet";
    ocisite_at(&server, "pull").args(&arguments).assert().success().stdout("").stderr("");
    assert_eq!(std::fs::read(blob(&layout, &descriptor("", b"layer"))).unwrap(), b"layer");
}

#[test]
fn a_platform_is_chosen_out_of_an_index_and_takes_the_index_s_place() {
    let server = Server::start();
    let (amd64, arm64) = (server.image("linux/amd64", b"amd64"), server.image("linux/arm64", b"arm64"));
    let index = server.nested_index(&[
        ("linux/amd64", amd64.clone()),
        ("linux/arm64", arm64.clone()),
        ("unknown/unknown", amd64),
    ]);
    server.with_engines().with_index("app", &[tagged(&index, "1.0")]);
    let (_directory, layout) = target();
    let arguments = ["--json", "example.com/app#1.0", "--platform", "linux/arm64", "--to", text(&layout)];
    json_of(ocisite_at(&server, "pull").args(arguments));
    assert_eq!(entries(&layout), [for_platform(&tagged(&arm64, "1.0"), "linux/arm64")]);
    assert!(!blob(&layout, &descriptor("", b"amd64")).exists());
}

#[test]
fn a_platform_is_chosen_among_entries_even_if_only_configs_tell() {
    let server = Server::start();
    let (amd64, arm64) = (server.image("linux/amd64", b"amd64"), server.image("linux/arm64", b"arm64"));
    server.with_engines().with_index("app", &[tagged(&amd64, "1.0"), tagged(&arm64, "1.0")]);
    let (_directory, layout) = target();
    let arguments = ["--json", "example.com/app", "--platform", "linux/arm64", "--to", text(&layout)];
    json_of(ocisite_at(&server, "pull").args(arguments));
    assert_eq!(entries(&layout), [tagged(&arm64, "1.0")]);
}

#[test]
fn all_platforms_come_as_the_site_has_them() {
    let server = Server::start();
    let images = [("linux/amd64", server.image("linux/amd64", b"1")), ("plan9/386", server.image("plan9/386", b"2"))];
    let index = server.nested_index(&images);
    server.with_engines().with_index("app", &[tagged(&index, "1.0")]);
    let (_directory, layout) = target();
    json_of(ocisite_at(&server, "pull").args(["--json", "example.com/app", "--all-platforms", "--to", text(&layout)]));
    assert_eq!(entries(&layout), [tagged(&index, "1.0")]);
    for content in [b"1", b"2"] {
        assert_eq!(std::fs::read(blob(&layout, &descriptor("", content))).unwrap(), content);
    }
}

#[test]
fn a_name_that_stays_ambiguous_is_an_error_that_lists_the_choices() {
    let server = Server::start();
    let (one, two) = (server.image("linux/amd64", b"one"), server.image("linux/amd64", b"two"));
    server.with_engines().with_index("refs", &[tagged(&one, "1.0"), tagged(&two, "2.0")]);
    server.with_index("platforms", &[tagged(&one, "1.0"), tagged(&two, "1.0")]);
    let (directory, layout) = target();
    let mut by_ref = ocisite_at(&server, "pull");
    by_ref.args(["example.com/refs", "--to", text(&layout)]);
    fails(&mut by_ref, &["is ambiguous", "example.com/refs#1.0 sha256:", "example.com/refs#2.0 sha256:"]);
    let said = fails(by_ref.arg("--all-platforms"), &["is ambiguous; choose with #REF:\n"]);
    assert!(!said.contains("--all-platforms"), "{said}");
    let mut by_platform = ocisite_at(&server, "pull");
    by_platform.args(["example.com/platforms#1.0", "--platform", "linux/amd64", "--to", text(&layout)]);
    let printed = fails(&mut by_platform, &["is ambiguous"]);
    assert_eq!(printed.matches("example.com/platforms#1.0 linux/amd64 sha256:").count(), 2, "{printed}");
    assert!(files(directory.path()).is_empty());
}

#[test]
fn a_platform_that_is_not_there_is_an_error_that_lists_those_that_are() {
    let server = Server::start();
    server.with_engines().with_index("app", &[tagged(&server.image("plan9/386", b"x"), "1.0")]);
    let (directory, layout) = target();
    let mut command = ocisite_at(&server, "pull");
    command.args(["example.com/app", "--platform", "linux/arm64", "--to", text(&layout)]);
    fails(&mut command, &["no image for linux/arm64", "example.com/app#1.0 plan9/386"]);
    assert!(files(directory.path()).is_empty());
}

#[test]
fn the_only_image_is_taken_whatever_its_platform_and_that_is_told() {
    let server = Server::start();
    server.with_engines().with_index("app", &[tagged(&server.image("plan9/386", b"x"), "1.0")]);
    let (_directory, layout) = target();
    let output = ocisite_at(&server, "pull").args(["example.com/app", "--to", text(&layout)]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(messages(&output).contains("the image is for plan9/386"), "{}", messages(&output));
}

#[test]
fn referrers_come_along_when_asked_for() {
    let server = Server::start();
    let (image, other) = (server.image("linux/amd64", b"image"), server.image("linux/amd64", b"other"));
    let sbom = server.referrer(&image, b"sbom");
    let signature = server.referrer(&sbom, b"signature of the sbom");
    let stranger = server.referrer(&other, b"sbom of another");
    let tag = image["digest"].as_str().unwrap().replace(':', "-");
    let cosign = tagged(&server.image("linux/amd64", b"cosign"), &format!("{tag}.sig"));
    let listed =
        [tagged(&image, "1.0"), tagged(&other, "2.0"), signature.clone(), stranger, cosign.clone(), sbom.clone()];
    server.with_engines().with_index("app", &listed);
    let (_directory, layout) = target();
    json_of(ocisite_at(&server, "pull").args(["--json", "example.com/app#1.0", "--to", text(&layout)]));
    assert_eq!(entries(&layout), [tagged(&image, "1.0")]);
    json_of(ocisite_at(&server, "pull").args(["--json", "example.com/app#1.0", "--referrers", "--to", text(&layout)]));
    let found = entries(&layout);
    assert_eq!(found.len(), 4, "{found:?}");
    for expected in [tagged(&image, "1.0"), cosign, sbom, signature] {
        assert!(found.contains(&expected), "{expected} is not in {found:?}");
    }
    assert!(blob(&layout, &descriptor("", b"signature of the sbom")).exists());
    assert!(!blob(&layout, &descriptor("", b"sbom of another")).exists());
}

#[test]
fn the_next_engine_is_asked_when_one_fails_or_lies() {
    let server = Server::start();
    let image = server.image("linux/amd64", b"layer");
    let path = format!("/lies/{}", image["digest"].as_str().unwrap());
    server.answer(&path, Answer::blob(&vec![b'x'; image["size"].as_u64().unwrap() as usize]));
    let engines = [cas_engine("/gone/{digest}"), cas_engine("/lies/{+digest}"), json!({"protocol": "other"})];
    let listed = entry(&tagged(&image, "1.0"), json!({"casEngines": engines}));
    // The ref-engines object's engine, the last to be asked, is the one that has it.
    server.with_engines().with_index("app", &[listed]);
    let (_directory, layout) = target();
    let output = ocisite_at(&server, "pull").args(["-v", "example.com/app", "--to", text(&layout)]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    let asked: Vec<String> =
        server.asked().into_iter().filter(|asked| asked.contains(&image["digest"].as_str().unwrap()[7..])).collect();
    let encoded = &image["digest"].as_str().unwrap()[7..];
    assert_eq!(
        asked,
        [
            format!("example.com/gone/sha256%3A{encoded}"),
            format!("example.com{path}"),
            format!("example.com/cas/{encoded}")
        ]
    );
}

#[test]
fn a_descriptor_s_own_engines_come_first_and_are_relative_to_its_document() {
    let server = Server::start();
    server.answer("/cas/elsewhere/layer", Answer::blob(b"layer"));
    let layer = entry(&descriptor("a/b", b"layer"), json!({"casEngines": [cas_engine("elsewhere/layer")]}));
    let manifest = json!({"schemaVersion": 2, "config": server.blob("a/b", b"{}"), "layers": [layer]}).to_string();
    let manifest = server.blob(MANIFEST, manifest.as_bytes());
    server.with_engines().with_index("app", &[manifest]);
    let (_directory, layout) = target();
    json_of(ocisite_at(&server, "pull").args(["--json", "example.com/app", "--to", text(&layout)]));
    assert!(server.asked().contains(&"example.com/cas/elsewhere/layer".into()));
    assert!(blob(&layout, &descriptor("", b"layer")).exists());
}

#[test]
fn a_cas_template_may_name_the_image() {
    let server = Server::start();
    let image = server.image("linux/amd64", b"layer");
    // Each image has a bucket of its own, as in a layout that is served as it is.
    let engines = json!([cas_engine("/{path}/{encoded}"), cas_engine(CAS)]);
    let document = json!({"refEngines": [ref_engine("/index/{+path}")], "casEngines": engines});
    server.answer(WELL_KNOWN, Answer::ref_engines(document));
    server.answer(&format!("/app/{}", encoded(b"layer")), Answer::blob(b"layer"));
    server.with_index("app", &[image]);
    let (_directory, layout) = target();
    json_of(ocisite_at(&server, "pull").args(["--json", "example.com/app", "--to", text(&layout)]));
    let asked = server.asked();
    assert!(asked.contains(&format!("example.com/app/{}", encoded(b"layer"))), "{asked:?}");
}

#[test]
fn layers_that_live_elsewhere_are_fetched_there_or_left_out() {
    const FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    let server = Server::start();
    server.answer("/elsewhere", Answer::blob(b"here"));
    let there = entry(&descriptor(FOREIGN, b"here"), json!({"urls": [server.url("/elsewhere")]}));
    let gone = entry(&descriptor(FOREIGN, b"gone"), json!({"urls": [server.url("/gone")]}));
    let manifest =
        json!({"schemaVersion": 2, "config": server.blob("a/b", b"{}"), "layers": [there, gone]}).to_string();
    server.with_engines().with_index("app", &[server.blob(MANIFEST, manifest.as_bytes())]);
    let (_directory, layout) = target();
    let output = ocisite_at(&server, "pull").args(["example.com/app", "--to", text(&layout)]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", messages(&output));
    assert!(messages(&output).contains("omitted: cannot fetch sha256:"), "{}", messages(&output));
    assert!(blob(&layout, &descriptor("", b"here")).exists());
    assert!(!blob(&layout, &descriptor("", b"gone")).exists());
}

/// The image of one layer, served so that the layer breaks off in the middle the first time.
fn with_broken_layer(server: &Server, layer: &[u8]) {
    let image = server.image("linux/amd64", layer);
    server.with_engines().with_index("app", &[tagged(&image, "1.0")]);
    let broken = Answer::with_length("application/octet-stream", layer.len(), &layer[..layer.len() / 2]);
    let place = format!("/cas/{}", encoded(layer));
    server.answer(&place, Answer::InTurn(vec![broken, Answer::blob(layer)]));
}

#[test]
fn an_interrupted_blob_goes_on_with_range() {
    let server = Server::start();
    let layer: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    with_broken_layer(&server, &layer);
    let (_directory, layout) = target();
    json_of(ocisite_at(&server, "pull").args(["--json", "example.com/app", "--to", text(&layout)]));
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .filter(|request| request.path.ends_with(&encoded(&layer)))
        .map(|request| request.from)
        .collect();
    assert_eq!(ranges, [None, Some(layer.len() / 2)]);
    assert_eq!(std::fs::read(blob(&layout, &descriptor("", &layer))).unwrap(), layer);
}

#[test]
fn a_server_without_ranges_sends_all_of_it_again() {
    let server = Server::start();
    let layer: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    with_broken_layer(&server, &layer);
    let broken = Answer::with_length("a/b", layer.len(), &layer[..layer.len() / 2]);
    let whole = Answer::with_length("a/b", layer.len(), &layer);
    server.answer(&format!("/cas/{}", encoded(&layer)), Answer::InTurn(vec![broken, whole]));
    let (_directory, layout) = target();
    json_of(ocisite_at(&server, "pull").args(["--json", "example.com/app", "--to", text(&layout)]));
    assert_eq!(std::fs::read(blob(&layout, &descriptor("", &layer))).unwrap(), layer);
}

#[test]
fn a_wrong_beginning_is_thrown_away_and_the_blob_fetched_anew() {
    let server = Server::start();
    let layer: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    with_broken_layer(&server, &layer);
    let broken = Answer::with_length("a/b", layer.len(), &vec![0; layer.len() / 2]);
    server.answer(&format!("/cas/{}", encoded(&layer)), Answer::InTurn(vec![broken, Answer::blob(&layer)]));
    let (_directory, layout) = target();
    json_of(ocisite_at(&server, "pull").args(["--json", "example.com/app", "--to", text(&layout)]));
    assert_eq!(std::fs::read(blob(&layout, &descriptor("", &layer))).unwrap(), layer);
}

/// A child process that is killed when the test ends, however it ends.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_killed_pull_leaves_a_layout_that_the_next_one_completes() {
    let server = Server::start();
    let layer: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    with_broken_layer(&server, &layer);
    // Given a layer whose second half comes in a drip, and a pull that is killed in the middle of it.
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", layer.len()).into_bytes();
    let half = layer[..layer.len() / 2].to_vec();
    let place = format!("/cas/{}", encoded(&layer));
    server.answer(&place, Answer::Drip([head, half.clone()].concat(), layer[half.len()]));
    let (_directory, layout) = target();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ocisite"));
    command.args(["pull", "--no-xdg", "--protocol", "http", "--connect-to", &server.address.to_string()]);
    let mut killed = Child(command.args(["example.com/app", "--to", text(&layout)]).spawn().unwrap());
    let unfinished = layout.join(format!(".ocisite/unfinished/sha256-{}", encoded(&layer)));
    let has_half = || std::fs::metadata(&unfinished).is_ok_and(|metadata| metadata.len() as usize >= half.len());
    let start = std::time::Instant::now();
    while !has_half() && start.elapsed().as_secs() < 30 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(has_half(), "the pull did not get to the middle of the layer");
    killed.0.kill().unwrap();
    killed.0.wait().unwrap();

    // Then there is a layout, without the image's entry and without the blob.
    assert!(entries(&layout).is_empty());
    assert!(!blob(&layout, &descriptor("", &layer)).exists());

    // When it is pulled again, only the rest is asked for.
    server.forget_requests();
    server.answer(&place, Answer::blob(&layer));
    json_of(ocisite_at(&server, "pull").args(["--json", "example.com/app", "--to", text(&layout)]));
    let from: Vec<usize> = server.requests().iter().filter_map(|request| request.from).collect();
    assert!(from.len() == 1 && from[0] >= half.len(), "{from:?}");
    assert_eq!(std::fs::read(blob(&layout, &descriptor("", &layer))).unwrap(), layer);
    assert!(!layout.join(".ocisite").exists());
}

#[test]
fn an_archive_has_what_a_directory_would_have() {
    let server = Server::start();
    let (one, two) = (server.image("linux/amd64", b"one"), server.image("linux/amd64", b"two"));
    server.with_engines().with_index("app", &[tagged(&one, "1.0"), tagged(&two, "2.0")]);
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("app.tar");
    for name in ["example.com/app#1.0", "example.com/app#2.0"] {
        json_of(ocisite_at(&server, "pull").args(["--json", name, "--to", text(&archive)]));
    }
    assert_eq!(files(directory.path()), ["app.tar"]);
    let unpacked = tempfile::tempdir().unwrap();
    tar::Archive::new(std::fs::File::open(&archive).unwrap()).unpack(unpacked.path()).unwrap();
    assert_eq!(entries(unpacked.path()), [tagged(&one, "1.0"), tagged(&two, "2.0")]);
    for content in [b"one", b"two"] {
        assert_eq!(std::fs::read(blob(unpacked.path(), &descriptor("", content))).unwrap(), content);
    }
}

#[test]
fn a_place_that_holds_something_else_is_left_alone() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("notes.txt"), "mine").unwrap();
    let output =
        ocisite_at(&server, "pull").args(["example.com/app", "--to", text(directory.path())]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(messages(&output).contains("notes.txt"), "{}", messages(&output));
    assert_eq!(files(directory.path()), ["notes.txt"]);
    assert!(server.asked().is_empty());
}

#[test]
fn every_fixture_survives_the_way_through_a_site() {
    // Given the site of all fixtures, with an index template that needs no TLS.
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/layouts");
    let directory = tempfile::tempdir().unwrap();
    let site = directory.path().join("site");
    let mut publish = super::program::ocisite();
    publish.args([
        "publish",
        "--quiet",
        "--host",
        "example.com",
        "--index-template",
        "http://{host}/oci-index/{+path}",
    ]);
    publish.args(["--site", text(&site)]).arg(&fixtures).assert().success();
    let server = Server::start();
    for file in files(&site) {
        let content = std::fs::read(site.join(&file)).unwrap();
        let answer = match file.split('/').next().unwrap() {
            ".well-known" => Answer::Content(200, super::server::REF_ENGINES, content),
            "oci-index" => Answer::Content(200, super::server::INDEX, content),
            _ => Answer::blob(&content),
        };
        server.answer(&format!("/{file}"), answer);
    }
    for path in
        ["app", "team/app", "zstd", "podman", "windows", "docker", "sha512", "blake3", "artifact", "nested", "attested"]
    {
        let fixture = fixtures.join(path);
        let index: Value = serde_json::from_slice(&std::fs::read(fixture.join("index.json")).unwrap()).unwrap();
        for published in index["manifests"].as_array().unwrap() {
            let Some(reference) = published["annotations"][REF_NAME].as_str() else { continue };
            // When it is pulled by its name, through an ancestor of the name's host too.
            let reference = reference.rsplit(':').next().unwrap();
            let layout = directory.path().join("pulled").join(path).join(reference);
            let name = format!("a.example.com/{path}#{reference}");
            server.answer(&format!("a.example.com{WELL_KNOWN}"), Answer::Content(404, "text/plain", vec![]));
            let arguments = ["--json", &name, "--all-platforms", "--to", text(&layout)];
            json_of(ocisite_at(&server, "pull").args(arguments));
            // Then its entry has its own properties, and every blob is byte for byte the same.
            let pulled = entries(&layout);
            assert_eq!(pulled.len(), 1, "{name}");
            for (key, value) in published.as_object().unwrap().iter().filter(|(key, _)| *key != "annotations") {
                assert_eq!(&pulled[0][key], value, "{name}: {key}");
            }
            for file in files(&layout).into_iter().filter(|file| file.starts_with("blobs/")) {
                assert_eq!(
                    std::fs::read(layout.join(&file)).unwrap(),
                    std::fs::read(fixture.join(&file)).unwrap(),
                    "{name}: {file}"
                );
            }
        }
    }
}

#[test]
fn a_name_with_a_tag_resolves_to_nothing_and_is_asked_about() {
    let server = Server::start();
    server.with_engines().with_index("app", &[tagged(&server.image("linux/amd64", b"x"), "1.0")]);
    let (_directory, layout) = target();
    let mut pull = ocisite_at(&server, "pull");
    pull.args(["example.com/app:1.0", "--to", text(&layout)]);
    fails(&mut pull, &["resolves to nothing; did you mean example.com/app#1.0?"]);
    let output = ocisite_at(&server, "resolve").arg("example.com/app:1.0").output().unwrap();
    assert!(messages(&output).contains("did you mean example.com/app#1.0?"), "{}", messages(&output));
}

#[test]
fn a_target_is_given_as_skopeo_writes_it_too() {
    let server = Server::start();
    server.with_engines().with_index("app", &[tagged(&server.image("linux/amd64", b"x"), "1.0")]);
    let (directory, layout) = target();
    let archive = directory.path().join("app.tar");
    for (target, made) in [("oci:layout:a:b", &layout), ("oci-archive:app.tar:a", &archive)] {
        let mut pull = ocisite_at(&server, "pull");
        pull.current_dir(&directory).args(["example.com/app#1.0", "--to", target]).assert().success();
        assert!(made.exists(), "{target}");
    }
    assert_eq!(entries(&layout)[0]["annotations"]["org.opencontainers.image.ref.name"], "a:b");
    for target in ["oci-archive:app", "oci:app.tar"] {
        let mut pull = ocisite_at(&server, "pull");
        pull.current_dir(&directory).args(["example.com/app#1.0", "--to", target]);
        pull.assert().code(2);
    }
}
