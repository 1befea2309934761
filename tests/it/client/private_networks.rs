//! What a site, or a server, must not lead a client to: addresses of the network that the client stands in.
//!
//! The sites of these tests have names that a proxy on loopback answers for, so that no address of the public network is
//! needed. What is inside is a second server on loopback.

use assert_cmd::Command;
use serde_json::json;

use super::images::{descriptor, ref_engine, tagged};
use super::program::{fails, json_of, messages, ocisite};
use super::server::{Answer, Server, WELL_KNOWN};
use super::xdg::configure;

/// A proxy that answers for the network outside, and a server inside, which has an index.
struct Scene {
    proxy: Server,
    inside: Server,
}

fn scene() -> Scene {
    let (proxy, inside) = (Server::start(), Server::start());
    for server in [&proxy, &inside] {
        server.with_index("app", &[tagged(&descriptor("a/b", b"x"), "1.0")]);
    }
    Scene { proxy, inside }
}

impl Scene {
    fn ocisite(&self, args: &[&str]) -> Command {
        let mut command = ocisite();
        command.env("HTTP_PROXY", self.proxy.url("")).env_remove("NO_PROXY").env_remove("no_proxy").args(args);
        command
    }

    /// `resolve`, through the proxy.
    fn resolve(&self) -> Command {
        self.ocisite(&["resolve", "--protocol", "http", "example.com/app"])
    }

    /// The site says that its indexes are there.
    fn lead_to(&self, template: &str) {
        self.proxy.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": [ref_engine(template)]})));
    }

    fn inside(&self) -> String {
        self.inside.url("/index/{+path}")
    }

    /// Nobody was asked for what is inside.
    fn assert_untouched(&self) {
        assert_eq!(self.inside.asked(), Vec::<String>::new());
        let asked = self.proxy.asked();
        assert!(!asked.is_empty() && asked.iter().all(|place| place.starts_with("example.com/")), "{asked:?}");
    }
}

const REFUSED: &str = "an address of a private network";

#[test]
fn a_proxy_may_be_inside() {
    let scene = scene();
    scene.lead_to("/index/{+path}");
    let resolved = json_of(&mut scene.resolve());
    assert_eq!(resolved["example.com/app"].as_array().unwrap().len(), 1);
    scene.assert_untouched();
}

#[test]
fn an_engine_does_not_lead_inside() {
    let scene = scene();
    for host in ["127.0.0.1", "localhost", "[::1]", "0x7f000001"] {
        scene.lead_to(&format!("http://{host}:{}/index/{{+path}}", scene.inside.address.port()));
        fails(&mut scene.resolve(), &[REFUSED]);
        // Nor where there is no proxy for it.
        fails(scene.resolve().env("NO_PROXY", "127.0.0.1,localhost,::1,[::1]"), &[REFUSED]);
    }
    scene.assert_untouched();
}

#[test]
fn a_redirect_does_not_lead_inside() {
    let scene = scene();
    scene.lead_to("/elsewhere");
    scene.proxy.answer("/elsewhere", Answer::Redirect(scene.inside.url("/index/app")));
    fails(&mut scene.resolve(), &[REFUSED]);
    scene.assert_untouched();
}

#[test]
fn the_option_that_permits_a_host_is_quoted() {
    let scene = scene();
    scene.lead_to("http://x;reboot;$(id).localhost/index/{+path}");
    fails(&mut scene.resolve(), &[REFUSED, "`--allow-private 'x;reboot;$(id).localhost'`"]);
}

#[test]
fn names_that_a_verified_site_lists_do_not_lead_inside() {
    let scene = scene();
    // Given a site that has an image of a host inside, and lets a template lead there.
    let template = format!("http://{{host}}:{}/index/{{+path}}", scene.inside.address.port());
    let description = json!({
        "ocisite": 1, "hosts": ["127.0.0.1"], "indexTemplate": template, "casTemplate": "/cas/{encoded}",
        "images": ["127.0.0.1/app"],
    });
    scene.lead_to(&template);
    let description = Answer::Content(200, "application/json", description.to_string().into_bytes());
    scene.proxy.answer("/ocisite.json", description);
    // When it is verified.
    let output = scene.ocisite(&["verify", "http://example.com", "--json"]).output().unwrap();
    // Then that is found, and not asked for.
    assert_eq!(output.status.code(), Some(1), "{}", messages(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains(REFUSED), "{}", String::from_utf8_lossy(&output.stdout));
    scene.assert_untouched();
}

#[test]
fn what_the_local_configuration_names_may_be_inside() {
    let (scene, directory) = (scene(), tempfile::tempdir().unwrap());
    let configure = |template: &str| {
        configure(directory.path(), &json!({"^example\\.com/": {"refEngines": [ref_engine(template)]}}));
    };
    // Given a configuration that says where something else is: then a site still leads nowhere.
    configure("http://{host}/nothing/{+path}");
    scene.lead_to(&scene.inside());
    fails(scene.resolve().env("XDG_CONFIG_HOME", directory.path()), &[REFUSED]);
    scene.assert_untouched();
    // But the user leads anywhere.
    configure(&scene.inside());
    let resolved = json_of(scene.resolve().env("XDG_CONFIG_HOME", directory.path()).env("NO_PROXY", "127.0.0.1"));
    assert_eq!(resolved["example.com/app"].as_array().unwrap().len(), 1);
    assert_eq!(scene.inside.asked(), ["127.0.0.1/index/app"]);
}
