//! Who listens, and what was said lately. No I/O.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use kith_fold::Token;
use kith_log::{LogPartition, Offset, PartitionIndex, Position, RecordId, Topic};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use crate::limits::{CHANGES_MISSED, CHANGES_WAITING};

/// What is kept of a log partition, for those who come back. More, and the oldest is forgotten.
pub(super) const KEPT: usize = 4_096;
/// Accounts that what is kept of a log partition names, over all of it: 16 bytes each.
const ACCOUNTS_KEPT: usize = 65_536;

/// Something that a record says, and to whom.
#[derive(Debug)]
pub struct Heard<I> {
    pub position: Position,
    pub item: I,
    /// Sorted.
    pub by: Vec<RecordId>,
}

/// Why a listener hears nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// More waited for it than may wait.
    TooSlow,
    /// The log does not have any more what was said.
    Jumped,
    /// What was to be said could not be read.
    Failed,
}

/// What a listener that comes back has missed.
#[derive(Debug)]
pub enum Missed<I> {
    /// In the order of the log, per log partition.
    These(VecDeque<Arc<Heard<I>>>),
    /// More than is kept, or it never listened.
    Unknown,
}

/// All listeners of a process to one topic, and what was said lately.
pub(super) struct Hub<I> {
    topic: Topic,
    partitions: Vec<Recent<I>>,
    slots: BTreeMap<RecordId, Vec<Slot<I>>>,
    next_number: u64,
    moved: watch::Sender<()>,
}

/// What one log partition said lately.
struct Recent<I> {
    /// All that was said from here on is kept.
    from: Offset,
    /// All before it was said.
    next: Offset,
    heard: VecDeque<Arc<Heard<I>>>,
    accounts: usize,
}

/// One listener.
struct Slot<I> {
    number: u64,
    queue: mpsc::Sender<Arc<Heard<I>>>,
    ended: Arc<OnceLock<Ended>>,
    /// Per log partition the offset before which it needs nothing.
    places: Vec<Offset>,
}

/// What a listener gets when it comes.
pub(super) struct Joined<I> {
    pub number: u64,
    pub queue: mpsc::Receiver<Arc<Heard<I>>>,
    pub ended: Arc<OnceLock<Ended>>,
    /// Per log partition the offset before which it needs nothing.
    pub places: Vec<Offset>,
    /// Per log partition the offset before which all was told, or is in the tables.
    pub told: Vec<Offset>,
    /// Changes whenever more was said, to whomever.
    pub moved: watch::Receiver<()>,
    pub missed: Missed<I>,
}

impl<I> Hub<I> {
    /// `from`: per log partition where it begins to follow.
    pub fn new(topic: Topic, from: Vec<Offset>) -> Self {
        let recent = |from| Recent { from, next: from, heard: VecDeque::new(), accounts: 0 };
        let partitions = from.into_iter().map(recent).collect();
        Self { topic, partitions, slots: BTreeMap::new(), next_number: 0, moved: watch::Sender::new(()) }
    }

    pub fn partitions(&self) -> impl Iterator<Item = LogPartition> + use<I> {
        let topic = self.topic;
        let count = PartitionIndex::try_from(self.partitions.len()).unwrap_or(PartitionIndex::MAX);
        (0..count).map(move |index| LogPartition { topic, index })
    }

    /// Where the next record of the partition is read.
    pub fn next(&self, partition: LogPartition) -> Offset {
        self.partitions.get(usize::from(partition.index)).map_or(0, |recent| recent.next)
    }

    /// Tells those who listen. `next`: the offset after the last record that this is all of.
    pub fn say(&mut self, partition: LogPartition, next: Offset, heard: Vec<Heard<I>>) {
        let Some(recent) = self.partitions.get_mut(usize::from(partition.index)) else { return };
        recent.next = recent.next.max(next);
        for heard in heard.into_iter().map(Arc::new) {
            for account in &heard.by {
                let Some(slots) = self.slots.get_mut(account) else { continue };
                slots.retain(|slot| slot.take(&heard));
                if slots.is_empty() {
                    self.slots.remove(account);
                }
            }
            recent.keep(heard);
        }
        self.moved.send_replace(());
    }

    /// The log goes on elsewhere, or what is before that offset could not be said: what was kept is not all that it has.
    pub fn jump(&mut self, partition: LogPartition, to: Offset, why: Ended) {
        let Some(recent) = self.partitions.get_mut(usize::from(partition.index)) else { return };
        *recent = Recent { from: to, next: to, heard: VecDeque::new(), accounts: 0 };
        for slot in std::mem::take(&mut self.slots).into_values().flatten() {
            slot.end(why);
        }
    }

