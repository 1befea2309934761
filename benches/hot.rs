//! What runs once for every image, ref or blob of a site: reading a name, expanding a template, walking a graph, merging an
//! index. `cargo bench --bench hot` measures each and compares with the last run; `bench/run` measures whole commands.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests look at files, connections and output themselves"
)]
#![allow(clippy::unwrap_used, reason = "a benchmark ends where something is not as it should be")]

use std::convert::Infallible;
use std::fs;
use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use oci_discovery::digest::{Algorithm, Digest};
use oci_discovery::json;
use oci_discovery::name::ImageName;
use oci_discovery::oci::{Descriptor, media_type};
use oci_discovery::template::{Template, digest_variables, image_variables};
use ocisite::layout::graph::LayoutGraph;
use ocisite::layout::{Layout, blob_path};
use ocisite::site::index::{Entry, Index, Merge, PublishedEntries};
use serde_json::{Value, json};
use tempfile::TempDir;

/// As many refs as an image has that was released daily for three years.
const REFS: usize = 1000;

fn names(c: &mut Criterion) {
    c.bench_function("parse a name", |b| b.iter(|| ImageName::parse(black_box("example.com/team/app#1.0"))));
}

fn templates(c: &mut Criterion) {
    let digest = digest_variables(&Digest::of(Algorithm::Sha256, b""));
    let cas = Template::parse("/oci-cas/{algorithm}/{encoded:2}/{encoded}").unwrap();
    c.bench_function("expand a CAS template", |b| b.iter(|| cas.expand(black_box(&digest))));

    let image = image_variables(&ImageName::parse("example.com/team/app").unwrap());
    let index = Template::parse("https://{host}/oci-index/{+path}").unwrap();
    c.bench_function("expand an index template", |b| b.iter(|| index.expand(black_box(&image))));
}

fn graphs(c: &mut Criterion) {
    let directory = TempDir::new().unwrap();
    let layout = layout_of_refs(directory.path());
    let entries = layout.entries().unwrap();
    c.bench_function("walk a graph of 1000 manifests", |b| {
        b.iter(|| {
            let graph = LayoutGraph::new(&layout);
            entries.iter().for_each(|entry| drop(graph.add(entry).unwrap()));
            graph.into_found().reached.len()
        });
    });
}

fn indexes(c: &mut Criterion) {
    let entries: Vec<Entry> = (0..REFS).map(|number| entry(&format!("1.{number}"))).collect();
    let published = |entries: &[Entry]| PublishedEntries { images: entries.to_vec(), referrers: vec![] };
    let bytes = published(&entries).alone();
    let new = [entry("2.0")];
    c.bench_function("read an index of 1000 refs", |b| b.iter(|| Index::parse(black_box(&bytes))));
    c.bench_function("merge a ref into an index of 1000", |b| {
        b.iter_batched(
            || (Index::parse(&bytes).unwrap(), published(&new)),
            |(mut index, published)| {
                index.merge::<Infallible>(published, Merge::ReplaceRefs, |_| Ok(false)).unwrap();
                index
            },
            BatchSize::SmallInput,
        );
    });
    let index = Index::parse(&bytes).unwrap();
    c.bench_function("write an index of 1000 refs", |b| b.iter(|| index.to_bytes()));
}

fn entry(reference: &str) -> Entry {
    let mut descriptor =
        Descriptor::new(media_type::MANIFEST, Digest::of(Algorithm::Sha256, reference.as_bytes()), 1000);
    descriptor.set_ref_name(Some(reference));
    let platform = json!({"os": "linux", "architecture": "amd64"});
    descriptor.edit(|properties| drop(properties.insert("platform".into(), platform)));
    Entry::new(&descriptor)
}

/// A layout of one image with many refs, which share a layer.
fn layout_of_refs(directory: &Path) -> Layout {
    fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let put = |media_type: &str, bytes: &[u8]| -> Value {
        let digest = Digest::of(Algorithm::Sha256, bytes);
        fs::write(directory.join(blob_path(&digest)), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    };
    let layer = put("application/vnd.oci.image.layer.v1.tar", b"layer");
    let config = put(media_type::CONFIG, br#"{"os":"linux","architecture":"amd64"}"#);
    let manifest = |number: usize| {
        let annotations = json!({"org.opencontainers.image.version": number.to_string()});
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer], "annotations": annotations});
        put(media_type::MANIFEST, &json::canonical(&manifest))
    };
    let manifests: Vec<Value> = (0..REFS).map(manifest).collect();
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    fs::write(directory.join("index.json"), json::canonical(&index)).unwrap();
    Layout::open(directory).unwrap()
}

criterion_group!(hot, names, templates, graphs, indexes);
criterion_main!(hot);
