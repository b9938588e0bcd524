//! Groups: who is in one, what each sees of it, and where it stands for each.

use kith_log::topics;
use kith_proto::messaging::v1::messaging_event::Event as Messaging;
use kith_stage::sealed;

use super::requests::{counts, decline, requests};
use super::*;

mod amended;
mod contended;
mod returned;
mod streamed;

const CAT: RecordId = RecordId([4; 16]);

/// Four people of whom each follows all others.
async fn four(world: &World) -> String {
    let tokens = friends(world).await;
    let created = AccountCreated { account_id: CAT.to_string(), handle_key: "cat".into(), ..AccountCreated::default() };
    world.publish(RecordId([60; 16]), Identity::AccountCreated(created)).await;
    for (n, who) in (100..).zip([ADA, BOB, EVE]) {
        follow(world, n, CAT, who).await;
        follow(world, n + 50, who, CAT).await;
    }
    world.settle().await;
    tokens.last().cloned().unwrap()
}

async fn create(
    world: &World,
    who: RecordId,
    others: &[RecordId],
    limit: i32,
) -> Result<(Conversation, String), Refused> {
    let member_ids = others.iter().map(RecordId::to_string).collect();
    let request = CreateGroupRequest {
        title: " Book\nclub ".into(),
        member_ids,
        member_limit: limit,
        ..CreateGroupRequest::default()
    };
    let answer = world.messaging.create_group(by(who, request)).await.map_err(|status| refusal(&status))?.into_inner();
    Ok((answer.conversation.unwrap(), answer.consistency_token))
}

async fn add(world: &World, who: RecordId, id: &str, others: &[RecordId]) -> Result<(Conversation, String), Refused> {
    let account_ids = others.iter().map(RecordId::to_string).collect();
    let request = AddMembersRequest { conversation_id: id.into(), account_ids, ..AddMembersRequest::default() };
    let answer = world.messaging.add_members(by(who, request)).await.map_err(|status| refusal(&status))?.into_inner();
    Ok((answer.conversation.unwrap(), answer.consistency_token))
}

async fn remove(world: &World, who: RecordId, id: &str, other: RecordId) -> Result<String, Refused> {
    let request = RemoveMemberRequest {
        conversation_id: id.into(),
        account_id: other.to_string(),
        ..RemoveMemberRequest::default()
    };
    let answer = world.messaging.remove_member(by(who, request)).await.map_err(|status| refusal(&status))?;
    Ok(answer.into_inner().consistency_token)
}

async fn set_role(
    world: &World,
    who: RecordId,
    id: &str,
    other: RecordId,
    role: MemberRole,
) -> Result<String, Refused> {
    let request = SetRoleRequest {
        conversation_id: id.into(),
        account_id: other.to_string(),
        role: role.into(),
        ..SetRoleRequest::default()
    };
    let answer = world.messaging.set_role(by(who, request)).await.map_err(|status| refusal(&status))?;
    Ok(answer.into_inner().consistency_token)
}

async fn leave(
    world: &World,
    who: RecordId,
    id: &str,
    successor: Option<RecordId>,
    request_id: &str,
) -> Result<String, Refused> {
    let request = LeaveConversationRequest {
        conversation_id: id.into(),
        successor_id: successor.map(|id| id.to_string()).unwrap_or_default(),
        request_id: request_id.into(),
        at_least: Vec::new(),
    };
    let answer = world.messaging.leave_conversation(by(who, request)).await.map_err(|status| refusal(&status))?;
    Ok(answer.into_inner().consistency_token)
}

async fn members(world: &World, who: RecordId, id: &str, page_size: i32) -> Result<Vec<(String, MemberRole)>, Refused> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let (conversation_id, at_least) = (id.to_owned(), Vec::new());
        let request = ListMembersRequest { conversation_id, page_size, page_token, at_least };
        let answer = world.messaging.list_members(by(who, request)).await.map_err(|status| refusal(&status))?;
        let answer = answer.into_inner();
        all.extend(answer.members.into_iter().map(|member| (member.account_id.clone(), member.role())));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn texts(world: &World, who: RecordId, id: &str, page_size: i32) -> Vec<String> {
    world.settle().await;
    let messages = walk(world, who, id, page_size, &now(world).await).await.unwrap();
    messages.into_iter().map(|message| message.text).collect()
}

