//! Passwords: argon2id, in as many buffers as there are cores, each used again and again, and let go of when no hash has
//! needed it for a while. A buffer for every hash would have the operating system clear 19 MiB each time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use kith_runtime::Runtime;
use kith_service::Failure;
use kith_service::deadline::Deadline;
use kith_service::limits::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN};
use kith_service::share::Shares;
use kith_service::source::Source;
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization;

/// Passes over the memory, and lanes: with 19,456 KiB what OWASP recommends.
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;
/// Hashes that may wait for each buffer: a second or two of work.
const WAITING_PER_BUFFER: usize = 32;
/// Buffers that stayed idle for all of such a while are let go of.
const IDLE_BUFFERS_KEPT: Duration = Duration::from_secs(5);
/// What a stored hash may ask for; one that asks for more is not ours, and never matches.
const STORED_MEMORY_KIB_MAX: u32 = 1024 * 1024;
const STORED_PASSES_MAX: u32 = 16;
const STORED_LANES_MAX: u32 = 16;

/// A password as it was given, in NFC. Overwritten when dropped; shown nowhere.
#[derive(Clone)]
pub struct Password(Vec<u8>);

impl Password {
    /// A password for a new account: 8 to 128 characters.
    pub fn chosen(field: &str, text: String) -> Result<Self, Failure> {
        Self::of_length(field, text, PASSWORD_CHARS_MIN)
    }

    /// A password to be compared: an account may have it from a time when shorter ones were taken.
    pub fn given(field: &str, text: String) -> Result<Self, Failure> {
        Self::of_length(field, text, 1)
    }

    fn of_length(field: &str, text: String, least: usize) -> Result<Self, Failure> {
        let text = Self(text.into_bytes());
        let normalised = Self(String::from_utf8_lossy(&text.0).nfc().collect::<String>().into_bytes());
        let characters = String::from_utf8_lossy(&normalised.0).chars().count();
        if !(least..=PASSWORD_CHARS_MAX).contains(&characters) {
            let wanted = format!("is not {least} to {PASSWORD_CHARS_MAX} characters long");
            return Err(Failure::field_invalid(field, &wanted));
        }
        Ok(normalised)
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        self.0.fill(0);
        // Or the compiler would leave out what nobody reads.
        std::hint::black_box(&self.0);
    }
}

/// Hashes and compares passwords, one a core at a time. Clones share buffers and the queue, in which each source has its share.
#[derive(Clone)]
pub struct PasswordHasher {
    runtime: Runtime,
    params: Params,
    shared: Arc<Shared>,
}

/// Who has a hash made, and until when.
pub type Turn<'a> = (&'a Source, Deadline);

struct Shared {
    /// One for each hash under way or waiting.
    admitted: Arc<Shares>,
    /// One permit for each buffer.
    running: Arc<Semaphore>,
    buffers: usize,
    idle: Mutex<Idle>,
    /// What a hash takes as they are made now. A stored one may take more for a while.
    kept_blocks: usize,
}

/// Buffers that no hash is using.
#[derive(Default)]
struct Idle {
    buffers: Vec<Vec<Block>>,
    /// The fewest there were since the last look: so many were not needed.
    fewest: usize,
    /// Whether a task looks after them.
    watched: bool,
}

impl PasswordHasher {
    /// Each buffer takes `memory_kib` while hashes are asked for. Fails under 8 KiB.
    pub fn new(runtime: Runtime, memory_kib: u32) -> Result<Self, Failure> {
        let params = Params::new(memory_kib, PASSES, LANES, Some(OUTPUT_BYTES));
        let params = params.map_err(|error| Failure::defect("setting up password hashing", &error))?;
        let buffers = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = Shared::new(buffers, params.block_count());
        Ok(Self { runtime, params, shared: Arc::new(shared) })
    }

