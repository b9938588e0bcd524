//! Consent through the wire: strangers' conversations wait, over kills of the suite, until they are accepted or declined.

use kith_proto::messaging::v1::{
    AcceptConversationRequest, Availability, Consent, Conversation, ConversationList, DeclineConversationRequest,
    GetAvailabilityRequest, GetOrCreateDirectRequest, GetUnreadCountsRequest, ListConversationsRequest,
    MessagingPolicy, SendMessageRequest, SetMessagingPolicyRequest,
};
use tonic::Code;

use crate::bad_input::caller::{Account, Caller, World};

async fn listed(who: &Caller, list: ConversationList, token: &str) -> Vec<Conversation> {
    let (list, at_least) = (list.into(), vec![token.to_owned()]);
    who.conversations(ListConversationsRequest { list, at_least, ..Default::default() }).await.ok().conversations
}

/// What is unread in the inbox, and how many requests wait.
async fn counts(who: &Caller, token: &str) -> (u64, u32) {
    let counts =
        who.unread(GetUnreadCountsRequest { at_least: vec![token.to_owned()], ..Default::default() }).await.ok();
    assert!(!counts.incomplete && !counts.has_more_requests);
    (counts.total_unread_count, counts.request_count)
}

/// Opens a conversation and says something in it; gives the conversation and the token.
async fn asks(who: &Caller, whom: &Account) -> (String, String) {
    let at_least = vec![who.token.clone(), whom.token.clone()];
    let open = GetOrCreateDirectRequest { account_id: whom.account_id.clone(), at_least, ..Default::default() };
    let opened = who.direct(open).await.ok();
    let conversation_id = opened.conversation.unwrap().conversation_id;
    let token = says(who, &conversation_id, "hello", &opened.consistency_token).await;
    (conversation_id, token)
}

fn saying(conversation_id: &str, text: &str, token: &str) -> SendMessageRequest {
    let (conversation_id, text, at_least) = (conversation_id.to_owned(), text.to_owned(), vec![token.to_owned()]);
    SendMessageRequest { conversation_id, text, at_least, ..SendMessageRequest::default() }
}

async fn says(who: &Caller, conversation_id: &str, text: &str, token: &str) -> String {
    who.send_message(saying(conversation_id, text, token)).await.ok().consistency_token
}

async fn available(who: &Caller, whom: &Account, token: &str) -> Availability {
    let request = GetAvailabilityRequest { account_id: whom.account_id.clone(), at_least: vec![token.to_owned()] };
    who.availability(request).await.ok().availability()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_waits_and_a_declined_one_is_never_told() {
    let mut world = World::start().await;
    let [ada, bob, eve, joe] = world.accounts(["ada", "bob", "eve", "joe"]).await;
    world.follow(&ada, &joe).await;
    let (as_ada, as_bob, as_eve, as_joe) =
        (world.sign_in(&ada), world.sign_in(&bob), world.sign_in(&eve), world.sign_in(&joe));
    let (of_bob, token) = asks(&as_bob, &ada).await;
    let (of_eve, _) = asks(&as_eve, &ada).await;
    let (of_joe, later) = asks(&as_joe, &ada).await;
    world.crash().await;
    // Whom she follows comes into the inbox, the others wait; newest first.
    let seen = listed(&as_ada, ConversationList::Inbox, &later).await;
    assert_eq!(seen.iter().map(|of| &of.conversation_id).collect::<Vec<_>>(), [&of_joe]);
    let waiting = listed(&as_ada, ConversationList::Requests, &token).await;
    assert_eq!(waiting.iter().map(|of| &of.conversation_id).collect::<Vec<_>>(), [&of_eve, &of_bob]);
    assert!(waiting.iter().all(|of| (of.consent(), of.unread_count) == (Consent::Requested, 1)));
    assert_eq!(counts(&as_ada, &later).await, (1, 2));

    let accept = || AcceptConversationRequest { conversation_id: of_bob.clone(), ..Default::default() };
    let (one, other) = tokio::join!(as_ada.accept(accept()), as_ada.accept(accept()));
    let (one, other) = (one.ok(), other.ok());
    assert_eq!([one.conversation.unwrap().consent(), other.conversation.unwrap().consent()], [Consent::Accepted; 2]);
    let decline = DeclineConversationRequest { conversation_id: of_eve.clone(), ..Default::default() };
    let declined = as_ada.decline(decline).await.ok();
    assert_eq!(declined.conversation.unwrap().consent(), Consent::Declined);
    let mut token = says(&as_eve, &of_eve, "are you there?", &declined.consistency_token).await;
    token = says(&as_eve, &of_eve, "hello?", &token).await;
    world.crash().await;
    as_eve.send_message(saying(&of_eve, "one more", &token)).await.is(
        Code::FailedPrecondition,
        "CONVERSATION_NOT_ACCEPTED",
        None,
    );
    for (token, of) in [(&token, &of_bob), (&other.consistency_token, &of_bob)] {
        assert!(listed(&as_ada, ConversationList::Inbox, token).await.iter().any(|seen| seen.conversation_id == *of));
    }
    assert!(listed(&as_ada, ConversationList::Requests, &token).await.is_empty());
    assert_eq!(listed(&as_ada, ConversationList::Inbox, &token).await.len(), 2);
    assert_eq!(counts(&as_ada, &token).await, (2, 0));
    let of_hers = listed(&as_eve, ConversationList::Inbox, &token).await;
    assert_eq!((of_hers.len(), of_hers[0].consent(), of_hers[0].last_message_number), (1, Consent::Accepted, 3));
    assert_eq!(available(&as_eve, &ada, &token).await, Availability::AwaitsAcceptance);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_keeps_strangers_out_and_a_block_is_told_by_nobody() {
    let mut world = World::start().await;
    let [ada, bob, eve] = world.accounts(["ada", "bob", "eve"]).await;
    world.follow(&ada, &bob).await;
    let (as_ada, as_bob, as_eve) = (world.sign_in(&ada), world.sign_in(&bob), world.sign_in(&eve));
    let set = SetMessagingPolicyRequest { policy: MessagingPolicy::Followed.into(), ..Default::default() };
    let set = as_ada.set_policy(set).await.ok();
    assert_eq!(set.policy(), MessagingPolicy::Followed);
    let token = set.consistency_token;
    world.crash().await;
    assert_eq!(available(&as_bob, &ada, &token).await, Availability::Open);
    assert_eq!(available(&as_eve, &ada, &token).await, Availability::FollowedOnly);
    let open = || GetOrCreateDirectRequest { account_id: ada.account_id.clone(), ..Default::default() };
    as_eve.direct(open()).await.is(Code::FailedPrecondition, "MESSAGING_NOT_ALLOWED", None);
    as_bob.direct(open()).await.ok();
    world.block(&ada, &eve).await;
    as_eve.direct(open()).await.is(Code::NotFound, "ACCOUNT_NOT_FOUND", None);
    let asked =
        |account: &Account| GetAvailabilityRequest { account_id: account.account_id.clone(), ..Default::default() };
    as_eve.availability(asked(&ada)).await.is(Code::NotFound, "ACCOUNT_NOT_FOUND", None);
    assert_eq!(available(&as_ada, &eve, &token).await, Availability::Blocked);
}
