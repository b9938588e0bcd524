//! Which edits win: of those that start from one revision the first in the log.
//!
//! An edit is an intent in the private topic. Its verdict is a function of the intents before it under the same post
//! alone; of a won one the arbiter then appends the fact.

use std::sync::Arc;

use bytes::Bytes;
use kith_fold::{Append, Effect, Fold, Found, Record, Rows, Scope, State};
use kith_log::{RecordId, topics};
use kith_proto::Event;
use kith_proto::posts::private::v1::EditRequested;
use kith_proto::posts::private::v1::post_private_event::Event as PrivateEvent;
use kith_proto::posts::v1::PostEdited;
use kith_proto::posts::v1::post_event::Event as PostEvent;
use kith_service::ids;
use kith_tables::{Column, Key, Order, Row, RowKey, RowType, Section, StoreError, Table, row};

use crate::post::{POSTS, PostRow, Rejection};

pub static EDIT_CLAIMS: Table = Table {
    name: "edit_claims",
    partition: &[Column::text("post_id")],
    clustering: &[Column::text("intent_id")],
    order: Order::Ascending,
    sections: &[Section::of::<ClaimRow>("claim")],
    summary: EditsSummary::COLUMNS,
};

row! {
    /// The verdict on an intent. Its row's position is the intent's own.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ClaimRow in 0 {
        pub won: bool,
        /// What the edit made the revision, or the one that it found and had not expected.
        pub revision: i64,
        pub payload_digest: Bytes,
    }
}
row! {
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct EditsSummary in 0 {
        /// How many edits have won.
        pub edits: i64,
    }
}

/// What is known about an edit that is asked for.
pub struct EditState<'a> {
    pub post: Option<&'a PostRow>,
    /// The verdict, if the same intent has been asked for before.
    pub claim: Option<&'a ClaimRow>,
    /// The revision after all intents that are folded.
    pub revision: u32,
}

/// The intent to append; `None`: it is in the log already. Whether it wins, the log says; only what has lost for
/// certain is refused here, since revisions never go back.
pub fn decide(state: &EditState<'_>, intent: EditRequested) -> Result<Option<EditRequested>, Rejection> {
    match (state.post, state.claim) {
        (None, _) => Err(Rejection::NotFound),
        (Some(post), _) if post.author_id != intent.author_id => Err(post.not_the_author()),
        (Some(_), Some(claim)) if claim.payload_digest == intent.payload_digest => Ok(None),
        (Some(_), Some(_)) => Err(Rejection::RequestIdReused),
        (Some(post), None) if post.deleted => Err(Rejection::NotFound),
        (Some(_), None) if (1..state.revision).contains(&intent.expected_revision) => {
            Err(Rejection::RevisionStale { current: state.revision })
        }
        (Some(_), None) => Ok(Some(intent)),
    }
}

/// The arbiter's fold of the private topic.
pub struct EditClaims;

impl Fold for EditClaims {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&EDIT_CLAIMS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let event = requested(record)?;
        RecordId::parse(&event.post_id)?;
        Some(Scope::new(&EDIT_CLAIMS, Key::text(&event.post_id)).with::<ClaimRow>([record.id.to_string().into()]))
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(event) = requested(record) else { return };
        let intent = [record.id.to_string().into()];
        if rows.get::<ClaimRow>(intent.clone()).is_some() {
            return;
        }
        let mut summary = rows.summary::<EditsSummary>();
        let claim = verdict(&mut summary, event);
        rows.put(intent, claim);
        rows.set_summary(summary);
    }

    fn effects(&self, rows: &Rows, record: &Record) -> Vec<Effect> {
        let Some(event) = requested(record) else { return Vec::new() };
        let intent = [record.id.to_string().into()];
        // Of two copies of an intent only the first stands for the claim.
        let is_first = rows.position::<ClaimRow>(intent.clone()) == Some(record.position.offset);
        match rows.get::<ClaimRow>(intent) {
            Some(claim) if claim.won && is_first => vec![append_unless_applied(won(event, &claim, record))],
            _ => Vec::new(),
        }
    }

    fn appends(&self) -> bool {
        true
    }
}

/// What the intents so far make of this one.
fn verdict(summary: &mut EditsSummary, event: &EditRequested) -> ClaimRow {
    let current = summary.edits.saturating_add(1);
    let expected = i64::from(event.expected_revision);
    // Without content there is nothing that the post could say.
    let won = event.content.is_some() && (expected == 0 || expected == current);
    if won {
        summary.edits = current;
    }
    let revision = current.saturating_add(i64::from(won));
    ClaimRow { won, revision, payload_digest: event.payload_digest.clone() }
}

/// The fact that follows from a won intent.
fn won(event: &EditRequested, claim: &ClaimRow, record: &Record) -> Append {
    let fact = PostEdited {
        post_id: event.post_id.clone(),
        author_id: event.author_id.clone(),
        revision: revision(claim.revision),
        content: event.content.clone(),
        post_create_time: event.post_create_time,
        edit_time: event.request_time,
        intent_offset: record.position.offset,
    };
    Append {
        topic: topics::POSTS,
        key: event.post_id.clone(),
        id: ids::item_id(record.id, b"PostEdited"),
        event: Event::Posts(PostEvent::PostEdited(fact)),
        cause: record.cause(),
    }
}

