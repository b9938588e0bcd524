//! `make torture MINUTES=n`: the suite under real faults for as long as told. Usage: `torture [--minutes N] [--seed N]
//! [--accounts N] [--only embedded|live] [--faults PART]`; `TESTED_KITH` names the binary. Exits with 1 when anything was lost, doubled or
//! different, and prints one table either way.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kith_tests::torture::{self, How, Report, Rounds};

const USAGE: &str = "usage: torture [--minutes N] [--seed N] [--accounts N] [--only embedded|live] [--faults PART]

Runs TESTED_KITH under real faults for N minutes (30). --faults: over Kafka and Cassandra only those whose name contains PART.
Example: TESTED_KITH=target/release/kith torture --minutes 5 --only live --faults broker";

struct Options {
    minutes: u64,
    seed: u64,
    accounts: usize,
    embedded: bool,
    live: bool,
    faults: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("torture: {error:#}");
            return ExitCode::from(2);
        }
    };
    let mut report = Report::default();
    let started = Instant::now();
    let ran = run(&options, &mut report).await;
    println!(
        "\nseed {}, {} people a round, {} s\n\n{report}",
        options.seed,
        options.accounts,
        started.elapsed().as_secs()
    );
    match ran {
        Ok(()) if report.failures().is_empty() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("torture: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A third of the time embedded, the rest over Kafka and Cassandra.
async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let &Options { minutes, seed, accounts, ref faults, .. } = options;
    let (all, now) = (Duration::from_secs(minutes * 60), Instant::now());
    if options.embedded {
        let share = if options.live { all / 3 } else { all };
        for how in How::ALL {
            torture::every_write(how, 1, 15, accounts.min(60), report).await;
        }
        torture::embedded_rounds(seed, accounts, now + share, report).await;
    }
    if options.live {
        let enough = |_: &Report| now.elapsed() >= all;
        torture::live_rounds(Rounds { seed, accounts, enough: &enough, only: faults }, report).await?;
    }
    Ok(())
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options =
        Options { minutes: 30, seed: 1, accounts: 240, embedded: true, live: true, faults: String::new() };
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{name} needs a value"));
        match name.as_str() {
            "--minutes" => options.minutes = value()?.parse().context("--minutes")?,
            "--seed" => options.seed = value()?.parse().context("--seed")?,
            "--accounts" => options.accounts = value()?.parse().context("--accounts")?,
            "--only" => match value()?.as_str() {
                "embedded" => options.live = false,
                "live" => options.embedded = false,
                other => bail!("--only {other} is neither embedded nor live"),
            },
            "--faults" => options.faults = value()?,
            "--help" => bail!("{USAGE}"),
            other => bail!("unknown option {other}"),
        }
    }
    Ok(options)
}
