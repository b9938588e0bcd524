//! Posts, as far as engagement needs them: `subjects`, from `PostCreated` and `PostDeleted`.

use kith_fold::{Fold, Record, Rows, Scope, State};
use kith_proto::engagement::v1::Subject;
use kith_proto::posts::v1::post_event::Event as Post;
use kith_proto::posts::v1::{PostCreated, PostDeleted};
use kith_proto::{Event, time};
use kith_service::Failure;
use kith_service::ids::{parse_id, parse_id_or_empty};
use kith_service::limits::BATCH_ITEMS;
use kith_tables::{Column, Key, Order, Section, StoreError, Table, Timestamp, row};

use crate::is_id;

pub static SUBJECTS: Table = Table {
    name: "subjects",
    partition: &[Column::text("post_id")],
    clustering: &[],
    order: Order::Ascending,
    sections: &[Section::of::<SubjectRow>("subject")],
    summary: &[],
};

row! {
    /// Who wrote a post and when, and whether it is gone.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct SubjectRow in 0 {
        pub author_id: String,
        pub create_time: Timestamp,
        pub deleted: bool,
    }
}

/// What happens to a post that matters here.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    Created(&'a PostCreated),
    Deleted(&'a PostDeleted),
}

/// The row after the change. A post is created once and deleted for ever, in whichever order copies come.
pub fn evolve(row: Option<SubjectRow>, change: Change<'_>, at: Timestamp) -> SubjectRow {
    match (row, change) {
        (Some(row), Change::Created(_)) => row,
        (None, Change::Created(event)) => {
            SubjectRow { author_id: event.author_id.clone(), create_time: at, deleted: false }
        }
        (Some(row), Change::Deleted(_)) => SubjectRow { deleted: true, ..row },
        (None, Change::Deleted(event)) => {
            let create_time = Timestamp(time::unix_us(event.post_create_time.as_ref()));
            SubjectRow { author_id: event.author_id.clone(), create_time, deleted: true }
        }
    }
}

/// Folds posts.
pub struct Subjects;

impl Fold for Subjects {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&SUBJECTS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let change = Change::of(record)?;
        Some(Scope::new(&SUBJECTS, Key::text(change.post_id())).with::<SubjectRow>([]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        if let Some(change) = Change::of(record) {
            let row = evolve(rows.get([]), change, record.time);
            rows.put([], row);
        }
    }
}

/// A subject whose ids are ids; the comment's may be empty. `path` is the field's.
pub fn parse_subject(path: &str, subject: Option<Subject>) -> Result<Subject, Failure> {
    let subject = subject.ok_or_else(|| Failure::field_missing(path))?;
    parse_id(&format!("{path}.post_id"), &subject.post_id)?;
    parse_id_or_empty(&format!("{path}.comment_id"), &subject.comment_id)?;
    Ok(subject)
}

/// The subjects of a batch.
pub fn parse_subjects(subjects: Vec<Subject>) -> Result<Vec<Subject>, Failure> {
    if subjects.len() > BATCH_ITEMS {
        return Err(Failure::batch_too_long("subjects", subjects.len()));
    }
    let numbered = subjects.into_iter().enumerate();
    numbered.map(|(index, subject)| parse_subject(&format!("subjects[{index}]"), Some(subject))).collect()
}

/// The post, unless there is none or it was deleted.
pub async fn post(state: &State, post_id: &str) -> Result<Option<SubjectRow>, StoreError> {
    let found = state.row::<SubjectRow>(&SUBJECTS, &Key::text(post_id), []).await?;
    Ok(found.map(|found| found.row).filter(|row| !row.deleted))
}

impl<'a> Change<'a> {
    fn of(record: &'a Record) -> Option<Self> {
        let change = match &record.event {
            Event::Posts(Post::PostCreated(event)) => Self::Created(event),
            Event::Posts(Post::PostDeleted(event)) => Self::Deleted(event),
            _ => return None,
        };
        (is_id(change.post_id()) && is_id(change.author_id())).then_some(change)
    }

    fn post_id(self) -> &'a str {
        match self {
            Self::Created(event) => &event.post_id,
            Self::Deleted(event) => &event.post_id,
        }
    }

    fn author_id(self) -> &'a str {
        match self {
            Self::Created(event) => &event.author_id,
            Self::Deleted(event) => &event.author_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created() -> PostCreated {
        PostCreated { author_id: "ada".into(), create_time: Some(time::of_us(7)), ..PostCreated::default() }
    }

    #[test]
    fn a_deleted_post_stays_deleted() {
        let deleted =
            PostDeleted { author_id: "ada".into(), post_create_time: Some(time::of_us(7)), ..Default::default() };
        let (created, deleted) = (created(), deleted);
        let there = evolve(None, Change::Created(&created), Timestamp(7));
        assert_eq!(there, SubjectRow { author_id: "ada".into(), create_time: Timestamp(7), deleted: false });
        let gone = evolve(Some(there.clone()), Change::Deleted(&deleted), Timestamp(7));
        assert_eq!(gone, SubjectRow { deleted: true, ..there });
        assert_eq!(evolve(Some(gone.clone()), Change::Created(&created), Timestamp(7)), gone);
        assert_eq!(evolve(Some(gone.clone()), Change::Deleted(&deleted), Timestamp(7)), gone);
        assert_eq!(evolve(None, Change::Deleted(&deleted), Timestamp(7)), gone);
    }

    #[test]
    fn a_copy_with_another_author_changes_nothing() {
        let there = evolve(None, Change::Created(&created()), Timestamp(7));
        let copy = PostCreated { author_id: "eve".into(), ..created() };
        assert_eq!(evolve(Some(there.clone()), Change::Created(&copy), Timestamp(7)), there);
    }
}
