//! Writes rows as a fold would that knew them beforehand: everything that has arrived since is one batch per partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use kith_runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::raw::Raw;
use crate::template::{Kind, Rows};
use crate::world::PARTITIONS;

/// Commands that wait for a shard; more wait in their handlers.
const QUEUE: usize = 1_024;
/// Commands written together, as in a fold.
const BATCH: usize = 256;
const WRITES_IN_FLIGHT: usize = 64;

/// A command whose rows are to be written.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    pub kind: Kind,
    pub n: u64,
    pub actor: u64,
    pub subject: u64,
}

enum Word {
    Command(Command),
    Drained(oneshot::Sender<()>),
}

/// A writer a log partition.
pub struct Writer {
    shards: Vec<mpsc::Sender<Word>>,
}

impl Writer {
    pub fn start(raw: Arc<Raw>, rows: BTreeMap<Kind, Vec<Rows>>) -> Self {
        let rows = Arc::new(rows);
        let shard = |_| {
            let (sender, receiver) = mpsc::channel(QUEUE);
            Runtime::system().spawn(write_all(Arc::clone(&raw), Arc::clone(&rows), receiver));
            sender
        };
        Self { shards: (0..PARTITIONS).map(shard).collect() }
    }

    /// Waits while its shard is behind.
    pub async fn take(&self, shard: usize, command: Command) {
        // A shard that ended says so when it is asked whether it has drained.
        let _ = self.shards[shard].send(Word::Command(command)).await;
    }

    /// Returns when all that was taken before is written.
    pub async fn drained(&self) -> Result<()> {
        for shard in &self.shards {
            let (answer, answered) = oneshot::channel();
            shard.send(Word::Drained(answer)).await.ok().context("a shard ended")?;
            answered.await.context("a shard ended")?;
        }
        Ok(())
    }
}

async fn write_all(raw: Arc<Raw>, rows: Arc<BTreeMap<Kind, Vec<Rows>>>, mut words: mpsc::Receiver<Word>) -> Result<()> {
    let mut taken = Vec::with_capacity(BATCH);
    while words.recv_many(&mut taken, BATCH).await > 0 {
        let mut partitions: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Bytes>> = BTreeMap::new();
        let mut waiting = Vec::new();
        for word in taken.drain(..) {
            match word {
                Word::Drained(answer) => waiting.push(answer),
                Word::Command(Command { kind, n, actor, subject }) => {
                    for write in rows.get(&kind).into_iter().flatten() {
                        let (partition, cells) = write.of(n, actor, subject);
                        partitions.entry(partition).or_default().extend(cells);
                    }
                }
            }
        }
        let raw = &raw;
        let writes = partitions.into_iter().map(|(partition, cells)| async move {
            raw.write(&partition, &cells.into_iter().collect::<Vec<_>>()).await
        });
        let written = stream::iter(writes).buffer_unordered(WRITES_IN_FLIGHT).try_collect::<Vec<()>>().await;
        if let Err(error) = written {
            eprintln!("bench: a raw write failed: {error:#}");
            return Err(error);
        }
        waiting.into_iter().for_each(|answer| _ = answer.send(()));
    }
    Ok(())
}
