//! Guesses at a password. After some wrong ones a source waits before it may try that account again, longer each time; and a
//! source that is wrong about many accounts waits too. Nobody else waits for it: whoever calls from elsewhere, or has signed in to
//! the account from there lately.
//!
//! All of it is in the memory of a process. Once a source has to wait, each wrong password is told to the other processes of identity,
//! which apply the wait too. A handle that nobody has is treated as one that somebody has.

mod told;

use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmac::Mac;
use kith_log::RecordId;
use kith_proto::security::v1::SecurityKind;
use kith_runtime::{Runtime, UnixMillis};
use kith_service::Failure;
use kith_service::keys::secret::{Macs, Secret};
use kith_service::limits::{
    GUESS_WAIT_SECONDS_MAX, GUESS_WAIT_SECONDS_SERVICE, GUESSES_AT_ONCE, GUESSES_FORGOTTEN_SECONDS, GUESSES_FREE,
    GUESSES_PER_HOUR, GUESSES_REMEMBERED,
};
use kith_service::rate::{Buckets, Rate, Refused};
use kith_service::security::Happened;
use kith_service::source::Source;
use lru::LruCache;

/// As answers and metrics call it.
const QUOTA: &str = "guesses";

/// Wrong passwords in a row, by one source for one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Failures {
    count: u32,
    last_ms: UnixMillis,
}

impl Failures {
    /// How long there is still to wait, at most `longest` after the last one.
    fn wait(self, now_ms: UnixMillis, longest: Duration) -> Duration {
        let Some(doublings) = self.count.checked_sub(GUESSES_FREE) else { return Duration::ZERO };
        let seconds = 1_u64.checked_shl(doublings.min(32)).unwrap_or(u64::MAX);
        Duration::from_secs(seconds).min(longest).saturating_sub(self.since(now_ms))
    }

    /// With one more; those of long ago do not count.
    fn with_one(self, now_ms: UnixMillis) -> Self {
        let is_over = self.since(now_ms) >= Duration::from_secs(GUESSES_FORGOTTEN_SECONDS);
        let count = if is_over { 0 } else { self.count };
        Self { count: count.saturating_add(1), last_ms: now_ms }
    }

    /// The time since the last one; none, if the clock was set back.
    fn since(self, now_ms: UnixMillis) -> Duration {
        Duration::from_millis(u64::try_from(now_ms.saturating_sub(self.last_ms)).unwrap_or(0))
    }
}

/// What a process keeps in mind of guesses, up to [`GUESSES_REMEMBERED`] of each kind.
pub struct Guesses {
    runtime: Runtime,
    macs: Macs,
    failures: Mutex<LruCache<Pair, Failures>>,
    /// Who has signed in to which account.
    at_home: Mutex<LruCache<Pair, ()>>,
    wrong: Buckets,
    refused: Refused,
}

/// Stands for an account, or a handle that nobody has, and for who tries: a digest with a key of identity's, the same in all of its
/// processes. So neither is in what they tell each other.
type Pair = [u8; 16];

/// Whose password is tried.
pub struct Target {
    /// The account's id, or the key of a handle, which may be nobody's.
    pub key: String,
    /// `None`: nobody's.
    pub account_id: Option<RecordId>,
}

/// A password that is being compared. Counts as wrong unless it is said to be right.
#[must_use = "it counts as wrong"]
struct Attempt<'a> {
    guesses: &'a Guesses,
    pair: Pair,
    source: &'a Source,
    is_at_home: bool,
}

impl Guesses {
    /// `secret`: of which pairs are named to other processes.
    pub fn new(runtime: Runtime, secret: &Secret, refused: Refused) -> Result<Self, Failure> {
        let macs = Macs::new(&secret.derived("kith.guesses.v1"))?;
        let rate = Rate { points_per_hour: GUESSES_PER_HOUR, burst: GUESSES_AT_ONCE };
        let (failures, at_home) = (Mutex::new(remembered()), Mutex::new(remembered()));
        Ok(Self { wrong: Buckets::new(runtime.clone(), rate), runtime, macs, failures, at_home, refused })
    }

