//! What pages and documents say.

use serde_json::{Value, json};

use super::site::{self, Demo, HOSTILE};
use crate::support::fixtures::layouts;
use crate::support::program::{publish, text};
use crate::support::text::assert_text;

#[test]
fn the_list_has_every_image_with_its_newest_ref_platforms_and_size() {
    let demo = site::team();
    let list = demo.list();
    let names: Vec<&str> = list["images"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!((names.len(), &names), (6, &sorted));
    let app = &list["images"][2];
    assert_eq!(app["name"], "example.com/team/app");
    assert_eq!(app["ref"], "2.1.0");
    assert_eq!(app["created"], "2024-05-28T09:12:44Z");
    assert_eq!(app["platforms"], json!(["linux/amd64", "linux/arm64"]));
    assert!(app["size"].as_u64().unwrap() > 140_000);
    let page = demo.read("index.html");
    for shown in ["team/app", "Answers requests, and greets whoever asks", "2.1.0", "2024-05-28", "linux/arm64", "KiB"]
    {
        assert!(page.contains(shown), "{shown}");
    }
}

#[test]
fn refs_come_newest_first_and_refs_of_one_thing_together() {
    let demo = site::team();
    let refs: Vec<String> = demo.document("team/app")["refs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["ref"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(refs, ["2.1.0", "2.1", "latest", "2.0.0", "2.0.0-rc1"]);
    let page = demo.page("team/app");
    assert_eq!(page.matches("<details class=\"release\"").count(), 3);
}

#[test]
fn a_page_of_many_refs_shows_the_newest_and_says_where_the_others_are() {
    // Given an image with more refs than anybody reads, all of one date.
    let demo = Demo::new();
    let mut layout = demo.layout("app");
    let version = site::Image {
        version: "1.0",
        created: "2024-01-01T00:00:00Z",
        platforms: &["linux/amd64"],
        layers: &[("base", 300)],
        annotations: json!({}),
    };
    let image = site::image(&layout, &version);
    let other = site::image(&layout, &site::Image { layers: &[("other", 300)], ..version });
    for number in 0..2600 {
        layout.add_unwritten(&format!("1.{number}"), [&image, &other][number % 2].clone());
    }
    layout.write_index();
    // When it is published.
    demo.publish(&[]);
    // Then the page has the hundred newest in full and a line for each of the next thousand, and the document has all.
    let page = demo.page("app");
    let has = |reference: &str| page.contains(&format!("<bdi>{reference}</bdi>"));
    assert!(has("1.2599") && has("1.2500") && has("1.1500") && !has("1.1499") && !has("1.0"));
    assert_eq!(
        (page.matches("<details class=\"release\"").count(), page.matches("<tr><th scope=\"row\">").count()),
        (100, 1000)
    );
    assert!(page.contains("1,500 older refs of this image are not on this page."));
    assert!(
        page.contains(
            "<a href=\"../../../catalogue/images/example.com/app.json\">The image's document</a> has all refs."
        )
    );
    assert!(page.contains("2,600 refs of <bdi>example.com/app</bdi>"));
    assert_eq!(demo.document("app")["refs"].as_array().unwrap().len(), 2600);
}

#[test]
fn a_page_has_what_the_config_says_but_no_value_of_the_environment() {
    let demo = site::team();
    let page = demo.page("team/app");
    for shown in [
        "/usr/bin/app",
        "--listen 0.0.0.0:8080",
        "1000:1000",
        "8080/tcp",
        "API_TOKEN",
        "Apache-2.0",
        "application/x-signature",
    ] {
        assert!(page.contains(shown), "{shown}");
    }
    assert!(page.contains("href=\"https://git.example.com/team/app\" rel=\"noopener noreferrer nofollow\""));
    for file in ["page", "document"] {
        let text = if file == "page" { page.clone() } else { demo.document("team/app").to_string() };
        assert!(!text.contains("a-secret-value"), "{file}");
    }
}

#[test]
fn commands_for_registry_clients_are_there_when_the_site_has_the_registry_view() {
    let demo = Demo::new();
    site::small_image(&demo, "team/app", "1.0", "2024-01-01T00:00:00Z");
    demo.publish(&[]);
    assert!(demo.page("team/app").contains("ocisite pull &#39;example.com/team/app#1.0&#39; --to app"));
    assert!(!demo.page("team/app").contains("docker pull"));
    // When the registry view comes later, pages of images that are not published again get the commands, too.
    site::small_image(&demo, "other", "1.0", "2024-01-01T00:00:00Z");
    let other = demo.path("layouts/other");
    publish(&demo.site, &["--registry", &format!("example.com/other={}", text(&other))]);
    for command in
        ["docker pull example.com/team/app:1.0", "podman pull", "skopeo copy docker://example.com/team/app:1.0 oci:app"]
    {
        assert!(demo.page("team/app").contains(command), "{command}");
    }
}

#[test]
fn the_documents_of_layers_say_which_images_have_them() {
    // Given an image, and then another with a layer of it.
    let demo = Demo::new();
    let owners = |image: &str| -> Vec<Value> {
        let document = demo.document(image);
        let manifests = document["manifests"].as_object().unwrap().values();
        let layers = manifests.flat_map(|manifest| manifest["layers"].as_array().unwrap());
        layers.map(|layer| demo.owners(layer["digest"].as_str().unwrap())).collect()
    };
    site::small_image(&demo, "first", "1.0", "2024-01-01T00:00:00Z");
    demo.publish(&[]);
    assert_eq!(owners("first"), [json!(["example.com/first"]), json!(["example.com/first"])]);
    // When that is published.
    site::small_image(&demo, "second", "1.0", "2024-01-01T00:00:00Z");
    publish(&demo.site, &[&format!("example.com/second={}", text(&demo.path("layouts/second")))]);
    // Then both have the one layer, and each has its own. The pages ask for this when they are opened.
    let both = json!(["example.com/first", "example.com/second"]);
    assert_eq!(owners("first"), [both.clone(), json!(["example.com/first"])]);
    assert_eq!(owners("second"), [both, json!(["example.com/second"])]);
    assert!(demo.page("first").contains("<h1 data-image=\"example.com/first\">"));
}

#[test]
fn hostile_text_stays_text() {
    let demo = site::team();
    for page in [demo.page("hostile"), demo.read("index.html")] {
        for opening in ["<script>", "<img", "<h1>Not", "<style>*", "onerror=alert(1)>", "<b>amd64"] {
            assert!(!page.contains(opening), "{opening}");
        }
        assert!(!page.contains("href=\"javascript:"));
        assert_text(page.as_bytes());
    }
    let page = demo.page("hostile");
    assert!(page.contains(r"🦀 𝕰moji, \u{202e}backwards\u{202c}, nothing\u{3164} and"));
    assert!(page.contains("{{ 7 * 7 }} {% raw %}"));
    assert_eq!(demo.document("hostile")["manifests"].as_object().unwrap().len(), HOSTILE.len());
}

#[test]
fn everything_that_real_tools_write_has_a_page() {
    let demo = Demo::new();
    publish(&demo.site, &["--host", "example.com", text(&layouts())]);
    // An artifact under its subject, by `subject` and by fallback tag; attestations that BuildKit marks in the index.
    assert!(demo.page("artifact").contains("<h3>Referrers</h3>"));
    assert!(demo.page("attested").contains("attestation-manifest"));
    for (image, platform) in [
        ("nested", "linux/arm/v7"),
        ("windows", "windows/amd64"),
        ("podman", "linux/arm64/v8"),
        ("docker", "linux/arm64"),
    ] {
        assert!(demo.page(image).contains(platform), "{image}");
    }
    // What refers to an image is no ref of its own.
    assert_eq!(demo.document("artifact")["refs"].as_array().unwrap().len(), 1);
}
