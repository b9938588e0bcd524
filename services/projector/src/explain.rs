//! Why a post is, or is not, in a home feed: the rules of the feed, asked of every way that the post could come into it.

use std::collections::BTreeSet;

use kith_fold::{Found, State};
use kith_log::{LogPartition, Position, Topic, topics};
use kith_proto::feeds::v1::{CitedFor, FeedOutcome};
use kith_relations::mute::Muting;
use kith_relations::sight::{Sight, Sights, Viewer};
use kith_tables::{Key, MAX_SLICE_ROWS, RowRange, StoreError, Timestamp};

use crate::entry::{Entry, Kind};
use crate::rules::{self, Verdict};
use crate::views::author_feed::{self, Made};
use crate::views::cards::{self, ActorRow, Card};
use crate::views::follows::{self, FOLLOWS, FollowRow};

/// Follows of the reader, by target, among which those who shared the post are looked for.
pub(crate) const FOLLOWS_MAX: usize = 5_000;
/// Accounts whose shares one read of a card asks for.
const ACTORS_PER_READ: usize = 400;
/// Ways that are told.
pub(crate) const FINDINGS_MAX: usize = 50;
/// All but the author's own.
const SHARERS_MAX: usize = FINDINGS_MAX - 1;

/// One way into the feed: an account that wrote the post, or shared it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub account_id: String,
    pub share: bool,
    pub outcome: FeedOutcome,
    pub events: Vec<(CitedFor, Position)>,
}

/// The ways of a post into a home feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    pub findings: Vec<Finding>,
    /// Whether shares may be missing, for a bound was met.
    pub incomplete: bool,
}

/// The ways of `post_id` into the reader's home feed; `None`: there is no such post for this reader.
pub async fn explain(
    state: &State,
    reader: &str,
    post_id: &str,
    include_shares: bool,
    now: Timestamp,
) -> Result<Option<Explained>, StoreError> {
    let mut card = cards::card(state, post_id, &BTreeSet::new()).await?;
    let Some(post) = card.post.clone() else { return Ok(None) };
    let author = &*post.author_id;
    let (follow, sharers) = futures::try_join!(follow(state, reader, author), sharers(state, reader, post_id))?;
    let mut ways = vec![Way { account: author.to_owned(), item_id: post_id.to_owned(), follow }];
    for Sharer { account, follow, actor } in sharers.found {
        ways.push(Way { account: account.clone(), item_id: actor.share_id.clone(), follow: Some(follow) });
        card.actors.insert(account, actor);
    }
    let mut findings = Vec::new();
    // Of a deleted post only those are told in whose feeds it may have been: to others it is as for the posts' service.
    let mut may_know = !post.deleted;
    let accounts = || ways.iter().map(|way| &*way.account);
    let viewer = Viewer::new(state, reader);
    let (apart, muting) = futures::try_join!(viewer.apart(accounts()), Muting::read(state, reader, accounts(), now))?;
    let sights = follows::veiled(state, reader, apart.0, apart.1).await?;
    let hides = |account: &str| matches!(sights.of(account), Sight::BlockedBy | Sight::Away | Sight::Private);
    if hides(author) {
        return Ok(None);
    }
    // Whoever blocks the reader, or is away, is not there; what somebody private says is not there for who does not follow it.
    for way in ways.iter().filter(|way| !hides(&way.account)) {
        let Some(made) = author_feed::made(state, &way.account, &way.item_id).await? else { continue };
        may_know |= way.follow.is_some();
        let facts = Facts { reader, follow: way.follow.as_ref(), made: &made, sights: &sights, muting: &muting };
        findings.push(facts.finding(&card, include_shares, state.partition_count()));
    }
    let there = may_know && !findings.is_empty();
    Ok(there.then_some(Explained { findings, incomplete: sharers.incomplete }))
}

/// One way to look at: the account, its post or share, and the reader's follow of it, standing or ended.
struct Way {
    account: String,
    item_id: String,
    follow: Option<FollowRow>,
}

/// The reader's follow of an account, standing or ended.
async fn follow(state: &State, reader: &str, account: &str) -> Result<Option<FollowRow>, StoreError> {
    let found = state.row::<FollowRow>(&FOLLOWS, &Key::text(reader), [account.into()]).await?;
    Ok(found.map(|found| found.row).filter(FollowRow::has_been))
}

/// The accounts that the reader follows, or followed, and that shared the post.
struct Sharers {
    found: Vec<Sharer>,
    /// Whether there may be others.
    incomplete: bool,
}

struct Sharer {
    account: String,
    follow: FollowRow,
    actor: ActorRow,
}

