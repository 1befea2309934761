//! `ocisite remove`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::bucket::{BucketArgs, site_place};
use super::list_changed::ListChanged;
use super::output::{Verbosity, count};
use crate::maintenance::remove;
use crate::shell::CommandLine;
use crate::terminal;
use oci_discovery::name::ImageName;

/// Remove images, or refs of images, from a site.
///
/// Referrers of an image, such as signatures, are removed with its last ref. Blobs stay until `ocisite gc` removes them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ocisite remove site example.com/app#1.0\n  ocisite remove site example.com/app")]
pub struct Args {
    /// The directory of the site, or the URL of its bucket.
    #[arg(value_name = "SITE")]
    site: String,
    /// The images to remove. With #REF, only this ref of the image is removed.
    #[arg(required = true, value_name = "NAME[#REF]")]
    names: Vec<ImageName>,
    /// The directory or bucket of another origin that the site's templates name. Repeat for several origins.
    #[arg(long, value_name = "ORIGIN=DIR|URL")]
    store: Vec<String>,
    /// Render the catalogue's pages with the templates in this directory, as `ocisite publish` does. For a site that was
    /// published with --template-dir.
    #[arg(long, value_name = "DIR")]
    template_dir: Option<PathBuf>,
    /// How many seconds to wait while other commands change the site.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    wait: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    list_changed: ListChanged,
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(flatten)]
    bucket: BucketArgs,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut place = site_place(&args.site, &args.store, &args.bucket)?;
    place.template_dir.clone_from(&args.template_dir);
    let recording = args.list_changed.begin()?;
    place.options.changes = recording.changes.clone();
    let removed = recording.end(remove::remove(&place, &args.names, Duration::from_secs(args.wait)))?;
    if args.json {
        terminal::print_json(&removed)?;
    } else if !args.verbosity.quiet {
        let mut lines =
            vec![format!("Removed {} from {}:", count(removed.entries as u64, "entry", "entries"), args.site)];
        lines.extend(removed.images.iter().chain(&removed.refs).map(|name| format!("  {name}")));
        lines.push(format!("Next: {}", CommandLine::new(["ocisite", "gc"]).path(&args.site)));
        terminal::print(lines)?;
    }
    Ok(ExitCode::SUCCESS)
}
