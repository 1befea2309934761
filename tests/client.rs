//! `ocisite resolve` and `ocisite pull`, driven from outside against a server that can misbehave in every way.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests look at files, connections and output themselves"
)]

mod support;

mod client {
    mod addresses;
    mod discovery;
    mod downgrade;
    mod hostile;
    mod images;
    mod limits;
    mod network;
    mod planted;
    mod printed;
    mod private_networks;
    mod program;
    mod proxies;
    mod pull;
    mod rates;
    mod server;
    mod tls;
    mod xdg;
}
