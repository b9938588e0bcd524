//! What the tables of feeds hold, in a few bytes: the same for the same log, whatever happened while it was folded.

use std::collections::BTreeSet;

use async_trait::async_trait;
use kith_fold::State;
use kith_fold::verify::Shown;
use kith_runtime::UnixMillis;
use kith_tables::{Digest, Key, Row, RowKey, RowType, StoreError, Table, TableDigest, Value, digest_where};
use sha2::{Digest as _, Sha256};

use crate::entry::{Entry, Place};
use crate::rules::belongs;
use crate::views::audience::{FOLLOWERS, FlagRow};
use crate::views::follows::{self, FOLLOWS};
use crate::views::home::HOME;
use crate::views::pulls::PULLS;
use crate::{Settings, group, skeleton};

/// Entries read at once.
const PAGE: usize = 100;

/// The digest of every table of the group. Of what joins two topics it covers, under the name `home`, the entries that
/// are in a home feed now, pushed or pulled: which of both an entry is depends on what met when, and is left out.
///
/// `now_ms`: entries more than a week ahead of it are left out. It reads everything: for verification, not for a page.
pub async fn digest(state: &State, settings: Settings, now_ms: UnixMillis) -> Result<Digest, StoreError> {
    let joins = |table: &&'static Table| [HOME.name, PULLS.name].contains(&table.name);
    let mut tables = group(0, settings).folded_tables();
    tables.retain(|table| !joins(table));
    let mut all = digest_where(&**state.keyspace(), &tables, counts).await?;
    let home = entries(state, now_ms).await?;
    all.rows += home.rows;
    all.bytes = Sha256::new().chain_update(all.bytes).chain_update(home.bytes).finalize().into();
    all.tables.push(home);
    all.tables.sort_by_key(|table| table.name);
    Ok(all)
}

fn counts(table: &'static Table, _: &Key, row: &Row) -> bool {
    HomeEntries.counts(table, &row.key)
}

async fn entries(state: &State, now_ms: UnixMillis) -> Result<TableDigest, StoreError> {
    let (mut hash, mut rows) = (Sha256::new(), 0);
    for reader in readers(state).await? {
        for entry in HomeEntries.entries(state, &reader, now_ms).await? {
            for part in [&reader, &entry] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            rows += 1;
        }
    }
    Ok(TableDigest { name: HOME.name, bytes: hash.finalize().into(), rows })
}

/// Everyone who ever followed, in the order of their ids.
async fn readers(state: &State) -> Result<BTreeSet<String>, StoreError> {
    let (mut readers, mut cursor) = (BTreeSet::new(), None);
    loop {
        let (some, next) = HomeEntries.readers(state, cursor).await?;
        readers.extend(some);
        cursor = next;
        if cursor.is_none() {
            return Ok(readers);
        }
    }
}

/// The home feeds, compared by what they show: which entries are pushed and which pulled depends on what met when.
pub(crate) struct HomeEntries;

#[async_trait]
impl Shown for HomeEntries {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&HOME, &PULLS]
    }

    /// All but the flag that says that an author is pulled.
    fn counts(&self, table: &'static Table, row: &RowKey) -> bool {
        table.name != FOLLOWERS.name || row.section != FlagRow::SECTION
    }

    async fn readers(
        &self,
        state: &State,
        cursor: Option<Vec<u8>>,
    ) -> Result<(Vec<String>, Option<Vec<u8>>), StoreError> {
        let page = state.keyspace().scan(&FOLLOWS, cursor).await?;
        let mut readers: Vec<String> = Vec::new();
        for (key, _) in page.rows {
            if let Some(Value::Text(id)) = key.0.into_iter().next()
                && readers.last() != Some(&id)
            {
                readers.push(id);
            }
        }
        Ok((readers, page.next))
    }

    async fn entries(&self, state: &State, reader: &str, now_ms: UnixMillis) -> Result<Vec<String>, StoreError> {
        let (mut shown, mut from) = (Vec::new(), Some(skeleton::newest(now_ms)));
        while let Some(behind) = from {
            let (skeleton, _) = skeleton::of_home(state, reader, &behind, PAGE).await?;
            let authors: BTreeSet<&str> = skeleton.entries.iter().map(|entry| &*entry.author_id).collect();
            let follows = follows::standing(state, reader, &Vec::from_iter(authors)).await?;
            let belonging = skeleton.entries.iter().filter(|entry| belongs(entry, follows.get(&entry.author_id), true));
            shown.extend(belonging.map(text_of));
            from = skeleton.rest;
        }
        Ok(shown)
    }
}

/// All that an entry is.
fn text_of(entry: &Entry) -> String {
    let Entry { place: Place { at_us, item_id }, kind, post_id, author_id, post_author_id, .. } = entry;
    format!("{at_us} {item_id} {kind:?} {post_id} {author_id} {post_author_id}")
}
