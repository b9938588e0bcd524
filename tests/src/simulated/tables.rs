use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kith_runtime::Runtime;
use kith_tables::{Key, Keyspace, Row, RowKey, ScanPage, Slice, StoreError, Table, TableStore, Write, check};
use tokio::time::Instant;

use super::nemesis::Delivery;
use super::replica::{Replica, Rows, later, merged, slice_of};
use super::{Fault, Nemesis};

/// How long a write waits for a quorum of replicas.
const QUORUM_TIMEOUT: Duration = Duration::from_millis(100);

/// What the tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub replicas: usize,
    /// How many of them a read asks and a write waits for.
    pub quorum: usize,
    /// Whether a crash may lose the last acknowledged writes, and how far a fold then goes back.
    pub restart_margin: Duration,
    pub forgets: bool,
    /// Whether read repair covers only the rows that were read, as on servers. Otherwise it covers the whole table
    /// partition: then no batch is ever half repaired (DESIGN.md, section 5, known hole).
    pub repairs_rows: bool,
}

impl Shape {
    pub const ONE: Self =
        Self { replicas: 1, quorum: 1, restart_margin: Duration::ZERO, forgets: false, repairs_rows: false };
}

/// Tables in memory, on replicas that the nemesis makes differ.
pub struct SimulatedTables {
    cluster: Arc<Cluster>,
}

struct Cluster {
    runtime: Runtime,
    nemesis: Arc<Nemesis>,
    shape: Shape,
    replicas: Mutex<Vec<Replica>>,
    /// Tables by name, as they were declared.
    keyspaces: Mutex<BTreeMap<String, BTreeMap<&'static str, &'static Table>>>,
    reconnects: AtomicU64,
}

struct SimulatedKeyspace {
    cluster: Arc<Cluster>,
    name: String,
}

impl SimulatedTables {
    /// Of one replica, where nothing goes wrong.
    pub fn new() -> Arc<Self> {
        Self::of(Runtime::simulated(0, 0), Nemesis::none(), Shape::ONE)
    }

    pub fn of(runtime: Runtime, nemesis: Arc<Nemesis>, shape: Shape) -> Arc<Self> {
        let replicas = Mutex::new((0..shape.replicas).map(|_| Replica::new(shape.forgets)).collect());
        let (keyspaces, reconnects) = (Mutex::default(), AtomicU64::new(0));
        Arc::new(Self { cluster: Arc::new(Cluster { runtime, nemesis, shape, replicas, keyspaces, reconnects }) })
    }

    /// A replica is away for a while.
    pub fn take_down(&self, replica: usize, within: Duration) {
        self.cluster.nemesis.count(Fault::ReplicaDown);
        if let Some(replica) = self.cluster.replicas().get_mut(replica) {
            replica.down_until = Some(Instant::now() + within);
        }
    }

    /// All replicas are there again.
    pub fn heal(&self) {
        self.cluster.replicas().iter_mut().for_each(|replica| replica.down_until = None);
    }

    /// A replica crashes and comes back without its last acknowledged writes. Its clients notice the lost connection.
    pub fn lose_tail(&self, replica: usize, within: Duration) -> usize {
        let Some(since) = Instant::now().checked_sub(within) else { return 0 };
        let lost = self.cluster.replicas().get_mut(replica).map_or(0, |replica| replica.lose_since(since));
        if lost > 0 {
            self.cluster.nemesis.count(Fault::LostTail);
        }
        self.cluster.reconnects.fetch_add(1, Ordering::Relaxed);
        lost
    }

    /// Every row of a table as all replicas together have it: for checkers.
    pub fn dump(&self, keyspace: &str, table: &'static Table) -> Vec<(Key, Row)> {
        self.cluster.all(keyspace, table)
    }
}

impl Cluster {
    fn replicas(&self) -> MutexGuard<'_, Vec<Replica>> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The replicas that a read asks.
    fn readers(&self, replicas: &[Replica]) -> Result<Vec<usize>, StoreError> {
        let (now, count) = (Instant::now(), replicas.len());
        let first = self.nemesis.first_of(count);
        let up = (0..count).map(|n| (first + n) % count).filter(|&n| !replicas[n].is_down(now));
        let chosen: Vec<usize> = up.take(self.shape.quorum).collect();
        if chosen.len() < self.shape.quorum { Err(unavailable("too few replicas")) } else { Ok(chosen) }
    }

