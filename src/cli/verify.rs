//! `ocisite verify`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use url::Url;

use super::bucket::{BucketArgs, site_place};
use super::outbound::OutboundArgs;
use super::output::{Verbosity, bytes};
use super::{FOUND_PROBLEMS, progress};
use crate::terminal;
use crate::verify::report::Report;
use crate::verify::{self, Directory, Options, rule};
use oci_discovery::name::ImageName;
use oci_discovery::parallel;

const EXAMPLES: &str = "Examples:
  ocisite verify site
  ocisite verify site --deep --strict
  ocisite verify https://example.com
  ocisite verify https://example.com example.com/app#1.0 --connect-to staging.example.com:443";

/// Check a site, in a directory or on a live server, as the strictest consumer would.
///
/// Exit status 1: there are errors (with --strict, or warnings); 2: nothing could be checked.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A directory or bucket with a site (s3://, gs://, az://), or the URL of its root (http:// or https://).
    #[arg(value_name = "DIR|URL", required_unless_present = "rules")]
    site: Option<String>,
    /// The names to check, each with or without a ref [default: all that the site lists].
    #[arg(value_name = "NAME")]
    names: Vec<ImageName>,
    /// Read every blob and compare it with its digest.
    #[arg(long)]
    deep: bool,
    /// Fail on warnings, too.
    #[arg(long)]
    strict: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write the report to this file, too, as JUnit XML for CI systems.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// The host of a directory that does not say which it serves.
    #[arg(long)]
    host: Option<String>,
    /// The directory or bucket of another origin that the site's templates lead to.
    #[arg(long, value_name = "ORIGIN=DIR|URL")]
    store: Vec<String>,
    /// How many things to look at at once [default: one per core].
    #[arg(long, short, value_name = "N")]
    jobs: Option<std::num::NonZeroUsize>,
    /// List the rules as a table in Markdown, and check nothing.
    #[arg(long)]
    rules: bool,
    #[command(flatten)]
    outbound: OutboundArgs,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(site) = args.site.as_ref().filter(|_| !args.rules) else {
        terminal::print(rule::markdown().lines())?;
        return Ok(ExitCode::SUCCESS);
    };
    let report = verify(&args, site)?;
    if let Some(path) = &args.junit {
        write_junit(&report, args.strict, path)
            .with_context(|| format!("cannot write the JUnit report {}", path.display()))?;
    }
    if args.json {
        terminal::print_json(&report)?;
    } else if !args.verbosity.quiet || !report.passes(args.strict) {
        terminal::print(report.to_lines(bytes))?;
    }
    Ok(if report.passes(args.strict) { ExitCode::SUCCESS } else { ExitCode::from(FOUND_PROBLEMS) })
}

#[allow(clippy::disallowed_methods, reason = "the report goes where the user says")]
fn write_junit(report: &Report, strict: bool, path: &Path) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    report.write_junit(strict, &mut file)?;
    file.flush()
}

fn verify(args: &Args, site: &str) -> anyhow::Result<Report> {
    let options =
        Options { names: args.names.clone(), deep: args.deep, jobs: args.jobs.unwrap_or_else(parallel::default_jobs) };
    let progress = progress::for_terminal(args.verbosity);
    if !site.starts_with("http://") && !site.starts_with("https://") {
        let place = site_place(site, &args.store, &BucketArgs::default())?;
        let directory = Directory { place, host: args.host.clone() };
        return Ok(verify::verify_directory(&directory, &options, &*progress)?);
    }
    let url: Url = site.parse().with_context(|| format!("{site} is no URL"))?;
    Ok(verify::verify_url(&url, &args.outbound.options(args.verbosity), &options, &*progress)?)
}
