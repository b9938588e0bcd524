//! Tables in a folder of this machine, over fjall.
//!
//! All rows of all keyspaces are in one fjall keyspace, so that after a crash a prefix of the writes is left: rows,
//! marks and watermarks always agree. Nothing here waits for the disk: when `apply` returns, the operating system has
//! the write, and kill -9 cannot lose it; after a power cut, the fold makes lost writes again from the log.
//!
//! fjall's calls block, but work on memory: they run on the async workers. Measured on two busy cores: a `get` of one
//! row 7 µs, of ten 40 µs, an `apply` of one row 10 µs, of ten 50 µs, a slice of fifty rows 0.1 ms, of a thousand 3 ms;
//! a hand-over to a blocking thread would cost as much as most of them. A worker waits longer while fjall syncs its
//! journal, once per memtable; it does not wait for memtables to be written, see `store.rs`.

mod catalog;
mod folder;
mod keys;
mod store;
mod tombstones;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use async_trait::async_trait;
use kith_runtime::Runtime;

use crate::version::Versions;
use crate::{
    Apply, Key, Keyspace, Row, RowKey, ScanPage, Slice, StoreError, Table, TableStore, Value, Version, Write, check,
};
use catalog::Catalog;
use folder::Folder;
pub use folder::inspect;
use keys::Place;
use store::{Range, Store};
use tombstones::Tombstones;

/// The number of locks; table partitions share one during an `apply` or `get`.
const LOCKS: usize = 256;
const SCAN_PAGE_ROWS: usize = 1_000;
/// Rows that are measured in one piece: some 10 ms, after which a caller may have gone away.
const MEASURED_ROWS: usize = 10_000;
/// Table partitions per fjall batch: others wait for their locks meanwhile.
const TOGETHER: usize = 64;
/// Due removals that one removal ends, so that they end faster than they are made.
const ENDED_PER_REMOVAL: usize = 2;

/// Tables in a folder. One process at a time.
pub struct EmbeddedTables {
    inner: Arc<Inner>,
    runtime: Runtime,
}

struct Inner {
    store: Store,
    /// Per table partition: no write may come between an `apply`'s read of the positions and its batch, nor while a
    /// `get` reads several rows as one state.
    locks: Vec<RwLock<()>>,
    /// This is the sole writer, so that caches of rows can check whether they are current.
    versions: Versions,
    tombstones: Tombstones,
    catalog_lock: Mutex<()>,
    open: Mutex<BTreeMap<u32, Arc<RwLock<Alive>>>>,
    /// Last, so that the folder is released when fjall is closed.
    _folder: Folder,
}

/// False from the moment its keyspace is dropped: a remaining handle must not write under its number.
struct Alive(bool);

impl EmbeddedTables {
    /// Opens the folder, or makes it. `Unavailable` when another process has it open, `Contract` when it has another
    /// format, `Damaged` when it cannot be read.
    pub fn open(dir: impl AsRef<Path>, runtime: Runtime) -> Result<Arc<Self>, StoreError> {
        let folder = Folder::open(dir.as_ref())?;
        let store = Store::open(&folder.rows())?;
        folder.set_format()?;
        Catalog(&store).finish_drops()?;
        let tombstones = Tombstones::open(&store)?;
        let locks = (0..LOCKS).map(|_| RwLock::new(())).collect();
        let (catalog_lock, open) = (Mutex::new(()), Mutex::new(BTreeMap::new()));
        let versions = Versions::default();
        let inner = Inner { store, locks, versions, tombstones, catalog_lock, open, _folder: folder };
        Ok(Arc::new(Self { inner: Arc::new(inner), runtime }))
    }
}

