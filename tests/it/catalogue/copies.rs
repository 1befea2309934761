//! What a copy makes of the catalogue: that of the site that the destination becomes.

use std::path::Path;

use super::site::{Demo, catalogue_of, small_image};
use crate::support::program::{ocisite, publish, text};
use crate::support::site::{Snapshot, json, traces};

/// A directory with a layout for each of these images.
fn layouts(names: &[&str]) -> Demo {
    let demo = Demo::new();
    names.iter().for_each(|name| small_image(&demo, name, "1.0", "2024-01-01T00:00:00Z"));
    demo
}

/// Publishes some of the images to a site of their own.
fn publish_to(site: &Path, layouts: &Demo, names: &[&str], args: &[&str]) {
    let layout = |name: &&str| format!("example.com/{name}={}", text(&layouts.path("layouts").join(name)));
    let inputs: Vec<String> = names.iter().map(layout).collect();
    publish(site, &[args, &inputs.iter().map(String::as_str).collect::<Vec<_>>()].concat());
}

fn copy(from: &Path, to: &Path, args: &[&str]) {
    ocisite().args(["copy", text(from), text(to)]).args(args).assert().success();
}

fn assert_right(site: &Path) {
    ocisite().args(["verify", "--strict", "--deep", text(site)]).assert().success();
}

#[test]
fn a_copy_into_a_site_with_other_images_gives_the_catalogue_of_both() {
    let demo = layouts(&["both", "new", "old"]);
    let [source, target, expected] = ["source", "target", "expected"].map(|name| demo.path(name));
    for registry in [&[][..], &["--registry"]] {
        for site in [&source, &target, &expected] {
            let _ = std::fs::remove_dir_all(site);
        }
        publish_to(&source, &demo, &["both", "new"], registry);
        publish_to(&target, &demo, &["both", "old"], registry);
        publish_to(&expected, &demo, &["both", "new", "old"], registry);
        // When: the source is copied, and what the destination has stays.
        copy(&source, &target, &[]);
        // Then: it is the site that a publish of all images makes.
        Snapshot::public(&expected).assert_same(&Snapshot::public(&target));
        assert_right(&target);
        // And: a second copy writes nothing.
        let before = traces(&target);
        copy(&source, &target, &[]);
        assert_eq!(traces(&target), before);
    }
}

#[test]
fn a_later_copy_mends_what_an_earlier_version_left() {
    // Given: a site into which a version before this one copied: with the source's catalogue in place of its own.
    let demo = layouts(&["both", "new", "old"]);
    let [source, target, expected] = ["source", "target", "expected"].map(|name| demo.path(name));
    publish_to(&source, &demo, &["both", "new"], &[]);
    publish_to(&expected, &demo, &["both", "new", "old"], &[]);
    publish_to(&target, &demo, &["both", "new", "old"], &[]);
    for path in catalogue_of(&source).keys() {
        std::fs::copy(source.join(path), target.join(path)).unwrap();
    }
    assert!(catalogue_of(&target) != catalogue_of(&expected));
    // When: it is copied again. Then: the catalogue knows all images.
    copy(&source, &target, &[]);
    assert!(catalogue_of(&target) == catalogue_of(&expected), "the catalogue is not that of all images");
    assert_right(&target);
}

#[test]
fn a_site_with_a_catalogue_keeps_it_when_one_without_is_copied_to_it() {
    let demo = layouts(&["new", "old"]);
    let [source, target, expected] = ["source", "target", "expected"].map(|name| demo.path(name));
    publish_to(&source, &demo, &["new"], &["--no-catalogue"]);
    publish_to(&target, &demo, &["old"], &[]);
    publish_to(&expected, &demo, &["new", "old"], &[]);
    copy(&source, &target, &[]);
    Snapshot::public(&expected).assert_same(&Snapshot::public(&target));
}

#[test]
fn a_copy_that_deletes_or_has_nothing_to_keep_takes_the_catalogue_as_it_is() {
    let demo = layouts(&["both", "new", "old"]);
    let [source, target] = ["source", "target"].map(|name| demo.path(name));
    publish_to(&source, &demo, &["both", "new"], &[]);
    // A page that only the source's templates make.
    std::fs::write(source.join("index.html"), "made with templates of its own").unwrap();
    copy(&source, &target, &[]);
    Snapshot::public(&source).assert_same(&Snapshot::public(&target));
    publish_to(&target, &demo, &["old"], &[]);
    copy(&source, &target, &["--delete"]);
    assert!(catalogue_of(&source) == catalogue_of(&target), "the catalogue is not that of the source");
}

#[test]
fn pages_of_a_site_that_keeps_images_are_made_with_the_given_templates() {
    let demo = layouts(&["new", "old"]);
    let [source, target, templates] = ["source", "target", "templates"].map(|name| demo.path(name));
    ocisite().args(["catalogue", "templates", text(&templates)]).assert().success();
    std::fs::write(templates.join("style.css"), "/* of our own */").unwrap();
    publish_to(&source, &demo, &["new"], &[]);
    publish_to(&target, &demo, &["old"], &[]);
    copy(&source, &target, &["--template-dir", text(&templates)]);
    assert_eq!(std::fs::read_to_string(target.join("catalogue/style.css")).unwrap(), "/* of our own */");
    assert_eq!(json(&target, "catalogue.json")["images"].as_array().unwrap().len(), 2);
    assert_right(&target);
}

#[test]
fn a_dry_run_changes_nothing() {
    let demo = layouts(&["new", "old"]);
    let [source, target] = ["source", "target"].map(|name| demo.path(name));
    publish_to(&source, &demo, &["new"], &[]);
    publish_to(&target, &demo, &["old"], &[]);
    let before = (Snapshot::of(&target), Snapshot::of(&source));
    copy(&source, &target, &["--dry-run"]);
    before.0.assert_unchanged(&target);
    before.1.assert_unchanged(&source);
}
