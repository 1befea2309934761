//! `ocisite remove`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::output::{self, Verbosity, count};
use super::publish::parse_store;
use crate::housekeeping::remove;
use crate::name::ImageName;

/// Take images, or refs of images, out of a site.
///
/// What refers to an image (signatures and the like) goes with its last ref. Blobs stay until `ocisite gc`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ocisite remove site example.com/app#1.0\n  ocisite remove site example.com/app")]
pub struct Args {
    /// The directory of the site.
    #[arg(value_name = "SITE")]
    site: PathBuf,
    /// The images to remove, or with a ref that ref only.
    #[arg(required = true, value_name = "NAME[#REF]")]
    names: Vec<ImageName>,
    /// The directory of another origin that the site's templates lead to.
    #[arg(long, value_name = "ORIGIN=DIR", value_parser = parse_store)]
    store: Vec<(String, PathBuf)>,
    /// Make the catalogue's pages with the templates in this directory, as in `ocisite publish`.
    #[arg(long, value_name = "DIR")]
    template_dir: Option<PathBuf>,
    /// How many seconds to wait for a publisher.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    wait: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let removed = remove::remove(
        &args.site,
        &args.store,
        args.template_dir.as_deref(),
        &args.names,
        Duration::from_secs(args.wait),
    )?;
    if args.json {
        output::print_json(&removed)?;
    } else if !args.verbosity.quiet {
        let names = removed.images.iter().chain(&removed.refs).map(|name| format!("  {name}\n"));
        let entries = count(removed.entries as u64, "entry", "entries");
        let text = format!(
            "Removed {entries} from {}:\n{}Next: ocisite gc {}\n",
            args.site.display(),
            names.collect::<String>(),
            args.site.display()
        );
        output::print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}
