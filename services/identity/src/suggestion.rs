//! Accounts that the caller may want to follow: those that the people whom it follows follow, with these people as the reason.
//!
//! Read from a sample of bounded size, the same for the same follows: the places of the [`limits::SUGGEST_FOLLOWED`] accounts that the
//! caller followed last, and of the [`limits::SUGGEST_OF_EACH`] that each of them followed last. The first page makes the ranking, and its
//! token carries the rest; each page asks anew who may be suggested, and why.

pub mod dismissal;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, TryStreamExt, stream, try_join};
use kith_log::RecordId;
use kith_proto::identity::v1::{
    Account, SuggestAccountsRequest, SuggestAccountsResponse, Suggestion, SuggestionReason, rpc,
};
use kith_relations::sight::Viewer;
use kith_service::kit::Seen;
use kith_service::query::{Lists, PageAsk, omitted_count};
use kith_service::{Failure, limits};
use kith_tables::{Key, StoreError, Value};

use crate::edge::{EdgeRow, of_other};
use crate::followers::FOLLOWERS;
use crate::pair::{Pair, pairs};
use crate::{IdentityService, followed, ranking, read};

/// Table partitions read side by side.
const READS_IN_FLIGHT: usize = 16;
/// What somebody in between counts who follows the caller too, and who does not.
const WEIGHTS: [u32; 2] = [2, 1];

/// The RPC that suggests accounts.
pub struct Suggestions;

/// Somebody whom the caller follows, and meets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Between {
    account_id: String,
    is_mutual: bool,
}

impl Between {
    fn weight(&self) -> u32 {
        WEIGHTS[usize::from(!self.is_mutual)]
    }
}

#[async_trait]
impl Lists<rpc::SuggestAccounts> for Suggestions {
    type Service = IdentityService;
    type Wanted = ();

    fn parse(_: SuggestAccountsRequest) -> Result<(), Failure> {
        Ok(())
    }

    async fn page(
        _: &IdentityService,
        seen: &Seen<'_>,
        (): (),
        page: &PageAsk,
    ) -> Result<(SuggestAccountsResponse, Option<Vec<Value>>), Failure> {
        let between = between(seen).await?;
        let ranked = match &page.after {
            Some(place) => ranking::left(place).ok_or_else(Failure::page_token_invalid)?,
            None => ranked(seen, &between).await?,
        };
        let (shown, rest) = ranked.split_at(page.size.min(ranked.len()));
        let suggestions = present(seen, shown, &between).await?;
        let omitted_count = omitted_count(shown.len() - suggestions.len());
        let response = SuggestAccountsResponse { suggestions, omitted_count, ..SuggestAccountsResponse::default() };
        Ok((response, (!rest.is_empty()).then(|| ranking::place(rest))))
    }
}

/// Those whom the caller followed last, without whom it mutes, and whom it does not see. The follows of each may be read and named:
/// the caller follows it, so they are open to it even if the account is private.
async fn between(seen: &Seen<'_>) -> Result<Vec<Between>, StoreError> {
    let ids = followed::newest(&seen.state, &seen.viewer, limits::SUGGEST_FOLLOWED).await?;
    let pairs = of_caller(seen, &ids).await?;
    let known = ids.into_iter().zip(pairs).filter_map(|(account_id, pair)| {
        let pair = pair.filter(|pair| pair.mine.follows(&pair.theirs))?;
        Some(Between { account_id, is_mutual: pair.theirs.following })
    });
    Ok(known.collect())
}

/// What the caller and each of these accounts are to each other; `None`: the caller may not meet it, or does not want to see it. A
/// private account may be met: it is known to be there.
async fn of_caller(seen: &Seen<'_>, ids: &[String]) -> Result<Vec<Option<Pair>>, StoreError> {
    let others: Vec<&str> = ids.iter().map(String::as_str).collect();
    let viewer = Viewer::new(&seen.state, &seen.viewer);
    let (pairs, sights) =
        try_join!(pairs(&seen.state, &seen.viewer, &others), viewer.meetings(others.iter().copied()))?;
    let now = seen.now();
    let shown = |(pair, id): (Pair, &String)| {
        let is_shown = sights.of(id).is_clear() && pair.sight().is_clear() && !pair.mute.is_in_effect(now);
        is_shown.then_some(pair)
    };
    Ok(pairs.into_iter().zip(ids).map(shown).collect())
}

/// Whether the caller might follow the account: it neither does nor asks to, and has not declined it.
fn may_be_suggested(pair: &Pair) -> bool {
    !pair.mine.following && !pair.mine.requested && !pair.mine.dismissed
}

