use std::sync::Arc;

use kith_log::EventLog;
use kith_runtime::Runtime;
use kith_tables::TableStore;
use tokio::sync::{Notify, Semaphore};

use super::role::Role;
use crate::metrics::FoldMetrics;
use crate::{Group, Publisher, State};

/// What all workers of a group share.
pub(crate) struct Context {
    pub group: Group,
    pub runtime: Runtime,
    pub log: Arc<dyn EventLog>,
    pub store: Arc<dyn TableStore>,
    pub state: State,
    pub publisher: Publisher,
    pub metrics: FoldMetrics,
    pub role: Arc<Role>,
    /// Replays in progress: each opens a separate reader, outside the group.
    pub replays: Semaphore,
    /// One worker at a time reads the topic of dead letters: it is rare, and opens a reader too.
    pub reading_letters: Semaphore,
    /// A worker's reader had a transient failure: the process rejoins the group.
    pub rejoin: Notify,
}
