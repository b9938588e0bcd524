//! The suite in one process over embedded stores, under faults of its process, its disk and its clock.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::disk::{self, How};
use super::report::Report;
use crate::kith::Launch;
use crate::suite::{Client, Suite};
use crate::wait;

const PROCESS: &str = "suite";
const NOBODY_IS_PULLED: &str = "10000";
/// The whole client, with all its restarts.
const ROUND_WITHIN: Duration = Duration::from_secs(300);
/// The clock stays within what access tokens live.
const CLOCK_SECONDS: [i64; 4] = [600, -600, 1_200, 0];

/// Rounds of random faults until `until`; each is a demo of `accounts` people on a fresh suite.
pub async fn rounds(seed: u64, accounts: usize, until: Instant, report: &mut Report) {
    let mut chance = Chance(seed);
    let mut number = 0;
    while Instant::now() < until {
        number += 1;
        let name = format!("embedded round {number} of seed {seed}");
        eprintln!("{name}");
        let outcome = round(&mut chance, accounts, report).await;
        report.round(&name, outcome);
    }
}

/// A demo whose process fails at its n-th write or sync, n growing by `step`, until it gets through without meeting it.
pub async fn every_write(how: How, first: u64, step: u64, accounts: usize, report: &mut Report) {
    let name = format!("{}, every {step}th", how.name());
    eprintln!("{name}");
    let outcome = through_every_write(how, (first, step), accounts, report).await;
    report.round(&name, outcome);
}

async fn round(chance: &mut Chance, accounts: usize, report: &mut Report) -> Result<()> {
    let mut suite = start().await?;
    disk::clock(suite.process(PROCESS)?.folder(), 0)?;
    suite.process(PROCESS)?.restart().await?;
    let mut demo = suite.start_demo(accounts).await?;
    while !demo.has_ended()? {
        tokio::time::sleep(Duration::from_millis(200 + chance.below(1_200))).await;
        match chance.below(5) {
            0 => {
                report.fault("kill -9 of the process");
                suite.process(PROCESS)?.kill_9()?;
                restart(&mut suite, report).await?;
            }
            1 => {
                let seconds = CLOCK_SECONDS[chance.below(CLOCK_SECONDS.len() as u64) as usize];
                report.fault("clock moved");
                disk::clock(suite.process(PROCESS)?.folder(), seconds)?;
            }
            n => {
                let how = How::ALL[n as usize - 2];
                let at = 1 + chance.below(300);
                meet(&mut suite, &mut demo, how, at, report).await?;
            }
        }
    }
    finish(suite, demo, report).await
}

async fn through_every_write(how: How, (first, step): (u64, u64), accounts: usize, report: &mut Report) -> Result<()> {
    let mut suite = start().await?;
    let mut demo = suite.start_demo(accounts).await?;
    let mut at = first;
    while meet(&mut suite, &mut demo, how, at, report).await? {
        at += step;
    }
    finish(suite, demo, report).await
}

/// Starts the process so that its `at`th write or sync fails, and waits until it has met that, or the client's end.
/// Afterwards it runs without faults. False: it was never met.
async fn meet(suite: &mut Suite, demo: &mut Client, how: How, at: u64, report: &mut Report) -> Result<bool> {
    let process = suite.process(PROCESS)?;
    process.kill_9()?;
    disk::plan(process.folder(), at, how)?;
    process.launch()?;
    let what = format!("{} number {at} is met", how.name());
    let met = wait::until(&what, ROUND_WITHIN, async || {
        // It may fail before it is ready, or long after.
        if suite.process(PROCESS)?.process()?.exit()?.is_some() {
            return Ok(Some(true));
        }
        Ok(demo.has_ended()?.then_some(false))
    });
    let met = met.await?;
    disk::no_plan(suite.process(PROCESS)?.folder())?;
    if met {
        report.fault(how.name());
        restart(suite, report).await?;
    }
    Ok(met)
}

async fn start() -> Result<Suite> {
    let library = disk::library()?.display().to_string();
    let launch = Launch::run(PROCESS).set("push_threshold", NOBODY_IS_PULLED).environment("LD_PRELOAD", library);
    Suite::of(PROCESS, launch).await
}

async fn restart(suite: &mut Suite, report: &mut Report) -> Result<()> {
    let started = Instant::now();
    suite.process(PROCESS)?.restart().await?;
    report.recovered(started.elapsed());
    Ok(())
}

async fn finish(mut suite: Suite, demo: Client, report: &mut Report) -> Result<()> {
    let told = demo.passes_within(ROUND_WITHIN).await?;
    disk::clock(suite.process(PROCESS)?.folder(), 0)?;
    suite.process(PROCESS)?.restart().await?;
    for service in ["identity", "posts", "engagement", "messaging", "feeds"] {
        compare(&suite, PROCESS, service, report).await?;
    }
    report.acknowledged(number(&told, "steps")?);
    Ok(())
}

/// A fresh fold of the whole log, compared with the tables that were there.
pub async fn compare(suite: &Suite, process: &str, service: &str, report: &mut Report) -> Result<()> {
    suite.operate(process, &["rebuild", service]).await?;
    let verdict = suite.operate(process, &["verify", service]).await?;
    ensure!(verdict.contains("\"equal\":true"), "{service} differs from a fresh fold: {verdict}");
    report.compared(number(&verdict, "partitions_compared")?, number(&verdict, "rows_compared")?);
    Ok(())
}

/// The number under `key` in a JSON text.
pub fn number(text: &str, key: &str) -> Result<u64> {
    let start = text.find(&format!("\"{key}\":")).with_context(|| format!("no {key} in {text}"))? + key.len() + 3;
    let digits: String = text[start..].trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("{key} is no number in {text}"))
}

/// Steele, Lea and Flood's SplitMix64, as everything here is a function of the seed, what the machine does apart.
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit.max(1)
    }
}