#[async_trait]
impl TableStore for EmbeddedTables {
    async fn create(&self, keyspace: &str, tables: &[&'static Table]) -> Result<(), StoreError> {
        check::keyspace(keyspace)?;
        tables.iter().try_for_each(|table| check::table(table))?;
        let _one_at_a_time = held(&self.inner.catalog_lock);
        self.inner.catalog().create(keyspace, tables)
    }

    async fn open(&self, keyspace: &str, tables: &[&'static Table]) -> Result<Arc<dyn Keyspace>, StoreError> {
        tables.iter().try_for_each(|table| check::table(table))?;
        let _one_at_a_time = held(&self.inner.catalog_lock);
        let (number, places) = self.inner.catalog().places(keyspace, tables)?;
        let alive =
            Arc::clone(held(&self.inner.open).entry(number).or_insert_with(|| Arc::new(RwLock::new(Alive(true)))));
        let places = tables.iter().map(|table| table.name).zip(places).collect();
        let (inner, runtime) = (Arc::clone(&self.inner), self.runtime.clone());
        Ok(Arc::new(EmbeddedKeyspace { inner, runtime, places, alive }))
    }

    async fn has_keyspace(&self, keyspace: &str) -> Result<bool, StoreError> {
        let _one_at_a_time = held(&self.inner.catalog_lock);
        Ok(self.inner.catalog().keyspace(keyspace)?.is_some())
    }

    async fn drop_keyspace(&self, keyspace: &str) -> Result<(), StoreError> {
        let (inner, name) = (Arc::clone(&self.inner), keyspace.to_owned());
        let dropped = self.runtime.blocking(move || inner.drop_keyspace(&name)).await;
        dropped.unwrap_or_else(|| Err(closing()))
    }

    async fn size_bytes(&self, keyspace: &str) -> Result<Option<u64>, StoreError> {
        let number = {
            let _one_at_a_time = held(&self.inner.catalog_lock);
            self.inner.catalog().keyspace(keyspace)?
        };
        let Some(number) = number else { return Ok(None) };
        let (mut from, end) = keys::under(Place::keyspace_prefix(number));
        let mut bytes = 0;
        loop {
            let (inner, range) = (Arc::clone(&self.inner), (from, end.clone()));
            let measured = self.runtime.blocking(move || inner.store.measure(range, MEASURED_ROWS)).await;
            let (some, last) = measured.unwrap_or_else(|| Err(closing()))?;
            bytes += some;
            let Some(last) = last else { return Ok(Some(bytes)) };
            from = Bound::Excluded(last);
        }
    }

    fn restart_margin(&self) -> Duration {
        Duration::ZERO
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.store.check()
    }

    fn reconnects(&self) -> u64 {
        0
    }
}

impl Inner {
    fn catalog(&self) -> Catalog<'_> {
        Catalog(&self.store)
    }

    fn drop_keyspace(&self, name: &str) -> Result<(), StoreError> {
        let number = {
            let _one_at_a_time = held(&self.catalog_lock);
            let Some(number) = self.catalog().keyspace(name)? else { return Ok(()) };
            // The list's lock is released first: others open keyspaces while this one waits for its readers.
            let open = held(&self.open).remove(&number);
            if let Some(alive) = open {
                alive.write().unwrap_or_else(PoisonError::into_inner).0 = false;
            }
            self.catalog().start_drop(name, number)?;
            number
        };
        self.catalog().finish_drop(number)
    }
}

fn closing() -> StoreError {
    StoreError::Unavailable("the process is closing".to_owned())
}

/// None of these locks guards state that a panic could leave inconsistent.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct EmbeddedKeyspace {
    inner: Arc<Inner>,
    runtime: Runtime,
    places: BTreeMap<&'static str, Place>,
    alive: Arc<RwLock<Alive>>,
}

