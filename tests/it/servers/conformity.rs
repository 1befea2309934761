//! Every check of [`super::checks`] against every server, for every preset.

use super::checks;
use super::suite::{Checks, checks_of, run};
use crate::support::fixtures::{PRESETS, Site};
use crate::support::preview::Preview;
use crate::support::web_server::{APACHE, CADDY, LIGHTTPD, NGINX, WebServer};

/// All checks, in this order on one site: those that add to the site come last.
pub const CHECKS: Checks = checks_of!(
    checks::documents_have_their_media_types_and_may_be_cached_for_a_minute,
    checks::blobs_may_be_cached_for_ever,
    checks::head_says_what_get_says,
    checks::lengths_are_always_known,
    checks::a_single_range_is_served,
    checks::a_range_outside_of_the_blob_is_refused,
    checks::several_ranges_are_served,
    checks::an_entity_tag_saves_the_body,
    checks::a_date_saves_the_body,
    checks::an_encoded_slash_is_a_slash,
    checks::a_path_is_decoded_once,
    checks::pages_are_served_with_their_policy,
    checks::what_is_not_published_is_not_found,
    checks::nothing_outside_of_the_site_is_served,
    checks::other_methods_are_not_allowed,
    checks::pages_of_other_origins_may_read,
    checks::a_part_is_sent_only_of_what_the_client_knows,
    checks::a_malformed_path_is_refused,
    checks::a_target_may_be_a_whole_uri,
    checks::http_1_0_is_understood,
    checks::one_connection_serves_many_requests,
    checks::idle_connections_hold_up_nobody,
    checks::a_slow_client_holds_up_nobody,
    checks::a_client_that_goes_away_does_no_harm,
    checks::a_publish_is_seen_at_once,
);

/// A test for each server, which starts the server once for each preset. `$start` gives something that dereferences to
/// [`crate::support::http::Base`].
macro_rules! conformity {
    ($($server:ident: $start:expr;)*) => {
        $(
            #[test]
            fn $server() {
                for preset in PRESETS {
                    let site = Site::of_fixtures(&["--preset", preset]);
                    checks::prepare(&site);
                    run(&format!("preset {preset}"), CHECKS, &$start(&site));
                }
            }
        )*
    };
}

conformity! {
    preview: |site: &Site| Preview::start(&site.root());
    nginx: |site: &Site| WebServer::start(&NGINX, &site.root(), &[]);
    apache: |site: &Site| WebServer::start(&APACHE, &site.root(), &[]);
    caddy: |site: &Site| WebServer::start(&CADDY, &site.root(), &[]);
    lighttpd: |site: &Site| WebServer::start(&LIGHTTPD, &site.root(), &[]);
}
