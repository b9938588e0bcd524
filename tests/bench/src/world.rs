//! The people, posts and conversations that are measured with: functions of a number, so that any process can name them.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use kith_content::Content;
use kith_fold::{Cause, Publisher};
use kith_log::{EventLog, RecordId, topics};
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::engagement::v1::{Reacted, ReactionKind, Subject};
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::identity::v1::{AccountContent, AccountCreated, Followed, Profile};
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::messaging::v1::{
    ConversationCreated, ConversationKind, GroupCreated, GroupTitle, MessageContent, MessageSent, NewMember,
};
use kith_proto::posts::v1::post_event::Event as Posts;
use kith_proto::posts::v1::{PostAttributes, PostContent, PostCreated};
use kith_proto::{Event, time};
use kith_runtime::{Runtime, SplitMix64};

/// Of every topic, unless a measure is about their number.
pub const PARTITIONS: u16 = 16;
/// People of the world in which commands are measured.
pub const ACCOUNTS: u64 = 500;
/// Appends on their way while a world is made.
const APPENDS_IN_FLIGHT: usize = 2_048;
const APPEND_TRIES: u32 = 5;
/// About what people write.
pub const TEXT: &str = "the figures of this morning are in, and they are not what anybody here would have guessed";

/// What a number stands for.
#[derive(Debug, Clone, Copy)]
pub enum Thing {
    Account = 1,
    Post,
    Conversation,
    Message,
    /// A record that stands for nothing else.
    Record,
}

