//! The command-line program: arguments in, one library call, words out. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ocisite::cli::main()
}
