//! Pages of lists and feeds.

use kith_proto::engagement::v1 as engagement;
use kith_proto::engagement::v1::comment_service_server::CommentService;
use kith_proto::feeds::v1 as feeds;
use kith_proto::feeds::v1::feed_reason::Reason;
use kith_proto::feeds::v1::feed_service_server::FeedService;
use kith_proto::identity::v1 as identity;
use kith_proto::identity::v1::graph_service_server::GraphService;
use kith_proto::messaging::v1 as messaging;
use kith_proto::messaging::v1::message_service_server::MessageService;
use kith_proto::time;
use tonic::Status;

use super::call::{Ask, seen_counts, seen_post};
use super::history::{Body, List, Op, Reply, SeenItem};
use super::services::{Services, from};

pub(super) async fn list(services: &Services, ask: Ask) -> Result<Reply, Status> {
    let Op::List { list, page } = ask.op else { return Err(Status::unimplemented("not one page of a list")) };
    let (actor, at_least, page_size, page_token) = (ask.actor, ask.at_least, page.size, page.token);
    let ids = |ids: Vec<String>, next_page, token| Reply { body: Body::Ids(ids), token, next_page };
    let items = |items: Vec<feeds::FeedItem>, next_page, token| {
        let body = Body::Items(items.into_iter().map(seen_item).collect());
        Reply { body, token, next_page }
    };
    Ok(match list {
        List::Home { include_shares } => {
            let request = feeds::GetHomeFeedRequest { include_shares, page_size, page_token, at_least };
            let page = services.feeds.get_home_feed(from(&actor, request)).await?.into_inner();
            items(page.items, page.next_page_token, page.as_of)
        }
        List::Author { account: account_id } => {
            let include_shares = true;
            let request = feeds::GetAuthorFeedRequest { account_id, include_shares, page_size, page_token, at_least };
            let page = services.feeds.get_author_feed(from(&actor, request)).await?.into_inner();
            items(page.items, page.next_page_token, page.as_of)
        }
        List::Followers { account: account_id } => {
            let request = identity::ListFollowersRequest { account_id, page_size, page_token, at_least };
            let page = services.identity.list_followers(from(&actor, request)).await?.into_inner();
            ids(accounts(page.followers), page.next_page_token, page.as_of)
        }
        List::Following { account: account_id } => {
            let request = identity::ListFollowingRequest { account_id, page_size, page_token, at_least };
            let page = services.identity.list_following(from(&actor, request)).await?.into_inner();
            ids(accounts(page.following), page.next_page_token, page.as_of)
        }
        List::Comments { post_id } => {
            let parent_comment_id = String::new();
            let request =
                engagement::ListCommentsRequest { post_id, parent_comment_id, page_size, page_token, at_least };
            let page = services.engagement.list_comments(from(&actor, request)).await?.into_inner();
            let of = page.comments.into_iter().map(|comment| comment.comment_id).collect();
            ids(of, page.next_page_token, page.as_of)
        }
        List::Messages { talk: conversation_id } => {
            let request = messaging::ListMessagesRequest { conversation_id, page_size, page_token, at_least };
            let page = services.messaging.list_messages(from(&actor, request)).await?.into_inner();
            let of = page.messages.into_iter().map(|message| message.message_id).collect();
            ids(of, page.next_page_token, page.as_of)
        }
    })
}

fn accounts(entries: Vec<identity::FollowEntry>) -> Vec<String> {
    entries.into_iter().filter_map(|entry| entry.account).map(|account| account.account_id).collect()
}

fn seen_item(item: feeds::FeedItem) -> SeenItem {
    let post = item.post.unwrap_or_default();
    let created_ms = time::unix_ms(post.create_time.as_ref());
    let (shared_by, at_ms) = match item.reason.and_then(|reason| reason.reason) {
        Some(Reason::SharedBy(by)) => (Some(by.account_id), time::unix_ms(by.share_time.as_ref())),
        Some(Reason::FollowedAuthor(_)) | None => (None, created_ms),
    };
    let mine = item.viewer_state.unwrap_or_default();
    SeenItem {
        post: seen_post(post),
        counts: seen_counts(item.counts.unwrap_or_default()),
        mine: (mine.reaction, mine.shared),
        shared_by,
        at_ms,
    }
}
