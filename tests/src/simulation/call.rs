//! From what a client asks for to the handler, and back.

use kith_proto::engagement::v1 as engagement;
use kith_proto::engagement::v1::comment_service_server::CommentService;
use kith_proto::engagement::v1::engagement_service_server::EngagementService as _;
use kith_proto::engagement::v1::reaction_service_server::ReactionService;
use kith_proto::engagement::v1::share_service_server::ShareService;
use kith_proto::identity::v1 as identity;
use kith_proto::identity::v1::account_service_server::AccountService;
use kith_proto::identity::v1::graph_service_server::GraphService;
use kith_proto::messaging::v1 as messaging;
use kith_proto::messaging::v1::conversation_service_server::ConversationService;
use kith_proto::messaging::v1::message_service_server::MessageService;
use kith_proto::posts::v1 as posts;
use kith_proto::posts::v1::post_service_server::PostService;
use tonic::Status;

use super::history::{Body, Op, Reply, SeenCounts, SeenPost};
use super::list::list;
use super::services::{Services, from};

/// One request.
pub struct Ask {
    pub actor: String,
    pub request_id: String,
    pub at_least: Vec<String>,
    pub op: Op,
}

/// Calls the handler that the op is for.
pub async fn call(services: &Services, ask: Ask) -> Result<Reply, Status> {
    match &ask.op {
        Op::CreateAccount { .. }
        | Op::Follow { .. }
        | Op::Unfollow { .. }
        | Op::Block { .. }
        | Op::Unblock { .. }
        | Op::Resolve { .. } => identity(services, ask).await,
        Op::CreatePost { .. } | Op::EditPost { .. } | Op::DeletePost { .. } | Op::GetPost { .. } => {
            post(services, ask).await
        }
        Op::React { .. }
        | Op::Unreact { .. }
        | Op::Comment { .. }
        | Op::Share { .. }
        | Op::Unshare { .. }
        | Op::Counts { .. } => engage(services, ask).await,
        Op::OpenTalk { .. } | Op::Send { .. } | Op::MarkRead { .. } | Op::Unread { .. } => talk(services, ask).await,
        Op::List { .. } | Op::Walk { .. } => list(services, ask).await,
    }
}

fn reply(body: Body, token: String) -> Reply {
    Reply { body, token, next_page: String::new() }
}

async fn identity(services: &Services, ask: Ask) -> Result<Reply, Status> {
    let Ask { actor, request_id, at_least, op } = ask;
    let service = &services.identity;
    let token = match op {
        Op::CreateAccount { handle } => {
            let password = "correct horse".to_owned();
            let request = identity::CreateAccountRequest { handle, password, request_id, at_least, profile: None };
            let created = service.create_account(from(&actor, request)).await?.into_inner();
            let account_id = created.account.unwrap_or_default().account_id;
            return Ok(reply(Body::Id(account_id), created.consistency_token));
        }
        Op::Resolve { handle } => {
            let request = identity::ResolveHandleRequest { handle, at_least };
            let found = service.resolve_handle(from(&actor, request)).await?.into_inner();
            return Ok(reply(Body::Id(found.account.unwrap_or_default().account_id), found.as_of));
        }
        Op::Follow { target: target_id, shows_shares } => {
            let request = identity::FollowRequest { target_id, shows_shares, notify: false, request_id, at_least };
            service.follow(from(&actor, request)).await?.into_inner().consistency_token
        }
        Op::Unfollow { target: target_id } => {
            let request = identity::UnfollowRequest { target_id, request_id, at_least };
            service.unfollow(from(&actor, request)).await?.into_inner().consistency_token
        }
        Op::Block { target: target_id } => {
            let request = identity::BlockRequest { target_id, request_id, at_least };
            service.block(from(&actor, request)).await?.into_inner().consistency_token
        }
        Op::Unblock { target: target_id } => {
            let request = identity::UnblockRequest { target_id, request_id, at_least };
            service.unblock(from(&actor, request)).await?.into_inner().consistency_token
        }
        _ => return Err(Status::unimplemented("not of identity")),
    };
    Ok(reply(Body::Done, token))
}

async fn post(services: &Services, ask: Ask) -> Result<Reply, Status> {
    let Ask { actor, request_id, at_least, op } = ask;
    let service = &services.posts;
    let (post, token) = match op {
        Op::CreatePost { text } => {
            let request = posts::CreatePostRequest { text, request_id, at_least, languages: Vec::new() };
            let created = service.create_post(from(&actor, request)).await?.into_inner();
            (created.post, created.consistency_token)
        }
        Op::EditPost { post_id, text, expected_revision } => {
            let request = posts::EditPostRequest { post_id, text, expected_revision, request_id, at_least };
            let edited = service.edit_post(from(&actor, request)).await?.into_inner();
            (edited.post, edited.consistency_token)
        }
        Op::GetPost { post_id } => {
            let found = service.get_post(from(&actor, posts::GetPostRequest { post_id, at_least })).await?;
            let found = found.into_inner();
            (found.post, found.as_of)
        }
        Op::DeletePost { post_id } => {
            let request = posts::DeletePostRequest { post_id, request_id, at_least };
            let deleted = service.delete_post(from(&actor, request)).await?.into_inner();
            return Ok(reply(Body::Done, deleted.consistency_token));
        }
        _ => return Err(Status::unimplemented("not of posts")),
    };
    Ok(reply(Body::Post(seen_post(post.unwrap_or_default())), token))
}

