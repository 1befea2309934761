//! The options of subcommands that write to a bucket, and the place of an existing site.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::origin::parse_store;
use super::{COULD_NOT_RUN, size};
use crate::shell::CommandLine;
use crate::store::site::SitePlace;
use crate::store::{DEFAULT_PART_SIZE, Interrupt, Location, MAX_PART_SIZE, MIN_PART_SIZE, StoreOptions};

/// Options for buckets.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Buckets")]
pub struct BucketArgs {
    /// The size of the parts in which larger blobs are uploaded, such as 64MiB.
    #[arg(long, value_name = "SIZE", value_parser = part_size, default_value = "8MiB")]
    part_size: u64,
    /// Write documents without comparing their versions (`If-Match`). For a store without conditional writes, if only one
    /// publisher writes to it: concurrent publishers would overwrite each other's changes.
    #[arg(long)]
    no_conditional: bool,
}

impl Default for BucketArgs {
    fn default() -> BucketArgs {
        BucketArgs { part_size: DEFAULT_PART_SIZE, no_conditional: false }
    }
}

impl BucketArgs {
    /// The options for opening stores. If one of them is a bucket, Ctrl-C aborts uploads before the program ends.
    pub fn options<'a>(&self, stores: impl IntoIterator<Item = &'a Location>) -> anyhow::Result<StoreOptions> {
        let (part_size, conditional) = (self.part_size, !self.no_conditional);
        // On a directory, a killed command leaves nothing to abort.
        let has_bucket = stores.into_iter().any(|store| matches!(store, Location::Bucket(_)));
        let interrupt = if has_bucket { on_signal()? } else { Interrupt::default() };
        Ok(StoreOptions { part_size, conditional, interrupt, ..StoreOptions::default() })
    }
}

/// An existing site, from its directory or URL and the stores of other origins.
pub fn site_place(site: &str, stores: &[String], bucket: &BucketArgs) -> anyhow::Result<SitePlace> {
    let root = Location::parse(site)?;
    let stores = stores.iter().map(|text| parse_store(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let options = bucket.options(stores.iter().map(|(_, location)| location).chain([&root]))?;
    Ok(SitePlace { root, stores, template_dir: None, options })
}

/// The directory of a site, for commands that take no bucket.
pub fn site_directory(site: &Path) -> anyhow::Result<PathBuf> {
    match site.to_str().map(Location::parse).transpose()? {
        Some(Location::Bucket(bucket)) => {
            let bucket = Location::Bucket(bucket).to_string();
            let copy = CommandLine::new(["ocisite", "copy", &bucket, "DIR"]);
            bail!("{bucket} is a bucket: expected a directory; copy the site to a directory with `{copy}`")
        }
        Some(Location::Directory(path)) => Ok(path),
        None => Ok(site.into()),
    }
}

/// A flag that the first Ctrl-C sets. The second one ends the program at once.
fn on_signal() -> anyhow::Result<Interrupt> {
    let interrupt = Interrupt::default();
    for signal in [SIGINT, SIGTERM] {
        // In this order, so that the signal that sets the flag does not find it set.
        signal_hook::flag::register_conditional_shutdown(signal, COULD_NOT_RUN.into(), Arc::clone(&interrupt.0))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupt.0)))
            .context("cannot handle Ctrl-C")?;
    }
    Ok(interrupt)
}

/// Reads the size of a part.
fn part_size(text: &str) -> Result<u64, String> {
    let size = size::parse(text)?;
    if !(MIN_PART_SIZE..=MAX_PART_SIZE).contains(&size) {
        return Err(format!("expected {} MiB to {} MiB", MIN_PART_SIZE >> 20, MAX_PART_SIZE >> 20));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_limits() {
        assert_eq!(part_size("8MiB"), Ok(8 << 20));
        assert!(part_size("1MiB").unwrap_err().contains("5 MiB to 2048 MiB"));
        assert!(part_size("3GiB").unwrap_err().contains("5 MiB to 2048 MiB"));
    }
}