/// All that the log has.
async fn now(world: &World) -> String {
    sealed(&world.everything().await)
}

async fn say(world: &World, who: RecordId, id: &str, text: &str) -> String {
    let request = writing(id, text, "", &now(world).await);
    let answer = world.messaging.send_message(by(who, request)).await.unwrap().into_inner();
    world.settle().await;
    answer.consistency_token
}

#[tokio::test]
async fn a_group_has_a_title_an_owner_and_members_and_stands_in_all_their_inboxes() {
    let world = World::start().await;
    four(&world).await;
    let (made, token) = create(&world, ADA, &[BOB, EVE, ADA, BOB], 0).await.unwrap();
    let id = made.conversation_id.as_str();
    assert_eq!((made.kind(), &*made.title, made.member_count), (ConversationKind::Group, "Book club", 3));
    assert_eq!((made.role(), made.revision, made.member_ids.len()), (MemberRole::Owner, 1, 0));
    for (who, role) in [(ADA, MemberRole::Owner), (BOB, MemberRole::Member)] {
        let seen = inbox(&world, who, 0, &token).await;
        assert_eq!((seen.len(), seen[0].role(), &*seen[0].title), (1, role, "Book club"));
    }
    assert!(inbox(&world, CAT, 0, &token).await.is_empty());
    let roles = [(ADA, MemberRole::Owner), (BOB, MemberRole::Member), (EVE, MemberRole::Member)];
    let roles = roles.map(|(who, role)| (who.to_string(), role)).to_vec();
    assert_eq!(members(&world, EVE, id, 2).await, Ok(roles));
    assert_eq!(members(&world, CAT, id, 0).await, refused(Code::NotFound, "CONVERSATION_NOT_FOUND"));
    let token = say(&world, BOB, id, "hello").await;
    assert_eq!(unread(&world, ADA, &[id], &token).await, (vec![1], 1, 1));
    assert_eq!(unread(&world, BOB, &[id], &token).await, (vec![0], 0, 0));

    let titled = |title: &str, expected_revision| UpdateGroupRequest {
        conversation_id: id.into(),
        title: title.into(),
        expected_revision,
        ..UpdateGroupRequest::default()
    };
    let update = |request| world.messaging.update_group(by(ADA, request));
    let (one, other) = tokio::join!(update(titled("Readers", 1)), update(titled("Writers", 1)));
    let lost = [one, other].into_iter().filter_map(Result::err).map(|status| refusal(&status)).collect::<Vec<_>>();
    assert_eq!(lost, [(Code::Aborted, "REVISION_STALE".to_owned())]);
    world.settle().await;
    let seen = inbox(&world, BOB, 0, &now(&world).await).await;
    assert!(["Readers", "Writers"].contains(&&*seen[0].title) && seen[0].revision == 2);
    let denied = world.messaging.update_group(by(BOB, titled("Mine", 0))).await.unwrap_err();
    assert_eq!(refusal(&denied), (Code::PermissionDenied, "ROLE_MISSING".to_owned()));
}

