//! Of groups: the intent to change one, and what follows.

use kith_content::Content;
use kith_proto::Event;
use kith_proto::messaging::private::v1::group_change_requested::Change;
use kith_proto::messaging::private::v1::messaging_private_event::Event as MessagingPrivate;
use kith_proto::messaging::private::v1::{GroupChangeRequested, GroupCreation};
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_proto::messaging::v1::{
    GroupCreated, GroupTitle, GroupUpdated, MemberLeft, MemberRemoved, MemberRole, MemberRoleSet, MembersAdded,
    NewMember,
};

use super::{ADA, BOB, CONVERSATION, CY, DIGEST, at};

pub fn all() -> Vec<Event> {
    let (conversation_id, actor_id) = (|| CONVERSATION.to_owned(), || ADA.to_owned());
    let title = || Some(Content::close(&GroupTitle { title: "Book club".into() }));
    let member = |account_id: &str| NewMember { account_id: account_id.into(), asked: true, seen_identity_offset: 12 };
    let creation = GroupCreation { title: title(), members: vec![member(BOB)], member_limit: 20 };
    let requested = GroupChangeRequested {
        conversation_id: conversation_id(),
        actor_id: actor_id(),
        request_time: at(60),
        payload_digest: DIGEST.into(),
        rules: 2,
        change: Some(Change::Creation(creation)),
    };
    let created = GroupCreated {
        conversation_id: conversation_id(),
        creator_id: actor_id(),
        title: title(),
        members: vec![member(BOB)],
        member_limit: 20,
        create_time: at(60),
        intent_offset: 7,
    };
    let added = MembersAdded {
        conversation_id: conversation_id(),
        actor_id: actor_id(),
        members: vec![member(CY)],
        create_time: at(61),
        intent_offset: 8,
    };
    let removed = MemberRemoved {
        conversation_id: conversation_id(),
        actor_id: actor_id(),
        account_id: CY.into(),
        create_time: at(62),
        intent_offset: 9,
    };
    let set = MemberRoleSet {
        conversation_id: conversation_id(),
        actor_id: actor_id(),
        account_id: BOB.into(),
        role: MemberRole::Moderator.into(),
        create_time: at(63),
        intent_offset: 10,
    };
    let updated = GroupUpdated {
        conversation_id: conversation_id(),
        actor_id: actor_id(),
        revision: 2,
        title: title(),
        update_time: at(64),
        intent_offset: 11,
    };
    let left = MemberLeft {
        conversation_id: conversation_id(),
        account_id: actor_id(),
        successor_id: BOB.into(),
        create_time: at(65),
        intent_offset: 12,
    };
    vec![
        MessagingPrivate::GroupChangeRequested(requested).into(),
        Messaging::GroupCreated(created).into(),
        Messaging::MembersAdded(added).into(),
        Messaging::MemberRemoved(removed).into(),
        Messaging::MemberRoleSet(set).into(),
        Messaging::GroupUpdated(updated).into(),
        Messaging::MemberLeft(left).into(),
    ]
}
