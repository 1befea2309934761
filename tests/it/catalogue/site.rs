//! Sites to look at: images with all that a page can show, and images that wish it harm.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::layout::{CONFIG, INDEX, LAYER, Layout, MANIFEST};
use crate::support::program::{publish, text};
use crate::support::scene::Scene;

const PREFIX: &str = "org.opencontainers.image.";

/// What an annotation could try: end an element, an attribute, a script; be a link that runs; look like something else.
pub const HOSTILE: [&str; 6] = [
    "<script>alert(document.domain)</script><img src=x onerror=alert(1)>",
    "\" onmouseover=\"alert(1)\" x='",
    "javascript:alert(1)",
    "</title></p></main><h1>Not a heading</h1>&lt;b&gt;&amp;",
    "🦀 𝕰moji, \u{202e}backwards\u{202c}, nothing\u{3164} and {{ 7 * 7 }} {% raw %}",
    "]]>--><style>*{display:none}</style>",
];

/// A scene with a folder `layouts`, which is published as a whole.
pub struct Demo(Scene);

impl Deref for Demo {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.0
    }
}

/// One image, to be written as a layout.
pub struct Image<'a> {
    pub version: &'a str,
    pub created: &'a str,
    pub platforms: &'a [&'a str],
    /// Layers, each with its size; one name is one content.
    pub layers: &'a [(&'a str, usize)],
    pub annotations: Value,
}

impl Demo {
    pub fn new() -> Demo {
        let scene = Scene::new();
        std::fs::create_dir(scene.path("layouts")).unwrap();
        Demo(scene)
    }

    pub fn layout(&self, name: &str) -> Layout {
        Layout::new(self.path("layouts").join(name))
    }

    /// Publishes the folder of layouts.
    pub fn publish(&self, args: &[&str]) -> String {
        let layouts = self.path("layouts");
        publish(&self.site, &[&["--host", "example.com", text(&layouts)], args].concat())
    }

    pub fn read(&self, path: &str) -> String {
        let file = self.site.join(path);
        std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    pub fn has(&self, path: &str) -> bool {
        self.site.join(path).exists()
    }

    pub fn page(&self, image: &str) -> String {
        self.read(&format!("catalogue/images/example.com/{image}.html"))
    }

    pub fn document(&self, image: &str) -> Value {
        serde_json::from_str(&self.read(&format!("catalogue/images/example.com/{image}.json"))).unwrap()
    }

    /// The images that have a layer, as the catalogue's documents say.
    pub fn owners(&self, layer: &str) -> Value {
        let (algorithm, encoded) = layer.split_once(':').unwrap();
        let document = self.read(&format!("catalogue/layers/{algorithm}/{}.json", &encoded[..2]));
        serde_json::from_str::<Value>(&document).unwrap()["layers"][layer].clone()
    }

    pub fn list(&self) -> Value {
        serde_json::from_str(&self.read("catalogue.json")).unwrap()
    }
}

/// A layer's bytes: as many as it is to have, and different from those of other names.
fn layer(name: &str, size: usize) -> Vec<u8> {
    name.bytes().chain([0]).cycle().take(size).collect()
}

/// Writes an image and gives its descriptor: a manifest, or an index of several.
pub fn image(layout: &Layout, image: &Image) -> Value {
    let mut annotations = json!({});
    for (key, value) in image.annotations.as_object().unwrap() {
        annotations[format!("{PREFIX}{key}")] = value.clone();
    }
    let manifests: Vec<Value> =
        image.platforms.iter().map(|platform| manifest(layout, image, platform, &annotations)).collect();
    match manifests.as_slice() {
        [one] => one.clone(),
        several => {
            let index =
                json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": several, "annotations": annotations});
            layout.document(INDEX, &index)
        }
    }
}

fn manifest(layout: &Layout, image: &Image, platform: &str, annotations: &Value) -> Value {
    let (os, architecture) = platform.split_once('/').unwrap();
    let config = json!({
        "os": os, "architecture": architecture, "created": image.created,
        "config": {
            "Entrypoint": ["/usr/bin/app"], "Cmd": ["--listen", "0.0.0.0:8080"], "User": "1000:1000", "WorkingDir": "/srv",
            "ExposedPorts": {"8080/tcp": {}}, "Env": ["PATH=/usr/bin:/bin", "API_TOKEN=a-secret-value"],
        },
    });
    let layers: Vec<Value> = image
        .layers
        .iter()
        .map(|(name, size)| layout.blob(LAYER, layer(&format!("{name} {platform}"), *size)))
        .collect();
    let config = layout.document(CONFIG, &config);
    let document = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, "annotations": annotations});
    let mut descriptor = layout.document(MANIFEST, &document);
    descriptor["platform"] = json!({"os": os, "architecture": architecture});
    descriptor
}