#[tokio::test]
async fn each_sees_what_was_written_while_it_was_in_the_group() {
    let world = World::start().await;
    four(&world).await;
    let (made, _) = create(&world, ADA, &[BOB], 0).await.unwrap();
    let id = made.conversation_id.as_str();
    say(&world, ADA, id, "1").await;
    let (_, token) = add(&world, ADA, id, &[EVE]).await.unwrap();
    let seen = inbox(&world, EVE, 0, &token).await;
    assert_eq!((seen[0].last_message_number, seen[0].unread_count, &seen[0].last_message_time), (0, 0, &None));
    say(&world, BOB, id, "2").await;
    say(&world, EVE, id, "3").await;
    assert_eq!(texts(&world, EVE, id, 0).await, ["3", "2"]);
    assert_eq!(unread(&world, EVE, &[id], &now(&world).await).await, (vec![1], 1, 1));
    let token = remove(&world, ADA, id, EVE).await.unwrap();
    assert!(inbox(&world, EVE, 0, &token).await.is_empty());
    assert_eq!(unread(&world, EVE, &[id], &token).await, (vec![0], 0, 0));
    say(&world, BOB, id, "4").await;
    assert_eq!(texts(&world, EVE, id, 1).await, ["3", "2"]);
    let missing = refused(Code::NotFound, "CONVERSATION_NOT_FOUND");
    assert_eq!(send(&world, EVE, writing(id, "no", "", &token)).await.map(|_| ()), missing);
    assert_eq!(mark(&world, EVE, id, 1, &token).await.map(|_| ()), refused(Code::NotFound, "CONVERSATION_NOT_FOUND"));
    assert_eq!(remove(&world, EVE, id, BOB).await, refused(Code::NotFound, "CONVERSATION_NOT_FOUND"));
    assert_eq!(walk(&world, CAT, id, 0, &now(&world).await).await, refused(Code::NotFound, "CONVERSATION_NOT_FOUND"));
    let (_, token) = add(&world, ADA, id, &[EVE]).await.unwrap();
    say(&world, BOB, id, "5").await;
    for size in [0, 1, 2] {
        assert_eq!(texts(&world, EVE, id, size).await, ["5", "3", "2"]);
    }
    assert_eq!(unread(&world, EVE, &[id], &token).await.0, [1]);
    assert_eq!(texts(&world, BOB, id, 2).await, ["5", "4", "3", "2", "1"]);
}

#[tokio::test]
async fn strangers_are_asked_and_whoever_cannot_be_written_to_is_not_added() {
    let world = World::start().await;
    people(&world).await;
    let (made, token) = create(&world, ADA, &[BOB], 0).await.unwrap();
    let id = made.conversation_id.as_str();
    assert!(inbox(&world, BOB, 0, &token).await.is_empty());
    for n in 0..5 {
        say(&world, ADA, id, &format!("{n}")).await;
    }
    let (waiting, _) = requests(&world, BOB, 0, &now(&world).await).await;
    assert_eq!((waiting.len(), &*waiting[0].title, waiting[0].unread_count), (1, "Book club", 5));
    assert_eq!(
        (waiting[0].role(), counts(&world, BOB, &now(&world).await).await),
        (MemberRole::Member, ((1, false), 0))
    );
    decline(&world, BOB, id, "").await.unwrap();
    world.settle().await;
    assert!(requests(&world, BOB, 0, &now(&world).await).await.0.is_empty());
    assert_eq!(members(&world, ADA, id, 0).await.unwrap().len(), 2, "nobody is told");
    remove(&world, ADA, id, BOB).await.unwrap();
    add(&world, ADA, id, &[BOB]).await.unwrap();
    say(&world, ADA, id, "again").await;
    assert!(requests(&world, BOB, 0, &now(&world).await).await.0.is_empty(), "he is not asked again");
    say(&world, BOB, id, "hello").await;
    assert_eq!(
        (
            requests(&world, BOB, 0, &now(&world).await).await.0.len(),
            inbox(&world, BOB, 0, &now(&world).await).await.len()
        ),
        (0, 1)
    );

    let blocked = Blocked { actor_id: EVE.to_string(), target_id: ADA.to_string(), create_time: None };
    world.publish(RecordId([90; 16]), Identity::Blocked(blocked)).await;
    world.settle().await;
    assert_eq!(add(&world, ADA, id, &[EVE]).await.map(|_| ()), refused(Code::NotFound, "ACCOUNT_NOT_FOUND"));
    let nobody = RecordId([77; 16]);
    assert_eq!(add(&world, ADA, id, &[nobody]).await.map(|_| ()), refused(Code::NotFound, "ACCOUNT_NOT_FOUND"));
    let policy = SetMessagingPolicyRequest { policy: MessagingPolicy::Nobody.into(), ..Default::default() };
    world.messaging.set_messaging_policy(by(EVE, policy)).await.unwrap();
    world.settle().await;
    let heads = world.everything().await;
    let not_allowed = refused(Code::FailedPrecondition, "MESSAGING_NOT_ALLOWED");
    assert_eq!(create(&world, BOB, &[EVE], 0).await.map(|_| ()), not_allowed);
    assert_eq!(world.everything().await, heads, "nothing is written");
}

