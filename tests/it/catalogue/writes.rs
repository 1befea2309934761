//! What a publish writes: only what changed, and the same in whatever order things came.

use std::collections::BTreeSet;

use serde_json::json;

use super::site::{Demo, Image, catalogue_of, image, small_image, two_images};
use crate::support::program::{ocisite, publish, text};
use crate::support::site::traces;

const IMAGES: usize = 40;

fn many_images() -> Demo {
    let demo = Demo::new();
    for number in 0..IMAGES {
        small_image(&demo, &format!("team/app-{number:02}"), "1.0", "2024-01-01T00:00:00Z");
    }
    demo.publish(&[]);
    demo
}

/// Publishes one image again with another ref, and gives the files that were written, relative to the site.
fn publish_ref(demo: &Demo, image: &str, version: &str, created: &str) -> BTreeSet<String> {
    let _ = std::fs::remove_dir_all(demo.path("layouts").join(image));
    small_image(demo, image, version, created);
    let layout = demo.path("layouts").join(image);
    changes(demo, || drop(publish(&demo.site, &[&format!("example.com/{image}={}", text(&layout))])))
}

/// The files that a command writes or removes, relative to the site, without blobs.
fn changes(demo: &Demo, command: impl FnOnce()) -> BTreeSet<String> {
    let before = traces(&demo.site);
    command();
    let after = traces(&demo.site);
    let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    let relative = changed.map(|path| path.strip_prefix(&demo.site).unwrap().to_str().unwrap().to_string());
    relative.filter(|path| !path.starts_with(".ocisite/") && !path.starts_with("oci-cas/")).collect()
}

/// The images whose page or document is among these files.
fn images(changed: &BTreeSet<String>) -> BTreeSet<&str> {
    let names = changed.iter().filter_map(|path| path.strip_prefix("catalogue/images/example.com/"));
    names.filter_map(|path| path.rsplit_once('.')).map(|(name, _)| name).collect()
}

#[test]
fn a_publish_and_a_removal_write_no_document_of_other_images() {
    // Given a site of images that have a layer in common with each other, and one with a layer of its own.
    let demo = Demo::new();
    let mut layout = demo.layout("alone");
    let alone = Image {
        version: "1.0",
        created: "2024-01-01T00:00:00Z",
        platforms: &["linux/amd64"],
        layers: &[("rare", 200)],
        annotations: json!({}),
    };
    layout.add("1.0", image(&layout, &alone));
    ["first", "second"].iter().for_each(|name| small_image(&demo, name, "1.0", "2024-01-01T00:00:00Z"));
    demo.publish(&[]);
    // When an image is published that has layers of both.
    let mut layout = demo.layout("new");
    layout.add("1.0", image(&layout, &Image { layers: &[("base", 300), ("rare", 200)], ..alone }));
    let input = format!("example.com/new={}", text(&demo.path("layouts/new")));
    let published = changes(&demo, || drop(publish(&demo.site, &[&input])));
    // Then only its own documents are written, and the same when it is removed.
    assert_eq!(images(&published), ["new"].into(), "{published:?}");
    let remove = || drop(ocisite().args(["remove", text(&demo.site), "example.com/new"]).assert().success());
    let removed = changes(&demo, remove);
    assert_eq!(images(&removed), ["new"].into(), "{removed:?}");
}

#[test]
fn publishing_one_tag_writes_its_page_its_documents_and_the_list() {
    let demo = many_images();
    let written = publish_ref(&demo, "team/app-07", "2.0", "2024-02-01T00:00:00Z");
    let layers: Vec<&String> = written.iter().filter(|path| path.starts_with("catalogue/layers/")).collect();
    assert_eq!(layers.len(), 1, "one new layer: {written:?}");
    let others: Vec<&str> =
        written.iter().map(String::as_str).filter(|path| !path.starts_with("catalogue/layers/")).collect();
    assert_eq!(
        others,
        [
            "catalogue.json",
            "catalogue/images/example.com/team/app-07.html",
            "catalogue/images/example.com/team/app-07.json",
            "index.html",
            "oci-index/team/app-07",
        ]
    );
}

#[test]
fn the_list_is_written_only_when_what_it_shows_changed() {
    let demo = many_images();
    // An older ref: the newest stays what it is.
    let written = publish_ref(&demo, "team/app-07", "0.9", "2023-12-01T00:00:00Z");
    assert!(!written.contains("index.html") && !written.contains("catalogue.json"), "{written:?}");
    assert!(written.contains("catalogue/images/example.com/team/app-07.html"), "{written:?}");
    // The same again: nothing.
    assert_eq!(publish_ref(&demo, "team/app-07", "0.9", "2023-12-01T00:00:00Z"), BTreeSet::new());
}

#[test]
fn the_catalogue_is_the_same_in_whatever_order_images_were_published() {
    let names = ["app", "team/app", "team/tool", "app.html/tool"];
    let layouts = Demo::new();
    for name in names {
        small_image(&layouts, name, "1.0", "2024-01-01T00:00:00Z");
    }
    let mut catalogues = Vec::new();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let demo = Demo::new();
        for position in order {
            let layout = layouts.path("layouts").join(names[position]);
            let template = ["--index-template", "https://{host}/oci-index/{+path}/index.json"];
            let image = format!("example.com/{}={}", names[position], text(&layout));
            publish(&demo.site, &[&template[..], &[&image]].concat());
        }
        catalogues.push(catalogue_of(&demo.site));
    }
    assert!(catalogues[0].len() > 8);
    assert_eq!(catalogues[0], catalogues[1]);
    assert_eq!(catalogues[0], catalogues[2]);
}

#[test]
fn a_publish_makes_pages_that_an_interrupted_one_left_out() {
    let demo = two_images();
    demo.publish(&[]);
    let whole = catalogue_of(&demo.site);
    // Given a site whose catalogue was never finished: the list is written last.
    for file in
        ["catalogue.json", "catalogue/images/example.com/team/tool.html", "catalogue/images/example.com/team/tool.json"]
    {
        std::fs::remove_file(demo.site.join(file)).unwrap();
    }
    // When another image is published.
    publish(&demo.site, &[&format!("example.com/app={}", text(&demo.path("layouts/app")))]);
    // Then everything is there again.
    assert_eq!(catalogue_of(&demo.site), whole);
}

#[test]
fn a_row_that_somebody_damaged_is_made_again_from_the_document() {
    let demo = two_images();
    demo.publish(&[]);
    // Given a list with a row that is none.
    let whole = demo.list();
    let mut list = whole.clone();
    list["images"][1].as_object_mut().unwrap().remove("page").unwrap();
    std::fs::write(demo.site.join("catalogue.json"), list.to_string()).unwrap();
    // When the row of another image changes.
    publish_ref(&demo, "app", "2.0", "2024-02-01T00:00:00Z");
    // Then both are right.
    assert_eq!(demo.list()["images"][0]["ref"], "2.0");
    assert_eq!(demo.list()["images"][1], whole["images"][1]);
}