    /// Reads rows of a table partition by a quorum, and repairs the replicas that were read.
    fn read(
        &self,
        keyspace: &str,
        table: &'static Table,
        partition: &Key,
        pick: &dyn Fn(&Rows) -> Vec<Write>,
    ) -> Result<Vec<Row>, StoreError> {
        let rows = |found: Vec<Write>| found.into_iter().filter_map(Write::into_row).collect();
        let mut replicas = self.replicas();
        let chosen = self.readers(&replicas)?;
        let of: Vec<Option<&Rows>> =
            chosen.iter().map(|&n| replicas[n].rows(keyspace, table.name, partition)).collect();
        if of.len() == 1 || of.windows(2).all(|pair| pair[0] == pair[1]) {
            return Ok(rows(of[0].map(pick).unwrap_or_default()));
        }
        let whole = merged(&of);
        let found = pick(&whole);
        self.nemesis.count(Fault::ReadRepair);
        let repair = if self.shape.repairs_rows { found.clone() } else { whole.into_values().collect() };
        let now = Instant::now();
        chosen.iter().for_each(|&n| replicas[n].write(keyspace, table.name, partition, &repair, now));
        Ok(rows(found))
    }

    /// Sends a write to every replica; waits for a quorum.
    async fn write(
        self: &Arc<Self>,
        keyspace: &str,
        table: &'static Table,
        partition: &Key,
        writes: &[Write],
    ) -> Result<(), StoreError> {
        let (mut acknowledged, mut late) = (0, Vec::new());
        for replica in 0..self.shape.replicas {
            let is_down = self.replicas()[replica].is_down(Instant::now());
            match if is_down { Delivery::Never } else { self.nemesis.delivery() } {
                Delivery::Now => {
                    self.replicas()[replica].write(keyspace, table.name, partition, writes, Instant::now());
                    acknowledged += 1;
                }
                Delivery::Late(after) => {
                    late.push(after);
                    self.write_later(replica, after, (keyspace.to_owned(), table, partition.clone(), writes.to_vec()));
                }
                Delivery::Never => {}
            }
        }
        late.sort_unstable();
        let missing = self.shape.quorum.saturating_sub(acknowledged);
        let wait = missing.checked_sub(1).map(|last| late.get(last).copied().unwrap_or(Duration::MAX));
        if wait.is_some_and(|wait| wait > QUORUM_TIMEOUT) {
            self.nemesis.count(Fault::WriteUnknown);
            self.runtime.sleep(QUORUM_TIMEOUT).await;
            return Err(unavailable("too few replicas answered a write"));
        }
        if let Some(wait) = wait {
            self.runtime.sleep(wait).await;
        }
        Ok(())
    }