#[tokio::test]
async fn who_left_by_itself_is_asked_until_it_accepts() {
    let world = World::start().await;
    four(&world).await;
    let (made, _) = create(&world, ADA, &[BOB], 0).await.unwrap();
    let id = made.conversation_id.as_str();
    leave(&world, BOB, id, None, "").await.unwrap();
    let (_, token) = add(&world, ADA, id, &[BOB]).await.unwrap();
    assert!(inbox(&world, BOB, 0, &token).await.is_empty(), "he had left");
    assert_eq!(requests(&world, BOB, 0, &token).await.0.len(), 1);
    remove(&world, ADA, id, BOB).await.unwrap();
    let (_, token) = add(&world, ADA, id, &[BOB]).await.unwrap();
    assert_eq!(requests(&world, BOB, 0, &token).await.0.len(), 1, "he has not accepted since");
    say(&world, BOB, id, "back").await;
    remove(&world, ADA, id, BOB).await.unwrap();
    let (_, token) = add(&world, ADA, id, &[BOB]).await.unwrap();
    assert_eq!(inbox(&world, BOB, 0, &token).await.len(), 1, "he had");
}

#[tokio::test]
async fn what_is_so_already_is_not_asked_for() {
    let world = World::start().await;
    four(&world).await;
    let (made, _) = create(&world, ADA, &[BOB], 0).await.unwrap();
    let id = made.conversation_id.as_str();
    set_role(&world, ADA, id, BOB, MemberRole::Moderator).await.unwrap();
    world.settle().await;
    let heads = world.everything().await;
    let (same, token) = add(&world, ADA, id, &[BOB]).await.unwrap();
    assert_eq!((same.member_count, add(&world, ADA, id, &[ADA]).await.is_ok()), (2, true));
    set_role(&world, ADA, id, BOB, MemberRole::Moderator).await.unwrap();
    assert_eq!(world.everything().await, heads, "nothing is written");
    assert_eq!(inbox(&world, BOB, 0, &token).await[0].role(), MemberRole::Moderator);
    assert_eq!(
        set_role(&world, BOB, id, BOB, MemberRole::Moderator).await,
        refused(Code::PermissionDenied, "ROLE_MISSING")
    );
}

