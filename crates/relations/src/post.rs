//! The rules by which a record changes a post. Pure. Every table of posts uses them; a group's other columns are its own.

use kith_content::{Content, Opener};
use kith_fold::Record;
use kith_log::Offset;
use kith_proto::posts::v1::post_event::Event as PostEvent;
use kith_proto::posts::v1::{Post, PostAttributes, PostContent, PostCreated, PostDeleted, PostEdited};
use kith_proto::{Event, time};
use kith_tables::Timestamp;

use crate::{are_ids, revision};

/// A record that creates, edits or deletes a post.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    pub post_id: &'a str,
    /// As in the event, unchecked: whoever uses it as a key asks [`Change::has_author`] first.
    pub author_id: &'a str,
    pub event: &'a PostEvent,
}

impl<'a> Change<'a> {
    /// `None`: the record is about no post, or its id can be no key.
    pub fn of(record: &'a Record) -> Option<Self> {
        let Event::Posts(event) = &record.event else { return None };
        let (PostEvent::PostCreated(PostCreated { post_id, author_id, .. })
        | PostEvent::PostEdited(PostEdited { post_id, author_id, .. })
        | PostEvent::PostDeleted(PostDeleted { post_id, author_id, .. })) = event;
        are_ids(&[post_id]).then_some(Self { post_id, author_id, event })
    }

    /// Whether the author can be a key.
    pub fn has_author(&self) -> bool {
        are_ids(&[self.author_id])
    }
}

/// The attributes of the post's content in the event; a deletion has none.
pub fn attributes(event: &PostEvent) -> Option<&PostAttributes> {
    match event {
        PostEvent::PostCreated(event) => event.attributes.as_ref(),
        PostEvent::PostEdited(event) => event.attributes.as_ref(),
        PostEvent::PostDeleted(_) => None,
    }
}

/// Whether an edit whose intent has that offset applies to a post with these columns: only if it is later than the last edit.
pub fn takes_edit(deleted: bool, edit_intent_next: i64, intent_offset: Offset) -> bool {
    !deleted && revision::takes(edit_intent_next, intent_offset)
}

/// BCP 47 tags from their column.
pub fn languages(stored: &str) -> Vec<String> {
    stored.split_terminator(',').map(str::to_owned).collect()
}

/// The columns that every table of posts has. Where there is no post they have their defaults.
#[derive(Debug)]
pub struct Columns<'r> {
    pub author_id: &'r mut String,
    pub content: &'r mut Content,
    /// BCP 47 tags, a comma between them.
    pub languages: &'r mut String,
    pub revision: &'r mut i64,
    pub create_time: &'r mut Timestamp,
    /// 0: never edited.
    pub edit_time: &'r mut Timestamp,
    pub deleted: &'r mut bool,
    /// One past the offset of the last intent applied: an edit whose intent is below changes nothing.
    pub edit_intent_next: &'r mut i64,
}