/// The best [`limits::SUGGESTIONS`], the best first: an account is the better the more people are in between, those who follow the
/// caller too counted twice; of equal ones the one with the lesser id comes first.
async fn ranked(seen: &Seen<'_>, between: &[Between]) -> Result<Vec<RecordId>, StoreError> {
    let reads =
        between.iter().map(|one| followed::newest(&seen.state, &one.account_id, limits::SUGGEST_OF_EACH).boxed());
    let theirs: Vec<Vec<String>> =
        stream::iter(reads.collect::<Vec<_>>()).buffered(READS_IN_FLIGHT).try_collect().await?;
    let sampled: BTreeSet<&str> = between.iter().map(|one| &*one.account_id).chain([&*seen.viewer]).collect();
    let mut scores = BTreeMap::<&str, u32>::new();
    for (one, theirs) in between.iter().zip(&theirs) {
        for candidate in theirs.iter().filter(|candidate| !sampled.contains(candidate.as_str())) {
            *scores.entry(candidate).or_default() += one.weight();
        }
    }
    let mut ranked: Vec<(Reverse<u32>, &str)> = scores.into_iter().map(|(id, score)| (Reverse(score), id)).collect();
    ranked.sort_unstable();
    ranked.truncate(limits::SUGGEST_CANDIDATES);
    let ids: Vec<String> = ranked.into_iter().map(|(_, id)| id.to_owned()).collect();
    let pairs = of_caller(seen, &ids).await?;
    let fits = ids.iter().zip(pairs).filter(|(_, pair)| pair.as_ref().is_some_and(may_be_suggested));
    Ok(fits.filter_map(|(id, _)| RecordId::parse(id)).take(limits::SUGGESTIONS).collect())
}

/// These suggestions as they stand now, without those whom the caller is not to be suggested any more.
async fn present(seen: &Seen<'_>, ids: &[RecordId], between: &[Between]) -> Result<Vec<Suggestion>, StoreError> {
    let ids: Vec<String> = ids.iter().map(RecordId::to_string).collect();
    let reads = ids.iter().map(|id| via(seen, id, between).boxed());
    let via = stream::iter(reads.collect::<Vec<_>>()).buffered(READS_IN_FLIGHT).try_collect::<Vec<_>>();
    let (pairs, via) = try_join!(of_caller(seen, &ids), via)?;
    let shown: BTreeSet<String> = via.iter().flat_map(|via| named(via)).chain(ids.iter().cloned()).collect();
    let accounts = accounts(seen, shown.into_iter().collect()).await?;
    let suggestion = |((id, pair), via): ((&String, Option<Pair>), Vec<Between>)| {
        pair.filter(may_be_suggested)?;
        let account = Some(accounts.get(id)?.clone());
        let reason = match via.first()?.is_mutual {
            true => SuggestionReason::FollowedByMutuals,
            false => SuggestionReason::FollowedByFollowed,
        };
        let via_count = u32::try_from(via.len()).unwrap_or(u32::MAX);
        let via = named(&via).filter_map(|id| accounts.get(&id).cloned()).collect();
        Some(Suggestion { account, reason: reason.into(), via, via_count })
    };
    Ok(ids.iter().zip(pairs).zip(via).filter_map(suggestion).collect())
}

/// Those in between who follow the account, those first who follow the caller too, in one read.
async fn via(seen: &Seen<'_>, id: &str, between: &[Between]) -> Result<Vec<Between>, StoreError> {
    let places = between.iter().map(|one| of_other(&one.account_id).to_vec());
    let rows = seen.state.rows::<EdgeRow>(&FOLLOWERS, &Key::text(id), places).await?;
    let follows = between.iter().zip(rows).filter(|(_, found)| found.as_ref().is_some_and(|found| found.row.following));
    let mut via: Vec<Between> = follows.map(|(one, _)| one.clone()).collect();
    via.sort_by_key(|one| Reverse(one.weight()));
    Ok(via)
}

/// Those who are named.
fn named(via: &[Between]) -> impl Iterator<Item = String> {
    via.iter().take(limits::SUGGEST_NAMED).map(|one| one.account_id.clone())
}

async fn accounts(seen: &Seen<'_>, ids: Vec<String>) -> Result<BTreeMap<String, Account>, StoreError> {
    let rows = read::batch(&seen.state, &ids).await?;
    let opener = seen.opener();
    let shown = ids.into_iter().zip(rows).filter_map(|(id, row)| {
        let account = row.filter(|row| !row.away)?.present(&opener, &id);
        Some((id, account))
    });
    Ok(shown.collect())
}