    /// The hash of `password` under a new salt, as a PHC string. Fails with `OVERLOADED` when too many are waiting.
    pub async fn hash(&self, password: Password, turn: Turn<'_>) -> Result<String, Failure> {
        let mut salt = [0; SALT_BYTES];
        self.runtime.fill_random(&mut salt).map_err(|error| Failure::defect("salting a password", &error))?;
        let params = self.params.clone();
        let hashed = self.run(turn, move |buffer| hash(buffer, &password, &salt, &params)).await?;
        hashed.map_err(|error| Failure::defect("hashing a password", &error))
    }

    /// Whether `password` is the one that `stored` was made from. Without a usable `stored` it is not, at the cost of
    /// one hash as they are made now: nobody learns from the time it takes whether there is one.
    pub async fn verify(&self, password: Password, stored: Option<&str>, turn: Turn<'_>) -> Result<bool, Failure> {
        let stored = stored.and_then(Stored::parse);
        let params = stored.as_ref().map_or(&self.params, |stored| &stored.params).clone();
        let matches = self.run(turn, move |buffer| {
            let salt = stored.as_ref().map_or(&[0; SALT_BYTES][..], |stored| &stored.salt);
            let output = output(buffer, &password, salt, &params)?;
            // Outputs are compared in constant time.
            Ok::<_, argon2::password_hash::Error>(stored.is_some_and(|stored| stored.output == output))
        });
        matches.await?.map_err(|error| Failure::defect("comparing a password", &error))
    }

    /// Whether a hash as they are made now takes more than `stored`, so that one should replace it.
    pub fn is_weaker(&self, stored: &str) -> bool {
        let cost = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        let now = cost(&self.params);
        Stored::parse(stored).is_some_and(|stored| {
            let then = cost(&stored.params);
            then.0 < now.0 || then.1 < now.1 || then.2 < now.2
        })
    }

    /// Runs `work` off the async workers, in its turn. Once started it ends, whether or not its caller waits for it.
    async fn run<T, F>(&self, (source, deadline): Turn<'_>, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut Vec<Block>) -> T + Send + 'static,
    {
        let admitted = self.shared.admitted.take(source, 1).ok_or_else(Failure::overloaded)?;
        let turn = Arc::clone(&self.shared.running).acquire_owned();
        let turn = tokio::time::timeout_at(deadline.at(), turn).await.map_err(|_| Failure::deadline_exceeded())?;
        let turn = turn.map_err(|_| Failure::internal())?;
        if self.shared.must_be_watched() {
            let (runtime, shared) = (self.runtime.clone(), Arc::clone(&self.shared));
            self.runtime.spawn(async move { shared.watch(&runtime).await });
        }
        let shared = Arc::clone(&self.shared);
        let worked = self.runtime.blocking(move || {
            let mut buffer = shared.take();
            let result = work(&mut buffer);
            shared.give_back(buffer);
            drop((turn, admitted));
            result
        });
        worked.await.ok_or_else(Failure::internal)
    }
}

impl Shared {
    fn new(buffers: usize, kept_blocks: usize) -> Self {
        let admitted = Shares::of(buffers * (1 + WAITING_PER_BUFFER));
        let running = Arc::new(Semaphore::new(buffers));
        Self { admitted, running, buffers, idle: Mutex::default(), kept_blocks }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<Block> {
        let mut idle = self.idle();
        let buffer = idle.buffers.pop().unwrap_or_default();
        idle.fewest = idle.fewest.min(idle.buffers.len());
        buffer
    }

    fn give_back(&self, mut buffer: Vec<Block>) {
        buffer.truncate(self.kept_blocks);
        buffer.shrink_to_fit();
        self.idle().buffers.push(buffer);
    }

    /// True for one caller, until its watch has ended. Ask with a turn in hand: a watch does not end before all are back.
    fn must_be_watched(&self) -> bool {
        !std::mem::replace(&mut self.idle().watched, true)
    }

    /// Lets go of buffers that are not needed, until none is left.
    async fn watch(&self, runtime: &Runtime) {
        loop {
            runtime.sleep(IDLE_BUFFERS_KEPT).await;
            let mut idle = self.idle();
            let unneeded = idle.fewest;
            drop(idle.buffers.drain(..unneeded));
            idle.fewest = idle.buffers.len();
            if idle.buffers.is_empty() && self.running.available_permits() == self.buffers {
                idle.watched = false;
                return;
            }
        }
    }
}

type Hashed<T> = Result<T, argon2::password_hash::Error>;

fn hash(buffer: &mut Vec<Block>, password: &Password, salt: &[u8], params: &Params) -> Hashed<String> {
    let hash = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params)?,
        salt: Some(Salt::new(salt)?),
        hash: Some(output(buffer, password, salt, params)?),
    };
    Ok(hash.to_string())
}

