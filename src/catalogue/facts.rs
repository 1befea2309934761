//! What the catalogue takes from one manifest, and its config.
//!
//! Facts follow from bytes with a digest, so they are computed once per digest and then carried along in documents. What
//! comes in is anybody's text: only what is shown is taken, and long text is cut, so that no image can make a page of any
//! size.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::order::timestamp;
use oci_discovery::digest::Digest;
use oci_discovery::json;
use oci_discovery::oci::manifest::{self, Links};
use oci_discovery::oci::{Descriptor, Platform, Verified, media_type};

/// The annotations that are taken (image-spec, annotations), without their common prefix.
pub const ANNOTATIONS: [&str; 12] = [
    "title",
    "description",
    "version",
    "vendor",
    "authors",
    "licenses",
    "source",
    "revision",
    "url",
    "documentation",
    "base.name",
    "base.digest",
];
const ANNOTATION_PREFIX: &str = "org.opencontainers.image.";
const CREATED: &str = "org.opencontainers.image.created";
/// How BuildKit marks a manifest of an index as being about another one.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// Longer text is cut. A description of that length fills a page.
const MAX_TEXT: usize = 2000;
/// Longer lists are cut.
const MAX_ITEMS: usize = 200;

/// More manifests of an index are left out: an image for every platform, with attestations, has some dozens.
const MAX_LISTED: usize = 1000;

/// What one manifest or index says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Facts {
    /// An image index.
    Index(IndexFacts),
    /// The manifest of an image for one platform.
    Image(ImageFacts),
    /// The manifest of something else: a chart, a signature, a bill of materials.
    Artifact(ArtifactFacts),
}

/// An index of manifests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexFacts {
    /// What it lists, in its order.
    pub manifests: Vec<ListedManifest>,
    /// Those of [`ANNOTATIONS`] that it has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
}

/// A manifest, as an index lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedManifest {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type; empty when the descriptor had none.
    pub media_type: String,
    /// Its platform, where it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Its artifact type, where it is given; for BuildKit's attestations the type they have there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifest that this one is about, as BuildKit marks its attestations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<Digest>,
}

/// An image for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageFacts {
    /// How many bytes a pull of it fetches: manifest, config and layers, each once.
    pub size: u64,
    /// Its layers, the base first.
    pub layers: Vec<Layer>,
    /// Those of [`ANNOTATIONS`] that it has; labels of its config count where the manifest says nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The platform that its config names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The digest of its config.
    pub config_digest: Digest,
    /// How it runs. None: the site does not have the config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Config>,
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
}

/// Anything else that has a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactFacts {
    /// What it is.
    pub artifact_type: String,
    /// How many bytes it has: manifest, config and blobs, each once.
    pub size: u64,
    /// Its blobs.
    pub layers: Vec<Layer>,
    /// Those of [`ANNOTATIONS`] that it has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
}

/// A layer of an image, or a blob of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes, as it is fetched.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

/// How an image runs (image-spec, config). Of the environment only the names: values may be secrets that nobody meant to put
/// on a page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// `Entrypoint`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// `User`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `WorkingDir`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_directory: String,
    /// `ExposedPorts`, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exposed_ports: Vec<String>,
    /// `Volumes`, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// The names in `Env`, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<String>,
}

impl Facts {
    /// What the document refers to.
    pub fn subject(&self) -> Option<&Digest> {
        match self {
            Facts::Index(index) => index.subject.as_ref(),
            Facts::Image(image) => image.subject.as_ref(),
            Facts::Artifact(artifact) => artifact.subject.as_ref(),
        }
    }

    /// The layers, or the blobs of an artifact.
    pub fn layers(&self) -> &[Layer] {
        match self {
            Facts::Index(_) => &[],
            Facts::Image(image) => &image.layers,
            Facts::Artifact(artifact) => &artifact.layers,
        }
    }

    /// What sums and lists of referrers need.
    pub fn without_details(self) -> Facts {
        let first = |layers: Vec<Layer>| layers.first().cloned().into_iter().collect();
        match self {
            Facts::Index(index) => Facts::Index(IndexFacts { annotations: BTreeMap::new(), ..index }),
            Facts::Image(image) => Facts::Image(ImageFacts {
                layers: first(image.layers),
                annotations: BTreeMap::new(),
                config: image.config.map(|_| Config::default()),
                ..image
            }),
            Facts::Artifact(artifact) => Facts::Artifact(ArtifactFacts {
                layers: first(artifact.layers),
                annotations: BTreeMap::new(),
                ..artifact
            }),
        }
    }

    /// Whether nothing was missing when the facts were taken, so that they hold for good.
    pub fn is_complete(&self) -> bool {
        !matches!(self, Facts::Image(ImageFacts { config: None, .. }))
    }
}

