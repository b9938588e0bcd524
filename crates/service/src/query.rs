//! How every query runs: tokens, read, positions included; and pages, with one cursor format for all.

use async_trait::async_trait;
use kith_fold::Found;
use kith_proto::rpc::{AtLeast, Paged, Rpc, TakesAsOf, TakesNextPage};
use kith_tables::{Key, RowRange, RowType, StoreError, Table, Value};

use crate::Failure;
use crate::call::{Call, Handlers};
use crate::kit::Seen;
use crate::page_token::{cursor, page_size};

/// A noun's part of an RPC that reads.
#[async_trait]
pub trait Reads<R: Rpc>: Send + Sync + 'static {
    type Service: Handlers;
    /// What is asked, parsed.
    type Wanted: Send + Sync;

    /// Whether there is an answer for nobody in particular: then a calling service may ask without an account, and
    /// [`Seen::viewer`] is empty.
    const IS_PUBLIC: bool = false;

    /// Validates and parses the request. No I/O.
    fn parse(request: R::Request) -> Result<Self::Wanted, Failure>;

    async fn read(service: &Self::Service, seen: &Seen<'_>, wanted: Self::Wanted) -> Result<R::Response, Failure>;
}

/// A noun's part of a paged RPC.
#[async_trait]
pub trait Lists<R: Rpc>: Send + Sync + 'static {
    type Service: Handlers;
    /// What is asked, parsed.
    type Wanted: Send + Sync;

    /// Whether there is an answer for nobody in particular: then a calling service may ask without an account, and
    /// [`Seen::viewer`] is empty.
    const IS_PUBLIC: bool = false;

    /// Validates and parses the request. No I/O.
    fn parse(request: R::Request) -> Result<Self::Wanted, Failure>;

    /// A page, and the values of the list's order after which the next one starts; `None`: there is no more.
    async fn page(
        service: &Self::Service,
        seen: &Seen<'_>,
        wanted: Self::Wanted,
        page: &PageAsk,
    ) -> Result<(R::Response, Option<Vec<Value>>), Failure>;
}

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageAsk {
    /// Items, 1 to 100.
    pub size: usize,
    /// The place of the list's order after which it starts; `None`: at the beginning.
    pub after: Option<Vec<Value>>,
}

/// Answers a query.
pub async fn read<N, R>(service: &N::Service, call: Call<R>) -> Result<R::Response, Failure>
where
    N: Reads<R>,
    R: Rpc<Request: AtLeast, Response: TakesAsOf>,
{
    let kit = service.kit();
    let Call { asker, deadline, request } = call;
    let token = kit.parse_tokens(request.at_least())?;
    let wanted = N::parse(request)?;
    let seen = kit.see_for(&asker, &token, deadline).await?;
    // Before the rows are read: they include at least this.
    let as_of = seen.as_of()?;
    let mut response = N::read(service, &seen, wanted).await?;
    response.set_as_of(as_of);
    Ok(response)
}

/// Answers with a page. Its token is bound to the RPC, the caller and the request's filter.
pub async fn list<N, R>(service: &N::Service, call: Call<R>) -> Result<R::Response, Failure>
where
    N: Lists<R>,
    R: Rpc<Request: AtLeast + Paged, Response: TakesAsOf + TakesNextPage>,
{
    let kit = service.kit();
    let Call { asker, deadline, request } = call;
    let viewer = asker.viewer();
    let size = page_size("page_size", request.page_size())?;
    let filter = request.filter();
    let bound = [viewer.as_bytes(), &filter];
    let opened = kit.page_tokens.open(R::NAME, &bound, request.page_token())?;
    let after = opened.map(|bytes| cursor::decode(&bytes).ok_or_else(Failure::page_token_invalid)).transpose()?;
    let token = kit.parse_tokens(request.at_least())?;
    let wanted = N::parse(request)?;
    let seen = kit.see_for(&asker, &token, deadline).await?;
    let as_of = seen.as_of()?;
    let (mut response, next) = N::page(service, &seen, wanted, &PageAsk { size, after }).await?;
    let next = next.map(|place| kit.page_tokens.seal(R::NAME, &bound, &cursor::encode(&place))).transpose()?;
    response.set_next_page_token(next.unwrap_or_default());
    response.set_as_of(as_of);
    Ok(response)
}

/// How a list's answer reports entries of a page that the service left out.
pub fn omitted_count(left_out: usize) -> u32 {
    u32::try_from(left_out).unwrap_or(u32::MAX)
}

impl PageAsk {
    /// A page of rows of type `R` that share `prefix`, in their order in the table, and the place behind its last row if
    /// there are more: the clustering after the prefix.
    pub async fn rows<R: RowType>(
        &self,
        seen: &Seen<'_>,
        table: &'static Table,
        partition: &Key,
        prefix: Vec<Value>,
    ) -> Result<(Vec<Found<R>>, Option<Vec<Value>>), StoreError> {
        let shared = prefix.len();
        let range = RowRange { section: R::SECTION, prefix, after: self.after.clone() };
        // One more than requested shows whether there is a next page.
        let mut rows: Vec<Found<R>> = seen.state.slice(table, partition, range, self.size + 1).await?;
        let more = rows.len() > self.size;
        rows.truncate(self.size);
        let last = rows.last().filter(|_| more).map(|last| last.clustering.iter().skip(shared).cloned().collect());
        Ok((rows, last))
    }
}
