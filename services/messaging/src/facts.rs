//! The facts about groups in the fold of conversations: which rows they need, and what they make of them. Pure.

use kith_fold::{Record, Rows, Scope};
use kith_proto::messaging::v1::NewMember;
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_relations::are_ids;
use kith_relations::revision::{intent_after, takes};
use kith_tables::{Value, row};

use crate::summary::Summary;
use crate::windows::Windows;

row! {
    /// The times in which an account was in the group, as of when it last left: one that is in it now has them in its seat.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct FormerRow in 0 { pub windows: Windows }
}
row! {
    /// Which facts about the group are in.
    #[derive(Debug, Clone, Default, PartialEq)]
    pub struct GroupRow in 3 {
        /// One more than the offset of the intent whose fact was applied last. Facts come in the order of their intents, so a
        /// copy changes nothing.
        pub intent_next: i64,
    }
}

/// The clustering of a conversation's `GroupRow`.
pub fn of_group() -> [Value; 2] {
    [0.into(), "group".into()]
}

/// The clustering of an account's `FormerRow`.
pub fn of_former(account_id: &str) -> [Value; 2] {
    [0.into(), account_id.into()]
}

/// What all facts about groups have: the intent that they follow from, and the accounts that come or go with them.
struct Fact<'e> {
    intent_offset: u64,
    about: Vec<&'e str>,
}

impl<'e> Fact<'e> {
    fn of(event: &'e MessagingEvent) -> Option<Self> {
        let ids = |members: &'e [NewMember]| members.iter().map(|member| member.account_id.as_str());
        let (intent_offset, about) = match event {
            MessagingEvent::GroupCreated(event) => (event.intent_offset, Vec::new()),
            MessagingEvent::MembersAdded(event) => (event.intent_offset, ids(&event.members).collect()),
            MessagingEvent::MemberRemoved(event) => (event.intent_offset, vec![event.account_id.as_str()]),
            MessagingEvent::MemberLeft(event) => (event.intent_offset, vec![event.account_id.as_str()]),
            MessagingEvent::MemberRoleSet(event) => (event.intent_offset, Vec::new()),
            MessagingEvent::GroupUpdated(event) => (event.intent_offset, Vec::new()),
            _ => return None,
        };
        Some(Self { intent_offset, about: about.into_iter().filter(|id| are_ids(&[id])).collect() })
    }
}

/// With the rows that the event needs, if it is a fact about a group.
pub fn with_rows(scope: Scope, event: &MessagingEvent) -> Scope {
    let Some(fact) = Fact::of(event) else { return scope };
    let with_group = scope.with::<GroupRow>(of_group());
    fact.about.into_iter().fold(with_group, |scope, account| scope.with::<FormerRow>(of_former(account)))
}

/// The accounts that came or went with the event, each with the times in which it was in the group before.
pub fn about(rows: &Rows, summary: &Summary, event: &MessagingEvent) -> Vec<(String, Windows)> {
    let windows = |account: &str| match summary.members.get(account) {
        Some(member) => member.seat.as_ref().map(|seat| seat.before.clone()).unwrap_or_default(),
        None => rows.get::<FormerRow>(of_former(account)).unwrap_or_default().windows,
    };
    let about = Fact::of(event).map(|fact| fact.about).unwrap_or_default();
    about.into_iter().map(|account| (account.to_owned(), windows(account))).collect()
}

/// Applies a fact about a group; false: it is none, or it is in.
pub fn apply(rows: &mut Rows, summary: &mut Summary, event: &MessagingEvent, record: &Record) -> bool {
    let Some(Fact { intent_offset, .. }) = Fact::of(event) else { return false };
    let row: GroupRow = rows.get(of_group()).unwrap_or_default();
    if !takes(row.intent_next, intent_offset) {
        return false;
    }
    rows.put(of_group(), GroupRow { intent_next: intent_after(intent_offset) });
    match event {
        MessagingEvent::GroupCreated(event) => summary.create_group(event, record),
        MessagingEvent::MembersAdded(event) => {
            // Of ids that are none no rows are loaded: nobody has them, and nobody is seated under them.
            let former = |account: &str| rows.get::<FormerRow>(of_former(account)).unwrap_or_default().windows;
            let before = |account: &str| if are_ids(&[account]) { former(account) } else { Windows::default() };
            summary.add(&event.actor_id, &event.members, (intent_offset, record), before);
        }
        MessagingEvent::MemberRemoved(event) => leave(rows, summary, &event.account_id, false),
        MessagingEvent::MemberLeft(event) => {
            leave(rows, summary, &event.account_id, true);
            summary.make_owner(&event.successor_id);
        }
        MessagingEvent::MemberRoleSet(event) => summary.set_role(&event.account_id, event.role),
        MessagingEvent::GroupUpdated(event) => summary.update(event),
        _ => return false,
    }
    true
}

fn leave(rows: &mut Rows, summary: &mut Summary, account_id: &str, goes: bool) {
    if let Some(windows) = summary.leave(account_id, goes) {
        rows.put(of_former(account_id), FormerRow { windows });
    }
}
