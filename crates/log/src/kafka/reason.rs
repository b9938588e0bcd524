//! Why brokers do not answer: the admin client only says that they did not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kith_runtime::Runtime;
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::settings::{KafkaSettings, REQUEST_TIMEOUT_MS};

const POLL: Duration = Duration::from_millis(100);
const POLLS: u32 = REQUEST_TIMEOUT_MS / 100;

/// What a client says that connects with these settings, such as that a login or a certificate was refused; `None`: nothing
/// within 3 s.
pub(super) async fn reason(settings: &KafkaSettings, runtime: &Runtime) -> Option<String> {
    let config = settings.offsets().ok()?;
    let asked = runtime.blocking(move || {
        let said = Arc::<Mutex<Option<String>>>::default();
        let client: BaseConsumer<Listening> = config.create_with_context(Listening(Arc::clone(&said))).ok()?;
        for _ in 0..POLLS {
            let _ = client.poll(POLL);
            if let Some(said) = said.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Some(said);
            }
        }
        None
    });
    asked.await.flatten()
}

struct Listening(Arc<Mutex<Option<String>>>);

impl ClientContext for Listening {
    fn error(&self, error: KafkaError, reason: &str) {
        // That all brokers are down follows from what was said of each.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Listening {}
