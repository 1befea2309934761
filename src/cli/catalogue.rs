//! `ocisite catalogue`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::catalogue::templates;
use crate::terminal;

const TEMPLATES_EXAMPLES: &str = "Example:
  ocisite catalogue templates templates
  ocisite publish --site site --template-dir templates --host example.com layouts";

/// Work on the catalogue, a site's pages for people.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Templates(TemplatesArgs),
}

/// Write out the built-in templates, to start one's own from.
///
/// Change what you like, delete the others, and name the directory in each publish with --template-dir.
#[derive(Debug, clap::Args)]
#[command(after_help = TEMPLATES_EXAMPLES)]
struct TemplatesArgs {
    /// The directory; it is made when it is not there, and nothing in it is overwritten.
    #[arg(value_name = "DIR", default_value = "templates")]
    directory: PathBuf,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Command::Templates(args) = args.command;
    let written = templates::write_built_in(&args.directory)?;
    terminal::print(written.iter().map(|path| path.display().to_string()))?;
    Ok(ExitCode::SUCCESS)
}
