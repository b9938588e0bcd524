//! A few commands of every service, some of them at once, called as the server calls them.

use std::sync::Arc;

use kith_fold::Projection;
use kith_fold::engine::Ports;
use kith_identity::{Deps, IdentityService};
use kith_log::RecordId;
use kith_proto::engagement::v1 as engagement;
use kith_proto::engagement::v1::comment_service_server::CommentService;
use kith_proto::engagement::v1::reaction_service_server::ReactionService;
use kith_proto::engagement::v1::share_service_server::ShareService;
use kith_proto::feeds::v1 as feeds;
use kith_proto::feeds::v1::feed_service_server::FeedService;
use kith_proto::identity::v1 as identity;
use kith_proto::identity::v1::account_service_server::AccountService;
use kith_proto::identity::v1::graph_service_server::GraphService;
use kith_proto::messaging::v1 as messaging;
use kith_proto::messaging::v1::conversation_service_server::ConversationService;
use kith_proto::messaging::v1::message_service_server::MessageService;
use kith_proto::posts::v1 as posts;
use kith_proto::posts::v1::post_service_server::PostService;
use kith_service::auth::{Authentication, Caller, Principals, TokenIssuer, Verifier};
use kith_service::config::SignUp;
use kith_service::consistency_token::ConsistencyTokens;
use kith_service::keys::KeyFolder;
use kith_service::kit::Kit;
use kith_service::page_token::PageTokens;
use kith_service::rate::{Rate, Refused};
use tonic::Request;

const PEOPLE: usize = 4;

struct Services {
    identity: IdentityService,
    posts: kith_posts::PostsService,
    engagement: kith_engagement::EngagementService,
    messaging: kith_messaging::MessagingService,
    feeds: kith_projector::Feeds,
}

fn services(ports: &Ports, running: &[Arc<Projection>]) -> Services {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFolder::at(folder.path());
    keys.create_missing(&ports.runtime).unwrap();
    let page_tokens = Arc::new(PageTokens::new(keys.page_token_key().unwrap()).unwrap());
    let key = keys.consistency_token_key().unwrap();
    let tokens = ConsistencyTokens::new(key, ports.log.partition_count(), ports.runtime.clone()).unwrap();
    let kit = |group: &str| {
        let of = running.iter().find(|projection| projection.group_name() == group).unwrap();
        Arc::new(Kit::new(Arc::clone(of), (Arc::clone(&page_tokens), tokens.clone()), 1_000))
    };
    let deps = Deps {
        kit: kit(kith_identity::GROUP),
        issuer: TokenIssuer::new(keys.signing_key().unwrap(), ports.runtime.clone()),
        refresh_token_key: keys.refresh_token_key().unwrap(),
        verifier: Verifier::open(folder.path().join("jwks.json"), ports.runtime.clone()).unwrap(),
        principals: Principals::default(),
        refresh_token_rotates_seconds: 86_400,
        password_memory_kib: 64,
        backfill_window_seconds: 3_600,
        reserved_handles: Default::default(),
        well_known_handles: Default::default(),
        sign_up: (SignUp::Open, Rate::UNLIMITED),
        refused: Refused::default(),
    };
    Services {
        identity: IdentityService::new(deps).unwrap(),
        posts: kith_posts::PostsService::new(kit(kith_posts::GROUP)),
        engagement: kith_engagement::EngagementService::new(kit(kith_engagement::GROUP)),
        messaging: kith_messaging::MessagingService::new(kit(kith_messaging::GROUP)),
        feeds: kith_projector::Feeds::new(kit(kith_projector::GROUP)),
    }
}

/// `message` as `account` sends it. Request ids are left to the server, that is to the seed.
fn from<T>(account: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let account_id = RecordId::parse(account).unwrap();
    request.extensions_mut().insert(Authentication::Caller(Caller::of(account_id)));
    request
}

