use std::collections::BTreeMap;
use std::time::Duration;

use kith_fold::Token;
use kith_log::topics;
use kith_tables::{Key, Row, RowKey, RowType, Value};

use crate::faulty::Foreign;
use crate::stage::{Stage, partition_of};
use crate::toy::{MOODS, MOODS_OF, MoodOfRow, MoodRow, MoodSum};

const NO_MARGIN: Duration = Duration::ZERO;

/// Kind by post and actor, as the last record says, and records by post.
type Model = BTreeMap<String, (BTreeMap<String, i64>, i64)>;

/// Processes are killed anywhere, writes fail with and without having happened: no record counts twice, none is lost.
async fn survives(margin: Duration) {
    let mut stage = Stage::set(margin).await;
    let mut model = Model::new();
    stage.plan.fail_every(29);
    for round in 0..8_i32 {
        stage.start().await;
        for n in 0..60_i32 {
            let (post, actor, kind) = (format!("p{}", n % 7), format!("a{}", (n + round) % 5), 1 + (n * round) % 6);
            stage.react(&post, &actor, kind).await;
            let (kinds, records) = model.entry(post).or_default();
            kinds.insert(actor, i64::from(kind));
            *records += 1;
        }
        stage.turns(17 * round as usize).await;
        if round % 3 == 2 {
            stage.settle().await;
        }
        stage.kill().await;
    }
    stage.plan.fail_every(0);
    stage.start().await;
    stage.settle().await;
    for (post, (kinds, records)) in &model {
        let expected = MoodSum { total: kinds.values().sum(), records: *records };
        assert_eq!(stage.sum(post).await, expected, "{post}, margin {margin:?}");
    }
    let digest = stage.digest().await;
    stage.drop_tables().await;
    stage.start().await;
    stage.settle().await;
    assert_eq!(stage.digest().await, digest, "margin {margin:?}");
}

#[tokio::test(start_paused = true)]
async fn a_record_counts_once_over_restarts_and_failures() {
    survives(NO_MARGIN).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_server_lost_is_folded_again_also_where_no_record_comes() {
    let mut stage = Stage::set(Duration::from_secs(60)).await;
    stage.start().await;
    stage.plan.forget();
    stage.react("p", "a", 3).await;
    stage.settle().await;
    assert_eq!(stage.sum("p").await, MoodSum::default());
    stage.plan.crash();
    stage.until(async || stage.sum("p").await != MoodSum::default()).await;
    assert_eq!(stage.sum("p").await, MoodSum { total: 3, records: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_record_counts_once_where_folds_start_again_further_back() {
    survives(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_fold_that_stands_still_is_started_anew() {
    let mut stage = Stage::set(NO_MARGIN).await;
    stage.plan.stick(Some(MOODS_OF.name));
    stage.start().await;
    let position = stage.react("p", "a", 1).await;
    stage.until(async || stage.sum("p").await.records == 1).await;
    stage.plan.stick(None);
    // What was asked of the table before is never answered: without the watch over lag this waits for ever.
    stage.see(&Token::from(position)).await;
    assert_eq!(stage.sum("p").await.records, 1);
}

#[tokio::test(start_paused = true)]
async fn effects_that_were_cut_off_are_emitted_again() {
    let mut stage = Stage::set(NO_MARGIN).await;
    stage.plan.stick(Some(MOODS_OF.name));
    for actor in ["a", "b"] {
        stage.react("p", actor, 1).await;
    }
    stage.start().await;
    stage.until(async || stage.sum("p").await.records == 2).await;
    stage.kill().await;
    stage.plan.stick(None);
    stage.start().await;
    stage.settle().await;
    assert_eq!(stage.sum("p").await.records, 2, "the home was written before, and is not evolved again");
    for (actor, at_offset) in [("a", 0), ("b", 1)] {
        let spread = stage.state().row::<MoodOfRow>(&MOODS_OF, &Key::text(actor), ["p".into()]).await.unwrap();
        assert_eq!(spread.map(|found| found.row), Some(MoodOfRow { at_offset }), "{actor}");
    }
}

fn mood(actor: &str, kind: i64, position: u64) -> Row {
    Row { key: RowKey::of::<MoodRow>([actor.into()]), columns: MoodRow { kind }.into_columns(), position }
}

/// A former owner's batch lands late: what it wrote, and what we have cached, must not be mixed.
#[tokio::test(start_paused = true)]
async fn a_foreign_mark_drops_what_is_cached() {
    let mut stage = Stage::set(NO_MARGIN).await;
    stage.start().await;
    stage.react("p", "a", 1).await;
    stage.settle().await;
    let source = partition_of(topics::ENGAGEMENT, "p").source();
    let sum = MoodSum { total: 6, records: 3 };
    let columns = std::iter::once(Value::BigInt(2)).chain(sum.into_columns()).collect();
    let summary = Row { key: MOODS.summary_key(source), columns, position: 2 };
    let writes = vec![summary, mood("b", 2, 1), mood("a", 4, 2)];
    stage.plan.intrude(Foreign { table: &MOODS, partition: Key::text("p"), writes });
    stage.react("p", "b", 2).await;
    stage.settle().await;
    assert!(stage.plan.intruded());
    stage.react("p", "a", 4).await;
    stage.react("p", "a", 5).await;
    stage.settle().await;
    assert_eq!(stage.sum("p").await, MoodSum { total: 7, records: 4 });
}
