//! `kith latency`: how long a post takes from its OK to a follower's home feed, at rest.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use hdrhistogram::Histogram;
use kith_proto::feeds::v1::GetHomeFeedRequest;
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;
use kith_proto::identity::v1::FollowRequest;
use kith_proto::identity::v1::graph_service_client::GraphServiceClient;
use kith_proto::posts::v1::CreatePostRequest;
use kith_proto::posts::v1::post_service_client::PostServiceClient;
use tokio::time::Instant;

use crate::demo::client::{Services, Session, ask, join};

const GIVE_UP_AFTER: Duration = Duration::from_secs(10);
const WARM_UP_POSTS: usize = 20;

#[derive(Debug, Args)]
pub struct LatencyOptions {
    /// Posts that are measured, one after the other
    #[arg(long, default_value_t = 200)]
    posts: usize,
    /// HOST:PORT of all services, or identity=HOST:PORT,posts=…,engagement=…,messaging=…,feeds=…
    #[arg(long, default_value = "127.0.0.1:7400")]
    addresses: String,
    /// Prints the figures as JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(options: LatencyOptions) -> anyhow::Result<()> {
    let services = Services::at(&options.addresses)?;
    let run = format!("latency-{:08x}", fresh()?);
    let (author, reader) = (join(&services, &run, 0).await?, join(&services, &run, 1).await?);
    let graph = GraphServiceClient::new(services.identity.clone());
    let follow = FollowRequest { target_id: author.account_id.clone(), ..FollowRequest::default() };
    let followed = ask!(graph.follow(reader, follow)).await?;
    let (mut ok, mut visible) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    for post in 0..WARM_UP_POSTS + options.posts {
        let (answered, seen) =
            one(&services, &author, &reader, &followed.consistency_token, &format!("{run}-{post}")).await?;
        if post >= WARM_UP_POSTS {
            ok.record(micros(answered))?;
            visible.record(micros(seen))?;
        }
    }
    if options.json {
        let figures = |h: &Histogram<u64>| serde_json::json!({"p50_us": h.value_at_quantile(0.5), "p99_us": h.value_at_quantile(0.99)});
        println!(
            "{}",
            serde_json::json!({"posts": options.posts, "ok": figures(&ok), "ok_to_visible": figures(&visible)})
        );
        return Ok(());
    }
    for (what, of) in [("CreatePost until OK", &ok), ("OK until in the follower's home feed", &visible)] {
        let ms = |quantile| of.value_at_quantile(quantile) as f64 / 1_000.0;
        println!("{what:<38} p50 {:>7.2} ms   p99 {:>7.2} ms   ({} posts)", ms(0.5), ms(0.99), options.posts);
    }
    Ok(())
}

/// How long until OK, and from then until a reader that asks again and again sees the post.
async fn one(
    services: &Services,
    author: &Session,
    reader: &Session,
    followed: &str,
    request_id: &str,
) -> anyhow::Result<(Duration, Duration)> {
    let posts = PostServiceClient::new(services.posts.clone());
    let feeds = FeedServiceClient::new(services.feeds.clone());
    let text = format!("measuring {request_id}");
    let message =
        CreatePostRequest { text, languages: Vec::new(), request_id: request_id.to_owned(), at_least: Vec::new() };
    let started = Instant::now();
    let created = ask!(posts.create_post(author, message)).await?;
    let answered = Instant::now();
    let post_id = created.post.context("no post")?.post_id;
    loop {
        let at_least = vec![followed.to_owned()];
        let message = GetHomeFeedRequest { include_shares: false, page_size: 1, page_token: String::new(), at_least };
        let page = ask!(feeds.get_home_feed(reader, message)).await?;
        let newest = page.items.first().and_then(|item| item.post.as_ref());
        if newest.is_some_and(|post| post.post_id == post_id) {
            return Ok((answered - started, answered.elapsed()));
        }
        if answered.elapsed() > GIVE_UP_AFTER {
            bail!("a post was not in the follower's feed after {GIVE_UP_AFTER:?}");
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A number that an earlier run did not have.
fn fresh() -> anyhow::Result<u32> {
    let mut bytes = [0; 4];
    kith_runtime::Runtime::system().fill_random(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}
