//! What micro-batches and commands spend their time on, from the metrics of folds: the profile of what waits more than it
//! computes.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

const DURATION: &str = "kith_fold_step_duration_seconds";
const FOLDED: &str = "kith_fold_records_total";
const CALL: &str = "kith_call_duration_seconds";
const RPC: &str = "rpc_server_call_duration_seconds";

/// Sums since the start, by group; of RPCs by method.
#[derive(Debug, Default)]
pub struct Steps(BTreeMap<String, Sums>);

#[derive(Debug, Default, Clone)]
struct Sums {
    records: f64,
    steps: Durations,
    /// By whom, and what.
    calls: Durations,
}

/// Seconds and count, by name.
type Durations = BTreeMap<String, (f64, f64)>;

impl Steps {
    /// From a process' metrics, as Prometheus reads them.
    pub fn of(metrics: &str) -> Result<Self> {
        let mut all = Self::default();
        let ours = |line: &&str| [DURATION, FOLDED, CALL, RPC].iter().any(|start| line.starts_with(start));
        for line in metrics.lines().filter(ours) {
            let (name, value) = line.rsplit_once(' ').context("a metric without a value")?;
            let value: f64 = value.parse()?;
            let owner = label(name, if name.starts_with(RPC) { "rpc_method" } else { "group" })?;
            let sums = all.0.entry(owner.to_owned()).or_default();
            if name.starts_with(FOLDED) {
                sums.records += value;
            } else if let Some(rest) = name.strip_prefix(DURATION) {
                add(&mut sums.steps, label(name, "step")?, rest, value);
            } else if let Some(rest) = name.strip_prefix(CALL) {
                let call = format!("{} {}", label(name, "by")?, label(name, "call")?);
                add(&mut sums.calls, &call, rest, value);
            } else if let Some(rest) = name.strip_prefix(RPC) {
                add(&mut sums.calls, "answer", rest, value);
            }
        }
        Ok(all)
    }

    /// A line for each group that called the log or a server of tables since `before`, and for each method that was called:
    /// how often, and how long on average.
    pub fn calls_since(&self, before: &Self) -> Vec<String> {
        let line = |(group, now): (&String, &Sums)| {
            let then = before.0.get(group).cloned().unwrap_or_default().calls;
            let call = |call: &String| {
                let (seconds, count) = since(&now.calls, &then, call)?;
                Some(format!(", {call} {:.2} ({count:.0})", seconds * 1e3 / count))
            };
            let calls: Vec<_> = now.calls.keys().filter_map(call).collect();
            (!calls.is_empty()).then(|| format!("{group}: calls' ms on average (count){}", calls.concat()))
        };
        self.0.iter().filter_map(line).collect()
    }

    /// A line for each group: how many micro-batches there were since `before`, how large, and how long each step took
    /// on average.
    pub fn lines_since(&self, before: &Self) -> Vec<String> {
        let line = |(group, now): (&String, &Sums)| {
            let then = before.0.get(group).cloned().unwrap_or_default();
            let counted = |step: &str| since(&now.steps, &then.steps, step);
            let (_, batches) = counted("load")?;
            let mean = |step: &str| {
                counted(step)
                    .map_or_else(String::new, |(seconds, count)| format!(" {step} {:.2}", seconds * 1e3 / count))
            };
            let steps: String = ["wait", "load", "apply", "write", "spread", "note"].map(mean).concat();
            let size = (now.records - then.records) / batches;
            Some(format!("{group}: {batches:.0} micro-batches of {size:.1} records; ms on average:{steps}"))
        };
        self.0.iter().filter_map(line).collect()
    }
}

/// `rest` is what follows the metric's name.
fn add(durations: &mut Durations, name: &str, rest: &str, value: f64) {
    let (seconds, count) = durations.entry(name.to_owned()).or_default();
    match rest.split('{').next() {
        Some("_sum") => *seconds += value,
        Some("_count") => *count += value,
        _ => {}
    }
}

fn since(now: &Durations, then: &Durations, name: &str) -> Option<(f64, f64)> {
    let ((seconds, count), (was_seconds, was_count)) = (*now.get(name)?, then.get(name).copied().unwrap_or_default());
    (count > was_count).then_some((seconds - was_seconds, count - was_count))
}

fn label<'a>(name: &'a str, label: &str) -> Result<&'a str> {
    let (_, rest) = name.split_once(&format!("{label}=\"")).with_context(|| format!("no `{label}` in {name}"))?;
    Ok(rest.split('"').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_does_not_count() {
        let metrics = |records: u32, sum: f64, count: u32| {
            format!(
                "# HELP x\nkith_fold_records_total{{group=\"feeds\",topic=\"posts\"}} {records}\n\
                 kith_fold_step_duration_seconds_sum{{group=\"feeds\",step=\"load\"}} {sum}\n\
                 kith_fold_step_duration_seconds_count{{group=\"feeds\",step=\"load\"}} {count}\n\
                 kith_fold_step_duration_seconds_bucket{{le=\"0.1\",group=\"feeds\",step=\"load\"}} {count}\n\
                 kith_call_duration_seconds_sum{{group=\"posts\",by=\"handlers\",call=\"get\"}} {sum}\n\
                 kith_call_duration_seconds_count{{group=\"posts\",by=\"handlers\",call=\"get\"}} {count}\n\
                 rpc_server_call_duration_seconds_sum{{rpc_method=\"A/B\",rpc_status_code=\"OK\"}} {sum}\n\
                 rpc_server_call_duration_seconds_count{{rpc_method=\"A/B\",rpc_status_code=\"OK\"}} {count}\n"
            )
        };
        let before = Steps::of(&metrics(10, 1.0, 5)).unwrap();
        let after = Steps::of(&metrics(40, 1.5, 15)).unwrap();
        assert_eq!(after.lines_since(&before), ["feeds: 10 micro-batches of 3.0 records; ms on average: load 50.00"]);
        let calls = [
            "A/B: calls' ms on average (count), answer 50.00 (10)",
            "posts: calls' ms on average (count), handlers get 50.00 (10)",
        ];
        assert_eq!(after.calls_since(&before), calls);
        assert!(after.lines_since(&after).is_empty() && after.calls_since(&after).is_empty());
    }
}
