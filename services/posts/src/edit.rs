//! Which edits win: of those that start from one revision the first in the log.
//!
//! An edit is an intent in the private topic. Its verdict is a function of the intents before it under the same post
//! alone; of a won one the arbiter then appends the fact.

use async_trait::async_trait;
use bytes::Bytes;
use kith_fold::{Append, Contest, Found, Record, State, WaitError};
use kith_log::{LogPartition, Position, RecordId, Topic, topics};
use kith_proto::posts::private::v1::EditRequested;
use kith_proto::posts::private::v1::post_private_event::Event as PrivateEvent;
use kith_proto::posts::v1::post_event::Event as PostEvent;
use kith_proto::posts::v1::{EditPostRequest, EditPostResponse, PostEdited, rpc};
use kith_proto::{Event, time};
use kith_relations::post::{languages, takes_edit};
use kith_relations::{are_ids, revision};
use kith_service::Failure;
use kith_service::command::{Asked, Noun, Standing, Unknown};
use kith_service::contest::{Contests, Settles, Verdict};
use kith_service::ids::{self, parse_id};
use kith_service::kit::Seen;
use kith_tables::{Column, Key, Order, RowType, Section, StoreError, Table, row};

use crate::PostsService;
use crate::content::{self, Said};
use crate::post::{self, POSTS, PostRow, Rejection};

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

/// Asks for a new text.
#[derive(Debug, Clone)]
pub struct Command {
    pub post_id: String,
    pub text: String,
    /// 0: whichever it is.
    pub expected_revision: u32,
}

/// What is known about an edit that is asked for.
#[derive(Debug, Clone, Default)]
pub struct EditState {
    pub post: Option<PostRow>,
    /// The verdict, if the same intent has been asked for before.
    pub claim: Option<ClaimRow>,
    /// The revision after all intents that are folded.
    pub revision: u32,
    /// What the post is to say, its mentions resolved.
    pub said: Said,
}

/// Which edits win, and the RPC that asks.
pub struct Edits;

impl Contest for Edits {
    type Intent = EditRequested;
    type Summary = EditsSummary;
    type Claim = ClaimRow;
    type Subject = PostRow;

    const CLAIMS: &'static Table = &EDIT_CLAIMS;
    const SUBJECTS: &'static Table = &POSTS;

    fn intent(record: &Record) -> Option<&EditRequested> {
        match &record.event {
            Event::PostsPrivate(PrivateEvent::EditRequested(event)) => are_ids(&[&event.post_id]).then_some(event),
            _ => None,
        }
    }

    fn contended(event: &EditRequested) -> Key {
        Key::text(&event.post_id)
    }

    fn judge(summary: &mut EditsSummary, event: &EditRequested, _: &Record) -> ClaimRow {
        verdict(summary, event)
    }

    fn fact(event: &EditRequested, claim: &ClaimRow, record: &Record) -> Option<Append> {
        claim.won.then(|| won(event, claim, record))
    }

    fn is_due(post: Option<&PostRow>, intent_offset: u64) -> bool {
        // The intent had seen the post: a row that is not there is not there yet.
        post.is_none_or(|post| takes_edit(post.deleted, post.edit_intent_next, intent_offset))
    }
}

/// What the intents so far make of this one.
fn verdict(summary: &mut EditsSummary, event: &EditRequested) -> ClaimRow {
    let has_content = event.content.is_some();
    let (won, revision) = revision::judge(&mut summary.edits, event.expected_revision, has_content);
    ClaimRow { won, revision, payload_digest: event.payload_digest.clone() }
}

/// The fact that follows from a won intent.
fn won(event: &EditRequested, claim: &ClaimRow, record: &Record) -> Append {
    let fact = PostEdited {
        post_id: event.post_id.clone(),
        author_id: event.author_id.clone(),
        revision: revision::shown(claim.revision),
        content: event.content.clone(),
        post_create_time: event.post_create_time,
        edit_time: Some(time::of_us(record.time.0)),
        intent_offset: record.position.offset,
        attributes: event.attributes.clone(),
    };
    Append {
        topic: topics::POSTS,
        key: event.post_id.clone(),
        id: ids::item_id(record.id, b"PostEdited"),
        event: Event::Posts(PostEvent::PostEdited(fact)),
        cause: record.cause(),
    }
}

#[async_trait]
impl Noun for Edits {
    type Service = PostsService;
    type Command = Command;
    type State = EditState;
    type Event = EditRequested;
    type Rejection = Rejection;

    const TOPIC: Topic = topics::POSTS_PRIVATE;

    fn key(command: &Command) -> &str {
        &command.post_id
    }

