//! What the binary `kith` does: `kith run` serves; the other commands prepare, show and check.
//!
//! A library, so that a test can build another release of it: the same program with other folds.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod terminal;

mod cli;
mod flags;
mod init;
mod keys;
mod operator;
mod ops;
mod ports;
pub mod rights;
mod security;
pub mod services;
mod suite;
mod upgrade;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::operator::client::NotUnderstood;
use crate::services::Release;

/// The command line, a setting, or a name in them is invalid. clap exits with it too.
const EXIT_USAGE: u8 = 2;
/// The command's check failed, or it was refused, interrupted, or could not run.
const EXIT_FAILED: u8 = 1;

/// The program, with the services of that release: parses the command line, does what it says, and gives the exit code.
pub fn main(release: Release) -> ExitCode {
    let cli = Cli::parse();
    let settings = match cli.settings() {
        Ok(settings) => settings,
        Err(error) => {
            note!("kith: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            note!("kith: cannot start threads: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Run(_) => suite::run(settings, release).await,
            Command::Init(options) => init::run(settings, release, options.print).await,
            Command::Events(options) => operator::events::run(options).await,
            Command::Audit(options) => operator::audit::run(options).await,
            Command::DeadLetters(options) => operator::dead_letters::run(options).await,
            Command::Doctor(options) => operator::doctor::run(settings, release, options).await,
            Command::Projection(command) => command.run().await,
            Command::Keys(options) => options.run(&settings),
            Command::Settings(options) => {
                options.print(&settings);
                Ok(())
            }
        }
    });
    // Hanging tasks (a broker that does not answer) are left to the operating system: recovery is crash-safe.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::from(terminal::exit_code()),
        Err(error) => {
            note!("kith: {error:#}");
            ExitCode::from(if error.is::<NotUnderstood>() { EXIT_USAGE } else { EXIT_FAILED })
        }
    }
}