impl Columns<'_> {
    /// Applies an event dated `at`; false: it changed nothing. Only the first creation counts. A deleted post stays deleted and
    /// loses its content, so that no table keeps what its author deleted.
    pub fn evolve(self, is_there: bool, event: &PostEvent, at: Timestamp) -> bool {
        let content = match event {
            PostEvent::PostCreated(event) if !is_there => {
                *self.author_id = event.author_id.clone();
                *self.revision = 1;
                *self.create_time = at;
                event.content.clone()
            }
            PostEvent::PostEdited(event)
                if is_there && takes_edit(*self.deleted, *self.edit_intent_next, event.intent_offset) =>
            {
                *self.revision = event.revision.into();
                *self.edit_time = at;
                *self.edit_intent_next = revision::intent_after(event.intent_offset);
                event.content.clone()
            }
            PostEvent::PostDeleted(_) if is_there && !*self.deleted => {
                *self.deleted = true;
                None
            }
            PostEvent::PostCreated(_) | PostEvent::PostEdited(_) | PostEvent::PostDeleted(_) => return false,
        };
        *self.content = content.unwrap_or_default();
        *self.languages = attributes(event).map(|attributes| attributes.languages.join(",")).unwrap_or_default();
        true
    }

    /// The post as callers see it, taken out of them.
    pub fn present(self, opener: &Opener, post_id: &str) -> Post {
        let PostContent { text, facets } = opener.open(self.content);
        Post {
            post_id: post_id.to_owned(),
            author_id: std::mem::take(self.author_id),
            text,
            facets,
            languages: languages(self.languages),
            revision: u32::try_from(*self.revision).unwrap_or(u32::MAX),
            create_time: Some(time::of_us(self.create_time.0)),
            edit_time: (*self.edit_time != Timestamp::default()).then(|| time::of_us(self.edit_time.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use kith_log::{LogPartition, Position, RecordId, topics};

    use super::*;

    #[derive(Debug, Default, Clone, PartialEq)]
    struct Row {
        author_id: String,
        content: Content,
        languages: String,
        revision: i64,
        create_time: Timestamp,
        edit_time: Timestamp,
        deleted: bool,
        edit_intent_next: i64,
    }

    impl Row {
        fn columns(&mut self) -> Columns<'_> {
            let Self { author_id, content, languages, revision, create_time, edit_time, deleted, edit_intent_next } =
                self;
            Columns { author_id, content, languages, revision, create_time, edit_time, deleted, edit_intent_next }
        }
    }

    fn says(text: &str) -> (Option<Content>, Option<PostAttributes>) {
        let content = Content::close(&PostContent { text: text.to_owned(), facets: Vec::new() });
        let languages = vec!["de".to_owned(), "pt-BR".to_owned()];
        (Some(content), Some(PostAttributes { languages, ..PostAttributes::default() }))
    }

    fn created(author: &str) -> PostEvent {
        let (content, attributes) = says("one");
        PostEvent::PostCreated(PostCreated { author_id: author.into(), content, attributes, ..PostCreated::default() })
    }

    fn edited(revision: u32, intent_offset: u64) -> PostEvent {
        let (content, attributes) = says(&revision.to_string());
        PostEvent::PostEdited(PostEdited { revision, intent_offset, content, attributes, ..PostEdited::default() })
    }

    fn deleted() -> PostEvent {
        PostEvent::PostDeleted(PostDeleted::default())
    }

    /// The row after events, each dated by its number; and which of them changed it.
    fn after(events: &[PostEvent]) -> (Option<Row>, Vec<bool>) {
        let mut post: Option<Row> = None;
        let evolve = |(at, event): (i64, &PostEvent)| {
            let mut row = post.clone().unwrap_or_default();
            let before = row.clone();
            let changes = row.columns().evolve(post.is_some(), event, Timestamp(at));
            assert_eq!(changes, row != before);
            post = if changes { Some(row) } else { post.take() };
            changes
        };
        let changes = (1..).zip(events).map(evolve).collect();
        (post, changes)
    }

    #[test]
    fn a_post_is_as_its_last_edit_left_it() {
        let (post, changes) = after(&[created("ada"), edited(2, 0), edited(3, 5)]);
        let shown = post.unwrap().columns().present(&Opener::new(), "p");
        assert_eq!((&*shown.post_id, &*shown.author_id, &*shown.text, shown.revision), ("p", "ada", "3", 3));
        assert_eq!(shown.languages, ["de", "pt-BR"]);
        assert_eq!((shown.create_time, shown.edit_time), (Some(time::of_us(1)), Some(time::of_us(3))));
        assert_eq!(changes, [true; 3]);
    }

    #[test]
    fn copies_and_what_comes_too_late_change_nothing() {
        let late = [created("eve"), edited(2, 4), edited(3, 5), edited(9, 0)];
        let all = [[created("ada"), edited(2, 4), edited(3, 5)].as_slice(), &late].concat();
        let (post, changes) = after(&all);
        assert_eq!(post, after(&all[..3]).0);
        assert_eq!(changes, [true, true, true, false, false, false, false]);
        assert!(!takes_edit(false, i64::MAX, 9) && takes_edit(false, i64::MAX, u64::MAX), "a hostile offset is cut");
    }

    #[test]
    fn a_deleted_post_says_nothing_and_stays_deleted() {
        let (post, changes) = after(&[created("ada"), deleted(), created("ada"), edited(2, 9), deleted()]);
        let post = post.unwrap();
        assert!(post.deleted && post.content.is_empty() && post.languages.is_empty() && post.author_id == "ada");
        assert_eq!(changes, [true, true, false, false, false]);
        assert_eq!(after(&[edited(2, 0), deleted()]), (None, vec![false; 2]));
    }

    #[test]
    fn hostile_records_are_about_no_post() {
        let about = |post_id: String, author_id: &str| {
            let position = Position { partition: LogPartition { topic: topics::POSTS, index: 0 }, offset: 0 };
            let event = PostDeleted { post_id, author_id: author_id.to_owned(), ..PostDeleted::default() };
            let record = Record::new(position, RecordId([1; 16]), PostEvent::PostDeleted(event));
            Change::of(&record).map(|change| change.has_author())
        };
        let id = RecordId([7; 16]).to_string();
        assert_eq!(about(id.clone(), &id), Some(true));
        assert_eq!(about(id, ""), Some(false));
        for bad in [String::new(), "ADA".to_owned(), "f".repeat(9_000)] {
            assert_eq!(about(bad, ""), None);
        }
    }
}
