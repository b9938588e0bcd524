//! A conversation without its messages, and what each event makes of it. Pure.

use kith_content::Content;
use kith_fold::AppliedIds;
use kith_log::{Offset, RecordId};
use kith_proto::messaging::v1::{ConversationCreated, ConversationKind, MessageSent, ReadMarkerMoved, ReadVisibility};
use kith_service::limits;
use kith_tables::{Timestamp, row};

use crate::consent::Consent;
use crate::members::{Member, Members};
use crate::places::Places;
use crate::unsent::Unsent;

/// Clocks may be ten minutes apart (ADR 18).
const OUT_OF_ORDER_MAX_US: i64 = 10 * 60 * 1_000_000;

row! {
    /// The conversation itself; without members there is none.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct Summary in 0 {
        /// A `ConversationKind`.
        pub kind: i64,
        pub members: Members,
        pub creator_id: String,
        /// The id of the record that made it: a repeat of that command is known by it, whatever blocks stand by then.
        pub creation_id: String,
        pub create_time: Timestamp,
        /// Messages are numbered from 1, without gaps; 0: there is none.
        pub last_number: i64,
        pub last_message_id: String,
        pub last_message_time: Timestamp,
        /// Where it stands in its members' inboxes, the same for all, and where it stood.
        pub places: Places,
        /// Records that asked for a marker past the last message: a copy of one, later, must not get further.
        pub cut_markers: AppliedIds,
        pub last_sender_id: String,
        /// How the last message begins, as it is now; nothing if it was unsent.
        pub last_preview: Content,
        pub last_unsent: bool,
        /// Messages that are unread by nobody.
        pub unsent: Unsent,
    }
}

impl Summary {
    pub fn exists(&self) -> bool {
        !self.members.is_empty()
    }

    /// When it was last written in; one without messages: when it was created.
    pub fn activity_time(&self) -> Timestamp {
        if self.last_number > 0 { self.last_message_time } else { self.create_time }
    }

    pub fn is_direct(&self) -> bool {
        self.kind == ConversationKind::Direct as i64
    }

    /// Messages of others that the member has not read and that were not unsent.
    pub fn unread(&self, member: &Member) -> i64 {
        member.progress.unread(self.last_number, &self.unsent)
    }

    /// Whether another one has not accepted what the member writes.
    pub fn awaits_others(&self, account_id: &str) -> bool {
        self.members.others(account_id).any(|other| !other.consent.stands())
    }

    /// Whether the member has written as much as may wait for the others' acceptance. Nobody else has: that would accept it.
    pub fn is_full_for(&self, account_id: &str) -> bool {
        let is_member = self.members.get(account_id).is_some();
        is_member && self.last_number >= REQUEST_MESSAGES && self.awaits_others(account_id)
    }

    /// The first one stands.
    pub fn create(&mut self, event: &ConversationCreated, at: Timestamp, id: RecordId) {
        if self.exists() {
            return;
        }
        let Some(mut members) = Members::new(&event.member_ids) else { return };
        for asked in event.asked_member_ids.iter().filter(|asked| **asked != event.creator_id) {
            members.get_mut(asked).into_iter().for_each(|member| member.consent = Consent::Asked);
        }
        self.kind = event.kind.into();
        self.members = members;
        self.creator_id = event.creator_id.clone();
        self.creation_id = id.to_string();
        self.create_time = at;
    }

    /// The next message, which was not there before, by the record at `offset`; gives its number. `None`: its sender is not
    /// in the conversation, or has written as much as may wait. Whoever writes accepts.
    ///
    /// Its time is `at`, but later than that of the message before it: two senders who have not seen each other's message
    /// may date them in another order than the log has them, and a list has one order, by number and by time. A message dated
    /// more than [`OUT_OF_ORDER_MAX_US`] ahead of the next came from a wrong clock, which those behind it do not follow.
    pub fn send(&mut self, event: &MessageSent, at: Timestamp, offset: Offset) -> Option<i64> {
        if self.is_full_for(&event.sender_id) {
            return None;
        }
        let after = Timestamp(self.activity_time().0.saturating_add(1));
        let sender = self.members.get_mut(&event.sender_id)?;
        self.last_number = self.last_number.saturating_add(1);
        sender.progress.write(self.last_number);
        sender.consent.accept(offset);
        self.last_message_id = event.message_id.clone();
        self.last_sender_id = event.sender_id.clone();
        self.last_preview = event.preview.clone().unwrap_or_default();
        self.last_unsent = false;
        let is_near = after.0.saturating_sub(at.0) <= OUT_OF_ORDER_MAX_US;
        self.last_message_time = if is_near { at.max(after) } else { at };
        Some(self.last_number)
    }

    /// A message begins otherwise.
    pub fn edit(&mut self, message_id: &str, preview: Content) {
        if self.last_message_id == message_id {
            self.last_preview = preview;
        }
    }

    /// A message, which was not unsent before, says nothing any more.
    pub fn unsend(&mut self, message_id: &str, number: i64) {
        self.unsent.insert(number, self.members.read_by_all());
        if self.last_message_id == message_id {
            self.last_preview = Content::default();
            self.last_unsent = true;
        }
    }

    /// A member accepts, by the record at `offset`.
    pub fn accept(&mut self, account_id: &str, offset: Offset) {
        self.members.get_mut(account_id).into_iter().for_each(|member| member.consent.accept(offset));
    }

    /// A member declines.
    pub fn decline(&mut self, account_id: &str) {
        self.members.get_mut(account_id).into_iter().for_each(|member| member.consent.decline());
    }

    /// A marker moves, by the record of that id. A repeat changes nothing.
    pub fn read(&mut self, event: &ReadMarkerMoved, id: RecordId) {
        let Some(member) = self.members.get_mut(&event.account_id) else { return };
        if self.cut_markers.contains(id) {
            return;
        }
        let up_to = signed(event.up_to_number);
        if up_to > self.last_number {
            // Its effect depends on its place, so the place of its first copy must be the only one.
            let _ = self.cut_markers.insert(id);
        }
        member.progress.read_up_to(up_to.min(self.last_number));
        if event.visibility() == ReadVisibility::Public {
            member.progress.show(up_to.min(self.last_number));
        }
        member.view.clear(signed(event.clears_mark));
        self.unsent.forget(self.members.read_by_all());
    }
}

/// [`limits::REQUEST_MESSAGES`], as messages are numbered.
#[allow(clippy::cast_possible_wrap, reason = "a small constant")]
const REQUEST_MESSAGES: i64 = limits::REQUEST_MESSAGES as i64;

/// A number too large for a column is larger than any message's.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
