//! Sites with a great many names, or with long lists: a verification and a gc stay within a limit of memory, and of time.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::memory::{MIB, ocisite_within};
use crate::support::scene::Scene;

const REF_ENGINES: &str = r#"{"refEngines":[{"protocol":"oci-index-template-v1","uri":"/index/{+path}"}]}"#;

const INDEX: &str = r#"{"schemaVersion":2,"manifests":[{"mediaType":"a/b","size":0,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","urls":["http://127.0.0.1:1/"]}]}"#;

/// What a server has.
struct Documents {
    description: String,
    /// The tags of `app`. Empty: there is no list, and no index.
    tags: String,
}

/// A server with ref engines and these documents, and nothing else. It keeps connections open, and runs as long as the test.
struct Server {
    address: SocketAddr,
    /// How often the description was asked for.
    described: Arc<AtomicUsize>,
}

impl Server {
    fn start(description: String) -> Server {
        Server::with(Documents { description, tags: String::new() })
    }

    fn with(documents: Documents) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, described) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (documents, count) = (Arc::new(documents), described.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (documents, count) = (documents.clone(), count.clone());
                std::thread::spawn(move || serve(&connection, &documents, &count));
            }
        });
        Server { address, described }
    }
}

fn serve(mut connection: &TcpStream, documents: &Documents, described: &AtomicUsize) {
    connection.set_nodelay(true).unwrap();
    let mut lines = BufReader::new(connection).lines().map_while(Result::ok);
    while let Some(request) = lines.next() {
        lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match path {
            "/ocisite.json" => {
                described.fetch_add(1, Ordering::Relaxed);
                (200, documents.description.as_str())
            }
            "/v2/app/tags/list" if !documents.tags.is_empty() => (200, documents.tags.as_str()),
            "/index/app" if !documents.tags.is_empty() => (200, INDEX),
            "/.well-known/oci-host-ref-engines" => (200, REF_ENGINES),
            _ => (404, ""),
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/vnd.oci.ref-engines.v1+json; charset=utf-8\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        // The client may go away.
        let answer = head + if request.starts_with("HEAD") { "" } else { body };
        if connection.write_all(answer.as_bytes()).is_err() {
            break;
        }
    }
}

fn description(images: impl Iterator<Item = String>) -> String {
    let mut text =
        r#"{"ocisite":1,"hosts":["example.com"],"indexTemplate":"https://{host}/index/{+path}","#.to_string();
    text.push_str(r#""casTemplate":"/cas/{digest}","images":["#);
    for (position, image) in images.enumerate() {
        let comma = if position == 0 { "" } else { "," };
        write!(text, r#"{comma}"{image}""#).unwrap();
    }
    text + "]}"
}

/// Verifies the site of a server within so many bytes, which has to come to a report.
fn verify(server: &Server, bytes: u64) -> Value {
    let mut command = ocisite_within(bytes);
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "https_proxy", "http_proxy"] {
        command.env_remove(name);
    }
    let url = format!("http://{}", server.address);
    let output = command.args(["verify", "--json", "--jobs", "2", &url]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {:?}: {printed}", output.status))
}

#[test]
fn a_site_that_lists_a_great_many_names_is_verified_in_little_memory() {
    // Given a server that has none of the images that its site lists.
    let names = 20_000;
    let server = Server::start(description((0..names).map(|number| format!("example.com/team/app-{number:07}"))));
    // When it is verified, with 24 MiB for the program and 100 bytes for each name.
    let report = verify(&server, 24 * MIB + names * 100);
    // Then all are reported, and the description was not read again for each.
    assert_eq!(report["images"].as_array().unwrap().len() as u64, names);
    assert_eq!(report["errors"], names);
    let described = server.described.load(Ordering::Relaxed);
    assert!(described < 10, "the description was asked for {described} times");
}

#[test]
fn a_description_of_the_wrong_form_is_not_made_a_tree_of_values() {
    // Given a description of a few megabytes that lacks what is needed, and has millions of values instead.
    let numbers = "1,".repeat(2_000_000);
    let server = Server::start(format!(r#"{{"ocisite":1,"numbers":[{numbers}1]}}"#));
    // When the site is verified, then that is what is wrong with it.
    let report = verify(&server, 24 * MIB);
    assert_eq!(report["findings"][0]["rule"], "description-form", "{report}");
}

#[test]
fn a_list_of_tags_without_end_takes_little_memory() {
    // Given a site with the registry view, whose list of tags of 14 MB has two million.
    let description = description(["example.com/app".to_string()].into_iter());
    let description = description.replace(r#""images""#, r#""views":{"registry":true},"images""#);
    let tags: Vec<String> = (1_000_000..3_000_000).map(|tag| format!(r#""{tag:x}""#)).collect();
    let server =
        Server::with(Documents { description, tags: format!(r#"{{"name":"app","tags":[{}]}}"#, tags.join(",")) });
    // When the site is verified with memory for the list as it is received, then the list is what is wrong with it.
    let report = verify(&server, 64 * MIB);
    let rules: Vec<&Value> = report["findings"].as_array().unwrap().iter().map(|finding| &finding["rule"]).collect();
    assert!(rules.contains(&&"registry-tags-list".into()), "{rules:?}");
}

#[test]
fn gc_reads_a_list_of_referrers_after_the_other() {
    // Given a registry view with eight lists of referrers of 4 MiB that nothing leads to yet, as a publish writes them.
    let scene = Scene::of_image("one");
    scene.publish().args(["--registry", "--no-catalogue", "example.com/app=layout"]).assert().success();
    let annotation = "x".repeat(700);
    for list in 0..8 {
        let entry = |number: u32| {
            let digest = format!("{:064x}", list * 10_000 + number);
            let annotations = format!(r#"{{"note":"{annotation}"}}"#);
            format!(r#"{{"mediaType":"a/b","size":5,"digest":"sha256:{digest}","annotations":{annotations}}}"#)
        };
        let entries: Vec<String> = (0..5_000).map(entry).collect();
        let list = scene.site.join(format!("v2/app/referrers/sha256:{list:064x}"));
        fs::create_dir_all(list.parent().unwrap()).unwrap();
        fs::write(list, format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","))).unwrap();
    }
    // Then a gc needs memory for those that it reads at a time, two of them.
    let mut gc = ocisite_within(28 * MIB);
    gc.arg("gc").arg(&scene.site).args(["--jobs", "2", "--dry-run"]).assert().success();
}
