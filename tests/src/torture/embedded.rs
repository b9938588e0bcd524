//! The suite in one process over embedded stores, under faults of its process, its disk and its clock.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kith_log::embedded::EmbeddedLog;
use kith_runtime::{Runtime, SplitMix64};

use super::disk::{self, How};
use super::generations;
use super::report::Report;
use crate::kith::Launch;
use crate::simulation::{Lasts, Workload};
use crate::suite::{Suite, groups};
use crate::{digests, records, wait};

const PROCESS: &str = "suite";
const NOBODY_IS_PULLED: &str = "10000";
/// The whole workload, with all its restarts.
const ROUND_WITHIN: Duration = Duration::from_secs(300);
/// The clock stays within what access tokens live.
const CLOCK_SECONDS: [i64; 4] = [600, -600, 1_200, 0];

/// Where a fault of the disk comes at most: a process makes few of the rare calls.
const AT: u64 = 300;
const AT_OF_RARE: u64 = 10;
/// Once it is over, kinds that had no turn yet get one, if it comes within this.
const LAST_TURNS_WITHIN: Duration = Duration::from_secs(300);

const KILL: &str = "kill -9 of the process";
const CLOCK: &str = "clock moved";

/// The faults of a process over embedded stores, as the report names them.
pub fn kinds() -> Vec<&'static str> {
    [KILL, CLOCK].into_iter().chain(How::ALL.map(How::name)).collect()
}

/// Rounds of random faults until `until`; each is a workload of `accounts` people on a fresh suite. Every kind must have come
/// about when they are over, here or in what the report has seen before.
pub async fn rounds(seed: u64, accounts: usize, until: Instant, report: &mut Report) {
    let (mut chance, mut turns, mut number) = (SplitMix64::new(seed), Vec::new(), 0);
    while Instant::now() < until || (!missing(report).is_empty() && Instant::now() < until + LAST_TURNS_WITHIN) {
        number += 1;
        let name = format!("embedded round {number} of seed {seed}");
        eprintln!("{name}");
        let outcome = round(&mut turns, &mut chance, accounts, report).await;
        report.round(&name, outcome);
    }
    for kind in missing(report) {
        report.round(kind, Err(anyhow::anyhow!("it never came about")));
    }
}

fn missing(report: &Report) -> Vec<&'static str> {
    kinds().into_iter().filter(|kind| report.inflicted(kind) == 0).collect()
}

/// A workload whose process fails at its n-th change of a file, n growing by `step` (of the rare
/// calls each has its turn), until it gets through without meeting it.
pub async fn every_write(how: How, first: u64, step: u64, accounts: usize, report: &mut Report) {
    let step = if how.is_rare() { 1 } else { step };
    let name = format!("{}, every {step}th", how.name());
    eprintln!("{name}");
    let outcome = through_every_write(how, (first, step), accounts, report).await;
    report.round(&name, outcome);
}

/// `turns`: the kinds in shuffled order, again and again; one that did not come about has its turn again.
async fn round(turns: &mut Vec<usize>, chance: &mut SplitMix64, accounts: usize, report: &mut Report) -> Result<()> {
    let mut suite = start().await?;
    disk::clock(suite.process(PROCESS)?.folder(), 0)?;
    restart(&mut suite).await?;
    let clients = start_clients(&mut suite, chance.draw(), accounts)?;
    let mut clock = 0;
    while !clients.has_ended() {
        tokio::time::sleep(Duration::from_millis(200 + chance.below(1_200))).await;
        if turns.is_empty() {
            turns.extend(0..kinds().len());
        }
        let kind = turns.swap_remove(chance.below(turns.len() as u64) as usize);
        let came = match kind {
            0 => kill(&mut suite, report).await?,
            1 => move_clock(&mut suite, &mut clock, chance, report)?,
            n => {
                let how = How::ALL[n - 2];
                let at = 1 + chance.below(if how.is_rare() { AT_OF_RARE } else { AT });
                meet(&mut suite, &clients, how, at, report).await?
            }
        };
        if !came {
            turns.push(kind);
        }
    }
    finish(suite, clients, report).await
}

async fn kill(suite: &mut Suite, report: &mut Report) -> Result<bool> {
    report.fault(KILL);
    recover(suite, report).await?;
    Ok(true)
}

