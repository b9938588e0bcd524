//! What a rebuild would take is known before it begins, as far as it was measured.

use std::time::Duration;

use kith_fold::{EVENTS, Generations, Measured, THE_SUITE};
use tokio::time::Instant;

use crate::generations::{Process, all_of, own, see, until};
use crate::stage::{Stage, group};

const REACTIONS: u64 = 1_200;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[tokio::test(start_paused = true)]
async fn an_estimate_counts_all_records_and_starts_nothing() {
    let mut stage = Stage::set(Duration::ZERO).await;
    kith_fold::create_first(&stage.ports, &group()).await.unwrap();
    let process = Process::of(&stage, own()).await;
    let first = process.projection.estimate(soon()).await.unwrap();
    assert_eq!((first.records, first.rate), (0, None));
    for n in 0..REACTIONS {
        stage.react(&format!("post-{}", n % 9), &format!("actor-{n}"), 1).await;
    }
    see(&process.live(), &all_of(&stage).await).await;
    let second = process.projection.estimate(soon()).await.unwrap();
    assert!(second.records == REACTIONS && second.live_bytes > first.live_bytes, "{first:?}, then {second:?}");
    assert_eq!(process.now(), Generations::default().with_events(EVENTS));
    let next = process.projection.group(process.now().next()).keyspace();
    assert!(!stage.ports.tables.has_keyspace(&next).await.unwrap());

    let number = process.projection.begin("", THE_SUITE).await.unwrap();
    until(&stage, || process.projection.promotable(number).is_ok()).await;
    let rate = process.projection.estimate(soon()).await.unwrap().rate.unwrap();
    assert_eq!(rate.measured, Measured::Filling);
    // The progress is looked at every 50 ms of a clock that jumps.
    assert!(rate.records_per_second > 0.0 && rate.records_per_second <= REACTIONS as f64 / 0.05, "{rate:?}");
}
