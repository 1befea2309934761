//! What a name service can make of a client: it answers with public and private addresses at once, or with others the next time.
//!
//! Each test has a network of its own, in which `outside` is a server of the public network, under its attacker's or its owner's
//! hands, and `inside` is one that only a private network reaches.

use assert_cmd::Command;
use serde_json::json;

use super::images::{descriptor, ref_engine, tagged};
use super::network::{Network, in_network};
use super::program::{fails, json_of, ocisite};
use super::server::{Answer, Server, WELL_KNOWN};

const OUTSIDE: &str = "93.184.215.14";
const INSIDE: &str = "10.20.30.40";
const METADATA: &str = "169.254.169.254";
const REFUSED: &str = "an address of a private network";

fn resolve(args: &[&str]) -> Command {
    let mut command = ocisite();
    command.args(["resolve", "--protocol", "http"]).args(args);
    command
}

/// Gives a server an index for `app`.
fn with_index(server: Server) -> Server {
    server.with_index("app", &[tagged(&descriptor("a/b", b"x"), "1.0")]);
    server
}

fn lead(server: &Server, template: &str) {
    server.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": [ref_engine(template)]})));
}

fn assert_untouched(server: &Server) {
    assert_eq!(server.asked(), Vec::<String>::new());
}

/// A site outside that leads to the metadata service, under these answers for its name.
fn assert_leads_nowhere(network: &Network, answers: &[&[&str]]) {
    let outside = with_index(network.server(OUTSIDE));
    let metadata = with_index(network.server(METADATA));
    let inside = with_index(network.server(INSIDE));
    network.name("evil.example.com", answers);
    lead(&outside, &format!("http://{METADATA}/index/{{+path}}"));
    fails(&mut resolve(&["evil.example.com/app"]), &[REFUSED, "--allow-private 169.254.169.254"]);
    assert_untouched(&metadata);
    assert_untouched(&inside);
    assert_eq!(outside.asked(), [format!("evil.example.com{WELL_KNOWN}")]);
}

#[test]
fn a_private_address_beside_a_public_one_does_not_make_a_site_inside() {
    in_network(module_path!(), "a_private_address_beside_a_public_one_does_not_make_a_site_inside", |network| {
        assert_leads_nowhere(network, &[&[OUTSIDE, INSIDE]]);
    });
}

#[test]
fn a_private_address_at_first_and_a_public_one_later_do_not_make_a_site_inside() {
    in_network(
        module_path!(),
        "a_private_address_at_first_and_a_public_one_later_do_not_make_a_site_inside",
        |network| {
            let outside = with_index(network.server(OUTSIDE));
            let metadata = with_index(network.server(METADATA));
            // Given a name that is private for the first look-up, where nothing listens, and public for the second.
            network.add(INSIDE);
            network.name("evil.example.com", &[&[INSIDE], &[OUTSIDE]]);
            lead(&outside, &format!("http://{METADATA}/index/{{+path}}"));
            // When both protocols are tried, each with a look-up.
            let mut command = ocisite();
            command.args(["resolve", "--protocol", "https", "--protocol", "http", "evil.example.com/app"]);
            // Then the public answer counts.
            fails(&mut command, &[REFUSED]);
            assert_untouched(&metadata);
        },
    );
}

#[test]
fn an_engine_s_name_that_changes_leads_to_no_private_address() {
    in_network(module_path!(), "an_engine_s_name_that_changes_leads_to_no_private_address", |network| {
        let outside = with_index(network.server(OUTSIDE));
        let metadata = with_index(network.server(METADATA));
        network.name("evil.example.com", &[&[OUTSIDE]]);
        network.name("cdn.example.net", &[&[OUTSIDE], &[METADATA]]);
        let engines =
            json!([ref_engine("http://cdn.example.net/none"), ref_engine("http://cdn.example.net/index/app")]);
        outside.answer(WELL_KNOWN, Answer::ref_engines(json!({"refEngines": engines})));
        fails(&mut resolve(&["evil.example.com/app"]), &[REFUSED, "cdn.example.net has 169.254.169.254"]);
        assert_untouched(&metadata);
    });
}

