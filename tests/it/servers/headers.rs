//! The lists of headers of static hosts. A model of each host reads the list as its documentation describes it, and sends what the
//! preview does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use crate::support::fixtures::{self, PRESETS, PROGRAM, Site};
use crate::support::preview::Preview;
use crate::support::program::fails;
use crate::support::scene::Scene;

/// The headers of a response.
type Headers = BTreeMap<String, String>;

/// The headers that a host sends for a path, by its list.
type Model = fn(&str, &str) -> Headers;

const MODELS: [(&str, Model); 6] = [
    ("json", json),
    ("cloudflare-pages", cloudflare),
    ("netlify", netlify),
    ("azure-static-web-apps", azure),
    ("firebase", firebase),
    ("vercel", vercel),
];

/// The origin of a page on this machine.
const LOCAL: &str = "http://localhost";

fn print(site: &Site, format: &str, more: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    fixtures::run(command.args(["server-config", "headers", "--format", format, "--site"]).arg(site.root()).args(more))
}

/// A pattern for a whole path. Each is compiled once: every model reads its list again for every path.
fn regex(pattern: &str) -> Regex {
    thread_local!(static COMPILED: RefCell<BTreeMap<String, Regex>> = RefCell::default());
    let compile = || Regex::new(&format!("^{pattern}$")).unwrap();
    COMPILED.with_borrow_mut(|compiled| compiled.entry(pattern.into()).or_insert_with(compile).clone())
}

/// The blocks of a file `_headers`: a path begins with a slash at the beginning of a line, its headers are the indented lines that
/// follow; a line that begins with `#` is a comment.
fn blocks(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut blocks: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("  ") {
            Some(header) => blocks.last_mut().unwrap().1.push(header),
            None => blocks.push((line, vec![])),
        }
    }
    assert!(blocks.iter().all(|(path, _)| path.starts_with('/')), "{text}");
    blocks
}

fn header(line: &str) -> (String, String) {
    let (name, value) = line.split_once(": ").unwrap();
    (name.into(), value.into())
}

/// The last entry that matches applies, alone.
fn json(text: &str, path: &str) -> Headers {
    let list: Vec<Value> = serde_json::from_str(text).unwrap();
    let matches =
        |glob: &str| regex(&regex::escape(glob).replace(r"\*\*", ".+").replace(r"\*", "[^/]+")).is_match(path);
    let rule = list.iter().rfind(|rule| matches(rule["path"].as_str().unwrap()));
    rule.map(|rule| serde_json::from_value(rule["headers"].clone()).unwrap()).unwrap_or_default()
}

/// All rules that match apply, in the order of the file. Values of one header are joined; `! NAME` removes those that earlier rules
/// set. There is one `*`, and a placeholder is a colon with a name that begins with a letter.
fn cloudflare(text: &str, path: &str) -> Headers {
    let placeholder = Regex::new(":([A-Za-z][A-Za-z0-9_]*)").unwrap();
    let mut headers = Headers::new();
    for (rule, lines) in blocks(text) {
        assert!(rule.matches('*').count() <= 1, "{rule}");
        let pattern = regex::escape(rule).replace(r"\*", ".*");
        let Some(values) = regex(&placeholder.replace_all(&pattern, "(?<$1>[^/]+)")).captures(path) else { continue };
        for line in lines {
            if let Some(name) = line.strip_prefix("! ") {
                headers.remove(name);
                continue;
            }
            let (name, value) = header(line);
            let value = placeholder.replace_all(&value, |found: &regex::Captures| {
                values.name(&found[1]).map_or(found[0].to_string(), |value| value.as_str().to_string())
            });
            let joined = headers.get(&name).map(|earlier| format!("{earlier}, {value}")).unwrap_or(value.into());
            headers.insert(name, joined);
        }
    }
    headers
}

/// All rules that match apply, and the last value of a header stays. `*` stands for any characters, and a segment that begins with a
/// colon for a segment.
fn netlify(text: &str, path: &str) -> Headers {
    let mut headers = Headers::new();
    for (rule, lines) in blocks(text) {
        let segments = rule.split('/').map(|segment| match segment.starts_with(':') {
            true => "[^/]+".into(),
            false => regex::escape(segment).replace(r"\*", ".*"),
        });
        if regex(&segments.collect::<Vec<_>>().join("/")).is_match(path) {
            headers.extend(lines.into_iter().map(header));
        }
    }
    headers
}