fn output(buffer: &mut Vec<Block>, password: &Password, salt: &[u8], params: &Params) -> Hashed<Output> {
    let blocks = params.block_count();
    if buffer.len() < blocks {
        buffer.resize(blocks, Block::new());
    }
    let mut bytes = [0; OUTPUT_BYTES];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    argon2.hash_password_into_with_memory(&password.0, salt, &mut bytes, &mut buffer[..blocks])?;
    Ok(Output::new(&bytes)?)
}

/// A stored hash, taken apart.
struct Stored {
    params: Params,
    salt: Vec<u8>,
    output: Output,
}

impl Stored {
    /// `None` for what is not an argon2id hash within bounds.
    fn parse(text: &str) -> Option<Self> {
        let hash = PasswordHash::new(text).ok()?;
        let params = Params::try_from(&hash).ok()?;
        let ours = hash.algorithm == ARGON2ID_IDENT && hash.version == Some(Version::V0x13.into());
        let bounded = params.m_cost() <= STORED_MEMORY_KIB_MAX
            && params.t_cost() <= STORED_PASSES_MAX
            && params.p_cost() <= STORED_LANES_MAX
            && params.output_len() == Some(OUTPUT_BYTES);
        let (salt, output) = hash.salt.zip(hash.hash)?;
        (ours && bounded).then(|| Self { params, salt: salt.to_vec(), output })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::LazyLock;

    use kith_service::share::Taken;

    use super::*;

    const MEMORY_KIB: u32 = 32;

    fn hasher() -> PasswordHasher {
        PasswordHasher::new(Runtime::system(), MEMORY_KIB).unwrap()
    }

    fn password(text: &str) -> Password {
        Password::chosen("password", text.to_owned()).unwrap()
    }

    static SOURCE: LazyLock<Source> = LazyLock::new(Source::default);

    fn soon() -> Turn<'static> {
        (&SOURCE, Deadline::after(Duration::from_secs(30)))
    }

    /// All turns, one each.
    fn crowd(hasher: &PasswordHasher) -> Vec<Taken> {
        let sources = (1_u32..).map(|n| Source::of_address(Ipv4Addr::from_bits(n).into()));
        sources.map_while(|source| hasher.shared.admitted.take(&source, 1)).collect()
    }

