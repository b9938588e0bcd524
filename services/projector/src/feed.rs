//! A page of a feed: skeleton → hydrate → rules → present.

use std::collections::BTreeSet;
use std::ops::Range;

use futures::try_join;
use kith_content::Opener;
use kith_fold::State;
use kith_proto::feeds::v1::feed_reason::{FollowedAuthor, Reason, SharedBy};
use kith_proto::feeds::v1::{FeedItem, FeedReason};
use kith_proto::time;
use kith_relations::mute::Muting;
use kith_tables::{StoreError, Timestamp};

use crate::entry::{Entry, Kind, Place};
use crate::hydrate::{Hydrated, hydrate};
use crate::rules::{Verdict, belongs, judge, muted_by, strongest};
use crate::skeleton::{self, Skeleton};
use crate::views::follows;
use crate::walk::Walk;

/// Entries looked at for each that is wanted: some are shares where none are asked for, or of ended follows.
const LOOK_AHEAD: usize = 2;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Ask {
    pub opener: Opener,
    pub walk: Walk,
    pub size: usize,
    pub include_shares: bool,
}

/// A page.
#[derive(Debug, Default)]
pub struct Page {
    pub items: Vec<FeedItem>,
    /// How the walk goes on; `None`: this was the last page.
    pub next: Option<Walk>,
    /// Entries left out because they are gone, or blocked.
    pub omitted: usize,
    /// Whether there was more to read than one call reads.
    pub incomplete: bool,
    /// From when until when, microseconds since 1970, the page stays as it is while no row changes: mutes end without a record.
    /// `None`: for ever.
    pub stands: Option<Range<i64>>,
}

/// A page of the reader's home feed, behind `from`, with the mutes that are in effect at `now`.
pub async fn home(state: &State, reader: &str, from: &Place, ask: &Ask, now: Timestamp) -> Result<Page, StoreError> {
    let (skeleton, has_muted) = skeleton::of_home(state, reader, from, ask.size * LOOK_AHEAD).await?;
    let authors: BTreeSet<&str> = skeleton.entries.iter().map(|entry| &*entry.author_id).collect();
    let authors = Vec::from_iter(authors);
    let follows = follows::standing(state, reader, &authors);
    let (follows, muting) = try_join!(follows, muting(state, reader, &skeleton, (has_muted, now)))?;
    let (incomplete, stands) = (skeleton.incomplete, muting.stands());
    let wanted = |entry: &Entry| {
        belongs(entry, follows.get(&entry.author_id), ask.include_shares) && muted_by(entry, &muting).is_none()
    };
    let page = page(state, reader, skeleton, ask, Kinds { wanted, reason: home_reason }).await?;
    let stands = Some(stands).filter(|stands| *stands != (i64::MIN..i64::MAX));
    Ok(Page { incomplete, stands, ..page })
}

/// What the reader mutes of those who are looked at: one read (one more where they are over 512), and none for a reader who never
/// muted anybody.
async fn muting(
    state: &State,
    reader: &str,
    skeleton: &Skeleton,
    (has_muted, now): (bool, Timestamp),
) -> Result<Muting, StoreError> {
    if !has_muted {
        return Ok(Muting::default());
    }
    let accounts = skeleton.entries.iter().flat_map(|entry| [&*entry.author_id, &*entry.post_author_id]);
    Muting::read(state, reader, accounts, now).await
}

/// A page of an author's feed, as the viewer is shown it.
pub async fn author(state: &State, viewer: &str, author: &str, ask: &Ask) -> Result<Page, StoreError> {
    let from = ask.walk.behind.as_ref();
    let skeleton = skeleton::of_author(state, author, from, ask.size * LOOK_AHEAD).await?;
    let wanted = |entry: &Entry| entry.kind == Kind::Post || ask.include_shares;
    page(state, viewer, skeleton, ask, Kinds { wanted, reason: author_reason }).await
}

/// What is peculiar to a feed: which entries belong to it, and why they are there.
struct Kinds<W> {
    wanted: W,
    reason: fn(&Entry) -> Option<Reason>,
}

