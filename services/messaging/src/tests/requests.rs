//! Consent: what strangers open waits, apart from the inbox and its numbers, until it is accepted or declined.

use kith_fold::{FIRST_EVENTS, Group};

use super::*;

pub async fn requests(world: &World, who: RecordId, page_size: i32, token: &str) -> (Vec<Conversation>, u32) {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let (list, at_least) = (ConversationList::Requests.into(), vec![token.to_owned()]);
        let request = ListConversationsRequest { page_size, page_token, at_least, list };
        let answer = world.messaging.list_conversations(by(who, request)).await.unwrap().into_inner();
        all.extend(answer.conversations);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return (all, answer.unlisted_at_least);
        }
    }
}

/// How many requests wait, and whether there are more; what is unread in the inbox.
pub async fn counts(world: &World, who: RecordId, token: &str) -> ((u32, bool), u64) {
    let request = GetUnreadCountsRequest { conversation_ids: Vec::new(), at_least: vec![token.into()] };
    let answer = world.messaging.get_unread_counts(by(who, request)).await.unwrap().into_inner();
    ((answer.request_count, answer.has_more_requests), answer.total_unread_count)
}

async fn accept(world: &World, who: RecordId, id: &str, request_id: &str) -> Result<(Consent, String), Refused> {
    let (conversation_id, request_id) = (id.to_owned(), request_id.to_owned());
    let request = AcceptConversationRequest { conversation_id, request_id, at_least: Vec::new() };
    let answer = world.messaging.accept_conversation(by(who, request)).await.map_err(|status| refusal(&status))?;
    let answer = answer.into_inner();
    Ok((answer.conversation.unwrap().consent(), answer.consistency_token))
}

pub async fn decline(world: &World, who: RecordId, id: &str, request_id: &str) -> Result<(Consent, String), Refused> {
    let (conversation_id, request_id) = (id.to_owned(), request_id.to_owned());
    let request = DeclineConversationRequest { conversation_id, request_id, at_least: Vec::new() };
    let answer = world.messaging.decline_conversation(by(who, request)).await.map_err(|status| refusal(&status))?;
    let answer = answer.into_inner();
    Ok((answer.conversation.unwrap().consent(), answer.consistency_token))
}

async fn set(
    world: &World,
    who: RecordId,
    policy: MessagingPolicy,
    request_id: &str,
) -> Result<MessagingPolicy, Refused> {
    let (policy, request_id) = (policy.into(), request_id.to_owned());
    let request = SetMessagingPolicyRequest { policy, request_id, at_least: Vec::new() };
    let answer = world.messaging.set_messaging_policy(by(who, request)).await.map_err(|status| refusal(&status))?;
    Ok(answer.into_inner().policy())
}

async fn availability(world: &World, who: RecordId, of: RecordId) -> Result<Availability, Refused> {
    let request = GetAvailabilityRequest { account_id: of.to_string(), at_least: Vec::new() };
    let answer = world.messaging.get_availability(by(who, request)).await.map_err(|status| refusal(&status))?;
    Ok(answer.into_inner().availability())
}

#[tokio::test]
async fn what_a_stranger_opens_waits_apart_until_it_is_accepted_once() {
    let world = World::start().await;
    people(&world).await;
    let (opened, token) = direct(&world, BOB, ADA).await.unwrap();
    assert_eq!(opened.consent(), Consent::Accepted, "for BOB, who opened it");
    let id = opened.conversation_id.as_str();
    let token = send(&world, BOB, writing(id, "hello", "", &token)).await.unwrap().1;
    assert_eq!(inbox(&world, BOB, 0, &token).await.len(), 1);
    assert!(inbox(&world, ADA, 0, &token).await.is_empty());
    assert_eq!(counts(&world, ADA, &token).await, ((1, false), 0));
    assert_eq!(unread(&world, ADA, &[id], &token).await, (vec![0], 0, 0));
    let (waiting, unlisted) = requests(&world, ADA, 0, &token).await;
    assert_eq!((waiting.len(), waiting[0].consent(), waiting[0].unread_count, unlisted), (1, Consent::Requested, 1, 0));
    assert_eq!(walk(&world, ADA, id, 0, &token).await.unwrap().len(), 1, "she may look");
    assert_eq!(accept(&world, EVE, id, "").await, refused(Code::NotFound, "CONVERSATION_NOT_FOUND"));

    let (one, other) = tokio::join!(accept(&world, ADA, id, "a-1"), accept(&world, ADA, id, "a-2"));
    let ((one, token), (other, later)) = (one.unwrap(), other.unwrap());
    assert_eq!([one, other], [Consent::Accepted; 2]);
    world.settle().await;
    assert_eq!(
        (counts(&world, ADA, &token).await, counts(&world, ADA, &later).await),
        (((0, false), 1), ((0, false), 1))
    );
    let seen = inbox(&world, ADA, 0, &token).await;
    assert_eq!((seen.len(), seen[0].unread_count, seen[0].consent()), (1, 1, Consent::Accepted));
    assert!(requests(&world, ADA, 0, &token).await.0.is_empty());
    let heads = world.everything().await;
    assert_eq!(accept(&world, ADA, id, "a-3").await.unwrap().0, Consent::Accepted);
    assert_eq!(decline(&world, ADA, id, "").await.unwrap().0, Consent::Accepted, "for good");
    assert_eq!(world.everything().await, heads);
    for n in 0..5 {
        send(&world, BOB, writing(id, &format!("more {n}"), "", &token)).await.unwrap();
    }
}

