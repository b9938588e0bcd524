use bytes::Bytes;
use kith_log::{LogPartition, Position};
use kith_tables::{Cell, RowKey, RowType, Timestamp};

use super::*;
use crate::change_row::ChangeTimes;

const ADA: &str = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";
const DAY_US: i64 = 24 * 3_600 * 1_000_000;

fn id(offset: u64) -> RecordId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&offset.to_be_bytes());
    RecordId(id)
}

fn record(offset: u64, at_us: i64, event: Private) -> Record {
    let partition = LogPartition { topic: topics::IDENTITY_PRIVATE, index: 0 };
    let mut record = Record::new(Position { partition, offset }, id(offset), event);
    record.time = Timestamp(at_us);
    record
}

fn wants(offset: u64, at_us: i64, handle: &str) -> Record {
    let event = HandleChangeRequested {
        account_id: ADA.to_owned(),
        handle_key: handle.to_owned(),
        from_handle_key: "first".to_owned(),
        ..HandleChangeRequested::default()
    };
    record(offset, at_us, Private::HandleChangeRequested(event))
}

fn settled(offset: u64, at_us: i64, change: u64, won: bool) -> Record {
    let (account_id, change_id) = (ADA.to_owned(), id(change).to_string());
    let event = HandleChangeSettled { account_id, change_id, won, ..HandleChangeSettled::default() };
    record(offset, at_us, Private::HandleChangeSettled(event))
}

/// The tables' rows after records, and what each appends where nothing that it looks for is there.
#[derive(Default)]
struct Folded {
    rows: Option<Rows>,
    follows: Vec<Vec<Append>>,
}

impl Folded {
    fn of(records: &[Record]) -> Self {
        let mut folded = Self::default();
        records.iter().for_each(|record| folded.fold(record));
        folded
    }

    fn fold(&mut self, record: &Record) {
        let rows = self.rows.get_or_insert_with(|| Rows::new(&CHANGES, 1));
        rows.load_empty(&Changes.scope(record).unwrap());
        rows.apply_at(record.position.offset, |rows| Changes.apply(rows, record));
        let appended = |effect: Effect| match effect {
            Effect::Read { then, .. } => then(&[None]),
            _ => Vec::new(),
        };
        let appended = Changes.effects(rows, record).into_iter().flat_map(appended).map(|effect| match effect {
            Effect::Append(append) => *append,
            _ => panic!("another effect"),
        });
        self.follows.push(appended.collect());
    }

    fn outcome(&self, change: u64) -> i64 {
        self.rows.as_ref().unwrap().get::<ChangeRow>([id(change).to_string().into()]).unwrap().outcome
    }

    fn names(&self, at: usize) -> Vec<&'static str> {
        let name = |append: &Append| append.event.type_name().rsplit('.').next().unwrap_or_default();
        self.follows[at].iter().map(name).collect()
    }
}

#[test]
fn one_change_is_under_way_at_a_time() {
    let folded = Folded::of(&[wants(0, 1, "star"), wants(1, 2, "moon"), settled(2, 1, 0, true), wants(3, 3, "moon")]);
    assert_eq!([0, 1, 3].map(|change| folded.outcome(change)), [WON, ANOTHER_UNDER_WAY, UNDER_WAY]);
    assert_eq!(folded.names(0), ["HandleClaimRequested"]);
    assert_eq!((folded.names(1), folded.names(3)), (vec![], vec!["HandleClaimRequested"]));
}

#[test]
fn a_change_that_won_gives_the_handle_and_releases_the_one_before() {
    let folded =
        Folded::of(&[wants(0, 1, "star"), settled(1, 1, 0, true), wants(2, 2, "moon"), settled(3, 2, 2, true)]);
    assert_eq!(folded.names(1), ["HandleLeft", "HandleChanged", "HandleReleased"]);
    let key = |append: &Append| match append.event.clone() {
        Event::Identity(Identity::HandleLeft(event)) => (event.handle_key, event.intent_offset),
        Event::Identity(Identity::HandleChanged(event)) => (event.handle_key, event.intent_offset),
        Event::IdentityPrivate(Private::HandleReleased(event)) => {
            let held_us = time::unix_us(event.free_time.as_ref()) - 2;
            assert_eq!(held_us, us(HANDLE_HELD_SECONDS));
            (event.handle_key, event.settle_offset)
        }
        other => panic!("{other:?}"),
    };
    let keys: Vec<_> = folded.follows[3].iter().map(key).collect();
    let expected = ["star", "moon", "star"].map(|handle| (handle.to_owned(), 3));
    assert_eq!(keys, expected, "not the one that the intent had seen");
}