    fn write_later(
        self: &Arc<Self>,
        replica: usize,
        after: Duration,
        (keyspace, table, partition, writes): (String, &'static Table, Key, Vec<Write>),
    ) {
        let cluster = Arc::clone(self);
        self.runtime.spawn(async move {
            cluster.runtime.sleep(after).await;
            let now = Instant::now();
            cluster.replicas()[replica].write(&keyspace, table.name, &partition, &writes, now);
        });
    }

    fn all(&self, keyspace: &str, table: &'static Table) -> Vec<(Key, Row)> {
        let replicas = self.replicas();
        let mut all = BTreeMap::new();
        for (key, rows) in replicas.iter().filter_map(|replica| replica.table(keyspace, table.name)).flatten() {
            for row in rows.values() {
                all.entry((key, &row.key))
                    .and_modify(|known: &mut Write| *known = later(known, row))
                    .or_insert_with(|| row.clone());
            }
        }
        all.into_iter().filter_map(|((key, _), write)| Some((key.clone(), write.into_row()?))).collect()
    }
}

#[async_trait]
impl TableStore for SimulatedTables {
    async fn create(&self, keyspace: &str, tables: &[&'static Table]) -> Result<(), StoreError> {
        check::keyspace(keyspace)?;
        tables.iter().try_for_each(|table| check::table(table))?;
        let mut keyspaces = self.cluster.keyspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let made = keyspaces.entry(keyspace.to_owned()).or_default();
        tables.iter().for_each(|&table| _ = made.entry(table.name).or_insert(table));
        Ok(())
    }

    async fn open(&self, keyspace: &str, tables: &[&'static Table]) -> Result<Arc<dyn Keyspace>, StoreError> {
        let keyspaces = self.cluster.keyspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let made = keyspaces.get(keyspace);
        let as_declared = |table: &&'static Table| {
            made.and_then(|made| made.get(table.name)).is_some_and(|made| format!("{made:?}") == format!("{table:?}"))
        };
        if made.is_none() || !tables.iter().all(as_declared) {
            return Err(StoreError::Contract(format!("keyspace {keyspace} or a table of it is not as declared")));
        }
        drop(keyspaces);
        let (cluster, name) = (Arc::clone(&self.cluster), keyspace.to_owned());
        Ok(Arc::new(SimulatedKeyspace { cluster, name }))
    }

    async fn has_keyspace(&self, keyspace: &str) -> Result<bool, StoreError> {
        Ok(self.cluster.keyspaces.lock().unwrap_or_else(PoisonError::into_inner).contains_key(keyspace))
    }

    async fn drop_keyspace(&self, keyspace: &str) -> Result<(), StoreError> {
        self.cluster.replicas().iter_mut().for_each(|replica| replica.drop_keyspace(keyspace));
        self.cluster.keyspaces.lock().unwrap_or_else(PoisonError::into_inner).remove(keyspace);
        Ok(())
    }

    fn restart_margin(&self) -> Duration {
        self.cluster.shape.restart_margin
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.cluster.readers(&self.cluster.replicas()).map(|_| ())
    }

    fn reconnects(&self) -> u64 {
        self.cluster.reconnects.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Keyspace for SimulatedKeyspace {
    async fn get(
        &self,
        table: &'static Table,
        partition: &Key,
        rows: &[RowKey],
    ) -> Result<Vec<Option<Row>>, StoreError> {
        check::get(table, partition, rows)?;
        self.cluster.nemesis.pause().await;
        let pick = |all: &Rows| rows.iter().filter_map(|key| all.get(key).cloned()).collect();
        let found = self.cluster.read(&self.name, table, partition, &pick)?;
        self.answer().await?;
        let of = |key: &RowKey| found.iter().find(|row| row.key == *key).cloned();
        Ok(rows.iter().map(of).collect())
    }

    async fn slice(&self, table: &'static Table, partition: &Key, slice: &Slice) -> Result<Vec<Row>, StoreError> {
        check::slice(table, partition, slice)?;
        self.cluster.nemesis.pause().await;
        let found = self.cluster.read(&self.name, table, partition, &|all| slice_of(all, table, slice))?;
        self.answer().await?;
        Ok(found)
    }

    async fn apply(&self, table: &'static Table, partition: &Key, writes: &[Write]) -> Result<(), StoreError> {
        check::apply(table, partition, writes)?;
        let connection = self.cluster.reconnects.load(Ordering::Relaxed);
        self.cluster.nemesis.pause().await;
        if self.cluster.reconnects.load(Ordering::Relaxed) != connection {
            return Err(unavailable("the server crashed"));
        }
        self.cluster.write(&self.name, table, partition, writes).await?;
        self.cluster.nemesis.pause().await;
        if self.cluster.nemesis.write_is_unanswered() {
            return Err(unavailable("a write was not answered"));
        }
        Ok(())
    }

    async fn scan(&self, table: &'static Table, _cursor: Option<Vec<u8>>) -> Result<ScanPage, StoreError> {
        Ok(ScanPage { rows: self.cluster.all(&self.name, table), next: None })
    }
}

impl SimulatedKeyspace {
    async fn answer(&self) -> Result<(), StoreError> {
        if self.cluster.nemesis.is_calm() {
            return Ok(());
        }
        self.cluster.nemesis.pause().await;
        if self.cluster.nemesis.read_fails() { Err(unavailable("a read was not answered")) } else { Ok(()) }
    }
}

fn unavailable(what: &str) -> StoreError {
    StoreError::Unavailable(what.to_owned())
}