#[tokio::test]
async fn writing_back_accepts_and_followed_people_need_not_wait() {
    let world = World::start().await;
    people(&world).await;
    let (opened, token) = direct(&world, BOB, ADA).await.unwrap();
    let id = opened.conversation_id.as_str();
    let token = send(&world, BOB, writing(id, "hello", "", &token)).await.unwrap().1;
    let token = send(&world, ADA, writing(id, "hello you", "", &token)).await.unwrap().1;
    assert_eq!((inbox(&world, ADA, 0, &token).await.len(), counts(&world, ADA, &token).await), (1, ((0, false), 1)));
    let followed = follow(&world, 99, EVE, ADA).await;
    let request = GetOrCreateDirectRequest {
        account_id: EVE.to_string(),
        at_least: vec![followed],
        ..GetOrCreateDirectRequest::default()
    };
    let opened = world.messaging.get_or_create_direct(by(ADA, request)).await.unwrap().into_inner();
    assert_eq!(inbox(&world, EVE, 0, &opened.consistency_token).await.len(), 1);
    assert_eq!(counts(&world, EVE, &opened.consistency_token).await.0, (0, false));
}

#[tokio::test]
async fn a_declined_request_stays_away_and_its_sender_sees_what_every_stranger_sees() {
    let world = World::start().await;
    people(&world).await;
    let mut asked = Vec::new();
    for who in [BOB, EVE] {
        let (opened, token) = direct(&world, who, ADA).await.unwrap();
        asked.push((who, opened.conversation_id.clone()));
        send(&world, who, writing(&opened.conversation_id, "hello", "", &token)).await.unwrap();
    }
    world.settle().await;
    let (declined, token) = decline(&world, ADA, &asked[0].1, "d-1").await.unwrap();
    assert_eq!(declined, Consent::Declined);
    let mut sights = Vec::new();
    for (who, id) in &asked {
        for n in 2..=3 {
            send(&world, *who, writing(id, &format!("message {n}"), "", &token)).await.unwrap();
        }
        let full = send(&world, *who, writing(id, "one more", "", &token)).await;
        assert_eq!(full, refused(Code::FailedPrecondition, "CONVERSATION_NOT_ACCEPTED"));
        world.settle().await;
        let seen = inbox(&world, *who, 0, &token).await.remove(0);
        let again = direct(&world, *who, ADA).await.unwrap().0;
        assert_eq!(again, seen);
        sights.push((seen.consent(), seen.read_number, seen.unread_count, availability(&world, *who, ADA).await));
    }
    assert_eq!(sights[0], sights[1]);
    assert_eq!(sights[0].3, Ok(Availability::AwaitsAcceptance));
    world.settle().await;
    let token = direct(&world, ADA, BOB).await.unwrap().1;
    assert_eq!(counts(&world, ADA, &token).await, ((1, false), 0), "EVE's");
    assert!(inbox(&world, ADA, 0, &token).await.is_empty());
    assert_eq!(requests(&world, ADA, 0, &token).await.0.len(), 1);
    assert_eq!(direct(&world, ADA, BOB).await.unwrap().0.consent(), Consent::Declined, "she finds it");
    let (accepted, token) = accept(&world, ADA, &asked[0].1, "").await.unwrap();
    assert_eq!((accepted, counts(&world, ADA, &token).await), (Consent::Accepted, ((1, false), 3)));
    assert_eq!(decline(&world, ADA, &asked[0].1, "d-1").await.unwrap().0, Consent::Accepted, "a copy is no news");
}

#[tokio::test]
async fn of_messages_at_once_no_more_than_may_wait_stand() {
    let world = World::start().await;
    people(&world).await;
    let (opened, token) = direct(&world, BOB, ADA).await.unwrap();
    let id = opened.conversation_id.as_str();
    let texts: Vec<String> = (0..12).map(|n| format!("message {n}")).collect();
    let sends = texts.iter().map(|text| send(&world, BOB, writing(id, text, text, &token)));
    let answers = futures::future::join_all(sends).await;
    let (stand, refusals): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((stand.len(), refusals.len()), (3, 9));
    let refused = (Code::FailedPrecondition, "CONVERSATION_NOT_ACCEPTED".to_owned());
    assert!(refusals.iter().all(|answer| answer.as_ref().unwrap_err() == &refused));
    let (_, token) = accept(&world, ADA, id, "").await.unwrap();
    let listed = walk(&world, ADA, id, 0, &token).await.unwrap();
    let mut told: Vec<String> = stand.into_iter().map(|answer| answer.unwrap().0.message_id).collect();
    let mut seen: Vec<String> = listed.into_iter().map(|message| message.message_id).collect();
    told.sort();
    seen.sort();
    assert_eq!(seen, told, "whoever was answered OK is there, nobody else");
}