async fn sharers(state: &State, reader: &str, post_id: &str) -> Result<Sharers, StoreError> {
    let (key, mut range) = (Key::text(reader), RowRange::all::<FollowRow>());
    let mut found = Vec::new();
    for _ in 0..FOLLOWS_MAX / MAX_SLICE_ROWS {
        let mut page = state.slice::<FollowRow>(&FOLLOWS, &key, range.clone(), MAX_SLICE_ROWS).await?;
        let is_last = page.len() < MAX_SLICE_ROWS;
        range.after = page.last().map(|last| last.clustering.clone());
        page.retain(|follow| follow.row.has_been());
        for some in page.chunks(ACTORS_PER_READ) {
            found.extend(those_who_shared(state, post_id, some).await?);
        }
        let incomplete = found.len() > SHARERS_MAX;
        if is_last || incomplete {
            found.truncate(SHARERS_MAX);
            return Ok(Sharers { found, incomplete });
        }
    }
    Ok(Sharers { found, incomplete: true })
}

async fn those_who_shared(
    state: &State,
    post_id: &str,
    follows: &[Found<FollowRow>],
) -> Result<Vec<Sharer>, StoreError> {
    let targets = follows.iter().map(|follow| follow.text(0)).collect();
    let mut actors = cards::card(state, post_id, &targets).await?.actors;
    actors.retain(|_, actor| !actor.share_id.is_empty());
    let sharer = |follow: &Found<FollowRow>| {
        let (account, actor) = actors.remove_entry(follow.text(0))?;
        Some(Sharer { account, follow: follow.row.clone(), actor })
    };
    Ok(follows.iter().filter_map(sharer).collect())
}

/// All that decides about one way.
struct Facts<'a> {
    reader: &'a str,
    follow: Option<&'a FollowRow>,
    made: &'a Made,
    sights: &'a Sights,
    muting: &'a Muting,
}

impl Facts<'_> {
    fn finding(&self, card: &Card, include_shares: bool, partition_count: u16) -> Finding {
        let entry = &self.made.entry;
        let muted_by = rules::muted_by(entry, self.muting);
        let outcome = match outcome(entry, self.follow, card, self.sights, include_shares) {
            FeedOutcome::Shown if muted_by.is_some() => FeedOutcome::Muted,
            outcome => outcome,
        };
        let at = |topic: Topic, key: &str, offset| Position {
            partition: LogPartition::of_key(topic, key, partition_count),
            offset,
        };
        let item_topic = if entry.kind == Kind::Post { topics::POSTS } else { topics::ENGAGEMENT };
        let mut events = vec![(CitedFor::Made, at(item_topic, &entry.post_id, self.made.made_at))];
        events.extend(self.made.ended_at.map(|offset| (CitedFor::Ended, at(item_topic, &entry.post_id, offset))));
        // Of a follow that ended none: its row does not keep which record that was, and it may have been the block of
        // the other, which is not the reader's to know.
        let standing = self.follow.filter(|follow| follow.following);
        events.extend(standing.map(|follow| {
            (CitedFor::Follow, at(topics::IDENTITY, self.reader, follow.follow_position.unsigned_abs()))
        }));
        let own_block = [&entry.author_id, &entry.post_author_id].into_iter().find_map(|to| self.sights.own_block(to));
        events.extend(own_block.map(|offset| (CitedFor::Block, at(topics::IDENTITY, self.reader, offset))));
        events.extend(muted_by.map(|offset| (CitedFor::Mute, at(topics::IDENTITY, self.reader, offset))));
        Finding { account_id: entry.author_id.clone(), share: entry.kind == Kind::Share, outcome, events }
    }
}

/// By the rules that pages are made by, but for mutes. Pure.
fn outcome(
    entry: &Entry,
    follow: Option<&FollowRow>,
    card: &Card,
    sights: &Sights,
    include_shares: bool,
) -> FeedOutcome {
    let share = entry.kind == Kind::Share;
    let post_gone = card.post.as_ref().is_none_or(|post| post.deleted);
    match rules::judge(entry, card, sights) {
        Verdict::Blocked => return FeedOutcome::Blocked,
        Verdict::Gone if share && !post_gone => return FeedOutcome::ShareTakenBack,
        Verdict::Gone => return FeedOutcome::PostDeleted,
        Verdict::Shown => {}
    }
    let Some(follow) = follow.filter(|follow| follow.following) else { return FeedOutcome::NotFollowed };
    match rules::belongs(entry, Some(follow), include_shares) {
        true => FeedOutcome::Shown,
        false if entry.place.at_us < follow.since_us() => FeedOutcome::BeforeFollow,
        false if !follow.shows_shares => FeedOutcome::SharesNotFollowed,
        false => FeedOutcome::SharesNotAsked,
    }
}
