use kith_content::Content;
use kith_log::RecordId;
use kith_proto::messaging::private::v1::{
    GroupCreation, MemberLeaving, MemberRemoval, MembersAddition, RoleSetting, TitleSetting,
};
use kith_proto::messaging::v1::NewMember;
use proptest::prelude::*;

use super::*;
use MemberRole::{Member, Moderator, Owner};

fn id(n: u8) -> String {
    RecordId([n; 16]).to_string()
}

fn new(accounts: &[u8]) -> Vec<NewMember> {
    accounts.iter().map(|n| NewMember { account_id: id(*n), ..NewMember::default() }).collect()
}

fn asks(actor: u8, change: Change) -> GroupChangeRequested {
    GroupChangeRequested { actor_id: id(actor), change: Some(change), ..GroupChangeRequested::default() }
}

fn creation(owner: u8, others: &[u8], member_limit: u32) -> GroupChangeRequested {
    asks(owner, Change::Creation(GroupCreation { title: None, members: new(others), member_limit }))
}

fn addition(actor: u8, accounts: &[u8]) -> GroupChangeRequested {
    asks(actor, Change::Addition(MembersAddition { members: new(accounts) }))
}

fn removal(actor: u8, account: u8) -> GroupChangeRequested {
    asks(actor, Change::Removal(MemberRemoval { account_id: id(account) }))
}

fn setting(actor: u8, account: u8, role: MemberRole) -> GroupChangeRequested {
    asks(actor, Change::RoleSetting(RoleSetting { account_id: id(account), role: role.into() }))
}

fn leaving(actor: u8, successor: Option<u8>) -> GroupChangeRequested {
    asks(actor, Change::Leaving(MemberLeaving { successor_id: successor.map(id).unwrap_or_default() }))
}

fn titling(actor: u8, expected_revision: u32) -> GroupChangeRequested {
    asks(actor, Change::TitleSetting(TitleSetting { title: Some(Content::default()), expected_revision }))
}

fn group(others: &[u8], limit: u32) -> GroupSummary {
    let mut group = GroupSummary::default();
    assert_eq!(group.judge(&creation(1, others, limit)), Ok(()));
    group
}

#[test]
fn the_last_seat_is_given_once_and_a_seat_that_is_freed_again() {
    let mut group = group(&[2], 3);
    assert_eq!(group.judge(&addition(1, &[3, 4])), Err(Refusal::Full), "all or none");
    assert_eq!(group.judge(&addition(1, &[3])), Ok(()));
    assert_eq!(group.judge(&addition(1, &[4])), Err(Refusal::Full));
    assert_eq!(group.judge(&addition(1, &[2, 3])), Ok(()), "who is in it needs no seat");
    assert_eq!(group.judge(&removal(1, 3)), Ok(()));
    assert_eq!(group.judge(&addition(1, &[4])), Ok(()));
    assert_eq!(GroupSummary::default().judge(&creation(1, &[2, 3], 2)), Err(Refusal::Full));
    assert_eq!(group.judge(&creation(1, &[], 3)), Err(Refusal::Void), "there is one");
}

#[test]
fn a_group_is_as_large_as_any_group_may_be() {
    let all: Vec<u8> = (2..=100).collect();
    let mut full = group(&all, 1_000);
    assert_eq!(full.judge(&addition(1, &[101])), Err(Refusal::Full));
}

#[test]
fn each_role_does_what_it_may() {
    let mut group = group(&[2, 3, 4], 9);
    assert_eq!(group.judge(&setting(2, 3, Moderator)), Err(Refusal::RoleMissing));
    assert_eq!(group.judge(&setting(1, 2, Moderator)), Ok(()));
    assert_eq!(group.judge(&setting(2, 3, Moderator)), Err(Refusal::RoleMissing), "owners do");
    let by_members = [addition(3, &[7]), titling(3, 0), removal(3, 4), removal(3, 9), removal(3, 3)];
    let heirs = [leaving(3, Some(4)), leaving(3, Some(9)), leaving(2, Some(4)), leaving(2, Some(2))];
    for change in by_members.into_iter().chain(heirs).chain([removal(2, 1)]) {
        assert_eq!(group.judge(&change), Err(Refusal::RoleMissing), "{change:?}");
    }
    assert_eq!(group.judge(&removal(2, 2)), Err(Refusal::Void), "one leaves by oneself");
    assert_eq!(group.judge(&removal(2, 9)), Err(Refusal::NoSuchMember));
    assert_eq!(group.judge(&setting(1, 9, Owner)), Err(Refusal::NoSuchMember));
    assert_eq!(group.judge(&addition(9, &[7])), Err(Refusal::NotInIt));
    assert_eq!((group.judge(&removal(2, 3)), group.judge(&removal(1, 2))), (Ok(()), Ok(())));
    assert_eq!(group.judge(&removal(2, 4)), Err(Refusal::NotInIt), "a removed one may nothing");
}