#[tokio::test]
async fn a_policy_is_asked_at_the_opening_and_until_the_acceptance() {
    let world = World::start().await;
    people(&world).await;
    let not_allowed =
        |answer: Result<_, Refused>| answer.unwrap_err() == (Code::FailedPrecondition, "MESSAGING_NOT_ALLOWED".into());
    let (opened, token) = direct(&world, BOB, ADA).await.unwrap();
    let id = opened.conversation_id.as_str();
    assert_eq!(availability(&world, BOB, ADA).await, Ok(Availability::AsRequest));
    assert_eq!(set(&world, ADA, MessagingPolicy::Nobody, "p-1").await, Ok(MessagingPolicy::Nobody));
    world.settle().await;
    assert!(not_allowed(direct(&world, EVE, ADA).await.map(|_| ())));
    assert!(not_allowed(send(&world, BOB, writing(id, "hello", "", &token)).await.map(|_| ())));
    assert_eq!(availability(&world, EVE, ADA).await, Ok(Availability::Nobody));
    assert_eq!(direct(&world, BOB, ADA).await.unwrap().0.conversation_id, id, "what is there is found");
    assert_eq!(set(&world, ADA, MessagingPolicy::Followed, "").await, Ok(MessagingPolicy::Followed));
    assert_eq!(
        set(&world, ADA, MessagingPolicy::Nobody, "p-1").await,
        Ok(MessagingPolicy::Followed),
        "a copy is no news"
    );
    follow(&world, 99, ADA, EVE).await;
    world.settle().await;
    assert_eq!(availability(&world, EVE, ADA).await, Ok(Availability::Open));
    assert_eq!(availability(&world, BOB, ADA).await, Ok(Availability::FollowedOnly));
    assert_eq!(direct(&world, EVE, ADA).await.unwrap().0.consent(), Consent::Accepted);
    accept(&world, ADA, id, "").await.unwrap();
    world.settle().await;
    assert_eq!(availability(&world, BOB, ADA).await, Ok(Availability::Open), "accepted is accepted");
    assert!(send(&world, BOB, writing(id, "hello", "", &token)).await.is_ok());
    assert_eq!(availability(&world, ADA, ADA).await, Ok(Availability::Self_));
    let unknown = set(&world, ADA, MessagingPolicy::Unspecified, "").await;
    assert_eq!(unknown, refused(Code::InvalidArgument, "FIELD_INVALID"));
}

#[tokio::test]
async fn before_requests_are_open_a_stranger_is_told_that_he_comes_into_the_inbox() {
    let world = World::of(Group { reads: FIRST_EVENTS, ..crate::group(1) }).await;
    people(&world).await;
    assert_eq!(availability(&world, BOB, ADA).await, Ok(Availability::Open));
    let token = direct(&world, BOB, ADA).await.unwrap().1;
    assert_eq!((inbox(&world, ADA, 0, &token).await.len(), counts(&world, ADA, &token).await), (1, ((0, false), 0)));
    assert_eq!(availability(&world, BOB, ADA).await, Ok(Availability::Open));
}

#[tokio::test]
async fn a_block_takes_a_request_off_the_list_and_is_told_nowhere() {
    let world = World::start().await;
    people(&world).await;
    for who in [BOB, EVE] {
        direct(&world, who, ADA).await.unwrap();
    }
    world.settle().await;
    assert_eq!(counts(&world, ADA, &direct(&world, BOB, ADA).await.unwrap().1).await.0, (2, false));
    let block = Blocked { actor_id: ADA.to_string(), target_id: BOB.to_string(), create_time: None };
    let token = world.publish(RecordId([60; 16]), Identity::Blocked(block)).await;
    world.settle().await;
    assert_eq!((counts(&world, ADA, &token).await.0, requests(&world, ADA, 0, &token).await.0.len()), ((1, false), 1));
    let stranger = RecordId([77; 16]);
    assert_eq!(availability(&world, BOB, ADA).await, availability(&world, BOB, stranger).await);
    assert_eq!(availability(&world, BOB, ADA).await, refused(Code::NotFound, "ACCOUNT_NOT_FOUND"));
    assert_eq!(availability(&world, ADA, BOB).await, Ok(Availability::Blocked));
}
