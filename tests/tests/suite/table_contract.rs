//! The tables' contract against a real CQL server.

use std::sync::Arc;
use std::time::Duration;

use kith_runtime::Runtime;
use kith_tables::contract::{self, NOTES, Note};
use kith_tables::cql::{CqlSettings, CqlTables};
use kith_tables::{Key, Keyspace, RowKey, RowType, TableStore, Write};
use kith_tests::server::Server;
use kith_tests::wait::until;
use kith_tests::{cassandra_server, servers};

fn connect(cassandra: &Server) -> Arc<dyn TableStore> {
    let server = cassandra.socket(cassandra_server::PORT).to_string();
    let settings = CqlSettings {
        request_timeout: Duration::from_secs(20),
        local_datacenter: Some(cassandra_server::DATACENTER.into()),
        ..CqlSettings::new(vec![server])
    };
    CqlTables::connect(settings)
}

macro_rules! cassandra_keeps {
    ($($rule:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $rule() {
            let Some(cassandra) = servers::cassandra().await else { return };
            contract::$rule(connect(&cassandra)).await;
        }
    )*};
}

cassandra_keeps! {
    slices_keep_the_order,
    slices_of_text,
    pages_neither_skip_nor_repeat,
    scan_gives_every_row_once,
    replay_changes_nothing,
    a_version_ends_with_the_next_apply,
    older_never_overwrites_newer,
    a_removed_row_stays_away_from_late_writers,
    rows_move_in_one_apply,
    a_removed_row_is_no_row,
    removals_and_writes_come_in_any_order,
    a_batch_is_all_or_nothing,
    get_answers_in_the_order_asked,
    sections_have_columns_of_their_own,
    too_much_is_refused,
    open_without_create_is_refused,
    drop_then_create_is_empty,
    rows_of_all_kinds_read_back,
    digests_follow_the_rows,
    the_size_of_a_keyspace_is_told_or_unknown,
}

#[tokio::test]
async fn reopening_keeps_rows() {
    let Some(cassandra) = servers::cassandra().await else { return };
    contract::reopening_keeps_rows(connect(&cassandra), async |_| connect(&cassandra)).await;
}

/// The reason for `commitlog_sync: batch`: with `periodic` this loses rows.
#[tokio::test]
async fn holds_all_that_it_answered_before_the_server_was_killed() {
    const NAME: &str = "kith_tests_killed";
    let Some(mut cassandra) = servers::cassandra().await else { return };
    let store = connect(&cassandra);
    store.drop_keyspace(NAME).await.unwrap();
    store.create(NAME, &[&NOTES]).await.unwrap();
    let (answered, mut told) = tokio::sync::watch::channel(0);
    let keyspace = store.open(NAME, &[&NOTES]).await.unwrap();
    let applying = Runtime::system().spawn(async move { apply_until_killed(&*keyspace, answered).await });
    tokio::time::timeout(Duration::from_secs(60), told.wait_for(|count| *count >= 300)).await.unwrap().unwrap();
    cassandra.kill_9().unwrap();
    applying.await.unwrap();
    let answered = *told.borrow();
    cassandra.restart().await.unwrap();

    let store = connect(&cassandra);
    let open = async || Ok(store.open(NAME, &[&NOTES]).await.ok());
    let keyspace = until("the keyspace opens again", Duration::from_secs(60), open).await.unwrap();
    for number in 0..answered {
        let rows = keyspace.get(&NOTES, &Key::text("killed"), &[row(number).key]).await.unwrap();
        assert_eq!(rows, [row(number).into_row()], "of {answered} that were answered");
    }
}

/// Applies one row after the other, and counts those that were answered.
async fn apply_until_killed(keyspace: &dyn Keyspace, answered: tokio::sync::watch::Sender<i64>) {
    for number in 0.. {
        if keyspace.apply(&NOTES, &Key::text("killed"), &[row(number)]).await.is_err() {
            return;
        }
        answered.send_replace(number + 1);
    }
}

fn row(number: i64) -> Write {
    let note = Note { count: number, ..Note::default() };
    let key = RowKey::of::<Note>([number.into(), "".into()]);
    Write { key, columns: Some(note.into_columns()), position: 1 + number.unsigned_abs() }
}

#[test]
fn every_rule_is_listed() {
    for rule in crate::rules_in("crates/tables/src/contract") {
        assert!(include_str!("table_contract.rs").contains(&rule), "{rule}");
    }
}
