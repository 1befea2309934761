//! Every check of [`super::checks`] against every server, for every preset.

use super::checks;
use crate::support::fixtures::{PRESETS, Site};
use crate::support::preview::Preview;
use crate::support::web_server::{APACHE, CADDY, LIGHTTPD, NGINX, WebServer};

/// A module of tests per server. `$start` gives something that dereferences to [`crate::support::http::Base`].
macro_rules! conformity {
    ($server:ident, $start:expr, [$($check:ident),* $(,)?]) => {
        mod $server {
            use super::*;

            $(
                #[test]
                fn $check() {
                    for preset in PRESETS {
                        let site = Site::of_fixtures(&["--preset", preset]);
                        checks::prepare(&site);
                        let server = $start(&site);
                        eprintln!("preset {preset}");
                        checks::$check(&server);
                    }
                }
            )*
        }
    };
}

/// All checks, named once.
macro_rules! conformity_of_all {
    ($($server:ident: $start:expr;)*) => {
        $(
            conformity!($server, $start, [
                documents_have_their_media_types_and_may_be_cached_for_a_minute,
                blobs_may_be_cached_for_ever,
                head_says_what_get_says,
                lengths_are_always_known,
                a_single_range_is_served,
                a_range_outside_of_the_blob_is_refused,
                several_ranges_are_served,
                an_entity_tag_saves_the_body,
                a_date_saves_the_body,
                an_encoded_slash_is_a_slash,
                a_path_is_decoded_once,
                pages_are_served_with_their_policy,
                what_is_not_published_is_not_found,
                nothing_outside_of_the_site_is_served,
                other_methods_are_not_allowed,
                pages_of_other_origins_may_read,
                a_publish_is_seen_at_once,
                a_part_is_sent_only_of_what_the_client_knows,
                a_malformed_path_is_refused,
                a_target_may_be_a_whole_uri,
                http_1_0_is_understood,
                one_connection_serves_many_requests,
                idle_connections_hold_up_nobody,
                a_slow_client_holds_up_nobody,
                a_client_that_goes_away_does_no_harm,
            ]);
        )*
    };
}

conformity_of_all! {
    preview: |site: &Site| Preview::start(&site.root());
    nginx: |site: &Site| WebServer::start(&NGINX, &site.root(), &[]);
    apache: |site: &Site| WebServer::start(&APACHE, &site.root(), &[]);
    caddy: |site: &Site| WebServer::start(&CADDY, &site.root(), &[]);
    lighttpd: |site: &Site| WebServer::start(&LIGHTTPD, &site.root(), &[]);
}
