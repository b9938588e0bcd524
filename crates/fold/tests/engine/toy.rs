//! Two views and a process manager, as small as they can be.

use std::sync::Arc;

use kith_fold::{Append, Cause, Effect, Fold, Record, Rows, Scope, Then};
use kith_log::{RecordId, topics};
use kith_proto::Event;
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::engagement::v1::{Reacted, Shared};
use kith_proto::posts::v1::PostCreated;
use kith_proto::posts::v1::post_event::Event as Post;
use kith_tables::{Column, Key, Order, Row, RowKey, RowType, Section, Table, row};

/// Reactions by post, evolved; their kinds are added up.
pub static MOODS: Table = Table {
    name: "moods",
    partition: &[Column::text("post_id")],
    clustering: &[Column::text("actor_id")],
    order: Order::Ascending,
    sections: &[Section::of::<MoodRow>("mood")],
    summary: MoodSum::COLUMNS,
};
/// The same by actor, spread to: the last offset that each log partition has of it.
pub static MOODS_OF: Table = Table {
    name: "moods_of",
    partition: &[Column::text("actor_id")],
    clustering: &[Column::text("post_id")],
    order: Order::Ascending,
    sections: &[Section::of::<MoodOfRow>("mood_of")],
    summary: &[],
};
/// Posts that are to be echoed by a share.
pub static CALLS: Table = Table {
    name: "calls",
    partition: &[Column::text("post_id")],
    clustering: &[],
    order: Order::Ascending,
    sections: &[Section::of::<CallRow>("call")],
    summary: &[],
};
/// Posts that were.
pub static ECHOES: Table = Table {
    name: "echoes",
    partition: &[Column::text("post_id")],
    clustering: &[],
    order: Order::Ascending,
    sections: &[Section::of::<EchoRow>("echo")],
    summary: &[],
};

row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct MoodRow in 0 { pub kind: i64 }
}
row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct MoodSum in 0 { pub total: i64, pub records: i64 }
}
row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct MoodOfRow in 0 { pub at_offset: i64 }
}
row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct CallRow in 0 { pub called: bool }
}
row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct EchoRow in 0 { pub echoed: bool }
}

pub struct Moods;
pub struct Calls;
pub struct Echoes;

impl Fold for Moods {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&MOODS, &MOODS_OF]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let event = reacted(record)?;
        Some(Scope::new(&MOODS, Key::text(post_of(event))).with::<MoodRow>([event.actor_id.as_str().into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(event) = reacted(record) else { return };
        let old: MoodRow = rows.get([event.actor_id.as_str().into()]).unwrap_or_default();
        let MoodSum { total, records } = rows.summary();
        let kind = i64::from(event.kind);
        rows.put([event.actor_id.as_str().into()], MoodRow { kind });
        rows.set_summary(MoodSum { total: total - old.kind + kind, records: records + 1 });
    }

    fn effects(&self, _rows: &Rows, record: &Record) -> Vec<Effect> {
        let Some(event) = reacted(record) else { return Vec::new() };
        let (actor, offset) = (Key::text(&event.actor_id), record.position.offset);
        let row = MoodOfRow { at_offset: offset as i64 };
        vec![Effect::put(&MOODS_OF, actor, [post_of(event).into()], row, offset)]
    }
}

impl Fold for Calls {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&CALLS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        Some(Scope::new(&CALLS, Key::text(&created(record)?.post_id)))
    }

    fn apply(&self, rows: &mut Rows, _record: &Record) {
        rows.put([], CallRow { called: true });
    }

    fn effects(&self, _rows: &Rows, record: &Record) -> Vec<Effect> {
        let Some(event) = created(record) else { return Vec::new() };
        let (post_id, cause) = (event.post_id.clone(), record.cause());
        let then: Then<[Option<Row>]> = Arc::new(move |rows| {
            let missing = rows.iter().all(Option::is_none);
            missing.then(|| Effect::append(echo(&post_id, cause.clone()))).into_iter().collect()
        });
        let rows = vec![RowKey::of::<EchoRow>([])];
        vec![Effect::Read { table: &ECHOES, partition: Key::text(&event.post_id), rows, then }]
    }

    fn appends(&self) -> bool {
        true
    }
}

impl Fold for Echoes {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&ECHOES]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        match &record.event {
            Event::Engagement(Engagement::Shared(event)) => Some(Scope::new(&ECHOES, Key::text(&event.post_id))),
            _ => None,
        }
    }

    fn apply(&self, rows: &mut Rows, _record: &Record) {
        rows.put([], EchoRow { echoed: true });
    }
}

/// Reactions per post: the view that a newer release adds.
pub static GIVEN: Table = Table {
    name: "given",
    partition: &[Column::text("post_id")],
    clustering: &[],
    order: Order::Ascending,
    sections: &[Section::of::<GivenRow>("given")],
    summary: GivenSum::COLUMNS,
};

row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct GivenRow in 0 { pub any: bool }
}
row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct GivenSum in 0 { pub reactions: i64 }
}

pub struct Given;

impl Fold for Given {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&GIVEN]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        Some(Scope::new(&GIVEN, Key::text(post_of(reacted(record)?))))
    }

    fn apply(&self, rows: &mut Rows, _record: &Record) {
        let GivenSum { reactions } = rows.summary();
        rows.put([], GivenRow { any: true });
        rows.set_summary(GivenSum { reactions: reactions + 1 });
    }
}

/// Must not apply a reaction of kind 9: it reads a row that its scope does not name.
pub struct Picky;

impl Fold for Picky {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&GIVEN]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        Given.scope(record)
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        if reacted(record).is_some_and(|event| event.kind == 9) {
            rows.get::<GivenRow>([]);
        }
    }
}

fn echo(post_id: &str, cause: Cause) -> Append {
    let event = Shared { post_id: post_id.to_owned(), ..Shared::default() };
    let id = RecordId(cause.causation.unwrap_or_default().0.map(|byte| !byte));
    Append { topic: topics::ENGAGEMENT, key: post_id.to_owned(), id, event: Engagement::Shared(event).into(), cause }
}

fn reacted(record: &Record) -> Option<&Reacted> {
    match &record.event {
        Event::Engagement(Engagement::Reacted(event)) => Some(event),
        _ => None,
    }
}

fn created(record: &Record) -> Option<&PostCreated> {
    match &record.event {
        Event::Posts(Post::PostCreated(event)) => Some(event),
        _ => None,
    }
}

fn post_of(event: &Reacted) -> &str {
    event.subject.as_ref().map_or("", |subject| &subject.post_id)
}