/// Takes the facts of a manifest that is described by `descriptor`; `read` gives the verified bytes of a config, or None where
/// the site does not have it. None: the bytes are no manifest, which is for the page to pass over and for others to report.
///
/// # Errors
/// Those of `read`.
pub fn facts<E>(
    descriptor: &Descriptor,
    bytes: &Verified,
    read: impl FnOnce(&Descriptor) -> Result<Option<Verified>, E>,
) -> Result<Option<Facts>, E> {
    let (Ok(links), Ok(document)) = (manifest::links(&descriptor.media_type, bytes), json::parse(bytes)) else {
        return Ok(None);
    };
    let own_type = manifest::document_type(&descriptor.media_type, &document);
    if media_type::is_index(own_type) {
        return Ok(Some(Facts::Index(index_facts(&links))));
    }
    match &links.config {
        Some(config) if media_type::is_image_config(&config.media_type) && links.artifact_type.is_none() => {
            let config_bytes = read(config)?;
            Ok(Some(Facts::Image(image_facts(descriptor, &links, config, config_bytes.as_deref()))))
        }
        _ => Ok(Some(Facts::Artifact(artifact_facts(descriptor, &links)))),
    }
}

/// The facts of a blob that is no manifest: its descriptor says all.
pub fn of_blob(descriptor: &Descriptor) -> Facts {
    let links = Links { artifact_type: Some(descriptor.media_type.clone()), ..Links::default() };
    Facts::Artifact(artifact_facts(descriptor, &links))
}

fn index_facts(links: &Links) -> IndexFacts {
    let manifests = links.children.iter().map(listed).take(MAX_LISTED).collect();
    IndexFacts { manifests, annotations: selected(&links.annotations), subject: subject(links) }
}

fn listed(child: &Descriptor) -> ListedManifest {
    let about = child.annotation(REFERENCE_DIGEST).and_then(|digest| Digest::parse(&digest).ok());
    let artifact_type = match &about {
        Some(_) => child.annotation(REFERENCE_TYPE),
        None => child.artifact_type(),
    };
    ListedManifest {
        digest: child.digest.clone(),
        size: child.size,
        media_type: cut(&child.media_type),
        platform: child.platform().map(|platform| cut(&platform.to_string())),
        artifact_type: artifact_type.filter(|given| !given.is_empty()).map(|given| cut(&given)),
        about,
    }
}

fn image_facts(descriptor: &Descriptor, links: &Links, config: &Descriptor, bytes: Option<&[u8]>) -> ImageFacts {
    let document = bytes.and_then(|bytes| json::parse(bytes).ok());
    let labels = document.as_ref().and_then(|document| document.get("config")?.get("Labels")?.as_object());
    let mut annotations = labels.map(selected).unwrap_or_default();
    annotations.extend(selected(&links.annotations));
    let stated = document.as_ref().and_then(|document| document.get("created")?.as_str()).and_then(timestamp);
    ImageFacts {
        size: total_size(descriptor, links),
        layers: layers(links),
        annotations,
        created: stated.or_else(|| created(links)),
        platform: document.as_ref().and_then(Platform::from_value).map(|platform| cut(&platform.to_string())),
        config_digest: config.digest.clone(),
        config: document.as_ref().map(config_facts),
        subject: subject(links),
    }
}

fn config_facts(document: &Value) -> Config {
    let config = document.get("config").unwrap_or(&Value::Null);
    let text = |key: &str| config.get(key).and_then(Value::as_str).map(cut).unwrap_or_default();
    let list = |key: &str| -> Vec<String> {
        let list = config.get(key).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(cut).take(MAX_ITEMS).collect()
    };
    let keys = |key: &str| -> Vec<String> {
        let map = config.get(key).and_then(Value::as_object).into_iter().flatten();
        map.map(|(key, _)| cut(key)).take(MAX_ITEMS).collect()
    };
    let names = list("Env").iter().map(|entry| entry.split('=').next().unwrap_or_default().to_string()).collect();
    Config {
        entrypoint: list("Entrypoint"),
        command: list("Cmd"),
        user: text("User"),
        working_directory: text("WorkingDir"),
        exposed_ports: keys("ExposedPorts"),
        volumes: keys("Volumes"),
        environment: names,
    }
}

fn artifact_facts(descriptor: &Descriptor, links: &Links) -> ArtifactFacts {
    ArtifactFacts {
        artifact_type: cut(artifact_type(links)),
        size: total_size(descriptor, links),
        layers: layers(links),
        annotations: selected(&links.annotations),
        created: created(links),
        subject: subject(links),
    }
}

/// The artifact's type; where that would be the empty config's, what the first blob is says more.
fn artifact_type(links: &Links) -> &str {
    let says_nothing = |given: &&str| media_type::is_image_config(given) || *given == media_type::EMPTY;
    let given = links.effective_artifact_type();
    let first = blobs(links).next().map(|blob| blob.media_type.as_str());
    given.filter(|given| !says_nothing(given)).or(first).or(given).unwrap_or_default()
}

