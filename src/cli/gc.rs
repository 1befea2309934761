//! `ocisite gc`.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use super::bucket::{BucketArgs, site_place};
use super::list_changed::ListChanged;
use super::output::{Verbosity, bytes, count};
use super::size::parse_jobs;
use crate::maintenance::gc::{self, Freed, GcOptions};
use crate::terminal;
use oci_discovery::parallel;

/// Remove blobs that no index reaches.
///
/// It is safe to run while other commands publish. If an index or a manifest cannot be read, gc removes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ocisite gc site --dry-run\n  ocisite gc site --grace 7d")]
pub struct Args {
    /// The directory of the site, or the URL of its bucket. Give several sites that share a --store together.
    #[arg(value_name = "SITE", required = true)]
    sites: Vec<String>,
    /// Keep blobs that are younger than this: a number with the unit s, m, h or d.
    #[arg(long, value_name = "AGE", default_value = "24h", value_parser = parse_age)]
    grace: Age,
    /// List the blobs that would be removed, without removing them.
    #[arg(long)]
    dry_run: bool,
    /// The directory or bucket of another origin that the site's templates name. Repeat for several origins.
    #[arg(long, value_name = "ORIGIN=DIR|URL")]
    store: Vec<String>,
    /// Also remove blobs from the stores of --store: no other site than those given uses these stores. Without this option, their blobs
    /// stay.
    #[arg(long)]
    all_sites: bool,
    /// How many objects to process at once [default: one per core].
    #[arg(long, short, value_name = "N", value_parser = parse_jobs)]
    jobs: Option<NonZeroUsize>,
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
}

/// An age, as text and as a duration.
#[derive(Clone, Debug)]
struct Age {
    text: String,
    duration: Duration,
}

fn parse_age(text: &str) -> Result<Age, String> {
    let wrong = || format!("{text:?} is not an age: expected a number with s, m, h or d, such as 24h, or 0");
    let (number, seconds) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 60 * 60),
        Some((at, 'd')) => (&text[..at], 24 * 60 * 60),
        _ if text == "0" => (text, 1),
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)).ok_or_else(wrong)?;
    Ok(Age { text: text.into(), duration: Duration::from_secs(seconds) })
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let options = GcOptions {
        grace: args.grace.duration,
        dry_run: args.dry_run,
        all_sites: args.all_sites,
        jobs: args.jobs.unwrap_or_else(parallel::default_jobs),
        wait: Duration::from_secs(args.wait),
    };
    let place = |site: &String| site_place(site, &args.store, &BucketArgs::default());
    let mut places = args.sites.iter().map(place).collect::<anyhow::Result<Vec<_>>>()?;
    let recording = args.list_changed.begin()?;
    places.iter_mut().for_each(|place| place.options.changes = recording.changes.clone());
    let freed = recording.end(gc::gc(&places, &options))?;
    if args.json {
        terminal::print_json(&freed)?;
    } else if !args.verbosity.quiet {
        terminal::print(report(&args, &freed))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn report(args: &Args, freed: &Freed) -> Vec<String> {
    let mut lines = Vec::new();
    if args.verbosity.verbose || freed.dry_run {
        lines.extend(freed.objects.iter().map(|object| format!("{:>12}  {}", object.size, object.path)));
    }
    let verb = if freed.dry_run { "Would remove" } else { "Removed" };
    let blobs = count(freed.blobs.objects, "blob", "blobs");
    let mut total = format!("{verb} {blobs} ({}) from {}", bytes(freed.blobs.bytes), args.sites.join(", "));
    if freed.registry > 0 {
        total += &format!(", and {} of the registry view", count(freed.registry, "file", "files"));
    }
    if freed.young.objects > 0 {
        let young = count(freed.young.objects, "blob", "blobs");
        total += &format!("; kept {young} ({}) younger than {}", bytes(freed.young.bytes), args.grace.text);
    }
    if freed.elsewhere.objects > 0 {
        let blobs = count(freed.elsewhere.objects, "blob", "blobs");
        total += &format!(
            "; kept {blobs} ({}) in other stores, because other sites may need them: give all sites that use these stores, and \
             --all-sites",
            bytes(freed.elsewhere.bytes)
        );
    }
    lines.push(total + ".");
    match &freed.uploads {
        Some(0) => {}
        Some(uploads) => lines.push(format!("{verb} {}.", count(*uploads, "unfinished upload", "unfinished uploads"))),
        None => lines.push(
            "This store cannot list unfinished uploads: add a lifecycle rule to the bucket that aborts uploads older than a day \
             (AbortIncompleteMultipartUpload)."
                .into(),
        ),
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_a_unit() {
        let seconds = |text: &str| parse_age(text).map(|age| age.duration.as_secs());
        assert_eq!(seconds("0"), Ok(0));
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("24h"), Ok(86_400));
        assert_eq!(seconds("7d"), Ok(604_800));
        for text in ["", "24", "h", "-1h", "1.5h", "1w", "1é", "99999999999999999999d", "9999999999999999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