#[async_trait]
impl Keyspace for EmbeddedKeyspace {
    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[RowKey],
    ) -> Result<Vec<Option<Row>>, StoreError> {
        check::get(table, partition, rows)?;
        let (place, _alive) = self.place(table)?;
        let prefix = place.partition_prefix(partition);
        // No `apply` to this table partition while it is read: so the read is one state.
        let _state = self.lock(hash(&prefix))?.read().unwrap_or_else(PoisonError::into_inner);
        let read = |key: &RowKey| {
            let found = self.inner.store.look_up(keys::row_key(table, &prefix, key))?;
            found.map_or(Ok(None), |value| row(table, key.clone(), &value))
        };
        rows.iter().map(read).collect()
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        check::slice(table, partition, slice)?;
        let (place, _alive) = self.place(table)?;
        let prefix = place.partition_prefix(partition);
        let entries = self.inner.store.state().range(range(table, &prefix, slice));
        let read = |entry: Result<(fjall::Slice, fjall::Slice), _>| {
            let (key, value) = entry?;
            row(table, keys::parse_row_key(table, key.get(prefix.len()..).unwrap_or_default())?, &value)
        };
        // Removed rows on the way cost time, but take no room.
        entries.map(read).filter_map(Result::transpose).take(slice.limit).collect()
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        self.apply_all(&[Apply { table, partition, writes }]).await
    }

    async fn apply_all(&self, all: &[Apply<'_>]) -> Result<(), StoreError> {
        all.iter().try_for_each(|one| check::apply(one.table, one.partition, one.writes))?;
        for some in all.chunks(TOGETHER) {
            self.inner.store.room(&self.runtime).await;
            self.apply_together(some)?;
        }
        Ok(())
    }

    fn version(&self, table: &'static Table, partition: &Key) -> Option<Version> {
        let (place, _alive) = self.place(table).ok()?;
        self.inner.versions.of(hash(&place.partition_prefix(partition)))
    }

    fn are_current(&self, versions: &[Version]) -> bool {
        self.inner.versions.are_current(versions)
    }

    async fn scan(&self, table: &'static Table, cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        let (place, _alive) = self.place(table)?;
        let (start, end) = keys::under(place.prefix());
        let start = cursor.map_or(start, Bound::Excluded);
        let (mut rows, mut read) = (Vec::new(), 0);
        let mut last = None;
        for entry in self.inner.store.state().range((start, end)).take(SCAN_PAGE_ROWS) {
            let (key, value) = entry?;
            let (partition, row_key) = keys::parse(table, &key)?;
            rows.extend(row(table, row_key, &value)?.map(|row| (partition, row)));
            (read, last) = (read + 1, Some(key.to_vec()));
        }
        Ok(ScanPage { next: last.filter(|_| read == SCAN_PAGE_ROWS), rows })
    }
}

