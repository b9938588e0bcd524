//! `kith.feeds.v1.FeedService`.

use std::sync::Arc;

use async_trait::async_trait;
use kith_fold::State;
use kith_log::Position;
use kith_proto::errors::v1::Reason;
use kith_proto::feeds::v1::feed_service_server::FeedService;
use kith_proto::feeds::v1::{
    CitedEvent, ExplainFeedEntryRequest, ExplainFeedEntryResponse, FeedFinding, FeedOutcome, GetAuthorFeedRequest,
    GetAuthorFeedResponse, GetHomeFeedRequest, GetHomeFeedResponse, WaitForRequest, WaitForResponse,
};
use kith_proto::time;
use kith_relations::account;
use kith_relations::block::{BLOCKS, BlockRow};
use kith_service::kit::Kit;
use kith_service::page_token::page_size;
use kith_service::{Failure, auth, deadline, ids};
use kith_tables::Key;
use tonic::{Request, Response, Status};

use crate::entry::Place;
use crate::explain::{self, Explained, Finding};
use crate::feed::{Ask, Page};
use crate::remembered::{self, Feed};

const HOME_FEED: &str = "kith.feeds.v1.FeedService/GetHomeFeed";
const AUTHOR_FEED: &str = "kith.feeds.v1.FeedService/GetAuthorFeed";
/// Cited events whose times one answer looks up in the log.
pub(crate) const EVENT_TIMES_MAX: usize = 16;

/// Serves feeds from the group's tables. Any replica can, whether it folds or not.
#[derive(Clone)]
pub struct Feeds {
    kit: Arc<Kit>,
}

impl Feeds {
    pub fn new(kit: Arc<Kit>) -> Self {
        Self { kit }
    }

    /// `page_token` comes from the same query with the same filter, or is refused.
    fn ask(&self, page: PageAsk<'_>) -> Result<Ask, Failure> {
        let size = page_size("page_size", page.size)?;
        let cursor = self.kit.page_tokens.open(page.query, page.filter, page.token)?;
        let behind = cursor.map(|cursor| Place::from_cursor(&cursor).ok_or_else(Failure::page_token_invalid));
        Ok(Ask { behind: behind.transpose()?, size, include_shares: page.include_shares })
    }

    fn next_page_token(&self, query: &str, filter: &[&[u8]], page: &Page) -> Result<String, Failure> {
        match &page.next {
            Some(place) => self.kit.page_tokens.seal(query, filter, &place.to_cursor()),
            None => Ok(String::new()),
        }
    }
}

/// An account that blocks the caller is not there, as everywhere.
async fn check_author(state: &State, viewer: &str, author: &str) -> Result<(), Failure> {
    let blocks_of_author = Key::text(author);
    let blocked = state.row::<BlockRow>(&BLOCKS, &blocks_of_author, [viewer.into()]);
    let (known, blocked) = tokio::try_join!(account::account(state, author), blocked)?;
    if known.is_none() || blocked.is_some_and(|found| found.row.blocking) {
        return Err(Failure::not_found(Reason::AccountNotFound, "account"));
    }
    Ok(())
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

/// What of a request says which page is asked for.
struct PageAsk<'a> {
    query: &'static str,
    filter: &'a [&'a [u8]],
    token: &'a str,
    size: i32,
    include_shares: bool,
}

#[async_trait]
impl FeedService for Feeds {
    async fn get_home_feed(
        &self,
        request: Request<GetHomeFeedRequest>,
    ) -> Result<Response<GetHomeFeedResponse>, Status> {
        let reader = auth::caller(&request)?.account_id.to_string();
        let deadline = deadline::deadline(&request);
        let GetHomeFeedRequest { include_shares, page_size: size, page_token, at_least } = request.into_inner();
        let shares = [u8::from(include_shares)];
        let filter: &[&[u8]] = &[reader.as_bytes(), &shares];
        let ask = self.ask(PageAsk { query: HOME_FEED, filter, token: &page_token, size, include_shares })?;
        let handle = async {
            let seen = self.kit.see(&at_least, deadline).await?;
            // Before the rows are read: they hold at least this.
            let as_of = seen.as_of();
            let feed = Feed::Home { reader: &reader };
            let page =
                remembered::page(&seen.state, feed, ask, self.kit.runtime.now_ms()).await.map_err(Failure::from)?;
            Ok(GetHomeFeedResponse {
                next_page_token: self.next_page_token(HOME_FEED, filter, &page)?,
                omitted_count: u32::try_from(page.omitted).unwrap_or(u32::MAX),
                incomplete: page.incomplete,
                items: page.items,
                as_of,
            })
        };
        Ok(Response::new(self.kit.candid(handle, |answer| answer.incomplete = true).await?))
    }

