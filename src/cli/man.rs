//! `ocisite man [DIR]`.

#![allow(clippy::disallowed_methods, reason = "the pages go where the user says")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;

/// Print the manual page, or write the pages of all subcommands into a directory.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ocisite man | man -l -\n  ocisite man /usr/local/share/man/man1")]
pub struct Args {
    /// The directory for the pages, created if missing [default: print the main page].
    directory: Option<PathBuf>,
}

/// Runs the subcommand.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let command = super::Cli::command();
    match args.directory {
        Some(directory) => {
            let failed = || format!("cannot write manual pages to {}", directory.display());
            std::fs::create_dir_all(&directory).with_context(failed)?;
            clap_mangen::generate_to(command, &directory).with_context(failed)?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            crate::terminal::print(String::from_utf8(page)?.lines())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
