//! Whether two generations of a group's tables are equal, per table partition.
//!
//! Both are still folded meanwhile, so a partition that differs at first is read again once both generations have
//! folded up to the heads of that moment. If it still differs, and has changed on neither side in between, it is
//! different: each side has folded everything that the other had, and nothing newer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kith_tables::{Key, MAX_GET_ROWS, MAX_SLICE_ROWS, Row, RowKey, RowRange, Slice, StoreError, Table, Value};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::engine::{self, Ports};
use crate::{FoldError, Group, State, WaitError};

pub use crate::group::Shown;

/// How often a partition under constant writes is read before it is reported as different.
const LOOKS: usize = 50;
/// How long both generations get to reach the heads.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(60);
/// Differences that are listed; all are counted.
const TOLD: usize = 20;

/// How far a comparison is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    pub table: &'static str,
    /// Table partitions, and rows of one side, so far.
    pub partitions: u64,
    pub rows: u64,
}

/// The result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Over everything that both hold; `None` if they differ.
    pub digest: Option<[u8; 32]>,
    pub partitions: u64,
    pub rows: u64,
    pub partitions_different: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
}

/// A row that differs between the sides: the first part of its digest, since its content may be secret; `None`: absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub table: &'static str,
    pub partition: String,
    pub row: String,
    pub left: Option<String>,
    pub right: Option<String>,
}

/// Why two generations could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a generation does not catch up: {0}")]
    Wait(#[from] WaitError),
}

/// Compares all tables of a group. `told` gets the progress, after each page.
pub async fn verify(
    ports: &Ports,
    group: &Group,
    (left, right): (&State, &State),
    told: &(dyn Fn(Compared) + Send + Sync),
) -> Result<Verdict, VerifyError> {
    let mut run = Run { ports, group, left, right, verdict: Verdict::default(), hash: Sha256::new() };
    let by_entries = group.shown.as_ref().map(|shown| shown.tables()).unwrap_or_default();
    for table in group.folded_tables() {
        if by_entries.iter().any(|shown| shown.name == table.name) {
            continue;
        }
        run.table(table, told).await?;
    }
    if let Some(shown) = &group.shown {
        run.entries(&**shown, told).await?;
    }
    let Run { mut verdict, hash, .. } = run;
    verdict.digest = (verdict.partitions_different == 0).then(|| hash.finalize().into());
    Ok(verdict)
}

/// Digests of a partition's rows, by their keys as text. Not the rows: a partition may be large.
type Rows = BTreeMap<String, RowDigest>;
type RowDigest = [u8; 32];

struct Run<'a> {
    ports: &'a Ports,
    group: &'a Group,
    left: &'a State,
    right: &'a State,
    verdict: Verdict,
    hash: Sha256,
}

/// One thing that is compared: a table partition, or what a reader is shown.
struct Subject<'a> {
    table: &'static Table,
    name: String,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Partition(Key),
    Reader(&'a dyn Shown, String),
}

