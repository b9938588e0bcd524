//! What a request says that a post is to say: checked, and its mentions resolved.

use std::collections::BTreeSet;

use kith_fold::State;
use kith_proto::posts::v1::facet::Feature;
use kith_proto::posts::v1::{Facet, PostAttributes, PostContent};
use kith_relations::mention;
use kith_service::limits::LANGUAGES_PER_POST;
use kith_service::{Failure, limits, text};
use kith_tables::StoreError;
use kith_text::language::is_language_tag;

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

/// The whole content, its mentions resolved by [`mention::facets`].
pub async fn compose(state: &State, author: &str, text: String, languages: Vec<String>) -> Result<Said, StoreError> {
    let facets = mention::facets(state, author, &text).await?;
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

#[cfg(test)]
mod tests {
    use kith_text::facets;

    use super::*;

    #[test]
    fn accounts_and_tags_are_known_beside_the_content_each_once() {
        let text = "@ada and @eve, #rust #Rust #go";
        let accounts = [("ada".to_owned(), "a1".to_owned())].into();
        let facets: Vec<Facet> =
            facets::find(text).into_iter().map(|facet| mention::resolved(facet, &accounts)).collect();
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
