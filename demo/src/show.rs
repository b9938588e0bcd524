//! A home feed, a discussion and the most reacted posts, as text for people.

use std::fmt::Write;

use kith_proto::engagement::v1 as engagement;
use kith_proto::engagement::v1::comment_service_client::CommentServiceClient;
use kith_proto::feeds::v1 as feeds;
use kith_proto::feeds::v1::feed_reason::Reason;
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;

use crate::client::{Services, ask};
use crate::expected::Expected;
use crate::load::Loaded;
use crate::plan::{Plan, handle};

const ENTRIES: usize = 8;
const COMMENTS: i32 = 5;

pub async fn show(services: &Services, plan: &Plan, expected: &Expected, loaded: &Loaded) -> anyhow::Result<String> {
    let most_friends = (0..plan.people).max_by_key(|&person| expected.feeds[person].len()).unwrap_or(0);
    let mut text = home_feed(services, loaded, most_friends).await?;
    let reactions = |post: &usize| expected.counts[*post].reactions.values().sum::<u64>();
    let mut standing: Vec<usize> = (0..plan.posts.len()).filter(|post| !expected.deleted.contains(post)).collect();
    if let Some(&discussed) = standing.iter().max_by_key(|post| expected.counts[**post].comments) {
        text += &discussion(services, plan, loaded, discussed).await?;
    }
    standing.sort_by_key(|post| std::cmp::Reverse(reactions(post)));
    text += "\nMost reacted posts\n";
    for post in standing.iter().take(ENTRIES) {
        let author = handle(plan.posts[*post].author);
        writeln!(text, "  {:>4} reactions  @{author}: {}", reactions(post), plan.posts[*post].text)?;
    }
    Ok(text)
}

async fn home_feed(services: &Services, loaded: &Loaded, reader: usize) -> anyhow::Result<String> {
    let client = FeedServiceClient::new(services.feeds.clone());
    let (page_size, page_token) = (ENTRIES as i32, String::new());
    let message = feeds::GetHomeFeedRequest { include_shares: true, page_size, page_token, at_least: Vec::new() };
    let page = ask!(client.get_home_feed(loaded.people[reader], message)).await?;
    let mut text = format!("\nHome feed of @{}\n", handle(reader));
    for item in page.items {
        let (post, counts) = (item.post.unwrap_or_default(), item.counts.unwrap_or_default());
        let author = item.author.unwrap_or_default().handle;
        let shared = match item.reason.and_then(|reason| reason.reason) {
            Some(Reason::SharedBy(_)) => " (shared by someone you follow)",
            Some(Reason::FollowedAuthor(_)) | None => "",
        };
        writeln!(text, "  @{author}{shared}: {}", post.text)?;
        let (reactions, comments, shares) = (counts.reaction_count, counts.comment_count, counts.share_count);
        writeln!(text, "      {reactions} reactions · {comments} comments · {shares} shares")?;
    }
    Ok(text)
}

async fn discussion(services: &Services, plan: &Plan, loaded: &Loaded, post: usize) -> anyhow::Result<String> {
    let client = CommentServiceClient::new(services.engagement.clone());
    let author = plan.posts[post].author;
    let message = engagement::ListCommentsRequest {
        post_id: loaded.posts[post].0.clone(),
        page_size: COMMENTS,
        ..engagement::ListCommentsRequest::default()
    };
    let page = ask!(client.list_comments(loaded.people[author], message)).await?;
    let mut text = format!("\nDiscussion under @{}: {}\n", handle(author), plan.posts[post].text);
    for comment in page.comments {
        let by = loaded.people.iter().position(|person| person.account_id == comment.author_id);
        writeln!(text, "  @{}: {}", by.map_or_else(|| "someone".to_owned(), handle), comment.text)?;
    }
    Ok(text)
}
