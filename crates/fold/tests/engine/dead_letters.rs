use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kith_fold::{Group, Standstill, Token, WaitError};
use kith_log::{Position, RecordId, topics};
use kith_proto::Event;
use kith_proto::deadletters::v1::DeadLetter;
use tokio::time::Instant;

use crate::stage::{Stage, group, one_key_each, partition_of};
use crate::toy::{Moods, Picky};

const ID: Option<&str> = Some("00000000000000000000000000000abc");
/// A `Reacted` of three bytes, of which there is one.
const TRUNCATED: &[u8] = b"\x0a\x03\x0a";
const GARBAGE: &[u8] = b"\xff\xff\xff\xff";
/// An empty `Reacted`: well formed.
const EMPTY_EVENT: &[u8] = b"\x0a\x00";
/// Field 100 of the wire message.
const NEWER: &[u8] = b"\xa2\x06\x00";

async fn poison(stage: &Stage) -> Vec<Position> {
    vec![
        stage.append_raw(topics::ENGAGEMENT, "p", ID, GARBAGE).await,
        stage.append_raw(topics::ENGAGEMENT, "p", None, EMPTY_EVENT).await,
        stage.append_raw(topics::ENGAGEMENT, "p", ID, TRUNCATED).await,
        stage.append_raw(topics::ENGAGEMENT, "p", Some("no id"), EMPTY_EVENT).await,
    ]
}

/// The letters in the log, as often as they stand there.
async fn letters(stage: &Stage) -> Vec<DeadLetter> {
    let mut letters = Vec::new();
    for record in stage.records(topics::DEAD_LETTERS).await {
        let Ok(Event::DeadLetter(letter)) = Event::decode(topics::DEAD_LETTERS.name, &record.value) else { panic!() };
        letters.push(letter);
    }
    letters
}

/// Their ids, each once.
async fn ids(stage: &Stage) -> BTreeSet<RecordId> {
    stage.records(topics::DEAD_LETTERS).await.iter().map(|record| record.id().unwrap()).collect()
}