#[tokio::test]
async fn roles_say_who_may_what_and_the_last_owner_names_a_successor() {
    let world = World::start().await;
    four(&world).await;
    let (made, _) = create(&world, ADA, &[BOB, EVE], 0).await.unwrap();
    let id = made.conversation_id.as_str();
    let denied = || refused(Code::PermissionDenied, "ROLE_MISSING");
    assert_eq!(add(&world, BOB, id, &[CAT]).await.map(|_| ()), refused(Code::PermissionDenied, "ROLE_MISSING"));
    assert_eq!(set_role(&world, BOB, id, BOB, MemberRole::Owner).await, denied());
    set_role(&world, ADA, id, BOB, MemberRole::Moderator).await.unwrap();
    assert_eq!(inbox(&world, BOB, 0, &now(&world).await).await[0].role(), MemberRole::Moderator);
    add(&world, BOB, id, &[CAT]).await.unwrap();
    assert_eq!(remove(&world, BOB, id, ADA).await, denied());
    for (who, heir) in [(EVE, CAT), (BOB, EVE), (EVE, RecordId([9; 16]))] {
        assert_eq!(leave(&world, who, id, Some(heir), "").await, denied(), "only owners make owners");
    }
    for other in [CAT, RecordId([9; 16])] {
        assert_eq!(remove(&world, EVE, id, other).await, denied(), "whoever is in the group");
    }
    remove(&world, BOB, id, CAT).await.unwrap();
    let last_owner = || refused(Code::FailedPrecondition, "LAST_OWNER");
    assert_eq!(leave(&world, ADA, id, None, "").await, last_owner());
    assert_eq!(set_role(&world, ADA, id, ADA, MemberRole::Member).await, last_owner());
    let unknown = refused(Code::NotFound, "MEMBER_NOT_FOUND");
    assert_eq!(leave(&world, ADA, id, Some(CAT), "").await, unknown);
    leave(&world, ADA, id, Some(EVE), "bye").await.unwrap();
    let heads = world.everything().await;
    leave(&world, ADA, id, Some(EVE), "bye").await.unwrap();
    assert_eq!(world.everything().await, heads, "a repeat changes nothing");
    assert_eq!(members(&world, EVE, id, 0).await.unwrap()[1], (EVE.to_string(), MemberRole::Owner));
    leave(&world, BOB, id, None, "").await.unwrap();
    leave(&world, EVE, id, None, "").await.unwrap();
    assert!(inbox(&world, EVE, 0, &now(&world).await).await.is_empty());
    let (direct, _) = direct(&world, ADA, BOB).await.unwrap();
    let no_group = refused(Code::FailedPrecondition, "NOT_A_GROUP");
    assert_eq!(leave(&world, ADA, &direct.conversation_id, None, "").await, no_group);
    assert_eq!(
        leave(&world, EVE, &direct.conversation_id, None, "").await,
        refused(Code::NotFound, "CONVERSATION_NOT_FOUND")
    );
}

#[tokio::test]
async fn a_block_in_a_group_hides_each_from_the_other_and_removes_nobody() {
    let world = World::start().await;
    four(&world).await;
    let (made, _) = create(&world, ADA, &[BOB, EVE], 0).await.unwrap();
    let id = made.conversation_id.as_str();
    for (who, text) in [(ADA, "a"), (BOB, "b"), (EVE, "e")] {
        say(&world, who, id, text).await;
    }
    let blocked = Blocked { actor_id: BOB.to_string(), target_id: ADA.to_string(), create_time: None };
    world.publish(RecordId([91; 16]), Identity::Blocked(blocked)).await;
    world.settle().await;
    assert_eq!(texts(&world, BOB, id, 0).await, ["e", "b"]);
    assert_eq!(texts(&world, ADA, id, 1).await, ["e", "a"]);
    assert_eq!(texts(&world, EVE, id, 0).await, ["e", "b", "a"]);
    assert_eq!(members(&world, ADA, id, 0).await.unwrap().len(), 2, "who blocks her is not shown");
    assert_eq!(members(&world, BOB, id, 0).await.unwrap().len(), 3, "whom he blocks is");
    say(&world, BOB, id, "still here").await;
    remove(&world, ADA, id, BOB).await.unwrap();
}

#[tokio::test]
async fn groups_are_the_same_when_the_log_is_folded_again() {
    let mut world = World::start().await;
    four(&world).await;
    let (made, _) = create(&world, ADA, &[BOB, EVE], 0).await.unwrap();
    let id = made.conversation_id.as_str();
    say(&world, ADA, id, "1").await;
    remove(&world, ADA, id, EVE).await.unwrap();
    say(&world, ADA, id, "2").await;
    add(&world, ADA, id, &[EVE, CAT]).await.unwrap();
    say(&world, CAT, id, "3").await;
    for topic in [topics::MESSAGING_PRIVATE, topics::MESSAGING] {
        world.copy_last(topic, id).await;
    }
    world.settle().await;
    let before = world.digest().await;
    world.fold_again().await;
    assert_eq!(world.digest().await, before);
    assert_eq!(texts(&world, EVE, id, 0).await, ["3", "1"]);
}
