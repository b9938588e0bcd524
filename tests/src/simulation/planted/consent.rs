//! Defects of consent: of what is asked, of what becomes of it, and of what counts it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kith_fold::{Effect, Put, Record, Rows};
use kith_messaging::{Consent, INBOX, InboxRow, OpenedRow, REQUESTS, RequestRow, Summary};
use kith_proto::Event;
use kith_proto::identity::v1::identity_event::Event as Identity;
use kith_proto::messaging::v1::ConversationCreated;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_tables::{RowType, Value};

use super::Planted;

/// Who follows whom, as one process has folded it so far.
#[derive(Clone, Default)]
pub(super) struct Follows(Arc<Mutex<BTreeMap<(String, String), bool>>>);

impl Follows {
    fn known(&self) -> MutexGuard<'_, BTreeMap<(String, String), bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take(&self, record: &Record) {
        let (who, whom, follows) = match &record.event {
            Event::Identity(Identity::Followed(event)) => (&event.follower_id, &event.target_id, true),
            Event::Identity(Identity::Unfollowed(event)) => (&event.follower_id, &event.target_id, false),
            Event::Identity(Identity::Blocked(event)) => (&event.actor_id, &event.target_id, false),
            _ => return,
        };
        self.known().insert((who.clone(), whom.clone()), follows);
    }

    /// The record as these follows would have it.
    pub fn judge(&self, record: &Record, event: &ConversationCreated) -> Record {
        let other = event.member_ids.iter().find(|member| **member != event.creator_id);
        let pair = other.map(|other| (other.clone(), event.creator_id.clone()));
        let Some((pair, follows)) = pair.and_then(|pair| Some((pair.clone(), *self.known().get(&pair)?))) else {
            return record.clone();
        };
        let asked_member_ids = if follows { Vec::new() } else { vec![pair.0] };
        let event = Messaging::ConversationCreated(ConversationCreated { asked_member_ids, ..event.clone() });
        Record { event: event.into(), ..record.clone() }
    }
}

/// Who has declined what is written in is asked again.
pub(super) fn ask_again(rows: &mut Rows, sender: &str) {
    let mut summary = rows.summary::<Summary>();
    let declined: Vec<String> = summary
        .members
        .others(sender)
        .filter(|member| member.consent == Consent::Declined)
        .map(|member| member.account_id.clone())
        .collect();
    for account in &declined {
        summary.members.get_mut(account).into_iter().for_each(|member| member.consent = Consent::Asked);
    }
    if !declined.is_empty() {
        rows.set_summary(summary);
    }
}

/// What a record writes instead.
pub(super) fn effects(defect: Planted, rows: &Rows, effects: Vec<Effect>) -> Vec<Effect> {
    match defect {
        Planted::AcceptedStillWaits => effects.into_iter().filter(|effect| !is_end(effect)).collect(),
        Planted::DeclinedComesBack => effects.into_iter().flat_map(|effect| with_place(rows, effect)).collect(),
        Planted::UnreadOfRequests => effects.into_iter().flat_map(counted).collect(),
        _ => effects,
    }
}

fn of_requests(effect: &Effect) -> Option<&Put> {
    match effect {
        Effect::Put(put) if put.table.name == REQUESTS.name => Some(put),
        _ => None,
    }
}

/// The row by id of a request.
fn request(put: &Put) -> Option<RequestRow> {
    put.write.clone().into_row().filter(|row| row.key.section == RequestRow::SECTION)?.read()
}

fn is_end(effect: &Effect) -> bool {
    of_requests(effect).is_some_and(|put| put.write.is_removal() || request(put).is_some_and(|row| !row.waits))
}

fn with_place(rows: &Rows, effect: Effect) -> Vec<Effect> {
    let place = of_requests(&effect).filter(|put| request(put).is_some_and(|row| row.waits)).map(|put| {
        let id = put.write.key.clustering.last().cloned().unwrap_or(Value::BigInt(0));
        let place = [rows.summary::<Summary>().create_time.into(), id];
        Effect::put(&REQUESTS, put.partition.clone(), place, OpenedRow { asked: true }, put.write.position)
    });
    std::iter::once(effect).chain(place).collect()
}

/// With a row of the inbox for a request that waits.
fn counted(effect: Effect) -> Vec<Effect> {
    let inbox = of_requests(&effect).and_then(|put| Some((put, request(put)?))).map(|(put, row)| {
        let id = put.write.key.clustering.last().cloned().unwrap_or(Value::BigInt(0));
        let row = InboxRow { unread_count: row.unread_count, ..InboxRow::default() };
        Effect::put(&INBOX, put.partition.clone(), [0.into(), id], row, put.write.position)
    });
    std::iter::once(effect).chain(inbox).collect()
}
