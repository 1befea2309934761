//! `ocisite client-config`.

use std::process::ExitCode;

use anyhow::bail;

use super::bucket::{BucketArgs, site_place};
use crate::client_config::{self, Mirror, Server};
use crate::store::site::{NoSite, Site};
use crate::terminal;

const EXAMPLES: &str = "Examples:
  ocisite client-config podman --site site > /etc/containers/registries.conf.d/ocisite.conf
  ocisite client-config containerd --site site --mirror-for docker.io=mirror/docker.io \\
    > /etc/containerd/certs.d/docker.io/hosts.toml
  ocisite client-config xdg --site site > ~/.config/oci-discovery/ref-engine-discovery.json";

/// Print the configuration with which a client finds the images of a site.
///
/// With --mirror-for, the node also pulls another registry's names from the site: with docker.io=mirror/docker.io, the image
/// docker.io/library/app is the site's mirror/docker.io/library/app.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The client.
    #[arg(value_enum, value_name = "CLIENT")]
    client: Client,
    /// The directory of the site, or the URL of its bucket.
    #[arg(long, value_name = "DIR|URL")]
    site: String,
    /// The server of the site's registry view [default: https with the host of the site's image names].
    #[arg(long, value_name = "ORIGIN")]
    server: Option<Server>,
    /// Pull the names of this registry from the images below this path of the site.
    #[arg(long, value_name = "REGISTRY=PATH")]
    mirror_for: Vec<Mirror>,
}

/// What a configuration is for.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Client {
    /// containerd: hosts.toml of one registry, the site's or that of --mirror-for.
    Containerd,
    /// podman, buildah, skopeo and CRI-O: a file for registries.conf.d.
    Podman,
    /// Docker: keys of daemon.json.
    Docker,
    /// k3s and RKE2: registries.yaml.
    K3s,
    /// Talos: a machine patch.
    Talos,
    /// oci-discovery/ref-engine-discovery.json, for consumers that discover ref engines.
    Xdg,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    refuse_registry_options(&args)?;
    let place = site_place(&args.site, &[], &BucketArgs::default())?;
    let Some(site) = Site::open_existing(&place)? else {
        return Err(NoSite::at(&place.root).into());
    };
    let settings = site.map.settings();
    if !settings.views.registry && !matches!(args.client, Client::Xdg) {
        bail!("{} has no registry view, from which these clients pull: publish with --registry", args.site);
    }
    let xdg = || serde_json::to_string_pretty(&client_config::xdg(&settings.hosts, settings.index_template.as_str()));
    let (server, mirrors) = (|| server(args.server.clone(), &args.site, &settings.hosts), &args.mirror_for);
    let text = match args.client {
        Client::Containerd => client_config::containerd(&server()?, mirrors)?,
        Client::Podman => client_config::podman(&server()?, mirrors),
        Client::Docker => client_config::docker(&server()?, mirrors)?,
        Client::K3s => client_config::k3s(&server()?, mirrors),
        Client::Talos => client_config::talos(&server()?, mirrors),
        Client::Xdg => xdg()?,
    };
    terminal::print(text.lines())?;
    Ok(ExitCode::SUCCESS)
}

/// A consumer that discovers ref engines needs neither a registry nor a mirror.
fn refuse_registry_options(args: &Args) -> anyhow::Result<()> {
    let given = [("--server", args.server.is_some()), ("--mirror-for", !args.mirror_for.is_empty())];
    match given.iter().find(|(_, is_given)| *is_given && matches!(args.client, Client::Xdg)) {
        Some((option, _)) => bail!(
            "{option} does not apply to xdg, whose configuration has ref engines and no registry: omit the option, or choose \
             another client"
        ),
        None => Ok(()),
    }
}

/// The server that was given, or that of the one host that the site has.
fn server(given: Option<Server>, site: &str, hosts: &[String]) -> anyhow::Result<Server> {
    match (given, hosts) {
        (Some(server), _) => Ok(server),
        (None, [host]) => format!("https://{host}").parse().map_err(anyhow::Error::msg),
        (None, hosts) => bail!("{site} has {} hosts: name its server with --server https://HOST", hosts.len()),
    }
}
