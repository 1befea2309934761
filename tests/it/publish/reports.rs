//! What the program tells people and scripts.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::layout::Layout;
use crate::support::program::{ocisite, publish, publish_json, text};
use crate::support::site::Snapshot;

fn fixtures() -> [&'static str; 3] {
    ["--host", "example.com", concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/layouts")]
}

#[test]
fn the_summary_says_what_was_done_and_what_to_do_next() {
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    let mut layout = Layout::of_image(directory.path().join("layout"), "x");
    let input = format!("example.com/app={}", layout.arg());
    let said = publish(&site, &["--no-catalogue", &input]);
    assert!(said.starts_with(&format!("Published 1 image with 1 entry to {} in ", text(&site))), "{said}");
    assert!(said.contains("blobs      4 written ("), "{said}");
    assert!(said.contains("documents  3 written, 0 unchanged"), "{said}");
    assert!(said.ends_with(&format!("Next: ocisite serve {}\n", text(&site))), "{said}");
    assert!(!said.contains('\u{1b}'), "colours without a terminal: {said}");

    let more = layout.image("y");
    layout.add("2.0", more);
    let said = publish(&site, &[&input]);
    assert!(said.contains("blobs      2 written (") && said.contains(", 4 already there ("), "{said}");
    assert!(said.contains("documents  1 written, 2 unchanged"), "{said}");

    let said = publish(&site, &[&input]);
    assert_eq!(said, format!("Nothing to do: {} has 1 image with 2 entries already.\n", text(&site)));
}

#[test]
fn the_same_as_json() {
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    let input = format!("example.com/app={}", layout.arg());
    let mut summary = publish_json(&site, &["--no-catalogue", &input]);
    let bytes: u64 = walkdir::WalkDir::new(layout.path.join("blobs"))
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
        "blobsWritten": {"objects": 4, "bytes": bytes},
        "blobsLinked": nothing,
        "blobsPresent": nothing,
        "blobsRepaired": nothing,
        "documentsUnchanged": nothing,
        "retries": 0,
        "missing": [],
        "skipped": [],
        "warnings": [],
        "next": format!("ocisite serve {}", text(&site)),
    });
    assert_eq!(summary, expected);
    assert_eq!(publish_json(&site, &[&input])["next"], Value::Null);
}

#[test]
fn quiet_says_nothing_and_verbose_names_every_object() {
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    let input = format!("example.com/app={}", layout.arg());
    let run = |args: &[&str]| {
        let output = ocisite().args(["publish", "--site", text(&site), &input]).args(args).assert().success();
        let output = output.get_output();
        (String::from_utf8(output.stdout.clone()).unwrap(), String::from_utf8(output.stderr.clone()).unwrap())
    };
    let (_, said) = run(&["-v", "--no-catalogue"]);
    for path in ["oci-cas/sha256/", "oci-index/app", "ocisite.json", ".well-known/oci-host-ref-engines"] {
        assert!(said.contains(path), "{said}");
    }
    assert_eq!(said.lines().count(), 7, "{said}");
    assert_eq!(run(&["-v"]).1, "", "nothing was written, so nothing is named");
    std::fs::remove_dir_all(&site).unwrap();
    assert_eq!(run(&["--quiet"]), (String::new(), String::new()));
}

#[test]
fn a_dry_run_lists_every_object_and_writes_nothing() {
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    for options in [&[][..], &["--preset", "layout"], &["--registry"]] {
        let args = [options, &fixtures()[..]].concat();
        let listing = publish(&site, &[&["--dry-run"], &args[..]].concat());
        assert!(!site.exists());
        let preview = publish_json(&site, &[&["--dry-run"], &args[..]].concat());
        assert!(!site.exists());

        publish(&site, &args);
        let published: Vec<String> = Snapshot::public(&site)
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
        std::fs::remove_dir_all(&site).unwrap();
    }
}

#[test]
fn a_dry_run_says_how_each_object_is_served() {
    let directory = TempDir::new().unwrap();
    let site = directory.path().join("site");
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    let preview = publish_json(&site, &["--dry-run", &format!("example.com/app={}", layout.arg())]);
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
    let directory = TempDir::new().unwrap();
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    layout.write("index.json", "[]");
    let args = ["--dry-run", &format!("example.com/app={}", layout.arg())];
    crate::support::program::refused(&directory.path().join("site"), &args, &["layout/index.json"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let directory = TempDir::new().unwrap();
    let script = "set -o pipefail; \"$0\" publish --dry-run --site \"$1\" \"${@:2}\" | head -n 1 >/dev/null";
    let mut command = assert_cmd::Command::new("bash");
    command.args(["-c", script, crate::support::program::PROGRAM, text(directory.path())]).args(fixtures());
    command.assert().success().stderr("");
}

/// The help of a command, and of each command below it, by what is typed to run it.
fn help_of(command: &[String]) -> Vec<(String, String)> {
    let output = ocisite().args(command).arg("--help").assert().success().get_output().clone();
    let help = String::from_utf8(output.stdout).unwrap();
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
        let output = ocisite().args(["completions", shell]).assert().success().get_output().clone();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("publish") && script.contains("index-template"), "{shell}");
    }
    let output = ocisite().arg("man").assert().success().get_output().clone();
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.contains(".TH ocisite 1") && page.contains("publish"), "{page}");

    let directory = TempDir::new().unwrap();
    ocisite().arg("man").arg(directory.path()).assert().success();
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
