//! An account that leaves and comes back: what everybody else finds meanwhile, in every service.

use std::time::Duration;

use kith_proto::engagement::v1 as engagement;
use kith_proto::engagement::v1::comment_service_client::CommentServiceClient;
use kith_proto::engagement::v1::reaction_service_client::ReactionServiceClient;
use kith_proto::feeds::v1 as feeds;
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;
use kith_proto::identity::v1 as identity;
use kith_proto::identity::v1::account_service_client::AccountServiceClient;
use kith_proto::identity::v1::graph_service_client::GraphServiceClient;
use kith_proto::messaging::v1 as messaging;
use kith_proto::messaging::v1::conversation_service_client::ConversationServiceClient;
use kith_proto::posts::v1 as posts;
use kith_proto::posts::v1::post_service_client::PostServiceClient;
use kith_service::limits::REVOCATIONS_KNOWN_SECONDS;
use kith_tests::wait;
use tonic::{Code, Status};

use super::{Caller, PASSWORD, World, refused};

/// The handle of who leaves.
const ADA: &str = "ada_leaves";
/// Every process refuses by then; a busy machine gets a little longer to ask.
const REFUSED_WITHIN: Duration = Duration::from_secs(REVOCATIONS_KNOWN_SECONDS + 5);

impl Caller {
    fn accounts(&self) -> AccountServiceClient<tonic::transport::Channel> {
        AccountServiceClient::new(self.channel.clone())
    }

    async fn get_account(&self, account_id: &str, at_least: Vec<String>) -> Result<identity::Account, Status> {
        let get = identity::GetAccountRequest { account_id: account_id.into(), at_least };
        Ok(self.accounts().get_account(self.request(get)).await?.into_inner().account.unwrap())
    }

    async fn resolve(&self, handle: &str, at_least: Vec<String>) -> Result<identity::Account, Status> {
        let resolve = identity::ResolveHandleRequest { handle: handle.into(), at_least };
        Ok(self.accounts().resolve_handle(self.request(resolve)).await?.into_inner().account.unwrap())
    }

    async fn deactivate(&self, request_id: &str) -> Result<String, Status> {
        let leave = identity::DeactivateAccountRequest { request_id: request_id.into(), at_least: Vec::new() };
        Ok(self.accounts().deactivate_account(self.request(leave)).await?.into_inner().consistency_token)
    }

    async fn reactivate(&self, handle: &str, password: &str) -> Result<String, Status> {
        let (handle, password) = (handle.into(), password.into());
        let back = identity::ReactivateAccountRequest { handle, password, ..Default::default() };
        Ok(self.accounts().reactivate_account(self.request(back)).await?.into_inner().consistency_token)
    }
}

/// What one account is shown of another, and of its one post, with a token.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    account: bool,
    handle: bool,
    post: bool,
    followed: usize,
    /// Of the other's own lists and feeds: `None`, they are not there.
    followers: Option<usize>,
    by_author: Option<usize>,
    home: usize,
    comments: usize,
    conversation_members: usize,
    availability: bool,
    following: bool,
}

/// Nobody is there.
const NOTHING: Shown = Shown {
    account: false,
    handle: false,
    post: false,
    followed: 0,
    followers: None,
    by_author: None,
    home: 0,
    comments: 0,
    conversation_members: 1,
    availability: false,
    following: false,
};

/// What NOT_FOUND means, and nothing else.
fn found<T>(answer: Result<T, Status>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(status) if status.code() == Code::NotFound => None,
        Err(status) => panic!("{status:?}"),
    }
}

/// The caller's own post has the other's comment; `post_id` is the other's.
async fn shown(caller: &Caller, own_id: &str, other_id: &str, posts: (&str, &str), tokens: &[String]) -> Shown {
    let at_least = || tokens.to_vec();
    let channel = || caller.channel.clone();
    let (own_post, post_id) = posts;
    let mut graph = GraphServiceClient::new(channel());
    let following =
        identity::ListFollowingRequest { account_id: own_id.into(), at_least: at_least(), ..Default::default() };
    let following = graph.list_following(caller.request(following)).await.unwrap().into_inner();
    let followers =
        identity::ListFollowersRequest { account_id: other_id.into(), at_least: at_least(), ..Default::default() };
    let followers = found(graph.list_followers(caller.request(followers)).await);
    let pairs = identity::BatchGetRelationshipsRequest { target_ids: vec![other_id.into()], at_least: at_least() };
    let pairs = graph.batch_get_relationships(caller.request(pairs)).await.unwrap().into_inner();
    let get = posts::GetPostRequest { post_id: post_id.into(), at_least: at_least() };
    let post = found(PostServiceClient::new(channel()).get_post(caller.request(get)).await);
    let mut feed = FeedServiceClient::new(channel());
    let home = feeds::GetHomeFeedRequest { at_least: at_least(), ..Default::default() };
    let home = feed.get_home_feed(caller.request(home)).await.unwrap().into_inner();
    let author =
        feeds::GetAuthorFeedRequest { account_id: other_id.into(), at_least: at_least(), ..Default::default() };
    let author = found(feed.get_author_feed(caller.request(author)).await);
    let comments =
        engagement::ListCommentsRequest { post_id: own_post.into(), at_least: at_least(), ..Default::default() };
    let comments = CommentServiceClient::new(channel()).list_comments(caller.request(comments)).await.unwrap();
    let mut talks = ConversationServiceClient::new(channel());
    let list = messaging::ListConversationsRequest { at_least: at_least(), ..Default::default() };
    let list = talks.list_conversations(caller.request(list)).await.unwrap().into_inner();
    let may = messaging::GetAvailabilityRequest { account_id: other_id.into(), at_least: at_least() };
    Shown {
        account: found(caller.get_account(other_id, at_least()).await).is_some(),
        handle: found(caller.resolve(ADA, at_least()).await).is_some(),
        post: post.is_some(),
        followed: following.following.len(),
        followers: followers.map(|page| page.into_inner().followers.len()),
        by_author: author.map(|page| page.into_inner().items.len()),
        home: home.items.iter().filter(|item| item.post.as_ref().unwrap().author_id == other_id).count(),
        comments: comments.into_inner().comments.len(),
        conversation_members: list.conversations[0].member_ids.len(),
        availability: found(talks.get_availability(caller.request(may)).await).is_some(),
        following: pairs.relationships[0].following,
    }
}

