//! `kith-demo`: a caller of the services. `run` loads a real friendship graph and checks what comes of it; `latency` measures
//! how long a post takes to a follower's home feed.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod addresses;
mod check;
mod client;
mod expected;
mod gathered;
mod graph;
mod groups;
mod latency;
mod load;
mod plan;
mod run;
mod secure;
mod show;
mod suite;
mod talk;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::suite::Misused;
use crate::terminal::{Unread, note};

/// The command ran, and what it checked is not so; or it could not run.
const EXIT_FAILED: u8 = 1;
/// Bad usage, or settings of `kith` that do not read.
const EXIT_USAGE: u8 = 2;
/// As a shell reports a program that a closed pipe ended: 128 + SIGPIPE.
const EXIT_UNREAD: u8 = 141;

/// A demo of Kith, as an ordinary caller of its services.
#[derive(Debug, Parser)]
#[command(
    name = "kith-demo",
    version,
    about,
    after_help = "Exits with 0 if all is as it should be, with 1 if not, with 2 when it is not understood, and with 141 when \
                  nobody reads what it prints any more."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Loads a real friendship graph, shows what came of it, and checks it against a recount.
    #[command(
        alias = "demo",
        after_help = "Examples:\n  kith-demo run --accounts 120 --seed 7\n  kith-demo run --accounts 60 -- --log embedded:/tmp/demo/log --tables embedded:/tmp/demo/tables"
    )]
    Run(run::RunOptions),
    /// Prints the time from a post's OK to its presence in a follower's home feed, at rest.
    #[command(after_help = "Example:\n  kith-demo latency --posts 200")]
    Latency(latency::LatencyOptions),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            note(format_args!("kith-demo: cannot start threads: {error}"));
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Run(options) => run::run(options).await,
            Command::Latency(options) => latency::run(options).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Unread>() => ExitCode::from(EXIT_UNREAD),
        Err(error) => {
            note(format_args!("kith-demo: {error:#}"));
            ExitCode::from(if error.is::<Misused>() { EXIT_USAGE } else { EXIT_FAILED })
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_every_command_has_an_example() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{}", command.get_name());
        }
    }

    #[test]
    fn what_is_behind_two_dashes_is_for_kith() {
        let cli = Cli::parse_from(["kith-demo", "demo", "--accounts", "60", "--", "--log", "embedded:x"]);
        let Command::Run(options) = cli.command else { panic!("not run") };
        assert_eq!(options.target.kith_flags, ["--log", "embedded:x"]);
        for misused in [&["run", "--accounts", "1"][..], &["run", "--log", "x"], &["latency", "--posts", "0"], &[]] {
            assert_eq!(Cli::try_parse_from(["kith-demo"].iter().chain(misused)).unwrap_err().exit_code(), 2);
        }
    }
}