    /// `since`: what the listener has heard; `None`: it is new. `seen`: what the tables have.
    pub fn join(&mut self, account: RecordId, since: Option<&Token>, seen: &Token) -> Joined<I> {
        let number = self.next_number;
        self.next_number += 1;
        let (sender, queue) = mpsc::channel(CHANGES_WAITING);
        let ended = Arc::new(OnceLock::new());
        let missed = since.map_or(Missed::Unknown, |since| self.missed(account, since));
        let known = match &missed {
            Missed::These(_) => since.unwrap_or(seen),
            Missed::Unknown => seen,
        };
        let told: Vec<Offset> = self.partitions().map(|partition| after(known, partition)).collect();
        let places: Vec<Offset> = self.said().zip(&told).map(|(said, told)| said.max(*told)).collect();
        let slot = Slot { number, queue: sender, ended: Arc::clone(&ended), places: places.clone() };
        self.slots.entry(account).or_default().push(slot);
        Joined { number, queue, ended, places, told, moved: self.moved.subscribe(), missed }
    }

    pub fn leave(&mut self, account: RecordId, number: u64) {
        let Some(slots) = self.slots.get_mut(&account) else { return };
        slots.retain(|slot| slot.number != number);
        if slots.is_empty() {
            self.slots.remove(&account);
        }
    }

    /// Per log partition the offset before which all was said.
    pub fn said(&self) -> impl Iterator<Item = Offset> + '_ {
        self.partitions.iter().map(|recent| recent.next)
    }

    fn missed(&self, account: RecordId, since: &Token) -> Missed<I> {
        let mut all = VecDeque::new();
        for partition in self.partitions() {
            let Some(recent) = self.partitions.get(usize::from(partition.index)) else { return Missed::Unknown };
            let from = after(since, partition);
            if from < recent.from {
                return Missed::Unknown;
            }
            let start = recent.heard.partition_point(|heard| heard.position.offset < from);
            let own = recent.heard.range(start..).filter(|heard| heard.by.binary_search(&account).is_ok());
            all.extend(own.take(CHANGES_MISSED + 1).cloned());
            if all.len() > CHANGES_MISSED {
                return Missed::Unknown;
            }
        }
        Missed::These(all)
    }
}

/// The offset after what the token names of the partition.
fn after(token: &Token, partition: LogPartition) -> Offset {
    token.offset(partition).map_or(0, |offset| offset + 1)
}

impl<I> Recent<I> {
    fn keep(&mut self, heard: Arc<Heard<I>>) {
        self.accounts += heard.by.len();
        self.heard.push_back(heard);
        while self.heard.len() > KEPT || self.accounts > ACCOUNTS_KEPT {
            let Some(oldest) = self.heard.pop_front() else { return };
            self.accounts -= oldest.by.len();
            self.from = oldest.position.offset + 1;
        }
    }
}

impl<I> Slot<I> {
    /// Whether it goes on. What it needs not takes no place of what waits for it.
    fn take(&self, heard: &Arc<Heard<I>>) -> bool {
        let Position { partition, offset } = heard.position;
        if self.places.get(usize::from(partition.index)).is_some_and(|place| offset < *place) {
            return true;
        }
        match self.queue.try_send(Arc::clone(heard)) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.end(Ended::TooSlow);
                false
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }

    fn end(&self, why: Ended) {
        // The first reason stands.
        let _ = self.ended.set(why);
    }
}

#[cfg(test)]
mod tests {
    use kith_log::topics;

    use super::*;

    const ADA: RecordId = RecordId([1; 16]);
    const BOB: RecordId = RecordId([2; 16]);
    const FIRST: LogPartition = LogPartition { topic: topics::MESSAGING, index: 0 };
    const SECOND: LogPartition = LogPartition { topic: topics::MESSAGING, index: 1 };

    fn hub() -> Hub<u64> {
        Hub::new(topics::MESSAGING, vec![10, 0])
    }

    fn at(partition: LogPartition, offset: Offset) -> Position {
        Position { partition, offset }
    }

    fn say(hub: &mut Hub<u64>, partition: LogPartition, offset: Offset, by: &[RecordId]) {
        let heard = Heard { position: at(partition, offset), item: offset, by: by.to_vec() };
        hub.say(partition, offset + 1, vec![heard]);
    }

    fn waiting(joined: &mut Joined<u64>) -> Vec<u64> {
        std::iter::from_fn(|| joined.queue.try_recv().ok()).map(|heard| heard.item).collect()
    }

    fn missed(joined: &Joined<u64>) -> Option<Vec<u64>> {
        match &joined.missed {
            Missed::These(all) => Some(all.iter().map(|heard| heard.item).collect()),
            Missed::Unknown => None,
        }
    }

    #[test]
    fn each_hears_its_own() {
        let mut hub = hub();
        let seen = Token::from(at(FIRST, 9));
        let (mut ada, mut bob) = (hub.join(ADA, None, &seen), hub.join(BOB, None, &seen));
        assert_eq!((missed(&ada), &ada.places), (None, &vec![10, 0]));
        say(&mut hub, FIRST, 10, &[ADA]);
        say(&mut hub, SECOND, 3, &[ADA, BOB]);
        say(&mut hub, FIRST, 11, &[]);
        assert_eq!((waiting(&mut ada), waiting(&mut bob)), (vec![10, 3], vec![3]));
        hub.leave(ADA, ada.number);
        say(&mut hub, FIRST, 12, &[ADA]);
        assert_eq!(waiting(&mut ada), Vec::<u64>::new());
        assert_eq!(hub.said().collect::<Vec<_>>(), [13, 4]);
    }

