//! How the index of names comes to be and stays: filled from the accounts' rows, then by the log, which says whose row to read
//! again. Nothing is decided here: a row that was read late says what it says now.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use futures::future::try_join_all;
use kith_fold::{State, Token};
use kith_log::{LogError, LogPartition, Offset, RecordId, topics};
use kith_proto::Event;
use kith_proto::identity::v1::Account;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_relations::account::{ACCOUNTS, AccountRow};
use kith_service::Failure;
use kith_service::deadline::Deadline;
use kith_service::kit::{Kit, Seen};
use kith_tables::{Key, StoreError, Value};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::index::{Index, Match, Name};
use crate::read;

/// Between two attempts at what has failed: a read of the log or the tables.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How long the tables are waited for before they are asked for anew: another generation may serve by then.
const REACHED_WITHIN: Duration = Duration::from_secs(5);

/// The index of one process. It is filled from the first search on.
pub struct Names {
    kit: Arc<Kit>,
    shared: Arc<Shared>,
    filling: OnceLock<JoinHandle<()>>,
}

struct Shared {
    index: RwLock<Index>,
    /// Of each log partition the offset before which every change of a name is in the index; empty: it is being filled.
    next: watch::Sender<Vec<Offset>>,
}

/// Why the filling begins again.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Names {
    pub fn new(kit: Arc<Kit>) -> Self {
        let shared = Shared { index: RwLock::default(), next: watch::Sender::new(Vec::new()) };
        Self { kit, shared: Arc::new(shared), filling: OnceLock::new() }
    }

    /// Begins to fill the index, if nothing has yet.
    pub fn begin(&self) {
        self.filling.get_or_init(|| {
            let filler = Filler { kit: Arc::clone(&self.kit), shared: Arc::clone(&self.shared) };
            self.kit.runtime.spawn(filler.run())
        });
    }

    /// What fits the words of a query, as [`Index::find`] says, once the index has all that the tables of `seen` have; and whether
    /// accounts are missing in it. UNAVAILABLE if it has not before the deadline.
    pub async fn find(
        &self,
        seen: &Seen<'_>,
        query: &str,
        preferred: &[RecordId],
    ) -> Result<(Vec<Match>, bool), Failure> {
        self.begin();
        self.reach(&seen.state.as_of(), seen.deadline).await?;
        let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
        Ok((index.find(query, preferred), index.is_short()))
    }

    async fn reach(&self, token: &Token, deadline: Deadline) -> Result<(), Failure> {
        let wanted: Vec<_> =
            token.positions().filter(|position| position.partition.topic == topics::IDENTITY).collect();
        let mut next = self.shared.next.subscribe();
        let has_all = |next: &Vec<Offset>| {
            let has = |index: u16, offset: Offset| next.get(usize::from(index)).is_some_and(|next| *next > offset);
            !next.is_empty() && wanted.iter().all(|position| has(position.partition.index, position.offset))
        };
        match tokio::time::timeout_at(deadline.at(), next.wait_for(has_all)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Failure::behind_token(None)),
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.filling.get().into_iter().for_each(JoinHandle::abort);
    }
}

struct Filler {
    kit: Arc<Kit>,
    shared: Arc<Shared>,
}

impl Filler {
    async fn run(self) {
        loop {
            if let Err(error) = self.fill_and_follow().await {
                tracing::warn!(%error, "the index of names is filled again");
            }
            self.shared.next.send_replace(Vec::new());
            self.kit.runtime.sleep(AGAIN_AFTER).await;
        }
    }

    /// Ends when the log ends, or does not have any more what was told of it.
    async fn fill_and_follow(&self) -> Result<(), Halt> {
        let state = self.state().await;
        let partitions: Vec<LogPartition> =
            (0..state.partition_count()).map(|index| LogPartition { topic: topics::IDENTITY, index }).collect();
        // Before the rows: they have at least this.
        let from: Vec<Offset> = partitions.iter().map(|&partition| state.watermarks().next_offset(partition)).collect();
        self.fill(&state).await?;
        self.shared.next.send_replace(from.clone());
        let follow = |(&partition, from): (&LogPartition, Offset)| self.follow(partition, from);
        try_join_all(partitions.iter().zip(from).map(follow)).await?;
        Ok(())
    }

