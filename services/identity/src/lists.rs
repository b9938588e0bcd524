//! Lists of an account's graph, the latest first (follows by when the one first followed the other), a page at a time, of those whom
//! the viewer may be shown: who follows an account, whom it follows; of the caller's own whom it blocks, mutes, and follows mutually,
//! and who asks to follow.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::try_join;
use kith_content::Opener;
use kith_fold::Found;
use kith_proto::identity::v1::{
    Account, BlockEntry, FollowEntry, FollowRequestEntry, ListBlocksRequest, ListBlocksResponse,
    ListFollowRequestsRequest, ListFollowRequestsResponse, ListFollowersRequest, ListFollowersResponse,
    ListFollowingRequest, ListFollowingResponse, ListMutesRequest, ListMutesResponse, ListMutualsRequest,
    ListMutualsResponse, Mute, MuteEntry, rpc,
};
use kith_proto::time;
use kith_relations::account::AccountRow;
use kith_relations::mute::{ListedRow, MUTES, MuteRow, of_target};
use kith_relations::sight::Sight;
use kith_service::Failure;
use kith_service::ids::parse_id;
use kith_service::kit::Seen;
use kith_service::query::{Lists, PageAsk, omitted_count};
use kith_tables::{Key, RowType, StoreError, Table, Timestamp, Value};

use crate::edge::{BlockedRow, EdgeRow, FollowedRow, RequestedRow, of_other};
use crate::followers::FOLLOWERS;
use crate::graph::EDGES;
use crate::{IdentityService, mute, read};

/// How often a page looks further while it has found only places of what is over.
pub(crate) const SLICES_PER_PAGE: usize = 8;

/// The RPCs that list.
pub struct Graph;

/// Where the next page starts.
pub(crate) type Next = Option<Vec<Value>>;

/// One that a list shows: the other account, and since when.
pub(crate) struct Place {
    pub account_id: String,
    pub since: Timestamp,
}

#[async_trait]
impl Lists<rpc::ListFollowers> for Graph {
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
    ) -> Result<(ListFollowersResponse, Next), Failure> {
        let (followers, omitted_count, next) = follows(seen, &FOLLOWERS, &account_id, page).await?;
        Ok((ListFollowersResponse { followers, omitted_count, ..ListFollowersResponse::default() }, next))
    }
}

#[async_trait]
impl Lists<rpc::ListFollowing> for Graph {
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
    ) -> Result<(ListFollowingResponse, Next), Failure> {
        let (following, omitted_count, next) = follows(seen, &EDGES, &account_id, page).await?;
        Ok((ListFollowingResponse { following, omitted_count, ..ListFollowingResponse::default() }, next))
    }
}

#[async_trait]
impl Lists<rpc::ListMutuals> for Graph {
    type Service = IdentityService;
    type Wanted = ();

    fn parse(_: ListMutualsRequest) -> Result<(), Failure> {
        Ok(())
    }

    async fn page(
        _: &IdentityService,
        seen: &Seen<'_>,
        (): (),
        page: &PageAsk,
    ) -> Result<(ListMutualsResponse, Next), Failure> {
        let is_mutual = |_: &EdgeRow, theirs: &EdgeRow| theirs.following;
        let (places, next) = standing(seen, &EDGES, page, followed, is_mutual).await?;
        let (mutuals, omitted_count) = present(seen, &places, Sight::is_clear, follow_entry).await?;
        Ok((ListMutualsResponse { mutuals, omitted_count, ..ListMutualsResponse::default() }, next))
    }
}

#[async_trait]
impl Lists<rpc::ListFollowRequests> for Graph {
    type Service = IdentityService;
    /// Whether those that the caller sent.
    type Wanted = bool;

    fn parse(request: ListFollowRequestsRequest) -> Result<bool, Failure> {
        Ok(request.sent)
    }

    async fn page(
        _: &IdentityService,
        seen: &Seen<'_>,
        sent: bool,
        page: &PageAsk,
    ) -> Result<(ListFollowRequestsResponse, Next), Failure> {
        let (places, next) = match sent {
            true => standing(seen, &EDGES, page, requested, |mine, theirs| mine.waits(theirs)).await?,
            false => standing(seen, &FOLLOWERS, page, requested, |mine, theirs| theirs.waits(mine)).await?,
        };
        let entry =
            |account, place: &Place| FollowRequestEntry { account: Some(account), request_time: Some(place.time()) };
        let (requests, omitted_count) = present(seen, &places, Sight::is_clear, entry).await?;
        Ok((ListFollowRequestsResponse { requests, omitted_count, ..ListFollowRequestsResponse::default() }, next))
    }
}

