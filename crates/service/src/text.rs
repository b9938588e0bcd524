//! Texts that people write: parsed once at the edge, then trusted.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

use crate::Failure;
use crate::limits::TextLimit;

/// The text in NFC, otherwise as it was written.
///
/// Refused: a text with nothing to see in it, control characters other than newline and tab, bidirectional overrides,
/// more graphemes or bytes than `limit` (counted after normalisation). `field` is the request's field, for the violation.
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

/// Overrides show letters in another order than they stand in, so that one name reads as another. Embeddings and isolates
/// do not: who mixes scripts needs them.
fn is_refused_control(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t' || matches!(c, '\u{202D}' | '\u{202E}')
}

/// What shows nothing by itself: white space, the empty Braille pattern, marks (which need a letter to stand on), and what
/// is not drawn.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{2800}' || is_combining_mark(c) || is_default_ignorable(c)
}

/// `Default_Ignorable_Code_Point` of Unicode's DerivedCoreProperties.txt. It has what is reserved for such characters to
/// come, so that the list is the same from version 14 to 17.
fn is_default_ignorable(c: char) -> bool {
    matches!(
        c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}'
    )
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
        for blank in ["", "  \n\t", "\u{200B}\u{FEFF}", "\u{3164}", "\u{2800}"] {
            assert_eq!(reason(blank), "TEXT_EMPTY", "{blank:?}");
            assert_eq!(parse_text_or_empty("bio", blank, LIMIT).unwrap(), "", "{blank:?}");
        }
        assert_eq!(reason("abcdef"), "TEXT_TOO_LONG");
        for control in ["a\0", "a\u{1b}[2J", "\r", "\u{85}"] {
            assert_eq!(parse_text("text", control, LIMIT).unwrap_err().field_violations()[0].field, "text");
        }
    }
    #[test]
    fn what_shows_nothing_by_itself_is_no_text() {
        for blank in [
            "\u{180E}",
            "\u{E0001}\u{E0041}\u{E007F}",
            "\u{E0100}\u{E01EF}",
            "\u{FE0F}",
            "\u{202A}\u{202C}",
            "\u{2066}\u{2069}",
            "\u{206A}\u{206F}",
            "\u{FFF0}",
            "\u{301}\u{20DD}",
            "\u{93E}",
        ] {
            assert_eq!(reason(blank), "TEXT_EMPTY", "{blank:?}");
            assert_eq!(reason(&format!("\u{2068} {blank}")), "TEXT_EMPTY", "{blank:?}");
            assert!(parse_text("text", &format!("क{blank}"), LIMIT).is_ok(), "{blank:?}");
        }
        for seen in ["❤\u{FE0F}", "x\u{301}", "\u{2067}של\u{2069}", "葛\u{E0100}", "🏴\u{E0067}\u{E007F}"] {
            assert_eq!(parse_text("text", seen, LIMIT).unwrap(), seen);
        }
    }

    #[test]
    fn overrides_of_direction_are_refused_wherever_they_stand() {
        for text in ["\u{202E}", "a\u{202E}b", "\u{202D}1"] {
            for refused in [parse_text("text", text, LIMIT), parse_text_or_empty("text", text, LIMIT)] {
                let failure = refused.unwrap_err();
                assert_eq!(failure, Failure::text_control_character("text"), "{text:?}");
            }
        }
    }
}
