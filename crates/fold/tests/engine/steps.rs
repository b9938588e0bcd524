use std::time::Duration;

use kith_fold::engine::FoldMetrics;
use kith_log::topics;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::stage::Stage;

#[tokio::test(start_paused = true)]
async fn appends_of_handlers_and_of_folds_are_told_apart() {
    let mut stage = Stage::set(Duration::from_secs(60)).await;
    let mut registry = Registry::default();
    stage.ports.metrics = FoldMetrics::register(&mut registry);
    stage.start().await;
    stage.running().lag.caught_up().await;
    stage.publisher = stage.running().publisher.clone();
    stage.react("p", "a", 1).await;
    // Echoed by a fold.
    stage.post("p").await;
    stage.until(async || stage.records(topics::ENGAGEMENT).await.len() == 2).await;
    let counted = |by: &str| {
        let labels = format!("{{group=\"kith.engagement.g1\",by=\"{by}\",call=\"append\"}}");
        value(&registry, &format!("kith_call_duration_seconds_count{labels}"))
    };
    stage.until(async || counted("folds") == Some(1.0)).await;
    assert_eq!(counted("handlers"), Some(2.0));
}

/// The value of one series.
fn value(registry: &Registry, series: &str) -> Option<f64> {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// How often each step was counted, and the seconds of all `wait`s.
fn counted(registry: &Registry) -> ([u64; 6], f64) {
    let value = |what: &str, step: &str| {
        let labels = format!("{{group=\"kith.engagement.g1\",step=\"{step}\"}}");
        value(registry, &format!("kith_fold_step_duration_seconds_{what}{labels}"))
    };
    let count = |step| value("count", step).unwrap_or_default() as u64;
    (["wait", "load", "apply", "write", "spread", "note"].map(count), value("sum", "wait").unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn each_step_of_a_micro_batch_counts_once_and_waiting_only_where_records_come() {
    let mut stage = Stage::set(Duration::from_secs(60)).await;
    let mut registry = Registry::default();
    stage.ports.metrics = FoldMetrics::register(&mut registry);
    stage.react("p", "before", 1).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    stage.start().await;
    stage.settle().await;
    stage.running().lag.caught_up().await;
    let ([wait, read_again, apply, write, spread, _], _) = counted(&registry);
    assert!(read_again > 0, "a record that was there at the start is folded");
    assert_eq!([apply, write, spread], [read_again; 3]);
    assert_eq!(wait, 0, "its age is not what it waited");

    stage.react("p", "after", 1).await;
    stage.settle().await;
    let ([wait, load, apply, write, spread, note], waited) = counted(&registry);
    assert_eq!([wait, load, apply, write, spread], [1, read_again + 1, read_again + 1, read_again + 1, read_again + 1]);
    assert!(note > 0 && waited < 60.0, "{note} notes, waited {waited} s");

    stage.running().end().await;
    assert_eq!(counted(&registry).0, [0; 6], "nothing more is said of a group that has ended");
}
