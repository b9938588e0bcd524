//! Defects of private accounts: answers that answer too much, and who is let see too early.

use kith_fold::Record;
use kith_identity::edge::EdgeRow;
use kith_proto::identity::v1::FollowRequested;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_relations::away::AwayRow;
use kith_tables::{Row, RowType};

/// The request as if it had seen no answer: an earlier one answers it again.
pub(super) fn unseeing(record: &Record, event: &FollowRequested) -> Record {
    let event = FollowRequested { seen_target_offset: 0, ..event.clone() };
    Record { event: Identity::FollowRequested(event).into(), ..record.clone() }
}

/// Nobody is private.
pub(super) fn unveil(found: &mut [Option<Row>]) {
    for row in found.iter_mut().flatten() {
        if let Some(known) = row.read::<AwayRow>() {
            row.columns = AwayRow { private: false, ..known }.into_columns();
        }
    }
}

/// Who asks to follow looks like who follows.
pub(super) fn open(found: &mut [Option<Row>]) {
    for row in found.iter_mut().flatten() {
        if let Some(known) = row.read::<EdgeRow>().filter(|known| known.requested) {
            row.columns = EdgeRow { following: true, ..known }.into_columns();
        }
    }
}
