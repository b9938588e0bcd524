//! Common to all handlers: waits for tokens, appends, answers with tokens.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kith_content::Opener;
use kith_fold::engine::FoldMetrics;
use kith_fold::{Cause, DependsOn, Lag, Projection, Publisher, Standstill, State, Token, WaitError};
use kith_log::{AppendError, EventLog, LogPartition, Offset, Position, RecordId, Topic};
use kith_proto::{Event, time};
use kith_runtime::{Runtime, UnixMillis};
use kith_tables::{StoreError, Timestamp};
use lru::LruCache;
use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio::time::Instant;

use crate::auth::{Asker, Principal};
use crate::consistency_token::ConsistencyTokens;
use crate::deadline::Deadline;
use crate::page_token::PageTokens;
use crate::reasons::may_be_stale;
use crate::share::Shares;
use crate::{Failure, limits};

/// The number of commands whose content this process remembers, to refuse a request id that is reused with other
/// content. A created thing keeps its digest for ever in its row; this is for commands that create nothing.
const RECENT_COMMANDS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16_383);
/// Concurrent reads of events' times from the log: each read opens a consumer.
const TIME_READS: usize = 4;
/// The log's clock has moved on after this.
const LOG_CLOCK_STEP: Duration = Duration::from_millis(1);

/// One per service and process. [`Kit::see_for`] gives access to tables.
pub struct Kit {
    pub runtime: Runtime,
    pub page_tokens: Arc<PageTokens>,
    tokens: ConsistencyTokens,
    projection: Arc<Projection>,
    max_lag_records: u64,
    recent: Mutex<LruCache<RecordId, Recent>>,
    /// The permits of reads of events' times, for all requests.
    time_reads: Semaphore,
    /// Those whom nobody knows, who wait for a token.
    strangers: Arc<Shares>,
}

/// A recent command.
struct Recent {
    digest: [u8; 32],
    /// Whether it has been decided here before.
    ran: bool,
    /// Held while it runs: a concurrent copy waits, and then sees the first one's effect.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// The tables as one RPC reads them: of one generation, even where another is promoted meanwhile.
pub struct Seen<'a> {
    pub state: State,
    /// The caller's account, as in keys; empty: anonymous.
    pub viewer: String,
    /// The calling service, if one asks.
    principal: Option<Arc<Principal>>,
    /// When the answer is due.
    pub deadline: Deadline,
    kit: &'a Kit,
    publisher: Publisher,
    lag: Arc<Lag>,
}

/// A command's one record.
pub(crate) struct Command<'a> {
    pub depends_on: DependsOn,
    pub topic: Topic,
    pub key: &'a str,
    pub id: RecordId,
    pub event: Event,
}

impl Kit {
    pub fn new(
        projection: Arc<Projection>,
        (page_tokens, tokens): (Arc<PageTokens>, ConsistencyTokens),
        max_lag_records: u64,
    ) -> Self {
        // `new` would allocate all its memory at once.
        let mut recent = LruCache::unbounded();
        recent.resize(RECENT_COMMANDS);
        let (runtime, time_reads) = (projection.ports().runtime.clone(), Semaphore::new(TIME_READS));
        let (recent, strangers) = (Mutex::new(recent), Shares::of(limits::WAITS_ANONYMOUS));
        Self { runtime, page_tokens, tokens, projection, max_lag_records, recent, time_reads, strangers }
    }