    #[test]
    fn its_length_is_counted_in_characters_of_nfc() {
        for good in ["12345678", &"ä".repeat(128), "e\u{301}".repeat(8).as_str()] {
            assert!(Password::chosen("password", good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "1234567", &"x".repeat(129), "e\u{301}".repeat(7).as_str()] {
            let failure = Password::chosen("password", bad.to_owned()).err().unwrap();
            assert_eq!((failure.reason_name(), &*failure.field_violations()[0].field), ("FIELD_INVALID", "password"));
            assert!(bad.is_empty() || !failure.message().contains(bad));
        }
        assert!(Password::given("password", "short".to_owned()).is_ok());
    }

    #[tokio::test]
    async fn only_the_same_password_matches() {
        let hasher = hasher();
        let stored = hasher.hash(password("correct horse"), soon()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=32,t=2,p=1$"), "{stored}");
        assert_ne!(stored, hasher.hash(password("correct horse"), soon()).await.unwrap(), "salted");
        assert!(hasher.verify(password("correct horse"), Some(&stored), soon()).await.unwrap());
        assert!(!hasher.verify(password("correct Horse"), Some(&stored), soon()).await.unwrap());
        assert!(!hasher.verify(password("correct horse"), None, soon()).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_is_compared_by_the_parameters_it_was_made_with() {
        let stored = hasher().hash(password("correct horse"), soon()).await.unwrap();
        for memory_kib in [8, 64] {
            let now = PasswordHasher::new(Runtime::system(), memory_kib).unwrap();
            now.hash(password("another one"), soon()).await.unwrap();
            assert_eq!(now.is_weaker(&stored), memory_kib > MEMORY_KIB);
            assert!(now.verify(password("correct horse"), Some(&stored), soon()).await.unwrap());
            let idle = now.shared.idle();
            assert_eq!(
                idle.buffers.iter().map(Vec::len).collect::<Vec<_>>(),
                [memory_kib as usize],
                "one buffer, of its size"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn buffers_that_no_hash_needs_are_let_go_of() {
        let hasher = PasswordHasher::new(Runtime::simulated(1, 0), MEMORY_KIB).unwrap();
        let idle = || hasher.shared.idle().buffers.len();
        for _ in 0..2 {
            for _ in 0..10 {
                hasher.hash(password("correct horse"), soon()).await.unwrap();
                tokio::time::sleep(IDLE_BUFFERS_KEPT / 2).await;
                assert_eq!(idle(), 1, "one hash after the other");
            }
            tokio::time::sleep(IDLE_BUFFERS_KEPT * 2).await;
            assert_eq!(idle(), 0);
        }
    }

    #[test]
    fn what_is_stored_is_bounded() {
        let salt_and_hash = "c29tZXNhbHRzb21lc2FsdA$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI";
        assert!(Stored::parse(&format!("$argon2id$v=19$m=19456,t=2,p=1${salt_and_hash}")).is_some());
        for bad in [
            "",
            "plain",
            "$argon2id$v=19$m=19456,t=2,p=1",
            &format!("$argon2i$v=19$m=19456,t=2,p=1${salt_and_hash}"),
            &format!("$argon2id$v=16$m=19456,t=2,p=1${salt_and_hash}"),
            &format!("$argon2id$v=19$m=4294967295,t=2,p=1${salt_and_hash}"),
            &format!("$argon2id$v=19$m=19456,t=4000000,p=1${salt_and_hash}"),
            &format!("$argon2id$v=19$m=19456,t=2,p=1,x=1${salt_and_hash}"),
        ] {
            assert!(Stored::parse(bad).is_none(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_sheds_and_a_waiting_hash_keeps_its_deadline() {
        let hasher = hasher();
        let held = Arc::clone(&hasher.shared.running)
            .try_acquire_many_owned(u32::try_from(hasher.shared.running.available_permits()).unwrap());
        let late = hasher
            .hash(password("correct horse"), (&SOURCE, Deadline::after(Duration::from_millis(5))))
            .await
            .unwrap_err();
        assert_eq!(late.reason_name(), "DEADLINE_EXCEEDED");
        let full = crowd(&hasher);
        let shed = hasher.hash(password("correct horse"), soon()).await.unwrap_err();
        assert_eq!(shed.reason_name(), "OVERLOADED");
        drop((held, full));
        assert!(hasher.hash(password("correct horse"), soon()).await.is_ok());
    }

    #[tokio::test]
    async fn one_source_leaves_turns_for_others() {
        let hasher = hasher();
        let greedy: Vec<_> = std::iter::from_fn(|| hasher.shared.admitted.take(&SOURCE, 1)).collect();
        let shed = hasher.hash(password("correct horse"), soon()).await.unwrap_err();
        assert_eq!(shed.reason_name(), "OVERLOADED");
        assert_eq!(greedy.len(), hasher.shared.admitted.free());
        let other = Source::of_address([192, 0, 2, 1].into());
        let turn = (&other, Deadline::after(Duration::from_secs(30)));
        assert!(hasher.hash(password("correct horse"), turn).await.is_ok());
    }
}
