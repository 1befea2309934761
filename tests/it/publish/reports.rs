//! What the program tells people and scripts.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::program::{PROGRAM, Succeeds, ocisite, text};
use crate::support::scene::Scene;
use crate::support::site::Snapshot;

fn fixtures() -> [&'static str; 3] {
    ["--host", "example.com", concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/layouts")]
}

#[test]
fn the_summary_says_what_was_done_and_what_to_do_next() {
    let mut scene = Scene::of_image("x");
    let site = text(&scene.site).to_string();
    let printed = scene.publish().args(["--no-catalogue", "example.com/app=layout"]).succeeds();
    assert!(printed.starts_with(&format!("Published 1 image with 1 entry to {site} in ")), "{printed}");
    assert!(printed.contains("blobs      4 written ("), "{printed}");
    assert!(printed.contains("documents  3 written, 0 unchanged"), "{printed}");
    assert!(printed.ends_with(&format!("Next: ocisite serve {site}\n")), "{printed}");
    assert!(!printed.contains('\u{1b}'), "colours without a terminal: {printed}");

    let more = scene.layout.image("y");
    scene.layout.add("2.0", more);
    let printed = scene.publish().arg("example.com/app=layout").succeeds();
    assert!(printed.contains("blobs      2 written (") && printed.contains(", 4 already present ("), "{printed}");
    assert!(printed.contains("documents  1 written, 2 unchanged"), "{printed}");

    let printed = scene.publish().arg("example.com/app=layout").succeeds();
    assert_eq!(printed, format!("Nothing to do: {site} has 1 image with 2 entries already.\n"));
}

#[test]
fn the_same_as_json() {
    let scene = Scene::of_image("x");
    let mut summary = scene.publish().args(["--no-catalogue", "--json", "example.com/app=layout"]).json();
    let bytes: u64 = walkdir::WalkDir::new(scene.layout.path.join("blobs"))
        .into_iter()
        .map(|entry| entry.unwrap().metadata().unwrap())
        .filter(|metadata| metadata.is_file())
        .map(|metadata| metadata.len())
        .sum();
    assert!(summary["seconds"].as_f64().unwrap() > 0.0);
    assert!(summary["documentsWritten"]["bytes"].as_u64().unwrap() > 500);
    summary.as_object_mut().unwrap().retain(|key, _| !matches!(key.as_str(), "seconds" | "documentsWritten"));
    let nothing = json!({"objects": 0, "bytes": 0});
    let expected = json!({
        "images": ["example.com/app"],
        "refs": 1,
        "registryAdded": 0,
        "blobsWritten": {"objects": 4, "bytes": bytes},
        "blobsLinked": nothing,
        "blobsPresent": nothing,
        "blobsRepaired": nothing,
        "documentsUnchanged": nothing,
        "retries": 0,
        "missing": [],
        "skipped": [],
        "warnings": [],
        "next": format!("ocisite serve {}", text(&scene.site)),
    });
    assert_eq!(summary, expected);
    assert_eq!(scene.publish().args(["--json", "example.com/app=layout"]).json()["next"], Value::Null);
}

#[test]
fn quiet_says_nothing_and_verbose_names_every_object() {
    let scene = Scene::of_image("x");
    let publish = |option: &str| {
        let mut command = scene.publish();
        command.args(["--no-catalogue", "example.com/app=layout", option]);
        command
    };
    let printed = publish("-v").warns();
    for path in ["oci-cas/sha256/", "oci-index/app", "ocisite.json", ".well-known/oci-host-ref-engines"] {
        assert!(printed.contains(path), "{printed}");
    }
    assert_eq!(printed.lines().count(), 7, "{printed}");
    assert_eq!(publish("-v").warns(), "", "nothing was written, so nothing is named");
    std::fs::remove_dir_all(&scene.site).unwrap();
    publish("--quiet").assert().success().stdout("").stderr("");
}

#[test]
fn a_dry_run_lists_every_object_and_writes_nothing() {
    let scene = Scene::new();
    let site = &scene.site;
    for options in [&[][..], &["--preset", "layout"], &["--registry"]] {
        let args = [options, &fixtures()[..]].concat();
        let listing = scene.publish().arg("--dry-run").args(&args).succeeds();
        assert!(!site.exists());
        let preview = scene.publish().args(["--dry-run", "--json"]).args(&args).json();
        assert!(!site.exists());

        scene.publish().args(&args).succeeds();
        let published: Vec<String> = Snapshot::public(site)
            .0
            .into_iter()
            .filter(|(_, item)| item.bytes.is_some())
            .map(|(path, _)| text(&path).to_string())
            .collect();
        let objects = preview["objects"].as_array().unwrap();
        let mut listed: Vec<&str> = objects.iter().map(|object| object["path"].as_str().unwrap()).collect();
        // By path and not by text, as the snapshot is.
        listed.sort_by_key(|path| std::path::PathBuf::from(path));
        assert_eq!(listed, published, "{options:?}");
        for object in objects {
            let (path, size) = (object["path"].as_str().unwrap(), object["size"].as_u64().unwrap());
            assert_eq!(site.join(path).metadata().unwrap().len(), size, "{path}");
            let line = format!("{size:>12}  {path}  {}\n", object["mediaType"].as_str().unwrap());
            assert!(listing.contains(&line), "{line}");
        }
        std::fs::remove_dir_all(site).unwrap();
    }
}

#[test]
fn a_dry_run_says_how_each_object_is_served() {
    let scene = Scene::of_image("x");
    let preview = scene.publish().args(["--dry-run", "--json", "example.com/app=layout"]).json();
    let object = |path: &str| {
        let found = preview["objects"].as_array().unwrap().iter().find(|object| object["path"] == path).unwrap();
        (found["mediaType"].as_str().unwrap(), found["cacheControl"].as_str().unwrap())
    };
    let index = "application/vnd.oci.image.index.v1+json; charset=utf-8";
    assert_eq!(object("oci-index/app"), (index, "public, max-age=60"));
    let ref_engines = "application/vnd.oci.ref-engines.v1+json; charset=utf-8";
    assert_eq!(object(".well-known/oci-host-ref-engines"), (ref_engines, "public, max-age=60"));
    let immutable = "public, max-age=31536000, immutable";
    let blobs = preview["objects"].as_array().unwrap().iter().filter(|object| object["cacheControl"] == immutable);
    assert_eq!(blobs.count(), 4);
}

#[test]
fn a_dry_run_finds_what_is_wrong() {
    let scene = Scene::of_image("x");
    scene.layout.write("index.json", "[]");
    scene.refused(&["--dry-run", "example.com/app=layout"], &["layout/index.json"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let directory = TempDir::new().unwrap();
    let script = "set -o pipefail; \"$0\" publish --dry-run --site \"$1\" \"${@:2}\" | head -n 1 >/dev/null";
    let mut command = assert_cmd::Command::new("bash");
    command.args(["-c", script, PROGRAM, text(directory.path())]).args(fixtures());
    command.assert().success().stderr("");
}

/// The help of a command, and of each command below it, by what is typed to run it.
fn help_of(command: &[String]) -> Vec<(String, String)> {
    let help = ocisite().args(command).arg("--help").succeeds();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let below: Vec<String> = listed
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_string))
        .filter(|name| name != "help")
        .collect();
    match below.is_empty() {
        true => vec![(format!("ocisite {}", command.join(" ")), help)],
        false => below.into_iter().flat_map(|name| help_of(&[command, &[name]].concat())).collect(),
    }
}

#[test]
fn help_has_an_example_for_every_command() {
    let all = help_of(&[]);
    assert!(all.iter().any(|(command, _)| command == "ocisite publish"));
    for (command, help) in all {
        assert!(help.contains("Example") && help.contains(&format!("  {command}")), "{command}: {help}");
    }
}

#[test]
fn completions_and_manual_pages() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ocisite().args(["completions", shell]).succeeds();
        assert!(script.contains("publish") && script.contains("index-template"), "{shell}");
    }
    let page = ocisite().arg("man").succeeds();
    assert!(page.contains(".TH ocisite 1") && page.contains("publish"), "{page}");

    let directory = TempDir::new().unwrap();
    ocisite().arg("man").arg(directory.path()).succeeds();
    let page = std::fs::read_to_string(directory.path().join("ocisite-publish.1")).unwrap();
    assert!(page.contains("\\-\\-cas\\-template"), "{page}");
}

#[test]
fn without_arguments_it_says_how_it_is_used() {
    for args in [&[][..], &["nosuch"], &["publish", "--nosuch"]] {
        let output = ocisite().args(args).assert().code(2).get_output().clone();
        assert!(String::from_utf8(output.stderr).unwrap().contains("Usage: ocisite"));
    }
}