    /// Whether a password is the account's, as `compare` finds. It counts as a wrong one until that says otherwise, also if the caller
    /// goes away; if `compare` fails, it does not count. Fails RESOURCE_EXHAUSTED, RATE_LIMITED, without comparing, while the source
    /// has to wait.
    pub async fn is_right(
        &self,
        target: Target,
        source: &Source,
        compare: impl Future<Output = Result<bool, Failure>>,
    ) -> Result<bool, Failure> {
        let account_id = target.account_id;
        let attempt = self.attempt(target, source)?;
        let compared = compare.await;
        match compared {
            Ok(true) => attempt.right(),
            Ok(false) => {
                self.refused.security().note(wrong(account_id).from(source));
                self.tell(attempt.pair, account_id, source);
            }
            Err(_) => attempt.withdrawn(),
        }
        compared
    }

    /// Before a password is compared, so that guesses at the same moment count too.
    fn attempt<'a>(&'a self, target: Target, source: &'a Source) -> Result<Attempt<'a>, Failure> {
        let Target { key, account_id } = target;
        let (now_ms, pair) = (self.runtime.now_ms(), self.pair(&key, source));
        let mut all = locked(&self.failures);
        let failures = all.get(&pair).copied().unwrap_or_default();
        let wait = failures.wait(now_ms, longest(source));
        if wait > Duration::ZERO {
            return Err(self.refused.failure(QUOTA, (source, account_id), wait));
        }
        let is_at_home = locked(&self.at_home).get(&pair).is_some() || is_of_many(source);
        if !is_at_home {
            self.wrong.take(source, 1).map_err(|wait| self.refused.failure(QUOTA, (source, account_id), wait))?;
        }
        all.put(pair, failures.with_one(now_ms));
        drop(all);
        Ok(Attempt { guesses: self, pair, source, is_at_home })
    }

    fn pair(&self, key: &str, source: &Source) -> Pair {
        let (kind, service, who) = match source {
            Source::Service(name) => ("service", Some(name), Vec::new()),
            Source::Account { service, id } => ("account", service.as_ref(), id.0.to_vec()),
            Source::Network { service, address } => ("network", service.as_ref(), address.to_string().into_bytes()),
        };
        let service = service.map_or("", |name| &**name);
        let mac = self.macs.make(|mac| {
            for part in [key.as_bytes(), kind.as_bytes(), service.as_bytes(), &who] {
                mac.update(&(part.len() as u64).to_be_bytes());
                mac.update(part);
            }
        });
        let mut pair = Pair::default();
        let length = pair.len();
        pair.copy_from_slice(&mac[..length]);
        pair
    }
}

impl Attempt<'_> {
    /// The password is the account's: the source begins anew, and is at home there.
    fn right(self) {
        locked(&self.guesses.failures).pop(&self.pair);
        self.did_not_count();
        locked(&self.guesses.at_home).put(self.pair, ());
    }

    /// It was not compared.
    fn withdrawn(self) {
        if let Some(failures) = locked(&self.guesses.failures).get_mut(&self.pair) {
            failures.count = failures.count.saturating_sub(1);
        }
        self.did_not_count();
    }

    fn did_not_count(&self) {
        if !self.is_at_home {
            self.guesses.wrong.give_back(self.source, 1);
        }
    }
}

fn wrong(account_id: Option<RecordId>) -> Happened {
    match account_id {
        Some(account_id) => Happened::new(SecurityKind::LoginRefused, "password").about(account_id),
        None => Happened::new(SecurityKind::LoginRefused, "handle"),
    }
}

/// A service that does not say for whom it calls has all of its people behind it: a stranger must not keep them out for long.
fn longest(source: &Source) -> Duration {
    Duration::from_secs(if is_of_many(source) { GUESS_WAIT_SECONDS_SERVICE } else { GUESS_WAIT_SECONDS_MAX })
}

fn is_of_many(source: &Source) -> bool {
    matches!(source, Source::Service(_))
}

