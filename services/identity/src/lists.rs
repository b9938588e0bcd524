//! Who follows an account and whom it follows, a page at a time, of those that the viewer may meet.

use async_trait::async_trait;
use kith_fold::Found;
use kith_proto::identity::v1::{
    FollowEntry, ListFollowersRequest, ListFollowersResponse, ListFollowingRequest, ListFollowingResponse, rpc,
};
use kith_proto::time;
use kith_relations::account::AccountRow;
use kith_service::Failure;
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_service::query::{Lists, PageAsk, omitted_count};
use kith_tables::{Key, StoreError, Table, Value};

use crate::edge::EdgeRow;
use crate::followers::FOLLOWERS;
use crate::graph::EDGES;
use crate::{IdentityService, read};

/// How often a page looks further while it has found only rows that stand for no follow.
const SLICES_PER_PAGE: usize = 8;

/// The RPCs that list follows.
pub struct Follows;

#[async_trait]
impl Lists<rpc::ListFollowers> for Follows {
    type Service = IdentityService;
    type Wanted = String;

    const IS_PUBLIC: bool = true;

    fn parse(request: ListFollowersRequest) -> Result<String, Failure> {
        parse_id("account_id", &request.account_id)?;
        Ok(request.account_id)
    }

    async fn page(
        _: &IdentityService,
        seen: &Seen<'_>,
        account_id: String,
        page: &PageAsk,
    ) -> Result<(ListFollowersResponse, Option<Vec<Value>>), Failure> {
        let (followers, omitted_count, next) = entries(seen, &FOLLOWERS, account_id, page).await?;
        Ok((ListFollowersResponse { followers, omitted_count, ..ListFollowersResponse::default() }, next))
    }
}

#[async_trait]
impl Lists<rpc::ListFollowing> for Follows {
    type Service = IdentityService;
    type Wanted = String;

    const IS_PUBLIC: bool = true;

    fn parse(request: ListFollowingRequest) -> Result<String, Failure> {
        parse_id("account_id", &request.account_id)?;
        Ok(request.account_id)
    }

    async fn page(
        _: &IdentityService,
        seen: &Seen<'_>,
        account_id: String,
        page: &PageAsk,
    ) -> Result<(ListFollowingResponse, Option<Vec<Value>>), Failure> {
        let (following, omitted_count, next) = entries(seen, &EDGES, account_id, page).await?;
        Ok((ListFollowingResponse { following, omitted_count, ..ListFollowingResponse::default() }, next))
    }
}

/// A page of the follows in a table partition, how many of it are left out, and the place of the next.
async fn entries(
    seen: &Seen<'_>,
    table: &'static Table,
    account_id: String,
    page: &PageAsk,
) -> Result<(Vec<FollowEntry>, u32, Option<Vec<Value>>), Failure> {
    let partition = Key::text(&account_id);
    read::visible(seen, account_id).await?;
    let (follows, next) = follows(seen, table, &partition, page.clone()).await?;
    let shown = present(seen, &follows).await?;
    let omitted_count = omitted_count(follows.len() - shown.len());
    Ok((shown, omitted_count, next))
}

/// A page of rows without those that stand for no follow; where these are all it looks further.
async fn follows(
    seen: &Seen<'_>,
    table: &'static Table,
    partition: &Key,
    mut page: PageAsk,
) -> Result<(Vec<Found<EdgeRow>>, Option<Vec<Value>>), StoreError> {
    for _ in 0..SLICES_PER_PAGE {
        let (mut rows, next) = page.rows::<EdgeRow>(seen, table, partition, Vec::new()).await?;
        rows.retain(|found| found.row.following);
        if !rows.is_empty() || next.is_none() {
            return Ok((rows, next));
        }
        page.after = next;
    }
    Ok((Vec::new(), page.after))
}

/// The other ends of these follows, without those that the viewer may not meet and those that are gone.
async fn present(seen: &Seen<'_>, follows: &[Found<EdgeRow>]) -> Result<Vec<FollowEntry>, StoreError> {
    let ids: Vec<String> = follows.iter().map(|found| found.text(0).to_owned()).collect();
    let accounts = read::batch(&seen.state, &ids).await?;
    let sights = read::sights(seen, &ids, &accounts).await?;
    let opener = seen.opener();
    let entry = |(found, account): (&Found<EdgeRow>, Option<AccountRow>)| {
        let account = account.filter(|_| sights.of(found.text(0)).is_clear())?.present(&opener, found.text(0));
        Some(FollowEntry { account: Some(account), follow_time: Some(time::of_us(found.row.follow_time.0)) })
    };
    Ok(follows.iter().zip(accounts).filter_map(entry).collect())
}
