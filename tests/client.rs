//! `ocisite resolve` and `ocisite pull`, driven from outside against a server that can misbehave in every way.

mod client {
    mod discovery;
    mod hostile;
    mod images;
    mod private_networks;
    mod program;
    mod pull;
    mod server;
    mod tls;
    mod xdg;
}
