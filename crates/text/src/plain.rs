//! Texts of more than a line: normalised, then bounded.

use std::fmt;

use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use crate::character::is_blank;

/// How text of one kind is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextLimit {
    pub graphemes: usize,
    pub bytes: usize,
}

/// What a text is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Graphemes,
    Bytes,
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Graphemes => "graphemes",
            Self::Bytes => "bytes",
        })
    }
}

/// Why a text is refused. The message goes behind the name of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("is empty")]
    Empty,
    #[error("has a control character other than newline and tab, or overrides direction")]
    Control,
    #[error("has a control character, or overrides direction")]
    ControlInName,
    #[error("opens a direction of text that it does not close, or closes one that it did not open")]
    DirectionOpen,
    #[error("has {has} {unit}, the limit is {limit}")]
    TooLong { has: usize, limit: usize, unit: Length },
}

/// The text in NFC, with `\n` for the line ends `\r\n` and `\r`, otherwise as it was written.
///
/// Refused: a text with nothing to see in it, control characters other than newline and tab, bidirectional overrides,
/// more graphemes or bytes than `limit` (counted after normalisation).
pub fn parse_text(text: &str, limit: TextLimit) -> Result<String, TextError> {
    let text = parse_text_or_empty(text, limit)?;
    if text.is_empty() { Err(TextError::Empty) } else { Ok(text) }
}

/// As [`parse_text`], for a text that may be left out: what has nothing to see in it becomes the empty text.
pub fn parse_text_or_empty(text: &str, limit: TextLimit) -> Result<String, TextError> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t' || is_override(c)) {
        return Err(TextError::Control);
    }
    bounded(&text, limit)
}

/// Overrides show letters in another order than they stand in, so that one name reads as another. Embeddings and
/// isolates do not, and who mixes scripts needs them. They end with their line, so that a text need not close them.
pub(crate) fn is_override(c: char) -> bool {
    matches!(c, '\u{202D}' | '\u{202E}')
}

/// In NFC and no longer than `limit`; empty if there is nothing to see.
pub(crate) fn bounded(text: &str, limit: TextLimit) -> Result<String, TextError> {
    let text: String = text.nfc().collect();
    if text.len() > limit.bytes {
        return Err(TextError::TooLong { has: text.len(), limit: limit.bytes, unit: Length::Bytes });
    }
    let graphemes = text.graphemes(true).count();
    if graphemes > limit.graphemes {
        return Err(TextError::TooLong { has: graphemes, limit: limit.graphemes, unit: Length::Graphemes });
    }
    Ok(if text.chars().all(is_blank) { String::new() } else { text })
}

/// The beginning of `text`: as many whole graphemes as `limit` allows.
pub fn beginning(text: &str, limit: TextLimit) -> &str {
    let ends = text.grapheme_indices(true).map(|(at, grapheme)| at + grapheme.len());
    let end = ends.take(limit.graphemes).take_while(|end| *end <= limit.bytes).last().unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: TextLimit = TextLimit { graphemes: 5, bytes: 30 };

    fn refused(text: &str) -> TextError {
        parse_text(text, LIMIT).unwrap_err()
    }

    #[test]
    fn text_is_kept_as_written_but_normalised() {
        for (written, kept) in [
            (" a\tb\n", " a\tb\n"),
            ("cafe\u{301}", "caf\u{e9}"),
            ("\u{212B}", "\u{C5}"),
            ("a\r\nb", "a\nb"),
            ("a\rb", "a\nb"),
            ("a\r\n\r\nb", "a\n\nb"),
            ("a\n\rb", "a\n\nb"),
            ("a\r\r\nb", "a\n\nb"),
            ("a\u{2028}b", "a\u{2028}b"),
            ("ｓｙｎ", "ｓｙｎ"),
        ] {
            assert_eq!(parse_text(written, LIMIT).unwrap(), kept, "{written:?}");
        }
    }

    #[test]
    fn a_beginning_is_of_whole_graphemes() {
        for (text, begins) in [("", ""), ("abc", "abc"), ("abcdefg", "abcde"), ("e\u{301}bcdef", "e\u{301}bcde")] {
            assert_eq!(beginning(text, LIMIT), begins);
        }
        assert_eq!(beginning("a👨‍👩‍👧‍👦👨‍👩‍👧‍👦", LIMIT), "a👨‍👩‍👧‍👦", "25 bytes more are over 30");
        assert_eq!(beginning("👨‍👩‍👧‍👦", TextLimit { graphemes: 5, bytes: 24 }), "");
    }

    #[test]
    fn a_family_of_four_is_one_grapheme() {
        assert!(parse_text("👨‍👩‍👧‍👦", LIMIT).is_ok());
        let too_long = TextError::TooLong { has: 50, limit: 30, unit: Length::Bytes };
        assert_eq!(refused("👨‍👩‍👧‍👦👨‍👩‍👧‍👦"), too_long, "50 bytes are over 30, though 2 graphemes");
    }

    #[test]
    fn what_is_not_a_text_is_refused() {
        for blank in ["", "  \n\t", "\r\n", "\u{200B}\u{FEFF}", "\u{3164}", "\u{2800}"] {
            assert_eq!(refused(blank), TextError::Empty, "{blank:?}");
            assert_eq!(parse_text_or_empty(blank, LIMIT).unwrap(), "", "{blank:?}");
        }
        assert_eq!(refused("abcdef"), TextError::TooLong { has: 6, limit: 5, unit: Length::Graphemes });
        for control in ["a\0", "a\u{1b}[2J", "a\u{b}b", "a\u{c}b", "\u{85}", "\u{7f}"] {
            assert_eq!(refused(control), TextError::Control, "{control:?}");
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
            assert_eq!(refused(blank), TextError::Empty, "{blank:?}");
            assert_eq!(refused(&format!("\u{2068} {blank}")), TextError::Empty, "{blank:?}");
            assert!(parse_text(&format!("क{blank}"), LIMIT).is_ok(), "{blank:?}");
        }
        for seen in ["❤\u{FE0F}", "x\u{301}", "\u{2067}של\u{2069}", "葛\u{E0100}", "🏴\u{E0067}\u{E007F}"] {
            assert_eq!(parse_text(seen, LIMIT).unwrap(), seen);
        }
    }

    #[test]
    fn overrides_of_direction_are_refused_wherever_they_stand() {
        for text in ["\u{202E}", "a\u{202E}b", "\u{202D}1"] {
            assert_eq!(parse_text(text, LIMIT), Err(TextError::Control), "{text:?}");
            assert_eq!(parse_text_or_empty(text, LIMIT), Err(TextError::Control), "{text:?}");
        }
        assert!(parse_text("\u{2067}a", LIMIT).is_ok(), "an isolate ends with its line");
    }

    proptest! {
        #[test]
        fn what_is_kept_is_kept_again_as_it_is(text in any::<String>()) {
            let limit = TextLimit { graphemes: 10_000, bytes: 100_000 };
            if let Ok(kept) = parse_text_or_empty(&text, limit) {
                prop_assert!(!kept.contains('\r'));
                prop_assert_eq!(parse_text_or_empty(&kept, limit), Ok(kept));
            }
        }
    }
}
