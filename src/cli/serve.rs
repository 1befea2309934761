//! `ocisite serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::bucket::site_directory;
use super::output::Verbosity;
use crate::serve::Server;
use crate::shell::CommandLine;
use crate::site::SiteMap;
use crate::site::index::Index;
use crate::store::Store;
use crate::store::directory::{DirectoryStore, LinkMode};
use crate::store::site;
use crate::terminal;
use oci_discovery::name::{self, ImageName};

/// The number of names shown at the start; a site may have thousands.
const SHOWN: usize = 20;

/// Preview a site on this machine.
///
/// The preview sends the media types and cache headers that a web server should send. It rewrites the site's templates for its
/// own address, so `localhost/PATH` resolves to the image HOST/PATH. It has no access control and no TLS.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ocisite serve site --listen 127.0.0.1:8000")]
pub struct Args {
    /// The directory of the site, or a directory with a site for each host (`publish --root-per-host`). The preview then chooses
    /// the site by the host of the request or, for registry clients that use the preview as a mirror, by the registry that
    /// they name (?ns=docker.io).
    #[arg(value_name = "DIR")]
    site: PathBuf,
    /// The address to listen on. Port 0 chooses a free port.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8000")]
    listen: String,
    /// Send no CORS headers. By default, web pages of other origins may read the site; on a loopback address only pages of local
    /// hosts and of the site's own hosts may.
    #[arg(long)]
    no_cors: bool,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Runs the subcommand.
pub fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    args.site = site_directory(&args.site)?;
    let mut server = Server::bind(&args.site, &args.listen, args.verbosity.verbose)?;
    if args.no_cors {
        server = server.without_cors();
    }
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot handle Ctrl-C")?;
    let handle = server.handle();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            handle.stop();
        }
    });
    if !server.address().ip().to_canonical().is_loopback() {
        let address = server.address();
        terminal::message(format_args!(
            "warning: other machines can reach this preview at {address}, and it has no access control and no TLS: use \
             --listen 127.0.0.1:{} to serve this machine only",
            address.port()
        ));
    }
    if !args.verbosity.quiet {
        terminal::print(greeting(&args, &server)?)?;
    }
    server.run()?;
    Ok(ExitCode::SUCCESS)
}

fn greeting(args: &Args, server: &Server) -> anyhow::Result<Vec<String>> {
    let address = server.address();
    let mut lines = vec![format!("Serving {} at http://{address}/ (Ctrl-C ends it)", args.site.display())];
    if let Some(hosts) = server.hosts() {
        lines.push("Hosts, each with a site:".into());
        lines.extend(hosts.iter().take(SHOWN).map(|host| format!("  {host}")));
        return Ok(lines);
    }
    let store = DirectoryStore::new(&args.site, LinkMode::Copy, true)?;
    if let Some(description) = site::description(&store)? {
        let map = SiteMap::new(description.settings)?;
        if !description.images.is_empty() {
            lines.push("Names to resolve:".into());
        }
        for image in description.images.iter().take(SHOWN) {
            let (port, name) = (address.port().to_string(), example(&store, &map, image));
            let command = CommandLine::new(["ocisite", "resolve", "--protocol", "http", "--port", &port]).name(&name);
            lines.push(format!("  {command}"));
        }
        let more = description.images.len().saturating_sub(SHOWN);
        if more > 0 {
            lines.push(format!("  … and {more} more in ocisite.json"));
        }
    }
    Ok(lines)
}

/// The image's name on this host, with a ref that can be a fragment, if the image has one.
fn example(store: &dyn Store, map: &SiteMap, image: &ImageName) -> String {
    let place = map.index_place(image).ok().filter(|place| place.origin.is_none());
    let document =
        place.and_then(|place| store.read_document(&place.path, oci_discovery::json::MAX_INDEX_BYTES).ok().flatten());
    let index = document.and_then(|document| Index::parse(&document.bytes).ok()).unwrap_or_default();
    let mut refs = index.entries().iter().filter_map(|entry| entry.reference.as_deref());
    let reference = refs.find(|reference| name::is_fragment(reference));
    format!("localhost/{}{}", image.path(), reference.map(|reference| format!("#{reference}")).unwrap_or_default())
}