    /// Waits until the tables include the token, and returns them as `asker` reads. Every RPC that reads tables gets them here: while
    /// they are refilled (they were deleted, or this process was away for long) nothing may be decided on them, nor read. Fails
    /// PERMISSION_DENIED for a calling service that may not act for its account, as the tables with the token know it, and
    /// FAILED_PRECONDITION for one whose account is away.
    pub async fn see_for(&self, asker: &Asker, token: &Token, deadline: Deadline) -> Result<Seen<'_>, Failure> {
        let seen = self.see(asker, token, deadline).await?;
        if let (Some(principal), Ok(account)) = (&seen.principal, asker.caller()) {
            principal.may_act_for(&seen.state, account).await?;
        }
        Ok(seen)
    }

    /// As [`Self::see_for`], also for an account that is away.
    pub async fn see_for_absent(&self, asker: &Asker, token: &Token, deadline: Deadline) -> Result<Seen<'_>, Failure> {
        let seen = self.see(asker, token, deadline).await?;
        if let (Some(principal), Ok(account)) = (&seen.principal, asker.caller()) {
            principal.may_act_for_absent(&seen.state, account).await?;
        }
        Ok(seen)
    }

    async fn see(&self, asker: &Asker, token: &Token, deadline: Deadline) -> Result<Seen<'_>, Failure> {
        let running = self.projection.serving().ok_or_else(Failure::tables_being_filled)?;
        let (state, publisher, lag) = (running.state.clone(), running.publisher.clone(), Arc::clone(&running.lag));
        // Its folds end with the generation, not with the requests that still read its tables.
        drop(running);
        let caught_up = tokio::time::timeout_at(deadline.at(), lag.caught_up()).await;
        caught_up.map_err(|_| Failure::behind_token(None))?;
        self.reach(&state, asker, token, deadline).await?;
        let (viewer, principal) = (asker.viewer(), asker.principal().cloned());
        if !viewer.is_empty() {
            // Only authenticated callers advance the clock here.
            self.runtime.observe(token.time());
        }
        Ok(Seen { state, viewer, principal, deadline, kit: self, publisher, lag })
    }

    /// Waits for the token. While folds stand still such a wait is as long as the deadline, and anybody can have a good token: of
    /// callers whom nobody knows, few wait at a time, and the others get their answer at once.
    async fn reach(&self, state: &State, asker: &Asker, token: &Token, deadline: Deadline) -> Result<(), Failure> {
        if !asker.is_nobody() {
            return Ok(state.at_least(token, deadline.at()).await?);
        }
        match state.at_least(token, Instant::now()).await {
            Err(WaitError::Behind { .. }) => {}
            reached => return Ok(reached?),
        }
        let _turn = self.strangers.take(asker.origin(), 1).ok_or_else(|| Failure::behind_token(None))?;
        Ok(state.at_least(token, deadline.at()).await?)
    }

    /// The log, for what is in no table.
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.projection.ports().log
    }

    /// The metrics of what reads the log.
    pub(crate) fn fold_metrics(&self) -> &FoldMetrics {
        &self.projection.ports().metrics
    }

    /// The tables that serve now; `None`: none do. For what follows the log; an RPC reads those of [`Self::see_for`].
    pub fn state(&self) -> Option<State> {
        Some(self.projection.serving()?.state.clone())
    }

    /// Opens content for what is kept in memory and can be thrown away; an answer opens what it shows by [`Seen::opener`].
    pub fn opener(&self) -> Opener {
        Opener::new()
    }

    /// Whether the group's folds stand still: see [`State::standstill`].
    pub fn standstill(&self) -> Option<Standstill> {
        self.projection.serving()?.state.standstill()
    }

    /// The result of `handle`, candid about folds that stand still: an answer is passed to `incomplete`, and a refusal
    /// that may only be due to them becomes UNAVAILABLE, FOLD_STOPPED. Every handler's result goes through here, once.
    ///
    /// The standstill is checked before the handler reads and after: folds that continue in between do not make the
    /// read rows newer.
    pub async fn candid<T>(
        &self,
        handle: impl Future<Output = Result<T, Failure>>,
        incomplete: impl FnOnce(&mut T),
    ) -> Result<T, Failure> {
        let before = self.standstill();
        let result = handle.await;
        let Some(standstill) = before.or_else(|| self.standstill()) else { return result };
        match result {
            Ok(mut answer) => {
                incomplete(&mut answer);
                Ok(answer)
            }
            Err(refusal) if may_be_stale(refusal.reason()) => Err(Failure::perhaps_stale(&refusal, &standstill)),
            Err(failure) => Err(failure),
        }
    }

    /// The tokens of a request, as one.
    pub fn parse_tokens(&self, at_least: &[String]) -> Result<Token, Failure> {
        const FIELD: &str = "at_least";
        if at_least.len() > limits::TOKENS_PER_REQUEST {
            return Err(Failure::too_many_tokens(FIELD, at_least.len()));
        }
        let mut all = Token::default();
        for text in at_least {
            all.merge(&self.tokens.open(FIELD, text)?);
        }
        Ok(all)
    }

    /// The token of one field.
    pub fn parse_token(&self, field: &str, text: &str) -> Result<Token, Failure> {
        self.tokens.open(field, text)
    }

    /// The token as the caller gets it.
    pub fn sealed(&self, token: &Token) -> Result<String, Failure> {
        self.tokens.seal(token)
    }

    fn recent(&self) -> MutexGuard<'_, LruCache<RecordId, Recent>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn of(digest: [u8; 32]) -> Self {
        Self { digest, ran: false, turn: Arc::default() }
    }
}

