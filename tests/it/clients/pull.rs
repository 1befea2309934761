//! skopeo, podman, buildah, containerd and umoci, from every web server and from the preview.
//!
//! Not asked of skopeo: digests of other algorithms than SHA-256, and indexes in indexes, which skopeo 1.9 does not know.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::containerd::Containerd;
use crate::support::fixtures::{self, Site, readable_directory};
use crate::support::http::Base;
use crate::support::preview::Preview;
use crate::support::web_server::{APACHE, CADDY, LIGHTTPD, NGINX, WebServer};

/// Images of the fixtures that these clients know, each with a tag. The last has referrers of kinds that they do not know.
const IMAGES: [(&str, &str); 7] = [
    ("app", "1.0"),
    ("team/app", "2.0"),
    ("zstd", "1.0"),
    ("docker", "1.0"),
    ("docker", "list"),
    ("attested", "1.0"),
    ("artifact", "1.0"),
];

/// A policy that lets images without signatures in, whatever this machine's own says.
fn policy(directory: &Path) -> std::path::PathBuf {
    let file = directory.join("policy.json");
    std::fs::write(&file, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
    file
}

fn skopeo(directory: &Path) -> Command {
    let mut skopeo = Command::new("skopeo");
    skopeo.arg("--policy").arg(policy(directory));
    skopeo
}

fn source(base: &Base, name: &str, reference: &str) -> String {
    let mark = if reference.contains(':') { '@' } else { ':' };
    format!("docker://{}/{name}{mark}{reference}", base.address)
}

/// The digest that a tag of an image leads to.
fn digest(directory: &Path, base: &Base, name: &str, tag: &str) -> String {
    let raw =
        fixtures::run(skopeo(directory).args(["inspect", "--tls-verify=false", "--raw"]).arg(source(base, name, tag)));
    let file = directory.join("raw.json");
    std::fs::write(&file, raw).unwrap();
    fixtures::run(skopeo(directory).arg("manifest-digest").arg(&file)).trim().to_string()
}

/// Copies with `skopeo copy --all` to an OCI layout or a directory; both keep what came byte by byte. Gives the files.
fn copy(directory: &Path, base: &Base, name: &str, reference: &str) -> BTreeMap<String, Vec<u8>> {
    let target = directory.join(format!("{name}-{reference}").replace(['/', ':'], "_"));
    let copy = ["copy", "--quiet", "--all", "--preserve-digests", "--src-tls-verify=false"];
    let to = format!("dir:{}", target.display());
    fixtures::run(skopeo(directory).args(copy).arg(source(base, name, reference)).arg(to));
    let files = walkdir::WalkDir::new(&target).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file() && entry.file_name() != "version");
    files.map(|entry| (entry.path().display().to_string(), std::fs::read(entry.path()).unwrap())).collect()
}

fn skopeo_copies_every_image_by_tag_and_by_digest(base: &Base) {
    let directory = readable_directory();
    let blobs: Vec<Vec<u8>> = fixtures::blobs().into_values().collect();
    for (name, tag) in IMAGES {
        let digest = digest(directory.path(), base, name, tag);
        for reference in [tag, &digest] {
            let copied = copy(directory.path(), base, name, reference);
            assert!(copied.len() >= 2, "{name} {reference}");
            for (file, bytes) in copied {
                assert!(blobs.contains(&bytes), "{file} is in no layout");
            }
        }
    }
}

fn skopeo_inspects_and_lists_tags(base: &Base) {
    let directory = readable_directory();
    let inspect = ["inspect", "--tls-verify=false", "--override-os=linux", "--override-arch=amd64"];
    let printed = fixtures::run(skopeo(directory.path()).args(inspect).arg(source(base, "app", "1.0")));
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["RepoTags"], serde_json::json!(["1.0", "1.1"]));
    let repository = format!("docker://{}/team/app", base.address);
    let printed = fixtures::run(skopeo(directory.path()).args(["list-tags", "--tls-verify=false"]).arg(repository));
    assert!(serde_json::from_str::<Value>(&printed).unwrap()["Tags"].as_array().unwrap().contains(&"2.0".into()));
}

fn publish_zstd_as(base: &Base, name: &str) {
    let image = format!("example.com/{name}={}", fixtures::layouts().join("zstd").display());
    fixtures::run(Command::new(fixtures::PROGRAM).args(["publish", "--quiet", "--site"]).arg(&base.root).arg(image));
}

/// What podman and buildah call an image: the encoded digest of its config, for linux/amd64. Read from the layouts.
fn identity(digest: &str) -> String {
    let blobs = fixtures::blobs();
    let manifest: Value = serde_json::from_slice(&blobs[digest]).unwrap();
    let Some(children) = manifest["manifests"].as_array() else {
        return manifest["config"]["digest"].as_str().unwrap().replace("sha256:", "");
    };
    let is_amd64 = |child: &&Value| child["platform"]["os"] == "linux" && child["platform"]["architecture"] == "amd64";
    identity(children.iter().find(is_amd64).unwrap()["digest"].as_str().unwrap())
}

