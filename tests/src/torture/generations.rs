//! Operators' commands on the generations of a group's tables, under faults, and the comparison afterwards.

use std::time::Duration;

use anyhow::{Result, ensure};
use kith_runtime::SplitMix64;

use super::embedded::number;
use super::report::Report;
use crate::suite::{Suite, groups};
use crate::wait;

/// The generation before is kept for 35 s after a promotion.
const DONE_WITHIN: Duration = Duration::from_secs(90);
/// A promotion takes about half of this: about half of the processes are killed within one.
const KILLED_WITHIN_MS: u64 = 400;

/// Fills a generation of one of the process's groups, promotes it, kills the process about then, and rolls back. What is in
/// the way is dropped first.
pub async fn change(
    suite: &mut Suite,
    process: &'static str,
    chance: &mut SplitMix64,
    report: &mut Report,
) -> Result<()> {
    let hosted: Vec<&str> =
        groups()?.into_iter().filter(|(_, host)| *host == process).map(|(group, _)| group).collect();
    let group = hosted[chance.below(hosted.len() as u64) as usize];
    for generation in beside(suite, process, group).await? {
        let generation = generation.to_string();
        command(suite, process, &["drop-generation", group, "--generation", &generation], report).await?;
    }
    command(suite, process, &["rebuild", group], report).await?;
    let within = Duration::from_millis(chance.below(KILLED_WITHIN_MS));
    let promotion = tokio::time::timeout(within, command(suite, process, &["promote", group], report)).await;
    match promotion {
        Ok(promoted) => drop(promoted?),
        Err(_) => report.command("promote", "killed in the middle"),
    }
    suite.process(process)?.kill_9()?;
    suite.process(process)?.restart().await?;
    command(suite, process, &["rollback", group], report).await?;
    Ok(())
}

/// Every generation there is against the live one, and then a fresh fold of the whole log.
pub async fn compare(suite: &Suite, process: &str, group: &str, report: &mut Report) -> Result<()> {
    for generation in beside(suite, process, group).await? {
        let generation = generation.to_string();
        verify(suite, process, &[group, "--against", &generation], report).await?;
        insist(suite, process, &["drop-generation", group, "--generation", &generation], report).await?;
    }
    insist(suite, process, &["rebuild", group], report).await?;
    verify(suite, process, &[group], report).await
}

async fn verify(suite: &Suite, process: &str, which: &[&str], report: &mut Report) -> Result<()> {
    let verdict = insist(suite, process, &[&["verify"], which].concat(), report).await?;
    ensure!(verdict.contains("\"equal\":true"), "{which:?} differs: {verdict}");
    report.compared(number(&verdict, "partitions_compared")?, number(&verdict, "rows_compared")?);
    Ok(())
}

/// Generations that do not serve, the oldest first.
async fn beside(suite: &Suite, process: &str, group: &str) -> Result<Vec<u64>> {
    let listed = suite.operate(process, &["projections", group]).await?;
    let mut found = Vec::new();
    // The keys of an object are in the order of the alphabet: the generation's number comes before its state.
    for state in ["beside", "previous"] {
        for (at, _) in listed.match_indices(&format!("\"state\":\"{state}\"")) {
            let start = listed[..at].rfind("\"generation\":").unwrap_or(at);
            found.push(number(&listed[start..], "generation")?);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// An operator's command that may be refused because of what was done before it. What it printed, or nothing.
async fn command(suite: &Suite, process: &str, arguments: &[&str], report: &mut Report) -> Result<Option<String>> {
    let told = suite.operate_unless_refused(process, arguments).await?;
    report.command(name_of(arguments), if told.is_some() { "done" } else { "refused: not now" });
    Ok(told)
}

/// As [`command`], again and again until it is not refused.
async fn insist(suite: &Suite, process: &str, arguments: &[&str], report: &mut Report) -> Result<String> {
    let what = format!("kith {} is not refused", arguments.join(" "));
    wait::until(&what, DONE_WITHIN, async || command(suite, process, arguments, report).await).await
}

fn name_of(arguments: &[&str]) -> &'static str {
    let all = ["rebuild", "promote", "rollback", "drop-generation", "verify"];
    all.into_iter().find(|name| arguments.first() == Some(name)).unwrap_or("?")
}
