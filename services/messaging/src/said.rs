//! What a request says that a message is to say: checked, its facets found, its mentions resolved.

use kith_fold::State;
use kith_proto::messaging::v1::{MessageContent, MessagePreview};
use kith_relations::mention;
use kith_service::text::{parse_media_id, parse_text, parse_text_or_empty};
use kith_service::{Failure, limits};
use kith_tables::StoreError;
use kith_text::beginning;

/// Parsed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    pub text: String,
    pub media_ids: Vec<String>,
}

impl Said {
    /// A text may be left out beside media.
    pub fn parse(text: &str, media_ids: Vec<String>) -> Result<Self, Failure> {
        if media_ids.len() > limits::MEDIA_PER_MESSAGE {
            return Err(Failure::field_invalid("media_ids", "has more than 4 ids"));
        }
        let parse = if media_ids.is_empty() { parse_text } else { parse_text_or_empty };
        let text = parse("text", text, limits::MESSAGE)?;
        let numbered = media_ids.into_iter().enumerate();
        let media_ids =
            numbered.map(|(at, id)| parse_media_id(&format!("media_ids[{at}]"), id)).collect::<Result<_, _>>()?;
        Ok(Self { text, media_ids })
    }

    /// The whole content. It costs the reads of [`mention::facets`].
    pub async fn compose(&self, state: &State, author: &str) -> Result<MessageContent, StoreError> {
        let facets = mention::facets(state, author, &self.text).await?;
        let facets = mention::within(facets, limits::MESSAGE_FACETS_BYTES);
        Ok(MessageContent { text: self.text.clone(), facets, media_ids: self.media_ids.clone() })
    }
}

/// How a content begins.
pub fn preview(content: &MessageContent) -> MessagePreview {
    MessagePreview { text: beginning(&content.text, limits::MESSAGE_PREVIEW).to_owned() }
}

#[cfg(test)]
mod tests {
    use kith_text::facets;
    use prost::Message;

    use super::*;

    #[test]
    fn a_text_may_be_left_out_beside_media() {
        let parse = |text: &str, ids: &[&str]| Said::parse(text, ids.iter().map(|&id| id.to_owned()).collect());
        assert_eq!(parse("a\r\nb", &[]).unwrap().text, "a\nb");
        assert_eq!(parse("", &["m-1"]).unwrap(), Said { text: String::new(), media_ids: vec!["m-1".into()] });
        let field = |parsed: Result<Said, Failure>| parsed.unwrap_err().field_violations()[0].field.clone();
        assert_eq!(field(parse(" ", &[])), "text");
        assert_eq!(field(parse("a", &["m"; 5])), "media_ids");
        for bad in ["", "-m", "a/b", &"m".repeat(129)] {
            assert_eq!(field(parse("a", &["m", bad])), "media_ids[1]", "{bad}");
        }
    }

    #[test]
    fn the_longest_links_fit_into_a_record_with_their_text() {
        let text = format!("https://example.com/{} ", "𐍈".repeat(950)).repeat(2);
        let found = facets::find(text.trim_end());
        let kept = mention::within(found.clone(), limits::MESSAGE_FACETS_BYTES);
        assert!(kept.len() < found.len() && !kept.is_empty());
        assert!(kept.iter().map(Message::encoded_len).sum::<usize>() <= limits::MESSAGE_FACETS_BYTES);
        const { assert!(limits::MESSAGE_BYTES + limits::MESSAGE_FACETS_BYTES < limits::RECORD_BYTES) };
    }
}
