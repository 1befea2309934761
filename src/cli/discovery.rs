//! The options of `resolve` and `pull`: how to discover ref engines, and how to print remarks.

#![allow(clippy::disallowed_methods, reason = "the local configuration is the user's own")]

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;

use super::outbound::{OutboundArgs, Protocol};
use super::output::Verbosity;
use crate::client::Http;
use crate::outbound::address::canonical;
use crate::outbound::agent::SetupError;
use crate::terminal;
use oci_discovery::discovery::{self, DiscoverySettings};
use oci_discovery::discovery::{Remark, xdg};
use oci_discovery::name::ImageName;

impl From<Protocol> for discovery::Protocol {
    fn from(protocol: Protocol) -> discovery::Protocol {
        match protocol {
            Protocol::Https => discovery::Protocol::Https,
            Protocol::Http => discovery::Protocol::Http,
        }
    }
}

/// How to resolve names.
#[derive(Clone, Debug, clap::Args)]
pub struct Discovery {
    /// The protocol of requests for the ref-engines object. Repeat to try several protocols in the given order [default: https;
    /// for localhost and loopback addresses, https then http].
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    protocol: Vec<Protocol>,
    /// The port of requests for the ref-engines object [default: the port of the protocol].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Ignore the local configuration (oci-discovery/ref-engine-discovery.json in the XDG configuration directories).
    #[arg(long)]
    no_xdg: bool,
    #[command(flatten)]
    outbound: OutboundArgs,
}

impl Discovery {
    /// The client for these names. Hosts in the local configuration count as named by the user.
    pub fn http(
        &self,
        names: &[ImageName],
        settings: &DiscoverySettings,
        verbosity: Verbosity,
    ) -> Result<Http, SetupError> {
        let with_ancestors = |name: &ImageName| name.discovery_hosts().into_iter().map(canonical).collect();
        let named: BTreeSet<Vec<String>> = names.iter().map(with_ancestors).collect();
        let hosts: BTreeSet<String> = named.iter().flatten().cloned().collect();
        let configured = settings.configuration.hosts().into_iter().map(|host| vec![host]);
        let options = self.outbound.options(self.protocol == [Protocol::Http], verbosity);
        let reach = options.reach(named.into_iter().chain(configured));
        Http::new(&options, hosts.into_iter().collect(), reach)
    }

    /// The settings of discovery. Reads the local configuration, and prints warnings about it.
    pub fn settings(&self) -> DiscoverySettings {
        let mut settings = DiscoverySettings {
            protocols: self.protocol.iter().copied().map(Into::into).collect(),
            port: self.port,
            configuration: xdg::Configuration::default(),
        };
        if !self.no_xdg {
            settings.configuration = xdg::Configuration::read(&configuration_paths(), |path| File::open(path));
            print_remarks(&settings.configuration.remarks, None);
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

/// Prints remarks to standard error, each with the name that it concerns.
pub fn print_remarks(remarks: &[Remark], name: Option<&str>) {
    for remark in remarks {
        match name {
            Some(name) => terminal::message(format_args!("{}: {name}: {remark}", remark.severity())),
            None => terminal::message(format_args!("{}: {remark}", remark.severity())),
        }
    }
}
