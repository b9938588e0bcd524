//! Texts that people write: parsed once at the edge, then trusted.

use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use crate::Failure;
use crate::limits::TextLimit;

/// The text in NFC, otherwise as it was written.
///
/// Refused: a text with nothing to see in it, control characters other than newline and tab, more graphemes or bytes
/// than `limit` (counted after normalisation). `field` is the request's field, for the violation.
pub fn parse_text(field: &str, text: &str, limit: TextLimit) -> Result<String, Failure> {
    let text = parse_text_or_empty(field, text, limit)?;
    if text.chars().all(is_blank) {
        return Err(Failure::text_empty(field));
    }
    Ok(text)
}

/// As [`parse_text`], for a text that may be left out: what has nothing to see in it becomes the empty text.
pub fn parse_text_or_empty(field: &str, text: &str, limit: TextLimit) -> Result<String, Failure> {
    if text.chars().any(is_refused_control) {
        return Err(Failure::text_control_character(field));
    }
    let text: String = text.nfc().collect();
    if text.len() > limit.bytes {
        return Err(Failure::text_too_long(field, text.len(), limit.bytes, "bytes"));
    }
    let graphemes = text.graphemes(true).count();
    if graphemes > limit.graphemes {
        return Err(Failure::text_too_long(field, graphemes, limit.graphemes, "graphemes"));
    }
    if text.chars().all(is_blank) {
        return Ok(String::new());
    }
    Ok(text)
}

fn is_refused_control(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

/// White space, and the characters without width that would make an empty text look like one that is not.
fn is_blank(c: char) -> bool {
    let without_width = matches!(
        c,
        '\u{00AD}' | '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{2064}'
            | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
    );
    c.is_whitespace() || without_width
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: TextLimit = TextLimit { graphemes: 5, bytes: 30 };

    fn reason(text: &str) -> String {
        parse_text("text", text, LIMIT).unwrap_err().reason_name().to_owned()
    }

    #[test]
    fn text_is_kept_as_written_but_normalised() {
        assert_eq!(parse_text("text", " a\tb\n", LIMIT).unwrap(), " a\tb\n");
        assert_eq!(parse_text("text", "e\u{301}", LIMIT).unwrap(), "\u{e9}");
    }

    #[test]
    fn a_family_of_four_is_one_grapheme() {
        assert!(parse_text("text", "👨‍👩‍👧‍👦", LIMIT).is_ok());
        assert_eq!(reason("👨‍👩‍👧‍👦👨‍👩‍👧‍👦"), "TEXT_TOO_LONG", "50 bytes are over 30, though 2 graphemes");
    }

    #[test]
    fn what_is_not_a_text_is_refused_with_its_reason() {
        for blank in ["", "  \n\t", "\u{200B}\u{FEFF}", "\u{3164}"] {
            assert_eq!(reason(blank), "TEXT_EMPTY", "{blank:?}");
            assert_eq!(parse_text_or_empty("bio", blank, LIMIT).unwrap(), "", "{blank:?}");
        }
        assert_eq!(reason("abcdef"), "TEXT_TOO_LONG");
        for control in ["a\0", "a\u{1b}[2J", "\r", "\u{85}"] {
            assert_eq!(parse_text("text", control, LIMIT).unwrap_err().field_violations()[0].field, "text");
        }
    }
}
