//! What is particular to nginx: that nothing gets into its configuration that does not belong there.

use std::process::Command;

use oci_discovery::template::Template;
use ocisite::server_config::address::ServerName;
use ocisite::server_config::{ServedRoot, ServerOptions, WebServer, render};
use ocisite::site::{Preset, Settings, SiteMap};
use proptest::prelude::*;

use crate::support::consumer::Consumer;
use crate::support::fixtures::{self, PROGRAM, Site, readable_directory};
use crate::support::nginx::Nginx;

#[test]
fn without_a_name_the_site_answers_for_the_hosts_of_its_images() {
    let site = Site::of_fixtures(&[]);
    let rendered = fixtures::run(Command::new(PROGRAM).args(["server-config", "nginx", "--site"]).arg(site.root()));
    assert!(rendered.contains("server_name example.com;"), "{rendered}");
    assert!(rendered.contains(&format!("root {};", site.root().display())), "{rendered}");
}

#[test]
fn a_root_with_all_that_nginx_gives_a_meaning_is_served() {
    let directory = readable_directory();
    let root = directory.path().join(r#"a "b" 'c'; } # {d} \e \\n \"#);
    let image = format!("example.com/app={}", fixtures::layouts().join("app").display());
    fixtures::run(Command::new(PROGRAM).args(["publish", "--site"]).arg(&root).arg(image));
    let nginx = Nginx::start(&root, &[]);
    assert!(!Consumer::new(&nginx).walk("app", Some("1.0")).is_empty());
}

#[test]
fn templates_with_all_that_nginx_gives_a_meaning_are_served() {
    let index = "https://{host}/%22%27;%7D%20%7Badd_header%20x%20y;%7D$host(a).*[b]+%3F%3Cc%3E/{+path}";
    let site = Site::of_fixtures(&["--index-template", index]);
    let nginx = Nginx::start(&site.root(), &[]);
    assert!(!Consumer::new(&nginx).walk("team/app", Some("2.0")).is_empty());
    assert_eq!(nginx.get("/oci-cas/").header("x"), None);
}

#[test]
fn what_cannot_be_said_safely_is_refused() {
    let site = Site::of_fixtures(&[]);
    let root = site.root().to_str().unwrap().to_string();
    let long = "a".repeat(300);
    for (args, words) in [
        (["--server-name", "a;b"].as_slice(), ["--server-name", "a;b"]),
        (&["--server-name", "~^.*$"], ["--server-name", "not a server name"]),
        (&["--server-name", "example.com; root /"], ["--server-name", "a character other than"]),
        (&["--server-name", &long], ["--server-name", "longer than 253"]),
        (&["--listen", "80; root /"], ["--listen", "not an address"]),
        (&["--root", "/srv/$host"], ["/srv/$host", "variable"]),
        (&["--root", "/srv/a\nb"], ["a\\nb", "control character"]),
        (&["--root", "srv"], ["--root", "absolute"]),
        (&["--tls-certificate", "/a", "--tls-key", "key.pem"], ["--tls-key key.pem", "absolute"]),
        (&["--tls-certificate", "/a"], ["--tls-key", "required"]),
        (&["--listen-http", "80"], ["--tls-certificate", "required"]),
        (&["--store", "https://cdn.example.net=/srv/cdn"], ["https://cdn.example.net", "no --store"]),
    ] {
        let command = [&["server-config", "nginx", "--site", &root], args].concat();
        let output = Command::new(PROGRAM).args(&command).output().unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {printed}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(words.iter().all(|word| printed.contains(word)), "{args:?}: expected {words:?} in {printed}");
    }
}

#[test]
fn a_directory_that_is_no_site_is_refused() {
    let empty = readable_directory();
    let output = Command::new(PROGRAM).args(["server-config", "nginx", "--site"]).arg(empty.path()).output().unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(printed.contains(empty.path().to_str().unwrap()) && printed.contains("ocisite.json"), "{printed}");
}

/// The configuration as nginx reads it: directives, each a list of tokens, with `{` and `}` for blocks. Written from the
/// description of the syntax and from `ngx_conf_read_token`; the tests above show that nginx agrees.
fn directives(config: &str) -> Vec<Vec<String>> {
    let mut directives = vec![vec![]];
    let mut rest = config.chars().peekable();
    while let Some(first) = rest.next() {
        match first {
            _ if first.is_whitespace() => {}
            '#' => while rest.next().is_some_and(|c| c != '\n') {},
            ';' => directives.push(vec![]),
            '{' | '}' => {
                directives.last_mut().unwrap().push(first.to_string());
                directives.push(vec![]);
            }
            '"' | '\'' => {
                let token = read_token(&mut rest, |c| c == first);
                assert_eq!(rest.next(), Some(first), "the quote is closed");
                directives.last_mut().unwrap().push(token);
            }
            _ => {
                let token = read_token(&mut rest, |c| c.is_whitespace() || matches!(c, ';' | '{'));
                directives.last_mut().unwrap().push(format!("{first}{token}"));
            }
        }
    }
    directives
}

fn read_token(rest: &mut std::iter::Peekable<std::str::Chars>, ends: impl Fn(char) -> bool) -> String {
    let mut token = String::new();
    while let Some(character) = rest.next_if(|c| !ends(*c)) {
        match (character, rest.peek()) {
            ('\\', Some('"' | '\'' | '\\')) => token.extend(rest.next()),
            ('\\', Some('t')) => token.extend(rest.next().map(|_| '\t')),
            ('\\', Some('r')) => token.extend(rest.next().map(|_| '\r')),
            ('\\', Some('n')) => token.extend(rest.next().map(|_| '\n')),
            _ => token.push(character),
        }
    }
    token
}

fn map(index_template: &str) -> Option<SiteMap> {
    let settings = Settings {
        hosts: vec!["example.com".into()],
        index_template: Template::parse(index_template).ok()?,
        cas_template: Template::parse(Preset::Cas.cas_template()).ok()?,
        origins: vec![],
        views: Default::default(),
    };
    SiteMap::new(settings).ok()
}

fn rendered(map: SiteMap, name: &str, root: &str) -> Option<String> {
    let server_names = vec![ServerName::parse(name).ok()?];
    let root = ServedRoot { server_names, root: root.into(), map: Some(map), namespaces: vec![] };
    let options = ServerOptions {
        cors: true,
        listen: vec![],
        tls: None,
        listen_http: vec![],
        stores: vec![],
        standalone: None,
        htaccess: false,
        script: "/etc/lighttpd/ocisite.lua".into(),
    };
    render(WebServer::Nginx, &[root], &options).ok()
}

/// The directives of two configurations that differ, as pairs; they must not differ in their number.
fn differences(before: &str, after: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let (before, after) = (directives(before), directives(after));
    assert_eq!(before.len(), after.len(), "a directive more or less: {after:?}");
    before.into_iter().zip(after).filter(|(before, after)| before != after).collect()
}

proptest! {
    #[test]
    fn a_name_or_a_root_changes_its_own_directive_only(
        name in "[a-z0-9.*_~$;{}\"' \n-]{1,12}",
        root in "/[a-z$;{}#\"'\\\\ \n/]{0,16}",
    ) {
        let rendered = |name, root| rendered(map(Preset::Cas.index_template()).unwrap(), name, root);
        let plain = rendered("plain.example", "/plain").unwrap();
        for rendered in [rendered(&name, "/plain"), rendered("plain.example", &root)].into_iter().flatten() {
            for (before, after) in differences(&plain, &rendered) {
                match before[0].as_str() {
                    "server_name" => prop_assert_eq!(after, ["server_name", &name]),
                    "root" => prop_assert_eq!(after, ["root", &root]),
                    other => prop_assert!(false, "{} became {:?}", other, after),
                }
            }
        }
    }

    #[test]
    fn a_template_changes_its_own_location_only(text in "(%22|%27|%7B|%7D|%20|%23|%5C|%0A|%3F%3C|[a-z;$'().*+]){0,12}") {
        let plain = rendered(map("https://{host}/i/{+path}").unwrap(), "example.com", "/srv").unwrap();
        if let Some(map) = map(&format!("https://{{host}}/i/{text}{{+path}}"))
            && let Some(rendered) = rendered(map, "example.com", "/srv")
        {
            for (before, after) in differences(&plain, &rendered) {
                prop_assert_eq!(&before[..2], ["location", "~"]);
                prop_assert_eq!((after.len(), &after[..2], &*after[3]), (4, &before[..2], "{"));
            }
        }
    }
}
