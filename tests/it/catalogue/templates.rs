//! Templates of one's own.

use super::site::{Demo, catalogue_of, small_image};
use crate::support::program::{fails, ocisite, refused, text};

fn demo() -> Demo {
    let demo = Demo::new();
    small_image(&demo, "app", "1.0", "2024-01-01T00:00:00Z");
    ocisite().args(["catalogue", "templates"]).arg(demo.path("templates")).assert().success();
    demo
}

#[test]
fn the_templates_that_are_written_out_make_the_built_in_pages() {
    let demo = demo();
    demo.publish(&[]);
    let built_in = catalogue_of(&demo.site);
    demo.publish(&["--template-dir", text(&demo.path("templates"))]);
    assert_eq!(catalogue_of(&demo.site), built_in);
}

#[test]
fn one_template_can_be_overridden_and_text_in_it_is_escaped_too() {
    let demo = demo();
    let own = demo.path("own");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("image.html.j2"), "<p>{{ name }} {{ '<b>' }}</p>").unwrap();
    demo.publish(&["--template-dir", text(&own)]);
    assert_eq!(demo.page("app"), "<p>example.com/app &lt;b&gt;</p>");
    assert!(demo.read("index.html").contains("What app does"));
}

#[test]
fn a_template_with_an_error_is_named_and_nothing_is_written() {
    let demo = demo();
    let layouts = demo.path("layouts");
    let image = demo.path("templates/image.html.j2");
    for (broken, words) in [
        ("one line\n{{ name", ["image.html.j2", "line 2"]),
        ("one line\n\n{{ no_such_thing }}", ["image.html.j2", "line 3"]),
    ] {
        std::fs::write(&image, broken).unwrap();
        let templates = demo.path("templates");
        refused(&demo.site, &["--host", "example.com", "--template-dir", text(&templates), text(&layouts)], &words);
    }
}

#[test]
fn a_directory_of_templates_that_does_not_exist() {
    let demo = demo();
    let words = ["the template directory", "nowhere does not exist", "omit --template-dir"];
    let nowhere = demo.path("nowhere");
    refused(
        &demo.site,
        &["--template-dir", text(&nowhere), "--host", "example.com", text(&demo.path("layouts"))],
        &words,
    );
}

#[test]
fn nothing_is_overwritten_by_templates_that_are_written_out() {
    let demo = demo();
    fails(
        ocisite().args(["catalogue", "templates"]).arg(demo.path("templates")),
        &["templates/index.html.j2 exists", "choose another directory"],
    );
    fails(
        ocisite()
            .args(["publish", "--site"])
            .arg(&demo.site)
            .arg("--template-dir")
            .arg(demo.path("layouts"))
            .args(["--host", "example.com"])
            .arg(demo.path("layouts")),
        &["has no templates: expected some of index.html.j2", "ocisite catalogue templates DIR"],
    );
}
