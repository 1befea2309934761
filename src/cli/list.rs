//! `ocisite list`.

use std::iter;
use std::process::ExitCode;

use super::bucket::{BucketArgs, site_place};
use super::output::{self, bytes};
use crate::maintenance::list::{self, Image, ListedEntry};
use crate::terminal;
use oci_discovery::parallel;

/// Hexadecimal digits shown of a digest, enough to tell the digests of a site apart; `--json` has all of them.
const SHOWN_DIGITS: usize = 12;

/// Refs longer than this, such as fallback tags, do not widen the column: they take a line of their own.
const MAX_REF_WIDTH: usize = 24;

/// List the images of a site.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ocisite list site\n  ocisite list site --json | jq -r '.[].name'")]
pub struct Args {
    /// The directory of the site, or the URL of its bucket.
    #[arg(value_name = "SITE")]
    site: String,
    /// The directory or bucket of another origin that the site's templates name. Repeat for several origins.
    #[arg(long, value_name = "ORIGIN=DIR|URL")]
    store: Vec<String>,
    /// Print [{name, entries: [{ref, platforms, digest, mediaType, size}]}] as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let images = list::list(&site_place(&args.site, &args.store, &BucketArgs::default())?, parallel::default_jobs())?;
    match args.json {
        true => terminal::print_json(&images)?,
        false => terminal::print(table(&images))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One line for each image, and below it one for each entry.
fn table(images: &[Image]) -> impl Iterator<Item = String> {
    let entries = || images.iter().flat_map(|image| &image.entries);
    let width = |text: fn(&ListedEntry) -> String| entries().map(|e| text(e).chars().count()).max().unwrap_or(0);
    let (ref_width, digest_width) = (width(reference).min(MAX_REF_WIDTH), width(digest));
    let line = move |entry| {
        let (reference, digest, size, what) = (reference(entry), digest(entry), bytes(entry.size), what(entry));
        let is_long = reference.chars().count() > ref_width;
        let (above, beside) = if is_long { (Some(format!("  {reference}")), "") } else { (None, &*reference) };
        let line = format!("  {beside:ref_width$}  {digest:digest_width$}  {size:>12}  {what}");
        above.into_iter().chain([line.trim_end().to_string()])
    };
    images.iter().flat_map(move |image| iter::once(image.name.to_string()).chain(image.entries.iter().flat_map(line)))
}

fn reference(entry: &ListedEntry) -> String {
    // In its printed form, because its width is counted.
    entry.reference.as_deref().map_or("-".into(), |reference| terminal::printable(reference).into_owned())
}

fn digest(entry: &ListedEntry) -> String {
    format!("{}:{}", entry.digest.algorithm(), &entry.digest.encoded()[..SHOWN_DIGITS])
}

/// The platforms of an entry, or the type of an artifact.
fn what(entry: &ListedEntry) -> String {
    let mut parts: Vec<&str> = entry.platforms.iter().map(|platform| &**platform).collect();
    parts.extend(entry.artifact_type.as_deref().filter(|_| entry.platforms.is_empty()));
    let missing =
        (entry.missing > 0).then(|| format!("({} missing)", output::count(entry.missing as u64, "blob", "blobs")));
    let parts = parts.join(", ");
    missing.map_or(parts.clone(), |missing| format!("{parts} {missing}"))
}
