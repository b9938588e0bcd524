//! A conversation without its messages, and what each event makes of it. Pure.

use kith_fold::AppliedIds;
use kith_log::RecordId;
use kith_proto::messaging::v1::{ConversationCreated, ConversationKind, MessageSent, ReadMarkerMoved};
use kith_tables::{Timestamp, row};

use crate::members::{Member, Members};
use crate::places::Places;

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

    /// Messages of others that the member has not read.
    pub fn unread(&self, member: &Member) -> i64 {
        member.progress.unread(self.last_number)
    }

    /// The first one stands.
    pub fn create(&mut self, event: &ConversationCreated, at: Timestamp, id: RecordId) {
        if self.exists() {
            return;
        }
        let Some(members) = Members::new(&event.member_ids) else { return };
        self.kind = event.kind.into();
        self.members = members;
        self.creator_id = event.creator_id.clone();
        self.creation_id = id.to_string();
        self.create_time = at;
    }

    /// The next message, which was not there before; gives its number. `None`: its sender is not in the conversation.
    ///
    /// Its time is `at`, but later than that of the message before it: two senders who have not seen each other's message
    /// may date them in another order than the log has them, and a list has one order, by number and by time. A message dated
    /// more than [`OUT_OF_ORDER_MAX_US`] ahead of the next came from a wrong clock, which those behind it do not follow.
    pub fn send(&mut self, event: &MessageSent, at: Timestamp) -> Option<i64> {
        let after = Timestamp(self.activity_time().0.saturating_add(1));
        let sender = self.members.get_mut(&event.sender_id)?;
        self.last_number = self.last_number.saturating_add(1);
        sender.progress.write(self.last_number);
        self.last_message_id = event.message_id.clone();
        let is_near = after.0.saturating_sub(at.0) <= OUT_OF_ORDER_MAX_US;
        self.last_message_time = if is_near { at.max(after) } else { at };
        Some(self.last_number)
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
    }
}

/// A number too large for a column is larger than any message's.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
