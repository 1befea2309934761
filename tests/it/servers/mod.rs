//! What web servers do with a site: one set of HTTP checks for all of them, and a consumer that walks the site from each.

mod checks;
pub mod configurations;
mod conformity;
mod headers;
mod hosts;
mod htaccess;
mod kubernetes;
mod lighttpd;
mod links;
pub mod namespaces;
mod nginx;
mod planted;
mod preview;
mod preview_attacks;
mod registry;
mod round_trip;
mod seed;
mod suite;
mod typed_by_ending;
mod walk;