/// What holds on both adapters.
pub async fn an_account_leaves_and_comes_back_whole(world: &World) {
    let ((ada_id, ada), (bob_id, bob)) = (world.person(ADA).await, world.person("bob_stays").await);
    let [web, reader] = ["web", "reader"].map(|name| world.service(name));
    let post = ada.post("hello", "").await.unwrap();
    let own = bob.post("mine", "").await.unwrap();
    let follow = identity::FollowRequest { target_id: ada_id.clone(), ..Default::default() };
    let follow = GraphServiceClient::new(bob.channel.clone()).follow(bob.request(follow)).await.unwrap().into_inner();
    let follow_back = identity::FollowRequest { target_id: bob_id.clone(), ..Default::default() };
    let mut graph = GraphServiceClient::new(ada.channel.clone());
    let back = graph.follow(ada.request(follow_back)).await.unwrap().into_inner();
    let comment = engagement::CreateCommentRequest {
        post_id: own.post_id.clone(),
        text: "first".into(),
        at_least: vec![back.consistency_token.clone()],
        ..Default::default()
    };
    let comment = wait::until("the post to be commented", REFUSED_WITHIN, async || {
        let request = ada.request(comment.clone());
        Ok(CommentServiceClient::new(ada.channel.clone()).create_comment(request).await.ok())
    });
    let comment = comment.await.unwrap().into_inner();
    let open = messaging::GetOrCreateDirectRequest {
        account_id: ada_id.clone(),
        at_least: vec![back.consistency_token.clone(), follow.consistency_token.clone()],
        ..Default::default()
    };
    let mut talks = ConversationServiceClient::new(bob.channel.clone());
    let talk = talks.get_or_create_direct(bob.request(open)).await.unwrap().into_inner();
    let tokens = [follow.consistency_token, back.consistency_token, comment.consistency_token, talk.consistency_token];
    let see = async |tokens: &[String]| shown(&bob, &bob_id, &ada_id, (&own.post_id, &post.post_id), tokens).await;
    wait::until(
        "the posts are in the feeds",
        REFUSED_WITHIN,
        async || Ok((see(&tokens).await.home == 1).then_some(())),
    )
    .await
    .unwrap();
    let before = see(&tokens).await;

    let left = web.for_account(&ada_id).deactivate("1").await.unwrap();
    assert_eq!(web.for_account(&ada_id).deactivate("1").await.map(|_| ()).map_err(|status| status.code()), Ok(()));
    assert_eq!(see(std::slice::from_ref(&left)).await, NOTHING);
    refused(reader.get_account(&ada_id, vec![left.clone()]).await, Code::NotFound, "ACCOUNT_NOT_FOUND");
    let react = engagement::ReactRequest {
        subject: Some(engagement::Subject { post_id: post.post_id.clone(), ..Default::default() }),
        kind: engagement::ReactionKind::Like.into(),
        at_least: vec![left.clone()],
        ..Default::default()
    };
    let react = ReactionServiceClient::new(bob.channel.clone()).react(bob.request(react)).await;
    refused(react, Code::NotFound, "POST_NOT_FOUND");
    refused(web.for_account(&ada_id).post_after("x", &left).await, Code::FailedPrecondition, "ACCOUNT_DEACTIVATED");
    refused(world.anyone().sign_in(ADA, PASSWORD, &left).await, Code::FailedPrecondition, "ACCOUNT_DEACTIVATED");
    refused(world.anyone().sign_in(ADA, "of another kind", &left).await, Code::Unauthenticated, "CREDENTIALS_INVALID");
    refused(world.anyone().reactivate(ADA, "of another kind").await, Code::Unauthenticated, "CREDENTIALS_INVALID");
    let over = wait::until("her session is over", REFUSED_WITHIN, async || Ok(ada.home().await.err())).await.unwrap();
    assert_eq!(over.code(), Code::Unauthenticated);

    let back = world.anyone().reactivate(ADA, PASSWORD).await.unwrap();
    assert_eq!(see(std::slice::from_ref(&back)).await, before);
    refused(ada.home().await.map(|_| ()), Code::Unauthenticated, "SESSION_ENDED");
    world.anyone().sign_in(ADA, PASSWORD, &back).await.unwrap();
    let left = web.for_account(&ada_id).deactivate("2").await.unwrap();
    assert_eq!(see(std::slice::from_ref(&left)).await, NOTHING);
    let back = web.for_account(&ada_id).reactivate("", "").await.unwrap();
    assert_eq!(see(std::slice::from_ref(&back)).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_leaves_and_comes_back_whole_over_embedded_stores() {
    an_account_leaves_and_comes_back_whole(&World::embedded().await).await;
}