pub(super) fn seen_post(post: posts::Post) -> SeenPost {
    SeenPost { post_id: post.post_id, author_id: post.author_id, text: post.text, revision: post.revision }
}

pub(super) fn seen_counts(counts: engagement::Counts) -> SeenCounts {
    let by_kind = counts.reactions_by_kind.into_iter().map(|of| (of.kind, of.count)).collect();
    (by_kind, counts.comment_count, counts.share_count)
}

async fn engage(services: &Services, ask: Ask) -> Result<Reply, Status> {
    let Ask { actor, request_id, at_least, op } = ask;
    let service = &services.engagement;
    let subject = |post_id: String| Some(engagement::Subject { post_id, comment_id: String::new() });
    let token = match op {
        Op::React { post_id, kind } => {
            let request = engagement::ReactRequest { subject: subject(post_id), kind, request_id, at_least };
            service.react(from(&actor, request)).await?.into_inner().consistency_token
        }
        Op::Unreact { post_id } => {
            let request = engagement::UnreactRequest { subject: subject(post_id), request_id, at_least };
            service.unreact(from(&actor, request)).await?.into_inner().consistency_token
        }
        Op::Unshare { post_id } => {
            let request = engagement::UnshareRequest { post_id, request_id, at_least };
            service.unshare(from(&actor, request)).await?.into_inner().consistency_token
        }
        Op::Share { post_id } => {
            let request = engagement::ShareRequest { post_id, via_account_id: String::new(), request_id, at_least };
            service.share(from(&actor, request)).await?.into_inner().consistency_token
        }
        Op::Comment { post_id, text } => {
            let parent_comment_id = String::new();
            let request = engagement::CreateCommentRequest { post_id, parent_comment_id, text, request_id, at_least };
            let created = service.create_comment(from(&actor, request)).await?.into_inner();
            let id = created.comment.unwrap_or_default().comment_id;
            return Ok(reply(Body::Id(id), created.consistency_token));
        }
        Op::Counts { post_id } => {
            let subjects = subject(post_id).into_iter().collect();
            let request = engagement::BatchGetCountsRequest { subjects, at_least };
            let found = service.batch_get_counts(from(&actor, request)).await?.into_inner();
            let counts = found.entries.into_iter().next().and_then(|entry| entry.counts);
            let counts = counts.ok_or_else(|| Status::not_found("no counts for this caller"))?;
            return Ok(reply(Body::Counts(seen_counts(counts)), found.as_of));
        }
        _ => return Err(Status::unimplemented("not of engagement")),
    };
    Ok(reply(Body::Done, token))
}

async fn talk(services: &Services, ask: Ask) -> Result<Reply, Status> {
    let Ask { actor, request_id, at_least, op } = ask;
    let service = &services.messaging;
    Ok(match op {
        Op::OpenTalk { other: account_id } => {
            let request = messaging::GetOrCreateDirectRequest { account_id, request_id, at_least };
            let opened = service.get_or_create_direct(from(&actor, request)).await?.into_inner();
            reply(Body::Id(opened.conversation.unwrap_or_default().conversation_id), opened.consistency_token)
        }
        Op::Send { talk: conversation_id, text } => {
            let request = messaging::SendMessageRequest { conversation_id, text, request_id, at_least };
            let sent = service.send_message(from(&actor, request)).await?.into_inner();
            reply(Body::Id(sent.message.unwrap_or_default().message_id), sent.consistency_token)
        }
        Op::MarkRead { talk: conversation_id, up_to: up_to_number } => {
            let request = messaging::MarkReadRequest { conversation_id, up_to_number, request_id, at_least };
            let read = service.mark_read(from(&actor, request)).await?.into_inner();
            reply(Body::Number(read.read_number), read.consistency_token)
        }
        Op::Unread { talk } => {
            let request = messaging::GetUnreadCountsRequest { conversation_ids: vec![talk], at_least };
            let found = service.get_unread_counts(from(&actor, request)).await?.into_inner();
            let count = found.counts.first().map_or(0, |count| count.unread_count);
            reply(Body::Number(count), found.as_of)
        }
        _ => return Err(Status::unimplemented("not of messaging")),
    })
}
