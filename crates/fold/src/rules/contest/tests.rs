//! Edits of posts as a toy: a post has two seats, and an edit asks for one.

use kith_log::{LogPartition, Position, RecordId, topics};
use kith_proto::Event;
use kith_proto::posts::private::v1::EditRequested;
use kith_proto::posts::private::v1::post_private_event::Event as Private;
use kith_proto::posts::v1::{PostDeleted, post_event};
use kith_tables::{Column, Order, Row, RowKey, Section, row};

use super::*;

static CLAIMS: Table = Table {
    name: "toy_claims",
    partition: &[Column::text("post_id")],
    clustering: &[Column::text("intent_id")],
    order: Order::Ascending,
    sections: &[Section::of::<ClaimRow>("claim")],
    summary: Seats::COLUMNS,
};
static SUBJECTS: Table = Table {
    name: "toy_subjects",
    partition: &[Column::text("post_id")],
    clustering: &[],
    order: Order::Ascending,
    sections: &[Section::of::<SubjectRow>("subject")],
    summary: &[],
};

row! {
    #[derive(Debug, Clone, PartialEq)]
    struct ClaimRow in 0 { won: bool }
}
row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    struct Seats in 0 { taken: i64 }
}
row! {
    #[derive(Debug, Clone, PartialEq)]
    struct SubjectRow in 0 { intent_next: i64 }
}

struct Toy;

impl Contest for Toy {
    type Intent = EditRequested;
    type Summary = Seats;
    type Claim = ClaimRow;
    type Subject = SubjectRow;

    const CLAIMS: &'static Table = &CLAIMS;
    const SUBJECTS: &'static Table = &SUBJECTS;

    fn intent(record: &Record) -> Option<&EditRequested> {
        match &record.event {
            Event::PostsPrivate(Private::EditRequested(event)) if !event.post_id.is_empty() => Some(event),
            _ => None,
        }
    }

    fn contended(intent: &EditRequested) -> Key {
        Key::text(&intent.post_id)
    }

    fn judge(seats: &mut Seats, _: &EditRequested, _: &Record) -> ClaimRow {
        let won = seats.taken < 2;
        seats.taken += i64::from(won);
        ClaimRow { won }
    }

    fn fact(intent: &EditRequested, claim: &ClaimRow, record: &Record) -> Option<Append> {
        let fact = PostDeleted { post_id: intent.post_id.clone(), ..PostDeleted::default() };
        claim.won.then(|| Append {
            topic: topics::POSTS,
            key: intent.post_id.clone(),
            id: record.id,
            event: Event::Posts(post_event::Event::PostDeleted(fact)),
            cause: record.cause(),
        })
    }

    fn is_due(subject: Option<&SubjectRow>, intent_offset: u64) -> bool {
        subject.is_none_or(|subject| subject.intent_next <= intent_offset as i64)
    }
}

fn intent(offset: u64, id: u8, post_id: &str) -> Record {
    let position = Position { partition: LogPartition { topic: topics::POSTS_PRIVATE, index: 0 }, offset };
    let event = EditRequested { post_id: post_id.to_owned(), ..EditRequested::default() };
    Record::new(position, RecordId([id; 16]), Event::PostsPrivate(Private::EditRequested(event)))
}

/// The rows after intents of these ids, in this order, with the records.
fn folded(ids: &[u8]) -> (Rows, Vec<Record>) {
    let records: Vec<Record> = (0_u64..).zip(ids).map(|(offset, &id)| intent(offset, id, "p")).collect();
    let mut rows = Rows::new(&CLAIMS, 1);
    for record in &records {
        rows.load_empty(&Arbiter(Toy).scope(record).unwrap());
        rows.apply_at(record.position.offset, |rows| Arbiter(Toy).apply(rows, record));
    }
    (rows, records)
}

/// The facts that follow from the record while the subject's row says this.
fn appended(rows: &Rows, record: &Record, subject: Option<Row>) -> usize {
    let carried_out = |effect| match effect {
        Effect::Read { then, .. } => then(std::slice::from_ref(&subject)).len(),
        _ => panic!("nothing is appended without a look"),
    };
    Arbiter(Toy).effects(rows, record).into_iter().map(carried_out).sum()
}

fn subject(columns: Vec<Value>) -> Option<Row> {
    Some(Row { key: RowKey::of::<SubjectRow>([]), columns, position: 0 })
}

#[test]
fn the_first_ones_win_and_a_copy_neither_wins_nor_takes_again() {
    let (rows, records) = folded(&[1, 1, 2, 3]);
    let won = |at: usize| rows.get::<ClaimRow>(Toy::place(&records[at])).unwrap().won;
    assert_eq!([0, 1, 2, 3].map(won), [true, true, true, false]);
    assert_eq!(rows.summary::<Seats>(), Seats { taken: 2 });
    let facts: Vec<usize> = records.iter().map(|record| appended(&rows, record, None)).collect();
    assert_eq!(facts, [1, 0, 1, 0], "one for each that won, by the record that made the verdict");
}

#[test]
fn a_fact_is_appended_while_it_is_due() {
    let (rows, records) = folded(&[1, 2]);
    let facts = |subject: Option<Row>| [0, 1].map(|at: usize| appended(&rows, &records[at], subject.clone()));
    assert_eq!(facts(None), [1, 1]);
    assert_eq!(facts(subject(vec![Value::BigInt(1)])), [0, 1]);
    assert_eq!(facts(subject(vec![Value::BigInt(2)])), [0, 0]);
    assert_eq!(facts(subject(Vec::new())), [0, 0], "what does not read is no reason to say it again");
}

#[test]
fn what_is_no_intent_is_passed_over() {
    let record = intent(0, 1, "");
    let mut rows = Rows::new(&CLAIMS, 1);
    assert!(Arbiter(Toy).scope(&record).is_none());
    rows.apply_at(0, |rows| Arbiter(Toy).apply(rows, &record));
    assert_eq!((rows.summary::<Seats>().taken, Arbiter(Toy).effects(&rows, &record).len()), (0, 0));
}