async fn page<W: Fn(&Entry) -> bool>(
    state: &State,
    viewer: &str,
    skeleton: Skeleton,
    ask: &Ask,
    kinds: Kinds<W>,
) -> Result<Page, StoreError> {
    let Kinds { wanted, reason } = kinds;
    let new = |entry: &Entry| !ask.walk.has(&entry.post_id) && wanted(entry);
    let (entries, next) = skeleton::page(skeleton, ask.size, new);
    let (items, omitted) = show(state, viewer, entries, ask.opener, reason).await?;
    let next = next.map(|place| {
        let moment = Some(time::of_us(place.at_us));
        let written_then = |item: &&FeedItem| item.post.as_ref().and_then(|post| post.create_time) == moment;
        let (shared, others): (Vec<_>, Vec<_>) = items.iter().partition(|item| is_shared(item));
        ask.walk.to(
            place,
            shared.into_iter().filter_map(post_id),
            others.into_iter().filter(written_then).filter_map(post_id),
        )
    });
    Ok(Page { items, next, omitted, incomplete: false, stands: None })
}

/// Whether the item is there through a share: then an older share, or the post itself, may follow. All shares of a post are
/// newer than the post, or have the same time.
fn is_shared(item: &FeedItem) -> bool {
    matches!(item.reason.as_ref().and_then(|reason| reason.reason.as_ref()), Some(Reason::SharedBy(_)))
}

fn post_id(item: &FeedItem) -> Option<&str> {
    item.post.as_ref().map(|post| &*post.post_id)
}

async fn show(
    state: &State,
    viewer: &str,
    entries: Vec<Entry>,
    opener: Opener,
    reason: fn(&Entry) -> Option<Reason>,
) -> Result<(Vec<FeedItem>, usize), StoreError> {
    let hydrated = hydrate(state, viewer, &entries).await?;
    let all = entries.len();
    let shown: Vec<Entry> = entries.into_iter().filter(|entry| verdict(entry, &hydrated) == Verdict::Shown).collect();
    let omitted = all - shown.len();
    let shown = strongest(shown);
    let items = shown.iter().filter_map(|entry| present(&opener, entry, viewer, &hydrated, reason(entry)));
    Ok((items.collect(), omitted))
}

/// What becomes of an entry whose rows were read.
pub fn verdict(entry: &Entry, hydrated: &Hydrated) -> Verdict {
    match hydrated.cards.get(&entry.post_id) {
        Some(card) => judge(entry, card, &hydrated.sights),
        None => Verdict::Gone,
    }
}

/// The entry as callers see it; `None`: there is no such post.
pub fn present(
    opener: &Opener,
    entry: &Entry,
    viewer: &str,
    hydrated: &Hydrated,
    reason: Option<Reason>,
) -> Option<FeedItem> {
    let card = hydrated.cards.get(&entry.post_id)?;
    let author = hydrated.accounts.get(&entry.post_author_id);
    Some(FeedItem {
        post: Some(card.post.as_ref()?.present(opener, &entry.post_id)),
        author: author.map(|row| row.clone().present(opener, &entry.post_author_id)),
        counts: Some(card.engagement.present()),
        viewer_state: Some(card.actors.get(viewer).map(|row| row.present()).unwrap_or_default()),
        reason: reason.map(|reason| FeedReason { reason: Some(reason) }),
    })
}

fn home_reason(entry: &Entry) -> Option<Reason> {
    Some(author_reason(entry).unwrap_or(Reason::FollowedAuthor(FollowedAuthor {})))
}

/// An author's own posts need none.
fn author_reason(entry: &Entry) -> Option<Reason> {
    let share_time = || Some(time::of_us(entry.place.at_us));
    match entry.kind {
        Kind::Post => None,
        Kind::Share => {
            Some(Reason::SharedBy(SharedBy { account_id: entry.author_id.clone(), share_time: share_time() }))
        }
    }
}