#[async_trait]
impl Lists<rpc::ListBlocks> for Graph {
    type Service = IdentityService;
    type Wanted = ();

    fn parse(_: ListBlocksRequest) -> Result<(), Failure> {
        Ok(())
    }

    async fn page(
        _: &IdentityService,
        seen: &Seen<'_>,
        (): (),
        page: &PageAsk,
    ) -> Result<(ListBlocksResponse, Next), Failure> {
        let (places, next) = places(seen, &EDGES, &seen.viewer, page, blocked).await?;
        let entry = |account, place: &Place| BlockEntry { account: Some(account), block_time: Some(place.time()) };
        let (blocks, omitted_count) = present(seen, &places, Sight::shows_account, entry).await?;
        Ok((ListBlocksResponse { blocks, omitted_count, ..ListBlocksResponse::default() }, next))
    }
}

#[async_trait]
impl Lists<rpc::ListMutes> for Graph {
    type Service = IdentityService;
    type Wanted = ();

    fn parse(_: ListMutesRequest) -> Result<(), Failure> {
        Ok(())
    }

    /// A place is of the mute as it is if the mute's own row says the same time; both are in one table partition.
    async fn page(
        _: &IdentityService,
        seen: &Seen<'_>,
        (): (),
        page: &PageAsk,
    ) -> Result<(ListMutesResponse, Next), Failure> {
        let (places, next) = places(seen, &MUTES, &seen.viewer, page, muted).await?;
        let targets = places.iter().map(|place| of_target(&place.account_id).to_vec());
        let rows = seen.state.rows::<MuteRow>(&MUTES, &Key::text(&seen.viewer), targets).await?;
        let rows = rows.into_iter().map(|found| found.map(|found| found.row).unwrap_or_default());
        let now = seen.now();
        let current = places.into_iter().zip(rows).filter(|(place, row)| row.mute_time == place.since);
        let current = current.filter_map(|(place, row)| Some((mute::present(&row, &place.account_id, now)?, place)));
        let (mutes, places): (Vec<Mute>, Vec<Place>) = current.unzip();
        let by_target: BTreeMap<&str, &Mute> = mutes.iter().map(|mute| (&*mute.target_id, mute)).collect();
        let entry = |account: Account, place: &Place| MuteEntry {
            account: Some(account),
            mute: by_target.get(&*place.account_id).map(|&mute| mute.clone()),
        };
        let (mutes, omitted_count) = present(seen, &places, Sight::shows_account, entry).await?;
        Ok((ListMutesResponse { mutes, omitted_count, ..ListMutesResponse::default() }, next))
    }
}

/// Since when what a place is of stands; `None`: it is over.
type Since<R> = fn(&Found<R>) -> Option<Timestamp>;

pub(crate) fn followed(found: &Found<FollowedRow>) -> Option<Timestamp> {
    found.row.following.then_some(found.row.follow_time)
}

fn requested(found: &Found<RequestedRow>) -> Option<Timestamp> {
    found.row.requested.then(|| found.time(0))
}

fn blocked(found: &Found<BlockedRow>) -> Option<Timestamp> {
    found.row.blocking.then(|| found.time(0))
}

fn muted(found: &Found<ListedRow>) -> Option<Timestamp> {
    found.row.muting.then(|| found.time(0))
}

impl Place {
    fn time(&self) -> prost_types::Timestamp {
        time::of_us(self.since.0)
    }
}

fn follow_entry(account: Account, place: &Place) -> FollowEntry {
    FollowEntry { account: Some(account), follow_time: Some(place.time()) }
}

/// A page of the follows in a table partition, how many of it are left out, and the place of the next.
async fn follows(
    seen: &Seen<'_>,
    table: &'static Table,
    account_id: &str,
    page: &PageAsk,
) -> Result<(Vec<FollowEntry>, u32, Next), Failure> {
    read::check_open(seen, account_id).await?;
    let (places, next) = places(seen, table, account_id, page, followed).await?;
    let (shown, omitted_count) = present(seen, &places, Sight::is_clear, follow_entry).await?;
    Ok((shown, omitted_count, next))
}

