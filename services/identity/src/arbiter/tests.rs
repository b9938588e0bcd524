use kith_log::{LogPartition, Position};

use super::*;

const ADA: &str = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";
const BOB: &str = "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b";
const FREE_US: i64 = 1_000;

fn record(offset: u64, at_us: i64, event: impl Into<Event>) -> Record {
    let partition = LogPartition { topic: topics::IDENTITY_PRIVATE, index: 0 };
    let mut id = [0; 16];
    id[8..].copy_from_slice(&offset.to_be_bytes());
    let mut record = Record::new(Position { partition, offset }, RecordId(id), event);
    record.time = Timestamp(at_us);
    record
}

fn account(offset: u64, at_us: i64, account_id: &str) -> Record {
    let (account_id, handle_key) = (account_id.to_owned(), "star".to_owned());
    let event = AccountRequested { account_id, handle_key, ..AccountRequested::default() };
    record(offset, at_us, Private::AccountRequested(event))
}

fn change(offset: u64, at_us: i64, account_id: &str, change_offset: u64) -> Record {
    let (account_id, handle_key, change_id) = (account_id.to_owned(), "star".to_owned(), "0c".repeat(16));
    let event =
        HandleClaimRequested { account_id, handle_key, change_id, change_offset, ..HandleClaimRequested::default() };
    record(offset, at_us, Private::HandleClaimRequested(event))
}

fn release(offset: u64, account_id: &str, settle_offset: u64) -> Record {
    let (account_id, handle_key) = (account_id.to_owned(), "star".to_owned());
    let free_time = Some(time::of_us(FREE_US));
    let event = HandleReleased { account_id, handle_key, settle_offset, free_time, ..HandleReleased::default() };
    record(offset, 0, Private::HandleReleased(event))
}

/// The verdicts, and who has the handle after each.
fn fold(records: &[Record]) -> Vec<(bool, String)> {
    let mut rows = Rows::new(&CLAIMS, 1);
    let judged = records.iter().map(|record| {
        let scope = Claims.scope(record).unwrap();
        rows.load_empty(&scope);
        rows.apply_at(record.position.offset, |rows| Claims.apply(rows, record));
        let place = Asks::of(record).unwrap().place(record);
        (rows.get::<ClaimRow>(place).unwrap().won, rows.summary::<OwnerSummary>().account_id)
    });
    judged.collect()
}

fn won(records: &[Record]) -> Vec<bool> {
    fold(records).into_iter().map(|(won, _)| won).collect()
}

#[test]
fn the_first_gets_a_handle_whichever_way_it_asks() {
    assert_eq!(won(&[account(0, 5, ADA), change(1, 5, BOB, 7), account(2, 5, BOB)]), [true, false, false]);
    assert_eq!(won(&[change(0, 5, BOB, 7), account(1, 5, ADA), change(2, 5, ADA, 7)]), [true, false, false]);
}

#[test]
fn a_verdict_stands_when_its_intent_comes_again() {
    let records = [account(0, 5, ADA), account(1, 5, BOB), release(2, ADA, 9), account(3, FREE_US, BOB)];
    assert_eq!(won(&records), [true, false, true, false], "it has lost, though the handle is free by now");
    let records = [account(0, 5, ADA), release(1, ADA, 9), account(2, FREE_US, ADA)];
    assert_eq!(fold(&records)[2], (true, String::new()), "it has won, and is not asked again");
}

#[test]
fn a_handle_that_was_given_up_is_held_back_for_whom_it_was() {
    let by = |account_id, at_us| won(&[account(0, 5, ADA), release(1, ADA, 9), change(2, at_us, account_id, 11)])[2];
    assert_eq!([by(BOB, FREE_US - 1), by(BOB, FREE_US), by(ADA, 6)], [false, true, true]);
    let made = |at_us| won(&[account(0, 5, ADA), release(1, ADA, 9), account(2, at_us, BOB)])[2];
    assert_eq!([made(FREE_US - 1), made(FREE_US)], [false, true]);
}

#[test]
fn a_release_that_comes_late_or_from_another_ends_nothing() {
    let again = [account(0, 5, ADA), change(1, 6, ADA, 11), release(2, ADA, 9)];
    assert_eq!(fold(&again)[1..], [(true, ADA.to_owned()), (false, ADA.to_owned())], "it is taken back already");
    let later = [account(0, 5, ADA), change(1, 6, ADA, 11), release(2, ADA, 12)];
    assert_eq!(fold(&later)[2], (true, String::new()));
    assert_eq!(fold(&[account(0, 5, ADA), release(1, BOB, 9)])[1], (false, ADA.to_owned()));
}

#[test]
fn what_follows_is_a_function_of_the_verdict() {
    let names = |records: &[Record]| {
        let mut rows = Rows::new(&CLAIMS, 1);
        let effects = records.iter().map(|record| {
            rows.load_empty(&Claims.scope(record).unwrap());
            rows.apply_at(record.position.offset, |rows| Claims.apply(rows, record));
            let then = |effect: Effect| match effect {
                Effect::Read { then, .. } => match &then(&[None])[..] {
                    [Effect::Append(append)] => append.event.type_name().rsplit('.').next().unwrap_or_default(),
                    _ => "nothing",
                },
                _ => "no read",
            };
            Claims.effects(&rows, record).into_iter().map(then).collect::<Vec<_>>()
        });
        effects.collect::<Vec<_>>()
    };
    let records = [account(0, 5, ADA), account(1, 5, BOB), change(2, 5, BOB, 7), release(3, ADA, 9)];
    let none: Vec<&str> = Vec::new();
    assert_eq!(names(&records), [vec!["AccountCreated"], none.clone(), vec!["HandleChangeSettled"], none]);
}

#[test]
fn hostile_records_are_about_nothing() {
    assert!(Asks::of(&account(0, 5, "x")).is_none());
    let event = HandleClaimRequested {
        account_id: ADA.to_owned(),
        handle_key: "star".to_owned(),
        ..HandleClaimRequested::default()
    };
    assert!(Asks::of(&record(0, 5, Private::HandleClaimRequested(event))).is_none(), "a claim of no change");
    let event = HandleReleased { account_id: ADA.to_owned(), handle_key: "STAR".into(), ..HandleReleased::default() };
    assert!(Asks::of(&record(0, 5, Private::HandleReleased(event))).is_none());
}
