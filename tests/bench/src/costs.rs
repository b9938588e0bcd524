//! What one command and one page cost over Kafka and Cassandra: processor time of each process, bytes in the log and in the
//! tables. The capacity page multiplies these.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use tokio::time::Instant;

use crate::desk::Live;
use crate::load::{self, Call};
use crate::place::Place;
use crate::target::Subjects;
use crate::template::Kind;
use crate::world::World;

/// Half of what the machine can do or less, so that nothing is put off.
const IN_FLIGHT: usize = 32;
const WINDOW: Duration = Duration::from_secs(10);
/// How often a table with this setting writes its rows to files.
const FLUSH_MS: u32 = 500;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Files that stay as they are for so many looks are complete.
const LOOKS_ALIKE: usize = 4;
const FLUSHED_WITHIN: Duration = Duration::from_secs(120);

/// What one call costs, on average.
#[derive(Debug, Clone)]
pub struct Cost {
    pub what: &'static str,
    pub calls: u64,
    pub kith_us: f64,
    pub kafka_us: f64,
    pub cassandra_us: f64,
    /// On disk, one copy.
    pub log_bytes: f64,
    /// On disk, one copy, compressed as Cassandra does by itself.
    pub table_bytes: f64,
}

/// Counters that only grow, summed since the start of the processes.
struct Meter {
    kith: Duration,
    kafka: Duration,
    cassandra: Duration,
    log_bytes: u64,
    table_bytes: u64,
}

/// One of each kind of command, and a page, over a world.
pub async fn costs(world: World, live: &mut Live) -> Result<Vec<Cost>> {
    let mut place = Place::over(world, Some(live), &[]).await?;
    let pages = place.target.pages(world.accounts);
    let calls: Vec<(&'static str, Call)> = Kind::ALL
        .map(|kind| (kind.name(), place.target.commands(kind, Subjects::Uniform(world.posts))))
        .into_iter()
        .chain([("home feed page of 50", pages)])
        .collect();
    let files = Files { session: SessionBuilder::new().known_node(live.cql_address()).build().await? };
    let mut all = Vec::new();
    for (what, call) in calls {
        load::closed(&call, IN_FLIGHT, WINDOW / 5, &place.numbers).await?.all_ok()?;
        files.written(live.cql.folder()).await?;
        let before = meter(&mut place, live)?;
        let outcome = load::closed(&call, IN_FLIGHT, WINDOW, &place.numbers).await?.all_ok()?;
        place.target.folded(&outcome.token).await?;
        // Before the files are written: that is more work than it would be in large ones.
        let after = meter(&mut place, live)?;
        files.written(live.cql.folder()).await?;
        let table_bytes = meter(&mut place, live)?.table_bytes.saturating_sub(before.table_bytes);
        let each = |value: f64| value / outcome.answered as f64;
        let us = |of: fn(&Meter) -> Duration| each((of(&after) - of(&before)).as_micros() as f64);
        let cost = Cost {
            what,
            calls: outcome.answered,
            kith_us: us(|meter| meter.kith),
            kafka_us: us(|meter| meter.kafka),
            cassandra_us: us(|meter| meter.cassandra),
            log_bytes: each(after.log_bytes.saturating_sub(before.log_bytes) as f64),
            table_bytes: each(table_bytes as f64),
        };
        eprintln!("  {cost:?}");
        all.push(cost);
    }
    Ok(all)
}

/// The costs in Markdown.
pub fn table(costs: &[Cost]) -> String {
    let mut text = "| what | calls | Kith, µs | Kafka, µs | Cassandra, µs | log, bytes | tables, bytes |\n".to_owned();
    text.push_str("|---|---|---|---|---|---|---|\n");
    for Cost { what, calls, kith_us, kafka_us, cassandra_us, log_bytes, table_bytes } in costs {
        text.push_str(&format!(
            "| {what} | {calls} | {kith_us:.0} | {kafka_us:.0} | {cassandra_us:.0} | {log_bytes:.0} | {table_bytes:.0} |\n"
        ));
    }
    text
}

fn meter(place: &mut Place, live: &mut Live) -> Result<Meter> {
    Ok(Meter {
        kith: place.suite.process()?.processor_time()?,
        kafka: live.kafka.process()?.processor_time()?,
        cassandra: live.cql.process()?.processor_time()?,
        log_bytes: bytes_of(live.kafka.folder(), ".log")?,
        table_bytes: bytes_of(live.cql.folder(), "-Data.db")?,
    })
}

/// Cassandra's files of sorted rows.
struct Files {
    session: Session,
}

impl Files {
    /// Has every table of ours write its rows to files, and waits until it has.
    async fn written(&self, folder: &Path) -> Result<()> {
        self.flush_every(FLUSH_MS).await?;
        let started = Instant::now();
        let (mut last, mut alike) = (bytes_of(folder, "-Data.db")?, 0);
        while alike < LOOKS_ALIKE {
            ensure!(started.elapsed() < FLUSHED_WITHIN, "Cassandra does not stop writing files");
            tokio::time::sleep(LOOK_EVERY).await;
            let now = bytes_of(folder, "-Data.db")?;
            alike = if now == last { alike + 1 } else { 0 };
            last = now;
        }
        self.flush_every(0).await
    }

    async fn flush_every(&self, ms: u32) -> Result<()> {
        let query = "SELECT keyspace_name, table_name FROM system_schema.tables";
        let answer = self.session.query_unpaged(query, ()).await?.into_rows_result()?;
        for row in answer.rows::<(String, String)>()? {
            let (keyspace, table) = row?;
            if keyspace.starts_with("kith") {
                let change = format!("ALTER TABLE {keyspace}.{table} WITH memtable_flush_period_in_ms = {ms}");
                self.session.query_unpaged(change, ()).await?;
            }
        }
        Ok(())
    }
}

/// Bytes of the files below `folder` whose names end so. Files come and go meanwhile.
fn bytes_of(folder: &Path, ending: &str) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            sum += bytes_of(&entry.path(), ending).unwrap_or(0);
        } else if entry.file_name().to_string_lossy().ends_with(ending) {
            sum += entry.metadata().map_or(0, |metadata| metadata.len());
        }
    }
    Ok(sum)
}
