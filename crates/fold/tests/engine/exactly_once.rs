use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kith_fold::{Group, Token};
use kith_log::topics;
use kith_tables::{Key, Row, RowKey, RowType, Value, Write};

use crate::faulty::Foreign;
use crate::stage::{Stage, group, partition_of};
use crate::toy::{CALLS, CallRow, Calls, Echoes, MOODS, MOODS_OF, MoodOfRow, MoodRow, MoodSum, Moods};

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
    assert_eq!(stage.sum("p").await.records, 2, "the scope was written before, and is not evolved again");
    for (actor, at_offset) in [("a", 0), ("b", 1)] {
        let spread = stage.state().row::<MoodOfRow>(&MOODS_OF, &Key::text(actor), ["p".into()]).await.unwrap();
        assert_eq!(spread.map(|found| found.row), Some(MoodOfRow { at_offset }), "{actor}");
    }
}

fn mood(actor: &str, kind: i64, position: u64) -> Row {
    Row { key: RowKey::of::<MoodRow>([actor.into()]), columns: MoodRow { kind }.into_columns(), position }
}

/// What a former owner, further than we are, writes of `p` up to `mark`.
fn late_batch(mark: u64, sum: MoodSum, moods: Vec<Row>) -> Foreign {
    let source = partition_of(topics::ENGAGEMENT, "p").source();
    let mark_value = Value::BigInt(i64::try_from(mark).unwrap());
    let columns = std::iter::once(mark_value).chain(sum.into_columns()).collect();
    let summary = Row { key: MOODS.summary_key(source), columns, position: mark };
    let writes = std::iter::once(summary).chain(moods).map(Write::from).collect();
    Foreign { table: &MOODS, partition: Key::text("p"), writes }
}

/// A former owner's batch lands late: what it wrote, and what we have cached, must not be mixed.
#[tokio::test(start_paused = true)]
async fn a_foreign_mark_drops_what_is_cached() {
    let mut stage = Stage::set(NO_MARGIN).await;
    stage.start().await;
    stage.react("p", "a", 1).await;
    stage.settle().await;
    stage.kill().await;
    // Whoever starts now has not seen the table partition without rows.
    stage.start().await;
    stage.react("p", "a", 1).await;
    stage.settle().await;
    let sum = MoodSum { total: 6, records: 4 };
    stage.plan.intrude(late_batch(3, sum, vec![mood("b", 2, 2), mood("a", 4, 3)]));
    stage.react("p", "b", 2).await;
    stage.settle().await;
    assert!(stage.plan.intruded());
    stage.react("p", "a", 4).await;
    stage.react("p", "a", 5).await;
    stage.settle().await;
    assert_eq!(stage.sum("p").await, MoodSum { total: 7, records: 5 });
}

/// No fold that appends, so that what is folded is folded once.
async fn with_moods_alone() -> Stage {
    let mut stage = Stage::set(NO_MARGIN).await;
    stage.start_group(Group { folds: vec![Arc::new(Moods)], ..group() }).await;
    stage
}

/// Nothing of it is read, so nothing can be mixed: the fold goes on from what it knows, and passes what landed.
#[tokio::test(start_paused = true)]
async fn a_foreign_batch_changes_nothing_where_all_rows_are_known() {
    let mut stage = with_moods_alone().await;
    stage.react("p", "a", 1).await;
    stage.settle().await;
    stage.plan.intrude(late_batch(2, MoodSum { total: 6, records: 3 }, vec![mood("b", 2, 1), mood("a", 4, 2)]));
    assert_eq!(stage.sum("p").await, MoodSum { total: 6, records: 3 }, "it has landed");
    let before = stage.plan.gets(MOODS.name);
    for (actor, kind) in [("b", 2), ("a", 4), ("a", 5)] {
        stage.react("p", actor, kind).await;
    }
    stage.settle().await;
    assert_eq!(stage.plan.gets(MOODS.name), before);
    assert_eq!(stage.sum("p").await, MoodSum { total: 7, records: 4 });
}

/// More actors than rows are kept of a post: they leave the cache, and those that come again are read again.
#[tokio::test(start_paused = true)]
async fn only_what_was_written_is_read_of_a_partition_that_was_seen_empty() {
    let mut stage = with_moods_alone().await;
    stage.react("p", "a0", 1).await;
    stage.settle().await;
    let before = stage.plan.gets(MOODS.name);
    for n in 1..100 {
        stage.react("p", &format!("a{n}"), 1).await;
    }
    stage.settle().await;
    assert_eq!(stage.plan.gets(MOODS.name), before, "no actor had been there");
    for n in 0..100 {
        stage.react("p", &format!("a{n}"), 3).await;
    }
    stage.settle().await;
    assert!(stage.plan.gets(MOODS.name) > before);
    assert_eq!(stage.sum("p").await, MoodSum { total: 300, records: 200 });
}

/// The mark is written with the first row: a row without it is what was left of a batch that nobody finished.
#[tokio::test(start_paused = true)]
async fn a_row_without_its_mark_does_not_count() {
    let mut stage = Stage::set(NO_MARGIN).await;
    let writes = vec![mood("a", 4, 0).into()];
    stage.plan.intrude(Foreign { table: &MOODS, partition: Key::text("p"), writes });
    stage.react("p", "a", 4).await;
    stage.start().await;
    stage.settle().await;
    assert!(stage.plan.intruded());
    assert_eq!(stage.sum("p").await, MoodSum { total: 4, records: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_foreign_mark_drops_what_is_known_to_be_absent() {
    let mut stage = with_moods_alone().await;
    // More actors than stay in the cache: what is left of the post is its summary, and who has been there.
    for n in 0..5 {
        stage.react("p", &format!("a{n}"), 1).await;
        stage.settle().await;
    }
    let sum = MoodSum { total: 10, records: 7 };
    stage.plan.intrude(late_batch(6, sum, vec![mood("a0", 4, 5), mood("b", 2, 6)]));
    for (actor, kind) in [("a0", 4), ("b", 2), ("b", 5)] {
        stage.react("p", actor, kind).await;
        stage.settle().await;
    }
    assert!(stage.plan.intruded());
    assert_eq!(stage.sum("p").await, MoodSum { total: 13, records: 8 });
}

#[tokio::test(start_paused = true)]
async fn what_a_server_lost_is_not_taken_from_a_summary_that_was_kept() {
    let mut stage = Stage::set(Duration::from_secs(60)).await;
    // Of a call's scope no row is named: where the summary is known nothing is read.
    stage.start_group(Group { folds: vec![Arc::new(Calls), Arc::new(Echoes)], ..group() }).await;
    stage.plan.forget();
    let posts: Vec<String> = (0..24).map(|n| format!("x{n}")).collect();
    for post in &posts {
        stage.post(post).await;
        stage.settle().await;
    }
    stage.plan.crash();
    for post in &posts {
        stage.until(async || stage.state().row::<CallRow>(&CALLS, &Key::text(post), []).await.unwrap().is_some()).await;
    }
}