/// The id of thing number `n`.
pub fn id(thing: Thing, n: u64) -> RecordId {
    let seed = ((thing as u64) << 48) | n;
    let (high, low) = (SplitMix64::mix(seed), SplitMix64::mix(seed ^ u64::MAX));
    RecordId(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
}

pub fn text_id(thing: Thing, n: u64) -> String {
    id(thing, n).to_string()
}

/// An event with the id of its record.
pub type Fact = (RecordId, Event);

pub fn account(n: u64) -> Fact {
    let profile = Some(Profile { display_name: format!("Person {n}"), ..Profile::default() });
    let handle = format!("person_{n}");
    let event = AccountCreated {
        account_id: text_id(Thing::Account, n),
        handle_key: handle.clone(),
        content: Some(Content::close(&AccountContent { handle, profile })),
        create_time: Some(time::timestamp(1_000)),
        intent_offset: n,
        ..AccountCreated::default()
    };
    (id(Thing::Account, n), Identity::AccountCreated(event).into())
}

/// Since the beginning of time, so that every post is within it.
pub fn follow(follower: u64, target: u64) -> Fact {
    let event = Followed {
        follower_id: text_id(Thing::Account, follower),
        target_id: text_id(Thing::Account, target),
        shows_shares: true,
        notify: false,
        create_time: Some(time::timestamp(2_000)),
        seen_target_offset: 0,
        backfill_window_seconds: 0,
        request_offset: None,
    };
    (id(Thing::Record, (follower << 24) | target), Identity::Followed(event).into())
}

pub fn post(n: u64, author: u64, at_ms: i64) -> Fact {
    let content = PostContent { text: TEXT.to_owned(), facets: Vec::new() };
    let attributes = PostAttributes { languages: vec!["en".to_owned()], ..PostAttributes::default() };
    let event = PostCreated {
        post_id: text_id(Thing::Post, n),
        author_id: text_id(Thing::Account, author),
        content: Some(Content::close(&content)),
        create_time: Some(time::timestamp(at_ms)),
        payload_digest: vec![7; 32].into(),
        attributes: Some(attributes),
    };
    (id(Thing::Post, n), Posts::PostCreated(event).into())
}

pub fn subject(post: u64) -> Subject {
    Subject { post_id: text_id(Thing::Post, post), comment_id: String::new() }
}

/// `n` makes the record's id, and the kind.
pub fn reaction(n: u64, actor: u64, post: u64) -> Fact {
    let event = Reacted {
        actor_id: text_id(Thing::Account, actor),
        subject: Some(subject(post)),
        subject_author_id: text_id(Thing::Account, 0),
        kind: kind(n).into(),
        create_time: Some(time::timestamp(3_000)),
    };
    (id(Thing::Record, (1 << 47) | n), Engagement::Reacted(event).into())
}

pub fn kind(n: u64) -> ReactionKind {
    [ReactionKind::Like, ReactionKind::Love, ReactionKind::Laugh, ReactionKind::Wow][(n % 4) as usize]
}

/// Between accounts `n` and `n + 1`.
pub fn conversation(n: u64) -> Fact {
    let event = ConversationCreated {
        conversation_id: text_id(Thing::Conversation, n),
        kind: ConversationKind::Direct.into(),
        member_ids: vec![text_id(Thing::Account, n), text_id(Thing::Account, n + 1)],
        creator_id: text_id(Thing::Account, n),
        create_time: Some(time::timestamp(2_000)),
        ..ConversationCreated::default()
    };
    (id(Thing::Conversation, n), Messaging::ConversationCreated(event).into())
}

pub fn message(n: u64, conversation: u64) -> Fact {
    let event = MessageSent {
        conversation_id: text_id(Thing::Conversation, conversation),
        message_id: text_id(Thing::Message, n),
        sender_id: text_id(Thing::Account, conversation),
        content: Some(Content::close(&MessageContent { text: TEXT.to_owned(), ..MessageContent::default() })),
        create_time: Some(time::timestamp(3_000)),
        payload_digest: vec![7; 32].into(),
        ..MessageSent::default()
    };
    (id(Thing::Message, n), Messaging::MessageSent(event).into())
}

/// A group of its own, of accounts `n` and those behind, so many.
pub fn group(n: u64, members: u64) -> Fact {
    let member = |n| NewMember { account_id: text_id(Thing::Account, n), ..NewMember::default() };
    let event = GroupCreated {
        conversation_id: text_id(Thing::Conversation, n),
        creator_id: text_id(Thing::Account, n),
        title: Some(Content::close(&GroupTitle { title: "people who read".to_owned() })),
        members: (n + 1..n + members).map(member).collect(),
        member_limit: 100,
        create_time: Some(time::timestamp(2_000)),
        intent_offset: n,
    };
    (id(Thing::Conversation, n), Messaging::GroupCreated(event).into())
}

/// Appends all of it, in the order of the keys; gives how many.
pub async fn append(log: &Arc<dyn EventLog>, runtime: &Runtime, facts: impl Iterator<Item = Fact>) -> Result<u64> {
    let publisher = Publisher::new(Arc::clone(log), runtime.clone(), "bench");
    let publisher = &publisher;
    let append = |(id, event): Fact| async move {
        let topic = topics::by_name(event.topic_name()).context("an event without a topic")?;
        let mut tries = 1..APPEND_TRIES;
        // A broker that has just made hundreds of partitions is slow to answer; a copy has the same id, and changes nothing.
        while let Err(error) = publisher.append(topic, event.subject(), id, &event, &Cause::default()).await {
            anyhow::ensure!(tries.next().is_some(), error);
        }
        anyhow::Ok(1)
    };
    stream::iter(facts)
        .map(append)
        .buffer_unordered(APPENDS_IN_FLIGHT)
        .try_fold(0, async |sum, one| Ok(sum + one))
        .await
}

/// The size of a world of people who all know each other a little.
#[derive(Debug, Clone, Copy)]
pub struct World {
    pub accounts: u64,
    /// Everybody follows so many of those before them.
    pub follows: u64,
    pub posts: u64,
    pub conversations: u64,
    pub reactions: u64,
    pub messages: u64,
}

impl World {
    /// Everything in it, in an order in which it could have happened.
    pub fn facts(self, now_ms: i64) -> impl Iterator<Item = Fact> {
        let Self { accounts, follows, posts, conversations, reactions, messages } = self;
        let follow = move |n: u64| {
            let (follower, step) = (n % accounts, 1 + n / accounts);
            follow(follower, (follower + accounts - step % accounts) % accounts)
        };
        // Some seconds ago, a millisecond after each other: in one week, and in order.
        let start_ms = now_ms - i64::try_from(posts).unwrap_or(0) - 1_000;
        (0..accounts)
            .map(account)
            .chain((0..accounts * follows).map(follow))
            .chain((0..conversations).map(conversation))
            .chain((0..posts).map(move |n| post(n, n % accounts, start_ms + n as i64)))
            .chain((0..reactions).map(move |n| reaction(n, n % accounts, (n / accounts + n) % posts.max(1))))
            .chain((0..messages).map(move |n| message(n, n % conversations.max(1))))
    }
}
