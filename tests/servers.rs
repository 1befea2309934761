//! What web servers do with a site: one set of HTTP checks for all of them, and a consumer that walks the site from each.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests look at files, connections and output themselves"
)]

mod support;

mod servers {
    mod checks;
    mod configurations;
    mod conformity;
    mod headers;
    mod lighttpd;
    mod links;
    mod nginx;
    mod planted;
    mod preview;
    mod preview_attacks;
    mod registry;
    mod round_trip;
    mod seed;
    mod walk;
}
