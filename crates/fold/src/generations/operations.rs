//! Operators' decisions as every process knows them: the one partition of `kith.ops.v1`, followed from its beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kith_log::{EventLog, LogError, LogPartition, Offset, Position, Record as RawRecord, RecordId, topics};
use kith_proto::Event;
use kith_proto::ops::v1::EventsOpened;
use kith_proto::ops::v1::ops_event::Event as OpsEvent;
use kith_proto::time;
use kith_runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Build, DecisionError, Generations};
use crate::rules::FIRST_EVENTS;
use crate::{Cause, FoldError, Publisher};

/// `ce_source`: `/kith/ops`.
const SERVICE: &str = "ops";
/// Who decides where no operator does: a start over embedded stores, `kith init`. No operator has this name.
pub const THE_SUITE: &str = "suite";
/// A decision must be known within this time.
const KNOWN_WITHIN: Duration = Duration::from_secs(20);
const READ_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// One for a process.
pub struct Operations {
    shared: Arc<Shared>,
    following: JoinHandle<()>,
}

struct Shared {
    runtime: Runtime,
    publisher: Publisher,
    partition: LogPartition,
    known: Mutex<Known>,
    changed: Notify,
    /// Why the topic could not be read the last time, for who waits for it in vain.
    failed: Mutex<Option<String>>,
}

/// The state after the records so far. There are few records: all of it is kept.
#[derive(Default)]
struct Known {
    next: Offset,
    /// A late copy of a decision must not undo later decisions.
    ids: BTreeSet<RecordId>,
    generations: BTreeMap<String, Generations>,
    letters: BTreeMap<RecordId, LetterFate>,
    /// The version of the events that operators opened; 0: they opened none.
    events: u32,
    /// After the last record that began or promoted a generation.
    decided_next: Offset,
}

/// The decision about a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LetterFate {
    /// Its bytes are the value of this record too.
    Retried(String),
    /// With a note.
    Discarded(String),
}

impl Operations {
    /// The key of every record of the topic, so that all are in one order.
    pub const KEY: &str = "operators";

    /// Reads all decisions so far, and follows new ones.
    pub async fn open(log: Arc<dyn EventLog>, runtime: Runtime) -> Result<Self, FoldError> {
        log.check_topics(&[topics::OPS]).await?;
        let partition = LogPartition::of_key(topics::OPS, Self::KEY, log.partition_count());
        let publisher = Publisher::new(log, runtime.clone(), SERVICE);
        let head = publisher.last(topics::OPS, Self::KEY).await?;
        let (known, changed, failed) = (Mutex::default(), Notify::new(), Mutex::default());
        let shared = Arc::new(Shared { runtime, publisher, partition, known, changed, failed });
        let follower = Arc::clone(&shared);
        let following = shared.runtime.spawn(async move {
            loop {
                if let Err(error) = follower.follow().await {
                    tracing::warn!(%error, "what operators decide cannot be followed; reading again");
                    *follower.failed() = Some(error.to_string());
                }
                follower.runtime.sleep(READ_AGAIN_AFTER).await;
            }
        });
        let own = Self { shared, following };
        if let Some(head) = head {
            own.shared.until(head).await?;
        }
        Ok(own)
    }

    /// The generations of a fold group.
    pub fn generations(&self, group: &str) -> Generations {
        let known = self.shared.known();
        known.generations.get(group).cloned().unwrap_or_default().with_events(known.events)
    }

    /// The version of the events that operators opened.
    pub fn events(&self) -> u32 {
        self.shared.known().events.max(FIRST_EVENTS)
    }

    /// Opens a version of the events, if no generation of any group is of another release: `builds` is what this release brings to
    /// all groups of the suite. If a generation is begun or promoted at the same time, nothing is opened: [`Self::events`] says it.
    pub async fn open_events(&self, version: u32, builds: &[(&str, Build)], by: &str) -> Result<(), DecisionError> {
        // Read before the generations: the record is void if it misses a decision that they miss.
        let known_until = self.shared.known().next;
        for (group, build) in builds {
            self.generations(group).may_open_events(group, build.folds_version)?;
        }
        Ok(self.announce_opened(version, known_until, by).await?)
    }

    /// Whether nobody decided anything so far.
    pub(super) fn is_undecided(&self) -> bool {
        self.shared.known().next == 0
    }

    /// Opens a version of the events on a new log; void if anything is decided at the same time that it would miss.
    pub(super) async fn announce_events(&self, version: u32) -> Result<(), FoldError> {
        self.announce_opened(version, 0, THE_SUITE).await
    }

