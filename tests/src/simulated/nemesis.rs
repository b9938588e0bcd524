//! The nemesis decides the faults: a function of the seed alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Chance;

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An append was answered with "unknown"; the record is in the log.
    UnknownKept,
    /// The same, and it is not.
    UnknownLost,
    /// The same, and it comes later.
    UnknownLate,
    /// A record was appended, and a copy of it later.
    LateCopy,
    /// A log partition answered nobody for a while.
    LeaderMove,
    /// A group was rebalanced.
    Rebalance,
    /// A reader of the log failed.
    ReaderFailed,
    /// A process died and started again.
    Crash,
    /// A process was frozen, lost its memberships, and woke.
    Zombie,
    /// A write reached too few replicas in time.
    WriteUnknown,
    /// A write was durable, but not acknowledged.
    WriteUnanswered,
    /// A replica got a write later than the others, or never.
    StaleReplica,
    /// A read repaired replicas that differed.
    ReadRepair,
    /// The tables did not answer a read.
    ReadFailed,
    /// A replica was away for a while.
    ReplicaDown,
    /// A replica lost its last acknowledged writes.
    LostTail,
    /// The clock of a process jumped, forward or back.
    ClockJump,
    /// A process was replaced by one of another release.
    Replaced,
    /// Operators opened the events of a later release.
    Opened,
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownKept => "unknown append, in the log",
            Self::UnknownLost => "unknown append, not in the log",
            Self::UnknownLate => "unknown append, in the log later",
            Self::LateCopy => "late copy of a record",
            Self::LeaderMove => "leader move",
            Self::Rebalance => "rebalance",
            Self::ReaderFailed => "reader of the log failed",
            Self::Crash => "crash and restart",
            Self::Zombie => "zombie that wakes and writes",
            Self::WriteUnknown => "write without a quorum in time",
            Self::WriteUnanswered => "write done, not answered",
            Self::StaleReplica => "write late or missing at a replica",
            Self::ReadRepair => "read repair",
            Self::ReadFailed => "read not answered",
            Self::ReplicaDown => "replica down",
            Self::LostTail => "replica lost its tail",
            Self::ClockJump => "clock jumped",
            Self::Replaced => "process of another release",
            Self::Opened => "later events opened",
        }
    }
}

/// How often, in a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    pub unknown: u32,
    pub copy: u32,
    pub reader_fails: u32,
    pub write_fails: u32,
    pub replica_late: u32,
    pub read_fails: u32,
    pub slow: u32,
}

/// The fate of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Append {
    Acknowledged,
    Copied(Duration),
    UnknownKept,
    UnknownLost,
    UnknownLate(Duration),
}

/// The fate of a write to one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    Now,
    Late(Duration),
    Never,
}

/// How late a record or its copy may come: less than it takes to do [`kith_fold::APPLIED_IDS_PER_ROW`] things to a row.
const LATE_MS: u64 = 250;
const WRITE_LATE_MS: u64 = 3_000;

#[derive(Debug)]
pub struct Nemesis {
    chance: Chance,
    rates: Rates,
    calm: AtomicBool,
    faults: Mutex<BTreeMap<Fault, u64>>,
}

impl Nemesis {
    pub fn new(chance: Chance, rates: Rates) -> Arc<Self> {
        Arc::new(Self { chance, rates, calm: AtomicBool::new(false), faults: Mutex::default() })
    }

    /// One that does nothing.
    pub fn none() -> Arc<Self> {
        let nemesis = Self::new(Chance::new(0, "none"), Rates::default());
        nemesis.rest();
        nemesis
    }

    /// No faults from now on.
    pub fn rest(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub fn count(&self, fault: Fault) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default() += 1;
    }

    pub fn faults(&self) -> BTreeMap<Fault, u64> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A step of another's work, or a few, or a slow answer.
    pub async fn pause(&self) {
        if self.is_calm() {
            tokio::task::yield_now().await;
        } else if self.chance.per_mille(self.rates.slow) {
            tokio::time::sleep(self.chance.ms(1, 40)).await;
        } else {
            for _ in 0..self.chance.below(4) {
                tokio::task::yield_now().await;
            }
        }
    }

    pub fn append(&self) -> Append {
        if self.strikes(self.rates.copy) {
            self.count(Fault::LateCopy);
            return Append::Copied(self.chance.ms(0, LATE_MS));
        }
        if !self.strikes(self.rates.unknown) {
            return Append::Acknowledged;
        }
        let (fault, fate) = match self.chance.below(3) {
            0 => (Fault::UnknownKept, Append::UnknownKept),
            1 => (Fault::UnknownLost, Append::UnknownLost),
            _ => (Fault::UnknownLate, Append::UnknownLate(self.chance.ms(0, LATE_MS))),
        };
        self.count(fault);
        fate
    }

    pub fn reader_fails(&self) -> bool {
        self.struck(self.rates.reader_fails, Fault::ReaderFailed)
    }

    pub fn read_fails(&self) -> bool {
        self.struck(self.rates.read_fails, Fault::ReadFailed)
    }

    pub fn write_is_unanswered(&self) -> bool {
        self.struck(self.rates.write_fails, Fault::WriteUnanswered)
    }

    pub fn delivery(&self) -> Delivery {
        if !self.struck(self.rates.replica_late, Fault::StaleReplica) {
            return Delivery::Now;
        }
        match self.chance.below(3) {
            0 => Delivery::Never,
            1 => Delivery::Late(self.chance.ms(1, 30)),
            _ => Delivery::Late(self.chance.ms(30, WRITE_LATE_MS)),
        }
    }

    /// How long until a member of a group learns of a change.
    pub fn hearing(&self) -> Duration {
        if self.is_calm() { Duration::ZERO } else { self.chance.ms(0, 400) }
    }

    /// In which order replicas are asked.
    pub fn first_of(&self, count: usize) -> usize {
        if self.is_calm() { 0 } else { self.chance.below(count) }
    }

    fn struck(&self, per_mille: u32, fault: Fault) -> bool {
        let struck = self.strikes(per_mille);
        if struck {
            self.count(fault);
        }
        struck
    }

    fn strikes(&self, per_mille: u32) -> bool {
        !self.is_calm() && per_mille > 0 && self.chance.per_mille(per_mille)
    }
}
