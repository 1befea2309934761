//! Proxy variables that cannot be used end the program: nothing goes around the proxy.

use super::images::{descriptor, tagged};
use super::program::{messages, ocisite};
use super::server::Server;
use crate::support::site::Snapshot;

/// What a variable may have, and what is said of it.
const UNUSABLE: [(&str, &str); 4] = [
    ("socks5://user:secret@127.0.0.1:1080", "proxy, which is not supported"),
    ("socks4://127.0.0.1:1080", "proxy, which is not supported"),
    ("http://[bad", "not the URL of a proxy"),
    ("gopher://user:secret@127.0.0.1", "not the URL of a proxy"),
];

#[test]
fn a_proxy_that_cannot_be_used_is_not_gone_around() {
    let server = Server::without_tls();
    server.with_engines().with_index("app", &[tagged(&descriptor("a/b", b"image"), "1.0")]);
    let port = server.address.port().to_string();
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path().join("layout");
    let before = Snapshot::of(directory.path());
    let url = server.url("");
    let commands = [
        vec!["resolve", "--port", &port, "localhost/app"],
        vec!["pull", "--port", &port, "localhost/app", "--to", layout.to_str().unwrap()],
        vec!["verify", &url],
    ];
    for variable in ["ALL_PROXY", "https_proxy", "HTTP_PROXY"] {
        for (value, says) in UNUSABLE {
            for args in &commands {
                let output = ocisite().args(args).env(variable, value).output().unwrap();
                let printed = messages(&output);
                assert_eq!(output.status.code(), Some(2), "{variable}={value}: {printed}");
                assert!(
                    printed.contains(variable) && printed.contains(says) && printed.contains("unset it"),
                    "{printed}"
                );
                assert!(!printed.contains("secret"), "{printed}");
            }
        }
    }
    before.assert_unchanged(directory.path());
    assert_eq!(server.asked(), Vec::<String>::new());
}
