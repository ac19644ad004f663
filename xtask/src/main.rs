//! plexlab's command line: parses arguments, calls the harness and the scenarios, renders their output.
//!
//! This program is also the stack's multi-call binary: started as `xtask fixture NAME …` it is one of the
//! stand-ins, so that a fresh checkout needs one build and one link, and all processes share their code pages. Started
//! under the name of a command that scripts and people call (`curl`, `plexctl`), it is that.

mod cli;
#[cfg(test)]
mod command_lines;
mod commands;
mod exit;
mod printer;
mod profile;
mod shard;
mod suggestion;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;

fn main() -> ExitCode {
    let all: Vec<_> = std::env::args_os().collect();
    if let Some(code) = plexlab_fixtures::run_as_command(&all) {
        return code;
    }
    let mut arguments = all.into_iter();
    if arguments.nth(1).is_some_and(|first| first == plexlab_harness::backend::containers::FIXTURE_ARGUMENT) {
        return plexlab_fixtures::run(arguments.collect());
    }
    // Clap prints usage errors itself and ends with 2, which is our code for them too.
    let cli = Cli::parse();
    plexlab_lab::tls::install_provider();
    match commands::run(cli) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) => {
            printer::error(&failure);
            ExitCode::from(failure.code)
        }
    }
}