pub async fn play(ports: &Ports, running: &[Arc<Projection>]) {
    let services = services(ports, running);
    let people = futures::future::join_all((0..PEOPLE).map(|person| join(&services, person))).await;
    let (ids, tokens): (Vec<String>, Vec<String>) = people.into_iter().unzip();
    for follower in &ids {
        for target in ids.iter().filter(|target| *target != follower) {
            let target_id = target.clone();
            let follow = identity::FollowRequest {
                target_id,
                shows_shares: true,
                at_least: tokens.clone(),
                ..Default::default()
            };
            services.identity.follow(from(follower, follow)).await.unwrap();
        }
    }
    let written = futures::future::join_all(ids.iter().map(|author| publish(&services, author, &tokens))).await;
    for (post_id, token) in &written {
        futures::future::join_all(ids.iter().map(|actor| engage(&services, actor, post_id, token))).await;
    }
    talk(&services, &ids, &tokens).await;
    let block = identity::BlockRequest { target_id: ids[1].clone(), ..Default::default() };
    services.identity.block(from(&ids[0], block)).await.unwrap();
    let delete = posts::DeletePostRequest {
        post_id: written[2].0.clone(),
        at_least: vec![written[2].1.clone()],
        ..Default::default()
    };
    let deleted = services.posts.delete_post(from(&ids[2], delete)).await.unwrap().into_inner();
    let feed = feeds::GetHomeFeedRequest {
        include_shares: true,
        at_least: vec![deleted.consistency_token],
        ..Default::default()
    };
    let feed = services.feeds.get_home_feed(from(&ids[3], feed)).await.unwrap().into_inner();
    assert_eq!(feed.items.len(), 3, "the posts of two others, and their shares of one's own; the third's is deleted");
}

async fn join(services: &Services, person: usize) -> (String, String) {
    let request = identity::CreateAccountRequest {
        handle: format!("person_{person}"),
        password: "correct horse".to_owned(),
        ..Default::default()
    };
    let created = services.identity.create_account(Request::new(request)).await.unwrap().into_inner();
    (created.account.unwrap().account_id, created.consistency_token)
}

async fn publish(services: &Services, author: &str, tokens: &[String]) -> (String, String) {
    let text = "hello @person_1 #first".to_owned();
    let create = posts::CreatePostRequest { text, at_least: tokens.to_vec(), ..Default::default() };
    let created = services.posts.create_post(from(author, create)).await.unwrap().into_inner();
    let post_id = created.post.unwrap().post_id;
    let edit = posts::EditPostRequest {
        post_id: post_id.clone(),
        text: "hello again #second".to_owned(),
        expected_revision: 1,
        at_least: vec![created.consistency_token],
        ..Default::default()
    };
    let edited = services.posts.edit_post(from(author, edit)).await.unwrap().into_inner();
    (post_id, edited.consistency_token)
}

async fn engage(services: &Services, actor: &str, post_id: &str, token: &str) {
    let subject = engagement::Subject { post_id: post_id.to_owned(), comment_id: String::new() };
    let (kind, at_least) = (engagement::ReactionKind::Love.into(), vec![token.to_owned()]);
    let react =
        engagement::ReactRequest { subject: Some(subject), kind, at_least: at_least.clone(), ..Default::default() };
    let (post_id, text) = (post_id.to_owned(), "well said".to_owned());
    let comment = engagement::CreateCommentRequest {
        post_id: post_id.clone(),
        text,
        at_least: at_least.clone(),
        ..Default::default()
    };
    let share = engagement::ShareRequest { post_id, at_least, ..Default::default() };
    let (reacted, commented, shared) = tokio::join!(
        biased;
        services.engagement.react(from(actor, react)),
        services.engagement.create_comment(from(actor, comment)),
        services.engagement.share(from(actor, share)),
    );
    reacted.unwrap();
    commented.unwrap();
    shared.unwrap();
}

async fn talk(services: &Services, ids: &[String], tokens: &[String]) {
    let open = messaging::GetOrCreateDirectRequest {
        account_id: ids[2].clone(),
        at_least: tokens.to_vec(),
        ..Default::default()
    };
    let opened = services.messaging.get_or_create_direct(from(&ids[3], open)).await.unwrap().into_inner();
    let conversation_id = opened.conversation.unwrap().conversation_id;
    let mut at_least = vec![opened.consistency_token];
    for by in [2, 3, 2] {
        let text = format!("from {by}");
        let send = messaging::SendMessageRequest {
            conversation_id: conversation_id.clone(),
            text,
            at_least,
            ..Default::default()
        };
        let sent = services.messaging.send_message(from(&ids[by], send)).await.unwrap().into_inner();
        at_least = vec![sent.consistency_token];
    }
    let read = messaging::MarkReadRequest { conversation_id, up_to_number: 3, at_least, ..Default::default() };
    services.messaging.mark_read(from(&ids[3], read)).await.unwrap();
}