    #[test]
    fn who_comes_back_hears_what_it_missed_and_nothing_twice() {
        let mut hub = hub();
        for offset in 10..15 {
            say(&mut hub, FIRST, offset, &[ADA]);
        }
        say(&mut hub, SECOND, 0, &[BOB]);
        let since = Token::from(at(FIRST, 12));
        let mut joined = hub.join(ADA, Some(&since), &Token::default());
        assert_eq!(missed(&joined), Some(vec![13, 14]));
        assert_eq!(joined.places, [15, 1]);
        say(&mut hub, FIRST, 15, &[ADA]);
        assert_eq!(waiting(&mut joined), [15]);
    }

    #[test]
    fn what_another_process_told_already_is_needed_no_more() {
        let mut hub = hub();
        let ahead: Token = [at(FIRST, 30), at(SECOND, 2)].into_iter().collect();
        let joined = hub.join(ADA, Some(&ahead), &Token::default());
        assert_eq!((missed(&joined), joined.places), (Some(Vec::new()), vec![31, 3]));
    }

    #[test]
    fn who_was_away_for_long_reads_the_tables() {
        let mut hub = hub();
        assert_eq!(
            missed(&hub.join(ADA, Some(&Token::from(at(FIRST, 8))), &Token::default())),
            None,
            "before the start"
        );
        for offset in 10..=10 + KEPT as u64 {
            say(&mut hub, FIRST, offset, &[BOB]);
        }
        let seen = Token::from(at(FIRST, 9 + KEPT as u64));
        for (since, expected) in [(9, None), (10, Some(Vec::new()))] {
            let joined = hub.join(ADA, Some(&Token::from(at(FIRST, since))), &seen);
            assert_eq!(missed(&joined), expected, "{since}");
            assert_eq!(joined.places, [11 + KEPT as u64, 0]);
        }
        let many = Token::from(at(FIRST, 10));
        assert_eq!(missed(&hub.join(BOB, Some(&many), &seen)), None, "more than is told at once");
    }

    #[test]
    fn large_crowds_are_kept_for_less_long() {
        let mut hub = hub();
        let crowd: Vec<RecordId> = (0..=255).map(|n| RecordId([n; 16])).collect();
        for offset in 10..10 + 257 {
            say(&mut hub, FIRST, offset, &crowd);
        }
        assert_eq!(hub.partitions[0].from, 11);
        assert_eq!(hub.partitions[0].accounts, ACCOUNTS_KEPT);
    }

    #[test]
    fn who_does_not_listen_fast_enough_is_let_go_and_told() {
        let mut hub = hub();
        let (mut slow, mut other) = (hub.join(ADA, None, &Token::default()), hub.join(ADA, None, &Token::default()));
        for offset in 0..=CHANGES_WAITING as u64 {
            say(&mut hub, SECOND, offset, &[ADA]);
            assert_eq!(waiting(&mut other), [offset]);
        }
        assert_eq!((slow.ended.get(), other.ended.get()), (Some(&Ended::TooSlow), None));
        assert_eq!(waiting(&mut slow).len(), CHANGES_WAITING, "it has what waited for it, without a gap");
        assert!(slow.queue.try_recv().is_err() && slow.queue.is_closed());
        say(&mut hub, SECOND, 999, &[ADA]);
        assert_eq!(waiting(&mut other), [999]);
    }

    #[test]
    fn what_a_listener_needs_not_takes_no_place_of_what_waits_for_it() {
        let mut hub = hub();
        let ahead: Token = [at(FIRST, 900), at(SECOND, 900)].into_iter().collect();
        let mut joined = hub.join(ADA, None, &ahead);
        assert_eq!(joined.places, [901, 901]);
        for offset in 0..=901 {
            say(&mut hub, SECOND, offset, &[ADA]);
        }
        assert_eq!(waiting(&mut joined), [901]);
        assert_eq!(joined.ended.get(), None);
    }

    #[test]
    fn who_waits_is_woken_by_what_is_said_to_others() {
        let mut hub = hub();
        let mut joined = hub.join(ADA, None, &Token::default());
        assert!(!joined.moved.has_changed().unwrap());
        say(&mut hub, FIRST, 10, &[BOB]);
        assert!(joined.moved.has_changed().unwrap());
        joined.moved.mark_unchanged();
        hub.jump(FIRST, 4, Ended::Failed);
        assert_eq!(joined.ended.get(), Some(&Ended::Failed));
    }

    #[test]
    fn a_log_that_jumps_ends_everyone_and_is_remembered_no_more() {
        let mut hub = hub();
        say(&mut hub, FIRST, 10, &[ADA]);
        let joined = hub.join(ADA, None, &Token::default());
        hub.jump(FIRST, 4, Ended::Jumped);
        assert_eq!((joined.ended.get(), joined.queue.is_closed()), (Some(&Ended::Jumped), true));
        assert_eq!(hub.next(FIRST), 4);
        let back = hub.join(ADA, Some(&Token::from(at(FIRST, 3))), &Token::default());
        assert_eq!(missed(&back), Some(Vec::new()));
    }
}