    async fn state(&self) -> State {
        loop {
            match self.kit.state() {
                Some(state) => return state,
                None => self.kit.runtime.sleep(AGAIN_AFTER).await,
            }
        }
    }

    async fn fill(&self, state: &State) -> Result<(), StoreError> {
        let mut cursor = None;
        loop {
            let page = state.keyspace().scan(&ACCOUNTS, cursor).await?;
            let rows = page.rows.iter().filter_map(|(key, row)| Some((account_id(key)?, row.read::<AccountRow>()?)));
            self.take(rows);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn follow(&self, partition: LogPartition, from: Offset) -> Result<(), Halt> {
        let mut next = from;
        loop {
            let mut reader = match self.kit.log().read(partition, next).await {
                Err(error @ LogError::OutOfRange { .. }) => return Err(error.into()),
                reader => reader?,
            };
            while let Some(records) = reader.next().await {
                let records = match records {
                    Err(error @ LogError::OutOfRange { .. }) => return Err(error.into()),
                    Err(error) => {
                        tracing::debug!(%partition, %error, "the index of names reads the log again");
                        break;
                    }
                    Ok(records) => records,
                };
                let Some(last) = records.last().map(|record| record.position) else { continue };
                let renamed: BTreeSet<String> = records.iter().filter_map(renamed).collect();
                if !renamed.is_empty() {
                    self.read_again(&last.into(), renamed.into_iter().collect()).await;
                }
                next = last.offset + 1;
                self.shared.next.send_modify(|all| {
                    all.get_mut(usize::from(partition.index)).into_iter().for_each(|place| *place = next);
                });
            }
            self.kit.runtime.sleep(AGAIN_AFTER).await;
        }
    }

    /// Takes what the rows of these accounts say, once the tables have all up to there.
    async fn read_again(&self, up_to: &Token, account_ids: Vec<String>) {
        loop {
            let state = self.state().await;
            if state.at_least(up_to, Instant::now() + REACHED_WITHIN).await.is_ok() {
                match read::batch(&state, &account_ids).await {
                    Ok(rows) => {
                        let ids = account_ids.iter().map(|id| RecordId::parse(id));
                        self.take(ids.zip(rows).filter_map(|(id, row)| Some((id?, row?))));
                        return;
                    }
                    Err(error) => tracing::debug!(%error, "the index of names reads the tables again"),
                }
            }
            self.kit.runtime.sleep(AGAIN_AFTER).await;
        }
    }

    fn take(&self, rows: impl Iterator<Item = (RecordId, AccountRow)>) {
        let opener = self.kit.opener();
        let named: Vec<_> = rows.map(|(account_id, row)| (account_id, name(&row.present(&opener, "")))).collect();
        let mut index = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
        named.into_iter().for_each(|(account_id, name)| index.put(account_id, name));
    }
}

/// What the account is found by.
pub fn name(account: &Account) -> Name {
    Name::of(&account.handle, account.profile.as_ref().map_or("", |profile| &profile.display_name))
}

fn account_id(key: &Key) -> Option<RecordId> {
    match key.0.first() {
        Some(Value::Text(id)) => RecordId::parse(id),
        _ => None,
    }
}

/// Whose name the record may change.
fn renamed(record: &kith_log::Record) -> Option<String> {
    let Ok(Event::Identity(event)) = Event::decode(topics::IDENTITY.name, &record.value) else { return None };
    let account_id = match event {
        Identity::AccountCreated(event) => event.account_id,
        Identity::ProfileUpdated(event) => event.account_id,
        Identity::HandleChanged(event) => event.account_id,
        _ => return None,
    };
    RecordId::parse(&account_id).map(|_| account_id)
}
