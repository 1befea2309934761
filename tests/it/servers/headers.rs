//! The list of headers, for hosts that know nothing but a list: it says of every object what the preview does.

use std::collections::BTreeMap;
use std::process::Command;

use crate::support::fixtures::{self, PRESETS, PROGRAM, Site};
use crate::support::preview::Preview;

type List = BTreeMap<String, BTreeMap<String, String>>;

/// The origin of a page on this machine.
const LOCAL: &str = "http://localhost";

fn print(site: &Site, format: &str) -> String {
    let mut command = Command::new(PROGRAM);
    fixtures::run(command.args(["server-config", "headers", "--format", format, "--site"]).arg(site.root()))
}

/// Reads `_headers` as Netlify's documentation describes it: a path begins with a slash at the beginning of a line, its
/// headers are the indented lines that follow, a colon between name and value; a line that begins with `#` is a comment.
fn parse_netlify(text: &str) -> List {
    let mut list = List::new();
    let mut path = String::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if line.starts_with('/') {
            path = line.trim().to_string();
            assert!(list.insert(path.clone(), BTreeMap::new()).is_none(), "{path} is there twice");
            continue;
        }
        assert!(line.starts_with(' '), "neither a path nor a header: {line}");
        let (name, value) = line.trim().split_once(':').unwrap();
        let headers = list.get_mut(&path).unwrap();
        assert!(headers.insert(name.into(), value.trim().into()).is_none(), "{name} is there twice for {path}");
    }
    list
}

/// The rules about a path.
fn matching<'a>(list: &'a List, path: &str) -> Vec<&'a BTreeMap<String, String>> {
    let is_about = |rule: &str| match rule.strip_suffix('*') {
        Some(directory) => path.starts_with(directory),
        None => rule == path,
    };
    list.iter().filter(|(rule, _)| is_about(rule)).map(|(_, headers)| headers).collect()
}

#[test]
fn both_formats_say_the_same_and_what_the_preview_does() {
    for preset in PRESETS {
        let site = Site::of_fixtures(&["--registry", "--preset", preset]);
        let list = parse_netlify(&print(&site, "netlify"));
        assert_eq!(serde_json::from_str::<List>(&print(&site, "json")).unwrap(), list);

        let preview = Preview::start(&site.root());
        let files = walkdir::WalkDir::new(site.root()).into_iter().map(Result::unwrap);
        let files = files.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path);
        let paths = files.map(|file| format!("/{}", file.strip_prefix(site.root()).unwrap().display()));
        let mut compared = 0;
        for path in paths.chain(["/".into(), "/v2/".into()]) {
            let response = preview.get_with(&path, &[("Origin", LOCAL)]);
            let rules = matching(&list, &path);
            // What is there for look-ups has no address of its own.
            if response.status == 404 {
                continue;
            }
            let [headers] = rules[..] else { panic!("{preset}: {path} has the rules {rules:?}") };
            compared += 1;
            for (name, value) in headers {
                let is_for_pages = ["Content-Security-Policy", "Referrer-Policy"].contains(&name.as_str());
                if !is_for_pages || response.expect("Content-Type").starts_with("text/html") {
                    // On loopback, the preview allows pages of local hosts only, by their name.
                    let expected = if name == "Access-Control-Allow-Origin" { LOCAL } else { value };
                    assert_eq!(response.expect(name), expected, "{preset}: {name} of {path}");
                }
            }
            let ending = path.rsplit('.').next().unwrap();
            let is_told_by_ending = path == "/" || ["html", "css", "js", "json"].contains(&ending);
            assert!(headers.contains_key("Content-Type") || is_told_by_ending, "{preset}: {path} has no media type");
        }
        assert!(compared > 100, "the fixtures have many objects");
    }
}

#[test]
fn without_the_registry_view_the_list_does_not_grow() {
    let site = Site::of_fixtures(&[]);
    let before = print(&site, "netlify");
    let image = format!("example.com/another={}", fixtures::layouts().join("zstd").display());
    site.publish(&[&image]);
    assert_eq!(print(&site, "netlify"), before);
    assert!(before.contains("\n/oci-cas/*\n") && before.contains("\n/oci-index/*\n"), "{before}");
}
