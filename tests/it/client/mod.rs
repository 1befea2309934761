//! `ocisite resolve` and `ocisite pull`, driven from outside against a server that can misbehave in every way.

mod addresses;
mod discovery;
mod downgrade;
mod hostile;
pub mod images;
mod limits;
pub mod network;
mod plain;
mod planted;
mod printed;
mod private_networks;
pub mod program;
mod proxies;
mod pull;
mod rates;
pub mod server;
mod tls;
mod xdg;
