//! Names and templates that give no place in a site, and places that two things would share.

use crate::support::layout::Layout;
use crate::support::program::{Succeeds, text};
use crate::support::scene::Scene;

/// Publishes one right layout with these arguments; it has to be refused.
fn refuse(args: &[&str], words: &[&str]) {
    Scene::of_image("x").refused(args, words);
}

#[test]
fn names_that_rfc_3986_does_not_know() {
    for (name, column, reason) in [
        ("example.com:8080/app", 12, "no port"),
        ("example.com/a%2", 14, "two hexadecimal digits"),
        ("example.com/a%zz", 14, "two hexadecimal digits"),
        ("example.com//app", 13, "first segment is empty"),
        ("example.com/my app", 15, "percent-encode it as `%20`"),
        ("example.com/caf\u{e9}", 16, "non-ASCII"),
        ("ex\u{e4}mple.com/app", 3, "non-ASCII"),
        ("https://example.com/app", 1, "no scheme"),
        ("example.com/", 13, "no path"),
        ("/app", 1, "the host is empty"),
        ("me@example.com/app", 3, "no user information"),
        ("example.com/app?x", 16, "no query"),
        ("example.com/app#a#b", 18, "fragment"),
        ("[::1%25eth0]/app", 1, "without a zone"),
    ] {
        refuse(&[&format!("{name}=layout")], &[&format!("{name:?}, column {column}"), reason]);
    }
}

#[test]
fn names_that_are_no_file_names() {
    for (path, reason) in [
        ("a/../b", "segment \"..\""),
        ("../b", "segment \"..\""),
        ("a/./b", "segment \".\""),
        ("a/%2e%2E/b", "segment \"..\""),
        ("%2e", "segment \".\""),
        ("a/%2Fb", "'/'"),
        ("a%2fb", "'/'"),
        ("a%00", "'\\0'"),
        ("a%5Cb", "'\\\\'"),
        ("a//b", "segment \"\""),
        ("a/", "segment \"\""),
        ("a%ff", "not UTF-8"),
        ("a%0Ab", "'\\n'"),
    ] {
        refuse(&[&format!("example.com/{path}=layout")], &[&format!("example.com/{path}"), reason]);
    }
    let long = "a".repeat(256);
    refuse(&[&format!("example.com/{long}=layout")], &["256 bytes", "at most 255"]);
    let deep = ["abc"; 300].join("/");
    refuse(&[&format!("example.com/{deep}=layout")], &["at most 1024"]);
}

#[test]
fn a_host_that_is_no_directory_name() {
    refuse(&["--root-per-host", "../app=layout"], &["../app", "segment \"..\""]);
    refuse(&["--root-per-host", "./app=layout"], &["./app", "segment \".\""]);
    refuse(&["--index-template", "https://{host}/i/{host}/{+path}", "../app=layout"], &["../app"]);
}

#[test]
fn names_that_are_reserved_when_images_lie_at_the_root() {
    for name in [".well-known/x", ".ocisite/lock", "ocisite.json", "ocisite.json/x", "v2/x", "index.html"] {
        let input = format!("example.com/{name}=layout");
        let template = ["--index-template", "https://{host}/{+path}"];
        refuse(&[template[0], template[1], &input], &[name, "reserved"]);
    }
}

#[test]
fn an_archive_or_a_missing_path_in_place_of_a_folder() {
    let scene = Scene::of_image("x");
    let archive = scene.path("app.tar");
    tar::Builder::new(std::fs::File::create(&archive).unwrap()).append_dir_all("", scene.path("layout")).unwrap();
    let name = format!("example.com/app={}", archive.display());
    scene.refused(&["--host", "example.com", text(&archive)], &["is itself a layout, not a folder", &name]);
    scene.refused(&[text(&archive)], &["is itself a layout, not a folder", &name]);
    scene.refused(&["nowhere"], &["neither NAME[#REF]=LAYOUT[:REF] nor a folder of layouts (no such directory)"]);
}

#[test]
fn hosts_for_folders_that_are_none() {
    for host in ["exa mple.com", "example.com:80", "https://example.com", "", "example.com/x"] {
        refuse(&["--host", host, "layout/.."], &[&format!("--host {host}")]);
    }
}

#[test]
fn templates_that_break_rfc_6570_are_refused_with_the_column() {
    for (template, column, reason) in [
        ("https://{host}/i/{+path", 18, "not closed"),
        ("https://{host}/i/{/path*", 18, "not closed"),
        ("https://{host}/i/{path:0}", 23, "from 1 to 9999"),
        ("https://{host}/i/{path:10000}", 23, "from 1 to 9999"),
        ("https://{host}/i/{path:2*}", 25, "one modifier"),
        ("https://{host}/i/{with space}", 23, "' '"),
        ("https://{host}/i/{=path}", 19, "reserved for extensions"),
        ("https://{host}/i/{}", 19, "name is missing"),
        ("https://{host}/i/}", 18, "closes nothing"),
        ("https://{host}/i /{path}", 17, "' '"),
        ("https://{host}/%zz/{path}", 16, "two hexadecimal digits"),
    ] {
        let words = ["the index template cannot be used", template, &format!("column {column}"), reason];
        refuse(&["--index-template", template, "example.com/app=layout"], &words);
    }
    let words = ["the CAS template cannot be used", "/cas/{digest", "column 6"];
    refuse(&["--cas-template", "/cas/{digest", "example.com/app=layout"], &words);
}

