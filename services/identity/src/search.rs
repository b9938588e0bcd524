//! Finding accounts by what their handles and display names begin with.
//!
//! The first page ranks all that fit, and its token carries the rest of the ranking: whatever changes meanwhile, a walk shows
//! nobody twice and skips nobody who was there throughout. Every page asks the rules anew.

pub mod filling;
mod index;

use std::cmp::Reverse;

use async_trait::async_trait;
use kith_log::RecordId;
use kith_proto::identity::v1::{Account, SearchAccountsRequest, SearchAccountsResponse, rpc};
use kith_relations::sight::Sight;
use kith_service::kit::Seen;
use kith_service::query::{Lists, PageAsk, omitted_count};
use kith_service::{Failure, limits};
use kith_tables::{StoreError, Value};
use kith_text::search::words;

use crate::pair::{Pair, pairs};
use crate::{IdentityService, followed, ranking, read};
use filling::name;
use index::Match;

/// The RPC that searches accounts.
pub struct Search;

/// What the viewer has to do with an account; the greater the nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Stranger,
    /// It follows the viewer.
    Follower,
    /// The viewer follows it.
    Followed,
    /// Both.
    Mutual,
}

impl Nearness {
    fn of(Pair { mine, theirs, .. }: &Pair) -> Self {
        let follows = mine.following && !mine.is_cut_by(theirs);
        let is_followed = theirs.following && !theirs.is_cut_by(mine);
        match (follows, is_followed) {
            (true, true) => Self::Mutual,
            (true, false) => Self::Followed,
            (false, true) => Self::Follower,
            (false, false) => Self::Stranger,
        }
    }
}

/// Whether an account is shown to who searches, unless it is private: strangers do not find one that is.
fn is_found(sight: Sight) -> bool {
    sight.is_clear()
}

#[async_trait]
impl Lists<rpc::SearchAccounts> for Search {
    type Service = IdentityService;
    /// Its words.
    type Wanted = String;

    const IS_PUBLIC: bool = true;

    fn parse(request: SearchAccountsRequest) -> Result<String, Failure> {
        const FIELD: &str = "query";
        let typed = &request.query;
        if typed.chars().count() > limits::SEARCH_QUERY_CHARS {
            return Err(Failure::field_invalid(FIELD, "is too long"));
        }
        let query = words(typed);
        match query.split(' ').filter(|word| !word.is_empty()).count() {
            0 => Err(Failure::field_invalid(FIELD, "has no letter and no digit")),
            count if count > limits::SEARCH_QUERY_WORDS => Err(Failure::field_invalid(FIELD, "has too many words")),
            _ => Ok(query),
        }
    }

    async fn page(
        service: &IdentityService,
        seen: &Seen<'_>,
        query: String,
        page: &PageAsk,
    ) -> Result<(SearchAccountsResponse, Option<Vec<Value>>), Failure> {
        let (ranked, incomplete) = match &page.after {
            Some(place) => (ranking::left(place).ok_or_else(Failure::page_token_invalid)?, false),
            None => ranked(service, seen, &query).await?,
        };
        let (shown, rest) = ranked.split_at(page.size.min(ranked.len()));
        let accounts = present(seen, shown, &query).await?;
        let omitted_count = omitted_count(shown.len() - accounts.len());
        let response = SearchAccountsResponse { accounts, omitted_count, incomplete, ..Default::default() };
        Ok((response, (!rest.is_empty()).then(|| ranking::place(rest))))
    }
}

/// The best [`limits::SEARCH_RESULTS`] that fit, the best first; and whether the index lacks accounts.
///
/// An account is the better the nearer it is to the viewer, then the more exactly it fits, then by its handle.
async fn ranked(service: &IdentityService, seen: &Seen<'_>, query: &str) -> Result<(Vec<RecordId>, bool), Failure> {
    let followed = match &*seen.viewer {
        "" => Vec::new(),
        viewer => followed::newest(&seen.state, viewer, limits::SEARCH_FOLLOWED).await?,
    };
    let preferred: Vec<RecordId> = followed.iter().filter_map(|id| RecordId::parse(id)).collect();
    let (found, is_short) = service.shared.names.find(seen, query, &preferred).await?;
    let near = nearness(seen, &found).await?;
    let mut ranked: Vec<_> = found.into_iter().zip(near).filter_map(|(found, near)| Some((near?, found))).collect();
    ranked.sort_unstable_by(|(near, one), (other_near, other)| {
        let of = |near: &Nearness, found: &Match| Reverse((*near, found.exactness));
        of(near, one).cmp(&of(other_near, other)).then_with(|| one.handle.cmp(&other.handle))
    });
    ranked.truncate(limits::SEARCH_RESULTS);
    Ok((ranked.into_iter().map(|(_, found)| found.account_id).collect(), is_short))
}

/// How near each is to the viewer, in two reads; `None`: a block stands between the two.
async fn nearness(seen: &Seen<'_>, found: &[Match]) -> Result<Vec<Option<Nearness>>, StoreError> {
    if seen.viewer.is_empty() || found.is_empty() {
        return Ok(vec![Some(Nearness::Stranger); found.len()]);
    }
    let ids: Vec<String> = found.iter().map(|found| found.account_id.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let pairs = pairs(&seen.state, &seen.viewer, &ids).await?;
    Ok(pairs.iter().map(|pair| is_found(pair.sight()).then(|| Nearness::of(pair))).collect())
}

/// These accounts as the tables have them now, without those that the viewer is not to find and those that are called otherwise.
async fn present(seen: &Seen<'_>, ids: &[RecordId], query: &str) -> Result<Vec<Account>, StoreError> {
    let ids: Vec<String> = ids.iter().map(RecordId::to_string).collect();
    let accounts = read::batch(&seen.state, &ids).await?;
    let sights = read::sights(seen, &ids, &accounts).await?;
    let veiled = read::veiled(seen, &ids, &accounts).await?;
    let opener = seen.opener();
    let shown = ids.iter().zip(accounts).filter_map(|(id, row)| {
        let is_shown = is_found(sights.of(id)) && !veiled.contains(&**id);
        let account = row.filter(|_| is_shown)?.present(&opener, id);
        name(&account).fits(query).map(|_| account)
    });
    Ok(shown.collect())
}
