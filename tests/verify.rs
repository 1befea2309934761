//! `ocisite verify`, `list`, `remove` and `gc`, driven from outside.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests look at files, connections and output themselves"
)]

mod support;

// The server of the client's tests, which can misbehave in every way.
#[allow(dead_code)]
#[path = "client/images.rs"]
mod images;
#[allow(dead_code)]
#[path = "client/server.rs"]
mod server;

mod verify {
    mod broken_server;
    mod broken_site;
    mod faults;
    mod full_disk;
    mod good_site;
    mod hostile;
    mod killed;
    mod live;
    mod maintenance;
    mod memory;
    mod nested;
    mod program;
    mod races;
    mod reports;
    mod seed;
    mod vanishing;
}
