//! What was noted and is not written yet, and what of it becomes a record: so few that nobody can fill the log with them.

use std::collections::{BTreeMap, VecDeque};

use kith_proto::security::v1::{SecurityEvent, SecurityKind};
use kith_proto::time;
use kith_runtime::UnixMillis;

use crate::limits::{
    SECURITY_CHANGES_PER_MINUTE, SECURITY_RECORDS_WAITING, SECURITY_SUBJECTS_PER_MINUTE, SECURITY_TOLD_PER_MINUTE,
};

/// Of sums.
const MINUTE_MS: UnixMillis = 60_000;
/// The subject of what is about nobody that can be named, or about several.
pub(super) const NOBODY: &str = "-";
/// In place of what differs between the events of a record.
const SEVERAL: &str = "several";

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub kind: SecurityKind,
    pub reason: String,
    pub subject: String,
    pub account_id: String,
    pub principal: String,
    pub source: String,
}

/// Wrong passwords in a row, of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guesses {
    pub pair: String,
    pub in_a_row: u32,
}

/// Bounded: [`SECURITY_SUBJECTS_PER_MINUTE`] subjects of each kind that have no principal and as many that have one, of changed
/// passwords [`SECURITY_CHANGES_PER_MINUTE`], and [`SECURITY_RECORDS_WAITING`] records.
#[derive(Default)]
pub(super) struct Ledger {
    /// When the running minute began; each begins with its first event.
    began_ms: UnixMillis,
    sums: BTreeMap<Key, Sum>,
    told: usize,
    waiting: VecDeque<SecurityEvent>,
    dropped: u64,
    closed: bool,
}

/// By what events are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: i32,
    /// Strangers crowd out nobody who proved a name.
    has_principal: bool,
    /// `None`: all others of the kind.
    told_apart: Option<(String, String)>,
}

/// The events after the first one, which is a record already.
struct Sum {
    what: Entry,
    count: u64,
    first_ms: UnixMillis,
    last_ms: UnixMillis,
}

impl Ledger {
    pub fn note(&mut self, now_ms: UnixMillis, entry: Entry) {
        self.turn(now_ms);
        self.begin(now_ms);
        let key = self.key_of(&entry);
        match self.sums.get_mut(&key) {
            Some(sum) => sum.add(now_ms, entry),
            None => {
                let what = if key.told_apart.is_some() { entry } else { Entry { subject: NOBODY.to_owned(), ..entry } };
                let others = key.told_apart.is_none();
                self.push(record(&what, others, 1, (now_ms, now_ms)));
                self.sums.insert(key, Sum { what, count: 0, first_ms: now_ms, last_ms: now_ms });
            }
        }
    }

    /// As a record of its own, since others act on it. More of these than may be told in a minute are noted as all else is.
    pub fn tell(&mut self, now_ms: UnixMillis, entry: Entry, guesses: Guesses) {
        self.turn(now_ms);
        if self.told == SECURITY_TOLD_PER_MINUTE {
            return self.note(now_ms, entry);
        }
        self.begin(now_ms);
        self.told += 1;
        let Guesses { pair, in_a_row } = guesses;
        let told = SecurityEvent { pair, in_a_row, ..record(&entry, false, 1, (now_ms, now_ms)) };
        self.push(told);
    }

    /// Ends the minute if it is over, or if the clock was set back: what was counted in it becomes records.
    pub fn turn(&mut self, now_ms: UnixMillis) {
        let is_over = now_ms.saturating_sub(self.began_ms) >= MINUTE_MS || now_ms < self.began_ms;
        if is_over {
            self.sum_up();
        }
    }

    /// How long until there is something to turn; `None`: nothing is counted.
    pub fn due_in_ms(&self, now_ms: UnixMillis) -> Option<u64> {
        let until_ms = self.began_ms.saturating_add(MINUTE_MS);
        (!self.sums.is_empty()).then(|| u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or(0))
    }

