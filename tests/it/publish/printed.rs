//! What a layout and a site say of themselves is text on a terminal and nothing else, and a command that is shown runs as the
//! one command that it is.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::support::layout::{Layout, MANIFEST};
use crate::support::preview::Preview;
use crate::support::program::{fails, ocisite, text};
use crate::support::scene::Scene;
use crate::support::site::Snapshot;
use crate::support::text::{HOSTILE, assert_text};

/// A layout whose refs, platforms and types are hostile.
fn hostile_layout(path: &Path) -> Layout {
    let mut layout = Layout::new(path);
    let mut image = layout.image_with("x", json!({"os": HOSTILE, "architecture": HOSTILE}));
    image["platform"] = json!({"os": HOSTILE, "architecture": HOSTILE});
    layout.add(HOSTILE, image);
    let config = layout.blob(HOSTILE, "{}");
    let artifact = json!({"schemaVersion": 2, "artifactType": HOSTILE, "config": config, "layers": []});
    let artifact = layout.document(MANIFEST, &artifact);
    layout.add("artifact", artifact);
    layout
}

/// Runs a command, whose output has to be text. Gives both streams.
fn run(args: &[&str]) -> Output {
    let output = ocisite().args(args).output().unwrap();
    assert_text(&output.stdout);
    assert_text(&output.stderr);
    output
}

#[test]
fn what_a_layout_says_is_printed_as_text() {
    // Given: a layout that says hostile things, in a directory with a hostile name.
    let scene = Scene::new();
    let folder = scene.path(HOSTILE);
    let layout = hostile_layout(&folder);
    let site = scene.path("site\u{1b}[31m");
    let input = format!("example.com/app={}", layout.arg());
    // When: each command prints what it found there.
    let publish = ["publish", "--site", text(&site), &input, "-v"];
    for args in [
        &[&publish[..], &["--dry-run"]].concat()[..],
        &publish,
        &["list", text(&site)],
        &["verify", text(&site), "--deep"],
        &["copy", text(&site), text(&scene.path("copy\u{202e}")), "-v"],
        &["gc", text(&site), "--dry-run"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    }
    // Then: what a terminal would obey is seen instead.
    let listed = String::from_utf8(run(&["list", text(&site)]).stdout).unwrap();
    assert!(listed.contains(r"x\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}[2J") && listed.contains(r"\u{202e}"), "{listed}");
}

#[test]
fn what_goes_wrong_is_told_as_text() {
    let Scene { directory, site, .. } = Scene::new();
    let layout = hostile_layout(&directory.path().join("layout"));
    run(&["publish", "--site", text(&site), &format!("example.com/app={}", layout.arg())]);
    let before = Snapshot::public(&site);
    // Given: errors that name refs, paths, and what a file says.
    let gone = directory.path().join(HOSTILE);
    let config = directory.path().join("ocisite.toml");
    std::fs::write(&config, format!("site = \"{HOSTILE}\n")).unwrap();
    for args in [
        &["remove", text(&site), "example.com/app#nosuch"][..],
        &["publish", "--site", text(&site), &format!("example.com/app={}:nosuch", layout.arg())],
        &["publish", "--site", text(&site), &format!("example.com/app={}", text(&gone))],
        &["publish", "--config", text(&config)],
        &["serve", text(&gone)],
        &["list", text(&gone)],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        // Then: one message, and further lines that cannot be taken for another.
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.lines().skip(1).all(|line| line.starts_with("  ")), "{message}");
    }
    before.assert_same(&Snapshot::public(&site));
}

#[test]
fn json_has_the_same_values_in_printable_characters() {
    let Scene { directory, site, .. } = Scene::new();
    let layout = hostile_layout(&directory.path().join("layout"));
    run(&["publish", "--site", text(&site), &format!("example.com/app={}", layout.arg()), "--json"]);
    let listed: Value = serde_json::from_slice(&run(&["list", text(&site), "--json"]).stdout).unwrap();
    let refs: Vec<&Value> = listed[0]["entries"].as_array().unwrap().iter().map(|entry| &entry["ref"]).collect();
    assert!(refs.contains(&&json!(HOSTILE)), "{listed}");
}

#[test]
fn a_configuration_of_a_server_has_only_text_in_it() {
    let Scene { directory: _directory, layout, site } = Scene::of_image("x");
    run(&["publish", "--site", text(&site), &format!("example.com/app={}", layout.arg())]);
    for server in ["nginx", "apache", "caddy", "lighttpd"] {
        let root = "/srv/\u{202e}site";
        fails(
            ocisite().args(["server-config", server, "--site", text(&site), "--root", root]),
            &["invisible character"],
        );
    }
}

