//! What a request says that a post is to say: checked, and its mentions resolved.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use kith_fold::State;
use kith_proto::posts::v1::facet::Feature;
use kith_proto::posts::v1::{Facet, PostAttributes, PostContent};
use kith_relations::account;
use kith_relations::sight::Viewer;
use kith_service::limits::LANGUAGES_PER_POST;
use kith_service::{Failure, limits, text};
use kith_tables::StoreError;
use kith_text::facets;
use kith_text::language::is_language_tag;

/// Handles looked up at once.
const LOOKUPS_IN_FLIGHT: usize = 16;

/// What a post is to say, and what is known of it beside.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    pub content: PostContent,
    pub attributes: PostAttributes,
}

/// 1 to 500 graphemes, at most 5,000 bytes; normalised.
pub fn parse_text(text: &str) -> Result<String, Failure> {
    text::parse_text("text", text, limits::POST)
}

/// At most [`LANGUAGES_PER_POST`], each a well-formed tag of BCP 47. They are kept as written.
pub fn parse_languages(languages: Vec<String>) -> Result<Vec<String>, Failure> {
    if languages.len() > LANGUAGES_PER_POST {
        return Err(Failure::field_invalid("languages", "has more than 3 tags"));
    }
    match languages.iter().position(|tag| !is_language_tag(tag)) {
        Some(at) => Err(Failure::field_invalid(&format!("languages[{at}]"), "is not a language tag of BCP 47")),
        None => Ok(languages),
    }
}

/// The whole content. A mention keeps the account that has the handle now; of a handle that nobody has it keeps an empty
/// id, and so it does across a block, which is to look like nobody.
pub async fn compose(state: &State, author: &str, text: String, languages: Vec<String>) -> Result<Said, StoreError> {
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
    let facets: Vec<Facet> = found.into_iter().map(|facet| resolved(facet, &accounts)).collect();
    let attributes = PostAttributes { languages, ..attributes(&facets) };
    Ok(Said { content: PostContent { text, facets }, attributes })
}

/// What of the facets is known beside the content.
fn attributes(facets: &[Facet]) -> PostAttributes {
    let (mut mentioned, mut tags) = (BTreeSet::new(), BTreeSet::new());
    for facet in facets {
        match &facet.feature {
            Some(Feature::Mention(mention)) if !mention.account_id.is_empty() => {
                mentioned.insert(mention.account_id.clone());
            }
            Some(Feature::Hashtag(hashtag)) => {
                tags.insert(hashtag.tag.clone());
            }
            Some(Feature::Mention(_) | Feature::Link(_)) | None => {}
        }
    }
    let (mentioned_account_ids, tags) = (mentioned.into_iter().collect(), tags.into_iter().collect());
    PostAttributes { mentioned_account_ids, tags, ..PostAttributes::default() }
}

/// Those of the accounts, by handle, that are there and that no block hides from the author.
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

fn resolved(mut facet: Facet, accounts: &BTreeMap<String, String>) -> Facet {
    if let Some(Feature::Mention(mention)) = &mut facet.feature {
        mention.account_id = accounts.get(&mention.handle).cloned().unwrap_or_default();
    }
    facet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_and_tags_are_known_beside_the_content_each_once() {
        let text = "@ada and @eve, #rust #Rust #go";
        let accounts = [("ada".to_owned(), "a1".to_owned())].into();
        let facets: Vec<Facet> = facets::find(text).into_iter().map(|facet| resolved(facet, &accounts)).collect();
        let attributes = attributes(&facets);
        assert_eq!(attributes.mentioned_account_ids, ["a1"], "nobody is @eve");
        assert_eq!(attributes.tags, ["go", "rust"]);
    }

    #[test]
    fn languages_are_tags_of_bcp_47() {
        let parse = |tags: &[&str]| parse_languages(tags.iter().map(|&tag| tag.to_owned()).collect());
        assert!(parse(&[]).is_ok());
        assert!(parse(&["en", "pt-BR", "zh-Hant-TW"]).is_ok());
        assert!(parse(&["x-klingon", "i-klingon", "de-u-co-phonebk"]).is_ok());
        assert_eq!(parse(&["en"; 4]).unwrap_err().field_violations()[0].field, "languages");
        for bad in ["", "en_US", "en,de"] {
            assert_eq!(parse(&["en", bad]).unwrap_err().field_violations()[0].field, "languages[1]", "{bad}");
        }
    }
}
