//! What is particular to lighttpd: what its configuration language gives a meaning, and other hosts.

use std::process::Command;

use crate::support::consumer::Consumer;
use crate::support::fixtures::{self, PROGRAM, Site, readable_directory};
use crate::support::web_server::{LIGHTTPD, WebServer};

#[test]
fn a_root_with_all_that_lighttpd_gives_a_meaning_is_served() {
    let directory = readable_directory();
    let root = directory.path().join(r#"a "b" 'c'; } # {d} \e \\n \" + var.x ${y} %1"#);
    let image = format!("example.com/app={}", fixtures::layouts().join("app").display());
    fixtures::run(Command::new(PROGRAM).args(["publish", "--site"]).arg(&root).arg(image));
    let lighttpd = WebServer::start(&LIGHTTPD, &root, &[]);
    assert!(!Consumer::new(&lighttpd).walk("app", Some("1.0")).is_empty());
}

#[test]
fn another_host_s_paths_are_not_of_the_site() {
    let site = Site::of_fixtures(&["--registry"]);
    let lighttpd = WebServer::start(&LIGHTTPD, &site.root(), &["--server-name", "*.example.com", "[::1]"]);
    for (host, status) in [
        ("www.example.com", 200),
        ("a.b.example.com", 200),
        ("[::1]", 200),
        ("[::1]:80", 200),
        ("example.com.example.net", 404),
        ("wwwXexample.com", 404),
        ("example.net", 404),
    ] {
        assert_eq!(lighttpd.request_to(host, "GET", "/v2/app/manifests/1.0", &[]).status, status, "{host}");
    }
}

#[test]
fn what_cannot_be_said_safely_is_refused() {
    let site = Site::of_fixtures(&[]);
    for (option, value, words) in [
        ("--root", "/srv/a\\", "backslash"),
        ("--root", "/srv/a\nb", "control character"),
        ("--script", "x", "--script"),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(["server-config", "lighttpd", "--site"]).arg(site.root()).args([option, value]);
        let output = command.output().unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{value:?}: {printed}");
        assert!(printed.contains(words), "{value:?}: {printed}");
    }
}