/// Writes an image of one platform and one layer of its own on a common base, under a ref.
pub fn small_image(demo: &Demo, path: &str, version: &str, created: &str) {
    let mut layout = demo.layout(path);
    let own = format!("{path} {version}");
    let image_of = Image {
        version,
        created,
        platforms: &["linux/amd64"],
        layers: &[("base", 300), (&own, 100)],
        annotations: json!({"title": path, "description": format!("What {path} does"), "version": version}),
    };
    let descriptor = image(&layout, &image_of);
    layout.add(image_of.version, descriptor);
}

/// Two images that share a layer, not published yet.
pub fn two_images() -> Demo {
    let demo = Demo::new();
    small_image(&demo, "app", "1.0", "2024-01-01T00:00:00Z");
    small_image(&demo, "team/tool", "1.0", "2024-01-01T00:00:00Z");
    demo
}

/// A site as a team could have it, and one image that is hostile.
pub fn team() -> Demo {
    let demo = Demo::new();
    for (path, description, platforms) in [
        (
            "base/debian",
            "A small Debian, with certificates and time zones",
            &["linux/amd64", "linux/arm64", "linux/s390x"][..],
        ),
        ("team/app", "Answers requests, and greets whoever asks", &["linux/amd64", "linux/arm64"]),
        (
            "team/worker",
            "Takes jobs from a queue and works through them, one at a time, so that none is done twice",
            &["linux/amd64", "linux/arm64"],
        ),
        ("tools/convert", "Converts between formats on the command line", &["linux/amd64"]),
        ("web/search", "Search over the home page; builds its index at start", &["linux/amd64"]),
    ] {
        releases(&demo, path, description, platforms);
    }
    hostile(&demo);
    demo.publish(&["--registry"]);
    demo
}

fn releases(demo: &Demo, path: &str, description: &str, platforms: &[&str]) {
    let mut layout = demo.layout(path);
    for (version, created) in [("2.0.0-rc1", "2024-03-02"), ("2.0.0", "2024-03-20"), ("2.1.0", "2024-05-28")] {
        let (own, dependencies) = (format!("{path} {version}"), format!("{path} dependencies"));
        let layers =
            [("base", 92_000), ("certificates", 4_100), (&*dependencies, 30_000 + path.len() * 900), (&*own, 9_000)];
        let annotations = json!({
            "title": path.rsplit('/').next(), "description": description, "version": version, "licenses": "Apache-2.0",
            "source": format!("https://git.example.com/{path}"), "revision": "4f1c9c1f0a1f4c2c8f0e4d7f5d1b6a3e2c9d8b70",
            "documentation": format!("https://docs.example.com/{path}"), "base.name": "example.com/base/debian:2.1",
        });
        let created = format!("{created}T09:12:44Z");
        let count = if path.starts_with("base/") { 2 } else { layers.len() };
        let mut descriptor =
            image(&layout, &Image { version, created: &created, platforms, layers: &layers[..count], annotations });
        let signature = layout.artifact(&own, &descriptor);
        layout.add_untagged(signature);
        descriptor.as_object_mut().unwrap().remove("platform");
        layout.add(version, descriptor.clone());
        if version == "2.1.0" {
            layout.add("2.1", descriptor.clone());
            layout.add("latest", descriptor);
        }
    }
}

/// An image all of whose annotations are hostile.
pub fn hostile(demo: &Demo) {
    let mut layout = demo.layout("hostile");
    for (position, text) in HOSTILE.iter().enumerate() {
        let keys = [
            "title",
            "description",
            "version",
            "licenses",
            "source",
            "revision",
            "url",
            "documentation",
            "vendor",
            "authors",
            "base.name",
        ];
        let annotations: serde_json::Map<String, Value> =
            keys.iter().map(|key| (key.to_string(), (*text).into())).collect();
        let version = format!("1.{position}");
        let created = format!("2024-01-0{}T00:00:00Z", position + 1);
        let descriptor = image(
            &layout,
            &Image {
                version: &version,
                created: &created,
                platforms: &["linux/<b>amd64\"'"],
                layers: &[("base", 92_000), (text, 50)],
                annotations: annotations.into(),
            },
        );
        layout.add(&version, descriptor);
    }
}

/// Every file of the catalogue with its bytes.
pub fn catalogue_of(site: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let files = walkdir::WalkDir::new(site).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    let relative = files.map(|entry| entry.path().strip_prefix(site).unwrap().to_path_buf());
    let ours = relative.filter(|path| {
        path.starts_with("catalogue") || path == Path::new("catalogue.json") || path == Path::new("index.html")
    });
    ours.map(|path| (path.clone(), std::fs::read(site.join(path)).unwrap())).collect()
}
