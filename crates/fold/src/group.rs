use std::sync::Arc;

use async_trait::async_trait;
use kith_log::Topic;
use kith_runtime::UnixMillis;
use kith_tables::{RowKey, StoreError, Table};

use crate::dead_letter::SET_ASIDE;
use crate::positions::WATERMARKS;
use crate::{Build, Fold, State};

/// A fold group: folds whose tables are filled, promoted and dropped together, over all topics that they read. It has one
/// consumer group, and one keyspace with the watermarks in it. A service hosts one group or several.
#[derive(Clone)]
pub struct Group {
    /// For a service's own tables the service's name, for a read model what it shows: `posts`, `feeds`. Unique in the suite.
    pub name: &'static str,
    /// The generation; in every name from the first day.
    pub generation: u32,
    /// Incremented when a fold or a table changes its writes: these folds do not continue tables that other folds
    /// began, they fill a new generation.
    pub folds_version: u32,
    /// The newest version of the events that these folds read: see [`crate::EVENTS`].
    pub reads: u32,
    pub topics: Vec<Topic>,
    pub folds: Vec<Arc<dyn Fold>>,
    /// How tables that join two topics are compared; `None`: there are none.
    pub shown: Option<Arc<dyn Shown>>,
}

/// The content of a table that readers see, if its rows also hold content that no reader sees: a join of two topics,
/// whose rows depend on the interleaving.
#[async_trait]
pub trait Shown: Send + Sync {
    /// The tables that are compared by their visible content.
    fn tables(&self) -> Vec<&'static Table>;

    /// Whether a row of another table is compared.
    fn counts(&self, table: &'static Table, row: &RowKey) -> bool;

    /// The keys of readers, one page at a time.
    async fn readers(
        &self,
        state: &State,
        cursor: Option<Vec<u8>>,
    ) -> Result<(Vec<String>, Option<Vec<u8>>), StoreError>;

    /// The entries that a reader sees, in order, equal entries in equal form.
    async fn entries(&self, state: &State, reader: &str, now_ms: UnixMillis) -> Result<Vec<String>, StoreError>;
}

impl Group {
    /// What its release brings.
    pub fn build(&self) -> Build {
        Build { folds_version: self.folds_version, reads: self.reads }
    }

    /// The consumer group: `kith.posts.g1`.
    pub fn consumer_group(&self) -> String {
        format!("kith.{}.g{}", self.name, self.generation)
    }

    /// The keyspace: `kith_posts_g1`.
    pub fn keyspace(&self) -> String {
        format!("kith_{}_g{}", self.name, self.generation)
    }

    /// Every table of the keyspace, once, in order of declaration.
    pub fn tables(&self) -> Vec<&'static Table> {
        let mut tables = vec![&WATERMARKS, &SET_ASIDE];
        tables.extend(self.folded_tables());
        tables
    }

    /// Those that are a function of the log: without the engine's own state.
    pub fn folded_tables(&self) -> Vec<&'static Table> {
        let mut tables: Vec<&'static Table> = Vec::new();
        for table in self.folds.iter().flat_map(|fold| fold.tables()) {
            if !tables.iter().any(|known| known.name == table.name) {
                tables.push(table);
            }
        }
        tables
    }

    /// Whether the group's own service writes `topic`: then the group also sets aside what cannot be decoded there.
    pub(crate) fn owns(&self, topic: Topic) -> bool {
        let service = topic.name.strip_prefix("kith.").and_then(|rest| rest.split('.').next());
        service == Some(self.name)
    }
}
