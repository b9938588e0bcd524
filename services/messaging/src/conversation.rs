//! Conversations as they are kept: a table partition each, with the messages in their order.

use kith_fold::{AppliedIds, Effect, Fold, Found, Record, Rows, Scope, State};
use kith_log::{Offset, RecordId, topics};
use kith_proto::Event;
use kith_proto::messaging::v1::MessageSent;
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_service::command::Standing;
use kith_tables::{Column, Key, Order, RowType, Section, StoreError, Table, Value, row};

use crate::amend::{self, ReactionRow};
use crate::consent::Consent;
use crate::facts::{FormerRow, GroupRow};
use crate::kept::MessageRow;
use crate::members::Member;
use crate::summary::Summary;
use crate::{facts, former, inbox, requests};

/// Newest first.
pub static CONVERSATIONS: Table = Table {
    name: "conversations",
    partition: &[Column::text("conversation_id")],
    clustering: &[Column::bigint("number"), Column::text("id")],
    order: Order::Descending,
    sections: &[
        Section::of::<MessageRow>("message"),
        Section::of::<MessageIdRow>("message_id"),
        Section::of::<FormerRow>("former"),
        Section::of::<GroupRow>("group"),
        Section::of::<ReactionRow>("reaction"),
        Section::of::<ViewIdsRow>("view_ids"),
    ],
    summary: Summary::COLUMNS,
};

row! {
    /// The last changes of a member's own view; under number 0.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct ViewIdsRow in 5 { pub applied: AppliedIds }
}
row! {
    /// Which number the message of this `id` has; under number 0. 0: it came when no more could wait for the others'
    /// acceptance, or its sender was not in the group, and is none for ever.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct MessageIdRow in 2 { pub message_number: i64 }
}

/// Folds conversations.
pub struct Conversations {
    /// How wide a place in an inbox is; microseconds, above 0.
    pub place_us: i64,
    /// For how long a message may be edited; microseconds.
    pub edit_window_us: i64,
}

impl Fold for Conversations {
    fn tables(&self) -> Vec<&'static Table> {
        vec![&CONVERSATIONS, &inbox::INBOX, &requests::REQUESTS]
    }

    fn scope(&self, record: &Record) -> Option<Scope> {
        let event = fact(record)?;
        let conversation_id = conversation_id(event);
        // Ids that are none cannot be keys: such an event concerns no conversation.
        RecordId::parse(conversation_id)?;
        let scope = Scope::new(&CONVERSATIONS, Key::text(conversation_id));
        match event {
            MessagingEvent::MessageSent(event) => {
                RecordId::parse(&event.message_id)?;
                Some(scope.with::<MessageIdRow>(under_id(&event.message_id)))
            }
            MessagingEvent::ConversationCreated(_)
            | MessagingEvent::ReadMarkerMoved(_)
            | MessagingEvent::ConversationAccepted(_)
            | MessagingEvent::ConversationDeclined(_) => Some(scope),
            MessagingEvent::ConversationMuted(_)
            | MessagingEvent::ConversationUnmuted(_)
            | MessagingEvent::ConversationArchived(_)
            | MessagingEvent::ConversationUnarchived(_)
            | MessagingEvent::ConversationMarkedUnread(_) => {
                let account_id = viewer_id(event).filter(|id| RecordId::parse(id).is_some())?;
                Some(scope.with::<ViewIdsRow>(under_id(account_id)))
            }
            MessagingEvent::MessageEdited(_)
            | MessagingEvent::MessageUnsent(_)
            | MessagingEvent::MessageReactionAdded(_)
            | MessagingEvent::MessageReactionRemoved(_) => amend::scope(scope, event),
            MessagingEvent::MessagingPolicySet(_) => None,
            _ => Some(facts::with_rows(scope, event)),
        }
    }

    fn apply(&self, rows: &mut Rows, record: &Record) {
        let Some(event) = fact(record) else { return };
        let (mut summary, offset) = (rows.summary::<Summary>(), record.position.offset);
        // Who has declined is told of its own doings alone.
        let hears = |member: &&Member| member.consent.is_told() || !matches!(event, MessagingEvent::MemberRoleSet(_));
        let before = own(event).and_then(|account_id| summary.members.get(account_id)).filter(hears).cloned();
        let Some(is_told) = self.change(rows, &mut summary, record, event) else { return };
        if is_told {
            summary.tell_all(offset);
        }
        if let Some(before) = before {
            summary.tell_own(&before, offset);
        }
        let is_active = matches!(
            event,
            MessagingEvent::ConversationCreated(_)
                | MessagingEvent::MessageSent(_)
                | MessagingEvent::GroupCreated(_)
                | MessagingEvent::MembersAdded(_)
        );
        if summary.exists() && is_active {
            let active = summary.activity_time();
            summary.places.be_active(active.0.div_euclid(self.place_us), active, offset);
        }
        rows.set_summary(summary);
    }

    /// The rows, in inboxes and among requests, of those whom the record concerns: functions of the conversation as it stands
    /// at its mark.
    fn effects(&self, rows: &Rows, record: &Record) -> Vec<Effect> {
        let (Some(event), Some(mark)) = (fact(record), rows.mark()) else { return Vec::new() };
        let summary = rows.summary::<Summary>();
        let concerned = summary.members.iter().filter(|member| concerns(event, &summary, &member.account_id));
        let spread = concerned.flat_map(|member| spread(event, &summary, member, (mark, record.position.offset)));
        let about = facts::about(rows, &summary, event);
        let cleared = about
            .iter()
            .flat_map(|(account, before)| former::clear(conversation_id(event), &summary, (account, before), mark));
        spread.chain(cleared).collect()
    }
}

