//! The one seam between Kith and the world outside its rules: clock, randomness, spawning, blocking work.
//!
//! Production code takes a [`Runtime`] and never calls `SystemTime::now`, `tokio::spawn`, `spawn_blocking` or a random
//! generator itself (`clippy.toml` bans them). So a test can run the whole suite in one thread from one seed and get
//! the same log, byte for byte.

mod clock;

use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use clock::{CLOCK_AHEAD_MAX_US, UnixMicros};

use clock::{LogClock, Rising, Steady};

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type UnixMillis = i64;

/// Cheap to clone; every clone shares the same clock and the same stream of random bytes.
#[derive(Clone)]
pub struct Runtime {
    world: Arc<World>,
    rising: Arc<Rising>,
    log: Arc<LogClock>,
}

enum World {
    System { steady: Steady },
    Simulated { started_at: Instant, epoch_ms: UnixMillis, jumped_ms: AtomicI64, random: Mutex<SplitMix64> },
}

impl Runtime {
    /// The machine's clock, the operating system's randomness, tokio's multi-thread scheduler.
    pub fn system() -> Self {
        Self {
            world: Arc::new(World::System { steady: Steady::default() }),
            rising: Arc::default(),
            log: Arc::default(),
        }
    }

    /// A world that is a function of `seed`: time is tokio's (run it on a paused, single-threaded runtime), starting at
    /// `epoch_ms`; random bytes come from the seed; blocking work runs inline.
    pub fn simulated(seed: u64, epoch_ms: UnixMillis) -> Self {
        let random = Mutex::new(SplitMix64(seed));
        let jumped_ms = AtomicI64::new(0);
        let world = World::Simulated { started_at: Instant::now(), epoch_ms, jumped_ms, random };
        Self { world: Arc::new(world), rising: Arc::default(), log: Arc::default() }
    }

    /// The time of day. It may go back a little: nothing that must be ordered is ordered by it.
    pub fn now_ms(&self) -> UnixMillis {
        self.now_us().div_euclid(1_000)
    }

    /// A time for a record: later than every one given out here before, and than every one observed; the time of day
    /// where that is so by itself.
    pub fn tick(&self) -> UnixMicros {
        self.rising.tick(self.now_us())
    }

    /// Has later ticks be later than `seen`, the time of a record that was read; of one more than ten minutes ahead of the clock
    /// here, later than that bound.
    pub fn observe(&self, seen: UnixMicros) {
        if seen > self.rising.last() {
            self.rising.observe(seen, self.now_us());
        }
    }

    /// A record was read that the log took at `logged`, by its own clock.
    pub fn logged(&self, logged: UnixMicros) {
        self.log.read(logged, self.uptime_us());
    }

    /// Whether a record of that time, appended now, is surely dated so: a fold dates none later than
    /// [`CLOCK_AHEAD_MAX_US`] after the log took it. Half of that is left to clocks of the log that differ.
    pub fn is_dated_so(&self, time: UnixMicros) -> bool {
        let log = self.log.at_least(self.uptime_us());
        log.is_some_and(|log| time <= log.saturating_add(CLOCK_AHEAD_MAX_US / 2))
    }

    /// The latest time given out or observed; 0 before the first.
    pub fn latest(&self) -> UnixMicros {
        self.rising.last()
    }

    fn uptime_us(&self) -> i64 {
        match &*self.world {
            World::System { .. } => uptime_us(),
            World::Simulated { started_at, .. } => micros(started_at.elapsed()),
        }
    }

    fn now_us(&self) -> UnixMicros {
        match &*self.world {
            World::System { steady } => steady.read(system_now_us(), uptime_us()),
            World::Simulated { started_at, epoch_ms, jumped_ms, .. } => {
                let now_ms = epoch_ms.saturating_add(jumped_ms.load(Ordering::Relaxed));
                now_ms.saturating_mul(1_000).saturating_add(micros(started_at.elapsed()))
            }
        }
    }

    /// Sets a simulated clock ahead, or back; a real one is left alone.
    pub fn jump(&self, by_ms: i64) {
        if let World::Simulated { jumped_ms, .. } = &*self.world {
            jumped_ms.fetch_add(by_ms, Ordering::Relaxed);
        }
    }

    /// Fills `bytes` with randomness fit for keys and nonces (in production).
    pub fn fill_random(&self, bytes: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        match &*self.world {
            World::System { .. } => getrandom::fill(bytes).map_err(|_| RandomnessUnavailable),
            World::Simulated { random, .. } => {
                let mut random = random.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                for chunk in bytes.chunks_mut(8) {
                    chunk.copy_from_slice(&random.draw().to_le_bytes()[..chunk.len()]);
                }
                Ok(())
            }
        }
    }

    /// Starts a task that outlives the caller's future.
    #[allow(clippy::disallowed_methods, reason = "this is the seam")]
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        tokio::spawn(task)
    }

    /// Runs work that blocks (fsync, hashing) off the async workers; `None` when it panicked or the runtime is closing.
    #[allow(clippy::disallowed_methods, reason = "this is the seam")]
    pub async fn blocking<T, F>(&self, work: F) -> Option<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match &*self.world {
            World::System { .. } => tokio::task::spawn_blocking(work).await.ok(),
            World::Simulated { .. } => Some(work()),
        }
    }

    /// Waits on tokio's clock, which a simulation advances by itself.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// True when blocking work runs inline and threads of one's own would break the simulation.
    pub fn is_simulated(&self) -> bool {
        matches!(&*self.world, World::Simulated { .. })
    }
}

/// The operating system gave no random bytes; nothing secret may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomnessUnavailable;

impl std::fmt::Display for RandomnessUnavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the operating system gave no random bytes")
    }
}

impl std::error::Error for RandomnessUnavailable {}

#[allow(clippy::disallowed_methods, reason = "this is the seam")]
fn system_now_us() -> UnixMicros {
    match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    }
}

/// Since the machine started, time that it was suspended for included: it never steps.
fn uptime_us() -> i64 {
    let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    since.tv_sec.saturating_mul(1_000_000).saturating_add(since.tv_nsec / 1_000)
}

fn micros(duration: Duration) -> UnixMicros {
    UnixMicros::try_from(duration.as_micros()).unwrap_or(UnixMicros::MAX)
}

/// Draws that are a function of a seed, not fit for secrets: Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next draw, of all numbers alike.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        Self::mix(self.0)
    }

    /// 0 up to `bound`, which is not among them; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }

    /// Scatters numbers that lie near each other.
    pub fn mix(mut z: u64) -> u64 {
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_world_is_a_function_of_its_seed() {
        let draw = |seed| {
            let mut bytes = [0; 20];
            Runtime::simulated(seed, 0).fill_random(&mut bytes).map(|()| bytes)
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[tokio::test(start_paused = true)]
    async fn simulated_time_follows_tokio() {
        let runtime = Runtime::simulated(1, 1_000);
        runtime.sleep(Duration::from_secs(5)).await;
        assert_eq!(runtime.now_ms(), 6_000);
        runtime.jump(-7_000);
        assert_eq!(runtime.now_ms(), -1_000);
    }
}