/// Pastes a line into `sh`, in which `ocisite` and `podman` only note what they were called with, a line for each argument.
fn pasted(directory: &Path, line: &str) -> Vec<String> {
    let (programs, work, called) = (directory.join("bin"), directory.join("work"), directory.join("called"));
    std::fs::create_dir_all(&programs).unwrap();
    std::fs::create_dir_all(&work).unwrap();
    for program in ["ocisite", "podman"] {
        let stub = programs.join(program);
        std::fs::write(&stub, format!("#!/bin/sh\nprintf '%s\\n' {program} \"$@\" >> '{}'\n", called.display()))
            .unwrap();
        std::fs::set_permissions(&stub, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut shell = assert_cmd::Command::new("sh");
    shell.current_dir(&work).env("PATH", path).args(["-s"]).write_stdin(format!("{line}\n")).assert().success();
    let left: Vec<PathBuf> = work.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{line} made {left:?}");
    let words = std::fs::read_to_string(&called).unwrap().lines().map(str::to_string).collect();
    std::fs::remove_file(&called).unwrap();
    words
}

/// A ref that a name can have, and that runs a command where it is not quoted.
const RUNS: &str = "1;touch$IFS./x;";

#[test]
fn a_command_of_the_greeting_is_one_command() {
    // Given: a site with a ref that a shell would run.
    let Scene { directory, mut layout, site } = Scene::new();
    let image = layout.image("x");
    layout.add(RUNS, image);
    run(&["publish", "--site", text(&site), &format!("example.com/app={}", layout.arg())]);
    // When: the command in the greeting is pasted.
    let preview = Preview::start(&site);
    let port = preview.address.port().to_string();
    let (greeting, _) = preview.stop();
    let command = greeting.lines().find(|line| line.contains("ocisite resolve")).unwrap();
    // Then: it is one command with that ref, and nothing else ran.
    let name = format!("localhost/app#{RUNS}");
    let expected = ["ocisite", "resolve", "--protocol", "http", "--port", &port, &name];
    assert_eq!(pasted(directory.path(), command), expected);
}

#[test]
fn the_next_command_is_one_command_wherever_the_site_is() {
    let Scene { directory, layout, .. } = Scene::of_image("x");
    let input = format!("example.com/app={}", layout.arg());
    let next = |output: Output| {
        let printed = String::from_utf8(output.stdout).unwrap();
        printed.lines().find_map(|line| line.strip_prefix("Next: ").map(str::to_string)).unwrap()
    };
    for name in ["1;touch$IFS x;", "-v", "it's `touch x`", "$(touch x)"] {
        let run_there = |args: &[&str]| ocisite().current_dir(directory.path()).args(args).output().unwrap();
        let published = next(run_there(&["publish", &format!("--site={name}"), &input]));
        let site = if name.starts_with('-') { format!("./{name}") } else { name.to_string() };
        assert_eq!(pasted(directory.path(), &published), ["ocisite", "serve", &site]);
        let removed = next(run_there(&["remove", "--", name, "example.com/app#1.0"]));
        assert_eq!(pasted(directory.path(), &removed), ["ocisite", "gc", &site]);
    }
}

#[test]
fn a_word_of_a_command_is_no_option() {
    // Given: a site and an image whose names begin with a hyphen.
    let Scene { directory, layout, .. } = Scene::of_image("x");
    let input = format!("-foo.example/app={}", layout.arg());
    let publish = |view: &str| {
        let args = ["publish", "--site=-v", view, "--", &input];
        ocisite().current_dir(directory.path()).args(args).output().unwrap().stderr
    };
    // When: the site gets a catalogue, and then the registry view.
    publish("--catalogue");
    let warning = String::from_utf8(publish("--registry")).unwrap();
    // Then: the shown commands get the names as names.
    let configure = pasted(directory.path(), warning.split('`').nth(1).unwrap());
    assert_eq!(configure, ["ocisite", "server-config", "nginx", "--site", "./-v"]);
    let page = directory.path().join("-v/catalogue/images/-foo.example/app.html");
    let page = std::fs::read_to_string(&page).unwrap();
    let (_, command) = page.split_once("ocisite pull ").unwrap();
    let command = command.split_once('<').unwrap().0.replace("&#39;", "'");
    let pull = pasted(directory.path(), &format!("ocisite pull {command}"));
    assert_eq!(pull, ["ocisite", "pull", "--to", "app", "--", "-foo.example/app#1.0"]);
    assert!(!page.contains("docker pull"), "a registry client accepts no such host");
}

#[test]
fn a_command_in_a_message_is_one_command() {
    let Scene { directory, site, .. } = Scene::new();
    let layout = Layout::of_image(directory.path().join("a;touch$IFS'x'"), "x");
    let folder = ["--host", "example.com", layout.arg()];
    let message = fails(ocisite().args(["publish", "--site", text(&site)]).args(folder), &["is itself a layout"]);
    let argument = message.split('`').nth(1).unwrap();
    let expected = format!("example.com/app={}", layout.arg());
    assert_eq!(pasted(directory.path(), &format!("ocisite publish {argument}")), ["ocisite", "publish", &expected]);
    assert!(!site.exists());

    let template = "https://a$(touch).example/{digest}";
    let input = format!("example.com/app={}", layout.arg());
    let args = ["publish", "--site", text(&site), "--cas-template", template, &input];
    let message = fails(ocisite().args(args), &["--store"]);
    let option = message.split('`').nth(1).unwrap();
    let words = pasted(directory.path(), &format!("ocisite publish {option}"));
    assert_eq!(words, ["ocisite", "publish", "--store", "https://a$(touch).example=DIR"]);
}

#[test]
fn arguments_that_are_none_are_printed_as_text() {
    // Given: names of files that look like options, or are one too many.
    for args in [
        &["publish", "--x\u{202e}y\nforged"][..],
        &["\u{202e}tsil\nforged", "site"],
        &["list", "site", "\u{202e}\nforged"],
        &["publish", "--jobs", "\u{202e}\nforged"],
        &["publish", "--site", "site", "--link=\u{202e}\nforged"],
        &["resolve", "\u{202e}\nforged"],
        // An escape sequence before the line feed, which clap drops from its message.
        &["pull", "--to", "a", "--\u{202e}\u{1b}[m\nforged"],
        &["\u{202e}\u{1b}[m\nforged"],
        &["list", "site", "\u{202e}\u{1b}[m\nforged"],
        &["publish", "--jobs", "\u{202e}\u{1b}[m\nforged"],
        &["pull", "--to", "a", "--platform", "\u{202e}\u{1b}[m\nforged", "example.com/app"],
        &["pull", "--max-size", "\u{202e}\u{1b}[m\nforged"],
        &["publish", "--link", "\u{202e}\u{1b}[m\nforged"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(r"\u{202e}"), "{output:?}");
    }
    assert!(run(&["--help"]).status.success());
}
