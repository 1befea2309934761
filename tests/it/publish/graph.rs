//! What is published with an entry: everything it refers to, and everything that refers to it.

use serde_json::{Value, json};

use crate::support::layout::{CONFIG, INDEX, LAYER, MANIFEST};
use crate::support::program::Succeeds;
use crate::support::scene::Scene;
use crate::support::site::{assert_whole, blob_file, entries, refs};

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_GENERIC: &str = "application/vnd.docker.distribution.manifest.generic.v1+json";
const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
const ORAS: &str = "application/vnd.cncf.oras.artifact.manifest.v1+json";

impl Scene {
    /// Publishes what is selected as `example.com/app` and says which of the blobs the site has then.
    fn published(&self, select: &str, blobs: &[&Value]) -> Vec<bool> {
        self.publish().args(["--replace", &format!("example.com/app=layout{select}")]).succeeds();
        assert_whole(&self.site);
        let has = blobs.iter().map(|blob| blob_file(&self.site, blob["digest"].as_str().unwrap()).exists()).collect();
        std::fs::remove_dir_all(&self.site).unwrap();
        has
    }
}

#[test]
fn every_field_that_holds_descriptors_is_followed() {
    for (media_type, fields) in [
        (INDEX, &["manifests[]"][..]),
        (DOCKER_LIST, &["manifests[]"]),
        (MANIFEST, &["config", "layers[]"]),
        (DOCKER_MANIFEST, &["config", "layers[]"]),
        (ARTIFACT, &["blobs[]"]),
        (ORAS, &["blobs[]", "descriptors[]"]),
        (DOCKER_GENERIC, &["target", "dependencies[]"]),
        (ARTIFACT, &["blobs[]", "target", "dependencies[]"]),
    ] {
        let mut scene = Scene::new();
        let mut document = json!({"schemaVersion": 2});
        let mut blobs = vec![];
        for field in fields {
            let blob = scene.layout.blob("application/x-opaque", format!("{media_type} {field}"));
            match field.strip_suffix("[]") {
                Some(list) => document[list] = json!([blob]),
                None => document[*field] = blob.clone(),
            }
            blobs.push(blob);
        }
        let document = scene.layout.document(media_type, &document);
        // Two indexes above it, so that it is reached from inside.
        let inner = scene.layout.index_of(&[document]);
        let outer = scene.layout.index_of(&[inner]);
        scene.layout.add("1.0", outer);
        assert!(scene.published("", &blobs.iter().collect::<Vec<_>>()).iter().all(|has| *has), "{media_type}");
    }
}

#[test]
fn a_document_of_unknown_type_is_a_leaf() {
    let mut scene = Scene::new();
    let unrelated = scene.layout.blob(LAYER, "unrelated");
    let unknown = scene.layout.document("application/x-unknown+json", &json!({"layers": [unrelated]}));
    scene.layout.add("1.0", unknown.clone());
    assert_eq!(scene.published("", &[&unknown, &unrelated]), [true, false]);
}

#[test]
fn what_one_calls_a_layer_and_another_an_index_is_an_index() {
    for order in [[LAYER, INDEX], [INDEX, LAYER]] {
        let mut scene = Scene::new();
        let hidden = scene.layout.blob(LAYER, "hidden");
        let inner = scene.layout.index_of(std::slice::from_ref(&hidden));
        let both = order.map(|media_type| {
            let mut described = inner.clone();
            described["mediaType"] = media_type.into();
            described
        });
        let outer = scene.layout.index_of(&both);
        scene.layout.add("1.0", outer);
        assert_eq!(scene.published("", &[&hidden]), [true]);
    }
}

#[test]
fn a_subject_need_not_be_there() {
    let mut scene = Scene::new();
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let signature = scene.layout.artifact("s", &json!({"mediaType": MANIFEST, "digest": digest, "size": 7}));
    scene.layout.add_untagged(signature.clone());
    assert_eq!(scene.published("", &[&signature]), [true]);
}

