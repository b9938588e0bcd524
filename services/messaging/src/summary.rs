//! A conversation without its messages, and what each event makes of it. Pure.

mod group;

use kith_content::Content;
use kith_fold::AppliedIds;
use kith_log::{Offset, RecordId};
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
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
    /// The conversation itself; without members there is none, or it has ended.
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
        /// Of a group.
        pub title: Content,
        /// How often it had another title.
        pub updates: i64,
        /// When members were last added to it.
        pub raised: Timestamp,
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
        /// One more than the offset of the last record that all members are told of; 0: there is none. A record that only one member is
        /// told of does not change it.
        pub told_next: i64,
    }
}

/// What is shown of a conversation's last message in a list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LastShown {
    pub id: String,
    pub sender_id: String,
    pub preview: Content,
    pub unsent: bool,
}

impl Summary {
    pub fn exists(&self) -> bool {
        !self.members.is_empty()
    }

    /// The last record that all members are told of.
    pub fn told_at(&self) -> Option<Offset> {
        Offset::try_from(self.told_next).ok()?.checked_sub(1)
    }

    /// All members are told of the record at `offset`.
    pub fn tell_all(&mut self, offset: Offset) {
        self.told_next = self.told_next.max(signed(offset).saturating_add(1));
    }

    /// The member, which was `before`, is told of the record at `offset` if that has changed it.
    pub fn tell_own(&mut self, before: &Member, offset: Offset) {
        let member = self.members.get_mut(&before.account_id).filter(|member| **member != *before);
        member.into_iter().for_each(|member| member.noted.note_own(offset));
    }

    /// When it was last written in, or members were last added; one without messages: when it was created.
    pub fn activity_time(&self) -> Timestamp {
        let written = if self.last_number > 0 { self.last_message_time } else { self.create_time };
        written.max(self.raised)
    }

    pub fn is_direct(&self) -> bool {
        self.kind == ConversationKind::Direct as i64
    }

    pub fn is_group(&self) -> bool {
        self.kind == ConversationKind::Group as i64
    }

    /// Who is in it, sorted, a space between them: in every member's lists, so of a group, which may have many, nobody.
    pub fn members_shown(&self) -> String {
        let shown = self.members.account_ids().filter(|_| !self.is_group());
        shown.collect::<Vec<_>>().join(" ")
    }

    /// How many are in a group.
    pub fn member_count(&self) -> i64 {
        if self.is_group() { i64::try_from(self.members.len()).unwrap_or(i64::MAX) } else { 0 }
    }

    /// Of the title of a group.
    pub fn revision(&self) -> i64 {
        if self.is_group() { self.updates.saturating_add(1) } else { 0 }
    }

    /// Where it stands among the member's requests, if it waits there.
    pub fn opened(&self, member: &Member) -> Timestamp {
        member.seat.as_ref().map_or(self.create_time, |seat| seat.opened)
    }

    /// Since when the member is in it.
    pub fn joined(&self, member: &Member) -> Timestamp {
        member.seat.as_ref().map_or(self.create_time, |seat| seat.joined)
    }

    /// Number and time of the last message, if the member sees it; 0: of none.
    pub fn last_seen_by(&self, member: &Member) -> (i64, Timestamp) {
        let sees = self.last_number > member.from();
        if sees { (self.last_number, self.last_message_time) } else { Default::default() }
    }

    /// Those whose acceptance messages of the account wait for: in a group for nobody's.
    pub fn waiting_for<'s>(&'s self, account_id: &'s str) -> impl Iterator<Item = &'s Member> {
        self.members.others(account_id).filter(|other| !self.is_group() && !other.consent.stands())
    }

    /// Whether what is written depends on how much was written before it.
    pub fn waits(&self) -> bool {
        !self.is_group() && self.members.iter().any(|member| !member.consent.stands())
    }

    /// Whether somebody is in a group no more, or never was. Messages of such are none.
    pub fn is_left_by(&self, account_id: &str) -> bool {
        self.is_group() && self.members.get(account_id).is_none()
    }

    /// Messages of others that the member has not read and that were not unsent.
    pub fn unread(&self, member: &Member) -> i64 {
        member.progress.unread(self.last_number, &self.unsent)
    }

    /// Whether another one has not accepted what the member writes.
    pub fn awaits_others(&self, account_id: &str) -> bool {
        self.waiting_for(account_id).next().is_some()
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
        sender.accept(offset);
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

    /// A member accepts, by the record at `offset`; `seat`: the number of its seat in a group, or 0. What is said of a seat that
    /// it had before says nothing of this one.
    pub fn accept(&mut self, account_id: &str, seat: u64, offset: Offset) {
        self.in_seat(account_id, seat).into_iter().for_each(|member| member.accept(offset));
    }

    /// A member declines.
    pub fn decline(&mut self, account_id: &str, seat: u64) {
        self.in_seat(account_id, seat).into_iter().for_each(|member| member.consent.decline());
    }

    fn in_seat(&mut self, account_id: &str, seat: u64) -> Option<&mut Member> {
        self.members.get_mut(account_id).filter(|member| member.seat_number() == seat)
    }

    /// An account changes its own view.
    pub fn view(&mut self, account_id: &str, event: &MessagingEvent) {
        let last_number = self.last_number;
        if let Some(member) = self.members.get_mut(account_id) {
            let marks_from = member.marks_from();
            member.view.change(event, last_number, marks_from);
        }
    }

    /// The last message, if the member sees it.
    pub fn last_shown_to(&self, member: &Member) -> LastShown {
        if self.last_number <= member.from() {
            return LastShown::default();
        }
        LastShown {
            id: self.last_message_id.clone(),
            sender_id: self.last_sender_id.clone(),
            preview: self.last_preview.clone(),
            unsent: self.last_unsent,
        }
    }

    /// A marker moves, by the record of that id at `offset`. A repeat changes nothing.
    pub fn read(&mut self, event: &ReadMarkerMoved, (id, offset): (RecordId, Offset)) {
        if self.cut_markers.contains(id) {
            return;
        }
        let up_to = signed(event.up_to_number);
        if up_to > self.last_number && (self.is_group() || self.members.get(&event.account_id).is_some()) {
            // Its effect depends on its place, so the place of its first copy must be the only one: also of who left a group.
            let _ = self.cut_markers.insert(id);
        }
        let Some(member) = self.members.get_mut(&event.account_id) else { return };
        member.progress.read_up_to(up_to.min(self.last_number));
        // What was read before the member joined a group was told of another membership.
        if event.visibility() == ReadVisibility::Public && up_to > member.from() {
            let before = member.progress.shown_number();
            member.progress.show(up_to.min(self.last_number));
            if member.progress.shown_number() > before && member.consent.stands() {
                member.noted.note_marker(offset);
            }
        }
        let marks_from = member.marks_from();
        member.view.clear(signed(event.clears_mark).saturating_sub(marks_from));
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
