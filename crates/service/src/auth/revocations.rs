//! Sessions that were ended, as every process knows them: the one partition of `kith.revocations.v1`, followed from so far
//! back that an access token of then is no longer valid.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use kith_log::{EventLog, LogError, LogPartition, Offset, Record, RecordId, topics};
use kith_proto::Event;
use kith_proto::revocations::v1::revocation_event::Event as Revocation;
use kith_runtime::{Runtime, UnixMillis};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::SessionRef;
use super::refused::TokenRefused;
use crate::limits::{ACCESS_TOKEN_LIFETIME_SECONDS, REVOCATIONS_HELD, REVOCATIONS_KNOWN_SECONDS};
use crate::metrics::Metrics;

/// The key of every record of the topic, so that all are in one order.
pub const REVOCATIONS_KEY: &str = "revocations";
/// How much longer than its access tokens live a revocation is kept in mind: a token is dated by the clock of one process
/// and the record by the log's, and a token can be made as long after the record as a call takes.
const CLOCKS_DIFFER_MS: UnixMillis = 5 * 60 * 1_000;
const KEPT_MS: UnixMillis = ACCESS_TOKEN_LIFETIME_SECONDS as UnixMillis * 1_000 + CLOCKS_DIFFER_MS;
/// No answer of this process is older than this.
const KNOWN_WITHIN: Duration = Duration::from_secs(REVOCATIONS_KNOWN_SECONDS);
/// How often the log is asked how far it is.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// A reader that has not come to a head after this is opened again (consumers have stalled in the past).
const STALLED_AFTER: Duration = Duration::from_secs(4);
const READ_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How many records from the end the reading begins, at first; then twice as many, and so on.
const TAIL_RECORDS: u64 = 1_024;
/// Until then the start must know them.
const READ_WITHIN: Duration = Duration::from_secs(20);

/// One for a process.
pub struct Revocations {
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

struct Shared {
    runtime: Runtime,
    log: Arc<dyn EventLog>,
    partition: LogPartition,
    known: RwLock<Known>,
    grown: Notify,
    stalled: Notify,
    /// How old what is known is, milliseconds, and how much of it there is.
    behind_ms: Gauge,
    held: Gauge,
}

/// Kept while a token that it is about can be accepted.
#[derive(Debug)]
struct Known {
    next: Offset,
    /// When the reader was opened last.
    opened: Instant,
    /// All that the log had by then is known; `None`: not yet.
    as_of: Option<Instant>,
    /// A head of the log that is not reached yet, and when it was asked for.
    awaited: Option<(Offset, Instant)>,
    sessions: BTreeMap<RecordId, Offset>,
    accounts: BTreeMap<RecordId, Ended>,
    /// In the order of the log, with the log's time.
    order: VecDeque<(UnixMillis, Offset, Whose)>,
    /// More were ended than are held: tokens from before that are not accepted.
    forgotten_until_ms: UnixMillis,
    held_max: usize,
}

#[derive(Debug, Clone, Copy)]
enum Whose {
    Session(RecordId),
    Account(RecordId),
}

/// All sessions of an account from before a place but one.
#[derive(Debug, Clone, Copy)]
struct Ended {
    before: Offset,
    kept: Option<RecordId>,
    by: Offset,
}

impl Revocations {
    /// Reads those that matter, and follows new ones. Fails when the topic is not there or cannot be read within 20 s.
    pub async fn open(log: Arc<dyn EventLog>, runtime: Runtime) -> Result<Self, LogError> {
        log.check_topics(&[topics::REVOCATIONS]).await?;
        let partition = LogPartition::of_key(topics::REVOCATIONS, REVOCATIONS_KEY, log.partition_count());
        let head = head(&*log, partition).await?;
        let next = start(&*log, partition, head, runtime.now_ms()).await?;
        let known = RwLock::new(Known::from(next, REVOCATIONS_HELD));
        let (grown, stalled) = (Notify::new(), Notify::new());
        let (behind_ms, held) = Default::default();
        let shared = Shared { runtime: runtime.clone(), log, partition, known, grown, stalled, behind_ms, held };
        let shared = Arc::new(shared);
        let (reading, asking) = (Arc::clone(&shared), Arc::clone(&shared));
        let tasks =
            [runtime.spawn(async move { reading.read().await }), runtime.spawn(async move { asking.ask().await })];
        let own = Self { shared, tasks };
        let late = |_| LogError::Unavailable(format!("{partition} cannot be read: which sessions ended is not known"));
        tokio::time::timeout(READ_WITHIN, own.shared.until_known()).await.map_err(late)?;
        Ok(own)
    }

