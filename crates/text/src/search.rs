//! Names as they are searched: the words of a name, folded, and where in them somebody may begin to type.

use crate::character::{is_mark, is_of_word, is_written_without_spaces};
use crate::folding::fold;

/// Places of one name at which it is found; further ones do not count.
pub const STARTS_MAX: usize = 32;

/// The words of a name, or of what is typed to find one: NFKC with default case folding, one space between two, without what is
/// in no word (punctuation, signs, emoji). `_` separates words: it stands for the space that handles cannot have.
pub fn words(name: &str) -> String {
    let folded = fold(name);
    let words = folded.split(|c| c == '_' || !is_of_word(c)).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// Where a name, given by its [`words`], may be begun to be typed, each with the rest of its word: at each word; and in scripts that
/// are written without spaces at each letter, since no space says where the next word begins. At most [`STARTS_MAX`].
pub fn starts(words: &str) -> impl Iterator<Item = &str> {
    words.split(' ').flat_map(starts_of_word).take(STARTS_MAX)
}

fn starts_of_word(word: &str) -> impl Iterator<Item = &str> {
    let before = std::iter::once(None).chain(word.chars().map(Some));
    before.zip(word.char_indices()).filter_map(move |(before, (at, c))| {
        let is_without_space =
            before.is_none_or(|before| is_written_without_spaces(before) || is_written_without_spaces(c));
        (is_without_space && (at == 0 || !is_mark(c))).then(|| &word[at..])
    })
}

/// Whether each word of a query, given by its [`words`], begins somewhere in one of these names, given by theirs.
pub fn matches(query: &str, names: &[&str]) -> bool {
    let mut wanted = query.split(' ').filter(|word| !word.is_empty());
    wanted.all(|word| names.iter().any(|name| starts(name).any(|start| start.starts_with(word))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_folded_and_stand_apart() {
        for (written, kept) in [
            ("ada_lovelace", "ada lovelace"),
            ("  Ada  LOVELACE ", "ada lovelace"),
            ("STRASSE Straße", "strasse strasse"),
            ("Ｆｕｌｌ", "full"),
            ("ﬁne", "fine"),
            ("İstanbul", "istanbul"),
            ("Anne-Marie O'Neil", "anne marie o neil"),
            ("山田　太郎", "山田 太郎"),
            ("ﾔﾏﾀﾞ", "ヤマダ"),
            ("नमस्ते", "नमस्ते"),
            ("@ada!", "ada"),
            ("🦀 _", ""),
            ("", ""),
        ] {
            assert_eq!(words(written), kept, "{written}");
        }
    }

    #[test]
    fn a_name_is_found_at_each_word_and_without_spaces_at_each_letter() {
        let starts = |name: &str| starts(&words(name)).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(starts("Ada Lovelace"), ["ada", "lovelace"]);
        assert_eq!(starts("山田太郎"), ["山田太郎", "田太郎", "太郎", "郎"]);
        assert_eq!(starts("김철수"), ["김철수", "철수", "수"]);
        assert_eq!(starts("山田taro"), ["山田taro", "田taro", "taro"]);
        assert_eq!(starts("สวัสดี").first().map(String::as_str), Some("สวัสดี"));
        assert!(starts("สวัสดี").iter().all(|start| !start.starts_with(is_mark)));
        assert_eq!(starts(&"山".repeat(64)).len(), STARTS_MAX);
        assert_eq!(starts("Иван Петров"), ["иван", "петров"]);
        assert!(starts("").is_empty());
    }

    #[test]
    fn every_word_of_a_query_begins_somewhere() {
        let found = |query: &str| matches(&words(query), &[&words("ada_l"), &words("Augusta Ada 山田太郎")]);
        for query in ["a", "ada", "L", "aug l", "l aug", "太", "田太", "ADA  augusta", "@ada_l"] {
            assert!(found(query), "{query}");
        }
        for query in ["da", "gusta", "ada x", "adal", "田郎"] {
            assert!(!found(query), "{query}");
        }
    }

    proptest! {
        #[test]
        fn words_stay_as_they_are_and_a_name_finds_itself(name in any::<String>()) {
            let once = words(&name);
            prop_assert_eq!(&words(&once), &once);
            let few = once.chars().count() <= STARTS_MAX;
            prop_assert!(!few || matches(&once, &[&once]), "{}", once);
        }
    }
}