impl Conversations {
    /// What the event makes of a conversation, and whether all members are told of it; `None`: it leaves the conversation as it is.
    fn change(&self, rows: &mut Rows, summary: &mut Summary, record: &Record, event: &MessagingEvent) -> Option<bool> {
        let offset = record.position.offset;
        match event {
            MessagingEvent::ConversationCreated(event) => {
                let existed = summary.exists();
                summary.create(event, record.time, record.id);
                return Some(!existed && summary.exists());
            }
            MessagingEvent::ReadMarkerMoved(event) => summary.read(event, (record.id, offset)),
            MessagingEvent::ConversationAccepted(event) => summary.accept(&event.account_id, event.seat, offset),
            MessagingEvent::ConversationDeclined(event) => summary.decline(&event.account_id, event.seat),
            MessagingEvent::MessagingPolicySet(_) => return None,
            MessagingEvent::MessageEdited(_)
            | MessagingEvent::MessageUnsent(_)
            | MessagingEvent::MessageReactionAdded(_)
            | MessagingEvent::MessageReactionRemoved(_) => {
                return Some(amend::apply(rows, summary, record, event, self.edit_window_us));
            }
            MessagingEvent::ConversationMuted(_)
            | MessagingEvent::ConversationUnmuted(_)
            | MessagingEvent::ConversationArchived(_)
            | MessagingEvent::ConversationUnarchived(_)
            | MessagingEvent::ConversationMarkedUnread(_) => view(rows, summary, record, event),
            MessagingEvent::MessageSent(event) => return send(rows, summary, record, event),
            group => {
                let is_told = own(group).is_none();
                return facts::apply(rows, summary, group, record).then_some(is_told);
            }
        }
        Some(false)
    }
}