    /// Nothing more is counted together.
    pub fn close(&mut self, now_ms: UnixMillis) {
        self.turn(now_ms);
        self.sum_up();
        self.closed = true;
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The record that waits longest.
    pub fn take(&mut self) -> Option<SecurityEvent> {
        self.waiting.pop_front()
    }

    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Events that found no room since it was asked last.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// A kind has places of its own: a flood of one hides no other.
    fn key_of(&self, entry: &Entry) -> Key {
        let (kind, has_principal) = (entry.kind.into(), !entry.principal.is_empty());
        let own = Key { kind, has_principal, told_apart: Some((entry.subject.clone(), entry.reason.clone())) };
        if self.sums.contains_key(&own) {
            return own;
        }
        let is_beside = |key: &&Key| (key.kind, key.has_principal) == (kind, has_principal) && key.told_apart.is_some();
        let taken = self.sums.keys().filter(is_beside).count();
        if taken < places(entry.kind) { own } else { Key { kind, has_principal, told_apart: None } }
    }

    fn begin(&mut self, now_ms: UnixMillis) {
        if self.sums.is_empty() && self.told == 0 {
            self.began_ms = now_ms;
        }
    }

    fn sum_up(&mut self) {
        self.told = 0;
        for (key, sum) in std::mem::take(&mut self.sums) {
            if sum.count > 0 {
                let times = (sum.first_ms, sum.last_ms);
                self.push(record(&sum.what, key.told_apart.is_none(), sum.count, times));
            }
        }
    }

    fn push(&mut self, event: SecurityEvent) {
        if self.waiting.len() < SECURITY_RECORDS_WAITING {
            self.waiting.push_back(event);
        } else {
            self.dropped = self.dropped.saturating_add(event.count);
        }
    }
}

/// How many subjects of a kind are told apart. A changed password is a fact that somebody proved, not an attempt of anybody.
fn places(kind: SecurityKind) -> usize {
    match kind {
        SecurityKind::PasswordChanged => SECURITY_CHANGES_PER_MINUTE,
        _ => SECURITY_SUBJECTS_PER_MINUTE,
    }
}

impl Sum {
    fn add(&mut self, now_ms: UnixMillis, entry: Entry) {
        if self.count == 0 {
            self.first_ms = now_ms;
        }
        self.count = self.count.saturating_add(1);
        self.last_ms = now_ms;
        let keep = |kept: &mut String, next: String, otherwise: &str| {
            if *kept != next {
                *kept = otherwise.to_owned();
            }
        };
        // Names of fields that hold an id are left empty rather than filled with a word.
        keep(&mut self.what.account_id, entry.account_id, "");
        keep(&mut self.what.principal, entry.principal, "");
        keep(&mut self.what.source, entry.source, SEVERAL);
        keep(&mut self.what.reason, entry.reason, SEVERAL);
    }
}

fn record(what: &Entry, others: bool, count: u64, (first_ms, last_ms): (UnixMillis, UnixMillis)) -> SecurityEvent {
    SecurityEvent {
        kind: what.kind.into(),
        subject: what.subject.clone(),
        account_id: what.account_id.clone(),
        principal: what.principal.clone(),
        reason: what.reason.clone(),
        source: what.source.clone(),
        count,
        first_time: Some(time::timestamp(first_ms)),
        last_time: Some(time::timestamp(last_ms)),
        others,
        ..SecurityEvent::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: UnixMillis = 1_700_000_000_000;

    fn refused(account: &str, source: &str) -> Entry {
        let subject = if account.is_empty() { source.to_owned() } else { account.to_owned() };
        Entry {
            kind: SecurityKind::LoginRefused,
            reason: "password".to_owned(),
            subject,
            account_id: account.to_owned(),
            principal: String::new(),
            source: source.to_owned(),
        }
    }

    fn taken(ledger: &mut Ledger) -> Vec<SecurityEvent> {
        std::iter::from_fn(|| ledger.take()).collect()
    }

    #[test]
    fn the_first_is_written_at_once_and_the_rest_of_the_minute_as_a_sum() {
        let mut ledger = Ledger::default();
        for n in 0..10 {
            ledger.note(NOW_MS + n, refused("ada", "s1"));
        }
        ledger.note(NOW_MS + 10, refused("bob", "s1"));
        let counts = |events: &[SecurityEvent]| {
            events.iter().map(|event| (event.account_id.clone(), event.count)).collect::<Vec<_>>()
        };
        assert_eq!(counts(&taken(&mut ledger)), [("ada".to_owned(), 1), ("bob".to_owned(), 1)]);
        assert_eq!(ledger.due_in_ms(NOW_MS + 10), Some(59_990));
        ledger.turn(NOW_MS + 59_999);
        assert!(!ledger.has_waiting());
        ledger.turn(NOW_MS + 60_000);
        let sums = taken(&mut ledger);
        assert_eq!(counts(&sums), [("ada".to_owned(), 9)]);
        let seconds = |event: &SecurityEvent| time::unix_ms(event.first_time.as_ref()) - NOW_MS;
        assert_eq!((seconds(&sums[0]), ledger.due_in_ms(NOW_MS + 60_000)), (1, None));
    }

    /// RULES: an attacker must not be able to fill the topic.
    #[test]
    fn a_million_refusals_are_a_bounded_number_of_records_and_lose_no_count() {
        let (mut ledger, mut records) = (Ledger::default(), Vec::new());
        for n in 0..1_000_000 {
            // Within 100 s, from as many networks, at as many accounts.
            ledger.note(NOW_MS + n / 10_000 * 1_000, refused(&format!("account {n}"), &format!("network {n}")));
            records.extend(taken(&mut ledger));
        }
        ledger.close(NOW_MS + 100_000);
        records.extend(taken(&mut ledger));
        let minutes = 2;
        assert!(records.len() <= minutes * 2 * (SECURITY_SUBJECTS_PER_MINUTE + 1), "{}", records.len());
        assert_eq!(records.iter().map(|event| event.count).sum::<u64>(), 1_000_000);
        let others = records.iter().max_by_key(|event| event.count).unwrap();
        assert_eq!((&*others.subject, &*others.source, others.others), ("-", "several", true));
        assert_eq!((&*others.account_id, &*others.reason), ("", "password"));
    }

    #[test]
    fn a_flood_of_one_kind_hides_no_other() {
        let mut ledger = Ledger::default();
        for n in 0..10_000 {
            ledger.note(NOW_MS, refused("", &n.to_string()));
        }
        taken(&mut ledger);
        ledger
            .note(NOW_MS, Entry { kind: SecurityKind::RightRefused, principal: "web".to_owned(), ..refused("", "s") });
        let [event] = &taken(&mut ledger)[..] else { panic!("not one") };
        assert_eq!((event.kind(), &*event.principal, event.others), (SecurityKind::RightRefused, "web", false));
    }

    #[test]
    fn strangers_hide_no_principal_and_no_changed_password_hides_another() {
        let mut ledger = Ledger::default();
        let right = |principal: &str, source: &str| Entry {
            kind: SecurityKind::RightRefused,
            principal: principal.to_owned(),
            ..refused("", source)
        };
        (0..100).for_each(|n: u32| ledger.note(NOW_MS, right("", &n.to_string())));
        taken(&mut ledger);
        ledger.note(NOW_MS, right("noop", "s"));
        assert!(matches!(&taken(&mut ledger)[..], [event] if event.principal == "noop" && !event.others));
        let changed = |n: usize| Entry { kind: SecurityKind::PasswordChanged, ..refused(&n.to_string(), "s") };
        (0..SECURITY_CHANGES_PER_MINUTE).for_each(|n| ledger.note(NOW_MS, changed(n)));
        assert!(taken(&mut ledger).iter().all(|event| !event.others));
        ledger.note(NOW_MS, changed(SECURITY_CHANGES_PER_MINUTE));
        assert!(taken(&mut ledger)[0].others);
    }

    #[test]
    fn what_others_act_on_is_told_at_once_and_no_more_than_so_often() {
        let mut ledger = Ledger::default();
        for n in 0..1_000 {
            let guesses = Guesses { pair: n.to_string(), in_a_row: 5 };
            let slowed = Entry { kind: SecurityKind::GuessesSlowed, ..refused("ada", "s") };
            ledger.tell(NOW_MS + n, slowed, guesses);
        }
        let told = taken(&mut ledger);
        let pairs = told.iter().filter(|event| !event.pair.is_empty()).count();
        assert_eq!((pairs, told.len()), (SECURITY_TOLD_PER_MINUTE, SECURITY_TOLD_PER_MINUTE + 1));
        ledger.turn(NOW_MS + MINUTE_MS);
        let rest = taken(&mut ledger);
        assert_eq!(rest.iter().map(|event| event.count).sum::<u64>() + told.len() as u64, 1_000);
        ledger.tell(NOW_MS + MINUTE_MS, refused("ada", "s"), Guesses { pair: "p".to_owned(), in_a_row: 6 });
        assert_eq!(taken(&mut ledger)[0].in_a_row, 6);
    }

    #[test]
    fn what_waits_for_the_log_is_bounded_and_what_is_dropped_is_counted() {
        let mut ledger = Ledger::default();
        let mut noted = 0;
        for minute in 0..200 {
            for n in 0..SECURITY_SUBJECTS_PER_MINUTE {
                for _ in 0..3 {
                    noted += 1;
                    ledger.note(NOW_MS + minute * MINUTE_MS, refused(&n.to_string(), "s"));
                }
            }
        }
        ledger.close(NOW_MS + 200 * MINUTE_MS);
        let waiting = taken(&mut ledger);
        assert_eq!(waiting.len(), SECURITY_RECORDS_WAITING);
        let written: u64 = waiting.iter().map(|event| event.count).sum();
        assert_eq!(written + ledger.take_dropped(), noted);
        assert_eq!(ledger.take_dropped(), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_ends_the_minute() {
        let mut ledger = Ledger::default();
        ledger.note(NOW_MS, refused("ada", "s"));
        ledger.note(NOW_MS, refused("ada", "t"));
        ledger.note(NOW_MS - 10_000, refused("ada", "s"));
        let events = taken(&mut ledger);
        assert_eq!(events.iter().map(|event| &*event.source).collect::<Vec<_>>(), ["s", "several", "s"]);
    }
}