/// Appends the fact if the post, as the store has it, has not got it yet and can still take it.
fn append_unless_applied(append: Append) -> Effect {
    let partition = Key::text(&append.key);
    let intent_offset = match &append.event {
        Event::Posts(PostEvent::PostEdited(fact)) => i64::try_from(fact.intent_offset).unwrap_or(i64::MAX),
        _ => 0,
    };
    let then = move |rows: &[Option<Row>]| {
        let post = rows.first().and_then(Option::as_ref).and_then(Row::read::<PostRow>);
        let lacks_it = post.is_some_and(|post| !post.deleted && post.edit_intent_next <= intent_offset);
        if lacks_it { vec![Effect::append(append.clone())] } else { Vec::new() }
    };
    Effect::Read { table: &POSTS, partition, rows: vec![RowKey::of::<PostRow>([])], then: Arc::new(then) }
}

/// The verdict on an intent, if it is folded; its position is the intent's.
pub async fn claim(state: &State, post_id: RecordId, intent: RecordId) -> Result<Option<Found<ClaimRow>>, StoreError> {
    state.row::<ClaimRow>(&EDIT_CLAIMS, &Key::text(&post_id.to_string()), [intent.to_string().into()]).await
}

/// The revision of a post after all intents that are folded; its row may not have got there yet.
pub async fn current_revision(state: &State, post_id: RecordId) -> Result<u32, StoreError> {
    let key = post_id.to_string();
    let summary = state.summary::<EditsSummary>(&EDIT_CLAIMS, &Key::text(&key), (topics::POSTS_PRIVATE, &key)).await?;
    Ok(revision(summary.map_or(0, |found| found.row.edits).saturating_add(1)))
}

pub fn revision(stored: i64) -> u32 {
    u32::try_from(stored).unwrap_or(u32::MAX)
}

fn requested(record: &Record) -> Option<&EditRequested> {
    match &record.event {
        Event::PostsPrivate(PrivateEvent::EditRequested(event)) => Some(event),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kith_proto::posts::v1::PostContent;
    use proptest::prelude::*;

    use super::*;

    fn intent(expected_revision: u32) -> EditRequested {
        EditRequested {
            author_id: "ada".into(),
            expected_revision,
            content: Some(PostContent::default()),
            payload_digest: vec![1].into(),
            ..EditRequested::default()
        }
    }

    fn verdicts(expected: &[u32]) -> Vec<(bool, i64)> {
        let mut summary = EditsSummary::default();
        let verdict = |&expected| verdict(&mut summary, &intent(expected));
        expected.iter().map(verdict).map(|claim| (claim.won, claim.revision)).collect()
    }

    #[test]
    fn given_one_revision_when_two_start_from_it_then_the_first_wins() {
        assert_eq!(verdicts(&[1, 1, 2, 2, 1]), [(true, 2), (false, 2), (true, 3), (false, 3), (false, 3)]);
    }

    #[test]
    fn an_edit_from_any_revision_wins_and_one_from_the_future_loses() {
        assert_eq!(verdicts(&[0, 0, 7, 3]), [(true, 2), (true, 3), (false, 3), (true, 4)]);
    }

    #[test]
    fn an_intent_without_content_loses() {
        let mut summary = EditsSummary::default();
        assert!(!verdict(&mut summary, &EditRequested { content: None, ..intent(0) }).won);
        assert_eq!(summary, EditsSummary::default());
    }

    #[test]
    fn what_has_lost_for_certain_is_refused_and_the_rest_is_the_logs() {
        let post = PostRow { author_id: "ada".into(), ..PostRow::default() };
        let gone = PostRow { deleted: true, ..post.clone() };
        let state = |post, claim| EditState { post, claim, revision: 3 };
        let stale = Err(Rejection::RevisionStale { current: 3 });
        assert_eq!(decide(&state(Some(&post), None), intent(2)), stale);
        for expected in [0, 3, 4] {
            assert_eq!(decide(&state(Some(&post), None), intent(expected)), Ok(Some(intent(expected))));
        }
        assert_eq!(decide(&state(None, None), intent(0)), Err(Rejection::NotFound));
        assert_eq!(decide(&state(Some(&gone), None), intent(0)), Err(Rejection::NotFound));
        let by_bob = || EditRequested { author_id: "bob".into(), ..intent(0) };
        assert_eq!(decide(&state(Some(&post), None), by_bob()), Err(Rejection::NotTheAuthor));
        assert_eq!(decide(&state(Some(&gone), None), by_bob()), Err(Rejection::NotFound));
    }

    #[test]
    fn an_intent_asked_for_again_is_not_appended_again() {
        let post = PostRow { author_id: "ada".into(), ..PostRow::default() };
        let claim = ClaimRow { payload_digest: vec![1].into(), ..ClaimRow::default() };
        let state = EditState { post: Some(&post), claim: Some(&claim), revision: 3 };
        assert_eq!(decide(&state, intent(1)), Ok(None));
        let other = EditRequested { payload_digest: vec![2].into(), ..intent(1) };
        assert_eq!(decide(&state, other), Err(Rejection::RequestIdReused));
    }

    proptest! {
        #[test]
        fn revisions_are_dense_and_each_is_won_once(expected in prop::collection::vec(0..6_u32, 0..40)) {
            let verdicts = verdicts(&expected);
            let won: Vec<i64> = verdicts.iter().filter(|(won, _)| *won).map(|(_, revision)| *revision).collect();
            prop_assert_eq!(won, (2..).take(verdicts.iter().filter(|(won, _)| *won).count()).collect::<Vec<i64>>());
        }
    }
}
