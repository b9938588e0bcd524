//! What every home feed must show after a history, computed naively from its events alone.

use std::collections::{BTreeMap, BTreeSet};

use kith_content::Opener;
use kith_log::RecordId;
use kith_proto::engagement::v1::engagement_event::Event as Engagement;
use kith_proto::engagement::v1::{ReactionKind, Shared};
use kith_proto::feeds::v1::FeedItem;
use kith_proto::feeds::v1::feed_reason::Reason;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::posts::v1::post_event::Event as Posts;
use kith_proto::posts::v1::{PostContent, PostCreated};
use kith_proto::{Event, time};

use super::suite::NOW_MS;

/// What is compared of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub post_id: String,
    pub text: String,
    pub author_handle: String,
    /// Who shared it, and when; `None`: the author is followed.
    pub shared_by: Option<(String, i64)>,
    /// What it is ordered by.
    pub at_ms: i64,
    /// Reactions by kind, comments, shares.
    pub counts: (Vec<(i32, u64)>, u64, u64),
    pub mine: (i32, bool),
}

impl Shown {
    pub fn of(item: &FeedItem) -> Self {
        let (post, counts) = (item.post.clone().unwrap(), item.counts.clone().unwrap());
        let by_kind = counts.reactions_by_kind.iter().map(|of| (of.kind, of.count)).collect();
        let mine = item.viewer_state.unwrap();
        let shared_by = match item.reason.clone().unwrap().reason.unwrap() {
            Reason::FollowedAuthor(_) => None,
            Reason::SharedBy(by) => Some((by.account_id, time::unix_ms(by.share_time.as_ref()))),
        };
        let at_ms = shared_by.as_ref().map_or(time::unix_ms(post.create_time.as_ref()), |(_, at)| *at);
        Self {
            post_id: post.post_id,
            text: post.text,
            author_handle: item.author.clone().unwrap().handle,
            shared_by,
            at_ms,
            counts: (by_kind, counts.comment_count, counts.share_count),
            mine: (mine.reaction, mine.shared),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Edge {
    following: bool,
    /// Now, or before.
    followed: bool,
    blocking: bool,
    since_ms: i64,
    shows_shares: bool,
    seen: u64,
    /// Whether posts and shares are muted now.
    mutes: (bool, bool),
}

/// The final states, computed one event after the other.
#[derive(Debug, Default)]
pub struct Naive {
    edges: BTreeMap<(String, String), Edge>,
    /// Text and author of those not deleted; times.
    posts: BTreeMap<String, (PostCreated, bool)>,
    shares: BTreeMap<String, Shared>,
    /// (post, actor) → the share that stands.
    standing: BTreeMap<(String, String), String>,
    reactions: BTreeMap<(String, String), i32>,
    comments: BTreeMap<String, BTreeSet<String>>,
    handles: BTreeMap<String, String>,
    seen: BTreeSet<RecordId>,
}

impl Naive {
    pub fn of(records: &[(RecordId, Event)]) -> Self {
        let mut naive = Self::default();
        for (id, event) in records {
            let is_new = naive.seen.insert(*id);
            match event {
                Event::Identity(event) => naive.identity(event, is_new),
                Event::Posts(event) if is_new => naive.post(event),
                Event::Engagement(event) if is_new => naive.engagement(event),
                _ => {}
            }
        }
        naive
    }

    fn identity(&mut self, event: &Identity, is_new: bool) {
        let edge = |edges: &'_ mut BTreeMap<(String, String), Edge>, who: &str, whom: &str| {
            std::mem::take(edges.entry((who.to_owned(), whom.to_owned())).or_default())
        };
        let (who, whom) = match event {
            Identity::AccountCreated(event) => {
                self.handles.insert(event.account_id.clone(), event.handle_key.clone());
                return;
            }
            Identity::HandleChanged(event) => {
                self.handles.insert(event.account_id.clone(), event.handle_key.clone());
                return;
            }
            Identity::Followed(event) => (&event.follower_id, &event.target_id),
            Identity::Unfollowed(event) => (&event.follower_id, &event.target_id),
            Identity::FollowCut(event) => (&event.follower_id, &event.target_id),
            Identity::Blocked(event) => (&event.actor_id, &event.target_id),
            Identity::Unblocked(event) => (&event.actor_id, &event.target_id),
            Identity::Muted(event) => (&event.actor_id, &event.target_id),
            Identity::Unmuted(event) => (&event.actor_id, &event.target_id),
            // The cut that follows says it.
            Identity::FollowerRemoved(_) => return,
            Identity::ProfileUpdated(_)
            | Identity::IdentityLinked(_)
            | Identity::IdentityUnlinked(_)
            | Identity::AccountDeactivated(_)
            | Identity::AccountReactivated(_)
            | Identity::HandleLeft(_)
            | Identity::FollowRequested(_)
            | Identity::FollowRequestAnswered(_)
            | Identity::FollowRequestEnded(_)
            | Identity::TagFollowed(_)
            | Identity::TagUnfollowed(_)
            | Identity::SuggestionDismissed(_) => return,
        };
        let mut now = edge(&mut self.edges, who, whom);
        match event {
            Identity::FollowCut(event) if now.seen <= event.block_offset => now.following = false,
            Identity::Followed(event) if is_new && !now.blocking => {
                if !now.following {
                    let window_ms = i64::from(event.backfill_window_seconds) * 1_000;
                    now.since_ms = time::unix_ms(event.create_time.as_ref()) - window_ms;
                }
                (now.following, now.followed) = (true, true);
                now.shows_shares = event.shows_shares;
                now.seen = event.seen_target_offset;
            }
            Identity::Unfollowed(_) if is_new => now.following = false,
            Identity::Blocked(_) if is_new => now = Edge { blocking: true, following: false, ..now },
            Identity::Unblocked(_) if is_new => now.blocking = false,
            Identity::Muted(event) if is_new => {
                let scopes = event.scopes.unwrap_or_default();
                let is_over = event.end_time.as_ref().is_some_and(|end| time::unix_ms(Some(end)) < NOW_MS);
                now.mutes = (scopes.posts && !is_over, scopes.shares && !is_over);
            }
            Identity::Unmuted(_) if is_new => now.mutes = (false, false),
            _ => {}
        }
        self.edges.insert((who.clone(), whom.clone()), now);
    }

    fn post(&mut self, event: &Posts) {
        match event {
            Posts::PostCreated(event) => {
                self.posts.insert(event.post_id.clone(), (event.clone(), true));
            }
            Posts::PostEdited(event) => {
                let (post, _) = self.posts.get_mut(&event.post_id).unwrap();
                post.content = event.content.clone();
            }
            Posts::PostDeleted(event) => self.posts.get_mut(&event.post_id).unwrap().1 = false,
        }
    }

    fn engagement(&mut self, event: &Engagement) {
        match event {
            Engagement::Reacted(event) => {
                let place = (event.subject.clone().unwrap().post_id, event.actor_id.clone());
                self.reactions.insert(place, event.kind);
            }
            Engagement::Unreacted(event) => {
                self.reactions.remove(&(event.subject.clone().unwrap().post_id, event.actor_id.clone()));
            }
            Engagement::CommentCreated(event) => {
                self.comments.entry(event.post_id.clone()).or_default().insert(event.comment_id.clone());
            }
            _ => self.shares(event),
        }
    }

    fn shares(&mut self, event: &Engagement) {
        match event {
            Engagement::Shared(event) => {
                self.shares.insert(event.share_id.clone(), event.clone());
                let place = (event.post_id.clone(), event.actor_id.clone());
                self.standing.entry(place).or_insert(event.share_id.clone());
            }
            Engagement::Unshared(event) => {
                let place = (event.post_id.clone(), event.actor_id.clone());
                if self.standing.get(&place) == Some(&event.share_id) {
                    self.standing.remove(&place);
                }
            }
            _ => {}
        }
    }

    /// Every post that ever was.
    pub fn posts(&self) -> impl Iterator<Item = &String> {
        self.posts.keys()
    }

    /// Whether the reader is told what becomes of the post: not of one whose author blocks the reader, nor of a deleted one
    /// that by nobody whom the reader follows, or followed, could have come into the feed.
    pub fn is_told(&self, reader: RecordId, post_id: &str) -> bool {
        let reader = reader.to_string();
        let edge = |who: &str, whom: &str| self.edges.get(&(who.to_owned(), whom.to_owned()));
        let blocked_by = |who: &str| edge(who, &reader).is_some_and(|edge| edge.blocking);
        let knows = |whom: &str| edge(&reader, whom).is_some_and(|edge| edge.followed) && !blocked_by(whom);
        let (post, stands) = &self.posts[post_id];
        let shares = self.shares.values().filter(|share| share.post_id == post_id);
        let by_whom = shares.map(|share| &share.actor_id).chain([&post.author_id]);
        !blocked_by(&post.author_id) && (*stands || by_whom.into_iter().any(|whom| knows(whom)))
    }

    /// The reader's home feed as one page, and how much is left out.
    pub fn home(&self, reader: RecordId, include_shares: bool) -> (Vec<Shown>, usize) {
        let reader = reader.to_string();
        let mut shown: BTreeMap<String, (Strength, Shown)> = BTreeMap::new();
        let mut omitted = 0;
        for entry in self.entries(&reader, include_shares) {
            let (post, stands) = &self.posts[&entry.post_id];
            if self.muted(&reader, &post.author_id).0 || entry.share.is_some() && self.muted(&reader, &entry.author).1 {
                continue;
            }
            let gone = !stands || entry.share.as_ref().is_some_and(|share| !self.stands(share));
            if gone || self.blocked(&reader, &post.author_id) || self.blocked(&reader, &entry.author) {
                omitted += 1;
                continue;
            }
            let item_id = entry.share.as_ref().map_or(&entry.post_id, |share| &share.share_id);
            let strength = (entry.share.is_none(), entry.at_ms, item_id.clone());
            if shown.get(&entry.post_id).is_none_or(|(known, _)| strength > *known) {
                shown.insert(entry.post_id.clone(), (strength, self.item(&reader, post, &entry)));
            }
        }
        let mut all: Vec<Shown> = shown.into_values().map(|(_, shown)| shown).collect();
        all.sort_by_key(|shown| std::cmp::Reverse(shown.at_ms));
        (all, omitted)
    }

    fn entries(&self, reader: &str, include_shares: bool) -> Vec<NaiveEntry> {
        let mut entries = Vec::new();
        for ((_, target), edge) in self.edges.iter().filter(|((who, _), edge)| who == reader && edge.following) {
            let posts = self.posts.values().filter(|(post, _)| post.author_id == *target).map(|(post, _)| NaiveEntry {
                post_id: post.post_id.clone(),
                author: target.clone(),
                at_ms: time::unix_ms(post.create_time.as_ref()),
                share: None,
            });
            let shares = self.shares.values().filter(|share| share.actor_id == *target).map(|share| NaiveEntry {
                post_id: share.post_id.clone(),
                author: target.clone(),
                at_ms: time::unix_ms(share.create_time.as_ref()),
                share: Some(share.clone()),
            });
            let wanted = |entry: &NaiveEntry| {
                entry.at_ms >= edge.since_ms && (entry.share.is_none() || include_shares && edge.shows_shares)
            };
            entries.extend(posts.chain(shares).filter(wanted));
        }
        entries
    }

    fn stands(&self, share: &Shared) -> bool {
        self.standing.get(&(share.post_id.clone(), share.actor_id.clone())) == Some(&share.share_id)
    }

    /// Whether posts, and shares, of `whom` are muted by `who`.
    fn muted(&self, who: &str, whom: &str) -> (bool, bool) {
        self.edges.get(&(who.to_owned(), whom.to_owned())).map(|edge| edge.mutes).unwrap_or_default()
    }

    fn blocked(&self, a: &str, b: &str) -> bool {
        let blocks = |who: &str, whom: &str| {
            self.edges.get(&(who.to_owned(), whom.to_owned())).is_some_and(|edge| edge.blocking)
        };
        blocks(a, b) || blocks(b, a)
    }

    fn item(&self, reader: &str, post: &PostCreated, entry: &NaiveEntry) -> Shown {
        let of_post = |((post_id, _), _): &(&(String, String), &i32)| *post_id == post.post_id;
        let kinds: Vec<i32> = self.reactions.iter().filter(of_post).map(|(_, &kind)| kind).collect();
        let count = |kind: i32| (kind, kinds.iter().filter(|&&other| other == kind).count() as u64);
        let by_kind = (1..=6).map(count).filter(|(_, count)| *count > 0).collect();
        let comments = self.comments.get(&post.post_id).map_or(0, BTreeSet::len) as u64;
        let shares = self.standing.keys().filter(|(post_id, _)| *post_id == post.post_id).count() as u64;
        let mine = (post.post_id.clone(), reader.to_owned());
        Shown {
            post_id: post.post_id.clone(),
            text: Opener::new().open::<PostContent>(post.content.as_ref().unwrap()).text,
            author_handle: self.handles[&post.author_id].clone(),
            shared_by: entry.share.as_ref().map(|share| (share.actor_id.clone(), entry.at_ms)),
            at_ms: entry.at_ms,
            counts: (by_kind, comments, shares),
            mine: (self.reactions.get(&mine).copied().unwrap_or(0), self.standing.contains_key(&mine)),
        }
    }
}

/// Whether the author is followed; if it is a share, the newest; of one moment, that of the greatest id.
type Strength = (bool, i64, String);

struct NaiveEntry {
    post_id: String,
    author: String,
    at_ms: i64,
    share: Option<Shared>,
}

/// Every kind of reaction there is, and none.
pub fn kinds() -> std::ops::RangeInclusive<i32> {
    0..=ReactionKind::Support.into()
}
