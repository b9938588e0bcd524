//! Why a post is, or is not, in a home feed: the rules of the feed, asked of every way that the post could come into it.

use std::collections::BTreeSet;

use kith_fold::{Found, State};
use kith_log::{LogPartition, Offset, Position, Topic, topics};
use kith_proto::feeds::v1::{CitedFor, FeedOutcome};
use kith_relations::block::{BLOCKED_BY, BLOCKS, BlockRow};
use kith_tables::{Key, RowRange, StoreError};

use crate::entry::{Entry, Kind};
use crate::rules::{self, Verdict};
use crate::views::author_feed::{self, Made};
use crate::views::cards::{self, Card};
use crate::views::follows::{FOLLOWS, FollowRow};

/// Follows of the reader that are looked at.
const FOLLOWS_MAX: usize = 1_000;
/// Accounts whose shares one read of a card asks for.
const ACTORS_PER_READ: usize = 400;
/// Ways that are told.
const FINDINGS_MAX: usize = 50;

/// One way into the feed: an account that wrote the post, or shared it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub account_id: String,
    pub share: bool,
    pub outcome: FeedOutcome,
    pub events: Vec<(CitedFor, Position)>,
}

/// The ways of `post_id` into the reader's home feed; empty: there is no such post for this reader.
pub async fn explain(
    state: &State,
    reader: &str,
    post_id: &str,
    include_shares: bool,
) -> Result<Vec<Finding>, StoreError> {
    let (key, range) = (Key::text(reader), RowRange::all::<FollowRow>());
    let follows = state.slice::<FollowRow>(&FOLLOWS, &key, range, FOLLOWS_MAX).await?;
    let card = card(state, post_id, &follows).await?;
    let Some(author) = card.post.as_ref().map(|post| post.author_id.clone()) else { return Ok(Vec::new()) };
    let sharers = follows.iter().map(|found| found.text(0)).filter(|id| card.actors.contains_key(*id));
    let mut findings = Vec::new();
    let ways = [(author.as_str(), post_id.to_owned())].into_iter();
    let shared = |id| (id, card.actors.get(id).map(|actor| actor.share_id.clone()).unwrap_or_default());
    for (account, item_id) in ways.chain(sharers.map(shared)).filter(|(_, item)| !item.is_empty()).take(FINDINGS_MAX) {
        let (blocks, made) = futures::try_join!(
            blocks(state, reader, [account, &author]),
            author_feed::made(state, account, &item_id),
        )?;
        match (blocks.by_other, made) {
            // Whoever blocks the reader is not there.
            (true, _) if account == author => return Ok(Vec::new()),
            (false, Some(made)) => {
                let follow = follows.iter().find(|found| found.text(0) == account);
                let way = Way { reader, follow, made: &made, blocks: &blocks };
                findings.push(way.finding(&card, include_shares, state.partition_count()));
            }
            _ => {}
        }
    }
    Ok(findings)
}

async fn card(state: &State, post_id: &str, follows: &[Found<FollowRow>]) -> Result<Card, StoreError> {
    let mut card = Card::default();
    let targets: Vec<&str> = follows.iter().map(|found| found.text(0)).collect();
    // Once also for who follows nobody.
    for some in std::iter::once(&[][..]).chain(targets.chunks(ACTORS_PER_READ)) {
        let part = cards::card(state, post_id, &BTreeSet::from_iter(some.iter().copied())).await?;
        card.post = part.post;
        card.actors.extend(part.actors);
    }
    Ok(card)
}

/// Blocks between the reader and an account, or the post's author.
struct Blocks {
    by_other: bool,
    /// The reader's own: whom, and the offset of the record.
    own: Option<Offset>,
}

async fn blocks(state: &State, reader: &str, others: [&str; 2]) -> Result<Blocks, StoreError> {
    let key = Key::text(reader);
    let clusterings = || others.iter().map(|&other| vec![other.into()]);
    let (mine, theirs) = futures::try_join!(
        state.rows::<BlockRow>(&BLOCKS, &key, clusterings()),
        state.rows::<BlockRow>(&BLOCKED_BY, &key, clusterings()),
    )?;
    let stands = |found: &Found<BlockRow>| found.row.blocking;
    let own = mine.into_iter().flatten().find(stands).map(|found| found.position);
    Ok(Blocks { by_other: theirs.iter().flatten().any(stands), own })
}

/// All that decides about one way.
struct Way<'a> {
    reader: &'a str,
    follow: Option<&'a Found<FollowRow>>,
    made: &'a Made,
    blocks: &'a Blocks,
}

impl Way<'_> {
    fn finding(&self, card: &Card, include_shares: bool, partition_count: u16) -> Finding {
        let entry = &self.made.entry;
        let outcome =
            outcome(entry, self.follow.map(|found| &found.row), card, self.blocks.own.is_some(), include_shares);
        let at = |topic: Topic, key: &str, offset| Position {
            partition: LogPartition::of_key(topic, key, partition_count),
            offset,
        };
        let item_topic = if entry.kind == Kind::Post { topics::POSTS } else { topics::ENGAGEMENT };
        let mut events = vec![(CitedFor::Made, at(item_topic, &entry.post_id, self.made.made_at))];
        events.extend(self.made.ended_at.map(|offset| (CitedFor::Ended, at(item_topic, &entry.post_id, offset))));
        events.extend(self.follow.map(|found| match found.row.following {
            true => (CitedFor::Follow, at(topics::IDENTITY, self.reader, found.row.follow_position.unsigned_abs())),
            false => (CitedFor::Unfollow, at(topics::IDENTITY, self.reader, found.position)),
        }));
        events.extend(self.blocks.own.map(|offset| (CitedFor::Block, at(topics::IDENTITY, self.reader, offset))));
        Finding { account_id: entry.author_id.clone(), share: entry.kind == Kind::Share, outcome, events }
    }
}

/// By the rules that pages are made by. Pure.
fn outcome(entry: &Entry, follow: Option<&FollowRow>, card: &Card, blocked: bool, include_shares: bool) -> FeedOutcome {
    let share = entry.kind == Kind::Share;
    let post_gone = card.post.as_ref().is_none_or(|post| post.deleted);
    let blocked: BTreeSet<String> = blocked.then(|| entry.author_id.clone()).into_iter().collect();
    match rules::judge(entry, card, &blocked) {
        Verdict::Blocked => return FeedOutcome::Blocked,
        Verdict::Gone if share && !post_gone => return FeedOutcome::ShareTakenBack,
        Verdict::Gone => return FeedOutcome::PostDeleted,
        Verdict::Shown => {}
    }
    let Some(follow) = follow.filter(|follow| follow.following) else { return FeedOutcome::NotFollowed };
    match rules::belongs(entry, Some(follow), include_shares) {
        true => FeedOutcome::Shown,
        false if entry.place.at_ms < follow.since_ms() => FeedOutcome::BeforeFollow,
        false if !follow.shows_shares => FeedOutcome::SharesNotFollowed,
        false => FeedOutcome::SharesNotAsked,
    }
}
