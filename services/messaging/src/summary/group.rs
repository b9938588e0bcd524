//! What the facts about a group make of it. Each is applied once, in the order of the intents that they follow from; who may do
//! what was judged there (`roster`).

use kith_fold::Record;
use kith_log::RecordId;
use kith_proto::messaging::v1::{ConversationKind, GroupCreated, GroupUpdated, MemberRole, NewMember};
use kith_relations::revision::intent_after;

use super::Summary;
use crate::consent::Consent;
use crate::members::Member;
use crate::progress::Progress;
use crate::role;
use crate::seat::Seat;
use crate::windows::{Window, Windows};

impl Summary {
    /// The creator is its owner, and in it from the beginning.
    pub fn create_group(&mut self, event: &GroupCreated, record: &Record) {
        if self.kind != 0 {
            return;
        }
        self.kind = i32::from(ConversationKind::Group).into();
        self.creator_id = event.creator_id.clone();
        self.creation_id = record.id.to_string();
        self.create_time = record.time;
        self.title = event.title.clone().unwrap_or_default();
        let owner = NewMember { account_id: event.creator_id.clone(), ..NewMember::default() };
        self.seat(&owner, (MemberRole::Owner, ""), (event.intent_offset, record), Windows::default());
        for member in &event.members {
            let by = (MemberRole::Member, event.creator_id.as_str());
            self.seat(member, by, (event.intent_offset, record), Windows::default());
        }
    }

    /// Members, each with the times in which it was in the group before. Those who are in it stay as they are.
    pub fn add(&mut self, actor: &str, members: &[NewMember], at: (u64, &Record), before: impl Fn(&str) -> Windows) {
        if !self.is_group() {
            return;
        }
        let seated = members.iter().filter(|member| {
            let windows = before(&member.account_id);
            self.seat(member, (MemberRole::Member, actor), at, windows)
        });
        if seated.count() > 0 {
            self.raised = self.raised.max(at.1.time);
        }
    }

    /// One member fewer, which `goes` by itself or was removed; gives the times in which it was in the group, this one too.
    pub fn leave(&mut self, account_id: &str, goes: bool) -> Option<Windows> {
        let member = self.members.remove(account_id)?;
        let seat = member.seat?;
        let (asked, listed) = (member.consent != Consent::Given, member.consent.stands());
        let refused = goes
            || match member.consent {
                Consent::Declined => true,
                Consent::Asked => seat.before.are_refused(),
                Consent::Given | Consent::Accepted(_) => false,
            };
        let mut windows = seat.before;
        windows.close(Window { from: seat.from, to: self.last_number, opened: seat.opened, asked, listed, refused });
        Some(windows)
    }

    pub fn set_role(&mut self, account_id: &str, role: i32) {
        let seat = self.members.get_mut(account_id).and_then(|member| member.seat.as_mut());
        if let (Some(seat), Some(role)) = (seat, role::of(role)) {
            seat.role = role;
        }
    }

    /// Of nobody, nothing.
    pub fn make_owner(&mut self, account_id: &str) {
        self.set_role(account_id, MemberRole::Owner.into());
    }

    pub fn update(&mut self, event: &GroupUpdated) {
        if self.is_group() {
            self.title = event.title.clone().unwrap_or_default();
            self.updates = i64::from(event.revision).saturating_sub(1).max(0);
        }
    }

    /// What is there is read: a new member sees what follows.
    fn seat(
        &mut self,
        new: &NewMember,
        (role, by): (MemberRole, &str),
        (intent_offset, record): (u64, &Record),
        before: Windows,
    ) -> bool {
        let mut progress = Progress::default();
        progress.read_up_to(self.last_number);
        let consent = before.consent(new.asked);
        let added_by = if consent.stands() { String::new() } else { by.to_owned() };
        let seat = Seat {
            role,
            number: intent_after(intent_offset),
            from: self.last_number,
            joined: record.time,
            opened: before.opens_at(record.time),
            began: record.position.offset,
            added_by: Some(added_by).filter(|by| RecordId::parse(by).is_some()).unwrap_or_default(),
            before,
        };
        self.members.insert(Member { progress, consent, ..Member::new(new.account_id.clone(), Some(seat)) })
    }
}
