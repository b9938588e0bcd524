//! A defect of mutes: a clock where none is to be.

use kith_proto::identity::v1::Muted;
use kith_proto::time;
use kith_runtime::Runtime;

/// What only a reader may ask.
pub(super) fn has_ended(event: &Muted, runtime: &Runtime) -> bool {
    event.end_time.as_ref().is_some_and(|end| time::unix_ms(Some(end)) <= runtime.now_ms())
}
