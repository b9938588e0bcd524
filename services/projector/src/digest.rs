//! What the tables of feeds hold, in a few bytes: the same for the same log, whatever happened while it was folded.

use std::collections::BTreeSet;

use kith_fold::State;
use kith_tables::{Digest, Key, Row, RowType, StoreError, Table, TableDigest, Value, digest_where};
use sha2::{Digest as _, Sha256};

use crate::entry::Entry;
use crate::rules::belongs;
use crate::views::followers::{FOLLOWERS, FlagRow};
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
pub async fn digest(state: &State, settings: Settings, now_ms: i64) -> Result<Digest, StoreError> {
    let joins = |table: &&'static Table| [HOME.name, PULLS.name].contains(&table.name);
    let mut tables = group(0, settings).tables();
    // Where the folds are is no part of what they hold.
    tables.retain(|table| !joins(table) && table.name != "watermarks");
    let mut all = digest_where(&**state.keyspace(), &tables, counts).await?;
    let home = entries(state, now_ms).await?;
    all.rows += home.rows;
    all.bytes = Sha256::new().chain_update(all.bytes).chain_update(home.bytes).finalize().into();
    all.tables.push(home);
    all.tables.sort_by_key(|table| table.name);
    Ok(all)
}

fn counts(table: &'static Table, _: &Key, row: &Row) -> bool {
    table.name != FOLLOWERS.name || row.key.section != FlagRow::SECTION
}

async fn entries(state: &State, now_ms: i64) -> Result<TableDigest, StoreError> {
    let (mut hash, mut rows) = (Sha256::new(), 0);
    for reader in readers(state).await? {
        let mut from = Some(skeleton::newest(now_ms));
        while let Some(behind) = from {
            let skeleton = skeleton::of_home(state, &reader, &behind, PAGE).await?;
            let authors: BTreeSet<&str> = skeleton.entries.iter().map(|entry| &*entry.author_id).collect();
            let follows = follows::standing(state, &reader, &Vec::from_iter(authors)).await?;
            for entry in &skeleton.entries {
                if belongs(entry, follows.get(&entry.author_id), true) {
                    add(&mut hash, &reader, entry);
                    rows += 1;
                }
            }
            from = skeleton.rest;
        }
    }
    Ok(TableDigest { name: HOME.name, bytes: hash.finalize().into(), rows })
}

fn add(hash: &mut Sha256, reader: &str, entry: &Entry) {
    let place = entry.place.to_cursor();
    let kind = [u8::from(entry.kind == crate::entry::Kind::Share)];
    for part in [
        reader.as_bytes(),
        &place,
        &kind,
        entry.post_id.as_bytes(),
        entry.author_id.as_bytes(),
        entry.post_author_id.as_bytes(),
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
}

/// Everyone who ever followed, in the order of their ids.
async fn readers(state: &State) -> Result<BTreeSet<String>, StoreError> {
    let (mut readers, mut cursor) = (BTreeSet::new(), None);
    loop {
        let page = state.keyspace().scan(&FOLLOWS, cursor).await?;
        let ids = page.rows.into_iter().filter_map(|(key, _)| match key.0.into_iter().next() {
            Some(Value::Text(id)) => Some(id),
            _ => None,
        });
        readers.extend(ids);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(readers);
        }
    }
}
