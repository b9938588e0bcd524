use kith_log::{LogPartition, Position, topics};

use super::*;

const ADA: &str = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

fn record(offset: u64, event: Identity) -> Record {
    let partition = LogPartition { topic: topics::IDENTITY, index: 0 };
    Record::new(Position { partition, offset }, RecordId([1; 16]), event)
}

fn content(handle: &str) -> Option<Content> {
    let profile = Some(Profile { bio: "counts".into(), ..Profile::default() });
    Some(Content::close(&AccountContent { handle: handle.into(), profile }))
}

fn made(offset: u64) -> Record {
    let (account_id, handle_key) = (ADA.to_owned(), "ada".to_owned());
    let content = content("ada");
    record(offset, Identity::AccountCreated(AccountCreated { account_id, handle_key, content, ..Default::default() }))
}

fn changes(offset: u64, handle: &str, intent_offset: u64) -> Record {
    let (account_id, handle_key, content) = (ADA.to_owned(), handle.to_owned(), content(handle));
    let event = HandleChanged { account_id, handle_key, content, intent_offset, ..HandleChanged::default() };
    record(offset, Identity::HandleChanged(event))
}

fn leaves(offset: u64, handle: &str, intent_offset: u64) -> Record {
    let (account_id, handle_key) = (ADA.to_owned(), handle.to_owned());
    let event = HandleLeft { account_id, handle_key, intent_offset, ..HandleLeft::default() };
    record(offset, Identity::HandleLeft(event))
}

fn account(records: &[Record]) -> Account {
    let mut rows = Rows::new(&ACCOUNTS, 1);
    for record in records {
        let Some(scope) = Accounts.scope(record) else { continue };
        rows.load_empty(&scope);
        rows.apply_at(record.position.offset, |rows| Accounts.apply(rows, record));
    }
    let row: AccountRow = rows.get([]).unwrap();
    assert_eq!(row.first_handle(), "ada");
    row.present(&Opener::new(), ADA)
}

fn has(handle: &str, records: &[Record]) -> bool {
    let mut rows = Rows::new(&HANDLES, 1);
    for record in records {
        let Some(scope) = Handles.scope(record).filter(|scope| scope.partition == Key::text(handle)) else { continue };
        rows.load_empty(&scope);
        rows.apply_at(record.position.offset, |rows| Handles.apply(rows, record));
    }
    rows.get::<HandleRow>([ADA.into()]).is_some_and(|row| row.held)
}

#[test]
fn the_last_change_gives_the_handle_whichever_fact_comes_last() {
    assert_eq!(account(&[made(0)]).handle, "ada");
    let changed = account(&[made(0), leaves(1, "ada", 4), changes(2, "star", 4)]);
    assert_eq!((&*changed.handle, &*changed.profile.unwrap().bio), ("star", "counts"));
    let later = [made(0), changes(1, "star", 4), changes(2, "moon", 7), changes(3, "star", 4), made(4)];
    assert_eq!(account(&later).handle, "moon", "late copies");
    assert_eq!(account(&[made(0), changes(1, "star", 4), changes(2, "ada", 7)]).handle, "ada", "taken back");
}

#[test]
fn a_handle_is_had_until_it_is_left_and_again_once_it_is_taken_back() {
    let records = [made(0), leaves(1, "ada", 4), changes(2, "star", 4), leaves(3, "star", 7), changes(4, "ada", 7)];
    let after = |n: usize| ["ada", "star"].map(|handle| has(handle, &records[..n]));
    assert_eq!([1, 2, 3, 4, 5].map(after), [[true, false], [false, false], [false, true], [false; 2], [true, false]]);
    let late = [made(0), leaves(1, "ada", 4), changes(2, "ada", 7), leaves(3, "ada", 4), made(4)];
    assert!(has("ada", &late), "late copies");
    assert!(!has("ada", &[leaves(0, "ada", 4), made(1)]), "a late copy of the first");
}

#[test]
fn hostile_records_change_nothing() {
    let long = "x".repeat(31);
    for record in [changes(0, &long, 4), leaves(0, &long, 4)] {
        assert!(Accounts.scope(&record).is_none() && Handles.scope(&record).is_none());
    }
}
