//! `ocisite resolve` and `ocisite pull`, driven from outside against a server that can misbehave in every way.

mod client {
    mod discovery;
    mod hostile;
    mod images;
    mod printed;
    mod private_networks;
    mod program;
    mod pull;
    mod server;
    #[path = "../support/text.rs"]
    mod text;
    mod tls;
    mod xdg;
}
