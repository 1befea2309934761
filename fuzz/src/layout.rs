//! Whole layouts: published, listed, verified, and pulled from a preview of the site.
//!
//! An input is text: the documents of a layout, separated by lines of `---`, the last of which is its `index.json`. In each of them
//! `{{0}}` stands for the digest and the size of the first document, and so on, because no fuzzer finds a digest by itself.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_discovery::digest::{Algorithm, Digest};
use oci_discovery::discovery::{DiscoverySettings, Protocol};
use oci_discovery::name::ImageName;
use ocisite::client::Http;
use ocisite::client::choose::Platforms;
use ocisite::client::http::ClientOptions;
use ocisite::client::pull::{self, Target, pull};
use ocisite::layout::Layout;
use ocisite::layout::graph::LayoutGraph;
use ocisite::maintenance::list::list;
use ocisite::progress::Silent;
use ocisite::publish::{Input, PublishRequest, publish};
use ocisite::serve::Server;
use ocisite::site::index::Merge;
use ocisite::store::site::SitePlace;
use ocisite::store::{self, Location};
use ocisite::verify::{self, Directory, verify_directory};

/// The most documents of a layout: what is interesting needs few, and each takes time.
const MAX_DOCUMENTS: usize = 64;

/// A hostile layout is published or refused; a refusal leaves nothing, and what was published can be listed, verified and pulled.
pub fn layout(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let directory = tempfile::tempdir().unwrap();
    let (layout, site) = (directory.path().join("layout"), directory.path().join("site"));
    write(&layout, text);
    let request = request(layout, site.clone());
    if publish(&request, &Silent).is_err() {
        assert!(!site.exists(), "a publish that was refused left something");
        return;
    }
    let place =
        SitePlace { root: request.site, stores: vec![], template_dir: None, options: store::StoreOptions::default() };
    assert_eq!(list(&place, NonZeroUsize::MIN).unwrap().len(), 1);
    let options = verify::VerifyOptions { names: vec![], deep: true, jobs: NonZeroUsize::MIN };
    verify_directory(&Directory { place, host: None, host_kind: None }, &options, &Silent).unwrap();
    pull_from_preview(&site, &directory.path().join("pulled"));
}

/// Writes a layout.
fn write(path: &Path, text: &str) {
    let blobs = path.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let mut written: Vec<String> = Vec::new();
    let mut documents = text.split("\n---\n").take(MAX_DOCUMENTS).peekable();
    while let Some(document) = documents.next() {
        let named = written.iter().enumerate();
        let document = named.fold(document.to_string(), |document, (number, descriptor)| {
            document.replace(&format!("{{{{{number}}}}}"), descriptor)
        });
        if documents.peek().is_none() {
            std::fs::write(path.join("index.json"), document).unwrap();
            return;
        }
        let digest = Digest::of(Algorithm::Sha256, document.as_bytes());
        std::fs::write(blobs.join(digest.encoded()), &document).unwrap();
        written.push(format!(r#""digest":"{digest}","size":{}"#, document.len()));
    }
}

fn request(layout: PathBuf, site: PathBuf) -> PublishRequest {
    let name = ImageName::parse("localhost/app").unwrap();
    PublishRequest {
        site: Location::Directory(site),
        inputs: vec![Input::Image { name, layout, reference: None }],
        host: None,
        preset: None,
        index_template: None,
        cas_template: None,
        base_path: None,
        stores: vec![],
        root_per_host: false,
        registry: true,
        catalogue: Some(true),
        template_dir: None,
        merge: Merge::ReplaceRefs,
        allow_missing: false,
        recheck: false,
        options: store::StoreOptions::default(),
        jobs: NonZeroUsize::MIN,
        wait: Duration::ZERO,
    }
}

/// Pulls all that the name means. A name may mean nothing, or too much; what is pulled is a layout in which nothing is missing or
/// damaged.
fn pull_from_preview(site: &Path, target: &Path) {
    let server = Server::bind(site, "127.0.0.1:0", false).unwrap();
    let (address, handle) = (server.address(), server.handle());
    let serving = std::thread::spawn(move || server.run());
    let options = ClientOptions::default();
    let reach = options.reach([vec!["localhost".to_string()]]);
    let http = Http::new(&options, vec![], reach).unwrap();
    let settings = DiscoverySettings {
        protocols: vec![Protocol::Http],
        port: Some(address.port()),
        ..DiscoverySettings::default()
    };
    let request = pull::PullOptions {
        name: ImageName::parse("localhost/app").unwrap(),
        target: Target { layout: target.into(), reference: None },
        platforms: Platforms::All,
        referrers: true,
        max_size: u64::MAX,
        jobs: NonZeroUsize::MIN,
    };
    let pulled = pull(&http, &settings, &request, &Silent);
    drop(http);
    handle.stop();
    serving.join().unwrap().unwrap();
    if pulled.is_ok() {
        let layout = Layout::open(target).unwrap();
        let graph = LayoutGraph::new(&layout);
        layout.entries().unwrap().iter().for_each(|entry| drop(graph.add(entry).unwrap()));
        assert!(graph.into_found().missing.iter().all(|missing| missing.is_foreign));
    }
}
