//! The fact that follows from an intent that won. Pure.

use kith_fold::{Append, Record};
use kith_log::topics;
use kith_proto::messaging::private::v1::GroupChangeRequested;
use kith_proto::messaging::private::v1::group_change_requested::Change;
use kith_proto::messaging::v1::messaging_event::Event as MessagingEvent;
use kith_proto::messaging::v1::{GroupCreated, GroupUpdated, MemberLeft, MemberRemoved, MemberRoleSet, MembersAdded};
use kith_proto::time;
use kith_relations::revision;
use kith_service::ids;
use kith_service::limits::GROUP_MEMBERS;

/// `revision`: of the title, as the intent left it. `None`: nothing was asked for.
pub fn of(intent: &GroupChangeRequested, revision: i64, record: &Record) -> Option<Append> {
    let GroupChangeRequested { conversation_id, actor_id, change, .. } = intent.clone();
    let (create_time, intent_offset) = (Some(time::of_us(record.time.0)), record.position.offset);
    let fact = match change? {
        Change::Creation(change) => MessagingEvent::GroupCreated(GroupCreated {
            conversation_id,
            creator_id: actor_id,
            title: change.title,
            members: change.members,
            member_limit: change.member_limit.min(u32::try_from(GROUP_MEMBERS).unwrap_or(u32::MAX)),
            create_time,
            intent_offset,
        }),
        Change::Addition(change) => MessagingEvent::MembersAdded(MembersAdded {
            conversation_id,
            actor_id,
            members: change.members,
            create_time,
            intent_offset,
        }),
        Change::Removal(change) => MessagingEvent::MemberRemoved(MemberRemoved {
            conversation_id,
            actor_id,
            account_id: change.account_id,
            create_time,
            intent_offset,
        }),
        Change::RoleSetting(change) => MessagingEvent::MemberRoleSet(MemberRoleSet {
            conversation_id,
            actor_id,
            account_id: change.account_id,
            role: change.role,
            create_time,
            intent_offset,
        }),
        Change::TitleSetting(change) => MessagingEvent::GroupUpdated(GroupUpdated {
            conversation_id,
            actor_id,
            revision: revision::shown(revision),
            title: change.title,
            update_time: create_time,
            intent_offset,
        }),
        Change::Leaving(change) => MessagingEvent::MemberLeft(MemberLeft {
            conversation_id,
            account_id: actor_id,
            successor_id: change.successor_id,
            create_time,
            intent_offset,
        }),
    };
    Some(Append {
        topic: topics::MESSAGING,
        key: intent.conversation_id.clone(),
        id: ids::item_id(record.id, b"GroupChanged"),
        event: fact.into(),
        cause: record.cause(),
    })
}
