//! Defects of groups: of who gets a seat, and of what a new member sees.

use kith_fold::{Fold, Record, Rows};
use kith_messaging::{GroupSummary, Summary};
use kith_proto::Event;
use kith_proto::messaging::private::v1::group_change_requested::Change;
use kith_proto::messaging::private::v1::messaging_private_event::Event as Private;
use kith_proto::messaging::private::v1::{GroupChangeRequested, RoleSetting};
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::messaging::v1::{MemberRole, MembersAdded};
use kith_tables::{Cell, Value};

use super::Planted;

/// Folds with that defect.
pub(super) fn apply(defect: Planted, inner: &dyn Fold, rows: &mut Rows, record: &Record) {
    if defect == Planted::SeatGivenTwice {
        one_seat_more(rows, record);
    }
    inner.apply(rows, record);
    if defect == Planted::MembersOwn {
        make_owners(rows, record);
    }
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

/// Who comes is an owner.
fn make_owners(rows: &mut Rows, record: &Record) {
    let Event::MessagingPrivate(Private::GroupChangeRequested(event)) = &record.event else { return };
    let members = match &event.change {
        Some(Change::Creation(change)) => &change.members,
        Some(Change::Addition(change)) => &change.members,
        _ => return,
    };
    let mut group = rows.summary::<GroupSummary>();
    let Value::Text(shown) = group.roster.clone().into_value() else { return };
    let Some(owner) = shown.split(' ').find_map(|member| member.strip_suffix(":o")) else { return };
    for member in members {
        let role = MemberRole::Owner.into();
        let setting = Change::RoleSetting(RoleSetting { account_id: member.account_id.clone(), role });
        let (actor_id, change) = (owner.to_owned(), Some(setting));
        // Who lost is not in it.
        let _ = group.judge(&GroupChangeRequested { actor_id, change, ..GroupChangeRequested::default() });
    }
    rows.set_summary(group);
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