#[test]
fn referrers_are_published_with_the_one_ref_that_is_chosen() {
    let mut scene = Scene::new();
    let (image, other) = (scene.layout.image("image"), scene.layout.image("other"));
    let fallback = |descriptor: &Value| descriptor["digest"].as_str().unwrap().replace(':', "-");
    let by_subject = scene.layout.artifact("by subject", &image);
    let of_referrer = scene.layout.artifact("of a referrer", &by_subject);
    let by_refers = scene.layout.document(ARTIFACT, &json!({"blobs": [], "refers": image}));
    let listed = scene.layout.artifact("listed under the fallback tag", &image);
    let list = scene.layout.index_of(std::slice::from_ref(&listed));
    let cosign = scene.layout.image("signature of cosign");
    let of_other = scene.layout.artifact("of the other image", &other);
    // Referrers stand before what they refer to, so that one pass over the entries does not find them all.
    scene.layout.add_untagged(of_referrer.clone());
    scene.layout.add_untagged(by_subject.clone());
    scene.layout.add_untagged(by_refers.clone());
    scene.layout.add_untagged(of_other.clone());
    scene.layout.add(&fallback(&image), list.clone());
    scene.layout.add(&format!("{}.sig", fallback(&image)), cosign.clone());
    scene.layout.add("1.0", image.clone());
    scene.layout.add("2.0", other.clone());

    let all = [&image, &by_subject, &of_referrer, &by_refers, &listed, &list, &cosign, &other, &of_other];
    let chosen = [true, true, true, true, true, true, true, false, false];
    assert_eq!(scene.published(":1.0", &all), chosen);
    assert_eq!(scene.published(":2.0", &all), chosen.map(|has| !has));

    // Another ref for the image is no ref for its signatures.
    scene.publish().arg("example.com/app#new=layout:1.0").succeeds();
    let fallback = fallback(&image);
    assert_eq!(refs(&scene.site, "app"), ["-", "-", "-", "new", &fallback, &format!("{fallback}.sig")]);
}

#[test]
fn a_referrer_of_one_platform_of_an_image_is_published_too() {
    let mut scene = Scene::new();
    let platform = scene.layout.image("amd64");
    let signature = scene.layout.artifact("signature", &platform);
    let index = scene.layout.index_of(&[platform]);
    scene.layout.add("1.0", index);
    scene.layout.add_untagged(signature.clone());
    assert_eq!(scene.published(":1.0", &[&signature]), [true]);
}

#[test]
fn a_referrer_inside_the_index_that_it_refers_to_ends_the_walk() {
    // A circle by digest cannot be made, but a referrer may be listed below what leads to its subject.
    let mut scene = Scene::new();
    let image = scene.layout.image("image");
    let signature = scene.layout.artifact("signature", &image);
    let index = scene.layout.index_of(&[image.clone(), signature.clone(), image.clone()]);
    let of_index = scene.layout.artifact("of the index", &index);
    scene.layout.add("1.0", index.clone());
    scene.layout.add("again", index);
    scene.layout.add_untagged(of_index.clone());
    assert_eq!(scene.published(":again", &[&image, &signature, &of_index]), [true, true, true]);
}

#[test]
fn a_broken_referrer_of_something_else_is_no_obstacle() {
    let mut scene = Scene::new();
    let image = scene.layout.image("image");
    scene.layout.add("1.0", image.clone());
    let broken = scene.layout.blob(MANIFEST, "{ not JSON");
    scene.layout.add_untagged(broken.clone());
    assert_eq!(scene.published(":1.0", &[&image, &broken]), [true, false]);
}

