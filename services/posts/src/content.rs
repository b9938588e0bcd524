//! What a request says that a post is to say: checked, and its mentions resolved.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use kith_fold::State;
use kith_proto::posts::v1::facet::Feature;
use kith_proto::posts::v1::{Facet, PostContent};
use kith_relations::account;
use kith_relations::sight::Viewer;
use kith_service::{Failure, limits, text};
use kith_tables::StoreError;

use crate::facets;

/// Languages of one post.
pub const LANGUAGES_PER_POST: usize = 3;
/// The longest language tag, in characters (RFC 5646, section 4.4.1).
pub const LANGUAGE_TAG_CHARS_MAX: usize = 35;
/// Handles looked up at once.
const LOOKUPS_IN_FLIGHT: usize = 16;

/// 1 to 500 graphemes, at most 5,000 bytes; in NFC.
pub fn parse_text(text: &str) -> Result<String, Failure> {
    text::parse_text("text", text, limits::POST)
}

/// At most [`LANGUAGES_PER_POST`], each of the shape of a BCP 47 tag. They are kept as written.
pub fn parse_languages(languages: Vec<String>) -> Result<Vec<String>, Failure> {
    if languages.len() > LANGUAGES_PER_POST {
        return Err(Failure::field_invalid("languages", "has more than 3 tags"));
    }
    match languages.iter().position(|tag| !is_language_tag(tag)) {
        Some(at) => Err(Failure::field_invalid(&format!("languages[{at}]"), "is not of the shape of a BCP 47 tag")),
        None => Ok(languages),
    }
}

/// The whole content. A mention keeps the account that has the handle now; a handle that nobody has, or an account that
/// must not meet the author, stays text.
pub async fn compose(
    state: &State,
    author: &str,
    text: String,
    languages: Vec<String>,
) -> Result<PostContent, StoreError> {
    let found = facets::find(&text);
    let handles: BTreeMap<&str, ()> = found.iter().filter_map(handle).map(|handle| (handle, ())).collect();
    let look_up = |handle: &str| {
        let handle = handle.to_owned();
        async move { account::by_handle(state, &handle).await.map(|account_id| (handle, account_id)) }
    };
    let look_ups: Vec<_> = handles.into_keys().map(look_up).collect();
    let found_accounts: Vec<(String, Option<String>)> =
        stream::iter(look_ups).buffered(LOOKUPS_IN_FLIGHT).try_collect().await?;
    let accounts = met(state, author, found_accounts).await?;
    let facets = found.into_iter().filter_map(|facet| resolved(facet, &accounts)).collect();
    Ok(PostContent { text, facets, languages })
}

/// Those of the accounts, by handle, that are there and that no block hides from the author.
async fn met(
    state: &State,
    author: &str,
    found: Vec<(String, Option<String>)>,
) -> Result<BTreeMap<String, String>, StoreError> {
    let found: BTreeMap<String, String> =
        found.into_iter().filter_map(|(handle, account_id)| Some((handle, account_id?))).collect();
    let sights = Viewer::new(state, author).sights(found.values().map(String::as_str)).await?;
    Ok(found.into_iter().filter(|(_, account_id)| sights.of(account_id).is_clear()).collect())
}

fn handle(facet: &Facet) -> Option<&str> {
    match &facet.feature {
        Some(Feature::Mention(mention)) => Some(&mention.handle),
        _ => None,
    }
}

fn resolved(mut facet: Facet, accounts: &BTreeMap<String, String>) -> Option<Facet> {
    if let Some(Feature::Mention(mention)) = &mut facet.feature {
        mention.account_id = accounts.get(&mention.handle)?.clone();
    }
    Some(facet)
}

/// The shape only: 2 to 8 letters, then parts of 1 to 8 letters and digits.
fn is_language_tag(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let language = parts.next().unwrap_or_default();
    tag.len() <= LANGUAGE_TAG_CHARS_MAX
        && (2..=8).contains(&language.len())
        && language.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_have_the_shape_of_bcp_47() {
        let parse = |tags: &[&str]| parse_languages(tags.iter().map(|&tag| tag.to_owned()).collect());
        assert!(parse(&[]).is_ok());
        assert!(parse(&["en", "pt-BR", "zh-Hant-TW"]).is_ok());
        assert_eq!(parse(&["en"; 4]).unwrap_err().field_violations()[0].field, "languages");
        let long = format!("en{}", "-abcdefgh".repeat(4));
        for bad in ["", "e", "en_US", "en-", "1n", "-en", "en--US", "abcdefghi", "en,de", "en US", "日本", &long] {
            assert_eq!(parse(&["en", bad]).unwrap_err().field_violations()[0].field, "languages[1]", "{bad}");
        }
    }
}
