//! Shows a home feed, a discussion and the most reacted posts, for people to read.

use kith_proto::engagement::v1 as engagement;
use kith_proto::engagement::v1::comment_service_client::CommentServiceClient;
use kith_proto::feeds::v1 as feeds;
use kith_proto::feeds::v1::feed_reason::Reason;
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;

use super::client::{Services, ask};
use super::expected::Expected;
use super::load::Loaded;
use super::plan::Plan;

const ENTRIES: usize = 8;
const COMMENTS: i32 = 5;

pub async fn show(services: &Services, plan: &Plan, expected: &Expected, loaded: &Loaded) -> anyhow::Result<()> {
    let most_friends = (0..plan.people).max_by_key(|&person| expected.feeds[person].len()).unwrap_or(0);
    home_feed(services, loaded, most_friends).await?;
    let reactions = |post: &usize| expected.counts[*post].reactions.values().sum::<u64>();
    let mut standing: Vec<usize> = (0..plan.posts.len()).filter(|post| !expected.deleted.contains(post)).collect();
    if let Some(&discussed) = standing.iter().max_by_key(|post| expected.counts[**post].comments) {
        discussion(services, plan, loaded, discussed).await?;
    }
    standing.sort_by_key(|post| std::cmp::Reverse(reactions(post)));
    say!("\nMost reacted posts");
    for post in standing.iter().take(ENTRIES) {
        let author = super::handle(plan.posts[*post].author);
        say!("  {:>4} reactions  @{author}: {}", reactions(post), plan.posts[*post].text);
    }
    Ok(())
}

async fn home_feed(services: &Services, loaded: &Loaded, reader: usize) -> anyhow::Result<()> {
    let client = FeedServiceClient::new(services.feeds.clone());
    let (page_size, page_token) = (ENTRIES as i32, String::new());
    let message = feeds::GetHomeFeedRequest { include_shares: true, page_size, page_token, at_least: Vec::new() };
    let page = ask!(client.get_home_feed(loaded.people[reader], message)).await?;
    say!("\nHome feed of @{}", super::handle(reader));
    for item in page.items {
        let (post, counts) = (item.post.unwrap_or_default(), item.counts.unwrap_or_default());
        let author = item.author.unwrap_or_default().handle;
        let shared = match item.reason.and_then(|reason| reason.reason) {
            Some(Reason::SharedBy(_)) => " (shared by someone you follow)",
            Some(Reason::FollowedAuthor(_)) | None => "",
        };
        say!("  @{author}{shared}: {}", post.text);
        let (reactions, comments, shares) = (counts.reaction_count, counts.comment_count, counts.share_count);
        say!("      {reactions} reactions · {comments} comments · {shares} shares");
    }
    Ok(())
}

async fn discussion(services: &Services, plan: &Plan, loaded: &Loaded, post: usize) -> anyhow::Result<()> {
    let client = CommentServiceClient::new(services.engagement.clone());
    let author = plan.posts[post].author;
    let message = engagement::ListCommentsRequest {
        post_id: loaded.posts[post].0.clone(),
        page_size: COMMENTS,
        ..engagement::ListCommentsRequest::default()
    };
    let page = ask!(client.list_comments(loaded.people[author], message)).await?;
    say!("\nDiscussion under @{}: {}", super::handle(author), plan.posts[post].text);
    for comment in page.comments {
        let by = loaded.people.iter().position(|person| person.account_id == comment.author_id);
        say!("  @{}: {}", by.map_or_else(|| "someone".to_owned(), super::handle), comment.text);
    }
    Ok(())
}
