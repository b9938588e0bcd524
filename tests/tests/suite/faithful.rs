//! The simulated ports keep the contracts that the real ones keep, so that what is shown over them is shown of the suite.

use std::sync::Arc;

use kith_log::EventLog;
use kith_runtime::Runtime;
use kith_tables::TableStore;
use kith_tests::simulated::{Gate, SimulatedLog, SimulatedTables};

const PARTITIONS: u16 = 4;
/// 2026-01-01T00:00:00Z.
const EPOCH_MS: i64 = 1_767_225_600_000;

fn log() -> Arc<dyn EventLog> {
    SimulatedLog::new(Runtime::simulated(1, EPOCH_MS), PARTITIONS).of_process(0, Gate::new())
}

fn tables() -> Arc<dyn TableStore> {
    SimulatedTables::new()
}

macro_rules! simulated_log_keeps {
    ($($rule:ident),* $(,)?) => {$(
        #[tokio::test(start_paused = true)]
        async fn $rule() {
            kith_log::contract::$rule(log()).await;
        }
    )*};
}

macro_rules! simulated_tables_keep {
    ($($rule:ident),* $(,)?) => {$(
        #[tokio::test(start_paused = true)]
        async fn $rule() {
            kith_tables::contract::$rule(tables()).await;
        }
    )*};
}

simulated_log_keeps! {
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
    redelivers_to_a_group_from_the_offset_asked,
    shares_partitions_and_hands_them_over,
    ends_earlier_readers_with_a_new_word,
}

simulated_tables_keep! {
    slices_keep_the_order,
    slices_of_text,
    pages_neither_skip_nor_repeat,
    scan_gives_every_row_once,
    replay_changes_nothing,
    a_version_ends_with_the_next_apply,
    older_never_overwrites_newer,
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
