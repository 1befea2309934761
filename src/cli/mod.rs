//! The command line: one file per subcommand, which parses the arguments, calls the library once, and prints the result.

pub mod bucket;
pub mod catalogue;
pub mod client_config;
pub mod completions;
pub mod config;
pub mod copy;
pub mod discovery;
pub mod gc;
pub mod list;
pub mod list_changed;
pub mod man;
pub mod origin;
pub mod outbound;
pub mod output;
pub mod progress;
pub mod publish;
pub mod pull;
pub mod remove;
pub mod resolve;
pub mod serve;
pub mod server_config;
pub mod size;
pub mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::fs::Mode;

use crate::terminal;

/// The exit status of a command that ran and found problems.
pub const FOUND_PROBLEMS: u8 = 1;
/// The exit status of a command that could not run: wrong usage, wrong input, or a system error.
pub const COULD_NOT_RUN: u8 = 2;

/// Turns OCI image layouts into a static web site from which images are discovered by name.
#[derive(Debug, Parser)]
#[command(name = "ocisite", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Publish(Box<publish::Args>),
    Serve(serve::Args),
    Verify(Box<verify::Args>),
    List(list::Args),
    Remove(remove::Args),
    Gc(gc::Args),
    Copy(copy::Args),
    Resolve(resolve::Args),
    Pull(Box<pull::Args>),
    ServerConfig(server_config::Args),
    ClientConfig(client_config::Args),
    Catalogue(catalogue::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Permits group and others to read new files and directories. A new directory has the mode of the umask until the program sets
/// the final mode, and web servers must be able to read the directory even if the program is killed before.
fn relax_umask() {
    let umask = rustix::process::umask(Mode::empty());
    rustix::process::umask(umask & (Mode::WGRP | Mode::WOTH));
}

/// Prints an error in the arguments, which may contain untrusted file names, or the requested help.
fn print_stop(stop: &clap::Error) -> ExitCode {
    match stop.use_stderr() {
        true => text_of(stop).lines().for_each(terminal::log),
        // An error means that the reader has closed the pipe.
        false => drop(stop.print()),
    }
    u8::try_from(stop.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The text of an error in the arguments. Arguments may be untrusted file names, so they are parsed again in their printed
/// form: no argument can then add a line to the text.
fn text_of(stop: &clap::Error) -> String {
    let printable = |argument: OsString| terminal::printable(&argument.to_string_lossy()).into_owned();
    match Cli::try_parse_from(std::env::args_os().map(printable)) {
        Err(printed) if printed.kind() == stop.kind() => printed.render().to_string(),
        _ => format!("error: {}", stop.kind()),
    }
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(stop) => return print_stop(&stop),
    };
    if matches!(cli.command, Command::Publish(_) | Command::Copy(_) | Command::Remove(_) | Command::Gc(_)) {
        relax_umask();
    }
    let result = match cli.command {
        Command::Publish(args) => publish::run(*args),
        Command::Serve(args) => serve::run(args),
        Command::Verify(args) => verify::run(*args),
        Command::List(args) => list::run(args),
        Command::Remove(args) => remove::run(args),
        Command::Gc(args) => gc::run(args),
        Command::Copy(args) => copy::run(args),
        Command::Resolve(args) => resolve::run(args),
        Command::Pull(args) => pull::run(*args),
        Command::ServerConfig(args) => server_config::run(args),
        Command::ClientConfig(args) => client_config::run(args),
        Command::Catalogue(args) => catalogue::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    };
    result.unwrap_or_else(|error| {
        terminal::message(output::chain(&error));
        ExitCode::from(COULD_NOT_RUN)
    })
}
