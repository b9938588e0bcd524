//! The log, read as naively as it can be: one record after the other, every id once. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kith_log::{LogPartition, Offset, PartitionIndex, Position, Record, RecordId, Topic, topics};
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::posts::v1::post_event::Event as Posts;
use kith_proto::{Event, time};

use super::timeline::Timeline;

/// What one account is to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    pub following: bool,
    pub blocking: bool,
    /// Since when, less what the follow reaches back.
    pub since_ms: i64,
    pub shows_shares: bool,
    /// How much of the target's partition the follow had seen.
    pub seen: Offset,
    /// One more than the offset of the last block, standing or not.
    pub block_next: Offset,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Post {
    pub author: String,
    pub text: String,
    pub revision: u32,
    pub at_ms: i64,
    pub deleted: bool,
    edits: Offset,
}

/// A share that stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    pub id: String,
    pub at_ms: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Talk {
    pub members: BTreeMap<String, u64>,
    /// In their order.
    pub messages: Vec<String>,
}

/// What stands around a post.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    pub reactions: BTreeMap<String, i32>,
    /// With who wrote them.
    pub comments: BTreeMap<String, String>,
    pub shares: BTreeMap<String, Share>,
}

#[derive(Debug, Default)]
pub struct Ledger {
    partitions: PartitionIndex,
    /// (actor, target)
    pub edges: BTreeMap<(String, String), Timeline<Edge>>,
    pub posts: BTreeMap<String, Timeline<Post>>,
    pub around: BTreeMap<String, Timeline<Around>>,
    pub talks: BTreeMap<String, Timeline<Talk>>,
    /// Who was made under a handle, in the order of the log.
    pub owners: BTreeMap<String, BTreeSet<String>>,
    /// Who asked for it, in the order of the log.
    pub claims: BTreeMap<String, Vec<String>>,
    pub places: BTreeMap<RecordId, Vec<Position>>,
    /// Records by partition.
    pub ends: BTreeMap<LogPartition, Offset>,
    /// Texts of posts and messages and comments, with the ids that say them.
    pub said: BTreeMap<String, BTreeSet<String>>,
}

impl Ledger {
    pub fn of(records: &[Record], partitions: PartitionIndex) -> Self {
        let mut ledger = Self { partitions, ..Self::default() };
        for record in records {
            let position = record.position;
            ledger.ends.insert(position.partition, position.offset + 1);
            let Some(id) = record.id() else { continue };
            let places = ledger.places.entry(id).or_default();
            places.push(position);
            let is_new = places.len() == 1;
            let Ok(event) = Event::decode(position.partition.topic.name, &record.value) else { continue };
            match event {
                Event::Identity(event) => ledger.identity(&event, is_new, position.offset),
                Event::IdentityPrivate(event) => ledger.claim(&event),
                Event::Posts(event) if is_new => ledger.post(&event, position.offset),
                Event::Engagement(event) if is_new => ledger.engage(&event, position.offset),
                Event::Messaging(event) if is_new => ledger.talk(&event, position.offset),
                _ => {}
            }
        }
        ledger
    }

    pub fn partition(&self, topic: Topic, key: &str) -> LogPartition {
        LogPartition::of_key(topic, key, self.partitions)
    }

    fn claim(&mut self, event: &kith_proto::identity::private::v1::identity_private_event::Event) {
        let kith_proto::identity::private::v1::identity_private_event::Event::AccountRequested(event) = event;
        self.claims.entry(event.handle.clone()).or_default().push(event.account_id.clone());
    }

    fn identity(&mut self, event: &Identity, is_new: bool, offset: Offset) {
        let (who, whom) = match event {
            Identity::AccountCreated(event) => {
                self.owners.entry(event.handle.clone()).or_default().insert(event.account_id.clone());
                return;
            }
            Identity::Followed(event) => (&event.follower_id, &event.target_id),
            Identity::Unfollowed(event) => (&event.follower_id, &event.target_id),
            Identity::FollowCut(event) => (&event.follower_id, &event.target_id),
            Identity::Blocked(event) => (&event.actor_id, &event.target_id),
            Identity::Unblocked(event) => (&event.actor_id, &event.target_id),
        };
        let line = self.edges.entry((who.clone(), whom.clone())).or_default();
        let mut now = line.last();
        match event {
            Identity::FollowCut(event) => now.following &= now.seen > event.block_offset,
            Identity::Followed(event) if is_new && !now.blocking => {
                if !now.following {
                    let window = i64::from(event.backfill_window_seconds) * 1_000;
                    now.since_ms = time::unix_ms(event.create_time.as_ref()) - window;
                }
                now.following = true;
                now.shows_shares = event.shows_shares;
                now.seen = event.seen_target_offset;
            }
            Identity::Unfollowed(_) if is_new => now.following = false,
            Identity::Blocked(_) if is_new => {
                (now.following, now.blocking, now.block_next) = (false, true, offset + 1);
            }
            Identity::Unblocked(_) if is_new => now.blocking = false,
            _ => {}
        }
        line.set(offset, now);
    }

