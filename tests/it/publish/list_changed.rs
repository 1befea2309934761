//! `--list-changed`: the URLs that a cache in front of a site has to forget.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::program::{Succeeds, fails};
use crate::support::scene::Scene;
use crate::support::site::Snapshot;

/// The files that servers serve, with their content.
fn files(site: &Path) -> BTreeMap<String, Vec<u8>> {
    let items = Snapshot::public(site).0.into_iter();
    items.filter_map(|(path, item)| Some((path.to_str().unwrap().to_string(), item.bytes?))).collect()
}

/// Whether the path has the digest of the content.
fn is_blob(path: &str) -> bool {
    path.starts_with("oci-cas/") || path.contains("/sha256:") && !path.contains("/referrers/")
}

/// The paths that differ, without new blobs.
fn differences(before: &BTreeMap<String, Vec<u8>>, after: &BTreeMap<String, Vec<u8>>) -> BTreeSet<String> {
    let is_new_blob = |path: &String| is_blob(path) && !before.contains_key(path);
    let differs = |path: &&String| before.get(*path) != after.get(*path) && !is_new_blob(path);
    before.keys().chain(after.keys()).filter(differs).cloned().collect()
}

/// The paths of the listed URLs, which each host has.
fn listed(scene: &Scene, hosts: &[&str]) -> BTreeSet<String> {
    let text = std::fs::read_to_string(scene.path("changed")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.is_sorted(), "{text}");
    let paths = |host: &&str| -> BTreeSet<String> {
        let paths = lines.iter().filter_map(|line| line.strip_prefix(&format!("https://{host}/")));
        paths.map(str::to_string).collect()
    };
    let of_hosts: Vec<BTreeSet<String>> = hosts.iter().map(paths).collect();
    assert!(of_hosts.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
    assert_eq!(of_hosts.iter().map(BTreeSet::len).sum::<usize>(), lines.len(), "{text}");
    of_hosts[0].clone()
}

/// The paths at which clients also get one of these objects.
fn with_other_names(paths: &BTreeSet<String>) -> BTreeSet<String> {
    let other = |path: &String| match (path.as_str(), path.split_once("/tags/_last/")) {
        ("index.html", _) => Some(String::new()),
        ("v2/_ping.json", _) => Some("v2/".to_string()),
        (_, Some((repository, tag))) => Some(format!("{repository}/tags/list?last={tag}")),
        _ => None,
    };
    paths.iter().cloned().chain(paths.iter().filter_map(other)).collect()
}

#[test]
fn each_command_lists_what_it_changed_and_nothing_else() {
    // Given a site of two hosts, or one of one host with the registry view (which has no other),
    for (option, hosts) in [("--catalogue", &["a.example", "b.example"][..]), ("--registry", &["a.example"])] {
        let scene = Scene::of_image("app");
        let (site, to) = (scene.site.clone(), scene.path("to"));
        let first = format!("{}/team/app=layout", hosts[0]);
        let second = format!("{}/app", hosts[hosts.len() - 1]);
        let template = "https://{host}/oci-index/{host}/{+path}";
        let publish = ["publish", "--site", "site", "--index-template", template, option];

        // when a command changes it, then the list has the URLs of the files that differ.
        let changes = |args: &[&str], hosts: &[&str], site: &Path| {
            let before = files(site);
            scene.ocisite().args(args).args(["--list-changed", "changed"]).succeeds();
            let expected = with_other_names(&differences(&before, &files(site)));
            assert_eq!(listed(&scene, hosts), expected, "{args:?}");
            expected
        };
        let new = changes(&[&publish[..], &[&first]].concat(), &hosts[..1], &site);
        assert!(new.contains("") && new.contains(".well-known/oci-host-ref-engines"), "{new:?}");
        assert_eq!(new.contains("v2/"), option == "--registry", "{new:?}");
        assert!(!new.iter().any(|path| is_blob(path)), "{new:?}");
        let input = format!("{second}=layout");
        let publish_second = [&publish[..], &[&input]].concat();
        changes(&publish_second, hosts, &site);
        assert!(changes(&publish_second, hosts, &site).is_empty());
        changes(&["copy", "site", "to"], hosts, &to);
        let removed = changes(&["remove", "site", &second], hosts, &site);
        assert!(removed.contains(&format!("oci-index/{second}")), "{removed:?}");
        changes(&["remove", "site", first.trim_end_matches("=layout")], hosts, &site);
        assert!(changes(&["gc", "site", "--grace", "0", "--dry-run"], hosts, &site).is_empty());
        let freed = changes(&["gc", "site", "--grace", "0"], hosts, &site);
        assert!(freed.iter().any(|path| path.starts_with("oci-cas/sha256/")), "{freed:?}");
        changes(&["copy", "site", "to", "--delete"], hosts, &to);
    }
}

#[test]
fn each_host_with_a_root_of_its_own_has_its_own_objects() {
    let scene = Scene::of_image("app");
    let images = ["a.example/one=layout", "b.example/two=layout"];
    scene.publish().args(["--root-per-host", "--list-changed", "changed"]).args(images).succeeds();
    let text = std::fs::read_to_string(scene.path("changed")).unwrap();
    let indexes: Vec<&str> = text.lines().filter(|line| line.contains("/oci-index/")).collect();
    assert_eq!(indexes, ["https://a.example/oci-index/one", "https://b.example/oci-index/two"]);
}

#[test]
fn objects_of_another_origin_are_listed_at_that_origin() {
    let scene = Scene::of_image("app");
    let publish = [
        "--index-template",
        "https://cdn.example:8443/{host}/{+path}",
        "--store",
        "https://cdn.example:8443=cdn",
        "--list-changed",
        "changed",
    ];
    scene.publish().args(publish).arg("example.com/app=layout").succeeds();
    let text = std::fs::read_to_string(scene.path("changed")).unwrap();
    assert!(text.lines().any(|line| line == "https://cdn.example:8443/example.com/app"), "{text}");
    assert!(text.lines().any(|line| line == "https://example.com/.well-known/oci-host-ref-engines"), "{text}");
}

#[test]
fn a_repaired_blob_is_listed() {
    // Given a site with a damaged blob of the right size,
    let scene = Scene::of_image("app");
    scene.publish().arg("example.com/app=layout").succeeds();
    let blob = files(&scene.site).into_keys().find(|path| is_blob(path)).unwrap();
    let file = scene.site.join(&blob);
    let length = std::fs::read(&file).unwrap().len();
    std::fs::write(&file, vec![b'x'; length]).unwrap();

    // when it is repaired, then caches have to forget it.
    scene.publish().args(["--recheck", "--list-changed", "changed", "example.com/app=layout"]).succeeds();
    assert_eq!(std::fs::read_to_string(scene.path("changed")).unwrap(), format!("https://example.com/{blob}\n"));
}

#[test]
fn a_list_that_cannot_be_written_is_an_error_before_anything_changes() {
    let scene = Scene::of_image("app");
    let args = ["--list-changed", "missing/changed", "example.com/app=layout"];
    fails(scene.publish().args(args), &["cannot write the list of changed URLs missing/changed"]);
    assert!(!scene.site.exists());
}
