//! A page of a feed: skeleton → hydrate → rules → present.

use std::collections::BTreeSet;

use kith_fold::State;
use kith_proto::feeds::v1::feed_reason::{FollowedAuthor, Reason, SharedBy};
use kith_proto::feeds::v1::{FeedItem, FeedReason};
use kith_proto::time;
use kith_tables::StoreError;

use crate::entry::{Entry, Kind, Place};
use crate::hydrate::{Hydrated, hydrate};
use crate::rules::{Verdict, belongs, judge, strongest};
use crate::skeleton;
use crate::views::follows;

/// Entries looked at for each that is wanted: some are shares where none are asked for, or of ended follows.
const LOOK_AHEAD: usize = 2;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Behind which place to start; `None`: with the newest.
    pub behind: Option<Place>,
    pub size: usize,
    pub include_shares: bool,
}

/// A page.
#[derive(Debug, Default)]
pub struct Page {
    pub items: Vec<FeedItem>,
    /// Behind which place the next page starts; `None`: this was the last.
    pub next: Option<Place>,
    /// Entries left out because they are gone, or blocked.
    pub omitted: usize,
    /// Whether there was more to read than one call reads.
    pub incomplete: bool,
}

/// A page of the reader's home feed, behind `from`.
pub async fn home(state: &State, reader: &str, from: &Place, ask: &Ask) -> Result<Page, StoreError> {
    let skeleton = skeleton::of_home(state, reader, from, ask.size * LOOK_AHEAD).await?;
    let authors: BTreeSet<&str> = skeleton.entries.iter().map(|entry| &*entry.author_id).collect();
    let follows = follows::standing(state, reader, &Vec::from_iter(authors)).await?;
    let incomplete = skeleton.incomplete;
    let wanted = |entry: &Entry| belongs(entry, follows.get(&entry.author_id), ask.include_shares);
    let (entries, next) = skeleton::page(skeleton, ask.size, wanted);
    let (items, omitted) = show(state, reader, entries, home_reason).await?;
    Ok(Page { items, next, omitted, incomplete })
}

/// A page of an author's feed, as the viewer is shown it.
pub async fn author(state: &State, viewer: &str, author: &str, ask: &Ask) -> Result<Page, StoreError> {
    let skeleton = skeleton::of_author(state, author, ask.behind.as_ref(), ask.size * LOOK_AHEAD).await?;
    let wanted = |entry: &Entry| entry.kind == Kind::Post || ask.include_shares;
    let (entries, next) = skeleton::page(skeleton, ask.size, wanted);
    let (items, omitted) = show(state, viewer, entries, author_reason).await?;
    Ok(Page { items, next, omitted, incomplete: false })
}

async fn show(
    state: &State,
    viewer: &str,
    entries: Vec<Entry>,
    reason: fn(&Entry) -> Option<Reason>,
) -> Result<(Vec<FeedItem>, usize), StoreError> {
    let hydrated = hydrate(state, viewer, &entries).await?;
    let all = entries.len();
    let shown: Vec<Entry> = entries.into_iter().filter(|entry| verdict(entry, &hydrated) == Verdict::Shown).collect();
    let omitted = all - shown.len();
    let shown = strongest(shown);
    let items = shown.iter().filter_map(|entry| present(entry, viewer, &hydrated, reason(entry)));
    Ok((items.collect(), omitted))
}

fn verdict(entry: &Entry, hydrated: &Hydrated) -> Verdict {
    match hydrated.cards.get(&entry.post_id) {
        Some(card) => judge(entry, card, &hydrated.blocked),
        None => Verdict::Gone,
    }
}

fn present(entry: &Entry, viewer: &str, hydrated: &Hydrated, reason: Option<Reason>) -> Option<FeedItem> {
    let card = hydrated.cards.get(&entry.post_id)?;
    Some(FeedItem {
        post: Some(card.post.as_ref()?.present(&entry.post_id)),
        author: hydrated.accounts.get(&entry.post_author_id).cloned(),
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
