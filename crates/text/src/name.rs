//! Names that are shown beside others' words: one line that cannot reach beyond itself.

use crate::character::is_space;
use crate::plain::{TextError, TextLimit, bounded, is_override};

/// The name in NFC. Each run of white space, line ends among it, becomes one space, and none is left at the ends. What
/// has nothing to see in it becomes the empty name.
///
/// Refused: control characters, bidirectional overrides, embeddings and isolates that are not closed in the name or
/// were not opened in it, more graphemes or bytes than `limit` (counted after normalisation).
pub fn parse_name(name: &str, limit: TextLimit) -> Result<String, TextError> {
    let name = name.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let name = name.trim_matches(is_at_no_end);
    if name.chars().any(|c| c.is_control() || is_override(c)) {
        return Err(TextError::ControlInName);
    }
    if !directions_are_closed(name) {
        return Err(TextError::DirectionOpen);
    }
    bounded(name, limit)
}

/// A space, or what only marks where a line may break or not.
fn is_at_no_end(c: char) -> bool {
    matches!(c, ' ' | '\u{200B}' | '\u{2060}' | '\u{FEFF}')
}

/// Whether embeddings and isolates are nested and closed: one left open turns what is shown behind the name.
fn directions_are_closed(name: &str) -> bool {
    const END_OF_EMBEDDING: char = '\u{202C}';
    const END_OF_ISOLATE: char = '\u{2069}';
    let mut open = Vec::new();
    for c in name.chars() {
        match c {
            '\u{202A}' | '\u{202B}' => open.push(END_OF_EMBEDDING),
            '\u{2066}'..='\u{2068}' => open.push(END_OF_ISOLATE),
            END_OF_EMBEDDING | END_OF_ISOLATE if open.pop() != Some(c) => return false,
            _ => {}
        }
    }
    open.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: TextLimit = TextLimit { graphemes: 20, bytes: 60 };

    #[test]
    fn white_space_is_folded_and_trimmed() {
        for (written, kept) in [
            ("Ada\n@admin", "Ada @admin"),
            ("Ada\r\n\r\nLovelace", "Ada Lovelace"),
            ("Ada                              L", "Ada L"),
            ("\tAda\t\tL\t", "Ada L"),
            ("Ada\u{2028}L\u{2029}", "Ada L"),
            ("\u{3000}Ada\u{A0}\u{2003}L\u{85}", "Ada L"),
            ("Ada\u{2800}\u{2800}L\u{3164}", "Ada L"),
            ("\u{200B} Ada \u{FEFF}", "Ada"),
            ("Ada\u{B}L\u{C}", "Ada L"),
            ("Jose\u{301}", "Jos\u{e9}"),
            ("", ""),
            (" \u{200B}\n", ""),
            ("\u{200D}\u{FE0F}", ""),
            ("❤\u{FE0F}", "❤\u{FE0F}"),
            ("نام\u{200C}ها", "نام\u{200C}ها"),
            ("Ada \u{2067}של\u{2069}", "Ada \u{2067}של\u{2069}"),
            (
                "\u{202B}של\u{202C} \u{2068}a\u{202A}b\u{202C}\u{2069}",
                "\u{202B}של\u{202C} \u{2068}a\u{202A}b\u{202C}\u{2069}",
            ),
        ] {
            assert_eq!(parse_name(written, LIMIT).as_deref(), Ok(kept), "{written:?}");
        }
    }

    #[test]
    fn what_would_change_what_stands_beside_a_name_is_refused() {
        for control in
            ["Ada\0", "\u{1b}[31mAda", "A\u{7f}da", "\u{8}Ada", "A\u{202E}da", "\u{202D}Ada\u{202C}", "A\u{9b}"]
        {
            assert_eq!(parse_name(control, LIMIT), Err(TextError::ControlInName), "{control:?}");
        }
        for open in [
            "Ada\u{2067}",
            "Ada\u{202B}",
            "\u{2066}Ada",
            "\u{2068}Ada",
            "\u{202A}Ada",
            "\u{2067}Ada\u{202C}",
            "\u{202B}Ada\u{2069}",
            "\u{2067}\u{202B}Ada\u{2069}\u{202C}",
            "Ada\u{2069}",
            "Ada\u{202C}",
            "\u{2067}\u{2067}Ada\u{2069}",
        ] {
            assert_eq!(parse_name(open, LIMIT), Err(TextError::DirectionOpen), "{open:?}");
        }
        assert!(matches!(parse_name(&"x".repeat(21), LIMIT), Err(TextError::TooLong { has: 21, .. })));
    }

    fn hostile_name() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[a \\s\u{200B}\u{202A}-\u{202C}\u{2066}-\u{2069}\u{301}]{0,12}"]
    }

    proptest! {
        #[test]
        fn a_name_is_one_line_and_its_own_normal_form(name in hostile_name()) {
            let limit = TextLimit { graphemes: 10_000, bytes: 100_000 };
            if let Ok(kept) = parse_name(&name, limit) {
                prop_assert!(!kept.contains("  ") && kept.trim() == kept && kept.lines().count() <= 1);
                prop_assert_eq!(parse_name(&kept, limit), Ok(kept));
            }
        }
    }
}
