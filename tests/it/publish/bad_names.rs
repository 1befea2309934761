//! Names and templates that give no place in a site, and places that two things would share.

use tempfile::TempDir;

use crate::support::layout::Layout;
use crate::support::program::{publish, refused};

/// Publishes one right layout with these arguments, `LAYOUT` standing for its path; it has to be refused.
fn refuse(args: &[&str], words: &[&str]) {
    let directory = TempDir::new().unwrap();
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    let args: Vec<String> = args.iter().map(|arg| arg.replace("LAYOUT", layout.arg())).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    refused(&directory.path().join("site"), &args, words);
    let left: Vec<_> = directory.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["layout"], "something was left behind");
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
        refuse(&[&format!("{name}=LAYOUT")], &[&format!("{name:?}, column {column}"), reason]);
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
        refuse(&[&format!("example.com/{path}=LAYOUT")], &[&format!("example.com/{path}"), reason]);
    }
    let long = "a".repeat(256);
    refuse(&[&format!("example.com/{long}=LAYOUT")], &["256 bytes", "at most 255"]);
    let deep = ["abc"; 300].join("/");
    refuse(&[&format!("example.com/{deep}=LAYOUT")], &["at most 1024"]);
}

#[test]
fn a_host_that_is_no_directory_name() {
    refuse(&["--root-per-host", "../app=LAYOUT"], &["../app", "segment \"..\""]);
    refuse(&["--root-per-host", "./app=LAYOUT"], &["./app", "segment \".\""]);
    refuse(&["--index-template", "https://{host}/i/{host}/{+path}", "../app=LAYOUT"], &["../app"]);
}

#[test]
fn names_that_are_reserved_when_images_lie_at_the_root() {
    for name in [".well-known/x", ".ocisite/lock", "ocisite.json", "ocisite.json/x", "v2/x", "index.html"] {
        let input = format!("example.com/{name}=LAYOUT");
        let template = ["--index-template", "https://{host}/{+path}"];
        refuse(&[template[0], template[1], &input], &[name, "reserved"]);
    }
}

#[test]
fn hosts_for_folders_that_are_none() {
    for host in ["exa mple.com", "example.com:80", "https://example.com", "", "example.com/x"] {
        refuse(&["--host", host, "LAYOUT/.."], &[&format!("--host {host}")]);
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
        refuse(&["--index-template", template, "example.com/app=LAYOUT"], &words);
    }
    let words = ["the CAS template cannot be used", "/cas/{digest", "column 6"];
    refuse(&["--cas-template", "/cas/{digest", "example.com/app=LAYOUT"], &words);
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
        ("--cas-template", "/cas/{encoded}", "two digests"),
        ("--cas-template", "/cas/{digest:10}", "two digests"),
        ("--cas-template", "/cas/{algorithm}", "two digests"),
        ("--cas-template", "/cas/{size}/{digest}", "{size}"),
        ("--cas-template", "cas/{digest}", "begin it with a slash"),
        ("--cas-template", "/cas/{path,digest}", "mixes"),
        ("--cas-template", "/.ocisite/{digest}", "reserved"),
        ("--cas-template", "/.well-known/{digest}", "reserved"),
        ("--cas-template", "https://cdn.example.net/{digest}", "--store https://cdn.example.net=DIR"),
    ] {
        refuse(&[option, template, "example.com/app=LAYOUT", "example.com/b=LAYOUT"], &[reason]);
    }
}

#[test]
fn a_store_that_is_no_origin() {
    for (store, reason) in [
        ("https://cdn.example.net", "ORIGIN=DIR"),
        ("cdn=dir", "no origin"),
        ("https://cdn.example.net/path=dir", "no origin"),
        ("ftp://cdn.example.net=dir", "no origin"),
        ("https://user@cdn.example.net=dir", "no origin"),
    ] {
        let directory = TempDir::new().unwrap();
        let mut command = crate::support::program::ocisite();
        command.args(["publish", "--store", store, "--site"]).arg(directory.path().join("site"));
        let output = command.assert().code(2).get_output().clone();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(reason) && message.contains("--store"), "{message}");
    }
    let cas = ["--cas-template", "https://cdn.example.net/{digest}"];
    let stores = ["--store", "https://cdn.example.net=one", "--store", "https://cdn.example.net=two"];
    let args = [&cas[..], &stores[..], &["example.com/app=LAYOUT"]].concat();
    refuse(&args, &["https://cdn.example.net", "one", "two"]);
}

#[test]
fn an_image_above_another_is_refused_with_the_template_that_keeps_them_apart() {
    let words = ["example.com/app and example.com/app/tool", "oci-index/app", "{+path}/index.json"];
    refuse(&["example.com/app=LAYOUT", "example.com/app/tool=LAYOUT"], &words);
    refuse(
        &["example.com/app/x/tool=LAYOUT", "example.com/app=LAYOUT"],
        &["example.com/app and example.com/app/x/tool"],
    );

    let directory = TempDir::new().unwrap();
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    let site = directory.path().join("site");
    let input = |name: &str| format!("example.com/{name}={}", layout.arg());
    publish(&site, &[&input("app/tool"), &input("app-tool")]);
    refused(&site, &[&input("app")], &["example.com/app and example.com/app/tool"]);
    refused(&site, &[&input("app/tool/x")], &["example.com/app/tool and example.com/app/tool/x"]);
    publish(&site, &[&input("apple")]);
}

#[test]
fn images_that_meet_on_a_file_system_without_case() {
    refuse(
        &["example.com/App=LAYOUT", "example.com/app=LAYOUT"],
        &["example.com/App and example.com/app", "ignores case", "oci-index/App"],
    );
    refuse(&["example.com/Team/a=LAYOUT", "example.com/team=LAYOUT"], &["example.com/team and example.com/Team/a"]);
    let directory = TempDir::new().unwrap();
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    let site = directory.path().join("site");
    publish(&site, &[&format!("example.com/app={}", layout.arg())]);
    refused(&site, &[&format!("example.com/APP={}", layout.arg())], &["example.com/APP", "example.com/app"]);
}

#[test]
fn names_of_several_hosts_in_one_root() {
    let both = ["example.com/app=LAYOUT", "example.net/tool=LAYOUT"];
    let words = ["example.com/app and example.net/tool", "different hosts", "--root-per-host", "oci-index/{host}"];
    refuse(&both, &words);

    let directory = TempDir::new().unwrap();
    let layout = Layout::of_image(directory.path().join("layout"), "x");
    let site = directory.path().join("site");
    publish(&site, &[&format!("example.com/app={}", layout.arg())]);
    refused(&site, &[&format!("example.net/tool={}", layout.arg())], &words);
}

#[test]
fn a_layout_that_has_the_name_of_a_folder_with_a_space() {
    let directory = TempDir::new().unwrap();
    Layout::of_image(directory.path().join("layouts/my app"), "x");
    let folder = directory.path().join("layouts");
    let args = ["--host", "example.com", folder.to_str().unwrap()];
    refused(&directory.path().join("site"), &args, &["layouts/my app", "column 15", "%20"]);
}