/// One more message; `None`: it is none, or a copy.
fn send(rows: &mut Rows, summary: &mut Summary, record: &Record, event: &MessageSent) -> Option<bool> {
    if rows.get::<MessageIdRow>(under_id(&event.message_id)).is_some() {
        return None;
    }
    if summary.is_full_for(&event.sender_id) || summary.is_left_by(&event.sender_id) {
        // Remembered, so that no copy of it counts later.
        rows.put(under_id(&event.message_id), MessageIdRow::default());
        return None;
    }
    let number = summary.send(event, record.time, record.position.offset)?;
    rows.put([number.into(), event.message_id.as_str().into()], MessageRow::of(event, summary.last_message_time));
    rows.put(under_id(&event.message_id), MessageIdRow { message_number: number });
    Some(true)
}

/// What one member makes of the conversation. A copy changes nothing, also of a record that came when its account was in the
/// group no more.
fn view(rows: &mut Rows, summary: &mut Summary, record: &Record, event: &MessagingEvent) {
    let Some(account_id) = viewer_id(event) else { return };
    let is_in = summary.members.get(account_id).is_some();
    if !is_in && !summary.is_group() {
        return;
    }
    let mut ids: ViewIdsRow = rows.get(under_id(account_id)).unwrap_or_default();
    if ids.applied.insert(record.id) {
        rows.put(under_id(account_id), ids);
        summary.view(account_id, event);
    }
}

/// Whose own view of the conversation the event changes.
pub fn viewer_id(event: &MessagingEvent) -> Option<&str> {
    match event {
        MessagingEvent::ConversationMuted(event) => Some(&event.account_id),
        MessagingEvent::ConversationUnmuted(event) => Some(&event.account_id),
        MessagingEvent::ConversationArchived(event) => Some(&event.account_id),
        MessagingEvent::ConversationUnarchived(event) => Some(&event.account_id),
        MessagingEvent::ConversationMarkedUnread(event) => Some(&event.account_id),
        _ => None,
    }
}

/// Who alone is told of the event: what it makes of the conversation, or is made of it. Of a marker also the others, if it is public.
pub fn own(event: &MessagingEvent) -> Option<&str> {
    match event {
        MessagingEvent::ReadMarkerMoved(moved) => Some(&moved.account_id),
        MessagingEvent::ConversationAccepted(accepted) => Some(&accepted.account_id),
        MessagingEvent::ConversationDeclined(declined) => Some(&declined.account_id),
        MessagingEvent::MemberRoleSet(set) => Some(&set.account_id),
        _ => viewer_id(event),
    }
}

/// An edit is seen in inboxes if it is of the last message: of another one, whichever came behind it was spread with the row as it
/// stands.
fn concerns(event: &MessagingEvent, summary: &Summary, account_id: &str) -> bool {
    match event {
        MessagingEvent::ReadMarkerMoved(_)
        | MessagingEvent::ConversationAccepted(_)
        | MessagingEvent::ConversationDeclined(_)
        | MessagingEvent::MemberRoleSet(_)
        | MessagingEvent::ConversationMuted(_)
        | MessagingEvent::ConversationUnmuted(_)
        | MessagingEvent::ConversationArchived(_)
        | MessagingEvent::ConversationUnarchived(_)
        | MessagingEvent::ConversationMarkedUnread(_) => own(event) == Some(account_id),
        MessagingEvent::MessageEdited(edited) => summary.last_message_id == edited.message_id,
        MessagingEvent::MessagingPolicySet(_)
        | MessagingEvent::MessageReactionAdded(_)
        | MessagingEvent::MessageReactionRemoved(_) => false,
        MessagingEvent::ConversationCreated(_)
        | MessagingEvent::MessageSent(_)
        | MessagingEvent::MessageUnsent(_)
        | MessagingEvent::GroupCreated(_)
        | MessagingEvent::MembersAdded(_)
        | MessagingEvent::MemberRemoved(_)
        | MessagingEvent::MemberLeft(_)
        | MessagingEvent::GroupUpdated(_) => true,
    }
}

