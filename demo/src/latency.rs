//! `kith-demo latency`: how long a post takes from its OK to a follower's home feed, at rest.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use hdrhistogram::Histogram;
use kith_proto::feeds::v1::GetHomeFeedRequest;
use kith_proto::feeds::v1::feed_service_client::FeedServiceClient;
use kith_proto::identity::v1::FollowRequest;
use kith_proto::identity::v1::graph_service_client::GraphServiceClient;
use kith_proto::posts::v1::CreatePostRequest;
use kith_proto::posts::v1::post_service_client::PostServiceClient;
use tokio::time::Instant;

use crate::client::{FIRST_ANSWER_PATIENCE, Services, Session, ask, join};
use crate::suite::Target;
use crate::terminal::say;

/// Servers that have just started compile what they do often.
const WARM_UP_POSTS: usize = 300;
/// Hours of measuring.
const POSTS_MAX: u64 = 1_000_000;

#[derive(Debug, Args)]
pub struct LatencyOptions {
    /// Posts that are measured, one after the other
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=POSTS_MAX))]
    posts: usize,
    /// Prints the figures as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub async fn run(options: LatencyOptions) -> anyhow::Result<()> {
    let services =
        Services::reach(&options.target.addresses().await?, &options.target.tls, FIRST_ANSWER_PATIENCE).await?;
    let run = format!("latency-{:08x}", fastrand::u32(..));
    let (author, reader) = (join(&services, &run, 0).await?, join(&services, &run, 1).await?);
    let graph = GraphServiceClient::new(services.identity.clone());
    let follow = FollowRequest { target_id: author.account_id.clone(), ..FollowRequest::default() };
    let followed = ask!(graph.follow(reader, follow)).await?;
    let mut histograms = [Histogram::<u64>::new(3)?, Histogram::new(3)?, Histogram::new(3)?];
    let pair = Pair { author, reader, followed: followed.consistency_token };
    for post in 0..WARM_UP_POSTS + options.posts {
        let times = one(&services, &pair, &format!("{run}-{post}")).await?;
        if post >= WARM_UP_POSTS {
            for (histogram, time) in histograms.iter_mut().zip(times) {
                histogram.record(micros(time))?;
            }
        }
    }
    say(&shown(&options, &histograms))
}

fn shown(options: &LatencyOptions, [ok, visible, page]: &[Histogram<u64>; 3]) -> String {
    if options.json {
        let figures = |h: &Histogram<u64>| serde_json::json!({"p50_us": h.value_at_quantile(0.5), "p99_us": h.value_at_quantile(0.99)});
        let (ok, visible, page) = (figures(ok), figures(visible), figures(page));
        let document =
            serde_json::json!({"posts": options.posts, "ok": ok, "ok_to_visible": visible, "page_alone": page});
        return format!("{document}\n");
    }
    let rows = [
        ("CreatePost until OK", ok),
        ("OK until read in the follower's home feed", visible),
        ("reading that page again", page),
    ];
    let line = |(what, of): (&str, &Histogram<u64>)| {
        let ms = |quantile| of.value_at_quantile(quantile) as f64 / 1_000.0;
        format!("{what:<42} p50 {:>7.2} ms   p99 {:>7.2} ms   ({} posts)\n", ms(0.5), ms(0.99), options.posts)
    };
    rows.map(line).concat()
}

/// Somebody who posts and somebody who follows them.
struct Pair {
    author: Session,
    reader: Session,
    /// Of the follow.
    followed: String,
}

/// How long until OK; from then until the follower, who asks at once for a page at least as new as the post, has read it
/// there; and how much of that it takes to read such a page.
async fn one(services: &Services, pair: &Pair, request_id: &str) -> anyhow::Result<[Duration; 3]> {
    let posts = PostServiceClient::new(services.posts.clone());
    let text = format!("measuring {request_id}");
    let message =
        CreatePostRequest { text, languages: Vec::new(), request_id: request_id.to_owned(), at_least: Vec::new() };
    let started = Instant::now();
    let created = ask!(posts.create_post(pair.author, message)).await?;
    let answered = Instant::now();
    let newest = newest_of(services, pair, &created.consistency_token).await?;
    let seen = Instant::now();
    if newest != created.post.map(|post| post.post_id) {
        bail!("a page at least as new as a post did not begin with it");
    }
    newest_of(services, pair, &created.consistency_token).await?;
    Ok([answered - started, seen - answered, seen.elapsed()])
}

/// The id of the newest post in the reader's home feed.
async fn newest_of(services: &Services, pair: &Pair, at_least: &str) -> anyhow::Result<Option<String>> {
    let feeds = FeedServiceClient::new(services.feeds.clone());
    let at_least = vec![pair.followed.clone(), at_least.to_owned()];
    let message = GetHomeFeedRequest { include_shares: false, page_size: 1, page_token: String::new(), at_least };
    let page = ask!(feeds.get_home_feed(pair.reader, message)).await?;
    Ok(page.items.into_iter().next().and_then(|item| item.post).map(|post| post.post_id))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