    /// Shows how far it is in `metrics`; once per process.
    pub fn register(&self, metrics: &Metrics) {
        let mut registry = metrics.registry();
        let help = "Age of what is known of ended sessions; over 10,000 no access token is accepted";
        registry.register("kith_revocations_behind_milliseconds", help, self.shared.behind_ms.clone());
        let help = "Ended sessions that are kept in mind";
        registry.register("kith_revocations_held", help, self.shared.held.clone());
    }

    /// Whether an access token of that session, made at that time, is accepted.
    pub fn check(
        &self,
        account_id: RecordId,
        session: SessionRef,
        issued_at_ms: UnixMillis,
    ) -> Result<(), TokenRefused> {
        self.shared.known().check(account_id, session, issued_at_ms)
    }
}

impl Drop for Revocations {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn head(log: &dyn EventLog, partition: LogPartition) -> Result<Offset, LogError> {
    let heads = log.heads(partition.topic).await?;
    Ok(heads.get(usize::from(partition.index)).copied().unwrap_or(0))
}

/// An offset before which no record matters any more: found from the end, so that a long topic is not read.
async fn start(
    log: &dyn EventLog,
    partition: LogPartition,
    head: Offset,
    now_ms: UnixMillis,
) -> Result<Offset, LogError> {
    let mut back = TAIL_RECORDS;
    loop {
        let from = head.saturating_sub(back);
        if from == 0 {
            return Ok(0);
        }
        let mut reader = log.read(partition, from).await?;
        let first = reader.next().await.transpose()?.and_then(|records| Some(records.first()?.logged_ms));
        if first.is_some_and(|logged_ms| logged_ms < now_ms - KEPT_MS) {
            return Ok(from);
        }
        back = back.saturating_mul(2);
    }
}

impl Shared {
    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    async fn until_known(&self) {
        loop {
            // Made before the check, so that no later change is missed.
            let grown = self.grown.notified();
            if self.known().as_of.is_some() {
                return;
            }
            grown.await;
        }
    }

    async fn read(&self) {
        loop {
            let read = tokio::select! {
                read = self.follow() => read,
                () = self.stalled.notified() => Err(LogError::Unavailable("its reader stands still".to_owned())),
            };
            if let Err(error) = read {
                tracing::warn!(%error, "ended sessions cannot be followed; reading again");
            }
            self.runtime.sleep(READ_AGAIN_AFTER).await;
        }
    }

    async fn follow(&self) -> Result<(), LogError> {
        let from = self.change().reopened();
        let mut reader = self.log.read(self.partition, from).await?;
        while let Some(records) = reader.next().await {
            let records = records?;
            self.change().take(&records, self.runtime.now_ms());
            self.grown.notify_waiters();
        }
        Ok(())
    }

    /// Sets the metrics. Returns whether the log has more, and the reader has not delivered it for longer than [`STALLED_AFTER`].
    fn show(&self) -> bool {
        let known = self.known();
        let behind = known.as_of.map_or(KNOWN_WITHIN * 2, |as_of| as_of.elapsed());
        self.behind_ms.set(i64::try_from(behind.as_millis()).unwrap_or(i64::MAX));
        self.held.set(i64::try_from(known.order.len()).unwrap_or(i64::MAX));
        let stands = |since: Instant| since.elapsed() > STALLED_AFTER;
        known.awaited.is_some_and(|(_, since)| stands(since)) && stands(known.opened)
    }