/// To another time than it shows, while it runs.
fn move_clock(suite: &mut Suite, clock: &mut i64, chance: &mut SplitMix64, report: &mut Report) -> Result<bool> {
    let others: Vec<i64> = CLOCK_SECONDS.into_iter().filter(|seconds| seconds != clock).collect();
    let folder = suite.process(PROCESS)?.folder();
    ensure!(disk::has_clock(folder), "the process does not look at the clock that is moved");
    *clock = others[chance.below(others.len() as u64) as usize];
    disk::clock(folder, *clock)?;
    report.fault(CLOCK);
    Ok(true)
}

async fn through_every_write(how: How, (first, step): (u64, u64), accounts: usize, report: &mut Report) -> Result<()> {
    let mut suite = start().await?;
    let clients = start_clients(&mut suite, first, accounts)?;
    let mut at = first;
    while meet(&mut suite, &clients, how, at, report).await? {
        at += step;
    }
    ensure!(at > first, "{} was never met", how.name());
    finish(suite, clients, report).await
}

/// Starts the process so that its `at`th change of a file fails, and waits until it has met that, or the clients' end.
/// Afterwards it runs without faults. False: it was never met.
async fn meet(suite: &mut Suite, clients: &Workload, how: How, at: u64, report: &mut Report) -> Result<bool> {
    let process = suite.process(PROCESS)?;
    process.kill_9()?;
    disk::forget(process.folder())?;
    disk::plan(process.folder(), at, how)?;
    process.launch()?;
    let what = format!("{} number {at} is met", how.name());
    wait::until(&what, ROUND_WITHIN, async || {
        // It may fail before it is ready, or long after.
        let ended = suite.process(PROCESS)?.process()?.exit()?.is_some();
        Ok((ended || clients.has_ended()).then_some(()))
    })
    .await?;
    let process = suite.process(PROCESS)?;
    disk::no_plan(process.folder())?;
    let Some(call) = disk::struck(process.folder()) else {
        // The clients' end is no end of the process: one for any other reason than the planned one is an error.
        process.process()?.ensure_running().context("no fault struck")?;
        return Ok(false);
    };
    report.fault(how.name());
    report.call(call);
    recover(suite, report).await?;
    Ok(true)
}

async fn start() -> Result<Suite> {
    let library = disk::library()?.display().to_string();
    let launch = Launch::run(PROCESS).set("push_threshold", NOBODY_IS_PULLED).environment("LD_PRELOAD", library);
    Suite::of(PROCESS, launch).await
}

async fn recover(suite: &mut Suite, report: &mut Report) -> Result<()> {
    let started = Instant::now();
    restart(suite).await?;
    report.recovered(started.elapsed());
    Ok(())
}

async fn restart(suite: &mut Suite) -> Result<()> {
    let process = suite.process(PROCESS)?;
    process.kill_9()?;
    disk::forget(process.folder())?;
    process.restart().await
}

/// Answers must agree with the log, and tables with a fresh fold.
async fn finish(mut suite: Suite, mut clients: Workload, report: &mut Report) -> Result<()> {
    clients.ended(ROUND_WITHIN).await?;
    let process = suite.process(PROCESS)?;
    disk::clock(process.folder(), 0)?;
    process.kill_9()?;
    let log = EmbeddedLog::open(&process.folder().join(".kith/log"), digests::PARTITIONS, Runtime::system())?;
    let all = records::of(&*log).await?;
    drop(log);
    restart(&mut suite).await?;
    report.acknowledged(clients.holds(&all).await?);
    for (group, _) in groups()? {
        generations::compare(&suite, PROCESS, group, report).await?;
    }
    Ok(())
}

fn start_clients(suite: &mut Suite, seed: u64, accounts: usize) -> Result<Workload> {
    let keys = suite.process(PROCESS)?.folder().join(".kith/keys");
    suite.start_workload(&keys, seed, accounts, Lasts::Steps)
}

/// The number under `key` in a JSON text.
pub fn number(text: &str, key: &str) -> Result<u64> {
    let start = text.find(&format!("\"{key}\":")).with_context(|| format!("no {key} in {text}"))? + key.len() + 3;
    let digits: String = text[start..].trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("{key} is no number in {text}"))
}