/// The first route that matches applies. A `*` is at its end. The ending of the file gives the media type.
fn azure(text: &str, path: &str) -> Headers {
    let configuration: Value = serde_json::from_str(text).unwrap();
    let mut headers: Headers = serde_json::from_value(configuration["globalHeaders"].clone()).unwrap();
    let routes = configuration["routes"].as_array().unwrap();
    let matches = |route: &str| match route.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => {
            assert!(!route.contains('*'), "{route}");
            path == route
        }
    };
    let route = routes.iter().find(|route| matches(route["route"].as_str().unwrap())).expect(path);
    headers.extend(serde_json::from_value::<Headers>(route["headers"].clone()).unwrap());
    assert!(!headers.contains_key("Content-Type"), "routes have no effect on it");
    let file = route["rewrite"].as_str().unwrap_or(path);
    let ending = file.rsplit('/').next().unwrap().rsplit_once('.').map(|(_, ending)| format!(".{ending}"));
    let types = &configuration["mimeTypes"];
    if let Some(media_type) = ending.and_then(|ending| types[ending].as_str().map(String::from)) {
        headers.insert("Content-Type".into(), media_type);
    }
    headers
}

/// All rules that match apply, and the last value of a header stays.
fn last_of_each(rules: &Value, value: impl Fn(&Value) -> Option<Box<dyn Fn(&str) -> String>>) -> Headers {
    let mut headers = Headers::new();
    for rule in rules.as_array().unwrap() {
        let Some(fill) = value(rule) else { continue };
        for entry in rule["headers"].as_array().unwrap() {
            headers.insert(entry["key"].as_str().unwrap().into(), fill(entry["value"].as_str().unwrap()));
        }
    }
    headers
}

fn firebase(text: &str, path: &str) -> Headers {
    let configuration: Value = serde_json::from_str(text).unwrap();
    last_of_each(&configuration["hosting"]["headers"], |rule| {
        let is_about = regex(rule["regex"].as_str().unwrap()).is_match(path);
        is_about.then(|| Box::new(str::to_string) as Box<dyn Fn(&str) -> String>)
    })
}

/// A source is a path of path-to-regexp: a backslash before a literal character, `(PATTERN)`, and `:NAME(PATTERN)`.
fn vercel(text: &str, path: &str) -> Headers {
    let configuration: Value = serde_json::from_str(text).unwrap();
    let named = Regex::new(r"([^\\]):([a-z]+)\(").unwrap();
    last_of_each(&configuration["headers"], |rule| {
        let source = rule["source"].as_str().unwrap().replace('.', r"\.").replace(r"(\.+)", "(.+)");
        let source = named.replace(&source, "$1(?<$2>").into_owned();
        let digest = regex(&source).captures(path)?.name("digest").map(|value| value.as_str().to_string());
        Some(Box::new(move |value: &str| match &digest {
            Some(digest) => value.replace(":digest", digest),
            None => value.into(),
        }))
    })
}

#[test]
fn each_host_sends_what_the_preview_does() {
    for preset in PRESETS {
        let site = Site::of_fixtures(&["--registry", "--preset", preset]);
        let lists = MODELS.map(|(format, model)| (format, print(&site, format, &[]), model));
        let preview = Preview::start(&site.root());
        let files = walkdir::WalkDir::new(site.root()).into_iter().map(Result::unwrap);
        let files = files.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path);
        let paths = files.map(|file| format!("/{}", file.strip_prefix(site.root()).unwrap().display()));
        let mut compared = 0;
        for path in paths.chain(["/".into(), "/v2/".into()]) {
            let response = preview.get_with(&path, &[("Origin", LOCAL)]);
            // What is there for look-ups has no address of its own.
            if response.status == 404 {
                continue;
            }
            compared += 1;
            let ending = path.rsplit('.').next().unwrap();
            let is_typed_by_ending = path == "/" || ["html", "css", "js", "json"].contains(&ending);
            for (format, text, model) in &lists {
                let headers = model(text, &path);
                assert!(headers.contains_key("Cache-Control"), "{format}, {preset}: {path} has no rule");
                for (name, value) in &headers {
                    let is_for_pages = ["Content-Security-Policy", "Referrer-Policy"].contains(&name.as_str());
                    if !is_for_pages || response.expect("Content-Type").starts_with("text/html") {
                        // On loopback, the preview allows pages of local hosts only, by their name.
                        let expected = if name == "Access-Control-Allow-Origin" { LOCAL } else { value };
                        assert_eq!(response.expect(name), expected, "{format}, {preset}: {name} of {path}");
                    }
                }
                // On Azure, only manifests of the view can have a media type.
                let needs_type = *format != "azure-static-web-apps" || path.contains("/manifests/");
                let has_type = headers.contains_key("Content-Type") || is_typed_by_ending;
                assert!(has_type || !needs_type, "{format}, {preset}: {path} has no media type");
                if ["cloudflare-pages", "vercel"].contains(format) && path.contains("/manifests/sha256:") {
                    assert!(path.ends_with(&headers["Docker-Content-Digest"]), "{format}: {path}");
                }
            }
        }
        assert!(compared > 100, "the fixtures have many objects");
    }
}