/// What the record at `offset` writes for a member. Others' messages write nothing for who has declined.
fn spread(event: &MessagingEvent, summary: &Summary, member: &Member, (mark, offset): (u64, Offset)) -> Vec<Effect> {
    let conversation_id = conversation_id(event);
    match member.consent {
        Consent::Given | Consent::Accepted(_) => {
            let accepts = member.consent.accepted_at() == Some(offset);
            let moved = accepts || member.began_at(offset) || summary.places.is_move(offset);
            let mut all = inbox::spread(conversation_id, summary, member, (mark, moved));
            if accepts {
                all.extend(requests::ends(conversation_id, summary, member, mark));
            }
            all
        }
        Consent::Asked => {
            let opens = matches!(event, MessagingEvent::ConversationCreated(_)) || member.began_at(offset);
            requests::waits(conversation_id, summary, member, (mark, opens))
        }
        Consent::Declined if matches!(event, MessagingEvent::ConversationDeclined(_)) => {
            requests::ends(conversation_id, summary, member, mark)
        }
        Consent::Declined => Vec::new(),
    }
}

/// The clustering of a message's `MessageIdRow`.
pub fn under_id(message_id: &str) -> [Value; 2] {
    [0.into(), message_id.into()]
}

/// A conversation as the tables have it; one that is not there has no members.
pub async fn summary(state: &State, conversation_id: &str) -> Result<Found<Summary>, StoreError> {
    let key = Key::text(conversation_id);
    let found = state.summary::<Summary>(&CONVERSATIONS, &key, (topics::MESSAGING, conversation_id)).await?;
    Ok(found.unwrap_or(Found { clustering: Vec::new(), position: 0, row: Summary::default() }))
}

/// The same, as a command finds it.
pub async fn standing(state: &State, conversation_id: &str) -> Result<Standing<Summary>, StoreError> {
    let found = summary(state, conversation_id).await?;
    let rests_on = found.row.exists().then_some(found.position);
    let newest = found.row.activity_time();
    Ok(Standing::new(found.row, rests_on).after(newest))
}

pub fn fact(record: &Record) -> Option<&MessagingEvent> {
    match &record.event {
        Event::Messaging(event) => Some(event),
        _ => None,
    }
}

/// The conversation that the event is about, if it is about one.
pub fn of(event: &MessagingEvent) -> Option<&str> {
    Some(conversation_id(event)).filter(|id| !id.is_empty())
}

fn conversation_id(event: &MessagingEvent) -> &str {
    match event {
        MessagingEvent::ConversationCreated(event) => &event.conversation_id,
        MessagingEvent::MessageSent(event) => &event.conversation_id,
        MessagingEvent::ReadMarkerMoved(event) => &event.conversation_id,
        MessagingEvent::ConversationAccepted(event) => &event.conversation_id,
        MessagingEvent::ConversationDeclined(event) => &event.conversation_id,
        MessagingEvent::MessageEdited(event) => &event.conversation_id,
        MessagingEvent::MessageUnsent(event) => &event.conversation_id,
        MessagingEvent::MessageReactionAdded(event) => &event.conversation_id,
        MessagingEvent::MessageReactionRemoved(event) => &event.conversation_id,
        MessagingEvent::ConversationMuted(event) => &event.conversation_id,
        MessagingEvent::ConversationUnmuted(event) => &event.conversation_id,
        MessagingEvent::ConversationArchived(event) => &event.conversation_id,
        MessagingEvent::ConversationUnarchived(event) => &event.conversation_id,
        MessagingEvent::ConversationMarkedUnread(event) => &event.conversation_id,
        MessagingEvent::GroupCreated(event) => &event.conversation_id,
        MessagingEvent::MembersAdded(event) => &event.conversation_id,
        MessagingEvent::MemberRemoved(event) => &event.conversation_id,
        MessagingEvent::MemberLeft(event) => &event.conversation_id,
        MessagingEvent::MemberRoleSet(event) => &event.conversation_id,
        MessagingEvent::GroupUpdated(event) => &event.conversation_id,
        // Is about none.
        MessagingEvent::MessagingPolicySet(_) => "",
    }
}

#[cfg(test)]
mod tests;