#[test]
fn a_change_that_lost_gives_nothing_and_lets_the_next_go_on() {
    let folded = Folded::of(&[wants(0, 1, "star"), settled(1, 1, 0, false), wants(2, 2, "moon")]);
    assert_eq!([folded.outcome(0), folded.outcome(2)], [TAKEN, UNDER_WAY]);
    assert!(folded.follows[1].is_empty());
}

#[test]
fn copies_change_nothing() {
    let mut folded = Folded::of(&[wants(0, 1, "star"), settled(1, 1, 0, true)]);
    let copy = |offset, mut record: Record| {
        record.position.offset = offset;
        record
    };
    folded.fold(&copy(2, wants(0, 1, "star")));
    folded.fold(&copy(3, settled(1, 1, 0, false)));
    assert_eq!(folded.outcome(0), WON);
    assert!(folded.follows[2].is_empty() && folded.follows[3].is_empty());
    let unknown = Folded::of(&[settled(0, 1, 7, true)]);
    assert!(unknown.follows[0].is_empty(), "of no change");
    assert_eq!(unknown.rows.unwrap().summary::<ChangesSummary>(), ChangesSummary::default());
}

#[test]
fn the_handle_that_it_has_is_had_at_once() {
    let folded = Folded::of(&[wants(0, 1, "first"), wants(1, 2, "star"), settled(2, 2, 1, true), wants(3, 3, "star")]);
    assert_eq!([0, 3].map(|change| folded.outcome(change)), [WON, WON]);
    assert!(folded.follows[0].is_empty() && folded.follows[3].is_empty());
}

#[test]
fn so_many_changes_in_so_many_days() {
    let mut folded = Folded::default();
    let mut offset = 0;
    for day in 0..4 {
        folded.fold(&wants(offset, day * DAY_US, &format!("star_{day}")));
        folded.fold(&settled(offset + 1, day * DAY_US, offset, true));
        offset += 2;
    }
    for (at_us, expected) in [(29 * DAY_US, TOO_OFTEN), (30 * DAY_US - 1, TOO_OFTEN), (30 * DAY_US, UNDER_WAY)] {
        folded.fold(&wants(offset, at_us, "moon"));
        assert_eq!(folded.outcome(offset), expected, "{at_us}");
        offset += 1;
    }
    // The first of the four is forgotten now; the second still counts.
    folded.fold(&settled(offset, 30 * DAY_US, offset - 1, true));
    let times = folded.rows.unwrap().summary::<ChangesSummary>().times;
    assert_eq!(times.wait_us(Timestamp(30 * DAY_US)), Some(DAY_US));
    assert_eq!(ChangeTimes::from_value(times.clone().into_value()), Some(times));
    assert_eq!(ChangeTimes::from_value(Value::Blob(Bytes::from_static(b"short"))), None);
}

#[test]
fn what_is_applied_is_not_appended_again() {
    let change = ChangeRow {
        won: true,
        outcome: WON,
        handle_key: "star".into(),
        from_handle_key: "first".into(),
        ..ChangeRow::default()
    };
    let record = settled(5, 1, 0, true);
    let given = Given { account_id: ADA, change: &change, record: &record };
    let appends = |effect: Effect, row: Option<kith_tables::Row>| match effect {
        Effect::Read { then, .. } => then(&[row]).len(),
        _ => panic!("another effect"),
    };
    let row = |columns, key| Some(kith_tables::Row { key, columns, position: 9 });
    let account = |next| {
        let account = AccountRow { handle_intent_next: next, ..AccountRow::default() };
        row(account.into_columns(), RowKey::of::<AccountRow>([]))
    };
    let handle = |intent_next| {
        let key = RowKey::of::<HandleRow>([ADA.into()]);
        row(HandleRow { held: true, intent_next }.into_columns(), key)
    };
    assert_eq!([5, 6].map(|next| appends(given.changed(), account(next))), [1, 0]);
    assert_eq!([5, 6].map(|next| appends(given.left(), handle(next))), [1, 0]);
    let released = row(ClaimRow::default().into_columns(), RowKey::of::<ClaimRow>(["x".into()]));
    assert_eq!((appends(given.released(), None), appends(given.released(), released)), (1, 0));
}
