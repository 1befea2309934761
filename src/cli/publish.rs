//! `ocisite publish`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::bucket::BucketArgs;
use super::config::{Config, DEFAULT_FILE};
use super::list_changed::ListChanged;
use super::origin::parse_store;
use super::output::{Verbosity, bytes, count, seconds};
use super::progress;
use super::size::parse_jobs;
use crate::publish::collect::MissingBlob;
use crate::publish::input::Skipped;
use crate::publish::{self, Input, PublishRequest, Summary};
use crate::shell::CommandLine;
use crate::site::Preset;
use crate::site::index::Merge;
use crate::store::directory::LinkMode;
use crate::store::write_log::Count;
use crate::store::{self, Location};
use crate::terminal;
use oci_discovery::name::ImageName;
use oci_discovery::parallel;

const EXAMPLES: &str = "Examples:
  ocisite publish --site site example.com/app=layouts/app
  ocisite publish --site site example.com/team/app#1.0=app.tar:latest
  ocisite publish --site site --host example.com layouts
  ocisite publish --config ocisite.toml";

/// Publish OCI image layouts to a site.
///
/// All input is checked before anything is written. Readers see the old site or the new one, never a mixture.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// An image (`NAME[#REF]=LAYOUT[:REF]`), or a folder of layouts. A layout is a directory or a tar archive; skopeo's
    /// form is possible, too (`oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`). In a folder, the path of a layout becomes the path of the
    /// image's name; --host gives the host.
    #[arg(value_name = "IMAGE|FOLDER")]
    inputs: Vec<String>,
    /// The directory of the site (a web root, created if missing), or a bucket: s3://BUCKET[/PREFIX], gs://, az://.
    #[arg(long, value_name = "DIR|URL")]
    site: Option<String>,
    /// The host in the names of the images from folders.
    #[arg(long)]
    host: Option<String>,
    /// Read options and images from this file [default: ocisite.toml, if no image or folder is given].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The paths of indexes and blobs on the site, as a predefined pair of templates. An existing site keeps its templates
    /// [default: cas].
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// The URL of each index, as an RFC 6570 template with the variables name, host, path and fragment. With name or fragment, each ref
    /// has an index of its own.
    #[arg(long, value_name = "TEMPLATE")]
    index_template: Option<String>,
    /// The URL of each blob, as an RFC 6570 template with the variables digest, algorithm and encoded, and also name, host and
    /// path. For paths that no preset has.
    #[arg(long, value_name = "TEMPLATE")]
    cas_template: Option<String>,
    /// Put indexes and blobs below this path of the host, such as /images. For a new site on a host that also serves other
    /// content. Such a site gets a catalogue only with --catalogue.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["index_template", "cas_template"])]
    base_path: Option<String>,
    /// Where to write the files of another origin (scheme and host). Needed if a template names an origin other than the
    /// image's host, such as a CDN. Repeat for several origins.
    #[arg(long, value_name = "ORIGIN=DIR|URL")]
    store: Vec<String>,
    /// Publish the images of each host to a separate site in DIR/HOST. For names of several hosts.
    #[arg(long)]
    root_per_host: bool,
    /// Add the registry view, which `docker pull` and `podman pull` need. A site that has the view keeps it.
    #[arg(long)]
    registry: bool,
    /// Add the catalogue, web pages that show the images. A new site gets it by default; an existing site keeps it or stays
    /// without it.
    #[arg(long, conflicts_with = "no_catalogue")]
    catalogue: bool,
    /// Create the site without the catalogue, or remove the catalogue from an existing site.
    #[arg(long)]
    no_catalogue: bool,
    /// Render the catalogue's pages with the templates in this directory (see `ocisite catalogue templates`). The site does not
    /// store them: give the directory with each publish.
    #[arg(long, value_name = "DIR")]
    template_dir: Option<PathBuf>,
    /// Keep the entries that a published ref already has for other platforms. By default, a publish replaces all entries of the
    /// ref. For builds that publish one platform at a time.
    #[arg(long, conflicts_with = "replace")]
    append: bool,
    /// Remove all other refs of the published images. By default, they are kept.
    #[arg(long)]
    replace: bool,
    /// Publish even if a layout is missing blobs. The output lists them.
    #[arg(long)]
    allow_missing: bool,
    /// Read and hash the existing blobs of these images, and replace damaged ones. By default, an existing blob of the right
    /// size counts as intact. For a site that `ocisite verify` reports as damaged.
    #[arg(long)]
    recheck: bool,
    /// How to put the blobs of a layout into the site's directory [default: copy].
    #[arg(long, value_enum)]
    link: Option<LinkMode>,
    /// Publish into a directory that contains files of other programs. By default, the directory must be empty or a site.
    #[arg(long)]
    adopt: bool,
    /// How many files to process at once [default: one per core].
    #[arg(long, short, value_name = "N", value_parser = parse_jobs)]
    jobs: Option<std::num::NonZeroUsize>,
    /// How many seconds to wait while other commands change the site.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    wait: u64,
    /// List every object with its media type, without writing anything.
    #[arg(long)]
    dry_run: bool,
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
    let mut request = request(&args)?;
    let recording = args.list_changed.begin()?;
    request.options.changes = recording.changes.clone();
    if args.dry_run {
        return recording.end(dry_run(&request, &args));
    }
    let start = Instant::now();
    let progress = progress::for_terminal(args.verbosity);
    let summary = recording.end(publish::publish(&request, &*progress))?;
    warn(&summary.warnings);
    if args.json {
        let (seconds, next) = (start.elapsed().as_secs_f64(), next(&request, &summary));
        terminal::print_json(&Report { summary: &summary, seconds, next })?;
    } else if !args.verbosity.quiet {
        terminal::print(report(&request, &summary, start.elapsed()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn request(args: &Args) -> anyhow::Result<PublishRequest> {
    let (config, config_inputs) = config(args)?;
    let mut inputs = config_inputs;
    for text in &args.inputs {
        inputs.push(Input::parse(text)?);
    }
    let given = args.site.as_deref().map(Location::parse).transpose()?;
    let Some(site) = given.map_or_else(|| config.location(), |site| Ok(Some(site)))? else {
        bail!("no site given: add `--site DIR` or `--site s3://BUCKET[/PREFIX]`");
    };
    let stores = stores(args, config.stores()?)?;
    let host = args.host.clone().or(config.host);
    if let Some(host) = &host {
        ImageName::new(host, "any", None).with_context(|| format!("--host {host} is not a host name"))?;
    }
    let locations = stores.iter().map(|(_, location)| location).chain([&site]);
    let options = store::StoreOptions {
        link: args.link.or(config.link).unwrap_or_default(),
        adopt: args.adopt,
        ..args.bucket.options(locations)?
    };
    Ok(PublishRequest {
        site,
        inputs,
        host: host.map(|host| host.to_ascii_lowercase()),
        preset: args.preset.or(config.preset),
        index_template: args.index_template.clone().or(config.index_template),
        cas_template: args.cas_template.clone().or(config.cas_template),
        base_path: args.base_path.clone().or(config.base_path),
        stores,
        root_per_host: args.root_per_host || config.root_per_host,
        registry: args.registry || config.registry,
        catalogue: match (args.catalogue, args.no_catalogue) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => config.catalogue,
        },
        template_dir: args.template_dir.clone().or(config.template_dir),
        merge: match (args.append, args.replace) {
            (true, _) => Merge::Append,
            (_, true) => Merge::ReplaceImage,
            _ => Merge::ReplaceRefs,
        },
        allow_missing: args.allow_missing || config.allow_missing,
        recheck: args.recheck,
        options,
        jobs: args.jobs.unwrap_or_else(parallel::default_jobs),
        wait: Duration::from_secs(args.wait),
    })
}

/// The stores of other origins. The command line overrides the configuration.
fn stores(args: &Args, config: BTreeMap<String, Location>) -> anyhow::Result<Vec<(String, Location)>> {
    let mut stores: Vec<(String, Location)> = Vec::new();
    for text in &args.store {
        let (origin, directory) = parse_store(text)?;
        match stores.iter().find(|(known, _)| *known == origin) {
            Some((_, other)) if *other != directory => {
                bail!("--store gives {origin} twice, with {other} and with {directory}: give each origin once")
            }
            _ => stores.push((origin, directory)),
        }
    }
    for (origin, directory) in config {
        if !stores.iter().any(|(known, _)| *known == origin) {
            stores.push((origin, directory));
        }
    }
    Ok(stores)
}

/// The configuration file: the given one, or the default one if the arguments name no images.
#[allow(clippy::disallowed_methods, reason = "the configuration is the user's own")]
fn config(args: &Args) -> anyhow::Result<(Config, Vec<Input>)> {
    let default = Path::new(DEFAULT_FILE);
    let path = match &args.config {
        Some(path) => path.as_path(),
        None if args.inputs.is_empty() && default.is_file() => default,
        None => return Ok((Config::default(), vec![])),
    };
    let config = Config::read(path)?;
    let inputs = config.inputs(path)?;
    if inputs.is_empty() && args.inputs.is_empty() {
        bail!(
            "{} names nothing to publish: add `folders = [\"LAYOUTS\"]`, or an [[image]] with name and layout",
            path.display()
        );
    }
    Ok((config, inputs))
}

fn dry_run(request: &PublishRequest, args: &Args) -> anyhow::Result<ExitCode> {
    let preview = publish::dry_run(request)?;
    warn(&preview.warnings);
    if args.json {
        terminal::print_json(&preview)?;
    } else if !args.verbosity.quiet {
        let objects = preview.objects.iter().map(|o| format!("{:>12}  {}  {}", o.size, o.path, o.media_type));
        terminal::print(objects.chain(omitted(&preview.missing, &preview.skipped)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        terminal::message(format_args!("warning: {warning}"));
    }
}

fn report(request: &PublishRequest, summary: &Summary, took: Duration) -> Vec<String> {
    let mut lines = Vec::new();
    let images = count(summary.images.len() as u64, "image", "images");
    let refs = count(summary.refs as u64, "entry", "entries");
    if summary.is_nothing_written() {
        lines.push(format!("Nothing to do: {} has {images} with {refs} already.", request.site));
    } else {
        lines.push(format!("Published {images} with {refs} to {} in {}.", request.site, seconds(took)));
        let blobs = [
            (summary.blobs_written, "written"),
            (summary.blobs_linked, linked(&request.site)),
            (summary.blobs_present, "already present"),
        ];
        let blobs = blobs.iter().filter(|(count, _)| count.objects > 0);
        let blobs: Vec<String> =
            blobs.map(|(count, how)| format!("{} {how} ({})", count.objects, bytes(count.bytes))).collect();
        lines.push(format!("  blobs      {}", blobs.join(", ")));
        lines.push(format!(
            "  documents  {} written, {} unchanged",
            summary.documents_written.objects, summary.documents_unchanged.objects
        ));
    }
    if summary.registry_added > 0 {
        let others = count(summary.registry_added as u64, "other image", "other images");
        lines.push(format!("  registry   view added to {others} of the site"));
    }
    if summary.blobs_repaired.objects > 0 {
        let Count { objects, bytes: size } = summary.blobs_repaired;
        lines.push(format!(
            "  repaired   {} that {} damaged ({})",
            count(objects, "blob", "blobs"),
            if objects == 1 { "was" } else { "were" },
            bytes(size)
        ));
    }
    if summary.retries > 0 {
        lines.push(format!("  retries    {} (other publishers came first)", summary.retries));
    }
    lines.extend(omitted(&summary.missing, &summary.skipped));
    lines.extend(next(request, summary).map(|next| format!("Next: {next}")));
    lines
}

/// A second path of a blob is a hard link in a directory, and a copy in a bucket.
fn linked(site: &Location) -> &'static str {
    match site {
        Location::Directory(_) => "linked",
        Location::Bucket(_) => "copied within the bucket",
    }
}

/// Lines for missing blobs and skipped layouts.
fn omitted(missing: &[MissingBlob], skipped: &[Skipped]) -> Vec<String> {
    let missing = missing.iter().map(|MissingBlob { digest, size, layout, referrer }| {
        format!("  missing    {digest} ({size} bytes) in {}, for {referrer}", layout.display())
    });
    missing.chain(skipped.iter().map(|skipped| format!("  skipped    {}", skipped.reason))).collect()
}

/// The command to try next; None when nothing changed.
fn next(request: &PublishRequest, summary: &Summary) -> Option<String> {
    let host = summary.images.first()?.split('/').next()?;
    // The preview serves directories only.
    let Location::Directory(site) = &request.site else { return None };
    let root = if request.root_per_host { site.join(host) } else { site.clone() };
    let root = root.to_str()?;
    (!summary.is_nothing_written()).then(|| CommandLine::new(["ocisite", "serve"]).path(root).to_string())
}

/// The summary as JSON.
#[derive(serde::Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    seconds: f64,
    next: Option<String>,
}
