//! Languages of a text.

use oxilangtag::LanguageTag;

/// The longest language tag, in characters (RFC 5646, section 4.4.1).
pub const LANGUAGE_TAG_CHARS_MAX: usize = 35;

/// Whether `tag` is a well-formed language tag of BCP 47: with extensions, for private use (`x-…`), and those of older
/// standards (`i-…`) too. Whether its parts are registered is not looked at.
pub fn is_language_tag(tag: &str) -> bool {
    tag.len() <= LANGUAGE_TAG_CHARS_MAX && LanguageTag::parse(tag).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_bcp_47_are_taken() {
        for tag in [
            "en",
            "pt-BR",
            "zh-Hant-TW",
            "es-419",
            "sl-rozaj-biske",
            "de-CH-1901",
            "zh-cmn-Hans-CN",
            "sr-Latn",
            "EN-us",
            "x-klingon",
            "x-whatever",
            "X-a-b",
            "i-klingon",
            "i-default",
            "I-Navajo",
            "en-GB-oed",
            "sgn-BE-FR",
            "zh-min-nan",
            "art-lojban",
            "de-a-value",
            "en-u-ca-gregory",
            "en-US-u-islamcal",
            "en-x-twain",
            "de-DE-x-goethe",
            "qaa-Qaaa-QM",
        ] {
            assert!(is_language_tag(tag), "{tag}");
        }
    }

    #[test]
    fn other_texts_are_not() {
        let long = format!("en{}", "-abcdefgh".repeat(4));
        for tag in [
            "",
            "e",
            "x",
            "i",
            "x-",
            "x--a",
            "i-",
            "i-nosuch",
            "en_US",
            "en-",
            "1n",
            "-en",
            "en--US",
            "abcdefghi",
            "en,de",
            "en US",
            "日本",
            "en-a",
            "en-a-b-",
            "en-x",
            "x-abcdefghi",
            "en\n",
            "e\u{301}n",
            &long,
        ] {
            assert!(!is_language_tag(tag), "{tag}");
        }
    }
}
