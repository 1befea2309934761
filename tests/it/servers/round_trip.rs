//! A layout is published, served and pulled: what comes out is what went in, by every name that finds it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::fixtures::{self, IMAGES, PROGRAM, Site, run};
use crate::support::http::Base;
use crate::support::nginx::{self, Nginx};
use crate::support::preview::Preview;
use crate::support::web_server::{APACHE, CADDY, LIGHTTPD, WebServer};

/// An index template that needs no TLS, where the server does not make it local.
const OVER_HTTP: [&str; 2] = ["--index-template", "http://{host}/oci-index/{+path}"];
/// The same for names below example.com, whose own hosts have no site.
const OF_THE_ANCESTOR: [&str; 2] = ["--index-template", "http://example.com/oci-index/{+path}"];

/// `ocisite VERB NAME`, with every request for the name's host sent to a server.
fn ask(base: &Base, verb: &str, name: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    let address = base.address.to_string();
    command.args([verb, "--no-xdg", "--protocol", "http", "--connect-to", &address, name]);
    command
}

/// The refs that the site has under a path, and without repetition.
fn refs(root: &Path, path: &str) -> BTreeSet<String> {
    let index = std::fs::read(root.join("oci-index").join(path)).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let annotation =
        |entry: &Value| entry["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_string);
    index["manifests"].as_array().unwrap().iter().filter_map(annotation).collect()
}

/// Pulls a name, and compares the pulled blobs with those of the fixtures. Gives their digests.
fn pull(base: &Base, name: &str, to: &Path) -> BTreeSet<String> {
    run(ask(base, "pull", name).args(["--quiet", "--all-platforms", "--referrers", "--to"]).arg(to));
    let expected = fixtures::blobs();
    let mut pulled = BTreeSet::new();
    for entry in walkdir::WalkDir::new(to.join("blobs")).min_depth(2).into_iter().map(Result::unwrap) {
        let path = entry.path().strip_prefix(to.join("blobs")).unwrap().to_str().unwrap();
        let digest = path.replacen('/', ":", 1);
        assert_eq!(Some(&std::fs::read(entry.path()).unwrap()), expected.get(&digest), "{name}: {digest}");
        pulled.insert(digest);
    }
    pulled
}

/// Pulls every ref of every image by its name below `host`, and each image that has one ref without naming it.
fn assert_round_trip(base: &Base, root: &Path, host: &str) {
    let directory = tempfile::tempdir().unwrap();
    let mut all = BTreeSet::new();
    for (path, _) in IMAGES {
        let refs = refs(root, path);
        for reference in &refs {
            let to = directory.path().join("by-ref").join(path).join(reference);
            let pulled = pull(base, &format!("{host}/{path}#{reference}"), &to);
            assert!(!pulled.is_empty());
            all.extend(pulled);
        }
        if refs.len() == 1 {
            let to = directory.path().join("by-path").join(path);
            all.extend(pull(base, &format!("{host}/{path}"), &to));
        }
    }
    let left_out: Vec<String> = fixtures::blobs().into_keys().filter(|digest| !all.contains(digest)).collect();
    assert!(left_out.is_empty(), "in a layout and not pulled: {left_out:?}");
}

#[test]
fn through_the_preview() {
    let site = Site::of_fixtures(&[]);
    assert_round_trip(&Preview::start(&site.root()), &site.root(), "example.com");
}

#[test]
fn through_nginx() {
    let site = Site::of_fixtures(&OVER_HTTP);
    assert_round_trip(&Nginx::start(&site.root(), &[]), &site.root(), "example.com");
}

/// Requests for https, which documents have by default, go to the server, too.
#[test]
fn through_every_other_web_server() {
    let site = Site::of_fixtures(&[]);
    for kind in [&APACHE, &CADDY, &LIGHTTPD] {
        eprintln!("{}", kind.name);
        assert_round_trip(&WebServer::start(kind, &site.root(), &[]), &site.root(), "example.com");
    }
}

#[test]
fn through_an_ancestor_of_the_name_s_host() {
    // Given nginx with the site of example.com, and with nothing for other hosts.
    let site = Site::of_fixtures(&OF_THE_ANCESTOR);
    let nginx = Nginx::start_with(&site.root(), |state, port| {
        let listen = format!("127.0.0.1:{port}");
        let file = nginx::write_config(&site.root(), state, &["--server-name", "example.com", "--listen", &listen]);
        let config = std::fs::read_to_string(&file).unwrap();
        let (before, end) = config.trim_end().rsplit_once('}').unwrap();
        let other = format!("server {{ listen {listen} default_server; return 404; }}\n}}");
        std::fs::write(&file, format!("{before}{other}{end}")).unwrap();
        file
    });
    let name = "build.ci.example.com/app#1.1";
    let resolved: Value = serde_json::from_str(&run(&mut ask(&nginx, "resolve", name))).unwrap();
    assert_eq!(resolved[name][0]["uri"], "http://example.com/oci-index/app");
    assert_round_trip(&nginx, &site.root(), "build.ci.example.com");
}
