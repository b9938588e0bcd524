use std::sync::Arc;

use kith_log::Topic;
use kith_tables::Table;

use crate::Fold;
use crate::dead_letter::SET_ASIDE;
use crate::verify::Shown;
use crate::watermark::WATERMARKS;

/// All folds of one service over all topics that it reads: one consumer group, one keyspace, watermarks included.
#[derive(Clone)]
pub struct Group {
    pub service: &'static str,
    /// Which full set of tables; in every name from the first day.
    pub generation: u32,
    /// Counts up when a fold or a table changes what it writes: tables that other folds began are not folded on with
    /// these, a new generation is.
    pub folds_version: u32,
    pub topics: Vec<Topic>,
    pub folds: Vec<Arc<dyn Fold>>,
    /// How tables that join two topics are compared; `None`: there are none.
    pub shown: Option<Arc<dyn Shown>>,
}

impl Group {
    /// The consumer group: `kith.posts.g1`.
    pub fn name(&self) -> String {
        format!("kith.{}.g{}", self.service, self.generation)
    }

    /// The keyspace: `kith_posts_g1`.
    pub fn keyspace(&self) -> String {
        format!("kith_{}_g{}", self.service, self.generation)
    }

    /// Every table of the keyspace, once, in order of declaration.
    pub fn tables(&self) -> Vec<&'static Table> {
        let mut tables = vec![&WATERMARKS, &SET_ASIDE];
        tables.extend(self.folded_tables());
        tables
    }

    /// Those that are a function of the log: without what the engine notes of its own doings.
    pub fn folded_tables(&self) -> Vec<&'static Table> {
        let mut tables: Vec<&'static Table> = Vec::new();
        for table in self.folds.iter().flat_map(|fold| fold.tables()) {
            if !tables.iter().any(|known| known.name == table.name) {
                tables.push(table);
            }
        }
        tables
    }

    /// Whether this service writes `topic`: then its group also sets aside what cannot be decoded there.
    pub(crate) fn owns(&self, topic: Topic) -> bool {
        let service = topic.name.strip_prefix("kith.").and_then(|rest| rest.split('.').next());
        service == Some(self.service)
    }
}