#[test]
fn a_group_has_an_owner_while_anybody_is_in_it() {
    let mut group = group(&[2, 3], 9);
    assert_eq!(group.judge(&leaving(1, None)), Err(Refusal::LastOwner));
    assert_eq!(group.judge(&setting(1, 1, Member)), Err(Refusal::LastOwner));
    for no_member in [1, 9] {
        assert_eq!(group.judge(&leaving(1, Some(no_member))), Err(Refusal::NoSuchMember));
    }
    assert_eq!(group.judge(&leaving(1, Some(2))), Ok(()));
    assert_eq!(group.roster.role(&id(2)), Some(Owner));
    assert_eq!((group.judge(&leaving(3, None)), group.judge(&leaving(2, None))), (Ok(()), Ok(())));
    assert_eq!(group.judge(&creation(1, &[], 9)), Err(Refusal::Void), "it has ended for ever");
}

#[test]
fn of_two_titles_from_one_revision_the_first_wins() {
    let mut group = group(&[2], 9);
    assert_eq!([1, 1, 0, 3].map(|expected| group.judge(&titling(1, expected)).is_ok()), [true, false, true, true]);
    assert_eq!((group.revision(), group.judge(&titling(1, 1))), (4, Err(Refusal::Stale)));
}

#[test]
fn rosters_and_refusals_read_back() {
    let group = group(&[2, 3], 9);
    let column = Value::Text(format!("{}:o {}:m {}:m", id(1), id(2), id(3)));
    assert_eq!(group.roster.clone().into_value(), column);
    assert_eq!(Roster::from_value(column), Some(group.roster));
    for damaged in ["x", "x:o", &format!("{}:x", id(1)), &format!("{0}:o {0}:m", id(1))] {
        assert_eq!(Roster::from_value(Value::Text(damaged.to_owned())), None, "{damaged}");
    }
    assert!(Refusal::ALL.into_iter().all(|refusal| Refusal::of(refusal as i64) == Some(refusal)));
    assert_eq!((Refusal::of(0), Refusal::of(8)), (None, None));
}

fn change() -> impl Strategy<Value = GroupChangeRequested> {
    let (who, role) = (1..6_u8, prop_oneof![Just(Owner), Just(Moderator), Just(Member)]);
    prop_oneof![
        (who.clone(), prop::collection::vec(who.clone(), 1..3)).prop_map(|(by, of)| addition(by, &of)),
        (who.clone(), who.clone()).prop_map(|(by, of)| removal(by, of)),
        (who.clone(), who.clone(), role).prop_map(|(by, of, role)| setting(by, of, role)),
        (who.clone(), prop::option::of(who)).prop_map(|(by, to)| leaving(by, to)),
    ]
}

proptest! {
    #[test]
    fn whoever_becomes_an_owner_was_made_one_by_an_owner(changes in prop::collection::vec(change(), 0..60)) {
        let mut group = group(&[2, 3, 4], 6);
        for change in changes {
            let before = group.clone();
            let _ = group.judge(&change);
            let is_owner = |group: &GroupSummary, account: &str| group.roster.role(account) == Some(Owner);
            let new = group.roster.0.keys().any(|account| is_owner(&group, account) && !is_owner(&before, account));
            prop_assert!(!new || is_owner(&before, &change.actor_id), "{change:?}");
        }
    }

    #[test]
    fn whatever_is_asked_no_seat_is_given_twice_and_an_owner_is_left(
        changes in prop::collection::vec(change(), 0..60),
    ) {
        let mut group = group(&[2], 4);
        for change in changes {
            let before = group.clone();
            let won = group.judge(&change).is_ok();
            prop_assert!(won || group == before, "what loses changes nothing");
            let roles: Vec<_> = group.roster.0.values().collect();
            prop_assert!(roles.len() <= 4);
            prop_assert!(roles.is_empty() || roles.contains(&&Owner));
        }
    }
}
