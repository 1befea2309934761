//! What `resolve` and `pull` have in common: how a name is looked up, and how that is told.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::output::Verbosity;
use crate::client::discovery::{Protocol, Settings};
use crate::client::http::{self, Address, ConnectTo, Http, HttpError, Method, Observer};
use crate::client::reach::{Reach, canonical};
use crate::client::{Remark, xdg};
use crate::name::ImageName;
use crate::terminal;

/// How names are looked up.
#[derive(Clone, Debug, clap::Args)]
pub struct Discovery {
    /// Look for ref engines over this protocol; repeated, over each in turn [default: https, then http].
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    protocol: Vec<Protocol>,
    /// Look for ref engines on this port.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Send the requests for the names' hosts and their ancestors to this address, such as a preview or a staging server.
    #[arg(long, value_name = "HOST:PORT")]
    connect_to: Option<Address>,
    /// Leave out the local configuration (oci-discovery/ref-engine-discovery.json in the XDG configuration directories).
    #[arg(long)]
    no_xdg: bool,
    /// How long a request may take; a blob has a second more for each 64 KiB.
    #[arg(long, value_name = "SECONDS", default_value_t = http::DEFAULT_TIME.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
}

impl Discovery {
    /// The client for these names. What a local configuration names, the user named.
    pub fn http(&self, names: &[ImageName], settings: &Settings, verbosity: Verbosity) -> Result<Http, HttpError> {
        let with_ancestors = |name: &ImageName| name.discovery_hosts().into_iter().map(canonical).collect();
        let named: BTreeSet<Vec<String>> = names.iter().map(with_ancestors).collect();
        let connect_to = self.connect_to.clone().map(|address| {
            let hosts: BTreeSet<String> = named.iter().flatten().cloned().collect();
            ConnectTo { hosts: hosts.into_iter().collect(), address }
        });
        let configured = settings.configuration.hosts().into_iter().map(|host| vec![host]);
        let reach = Some(Arc::new(Reach::new(named.into_iter().chain(configured))));
        let observer: Option<Arc<dyn Observer>> = verbosity.verbose.then(|| Arc::new(Requests) as _);
        Http::new(http::Options { time: Some(Duration::from_secs(self.timeout)), connect_to, reach, observer })
    }

    /// How ref engines are discovered. Reads the local configuration, and tells what is wrong with it.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings { port: self.port, ..Settings::default() };
        if !self.protocol.is_empty() {
            settings.protocols = self.protocol.clone();
        }
        if !self.no_xdg {
            settings.configuration = xdg::Configuration::read(&configuration_paths());
            tell(&settings.configuration.remarks, None);
        }
        settings
    }
}

fn configuration_paths() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name);
    let (home, config_home, config_dirs) = (variable("HOME"), variable("XDG_CONFIG_HOME"), variable("XDG_CONFIG_DIRS"));
    xdg::paths(xdg::Environment {
        home: home.as_deref(),
        config_home: config_home.as_deref(),
        config_dirs: config_dirs.as_deref(),
    })
}

/// Tells remarks on standard error, each with the name it is about, where it is about one.
pub fn tell(remarks: &[Remark], name: Option<&str>) {
    for remark in remarks {
        match name {
            Some(name) => terminal::message(format_args!("{}: {name}: {remark}", remark.severity())),
            None => terminal::message(format_args!("{}: {remark}", remark.severity())),
        }
    }
}

/// Tells each request on standard error.
pub struct Requests;

impl Observer for Requests {
    fn exchange(&self, method: Method, url: &Url, outcome: Result<u16, &HttpError>) {
        match outcome {
            Ok(status) => terminal::message(format_args!("{method} {url} {status}")),
            Err(_) => terminal::message(format_args!("{method} {url} failed")),
        }
    }
}