#[test]
fn the_list_does_not_grow_with_images() {
    let image = format!("example.com/another={}", fixtures::layouts().join("zstd").display());
    for args in [&[][..], &["--registry"]] {
        let site = Site::of_fixtures(args);
        let formats = ["cloudflare-pages", "netlify", "firebase", "vercel"];
        let before = formats.map(|format| print(&site, format, &[]));
        site.publish(&[args, &[&image]].concat());
        assert_eq!(formats.map(|format| print(&site, format, &[])), before);
        assert!(before[1].contains("\n/oci-cas/*\n") && before[1].contains("\n/oci-index/*\n"), "{}", before[1]);
    }
}

#[test]
fn a_host_that_rewrites_answers_what_has_no_file() {
    let site = Site::of_fixtures(&["--registry"]);
    let redirects = |format| print(&site, format, &["--redirects"]);
    let lines = |text: String| text.lines().skip(1).map(String::from).collect::<Vec<_>>();
    let [ping, one, two] = [
        "/v2/ /v2/_ping.json 200",
        "/v2/:name1/referrers/:digest /v2/_no-referrers.json 200",
        "/v2/:name1/:name2/referrers/:digest /v2/_no-referrers.json 200",
    ];
    assert_eq!(lines(redirects("cloudflare-pages")), [ping]);
    assert_eq!(lines(redirects("netlify")), [ping, one, two]);
    let firebase: Value = serde_json::from_str(&print(&site, "firebase", &[])).unwrap();
    let rewrites = firebase["hosting"]["rewrites"].as_array().unwrap();
    let of = |path: &str| {
        let is_about = |rule: &&Value| Regex::new(rule["regex"].as_str().unwrap()).unwrap().is_match(path);
        rewrites.iter().find(is_about).map(|rule| rule["destination"].as_str().unwrap())
    };
    assert_eq!(of("/v2/"), Some("/v2/_ping.json"));
    assert_eq!(of("/v2/team/app/referrers/sha256:00"), Some("/v2/_no-referrers.json"));
    assert_eq!(of("/v2/team/app/manifests/1.0"), None);
    let mut command = crate::support::program::ocisite();
    command.args(["server-config", "headers", "--redirects", "--format", "vercel", "--site"]).arg(site.root());
    fails(&mut command, &["--format cloudflare-pages or netlify"]);
}

#[test]
fn a_site_above_the_limits_of_a_host_is_refused() {
    // Given a site with a file of more than 25 MiB.
    let scene = Scene::of_image("content");
    scene.publish().args(["--quiet", "example.com/app=layout"]).assert().success();
    let large = scene.site.join("large");
    std::fs::File::create(&large).unwrap().set_len((25 << 20) + 1).unwrap();
    let headers = |format: &str| {
        let mut command = scene.ocisite();
        command.args(["server-config", "headers", "--site", "site", "--format", format]);
        command
    };
    // When the list is printed for a host with this limit, then the file, the limit and the size are named.
    let words =
        ["Cloudflare Pages does not accept large", "at most 26214400 bytes", "found 26214401", "--cas-template"];
    fails(&mut headers("cloudflare-pages"), &words);
    headers("netlify").assert().success();
}

#[test]
fn a_list_above_the_limits_of_a_host_is_refused() {
    // Given more than a hundred images, and as many lists of platforms.
    let mut scene = Scene::new();
    for number in 0..101 {
        let image = scene.layout.image(&format!("content {number}"));
        let list = scene.layout.index_of(std::slice::from_ref(&image));
        scene.layout.add(&format!("image-{number}"), image);
        scene.layout.add(&format!("list-{number}"), list);
    }
    scene.publish().args(["--quiet", "--registry", "example.com/app=layout"]).assert().success();
    let headers = |format: &str| {
        let mut command = scene.ocisite();
        command.args(["server-config", "headers", "--site", "site", "--format", format]);
        command
    };
    let words = ["Cloudflare Pages does not accept the list of headers", "at most 100 rules", "use another host"];
    fails(&mut headers("cloudflare-pages"), &words);
    let words = ["Azure Static Web Apps does not accept the configuration", "at most 20480 bytes"];
    fails(&mut headers("azure-static-web-apps"), &words);
    headers("vercel").assert().success();
}
