//! `ocisite completions SHELL`.

use std::process::ExitCode;

use clap::CommandFactory;

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ocisite completions bash > /etc/bash_completion.d/ocisite")]
pub struct Args {
    /// The shell.
    shell: clap_complete::Shell,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "ocisite", &mut script);
    crate::terminal::print(String::from_utf8(script)?.lines())?;
    Ok(ExitCode::SUCCESS)
}
