//! A real nginx, for the tests that are about nginx alone.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::web_server::{self, NGINX, WebServer};

/// A running nginx; it ends with the value.
pub struct Nginx(WebServer);

impl Nginx {
    /// Serves a site as `example.com`, with more arguments for `ocisite server-config nginx`.
    pub fn start(root: &Path, args: &[&str]) -> Nginx {
        Nginx(WebServer::start(&NGINX, root, args))
    }

    /// Starts with the configuration that `write` writes, given a directory for nginx's state and a free port.
    pub fn start_with(root: &Path, write: impl Fn(&Path, u16) -> PathBuf) -> Nginx {
        Nginx(WebServer::start_with(&NGINX, root, write))
    }
}

impl Deref for Nginx {
    type Target = WebServer;

    fn deref(&self) -> &WebServer {
        &self.0
    }
}

/// A whole configuration with its state in a directory. Gives the file.
pub fn write_config(root: &Path, state: &Path, args: &[&str]) -> PathBuf {
    web_server::write_config(&NGINX, root, state, args)
}
