//! The log's contract against a real Kafka broker.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kith_log::{EventLog, contract};
use kith_runtime::Runtime;
use kith_tests::server::Server;
use kith_tests::wait::until;
use kith_tests::{kafka_server, servers};

const PARTITIONS: u16 = 4;

fn connect(kafka: &Server) -> Arc<dyn EventLog> {
    kafka_server::log(kafka, PARTITIONS).unwrap()
}

macro_rules! kafka_keeps {
    ($($rule:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $rule() {
            let Some(kafka) = servers::kafka().await else { return };
            contract::$rule(connect(&kafka)).await;
        }
    )*};
}

kafka_keeps! {
    keeps_the_order_of_a_key,
    gives_every_append_a_place_of_its_own,
    notes_earlier_appends_before_it_answers_later_ones,
    gives_back_what_was_given,
    starts_where_it_is_asked_to,
    says_when_an_offset_is_out_of_range,
    shows_new_records_to_a_follower,
    holds_little_for_a_slow_reader,
    refuses_what_breaks_a_limit,
    tells_where_its_heads_are,
    names_what_differs_from_the_contract,
    redelivers_to_a_group_from_the_offset_asked,
    shares_partitions_and_hands_them_over,
    ends_earlier_readers_with_a_new_word,
}

#[tokio::test]
async fn reads_again_after_a_restart_what_it_answered() {
    let Some(kafka) = servers::kafka().await else { return };
    contract::reads_again_after_a_restart_what_it_answered(async || connect(&kafka)).await;
}

#[tokio::test]
async fn holds_all_that_it_answered_before_the_broker_was_killed() {
    let Some(mut kafka) = servers::kafka().await else { return };
    let answered = Arc::new(Mutex::new(Vec::new()));
    let writes_down = answered.clone();
    let appending = contract::append_until_killed(connect(&kafka), move |number, position| {
        writes_down.lock().unwrap().push((number, position));
    });
    let appending = Runtime::system().spawn(appending);
    until("500 answers", Duration::from_secs(60), async || Ok((answered.lock().unwrap().len() >= 500).then_some(())))
        .await
        .unwrap();
    kafka.kill_9().unwrap();
    assert!(appending.await.is_err(), "appends fail without a broker");
    kafka.restart().await.unwrap();
    let answered = std::mem::take(&mut *answered.lock().unwrap());
    contract::holds_all(&connect(&kafka), answered).await;
}

#[test]
fn every_rule_is_listed() {
    for rule in crate::rules_in("crates/log/src/contract") {
        assert!(include_str!("log_contract.rs").contains(&rule), "{rule}");
    }
}