impl Run<'_> {
    /// All partitions of the left side, then those that only the right side has.
    async fn table(
        &mut self,
        table: &'static Table,
        told: &(dyn Fn(Compared) + Send + Sync),
    ) -> Result<(), VerifyError> {
        for (side, is_left) in [(self.left, true), (self.right, false)] {
            let (mut cursor, mut last) = (None, None);
            loop {
                let page = side.keyspace.scan(table, cursor).await?;
                for (key, _) in page.rows {
                    if last.as_ref() == Some(&key) {
                        continue;
                    }
                    last = Some(key.clone());
                    let subject = Subject { table, name: text_of(&key.0), kind: Kind::Partition(key) };
                    if is_left || self.rows(self.left, &subject).await?.is_empty() {
                        self.compare(subject).await?;
                    }
                }
                told(Compared { table: table.name, partitions: self.verdict.partitions, rows: self.verdict.rows });
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn entries(&mut self, shown: &dyn Shown, told: &(dyn Fn(Compared) + Send + Sync)) -> Result<(), VerifyError> {
        let Some(&table) = shown.tables().first() else { return Ok(()) };
        let (mut cursor, mut last) = (None, None);
        loop {
            let (readers, next) = shown.readers(self.left, cursor).await?;
            for reader in readers {
                if last.as_ref() == Some(&reader) {
                    continue;
                }
                last = Some(reader.clone());
                self.compare(Subject { table, name: reader.clone(), kind: Kind::Reader(shown, reader) }).await?;
            }
            told(Compared { table: table.name, partitions: self.verdict.partitions, rows: self.verdict.rows });
            cursor = next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn compare(&mut self, subject: Subject<'_>) -> Result<(), VerifyError> {
        // Embedded tables answer without yielding: without this no other task would run until all is compared.
        tokio::task::yield_now().await;
        let mut both = self.both(&subject).await?;
        for _ in 0..LOOKS {
            if both.0 == both.1 {
                break;
            }
            self.catch_up().await?;
            let again = self.both(&subject).await?;
            let stands = again == both;
            both = again;
            if stands {
                break;
            }
        }
        match &both {
            (left, right) if left == right => self.same(&subject, left),
            both => self.different(&subject, both),
        }
        Ok(())
    }

    fn same(&mut self, subject: &Subject<'_>, rows: &Rows) {
        self.verdict.partitions += 1;
        self.verdict.rows += rows.len() as u64;
        for part in [subject.table.name, &subject.name] {
            hash_text(&mut self.hash, part);
        }
        for (key, row) in rows {
            hash_text(&mut self.hash, key);
            self.hash.update(row);
        }
    }

    fn different(&mut self, subject: &Subject<'_>, (left, right): &(Rows, Rows)) {
        self.verdict.partitions += 1;
        self.verdict.partitions_different += 1;
        let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        let differing = keys.into_iter().filter(|key| left.get(*key) != right.get(*key));
        let room = TOLD.saturating_sub(self.verdict.differences.len());
        self.verdict.differences.extend(differing.take(room).map(|key| Difference {
            table: subject.table.name,
            partition: subject.name.clone(),
            row: key.clone(),
            left: left.get(key).map(shown_digest),
            right: right.get(key).map(shown_digest),
        }));
    }

    async fn both(&self, subject: &Subject<'_>) -> Result<(Rows, Rows), StoreError> {
        futures::try_join!(self.rows(self.left, subject), self.rows(self.right, subject))
    }

    async fn rows(&self, state: &State, subject: &Subject<'_>) -> Result<Rows, StoreError> {
        match &subject.kind {
            Kind::Partition(key) => self.partition(state, subject.table, key).await,
            Kind::Reader(shown, reader) => {
                let entries = shown.entries(state, reader, self.ports.runtime.now_ms()).await?;
                let entry = |(place, entry): (usize, String)| (format!("{place:010}"), digest_of(&entry));
                Ok(entries.into_iter().enumerate().map(entry).collect())
            }
        }
    }

    /// Every row of a table partition: of its sections, and the summaries of the log partitions that evolve it.
    async fn partition(&self, state: &State, table: &'static Table, key: &Key) -> Result<Rows, StoreError> {
        let mut rows = Rows::new();
        let mut put = |row: Row| {
            if self.group.shown.as_ref().is_none_or(|shown| shown.counts(table, &row.key)) {
                let place = format!("{} {}", row.key.section, text_of(&row.key.clustering));
                rows.insert(place, digest_of(&text_of(&row.columns)));
            }
        };
        // Rows that may be removed say only where to look: what they lead to is compared.
        for section in table.sections.iter().filter(|section| !section.removable) {
            let mut range = RowRange { section: section.id, prefix: Vec::new(), after: None };
            loop {
                let slice = Slice { range: range.clone(), limit: MAX_SLICE_ROWS };
                let found = state.keyspace.slice(table, key, &slice).await?;
                let (is_last, after) =
                    (found.len() < MAX_SLICE_ROWS, found.last().map(|row| row.key.clustering.clone()));
                found.into_iter().for_each(&mut put);
                if is_last {
                    break;
                }
                range.after = after;
            }
        }
        for chunk in self.summaries(state, table).chunks(MAX_GET_ROWS) {
            state.keyspace.get(table, key, chunk).await?.into_iter().flatten().for_each(&mut put);
        }
        Ok(rows)
    }

    fn summaries(&self, state: &State, table: &'static Table) -> Vec<RowKey> {
        state.watermarks().partitions().map(|partition| table.summary_key(partition.source())).collect()
    }

    /// Waits until both generations have reached the log's current heads.
    async fn catch_up(&self) -> Result<(), VerifyError> {
        let heads = engine::heads(&*self.ports.log, self.group).await.map_err(FoldError::from)?;
        let positions = engine::last_positions(&heads);
        let until = Instant::now() + CATCH_UP_WITHIN;
        for state in [self.left, self.right] {
            state.watermarks.wait(positions.iter().copied(), until).await?;
        }
        Ok(())
    }
}

fn digest_of(text: &str) -> RowDigest {
    Sha256::digest(text).into()
}

fn shown_digest(digest: &RowDigest) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn hash_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text);
}

/// Values for people, and the same for the same values only.
fn text_of(values: &[Value]) -> String {
    let text = |value: &Value| match value {
        Value::Text(text) => format!("{text:?}"),
        Value::BigInt(number) => number.to_string(),
        Value::Bool(yes) => yes.to_string(),
        Value::Timestamp(at) => format!("@{}", at.0),
        Value::Blob(bytes) => format!("0x{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    };
    values.iter().map(text).collect::<Vec<_>>().join(" ")
}