    fn post(&mut self, event: &Posts, offset: Offset) {
        let id = match event {
            Posts::PostCreated(event) => &event.post_id,
            Posts::PostEdited(event) => &event.post_id,
            Posts::PostDeleted(event) => &event.post_id,
        };
        let line = self.posts.entry(id.clone()).or_default();
        let mut now = line.last();
        match event {
            Posts::PostCreated(event) if now.revision == 0 => {
                now.author = event.author_id.clone();
                now.text = event.content.clone().unwrap_or_default().text;
                now.revision = 1;
                now.at_ms = time::unix_ms(event.create_time.as_ref());
                self.said.entry(now.text.clone()).or_default().insert(id.clone());
            }
            Posts::PostEdited(event) if !now.deleted && event.intent_offset >= now.edits => {
                now.text = event.content.clone().unwrap_or_default().text;
                now.revision = event.revision;
                now.edits = event.intent_offset + 1;
            }
            Posts::PostDeleted(_) if now.revision > 0 => now.deleted = true,
            _ => {}
        }
        line.set(offset, now);
    }

    fn engage(&mut self, event: &Engagement, offset: Offset) {
        let subject = |subject: &Option<kith_proto::engagement::v1::Subject>| {
            subject.as_ref().map(|subject| subject.post_id.clone()).unwrap_or_default()
        };
        let post_id = match event {
            Engagement::Reacted(event) => subject(&event.subject),
            Engagement::Unreacted(event) => subject(&event.subject),
            Engagement::CommentCreated(event) => event.post_id.clone(),
            Engagement::Shared(event) => event.post_id.clone(),
            Engagement::Unshared(event) => event.post_id.clone(),
        };
        let line = self.around.entry(post_id).or_default();
        let mut now = line.last();
        match event {
            Engagement::Reacted(event) => _ = now.reactions.insert(event.actor_id.clone(), event.kind),
            Engagement::Unreacted(event) => _ = now.reactions.remove(&event.actor_id),
            Engagement::CommentCreated(event) => {
                let text = event.content.clone().unwrap_or_default().text;
                self.said.entry(text).or_default().insert(event.comment_id.clone());
                now.comments.insert(event.comment_id.clone(), event.author_id.clone());
            }
            Engagement::Shared(event) => {
                let at_ms = time::unix_ms(event.create_time.as_ref());
                let share = Share { id: event.share_id.clone(), at_ms };
                now.shares.entry(event.actor_id.clone()).or_insert(share);
            }
            Engagement::Unshared(event) => now.shares.retain(|_, share| share.id != event.share_id),
        }
        line.set(offset, now);
    }

    fn talk(&mut self, event: &Messaging, offset: Offset) {
        let id = match event {
            Messaging::ConversationCreated(event) => &event.conversation_id,
            Messaging::MessageSent(event) => &event.conversation_id,
            Messaging::ReadMarkerMoved(event) => &event.conversation_id,
        };
        let line = self.talks.entry(id.clone()).or_default();
        let mut now = line.last();
        let last = now.messages.len() as u64;
        match event {
            Messaging::ConversationCreated(event) if now.members.is_empty() => {
                now.members = event.member_ids.iter().map(|id| (id.clone(), 0)).collect();
            }
            Messaging::MessageSent(event) => {
                let text = event.content.clone().unwrap_or_default().text;
                self.said.entry(text).or_default().insert(event.message_id.clone());
                if let Some(read) = now.members.get_mut(&event.sender_id) {
                    *read = last + 1;
                    now.messages.push(event.message_id.clone());
                }
            }
            Messaging::ReadMarkerMoved(event) => {
                if let Some(read) = now.members.get_mut(&event.account_id) {
                    *read = event.up_to_number.min(last).max(*read);
                }
            }
            Messaging::ConversationCreated(_) => {}
        }
        line.set(offset, now);
    }

    /// What `who` is to `whom` while a call could see it.
    pub fn edge(&self, call: &super::history::Call, who: &str, whom: &str) -> Vec<Edge> {
        let window = call.window(self.partition(topics::IDENTITY, who));
        let line = self.edges.get(&(who.to_owned(), whom.to_owned()));
        line.map_or_else(|| vec![Edge::default()], |line| line.within(window))
    }
}
