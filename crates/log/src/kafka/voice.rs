//! The client library's messages, in our log, without repetitions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kith_runtime::{Runtime, UnixMillis};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

/// One line per kind in this time; otherwise a broker that is down would fill the log.
const ONE_LINE_PER_MS: UnixMillis = 10_000;
/// Kinds of lines that are remembered.
const KINDS: usize = 256;

/// Shared by all clients of one log.
#[derive(Clone)]
pub(super) struct Voice {
    runtime: Runtime,
    said: Arc<Mutex<BTreeMap<String, Said>>>,
}

struct Said {
    at_ms: UnixMillis,
    kept_back: u64,
}

impl Voice {
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime, said: Arc::default() }
    }

    /// The number of suppressed lines of that kind since the last one, or `None` if this one is suppressed too.
    fn turn(&self, kind: &str) -> Option<u64> {
        let now_ms = self.runtime.now_ms();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match said.get_mut(kind) {
            Some(last) if (last.at_ms..last.at_ms + ONE_LINE_PER_MS).contains(&now_ms) => {
                last.kept_back += 1;
                None
            }
            Some(last) => {
                last.at_ms = now_ms;
                Some(std::mem::take(&mut last.kept_back))
            }
            None => {
                if said.len() >= KINDS {
                    said.clear();
                }
                said.insert(kind.to_owned(), Said { at_ms: now_ms, kept_back: 0 });
                Some(0)
            }
        }
    }
}

impl ClientContext for Voice {
    fn log(&self, level: RDKafkaLogLevel, kind: &str, text: &str) {
        use RDKafkaLogLevel::{Alert, Critical, Debug, Emerg, Error, Info, Notice, Warning};
        let Some(kept_back) = self.turn(kind) else { return };
        match level {
            // The library recovers from its errors by itself: a warning to us.
            Emerg | Alert | Critical | Error | Warning => {
                tracing::warn!(target: "kith_log::kafka", kind, kept_back, "{text}");
            }
            Notice | Info => tracing::info!(target: "kith_log::kafka", kind, kept_back, "{text}"),
            Debug => tracing::debug!(target: "kith_log::kafka", kind, kept_back, "{text}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let kind = error.to_string();
        if let Some(kept_back) = self.turn(&kind) {
            tracing::warn!(target: "kith_log::kafka", kind, kept_back, "{reason}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_repeated_line_is_kept_back_and_counted() {
        let runtime = Runtime::simulated(1, 0);
        let voice = Voice::new(runtime.clone());
        assert_eq!(voice.turn("FAIL"), Some(0));
        assert_eq!(voice.turn("FAIL"), None);
        assert_eq!(voice.turn("FAIL"), None);
        assert_eq!(voice.turn("OTHER"), Some(0));
        runtime.sleep(Duration::from_secs(11)).await;
        assert_eq!(voice.turn("FAIL"), Some(2));
    }
}