impl Seen<'_> {
    /// Opens content, in the last step of an answer.
    pub fn opener(&self) -> Opener {
        Opener::new()
    }

    /// The positions that an answer from the current tables includes, as a token of the caller's.
    pub fn as_of(&self) -> Result<String, Failure> {
        self.sealed(&self.state.as_of())
    }

    /// The time of this process's clock, in whole milliseconds: what has an end is compared with it.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.kit.runtime.now_ms().saturating_mul(1_000))
    }

    /// The token as the caller gets it.
    pub fn sealed(&self, token: &Token) -> Result<String, Failure> {
        self.kit.sealed(token)
    }

    /// The version of the events that operators opened, as far as this release reads it: records that need a later one must
    /// not be appended.
    pub fn events_open(&self) -> u32 {
        self.kit.projection.rules()
    }

    /// When the events at these places were written, if the log answers before the deadline: for citations. Few are
    /// read concurrently, over all requests.
    pub async fn times_of(&self, positions: &[Position], deadline: Deadline) -> Vec<Option<UnixMillis>> {
        let time_of = |position| async move {
            let _place = self.kit.time_reads.acquire().await.ok()?;
            self.publisher.time_of(position).await.ok().flatten()
        };
        let in_time =
            |position| async move { tokio::time::timeout_at(deadline.at(), time_of(position)).await.ok().flatten() };
        futures::stream::iter(positions.iter().copied()).map(in_time).buffered(TIME_READS).collect().await
    }

    /// The log's last record now in the partition of `key`, if there is one.
    pub async fn last(&self, topic: Topic, key: &str, deadline: Deadline) -> Result<Option<Position>, Failure> {
        let last = tokio::time::timeout_at(deadline.at(), self.publisher.last(topic, key)).await;
        last.map_err(|_| Failure::deadline_exceeded())?.map_err(|error| {
            tracing::warn!(%error, "the log did not say how far it is");
            Failure::log_unavailable()
        })
    }

    /// Appends a command's record. When it returns `Ok` the record is durable, and whoever is answered then appends in a
    /// later millisecond of the log if folds may clamp the record's time: clamped times rise with the log's.
    pub(crate) async fn append(&self, command: Command<'_>, deadline: Deadline) -> Result<Position, Failure> {
        let partition = LogPartition::of_key(command.topic, command.key, self.state.partition_count());
        if self.state.watermarks().lost_tail(partition) {
            // Its position would be another record's in the tables.
            return Err(Failure::fold_stopped());
        }
        if self.lag.worst_records() > self.kit.max_lag_records {
            return Err(Failure::overloaded());
        }
        let principal = self.principal.as_ref().map(|principal| Arc::clone(principal.name()));
        let cause = Cause { principal, ..Cause::default() };
        let Command { depends_on, topic, key, id, mut event } = command;
        event.set_rules(self.kit.projection.rules());
        let append = self.publisher.append_command(depends_on, topic, key, id, &event, &cause);
        let Ok(appended) = tokio::time::timeout_at(deadline.at(), append).await else {
            return Err(Failure::outcome_unknown());
        };
        let (position, runtime) = (appended?, &self.kit.runtime);
        if !runtime.is_dated_so(time::unix_us(event.time())) {
            runtime.sleep(LOG_CLOCK_STEP).await;
        }
        Ok(position)
    }

    /// A time for a record: later than all times observed here, and than `newest`.
    pub(crate) fn tick(&self, newest: Timestamp) -> Timestamp {
        self.kit.runtime.observe(newest.0);
        Timestamp(self.kit.runtime.tick())
    }

    /// Waits for a concurrent copy of the command here.
    pub(crate) async fn turn(&self, id: RecordId, digest: [u8; 32]) -> Result<OwnedMutexGuard<()>, Failure> {
        let turn = Arc::clone(&self.kit.recent().get_or_insert_mut(id, || Recent::of(digest)).turn);
        tokio::time::timeout_at(self.deadline.at(), turn.lock_owned()).await.map_err(|_| Failure::outcome_unknown())
    }

    /// Whether the record at `position` certainly has its command's effect and time: folds would not clamp its time,
    /// and this process appended all records between it and the state of its decision, for other commands. `next`: the
    /// first offset of its partition that the decision may not have seen.
    pub(crate) fn stands_as_made(&self, position: Position, next: Offset, at: Timestamp) -> bool {
        self.kit.runtime.is_dated_so(at.0) && self.publisher.appended_alone(position, next)
    }

    /// Adds to the token the time that no record it stands for is later than. Each of them is known here to be in the tables, or
    /// was made by this process, not later than `at` or, where others are between, than anything given out here.
    pub(crate) fn dated(&self, token: Token, at: Timestamp) -> Token {
        let latest = self.state.watermarks().latest_of(&token);
        token.at(latest.max(at.0))
    }

    /// Stands for a row that was read in a partition, and all before it, once they are known here to be in the tables; without a
    /// row, for everything folded of the partition.
    pub(crate) async fn standing(&self, partition: LogPartition, rests_on: Option<u64>) -> Result<Token, WaitError> {
        let place = |offset| Position { partition, offset };
        let last = self.state.watermarks().next_offset(partition).checked_sub(1);
        let Some(position) = rests_on.or(last).map(place) else {
            return Ok(Token::default().at(self.kit.runtime.latest()));
        };
        self.state.at_least(&position.into(), self.deadline.at()).await?;
        Ok(self.dated(position.into(), Timestamp::default()))
    }

    /// Refuses a command whose id was recently used here with other content; returns whether it was used with this
    /// content.
    pub fn remember(&self, id: RecordId, digest: [u8; 32]) -> Result<bool, Failure> {
        let mut recent = self.kit.recent();
        match recent.get_mut(&id) {
            Some(known) if known.digest != digest => Err(Failure::request_id_reused()),
            Some(known) => Ok(std::mem::replace(&mut known.ran, true)),
            None => {
                recent.put(id, Recent { ran: true, ..Recent::of(digest) });
                Ok(false)
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Broken(_) => Self::tables_unavailable(),
            StoreError::InUse(_)
            | StoreError::Contract(_)
            | StoreError::Damaged(_)
            | StoreError::TooMany { .. }
            | StoreError::TooLarge { .. } => Self::defect("reading tables", &error),
        }
    }
}

impl From<WaitError> for Failure {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Behind { wanted, next } => Self::behind_token(Some((wanted.offset + 1).saturating_sub(next))),
            WaitError::Stopped { .. } => Self::fold_stopped(),
            WaitError::Store(error) => error.into(),
        }
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Refused(_) => Self::log_unavailable(),
            AppendError::Full => Self::overloaded(),
            AppendError::Unknown(_) => Self::outcome_unknown(),
        }
    }
}
