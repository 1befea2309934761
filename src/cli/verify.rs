//! `ocisite verify`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use url::Url;

use super::bucket::{BucketArgs, site_place};
use super::outbound::{OutboundArgs, Protocol};
use super::output::{Verbosity, bytes};
use super::size::parse_jobs;
use super::{FOUND_PROBLEMS, progress};
use crate::server_config::static_host::StaticHost;
use crate::terminal;
use crate::verify::report::Report;
use crate::verify::{self, Directory, VerifyOptions, rule};
use oci_discovery::name::ImageName;
use oci_discovery::parallel;

const EXAMPLES: &str = "Examples:
  ocisite verify site
  ocisite verify site --deep --strict
  ocisite verify site --host-kind cloudflare-pages
  ocisite verify https://example.com
  ocisite verify https://example.com example.com/app#1.0 --connect-to staging.example.com:443
  ocisite verify https://example.com --connect-to 127.0.0.1:8080 --protocol http";

/// Check a site in a directory, in a bucket or on a live server, as the strictest consumer would.
///
/// Exit status 0: no errors; 1: errors (with --strict, errors or warnings); 2: the check could not run.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The directory or bucket of the site (s3://, gs://, az://), or the URL of its root (http:// or https://).
    #[arg(value_name = "DIR|URL", required_unless_present = "rules")]
    site: Option<String>,
    /// The names to check, each with or without a ref [default: all images that the site lists].
    #[arg(value_name = "NAME")]
    names: Vec<ImageName>,
    /// Read every blob and compare it with its digest.
    #[arg(long)]
    deep: bool,
    /// Treat warnings as errors in the exit status.
    #[arg(long)]
    strict: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Also write the report to this file as JUnit XML, for CI systems.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// The host that the site serves. For a directory without `ocisite.json`.
    #[arg(long)]
    host: Option<String>,
    /// The static host to which the directory will be uploaded: also check the limits of this host, and what it sends.
    #[arg(long, value_enum, value_name = "KIND")]
    host_kind: Option<StaticHost>,
    /// The directory or bucket of another origin that the site's templates name. Repeat for several origins.
    #[arg(long, value_name = "ORIGIN=DIR|URL")]
    store: Vec<String>,
    /// How many objects to check at once [default: one per core].
    #[arg(long, short, value_name = "N", value_parser = parse_jobs)]
    jobs: Option<std::num::NonZeroUsize>,
    /// Print all rules as a Markdown table, without checking a site.
    #[arg(long)]
    rules: bool,
    /// The protocol of the server at --connect-to [default: that of each URL].
    #[arg(long, value_enum, value_name = "PROTOCOL", requires = "connect_to")]
    protocol: Option<Protocol>,
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
    let options = VerifyOptions {
        names: args.names.clone(),
        deep: args.deep,
        jobs: args.jobs.unwrap_or_else(parallel::default_jobs),
    };
    let progress = progress::for_terminal(args.verbosity);
    if !site.starts_with("http://") && !site.starts_with("https://") {
        let place = site_place(site, &args.store, &BucketArgs::default())?;
        let directory = Directory { place, host: args.host.clone(), host_kind: args.host_kind };
        return Ok(verify::verify_directory(&directory, &options, &*progress)?);
    }
    if args.host_kind.is_some() {
        bail!(
            "--host-kind checks files before an upload: expected a directory, found {site}; a live site is checked without it"
        );
    }
    let url: Url = site.parse().with_context(|| format!("{site} is not a valid URL"))?;
    let client = args.outbound.options(args.protocol == Some(Protocol::Http), args.verbosity);
    Ok(verify::verify_url(&url, &client, &options, &*progress)?)
}
