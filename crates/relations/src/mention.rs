//! The facets of a text, with the accounts that its mentions name.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use kith_fold::State;
use kith_proto::posts::v1::Facet;
use kith_proto::posts::v1::facet::Feature;
use kith_tables::StoreError;
use kith_text::facets;
use prost::Message;

use crate::account;
use crate::sight::Viewer;

/// Handles looked up at once.
const LOOKUPS_IN_FLIGHT: usize = 16;

/// The facets of what `author` writes; no read where nobody is mentioned. A mention keeps the account that has the handle now; of a
/// handle that nobody has it keeps an empty id, and so it does across a block, which is to look like nobody. It costs a read for each
/// handle that the text mentions, and up to 18 for blocks and absence of the accounts that have one.
pub async fn facets(state: &State, author: &str, text: &str) -> Result<Vec<Facet>, StoreError> {
    let found = facets::find(text);
    let handles: BTreeMap<&str, ()> = found.iter().filter_map(handle).map(|handle| (handle, ())).collect();
    let look_up = |handle: &str| {
        let handle = handle.to_owned();
        async move { account::by_handle(state, &handle).await.map(|account_id| (handle, account_id)) }
    };
    let look_ups: Vec<_> = handles.into_keys().map(look_up).collect();
    let found_accounts: Vec<(String, Option<String>)> =
        stream::iter(look_ups).buffered(LOOKUPS_IN_FLIGHT).try_collect().await?;
    let accounts = met(state, author, found_accounts).await?;
    Ok(found.into_iter().map(|facet| resolved(facet, &accounts)).collect())
}

/// The first facets that together have at most `bytes` in their wire form; of those after, what they name stays text. A link's address
/// can be three times as long as it is written.
pub fn within(facets: Vec<Facet>, bytes: usize) -> Vec<Facet> {
    let mut taken = 0_usize;
    let fits = |facet: &Facet| {
        taken = taken.saturating_add(facet.encoded_len());
        taken <= bytes
    };
    facets.into_iter().take_while(fits).collect()
}

/// Those of the accounts, by handle, that are there and that no block keeps from meeting the author. Private ones too: to be mentioned
/// they need not be followed.
async fn met(
    state: &State,
    author: &str,
    found: Vec<(String, Option<String>)>,
) -> Result<BTreeMap<String, String>, StoreError> {
    let found: BTreeMap<String, String> =
        found.into_iter().filter_map(|(handle, account_id)| Some((handle, account_id?))).collect();
    let sights = Viewer::new(state, author).meetings(found.values().map(String::as_str)).await?;
    Ok(found.into_iter().filter(|(_, account_id)| sights.of(account_id).is_clear()).collect())
}

fn handle(facet: &Facet) -> Option<&str> {
    match &facet.feature {
        Some(Feature::Mention(mention)) => Some(&mention.handle),
        _ => None,
    }
}

/// With the account that a mention names.
pub fn resolved(mut facet: Facet, accounts: &BTreeMap<String, String>) -> Facet {
    if let Some(Feature::Mention(mention)) = &mut facet.feature {
        mention.account_id = accounts.get(&mention.handle).cloned().unwrap_or_default();
    }
    facet
}
