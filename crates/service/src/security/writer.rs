//! Appends what is noted, in a task of its own, one record after the other.

use std::sync::Arc;
use std::time::Duration;

use kith_fold::{Cause, Publisher};
use kith_log::{RecordId, topics};
use kith_proto::security::v1::SecurityEvent;

use super::Shared;

/// The key of every record of the topic, so that all are in one order.
pub const SECURITY_KEY: &str = "security";
/// How often a record is tried. Over Kafka each takes some 3 s if no broker answers.
pub(super) const TRIES: u32 = 5;
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// When nothing is counted, nothing is due.
const IDLE: Duration = Duration::from_secs(60);

/// Until the ledger is closed and empty.
pub(super) async fn write(shared: Arc<Shared>, publisher: Publisher) {
    loop {
        // Made before the look, so that no later change is missed.
        let changed = shared.changed.notified();
        let now_ms = shared.runtime.now_ms();
        let (next, is_closed, due_in, dropped) = {
            let mut ledger = shared.ledger();
            ledger.turn(now_ms);
            (ledger.take(), ledger.is_closed(), ledger.due_in_ms(now_ms), ledger.take_dropped())
        };
        shared.dropped.inc_by(dropped);
        match next {
            Some(event) => append(&shared, &publisher, event).await,
            None if is_closed => return,
            None => {
                let due_in = due_in.map_or(IDLE, Duration::from_millis);
                tokio::select! {
                    () = changed => {}
                    () = shared.runtime.sleep(due_in) => {}
                }
            }
        }
    }
}

/// Under one id, so that readers tell a copy: after an unknown outcome the record may be there.
async fn append(shared: &Shared, publisher: &Publisher, event: SecurityEvent) {
    let mut id = [0; 16];
    if shared.runtime.fill_random(&mut id).is_err() {
        return shared.drop_one(&event);
    }
    let count = event.clone();
    let event = event.into();
    for tried in 1..=TRIES {
        let appended = publisher.append(topics::SECURITY, SECURITY_KEY, RecordId(id), &event, &Cause::default()).await;
        match appended {
            Ok(_) => return,
            Err(error) if tried == TRIES => tracing::warn!(%error, "a security event is not written"),
            Err(error) => {
                tracing::debug!(%error, "a security event is not written yet");
                shared.runtime.sleep(TRY_AGAIN_AFTER).await;
            }
        }
    }
    shared.drop_one(&count);
}
