//! Projections and generations as shown to operators and programs.

use std::collections::BTreeSet;

use anyhow::bail;
use kith_proto::ops::v1 as proto;
use serde_json::{Value, json};

use super::ProjectionsOptions;
use crate::operator::client::OpsOptions;
use crate::operator::table;

/// After the item that an operator waits for.
pub const PAUSED: &str = " (its folds are paused: nothing moves until `kith resume`)";
/// A figure that is not known yet.
const UNKNOWN: &str = "?";

pub fn show_projections(listed: &proto::ListProjectionsResponse, options: &ProjectionsOptions) {
    let (projections, open, read) = (&listed.projections, listed.events_version_open, listed.events_version_read);
    if options.ops.json {
        let projections: Vec<_> = projections.iter().map(projection_json).collect();
        say!("{}", json!({ "projections": projections, "events_version_open": open, "events_version_read": read }));
    } else if options.views {
        let rows: Vec<_> = projections.iter().flat_map(view_rows).collect();
        table::print(&["group", "generation", "folds", "view", "fingerprint"], &rows);
    } else if options.partitions {
        let rows: Vec<_> = projections.iter().flat_map(partition_rows).collect();
        let head = ["group", "generation", "topic", "partition", "next", "head", "lag", "seconds", "here", "stopped"];
        table::print(&head, &rows);
    } else {
        let rows: Vec<_> = projections.iter().map(projection_row).collect();
        table::print(
            &["group", "generation", "folds", "state", "records", "lag", "seconds", "stopped", "error"],
            &rows,
        );
        // The same for every generation of a group.
        let waits: BTreeSet<&str> =
            projections.iter().map(|one| &*one.waits_for).filter(|why| !why.is_empty()).collect();
        waits.iter().for_each(|why| say!("not served by this process: {why}"));
        if open < read {
            say!(
                "version {open} of the events is open, and this release reads {read}: kith open-events --version {read}"
            );
        }
    }
}

pub fn show_generation(ops: &OpsOptions, generation: Option<proto::Generation>, what: &str) {
    let generation = generation.unwrap_or_default();
    match ops.json {
        true => say!("{}", generation_json(&generation)),
        false => say!("{}: generation {} {what}", generation.service, generation.number),
    }
}

pub fn show_rebuild(ops: &OpsOptions, now: &proto::GetRebuildResponse) {
    let generation = now.generation.clone().unwrap_or_default();
    let remaining = now.remaining.map(|left| left.seconds);
    if ops.json {
        let (folded, total, rate) = (now.records_folded, now.records_total, now.records_per_second);
        say!(
            "{}",
            json!({
                "generation": generation_json(&generation), "records_folded": folded, "records_total": total,
                "records_per_second": rate, "remaining_seconds": remaining, "caught_up": now.caught_up,
                "stopped": now.stopped, "paused": now.paused,
            })
        );
        return;
    }
    let (group, number) = (&generation.service, generation.number);
    let left = remaining.map_or(String::new(), |seconds| format!(", about {seconds} s left"));
    let state = if now.caught_up { "has caught up" } else { "is being filled" };
    let (folded, total, rate) = (now.records_folded, now.records_total, now.records_per_second);
    let paused = if now.paused { PAUSED } else { "" };
    say!("{group}: generation {number} {state}: {folded} of {total} records, {rate:.0} a second{left}{paused}");
}

pub fn show_verdict(
    ops: &OpsOptions,
    step: &proto::VerifyTablesResponse,
    verdict: &proto::verify_tables_response::Verdict,
) -> anyhow::Result<()> {
    let (partitions, rows) = (step.partitions_compared, step.rows_compared);
    let both = [verdict.generation, verdict.other_generation];
    if ops.json {
        let difference = |d: &proto::verify_tables_response::Difference| json!({"table": d.table, "partition": d.partition, "row": d.row, "left": d.left, "right": d.right});
        let differences: Vec<Value> = verdict.differences.iter().map(difference).collect();
        say!(
            "{}",
            json!({
                "equal": verdict.equal, "generations": both, "partitions_compared": partitions, "rows_compared": rows,
                "partitions_different": verdict.partitions_different, "differences": differences,
                "digest": verdict.digest,
            })
        );
    } else if verdict.equal {
        say!(
            "generations {} and {} are equal: {partitions} table partitions, {rows} rows, digest {}",
            both[0],
            both[1],
            verdict.digest
        );
    } else {
        let row = |d: &proto::verify_tables_response::Difference| {
            [&d.table, &d.partition, &d.row, &d.left, &d.right].map(String::clone).to_vec()
        };
        let rows: Vec<Vec<String>> = verdict.differences.iter().map(row).collect();
        table::print(&["table", "partition", "row", "left", "right"], &rows);
    }
    if !verdict.equal {
        bail!("{} of {partitions} table partitions differ", verdict.partitions_different);
    }
    Ok(())
}

