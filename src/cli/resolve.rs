//! `ocisite resolve`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::FOUND_PROBLEMS;
use super::discovery::{Discovery, print_remarks};
use super::output::Verbosity;
use crate::client::error::did_you_mean;
use crate::terminal;
use oci_discovery::discovery::Keep;
use oci_discovery::discovery::{Root, resolve};
use oci_discovery::name::ImageName;

const EXAMPLES: &str = "Examples:
  ocisite resolve example.com/app#1.0
  ocisite resolve --connect-to 127.0.0.1:8080 --protocol http example.com/app example.com/team/app
  ocisite resolve example.com/app#1.0 | jq -r '.[][].root.digest'";

/// Resolve image names to descriptors by ref-engine discovery.
///
/// Prints {NAME: [{root, uri, casEngines}]} as JSON, in the format of the Python resolver of oci-discovery. `root` is the
/// descriptor of an image, and `uri` the URL of the index that lists it.
///
/// Exit status 0: each name resolves to an image; 1: a name resolves to nothing; 2: an argument is invalid.
///
/// Imperfect responses are accepted with a warning: documents without a Content-Type or with a generic one (application/json,
/// text/plain, application/octet-stream), and documents with a missing or wrong charset. Malformed entries are skipped with a
/// warning.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The image names: HOST/PATH or HOST/PATH#REF.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    discovery: Discovery,
    #[command(flatten)]
    verbosity: Verbosity,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let names: Vec<ImageName> = args.names.iter().map(|name| ImageName::parse(name)).collect::<Result<_, _>>()?;
    let settings = args.discovery.settings();
    let http = args.discovery.http(&names, &settings, args.verbosity)?;
    let mut resolved: BTreeMap<&str, Vec<Root>> = BTreeMap::new();
    for (text, name) in args.names.iter().zip(&names) {
        if resolved.contains_key(text.as_str()) {
            continue;
        }
        let resolution = resolve(&http, &settings, name, Keep::Roots);
        if !args.verbosity.quiet || resolution.roots.is_empty() {
            print_remarks(&resolution.remarks, Some(text));
        }
        if resolution.roots.is_empty() {
            terminal::message(format_args!("{text} resolves to nothing{}", did_you_mean(name)));
        }
        resolved.insert(text, resolution.roots);
    }
    terminal::print_json(&resolved)?;
    let is_complete = resolved.values().all(|roots| !roots.is_empty());
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::from(FOUND_PROBLEMS) })
}
