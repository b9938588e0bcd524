//! Defects of groups: of who gets a seat, and of what a new member sees.

use kith_fold::{Fold, Record, Rows};
use kith_messaging::{GroupSummary, Summary};
use kith_proto::Event;
use kith_proto::messaging::private::v1::group_change_requested::Change;
use kith_proto::messaging::private::v1::messaging_private_event::Event as Private;
use kith_proto::messaging::v1::MembersAdded;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;

use super::Planted;

/// Folds with that defect.
pub(super) fn apply(defect: Planted, inner: &dyn Fold, rows: &mut Rows, record: &Record) {
    if defect == Planted::SeatGivenTwice {
        one_seat_more(rows, record);
    }
    inner.apply(rows, record);
    match &record.event {
        Event::Messaging(Messaging::MembersAdded(event)) if defect == Planted::OlderMessagesShown => {
            show_all(rows, event);
        }
        _ => {}
    }
}

/// Who asks for more members finds a seat more than there is.
fn one_seat_more(rows: &mut Rows, record: &Record) {
    let Event::MessagingPrivate(Private::GroupChangeRequested(event)) = &record.event else { return };
    if let Some(Change::Addition(_)) = event.change {
        let group = rows.summary::<GroupSummary>();
        rows.set_summary(GroupSummary { member_limit: group.member_limit + 1, ..group });
    }
}

/// Who comes sees from the beginning on.
fn show_all(rows: &mut Rows, event: &MembersAdded) {
    let mut summary = rows.summary::<Summary>();
    for new in &event.members {
        let seat = summary.members.get_mut(&new.account_id).and_then(|member| member.seat.as_mut());
        seat.into_iter().for_each(|seat| seat.from = 0);
    }
    rows.set_summary(summary);
}
