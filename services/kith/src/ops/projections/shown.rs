//! Generations, progress and verdicts as the RPCs show them.

use std::sync::Arc;
use std::time::Duration;

use kith_fold::engine::Running;
use kith_fold::{Build, Projection, WaitsFor, verify};
use kith_log::LogPartition;
use kith_proto::ops::v1::{self as proto, verify_tables_response::Verdict};
use kith_proto::time;
use kith_tables::Table;

use super::now;

pub(super) fn generation(projection: &Projection, number: u32) -> Option<proto::Generation> {
    let all = now(projection);
    let found = all.all().get(&number)?;
    let start_ms = found.since_ms;
    // What serves here, which may be a moment behind what was decided.
    let live = if all.is_of(all.live(), projection.build()) { projection.serving_number() } else { Some(all.live()) };
    let state = match Some(number) {
        of if of == live => proto::GenerationState::Live,
        of if of == all.previous() => proto::GenerationState::Previous,
        _ => proto::GenerationState::Beside,
    };
    Some(proto::Generation {
        service: projection.group_name().to_owned(),
        number,
        state: state.into(),
        start_time: (start_ms > 0).then(|| time::timestamp(start_ms)),
        folds_version: found.folds_version,
    })
}

pub(super) fn all_of(projection: &Arc<Projection>) -> Vec<proto::Projection> {
    let generations = now(projection);
    let waits_for = waits_for(projection).unwrap_or_default();
    let one = |number: &u32| {
        let shown = proto::Projection {
            generation: generation(projection, *number),
            paused: generations.paused().is_some(),
            pause_note: generations.paused().unwrap_or_default().to_owned(),
            of_this_release: generations.is_of(*number, projection.build()),
            waits_for: waits_for.clone(),
            ..proto::Projection::default()
        };
        let Some(running) = projection.generation(*number) else {
            return (!shown.of_this_release).then_some(shown);
        };
        let watermarks = running.state.watermarks();
        let partition = |(partition, progress): (LogPartition, kith_fold::Progress)| proto::PartitionProgress {
            topic: partition.topic.name.to_owned(),
            partition: u32::from(partition.index),
            next_offset: progress.next,
            head_offset: progress.head,
            lag_records: progress.head - progress.next,
            lag: duration(progress.behind_ms.max(0).unsigned_abs()),
            stopped_reason: watermarks.stopped(partition).unwrap_or_default(),
            folded_here: watermarks.is_folded_here(partition),
        };
        Some(proto::Projection {
            views: projection.group(*number).folded_tables().into_iter().map(view).collect(),
            error: running.lag.error().unwrap_or_default(),
            partitions: running.lag.partitions().into_iter().map(partition).collect(),
            ..shown
        })
    };
    generations.all().keys().filter_map(one).collect()
}

fn view(table: &'static Table) -> proto::View {
    proto::View { table: table.name.to_owned(), fingerprint: table.fingerprint() }
}

/// The decision that is missing before this process answers callers of the group, and the command for it.
pub fn waits_for(projection: &Projection) -> Option<String> {
    let (generations, group, own) = (now(projection), projection.group_name(), projection.build());
    let waits_for = generations.waits_for(own)?;
    let live = generations.live();
    let filled_by = generations.all().get(&live).map_or(0, |found| found.folds_version);
    let Build { folds_version: folds, reads } = own;
    Some(match waits_for {
        WaitsFor::LaterRelease(events) => {
            format!("version {events} of the events is open, and this release reads {reads}: run a later release")
        }
        _ if generations.paused().is_some() => {
            format!("the folds of this release fill nothing, since they are paused: kith resume {group}")
        }
        WaitsFor::Rebuild => format!(
            "generation {live} is of folds {filled_by}, this release has folds {folds}: kith rebuild {group}, asked of a \
             process of this release"
        ),
        WaitsFor::Promotion(number) => {
            format!("generation {number} is of this release's folds, and does not serve yet: kith promote {group}")
        }
    })
}

pub(super) fn rebuild(
    generation: proto::Generation,
    running: &Running,
    paused: bool,
    now_ms: i64,
) -> proto::GetRebuildResponse {
    let (folded, total) = running.lag.records();
    let began_ms = time::unix_ms(generation.start_time.as_ref());
    let seconds = (now_ms - began_ms).max(1) as f64 / 1_000.0;
    let rate = if began_ms > 0 { folded as f64 / seconds } else { 0.0 };
    let left = (total - folded) as f64;
    let watermarks = running.state.watermarks();
    let stopped = |partition| Some(format!("{partition}: {}", watermarks.stopped(partition)?));
    proto::GetRebuildResponse {
        generation: Some(generation),
        records_folded: folded,
        records_total: total,
        records_per_second: rate,
        remaining: (left > 0.0 && rate > 0.0).then(|| duration((left / rate * 1_000.0) as u64)).flatten(),
        caught_up: running.lag.has_caught_up() && left <= Projection::PROMOTABLE_LAG_RECORDS as f64,
        stopped: watermarks.partitions().filter_map(stopped).collect(),
        paused,
    }
}

pub(super) fn duration(ms: u64) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(Duration::from_millis(ms)).ok()
}

pub(super) fn present(
    verdict: verify::Verdict,
    (generation, other_generation): (u32, u32),
) -> proto::VerifyTablesResponse {
    let difference = |found: verify::Difference| proto::verify_tables_response::Difference {
        table: found.table.to_owned(),
        partition: found.partition,
        row: found.row,
        left: found.left.unwrap_or_default(),
        right: found.right.unwrap_or_default(),
    };
    let digest = verdict.digest.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect());
    proto::VerifyTablesResponse {
        table: String::new(),
        partitions_compared: verdict.partitions,
        rows_compared: verdict.rows,
        verdict: Some(Verdict {
            equal: verdict.partitions_different == 0,
            partitions_different: verdict.partitions_different,
            differences: verdict.differences.into_iter().map(difference).collect(),
            digest: digest.unwrap_or_default(),
            generation,
            other_generation,
        }),
    }
}
