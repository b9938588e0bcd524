use kith_log::{LogPartition, Position};
use kith_proto::messaging::v1::{ConversationKind, MessagingPolicy};
use kith_relations::follow::Following;
use kith_relations::sight::Sight;
use kith_tables::Timestamp;

use super::*;
use crate::policy::Door;

const ADA: RecordId = RecordId([1; 16]);
const BOB: RecordId = RecordId([2; 16]);
const GROUP: RecordId = RecordId([9; 16]);

fn asked(by: RecordId) -> Asked {
    Asked { id: RecordId([8; 16]), actor: by.to_string(), digest: [1; 32], at: Timestamp(7) }
}

fn command(change: Change) -> Command {
    Command { conversation_id: GROUP.to_string(), change }
}

fn create(title: &str) -> Command {
    command(Change::Create { title: title.into(), member_ids: vec![BOB.to_string()], member_limit: 5 })
}

fn invited(sight: Option<Sight>, policy: MessagingPolicy, stands: bool) -> Invited {
    let door = Door { policy, follows: Following { stands, seen_offset: 12 } };
    Invited { account_id: BOB.to_string(), sight, door, create_time: Timestamp(1) }
}

fn may_create(invited: Invited) -> Before {
    Before { invited: vec![invited], is_open: true, ..Before::default() }
}

fn record(event: Private) -> Record {
    let partition = LogPartition { topic: topics::MESSAGING_PRIVATE, index: 0 };
    Record::new(Position { partition, offset: 5 }, asked(ADA).id, event)
}

#[test]
fn given_somebody_who_may_be_written_to_when_a_group_is_asked_for_then_it_is_made_with_its_intent() {
    for (follows, waits) in [(true, false), (false, true)] {
        let before = may_create(invited(Some(Sight::Clear), MessagingPolicy::Everyone, follows));
        let event = Groups::decide(&before, &asked(ADA), &create("Readers")).unwrap().unwrap();
        let record = record(event);
        let intent = Groups::intent(&record).unwrap();
        let claim = Groups::judge(&mut GroupSummary::default(), intent, &record);
        assert_eq!((claim.won, claim.refusal), (true, 0));
        let fact = Groups::fact(intent, &claim, &record).unwrap();
        let Event::Messaging(kith_proto::messaging::v1::messaging_event::Event::GroupCreated(fact)) = fact.event else {
            panic!("not created")
        };
        assert_eq!((fact.intent_offset, fact.member_limit, &fact.creator_id), (5, 5, &ADA.to_string()));
        let member = &fact.members[0];
        assert_eq!((&member.account_id, member.asked, member.seen_identity_offset), (&BOB.to_string(), waits, 12));
        assert!(Groups::is_due(None, 5) && Groups::is_due(Some(&GroupRow { intent_next: 5 }), 5));
        assert!(!Groups::is_due(Some(&GroupRow { intent_next: 6 }), 5));
    }
}

#[test]
fn given_somebody_who_cannot_be_added_then_it_is_said_who_and_why() {
    use crate::rejection::Unaddable;
    for (sight, policy, why) in [
        (None, MessagingPolicy::Everyone, Unaddable::NotFound),
        (Some(Sight::BlockedBy), MessagingPolicy::Everyone, Unaddable::NotFound),
        (Some(Sight::Blocks), MessagingPolicy::Everyone, Unaddable::Blocked),
        (Some(Sight::Clear), MessagingPolicy::Nobody, Unaddable::NotAllowed),
        (Some(Sight::Clear), MessagingPolicy::Followed, Unaddable::NotAllowed),
    ] {
        let before = may_create(invited(sight, policy, false));
        let refused = Groups::decide(&before, &asked(ADA), &create(""));
        assert_eq!(refused, Err(Rejection::CannotAdd(why, BOB)));
    }
    let before = may_create(invited(Some(Sight::Clear), MessagingPolicy::Followed, true));
    assert!(Groups::decide(&before, &asked(ADA), &create("")).is_ok());
    let shut = Before { is_open: false, ..before };
    assert_eq!(Groups::decide(&shut, &asked(ADA), &create("")), Err(Rejection::EventsNotOpen));
}

#[test]
fn given_a_verdict_then_the_same_command_is_no_news_and_another_one_is_refused() {
    let mut before = may_create(invited(Some(Sight::Clear), MessagingPolicy::Everyone, true));
    let claim = |digest: u8| Some(ClaimRow { payload_digest: vec![digest; 32].into(), ..ClaimRow::default() });
    before.claim = claim(1);
    assert_eq!(Groups::decide(&before, &asked(ADA), &create("")), Ok(None));
    before.claim = claim(2);
    assert_eq!(Groups::decide(&before, &asked(ADA), &create("")), Err(Rejection::RequestIdReused));
}

#[test]
fn given_no_group_then_strangers_find_nothing_and_members_of_two_are_told_what_it_is() {
    let leave = command(Change::Leave { successor_id: String::new() });
    let mut before = Before { is_open: true, ..Before::default() };
    assert_eq!(Groups::decide(&before, &asked(ADA), &leave), Err(Rejection::NotFound));
    let event = kith_proto::messaging::v1::ConversationCreated {
        member_ids: vec![ADA.to_string(), BOB.to_string()],
        kind: ConversationKind::Direct.into(),
        ..Default::default()
    };
    before.summary.create(&event, Timestamp(1), ADA);
    assert_eq!(Groups::decide(&before, &asked(ADA), &leave), Err(Rejection::NotAGroup));
    assert_eq!(Groups::decide(&before, &asked(GROUP), &leave), Err(Rejection::NotFound));
}

#[test]
fn an_intent_that_names_no_account_is_none() {
    let well_formed = |account_id: &str| {
        let change = Asks::Removal(MemberRemoval { account_id: account_id.into() });
        is_well_formed(&GroupChangeRequested {
            conversation_id: GROUP.to_string(),
            actor_id: ADA.to_string(),
            change: Some(change),
            ..GroupChangeRequested::default()
        })
    };
    assert!(well_formed(&BOB.to_string()) && !well_formed("bob"));
    assert!(!is_well_formed(&GroupChangeRequested::default()));
}