    async fn load(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Standing<EditState>, StoreError> {
        let (state, post_id) = (&seen.state, &*command.post_id);
        let claim = claim(state, post_id, asked.id).await?;
        let revision = current_revision(state, post_id).await?;
        if revision::has_lost(command.expected_revision, revision) {
            // Who is told that the revision is stale and reads again is to see the edit that won. If that takes too long
            // it is told all the same.
            let _ = reached(seen, post_id, revision).await;
        }
        let post = post::seen_by(state, &asked.actor, post_id).await?.map(|found| found.row);
        let languages = post.as_ref().map(|post| languages(&post.languages)).unwrap_or_default();
        let said = content::compose(state, &asked.actor, command.text.clone(), languages).await?;
        let (rests_on, newest) =
            (claim.as_ref().map(|claim| claim.position), post.as_ref().map(PostRow::newest).unwrap_or_default());
        let state = EditState { post, claim: claim.map(|claim| claim.row), revision, said };
        Ok(Standing::new(state, rests_on).after(newest))
    }

    /// The intent to append; `None`: it is in the log already. Whether it wins, the log says; only what has lost for
    /// certain is refused here, since revisions never go back.
    fn decide(state: &EditState, asked: &Asked, command: &Command) -> Result<Option<EditRequested>, Rejection> {
        match (&state.post, &state.claim) {
            (None, _) => Err(Rejection::NotFound),
            (Some(post), _) if post.author_id != asked.actor => Err(post.not_the_author()),
            (Some(_), Some(claim)) if claim.payload_digest[..] == asked.digest[..] => Ok(None),
            (Some(_), Some(_)) => Err(Rejection::RequestIdReused),
            (Some(post), None) if post.deleted => Err(Rejection::NotFound),
            (Some(_), None) if revision::has_lost(command.expected_revision, state.revision) => {
                Err(Rejection::RevisionStale { current: state.revision })
            }
            (Some(post), None) => Ok(Some(EditRequested {
                post_id: command.post_id.clone(),
                author_id: asked.actor.clone(),
                expected_revision: command.expected_revision,
                content: Some(asked.close(&state.said.content)),
                post_create_time: Some(time::of_us(post.create_time.0)),
                request_time: Some(time::of_us(asked.at.0)),
                payload_digest: Bytes::copy_from_slice(&asked.digest),
                attributes: Some(state.said.attributes.clone()),
                rules: 0,
            })),
        }
    }

    /// The verdict is read when the fold has it.
    fn evolve(_: &mut EditState, _: &Record) {}
}

impl Contests<rpc::EditPost> for Edits {
    fn parse(_: &PostsService, _: &Asked, request: EditPostRequest) -> Result<Command, Failure> {
        let EditPostRequest { post_id, text, expected_revision, .. } = request;
        parse_id("post_id", &post_id)?;
        let text = content::parse_text(&text)?;
        Ok(Command { post_id, text, expected_revision })
    }
}

#[async_trait]
impl Settles<rpc::EditPost> for Edits {
    async fn settle(seen: &Seen<'_>, asked: &Asked, command: &Command) -> Result<Verdict<EditPostResponse>, Unknown> {
        let post_id = &*command.post_id;
        let claim = claim(&seen.state, post_id, asked.id).await?;
        let claim = claim.ok_or_else(|| Unknown::defect("a folded edit has no verdict"))?.row;
        let revision = revision::shown(claim.revision);
        let reached = reached(seen, post_id, revision).await;
        if !claim.won {
            return Ok(Verdict::Lost(Rejection::RevisionStale { current: revision }.into()));
        }
        let (post, place) = reached?;
        if post.deleted {
            return Ok(Verdict::Lost(Rejection::NotFound.into()));
        }
        let post = Some(post.present(&seen.opener(), post_id));
        Ok(Verdict::Won(EditPostResponse { post, ..EditPostResponse::default() }, place.into()))
    }
}

/// Waits until the post is at `revision` or deleted: the fact of the edit that made it so is folded.
async fn reached(seen: &Seen<'_>, post_id: &str, revision: u32) -> Result<(PostRow, Position), WaitError> {
    let look = || async {
        let found = post::post(&seen.state, post_id).await?;
        Ok(found.filter(|found| found.row.deleted || found.row.revision >= i64::from(revision)))
    };
    let found = seen.state.until((topics::POSTS, post_id), seen.deadline.at(), look).await?;
    let partition = LogPartition::of_key(topics::POSTS, post_id, seen.state.partition_count());
    Ok((found.row, Position { partition, offset: found.position }))
}

/// The verdict on an intent, if it is folded; its position is the intent's.
async fn claim(state: &State, post_id: &str, intent: RecordId) -> Result<Option<Found<ClaimRow>>, StoreError> {
    state.row::<ClaimRow>(&EDIT_CLAIMS, &Key::text(post_id), [intent.to_string().into()]).await
}

/// The revision of a post after all intents that are folded; its row may not have got there yet.
async fn current_revision(state: &State, post_id: &str) -> Result<u32, StoreError> {
    let owner = (topics::POSTS_PRIVATE, post_id);
    let summary = state.summary::<EditsSummary>(&EDIT_CLAIMS, &Key::text(post_id), owner).await?;
    Ok(revision::after(summary.map_or(0, |found| found.row.edits)))
}

#[cfg(test)]
mod tests;
