//! Groups in the fold: whatever comes, in whatever batches and however often, members' lists are as the log has it.

use kith_proto::messaging::v1::{
    ConversationMarkedUnread, ConversationMuted, GroupCreated, GroupTitle, MemberLeft, MemberRemoved, MemberRole,
    MemberRoleSet, MembersAdded, MessageEdited, MessageUnsent, NewMember, ReadVisibility,
};
use kith_tables::RowKey;
use proptest::prelude::*;

use super::*;
use crate::inbox::PlaceRow;

const CAT: RecordId = RecordId([4; 16]);
const PEOPLE: [RecordId; 4] = [ADA, BOB, EVE, CAT];

/// What happens; each fact follows from an intent of its own.
#[derive(Debug, Clone)]
enum Step {
    Add(usize, bool),
    Remove(usize),
    Leave(usize, usize),
    Role(usize),
    Say(usize),
    /// Of the seat that the account has then, or of the one before.
    Accept(usize),
    Decline(usize),
    Read(usize, u64),
    /// Of the last message.
    Edit(usize),
    Unsend(usize),
    Mute(usize),
    MarkUnread(usize),
}

/// By account, table, section and clustering; what is at the highest position, a removal before a put.
type Lists = BTreeMap<(RecordId, &'static str, RowKey), (u64, Option<kith_tables::Row>)>;

struct Folded {
    rows: Rows,
    lists: Lists,
}

fn new(who: RecordId, asked: bool) -> NewMember {
    NewMember { account_id: who.to_string(), asked, seen_identity_offset: 0 }
}

fn founded() -> Happened {
    let event = GroupCreated {
        conversation_id: CONVERSATION.to_string(),
        creator_id: ADA.to_string(),
        title: Some(Content::close(&GroupTitle { title: "Readers".into() })),
        members: vec![new(BOB, false)],
        member_limit: 100,
        create_time: Some(time::of_us(1)),
        intent_offset: 0,
    };
    (RecordId([200; 16]), MessagingEvent::GroupCreated(event))
}

fn happened(n: usize, step: &Step) -> Happened {
    let (conversation_id, actor_id) = (CONVERSATION.to_string(), ADA.to_string());
    let (intent_offset, create_time) = (n as u64 + 1, Some(time::of_us(n as i64 * 1_000_000)));
    let who = |n: &usize| PEOPLE[*n].to_string();
    let event = match step {
        Step::Add(whom, asked) => {
            let members = vec![new(PEOPLE[*whom], *asked)];
            MessagingEvent::MembersAdded(MembersAdded {
                conversation_id,
                actor_id,
                members,
                create_time,
                intent_offset,
            })
        }
        Step::Remove(whom) => MessagingEvent::MemberRemoved(MemberRemoved {
            conversation_id,
            actor_id,
            account_id: who(whom),
            create_time,
            intent_offset,
        }),
        Step::Leave(whom, successor) => MessagingEvent::MemberLeft(MemberLeft {
            conversation_id,
            account_id: who(whom),
            successor_id: who(successor),
            create_time,
            intent_offset,
        }),
        Step::Role(whom) => MessagingEvent::MemberRoleSet(MemberRoleSet {
            conversation_id,
            actor_id,
            account_id: who(whom),
            role: MemberRole::Moderator.into(),
            create_time,
            intent_offset,
        }),
        Step::Say(by) => MessagingEvent::MessageSent(MessageSent {
            conversation_id,
            message_id: RecordId([n as u8 + 1; 16]).to_string(),
            sender_id: who(by),
            content: Some(Content::close(&MessageContent { text: "hello".into(), ..MessageContent::default() })),
            create_time,
            ..MessageSent::default()
        }),
        step => said_or_made(n, step),
    };
    (RecordId([n as u8 + 1; 16]), event)
}

/// What members say, and make of the group for themselves.
fn said_or_made(n: usize, step: &Step) -> MessagingEvent {
    let conversation_id = CONVERSATION.to_string();
    let create_time = Some(time::of_us(n as i64 * 1_000_000));
    let who = |n: &usize| PEOPLE[*n].to_string();
    match step {
        Step::Accept(by) => MessagingEvent::ConversationAccepted(ConversationAccepted {
            conversation_id,
            account_id: who(by),
            create_time,
            seat: 0,
        }),
        Step::Decline(by) => MessagingEvent::ConversationDeclined(ConversationDeclined {
            conversation_id,
            account_id: who(by),
            create_time,
            seat: 0,
        }),
        Step::Read(by, up_to_number) => MessagingEvent::ReadMarkerMoved(ReadMarkerMoved {
            conversation_id,
            account_id: who(by),
            up_to_number: *up_to_number,
            create_time,
            visibility: ReadVisibility::Public.into(),
            ..ReadMarkerMoved::default()
        }),
        Step::Edit(by) => MessagingEvent::MessageEdited(MessageEdited {
            conversation_id,
            sender_id: who(by),
            content: Some(Content::close(&MessageContent { text: format!("edit {n}"), ..MessageContent::default() })),
            edit_time: create_time,
            ..MessageEdited::default()
        }),
        Step::Unsend(by) => MessagingEvent::MessageUnsent(MessageUnsent {
            conversation_id,
            sender_id: who(by),
            unsend_time: create_time,
            ..MessageUnsent::default()
        }),
        Step::Mute(by) => MessagingEvent::ConversationMuted(ConversationMuted {
            conversation_id,
            account_id: who(by),
            until: Some(time::of_us(n as i64 + 1)),
            create_time,
        }),
        Step::MarkUnread(by) => MessagingEvent::ConversationMarkedUnread(ConversationMarkedUnread {
            conversation_id,
            account_id: who(by),
            mark: 0,
            create_time,
        }),
        other => panic!("{other:?} is a fact about a group"),
    }
}

/// Acceptances name the seat that their account has at their place, markers and marks those that it has, edits the last message.
fn history(steps: &[Step]) -> Vec<Happened> {
    let mut all = vec![founded()];
    let mut folded = Folded::new();
    folded.take(0, &all[0]);
    for (n, step) in steps.iter().enumerate() {
        let mut next = happened(n, step);
        let summary = folded.summary();
        let seat = |account: &str| summary.members.get(account).map_or(0, Member::seat_number);
        let marks = |account: &str| {
            let member = summary.members.get(account);
            member.map_or(0, |member| (member.marks_from() + member.view.marks).unsigned_abs())
        };
        let last = (summary.last_message_id.clone(), summary.last_number.unsigned_abs());
        match &mut next.1 {
            MessagingEvent::ConversationAccepted(event) => event.seat = seat(&event.account_id),
            MessagingEvent::ConversationDeclined(event) => event.seat = seat(&event.account_id),
            MessagingEvent::ReadMarkerMoved(event) => event.clears_mark = marks(&event.account_id),
            MessagingEvent::ConversationMarkedUnread(event) => event.mark = marks(&event.account_id) + 1,
            MessagingEvent::MessageEdited(event) => (event.message_id, event.number) = last,
            MessagingEvent::MessageUnsent(event) => (event.message_id, event.number) = last,
            _ => {}
        }
        folded.take(2 * (n as u64 + 1), &next);
        all.push(next);
    }
    all
}

impl Folded {
    fn new() -> Self {
        let mut rows = Rows::new(&CONVERSATIONS, 7_000);
        let steps = (0..4).map(Step::Remove).chain((0..4).map(Step::Mute)).chain(std::iter::repeat_n(Step::Say(0), 60));
        for (n, step) in steps.enumerate() {
            rows.load_empty(&FOLD.scope(&record(0, &happened(n.saturating_sub(8), &step))).unwrap());
        }
        Self { rows, lists: Lists::new() }
    }

    /// A batch of its own for each record.
    fn of(history: &[Happened]) -> Self {
        let mut folded = Self::new();
        history.iter().enumerate().for_each(|(n, happened)| folded.take(2 * n as u64, happened));
        folded
    }

    fn take(&mut self, offset: u64, happened: &Happened) {
        let record = record(offset, happened);
        self.rows.apply_at(offset, |rows| FOLD.apply(rows, &record));
        self.spread(&record);
    }

    fn spread(&mut self, record: &Record) {
        for effect in FOLD.effects(&self.rows, record) {
            let Effect::Put(put) = effect else { panic!("not a put") };
            let Value::Text(account) = &put.partition.0[0] else { panic!("not an account") };
            let key = (RecordId::parse(account).unwrap(), put.table.name, put.write.key.clone());
            let (position, row) = (put.write.position, put.write.into_row());
            let held = self.lists.get(&key);
            let stands =
                |(at, held): &(u64, Option<kith_tables::Row>)| *at > position || *at == position && held.is_none();
            if !held.is_some_and(stands) {
                self.lists.insert(key, (position, row));
            }
        }
    }

    fn summary(&self) -> Summary {
        self.rows.summary()
    }

    /// What is there, whatever wrote it.
    fn there(&self) -> BTreeMap<(RecordId, &'static str, RowKey), Vec<Value>> {
        let row = |(key, (_, row)): (&(RecordId, &'static str, RowKey), &(u64, Option<kith_tables::Row>))| {
            Some((key.clone(), row.as_ref()?.columns.clone()))
        };
        self.lists.iter().filter_map(row).collect()
    }

    /// Each list has a group where its member has it, once, and nowhere else.
    fn check(&self) {
        let summary = self.summary();
        for who in PEOPLE {
            let member = summary.members.get(&who.to_string());
            let is = |section, table: &str| {
                let of = |((account, of, key), (_, row)): (&(RecordId, &'static str, RowKey), &(u64, Option<_>))| {
                    (*account, *of, key.section) == (who, table, section) && row.is_some()
                };
                self.lists.iter().filter(|entry| of(*entry)).count()
            };
            let listed = member.is_some_and(|member| member.consent.stands());
            let waits = member.is_some_and(|member| member.consent.waits());
            assert_eq!(is(PlaceRow::SECTION, "inbox"), usize::from(listed), "{who}: {member:?}");
            assert_eq!(is(OpenedRow::SECTION, "requests"), usize::from(waits), "{who}: {member:?}");
        }
    }
}

#[test]
fn an_id_that_is_none_concerns_nobody_and_stops_nothing() {
    let mut folded = Folded::of(&[founded()]);
    let (_, mut event) = happened(0, &Step::Add(2, false));
    let MessagingEvent::MembersAdded(added) = &mut event else { panic!("no members") };
    added.members.push(NewMember { account_id: "bob".to_owned(), ..NewMember::default() });
    let happened = (RecordId([1; 16]), event);
    folded.rows.load_empty(&FOLD.scope(&record(2, &happened)).unwrap());
    folded.take(2, &happened);
    assert_eq!(folded.rows.fault(), None);
    assert_eq!(folded.summary().members.account_ids().collect::<Vec<_>>(), [ADA, BOB, EVE].map(|id| id.to_string()));
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..4_usize;
    prop_oneof![
        3 => (who.clone(), any::<bool>()).prop_map(|(whom, asked)| Step::Add(whom, asked)),
        2 => who.clone().prop_map(Step::Remove),
        1 => (who.clone(), who.clone()).prop_map(|(whom, to)| Step::Leave(whom, to)),
        1 => who.clone().prop_map(Step::Role),
        3 => who.clone().prop_map(Step::Say),
        2 => who.clone().prop_map(Step::Accept),
        1 => who.clone().prop_map(Step::Decline),
        2 => (who.clone(), 0..9_u64).prop_map(|(by, up_to)| Step::Read(by, up_to)),
        1 => who.clone().prop_map(Step::Edit),
        1 => who.clone().prop_map(Step::Unsend),
        1 => who.clone().prop_map(Step::Mute),
        2 => who.prop_map(Step::MarkUnread),
    ]
}

proptest! {
    #[test]
    fn a_group_stands_in_the_lists_of_its_members_and_in_no_others(steps in prop::collection::vec(step(), 0..40)) {
        Folded::of(&history(&steps)).check();
    }

    #[test]
    fn all_of_it_in_one_batch_leaves_the_same_lists(steps in prop::collection::vec(step(), 0..40)) {
        let history = history(&steps);
        let one_by_one = Folded::of(&history);
        let mut at_once = Folded::of(&history);
        at_once.lists.clear();
        (0..).zip(&history).for_each(|(n, happened)| at_once.spread(&record(2 * n, happened)));
        at_once.check();
        let mut again = Folded::of(&history);
        (0..).zip(&history).for_each(|(n, happened)| again.spread(&record(2 * n, happened)));
        prop_assert_eq!(again.there(), one_by_one.there());
    }

    #[test]
    fn a_copy_of_any_record_at_any_later_place_changes_nothing(
        steps in prop::collection::vec(step(), 1..40),
        copied in any::<prop::sample::Index>(),
        later in any::<prop::sample::Index>(),
    ) {
        let history = history(&steps);
        let copied = copied.index(history.len());
        let place = copied + later.index(history.len() - copied);
        let mut with_copy = Folded::new();
        for (n, happened) in history.iter().enumerate() {
            with_copy.take(2 * n as u64, happened);
            if n == place {
                with_copy.take(2 * n as u64 + 1, &history[copied]);
            }
        }
        let alone = Folded::of(&history);
        prop_assert_eq!(with_copy.summary(), alone.summary());
        prop_assert_eq!(with_copy.there(), alone.there());
    }
}
