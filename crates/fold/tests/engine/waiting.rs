use std::time::Duration;

use kith_fold::{Token, WaitError, engine};
use kith_log::Position;
use tokio::time::Instant;

use crate::stage::{Stage, group};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[tokio::test(start_paused = true)]
async fn what_a_token_names_is_in_the_tables_when_the_wait_is_over() {
    let mut stage = Stage::set(Duration::ZERO).await;
    stage.start().await;
    for n in 1..=20 {
        let position = stage.react("p", "a", n % 6).await;
        stage.see(&Token::from(position)).await;
        assert_eq!(stage.sum("p").await.records, i64::from(n));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_the_future_is_answered_with_how_far_we_are() {
    let mut stage = Stage::set(Duration::ZERO).await;
    stage.start().await;
    let position = stage.react("p", "a", 1).await;
    stage.see(&Token::from(position)).await;
    let wanted = Position { offset: position.offset + 3, ..position };
    let waited = stage.state().at_least(&Token::from(wanted), soon()).await;
    assert!(matches!(waited, Err(WaitError::Behind { wanted: w, next: 1 }) if w == wanted), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_does_not_fold_waits_through_the_store() {
    let mut stage = Stage::set(Duration::ZERO).await;
    stage.start().await;
    let reader = engine::start(&stage.ports, group(), false).await.unwrap();
    let position = stage.react("p", "a", 1).await;
    reader.state.at_least(&Token::from(position), soon()).await.unwrap();
    assert!(!reader.state.watermarks().is_folded_here(position.partition));
    assert!(stage.state().watermarks().is_folded_here(position.partition));
    assert_eq!(stage.sum("p").await.records, 1);
}

#[tokio::test(start_paused = true)]
async fn partitions_move_to_whoever_stays() {
    let mut stage = Stage::set(Duration::ZERO).await;
    stage.start().await;
    let other = engine::start(&stage.ports, group(), true).await.unwrap();
    let folded =
        || stage.state().watermarks().partitions().filter(|p| stage.state().watermarks().is_folded_here(*p)).count();
    let all = stage.state().watermarks().partitions().count();
    stage.until(async || folded() < all).await;
    drop(other);
    stage.until(async || folded() == all).await;
    let position = stage.react("p", "a", 1).await;
    stage.see(&Token::from(position)).await;
    assert_eq!(stage.sum("p").await.records, 1);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_lost_its_tail_is_not_taken_for_the_one_that_was_folded() {
    let mut stage = Stage::set(Duration::ZERO).await;
    stage.start().await;
    for kind in 1..=5 {
        stage.react("p", "a", kind).await;
    }
    stage.settle().await;
    stage.lose_log().await;
    let last = stage.react("p", "b", 1).await;
    stage.start().await;
    let given_again = Position { offset: last.offset + 1, ..last };
    let waited = stage.state().at_least(&Token::from(given_again), soon()).await;
    assert!(matches!(waited, Err(WaitError::Stopped { .. })), "{waited:?}");
    assert!(stage.state().watermarks().lost_tail(given_again.partition));
    stage.until(async || stage.running().lag.error().is_some()).await;

    // As long as the old one, it is told by the record that stands where the tables end.
    for kind in 1..=5 {
        stage.react("p", "b", kind).await;
    }
    stage.kill().await;
    stage.start().await;
    stage.until(async || stage.state().watermarks().stopped(given_again.partition).is_some()).await;
    assert_eq!(stage.sum("p").await.records, 5, "nothing of the other log is folded");
}
