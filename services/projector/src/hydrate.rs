//! Step two of a read: the rows behind the entries of a page, each once, read side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use futures::{StreamExt, TryStreamExt, stream};
use kith_fold::State;
use kith_relations::account::{self, AccountRow};
use kith_relations::away;
use kith_relations::sight::{Sights, Viewer};
use kith_tables::StoreError;

use crate::entry::{Entry, Kind};
use crate::views::cards::{self, Card};
use crate::views::follows;

/// Rows read side by side for one page.
const READS_IN_FLIGHT: usize = 32;

/// What the entries of a page are shown with, and judged by.
#[derive(Debug)]
pub struct Hydrated {
    /// By post.
    pub cards: BTreeMap<String, Card>,
    /// By id; those of the posts' authors that are known.
    pub accounts: BTreeMap<String, AccountRow>,
    /// How the viewer sees the posts' authors and those who shared them.
    pub sights: Sights,
}

/// Reads all of it. `entries` are those of one page.
pub async fn hydrate(state: &State, viewer: &str, entries: &[Entry]) -> Result<Hydrated, StoreError> {
    let viewing = Viewer::new(state, viewer);
    let both = entries.iter().flat_map(|entry| [&*entry.author_id, &*entry.post_author_id]);
    // The authors' rows, which are read in any case, say who of them is away. Only those who share are asked for.
    let authors: BTreeSet<&str> = entries.iter().map(|entry| &*entry.post_author_id).collect();
    let sharers = entries.iter().map(|entry| &*entry.author_id).filter(|account| !authors.contains(account));
    let (cards, accounts, blocks, apart) = tokio::try_join!(
        cards(state, viewer, entries),
        accounts(state, entries),
        viewing.blocks(both),
        away::among(state, sharers)
    )?;
    let is_away = |account: &str| accounts.get(account).is_some_and(|row| row.away) || apart.away.contains(account);
    let meetings = blocks.without(is_away);
    let private = accounts.iter().filter(|(_, row)| row.private).map(|(id, _)| id.clone()).chain(apart.private);
    let sights = follows::veiled(state, viewer, meetings, private.collect()).await?;
    Ok(Hydrated { cards, accounts, sights })
}

async fn cards(state: &State, viewer: &str, entries: &[Entry]) -> Result<BTreeMap<String, Card>, StoreError> {
    let mut actors: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for entry in entries {
        let actors = actors
            .entry(&entry.post_id)
            .or_insert_with(|| (!viewer.is_empty()).then_some(viewer).into_iter().collect());
        if entry.kind == Kind::Share {
            actors.insert(&entry.author_id);
        }
    }
    let read = |(post_id, actors): (&str, BTreeSet<&str>)| {
        let (state, post_id) = (state.clone(), post_id.to_owned());
        let actors: BTreeSet<String> = actors.into_iter().map(str::to_owned).collect();
        async move {
            let actors = actors.iter().map(String::as_str).collect();
            let card = cards::card(&state, &post_id, &actors).await?;
            Ok((post_id, card))
        }
    };
    gather(actors.into_iter().map(read)).await
}

async fn accounts(state: &State, entries: &[Entry]) -> Result<BTreeMap<String, AccountRow>, StoreError> {
    let ids: BTreeSet<String> = entries.iter().map(|entry| entry.post_author_id.clone()).collect();
    let read = |id: String| {
        let state = state.clone();
        async move {
            let account = account::account(&state, &id).await?;
            Ok((id, account))
        }
    };
    let found: BTreeMap<String, Option<AccountRow>> = gather(ids.into_iter().map(read)).await?;
    Ok(found.into_iter().filter_map(|(id, account)| Some((id, account?))).collect())
}

async fn gather<T, F>(reads: impl Iterator<Item = F>) -> Result<BTreeMap<String, T>, StoreError>
where
    F: Future<Output = Result<(String, T), StoreError>>,
{
    stream::iter(reads).buffer_unordered(READS_IN_FLIGHT).try_collect().await
}
