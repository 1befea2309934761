//! `ocisite copy`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::bucket::BucketArgs;
use super::list_changed::ListChanged;
use super::output::{Verbosity, bytes, seconds};
use super::progress;
use super::size::parse_jobs;
use crate::maintenance::copy::{self, Copied, CopyOptions};
use crate::store::site::SitePlace;
use crate::store::{Location, StoreOptions};
use crate::terminal;
use oci_discovery::parallel;

const EXAMPLES: &str = "Examples:
  ocisite copy site s3://BUCKET
  ocisite copy s3://STAGING s3://PRODUCTION --delete
  ocisite copy site /mnt/mirror --dry-run";

/// Copy a site to another directory or bucket, safely while both are in use.
///
/// Only objects that differ are copied, and every blob is verified. An image of the source replaces the image of the same name
/// in the destination, with its tags and lists. The destination keeps its other images; --delete removes them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The site to copy: its directory, or the URL of its bucket.
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where to copy the site: a directory, created if missing, or the URL of a bucket.
    #[arg(value_name = "DESTINATION")]
    destination: String,
    /// After the copy, remove all objects from the destination that the source does not have.
    #[arg(long)]
    delete: bool,
    /// Copy even if the source is missing blobs; a warning lists them. For a site that was published with --allow-missing.
    #[arg(long)]
    allow_missing: bool,
    /// Render the catalogue's pages with the templates in this directory, as `ocisite publish` does. Needed only if the
    /// destination keeps images that the source does not have.
    #[arg(long, value_name = "DIR")]
    template_dir: Option<PathBuf>,
    /// List the objects that would be copied and removed, without changing anything. If the destination keeps images that the
    /// source does not have, the list omits the changes to its catalogue.
    #[arg(long)]
    dry_run: bool,
    /// How many objects to process at once [default: one per core].
    #[arg(long, short, value_name = "N", value_parser = parse_jobs)]
    jobs: Option<NonZeroUsize>,
    /// How many seconds to wait while other commands change the destination.
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
    let [source, destination] = [Location::parse(&args.source)?, Location::parse(&args.destination)?];
    let recording = args.list_changed.begin()?;
    let store_options =
        StoreOptions { changes: recording.changes.clone(), ..args.bucket.options([&source, &destination])? };
    let place = |root| SitePlace {
        root,
        stores: vec![],
        template_dir: args.template_dir.clone(),
        options: store_options.clone(),
    };
    let options = CopyOptions {
        delete: args.delete,
        allow_missing: args.allow_missing,
        dry_run: args.dry_run,
        jobs: args.jobs.unwrap_or_else(parallel::default_jobs),
        wait: Duration::from_secs(args.wait),
    };
    let start = Instant::now();
    let progress = progress::for_terminal(args.verbosity);
    let copied = recording.end(copy::copy(&place(source), &place(destination), &options, &*progress))?;
    if !copied.missing.is_empty() {
        terminal::list(
            format!("warning: {} objects are missing in {}", copied.missing.len(), args.source),
            &copied.missing,
        );
    }
    if args.json {
        terminal::print_json(&copied)?;
    } else if !args.verbosity.quiet {
        terminal::print(report(&args, &copied, start.elapsed()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn report(args: &Args, copied: &Copied, took: Duration) -> Vec<String> {
    let mut lines = Vec::new();
    if args.verbosity.verbose || copied.dry_run {
        lines.extend(copied.paths.iter().map(|path| format!("  copy    {path}")));
        lines.extend(copied.removed_paths.iter().map(|path| format!("  remove  {path}")));
    }
    let verb = if copied.dry_run { "Would copy" } else { "Copied" };
    lines.push(format!("{verb} {} to {} in {}.", args.source, args.destination, seconds(took)));
    for (what, count) in [("blobs", copied.blobs), ("documents", copied.documents)] {
        lines.push(format!("  {what:<9}  {} ({})", count.objects, bytes(count.bytes)));
    }
    lines.push(format!("  unchanged  {} ({})", copied.unchanged.objects, bytes(copied.unchanged.bytes)));
    if args.delete || copied.removed.objects > 0 {
        lines.push(format!("  removed    {} ({})", copied.removed.objects, bytes(copied.removed.bytes)));
    }
    lines
}
