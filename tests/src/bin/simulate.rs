//! Runs histories of the simulation: `simulate --seeds 10000 --from 1 [--mode safety|liveness] [--planted NAME|all]
//! [--jobs 2]`; `--control NAME`: under the plans that provoke that defect, without it. Prints a table at the end; fails when anything was found, or a planted defect was not.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use kith_tests::simulation::{Keys, Planted, Sweep, caught, sweep};

/// Findings of a planted defect that are printed when one seed is run.
const SHOWN: usize = 8;

struct Arguments {
    sweep: Sweep,
    planted: Vec<Planted>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let Arguments { sweep: asked, planted } = arguments()?;
    let keys = Arc::new(Keys::make()?);
    if planted.is_empty() {
        let total = sweep(&asked, &keys, |line| eprintln!("{line}"));
        println!("{total}");
        return Ok(total.failures.is_empty());
    }
    let mut missed = 0;
    println!("| planted defect | caught | by | at seed | seeds run |\n|---|---|---|---|---|");
    for planted in &planted {
        let caught = caught(*planted, &asked, &keys);
        missed += usize::from(!caught.is_caught());
        println!("{caught}");
        for found in caught.findings.iter().take(if asked.seeds == 1 { SHOWN } else { 0 }) {
            eprintln!("  {}: {}", found.check, found.what);
        }
    }
    println!("\n{} of {} planted defects caught", planted.len() - missed, planted.len());
    Ok(missed == 0)
}

fn arguments() -> Result<Arguments> {
    let mut arguments = Arguments { sweep: Sweep::default(), planted: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} without a value"))?;
        match &*word {
            "--seeds" => arguments.sweep.seeds = value.parse()?,
            "--from" => arguments.sweep.from = value.parse()?,
            "--jobs" => arguments.sweep.jobs = value.parse()?,
            "--mode" => arguments.sweep.mode = Some(value.parse()?),
            "--control" => arguments.sweep.control = Some(value.parse()?),
            "--planted" if value == "all" => arguments.planted = Planted::ALL.to_vec(),
            "--planted" => arguments.planted.push(value.parse()?),
            _ => bail!("{word} is not known: --seeds --from --jobs --mode --planted --control"),
        }
    }
    Ok(arguments)
}