/// A page of the places that stand; where a slice has none it looks further, [`SLICES_PER_PAGE`] times at most.
pub(crate) async fn places<R: RowType>(
    seen: &Seen<'_>,
    table: &'static Table,
    account_id: &str,
    page: &PageAsk,
    since: Since<R>,
) -> Result<(Vec<Place>, Next), Failure> {
    let mut page = check(page)?;
    for _ in 0..SLICES_PER_PAGE {
        let (places, next) = slice(seen, (table, account_id), &page, since).await?;
        if !places.is_empty() || next.is_none() {
            return Ok((places, next));
        }
        page.after = next;
    }
    Ok((Vec::new(), page.after))
}

/// A page of the places in one of the caller's table partitions that stand, also by what the caller and the other are to each other;
/// it looks further as [`places`] does.
async fn standing<R: RowType>(
    seen: &Seen<'_>,
    table: &'static Table,
    page: &PageAsk,
    since: Since<R>,
    stands: fn(&EdgeRow, &EdgeRow) -> bool,
) -> Result<(Vec<Place>, Next), Failure> {
    let key = Key::text(&seen.viewer);
    let mut page = check(page)?;
    let (mut places, mut next) = (Vec::new(), None);
    for _ in 0..SLICES_PER_PAGE {
        (places, next) = slice(seen, (table, &seen.viewer), &page, since).await?;
        let others = || places.iter().map(|place: &Place| of_other(&place.account_id).to_vec());
        let mine = seen.state.rows::<EdgeRow>(&EDGES, &key, others());
        let theirs = seen.state.rows::<EdgeRow>(&FOLLOWERS, &key, others());
        let (mine, theirs) = try_join!(mine, theirs)?;
        let edge = |found: Option<Found<EdgeRow>>| found.map(|found| found.row).unwrap_or_default();
        let mut standing = mine.into_iter().zip(theirs).map(|(mine, theirs)| stands(&edge(mine), &edge(theirs)));
        places.retain(|_| standing.next().unwrap_or_default());
        if !places.is_empty() || next.is_none() {
            break;
        }
        page.after.clone_from(&next);
    }
    Ok((places, next))
}

async fn slice<R: RowType>(
    seen: &Seen<'_>,
    (table, account_id): (&'static Table, &str),
    page: &PageAsk,
    since: Since<R>,
) -> Result<(Vec<Place>, Next), StoreError> {
    let (rows, next) = page.rows::<R>(seen, table, &Key::text(account_id), Vec::new()).await?;
    let place = |found: &Found<R>| Some(Place { account_id: found.text(1).to_owned(), since: since(found)? });
    Ok((rows.iter().filter_map(place).collect(), next))
}

/// Lists of earlier releases were in another order: their page tokens name no place in these.
fn check(page: &PageAsk) -> Result<PageAsk, Failure> {
    match page.after.as_deref() {
        None | Some([Value::Timestamp(_), Value::Text(_)]) => Ok(page.clone()),
        Some(_) => Err(Failure::page_token_invalid()),
    }
}

/// The accounts of these places as the viewer is shown them, without those that the viewer is not to see and those that are gone;
/// and how many these are.
async fn present<T>(
    seen: &Seen<'_>,
    places: &[Place],
    shows: fn(Sight) -> bool,
    entry: impl Fn(Account, &Place) -> T,
) -> Result<(Vec<T>, u32), StoreError> {
    let ids: Vec<String> = places.iter().map(|place| place.account_id.clone()).collect();
    let accounts = read::batch(&seen.state, &ids).await?;
    let sights = read::sights(seen, &ids, &accounts).await?;
    let opener: Opener = seen.opener();
    let shown = places.iter().zip(accounts).filter_map(|(place, account): (&Place, Option<AccountRow>)| {
        let account = account.filter(|_| shows(sights.of(&place.account_id)))?;
        Some(entry(account.present(&opener, &place.account_id), place))
    });
    let shown: Vec<T> = shown.collect();
    let omitted_count = omitted_count(places.len() - shown.len());
    Ok((shown, omitted_count))
}