    async fn get_author_feed(
        &self,
        request: Request<GetAuthorFeedRequest>,
    ) -> Result<Response<GetAuthorFeedResponse>, Status> {
        let viewer = auth::caller(&request)?.account_id.to_string();
        let deadline = deadline::deadline(&request);
        let GetAuthorFeedRequest { account_id, include_shares, page_size: size, page_token, at_least } =
            request.into_inner();
        let author = ids::parse_id("account_id", &account_id)?.to_string();
        let shares = [u8::from(include_shares)];
        let filter: &[&[u8]] = &[viewer.as_bytes(), author.as_bytes(), &shares];
        let ask = self.ask(PageAsk { query: AUTHOR_FEED, filter, token: &page_token, size, include_shares })?;
        let handle = async {
            let seen = self.kit.see(&at_least, deadline).await?;
            check_author(&seen.state, &viewer, &author).await?;
            let as_of = seen.as_of();
            let feed = Feed::Author { viewer: &viewer, author: &author };
            let page =
                remembered::page(&seen.state, feed, ask, self.kit.runtime.now_ms()).await.map_err(Failure::from)?;
            Ok(GetAuthorFeedResponse {
                next_page_token: self.next_page_token(AUTHOR_FEED, filter, &page)?,
                omitted_count: u32::try_from(page.omitted).unwrap_or(u32::MAX),
                incomplete: page.incomplete,
                items: page.items,
                as_of,
            })
        };
        Ok(Response::new(self.kit.candid(handle, |answer| answer.incomplete = true).await?))
    }

    async fn explain_feed_entry(
        &self,
        request: Request<ExplainFeedEntryRequest>,
    ) -> Result<Response<ExplainFeedEntryResponse>, Status> {
        let reader = auth::caller(&request)?.account_id.to_string();
        let deadline = deadline::deadline(&request);
        let ExplainFeedEntryRequest { post_id, include_shares, at_least } = request.into_inner();
        ids::parse_id("post_id", &post_id)?;
        let handle = async {
            let seen = self.kit.see(&at_least, deadline).await?;
            let as_of = seen.as_of();
            let explained =
                explain::explain(&seen.state, &reader, &post_id, include_shares).await.map_err(Failure::from)?;
            let Some(Explained { findings, incomplete }) = explained else {
                return Err(Failure::not_found(Reason::PostNotFound, "post"));
            };
            let shown = findings.iter().any(|finding| finding.outcome == FeedOutcome::Shown);
            let cited = findings.iter().flat_map(|finding| &finding.events);
            let positions: Vec<Position> = cited.map(|(_, at)| *at).take(EVENT_TIMES_MAX).collect();
            let mut times = seen.times_of(&positions, deadline).await.into_iter();
            let findings = findings.into_iter().map(|finding| present(finding, &mut times)).collect();
            Ok(ExplainFeedEntryResponse { shown, findings, as_of, incomplete })
        };
        Ok(Response::new(self.kit.candid(handle, |answer| answer.incomplete = true).await?))
    }

    async fn wait_for(&self, request: Request<WaitForRequest>) -> Result<Response<WaitForResponse>, Status> {
        auth::caller(&request)?;
        let deadline = deadline::deadline(&request);
        let seen = self.kit.see(&request.get_ref().at_least, deadline).await?;
        Ok(Response::new(WaitForResponse { as_of: seen.as_of() }))
    }
}
