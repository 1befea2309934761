//! `ocisite catalogue`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::catalogue::templates;
use crate::terminal;

const TEMPLATES_EXAMPLES: &str = "Example:
  ocisite catalogue templates templates
  ocisite publish --site site --template-dir templates --host example.com layouts";

/// Customize the catalogue, the web pages of a site.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Templates(TemplatesArgs),
}

/// Write the built-in templates to a directory, where you can edit them.
///
/// Edit the templates that you want to change and delete the others. Then give the directory to each publish with --template-dir.
#[derive(Debug, clap::Args)]
#[command(after_help = TEMPLATES_EXAMPLES)]
struct TemplatesArgs {
    /// The directory. It is created if missing; existing files are not overwritten.
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