fn origins(letters: &[DeadLetter]) -> Vec<u64> {
    letters.iter().map(|letter| letter.origin_offset).collect()
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_decode_is_set_aside_and_the_fold_goes_on() {
    let mut stage = Stage::set(Duration::ZERO).await;
    stage.start().await;
    stage.react("p", "a", 1).await;
    stage.settle().await;
    let poisoned = poison(&stage).await;
    stage.react("p", "b", 2).await;
    stage.settle().await;
    assert_eq!((stage.sum("p").await.total, stage.sum("p").await.records), (3, 2));
    stage.until(async || letters(&stage).await.len() == poisoned.len()).await;
    let set_aside = letters(&stage).await;
    assert_eq!(origins(&set_aside), poisoned.iter().map(|at| at.offset).collect::<Vec<_>>());
    assert_eq!((&set_aside[0].origin_topic[..], &set_aside[0].value[..]), (topics::ENGAGEMENT.name, GARBAGE));
    assert!(set_aside[1].reason.contains("ce_id"), "{}", set_aside[1].reason);
}

/// With a margin a fold starts again far behind what it had, as over a CQL server.
#[tokio::test(start_paused = true)]
async fn a_replay_sets_nothing_aside_again() {
    let mut stage = Stage::set(Duration::from_secs(60)).await;
    stage.start().await;
    let poisoned = poison(&stage).await;
    stage.until(async || letters(&stage).await.len() == poisoned.len()).await;
    for round in 0..3 {
        stage.kill().await;
        stage.start().await;
        stage.react("p", "a", round).await;
        stage.settle().await;
        stage.ports.runtime.sleep(Duration::from_secs(5)).await;
        assert_eq!(letters(&stage).await.len(), poisoned.len());
    }
    // A failure sends the fold back over the same records while it appends.
    stage.plan.fail_every(2);
    stage.react("p", "b", 4).await;
    stage.ports.runtime.sleep(Duration::from_secs(5)).await;
    stage.plan.fail_every(0);
    stage.react("p", "b", 4).await;
    stage.settle().await;
    assert_eq!(letters(&stage).await.len(), poisoned.len());
}

/// What says that a letter was written is gone with the tables; the log says it too.
#[tokio::test(start_paused = true)]
async fn over_dropped_tables_nothing_is_set_aside_again() {
    let mut stage = Stage::set(Duration::ZERO).await;
    stage.start().await;
    let poisoned = poison(&stage).await;
    stage.until(async || letters(&stage).await.len() == poisoned.len()).await;
    let before = (ids(&stage).await, letters(&stage).await);
    stage.drop_tables().await;
    stage.start().await;
    let new = stage.append_raw(topics::ENGAGEMENT, "p", ID, GARBAGE).await;
    stage.until(async || ids(&stage).await.len() > before.0.len()).await;
    let after = letters(&stage).await;
    assert_eq!((&after[..poisoned.len()], after.len()), (&before.1[..], poisoned.len() + 1));
    assert_eq!(after[poisoned.len()].origin_offset, new.offset);
}

#[tokio::test(start_paused = true)]
async fn what_came_while_nobody_folded_is_set_aside_too() {
    sets_aside_what_came_before(group()).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_also_where_no_fold_appends() {
    sets_aside_what_came_before(Group { folds: vec![Arc::new(Moods)], ..group() }).await;
}

async fn sets_aside_what_came_before(group: Group) {
    let mut stage = Stage::set(Duration::ZERO).await;
    let poisoned = poison(&stage).await;
    stage.start_group(group).await;
    stage.until(async || letters(&stage).await.len() == poisoned.len()).await;
}

#[tokio::test(start_paused = true)]
async fn poison_of_another_service_is_passed_over() {
    let mut stage = Stage::set(Duration::ZERO).await;
    stage.start().await;
    stage.append_raw(topics::POSTS, "p", ID, GARBAGE).await;
    stage.post("p").await;
    stage.settle().await;
    stage.until(async || stage.records(topics::ENGAGEMENT).await.len() == 1).await;
    assert!(letters(&stage).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_newer_release_stops_its_partition_alone() {
    let mut stage = Stage::set(Duration::ZERO).await;
    let keys = one_key_each(topics::ENGAGEMENT, "p");
    stage.react(&keys[0], "a", 1).await;
    let newer = stage.append_raw(topics::ENGAGEMENT, &keys[0], ID, NEWER).await;
    for key in &keys {
        stage.react(key, "b", 2).await;
    }
    for _ in 0..2 {
        stage.start().await;
        let until = Instant::now() + Duration::from_secs(60);
        let stopped = stage.state().at_least(&Token::from(newer), until).await;
        assert!(
            matches!(stopped, Err(WaitError::Stopped { partition, .. }) if partition == newer.partition),
            "{stopped:?}"
        );
        assert!(Instant::now() < until, "waiters are told at once");
        assert!(stage.state().watermarks().stopped(newer.partition).is_some());
        let standstill = stage.state().standstill();
        assert!(
            matches!(standstill, Some(Standstill::Stopped { partition, .. }) if partition == newer.partition),
            "{standstill:?}"
        );
        for key in &keys[1..] {
            stage.see(&Token::from(Position { partition: partition_of(topics::ENGAGEMENT, key), offset: 0 })).await;
            assert_eq!(stage.sum(key).await.records, 1);
        }
        assert_eq!(stage.sum(&keys[0]).await.records, 1, "what came before is folded, nothing behind");
        stage.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_stands_before_a_record_that_a_fold_refuses_is_folded() {
    let mut stage = Stage::set(Duration::ZERO).await;
    for (actor, kind) in [("a", 1), ("b", 1)] {
        stage.react("p", actor, kind).await;
    }
    let refused = stage.react("p", "c", 9).await;
    stage.react("p", "d", 1).await;
    let mut picky = group();
    picky.folds.push(Arc::new(Picky));
    stage.start_group(picky).await;
    let stopped = stage.state().at_least(&Token::from(refused), Instant::now() + Duration::from_secs(60)).await;
    assert!(matches!(stopped, Err(WaitError::Stopped { .. })), "{stopped:?}");
    stage.see(&Token::from(Position { offset: refused.offset - 1, ..refused })).await;
    assert_eq!(stage.sum("p").await.records, 2);
}
