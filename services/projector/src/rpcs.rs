//! The RPCs of `kith.feeds.v1.FeedService`.

use async_trait::async_trait;
use kith_log::Position;
use kith_proto::errors::v1::Reason;
use kith_proto::feeds::v1::{
    CitedEvent, ExplainFeedEntryRequest, ExplainFeedEntryResponse, FeedFinding, FeedOutcome, GetAuthorFeedRequest,
    GetAuthorFeedResponse, GetHomeFeedRequest, GetHomeFeedResponse, WaitForRequest, WaitForResponse, rpc,
};
use kith_proto::time;
use kith_relations::account;
use kith_relations::sight::{Sight, Viewer};
use kith_service::Failure;
use kith_service::call::Handlers;
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_service::query::{Lists, PageAsk, Reads, omitted_count};
use kith_tables::Value;

use crate::Feeds;
use crate::explain::{self, Explained, Finding};
use crate::feed::{Ask, Page};
use crate::remembered::{self, Feed};
use crate::views::follows;
use crate::walk::Walk;

/// Cited events whose times one answer looks up in the log.
pub const EVENT_TIMES_MAX: usize = 16;

/// The caller's own feed.
pub struct Home;

/// What one account wrote and shared.
pub struct Author;

pub struct AuthorWanted {
    account_id: String,
    include_shares: bool,
}

/// Why a post is in a feed, or is not.
pub struct Explanation;

/// The feeds themselves, as far as they have come.
pub struct Progress;

#[async_trait]
impl Lists<rpc::GetHomeFeed> for Home {
    type Service = Feeds;
    /// Whether with shares.
    type Wanted = bool;

    fn parse(request: GetHomeFeedRequest) -> Result<bool, Failure> {
        Ok(request.include_shares)
    }

    async fn page(
        service: &Feeds,
        seen: &Seen<'_>,
        include_shares: bool,
        page: &PageAsk,
    ) -> Result<(GetHomeFeedResponse, Option<Vec<Value>>), Failure> {
        let page = read(service, seen, Feed::Home { reader: &seen.viewer }, include_shares, page).await?;
        let response = GetHomeFeedResponse {
            omitted_count: omitted_count(page.omitted),
            incomplete: page.incomplete,
            items: page.items,
            ..GetHomeFeedResponse::default()
        };
        Ok((response, page.next.and_then(Walk::into_values)))
    }
}

#[async_trait]
impl Lists<rpc::GetAuthorFeed> for Author {
    type Service = Feeds;
    type Wanted = AuthorWanted;

    const IS_PUBLIC: bool = true;

    fn parse(request: GetAuthorFeedRequest) -> Result<AuthorWanted, Failure> {
        let GetAuthorFeedRequest { account_id, include_shares, .. } = request;
        parse_id("account_id", &account_id)?;
        Ok(AuthorWanted { account_id, include_shares })
    }

    async fn page(
        service: &Feeds,
        seen: &Seen<'_>,
        wanted: AuthorWanted,
        page: &PageAsk,
    ) -> Result<(GetAuthorFeedResponse, Option<Vec<Value>>), Failure> {
        let (viewer, author) = (&*seen.viewer, &*wanted.account_id);
        check_author(seen, author).await?;
        let page = read(service, seen, Feed::Author { viewer, author }, wanted.include_shares, page).await?;
        let response = GetAuthorFeedResponse {
            omitted_count: omitted_count(page.omitted),
            incomplete: page.incomplete,
            items: page.items,
            ..GetAuthorFeedResponse::default()
        };
        Ok((response, page.next.and_then(Walk::into_values)))
    }
}

#[async_trait]
impl Reads<rpc::ExplainFeedEntry> for Explanation {
    type Service = Feeds;
    type Wanted = ExplainFeedEntryRequest;

    fn parse(request: ExplainFeedEntryRequest) -> Result<ExplainFeedEntryRequest, Failure> {
        parse_id("post_id", &request.post_id)?;
        Ok(request)
    }

    async fn read(
        _: &Feeds,
        seen: &Seen<'_>,
        wanted: ExplainFeedEntryRequest,
    ) -> Result<ExplainFeedEntryResponse, Failure> {
        let ExplainFeedEntryRequest { post_id, include_shares, .. } = wanted;
        let explained = explain::explain(&seen.state, &seen.viewer, &post_id, include_shares, seen.now()).await?;
        let Some(Explained { findings, incomplete }) = explained else {
            return Err(Failure::not_found(Reason::PostNotFound, "post"));
        };
        let shown = findings.iter().any(|finding| finding.outcome == FeedOutcome::Shown);
        let cited = findings.iter().flat_map(|finding| &finding.events);
        let positions: Vec<Position> = cited.map(|(_, at)| *at).take(EVENT_TIMES_MAX).collect();
        let mut times = seen.times_of(&positions, seen.deadline).await.into_iter();
        let findings = findings.into_iter().map(|finding| present(finding, &mut times)).collect();
        Ok(ExplainFeedEntryResponse { shown, findings, incomplete, ..ExplainFeedEntryResponse::default() })
    }
}

#[async_trait]
impl Reads<rpc::WaitFor> for Progress {
    type Service = Feeds;
    type Wanted = ();

    const IS_PUBLIC: bool = true;

    fn parse(_: WaitForRequest) -> Result<(), Failure> {
        Ok(())
    }

    async fn read(_: &Feeds, _: &Seen<'_>, (): ()) -> Result<WaitForResponse, Failure> {
        Ok(WaitForResponse::default())
    }
}

async fn read(
    service: &Feeds,
    seen: &Seen<'_>,
    feed: Feed<'_>,
    include_shares: bool,
    page: &PageAsk,
) -> Result<Page, Failure> {
    let ask = Ask { opener: seen.opener(), walk: Walk::of(page)?, size: page.size, include_shares };
    Ok(remembered::page(&seen.state, feed, ask, service.kit().runtime.now_ms()).await?)
}

/// An account that blocks the caller, or is away, is not there, as everywhere; the feed of a private one is for its followers.
async fn check_author(seen: &Seen<'_>, author: &str) -> Result<(), Failure> {
    let viewer = Viewer::new(&seen.state, &seen.viewer);
    let (known, blocks) = tokio::try_join!(account::account(&seen.state, author), viewer.blocks([author]))?;
    let is_private = known.as_ref().is_some_and(|account| account.private);
    let is_there = known.is_some_and(|account| !account.away || seen.viewer == author);
    if !is_there || !blocks.of(author).shows_account() {
        return Err(Failure::not_found(Reason::AccountNotFound, "account"));
    }
    let private = is_private.then(|| author.to_owned()).into_iter().collect();
    match follows::veiled(&seen.state, &seen.viewer, blocks, private).await?.of(author) {
        Sight::Private => Err(Failure::new(Reason::AccountPrivate, "the account is private")),
        _ => Ok(()),
    }
}

/// `times`: of the first cited events, in their order.
fn present(finding: Finding, times: &mut impl Iterator<Item = Option<i64>>) -> FeedFinding {
    let event = |(cited_for, Position { partition, offset })| CitedEvent {
        cited_for: i32::from(cited_for),
        topic: partition.topic.name.to_owned(),
        partition: u32::from(partition.index),
        offset,
        event_time: times.next().flatten().map(time::timestamp),
    };
    let Finding { account_id, share, outcome, events } = finding;
    FeedFinding { account_id, share, outcome: outcome.into(), events: events.into_iter().map(event).collect() }
}