fn remembered<K: Hash + Eq, V>() -> LruCache<K, V> {
    // `new` would allocate all its memory at once.
    let mut cache = LruCache::unbounded();
    cache.resize(NonZeroUsize::MIN.saturating_add(GUESSES_REMEMBERED - 1));
    cache
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const FREE: u64 = GUESSES_FREE as u64;

    fn source(n: u32) -> Source {
        Source::of_address(Ipv4Addr::from_bits(n).into())
    }

    fn target(key: &str) -> Target {
        Target { key: key.to_owned(), account_id: None }
    }

    fn guesses() -> Guesses {
        Guesses::new(Runtime::simulated(1, 1_700_000_000_000), &Secret::from(&[7; 32]), Refused::default()).unwrap()
    }

    fn may(guesses: &Guesses, account: &str, source: &Source) -> bool {
        guesses.attempt(target(account), source).is_ok()
    }

    /// Wrong guesses that are compared within so many seconds, by one who tries every second.
    async fn compared(guesses: &Guesses, account: &str, source: &Source, seconds: u64) -> u64 {
        let mut compared = 0;
        for _ in 0..seconds {
            while may(guesses, account, source) {
                compared += 1;
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        compared
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let longest = Duration::from_secs(GUESS_WAIT_SECONDS_MAX);
        let wait = |count, now_ms| Failures { count, last_ms: 1_000 }.wait(now_ms, longest).as_millis();
        assert_eq!([0, GUESSES_FREE - 1].map(|count| wait(count, 1_000)), [0, 0]);
        assert_eq!(
            [0, 1, 2, 3, 99].map(|n| wait(GUESSES_FREE + n, 1_000)),
            [1_000, 2_000, 4_000, 8_000, longest.as_millis()]
        );
        assert_eq!((wait(GUESSES_FREE, 1_700), wait(GUESSES_FREE, 2_000), wait(GUESSES_FREE, 0)), (300, 0, 1_000));
        let old =
            Failures { count: 50, last_ms: 0 }.with_one(1_000 * i64::try_from(GUESSES_FORGOTTEN_SECONDS).unwrap());
        assert_eq!(old.count, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_at_one_account_get_rare_and_nobody_elsewhere_waits() {
        let guesses = guesses();
        let compared_first = compared(&guesses, "ada", &source(1), 60).await;
        assert_eq!(compared_first, FREE + 5, "after 1, 3, 7, 15 and 31 s");
        assert!(may(&guesses, "ada", &source(2)), "its owner, from elsewhere");
        assert!(may(&guesses, "bob", &source(1)), "another account");
        assert!(compared(&guesses, "ada", &source(1), 24 * 3_600).await <= 24 * 3_600 / GUESS_WAIT_SECONDS_MAX + 6);
    }

    #[tokio::test(start_paused = true)]
    async fn the_right_password_begins_anew() {
        let guesses = guesses();
        for _ in 1..GUESSES_FREE {
            assert!(may(&guesses, "ada", &source(1)));
        }
        guesses.attempt(target("ada"), &source(1)).unwrap().right();
        assert_eq!(compared(&guesses, "ada", &source(1), 1).await, FREE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_is_wrong_about_many_waits_but_not_where_it_signed_in() {
        let guesses = guesses();
        guesses.attempt(target("ada"), &source(1)).unwrap().right();
        for n in 0..GUESSES_AT_ONCE {
            assert!(may(&guesses, &n.to_string(), &source(1)), "{n}");
        }
        let failure = guesses.attempt(target("one more"), &source(1)).err().unwrap();
        assert_eq!(failure.reason_name(), "RATE_LIMITED");
        assert!(may(&guesses, "ada", &source(1)) && may(&guesses, "one more", &source(2)));
        tokio::time::advance(Duration::from_secs(3_600 / GUESSES_PER_HOUR)).await;
        assert!(may(&guesses, "one more", &source(1)) && !may(&guesses, "yet one", &source(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn people_behind_a_service_wait_for_each_other_only_shortly() {
        let guesses = guesses();
        let service = Source::Service("web".into());
        for n in 0..10 * GUESSES_AT_ONCE {
            assert!(may(&guesses, &n.to_string(), &service), "{n}");
        }
        compared(&guesses, "ada", &service, 3_600).await;
        tokio::time::advance(Duration::from_secs(GUESS_WAIT_SECONDS_SERVICE)).await;
        assert!(may(&guesses, "ada", &service));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_compared_does_not_count() {
        let guesses = guesses();
        for _ in 0..100 {
            guesses.attempt(target("ada"), &source(1)).unwrap().withdrawn();
        }
        assert_eq!(compared(&guesses, "ada", &source(1), 1).await, FREE);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let guesses = guesses();
        for n in 0..u32::try_from(GUESSES_REMEMBERED).unwrap() + 10 {
            assert!(may(&guesses, "ada", &source(n)));
        }
        assert_eq!(locked(&guesses.failures).len(), GUESSES_REMEMBERED);
    }
}
