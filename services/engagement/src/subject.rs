//! Posts, as far as engagement needs them: `subjects`, from `PostCreated` and `PostDeleted`.

use kith_fold::{Fold, Record, Rows, Scope, State};
use kith_proto::engagement::v1::Subject;
use kith_proto::posts::v1::post_event::Event as Post;
use kith_proto::time;
use kith_relations::post::Change;
use kith_service::Failure;
use kith_service::ids::{parse_id, parse_id_or_empty};
use kith_service::limits::BATCH_ITEMS;
use kith_tables::{Column, Key, Order, Section, StoreError, Table, Timestamp, row};

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

/// The row after the event. A post is created once and deleted for ever, in whichever order copies come.
pub fn evolve(row: Option<SubjectRow>, event: &Post, at: Timestamp) -> Option<SubjectRow> {
    match (row, event) {
        (row, Post::PostEdited(_)) => row,
        (Some(row), Post::PostCreated(_)) => Some(row),
        (None, Post::PostCreated(event)) => {
            Some(SubjectRow { author_id: event.author_id.clone(), create_time: at, deleted: false })
        }
        (Some(row), Post::PostDeleted(_)) => Some(SubjectRow { deleted: true, ..row }),
        (None, Post::PostDeleted(event)) => {
            let create_time = Timestamp(time::unix_us(event.post_create_time.as_ref()));
            Some(SubjectRow { author_id: event.author_id.clone(), create_time, deleted: true })
        }
    }
}

/// What happens to a post that matters here: that it is made, and that it goes.
fn change(record: &Record) -> Option<Change<'_>> {
    Change::of(record).filter(|change| change.has_author() && !matches!(change.event, Post::PostEdited(_)))
}

/// Folds posts.
pub struct Subjects;

impl Fold for Subjects {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&SUBJECTS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        Some(Scope::new(&SUBJECTS, Key::text(change(record)?.post_id)).with::<SubjectRow>([]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(change) = change(record) else { return };
        if let Some(row) = evolve(rows.get([]), change.event, record.time) {
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

#[cfg(test)]
mod tests {
    use kith_proto::posts::v1::{PostCreated, PostDeleted};

    use super::*;

    fn created() -> PostCreated {
        PostCreated { author_id: "ada".into(), create_time: Some(time::of_us(7)), ..PostCreated::default() }
    }

    #[test]
    fn a_deleted_post_stays_deleted() {
        let deleted =
            PostDeleted { author_id: "ada".into(), post_create_time: Some(time::of_us(7)), ..Default::default() };
        let (created, deleted) = (Post::PostCreated(created()), Post::PostDeleted(deleted));
        let there = evolve(None, &created, Timestamp(7)).unwrap();
        assert_eq!(there, SubjectRow { author_id: "ada".into(), create_time: Timestamp(7), deleted: false });
        let gone = evolve(Some(there.clone()), &deleted, Timestamp(7)).unwrap();
        assert_eq!(gone, SubjectRow { deleted: true, ..there });
        assert_eq!(evolve(Some(gone.clone()), &created, Timestamp(7)), Some(gone.clone()));
        assert_eq!(evolve(Some(gone.clone()), &deleted, Timestamp(7)), Some(gone.clone()));
        assert_eq!(evolve(None, &deleted, Timestamp(7)), Some(gone));
    }

    #[test]
    fn a_copy_with_another_author_changes_nothing() {
        let there = evolve(None, &Post::PostCreated(created()), Timestamp(7));
        let copy = Post::PostCreated(PostCreated { author_id: "eve".into(), ..created() });
        assert_eq!(evolve(there.clone(), &copy, Timestamp(7)), there);
    }
}
