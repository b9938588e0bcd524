//! Consumer groups of the simulated log. A member learns late that a partition was revoked: for a while two own it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kith_log::{LogError, LogPartition, Membership, Offset, RecordReader, Topic};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::log::Broker;
use super::{Gate, Nemesis};

type MemberId = u64;

pub(super) struct Coordinator {
    nemesis: Arc<Nemesis>,
    groups: Mutex<BTreeMap<String, Group>>,
    news: Notify,
}

#[derive(Default)]
struct Group {
    joined: MemberId,
    members: BTreeMap<MemberId, Joined>,
}

struct Joined {
    process: usize,
    partitions: Vec<LogPartition>,
    /// Counts the assignments sent to the member.
    word: u64,
    heard_from: Instant,
    assigned: Vec<LogPartition>,
    evicted: bool,
}

impl Coordinator {
    pub fn new(nemesis: Arc<Nemesis>) -> Self {
        Self { nemesis, groups: Mutex::default(), news: Notify::new() }
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<String, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, group: &str, process: usize, partitions: Vec<LogPartition>) -> MemberId {
        let id = {
            let mut groups = self.groups();
            let of = groups.entry(group.to_owned()).or_default();
            of.joined += 1;
            let (heard_from, assigned) = (Instant::now(), Vec::new());
            let joined = Joined { process, partitions, word: 0, heard_from, assigned, evicted: false };
            of.members.insert(of.joined, joined);
            of.joined
        };
        self.rebalance(group);
        id
    }

    fn leave(&self, group: &str, id: MemberId) {
        if self.groups().get_mut(group).is_some_and(|of| of.members.remove(&id).is_some()) {
            self.rebalance(group);
        }
    }

    /// Each partition to one member, evenly; every member gets a new assignment.
    pub fn rebalance(&self, group: &str) {
        if let Some(of) = self.groups().get_mut(group) {
            let members = of.members.values().filter(|member| !member.evicted).count().max(1);
            for (n, member) in of.members.values_mut().filter(|member| !member.evicted).enumerate() {
                let own = member.partitions.iter().copied().enumerate();
                member.assigned = own.filter(|(at, _)| at % members == n).map(|(_, partition)| partition).collect();
                member.word += 1;
                member.heard_from = Instant::now() + self.nemesis.hearing();
            }
        }
        self.news.notify_waiters();
    }

    /// Waits until the member has learnt, or could have, that the assignment `word` is void.
    async fn voided(&self, group: &str, id: MemberId, word: u64) {
        loop {
            // Made before the look, so that nothing that comes after it is missed.
            let news = self.news.notified();
            let heard_from = match self.groups().get(group).and_then(|of| of.members.get(&id)) {
                Some(member) if member.word == word => None,
                Some(member) => Some(member.heard_from),
                None => return,
            };
            match heard_from {
                None => news.await,
                Some(at) => return tokio::time::sleep_until(at).await,
            }
        }
    }

    pub fn evict(&self, process: usize) {
        let groups: Vec<String> = self.groups().keys().cloned().collect();
        for group in groups {
            if let Some(of) = self.groups().get_mut(&group) {
                of.members.values_mut().filter(|of| of.process == process).for_each(|member| member.evicted = true);
            }
            self.rebalance(&group);
        }
    }
}

/// A member's pending assignment.
enum Look {
    Nothing,
    Evicted,
    /// When it learns of the assignment, and its content.
    Word(Instant, u64, Vec<LogPartition>),
}

/// One process's membership of a group.
pub(super) struct Member {
    broker: Arc<Broker>,
    gate: Arc<Gate>,
    process: usize,
    group: String,
    partitions: Vec<LogPartition>,
    id: MemberId,
    /// The last received assignment.
    word: u64,
}

impl Member {
    pub fn join(broker: Arc<Broker>, gate: Arc<Gate>, process: usize, group: &str, topics: &[Topic]) -> Self {
        let partitions = broker.all_of(topics);
        let id = broker.coordinator.join(group, process, partitions.clone());
        Self { broker, gate, process, group: group.to_owned(), partitions, id, word: 0 }
    }

    fn look(&self) -> Look {
        let groups = self.broker.coordinator.groups();
        match groups.get(&self.group).and_then(|of| of.members.get(&self.id)) {
            None => Look::Evicted,
            Some(member) if member.evicted => Look::Evicted,
            Some(member) if member.word != self.word => {
                Look::Word(member.heard_from, member.word, member.assigned.clone())
            }
            Some(_) => Look::Nothing,
        }
    }
}

#[async_trait]
impl Membership for Member {
    async fn assigned(&mut self) -> Result<Vec<LogPartition>, LogError> {
        loop {
            self.gate.pass().await;
            let broker = Arc::clone(&self.broker);
            let news = broker.coordinator.news.notified();
            match self.look() {
                Look::Nothing => news.await,
                Look::Evicted => {
                    broker.coordinator.leave(&self.group, self.id);
                    self.id = broker.coordinator.join(&self.group, self.process, self.partitions.clone());
                    self.word = 0;
                }
                Look::Word(heard_from, ..) if heard_from > Instant::now() => {
                    tokio::time::sleep_until(heard_from).await;
                }
                Look::Word(_, word, assigned) => {
                    self.word = word;
                    return Ok(assigned);
                }
            }
        }
    }

    async fn start(&mut self, from: &[(LogPartition, Offset)]) -> Result<Vec<RecordReader>, LogError> {
        self.gate.pass().await;
        let reader = |&(partition, from): &(LogPartition, Offset)| {
            let (broker, group) = (Arc::clone(&self.broker), self.group.clone());
            let (id, word, gate) = (self.id, self.word, Arc::clone(&self.gate));
            let void = async move {
                broker.coordinator.voided(&group, id, word).await;
                // A frozen process keeps what it had read, and learns of it only after it has woken.
                gate.pass().await;
                tokio::time::sleep(broker.coordinator.nemesis.hearing()).await;
            };
            self.broker.reader(partition, from, void)
        };
        Ok(from.iter().map(reader).collect())
    }

    async fn report(&self, _next: &[(LogPartition, Offset)]) {}
}

impl Drop for Member {
    fn drop(&mut self) {
        self.broker.coordinator.leave(&self.group, self.id);
    }
}