/// podman and buildah keep what they pull in stores of their own, so that the machine's stay as they are. Both check the
/// digest of every blob, and the identity that they print is the digest of the config, which has those of the layers.
fn engines_pull_by_tag_and_by_digest_and_see_a_publish(base: &Base) {
    for engine in ["podman", "buildah"] {
        let directory = readable_directory();
        let policy = policy(directory.path());
        let pull = |name: &str, reference: &str| {
            let mut command = Command::new(engine);
            command.arg("--root").arg(directory.path().join("root")).arg("--runroot").arg(directory.path().join("run"));
            command.args(["--storage-driver=vfs", "pull", "--quiet", "--tls-verify=false", "--signature-policy"]);
            command.arg(&policy).args(["--os=linux", "--arch=amd64"]).arg(source(base, name, reference));
            command
        };
        for (name, tag) in IMAGES {
            let digest = digest(directory.path(), base, name, tag);
            for reference in [tag, &digest] {
                let pulled = fixtures::run(&mut pull(name, reference));
                assert_eq!(pulled.trim(), identity(&digest), "{engine} {name} {reference}");
            }
        }
        let new = format!("new-{engine}");
        assert!(!pull(&new, "1.0").output().unwrap().status.success(), "{new} is not there yet");
        publish_zstd_as(base, &new);
        let pulled = fixtures::run(&mut pull(&new, "1.0"));
        assert_eq!(pulled.trim(), identity(&digest(directory.path(), base, "zstd", "1.0")));
    }
}

fn containerd_pulls_by_tag_and_by_digest_and_sees_a_publish(base: &Base) {
    let directory = readable_directory();
    let containerd = Containerd::start();
    let image = |name: &str, reference: &str| source(base, name, reference).replace("docker://", "");
    for (name, tag) in IMAGES {
        containerd.fetch(&image(name, tag));
        containerd.fetch(&image(name, &digest(directory.path(), base, name, tag)));
    }
    assert!(!containerd.pull(&image("new", "1.0")).output().unwrap().status.success(), "it is not there yet");
    publish_zstd_as(base, "new");
    fixtures::run(&mut containerd.pull(&image("new", "1.0")));
    fixtures::run(&mut containerd.pull(&image("team/app", "2.0")));
    let (pulled, expected) = (containerd.blobs(), fixtures::blobs());
    assert!(pulled.len() > 20, "the images have many blobs");
    for (digest, bytes) in pulled {
        assert_eq!(expected.get(&digest), Some(&bytes), "{digest}");
    }
}

fn umoci_unpacks_what_skopeo_copied(base: &Base) {
    let directory = readable_directory();
    let layout = directory.path().join("layout");
    let copy = ["--override-os=linux", "--override-arch=amd64", "copy", "--quiet", "--src-tls-verify=false"];
    let to = format!("oci:{}:1.0", layout.display());
    fixtures::run(skopeo(directory.path()).args(copy).arg(source(base, "app", "1.0")).arg(to));
    let image = format!("{}:1.0", layout.display());
    let bundle = directory.path().join("bundle");
    fixtures::run(Command::new("umoci").args(["unpack", "--rootless", "--image", &image]).arg(&bundle));
    assert!(std::fs::read_dir(bundle.join("rootfs")).unwrap().next().is_some());
}

macro_rules! clients {
    ($($server:ident: $start:expr;)*) => {
        $(clients!(@checks $server, $start, [
            skopeo_copies_every_image_by_tag_and_by_digest,
            skopeo_inspects_and_lists_tags,
            engines_pull_by_tag_and_by_digest_and_see_a_publish,
            containerd_pulls_by_tag_and_by_digest_and_sees_a_publish,
            umoci_unpacks_what_skopeo_copied,
        ]);)*
    };
    (@checks $server:ident, $start:expr, [$($check:ident),* $(,)?]) => {
        mod $server {
            use super::*;

            $(
                #[test]
                fn $check() {
                    let site = Site::of_fixtures(&["--registry"]);
                    super::$check(&$start(&site));
                }
            )*
        }
    };
}

clients! {
    preview: |site: &Site| Preview::start(&site.root());
    nginx: |site: &Site| WebServer::start(&NGINX, &site.root(), &["--server-name", "127.0.0.1"]);
    apache: |site: &Site| WebServer::start(&APACHE, &site.root(), &["--server-name", "127.0.0.1"]);
    caddy: |site: &Site| WebServer::start(&CADDY, &site.root(), &["--server-name", "127.0.0.1"]);
    lighttpd: |site: &Site| WebServer::start(&LIGHTTPD, &site.root(), &["--server-name", "127.0.0.1"]);
}
