//! `ocisite pull`.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use super::discovery::{Discovery, print_remarks};
use super::output::{Verbosity, bytes, chain, count, seconds};
use super::{FOUND_PROBLEMS, progress, size};
use crate::client::choose::Platforms;
use crate::client::pull;
use crate::client::pull::{PullOptions, Summary, Target};
use crate::client::transfer::BlobCount;
use crate::terminal;
use oci_discovery::name::ImageName;
use oci_discovery::oci::platform;
use oci_discovery::oci::{Descriptor, Platform};

/// Parallel fetches: enough for small layers from a far server, few enough for any server.
const DEFAULT_JOBS: NonZeroUsize = NonZeroUsize::new(12).unwrap();

const EXAMPLES: &str = "Examples:
  ocisite pull example.com/app#1.0 --to app
  ocisite pull example.com/team/app#2.0 --to app.tar:2.0 --platform linux/arm64
  ocisite pull example.com/app#1.0 --to mirror --all-platforms --referrers";

/// Pull an image into an OCI layout, which skopeo, umoci and podman can read.
///
/// Blobs that the layout already has are not fetched again, so a second pull completes an interrupted one.
///
/// Exit status 0: the layout has the image; 1: the name resolves to no image or to several images, or the image cannot be
/// fetched; 2: the layout cannot be written, or an argument is invalid.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The image: HOST/PATH or HOST/PATH#REF.
    #[arg(value_name = "NAME")]
    name: ImageName,
    /// The layout to write: a directory, or an archive if the path ends in .tar. An existing layout keeps its other images. REF
    /// is the ref of the image in the layout [default: the ref on the site]. `oci:DIR[:REF]` and `oci-archive:FILE[:REF]` are possible, too.
    #[arg(long, value_name = "LAYOUT[:REF]")]
    to: Target,
    /// The platform to pull from a multi-platform image [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = platform::parse)]
    platform: Option<Platform>,
    /// Pull all platforms.
    #[arg(long, conflicts_with = "platform")]
    all_platforms: bool,
    /// Also pull the referrers of the image that its index lists: signatures, attestations, bills of materials.
    #[arg(long)]
    referrers: bool,
    /// Refuse an image that is larger than this, including its referrers.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "256GiB")]
    max_size: u64,
    /// How many blobs to fetch at once.
    #[arg(long, short, value_name = "N", value_parser = size::parse_jobs, default_value_t = DEFAULT_JOBS)]
    jobs: NonZeroUsize,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    discovery: Discovery,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let platforms = match (&args.platform, args.all_platforms) {
        (Some(platform), _) => Platforms::One(platform.clone()),
        (None, true) => Platforms::All,
        (None, false) => Platforms::ThisMachine,
    };
    let Args { name, to: target, referrers, max_size, jobs, .. } = args;
    let settings = args.discovery.settings();
    let http = args.discovery.http(std::slice::from_ref(&name), &settings, args.verbosity)?;
    let request = PullOptions { name, target, platforms, referrers, max_size, jobs };
    let start = Instant::now();
    let summary = match pull(&http, &settings, &request, &*progress::for_terminal(args.verbosity)) {
        Ok(summary) => summary,
        Err(error) if error.is_about_site() => {
            let list = error.list();
            terminal::list(chain(&error.into()), &list);
            return Ok(ExitCode::from(FOUND_PROBLEMS));
        }
        Err(error) => return Err(error.into()),
    };
    if !args.verbosity.quiet {
        print_remarks(&summary.remarks, None);
    }
    if args.json {
        terminal::print_json(&report_json(&request, &summary))?;
    } else if !args.verbosity.quiet {
        terminal::print(report(&request, &summary, &seconds(start.elapsed())))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The result as JSON, with its properties in the order of their names.
#[derive(Serialize)]
struct Report<'a> {
    entries: &'a [Descriptor],
    fetched: BlobCount,
    layout: String,
    name: String,
    present: BlobCount,
    remarks: Vec<serde_json::Value>,
}

fn report_json<'a>(request: &PullOptions, summary: &'a Summary) -> Report<'a> {
    let messages = |remark: &oci_discovery::discovery::Remark| json!({"severity": remark.severity().to_string(), "message": remark.to_string()});
    Report {
        entries: &summary.entries,
        fetched: summary.fetched,
        layout: request.target.layout.display().to_string(),
        name: request.name.to_string(),
        present: summary.present,
        remarks: summary.remarks.iter().map(messages).collect(),
    }
}

fn report(request: &PullOptions, summary: &Summary, time: &str) -> Vec<String> {
    let mut lines = vec![format!("{} in {}", request.name, request.target.layout.display())];
    for entry in &summary.entries {
        let reference = entry.ref_name().unwrap_or("-");
        let platform = entry.platform().map(|platform| format!(" {platform}")).unwrap_or_default();
        lines.push(format!("  {reference} {}{platform}", entry.digest));
    }
    let (fetched, present) = (summary.fetched, summary.present);
    lines.push(format!(
        "{} fetched ({}), {} already present ({}), {time}",
        count(fetched.blobs, "blob", "blobs"),
        bytes(fetched.bytes),
        count(present.blobs, "blob", "blobs"),
        bytes(present.bytes),
    ));
    lines
}
