//! Defects of messages: of what becomes of them, and of what is told of who has read them.

use kith_fold::{Fold, Record, Rows};
use kith_messaging::{MessageRow, Summary, Unsent};
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::messaging::v1::{ReadMarkerMoved, ReadVisibility};

use super::Planted;

pub(super) fn is_one(defect: Planted) -> bool {
    matches!(
        defect,
        Planted::LateEditWins | Planted::UnsentUnread | Planted::UnsentStaysInInbox | Planted::PrivateMarkerTold
    )
}

/// Folds with that defect.
pub(super) fn apply(defect: Planted, inner: &dyn Fold, rows: &mut Rows, (record, event): (&Record, &Messaging)) {
    let before = rows.summary::<Summary>();
    inner.apply(rows, &distorted(defect, rows, record, event));
    after(defect, rows, &before, event);
}

/// The record as it is folded instead.
fn distorted(defect: Planted, rows: &Rows, record: &Record, event: &Messaging) -> Record {
    match (defect, event) {
        (Planted::LateEditWins, Messaging::MessageEdited(edited)) => {
            let number = i64::try_from(edited.number).unwrap_or(i64::MAX);
            let message = rows.get::<MessageRow>([number.into(), edited.message_id.as_str().into()]);
            let time = message.map_or(record.time, |message| record.time.min(message.create_time));
            Record { time, ..record.clone() }
        }
        (Planted::PrivateMarkerTold, Messaging::ReadMarkerMoved(moved)) => {
            let visibility = ReadVisibility::Public.into();
            let event = Messaging::ReadMarkerMoved(ReadMarkerMoved { visibility, ..moved.clone() });
            Record { event: event.into(), ..record.clone() }
        }
        _ => record.clone(),
    }
}

/// What is left of it in the conversation.
fn after(defect: Planted, rows: &mut Rows, before: &Summary, event: &Messaging) {
    if !matches!(event, Messaging::MessageUnsent(_)) {
        return;
    }
    let mut summary = rows.summary::<Summary>();
    match defect {
        Planted::UnsentUnread => summary.unsent = Unsent::default(),
        Planted::UnsentStaysInInbox => summary.last_preview = before.last_preview.clone(),
        _ => return,
    }
    rows.set_summary(summary);
}