impl EmbeddedKeyspace {
    /// In one batch: its fixed cost is shared.
    fn apply_together(&self, all: &[Apply<'_>]) -> Result<(), StoreError> {
        let (mut rows, mut partitions) = (BTreeMap::new(), Vec::new());
        let removals = all.iter().flat_map(|one| one.writes).filter(|write| write.is_removal()).count();
        let due = self.inner.tombstones.due(&self.inner.store, removals * ENDED_PER_REMOVAL)?;
        let mut locks: BTreeSet<usize> = due.iter().map(|tombstone| tombstone.lock).collect();
        // Once: a thread that waits to drop the keyspace would keep a second reading away from the first.
        let _alive = self.alive()?;
        for one in all {
            let place = self.place_of(one.table)?;
            let prefix = place.partition_prefix(one.partition);
            let partition = hash(&prefix);
            let lock = partition as usize % LOCKS;
            let newest = newest(one.table, &prefix, one.writes).into_iter();
            rows.extend(newest.map(|(key, write)| (key, (one.table, lock, write))));
            locks.insert(lock);
            partitions.push(partition);
        }
        // In one order everywhere, to avoid deadlock.
        let locks = locks.iter().filter_map(|lock| self.inner.locks.get(*lock));
        let _one_at_a_time: Vec<_> = locks.map(|lock| lock.write().unwrap_or_else(PoisonError::into_inner)).collect();
        let mut batch = self.inner.store.batch();
        // A row that is written now ends a removal in its own way.
        for tombstone in due.iter().filter(|tombstone| !rows.contains_key(tombstone.row_key())) {
            tombstone.end(&self.inner.store, &mut batch)?;
        }
        for (key, (table, lock, write)) in rows {
            let there = self.inner.store.get(&key)?;
            if there.map_or(Ok(true), |there| stands_over(table, write, &there))? {
                match &write.columns {
                    Some(columns) => batch.insert(key, values::encode(write.position, columns)),
                    None => self.inner.tombstones.insert(&mut batch, key, write.position, lock),
                }
            }
        }
        let committed = batch.commit();
        // The outcome of a failed batch is unknown.
        partitions.iter().for_each(|partition| self.inner.versions.changed(*partition));
        committed
    }

    /// Where the table is; the keyspace cannot be dropped while the guard is held.
    fn place(&self, table: &Table) -> Result<(Place, RwLockReadGuard<'_, Alive>), StoreError> {
        let alive = self.alive()?;
        Ok((self.place_of(table)?, alive))
    }

    fn alive(&self) -> Result<RwLockReadGuard<'_, Alive>, StoreError> {
        let alive = self.alive.read().unwrap_or_else(PoisonError::into_inner);
        if alive.0 { Ok(alive) } else { Err(StoreError::Contract("the keyspace was dropped".to_owned())) }
    }

    fn place_of(&self, table: &Table) -> Result<Place, StoreError> {
        let missing = || StoreError::Contract(format!("table {} was not opened", table.name));
        self.places.get(table.name).copied().ok_or_else(missing)
    }

    fn lock(&self, partition: u64) -> Result<&RwLock<()>, StoreError> {
        let lock = self.inner.locks.get(partition as usize % LOCKS);
        lock.ok_or_else(|| StoreError::Unavailable("no locks".to_owned()))
    }
}

/// Which table partition.
fn hash(partition_prefix: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    partition_prefix.hash(&mut hasher);
    hasher.finish()
}

/// Of several writes to one row the one that stands.
fn newest<'a>(table: &Table, prefix: &[u8], writes: &'a [Write]) -> BTreeMap<Vec<u8>, &'a Write> {
    let mut newest = BTreeMap::<_, &Write>::new();
    for write in writes {
        let there = newest.entry(keys::row_key(table, prefix, &write.key)).or_insert(write);
        if write.stands_over(there) {
            *there = write;
        }
    }
    newest
}

/// As [`Write::stands_over`], of what is stored.
fn stands_over(table: &Table, write: &Write, there: &[u8]) -> Result<bool, StoreError> {
    let rank = (values::position(there)?, values::is_removal(there)?);
    if rank == write.rank() && write.columns.as_ref().is_some_and(|columns| *there != values::encode(rank.0, columns)) {
        // It means a fold that is not a function of the log; CQL would mix their cells.
        tracing::error!(table = table.name, position = rank.0, "two different rows at one position; the first stays");
    }
    Ok(write.rank() > rank)
}

fn range(table: &Table, prefix: &[u8], slice: &Slice) -> Range {
    let start_with = |after: &[Value]| {
        let values = slice.range.prefix.iter().chain(after);
        keys::clustering_prefix(table, prefix, slice.range.section, values)
    };
    match &slice.range.after {
        None => keys::under(start_with(&[])),
        Some(after) => keys::behind(start_with(after), start_with(&[])),
    }
}

/// `None`: it was removed.
fn row(table: &Table, key: RowKey, value: &[u8]) -> Result<Option<Row>, StoreError> {
    if values::is_removal(value)? {
        return Ok(None);
    }
    let (position, columns) = values::decode(value, table.columns(key.section).into_iter().flatten())?;
    Ok(Some(Row { key, columns, position }))
}

#[cfg(test)]
mod tests;