fn blobs(links: &Links) -> impl Iterator<Item = &Descriptor> {
    let config = links.config.as_ref().map(|config| &config.digest);
    let mut is_config_passed = config.is_none();
    // The config is the first child, and may have the digest of a layer.
    links.children.iter().filter(move |child| {
        let is_config = !is_config_passed && Some(&child.digest) == config;
        is_config_passed |= is_config;
        !is_config
    })
}

fn layers(links: &Links) -> Vec<Layer> {
    let layer =
        |blob: &Descriptor| Layer { digest: blob.digest.clone(), size: blob.size, media_type: cut(&blob.media_type) };
    blobs(links).map(layer).take(MAX_ITEMS).collect()
}

fn total_size(descriptor: &Descriptor, links: &Links) -> u64 {
    let sizes: BTreeMap<&Digest, u64> = links.children.iter().map(|child| (&child.digest, child.size)).collect();
    // Each is below 2^53, but there may be many.
    sizes.values().fold(descriptor.size, |sum, size| sum.saturating_add(*size))
}

fn subject(links: &Links) -> Option<Digest> {
    links.subject.as_ref().map(|subject| subject.digest.clone())
}

fn created(links: &Links) -> Option<String> {
    links.annotations.get(CREATED).and_then(Value::as_str).and_then(timestamp)
}

fn selected(annotations: &Map<String, Value>) -> BTreeMap<String, String> {
    let selected = ANNOTATIONS.iter().filter_map(|key| {
        let value = annotations.get(&format!("{ANNOTATION_PREFIX}{key}"))?.as_str()?.trim();
        (!value.is_empty()).then(|| (key.to_string(), cut(value)))
    });
    selected.collect()
}

/// Cuts text that is too long, at a character, and says so with an ellipsis.
pub fn cut(text: &str) -> String {
    cut_to(text, MAX_TEXT)
}

/// Cuts text to so many characters.
pub fn cut_to(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.into(),
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_discovery::digest::Algorithm;
    use serde_json::json;
    use std::convert::Infallible;

    fn descriptor(media_type: &str, content: &str) -> Value {
        let digest = Digest::of(Algorithm::Sha256, content.as_bytes());
        json!({"mediaType": media_type, "digest": digest.as_str(), "size": content.len()})
    }

    fn facts_of(manifest: &Value, config: Option<&Value>) -> Facts {
        let bytes = json::canonical(manifest);
        let digest = Digest::of(Algorithm::Sha256, &bytes);
        let described = Descriptor::new(media_type::MANIFEST, digest, bytes.len() as u64);
        let read = |bytes: &[u8], described: &Descriptor| Verified::read(bytes, described).unwrap();
        let config = config.map(json::canonical);
        let config = |described: &Descriptor| Ok(config.map(|bytes| read(&bytes, described)));
        facts::<Infallible>(&described, &read(&bytes, &described), config).unwrap().unwrap()
    }

    #[test]
    fn an_environment_gives_its_names_and_keeps_its_values() {
        let config = json!({"config": {"Env": ["PATH=/bin", "TOKEN=secret"], "Labels": {"org.opencontainers.image.title": "T"}}});
        let described = descriptor(media_type::CONFIG, &config.to_string());
        let manifest = json!({"config": described, "layers": [descriptor("l", "layer")]});
        let Facts::Image(image) = facts_of(&manifest, Some(&config)) else { panic!("no image") };
        assert_eq!(image.config.unwrap().environment, ["PATH", "TOKEN"]);
        assert_eq!(image.annotations["title"], "T");
        assert_eq!(image.layers.len(), 1);
    }

    #[test]
    fn what_the_manifest_says_counts_more_than_a_label() {
        let config = json!({"config": {"Labels": {"org.opencontainers.image.title": "label"}}});
        let manifest = json!({
            "config": descriptor(media_type::CONFIG, &config.to_string()), "layers": [],
            "annotations": {"org.opencontainers.image.title": "manifest", "com.example.other": "x"},
        });
        let Facts::Image(image) = facts_of(&manifest, Some(&config)) else { panic!("no image") };
        assert_eq!(image.annotations, BTreeMap::from([("title".to_string(), "manifest".to_string())]));
    }

    #[test]
    fn an_artifact_is_of_its_first_blobs_type_where_it_names_none() {
        let manifest = json!({"config": descriptor(media_type::EMPTY, "{}"), "layers": [descriptor("text/spdx", "s")]});
        let Facts::Artifact(artifact) = facts_of(&manifest, None) else { panic!("no artifact") };
        assert_eq!(artifact.artifact_type, "text/spdx");
    }

    #[test]
    fn facts_without_the_config_do_not_hold_for_good() {
        let manifest = json!({"config": descriptor(media_type::CONFIG, "c"), "layers": []});
        assert!(!facts_of(&manifest, None).is_complete());
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(cut_to("äöü", 2), "äö…");
        assert_eq!(cut_to("äö", 2), "äö");
    }
}