#[test]
fn templates_that_are_no_static_path_are_refused_with_the_reason() {
    for (option, template, reason) in [
        ("--index-template", "https://{host}/i/{+path}{?name}", "query"),
        ("--index-template", "https://{host}/i{?path}", "query"),
        ("--index-template", "https://{host}/i/{+path}{#host}", "fragment"),
        ("--index-template", "https://{host}/i/{+path}/{fragment}", "{fragment}"),
        ("--index-template", "https://{host}/i/{+path}/{tag}", "{tag}"),
        ("--index-template", "https://user:password@{host}/i/{+path}", "user name"),
        ("--index-template", "ftp://{host}/i/{+path}", "ftp"),
        ("--index-template", "https://{host}/../{+path}/..", "app"),
        ("--index-template", "https://{host}/i", "app"),
        ("--cas-template", "/cas/{digest}?raw", "query"),
        ("--cas-template", "/cas/{encoded}", "several digests the same path"),
        ("--cas-template", "/cas/{digest:10}", "several digests the same path"),
        ("--cas-template", "/cas/{algorithm}", "several digests the same path"),
        ("--cas-template", "/cas/{size}/{digest}", "{size}"),
        ("--cas-template", "cas/{digest}", "begin it with a slash"),
        ("--cas-template", "/cas/{digest}#f", "gives https://{host}/cas/{digest}#f, which has a fragment"),
        ("--cas-template", "https://{host}:8080/{digest}", "leads to https://{host}:8080"),
        ("--index-template", "https://{host}/{name}?q", "gives https://{host}/{host}%2F{path}?q, which has a query"),
        ("--index-template", "i/{+path}", "relative to /.well-known/"),
        ("--index-template", "i/{+path}", "begin the template with a slash, or with https://"),
        ("--cas-template", "/cas/{path,digest}", "mixes"),
        ("--cas-template", "/.ocisite/{digest}", "reserved"),
        ("--cas-template", "/.well-known/{digest}", "reserved"),
        ("--cas-template", "https://cdn.example.net/{digest}", "--store https://cdn.example.net=DIR"),
    ] {
        refuse(&[option, template, "example.com/app=layout", "example.com/b=layout"], &[reason]);
    }
}

#[test]
fn a_store_that_is_no_origin() {
    for (store, reason) in [
        ("https://cdn.example.net", "ORIGIN=DIR"),
        ("cdn=dir", "not an origin"),
        ("https://cdn.example.net/path=dir", "not an origin"),
        ("ftp://cdn.example.net=dir", "not an origin"),
        ("https://user@cdn.example.net=dir", "not an origin"),
    ] {
        let output = Scene::new().publish().args(["--store", store]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(reason) && message.contains("--store"), "{message}");
    }
    let cas = ["--cas-template", "https://cdn.example.net/{digest}"];
    let stores = ["--store", "https://cdn.example.net=one", "--store", "https://cdn.example.net=two"];
    let args = [&cas[..], &stores[..], &["example.com/app=layout"]].concat();
    refuse(&args, &["https://cdn.example.net", "one", "two"]);
}

#[test]
fn an_image_above_another_is_refused_with_the_template_that_keeps_them_apart() {
    let words = ["example.com/app and example.com/app/tool", "oci-index/app", "{+path}/index.json"];
    refuse(&["example.com/app=layout", "example.com/app/tool=layout"], &words);
    refuse(
        &["example.com/app/x/tool=layout", "example.com/app=layout"],
        &["example.com/app and example.com/app/x/tool"],
    );

    let scene = Scene::of_image("x");
    scene.publish().args(["example.com/app/tool=layout", "example.com/app-tool=layout"]).succeeds();
    scene.refused(&["example.com/app=layout"], &["example.com/app and example.com/app/tool"]);
    scene.refused(&["example.com/app/tool/x=layout"], &["example.com/app/tool and example.com/app/tool/x"]);
    scene.publish().arg("example.com/apple=layout").succeeds();
}

#[test]
fn images_that_meet_on_a_file_system_without_case() {
    refuse(
        &["example.com/App=layout", "example.com/app=layout"],
        &["example.com/App and example.com/app", "ignores case", "oci-index/App"],
    );
    refuse(&["example.com/Team/a=layout", "example.com/team=layout"], &["example.com/team and example.com/Team/a"]);
    let scene = Scene::of_image("x");
    scene.publish().arg("example.com/app=layout").succeeds();
    scene.refused(&["example.com/APP=layout"], &["example.com/APP", "example.com/app"]);
}

#[test]
fn names_of_several_hosts_in_one_root() {
    let both = ["example.com/app=layout", "example.net/tool=layout"];
    let words = ["example.com/app and example.net/tool", "different hosts", "--root-per-host", "oci-index/{host}"];
    refuse(&both, &words);

    let scene = Scene::of_image("x");
    scene.publish().arg("example.com/app=layout").succeeds();
    scene.refused(&["example.net/tool=layout"], &words);
}

#[test]
fn a_layout_that_has_the_name_of_a_folder_with_a_space() {
    let scene = Scene::new();
    Layout::of_image(scene.path("layouts/my app"), "x");
    scene.refused(&["--host", "example.com", "layouts"], &["layouts/my app", "column 15", "%20"]);
}