    /// Asks how far the log is, and waits until all that is known.
    async fn ask(&self) {
        loop {
            let asked = Instant::now();
            match tokio::time::timeout(STALLED_AFTER, head(&*self.log, self.partition)).await {
                Ok(Ok(head)) => {
                    self.change().must_reach(head, asked);
                    self.grown.notify_waiters();
                }
                Ok(Err(error)) => tracing::debug!(%error, "the log did not say how far it is"),
                Err(_) => tracing::debug!("the log did not say in time how far it is"),
            }
            if self.show() {
                self.stalled.notify_waiters();
            }
            self.runtime.sleep(ASK_EVERY).await;
        }
    }
}

impl Known {
    fn from(next: Offset, held_max: usize) -> Self {
        Self {
            next,
            opened: Instant::now(),
            as_of: None,
            awaited: None,
            sessions: BTreeMap::new(),
            accounts: BTreeMap::new(),
            order: VecDeque::new(),
            forgotten_until_ms: UnixMillis::MIN,
            held_max,
        }
    }

    fn check(&self, account_id: RecordId, session: SessionRef, issued_at_ms: UnixMillis) -> Result<(), TokenRefused> {
        if self.as_of.is_none_or(|as_of| as_of.elapsed() > KNOWN_WITHIN) {
            return Err(TokenRefused::Unconfirmed);
        }
        let is_old = |ended: &Ended| session.made_at < ended.before && Some(session.id) != ended.kept;
        if self.sessions.contains_key(&session.id) || self.accounts.get(&account_id).is_some_and(is_old) {
            return Err(TokenRefused::Revoked);
        }
        if issued_at_ms <= self.forgotten_until_ms {
            return Err(TokenRefused::Expired);
        }
        Ok(())
    }

    /// Notes that a reader is opened now: it gets [`STALLED_AFTER`] to deliver something. Returns the offset that it begins at.
    fn reopened(&mut self) -> Offset {
        self.opened = Instant::now();
        self.next
    }

    /// The log had that head at that time.
    fn must_reach(&mut self, head: Offset, asked: Instant) {
        match self.awaited {
            _ if self.next >= head => (self.as_of, self.awaited) = (Some(asked), None),
            Some(_) => {}
            None => self.awaited = Some((head, asked)),
        }
    }

    fn take(&mut self, records: &[Record], now_ms: UnixMillis) {
        for record in records {
            self.next = self.next.max(record.position.offset + 1);
            match Event::decode(topics::REVOCATIONS.name, &record.value) {
                Ok(Event::Revocations(event)) => self.keep(&event, record),
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(position = %record.position, %error, "an ended session that does not read")
                }
            }
        }
        self.forget(now_ms);
        if let Some((head, asked)) = self.awaited.filter(|(head, _)| self.next >= *head) {
            self.must_reach(head, asked);
        }
    }

    fn keep(&mut self, event: &Revocation, record: &Record) {
        let by = record.position.offset;
        let whose = match event {
            Revocation::SessionRevoked(event) => RecordId::parse(&event.session_id).map(Whose::Session),
            Revocation::AccountSessionsRevoked(event) => RecordId::parse(&event.account_id).map(Whose::Account),
        };
        match (event, whose) {
            (_, Some(Whose::Session(id))) => {
                self.sessions.insert(id, by);
            }
            (Revocation::AccountSessionsRevoked(event), Some(Whose::Account(id))) => {
                let ended = Ended { before: event.before, kept: RecordId::parse(&event.kept_session_id), by };
                let known = self.accounts.entry(id).or_insert(ended);
                // Copies come late.
                if known.before <= ended.before {
                    *known = ended;
                }
            }
            _ => {}
        }
        self.order.extend(whose.map(|whose| (record.logged_ms, by, whose)));
    }

    fn forget(&mut self, now_ms: UnixMillis) {
        while let Some(&(logged_ms, by, whose)) = self.order.front() {
            let is_over = logged_ms < now_ms - KEPT_MS;
            if !is_over && self.order.len() <= self.held_max {
                return;
            }
            if !is_over {
                // Tokens from before it may be its.
                self.forgotten_until_ms = self.forgotten_until_ms.max(logged_ms.saturating_add(CLOCKS_DIFFER_MS));
            }
            self.order.pop_front();
            match whose {
                Whose::Session(id) if self.sessions.get(&id) == Some(&by) => drop(self.sessions.remove(&id)),
                Whose::Account(id) if self.accounts.get(&id).is_some_and(|ended| ended.by == by) => {
                    self.accounts.remove(&id);
                }
                Whose::Session(_) | Whose::Account(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
