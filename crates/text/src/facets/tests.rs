use proptest::prelude::*;

use super::*;
use crate::handle::HANDLE_CHARS_MAX;

mod hashtags;
mod links;
mod mentions;

/// Each facet as the text it covers and what it means.
fn found(text: &str) -> Vec<(&str, String)> {
    let meaning = |facet: &Facet| match facet.feature.clone().unwrap() {
        Feature::Mention(mention) => format!("@{}", mention.handle),
        Feature::Hashtag(hashtag) => format!("#{}", hashtag.tag),
        Feature::Link(link) => link.uri,
    };
    find(text).iter().map(|f| (&text[f.start_byte as usize..f.end_byte as usize], meaning(f))).collect()
}

fn meanings(text: &str) -> Vec<String> {
    found(text).into_iter().map(|(_, meaning)| meaning).collect()
}

/// Each text, and what of it is a facet, in order.
#[track_caller]
fn covers(cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        let covered: Vec<&str> = found(text).into_iter().map(|(covered, _)| covered).collect();
        assert_eq!(covered, *expected, "{text:?} {}", text.escape_unicode());
    }
}

#[track_caller]
fn finds_nothing(texts: &[&str]) {
    for text in texts {
        assert!(found(text).is_empty(), "{text:?}: {:?}", found(text));
    }
}

#[test]
fn given_a_text_with_all_kinds_then_each_is_found_in_its_place() {
    let text = "Héllo @Ada_1, see https://example.org/a?b=c#d (#Übung) or www.example.org!";
    let expected = [
        ("@Ada_1", "@ada_1"),
        ("https://example.org/a?b=c#d", "https://example.org/a?b=c#d"),
        ("#Übung", "#übung"),
        ("www.example.org", "https://www.example.org"),
    ];
    assert_eq!(found(text), expected.map(|(text, meaning)| (text, meaning.to_owned())));
}

#[test]
fn there_are_no_more_than_the_limit() {
    assert_eq!(find(&"#a ".repeat(FACETS_PER_TEXT + 5)).len(), FACETS_PER_TEXT);
    assert_eq!(find(&"http://example.org/ ".repeat(FACETS_PER_TEXT + 5)).len(), FACETS_PER_TEXT);
    let beyond = "http://example.org/ ".repeat(FACETS_PER_TEXT) + "http://example.org/@ada #a";
    assert_eq!(find(&beyond).len(), FACETS_PER_TEXT);
}

/// Of ten times the longest message; the search takes at most some hundred steps for each character.
#[test]
fn long_hostile_texts_have_no_more_facets_either() {
    for piece in
        ["https://", "https://-/", "https://a", "www.日", "https://[", "https://a.b/(", "#", "a/@", "@a/", "#a\u{30FB}"]
    {
        let text = piece.repeat(200_000 / piece.len());
        assert!(find(&text).len() <= FACETS_PER_TEXT, "{piece}");
    }
}

fn hostile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "\\PC{0,6}",
        "[@#/:.&?=_'(),|~ -]{1,4}",
        "@[a-zA-Z0-9_]{1,32}",
        "#\\w{1,12}",
        "[\u{FF03}\u{FF20}\u{FE5F}\u{30FB}\u{FF5E}\u{5F4}\u{B7}\u{200C}\u{FE0F}\u{20E3}1]{1,3}",
        Just("https://".to_owned()),
        Just("www.".to_owned()),
        Just("example.org".to_owned()),
        Just("пример.рф/é日本語".to_owned()),
        Just("\u{200d}\u{301}👨‍👩‍👧".to_owned()),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

fn odd_tag() -> impl Strategy<Value = String> {
    prop_oneof!["\\w{1,12}", "[\\w\u{200C}\u{FE0F}\u{5F4}\u{30FB}~]{1,8}", "[iIİıïÏ\u{307}ſßẞΣςǅŉΐ]{1,6}"]
}

proptest! {
    #[test]
    fn facets_are_in_order_disjoint_and_on_characters(text in prop_oneof![any::<String>(), hostile_text()]) {
        let facets = find(&text);
        let mut at = 0;
        for facet in &facets {
            let (start, end) = (facet.start_byte as usize, facet.end_byte as usize);
            prop_assert!(at <= start && start < end && end <= text.len());
            prop_assert!(text.is_char_boundary(start) && text.is_char_boundary(end));
            at = end;
        }
        prop_assert!(facets.len() <= FACETS_PER_TEXT);
    }

    #[test]
    fn what_facets_mean_is_normal(text in prop_oneof![any::<String>(), hostile_text()]) {
        for facet in find(&text) {
            match facet.feature.unwrap() {
                Feature::Mention(mention) => prop_assert!(crate::handle::is_handle(&mention.handle)),
                Feature::Hashtag(hashtag) => prop_assert_eq!(tag(&hashtag.tag), Some(hashtag.tag)),
                Feature::Link(link) => {
                    let url = url::Url::parse(&link.uri).unwrap();
                    prop_assert!(link.uri.is_ascii() && matches!(url.scheme(), "http" | "https") && url.has_host());
                    prop_assert!(url.username().is_empty() && url.password().is_none());
                }
            }
        }
    }

    #[test]
    fn a_tag_is_its_own_normal_form(written in odd_tag()) {
        if let Some(tag_of_it) = tag(&written) {
            prop_assert!(tag_of_it.chars().count() <= HASHTAG_CHARS_MAX);
            prop_assert_eq!(tag(&tag_of_it), Some(tag_of_it.clone()));
            let text = format!("#{tag_of_it}");
            prop_assert_eq!(found(&text), vec![(text.as_str(), text.clone())]);
        }
    }
}