    async fn announce_opened(&self, version: u32, known_until: Offset, by: &str) -> Result<(), FoldError> {
        let open_time = Some(time::timestamp(self.shared.runtime.now_ms()));
        let subject = format!("version {version}");
        let opened = EventsOpened { version, subject, open_time, known_until };
        self.announce_by(by, OpsEvent::EventsOpened(opened)).await
    }

    /// The decision about a dead letter, if there is one.
    pub fn fate(&self, letter: RecordId) -> Option<LetterFate> {
        self.shared.known().letters.get(&letter).cloned()
    }

    /// Waits until `is_so` of a group's generations.
    pub async fn when(&self, group: &str, is_so: impl Fn(&Generations) -> bool) -> Generations {
        loop {
            // Made before the check, so that no later change is missed.
            let changed = self.shared.changed.notified();
            let generations = self.generations(group);
            if is_so(&generations) {
                return generations;
            }
            changed.await;
        }
    }

    /// As [`Self::announce_by`], for what the suite decides by itself.
    pub async fn announce(&self, event: OpsEvent) -> Result<(), FoldError> {
        self.announce_by(THE_SUITE, event).await
    }

    /// Appends the decision of that operator, who is named in its record. It is known here when this returns.
    pub async fn announce_by(&self, operator: &str, event: OpsEvent) -> Result<(), FoldError> {
        let mut id = [0; 16];
        let no_randomness = |_| LogError::Unavailable("no random bytes for a record's id".to_owned());
        self.shared.runtime.fill_random(&mut id).map_err(no_randomness)?;
        let event = Event::Ops(event);
        let cause = Cause { principal: Some(operator.into()), ..Cause::default() };
        let position = self.shared.publisher.append(topics::OPS, Self::KEY, RecordId(id), &event, &cause).await?;
        self.shared.until(position).await
    }
}

impl Drop for Operations {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Shared {
    /// Waits until all up to `position` is known.
    async fn until(&self, position: Position) -> Result<(), FoldError> {
        let known = async {
            loop {
                let changed = self.changed.notified();
                if self.known().next > position.offset {
                    return;
                }
                changed.await;
            }
        };
        let late = |_| {
            let why = self.failed().clone().unwrap_or_else(|| "no answer".to_owned());
            LogError::Unavailable(format!("{position} cannot be read: what operators decided is not known ({why})"))
        };
        Ok(tokio::time::timeout(KNOWN_WITHIN, known).await.map_err(late)?)
    }

    async fn follow(&self) -> Result<(), FoldError> {
        let from = self.known().next;
        let mut reader = self.publisher.log().read(self.partition, from).await?;
        while let Some(records) = reader.next().await {
            records?.iter().for_each(|record| self.known().take(record));
            self.changed.notify_waiters();
        }
        Ok(())
    }

    fn failed(&self) -> MutexGuard<'_, Option<String>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Total: a record that is not a decision is ignored.
    fn take(&mut self, record: &RawRecord) {
        self.next = self.next.max(record.position.offset + 1);
        let is_new = record.id().is_some_and(|id| self.ids.insert(id));
        match Event::decode(topics::OPS.name, &record.value) {
            Ok(event) if is_new => self.evolve(&event, record.position.offset),
            Ok(_) => {}
            Err(error) => tracing::warn!(position = %record.position, %error, "a decision that does not read"),
        }
    }

    fn evolve(&mut self, event: &Event, offset: Offset) {
        let Event::Ops(decision) = event else { return };
        match decision {
            OpsEvent::DeadLetterRetried(event) => {
                self.decide(&event.letter_id, LetterFate::Retried(event.record_id.clone()))
            }
            OpsEvent::DeadLetterDiscarded(event) => {
                self.decide(&event.letter_id, LetterFate::Discarded(event.note.clone()))
            }
            OpsEvent::EventsOpened(event) => {
                if event.known_until >= self.decided_next {
                    self.events = self.events.max(event.version);
                }
            }
            // All others are about a group.
            OpsEvent::RebuildStarted(_) | OpsEvent::GenerationPromoted(_) => {
                self.decided_next = offset + 1;
                self.evolve_group(event.subject(), decision);
            }
            OpsEvent::GenerationDropped(_) | OpsEvent::ProjectionPaused(_) | OpsEvent::ProjectionResumed(_) => {
                self.evolve_group(event.subject(), decision);
            }
        }
    }

    fn evolve_group(&mut self, group: &str, decision: &OpsEvent) {
        self.generations.entry(group.to_owned()).or_default().evolve(decision);
    }

    fn decide(&mut self, letter: &str, fate: LetterFate) {
        self.letters.extend(RecordId::parse(letter).map(|letter| (letter, fate)));
    }
}
