use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kith_runtime::SplitMix64;

/// Draws that are a function of a seed. Clones share one stream.
#[derive(Debug, Clone)]
pub struct Chance(Arc<Mutex<SplitMix64>>);

impl Chance {
    /// The stream called `name` of a seed: draws of one stream do not move those of another.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut state = SplitMix64::mix(seed ^ 0x6b69_7468);
        for byte in name.bytes() {
            state = SplitMix64::mix(state ^ u64::from(byte));
        }
        Self(Arc::new(Mutex::new(SplitMix64::new(state))))
    }

    fn draw(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).draw()
    }

    /// 0 up to `bound`, which is not among them.
    pub fn below(&self, bound: usize) -> usize {
        usize::try_from(self.draw() % (bound.max(1) as u64)).unwrap_or(0)
    }

    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.draw() % (high - low + 1)
    }

    /// True with this probability, in thousandths.
    pub fn per_mille(&self, times: u32) -> bool {
        self.draw() % 1_000 < u64::from(times)
    }

    pub fn ms(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    pub fn pick<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_function_of_seed_and_name() {
        let draw = |seed, name| {
            let chance = Chance::new(seed, name);
            (0..8).map(|_| chance.below(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, "log"), draw(7, "log"));
        assert_ne!(draw(7, "log"), draw(7, "tables"));
        assert_ne!(draw(7, "log"), draw(8, "log"));
    }
}