#[test]
fn what_is_left_out_of_a_mixed_answer_is_named_and_can_be_permitted() {
    in_network(module_path!(), "what_is_left_out_of_a_mixed_answer_is_named_and_can_be_permitted", |network| {
        // Given an intranet whose server has a private address that works and a global one that is not reached from here.
        let inside = with_index(network.server(INSIDE));
        lead(&inside, "/index/{+path}");
        network.name("corp.example.com", &[&[INSIDE, "2606:2800:21f:cb07::1"]]);
        // When it is asked, then the message names the address and the way out.
        let words = ["no answer", INSIDE, "--allow-private corp.example.com"];
        fails(&mut resolve(&["corp.example.com/app"]), &words);
        assert_untouched(&inside);
        // And when the user permits it, then it is found.
        let resolved = json_of(&mut resolve(&["--allow-private", "corp.example.com", "corp.example.com/app"]));
        assert_eq!(resolved["corp.example.com/app"].as_array().unwrap().len(), 1);
        // But that permits no other host.
        let metadata = with_index(network.server(METADATA));
        lead(&inside, &format!("http://{METADATA}/index/{{+path}}"));
        fails(&mut resolve(&["--allow-private", "corp.example.com", "corp.example.com/app"]), &[REFUSED]);
        assert_untouched(&metadata);
    });
}

#[test]
fn a_site_whose_addresses_are_all_private_leads_within_its_network() {
    in_network(module_path!(), "a_site_whose_addresses_are_all_private_leads_within_its_network", |network| {
        let inside = network.server(INSIDE);
        let other = with_index(network.server("10.20.30.41"));
        network.name("corp.example.com", &[&[INSIDE, "10.20.30.42"]]);
        network.name("indexes.corp.example.com", &[&["10.20.30.41"]]);
        lead(&inside, "http://indexes.corp.example.com/index/{+path}");
        let resolved = json_of(&mut resolve(&["corp.example.com/app"]));
        assert_eq!(resolved["corp.example.com/app"][0]["uri"], "http://indexes.corp.example.com/index/app");
        assert_eq!(other.asked(), ["indexes.corp.example.com/index/app"]);
    });
}

/// A host inside, given by the owner of its name, that has nothing; its ancestor outside leads to `template`. What is inside
/// elsewhere, and has an index, is not asked.
fn assert_an_ancestor_outside_leads_nowhere(network: &Network, template: &str, refused: &str) {
    let router = with_index(network.server("10.20.30.1"));
    let inside = with_index(network.server(INSIDE));
    let outside = network.server(OUTSIDE);
    network.name("app.evil.example.com", &[&["10.20.30.1"]]);
    network.name("evil.example.com", &[&[OUTSIDE]]);
    lead(&outside, template);
    fails(&mut resolve(&["app.evil.example.com/app"]), &[REFUSED, refused]);
    assert_untouched(&inside);
    assert_eq!(router.asked(), [format!("app.evil.example.com{WELL_KNOWN}")]);
    assert_eq!(outside.asked(), [format!("evil.example.com{WELL_KNOWN}")]);
}

#[test]
fn an_ancestor_outside_of_a_host_inside_does_not_lead_inside() {
    in_network(module_path!(), "an_ancestor_outside_of_a_host_inside_does_not_lead_inside", |network| {
        let template = format!("http://{INSIDE}/index/{{+path}}");
        assert_an_ancestor_outside_leads_nowhere(network, &template, "--allow-private 10.20.30.40");
    });
}

#[test]
fn an_ancestor_outside_of_a_host_inside_does_not_lead_to_that_host() {
    in_network(module_path!(), "an_ancestor_outside_of_a_host_inside_does_not_lead_to_that_host", |network| {
        let refused = "--allow-private app.evil.example.com";
        assert_an_ancestor_outside_leads_nowhere(network, "http://app.evil.example.com/index/{+path}", refused);
    });
}

#[test]
fn a_host_outside_that_a_site_inside_names_does_not_lead_inside() {
    in_network(module_path!(), "a_host_outside_that_a_site_inside_names_does_not_lead_inside", |network| {
        let site = network.server(INSIDE);
        let metadata = with_index(network.server(METADATA));
        let outside = network.server(OUTSIDE);
        network.name("corp.example.com", &[&[INSIDE]]);
        network.name("cdn.example.net", &[&[OUTSIDE]]);
        lead(&site, "http://cdn.example.net/index/{+path}");
        outside.answer("/index/app", Answer::Redirect(format!("http://{METADATA}/index/app")));
        fails(&mut resolve(&["corp.example.com/app"]), &[REFUSED, "--allow-private 169.254.169.254"]);
        assert_untouched(&metadata);
        assert_eq!(outside.asked(), ["cdn.example.net/index/app"]);
    });
}