fn state_name(generation: &proto::Generation) -> &'static str {
    match generation.state() {
        proto::GenerationState::Live => "live",
        proto::GenerationState::Beside => "beside",
        proto::GenerationState::Previous => "previous",
        proto::GenerationState::Unspecified => "unknown",
    }
}

fn generation_json(generation: &proto::Generation) -> Value {
    json!({ "group": generation.service, "generation": generation.number, "state": state_name(generation) })
}

fn lag_seconds(partition: &proto::PartitionProgress) -> f64 {
    partition.lag.map_or(0.0, |lag| lag.seconds as f64 + f64::from(lag.nanos) / 1e9)
}

fn projection_json(projection: &proto::Projection) -> Value {
    let partition = |p: &proto::PartitionProgress| {
        json!({
            "topic": p.topic, "partition": p.partition, "next_offset": p.next_offset, "head_offset": p.head_offset,
            "lag_records": p.lag_records, "lag_seconds": lag_seconds(p), "stopped_reason": p.stopped_reason,
            "folded_here": p.folded_here,
        })
    };
    let mut shown = generation_json(&projection.generation.clone().unwrap_or_default());
    shown["paused"] = json!(projection.paused);
    shown["pause_note"] = json!(projection.pause_note);
    shown["error"] = json!(projection.error);
    shown["folds_version"] = json!(projection.generation.as_ref().map_or(0, |generation| generation.folds_version));
    shown["of_this_release"] = json!(projection.of_this_release);
    shown["waits_for"] = json!(projection.waits_for);
    let view = |view: &proto::View| (view.table.clone(), json!(view.fingerprint));
    shown["views"] = Value::Object(projection.views.iter().map(view).collect());
    shown["partitions"] = projection.partitions.iter().map(partition).collect();
    shown
}

fn projection_row(projection: &proto::Projection) -> Vec<String> {
    let generation = projection.generation.clone().unwrap_or_default();
    let partitions = &projection.partitions;
    let paused = match (projection.paused, projection.pause_note.as_str()) {
        (false, _) => String::new(),
        (true, "") => ", paused".to_owned(),
        (true, note) => format!(", paused: {note}"),
    };
    let state = state_name(&generation).to_owned() + &paused;
    let error = match projection.of_this_release {
        true => projection.error.clone(),
        false => "another release's: not folded here".to_owned(),
    };
    // Opened here a moment ago.
    let is_known = !partitions.is_empty();
    let known = |figure: String| if is_known { figure } else { UNKNOWN.to_owned() };
    let sum = |of: fn(&proto::PartitionProgress) -> u64| known(partitions.iter().map(of).sum::<u64>().to_string());
    let seconds = partitions.iter().map(lag_seconds).fold(0.0, f64::max);
    let stopped = partitions.iter().filter(|partition| !partition.stopped_reason.is_empty()).count();
    let (records, lag) = (sum(|partition| partition.next_offset), sum(|partition| partition.lag_records));
    let number = generation.number.to_string();
    vec![
        generation.service,
        number,
        generation.folds_version.to_string(),
        state,
        records,
        lag,
        known(format!("{seconds:.1}")),
        known(stopped.to_string()),
        error,
    ]
}

fn view_rows(projection: &proto::Projection) -> Vec<Vec<String>> {
    let generation = projection.generation.clone().unwrap_or_default();
    let (number, folds) = (generation.number.to_string(), generation.folds_version.to_string());
    let row = |view: &proto::View| {
        vec![generation.service.clone(), number.clone(), folds.clone(), view.table.clone(), view.fingerprint.clone()]
    };
    projection.views.iter().map(row).collect()
}

fn partition_rows(projection: &proto::Projection) -> Vec<Vec<String>> {
    let generation = projection.generation.clone().unwrap_or_default();
    let row = |p: &proto::PartitionProgress| {
        vec![
            generation.service.clone(),
            generation.number.to_string(),
            p.topic.clone(),
            p.partition.to_string(),
            p.next_offset.to_string(),
            p.head_offset.to_string(),
            p.lag_records.to_string(),
            format!("{:.1}", lag_seconds(p)),
            if p.folded_here { "yes" } else { "no" }.to_owned(),
            p.stopped_reason.clone(),
        ]
    };
    projection.partitions.iter().map(row).collect()
}