#[test]
fn all_algorithms_and_empty_blobs() {
    let scene = Scene::new();
    let site = &scene.site;
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/layouts");
    scene.publish().args(["--host", "example.com", fixtures]).succeeds();
    for algorithm in ["sha256", "sha512", "blake3"] {
        assert!(site.join("oci-cas").join(algorithm).is_dir(), "{algorithm}");
    }
    let empty = blob_file(site, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(empty.metadata().unwrap().len(), 0);
    assert!(assert_whole(site) > 60);
}

#[test]
fn blobs_that_may_be_missing_are_listed() {
    let mut scene = Scene::new();
    let mut foreign = scene.layout.blob("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "foreign");
    std::fs::remove_file(scene.layout.blob_file(&foreign)).unwrap();
    foreign["urls"] = json!(["https://example.net/layer"]);
    let config = scene.layout.document(CONFIG, &json!({"os": "windows", "architecture": "amd64"}));
    let image = scene.layout.document(MANIFEST, &json!({"config": config, "layers": [foreign]}));
    scene.layout.add("1.0", image.clone());

    let missing = &scene.publish().args(["--json", "example.com/app=layout"]).json()["missing"];
    assert_eq!(missing.as_array().unwrap().len(), 1);
    assert_eq!(missing[0]["digest"], foreign["digest"]);
    assert_eq!(missing[0]["size"], 7);
    assert!(missing[0]["referrer"].as_str().unwrap().contains(image["digest"].as_str().unwrap()));

    // And so are others, when that was asked for.
    std::fs::remove_file(scene.layout.blob_file(&config)).unwrap();
    let printed = scene.publish().args(["--allow-missing", "example.com/app=layout"]).succeeds();
    for blob in [&foreign, &config] {
        assert!(printed.contains(&format!("missing    {}", blob["digest"].as_str().unwrap())), "{printed}");
    }
    assert!(entries(&scene.site, "app")[0].get("platform").is_none());
}

#[test]
fn a_foreign_layer_that_is_there_is_published() {
    let mut scene = Scene::new();
    let mut foreign = scene.layout.blob("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "foreign");
    foreign["urls"] = json!(["https://example.net/layer"]);
    let image = scene.layout.document(DOCKER_MANIFEST, &json!({"layers": [foreign]}));
    scene.layout.add("1.0", image);
    assert_eq!(scene.published("", &[&foreign]), [true]);
}

#[test]
fn a_blob_that_is_foreign_in_one_place_only_may_not_be_missing() {
    let mut scene = Scene::new();
    let layer = scene.layout.blob("application/vnd.oci.image.layer.nondistributable.v1.tar", "layer");
    std::fs::remove_file(scene.layout.blob_file(&layer)).unwrap();
    let mut foreign = layer.clone();
    foreign["urls"] = json!(["https://example.net/layer"]);
    let image = scene.layout.document(MANIFEST, &json!({"layers": [foreign, layer]}));
    scene.layout.add("1.0", image);
    scene.refused(&["example.com/app=layout"], &["is missing the blob", layer["digest"].as_str().unwrap()]);
}

#[test]
fn entries_keep_what_they_had_and_gain_what_a_consumer_needs() {
    let mut scene = Scene::new();
    let config = json!({
        "os": "windows", "architecture": "arm64", "variant": "v8", "os.version": "10.0.20348", "os.features": ["win32k"],
        "rootfs": {"type": "layers"},
    });
    let mut image = scene.layout.image_with("image", config);
    image["annotations"] = json!({"org.example.note": "kept", "org.example.other": "\u{e9}"});
    image["urls"] = json!(["https://example.net/manifest"]);
    image["x-unknown"] = json!({"b": [1, null], "a": 2.5});
    scene.layout.add("1.0", image.clone());
    let artifact = scene.layout.artifact("sbom", &image);
    scene.layout.add_untagged(artifact.clone());
    let mut with_platform = scene.layout.image("other");
    with_platform["platform"] = json!({"os": "plan9", "architecture": "mips"});
    with_platform["casEngines"] = json!([{"protocol": "oci-cas-template-v1", "uri": "https://example.net/{digest}"}]);
    scene.layout.add("2.0", with_platform);

    scene.publish().arg("example.com/app=layout").succeeds();

    let entries = entries(&scene.site, "app");
    let of = |digest: &Value| entries.iter().find(|entry| entry["digest"] == *digest).unwrap();
    let ours = json!({"protocol": "oci-cas-template-v1", "uri": "/oci-cas/{algorithm}/{encoded:2}/{encoded}"});

    let mut expected = image.clone();
    expected["annotations"]["org.opencontainers.image.ref.name"] = "1.0".into();
    expected["platform"] = json!({
        "os": "windows", "architecture": "arm64", "variant": "v8", "os.version": "10.0.20348", "os.features": ["win32k"],
    });
    expected["casEngines"] = json!([ours]);
    assert_eq!(of(&image["digest"]), &expected);

    assert_eq!(of(&artifact["digest"])["artifactType"], "application/x-signature");
    assert!(of(&artifact["digest"]).get("platform").is_none());

    let other = entries.iter().find(|entry| entry["platform"]["os"] == "plan9").unwrap();
    let theirs = json!({"protocol": "oci-cas-template-v1", "uri": "https://example.net/{digest}"});
    assert_eq!(other["casEngines"], json!([ours, theirs]));
}
